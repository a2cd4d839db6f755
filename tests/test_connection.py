"""Connections: blocks, conditions, names of transactions, threads, and what a connection refuses."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import tourlog
from tourlog import Connection, Database, Stream, append, call, event_store, log_store

ONE = Stream(("k",), (1,))
TWO = Stream(("k",), (2,))


def numbers(db: Database, key: Any = 1) -> list[int]:
    return [document["n"] for document in db.documents({"k": key})]


def everything(db: Database) -> Any:
    return db.t, sorted(map(repr, db.facts())), db.entity("offset-metadata"), db.streams()


def in_thread(job: Callable[[], Any]) -> Any:
    """What a job gives in another thread, or what it raises there."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(job())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return outcome[0]


# Blocks.


def test_a_block_is_one_transaction_over_any_number_of_stores(conn: Connection) -> None:
    with conn.transaction() as inner:
        assert inner is conn
        event_store.save_events(conn, [{"aggregate-id": "a", "n": 1}])
        log_store.commit_records(conn, [{"topic": "t", "partition": 1, "n": 1}])
        conn.transact([{"db/id": "x", "n": 2}])
        event_store.save_events(conn, [{"aggregate-id": "a", "n": 3}])
    assert conn.db().t == 1
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "a": 2, "t-1": 1}
    assert {fact.tx for fact in conn.db().facts()} == {1}
    assert [n for n in range(1, 4) if conn.db().q("[:find ?e :in $ ?n :where [?e :n ?n]]", n)] == [1, 2, 3]


def test_a_block_that_writes_nothing_is_no_transaction(conn: Connection) -> None:
    with conn.transaction():
        assert conn.db().t == 0
    with conn.transaction():
        conn.transact([{"db/id": 1, "n": 1}])
        conn.transact([("db/retract-entity", 1)])
    assert everything(conn.db()) == everything(tourlog.connect().db())


def test_reads_inside_a_block_see_its_writes_and_other_threads_do_not(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 0}], "k")
    with conn.transaction():
        conn.append([{"k": 1, "n": 1}], "k")
        assert numbers(conn.db()) == [0, 1]
        assert sorted(conn.db().q("[:find [?n ...] :where [_ :n ?n]]")) == [0, 1]
        assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 2}
        conn.transact([("db/add", conn.db().documents({"k": 1})[1]["db/id"], "n", 5)])
        assert numbers(conn.db()) == [0, 5]
        assert in_thread(lambda: numbers(conn.db())) == [0]
        assert in_thread(lambda: sorted(conn.db().q("[:find [?n ...] :where [_ :n ?n]]"))) == [0]
        assert in_thread(lambda: conn.db().t) == 1
    assert in_thread(lambda: numbers(conn.db())) == [0, 5]


def test_a_database_taken_inside_a_block_keeps_its_answers(conn: Connection) -> None:
    taken: list[tuple[Database, Any]] = []
    with conn.transaction():
        for n in range(20):
            conn.append([{"k": n % 3, "n": n}], "k")
            conn.transact([{"db/id": "last", "n": n}])
            taken.append((conn.db(), everything(conn.db()) if n % 2 else None))
    for n, (db, then) in enumerate(taken):
        assert numbers(db, n % 3) == list(range(n % 3, n + 1, 3))
        assert db.entity("last") == {"db/id": "last", "n": n}
        assert then is None or everything(db) == then
    conn.append([{"k": 0, "n": 99}], "k")
    assert everything(taken[-1][0])[1:] == everything(conn.db().as_of(1))[1:]


