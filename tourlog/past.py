"""The past of a log in order: its transactions one after another, and the states one entity went through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from tourlog.draft import facts_between
from tourlog.errors import ArgumentError
from tourlog.fact_index import instant_of
from tourlog.facts import Fact
from tourlog.snapshot import Snapshot
from tourlog.storage.log import Batch, Log
from tourlog.stream import ID_KEY, META_KEY, OFFSET_KEY, OFFSET_METADATA, SYSTEM_PREFIX, Stream
from tourlog.values import decode, ordered_bytes

_BY_T = attrgetter("t")


@dataclass(frozen=True)
class PastTransaction:
    """One transaction of the log: its position `t`, the `instant` at which it was committed, its `tx_id` if it was
    given one, what the caller stated about it (`meta`), and the range of `offsets` it appended to each `Stream`."""

    t: int
    instant: datetime
    tx_id: str | None
    meta: Mapping[str, Any]
    offsets: Mapping[Stream, range]
    _facts: Callable[[], Iterable[Fact]]

    @cached_property
    def tx_data(self) -> tuple[Fact, ...]:
        """The facts added and retracted, read when first asked for: StorageError if the store was closed before."""
        return tuple(self._facts())

    def __repr__(self) -> str:
        offsets = "".join(f" {stream}: {span.start}…{span.stop - 1}" for stream, span in self.offsets.items())
        return f"<PastTransaction t={self.t} {self.instant.isoformat()}{offsets}>"


class EntityVersion(NamedTuple):
    """How transaction `t`, committed at `instant`, left an entity: as this `document`, None when it retracted it."""

    t: int
    instant: datetime
    document: dict[str, Any] | None


def transactions(snapshot: Snapshot, start: int, stop: int) -> Iterator[PastTransaction]:
    """The transactions start … stop - 1 in order, as far as the snapshot sees them."""
    start, stop = max(start, snapshot.since + 1), min(stop, snapshot.t + 1)
    offsets = _offsets_by_transaction(snapshot.log, start, stop)
    at, found = next(offsets, (stop, {}))
    for t in range(start, stop):
        yield _past(snapshot, t, found if at == t else {})
        if at == t:
            at, found = next(offsets, (stop, {}))


def offsets_of(log: Log, t: int) -> dict[Stream, range]:
    """The offsets that transaction `t` appended to each stream."""
    return next(_offsets_by_transaction(log, t, t + 1), (t, {}))[1]


def _offsets_by_transaction(log: Log, start: int, stop: int) -> Iterator[tuple[int, dict[Stream, range]]]:
    for t, batches in groupby(log.tail(start - 1, stop - 1), key=_BY_T):
        yield t, _offsets(log, batches)


def _offsets(log: Log, batches: Iterable[Batch]) -> dict[Stream, range]:
    spans: dict[int, range] = {}
    for batch in batches:
        if batch.stream:
            first = spans[batch.stream].start if batch.stream in spans else batch.first
            spans[batch.stream] = range(first, batch.first + batch.count)
    records = ((log.stream_by_id(stream), span) for stream, span in spans.items())
    return {Stream(record.names, record.values): span for record, span in records if record is not None}


def _past(snapshot: Snapshot, t: int, offsets: Mapping[Stream, range]) -> PastTransaction:
    transaction = snapshot.log.transaction(t)
    assert transaction is not None, "positions are dense"
    before, after = (Snapshot(snapshot.log, snapshot.index, position) for position in (t - 1, t))
    return PastTransaction(
        t,
        instant_of(transaction.instant),
        transaction.tx_id,
        meta_of(snapshot, t),
        offsets,
        lambda: facts_between(before, after, t - 1),
    )


def meta_of(snapshot: Snapshot, t: int) -> dict[str, Any]:
    """What is stated about transaction `t`; an entity of the caller's that has the same number is not it."""
    state = snapshot.state(t) or {}
    return _own(state) if META_KEY in state else {}


def versions(snapshot: Snapshot, e: Any) -> list[EntityVersion]:
    """The states an entity went through, oldest first: one for each transaction that changed it."""
    if type(e) is str and e == OFFSET_METADATA:
        raise ArgumentError(f"{OFFSET_METADATA!r} is a view of the streams: see it as_of a position", argument="eid")
    found = [(t, _own(state or {})) for t, state in _states(snapshot, e)]
    return [
        EntityVersion(t, _instant(snapshot.log, t), {ID_KEY: e, **own} if own else None) for t, own in reversed(found)
    ]


def _states(snapshot: Snapshot, e: Any) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The transactions that changed an entity, newest first, with what each left."""
    key, t = ordered_bytes(e), snapshot.t
    while (record := snapshot.log.entity(key, t)) is not None:
        if record.t <= snapshot.since:
            return
        yield record.t, decode(record.state)
        t = record.t - 1
    appended = snapshot.appended(e)
    if appended is not None and appended[1].tx > snapshot.since:
        yield appended[1].tx, {OFFSET_KEY: appended[1].offset, **appended[1].document}


def _own(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.startswith(SYSTEM_PREFIX)}


def _instant(log: Log, t: int) -> datetime:
    transaction = log.transaction(t)
    assert transaction is not None, "positions are dense"
    return instant_of(transaction.instant)
