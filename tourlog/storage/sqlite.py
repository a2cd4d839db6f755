"""The log in one SQLite file. Any number of threads and processes read and one at a time writes; a read never
leaves a transaction open, a position is all it is bound to.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from tourlog.errors import StorageError
from tourlog.storage.batches import Pieces, cut, end_as_of, transaction_at, unpacked_spans
from tourlog.storage.common import check_commit
from tourlog.storage.compaction import compact
from tourlog.storage.log import Batch, Commit, EntityRecord, StreamRecord, Transaction
from tourlog.storage.sqlite_file import OFFSET_BITS, StoreFile
from tourlog.values import decode, encode

if TYPE_CHECKING:
    from apsw import Connection

_LARGEST = (1 << 63) - 1
_CHUNK_ROWS = 128
_CHUNK_BYTES = 4_000_000
_MOST_REMEMBERED = 10_000

_MOST_STREAMS, _MOST_DOCUMENTS = 1 << (63 - OFFSET_BITS), 1 << OFFSET_BITS
"""What a place has room for: 268 million streams of 34 thousand million documents."""

_TX = "SELECT t, instant, tx_id FROM tx "
_STREAM = "SELECT id, names, vals, key, name, prefix, t FROM stream "
_BATCH = "SELECT place, t, count, spans, body FROM batch "
_ENTITY = 'SELECT key, t, state, stream, "offset" FROM entity '

_END = "SELECT t, instant, tx_id, batches, amended FROM tx ORDER BY t DESC LIMIT 1"
_HOLDING = f"{_BATCH} WHERE place >= ?1 AND place <= ?2 ORDER BY place DESC LIMIT 1"
"""The batch that holds a place, from the first place of its stream on."""
_LAST = "SELECT place, t, count, spans, NULL FROM batch WHERE place >= ?1 AND place <= ?2 ORDER BY place DESC LIMIT 1"
_SLICE = f"""{_BATCH} WHERE place < ?3 AND place >= coalesce(
    (SELECT place FROM batch WHERE place >= ?1 AND place <= ?2 ORDER BY place DESC LIMIT 1), ?2) ORDER BY place"""
_STREAMS = f"""SELECT s.id, s.names, s.vals, s.key, s.name, s.prefix, s.t,
        b.place - (s.id << {OFFSET_BITS}) + b.count, b.t
    FROM stream s LEFT JOIN batch b ON b.place = (SELECT place FROM batch
        WHERE place >= s.id << {OFFSET_BITS} AND place < s.id + 1 << {OFFSET_BITS} ORDER BY place DESC LIMIT 1)
    WHERE s.t <= ? ORDER BY s.id"""
_AMENDED = f"""{_ENTITY} e WHERE stream = ?1 AND "offset" >= ?2 AND "offset" < ?3 AND t <= ?4 AND NOT EXISTS (
    SELECT 1 FROM entity WHERE stream = ?1 AND "offset" = e."offset" AND t > e.t AND t <= ?4)
    ORDER BY "offset" """

_NOTHING = Transaction(0, 0)
_pack_places = msgspec.msgpack.Encoder().encode
_unpack_places = msgspec.msgpack.Decoder(list[int]).decode


@dataclass(slots=True)
class End:
    """Where the log ends, as the writer knows it: its head, what `tx` counts, streams' next offsets; `later` are
    those of the transaction that led here, to be taken up when it has taken effect."""

    head: Transaction
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
        try:
            self.salt: bytes = self._read_salt()
        except StorageError:
            self.close()
            raise

    def head(self) -> Transaction:
        end = self._known_end()
        if end is not None:
            return end.head
        with self._file.reading() as connection:
            rows = _rows(connection, _END, ())
        if not rows:
            return _NOTHING
        if not rows[0][4]:
            self._unamended = max(self._unamended, rows[0][0])
        return _transaction(rows[0][:3])

    def settled(self) -> int:
        if not self._file.sees_more:
            return self.head().t
        with self._file.committed() as connection:
            rows = _rows(connection, _END, ())
        return int(rows[0][0]) if rows else 0

    def transaction(self, t: int) -> Transaction | None:
        return self._find_transaction(f"{_TX} WHERE t = ?", _bounded(t))

    def transaction_by_id(self, tx_id: str) -> Transaction | None:
        return self._find_transaction(f"{_TX} WHERE tx_id = ?", _blob(tx_id))

    def position_at(self, instant: int) -> int:
        with self._file.reading() as connection:

            def instant_of(t: int) -> int:
                return int(_rows(connection, "SELECT instant FROM tx WHERE t = ?", (t,))[0][0])

            rows = _rows(connection, _END, ())
            return bisect_right(range(1, rows[0][0] + 1), instant, key=instant_of) if rows else 0

    def stream_by_key(self, key: bytes) -> StreamRecord | None:
        self._file.lifetime.check()
        record = self._streams.get(key) or self._find_stream(f"{_STREAM} WHERE key = ?", key)
        if record is not None and not self._file.sees_more:
            if len(self._streams) >= _MOST_REMEMBERED:
                self._streams.clear()
            self._streams[key] = record
        return record

    def stream_by_prefix(self, prefix: int) -> StreamRecord | None:
        return self._find_stream(f"{_STREAM} WHERE prefix = ?", _bounded(prefix))

    def stream_by_name(self, name: str) -> StreamRecord | None:
        return self._find_stream(f"{_STREAM} WHERE name = ?", _blob(name))

    def stream_by_id(self, stream: int) -> StreamRecord | None:
        return self._find_stream(f"{_STREAM} WHERE id = ?", _bounded(stream))

    def streams(self, t: int) -> list[tuple[StreamRecord, int]]:
        with self._file.reading() as connection:
            found = []
            for *columns, end, end_t in _rows(connection, _STREAMS, (_bounded(t),)):
                record = _stream(columns)
                at_t = (end or 0) if (end_t or 0) <= t else _next_offset(connection, record.id, t)
                found.append((record, at_t))
            return found

    def next_stream(self) -> int:
        end = self._known_end()
        if end is not None:
            return end.next_stream
        with self._file.reading() as connection:
            return _next_stream(connection)

    def next_offset(self, stream: int, t: int) -> int:
        end = self._known_end()
        if end is None or t < end.head.t:
            with self._file.reading() as connection:
                return _next_offset(connection, stream, t)
        if stream not in end.offsets:
            with self._file.reading() as connection:
                end.offsets[stream] = _next_offset(connection, stream, t)
        return end.offsets[stream]

    def read(self, stream: int, start: int, stop: int, t: int) -> Iterator[Batch]:
        base, position, stop = _place(stream, 0), max(start, 0), min(stop, _MOST_DOCUMENTS)
        is_whole = not 0 < stream < _MOST_STREAMS
        while position < stop and not is_whole:
            batches, is_whole = self._chunk((base, base + position, base + stop), t)
            is_whole = is_whole or batches[-1].first + batches[-1].count <= position  # the last of the stream again
            for batch in batches:
                end = batch.first + batch.count if batch.t <= t else end_as_of(batch, t)
                self._file.lifetime.check()
                if end > position:
                    yield cut(batch, position, min(end, stop)) if batch.spans else batch
                    position = end

    def rows(self, t: int) -> int:
        with self._file.reading() as connection:
            sql = "SELECT batches FROM tx WHERE t <= ? ORDER BY t DESC LIMIT 1"
            rows = _rows(connection, sql, (_bounded(t),))
            return int(rows[0][0]) if rows else 0

    def tail(self, after: int, upto: int) -> Iterator[Batch]:
        written = self._written(after, upto)
        while chunk := self._fetched(written):
            yield from chunk

    def entity(self, key: bytes, t: int) -> EntityRecord | None:
        with self._file.reading() as connection:
            sql = f"{_ENTITY} WHERE key = ? AND t <= ? ORDER BY t DESC LIMIT 1"
            rows = _rows(connection, sql, (key, _bounded(t)))
            return EntityRecord(*rows[0]) if rows else None

    def amended(self, stream: int, start: int, stop: int, t: int) -> dict[int, EntityRecord]:
        if t <= self._unamended:
            self._file.lifetime.check()
            return {}
        with self._file.reading() as connection:
            bindings = (_bounded(stream), _bounded(start), _bounded(stop), _bounded(t))
            return {row[4]: EntityRecord(*row) for row in _rows(connection, _AMENDED, bindings)}

    def writing(self, *, alone: bool = False) -> AbstractContextManager[None]:
        return self._file.writing(alone=alone)

    def append(self, commit: Commit) -> None:
        writer = self._file.check_writing()
        if writer.learnt is not None:
            raise StorageError("expected one append inside writing(), got another", path=self.path)
        check_commit(self, commit)
        end = self._known_end()
        assert end is not None, "the writer knows where the log ends"
        self._check_room(commit, end)
        places, batches = _placed(commit, end.batches)
        amended = end.amended + sum(1 for record in commit.entities if record.stream is not None)
        t, number = commit.transaction.t, end.batches + len(commit.batches)
        row = (t, commit.transaction.instant, _optional_blob(commit.transaction.tx_id), number, amended)
        statements: list[tuple[str, list[tuple[Any, ...]]]] = [
            ("INSERT INTO tx VALUES (?, ?, ?, ?, ?, ?)", [(*row, _pack_places(places))])
        ]
        if commit.streams:
            statements.append(
                ("INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?)", list(map(_stream_row, commit.streams)))
            )
        if batches:
            statements.append(("INSERT INTO batch VALUES (?, ?, ?, ?, ?)", batches))
        if commit.entities:
            statements.append(("INSERT INTO entity VALUES (?, ?, ?, ?, ?)", list(map(_entity_row, commit.entities))))
        writer.write(statements)
        later = {batch.stream: batch.first + batch.count for batch in commit.batches if batch.stream}
        next_stream = end.next_stream + len(commit.streams)
        writer.learnt = End(commit.transaction, number, amended, next_stream, end.offsets, later)

    def compact(self) -> int:
        return compact(self._file)

    def close(self) -> None:
        self._file.close()

    def _read_salt(self) -> bytes:
        with self._file.reading() as connection:
            for (salt,) in _rows(connection, "SELECT value FROM store WHERE key = 'salt'", ()):
                return bytes(salt)
        raise StorageError(f"expected a store with a salt, got a damaged one, in {self.path}", path=self.path)

    def _find_transaction(self, sql: str, key: int | bytes) -> Transaction | None:
        with self._file.reading() as connection:
            rows = _rows(connection, sql, (key,))
            return _transaction(rows[0]) if rows else None

    def _find_stream(self, sql: str, key: int | bytes) -> StreamRecord | None:
        with self._file.reading() as connection:
            rows = _rows(connection, sql, (key,))
            return _stream(rows[0]) if rows else None

    def _known_end(self) -> End | None:
        """Where the log ends, for whoever holds the writer's place; None for anybody else."""
        writer = self._file.held_writer()
        if writer is None:
            return None
        if writer.known is None:
            with self._file.reading() as connection:
                rows = _rows(connection, _END, ())
                head, batches, amended = (_transaction(rows[0][:3]), *rows[0][3:]) if rows else (_NOTHING, 0, 0)
                writer.known = End(head, batches, amended, _next_stream(connection), {}, {})
        end: End = writer.known
        if end.later:
            if len(end.offsets) >= _MOST_REMEMBERED:
                end.offsets.clear()
            end.offsets.update(end.later)
            end.later = {}
        return end

    def _check_room(self, commit: Commit, end: End) -> None:
        longest = max((batch.first + batch.count for batch in commit.batches), default=0)
        if end.next_stream + len(commit.streams) > _MOST_STREAMS or longest > _MOST_DOCUMENTS:
            message = f"expected at most {_MOST_STREAMS} streams of {_MOST_DOCUMENTS} documents, got more"
            raise StorageError(f"{message}, in {self.path}", path=self.path)

    def _chunk(self, places: tuple[int, int, int], upto: int) -> tuple[list[Batch], bool]:
        """The first batches of a slice up to a position, the last perhaps beyond it, and whether they are all; no
        read stays open."""
        chunk: list[Batch] = []
        size = 0
        with self._file.reading() as connection:
            cursor = connection.execute(_SLICE, places)
            for row in cursor:
                chunk.append(_batch(row))
                size += len(chunk[-1].body)
                is_past = chunk[-1].t > upto
                if is_past or len(chunk) == _CHUNK_ROWS or size > _CHUNK_BYTES:
                    cursor.close()
                    return chunk, is_past
        return chunk, True

    def _written(self, after: int, upto: int) -> Iterator[tuple[int, int, int, int]]:
        """What transactions after + 1 … upto wrote, in order: transaction, place, first, count."""
        after, upto = max(_bounded(after), 0), _bounded(upto)
        while after < upto:
            with self._file.reading() as connection:
                sql = f"SELECT t, places FROM tx WHERE t > ? AND t <= ? ORDER BY t LIMIT {_CHUNK_ROWS}"
                rows = _rows(connection, sql, (after, upto))
            if not rows:
                return
            for t, packed in rows:
                places = _unpack_places(packed)
                states = 0
                for place, count in zip(places[::2], places[1::2], strict=True):
                    is_state = place < _MOST_DOCUMENTS
                    yield t, place, states if is_state else place % _MOST_DOCUMENTS, count
                    states += count if is_state else 0
            after = rows[-1][0]

    def _fetched(self, written: Iterator[tuple[int, int, int, int]]) -> list[Batch]:
        """The next batches of a tail, cut out of those they were compacted into."""
        chunk: list[Batch] = []
        size = 0
        held: dict[int, Pieces] = {}
        with self._file.reading() as connection:
            for t, place, first, count in written:
                stream = place >> OFFSET_BITS
                pieces = held.get(stream)
                if pieces is None or not pieces.hold(first, count):
                    found = self._holding(connection, stream, place)
                    pieces = Pieces(found if stream else replace(found, first=first))
                    if stream:
                        held[stream] = pieces
                chunk.append(pieces.cut(t, first, count))
                size += len(chunk[-1].body)
                if len(chunk) == _CHUNK_ROWS or size > _CHUNK_BYTES:
                    break
        return chunk

    def _holding(self, connection: Connection, stream: int, place: int) -> Batch:
        """The batch with the document, or the states, at a place."""
        rows = _rows(connection, _HOLDING, (_place(stream, 0) if stream else place, place))
        if not rows or (stream and rows[0][0] + rows[0][2] <= place):
            message = f"expected documents at place {place}, got none, in the damaged {self.path}"
            raise StorageError(message, path=self.path)
        return _batch(rows[0])


