"""The log in plain lists and dicts. It lives as long as its process; readers never wait and never see a part
of a commit.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, TypeVar

from tourlog.errors import StorageError
from tourlog.storage.common import Lifetime, WriterPlace, check_commit, refuse_known_id
from tourlog.storage.log import Batch, Commit, EntityRecord, Given, Result, StreamRecord, Transaction

_BY_T = attrgetter("t")
_BY_FIRST = attrgetter("first")
_BY_INSTANT = attrgetter("instant")

_Record = TypeVar("_Record", Transaction, StreamRecord)


class MemoryLog:
    """A log in memory. Everything is in place before `_head` moves, and no reader looks past `_head`: that
    assignment is the commit."""

    path: str | None = None

    def __init__(self, *, patience: float = 10.0) -> None:
        self.salt = os.urandom(16)
        self._lifetime = Lifetime(None)
        self._place = WriterPlace()
        self._taken = self._place.taken(patience)
        self._head = Transaction(0, 0)
        self._pending: tuple[Commit, ...] = ()
        self._transactions: list[Transaction] = []
        self._by_tx_id: dict[str, Transaction] = {}
        self._streams: list[StreamRecord] = []
        self._by_key: dict[bytes, StreamRecord] = {}
        self._by_prefix: dict[int, StreamRecord] = {}
        self._by_name: dict[str, StreamRecord] = {}
        self._batches: list[Batch] = []
        self._by_stream: dict[int, list[Batch]] = {}
        self._entities: dict[bytes, list[EntityRecord]] = {}
        self._amended: dict[int, dict[int, list[EntityRecord]]] = {}

    def head(self) -> Transaction:
        self._lifetime.check()
        return self._head

    def settled(self) -> int:
        return self.head().t

    def transaction(self, t: int) -> Transaction | None:
        return self._transactions[t - 1] if 0 < t <= self.head().t else None

    def transaction_by_id(self, tx_id: str) -> Transaction | None:
        return self._committed(self._by_tx_id.get(tx_id))

    def position_at(self, instant: int) -> int:
        return bisect_right(self._transactions, instant, hi=self.head().t, key=_BY_INSTANT)

    def stream_by_key(self, key: bytes) -> StreamRecord | None:
        return self._committed(self._by_key.get(key))

    def stream_by_prefix(self, prefix: int) -> StreamRecord | None:
        return self._committed(self._by_prefix.get(prefix))

    def stream_by_name(self, name: str) -> StreamRecord | None:
        return self._committed(self._by_name.get(name))

    def stream_by_id(self, stream: int) -> StreamRecord | None:
        return self._committed(self._streams[stream - 1]) if 0 < stream <= len(self._streams) else None

    def streams(self, t: int) -> list[tuple[StreamRecord, int]]:
        found = bisect_right(self._streams, self._bound(t), key=_BY_T)
        return [(record, self.next_offset(record.id, t)) for record in self._streams[:found]]

    def next_stream(self) -> int:
        return bisect_right(self._streams, self.head().t, key=_BY_T) + 1

    def next_offset(self, stream: int, t: int) -> int:
        batches = self._by_stream.get(stream, [])
        bound = self._bound(t)
        end = len(batches) if batches and batches[-1].t <= bound else bisect_right(batches, bound, key=_BY_T)
        return batches[end - 1].first + batches[end - 1].count if end else 0

    def _end_of(self, stream: int) -> int:
        """The next offset of a stream for whoever holds the writer's place."""
        batches = self._by_stream.get(stream)
        return batches[-1].first + batches[-1].count if batches else 0

    def read(self, stream: int, start: int, stop: int, t: int) -> Iterator[Batch]:
        t = self._bound(t)
        batches = self._by_stream.get(stream, []) if start < stop else []
        begin = max(bisect_right(batches, start, key=_BY_FIRST) - 1, 0)
        for place in range(begin, len(batches)):
            batch = batches[place]
            if batch.first >= stop or batch.t > t:
                return
            if batch.first + batch.count > start:
                self._lifetime.check()
                yield batch

    def rows(self, t: int) -> int:
        return bisect_right(self._batches, self._bound(t), key=_BY_T)

    def tail(self, after: int, upto: int) -> Iterator[Batch]:
        begin = bisect_right(self._batches, after, key=_BY_T)
        end = bisect_right(self._batches, self._bound(upto), key=_BY_T)
        for place in range(begin, end):
            self._lifetime.check()
            yield self._batches[place]

    def entity(self, key: bytes, t: int) -> EntityRecord | None:
        return _newest(self._entities.get(key, []), self._bound(t))

    def amended(self, stream: int, start: int, stop: int, t: int) -> dict[int, EntityRecord]:
        self._lifetime.check()
        amended = self._amended.get(stream)
        if not amended:
            return {}
        t = self._bound(t)
        few = stop - start < len(amended)
        offsets = range(start, stop) if few else sorted(filter(range(start, stop).__contains__, list(amended)))
        found = ((offset, _newest(amended.get(offset, []), t)) for offset in offsets)
        return {offset: record for offset, record in found if record is not None}

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[None]:  # noqa: ARG002  # no commit takes long enough to share
        self._lifetime.check()
        with self._taken:
            self._begin()
            yield
            self._publish_pending()

    def written(self, work: Callable[[*Given], Result], *given: *Given) -> Result:
        self._lifetime.check()
        with self._taken:
            self._begin()
            result = work(*given)
            self._publish_pending()
            return result

    def _begin(self) -> None:
        self._lifetime.check()
        self._pending = ()

    def check_free(self) -> None:
        self._lifetime.check()
        self._place.check_free()

    def append(self, *commits: Commit) -> None:
        self._lifetime.check()
        if not self._place.is_mine or self._pending:
            raise StorageError("expected one append inside writing(), got another", path=None)
        head, next_stream = self._head, len(self._streams) + 1
        ends: dict[int, int] = {}

        def end_of(stream: int) -> int:
            return ends[stream] if stream in ends else self._end_of(stream)

        for commit in commits:
            tx_id = commit.transaction.tx_id
            if tx_id is not None and tx_id in self._by_tx_id:
                refuse_known_id(None, tx_id)
            ends |= check_commit(commit, None, head=head, next_stream=next_stream, next_offset=end_of)
            if commit.streams:
                self._check_unique(commit)
            head, next_stream = commit.transaction, next_stream + len(commit.streams)
        self._pending = commits

    def compact(self) -> int:
        self._lifetime.check()
        return 0  # batches take no more room and time than what they hold

    def close(self) -> None:
        if self._lifetime.closed or self._lifetime.forked:
            self._lifetime.closed = True
            return
        with self._place.taken():
            self._lifetime.closed = True

    def _bound(self, t: int) -> int:
        newest = self.head().t
        return t if t < newest else newest

    def _committed(self, record: _Record | None) -> _Record | None:
        return record if record is not None and record.t <= self.head().t else None

    def _check_unique(self, commit: Commit) -> None:
        known: tuple[tuple[str, Container[Any]], ...]
        known = (("key", self._by_key), ("prefix", self._by_prefix), ("name", self._by_name))
        for field, table in known:
            values = [getattr(record, field) for record in commit.streams]
            if len(set(values)) < len(values) or any(value in table for value in values):
                raise StorageError(f"expected new streams, got a {field} that is taken", path=None)

    def _publish_pending(self) -> None:
        self._lifetime.check()
        for commit in self._pending:
            try:
                self._index(commit)
                self._head = commit.transaction
            finally:
                if self._head is not commit.transaction:
                    self._remove(commit)

    def _index(self, commit: Commit) -> None:
        self._transactions.append(commit.transaction)
        if commit.transaction.tx_id is not None:
            self._by_tx_id[commit.transaction.tx_id] = commit.transaction
        for record in commit.streams:
            self._streams.append(record)
            self._by_key[record.key] = self._by_prefix[record.prefix] = self._by_name[record.name] = record
        for batch in commit.batches:
            self._batches.append(batch)
            if batch.stream:
                self._by_stream.setdefault(batch.stream, []).append(batch)
        for entity in commit.entities:
            self._entities.setdefault(entity.key, []).append(entity)
            if entity.stream is not None and entity.offset is not None:
                self._amended.setdefault(entity.stream, {}).setdefault(entity.offset, []).append(entity)

    def _remove(self, commit: Commit) -> None:
        """Undo a commit that was interrupted halfway."""
        if commit.transaction.tx_id is not None:
            self._by_tx_id.pop(commit.transaction.tx_id, None)
        for record in commit.streams:
            self._by_key.pop(record.key, None)
            self._by_prefix.pop(record.prefix, None)
            self._by_name.pop(record.name, None)
        for batch in commit.batches:
            _drop_after(self._by_stream.get(batch.stream, []), self._head.t)
        for entity in commit.entities:
            _drop_after(self._entities.get(entity.key, []), self._head.t)
            if entity.stream is not None and entity.offset is not None:
                _drop_after(self._amended.get(entity.stream, {}).get(entity.offset, []), self._head.t)
        for records in (self._transactions, self._streams, self._batches):
            _drop_after(records, self._head.t)


def _newest(records: list[EntityRecord], t: int) -> EntityRecord | None:
    end = bisect_right(records, t, key=_BY_T)
    return records[end - 1] if end else None


def _drop_after(records: list[Any], t: int) -> None:
    del records[bisect_right(records, t, key=_BY_T) :]
