"""What came and went between two positions: facts, and the rows of a query. Reads only what was written between
them, whatever the size of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from tourlog.errors import ArgumentError
from tourlog.facts import Fact, document_facts
from tourlog.query.rows import Rows
from tourlog.questions import answer
from tourlog.snapshot import Snapshot
from tourlog.storage.log import Batch, Log
from tourlog.storage.overlay import OverlayLog
from tourlog.stream import OFFSET_KEY, document_id
from tourlog.values import decode, decode_documents, identity

_BY_TX = attrgetter("tx")

Stated = dict[Any, tuple[str, Any]]
"""The facts of one entity: what stands for one in dicts, to its attribute and value."""

Moments = dict[Any, int]
"""The transactions in which facts of one entity began, or ended to hold."""


class FactDifference(NamedTuple):
    """The facts that hold now and did not (`came`), with the transactions that added them, and those that no longer do
    (`went`), with the transactions that ended them; both in the order of the transactions."""

    came: list[Fact]
    went: list[Fact]


class RowDifference(NamedTuple):
    """The rows a query has now and had not (`came`), and those it no longer has (`went`)."""

    came: Rows
    went: Rows


def row_difference(older: Snapshot, newer: Snapshot, query: Any, inputs: Sequence[Any]) -> RowDifference:
    """What a query answers at one position and not at the other."""
    before, after = answer(older, query, inputs), answer(newer, query, inputs)
    held, holding = ({identity(row) for row in rows} for rows in (before, after))
    came = [row for row in after if identity(row) not in held]
    went = [row for row in before if identity(row) not in holding]
    return RowDifference(Rows(after.columns, came), Rows(before.columns, went))


def fact_difference(older: Snapshot, newer: Snapshot) -> FactDifference:
    """The facts that hold at one position and not at the other; one of them may be a speculation.

    Raises ArgumentError unless both are whole databases of one store.
    """
    if not older.is_plain or not newer.is_plain:
        raise ArgumentError("expected databases as of a position, not a history or a since", argument="older")
    shared = _shared_position(older, newer)
    # Usually the older one is the shared position, and nothing came after it on a branch of its own.
    changed = {**_changed(newer, shared), **_changed(older, shared)}
    changed.update((e, e) for e, _, _ in _documents(older, shared))
    came = [Fact(e, a, v, t) for e, stated, t in _documents(newer, shared) if e not in changed for a, v in stated]
    went = []
    moments = _moments(newer, shared, changed)
    for key, e in changed.items():
        added, ended = moments.get(key, ({}, {}))
        before, after = _stated(older.state(e)), _stated(newer.state(e))
        for fact, (a, v) in after.items():
            if fact not in before:
                came.append(Fact(e, a, v, added.get(fact) or _asserted(newer, e, a, v)))
        went += [Fact(e, a, v, ended.get(fact, newer.t), False) for fact, (a, v) in before.items() if fact not in after]
    return FactDifference(sorted(came, key=_BY_TX), sorted(went, key=_BY_TX))


def _shared_position(one: Snapshot, other: Snapshot) -> int:
    """The last position up to which both have the same past."""
    others = list(_lineage(other))
    for log, t in _lineage(one):
        for below, below_t in others:
            if log is below or (_is_stored(log) and _is_stored(below) and log.salt == below.salt):
                return min(t, below_t)
    raise ArgumentError("expected databases of one store, got one of another", argument="older")


def _lineage(snapshot: Snapshot) -> Iterator[tuple[Log, int]]:
    """A snapshot's log and those it lies on, each with how far the snapshot sees it."""
    log, t = snapshot.log, snapshot.t
    yield log, t
    while isinstance(log, OverlayLog):
        t, log = min(t, log.base_t), log.base
        yield log, t


def _is_stored(log: Log) -> bool:
    return not isinstance(log, OverlayLog)


def _changed(snapshot: Snapshot, since: int) -> dict[Any, Any]:
    """The entities written by their ids after a position, by what stands for them in dicts."""
    batches = (batch for batch in snapshot.log.tail(since, snapshot.t) if not batch.stream)
    return {identity(e): e for batch in batches for e, _ in decode(batch.body)}


def _documents(snapshot: Snapshot, since: int) -> Iterator[tuple[Any, list[tuple[str, Any]], int]]:
    for batch in snapshot.log.tail(since, snapshot.t):
        for e, document in _documents_of(snapshot, batch):
            yield e, document_facts(document), batch.t


def _documents_of(snapshot: Snapshot, batch: Batch) -> Iterator[tuple[Any, dict[str, Any]]]:
    record = snapshot.log.stream_by_id(batch.stream) if batch.stream else None
    if record is not None:
        for offset, document in enumerate(decode_documents(batch.body), batch.first):
            yield document_id(record.prefix, offset), {OFFSET_KEY: offset, **document}


def _stated(state: Mapping[str, Any] | None) -> Stated:
    return {(a, identity(v)): (a, v) for a, v in document_facts(state or {})}


def _moments(snapshot: Snapshot, since: int, changed: Mapping[Any, Any]) -> dict[Any, tuple[Moments, Moments]]:
    """When, after a position, the facts of these entities were added, and when they ended, the last time each."""
    found: dict[Any, tuple[Moments, Moments]] = {}
    holding: dict[Any, Iterable[Any]] = {}
    start = Snapshot(snapshot.log, snapshot.index, since)
    for e, stated, t in _states(snapshot, since, changed):
        key = identity(e)
        if key not in found:
            found[key], holding[key] = ({}, {}), _stated(start.state(e))
        added, ended = found[key]
        held = set(holding[key])
        added.update((fact, t) for fact in stated if fact not in held)
        ended.update((fact, t) for fact in held if fact not in stated)
        holding[key] = stated
    return found


def _states(snapshot: Snapshot, since: int, changed: Mapping[Any, Any]) -> Iterator[tuple[Any, Stated, int]]:
    """What each transaction after a position left of these entities, in order."""
    for batch in snapshot.log.tail(since, snapshot.t):
        if not batch.stream:
            yield from ((e, _stated(state), batch.t) for e, state in decode(batch.body))
        else:
            documents = _documents_of(snapshot, batch)
            yield from ((e, _stated(document), batch.t) for e, document in documents if e in changed)


def _asserted(snapshot: Snapshot, e: Any, a: str, v: Any) -> int:
    """The transaction that asserted a fact which holds."""
    return next(fact.tx for fact in snapshot.stored_facts(e, a, v))
