"""The log store beyond the article's scenarios: polling on, limits, publishing under conditions."""

from __future__ import annotations

from typing import Any

import pytest

import tourlog
from tourlog import Connection, Stream
from tourlog.event_store import get_events_for_aggregate
from tourlog.log_store import commit_records, event_to_record, poll, save_events_and_publish


def numbers(conn: Connection, offset: int, limit: int | None = None) -> list[int]:
    return [record["n"] for record in poll(conn.db(), "t", 0, offset, limit)]


def test_a_consumer_polls_on_from_the_last_offset_it_saw(conn: Connection) -> None:
    seen: list[int] = []
    for turn in range(5):
        commit_records(conn, [{"topic": "t", "partition": 0, "n": 3 * turn + n} for n in range(3)])
        offset = len(seen)
        while records := poll(conn.db(), "t", 0, offset, limit=2):
            seen += [record["n"] for record in records]
            offset = records[-1]["offset"] + 1
    assert seen == list(range(15))


def test_a_limit_counts_offsets_from_the_one_asked(conn: Connection) -> None:
    commit_records(conn, [{"topic": "t", "partition": 0, "n": n} for n in range(250)])
    assert numbers(conn, 0) == list(range(250))
    assert numbers(conn, 99, 3) == [99, 100, 101]
    assert numbers(conn, 248, 100) == [248, 249]
    assert numbers(conn, 250, 10) == numbers(conn, 10**40, 10**40) == numbers(conn, 5, 0) == []


def test_records_keep_their_offset_and_lose_their_id(conn: Connection) -> None:
    commit_records(conn, [{"topic": "t", "partition": 0, "key": None, "value": {"a": [1]}}])
    assert poll(conn.db(), "t", 0, 0) == [{"offset": 0, "topic": "t", "partition": 0, "key": None, "value": {"a": [1]}}]


def test_partitions_are_told_apart_by_value_and_type(conn: Connection) -> None:
    for partition in (0, "0", False):
        commit_records(conn, [{"topic": "t", "partition": partition, "n": repr(partition)}])
    assert [poll(conn.db(), "t", partition, 0)[0]["n"] for partition in (0, "0", False, 0.0)] == [
        "0",
        "'0'",
        "False",
        "0",
    ]


def test_a_record_is_a_copy_of_its_event_with_a_key(conn: Connection) -> None:
    event = {"aggregate-id": 1, "n": [1]}
    record = event_to_record("t", 0, "aggregate-id", event)
    assert record == {"topic": "t", "partition": 0, "key": 1, "value": event}
    assert record["value"] is not event
    assert event_to_record("t", 0, "missing", event)["key"] is None
    commit_records(conn, [record])
    assert poll(conn.db(), "t", 0, 0) == [{"offset": 0, **record}]


def test_facts_inside_a_published_event_can_be_asked_for(conn: Connection) -> None:
    save_events_and_publish(conn, [{"aggregate-id": 1, "type": "made"}, {"aggregate-id": 2, "type": "gone"}], "t", 0)
    query = '[:find [?key ...] :where [?r :value.type "gone"] [?r :key ?key]]'
    assert conn.db().q(query) == [2]
    assert len(conn.db().q('[:find ?e :where [?e :type "gone"]]')) == 1


def test_publishing_under_another_key(conn: Connection) -> None:
    save_events_and_publish(conn, [{"robot": 7, "n": 1}], "t", 0, key="robot")
    assert get_events_for_aggregate(conn.db(), 7, key="robot") == [{"robot": 7, "n": 1}]
    assert poll(conn.db(), "t", 0, 0) == [
        {"offset": 0, "topic": "t", "partition": 0, "key": 7, "value": {"robot": 7, "n": 1}}
    ]


@pytest.mark.parametrize(
    "conditions",
    [
        {"expect": 5},
        {"expect": {Stream(("topic", "partition"), ("t", 0)): 5}},
        {"unless": "[:find ?e :where [?e :n 0]]"},
        {"only_if": "[:find ?e :where [?e :n 99]]"},
    ],
    ids=lambda conditions: next(iter(conditions)),
)
def test_publishing_under_a_condition_that_fails_leaves_both_stores(
    conn: Connection, conditions: dict[str, Any]
) -> None:
    save_events_and_publish(conn, [{"aggregate-id": 1, "n": 0}], "t", 0)
    with pytest.raises((tourlog.ConflictError, tourlog.ConditionError)):
        save_events_and_publish(conn, [{"aggregate-id": 1, "n": 1}], "t", 0, **conditions)
    assert conn.db().t == 1
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 1, "t-0": 1}


def test_publishing_inside_a_block_is_part_of_it(conn: Connection) -> None:
    with pytest.raises(RuntimeError), conn.transaction():
        save_events_and_publish(conn, [{"aggregate-id": 1, "n": 0}], "t", 0)
        raise RuntimeError
    assert conn.db().t == 0
    with conn.transaction():
        for n in range(3):
            report = save_events_and_publish(conn, [{"aggregate-id": 1, "n": n}], "t", 0)
            assert {span.start for span in report.offsets.values()} == {n}
    assert (conn.db().t, numbers_of_events(conn), len(poll(conn.db(), "t", 0, 0))) == (1, [0, 1, 2], 3)


def numbers_of_events(conn: Connection) -> list[int]:
    return [event["n"] for event in get_events_for_aggregate(conn.db(), 1)]


def test_publishing_nothing_is_no_transaction(conn: Connection) -> None:
    assert save_events_and_publish(conn, [], "t", 0).offsets == {}
    assert conn.db().t == 0


def test_an_event_without_its_key_is_neither_saved_nor_published(conn: Connection) -> None:
    with pytest.raises(tourlog.DocumentError):
        save_events_and_publish(conn, [{"aggregate-id": 1, "n": 0}, {"n": 1}], "t", 0)
    assert conn.db().t == 0
