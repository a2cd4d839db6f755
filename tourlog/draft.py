"""A transaction being put together: what it appends and how it leaves entities, on top of a snapshot.

Pure but for its own growth; nothing is written until somebody commits what it prepares.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tourlog.errors import TransactionError, shown
from tourlog.fact_index import ForkedIndex
from tourlog.facts import Fact, document_facts
from tourlog.snapshot import Snapshot
from tourlog.storage.log import Batch, Commit, EntityRecord, StreamRecord, Transaction
from tourlog.storage.overlay import OverlayLog
from tourlog.stream import (
    OFFSET_KEY,
    ORDER_KEY,
    Stream,
    document_id,
    document_place,
    stream_name,
    stream_prefix,
)
from tourlog.values import (
    FlatDocuments,
    decode,
    decode_documents,
    encode,
    encode_documents,
    identity,
    ordered_bytes,
    plain,
)

BATCH_DOCUMENTS = 100
BATCH_BYTES = 1 << 20
"""A batch holds at most so many documents, and is halved while it is larger than so many bytes."""

_UNCHANGED: Any = object()


@dataclass(slots=True)
class Tail:
    """What a draft adds to one stream; the first `viewed` of the documents are in the draft's view."""

    stream: Stream
    record: StreamRecord
    head: int
    documents: list[Mapping[str, Any]] = field(default_factory=list)
    viewed: int = 0
    is_flat: bool = True
    """Whether all documents came as `FlatDocuments`."""

    @property
    def next(self) -> int:
        return self.head + len(self.documents)


Amended = dict[tuple[int, int], dict[str, Any]]
"""Documents by their stream's id and their number among those the draft adds to it."""


@dataclass(frozen=True, slots=True)
class Created:
    """In a draft's journal: a stream got a tail."""

    tail: Tail


@dataclass(frozen=True, slots=True)
class Extended:
    """In a draft's journal: a tail of so many documents grew."""

    tail: Tail
    count: int


@dataclass(frozen=True, slots=True)
class Changed:
    """In a draft's journal: an entity was left in another state than this."""

    key: Any
    before: Any


@dataclass(frozen=True, slots=True)
class Savepoint:
    """How far a draft was: what to return to when an operation fails half way."""

    journal: int
    view: Snapshot


