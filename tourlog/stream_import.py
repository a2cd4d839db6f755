"""Streams, entities and invariants of one store imported into another, transaction by transaction, with what was stated
about each. How far an import has come is an entity for each stream, and one for all entities, committed together with
what they are about, so that an import that was interrupted goes on and one that is repeated adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Any

from tourlog.connection import Connection, check_connection, is_in_block
from tourlog.consumers import stream_of
from tourlog.database import Database, check_database
from tourlog.documents import checked_stream
from tourlog.errors import ArgumentError, ConflictError, TourlogError, TransactionError, shown
from tourlog.fact_index import instant_of
from tourlog.invariants import Invariant, same
from tourlog.past import meta_of
from tourlog.snapshot import Snapshot
from tourlog.storage.log import Batch, StreamRecord
from tourlog.storage.overlay import OverlayLog
from tourlog.stream import (
    ID_KEY,
    INVARIANTS,
    META_KEY,
    OFFSET_KEY,
    ORDER_KEY,
    SYSTEM_PREFIX,
    Stream,
    document_id,
    document_place,
)
from tourlog.subscription import selection
from tourlog.values import decode, decode_documents, equal, identity, ordered_bytes, same_form

IMPORTED_T, IMPORTED_INSTANT, IMPORTED_TX_ID = "imported-t", "imported-instant", "imported-tx-id"
IMPORTED_BEFORE = "imported-before"
"""Holds what these names meant in a source that was imported itself."""

_STORE, _KEY, _INTO, _NEXT, _T = (f"import/{name}" for name in ("store", "key", "into", "next", "t"))
_MARKER, _PROJECTION = b"import\0", b"projection\0"
"""What the ids of entities begin with that speak of positions in their own store."""
_BY_T = attrgetter("t")


@dataclass(frozen=True, slots=True)
class ImportedStreams:
    """What an import did: how many `transactions` and `documents` it took over, from how many `streams`, the position
    `t` after it, how many `entities` it changed and `invariants` it required, and the ids of the entities that are
    `left_out`, whenever they were written."""

    transactions: int
    documents: int
    streams: int
    t: int
    entities: int = 0
    invariants: int = 0
    left_out: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class _Route:
    """From which stream to which, the values of the key that are replaced, and the entity that says how far."""

    record: StreamRecord
    target: Stream
    into: Mapping[str, Any]
    marker: bytes


@dataclass(slots=True)
class _Part:
    """What a transaction did to one stream: the offset of the `first` document it appended, the documents, and the
    states in which it left earlier ones, by offset."""

    first: int = 0
    documents: list[dict[str, Any]] = field(default_factory=list)
    amended: dict[int, dict[str, Any] | None] = field(default_factory=dict)


_State = dict[str, Any] | None


@dataclass(slots=True)
class _Transaction:
    """What transaction `t` of the source did to the streams, by their prefixes, and how it left other `entities`."""

    t: int
    parts: dict[int, _Part] = field(default_factory=dict)
    entities: list[tuple[Any, _State]] = field(default_factory=list)
    left_out: list[Any] = field(default_factory=list)
    has_meta: bool = False

    @property
    def has_more(self) -> bool:
        """Whether there is something that is in no stream: what is stated about a transaction without any, too."""
        return bool(self.entities) or (self.has_meta and not self.parts)


@dataclass(slots=True)
class _Tally:
    """What an import has done so far."""

    transactions: int = 0
    documents: int = 0
    entities: set[Any] = field(default_factory=set)


def import_streams(
    conn: Connection,
    source: Database,
    key: Any = None,
    *,
    into: Mapping[str, Any] | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> ImportedStreams:
    """Take the streams, entities and invariants of `source`, a database of another store, over into the store of
    `conn`: each transaction that appended documents, or changed them or other entities, is one here, in the same order,
    with what was stated about it, and with `imported-t`, `imported-instant` and, if it had a tx_id, `imported-tx-id`.
    Offsets and ids of entities stay as they are; ids of documents are this store's. The invariants are required at the
    end. With a `key`, as that of `Connection.subscribe`, only those streams are imported, nothing else.

    Left out, and named in the result, are entities that would mean something else here: whole numbers from 1 on, which
    are ids of transactions, what was stated about a transaction after it, rows of projections, which are made anew, and
    how far the source's own imports had come.

    An import that was interrupted goes on where it was, and one that is repeated takes over only what is new: also
    when the source is a copy of the store. A stream here must hold what was imported from its source, and nothing else;
    `into` gives other values of key attributes, for streams that are taken already. `progress` is called now and then
    with the position, of the source, that is dealt with.

    Raises ArgumentError for a `key` that no stream of the source has, for `into` that is no part of it, when the source
    is of the same store or a copy of it, or when the name of an invariant is another query's here; DocumentError for a
    value that no key has; ConflictError when a stream, or an entity that is to be changed, holds something else here;
    TransactionError inside a `transaction()` block; InvariantError when an invariant is broken: what came before is
    imported.

    >>> import tourlog
    >>> old, new = tourlog.connect(), tourlog.connect()
    >>> report = old.append([{"topic": "a", "n": 1}], "topic", meta={"who": "ann"})
    >>> report = old.transact([{"db/id": "ann", "name": "Ann"}])
    >>> import_streams(new, old.db())
    ImportedStreams(transactions=2, documents=1, streams=1, t=2, entities=1, invariants=0, left_out=())
    >>> new.db().q("[:find ?n ?who ?t :where [_ :n ?n ?tx] [?tx :who ?who] [?tx :imported-t ?t]]")
    Rows(?n ?who ?t: [(1, 'ann', 1)])
    """
    check_connection(conn)
    if is_in_block(conn):
        raise TransactionError("a store is imported outside of a transaction() block: each of its own is one here")
    _check_source(conn.db(), source)
    if into is not None and not isinstance(into, Mapping):
        raise ArgumentError(f"expected a mapping of key attributes or None, got {shown(into)}", argument="into")
    routes = _routes(conn.db(), source, key, dict(into or {}))
    if key is not None:
        tally = _import(conn, source, routes, source.t, progress)
        return ImportedStreams(tally.transactions, tally.documents, len(routes), conn.db().t)
    invariants = _new_invariants(conn.db(), source)
    done = _reached_entities(conn.db(), source)
    left_out = _check_entities(conn.db(), source, routes, done)
    tally = _import(conn, source, routes, done, progress)
    for each in invariants:
        conn.require(each.name, each.query, *each.inputs)
    return ImportedStreams(
        tally.transactions,
        tally.documents,
        len(routes),
        conn.db().t,
        len(tally.entities),
        len(invariants),
        left_out,
    )


def _import(
    conn: Connection, source: Database, routes: Mapping[int, _Route], done: int, progress: Callable[[int], object]
) -> _Tally:
    """Take over what the streams have new, and the entities that were changed after transaction `done`."""
    reached = {prefix: _reached(conn.db(), route)[1] for prefix, route in routes.items()}
    start = min(done, *(max(t, routes[prefix].record.t - 1) for prefix, t in reached.items()), source.t)
    tally = _Tally()
    for each in _transactions(source.snapshot, routes, start):
        parts = [(routes[prefix], part) for prefix, part in each.parts.items() if reached[prefix] < each.t]
        if parts or (done < each.t and each.has_more):
            with _naming_place(source, each.t):
                _take_over(conn, source, each, parts, done < each.t and each.has_more, tally)
        progress(each.t)
    return tally


@contextmanager
def _naming_place(source: Database, t: int) -> Iterator[None]:
    """Errors that leave the block say which transaction of which store could not be imported."""
    try:
        yield
    except TourlogError as error:
        error.args = (f"{error}, in transaction {t} of {source.snapshot.log.path or 'the source'}",)
        raise


# Before anything is written.


def _check_source(db: Database, source: Any) -> None:
    check_database(source)
    if not source.snapshot.is_plain or isinstance(source.snapshot.log, OverlayLog):
        raise ArgumentError("expected a database as of a position, got another view of one", argument="source")
    if source.snapshot.log.salt == db.snapshot.log.salt:
        raise ArgumentError(
            "expected a database of another store, got one of this store or of a copy", argument="source"
        )


def _routes(db: Database, source: Database, key: Any, into: dict[str, Any]) -> dict[int, _Route]:
    """The way of each stream, by the prefix of its documents' ids."""
    chosen = selection(key)
    records = [record for record, _ in source.snapshot.log.streams(source.t) if chosen.takes(record)]
    if key is not None and not records:
        raise ArgumentError(f"expected the key of streams in the source, got {shown(key)}", argument="key")
    routes, sources = {}, dict[Stream, Stream]()
    for record in records:
        route = routes[record.prefix] = _route(source.snapshot, record, into)
        other = sources.setdefault(route.target, stream_of(record))
        if other != stream_of(record):
            raise ArgumentError(
                f"expected a stream of its own for each, got {route.target} for {other} and {stream_of(record)}",
                argument="into",
            )
        _check_target(db, route)
    return routes