def test_reports_inside_a_block_tell_of_their_own_part(conn: Connection) -> None:
    with conn.transaction():
        first = conn.append([{"k": 1, "n": 0}], "k")
        second = conn.append([{"k": 1, "n": 1}, {"k": 2, "n": 2}], "k")
        third = conn.transact([{"db/id": 7, "n": 3}])
        fourth = conn.transact([("db/retract", 7, "n", 3), {"db/id": 8, "n": 4}])
        fifth = conn.transact([])
    offsets = [report.offsets for report in (first, second, third, fourth, fifth)]
    assert offsets == [{ONE: range(0, 1)}, {ONE: range(1, 2), TWO: range(0, 1)}, {}, {}, {}]
    facts = [[(f.v, f.added) for f in report.tx_data if f.a == "n"] for report in (first, second, third, fourth, fifth)]
    assert facts == [[(0, True)], [(1, True), (2, True)], [(3, True)], [(3, False), (4, True)], []]
    assert [numbers(report.db_before) for report in (first, second, third)] == [[], [0], [0, 1]]
    assert [report.db_after.entity(7) for report in (second, third, fourth)] == [None, {"db/id": 7, "n": 3}, None]
    assert {report.t for report in (first, second, third, fourth)} == {1}


class Stop(Exception):
    pass


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_exception_at_any_depth_undoes_every_block(conn: Connection, depth: int) -> None:
    conn.append([{"k": 1, "n": 0}], "k")
    before = everything(conn.db())

    def block(level: int) -> None:
        with conn.transaction():
            conn.append([{"k": 1, "n": level}, {"k": f"new-{level}", "n": 1}], "k")
            if level < depth:
                block(level + 1)
                return
            raise Stop

    with pytest.raises(Stop):
        block(1)
    assert everything(conn.db()) == before
    assert conn.append([{"k": 1, "n": 1}], "k").offsets == {ONE: range(1, 2)}


def test_nested_blocks_are_part_of_the_outermost(conn: Connection) -> None:
    with conn.transaction():
        conn.append([{"k": 1, "n": 0}], "k")
        with conn.transaction():
            conn.append([{"k": 1, "n": 1}], "k")
            with conn.transaction():
                conn.append([{"k": 1, "n": 2}], "k")
        assert in_thread(lambda: conn.db().t) == 0
        conn.append([{"k": 1, "n": 3}], "k")
    assert (conn.db().t, numbers(conn.db())) == (1, [0, 1, 2, 3])


def test_an_exception_caught_around_an_inner_block_still_undoes_the_whole(conn: Connection) -> None:
    with pytest.raises(tourlog.TransactionError) as refusal, conn.transaction():
        conn.append([{"k": 1, "n": 0}], "k")
        with pytest.raises(Stop), conn.transaction():
            raise Stop
        conn.append([{"k": 1, "n": 1}], "k")
    assert "undone" in str(refusal.value)
    assert everything(conn.db()) == everything(tourlog.connect().db())
    conn.append([{"k": 1, "n": 0}], "k")
    assert numbers(conn.db()) == [0]