class Draft:
    """The changes of one transaction so far."""

    def __init__(self, base: Snapshot) -> None:
        self.base = base
        self.t = base.t + 1
        self._tails: dict[Stream, Tail] = {}
        self._by_prefix: dict[int, Tail] = {}
        self._names: set[str] = set()
        self._entities: dict[Any, tuple[Any, dict[str, Any] | None]] = {}
        self._created = 0
        self._journal: list[Created | Extended | Changed] = []
        self._view = base
        self._longer: dict[int, Tail] = {}
        self._touched: dict[Any, None] = {}

    # Ordered documents.

    def extend(self, tail: Tail, documents: Sequence[Mapping[str, Any]]) -> None:
        """Add checked documents to the end of their stream."""
        self._journal.append(Extended(tail, len(tail.documents)))
        tail.documents.extend(documents)
        tail.is_flat = tail.is_flat and type(documents) is FlatDocuments
        self._longer[tail.record.id] = tail

    def tail(self, stream: Stream) -> Tail:
        """The end of a stream; a stream that does not exist is created with the transaction."""
        tail = self._tails.get(stream)
        if tail is None:
            record = self.base.find_stream(stream)
            head = 0 if record is None else self.base.log.next_offset(record.id, self.base.t)
            tail = Tail(stream, record or self._new_stream(stream), head)
            self._tails[stream] = self._by_prefix[tail.record.prefix] = tail
            self._journal.append(Created(tail))
        return tail

    def next_offset(self, stream: Stream) -> int:
        """The offset the stream's next document takes."""
        tail = self._tails.get(stream)
        return tail.next if tail is not None else self.base.next_offset(stream)

    def _new_stream(self, stream: Stream) -> StreamRecord:
        name = stream_name(stream, self._is_taken_name)
        prefix = stream_prefix(self.base.log.salt, stream.key, self._is_taken_prefix)
        self._names.add(name)
        number = self.base.log.next_stream() + self._created
        self._created += 1
        return StreamRecord(number, stream.names, stream.values, stream.key, name, prefix, self.t)

    def _is_taken_name(self, name: str) -> bool:
        found = self.base.log.stream_by_name(name)
        return name in self._names or (found is not None and found.t <= self.base.t)

    def _is_taken_prefix(self, prefix: int) -> bool:
        """Whether ids begin with it: those of a stream, or one that somebody gave an entity beforehand."""
        found = self.base.log.stream_by_prefix(prefix)
        if prefix in self._by_prefix or (found is not None and found.t <= self.base.t):
            return True
        first = document_id(prefix, 0)
        return identity(first) in self._entities or self.base.log.entity(ordered_bytes(first), self.base.t) is not None

    # Entities.

    def state(self, e: Any) -> dict[str, Any] | None:
        """Everything an entity states at this point of the transaction."""
        changed = self._entities.get(identity(e))
        return changed[1] if changed is not None else self._state_before(e)

    def _state_before(self, e: Any) -> dict[str, Any] | None:
        """What an entity stated when it was appended, by this transaction or an earlier one, or else before."""
        place = self._place_in_tail(e)
        if place is None:
            return self.base.state(e)
        tail, number = place
        own = plain(dict(tail.documents[number]))
        return {OFFSET_KEY: tail.head + number, ORDER_KEY: list(tail.stream.names), **own}

    def _place_in_tail(self, e: Any) -> tuple[Tail, int] | None:
        """Where a document of this transaction is; None for any other entity."""
        place = document_place(e)
        tail = self._by_prefix.get(place[0]) if place is not None else None
        if tail is None or place is None or not tail.head <= place[1] < tail.next:
            return None
        return tail, place[1] - tail.head

    def put(self, e: Any, state: dict[str, Any] | None) -> None:
        """Leave an entity in this state; None retracts it."""
        key = identity(e)
        self._refuse_future_id(e)
        self._journal.append(Changed(key, self._entities.get(key, _UNCHANGED)))
        self._entities[key] = (e, state or None)
        self._touched[key] = None

    def _refuse_future_id(self, e: Any) -> None:
        """The ids of documents still to come are the store's: an entity with one would hide the document."""
        record = self._stream_of(e)
        place = document_place(e)
        if record is not None and place is not None:
            stream = Stream(record.names, record.values)
            if place[1] >= self.next_offset(stream):
                raise TransactionError(
                    f"{shown(e)} is the id of a document still to come, number {place[1]} of stream {stream}",
                    operation=e,
                )

    def _stream_of(self, e: Any) -> StreamRecord | None:
        """The stream whose document an id names."""
        place = document_place(e)
        if place is None:
            return None
        if place[0] in self._by_prefix:
            return self._by_prefix[place[0]].record
        found = self.base.log.stream_by_prefix(place[0])
        return found if found is not None and found.t <= self.base.t else None

    def changes(self, e: Any) -> bool:
        """Whether the transaction writes an entity by its id."""
        return identity(e) in self._entities

    def attributes(self) -> set[str]:
        """The top-level attributes of all it appends and of the entities it writes, before and after."""
        found: set[str] = set()
        for tail in self._tails.values():
            found.update(*tail.documents)
            if tail.documents:
                found.add(OFFSET_KEY)
        for e, state in self._entities.values():
            found.update(self._state_before(e) or (), state or ())
        return found

    # Savepoints.

    def savepoint(self) -> Savepoint:
        """A point to return to."""
        return Savepoint(len(self._journal), self.view())

    def return_to(self, savepoint: Savepoint) -> None:
        """Undo everything since a savepoint. What came before it is in its view."""
        while len(self._journal) > savepoint.journal:
            self._undo(self._journal.pop())
        self._longer.clear()
        self._touched.clear()
        self._view = savepoint.view

    def _undo(self, step: Created | Extended | Changed) -> None:
        match step:
            case Created(tail):
                del self._tails[tail.stream], self._by_prefix[tail.record.prefix]
                if tail.record.t == self.t:
                    self._names.discard(tail.record.name)
                    self._created -= 1
            case Extended(tail, count):
                del tail.documents[count:]
                tail.viewed = min(tail.viewed, count)
            case Changed(key, before):
                if before is _UNCHANGED:
                    del self._entities[key]
                else:
                    self._entities[key] = before

    # Results.

    def view(self) -> Snapshot:
        """The database as it would be after the transaction so far; does not change when the draft goes on."""
        if self._longer or self._touched:
            self._view = _overlaid(self._view, self._latest())
            self._longer.clear()
            self._touched.clear()
        return self._view

    def _latest(self) -> Commit:
        """What came since the last view, as a transaction of its own."""
        tails = list(self._longer.values())
        batches = [batch for tail in tails for batch in self._batches(tail, tail.viewed, Amended())]
        created = tuple(tail.record for tail in tails if tail.record.t == self.t and not tail.viewed)
        for tail in tails:
            tail.viewed = len(tail.documents)
        return self._commit(created, batches, [self._entities[key] for key in self._touched])

    def result(self) -> Snapshot:
        """The database as it will be once this is committed as a whole."""
        return self.base if self.is_empty() else _overlaid(self.base, self.prepare())

    def is_empty(self) -> bool:
        """Whether committing would change nothing."""
        return not any(tail.documents for tail in self._tails.values()) and not any(self._changed())

    def prepare(self, tx_id: str | None = None) -> Commit:
        """The transaction as a storage backend takes it."""
        changed, amended = self._settled()
        tails = sorted((tail for tail in self._tails.values() if tail.documents), key=lambda tail: tail.record.id)
        batches = [batch for tail in tails for batch in self._batches(tail, 0, amended)]
        created = tuple(tail.record for tail in tails if tail.record.t == self.t)
        heads = tuple((tail.record.id, tail.head) for tail in tails)
        return self._commit(created, batches, changed, heads, tx_id)

    def _settled(self) -> tuple[list[tuple[Any, dict[str, Any] | None]], Amended]:
        """The entities that changed; and apart, the documents that this transaction both appends and amends:
        they are written as they ended, for as they began they never held."""
        changed, amended = [], Amended()
        for e, state in self._changed():
            place = self._place_in_tail(e)
            if place is None or state is None or ORDER_KEY not in state:
                changed.append((e, state))
            else:
                own = {key: value for key, value in state.items() if key not in (OFFSET_KEY, ORDER_KEY)}
                amended[place[0].record.id, place[1]] = own
        return changed, amended

    def _commit(
        self,
        created: tuple[StreamRecord, ...],
        batches: list[Batch],
        changed: list[tuple[Any, dict[str, Any] | None]],
        heads: tuple[tuple[int, int], ...] = (),
        tx_id: str | None = None,
    ) -> Commit:
        states = [
            Batch(self.t, 0, start, len(part), encode([[e, state] for e, state in part]))
            for start in range(0, len(changed), BATCH_DOCUMENTS)
            for part in [changed[start : start + BATCH_DOCUMENTS]]
        ]
        instant = next_instant(self.base.log.head())
        transaction = Transaction(self.t, instant, tx_id)
        entities = tuple(self._record(e, state) for e, state in changed)
        return Commit(transaction, created, heads, (*batches, *states), entities)

    def offsets(self, since: Savepoint | None = None) -> dict[Stream, range]:
        """The offsets appended to each stream."""
        found: dict[Stream, range] = {}
        for step in self._journal[since.journal if since is not None else 0 :]:
            if isinstance(step, Extended) and step.tail.stream not in found:
                found[step.tail.stream] = range(step.tail.head + step.count, step.tail.next)
        return found

    def _changed(self) -> Iterator[tuple[Any, dict[str, Any] | None]]:
        """The entities that the transaction leaves otherwise than it found or appended them."""
        for e, state in self._entities.values():
            before = self._state_before(e)
            if identity(before or {}) != identity(state or {}) or _typed(before or {}) != _typed(state or {}):
                yield e, state

    def _record(self, e: Any, state: dict[str, Any] | None) -> EntityRecord:
        key, stream, place = ordered_bytes(e), self._stream_of(e), document_place(e)
        if stream is None or place is None:
            return EntityRecord(key, self.t, encode(state))
        return EntityRecord(key, self.t, encode(state), stream.id, place[1])

    def _batches(self, tail: Tail, skip: int, amended: Amended) -> Iterator[Batch]:
        documents = tail.documents[skip:]
        if amended:
            documents = [amended.get((tail.record.id, n), document) for n, document in enumerate(documents, skip)]
        first = tail.head + skip
        for count, body in bodies(documents, is_flat=tail.is_flat and not amended):
            yield Batch(self.t, tail.record.id, first, count, body)
            first += count


