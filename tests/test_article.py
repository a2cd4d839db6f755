"""The scenarios of the article that tourlog grew out of, each on a store in memory and on one in a file."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

import tourlog
from tourlog import Connection, Stream, append, call, event_store, gen_datalog, gen_rules, log_store

A = UUID("73ff776c-572c-4fd7-9c4e-0ef829b57307")
B = UUID("09a9d187-af19-43af-a00f-683ffcbab766")
A1 = {"aggregate-id": A, "created-at": 10000, "type": "bot-created"}
A2 = {"aggregate-id": A, "created-at": 10010, "type": "nickname-assigned", "nickname": "Tripy"}
B1 = {"aggregate-id": B, "created-at": 20000, "type": "bot-created"}
B2 = {"aggregate-id": B, "created-at": 20010, "type": "nickname-assigned", "nickname": "XTDBY"}
SISTER = {"topic": "foo", "partition": 1, "key": "sister", "value": "angela"}
DAD = {"topic": "foo", "partition": 1, "key": "dad", "value": "trevor"}
BAR = {"topic": "bar", "partition": 1, "key": "dad", "value": "trevor"}


def events(conn: Connection, aggregate: Any) -> list[dict[str, Any]]:
    return event_store.get_events_for_aggregate(conn.db(), aggregate)


def metadata(conn: Connection) -> dict[str, Any] | None:
    return conn.db().entity("offset-metadata")


def without_ids(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in document.items() if name != "db/id"} for document in documents]


def run_all(jobs: list[Callable[[], object]]) -> None:
    """Runs jobs in threads that start together; a job that fails fails the test."""
    start, failures = threading.Barrier(len(jobs)), []

    def work(job: Callable[[], object]) -> None:
        start.wait()
        try:
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_events_of_two_robots_come_back_in_order_for_each(conn: Connection) -> None:
    event_store.save_events(conn, [A1, A2, B2])
    assert events(conn, A) == [A1, A2]
    assert events(conn, B) == [B2]
    assert metadata(conn) == {"db/id": "offset-metadata", str(A): 2, str(B): 1}


def test_an_aggregate_nobody_saved_has_no_events(conn: Connection) -> None:
    event_store.save_events(conn, [A1])
    assert events(conn, B) == []
    assert events(conn, str(A)) == []


def test_the_records_of_two_topics_come_back_with_their_offsets(conn: Connection) -> None:
    log_store.commit_records(conn, [SISTER, BAR, DAD])
    assert log_store.poll(conn.db(), "foo", 1, 0) == [{"offset": 0, **SISTER}, {"offset": 1, **DAD}]
    assert log_store.poll(conn.db(), "foo", 1, 1) == [{"offset": 1, **DAD}]
    assert log_store.poll(conn.db(), "foo", 1, 2) == []
    assert log_store.poll(conn.db(), "bar", 1, 0) == [{"offset": 0, **BAR}]
    assert log_store.poll(conn.db(), "foo", 2, 0) == []
    assert metadata(conn) == {"db/id": "offset-metadata", "foo-1": 2, "bar-1": 1}


def test_saving_and_publishing_fills_both_stores(conn: Connection) -> None:
    log_store.save_events_and_publish(conn, [A1, A2, A2], "event-topic", 1)
    log_store.save_events_and_publish(conn, [A1], "event-topic", 1)
    log_store.save_events_and_publish(conn, [B1, B2], "event-topic", 2)
    assert metadata(conn) == {
        "db/id": "offset-metadata",
        str(A): 4,
        str(B): 2,
        "event-topic-1": 4,
        "event-topic-2": 2,
    }
    assert events(conn, A) == [A1, A2, A2, A1]
    assert events(conn, B) == [B1, B2]
    assert log_store.poll(conn.db(), "event-topic", 1, 2) == [
        {"offset": 2, "topic": "event-topic", "partition": 1, "key": A, "value": A2},
        {"offset": 3, "topic": "event-topic", "partition": 1, "key": A, "value": A1},
    ]
    assert log_store.poll(conn.db(), "event-topic", 2, 0) == [
        {"offset": 0, "topic": "event-topic", "partition": 2, "key": B, "value": B1},
        {"offset": 1, "topic": "event-topic", "partition": 2, "key": B, "value": B2},
    ]


def test_saving_and_publishing_is_one_transaction_and_its_report_tells_both_halves(conn: Connection) -> None:
    event_store.save_events(conn, [A1])
    report = log_store.save_events_and_publish(conn, iter([A2, B1]), "event-topic", 1)
    assert (report.db_before.t, report.t, conn.db().t) == (1, 2, 2)
    assert report.offsets == {
        Stream(("aggregate-id",), (A,)): range(1, 2),
        Stream(("aggregate-id",), (B,)): range(0, 1),
        Stream(("topic", "partition"), ("event-topic", 1)): range(0, 2),
    }
    assert sorted(fact.v for fact in report.tx_data if fact.a == "offset") == [0, 0, 1, 1]
    assert {fact.tx for fact in report.tx_data} == {2}
    assert report.db_before.entity("offset-metadata") == {"db/id": "offset-metadata", str(A): 1}
    assert report.db_after.entity("offset-metadata") == metadata(conn)


def test_events_that_cannot_be_published_are_not_saved(conn: Connection) -> None:
    before = conn.db()
    with pytest.raises(tourlog.DocumentError):
        log_store.save_events_and_publish(conn, [A1], None, 1)
    assert (conn.db().t, metadata(conn), events(conn, A)) == (before.t, {"db/id": "offset-metadata"}, [])


def test_publishing_to_an_expected_offset_refuses_both_halves_when_the_aggregate_moved(conn: Connection) -> None:
    event_store.save_events(conn, [A1])
    with pytest.raises(tourlog.ConflictError):
        log_store.save_events_and_publish(conn, [A2], "event-topic", 1, expect=0)
    assert metadata(conn) == {"db/id": "offset-metadata", str(A): 1}
    log_store.save_events_and_publish(conn, [A2], "event-topic", 1, expect=1)
    assert metadata(conn) == {"db/id": "offset-metadata", str(A): 2, "event-topic-1": 1}


def test_clients_that_save_at_once_lose_nothing(conn: Connection) -> None:
    run_all(
        [
            lambda: event_store.save_events(conn, [A1, B1]),
            lambda: event_store.save_events(conn, [B2, A2, A1]),
        ]
    )
    assert _frequencies(events(conn, A)) == _frequencies([A1, A2, A1])
    assert _frequencies(events(conn, B)) == _frequencies([B1, B2])
    assert metadata(conn) == {"db/id": "offset-metadata", str(A): 3, str(B): 2}


@pytest.mark.parametrize("way", ["append", "transact", "block"])
def test_many_clients_that_save_at_once_leave_dense_offsets(conn: Connection, way: str) -> None:
    clients, rounds = 8, 12
    ways: dict[str, Callable[[list[Any]], object]] = {
        "append": lambda documents: event_store.save_events(conn, documents),
        "transact": lambda documents: conn.transact([call(append, documents, "aggregate-id")]),
        "block": lambda documents: _save_in_block(conn, documents),
    }

    def client(number: int) -> Callable[[], None]:
        def save() -> None:
            for turn in range(rounds):
                ways[way]([{**A1, "client": number, "turn": turn}, {**B1, "client": number, "turn": turn}])

        return save

    run_all([client(number) for number in range(clients)])
    for aggregate in (A, B):
        documents = conn.db().documents({"aggregate-id": aggregate})
        assert [document["offset"] for document in documents] == list(range(clients * rounds))
        assert len({document["db/id"] for document in documents}) == clients * rounds
        for number in range(clients):
            assert [d["turn"] for d in documents if d["client"] == number] == list(range(rounds))
    assert metadata(conn) == {
        "db/id": "offset-metadata",
        **dict.fromkeys((str(A), str(B)), clients * rounds),
    }
    assert conn.db().t == clients * rounds


def _save_in_block(conn: Connection, documents: list[Any]) -> None:
    with conn.transaction():
        for document in documents:
            event_store.save_events(conn, [document])


def _frequencies(documents: list[dict[str, Any]]) -> Counter[Any]:
    return Counter(tuple(sorted((name, str(value)) for name, value in document.items())) for document in documents)


READS: list[tuple[str, tuple[int, ...], list[int]]] = [
    ("all", (), [0, 1, 2, 3, 4, 5]),
    ("nthrest", (4,), [4, 5]),
    ("nthrest", (0,), [0, 1, 2, 3, 4, 5]),
    ("nthrest", (6,), []),
    ("nthrest", (-3,), [0, 1, 2, 3, 4, 5]),
    ("take", (2,), [0, 1]),
    ("take", (0,), []),
    ("take", (99,), [0, 1, 2, 3, 4, 5]),
    ("take", (-1,), []),
    ("nth", (3,), [3]),
    ("nth", (6,), []),
    ("nth", (-1,), []),
    ("slice", (2, 4), [2, 3]),
    ("slice", (4, 2), []),
    ("slice", (2, 2), []),
    ("slice", (-5, 99), [0, 1, 2, 3, 4, 5]),
]


def _fill_for_reading(conn: Connection) -> None:
    """Six records of the partition that is read, appended in three transactions among look-alikes."""
    for start in (0, 2, 4):
        mine = [{"topic": "foo", "partition": 1, "n": n} for n in (start, start + 1)]
        others = [{"topic": "foo", "partition": 2, "n": 99}, {"topic": "foo-1", "partition": 1, "n": 98}]
        log_store.commit_records(conn, [mine[0], *others, mine[1]])
        conn.append([{"topic": "foo", "partition": 1, "n": 97}], "topic")
    conn.transact([{"db/id": 1, "topic": "foo", "partition": 1, "offset": 3, "n": 96}])


@pytest.mark.parametrize(("offset_type", "offsets", "wanted"), READS)
def test_every_offset_type_reads_its_part_of_the_stream(
    conn: Connection, offset_type: str, offsets: tuple[int, ...], wanted: list[int]
) -> None:
    _fill_for_reading(conn)
    expected = [{"offset": n, "topic": "foo", "partition": 1, "n": n} for n in wanted]
    query = gen_datalog(offset_type, "topic", "partition")
    for form in (query, query.edn, query.data, str(query)):
        rows = conn.db().q(form, "foo", 1, *offsets)
        assert tourlog.post_query_transform(rows) == expected
        assert tourlog.post_query_transform(tourlog.q(form, conn.db(), "foo", 1, *offsets)) == expected


@pytest.mark.parametrize(("offset_type", "offsets", "wanted"), READS)
def test_every_offset_type_is_a_rule_to_compose_with_others(
    conn: Connection, offset_type: str, offsets: tuple[int, ...], wanted: list[int]
) -> None:
    _fill_for_reading(conn)
    names = ["?f", "?t"][: len(offsets)]
    own = tourlog.Rules("[[(even-of ?e ?n) [?e :n ?n] [(even? ?n)]]]")
    query = (
        f"[:find [?n ...] :in $ % ?topic ?partition {' '.join(names)} :where "
        f"({offset_type} ?e ?topic ?partition {' '.join(names)}) (even-of ?e ?n)]"
    )
    rules = gen_rules("topic", "partition") + own
    assert sorted(conn.db().q(query, rules, "foo", 1, *offsets)) == [n for n in wanted if n % 2 == 0]
    assert sorted(conn.db().q(query, rules.edn, "foo", 1, *offsets)) == [n for n in wanted if n % 2 == 0]


COLLIDING: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"topic": "foo-1", "partition": 2}, {"topic": "foo", "partition": "1-2"}),
    ({"topic": "foo", "partition": 1}, {"theme": "foo", "shard": 1}),
    ({"topic": "foo", "partition": 1}, {"topic": "foo", "partition": "1"}),
    ({"topic": "foo", "partition": 1}, {"topic": "foo", "partition": True}),
    ({"topic": "foo", "partition": 0}, {"topic": "foo", "partition": False}),
    ({"topic": "a", "partition": "b"}, {"topic": "a-b"}),
    ({"topic": str(A), "partition": 1}, {"topic": A, "partition": 1}),
    ({"topic": "foo"}, {"topic": b"foo"}),
    ({"topic": "", "partition": "-"}, {"topic": "-", "partition": ""}),
    ({"topic": 1, "partition": 2}, {"topic": "1-2"}),
]


@pytest.mark.parametrize(("one", "other"), COLLIDING)
def test_keys_that_look_alike_when_joined_are_different_streams(
    conn: Connection, one: dict[str, Any], other: dict[str, Any]
) -> None:
    conn.append([{**one, "n": 1}, {**one, "n": 2}], *one)
    conn.append([{**other, "n": 3}], *other)
    conn.append([{**one, "n": 4}], *one)
    for key, wanted in ((one, [1, 2, 4]), (other, [3])):
        expected = [{"offset": offset, **key, "n": n} for offset, n in enumerate(wanted)]
        assert without_ids(conn.db().documents(key)) == expected
        rows = conn.db().q(gen_datalog("all", *key), *key.values())
        assert tourlog.post_query_transform(rows) == expected
    assert [offset for _, _, offset in conn.db().streams()] == [3, 1]
    assert len({name for name, _, _ in conn.db().streams()}) == 2


def test_equal_numbers_are_one_key_whatever_their_type(conn: Connection) -> None:
    for number in (1, 1.0, Decimal("1.00")):
        conn.append([{"k": number}], "k")
    for number in (1, 1.0, Decimal("1.00")):
        found = [document["k"] for document in conn.db().documents({"k": number})]
        assert [(type(k), str(k)) for k in found] == [(int, "1"), (float, "1.0"), (Decimal, "1.00")]
        assert len(conn.db().q(gen_datalog("all", "k"), number)) == 3
    assert conn.db().documents({"k": True}) == []
    assert metadata(conn) == {"db/id": "offset-metadata", "1": 3}


def test_a_stream_whose_joined_name_is_taken_is_spelled_out(conn: Connection) -> None:
    conn.append([{"topic": "foo-1", "partition": 2}], "topic", "partition")
    assert metadata(conn) == {"db/id": "offset-metadata", "foo-1-2": 1}
    conn.append([{"topic": "foo", "partition": "1-2"}] * 2, "topic", "partition")
    assert metadata(conn) == {"db/id": "offset-metadata", "foo-1-2": 1, "topic=foo,partition=1-2": 2}
    conn.append([{"topic": "foo-1", "partition": "2"}] * 3, "topic", "partition")
    conn.append([{"topic": "topic=foo,partition=1-2"}] * 4, "topic")
    assert metadata(conn) == {
        "db/id": "offset-metadata",
        "foo-1-2": 1,
        "topic=foo,partition=1-2": 2,
        "topic=foo-1,partition=2": 3,
        "topic=topic=foo,partition=1-2": 4,
    }


def test_two_new_streams_of_one_transaction_never_share_a_name(conn: Connection) -> None:
    conn.append([{"k": 1}, {"k": "1"}, {"k": True}, {"k": "db/id"}], "k")
    assert metadata(conn) == {"db/id": "offset-metadata", "1": 1, "k=1": 1, "True": 1, "k=db/id": 1}


@pytest.mark.parametrize(
    "fail",
    [
        lambda conn: conn.append([A1, {"created-at": 1}], "aggregate-id"),
        lambda conn: conn.append([A1, {**A2, "bad": object()}], "aggregate-id"),
        lambda conn: conn.transact([call(append, [A1], "aggregate-id"), ("db/cas", 7, "n", 1, 2)]),
        lambda conn: conn.transact([{"db/id": 7, "n": 1}, call(lambda _: 1 / 0)]),
        lambda conn: conn.append([A1, *(1 / 0 for _ in range(1))], "aggregate-id"),
        lambda conn: conn.append((A1 if n == 0 else 1 / 0 for n in range(2)), "aggregate-id"),  # type: ignore[misc]
    ],
)
def test_a_transaction_that_fails_leaves_nothing(conn: Connection, fail: Callable[[Connection], Any]) -> None:
    event_store.save_events(conn, [B1])
    before = conn.db()
    with pytest.raises((tourlog.TourlogError, ZeroDivisionError)):
        fail(conn)
    assert conn.db().t == before.t == 1
    assert metadata(conn) == {"db/id": "offset-metadata", str(B): 1}
    assert events(conn, A) == []
    assert conn.db().entity(7) is None
    event_store.save_events(conn, [A1])
    assert events(conn, A) == [A1]


def test_an_old_database_value_keeps_its_answers_whatever_is_appended(conn: Connection) -> None:
    answers: list[tuple[tourlog.Database, Any]] = [(conn.db(), _everything(conn.db()))]
    for turn in range(12):
        event_store.save_events(conn, [{**A1, "turn": turn}, {**B1, "turn": turn}][: 1 + turn % 2])
        if turn % 3 == 0:
            conn.transact([{"db/id": "robot", "turn": turn, "seen": [turn, turn + 1]}])
        if turn % 4 == 3:
            conn.transact([("db/add", conn.db().documents({"aggregate-id": A})[turn // 2]["db/id"], "late", turn)])
        if turn % 2:  # some look at themselves only after the others came
            answers.append((conn.db(), _everything(conn.db())))
        else:
            answers.append((conn.db(), None))
    later = [(db, _everything(db)) for db, _ in reversed(answers)]
    for (db, now), (_, then) in zip(reversed(later), answers, strict=True):
        assert then is None or now == then
        assert _everything(conn.db().as_of(db.t)) == now


def _everything(db: tourlog.Database) -> Any:
    names: Iterable[Any] = (A, B)
    return (
        db.t,
        [db.documents({"aggregate-id": name}) for name in names],
        [tourlog.post_query_transform(db.q(gen_datalog("all", "aggregate-id"), name)) for name in names],
        sorted(db.q("[:find ?turn ?late :where [?e :turn ?turn] [?e :late ?late]]")),
        sorted(db.q("[:find [?seen ...] :where [_ :seen ?seen]]")),
        db.entity("robot"),
        db.entity("offset-metadata"),
        db.streams(),
        sorted(map(repr, db.facts())),
    )


def test_duplicated_documents_are_all_kept_each_with_an_id_of_its_own(conn: Connection) -> None:
    conn.append([A1, A1], "aggregate-id")
    conn.append([A1], "aggregate-id")
    documents = conn.db().documents({"aggregate-id": A})
    assert without_ids(documents) == [{"offset": offset, **A1} for offset in range(3)]
    assert [type(document["db/id"]) for document in documents] == [UUID, UUID, UUID]
    assert len({document["db/id"] for document in documents}) == 3
    assert [conn.db().entity(document["db/id"]) for document in documents] == documents
    assert conn.db().q("[:find (count ?e) . :where [?e :created-at 10000]]") == 3


def test_documents_of_one_transaction_are_entities_of_their_own_in_every_stream(conn: Connection) -> None:
    conn.append([{"k": k, "other": 0} for k in range(50)], "k")
    conn.append([{"k": k, "other": 0} for k in range(50)], "other")
    ids = conn.db().q("[:find [?e ...] :where [?e :k _]]")
    assert len(ids) == 100


def test_keys_interleaved_in_one_call_keep_their_order_per_key(conn: Connection) -> None:
    rng = random.Random(20230512)
    wanted: dict[int, list[int]] = {}
    for _ in range(3):
        records = [{"topic": "t", "partition": rng.randrange(5), "n": rng.randrange(9)} for _ in range(300)]
        report = log_store.commit_records(conn, records)
        for record in records:
            wanted.setdefault(record["partition"], []).append(record["n"])
        assert {stream.values[1]: span.stop for stream, span in report.offsets.items()} == {
            partition: len(values) for partition, values in wanted.items()
        }
    for partition, values in wanted.items():
        found = log_store.poll(conn.db(), "t", partition, 0)
        assert [(record["offset"], record["n"]) for record in found] == list(enumerate(values))


def test_append_is_a_pure_function_that_gives_transaction_data(conn: Connection) -> None:
    event_store.save_events(conn, [A1])
    db = conn.db()
    data = append(db, [A2, B1, A1], "aggregate-id")
    assert without_ids(data) == [
        {"offset": 1, "db/key": ["aggregate-id"], **A2},
        {"offset": 0, "db/key": ["aggregate-id"], **B1},
        {"offset": 2, "db/key": ["aggregate-id"], **A1},
    ]
    assert append(db, iter([A2, B1, A1]), "aggregate-id") == data
    assert (conn.db().t, events(conn, B)) == (1, [])
    conn.transact(data)
    assert (events(conn, A), events(conn, B)) == ([A1, A2, A1], [B1])
    assert [document["db/id"] for document in conn.db().documents({"aggregate-id": A})][1:] == [
        data[0]["db/id"],
        data[2]["db/id"],
    ]


def test_transaction_data_of_append_for_an_old_database_value_stays_the_same(conn: Connection) -> None:
    empty = conn.db()
    data = append(empty, [A1, B1], "aggregate-id")
    speculative = empty.with_(data).db_after.entity("offset-metadata")
    conn.transact(data)
    assert append(empty, [A1, B1], "aggregate-id") == data
    assert empty.with_(data).db_after.entity("offset-metadata") == speculative


def test_transaction_data_of_append_is_refused_once_the_stream_moved(conn: Connection) -> None:
    data = append(conn.db(), [A1], "aggregate-id")
    event_store.save_events(conn, [A2])
    with pytest.raises(tourlog.ConflictError) as refusal:
        conn.transact([{"db/id": 7, "n": 1}, *data])
    assert (refusal.value.details["expected"], refusal.value.details["actual"]) == (0, 1)
    assert (conn.db().t, conn.db().entity(7), events(conn, A)) == (1, None, [A2])


def test_append_as_a_transaction_function_runs_on_the_newest_database(conn: Connection) -> None:
    operation = call(append, [A1], "aggregate-id")
    conn.transact([operation, operation])
    event_store.save_events(conn, [A2])
    conn.transact([operation])
    assert events(conn, A) == [A1, A1, A2, A1]


def test_competitors_with_prepared_data_either_win_or_are_told(conn: Connection) -> None:
    written: list[int] = []

    def competitor(number: int) -> Callable[[], None]:
        def save() -> None:
            for turn in range(10):
                document = {"k": "x", "by": number, "turn": turn}
                while True:
                    try:
                        report = conn.transact(append(conn.db(), [document], "k"))
                    except tourlog.ConflictError:
                        continue
                    written.append(report.offsets[Stream(("k",), ("x",))].start)
                    break

        return save

    run_all([competitor(number) for number in range(4)])
    assert sorted(written) == list(range(40))
    found = conn.db().documents({"k": "x"})
    assert sorted((d["by"], d["turn"]) for d in found) == [(by, turn) for by in range(4) for turn in range(10)]


def test_an_aggregate_is_hydrated_from_its_events_in_order(conn: Connection) -> None:
    event_store.save_events(conn, [A1, B1, A2])

    def apply(robot: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        return {**robot, "name": event.get("nickname"), "events": [*robot["events"], event["type"]]}

    assert event_store.hydrate(conn.db(), A, apply, {"events": []}) == {
        "name": "Tripy",
        "events": ["bot-created", "nickname-assigned"],
    }
    assert event_store.hydrate(conn.db(), "nobody", apply, {"events": []}) == {"events": []}


def test_the_stores_take_another_key_attribute_and_pages(conn: Connection) -> None:
    event_store.save_events(conn, [{"robot": 1, "n": n} for n in range(6)], key="robot")
    found = event_store.get_events_for_aggregate(conn.db(), 1, key="robot", start=2, stop=4)
    assert found == [{"robot": 1, "n": 2}, {"robot": 1, "n": 3}]
    log_store.commit_records(conn, [{"topic": "t", "partition": 0, "n": n} for n in range(6)])
    assert [record["n"] for record in log_store.poll(conn.db(), "t", 0, 4, limit=9)] == [4, 5]
    assert [record["n"] for record in log_store.poll(conn.db(), "t", 0, 1, limit=2)] == [1, 2]
    assert log_store.poll(conn.db(), "t", 0, 1, limit=0) == []
