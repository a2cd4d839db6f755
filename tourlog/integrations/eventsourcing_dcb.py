"""The recorder for dynamic consistency boundaries of `eventsourcing`: one stream of decisions, found by their types
and tags through the facts they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

from eventsourcing.dcb.api import (
    DCBAppendCondition,
    DCBEvent,
    DCBQuery,
    DCBQueryItem,
    DCBReadResponse,
    DCBRecorder,
    DCBSequencedEvent,
)
from eventsourcing.dcb.persistence import DCBListenNotifySubscription
from eventsourcing.persistence import IntegrityError, ProgrammingError

from tourlog.integrations.eventsourcing_store import (
    Datastore,
    as_bytes,
    as_document,
    persistence_errors,
    pull_until_notified,
)
from tourlog.snapshot import Ordered, Snapshot
from tourlog.stream import Stream, document_place

_SEQUENCE, _TYPE, _TAGS, _DATA = "decision/sequence", "decision/type", "decision/tags", "decision/data"
_DECISIONS = Stream((_SEQUENCE,), ("dcb",))

_FEW = 100
"""Up to so many documents of the stream are read and looked at rather than found through the facts."""
_NEAR = 20
"""Up to so many documents between two wanted ones are read over rather than around."""


class TourlogDCBRecorder(DCBRecorder):
    """Records decisions in one sequence, positions 1, 2, 3, …, in its `datastore`. Made by `Factory`. Every method
    raises OperationalError once the store is closed, or when its file cannot be read or written."""

    def __init__(self, datastore: Datastore) -> None:
        self.datastore = datastore

    def read(
        self, query: DCBQuery | None = None, *, after: int | None = None, limit: int | None = None
    ) -> DCBReadResponse:
        """The decisions `after` a position that match any item of the `query`, all if it has none; at most `limit`. The
        response's head is the newest position there is, or that of the last one returned if limited."""
        with persistence_errors():
            snapshot = self.datastore.connection.db().snapshot
            end = snapshot.next_offset(_DECISIONS)
            found = _matching(snapshot, query or DCBQuery(), after or 0, end)
            decisions = [_decision(each) for each in islice(found, limit)]
        newest = end if limit is None else decisions[-1].position if decisions else 0
        return TourlogReadResponse(iter(decisions), newest or None)

    def append(self, events: Sequence[DCBEvent], condition: DCBAppendCondition | None = None) -> int:
        """Record decisions, `events`, all or none, unless one that was recorded after `condition.after` matches its
        query: IntegrityError. The position of the last. ProgrammingError for none, DataError for what cannot be
        stored."""
        if not events:
            raise ProgrammingError("expected at least one event to append, got none")
        documents = [
            {_SEQUENCE: "dcb", _TYPE: event.type, _TAGS: list(event.tags), **as_document(_DATA, event.data)}
            for event in events
        ]
        with persistence_errors(), self.datastore.connection.transaction() as connection:
            if condition is not None:
                _check_condition(connection.db().snapshot, condition)
            offsets = connection.append(documents, _SEQUENCE).offsets[_DECISIONS]
        self.datastore.notify()
        return offsets.stop

    def subscribe(self, query: DCBQuery | None = None, *, after: int | None = None) -> TourlogDCBSubscription:
        """What `read` gives for a `query`, `after` a position, waiting for new decisions."""
        return TourlogDCBSubscription(self, query=query, after=after)


class TourlogReadResponse(DCBReadResponse):
    """Decisions that were read, and how far the reader has seen. Made by `TourlogDCBRecorder.read`."""

    def __init__(self, decisions: Iterator[DCBSequencedEvent], head: int | None) -> None:
        self._decisions, self._head = decisions, head

    @property
    def head(self) -> int | None:
        """The newest position there is, or that of the last decision returned if limited; None if there is none."""
        return self._head

    def __next__(self) -> DCBSequencedEvent:
        return next(self._decisions)


class TourlogDCBSubscription(DCBListenNotifySubscription[TourlogDCBRecorder]):
    """Decisions as they are recorded. Made by `TourlogDCBRecorder.subscribe`."""

    def __init__(self, recorder: TourlogDCBRecorder, query: DCBQuery | None = None, after: int | None = None) -> None:
        super().__init__(recorder=recorder, query=query, after=after)
        recorder.datastore.listen(self._has_been_notified)

    def stop(self) -> None:
        """End it: whoever waits for it stops."""
        super().stop()
        self._recorder.datastore.unlisten(self._has_been_notified)

    def _pull(self) -> None:
        pull_until_notified(self, self._recorder.datastore, super()._pull)


def _check_condition(snapshot: Snapshot, condition: DCBAppendCondition) -> None:
    end = snapshot.next_offset(_DECISIONS)
    found = next(_matching(snapshot, condition.fail_if_events_match, condition.after or 0, end), None)
    if found is not None:
        raise IntegrityError(f"the decision at position {found.offset + 1} matches {condition}")


def _matching(snapshot: Snapshot, query: DCBQuery, start: int, end: int) -> Iterator[Ordered]:
    """The decisions at the offsets start … end - 1 that match any item of a query, in order."""
    if not query.items:
        return snapshot.ordered(_DECISIONS, start, end)
    if end - start <= _FEW or not all(item.tags or item.types for item in query.items):
        candidates = snapshot.ordered(_DECISIONS, start, end)
    else:
        found = (_found(snapshot, item, range(start, end)) for item in query.items)
        candidates = _ordered(snapshot, sorted(set().union(*found)))
    return (each for each in candidates if _matches(query, each))


def _matches(query: DCBQuery, each: Ordered) -> bool:
    kind, tags = each.document[_TYPE], frozenset(each.document[_TAGS])
    return any((not item.types or kind in item.types) and tags.issuperset(item.tags) for item in query.items)


def _found(snapshot: Snapshot, item: DCBQueryItem, span: range) -> set[int]:
    """The offsets among which those of an item's decisions are: by its tags, for types are shared by many."""
    if item.tags:
        return set.intersection(*(_offsets(snapshot, _TAGS, (tag,), span) for tag in item.tags))
    return _offsets(snapshot, _TYPE, item.types, span)


def _offsets(snapshot: Snapshot, attribute: str, values: Iterable[str], span: range) -> set[int]:
    places = (document_place(fact.e) for value in values for fact in snapshot.stored_facts(a=attribute, v=value))
    return {place[1] for place in places if place is not None and place[1] in span}


def _ordered(snapshot: Snapshot, offsets: Sequence[int]) -> Iterator[Ordered]:
    """The documents at these ascending offsets, and some between them: near ones are read together."""
    for start, stop in _spans(offsets):
        yield from snapshot.ordered(_DECISIONS, start, stop)


def _spans(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges that cover ascending offsets, without gaps of more than a few."""
    breaks = [0, *(n for n, (a, b) in enumerate(pairwise(offsets), 1) if b - a > _NEAR), len(offsets)]
    return ((offsets[first], offsets[end - 1] + 1) for first, end in pairwise(breaks) if first < end)


def _decision(each: Ordered) -> DCBSequencedEvent:
    document = each.document
    event = DCBEvent(type=document[_TYPE], data=as_bytes(_DATA, document), tags=list(document[_TAGS]))
    return DCBSequencedEvent(event=event, position=each.offset + 1)
