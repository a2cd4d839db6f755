"""A log store: records in order per topic and partition, and events published to it as they are saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tourlog.connection import Connection
from tourlog.database import Database, TxReport
from tourlog.event_store import AGGREGATE_ID, save_events
from tourlog.stream import ID_KEY

KEY = ("topic", "partition")


def commit_records(conn: Connection, records: Iterable[Mapping[str, Any]], **conditions: Any) -> TxReport:
    """Append records, each to its topic's partition; `conditions` are those of `Connection.append`."""
    return conn.append(records, *KEY, **conditions)


def poll(db: Database, topic: Any, partition: Any, offset: int, limit: int | None = None) -> list[dict[str, Any]]:
    """The records of a partition from `offset` on, in order, each with its `offset`; at most `limit`."""
    stop = None if limit is None else offset + limit
    documents = db.documents(dict(zip(KEY, (topic, partition), strict=True)), offset, stop)
    return [{name: value for name, value in document.items() if name != ID_KEY} for document in documents]


def event_to_record(topic: Any, partition: Any, key: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as a record; `key` names the event's attribute that becomes the record's key.

    >>> event_to_record("t", 1, "aggregate-id", {"aggregate-id": "a", "type": "made"})
    {'topic': 't', 'partition': 1, 'key': 'a', 'value': {'aggregate-id': 'a', 'type': 'made'}}
    """
    return {"topic": topic, "partition": partition, "key": event.get(key), "value": dict(event)}


def save_events_and_publish(
    conn: Connection,
    events: Iterable[Mapping[str, Any]],
    topic: Any,
    partition: Any,
    *,
    key: str = AGGREGATE_ID,
    **conditions: Any,
) -> TxReport:
    """Save events and publish each as a record, in one transaction; `conditions` hold for the events."""
    saved = list(events)
    with conn.transaction():
        save_events(conn, saved, key=key, **conditions)
        return commit_records(conn, [event_to_record(topic, partition, key, event) for event in saved])
