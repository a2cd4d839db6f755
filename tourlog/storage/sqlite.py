"""The log in one SQLite file. Any number of threads and processes read and one at a time writes; a read never
leaves a transaction open, a position is all it is bound to.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, NoReturn
from zlib import crc32

from msgspec import Struct

from tourlog.errors import StorageError
from tourlog.storage.batches import cut, end_as_of, transaction_at
from tourlog.storage.common import check_commit, refuse_known_id
from tourlog.storage.compaction import compact
from tourlog.storage.log import Batch, Commit, EntityRecord, Given, Result, StreamRecord, Transaction
from tourlog.storage.lookups import (
    AMENDED_IS_WHOLE,
    STATES_ARE_WHOLE,
    STREAM_BY_KEY,
    STREAM_BY_NAME,
    STREAM_BY_PREFIX,
    TX_BY_ID,
    Lookup,
)
from tourlog.storage.rows import (
    BATCH,
    ENTITY,
    MOST_DOCUMENTS,
    MOST_STREAMS,
    STREAM,
    TX,
    Row,
    Rows,
    blob,
    first_digest,
    place_of,
    transaction,
    written,
)
from tourlog.storage.sqlite_file import OFFSET_BITS, StoreFile, all_rows, bounded
from tourlog.storage.tail import CHUNK_BYTES, CHUNK_ROWS, tail

if TYPE_CHECKING:
    from apsw import Connection

    from tourlog.storage.writer import Writer

_MOST_REMEMBERED = 10_000
_NEWEST = 8

_TX = f"SELECT {TX} FROM tx "
_STREAM = f"SELECT {STREAM} FROM stream "
_BATCH = f"SELECT {BATCH} FROM batch "
_ENTITY = f"SELECT {ENTITY} FROM entity "

_END = f"SELECT {TX}, digest FROM tx ORDER BY t DESC LIMIT 1"
_HEADER = "place, t, count, spans, body_crc, crc"
_LAST = f"SELECT {_HEADER} FROM batch WHERE place >= ?1 AND place <= ?2 ORDER BY place DESC LIMIT 1"
_SLICE = f"""{_BATCH} WHERE place >= coalesce(
    (SELECT place FROM batch WHERE place <= ?1 ORDER BY place DESC LIMIT 1), ?1) ORDER BY place"""
_AROUND = f"""SELECT * FROM (SELECT {_HEADER} FROM batch WHERE place <= ?1 ORDER BY place DESC LIMIT 1)
    UNION ALL SELECT * FROM (SELECT {_HEADER} FROM batch WHERE place > ?1 ORDER BY place LIMIT 1)"""
"""The batches on either side of a place. Where a stream ends, both are looked at: a damaged row that hides others lies
beside the place where they are looked for."""
_IS_PAST = "SELECT EXISTS (SELECT 1 FROM batch WHERE place >= ?)"
"""Whether there are documents at a place or a later one."""
_STREAMS = f"""SELECT {", ".join(f"s.{name}" for name in STREAM.split(", "))},
        last, {", ".join(f"b.{name}" for name in _HEADER.split(", ")[1:])},
        later, {", ".join(f"n.{name}" for name in _HEADER.split(", ")[1:])}
    FROM (SELECT *,
        (SELECT place FROM batch WHERE place < id + 1 << {OFFSET_BITS} ORDER BY place DESC LIMIT 1) AS last,
        (SELECT place FROM batch WHERE place >= id + 1 << {OFFSET_BITS} ORDER BY place LIMIT 1) AS later
        FROM stream) AS s
    LEFT JOIN batch AS b ON b.place = last
    LEFT JOIN batch AS n ON n.place = later
    ORDER BY s.id"""
"""Every stream with the batches on either side of its end; one that is not found where it was seen has no checksum."""
_STREAM_COLUMNS = len(STREAM.split(", "))
_NEXT_COLUMN = _STREAM_COLUMNS + len(_HEADER.split(", "))
_BESIDE = f"""SELECT * FROM ({_ENTITY} WHERE (key, t) <= (?1, ?2) ORDER BY key DESC, t DESC LIMIT 1)
    UNION ALL SELECT * FROM ({_ENTITY} WHERE (key, t) > (?1, ?2) ORDER BY key, t LIMIT 1)"""
"""The states on either side of a key and a transaction: one whose key was changed lies beside the place where it is
looked for."""
_AMENDED = """SELECT i.key, i.t, e.state, i.stream, i."offset", e.crc
    FROM (SELECT key, t, stream, "offset" FROM entity AS own INDEXED BY entity_in_stream
        WHERE stream = ?1 AND "offset" >= ?2 AND "offset" < ?3 AND t <= ?4 AND NOT EXISTS (
            SELECT 1 FROM entity WHERE stream = ?1 AND "offset" = own."offset" AND t > own.t AND t <= ?4)) AS i
    LEFT JOIN entity AS e NOT INDEXED ON e.key = i.key AND e.t = i.t ORDER BY i."offset" """
"""What the index has with what its row has, if that is there: the checksum is over both."""

_NOTHING = Transaction(0, 0)


class End(Struct, gc=False):
    """Where the log ends, as the writer knows it: its head and digest, what `tx` counts, streams' next offsets;
    `later` are those of the transaction that led here, to be taken up when it has taken effect."""

    head: Transaction
    digest: bytes
    batches: int
    amended: int
    next_stream: int
    offsets: dict[int, int]
    later: dict[int, int]


class SqliteLog:
    """A log in a file, open for reading and, unless `read_only`, for writing; waits at most `patience`
    seconds for another program's lock."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: str = "full",
        read_only: bool = False,
        patience: float = 10.0,
    ) -> None:
        self._file = StoreFile(path, durability=durability, read_only=read_only, patience=patience)
        self.path: str | None = self._file.path
        self._unamended = 0
        """Up to this committed position no ordered document was ever changed."""
        self._streams: dict[bytes, StreamRecord] = {}
        """Some committed streams by key; they never change."""
        self._whole: set[str] = set()
        """The tables and indexes that were found to have all they must."""
        try:
            self.salt: bytes = self._read_salt()
            self._rows = Rows(self._file.path, crc32(self.salt))
        except StorageError:
            self.close()
            raise

    def head(self) -> Transaction:
        end = self._known_end()
        if end is not None:
            return end.head
        with self._file.committed() as connection:  # which is all, for who does not write
            row = self._end_row(connection)
        if row is None:
            return _NOTHING
        if not row[4] and row[0] > self._unamended:
            self._unamended = row[0]
        return transaction(row)

    def settled(self) -> int:
        if not self._file.sees_more:
            return self.head().t
        with self._file.committed() as connection:
            row = self._end_row(connection)
        return 0 if row is None else int(row[0])

    def transaction(self, t: int) -> Transaction | None:
        sql, key = f"{_TX} WHERE t = ?", bounded(t)
        found = self._find_transaction(sql, key)
        if found is None and 0 < t <= self.head().t:
            # Positions are dense. It may have been committed since.
            found = self._find_transaction(sql, key) or self._rows.missing(f"transaction {t}")
        return found

    def transaction_by_id(self, tx_id: str) -> Transaction | None:
        row = self._looked_up(TX_BY_ID, TX, blob(tx_id))
        found = None if row is None else transaction(self._rows.tx(row))
        if found is not None and found.tx_id != tx_id:
            self._wrong(TX_BY_ID)
        return found

    def position_at(self, instant: int) -> int:
        with self._file.reading() as connection:

            def instant_of(t: int) -> int:
                return int(self._tx_row(connection, t)[1])

            row = self._end_row(connection)
            return bisect_right(range(1, row[0] + 1), instant, key=instant_of) if row is not None else 0

    def stream_by_key(self, key: bytes) -> StreamRecord | None:
        self._file.lifetime.check()
        record = self._streams.get(key) or self._stream_by(STREAM_BY_KEY, key)
        if record is not None and not self._file.sees_more:
            if len(self._streams) >= _MOST_REMEMBERED:
                self._streams.clear()
            self._streams[key] = record
        return record

    def stream_by_prefix(self, prefix: int) -> StreamRecord | None:
        return self._stream_by(STREAM_BY_PREFIX, bounded(prefix))

    def stream_by_name(self, name: str) -> StreamRecord | None:
        return self._stream_by(STREAM_BY_NAME, blob(name))

    def stream_by_id(self, stream: int) -> StreamRecord | None:
        sql, key = f"{_STREAM} WHERE id = ?", bounded(stream)
        found = self._find_stream(sql, key)
        if found is None and 0 < stream < MOST_STREAMS and self._has_reached(stream):
            # Ids are dense. It may have been committed since.
            found = self._find_stream(sql, key) or self._rows.missing(f"stream {stream}", stream)
        return found

    def streams(self, t: int) -> list[tuple[StreamRecord, int]]:
        with self._file.reading() as connection:
            found: list[tuple[StreamRecord, int]] = []
            for row in all_rows(connection, _STREAMS, ()):
                record = self._rows.stream(row[:_STREAM_COLUMNS])
                if record.t > t:  # as are those after it
                    return found
                around = row[_STREAM_COLUMNS:_NEXT_COLUMN], row[_NEXT_COLUMN:]
                last = self._last_of(record.id, [header for header in around if header[0] is not None])
                if record.id != len(found) + 1:
                    self._rows.missing(f"stream {len(found) + 1}")
                if last is None or last.t <= t:
                    found.append((record, 0 if last is None else last.first + last.count))
                else:
                    found.append((record, self._next_offset(connection, record.id, t)))
            self._check_newest(connection)
            following = len(found) + 1
            if all_rows(connection, _IS_PAST, (place_of(following, 0),)) == [(1,)]:
                sql = f"{_STREAM} WHERE id = ?"
                if not all_rows(connection, sql, (following,)):  # it may have been made since
                    self._rows.missing(f"stream {following}", following)
            return found

    def next_stream(self) -> int:
        end = self._known_end()
        if end is not None:
            return end.next_stream
        with self._file.reading() as connection:
            return self._next_stream(connection)

    def next_offset(self, stream: int, t: int) -> int:
        end = self._known_end()
        if end is None or t < end.head.t:
            with self._file.reading() as connection:
                return self._next_offset(connection, stream, t)
        return self._end_of(end, stream)

    def _end_of(self, end: End, stream: int) -> int:
        """The next offset of a stream for whoever holds the writer's place."""
        found = end.later.get(stream, end.offsets.get(stream))
        if found is None:
            with self._file.reading() as connection:
                found = end.offsets[stream] = self._next_offset(connection, stream, end.head.t)
        return found

    def read(self, stream: int, start: int, stop: int, t: int) -> Iterator[Batch]:
        base, position, stop = place_of(stream, 0), max(start, 0), min(stop, MOST_DOCUMENTS)
        is_whole = not 0 < stream < MOST_STREAMS
        while position < stop and not is_whole:
            batches, is_whole = self._chunk(base, position, stop, t)
            is_whole = is_whole or batches[-1].first + batches[-1].count <= position  # the last of the stream again
            for batch in batches:
                end = batch.first + batch.count if batch.t <= t else end_as_of(batch, t)
                self._file.lifetime.check()
                if batch.first > position:
                    self._rows.missing(f"documents of stream {stream} from offset {position} on", stream, position)
                if end > position:
                    yield cut(batch, position, min(end, stop)) if batch.spans else batch
                    position = end

    def rows(self, t: int) -> int:
        with self._file.reading() as connection:
            rows = all_rows(connection, f"{_TX} WHERE t <= ? ORDER BY t DESC LIMIT 1", (bounded(t),))
            return int(self._rows.tx(rows[0])[3]) if rows else 0

    def tail(self, after: int, upto: int) -> Iterator[Batch]:
        return tail(self._file, self._rows, after, upto, self.transaction)

    def entity(self, key: bytes, t: int) -> EntityRecord | None:
        with self._file.reading() as connection:
            self._check_whole(connection, "entity", STATES_ARE_WHOLE, "a state of every change")
            beside = [self._rows.entity(row) for row in all_rows(connection, _BESIDE, (key, bounded(t)))]
        return next((record for record in beside if record.key == key and record.t <= t), None)

    def amended(self, stream: int, start: int, stop: int, t: int) -> dict[int, EntityRecord]:
        if t <= self._unamended:
            self._file.lifetime.check()
            return {}
        end = self._known_end()
        if end is not None and not end.amended:
            return {}
        with self._file.reading() as connection:
            index = "entity_in_stream"
            self._check_whole(connection, index, AMENDED_IS_WHOLE, f"an index {index} of all changed documents")
            bindings = (bounded(stream), bounded(start), bounded(stop), bounded(t))
            return {row[4]: self._rows.entity(row) for row in all_rows(connection, _AMENDED, bindings)}

    def writing(self, *, alone: bool = False) -> AbstractContextManager[None]:
        return self._file.writing(alone=alone)

    def written(self, work: Callable[[*Given], Result], *given: *Given) -> Result:
        return self._file.writer().written(work, *given)

    def check_free(self) -> None:
        self._file.writer().place.check_free()

    def append(self, *commits: Commit) -> None:
        writer = self._file.check_writing()
        if writer.learnt is not None:
            raise StorageError("expected one append inside writing(), got another", path=self.path)
        end = self._end_known_to(writer)
        statements: dict[str, list[Row]] = {}
        for commit in commits:
            end = self._continued(end, commit, statements)
        writer.write(statements.items())
        writer.learnt = end

    def _continued(self, end: End, commit: Commit, statements: dict[str, list[Row]]) -> End:
        """Where the log ends after another commit, whose rows go to the statements that insert them."""
        tx_id = commit.transaction.tx_id
        if tx_id is not None and self.transaction_by_id(tx_id) is not None:
            refuse_known_id(self.path, tx_id)
        ends = check_commit(
            commit, self.path, head=end.head, next_stream=end.next_stream, next_offset=partial(self._end_of, end)
        )
        next_stream, batches = end.next_stream + len(commit.streams), end.batches + len(commit.batches)
        self._check_room(next_stream, ends)
        made, digest = self._rows.commit(commit, end.batches, end.amended, end.digest)
        for sql, rows in made:
            statements.setdefault(sql, []).extend(rows)
        amended = end.amended
        if commit.entities:
            amended += sum(1 for record in commit.entities if record.stream is not None)
        return End(commit.transaction, digest, batches, amended, next_stream, end.offsets, end.later | ends)

    def compact(self) -> int:
        return compact(self._file, self._rows)

    def close(self) -> None:
        self._file.close()

    def _read_salt(self) -> bytes:
        with self._file.reading() as connection:
            for salt, crc in all_rows(connection, "SELECT value, crc FROM store WHERE key = 'salt'", ()):
                if type(salt) is bytes and crc32(salt) == crc:
                    return salt
        raise StorageError(f"expected a store with a salt, got a damaged one, in {self.path}", path=self.path)

    def _end_row(self, connection: Connection) -> Row | None:
        """The newest row of `tx`, its digest last."""
        rows = all_rows(connection, _END, ())
        if not rows:
            return None
        self._rows.tx(rows[0][:-1])
        return rows[0]  # type: ignore[no-any-return]  # as the driver gives it

    def _tx_row(self, connection: Connection, t: int) -> Row:
        """The row of a transaction that must be there."""
        rows = all_rows(connection, f"{_TX} WHERE t = ?", (t,))
        return self._rows.tx(rows[0]) if rows else self._rows.missing(f"transaction {t}")

    def _find_transaction(self, sql: str, key: int | bytes) -> Transaction | None:
        with self._file.reading() as connection:
            rows = all_rows(connection, sql, (key,))
            return transaction(self._rows.tx(rows[0])) if rows else None

    def _find_stream(self, sql: str, key: int | bytes) -> StreamRecord | None:
        with self._file.reading() as connection:
            rows = all_rows(connection, sql, (key,))
            return self._rows.stream(rows[0]) if rows else None

    def _looked_up(self, lookup: Lookup, columns: str, value: int | bytes) -> Row | None:
        """The row with a value, or none that is there; `StorageError` when the index has lost rows, or may have lost
        this one."""
        with self._file.reading() as connection:
            rows = all_rows(connection, lookup.row(columns), (value,))
            if rows:
                return rows[0]  # type: ignore[no-any-return]  # as the driver gives it
            if lookup.index not in self._whole:
                if not lookup.is_whole(connection):
                    self._wrong(lookup)
                self._whole.add(lookup.index)
            if not lookup.is_gap(connection, value):
                self._wrong(lookup)
        return None

    def _stream_by(self, lookup: Lookup, value: int | bytes) -> StreamRecord | None:
        row = self._looked_up(lookup, STREAM, value)
        if row is None:
            return None
        if row[STREAM.split(", ").index(lookup.column)] != value:
            self._wrong(lookup)
        return self._rows.stream(row)

    def _check_whole(self, connection: Connection, name: str, sql: str, what: str) -> None:
        """Raise `StorageError` unless a table or index has all it must, which is looked for once."""
        if name not in self._whole:
            if all_rows(connection, sql, ()) != [(1,)]:
                self._rows.missing(what)
            self._whole.add(name)

    def _check_newest(self, connection: Connection) -> None:
        """Raise `StorageError` unless what the newest transaction wrote last is there, which is looked for once: it is
        not where the batches are as they were at another time, and streams would be too short."""
        if "batch" in self._whole:
            return
        row = self._end_row(connection)
        for place, count, _ in written(row[5])[-_NEWEST:] if row is not None else ():
            start = place if place < MOST_DOCUMENTS else place_of(place >> OFFSET_BITS, 0)
            rows = all_rows(connection, _LAST, (start, place))
            batch = self._rows.header(rows[0]) if rows else None
            if batch is None or (batch.stream and batch.first + batch.count < place % MOST_DOCUMENTS + count):
                self._rows.missing(f"{count} documents or states numbered {place}, of the newest transaction")
        self._whole.add("batch")

    def _wrong(self, lookup: Lookup) -> NoReturn:
        message = f"expected an index {lookup.index} with every {lookup.column} of {lookup.table}, got a damaged one"
        raise StorageError(f"{message}, in {self.path}", path=self.path)

    def _has_reached(self, stream: int) -> bool:
        """Whether there are streams, or documents of streams, with this id or a later one."""
        with self._file.reading() as connection:
            ((is_written,),) = all_rows(connection, _IS_PAST, (place_of(stream, 0),))
            return bool(is_written) or self._next_stream(connection) > stream

    def _known_end(self) -> End | None:
        """Where the log ends, for whoever holds the writer's place; None for anybody else."""
        writer = self._file.held_writer()
        return None if writer is None else self._end_known_to(writer)

    def _end_known_to(self, writer: Writer) -> End:
        if writer.known is None:
            with self._file.reading() as connection:
                row, next_stream = self._end_row(connection), self._next_stream(connection)
            if row is None:
                writer.known = End(_NOTHING, first_digest(self.salt), 0, 0, next_stream, {}, {})
            else:
                writer.known = End(transaction(row), row[-1], row[3], row[4], next_stream, {}, {})
        end: End = writer.known
        if end.later:
            if len(end.offsets) >= _MOST_REMEMBERED:
                end.offsets.clear()
            end.offsets.update(end.later)
            end.later = {}
        return end

    def _check_room(self, next_stream: int, ends: dict[int, int]) -> None:
        if next_stream > MOST_STREAMS or max(ends.values(), default=0) > MOST_DOCUMENTS:
            message = f"expected at most {MOST_STREAMS} streams of {MOST_DOCUMENTS} documents, got more"
            raise StorageError(f"{message}, in {self.path}", path=self.path)

    def _chunk(self, base: int, start: int, stop: int, upto: int) -> tuple[list[Batch], bool]:
        """The first batches of a slice up to a position, the last perhaps beyond it, and whether they are all; no
        read stays open."""
        chunk: list[Batch] = []
        size = 0
        with self._file.reading() as connection:
            cursor = connection.execute(_SLICE, (base + start,))
            for row in cursor:
                if not base <= row[0] < base + stop:  # beside the stream: it hides nothing if it is as it was written
                    self._rows.header(row[:-1])
                    if row[0] < base:
                        continue
                    cursor.close()
                    break
                chunk.append(self._rows.batch(row))
                size += len(chunk[-1].body)
                is_whole = chunk[-1].t > upto or chunk[-1].first + chunk[-1].count >= stop
                if is_whole or len(chunk) == CHUNK_ROWS or size > CHUNK_BYTES:
                    cursor.close()
                    return chunk, is_whole
            self._check_newest(connection)
        return chunk, True

    def _next_stream(self, connection: Connection) -> int:
        rows = all_rows(connection, f"{_STREAM} ORDER BY id DESC LIMIT 1", ())
        return self._rows.stream(rows[0]).id + 1 if rows else 1

    def _next_offset(self, connection: Connection, stream: int, t: int) -> int:
        """The end of the stream; at an older position by bisection, for a stream's transactions only grow."""
        if not 0 < stream < MOST_STREAMS:
            return 0
        base = place_of(stream, 0)

        def last_upto(offset: int) -> Batch | None:
            rows = all_rows(connection, _LAST, (base, base + offset))
            return self._rows.header(rows[0]) if rows else None

        last = self._last_of(stream, all_rows(connection, _AROUND, (base + MOST_DOCUMENTS - 1,)))
        self._check_newest(connection)
        if last is None or last.t <= t:
            return 0 if last is None else last.first + last.count

        def transaction_of(offset: int) -> int:
            batch = last_upto(offset)
            if batch is None or batch.first + batch.count <= offset:
                self._rows.missing(f"documents of stream {stream} at offset {offset}", stream, offset)
            return transaction_at(batch, offset)

        return bisect_right(range(last.first + last.count), t, key=transaction_of)

    def _last_of(self, stream: int, around: list[Row]) -> Batch | None:
        """The last batch of a stream, without its body, of those on either side of its end."""
        headers = [self._rows.header(row) for row in around]
        return next((header for header in headers if header.stream == stream), None)
