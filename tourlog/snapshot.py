"""An immutable position in a log, with the ways into what holds there: streams, entities, facts.

Says nothing of queries; whoever asks gets the same answer for ever, whatever is appended later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from msgspec import Struct

from tourlog.errors import ArgumentError
from tourlog.fact_index import AttributeIndex, FactIndex, ForkedIndex
from tourlog.facts import COLLECTIONS, Fact, elements, path_under, select
from tourlog.facts import roots as attribute_roots
from tourlog.storage.batches import gathered, spans_of
from tourlog.storage.log import Batch, EntityRecord, Log, StreamRecord
from tourlog.stream import (
    ID_KEY,
    OFFSET_KEY,
    OFFSET_METADATA,
    ORDER_KEY,
    SYSTEM_PREFIX,
    Stream,
    document_ids,
    document_place,
)
from tourlog.values import decode, decode_documents, decode_slice, identity, ordered_bytes, plain

_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})

_MOST_AMENDED = 10_000
"""Of so many documents at a time it is asked which were changed."""


class _Any:
    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Any()
"""In a pattern: any value at all."""

EVERYTHING = (1 << 62) - 1
"""An offset past every document of any stream."""


class Ordered(NamedTuple):
    """A document in its place: its id, its offset, its own attributes, the transaction that appended it."""

    e: Any
    offset: int
    document: dict[str, Any]
    tx: int


class Part(Struct, frozen=True, gc=False):
    """Some documents of a stream from offset `first` on, None for those retracted."""

    batch: Batch
    prefix: int
    first: int
    documents: list[Any]
    is_amended: bool


class Snapshot(Struct, frozen=True, eq=False):
    """What holds at position `t` of a log; only what came after `since`; all that ever held, for `history`."""

    log: Log
    index: FactIndex | ForkedIndex
    t: int
    since: int = 0
    history: bool = False

    # Streams.

    def find_stream(self, stream: Stream) -> StreamRecord | None:
        """The stream's record, None if it does not exist at this position."""
        record = self.log.stream_by_key(stream.key)
        return record if record is not None and record.t <= self.t else None

    def next_offset(self, stream: Stream) -> int:
        """The offset the stream's next document takes; 0 for a stream that does not exist."""
        record = self.find_stream(stream)
        return 0 if record is None else self.log.next_offset(record.id, self.t)

    def ordered(self, stream: Stream, start: int, stop: int) -> Iterator[Ordered]:
        """The documents at offsets start … stop - 1 in order, straight from the log; all that ever were, as they
        were appended, for a history."""
        record = self.find_stream(stream)
        for part in self._parts(record, start, stop):
            t, end, spans = part.batch.t, part.batch.first, iter(spans_of(part.batch))
            ids = document_ids(part.prefix, part.first, len(part.documents))
            for offset, (e, document) in enumerate(zip(ids, part.documents, strict=True), part.first):
                while offset >= end:
                    t, count = next(spans)
                    end += count
                if document is not None:
                    yield Ordered(e, offset, document, t)

    def documents(self, stream: Stream, start: int, stop: int) -> Iterator[list[dict[str, Any]]]:
        """The documents at offsets start … stop - 1 in order, each with its `db/id` and `offset`, some at a time."""
        return map(_placed, self._parts(self.find_stream(stream), start, stop))

    def own_documents(self, stream: Stream, start: int, stop: int) -> Iterator[list[dict[str, Any]]]:
        """The same documents as they were given, without id and offset."""
        return map(_present, self._parts(self.find_stream(stream), start, stop))

    def document_at(self, stream: int, offset: int) -> dict[str, Any] | None:
        """One document of the stream with this id, as it was given or left; None where there is none, or no more."""
        amended = self.log.amended(stream, offset, offset + 1, self.t)
        if amended:
            return _amended(amended[offset])
        for batch in self.log.read(stream, offset, offset + 1, self.t):
            (document,) = decode_slice(batch.body, offset - batch.first, offset - batch.first + 1)
            return document
        return None

    def _parts(self, record: StreamRecord | None, start: int, stop: int) -> Iterator[Part]:
        """The documents of each batch that holds any of these, in order; the batch begins where they do if it is of
        several transactions."""
        if record is None or start >= stop:
            return
        start = max(start, 0)
        if self.since:
            start = max(start, self.log.next_offset(record.id, self.since))
        amended: dict[int, EntityRecord] = {}
        known = EVERYTHING if self.history else start
        for batch in gathered(self.log.read(record.id, start, stop, self.t)):
            first, end = max(start, batch.first), min(stop, batch.first + batch.count)
            if end - first == batch.count:
                documents = decode_documents(batch.body)
            else:
                documents = decode_slice(batch.body, first - batch.first, end - batch.first)
            if end > known:
                known = max(end, min(first + _MOST_AMENDED, stop))
                amended = self.log.amended(record.id, first, known, self.t)
            changed = [offset for offset in amended if first <= offset < end] if amended else []
            for offset in changed:
                documents[offset - first] = _amended(amended[offset])  # type: ignore[assignment]  # None is retracted
            yield Part(batch, record.prefix, first, documents, bool(changed))

    def offset_metadata(self) -> dict[str, Any]:
        """The next offset of every stream under the stream's name, as one document."""
        offsets = {record.name: offset for record, offset in self.log.streams(self.t)}
        return {ID_KEY: OFFSET_METADATA, **offsets}

    # Entities.

    def state(self, e: Any) -> dict[str, Any] | None:
        """Everything an entity states now, system attributes it was stored with included; None if nothing."""
        record = self.log.entity(ordered_bytes(e), self.t)
        if record is not None:
            return decode(record.state)  # type: ignore[no-any-return]  # states are dicts or None
        found = self.appended(e)
        if found is None:
            return None
        stream, document = found
        return {OFFSET_KEY: document.offset, ORDER_KEY: list(stream.names), **document.document}

    def entity(self, e: Any) -> dict[str, Any] | None:
        """An entity as a document with its `db/id`, without other system attributes; None if unknown. After
        `since` it has what was added then and still holds; a history has no entities."""
        if self.history:
            raise ArgumentError("a history has facts but no entities: take them from the database itself or as_of")
        if type(e) is str and e == OFFSET_METADATA:
            return self.offset_metadata()
        state = self.state(e)
        if state and self.since:
            state = {key: new for key, value in state.items() for new in self._added(e, key, value)}
        own = {key: value for key, value in (state or {}).items() if not key.startswith(SYSTEM_PREFIX)}
        return {ID_KEY: e, **own} if own else None

    def _added(self, e: Any, attribute: str, content: Any) -> Iterator[Any]:
        """The content of an attribute cut to what was added after `since`; nothing if nothing was."""
        if attribute.startswith(SYSTEM_PREFIX):
            return
        added = {identity(fact.v) for fact in self.stored_facts(e, attribute)}
        kept = [element for element in elements(content) if identity(element) in added]
        if kept:
            yield kept[0] if type(content) not in COLLECTIONS else type(content)(kept)

    def appended(self, e: Any) -> tuple[StreamRecord, Ordered] | None:
        """An ordered document as it was appended, with its stream; None for what is none at this position."""
        place = document_place(e)
        stream = self.log.stream_by_prefix(place[0]) if place is not None else None
        if stream is None or place is None or stream.t > self.t:
            return None
        for batch in self.log.read(stream.id, place[1], place[1] + 1, self.t):
            number = place[1] - batch.first
            (document,) = decode_slice(batch.body, number, number + 1)
            return stream, Ordered(e, place[1], document, batch.t)
        return None

    # Facts.

    @property
    def is_plain(self) -> bool:
        """Whether this is simply what holds at `t`."""
        return self.since == 0 and not self.history

    def load(self, attributes: Iterable[str]) -> None:
        """Load the indexes of these attributes in one pass over the log."""
        self.index.load(attributes, self.t)

    def facts(self, e: Any = ANY, a: Any = ANY, v: Any = ANY) -> Iterator[Fact]:
        """The facts that fit; system attributes only when named, the stream table only as an entity named."""
        if type(e) is str and e == OFFSET_METADATA:
            return self._metadata_facts(a, v)
        return self.stored_facts(e, a, v)

    def stored_facts(self, e: Any = ANY, a: Any = ANY, v: Any = ANY) -> Iterator[Fact]:
        """The facts that fit, the view of the stream table left out."""
        if a is ANY:
            for attribute, index in self.index.attributes(self.t).items():
                yield from self._visible(attribute, index, e, v)
        elif type(a) is str:
            yield from self._visible(a, self.index.attribute(a, self.t), e, v)

    def _visible(self, attribute: str, index: AttributeIndex, e: Any, v: Any) -> Iterator[Fact]:
        bound = (e is not ANY, v is not ANY)
        found = index.find(identity(e) if bound[0] else None, identity(v) if bound[1] else None, bound)
        t, since = self.t, self.since
        for entity, value, tx, ended in found:
            if tx > t:
                continue
            over = ended is not None and ended <= t
            if type(value) in _CONTAINERS:
                value = plain(value)  # whoever gets it may change it; the index may not
            if tx > since and (self.history or not over):
                yield Fact(entity, attribute, value, tx)
            if self.history and ended is not None and over and ended > since:
                yield Fact(entity, attribute, value, ended, False)

    def _metadata_facts(self, a: Any, v: Any) -> Iterator[Fact]:
        wanted = identity(v) if v is not ANY else None
        for record, offset in self.log.streams(self.t):
            if (a is ANY or a == record.name) and (v is ANY or identity(offset) == wanted):
                yield Fact(OFFSET_METADATA, record.name, offset, record.t)


