"""A log as of a position with prepared transactions on top, nothing of which is stored: what a transaction in
progress and `with_` look at.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

from tourlog.errors import StorageError
from tourlog.storage.log import Batch, Commit, EntityRecord, Given, Log, Result, StreamRecord, Transaction

_BY_T = attrgetter("t")
_BY_FIRST = attrgetter("first")


@dataclass(frozen=True)
class Layer:
    """Prepared transactions, or parts of one, put together. Tuples are in the order of the log."""

    transactions: Mapping[int, Transaction]
    streams: tuple[StreamRecord, ...]
    batches: tuple[Batch, ...]
    by_stream: Mapping[int, tuple[Batch, ...]]
    entities: Mapping[bytes, tuple[EntityRecord, ...]]
    amended: Mapping[int, tuple[EntityRecord, ...]]

    @property
    def size(self) -> int:
        """How much work it is to copy."""
        return len(self.batches) + len(self.entities) + len(self.streams) + 1

    @cached_property
    def by_id(self) -> Mapping[int, StreamRecord]:
        return {record.id: record for record in self.streams}

    @cached_property
    def by_key(self) -> Mapping[bytes, StreamRecord]:
        return {record.key: record for record in self.streams}

    @cached_property
    def by_prefix(self) -> Mapping[int, StreamRecord]:
        return {record.prefix: record for record in self.streams}

    @cached_property
    def by_name(self) -> Mapping[str, StreamRecord]:
        return {record.name: record for record in self.streams}


def layer_of(commit: Commit) -> Layer:
    """One prepared transaction as a layer."""
    by_stream: dict[int, list[Batch]] = {}
    for batch in commit.batches:
        if batch.stream:
            by_stream.setdefault(batch.stream, []).append(batch)
    amended: dict[int, list[EntityRecord]] = {}
    for record in commit.entities:
        if record.stream is not None:
            amended.setdefault(record.stream, []).append(record)
    return Layer(
        {commit.transaction.t: commit.transaction},
        commit.streams,
        commit.batches,
        {stream: tuple(batches) for stream, batches in by_stream.items()},
        {record.key: (record,) for record in commit.entities},
        {stream: tuple(records) for stream, records in amended.items()},
    )


def stacked(layers: tuple[Layer, ...], layer: Layer) -> tuple[Layer, ...]:
    """The layers with one more on top. Those not much larger than what lies on them are merged into it, so that
    n layers leave about log n to look through, and each is copied about log n times."""
    while layers and layers[-1].size < 2 * layer.size:
        layer = _merged(layers[-1], layer)
        layers = layers[:-1]
    return (*layers, layer)


def _merged(first: Layer, second: Layer) -> Layer:
    return Layer(
        {**first.transactions, **second.transactions},
        first.streams + second.streams,
        first.batches + second.batches,
        {**first.by_stream, **{s: first.by_stream.get(s, ()) + more for s, more in second.by_stream.items()}},
        {**first.entities, **{k: first.entities.get(k, ()) + more for k, more in second.entities.items()}},
        {**first.amended, **{s: first.amended.get(s, ()) + more for s, more in second.amended.items()}},
    )


class OverlayLog:
    """Reads like a `Log` that goes on after position `base_t` with `commit`; cannot be written.

    `base` may be another overlay. At its end the new one continues it with the next transaction, or with more of
    the same, and lies on what it lies on: overlays do not pile up.
    """

    def __init__(self, base: Log, base_t: int, commit: Commit) -> None:
        self.path, self.salt, self._t = base.path, base.salt, commit.transaction.t
        self.base: Log = base
        self.base_t: int = base_t
        below: tuple[Layer, ...] = ()
        if isinstance(base, OverlayLog) and base_t == base.head().t:
            self.base, self.base_t, below = base.base, base.base_t, base._layers
        self._layers: tuple[Layer, ...] = stacked(below, layer_of(commit))

    def head(self) -> Transaction:
        return self._layers[-1].transactions[self._t]

    def settled(self) -> int:
        return self._t

    def transaction(self, t: int) -> Transaction | None:
        if t <= self.base_t:
            return self.base.transaction(t)
        own = (layer.transactions[t] for layer in reversed(self._layers) if t in layer.transactions)
        return next(own, None)

    def transaction_by_id(self, tx_id: str) -> Transaction | None:
        found = self.base.transaction_by_id(tx_id)  # what is not committed yet has no id
        return found if found is not None and found.t <= self.base_t else None

    def position_at(self, instant: int) -> int:
        for t in range(self._t, self.base_t, -1):
            transaction = self.transaction(t)
            assert transaction is not None, "positions are dense"
            if instant >= transaction.instant:
                return t
        return min(self.base.position_at(instant), self.base_t)

    def stream_by_key(self, key: bytes) -> StreamRecord | None:
        own = (layer.by_key[key] for layer in self._layers if key in layer.by_key)
        return next(own, None) or self._visible(self.base.stream_by_key(key))

    def stream_by_prefix(self, prefix: int) -> StreamRecord | None:
        own = (layer.by_prefix[prefix] for layer in self._layers if prefix in layer.by_prefix)
        return next(own, None) or self._visible(self.base.stream_by_prefix(prefix))

    def stream_by_name(self, name: str) -> StreamRecord | None:
        own = (layer.by_name[name] for layer in self._layers if name in layer.by_name)
        return next(own, None) or self._visible(self.base.stream_by_name(name))

    def stream_by_id(self, stream: int) -> StreamRecord | None:
        return self._own_stream(stream) or self._visible(self.base.stream_by_id(stream))

    def streams(self, t: int) -> list[tuple[StreamRecord, int]]:
        own = [(record, 0) for layer in self._layers for record in layer.streams if record.t <= t]
        found = (*self.base.streams(min(t, self.base_t)), *own)
        return [(record, self._own_end(record.id, t) or end) for record, end in found]

    def next_stream(self) -> int:
        own = (layer.streams[-1].id + 1 for layer in self._layers if layer.streams)
        return max((self.base.next_stream(), *own))

    def next_offset(self, stream: int, t: int) -> int:
        end = self._own_end(stream, t)
        if end or self._own_stream(stream):
            return end
        return self.base.next_offset(stream, min(t, self.base_t))

    def read(self, stream: int, start: int, stop: int, t: int) -> Iterator[Batch]:
        if start >= stop:
            return
        if self._own_stream(stream) is None:
            yield from self.base.read(stream, start, stop, min(t, self.base_t))
        for layer in self._layers:
            batches = layer.by_stream.get(stream, ())
            for place in range(max(bisect_right(batches, start, key=_BY_FIRST) - 1, 0), len(batches)):
                batch = batches[place]
                if batch.first >= stop or batch.t > t:
                    return
                if start < batch.first + batch.count:
                    yield batch

    def rows(self, t: int) -> int:
        own = sum(bisect_right(layer.batches, t, key=_BY_T) for layer in self._layers)
        return self.base.rows(min(t, self.base_t)) + own

    def tail(self, after: int, upto: int) -> Iterator[Batch]:
        yield from self.base.tail(after, min(upto, self.base_t))
        for layer in self._layers:
            for batch in layer.batches:
                if after < batch.t <= upto:
                    yield batch

    def entity(self, key: bytes, t: int) -> EntityRecord | None:
        for layer in reversed(self._layers):
            records = layer.entities.get(key, ())
            end = bisect_right(records, t, key=_BY_T)
            if end:
                return records[end - 1]
        return self.base.entity(key, min(t, self.base_t))

    def amended(self, stream: int, start: int, stop: int, t: int) -> dict[int, EntityRecord]:
        found: dict[int, EntityRecord] = {}
        if self._own_stream(stream) is None:
            found.update(self.base.amended(stream, start, stop, min(t, self.base_t)))
        for layer in self._layers:
            for record in layer.amended.get(stream, ()):
                if record.t <= t and record.offset is not None and start <= record.offset < stop:
                    found[record.offset] = record
        return found

    def writing(self, *, alone: bool = False) -> AbstractContextManager[None]:  # noqa: ARG002  # the interface of a log
        raise StorageError("a speculative database cannot be written to", path=self.path)

    def written(self, work: Callable[[*Given], Result], *given: *Given) -> Result:  # noqa: ARG002  # the interface of a log
        raise StorageError("a speculative database cannot be written to", path=self.path)

    def check_free(self) -> None:
        raise StorageError("a speculative database cannot be written to", path=self.path)

    def append(self, *commits: Commit) -> None:  # noqa: ARG002  # the interface of a log
        raise StorageError("a speculative database cannot be written to", path=self.path)

    def compact(self) -> int:
        raise StorageError("a speculative database cannot be written to", path=self.path)

    def close(self) -> None:
        """Nothing is held open."""

    def _own_end(self, stream: int, t: int) -> int:
        """Where the layers end the stream at `t`; 0 when they add nothing to it."""
        for layer in reversed(self._layers):
            batches = layer.by_stream.get(stream, ())
            end = bisect_right(batches, t, key=_BY_T)
            if end:
                return batches[end - 1].first + batches[end - 1].count
        return 0

    def _own_stream(self, stream: int) -> StreamRecord | None:
        return next((layer.by_id[stream] for layer in self._layers if stream in layer.by_id), None)

    def _visible(self, record: StreamRecord | None) -> StreamRecord | None:
        return record if record is not None and record.t <= self.base_t else None
