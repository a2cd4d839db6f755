"""Aggregates without a framework: a decider's three parts, run on a store. The expected offset, retries, old shapes of
events and snapshots are seen to here; what an event means is the decider's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from uuid import UUID

from tourlog.connection import Connection, check_connection
from tourlog.database import Database, TxReport, check_database
from tourlog.errors import ArgumentError, ConflictError, shown
from tourlog.event_store import AGGREGATE_ID, get_events_for_aggregate
from tourlog.stream import Stream
from tourlog.values import plain

State = TypeVar("State")
Command = TypeVar("Command")
Event = dict[str, Any]

ATTEMPTS = 10
"""How often a command is decided anew when others have appended to its aggregate meanwhile."""


def unchanged(value: Any) -> Any:
    """The `value` as it is."""
    return value


@dataclass(frozen=True, kw_only=True)
class Decider(Generic[State, Command]):
    """What an aggregate is: `initial` state, `decide(state, command)` → events, `evolve(state, event)` → state.

    All three are pure: a command may be decided again on a newer state. `name` tells its snapshots from those of other
    deciders; `key` is the attribute of events that has the aggregate's id. Old events pass through the `upcasters`, in
    order, before anyone sees them. With `snapshot_every` a state is kept in the store at least every so many events, as
    what `dump` makes of it, a value a document may hold; `restore` makes it a state again. Raise `version` whenever
    `initial`, `evolve`, an upcaster or the state changes: snapshots of another version are not read, and are replaced
    when next written to.

    ArgumentError for a name or key that is no text or empty, a `version` that is no whole number, functions that are
    none, or a `snapshot_every` that is no number from 1.

    >>> import tourlog
    >>> counter = Decider(
    ...     name="counter", initial=0, evolve=lambda count, event: count + event["by"],
    ...     decide=lambda count, by: [{"type": "counted", "by": by}] if count + by <= 10 else [],
    ... )
    >>> conn = tourlog.connect()
    >>> handle(conn, counter, "a", 7).state, handle(conn, counter, "a", 7).events
    (7, [])
    """

    name: str
    initial: State
    decide: Callable[[State, Command], Iterable[Mapping[str, Any]]]
    evolve: Callable[[State, Event], State]
    key: str = AGGREGATE_ID
    upcasters: Sequence[Callable[[Event], Event]] = ()
    version: int = 1
    snapshot_every: int | None = None
    dump: Callable[[State], Any] = unchanged
    restore: Callable[[Any], State] = unchanged

    def __post_init__(self) -> None:
        if type(self.name) is not str or not self.name:
            raise ArgumentError(f"expected a name for the decider, got {shown(self.name)}", argument="name")
        if type(self.key) is not str or not self.key:
            raise ArgumentError(f"expected the name of an attribute as key, got {shown(self.key)}", argument="key")
        if type(self.version) is not int:
            raise ArgumentError(f"expected version to be a whole number, got {shown(self.version)}", argument="version")
        for name in ("decide", "evolve", "dump", "restore"):
            if not callable(getattr(self, name)):
                message = f"expected {name} to be a function, got {shown(getattr(self, name))}"
                raise ArgumentError(f"{message}, in the decider {self.name}", argument=name)
        if not isinstance(self.upcasters, list | tuple) or not all(map(callable, self.upcasters)):
            message = f"expected a list of functions, got {shown(self.upcasters)}"
            raise ArgumentError(f"{message}, in upcasters of the decider {self.name}", argument="upcasters")
        every = self.snapshot_every
        if every is not None and (type(every) is not int or every < 1):
            raise ArgumentError(f"expected a number of events from 1, got {shown(every)}", argument="snapshot_every")

    def upcast(self, event: Event) -> Event:
        """An `event` as it would be written today."""
        for upcaster in self.upcasters:
            raised: Any = upcaster(event)
            if not isinstance(raised, dict):
                message = f"expected an upcaster to give an event as a dict, got {shown(raised)}"
                raise ArgumentError(f"{message}, in the decider {self.name}", argument="upcasters")
            event = raised
        return event

    def fold(self, state: State, events: Iterable[Event]) -> State:
        """The `state` after further `events`, old ones brought up to date first."""
        for event in events:
            state = self.evolve(state, self.upcast(event))
        return state


@dataclass(frozen=True)
class Aggregate(Generic[State]):
    """An aggregate as of a position: its `state`, its next `offset`, and the `snapshot_offset` its snapshot was taken
    at (0 for none); None when there is one of another version."""

    state: State
    offset: int
    snapshot_offset: int | None = 0


@dataclass(frozen=True)
class Handled(Generic[State]):
    """What handling a command did: the `events`, the `state` after them, and the `report` of their transaction; None
    when nothing was decided."""

    state: State
    events: list[Event]
    report: TxReport | None


def load(db: Database, decider: Decider[State, Command], aggregate_id: Any) -> Aggregate[State]:
    """The state in `db` of the aggregate `aggregate_id`, as its `decider` has it: from its snapshot, if there is one,
    and the events after it. Raises ArgumentError for what is no database or no decider, or an
    upcaster that gives no event, DocumentError for what is no id.

    >>> import tourlog
    >>> conn = tourlog.connect()
    >>> report = tourlog.event_store.save_events(conn, [{"aggregate-id": "a", "by": 2}, {"aggregate-id": "a", "by": 3}])
    >>> total = Decider(name="total", initial=0, decide=lambda *_: [], evolve=lambda n, event: n + event["by"])
    >>> load(conn.db(), total, "a")
    Aggregate(state=5, offset=2, snapshot_offset=0)
    """
    check_database(db)
    _check_decider(decider)
    aggregate_id = plain(aggregate_id, decider.key)
    kept = db.entity(_snapshot_id(decider, aggregate_id)) if decider.snapshot_every is not None else None
    if kept is None:
        return _forward(db, decider, aggregate_id, Aggregate(decider.initial, 0))
    if kept["snapshot/version"] != decider.version:
        return _forward(db, decider, aggregate_id, Aggregate(decider.initial, 0, None))
    offset = kept["snapshot/offset"]
    state = decider.restore(kept["snapshot/state"])
    return _forward(db, decider, aggregate_id, Aggregate(state, offset, offset))


def handle(
    conn: Connection,
    decider: Decider[State, Command],
    aggregate_id: Any,
    command: Command,
    *,
    tx_id: str | UUID | None = None,
    attempts: int = ATTEMPTS,
) -> Handled[State]:
    """Decide a `command` by the `decider` on the newest state of the aggregate `aggregate_id` and append the events to
    the store of `conn`, each under the decider's key.

    When others have appended to the aggregate meanwhile, their events are read and the command is decided anew, at most
    `attempts` times in all; then raises ConflictError. With a `tx_id` the command is decided once and for all: when it
    is already in the store nothing is decided or written, and what was done then is returned. An error of the decider's
    own is the caller's; others are those of `Connection.append`, and ArgumentError for what is no decider, for
    `attempts` that are no number from 1, and for what is decided that are no events of this aggregate.
    """
    check_connection(conn)
    _check_decider(decider)
    if type(attempts) is not int or attempts < 1:
        raise ArgumentError(f"expected a number of attempts from 1, got {shown(attempts)}", argument="attempts")
    aggregate_id = plain(aggregate_id, decider.key)
    if tx_id is None:
        return _handle(conn, decider, aggregate_id, command, attempts)
    handled: list[Handled[State]] = []
    report = conn.run(lambda: handled.append(_handle(conn, decider, aggregate_id, command, 1)), tx_id=tx_id)
    return replace(handled[0], report=report) if handled else _handled_before(decider, aggregate_id, report)


def drop_snapshots(conn: Connection, decider: Decider[Any, Any]) -> int:
    """Retract from the store of `conn` every snapshot of a `decider`, of whatever version; how many there were.
    ArgumentError for what is no connection or no decider."""
    check_connection(conn)
    _check_decider(decider)
    found = [fact.e for fact in conn.db().facts(a="snapshot/decider", v=decider.name)]
    if found:
        conn.transact([("db/retract-entity", e) for e in found])
    return len(found)


def _handle(
    conn: Connection, decider: Decider[State, Command], aggregate_id: Any, command: Command, attempts: int
) -> Handled[State]:
    aggregate = load(conn.db(), decider, aggregate_id)
    while True:
        events = _decided(decider, aggregate_id, decider.decide(aggregate.state, command))
        if not events:
            return Handled(aggregate.state, [], None)
        try:
            return _commit(conn, decider, aggregate_id, aggregate, events)
        except ConflictError:
            attempts -= 1
            if attempts == 0:
                raise
            aggregate = _forward(conn.db(), decider, aggregate_id, aggregate)


def _decided(decider: Decider[Any, Any], aggregate_id: Any, given: Any) -> list[Event]:
    """The events that were decided, each with the aggregate's key."""
    where = f"from decide of the decider {decider.name}"
    if isinstance(given, Mapping | str) or not isinstance(given, Iterable):
        raise ArgumentError(f"expected a list of events, got {shown(given)}, {where}", argument="decide")
    own = Stream((decider.key,), (aggregate_id,))
    events = []
    for event in given:
        if not isinstance(event, Mapping):
            raise ArgumentError(f"expected events as dicts, got {shown(event)}, {where}", argument="decide")
        if decider.key in event and Stream((decider.key,), (plain(event[decider.key], decider.key),)) != own:
            other = shown(event[decider.key])
            raise ArgumentError(f"expected events of {own}, got one of {other}, {where}", argument="decide")
        events.append(plain({decider.key: aggregate_id, **event}))  # as they will be read
    return events


