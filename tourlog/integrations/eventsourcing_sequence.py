"""The sequence of one aggregate: its stored events as the documents of one stream, found by their versions.

A stream's offsets are dense; versions are the caller's: unique, with gaps where snapshots are, and nearly always
growing. An event that comes with a lower version than the newest goes to a stream of late ones beside it, so that in
the aggregate's own stream versions grow with the offsets, and no search has to look at more than it returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Any
from uuid import UUID

from eventsourcing.persistence import DataError, IntegrityError, StoredEvent

from tourlog.errors import shown
from tourlog.integrations.eventsourcing_store import as_bytes, as_document
from tourlog.snapshot import EVERYTHING, Snapshot
from tourlog.stream import Stream

Document = dict[str, Any]

_NEAR = 4
"""So many documents more are read at once where that may save a search, which reads them one by one."""


@dataclass(frozen=True)
class Attributes:
    """What the attributes of a recorder's events are called: those of other purposes than events have it before
    them, `snapshots/topic`, so that questions about events are not answered by snapshots."""

    purpose: str = "events"

    def named(self, name: str) -> str:
        """The attribute of a name."""
        return name if self.purpose == "events" else f"{self.purpose}/{name}"

    @cached_property
    def sequence(self) -> str:
        """The key attribute of the streams."""
        return self.named("sequence")

    @cached_property
    def originator_id(self) -> str:
        """The attribute of an aggregate's id."""
        return self.named("originator_id")

    @cached_property
    def version(self) -> str:
        """The attribute of an event's version."""
        return self.named("originator_version")

    @cached_property
    def topic(self) -> str:
        """The attribute of an event's topic."""
        return self.named("topic")

    @cached_property
    def state(self) -> str:
        """The attribute of an event's state."""
        return self.named("state")

    def stream(self, originator_id: UUID | str) -> Stream:
        """The stream of an aggregate."""
        return Stream((self.sequence,), (originator_id,))

    def late_stream(self, originator_id: UUID | str) -> Stream:
        """Named by bytes, which no id is; a text is told from the UUID it may spell."""
        kind = "uuid" if isinstance(originator_id, UUID) else "text"
        return Stream((self.sequence,), (f"late {kind} {originator_id}".encode("utf-8", "surrogatepass"),))

    def document(self, event: StoredEvent, stream: Stream) -> Document:
        """An event as a document of a stream."""
        return {
            self.sequence: stream.values[0],
            self.originator_id: event.originator_id,
            self.version: event.originator_version,
            self.topic: event.topic,
            **as_document(self.state, event.state),
        }

    def event(self, document: Document) -> StoredEvent:
        """The event that a document is."""
        return StoredEvent(
            originator_id=document[self.originator_id],
            originator_version=document[self.version],
            topic=document[self.topic],
            state=as_bytes(self.state, document),
        )