def _route(snapshot: Snapshot, record: StreamRecord, into: dict[str, Any]) -> _Route:
    stream = stream_of(record)
    unknown = [name for name in into if name not in record.names]
    if unknown:
        raise ArgumentError(
            f"expected key attributes of the stream {stream} in into, got {shown(unknown[0])}", argument="into"
        )
    key = {**dict(zip(record.names, record.values, strict=True)), **into}
    target = checked_stream(record.names, tuple(key.values()), "into")
    replaced = {name: value for name, value in zip(record.names, target.values, strict=True) if name in into}
    return _Route(record, target, replaced, _MARKER + snapshot.log.salt + stream.key)


def _check_target(db: Database, route: _Route) -> None:
    """Raise `ConflictError` unless the stream here holds what was imported from its source, and no more."""
    stream, marker = stream_of(route.record), db.entity(route.marker)
    if marker is not None and Stream(tuple(marker[_INTO]), tuple(marker[_INTO].values())) != route.target:
        before = Stream(tuple(marker[_INTO]), tuple(marker[_INTO].values()))
        raise ArgumentError(f"expected to go on with {stream} into {before}, got {route.target}", argument="into")
    expected, actual = _reached(db, route)[0], db.snapshot.next_offset(route.target)
    if actual != expected:
        raise ConflictError(
            f"expected {expected} documents in stream {route.target}, as imported from {stream}, it has {actual}: "
            "take another with into",
            stream=route.target,
            expected=expected,
            actual=actual,
        )