def test_a_write_that_is_refused_inside_a_block_leaves_the_rest_of_the_block(conn: Connection) -> None:
    with conn.transaction():
        conn.append([{"k": 1, "n": 0}], "k")
        conn.transact([{"db/id": 7, "n": 1, "m": 1}])
        for bad in (
            lambda: conn.append([{"k": 1, "n": 1}, {"k": "new", "n": 1}, {"lacks": 1}], "k"),
            lambda: conn.append([{"k": 1, "n": 1}], "k", expect=0),
            lambda: conn.transact([{"db/id": 7, "n": 9}, ("db/retract", 7, "m"), ("db/cas", 7, "n", 1, 2)]),
            lambda: conn.transact([call(append, [{"k": "newer"}], "k"), ("db/retract-entity", 7), ("db/bad", 7)]),
        ):
            before = everything(conn.db())
            with pytest.raises(tourlog.TourlogError):
                bad()
            assert everything(conn.db()) == before
            assert conn.db().entity(7) == {"db/id": 7, "n": 1, "m": 1}
        conn.append([{"k": "later", "n": 1}, {"k": 1, "n": 2}], "k")
    assert numbers(conn.db()) == [0, 2]
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 2, "later": 1}
    assert conn.db().entity(7) == {"db/id": 7, "n": 1, "m": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_a_block_undoes_it(conn: Connection, error: type[BaseException]) -> None:
    with pytest.raises(error), conn.transaction():
        conn.append([{"k": 1, "n": 0}], "k")
        raise error
    assert everything(conn.db()) == everything(tourlog.connect().db())
    assert in_thread(lambda: conn.append([{"k": 1, "n": 5}], "k").t) == 1


def test_other_writers_wait_for_a_block_and_go_on_after_it(conn: Connection) -> None:
    entered, writing = threading.Event(), threading.Event()

    def other() -> None:
        entered.wait()
        writing.set()
        conn.append([{"k": 1, "n": 100}], "k")

    thread = threading.Thread(target=other)
    thread.start()
    with conn.transaction():
        entered.set()
        writing.wait()
        for n in range(5):
            conn.append([{"k": 1, "n": n}], "k")
            time.sleep(0.01)
        assert thread.is_alive()
    thread.join()
    assert numbers(conn.db()) == [0, 1, 2, 3, 4, 100]


def test_blocks_of_many_threads_do_not_mix(conn: Connection) -> None:
    def work(number: int) -> None:
        for _ in range(5):
            try:
                with conn.transaction():
                    for n in range(4):
                        conn.append([{"k": 1, "n": number}], "k")
                        if number == 3 and n == 2:
                            raise Stop
            except Stop:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = numbers(conn.db())
    assert sorted(found) == sorted([0, 1, 2] * 20)
    assert all(len(set(found[start : start + 4])) == 1 for start in range(0, 60, 4))
    assert [d["offset"] for d in conn.db().documents({"k": 1})] == list(range(60))


def test_tasks_of_one_thread_do_not_get_into_each_others_blocks(conn: Connection) -> None:
    """A task that awaits inside a block lets others run: they neither join it nor see what it wrote."""
    entered, asked = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        with conn.transaction():
            conn.append([{"k": 1, "n": 0}], "k")
            entered.set()
            await asked.wait()
            conn.append([{"k": 1, "n": 1}], "k")
            raise Stop

    async def other() -> list[int]:
        await entered.wait()
        seen = numbers(conn.db())
        with pytest.raises(tourlog.StorageError):
            conn.append([{"k": 1, "n": 100}], "k")
        asked.set()
        return seen

    async def both() -> list[Any]:
        return await asyncio.gather(holder(), other(), return_exceptions=True)

    stopped, seen = asyncio.run(both())
    assert (type(stopped), seen, conn.db().t) == (Stop, [], 0)


def test_a_task_that_outlives_the_block_it_began_in_writes_for_itself(conn: Connection) -> None:
    async def late() -> None:
        await asyncio.sleep(0)
        conn.append([{"k": 1, "n": 1}], "k")

    async def run() -> None:
        with conn.transaction():
            conn.append([{"k": 1, "n": 0}], "k")
            task = asyncio.create_task(late())
        await task

    asyncio.run(run())
    assert (conn.db().t, numbers(conn.db())) == (2, [0, 1])


def test_a_block_may_be_closed_in_another_context_than_it_was_opened_in(conn: Connection) -> None:
    block = conn.transaction()
    contextvars.copy_context().run(block.__enter__)
    contextvars.copy_context().run(block.__exit__, None, None, None)
    conn.append([{"k": 1, "n": 0}], "k")
    assert (conn.db().t, numbers(conn.db())) == (1, [0])


def test_what_is_appended_in_a_block_is_what_was_given_then(conn: Connection) -> None:
    document: dict[str, Any] = {"k": 1, "n": [{"deep": [1]}]}
    prepared = append(conn.db(), [document], "k")
    with conn.transaction():
        conn.transact(prepared)
        conn.append([document], "k")
        conn.transact([{**document, "db/id": 7}, ("db/add", 8, "n", document["n"]), call(append, [document], "k")])
        document["n"][0]["deep"].append(2)
        prepared[0]["n"][0]["deep"].append(3)
        document["k"] = 2
    assert [d["n"] for d in conn.db().documents({"k": 1})] == [[{"deep": [1]}]] * 3
    assert [conn.db().entity(e) for e in (7, 8)] == [
        {"db/id": 7, "k": 1, "n": [{"deep": [1]}]},
        {"db/id": 8, "n": [{"deep": [1]}]},
    ]


def test_run_reports_on_a_whole_block(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 0}], "k")

    def work() -> None:
        conn.append([{"k": 1, "n": 1}], "k")
        conn.transact([{"db/id": 7, "n": 2}])
        conn.append([{"k": 1, "n": 3}, {"k": 2, "n": 4}], "k")

    report = conn.run(work)
    assert (report.db_before.t, report.t, report.offsets) == (1, 2, {ONE: range(1, 3), TWO: range(0, 1)})
    assert sorted(fact.v for fact in report.tx_data if fact.a == "n") == [1, 2, 3, 4]
    with conn.transaction():
        conn.append([{"k": 1, "n": 5}], "k")
        inner = conn.run(work)
    assert (inner.offsets, conn.db().t) == ({ONE: range(4, 6), TWO: range(1, 2)}, 3)
    assert sorted(fact.v for fact in inner.tx_data if fact.a == "n") == [1, 3, 4]
    with pytest.raises(Stop):
        conn.run(_stopping(conn))
    assert conn.db().t == 3
    assert conn.run(lambda: None).t == 3


