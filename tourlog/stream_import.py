"""Streams of one store imported into another, transaction by transaction, with what was stated about each. How far an
import has come is an entity for each stream, committed together with the documents, so that one that was interrupted
goes on and one that is repeated adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

from tourlog.connection import Connection, check_connection
from tourlog.consumers import stream_of
from tourlog.database import Database, check_database
from tourlog.documents import checked_stream
from tourlog.errors import ArgumentError, ConflictError, TransactionError, shown
from tourlog.fact_index import instant_of
from tourlog.past import meta_of
from tourlog.snapshot import Snapshot
from tourlog.storage.log import Batch, StreamRecord
from tourlog.storage.overlay import OverlayLog
from tourlog.stream import ID_KEY, OFFSET_KEY, ORDER_KEY, SYSTEM_PREFIX, Stream, document_id, document_place
from tourlog.subscription import selection
from tourlog.values import decode, decode_documents, equal, same_form

IMPORTED_T, IMPORTED_INSTANT, IMPORTED_TX_ID = "imported-t", "imported-instant", "imported-tx-id"
IMPORTED_BEFORE = "imported-before"
"""Holds what these names meant in a source that was imported itself."""

_STORE, _KEY, _INTO, _NEXT, _T = (f"import/{name}" for name in ("store", "key", "into", "next", "t"))
_BY_T = attrgetter("t")


@dataclass(frozen=True, slots=True)
class ImportedStreams:
    """What an import of streams did: how many `transactions` and `documents` it took over, from how many `streams`, and
    the position `t` after it."""

    transactions: int
    documents: int
    streams: int
    t: int


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


def import_streams(
    conn: Connection,
    source: Database,
    key: Any = None,
    *,
    into: Mapping[str, Any] | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> ImportedStreams:
    """Take the streams of `source`, a database of another store, over into the store of `conn`: each transaction that
    appended to them, or changed documents in them, is one here, in the same order, with what was stated about it, and
    with `imported-t`, `imported-instant` and, if it had a tx_id, `imported-tx-id`. `key` says which streams, as that of
    `Connection.subscribe`. Offsets stay as they are; ids of documents are this store's.

    An import that was interrupted goes on where it was, and one that is repeated takes over only what is new: also
    when the source is a copy of the store. A stream here must hold what was imported from its source, and nothing else;
    `into` gives other values of key attributes, for streams that are taken already. `progress` is called now and then
    with the position, of the source, that is dealt with.

    Raises ArgumentError for a `key` that no stream of the source has, for `into` that is no part of it, or when the
    source is of the same store or a copy of it; DocumentError for a value that no key has; ConflictError when a stream
    here holds something else; TransactionError inside a `transaction()` block; InvariantError when an invariant of this
    store is broken: what came before that transaction is imported.

    >>> import tourlog
    >>> old, new = tourlog.connect(), tourlog.connect()
    >>> report = old.append([{"topic": "a", "n": 1}], "topic", meta={"who": "ann"})
    >>> import_streams(new, old.db())
    ImportedStreams(transactions=1, documents=1, streams=1, t=1)
    >>> new.db().q("[:find ?n ?who ?t :where [_ :n ?n ?tx] [?tx :who ?who] [?tx :imported-t ?t]]")
    Rows(?n ?who ?t: [(1, 'ann', 1)])
    """
    check_connection(conn)
    _check_source(conn.db(), source)
    routes = _routes(conn.db(), source, key, dict(into or {}))
    reached = {prefix: _reached(conn.db(), route)[1] for prefix, route in routes.items()}
    start = min((max(t, routes[prefix].record.t - 1) for prefix, t in reached.items()), default=source.t)
    transactions, documents = 0, 0
    for t, parts in _transactions(source.snapshot, routes, start):
        new = [(routes[prefix], part) for prefix, part in parts.items() if reached[prefix] < t]
        taken = _take_over(conn, source.snapshot, t, new) if new else None
        if taken is not None:
            transactions, documents = transactions + 1, documents + taken
        progress(t)
    return ImportedStreams(transactions, documents, len(routes), conn.db().t)


# Before anything is written.


def _check_source(db: Database, source: Any) -> None:
    check_database(source)
    if isinstance(db.snapshot.log, OverlayLog):
        raise TransactionError("streams are imported outside of a transaction() block: each of theirs is one here")
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
    return _Route(record, target, replaced, b"import\0" + snapshot.log.salt + stream.key)


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


# The source.


def _transactions(
    snapshot: Snapshot, routes: Mapping[int, _Route], start: int
) -> Iterator[tuple[int, dict[int, _Part]]]:
    """The transactions after `start` that did something to these streams, and what, by the streams' prefixes."""
    prefixes = {route.record.id: prefix for prefix, route in routes.items()}
    for t, batches in groupby(snapshot.log.tail(start, snapshot.t), key=_BY_T):
        parts: dict[int, _Part] = {}
        for batch in batches:
            if batch.stream in prefixes:
                _add_documents(parts.setdefault(prefixes[batch.stream], _Part()), batch)
            elif not batch.stream:
                _add_states(parts, batch, routes)
        if parts:
            yield t, parts