def _placed(part: Part) -> list[dict[str, Any]]:
    """The documents with their `db/id` and `offset`."""
    documents = part.documents
    ids = document_ids(part.prefix, part.first, len(documents))
    placed = zip(ids, range(part.first, part.first + len(documents)), documents, strict=True)
    return [{ID_KEY: e, OFFSET_KEY: offset, **own} for e, offset, own in placed if own is not None]


def _present(part: Part) -> list[dict[str, Any]]:
    """The documents that were not retracted."""
    return [each for each in part.documents if each is not None] if part.is_amended else part.documents


def state_values(state: dict[str, Any], attribute: str) -> Iterator[Any]:
    """The distinct values a document states for a (dotted) attribute."""
    seen = set()
    for root in attribute_roots(attribute):
        if root in state:
            for value in select(state[root], path_under(root, attribute)):
                key = identity(value)
                if key not in seen:
                    seen.add(key)
                    yield value


def _amended(record: EntityRecord) -> dict[str, Any] | None:
    """An ordered document as a later transaction left it; None if that retracted it, even if its id was given
    to another entity then."""
    state = decode(record.state)
    if not state or ORDER_KEY not in state:
        return None
    return {key: value for key, value in state.items() if key not in (OFFSET_KEY, ORDER_KEY)}