def _reached(db: Database, route: _Route) -> tuple[int, int]:
    """The next offset to import of a stream, and the last transaction of the source that is."""
    marker = db.entity(route.marker)
    return (0, 0) if marker is None else (marker[_NEXT], marker[_T])


def _reached_entities(db: Database, source: Database) -> int:
    """The last transaction of the source whose entities are imported."""
    marker = db.entity(_MARKER + source.snapshot.log.salt)
    return 0 if marker is None else int(marker[_T])


def _new_invariants(db: Database, source: Database) -> list[Invariant]:
    """The invariants of the source that do not hold here."""
    held = {each.name: each for each in db.invariants()}
    for each in source.invariants():
        if each.name in held and not same(each, held[each.name]):
            raise ArgumentError(
                f"the invariant {each.name!r} of the source is another query here: drop one of them first",
                argument="source",
            )
    return [each for each in source.invariants() if each.name not in held]


def _check_entities(db: Database, source: Database, routes: Mapping[int, _Route], done: int) -> tuple[Any, ...]:
    """Raise `ConflictError` unless all entities are here as the source had them; the ids of those left out."""
    seen, left_out = set[Any](), dict[Any, Any]()
    for each in _transactions(source.snapshot, routes, 0):
        left_out.update((identity(e), e) for e in each.left_out)
        for e, state in each.entities if each.t > done else ():
            if identity(e) not in seen:
                _check_entity(db.snapshot, source, each.t, e, state)
                seen.add(identity(e))
    return tuple(left_out.values())