@dataclass(frozen=True)
class AggregateSequence:
    """The documents of one aggregate at a position of the log."""

    snapshot: Snapshot
    attributes: Attributes
    originator_id: UUID | str

    @cached_property
    def stream(self) -> Stream:
        """The aggregate's stream."""
        return self.attributes.stream(self.originator_id)

    @cached_property
    def late_stream(self) -> Stream:
        """The stream of its late events."""
        return self.attributes.late_stream(self.originator_id)

    @cached_property
    def length(self) -> int:
        """How many documents the aggregate's stream has."""
        return self.snapshot.next_offset(self.stream)

    @property
    def newest(self) -> int:
        """The highest version; -1 if there is none."""
        return self._version(self._at(self.length - 1)) if self.length else -1

    def has(self, version: int) -> bool:
        """Whether a document has this version."""
        return bool(self.select(version - 1, version, desc=False, limit=None))

    def select(self, gt: int | None, lte: int | None, desc: bool, limit: int | None) -> list[Document]:
        """The documents of versions gt + 1 … lte in the order of versions, or the opposite; at most `limit`."""
        after, upto = -1 if gt is None else gt, EVERYTHING if lte is None else lte
        if self.length == 0 or upto <= after:
            return []
        last = desc and limit is not None
        found = self._last(after, upto, limit or 0) if last else self._first(after, upto, None if desc else limit)
        late = [each.document for each in self.snapshot.ordered(self.late_stream, 0, EVERYTHING)]
        if late:
            found += [document for document in late if after < self._version(document) <= upto]
            found.sort(key=self._version)
        return (found[::-1] if desc else found)[:limit]

    def _first(self, after: int, upto: int, limit: int | None) -> list[Document]:
        """The first documents of these versions. As versions are whole numbers that grow, none is lower than its
        offset; as most have no gaps, reading from `after` - 1 rarely skips one, and shows if it does."""
        start, stop = max(0, after - 1), min(self.length, upto + 1)
        documents = self._read(start, stop)
        first = next(documents, None)
        if start and (first is None or self._version(first) > after + 1):
            documents = self._read(self._count_up_to(after), stop)
        elif first is not None:
            documents = chain((first,), documents)
        return list(islice((each for each in documents if after < self._version(each) <= upto), limit))

    def _last(self, after: int, upto: int, limit: int) -> list[Document]:
        """The last documents of these versions: from a little before where they end if there are no gaps, or else
        from where a search finds that they end."""
        stop = min(self.length, upto + 1)
        start = max(0, stop - limit - (_NEAR if upto < EVERYTHING else 0))
        found = [each for each in self._read(start, stop) if self._version(each) <= upto]
        if start and len(found) < limit:
            stop = self._count_up_to(upto)
            found = list(self._read(max(0, stop - limit), stop))
        return [each for each in found[max(0, len(found) - limit) :] if self._version(each) > after]

    def _count_up_to(self, version: int) -> int:
        """How many documents have this version or a lower one: by bisection, first where it is without gaps."""
        low, high = 0, min(self.length, version + 1)
        middle = high - 1
        while low < high:
            if self._version(self._at(middle)) <= version:
                low = middle + 1
            else:
                high = middle
            middle = (low + high) // 2
        return low

    def _version(self, document: Document) -> int:
        return int(document[self.attributes.version])

    def _at(self, offset: int) -> Document:
        return next(self._read(offset, offset + 1))

    def _read(self, start: int, stop: int) -> Iterator[Document]:
        return (each.document for each in self.snapshot.ordered(self.stream, start, stop))


@dataclass
class Extension:
    """Events on their way to the end of one aggregate's sequence."""

    sequence: AggregateSequence
    newest: int
    added: set[int] = field(default_factory=set)
    has_late: bool = False

    def document(self, event: StoredEvent) -> Document:
        """The next event as a document; `IntegrityError` if its version is taken, `DataError` for what is no event."""
        _check(event)
        version = event.originator_version
        late = version <= self.newest
        if late and (version in self.added or self.sequence.has(version)):
            raise IntegrityError(f"version {version} of {event.originator_id} is already recorded")
        self.newest = max(self.newest, version)
        self.added.add(version)
        self.has_late |= late
        return self.sequence.attributes.document(event, self.sequence.late_stream if late else self.sequence.stream)

    def heads(self) -> Iterator[tuple[Stream, int]]:
        """Where the streams must end that the events extend."""
        yield self.sequence.stream, self.sequence.length
        if self.has_late:
            yield self.sequence.late_stream, self.sequence.snapshot.next_offset(self.sequence.late_stream)


def _check(event: StoredEvent) -> None:
    """Raise `DataError` unless an event is of what events are made of, so that it can be read, too."""
    who, version = event.originator_id, event.originator_version
    if type(version) is not int or not 0 <= version < EVERYTHING:
        raise DataError(f"expected a version from 0, got {shown(version)}, for {shown(who)}")
    if not isinstance(who, UUID | str):
        raise DataError(f"expected an id as a UUID or text, got {shown(who)}")
    if type(event.topic) is not str:
        raise DataError(f"expected a topic as text, got {shown(event.topic)}, for {shown(who)}")
    if type(event.state) is not bytes:
        raise DataError(f"expected a state of bytes, got {shown(event.state)}, for {shown(who)}")


def extended(
    snapshot: Snapshot, attributes: Attributes, events: Sequence[StoredEvent]
) -> tuple[list[Document], dict[Stream, int]]:
    """The documents of new events, in order, and where the streams they extend have to end."""
    extensions: dict[UUID | str, Extension] = {}
    documents = []
    for event in events:
        extension = extensions.get(event.originator_id)
        if extension is None:
            sequence = AggregateSequence(snapshot, attributes, event.originator_id)
            extension = extensions[event.originator_id] = Extension(sequence, sequence.newest)
        documents.append(extension.document(event))
    return documents, {stream: head for extension in extensions.values() for stream, head in extension.heads()}
