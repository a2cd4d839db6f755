"""The log in one SQLite file. Any number of threads and processes read and one at a time writes; a read never
leaves a transaction open, a position is all it is bound to.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from tourlog.errors import StorageError
from tourlog.storage.common import check_commit
from tourlog.storage.log import Batch, Commit, EntityRecord, StreamRecord, Transaction
from tourlog.storage.sqlite_file import StoreFile
from tourlog.values import decode, encode

if TYPE_CHECKING:
    from apsw import Connection

_LARGEST = (1 << 63) - 1
_CHUNK_ROWS = 128
_CHUNK_BYTES = 4_000_000

_TX = "SELECT t, instant, tx_id FROM tx "
_STREAM = "SELECT id, names, vals, key, name, prefix, t FROM stream "
_BATCH = "SELECT seq, t, stream, first, count, body FROM batch "
_ENTITY = 'SELECT key, t, state, stream, "offset" FROM entity '

# `stream > 0` lets SQLite use the index, which leaves out the entity states.
_PLACE = """SELECT first, count, t FROM batch WHERE stream = ?1 AND stream > 0 AND first <= ?2
    ORDER BY first DESC LIMIT 1"""
_SLICE = f"""{_BATCH} WHERE stream = ?1 AND stream > 0 AND first < ?3 AND first >=
    coalesce((SELECT first FROM ({_PLACE})), ?2) ORDER BY first"""
_STREAMS = """SELECT s.id, s.names, s.vals, s.key, s.name, s.prefix, s.t, b.first + b.count, b.t
    FROM stream s LEFT JOIN batch b ON b.seq =
        (SELECT seq FROM batch WHERE stream = s.id AND stream > 0 ORDER BY first DESC LIMIT 1)
    WHERE s.t <= ? ORDER BY s.id"""
_AMENDED = f"""{_ENTITY} e WHERE stream = ?1 AND "offset" >= ?2 AND "offset" < ?3 AND t <= ?4 AND NOT EXISTS (
    SELECT 1 FROM entity WHERE stream = ?1 AND "offset" = e."offset" AND t > e.t AND t <= ?4)
    ORDER BY "offset" """


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
        self._appended = False
        try:
            self.salt: bytes = self._read_salt()
        except StorageError:
            self.close()
            raise

    def head(self) -> Transaction:
        with self._file.reading() as connection:
            return _head(connection)

    def transaction(self, t: int) -> Transaction | None:
        return self._find_transaction(f"{_TX} WHERE t = ?", _bounded(t))

    def transaction_by_id(self, tx_id: str) -> Transaction | None:
        return self._find_transaction(f"{_TX} WHERE tx_id = ?", _blob(tx_id))

    def position_at(self, instant: int) -> int:
        with self._file.reading() as connection:

            def instant_of(t: int) -> int:
                return int(_rows(connection, "SELECT instant FROM tx WHERE t = ?", (t,))[0][0])

            return bisect_right(range(1, _head(connection).t + 1), instant, key=instant_of)

    def stream_by_key(self, key: bytes) -> StreamRecord | None:
        return self._find_stream(f"{_STREAM} WHERE key = ?", key)

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
        with self._file.reading() as connection:
            return int(_rows(connection, "SELECT coalesce(max(id), 0) + 1 FROM stream", ())[0][0])

    def next_offset(self, stream: int, t: int) -> int:
        with self._file.reading() as connection:
            return _next_offset(connection, stream, t)

    def read(self, stream: int, start: int, stop: int, t: int) -> Iterator[Batch]:
        start, stop = _bounded(start), _bounded(stop)
        while start < stop:
            batches = [batch for _, batch in self._chunk(_SLICE, (_bounded(stream), start, stop), t)]
            for batch in batches:
                if batch.first + batch.count > start:
                    yield batch
            end = batches[-1].first + batches[-1].count if batches else start
            if end <= start:  # the last batch of the stream again, or none as of `t`
                return
            start = end

    def rows(self, t: int) -> int:
        with self._file.reading() as connection:
            return _last_batch(connection, t)

    def tail(self, after: int, upto: int) -> Iterator[Batch]:
        with self._file.reading() as connection:
            position, end = (_last_batch(connection, t) for t in (after, upto))
        while position < end:
            chunk = self._chunk(f"{_BATCH} WHERE seq > ? AND seq <= ? ORDER BY seq", (position, end), upto)
            if not chunk:
                message = f"expected batches up to {end}, got none after {position}, in the damaged {self.path}"
                raise StorageError(message, path=self.path)
            for _, batch in chunk:
                yield batch
            position = chunk[-1][0]

    def entity(self, key: bytes, t: int) -> EntityRecord | None:
        with self._file.reading() as connection:
            sql = f"{_ENTITY} WHERE key = ? AND t <= ? ORDER BY t DESC LIMIT 1"
            rows = _rows(connection, sql, (key, _bounded(t)))
            return EntityRecord(*rows[0]) if rows else None

    def amended(self, stream: int, start: int, stop: int, t: int) -> dict[int, EntityRecord]:
        with self._file.reading() as connection:
            bindings = (_bounded(stream), _bounded(start), _bounded(stop), _bounded(t))
            return {row[4]: EntityRecord(*row) for row in _rows(connection, _AMENDED, bindings)}

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._file.writing():
            self._appended = False
            yield

    def append(self, commit: Commit) -> None:
        self._file.check_writing()
        if self._appended:
            raise StorageError("expected one append inside writing(), got another", path=self.path)
        check_commit(self, commit)
        with self._file.reading() as connection:
            last = _last_batch(connection, commit.transaction.t)
        self._file.write(
            (
                ("INSERT INTO tx VALUES (?, ?, ?, ?)", [_transaction_row(commit, last + len(commit.batches))]),
                ("INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?)", map(_stream_row, commit.streams)),
                ("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?)", map(_batch_row, count(last + 1), commit.batches)),
                ("INSERT INTO entity VALUES (?, ?, ?, ?, ?)", map(_entity_row, commit.entities)),
            )
        )
        self._appended = True

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

    def _chunk(self, sql: str, bindings: tuple[int, ...], upto: int) -> list[tuple[int, Batch]]:
        """The first rows of a query over `batch`, none of them past the position `upto`, with their places in
        the log; no read stays open."""
        chunk: list[tuple[int, Batch]] = []
        size = 0
        with self._file.reading() as connection:
            cursor = connection.execute(sql, bindings)
            for seq, *columns in cursor:
                batch = Batch(*columns)
                if batch.t > upto:
                    break
                chunk.append((seq, batch))
                size += len(batch.body)
                if len(chunk) == _CHUNK_ROWS or size > _CHUNK_BYTES:
                    break
            cursor.close()
        return chunk


def _rows(connection: Connection, sql: str, bindings: tuple[Any, ...]) -> list[Any]:
    """Every row at once: a row left unfetched would hold the read open."""
    return connection.execute(sql, bindings).fetchall()


def _head(connection: Connection) -> Transaction:
    rows = _rows(connection, f"{_TX} ORDER BY t DESC LIMIT 1", ())
    return _transaction(rows[0]) if rows else Transaction(0, 0)


def _last_batch(connection: Connection, t: int) -> int:
    """The last batch of the log as of `t`."""
    rows = _rows(connection, "SELECT last FROM tx WHERE t <= ? ORDER BY t DESC LIMIT 1", (_bounded(t),))
    return int(rows[0][0]) if rows else 0


def _next_offset(connection: Connection, stream: int, t: int) -> int:
    """The end of the stream; at an older position by bisection, for a stream's transactions only grow."""
    rows = _rows(connection, _PLACE, (_bounded(stream), _LARGEST))
    if not rows:
        return 0
    first, count, newest = rows[0]
    if newest <= t:
        return int(first + count)

    def transaction_of(offset: int) -> int:
        return int(_rows(connection, _PLACE, (stream, offset))[0][2])

    return bisect_right(range(first), t, key=transaction_of)


def _transaction(row: tuple[Any, ...]) -> Transaction:
    t, instant, tx_id = row
    return Transaction(t, instant, None if tx_id is None else _text(tx_id))


def _stream(row: Any) -> StreamRecord:
    id, names, values, key, name, prefix, t = row
    return StreamRecord(id, decode(names), decode(values), key, _text(name), prefix, t)


def _stream_row(record: StreamRecord) -> tuple[Any, ...]:
    names, values = encode(record.names), encode(record.values)
    return record.id, names, values, record.key, _blob(record.name), record.prefix, record.t


def _transaction_row(commit: Commit, last: int) -> tuple[Any, ...]:
    transaction = commit.transaction
    tx_id = None if transaction.tx_id is None else _blob(transaction.tx_id)
    return transaction.t, transaction.instant, tx_id, last


def _batch_row(seq: int, batch: Batch) -> tuple[Any, ...]:
    return seq, batch.t, batch.stream, batch.first, batch.count, batch.body


def _entity_row(record: EntityRecord) -> tuple[Any, ...]:
    return record.key, record.t, record.state, record.stream, record.offset


def _bounded(number: int) -> int:
    """A position, offset or id within what SQLite holds; nothing stored lies outside."""
    return max(-1, min(number, _LARGEST))


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")