def _stopping(conn: Connection) -> Callable[[], None]:
    def work() -> None:
        conn.append([{"k": 1, "n": 9}], "k")
        raise Stop

    return work


# Conditions.


def test_an_expected_offset_must_be_the_next_one(conn: Connection) -> None:
    conn.append([{"k": 1}, {"k": 1}], "k", expect=0)
    for wrong in (0, 1, 3):
        with pytest.raises(tourlog.ConflictError) as refusal:
            conn.append([{"k": 1}], "k", expect=wrong)
        since = conn.db().documents({"k": 1}, wrong)
        assert refusal.value.details == {"stream": ONE, "expected": wrong, "actual": 2, "appended": since}
    assert conn.append([{"k": 1}], "k", expect=2).offsets == {ONE: range(2, 3)}
    with pytest.raises(tourlog.ConflictError):
        conn.append([{"k": 2}], "k", expect=1)


@pytest.mark.parametrize(
    "streams",
    [(ONE, TWO), ((1,), (2,)), (1, 2), (ONE, (2,)), (Stream(("k",), (1.0,)), 2.0)],
)
def test_expected_offsets_of_several_streams_are_a_mapping(conn: Connection, streams: tuple[Any, Any]) -> None:
    conn.append([{"k": 1}], "k")
    for wrong in ((0, 0), (1, 1), (2, 0)):
        with pytest.raises(tourlog.ConflictError):
            conn.append([{"k": 1}, {"k": 2}], "k", expect=dict(zip(streams, wrong, strict=True)))
    assert conn.db().t == 1
    conn.append([{"k": 1}, {"k": 2}], "k", expect=dict(zip(streams, (1, 0), strict=True)))
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 2, "2": 1}


def test_an_offset_of_a_composite_key_is_expected_by_its_tuple_of_values(conn: Connection) -> None:
    log_store.commit_records(conn, [{"topic": "t", "partition": 0}])
    with pytest.raises(tourlog.ConflictError):
        log_store.commit_records(conn, [{"topic": "t", "partition": 0}], expect={("t", 0): 0})
    log_store.commit_records(conn, [{"topic": "t", "partition": 0}], expect={("t", 0): 1, ("t", 1): 0})
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "t-0": 2}


def test_an_offset_of_a_stream_that_is_not_appended_to_can_be_expected_too(conn: Connection) -> None:
    conn.append([{"k": 1}], "k")
    with pytest.raises(tourlog.ConflictError):
        conn.append([{"k": 2}], "k", expect={ONE: 0})
    conn.append([{"k": 2}], "k", expect={ONE: 1})
    assert conn.db().t == 2


def test_expectations_inside_a_block_count_what_the_block_appended(conn: Connection) -> None:
    with conn.transaction():
        conn.append([{"k": 1}], "k", expect=0)
        conn.append([{"k": 1}], "k", expect=1)
        with pytest.raises(tourlog.ConflictError):
            conn.append([{"k": 1}], "k", expect=1)
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 2}


