"""A log store: records in order per topic and partition, and events published to it as they are saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from tourlog.connection import Connection, check_connection
from tourlog.database import Database, TxReport, check_database, whole_number
from tourlog.documents import listed
from tourlog.errors import ArgumentError, shown
from tourlog.event_store import AGGREGATE_ID, save_events
from tourlog.stream import ID_KEY

KEY = ("topic", "partition")


def commit_records(conn: Connection, records: Iterable[Mapping[str, Any]], **conditions: Any) -> TxReport:
    """Append `records` to the store of `conn`, each to its topic's partition. The `conditions` and the errors are those
    of `Connection.append`; ArgumentError also for what is no connection."""
    check_connection(conn)
    return conn.append(records, *KEY, **conditions)


def poll(db: Database, topic: Any, partition: Any, offset: int, limit: int | None = None) -> list[dict[str, Any]]:
    """The records in `db` of the `partition` of a `topic` from `offset` on, in order, each with its `offset`; at most
    `limit` of them. A partition that does not exist has none. Raises ArgumentError for an offset or a limit that is no
    whole number from 0, DocumentError for a topic or a partition that no record can have."""
    check_database(db)
    stop = None if limit is None else whole_number("offset", offset) + whole_number("limit", limit)
    documents = db.documents(dict(zip(KEY, (topic, partition), strict=True)), offset, stop)
    return [{name: value for name, value in document.items() if name != ID_KEY} for document in documents]


def event_to_record(topic: Any, partition: Any, key: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """An `event` as a record of the `topic` and the `partition`; `key` names the event's attribute that becomes the
    record's key, None where it lacks it. ArgumentError for an event that is no dict, a key that is no string.

    >>> event_to_record("t", 1, "aggregate-id", {"aggregate-id": "a", "type": "made"})
    {'topic': 't', 'partition': 1, 'key': 'a', 'value': {'aggregate-id': 'a', 'type': 'made'}}
    """
    if not isinstance(event, Mapping):
        raise ArgumentError(f"expected an event as a dict, got {shown(event)}", argument="event")
    if type(key) is not str:
        raise ArgumentError(f"expected the name of the attribute that is the key, got {shown(key)}", argument="key")
    return {"topic": topic, "partition": partition, "key": event.get(key), "value": dict(event)}


def save_events_and_publish(
    conn: Connection,
    events: Iterable[Mapping[str, Any]],
    topic: Any,
    partition: Any,
    *,
    key: str = AGGREGATE_ID,
    tx_id: str | UUID | None = None,
    **conditions: Any,
) -> TxReport:
    """Save `events` in the store of `conn` by the attribute `key`, and publish each as a record to the `partition` of a
    `topic`, in one transaction. The `conditions` hold for the events; they and the errors are those of
    `Connection.append`: among them DocumentError for a topic or a partition that no record can have, ArgumentError for
    what is no connection.

    With a `tx_id` that is already in the store, nothing is written and the report is that transaction's.
    """
    check_connection(conn)
    saved = listed(events)

    def save_and_publish() -> None:
        save_events(conn, saved, key=key, **conditions)
        commit_records(conn, [event_to_record(topic, partition, key, event) for event in saved])

    return conn.run(save_and_publish, tx_id=tx_id)
