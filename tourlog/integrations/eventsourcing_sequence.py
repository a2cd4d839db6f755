"""The sequence of one aggregate: its stored events as the documents of one stream, found by their versions.

A stream's offsets are dense; versions are the caller's: unique, nearly always growing, with gaps where snapshots
are. An event that comes with a lower version than one before it marks its own document and all later ones of the
stream, so that whoever reads the end of a stream knows whether its versions grow with its offsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from eventsourcing.persistence import IntegrityError, StoredEvent

from tourlog.integrations.eventsourcing_store import as_bytes, as_document
from tourlog.snapshot import EVERYTHING, Snapshot
from tourlog.stream import Stream

Document = dict[str, Any]


@dataclass(frozen=True)
class Attributes:
    """What the attributes of a recorder's events are called: those of other purposes than events have it before
    them, `snapshots/topic`, so that questions about events are not answered by snapshots."""

    purpose: str = "events"

    def named(self, name: str) -> str:
        return name if self.purpose == "events" else f"{self.purpose}/{name}"

    @cached_property
    def sequence(self) -> str:
        return self.named("sequence")

    @cached_property
    def originator_id(self) -> str:
        return self.named("originator_id")

    @cached_property
    def version(self) -> str:
        return self.named("originator_version")

    @cached_property
    def topic(self) -> str:
        return self.named("topic")

    @cached_property
    def state(self) -> str:
        return self.named("state")

    @cached_property
    def out_of_order(self) -> str:
        return self.named("out_of_order")

    def stream(self, originator_id: UUID | str) -> Stream:
        return Stream((self.sequence,), (originator_id,))

    def document(self, event: StoredEvent, out_of_order: bool) -> Document:
        return {
            self.sequence: event.originator_id,
            self.originator_id: event.originator_id,
            self.version: event.originator_version,
            self.topic: event.topic,
            **as_document(self.state, event.state),
            **({self.out_of_order: True} if out_of_order else {}),
        }

    def event(self, document: Document) -> StoredEvent:
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
        return self.attributes.stream(self.originator_id)

    @cached_property
    def length(self) -> int:
        return self.snapshot.next_offset(self.stream)

    @cached_property
    def last(self) -> Document | None:
        return self._at(self.length - 1) if self.length else None

    def select(self, gt: int | None, lte: int | None, desc: bool, limit: int | None) -> list[Document]:
        """The documents of versions gt + 1 … lte in the order of versions, or the opposite; at most `limit`."""
        if gt is None and lte is None and limit is None:
            return self._in_order(list(self._read(0, EVERYTHING)), desc)
        if self.last is None:
            return []
        if self._is_out_of_order(self.last):
            wanted = [document for document in self._read(0, self.length) if _within(self._version(document), gt, lte)]
            return self._in_order(wanted, desc)[:limit]
        start = 0 if gt is None else self._count_up_to(gt)
        stop = self.length if lte is None else self._count_up_to(lte)
        if limit is not None:
            start, stop = (max(start, stop - limit), stop) if desc else (start, min(stop, start + limit))
        documents = list(self._read(start, stop))
        return documents[::-1] if desc else documents

    def versions(self) -> set[int]:
        return {self._version(document) for document in self._read(0, self.length)}

    def _in_order(self, documents: list[Document], desc: bool) -> list[Document]:
        if documents and self._is_out_of_order(documents[-1]):
            documents.sort(key=self._version)
        return documents[::-1] if desc else documents

    def _count_up_to(self, version: int) -> int:
        """How many documents have this version or a lower one. Versions grow by one or more an offset, which
        bounds the answer from the end and from the beginning: where they have no gaps, to one number."""
        missing = 0 if self.last is None else self._version(self.last) - version
        if missing <= 0:
            return self.length
        low = max(0, self.length - missing)
        high = max(low, min(self.length, version - self._version(self._at(0)) + 1))
        while low < high:
            middle = (low + high) // 2
            if self._version(self._at(middle)) <= version:
                low = middle + 1
            else:
                high = middle
        return low

    def _is_out_of_order(self, document: Document) -> bool:
        return self.attributes.out_of_order in document

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
    newest: int | None = None
    out_of_order: bool = False
    versions: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        last = self.sequence.last
        if last is not None:
            self.newest = last[self.sequence.attributes.version]
            self.out_of_order = self.sequence.attributes.out_of_order in last

    def document(self, event: StoredEvent) -> Document:
        """The next event as a document; `IntegrityError` if its version is taken."""
        version = event.originator_version
        if self.out_of_order or (self.newest is not None and version <= self.newest):
            if version in self.versions or version in self.sequence.versions():
                raise IntegrityError(f"version {version} of {event.originator_id} is already recorded")
            self.out_of_order = True
        self.newest = version
        self.versions.append(version)
        return self.sequence.attributes.document(event, self.out_of_order)


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
            extension = extensions[event.originator_id] = Extension(sequence)
        documents.append(extension.document(event))
    heads = {extension.sequence.stream: extension.sequence.length for extension in extensions.values()}
    return documents, heads


def _within(version: int, gt: int | None, lte: int | None) -> bool:
    return (gt is None or version > gt) and (lte is None or version <= lte)
