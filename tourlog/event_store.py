"""An event store: events in order per aggregate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tourlog.connection import Connection, check_connection
from tourlog.database import Database, TxReport, check_database
from tourlog.errors import ArgumentError, shown

State = TypeVar("State")

AGGREGATE_ID = "aggregate-id"


def save_events(
    conn: Connection, events: Iterable[Mapping[str, Any]], *, key: str = AGGREGATE_ID, **conditions: Any
) -> TxReport:
    """Append events, each to its aggregate's stream; `conditions` are those of `Connection.append`."""
    check_connection(conn)
    return conn.append(events, key, **conditions)


def get_events_for_aggregate(
    db: Database, aggregate_id: Any, *, key: str = AGGREGATE_ID, start: int = 0, stop: int | None = None
) -> list[dict[str, Any]]:
    """The events of one aggregate in order, equal to what was saved; offsets `start` … `stop` - 1."""
    check_database(db)
    return db.own_documents({key: aggregate_id}, start, stop)


def hydrate(
    db: Database,
    aggregate_id: Any,
    apply: Callable[[State, dict[str, Any]], State],
    initial: State,
    *,
    key: str = AGGREGATE_ID,
) -> State:
    """An aggregate's state: its events applied to `initial` one after another.

    >>> import tourlog
    >>> conn = tourlog.connect()
    >>> report = save_events(conn, [{"aggregate-id": "a", "add": 2}, {"aggregate-id": "a", "add": 3}])
    >>> hydrate(conn.db(), "a", lambda total, event: total + event["add"], 0)
    5
    """
    if not callable(apply):
        raise ArgumentError(f"expected a function of a state and an event, got {shown(apply)}", argument="apply")
    state = initial
    for event in get_events_for_aggregate(db, aggregate_id, key=key):
        state = apply(state, event)
    return state