def next_instant(head: Transaction) -> int:
    """The instant of the transaction after this one, in µs: now, or later where the clock has gone back."""
    return max(time.time_ns() // 1000, head.instant + 1)


def bodies(documents: Sequence[Mapping[str, Any]], *, is_flat: bool) -> list[tuple[int, bytes]]:
    """Documents as the bodies of batches, each with how many are in it; `is_flat` if they are `FlatDocuments`."""
    if len(documents) <= BATCH_DOCUMENTS:
        body = encode_documents(documents, is_flat=is_flat)  # type: ignore[arg-type]  # checked dicts
        if len(body) <= BATCH_BYTES or len(documents) <= 1:
            return [(len(documents), body)] if documents else []
    size = min(BATCH_DOCUMENTS, (len(documents) + 1) // 2)
    parts = [documents[start : start + size] for start in range(0, len(documents), size)]
    return [each for part in parts for each in bodies(part, is_flat=is_flat)]


def _overlaid(below: Snapshot, commit: Commit) -> Snapshot:
    """A snapshot with a prepared transaction, or more of one, on top."""
    log, index = OverlayLog(below.log, below.t, commit), below.index
    if log.base is not below.log and isinstance(index, ForkedIndex):
        index = index.base
    return Snapshot(log, ForkedIndex(index, log.base_t, log), commit.transaction.t)


def facts_between(before: Snapshot, after: Snapshot, base_t: int) -> Iterator[Fact]:
    """The facts that one transaction, or a part of it, added and retracted: what holds after it and did not
    before. Both see the log up to `base_t`, where the transaction began."""
    changed: dict[Any, tuple[Any, dict[str, Any] | None]] = {}
    for batch in after.log.tail(base_t, after.t):
        if not batch.stream:
            changed.update((identity(e), (e, state)) for e, state in decode(batch.body))
    for batch in after.log.tail(base_t, after.t):
        record = after.log.stream_by_id(batch.stream) if batch.stream else None
        if record is not None:
            known = before.log.next_offset(record.id, before.t) if before.log.stream_by_id(record.id) else 0
            for offset, document in enumerate(decode_documents(batch.body), batch.first):
                e = document_id(record.prefix, offset)
                if offset >= known and e not in changed:
                    for a, v in document_facts({OFFSET_KEY: offset, **document}):
                        yield Fact(e, a, v, batch.t)
    for e, state in changed.values():
        old, new = _keyed(before.state(e)), _keyed(state)
        yield from (Fact(e, a, v, after.t, False) for key, (a, v) in old.items() if key not in new)
        yield from (Fact(e, a, v, after.t) for key, (a, v) in new.items() if key not in old)


def _keyed(state: Mapping[str, Any] | None) -> dict[Any, tuple[str, Any]]:
    return {(a, identity(v)): (a, v) for a, v in document_facts(state or {})}


def _typed(state: Mapping[str, Any]) -> bytes:
    """What tells equal states of different types apart, such as 1 and 1.0."""
    return encode(state)
