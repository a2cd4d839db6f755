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
    """Append `events` to the store of `conn`, each to the stream of its aggregate, whose id is its attribute `key`. The
    `conditions` and the errors are those of `Connection.append`; ArgumentError also for what is no connection."""
    check_connection(conn)
    return conn.append(events, key, **conditions)


def get_events_for_aggregate(
    db: Database, aggregate_id: Any, *, key: str = AGGREGATE_ID, start: int = 0, stop: int | None = None
) -> list[dict[str, Any]]:
    """The events in `db` of the aggregate `aggregate_id` in order, equal to what was saved; offsets `start` … `stop` -
    1. `key` is the attribute that has the id. Raises ArgumentError or DocumentError for what is no id or offset."""
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
    """The state in `db` of the aggregate `aggregate_id`: `apply(state, event)` for its events one after another, the
    first on `initial`. `key` is the attribute that has the id.

    Raises ArgumentError for `apply` that cannot be called, ArgumentError or DocumentError for what is no id. What it
    raises itself is the caller's.

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