def _add_documents(part: _Part, batch: Batch) -> None:
    part.first = part.first if part.documents else batch.first
    part.documents += decode_documents(batch.body)


def _add_states(parts: dict[int, _Part], batch: Batch, routes: Mapping[int, _Route]) -> None:
    for e, state in decode(batch.body):
        place = document_place(e)
        if place is not None and place[0] in routes:
            parts.setdefault(place[0], _Part()).amended[place[1]] = state


# The target.


def _take_over(conn: Connection, source: Snapshot, t: int, parts: list[tuple[_Route, _Part]]) -> int | None:
    """Do here in one transaction what transaction `t` of the source did; how many documents it appended, None when it
    was done already."""
    taken: list[int] = []

    def work() -> None:
        db, changes = conn.db(), list[Any]()
        for route, part in parts:
            following, done = _reached(db, route)
            if done < t:
                _append(conn, route, part, following)
                changes += _changes(conn.db().snapshot, route, part)
                changes.append(_marker(route, source.log.salt, following + len(part.documents), t))
                taken.append(len(part.documents))
        conn.transact(changes)

    conn.run(work, meta=_meta(source, t))
    return sum(taken) if taken else None


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
        restated = [] if not state else [{ID_KEY: e, **_own(state)}]
        return [("db/retract-entity", e), *restated]
    wanted, present = {**_own(state), **route.into}, _own(snapshot.state(e) or {})
    gone = [("db/retract", e, name) for name in present if name not in wanted]
    changed = {n: value for n, value in wanted.items() if n not in present or not _is_exactly(present[n], value)}
    return [*gone, *([{ID_KEY: e, **changed}] if changed else [])]


def _is_exactly(a: Any, b: Any) -> bool:
    return equal(a, b) and same_form(a, b)


def _own(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != OFFSET_KEY and not name.startswith(SYSTEM_PREFIX)}


def _meta(source: Snapshot, t: int) -> dict[str, Any]:
    """What is stated about transaction `t` of the source, and where it comes from."""
    transaction = source.log.transaction(t)
    assert transaction is not None, "positions are dense"
    own = {IMPORTED_T: t, IMPORTED_INSTANT: instant_of(transaction.instant)}
    if transaction.tx_id is not None:
        own[IMPORTED_TX_ID] = transaction.tx_id
    stated = meta_of(source, t)
    before = {name: value for name, value in stated.items() if name in (*own, IMPORTED_TX_ID, IMPORTED_BEFORE)}
    kept = {name: value for name, value in stated.items() if name not in before}
    return {**kept, **own, **({IMPORTED_BEFORE: before} if before else {})}
