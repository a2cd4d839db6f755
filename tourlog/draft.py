"""A transaction being put together: what it appends and how it leaves entities, on top of a snapshot.

Pure but for its own growth; nothing is written until somebody commits what it prepares.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tourlog.errors import ArgumentError, DocumentError, TransactionError
from tourlog.fact_index import ForkedIndex
from tourlog.facts import Fact, document_facts
from tourlog.snapshot import Snapshot
from tourlog.storage.log import Batch, Commit, EntityRecord, StreamRecord, Transaction
from tourlog.storage.overlay import OverlayLog
from tourlog.stream import (
    ID_KEY,
    OFFSET_KEY,
    ORDER_KEY,
    SYSTEM_PREFIX,
    Stream,
    document_id,
    document_place,
    stream_name,
    stream_prefix,
)
from tourlog.values import (
    check,
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

_CONTAINERS = (list, tuple, set, frozenset, dict)


@dataclass(slots=True)
class Tail:
    """What a draft adds to one stream."""

    stream: Stream
    record: StreamRecord
    head: int
    documents: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def next(self) -> int:
        return self.head + len(self.documents)


@dataclass(frozen=True, slots=True)
class Savepoint:
    """How far a draft was: what to return to when an operation fails half way."""

    counts: dict[Stream, int]
    entities: dict[Any, tuple[Any, dict[str, Any] | None]]
    next_stream: int


class Draft:
    """The changes of one transaction so far."""

    def __init__(self, base: Snapshot) -> None:
        self.base = base
        self.t = base.t + 1
        self._tails: dict[Stream, Tail] = {}
        self._by_prefix: dict[int, Tail] = {}
        self._names: set[str] = set()
        self._entities: dict[Any, tuple[Any, dict[str, Any] | None]] = {}
        self._next_stream = base.log.next_stream()
        self._view: Snapshot | None = None

    # Ordered documents.

    def append(self, documents: Iterable[Any], names: Sequence[str]) -> None:
        """Add documents to the streams their key attributes name, in order; all of them or none."""
        grouped = group_documents(documents, names)
        for stream, group in grouped:
            self.tail(stream).documents.extend(group)
        if grouped:
            self._view = None

    def tail(self, stream: Stream) -> Tail:
        """The end of a stream; a stream that does not exist is created with the transaction."""
        tail = self._tails.get(stream)
        if tail is None:
            record = self.base.find_stream(stream)
            head = 0 if record is None else self.base.log.next_offset(record.id, self.base.t)
            tail = Tail(stream, record or self._new_stream(stream), head)
            self._tails[stream] = self._by_prefix[tail.record.prefix] = tail
        return tail

    def next_offset(self, stream: Stream) -> int:
        """The offset the stream's next document takes."""
        tail = self._tails.get(stream)
        return tail.next if tail is not None else self.base.next_offset(stream)

    def _new_stream(self, stream: Stream) -> StreamRecord:
        log = self.base.log
        name = stream_name(stream, lambda name: name in self._names or log.stream_by_name(name) is not None)
        prefix = stream_prefix(
            log.salt, stream.key, lambda p: p in self._by_prefix or log.stream_by_prefix(p) is not None
        )
        self._names.add(name)
        number = self._next_stream
        self._next_stream += 1
        return StreamRecord(number, stream.names, stream.values, stream.key, name, prefix, self.t)

    # Entities.

    def state(self, e: Any) -> dict[str, Any] | None:
        """Everything an entity states at this point of the transaction."""
        changed = self._entities.get(identity(e))
        if changed is not None:
            return changed[1]
        return self._state_in_tail(e) or self.base.state(e)

    def _state_in_tail(self, e: Any) -> dict[str, Any] | None:
        place = document_place(e)
        tail = self._by_prefix.get(place[0]) if place is not None else None
        if tail is None or place is None or not tail.head <= place[1] < tail.next:
            return None
        document = tail.documents[place[1] - tail.head]
        return {OFFSET_KEY: place[1], ORDER_KEY: list(tail.stream.names), **plain(dict(document))}

    def put(self, e: Any, state: dict[str, Any] | None) -> None:
        """Leave an entity in this state; None retracts it. Raises TransactionError when it is a document that is
        still to be appended: what is appended there would be lost behind it."""
        self._refuse_future(e)
        self._entities[identity(e)] = (e, state or None)
        self._view = None

    def _refuse_future(self, e: Any) -> None:
        place = document_place(e)
        stream = self._stream_of(place[0]) if place is not None else None
        if place is None or stream is None:
            return
        tail = self._by_prefix.get(place[0])
        end = tail.next if tail is not None else self.base.log.next_offset(stream.id, self.base.t)
        if place[1] >= end:
            raise TransactionError(
                f"expected an entity to write, got {e!r}, the id of offset {place[1]} of stream {stream.name}, which "
                f"is at {end}: append the document first",
                operation=e,
            )

    def _stream_of(self, prefix: int) -> StreamRecord | None:
        tail = self._by_prefix.get(prefix)
        return tail.record if tail is not None else self.base.log.stream_by_prefix(prefix)

    # Savepoints.

    def savepoint(self) -> Savepoint:
        """A point to return to."""
        counts = {stream: len(tail.documents) for stream, tail in self._tails.items()}
        return Savepoint(counts, dict(self._entities), self._next_stream)

    def return_to(self, savepoint: Savepoint) -> None:
        """Undo everything since a savepoint."""
        for stream, tail in list(self._tails.items()):
            if stream in savepoint.counts:
                del tail.documents[savepoint.counts[stream] :]
            else:
                del self._tails[stream], self._by_prefix[tail.record.prefix]
                self._names.discard(tail.record.name)
        self._entities = dict(savepoint.entities)
        self._next_stream = savepoint.next_stream
        self._view = None

    # Results.

    def view(self) -> Snapshot:
        """The database as it would be after the transaction so far; does not change when the draft goes on."""
        if self._view is None:
            commit = self.prepare()
            log = OverlayLog(self.base.log, self.base.t, commit)
            self._view = Snapshot(log, ForkedIndex(self.base.index, self.base.t, log), self.t)
        return self._view

    def is_empty(self) -> bool:
        """Whether committing would change nothing."""
        return not any(tail.documents for tail in self._tails.values()) and not any(self._changed())

    def prepare(self, tx_id: str | None = None) -> Commit:
        """The transaction as a storage backend takes it."""
        tails = sorted((tail for tail in self._tails.values() if tail.documents), key=lambda tail: tail.record.id)
        changed = list(self._changed())
        entities = tuple(self._record(e, state) for e, state in changed)
        batches = [batch for tail in tails for batch in self._batches(tail)]
        for start in range(0, len(changed), BATCH_DOCUMENTS):
            part = [[e, state] for e, state in changed[start : start + BATCH_DOCUMENTS]]
            batches.append(Batch(self.t, 0, start, len(part), encode(part)))
        last = self.base.log.head().instant
        instant = max(time.time_ns() // 1000, last + 1)
        return Commit(
            Transaction(self.t, instant, tx_id),
            tuple(tail.record for tail in tails if tail.record.t == self.t),
            tuple((tail.record.id, tail.head) for tail in tails),
            tuple(batches),
            entities,
        )

    def offsets(self, since: Savepoint | None = None) -> dict[Stream, range]:
        """The offsets appended to each stream."""
        counts = since.counts if since is not None else {}
        return {
            stream: range(tail.head + counts.get(stream, 0), tail.next)
            for stream, tail in self._tails.items()
            if len(tail.documents) > counts.get(stream, 0)
        }

    def _changed(self) -> Iterator[tuple[Any, dict[str, Any] | None]]:
        for e, state in self._entities.values():
            before = self._state_in_tail(e) or self.base.state(e)
            if identity(before or {}) != identity(state or {}) or _typed(before or {}) != _typed(state or {}):
                yield e, state

    def _record(self, e: Any, state: dict[str, Any] | None) -> EntityRecord:
        place = document_place(e)
        stream = self._stream_of(place[0]) if place is not None else None
        key = ordered_bytes(e)
        if stream is None or place is None:
            return EntityRecord(key, self.t, encode(state))
        return EntityRecord(key, self.t, encode(state), stream.id, place[1])

    def _batches(self, tail: Tail) -> Iterator[Batch]:
        for start in range(0, len(tail.documents), BATCH_DOCUMENTS):
            group = tail.documents[start : start + BATCH_DOCUMENTS]
            yield from self._capped(tail.record.id, tail.head + start, group)

    def _capped(self, stream: int, first: int, documents: Sequence[Mapping[str, Any]]) -> Iterator[Batch]:
        body = encode_documents(documents)  # type: ignore[arg-type]  # checked dicts
        if len(body) > BATCH_BYTES and len(documents) > 1:
            half = len(documents) // 2
            yield from self._capped(stream, first, documents[:half])
            yield from self._capped(stream, first + half, documents[half:])
        else:
            yield Batch(self.t, stream, first, len(documents), body)


def facts_between(before: Snapshot, after: Snapshot) -> Iterator[Fact]:
    """The facts the transactions after one position and up to another added and retracted, off the log."""
    for batch in after.log.tail(before.t, after.t):
        if batch.stream:
            record = after.log.stream_by_id(batch.stream)
            assert record is not None, "a batch's stream exists"
            for offset, document in enumerate(decode_documents(batch.body), batch.first):
                e = document_id(record.prefix, offset)
                for a, v in document_facts({OFFSET_KEY: offset, **document}):
                    yield Fact(e, a, v, batch.t)
        else:
            for e, state in decode(batch.body):
                old, new = _keyed(before.state(e)), _keyed(state)
                yield from (Fact(e, a, v, batch.t, False) for key, (a, v) in old.items() if key not in new)
                yield from (Fact(e, a, v, batch.t) for key, (a, v) in new.items() if key not in old)


def _keyed(state: Mapping[str, Any] | None) -> dict[Any, tuple[str, Any]]:
    return {(a, identity(v)): (a, v) for a, v in document_facts(state or {})}


def _typed(state: Mapping[str, Any]) -> bytes:
    """What tells equal states of different types apart, such as 1 and 1.0."""
    return encode(state)


def group_documents(documents: Any, names: Sequence[str]) -> list[tuple[Stream, list[dict[str, Any]]]]:
    """Checked documents by stream, streams in order of first appearance."""
    check_names(names)
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise ArgumentError(f"expected a list of documents, got {type(documents).__name__}", argument="documents")
    groups: dict[Any, tuple[Stream, list[dict[str, Any]]]] = {}
    names = tuple(names)
    for number, document in enumerate(documents):
        check_document(document, names, number)
        values = tuple(document[name] for name in names)
        key = identity(values)
        found = groups.get(key)
        if found is None:
            found = groups[key] = (Stream(names, tuple(map(plain, values))), [])
        found[1].append(document)
    return list(groups.values())


def check_names(names: Sequence[str]) -> None:
    """Raise `ArgumentError` unless these can be the key attributes of a stream."""
    if not names:
        raise ArgumentError("expected the name of at least one key attribute, got none", argument="key")
    for name in names:
        if type(name) is not str:
            raise ArgumentError(f"expected the names of key attributes, got {name!r}", argument="key")
        if name == OFFSET_KEY or name.startswith(SYSTEM_PREFIX):
            raise ArgumentError(f"{name!r} is the store's own and cannot be a key attribute", argument="key")
    if len(set(names)) != len(names):
        raise ArgumentError(f"expected distinct key attributes, got {', '.join(names)}", argument="key")


def check_document(document: Any, names: Sequence[str], number: int) -> None:
    """Raise `DocumentError` unless the document can be appended under these key attributes."""
    where = f"documents[{number}]"
    check(document, where=where)
    for key in document:
        if key == OFFSET_KEY or key.startswith(SYSTEM_PREFIX):
            raise DocumentError(f"{where} has {key!r}, which the store adds itself", path=key, where=where)
    for name in names:
        value = document.get(name)
        if value is None:
            problem = "has None in" if name in document else "lacks"
            raise DocumentError(f"{where} {problem} the key attribute {name!r}", path=name, where=where)
        if type(value) in _CONTAINERS:
            raise DocumentError(
                f"{where} has a {type(value).__name__} in the key attribute {name!r}, expected a scalar",
                path=name,
                where=where,
                value=value,
            )


def ordered_documents(base: Snapshot, documents: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """The documents with the ids and offsets they would take next, in the order given."""
    documents = documents if isinstance(documents, list) else _listed(documents)
    draft = Draft(base)
    draft.append(documents, names)
    counters: dict[Stream, int] = {}
    result = []
    for document in documents:
        stream = Stream(tuple(names), tuple(plain(document[name]) for name in names))
        tail = draft.tail(stream)
        offset = counters.get(stream, tail.head)
        counters[stream] = offset + 1
        e: UUID = document_id(tail.record.prefix, offset)
        result.append({ID_KEY: e, OFFSET_KEY: offset, ORDER_KEY: list(names), **document})
    return result


def _listed(documents: Any) -> Any:
    return (
        list(documents)
        if isinstance(documents, Iterable) and not isinstance(documents, str | bytes | Mapping)
        else documents
    )