def _check_entity(snapshot: Snapshot, source: Database, t: int, e: Any, state: _State) -> None:
    """An entity here is as it was in the source before transaction `t`, or as that left it already."""
    actual, before = snapshot.state(e), source.as_of(t - 1).snapshot.state(e)
    if not _is_same_state(actual, before) and not _is_same_state(actual, state):
        raise ConflictError(
            f"expected the entity {shown(e)} to be {shown(before or None)}, as in the source before its transaction "
            f"{t}, it is {shown(actual)}",
            entity=e,
            expected=before,
            actual=actual,
        )


def _is_same_state(one: _State, other: _State) -> bool:
    one, other = one or {}, other or {}
    return one.keys() == other.keys() and all(_is_exactly(value, other[name]) for name, value in one.items())


# The source.


def _transactions(snapshot: Snapshot, routes: Mapping[int, _Route], start: int) -> Iterator[_Transaction]:
    """The transactions after `start` that did something."""
    prefixes = {route.record.id: prefix for prefix, route in routes.items()}
    for t, batches in groupby(snapshot.log.tail(start, snapshot.t), key=_BY_T):
        found = _Transaction(t)
        for batch in batches:
            if batch.stream in prefixes:
                _add_documents(found.parts.setdefault(prefixes[batch.stream], _Part()), batch)
            elif not batch.stream:
                _add_states(found, batch, routes)
        yield found


def _add_documents(part: _Part, batch: Batch) -> None:
    part.first = part.first if part.documents else batch.first
    part.documents += decode_documents(batch.body)


def _add_states(found: _Transaction, batch: Batch, routes: Mapping[int, _Route]) -> None:
    for e, state in decode(batch.body):
        place = document_place(e)
        if place is not None and place[0] in routes:
            found.parts.setdefault(place[0], _Part()).amended[place[1]] = state
        elif type(e) is int and e == found.t and META_KEY in (state or {}):
            found.has_meta = True
        elif _is_of_its_store(e):
            found.left_out.append(e)
        elif type(e) is not str or e != INVARIANTS:
            found.entities.append((e, state))


def _is_of_its_store(e: Any) -> bool:
    """Whether an id means something else in another store: a transaction, or what speaks of positions."""
    if type(e) is bytes:
        return e.startswith((_MARKER, _PROJECTION))
    if type(e) is Decimal and not e.is_finite():
        return False
    return type(e) in (int, float, Decimal) and e >= 1 and (type(e) is int or float(e).is_integer())


# The target.


def _take_over(
    conn: Connection,
    source: Database,
    each: _Transaction,
    parts: list[tuple[_Route, _Part]],
    with_entities: bool,
    tally: _Tally,
) -> None:
    """Do here in one transaction what one of the source did, if it is not done already, and count it."""
    taken, entities = list[int](), list[Any]()

    def work() -> None:
        db, changes = conn.db(), list[Any]()
        for route, part in parts:
            following, done = _reached(db, route)
            if done < each.t:
                _append(conn, route, part, following)
                changes += _changes(conn.db().snapshot, route, part)
                changes.append(_marker(route, source.snapshot.log.salt, following + len(part.documents), each.t))
                taken.append(len(part.documents))
        if with_entities and _reached_entities(db, source) < each.t:
            changes += _entity_changes(db.snapshot, source, each)
            taken.append(0)
            entities.extend(identity(e) for e, _ in each.entities)
        conn.transact(changes)

    conn.run(work, meta=_meta(source, each.t))
    tally.transactions += bool(taken)
    tally.documents += sum(taken)
    tally.entities.update(entities)