def _rows(connection: Connection, sql: str, bindings: tuple[Any, ...]) -> list[Any]:
    """Every row at once: a row left unfetched would hold the read open."""
    return connection.execute(sql, bindings).fetchall()


def _next_stream(connection: Connection) -> int:
    return int(_rows(connection, "SELECT coalesce(max(id), 0) + 1 FROM stream", ())[0][0])


def _next_offset(connection: Connection, stream: int, t: int) -> int:
    """The end of the stream; at an older position by bisection, for a stream's transactions only grow."""
    if not 0 < stream < _MOST_STREAMS:
        return 0
    base = _place(stream, 0)

    def last_upto(offset: int) -> Batch | None:
        rows = _rows(connection, _LAST, (base, base + offset))
        return _batch(rows[0]) if rows else None

    last = last_upto(_MOST_DOCUMENTS - 1)
    if last is None or last.t <= t:
        return 0 if last is None else last.first + last.count

    def transaction_of(offset: int) -> int:
        batch = last_upto(offset)
        assert batch is not None, "offsets are dense"
        return transaction_at(batch, offset)

    return bisect_right(range(last.first + last.count), t, key=transaction_of)


def _place(stream: int, offset: int) -> int:
    return stream << OFFSET_BITS | offset


def _batch(row: tuple[Any, ...]) -> Batch:
    place, t, count, spans, body = row
    return Batch(t, place >> OFFSET_BITS, place % _MOST_DOCUMENTS, count, body, unpacked_spans(spans))