def test_of_competitors_with_the_same_expectation_one_wins(conn: Connection) -> None:
    outcomes: list[str] = []

    def compete() -> None:
        for turn in range(20):
            try:
                conn.append([{"k": 1, "n": turn}], "k", expect=turn)
            except tourlog.ConflictError:
                outcomes.append("lost")
            else:
                outcomes.append("won")

    threads = [threading.Thread(target=compete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = numbers(conn.db())
    assert found == list(range(len(found)))
    assert (outcomes.count("won"), len(outcomes)) == (len(found), 80)


FORMS: list[tuple[str, Any]] = [
    ("relation", "[:find ?e :in $ ?name :where [?e :name ?name]]"),
    ("collection", "[:find [?e ...] :in $ ?name :where [?e :name ?name]]"),
    ("tuple", "[:find [?e ?name] :in $ ?name :where [?e :name ?name]]"),
    ("scalar", "[:find ?e . :in $ ?name :where [?e :name ?name]]"),
    ("the value itself", "[:find ?name . :in $ ?name :where [_ :name ?name]]"),
    ("a count", "[:find (count ?e) . :in $ ?name :where [?e :name ?name]]"),
    ("data", {"find": ["?e"], "in": ["$", "?name"], "where": [("?e", "name", "?name")]}),
]


@pytest.mark.parametrize(("form", "query"), FORMS, ids=[form for form, _ in FORMS])
@pytest.mark.parametrize("name", ["Ann", "", 0, False, None])
def test_conditions_hold_by_whether_their_query_has_an_answer(
    conn: Connection, form: str, query: Any, name: Any
) -> None:
    condition = (query, name)
    conn.append([{"k": 1}], "k", unless=condition)
    with pytest.raises(tourlog.ConditionError) as refusal:
        conn.append([{"k": 1}], "k", only_if=condition)
    assert refusal.value.details == {"condition": condition, "rows": []}
    conn.transact([{"db/id": 1, "name": name}])
    conn.append([{"k": 1}], "k", only_if=condition)
    with pytest.raises(tourlog.ConditionError):
        conn.append([{"k": 1}], "k", unless=condition)
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 2}, form


def test_a_value_that_is_empty_is_an_answer_and_an_empty_collection_is_none(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "tags": [[]]}])
    with pytest.raises(tourlog.ConditionError):
        conn.append([{"k": 1}], "k", unless="[:find ?tags . :where [1 :tags ?tags]]")
    conn.append([{"k": 1}], "k", unless="[:find [?tags ...] :where [2 :tags ?tags]]")


def test_a_condition_without_inputs_is_a_query_alone_and_may_take_rules(conn: Connection) -> None:
    conn.append([{"k": 1}], "k", unless="[:find ?e :where [?e :k 1]]")
    with pytest.raises(tourlog.ConditionError):
        conn.append([{"k": 1}], "k", unless="[:find ?e :where [?e :k 1]]")
    rules = tourlog.gen_rules("k")
    with pytest.raises(tourlog.ConditionError):
        conn.append([{"k": 1}], "k", unless=("[:find ?e :in $ % ?k :where (nth ?e ?k 0)]", rules, 1))
    conn.append([{"k": 1}], "k", unless=("[:find ?e :in $ % ?k :where (nth ?e ?k 1)]", rules, 1))


def test_a_condition_takes_what_a_query_takes(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "name": "Ann"}])
    old = conn.db()
    conn.transact([{"db/id": 1, "name": "Bob"}])
    renamed = "[:find ?e :in $ $old ?name :where [$old ?e :name ?name] (not [?e :name ?name])]"
    one_of = "[:find ?e :in $ [?name ...] :where [?e :name ?name]]"
    conn.append([{"k": 1}], "k", only_if=(renamed, old, "Ann"), unless=(renamed, conn.db(), "Bob"))
    conn.append([{"k": 1}], "k", only_if=(one_of, iter(["Bob", "Cid"])), unless=(one_of, (name for name in ["Ann"])))
    assert len(conn.db().documents({"k": 1})) == 2


def test_conditions_inside_a_block_see_what_the_block_wrote(conn: Connection) -> None:
    with conn.transaction():
        conn.append([{"k": 1}], "k", unless="[:find ?e :where [?e :k 1]]")
        with pytest.raises(tourlog.ConditionError):
            conn.append([{"k": 1}], "k", unless="[:find ?e :where [?e :k 1]]")
        conn.append([{"k": 2}], "k", only_if="[:find ?e :where [?e :k 1]]")
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 1, "2": 1}