def _check_decider(decider: object) -> None:
    if not isinstance(decider, Decider):
        raise ArgumentError(f"expected a Decider, got {shown(decider)}", argument="decider")


def _forward(
    db: Database, decider: Decider[State, Any], aggregate_id: Any, aggregate: Aggregate[State]
) -> Aggregate[State]:
    """The aggregate with the events that came after it."""
    events = get_events_for_aggregate(db, aggregate_id, key=decider.key, start=aggregate.offset)
    if not events:
        return aggregate
    return replace(aggregate, state=decider.fold(aggregate.state, events), offset=aggregate.offset + len(events))


def _commit(
    conn: Connection, decider: Decider[State, Any], aggregate_id: Any, before: Aggregate[State], events: list[Event]
) -> Handled[State]:
    own = map(plain, events) if decider.upcasters else events  # these may change them
    state, offset = decider.fold(before.state, own), before.offset + len(events)
    if not _is_due(decider, before, offset):
        return Handled(state, events, conn.append(events, decider.key, expect=before.offset))
    snapshot = _snapshot(decider, aggregate_id, state, offset)

    def write() -> None:
        conn.append(events, decider.key, expect=before.offset)
        conn.transact([snapshot])

    return Handled(state, events, conn.run(write))


def _handled_before(decider: Decider[State, Any], aggregate_id: Any, report: TxReport) -> Handled[State]:
    """What the transaction did that already had the `tx_id`."""
    db = report.db_after
    written = report.offsets.get(Stream((decider.key,), (aggregate_id,)), range(0))
    events = get_events_for_aggregate(db, aggregate_id, key=decider.key, start=written.start, stop=written.stop)
    return Handled(load(db, decider, aggregate_id).state, list(map(decider.upcast, events)), report)


def _is_due(decider: Decider[Any, Any], before: Aggregate[Any], offset: int) -> bool:
    if decider.snapshot_every is None:
        return False
    return before.snapshot_offset is None or offset - before.snapshot_offset >= decider.snapshot_every


def _snapshot(decider: Decider[State, Any], aggregate_id: Any, state: State, offset: int) -> dict[str, Any]:
    return {
        "db/id": _snapshot_id(decider, aggregate_id),
        "snapshot/decider": decider.name,
        "snapshot/of": aggregate_id,
        "snapshot/version": decider.version,
        "snapshot/offset": offset,
        "snapshot/state": decider.dump(state),
    }


def _snapshot_id(decider: Decider[Any, Any], aggregate_id: Any) -> bytes:
    """Of an aggregate's typed key, for `1` and `"1"` are two aggregates."""
    return b"snapshot\0" + Stream((decider.name, decider.key), (decider.name, aggregate_id)).key
