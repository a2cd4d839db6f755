"""The event store beyond the article's scenarios: pages, other keys, conditions, hydration."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

import tourlog
from tourlog import Connection, Stream
from tourlog.event_store import get_events_for_aggregate, hydrate, save_events

AGGREGATES = [UUID(int=5), "a", "", 7, 7.5, True, b"x", Decimal("0.1"), datetime(2020, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=map(repr, AGGREGATES))
def test_events_equal_what_was_saved(conn: Connection, aggregate: Any) -> None:
    saved = [
        {"aggregate-id": aggregate, "type": "made", "at": datetime(2020, 1, 1, tzinfo=UTC), "by": {"name": "Ann"}},
        {"aggregate-id": aggregate, "type": "named", "tags": ["a", ("b", None)], "price": Decimal("1.50")},
    ]
    report = save_events(conn, saved)
    save_events(conn, [{"aggregate-id": "another", "type": "made"}])
    found = get_events_for_aggregate(conn.db(), aggregate)
    assert (found, list(map(repr, found))) == (saved, list(map(repr, saved)))
    assert report.offsets == {Stream(("aggregate-id",), (aggregate,)): range(0, 2)}


def test_events_come_by_pages(conn: Connection) -> None:
    save_events(conn, [{"aggregate-id": 1, "n": n} for n in range(10)])
    pages = [get_events_for_aggregate(conn.db(), 1, start=start, stop=start + 4) for start in range(0, 12, 4)]
    assert [[event["n"] for event in page] for page in pages] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_events_are_those_of_the_position_asked(conn: Connection) -> None:
    save_events(conn, [{"aggregate-id": 1, "n": 0}])
    db = conn.db()
    save_events(conn, [{"aggregate-id": 1, "n": 1}])
    count = [len(get_events_for_aggregate(each, 1)) for each in (db, conn.db(), conn.db().as_of(0))]
    assert count == [1, 2, 0]


def test_saving_takes_the_conditions_of_an_append(conn: Connection) -> None:
    first = save_events(conn, [{"aggregate-id": 1, "name": "Ann"}], expect=0, tx_id="first")
    assert save_events(conn, [{"aggregate-id": 1, "name": "Ann"}], expect=0, tx_id="first").t == first.t
    with pytest.raises(tourlog.ConflictError):
        save_events(conn, [{"aggregate-id": 1}], expect=0)
    with pytest.raises(tourlog.ConditionError):
        save_events(conn, [{"aggregate-id": 2}], unless=("[:find ?e :in $ ?n :where [?e :name ?n]]", "Ann"))
    save_events(conn, [{"aggregate-id": 2}], only_if=("[:find ?e :in $ ?n :where [?e :name ?n]]", "Ann"))
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 1, "2": 1}


def test_events_of_another_key_are_other_events(conn: Connection) -> None:
    save_events(conn, [{"aggregate-id": 1, "robot": 1, "n": 0}], key="robot")
    assert get_events_for_aggregate(conn.db(), 1) == []
    assert get_events_for_aggregate(conn.db(), 1, key="robot") == [{"aggregate-id": 1, "robot": 1, "n": 0}]


def test_hydration_applies_every_event_once_in_order(conn: Connection) -> None:
    for start in range(0, 300, 50):
        save_events(conn, [{"aggregate-id": k, "n": n} for n in range(start, start + 50) for k in (1, 2)])
    seen = hydrate(conn.db(), 1, lambda state, event: [*state, event["n"]], list[int]())
    assert seen == list(range(300))
    assert hydrate(conn.db(), 3, lambda state, _: state + 1, 10) == 10
    assert hydrate(conn.db(), 1, lambda state, event: state + len(event), 0, key="other") == 0


def test_a_function_that_spoils_its_events_spoils_nothing_else(conn: Connection) -> None:
    save_events(conn, [{"aggregate-id": 1, "tags": [1]}])

    def spoil(state: int, event: dict[str, Any]) -> int:
        event["tags"].append(2)
        event.clear()
        return state + 1

    assert hydrate(conn.db(), 1, spoil, 0) == hydrate(conn.db(), 1, spoil, 0) == 1
    assert get_events_for_aggregate(conn.db(), 1) == [{"aggregate-id": 1, "tags": [1]}]