def test_a_condition_lets_one_of_many_threads_through(conn: Connection) -> None:
    refused: list[tourlog.ConditionError] = []

    def claim(number: int) -> None:
        try:
            conn.append([{"k": number, "name": "Ann"}], "k", unless=("[:find ?e :in $ ?n :where [?e :name ?n]]", "Ann"))
        except tourlog.ConditionError as error:
            refused.append(error)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(refused), conn.db().q("[:find (count ?e) . :where [?e :name]]")) == (5, 1)


# Names of transactions.


@pytest.mark.parametrize("tx_id", ["order-1", UUID(int=7), "ключ", " ", "x" * 5000])
def test_a_transaction_with_a_known_id_is_not_written_again(tmp_path: Path, tx_id: Any) -> None:
    path = tmp_path / "store"
    with tourlog.connect(path) as conn:
        conn.append([{"k": 1, "n": 0}], "k")
        first = conn.append([{"k": 1, "n": 1}, {"k": 2, "n": 2}], "k", tx_id=tx_id)
        conn.transact([{"db/id": 7, "n": 3}])
        again = conn.append([{"k": 1, "n": 1}, {"k": 2, "n": 2}], "k", tx_id=tx_id)
        _assert_same(first, again)
    with tourlog.connect(path) as conn:
        reopened = conn.append([{"k": 1, "n": 1}, {"k": 2, "n": 2}], "k", tx_id=tx_id)
        assert (reopened.t, reopened.db_before.t, reopened.offsets) == (2, 1, first.offsets)
        assert [fact.v for fact in reopened.tx_data if fact.a == "n"] == [1, 2]
        assert numbers(conn.db()) == [0, 1]
        assert conn.transact([{"db/id": 9, "n": 9}], tx_id=tx_id).t == 2
        assert conn.db().entity(9) is None
        assert conn.transact([{"db/id": 9, "n": 9}], tx_id="another").t == 4


def _assert_same(one: tourlog.TxReport, other: tourlog.TxReport) -> None:
    for report in (one, other):
        assert (report.db_before.t + 1, report.t) == (one.t, one.t)
        assert (report.offsets, report.tx_data) == (one.offsets, one.tx_data)
        assert everything(report.db_after) == everything(one.db_after)
        assert everything(report.db_before) == everything(one.db_before)


def test_a_uuid_and_its_text_are_one_id(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "n": 1}], tx_id=UUID(int=7))
    assert conn.transact([{"db/id": 1, "n": 2}], tx_id=str(UUID(int=7))).t == 1


def test_an_empty_transaction_with_an_id_is_remembered(conn: Connection) -> None:
    assert (conn.transact([], tx_id="a").t, conn.append([], "k", tx_id="b").t, conn.db().t) == (1, 2, 2)
    assert (conn.transact([{"db/id": 1, "n": 1}], tx_id="a").t, conn.db().t) == (1, 2)


def test_an_id_is_free_again_when_its_transaction_failed(conn: Connection) -> None:
    with pytest.raises(tourlog.DocumentError):
        conn.append([{"lacks": 1}], "k", tx_id="a")
    assert conn.append([{"k": 1}], "k", tx_id="a").t == 1


def test_conditions_are_not_asked_again_for_a_known_id(conn: Connection) -> None:
    for _ in range(2):
        report = conn.append([{"k": 1}], "k", expect=0, unless="[:find ?e :where [?e :k 1]]", tx_id="once")
        assert (report.t, report.offsets) == (1, {ONE: range(0, 1)})