def _entity_changes(snapshot: Snapshot, source: Database, each: _Transaction) -> Iterator[Any]:
    """Transaction data that leaves entities here as a transaction left them, and says so."""
    for e, state in each.entities:
        _check_entity(snapshot, source, each.t, e, state)
        yield from _difference(e, snapshot.state(e) or {}, state or {})
    salt = source.snapshot.log.salt
    yield {ID_KEY: _MARKER + salt, _STORE: salt, _T: each.t}


def _append(conn: Connection, route: _Route, part: _Part, following: int) -> None:
    if not part.documents:
        return
    stream = stream_of(route.record)
    if part.first != following:
        raise ConflictError(
            f"expected offset {following} next of stream {stream} in the source, got {part.first}: it is not the "
            "store that was imported from",
            stream=stream,
            expected=following,
            actual=part.first,
        )
    documents = [{**document, **route.into} for document in part.documents]
    conn.append(documents, *route.record.names, expect={route.target: following})


def _changes(snapshot: Snapshot, route: _Route, part: _Part) -> Iterator[Any]:
    """Transaction data that leaves documents here as their sources are."""
    for offset, state in part.amended.items():
        yield from _amendment(snapshot, route, offset, state)


def _marker(route: _Route, salt: bytes, following: int, t: int) -> dict[str, Any]:
    """The entity that says how far a stream is imported."""
    key, into = _as_dict(stream_of(route.record)), _as_dict(route.target)
    return {ID_KEY: route.marker, _STORE: salt, _KEY: key, _INTO: into, _NEXT: following, _T: t}


def _as_dict(stream: Stream) -> dict[str, Any]:
    return dict(zip(stream.names, stream.values, strict=True))


def _amendment(snapshot: Snapshot, route: _Route, offset: int, state: dict[str, Any] | None) -> list[Any]:
    """Transaction data that leaves a document here as its source is."""
    record = snapshot.find_stream(route.target)
    assert record is not None, "a document was appended before it is changed"
    e = document_id(record.prefix, offset)
    if not state or ORDER_KEY not in state:
        # No document any more: an offset is one of its own attributes.
        own = {name: value for name, value in (state or {}).items() if not name.startswith(SYSTEM_PREFIX)}
        restated = [{ID_KEY: e, **own}] if own else []
        return [("db/retract-entity", e), *restated]
    return _difference(e, _own(snapshot.state(e) or {}), {**_own(state), **route.into})


def _difference(e: Any, present: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Any]:
    """Transaction data that makes an entity what is wanted."""
    gone = [("db/retract", e, name) for name in present if name not in wanted]
    changed = {n: value for n, value in wanted.items() if n not in present or not _is_exactly(present[n], value)}
    return [*gone, *([{ID_KEY: e, **changed}] if changed else [])]


def _is_exactly(a: Any, b: Any) -> bool:
    """Whether two values are the same, also in type, in whichever order their sets and dicts were put together."""
    if type(a) is not type(b) or not isinstance(a, list | tuple | set | frozenset | dict):
        return equal(a, b) and same_form(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_is_exactly(value, b[name]) for name, value in a.items())
    if isinstance(a, set | frozenset):
        a, b = sorted(a, key=ordered_bytes), sorted(b, key=ordered_bytes)
    return len(a) == len(b) and all(map(_is_exactly, a, b))


def _own(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != OFFSET_KEY and not name.startswith(SYSTEM_PREFIX)}


def _meta(source: Database, t: int) -> dict[str, Any]:
    """What is stated about transaction `t` of the source, and where it comes from."""
    transaction = source.snapshot.log.transaction(t)
    assert transaction is not None, "positions are dense"
    own = {IMPORTED_T: t, IMPORTED_INSTANT: instant_of(transaction.instant)}
    if transaction.tx_id is not None:
        own[IMPORTED_TX_ID] = transaction.tx_id
    stated = meta_of(source.as_of(t).snapshot, t)
    before = {name: value for name, value in stated.items() if name in (*own, IMPORTED_TX_ID, IMPORTED_BEFORE)}
    kept = {name: value for name, value in stated.items() if name not in before}
    return {**kept, **own, **({IMPORTED_BEFORE: before} if before else {})}