def _placed(commit: Commit, number: int) -> tuple[list[int], list[tuple[Any, ...]]]:
    """The places and counts of a commit's batches, and the batches as rows. States have no offset: they are
    numbered, after `number` batches of the log."""
    places: list[int] = []
    rows: list[tuple[Any, ...]] = []
    for batch in commit.batches:
        number += 1
        place = _place(batch.stream, batch.first) if batch.stream else number
        places += (place, batch.count)
        rows.append((place, batch.t, batch.count, None, batch.body))
    return places, rows


def _transaction(row: tuple[Any, ...]) -> Transaction:
    t, instant, tx_id = row
    return Transaction(t, instant, None if tx_id is None else _text(tx_id))


def _stream(row: Any) -> StreamRecord:
    id, names, values, key, name, prefix, t = row
    return StreamRecord(id, decode(names), decode(values), key, _text(name), prefix, t)


def _stream_row(record: StreamRecord) -> tuple[Any, ...]:
    names, values = encode(record.names), encode(record.values)
    return record.id, names, values, record.key, _blob(record.name), record.prefix, record.t


def _optional_blob(text: str | None) -> bytes | None:
    return None if text is None else _blob(text)


def _entity_row(record: EntityRecord) -> tuple[Any, ...]:
    return record.key, record.t, record.state, record.stream, record.offset


def _bounded(number: int) -> int:
    """A position, offset or id within what SQLite holds; nothing stored lies outside."""
    return max(-1, min(number, _LARGEST))


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")