def test_of_threads_with_one_id_one_writes_and_all_get_its_report(conn: Connection) -> None:
    reports: list[tourlog.TxReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(conn.append([{"k": 1}], "k", tx_id="once"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(report.t, report.offsets) for report in reports] == [(1, {ONE: range(0, 1)})] * 6
    assert conn.db().t == 1


def test_a_whole_block_can_have_an_id_and_no_part_of_it(conn: Connection) -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(conn.append([{"k": 1, "n": len(calls)}], "k").t)

    assert conn.run(work, tx_id="a").offsets == conn.run(work, tx_id="a").offsets == {ONE: range(0, 1)}
    assert (calls, numbers(conn.db())) == ([1], [0])
    with conn.transaction():
        for part in (
            lambda: conn.append([{"k": 1}], "k", tx_id="b"),
            lambda: conn.transact([], tx_id="b"),
            lambda: conn.run(work, tx_id="b"),
        ):
            with pytest.raises(tourlog.ArgumentError):
                part()
    assert conn.db().t == 1


def test_saving_and_publishing_again_under_one_id_does_nothing(conn: Connection) -> None:
    events = [{"aggregate-id": "a", "n": 1}]
    for _ in range(2):
        report = log_store.save_events_and_publish(conn, events, "t", 0, expect=0, tx_id="once")
        assert report.offsets == {
            Stream(("aggregate-id",), ("a",)): range(0, 1),
            Stream(("topic", "partition"), ("t", 0)): range(0, 1),
        }
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "a": 1, "t-0": 1}


# Threads.


def test_threads_that_append_at_once_lose_nothing(conn: Connection) -> None:
    writers, rounds = 6, 15
    seen: list[list[int]] = []
    done = threading.Event()

    def write(number: int) -> None:
        for turn in range(rounds):
            if turn % 3 == 0:
                conn.transact([{"db/id": f"{number}-{turn}", "m": turn}])
            conn.append([{"k": 1, "by": number, "turn": turn}, {"k": number + 10, "turn": turn}], "k")

    def read() -> None:
        while not done.is_set():
            db = conn.db()
            offsets = [d["offset"] for d in db.documents({"k": 1})]
            assert offsets == list(range(len(offsets)))
            assert sorted(db.q("[:find [?o ...] :where [?e :by _] [?e :offset ?o]]")) == offsets
            assert len(list(db.facts(a="by"))) == len(offsets)
            seen.append(offsets)

    failures: list[BaseException] = []
    readers = [threading.Thread(target=_guarded(read, failures)) for _ in range(2)]
    threads = [threading.Thread(target=_guarded(lambda number=n: write(number), failures)) for n in range(writers)]
    for thread in (*readers, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert failures == []
    assert seen
    found = conn.db().documents({"k": 1})
    assert [d["offset"] for d in found] == list(range(writers * rounds))
    for number in range(writers):
        assert [d["turn"] for d in found if d["by"] == number] == list(range(rounds))
        assert [d["turn"] for d in conn.db().documents({"k": number + 10})] == list(range(rounds))
    assert conn.db().q("[:find (count ?e) . :where [?e :m]]") == writers * 5


def _guarded(job: Callable[[], None], failures: list[BaseException]) -> Callable[[], None]:
    def work() -> None:
        try:
            job()
        except BaseException as error:
            failures.append(error)

    return work


def test_two_connections_to_one_file_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with tourlog.connect(path) as one, tourlog.connect(path) as other:
        old = one.db()
        one.append([{"k": 1, "n": 0}], "k")
        assert numbers(other.db()) == [0]
        other.append([{"k": 1, "n": 1}, {"k": 2, "n": 2}], "k", expect={(1,): 1})
        assert sorted(one.db().q("[:find [?n ...] :where [_ :n ?n]]")) == [0, 1, 2]
        with pytest.raises(tourlog.ConflictError):
            one.append([{"k": 1}], "k", expect=1)
        assert everything(one.db()) == everything(other.db())
        assert (old.t, numbers(old)) == (0, [])


# What a connection refuses.

USES: list[tuple[str, Callable[[Connection], Any]]] = [
    ("db", lambda conn: conn.db()),
    ("append", lambda conn: conn.append([{"k": 1}], "k")),
    ("transact", lambda conn: conn.transact([{"db/id": 1, "n": 1}])),
    ("run", lambda conn: conn.run(lambda: None)),
    ("transaction", lambda conn: conn.transaction().__enter__()),
]


@pytest.mark.parametrize(("use", "do"), USES, ids=[use for use, _ in USES])
def test_a_closed_connection_refuses_everything_but_closing(
    conn: Connection, use: str, do: Callable[[Connection], Any]
) -> None:
    conn.append([{"k": 1}], "k")
    db = conn.db()
    conn.close()
    conn.close()
    with pytest.raises(tourlog.StorageError) as refusal:
        do(conn)
    assert "closed" in str(refusal.value), use
    with pytest.raises(tourlog.StorageError):
        db.documents({"k": 1})
    with pytest.raises(tourlog.StorageError):
        db.q("[:find ?e :where [?e :k 1]]")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_cannot_use_the_connection_and_the_parent_still_can(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 0}], "k")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        outcomes = []
        for _, do in USES:
            try:
                do(conn)
                outcomes.append("allowed")
            except tourlog.StorageError as error:
                outcomes.append("refused" if "fork" in str(error) else str(error))
        os.write(writer, ",".join(outcomes).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 10000).decode().split(",") == ["refused"] * len(USES)
    os.close(reader)
    conn.append([{"k": 1, "n": 1}], "k")
    assert numbers(conn.db()) == [0, 1]


