"""A log as of a position with one prepared transaction on top, nothing of which is stored: what a
transaction in progress and `with_` look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from tourlog.errors import StorageError
from tourlog.storage.log import Batch, Commit, EntityRecord, Log, StreamRecord, Transaction


class OverlayLog:
    """Reads like a `Log` whose newest transaction is `commit`; cannot be written."""

    def __init__(self, base: Log, base_t: int, commit: Commit) -> None:
        self.path, self.salt = base.path, base.salt
        self._base, self._base_t, self._commit = base, base_t, commit
        self._t = commit.transaction.t
        self._streams = {record.id: record for record in commit.streams}
        self._entities = {record.key: record for record in commit.entities}
        self._batches: dict[int, list[Batch]] = {}
        for batch in commit.batches:
            self._batches.setdefault(batch.stream, []).append(batch)

    def head(self) -> Transaction:
        return self._commit.transaction

    def transaction(self, t: int) -> Transaction | None:
        if t == self._t:
            return self._commit.transaction
        return self._base.transaction(t) if t <= self._base_t else None

    def transaction_by_id(self, tx_id: str) -> Transaction | None:
        if tx_id == self._commit.transaction.tx_id:
            return self._commit.transaction
        found = self._base.transaction_by_id(tx_id)
        return found if found is not None and found.t <= self._base_t else None

    def position_at(self, instant: int) -> int:
        if instant >= self._commit.transaction.instant:
            return self._t
        return min(self._base.position_at(instant), self._base_t)

    def stream_by_key(self, key: bytes) -> StreamRecord | None:
        own = (record for record in self._commit.streams if record.key == key)
        return next(own, None) or self._visible(self._base.stream_by_key(key))

    def stream_by_prefix(self, prefix: int) -> StreamRecord | None:
        own = (record for record in self._commit.streams if record.prefix == prefix)
        return next(own, None) or self._visible(self._base.stream_by_prefix(prefix))

    def stream_by_name(self, name: str) -> StreamRecord | None:
        own = (record for record in self._commit.streams if record.name == name)
        return next(own, None) or self._visible(self._base.stream_by_name(name))

    def stream_by_id(self, stream: int) -> StreamRecord | None:
        return self._streams.get(stream) or self._visible(self._base.stream_by_id(stream))

    def streams(self, t: int) -> list[tuple[StreamRecord, int]]:
        below = self._base.streams(min(t, self._base_t))
        if t < self._t:
            return below
        found = (*below, *((record, 0) for record in self._commit.streams))
        return [(record, self._own_end(record.id) or end) for record, end in found]

    def next_stream(self) -> int:
        return max((self._base.next_stream(), *(stream + 1 for stream in self._streams)))

    def next_offset(self, stream: int, t: int) -> int:
        end = self._own_end(stream) if t >= self._t else 0
        if end or stream in self._streams:
            return end
        return self._base.next_offset(stream, min(t, self._base_t))

    def read(self, stream: int, start: int, stop: int, t: int) -> Iterator[Batch]:
        own = self._batches.get(stream, []) if stream and t >= self._t and start < stop else []
        if stream not in self._streams:
            yield from self._base.read(stream, start, stop, min(t, self._base_t))
        for batch in own:
            if batch.first < stop and start < batch.first + batch.count:
                yield batch

    def rows(self, t: int) -> int:
        return self._base.rows(min(t, self._base_t)) + (len(self._commit.batches) if t >= self._t else 0)

    def tail(self, after: int, upto: int) -> Iterator[Batch]:
        yield from self._base.tail(after, min(upto, self._base_t))
        if after < self._t <= upto:
            yield from self._commit.batches

    def entity(self, key: bytes, t: int) -> EntityRecord | None:
        own = self._entities.get(key) if t >= self._t else None
        return own or self._base.entity(key, min(t, self._base_t))

    def amended(self, stream: int, start: int, stop: int, t: int) -> dict[int, EntityRecord]:
        found: dict[int, EntityRecord] = {}
        if stream not in self._streams:
            found.update(self._base.amended(stream, start, stop, min(t, self._base_t)))
        for record in self._commit.entities if t >= self._t else ():
            if record.stream == stream and record.offset is not None and start <= record.offset < stop:
                found[record.offset] = record
        return found

    def writing(self) -> AbstractContextManager[None]:
        raise StorageError("a speculative database cannot be written to", path=self.path)

    def append(self, commit: Commit) -> None:  # noqa: ARG002  # the interface of a log
        raise StorageError("a speculative database cannot be written to", path=self.path)

    def close(self) -> None:
        """Nothing is held open."""

    def _own_end(self, stream: int) -> int:
        """Where the commit ends the stream; 0 when it adds nothing to it."""
        batches = self._batches.get(stream) if stream else None
        return batches[-1].first + batches[-1].count if batches else 0

    def _visible(self, record: StreamRecord | None) -> StreamRecord | None:
        return record if record is not None and record.t <= self._base_t else None