def test_a_read_only_connection_reads_and_refuses_to_write(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with tourlog.connect(path) as writer, tourlog.connect(path, read_only=True) as reader:
        writer.append([{"k": 1, "n": 0}], "k")
        for _, do in USES[1:]:
            with pytest.raises(tourlog.StorageError) as refusal:
                do(reader)
            assert "read" in str(refusal.value)
        writer.append([{"k": 1, "n": 1}], "k")
        assert numbers(reader.db()) == [0, 1]
        assert sorted(reader.db().q("[:find [?n ...] :where [_ :n ?n]]")) == [0, 1]
        assert reader.db().with_([call(append, [{"k": 1, "n": 2}], "k")]).offsets == {ONE: range(2, 3)}


def test_closing_in_a_block_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    conn = tourlog.connect(path)
    conn.append([{"k": 1, "n": 0}], "k")
    with pytest.raises(tourlog.StorageError), conn.transaction():
        conn.append([{"k": 1, "n": 1}], "k")
        conn.close()
    with tourlog.connect(path) as again:
        assert numbers(again.db()) == [0]
        again.append([{"k": 1, "n": 1}], "k")


@pytest.mark.parametrize("inside", ["append", "transact", "block", "function", "condition"])
def test_a_write_from_within_a_write_is_refused_or_part_of_it(conn: Connection, inside: str) -> None:
    def sneak(*_: Any) -> Any:
        conn.append([{"k": 2, "n": 1}], "k")
        return []

    def documents() -> Any:
        sneak()
        yield {"k": 1, "n": 0}

    match inside:
        case "append":  # an iterable is read before the writer's place is taken
            conn.append(documents(), "k")
            assert (numbers(conn.db(), 1), numbers(conn.db(), 2), conn.db().t) == ([0], [1], 2)
        case "transact":
            conn.transact(documents())
            assert (numbers(conn.db(), 2), conn.db().t) == ([1], 2)
        case "block":
            with conn.transaction():
                conn.append(documents(), "k")
            assert (numbers(conn.db(), 1), numbers(conn.db(), 2), conn.db().t) == ([0], [1], 1)
        case "function":
            with pytest.raises(tourlog.StorageError):
                conn.transact([call(sneak)])
            assert conn.db().t == 0
        case "condition":
            conn.transact([{"db/id": 1, "n": 1}])
            with pytest.raises(tourlog.StorageError):
                conn.append([{"k": 1}], "k", unless=("[:find ?e :in $ ?f :where [?e :n _] [(?f ?e)]]", sneak))
            assert conn.db().t == 1


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_a_store_comes_back_as_it_was(tmp_path: Path, durability: str) -> None:
    path = tmp_path / "store"
    with tourlog.connect(path, durability=durability) as conn:
        for n in range(250):
            conn.append([{"k": n % 2, "n": n}], "k")
        conn.transact([{"db/id": 1, "a": [1, {"b": 2}]}, ("db/retract-entity", 2)])
        before, middle = everything(conn.db()), everything(conn.db().as_of(100))
    with tourlog.connect(path) as conn:
        assert everything(conn.db().as_of(100)) == middle
        assert everything(conn.db()) == before
