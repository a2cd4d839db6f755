"""Consumers: what was made of documents and how far that got are committed together, or neither is."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tourlog
from tourlog import Connection, Consumer, Stream, log_store

WAIT = 60

ONE = {"topic": "paid", "partition": 1}
TWO = {"topic": "paid", "partition": 2}
PAID = {"topic": "paid", "partition": None}


def pay(conn: Connection, *payments: tuple[int, int]) -> None:
    """Records of (partition, amount)."""
    log_store.commit_records(conn, [{"topic": "paid", "partition": p, "amount": amount} for p, amount in payments])


def add(db: tourlog.Database, amount: int) -> list[Any]:
    return [{"db/id": "total", "sum": (db.entity("total") or {"sum": 0})["sum"] + amount}]


def total(conn: Connection) -> int:
    return int((conn.db().entity("total") or {"sum": 0})["sum"])


def project(conn: Connection, consumer: Consumer, items: list[Any]) -> None:
    for _, record in items:
        conn.transact([tourlog.call(add, record["amount"]), consumer.done(record)])


def test_a_projection_and_its_offset_are_committed_together_and_it_goes_on_from_there(conn: Connection) -> None:
    bank = Consumer("bank")
    pay(conn, (1, 5), (2, 7), (1, 11))
    project(conn, bank, conn.subscribe(PAID, start=bank).take(2))
    assert (total(conn), bank.committed(conn.db(), ONE), bank.committed(conn.db(), TWO)) == (16, 2, 0)
    pay(conn, (1, 13), (3, 17))
    project(conn, bank, conn.subscribe(PAID, start=Consumer("bank")).take(9))
    assert total(conn) == 5 + 7 + 11 + 13 + 17
    assert conn.subscribe(PAID, start=bank).take(9) == []


def test_one_stream_goes_on_from_the_committed_offset(conn: Connection) -> None:
    bank = Consumer("bank")
    pay(conn, (1, 5), (1, 7), (1, 11))
    project(conn, bank, conn.subscribe(ONE, start=bank).take(1))
    assert [place for place, _ in conn.subscribe(ONE, start=bank).take(9)] == [1, 2]


def test_a_transaction_that_fails_leaves_neither_projection_nor_offset(conn: Connection) -> None:
    bank = Consumer("bank")
    pay(conn, (1, 5))
    [(_, record)] = conn.subscribe(PAID, start=bank).take(1)
    with pytest.raises(tourlog.ConflictError):
        conn.transact([tourlog.call(add, 5), bank.done(record), ("db/cas", "total", "sum", 0, 1)])
    assert (total(conn), bank.committed(conn.db(), ONE)) == (0, 0)
    with conn.transaction():
        conn.transact(add(conn.db(), 5))
        conn.transact([bank.done(record)])
    assert (total(conn), bank.committed(conn.db(), ONE), conn.db().t) == (5, 1, 2)


def test_whoever_comes_second_is_refused_and_projects_nothing(conn: Connection) -> None:
    """Two programs that run the same consumer by mistake do nothing twice."""
    pay(conn, (1, 5), (1, 7), (1, 11))
    one, two = (conn.subscribe(ONE, start=Consumer("bank")).take(2) for _ in range(2))
    conn.transact([tourlog.call(add, 12), Consumer("bank").done(*[record for _, record in one])])
    with pytest.raises(tourlog.ConflictError, match="'bank' has come to offset 2") as refusal:
        conn.transact([tourlog.call(add, 12), Consumer("bank").done(*[record for _, record in two])])
    stream = Stream(("topic", "partition"), ("paid", 1))
    assert refusal.value.details == {"stream": stream, "expected": 0, "actual": 2, "consumer": "bank"}
    with pytest.raises(tourlog.ConflictError):
        conn.transact([Consumer("bank").done(two[1][1])])
    assert total(conn) == 12


def test_a_batch_of_several_streams_is_done_at_once(conn: Connection) -> None:
    bank = Consumer("bank")
    pay(conn, (1, 5), (2, 7), (1, 11), (2, 13), (3, 1))
    records = [record for _, record in conn.subscribe(PAID, start=bank).take(4)]
    conn.transact([bank.done(*records)])
    assert [bank.committed(conn.db(), {**ONE, "partition": p}) for p in (1, 2, 3)] == [2, 2, 0]
    conn.transact([bank.done()])


def test_consumers_of_different_names_do_not_know_each_other(conn: Connection) -> None:
    pay(conn, (1, 5))
    [(_, record)] = conn.subscribe(ONE).take(1)
    conn.transact([Consumer("bank").done(record)])
    assert (Consumer("tax").committed(conn.db(), ONE), Consumer("bank").committed(conn.db(), ONE)) == (0, 1)
    conn.transact([Consumer("tax").done(record)])


def test_how_far_a_consumer_is_behind_is_a_query(conn: Connection) -> None:
    bank = Consumer("bank")
    pay(conn, (1, 5), (1, 7), (1, 9), (2, 7))
    conn.transact([bank.done(conn.db().documents(ONE)[0])])
    conn.transact([bank.done(conn.db().documents(TWO)[0])])
    assert bank.lag(conn.db()) == {
        Stream(("topic", "partition"), ("paid", 1)): 2,
        Stream(("topic", "partition"), ("paid", 2)): 0,
    }
    lag = """[:find ?p (count ?r) :in $ ?c
              :where [?at :consumer ?c] [?at :committed ?o] [?at :topic ?t] [?at :partition ?p]
                     [?r :topic ?t] [?r :partition ?p] [?r :db/key ["topic" "partition"]]
                     [?r :offset ?any] [(>= ?any ?o)]]"""
    assert conn.db().q(lag, "bank") == {(1, 2)}
    assert conn.db().as_of(1).q(lag, "bank") == set()
    assert sorted(conn.db().q("[:find ?p ?o :where [?c :consumer] [?c :partition ?p] [?c :committed ?o]]")) == [
        (1, 1),
        (2, 1),
    ]


def test_a_consumer_may_read_everything_again(conn: Connection) -> None:
    bank = Consumer("bank")
    pay(conn, (1, 5), (2, 7), (1, 11))
    project(conn, bank, conn.subscribe(PAID, start=bank).take(9))
    conn.transact([bank.rewind(), ("db/retract-entity", "total")])
    project(conn, bank, conn.subscribe(PAID, start=bank).take(9))
    assert total(conn) == 23
    conn.transact([bank.rewind(ONE, 1)])
    assert [record["amount"] for _, record in conn.subscribe(PAID, start=bank).take(9)] == [11]


def test_offsets_survive_closing_and_old_positions_know_theirs(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "a.tourlog") as first:
        pay(first, (1, 5), (1, 7))
        project(first, Consumer("bank"), first.subscribe(ONE).take(2))
    with tourlog.connect(tmp_path / "a.tourlog") as second:
        committed = [Consumer("bank").committed(second.db().as_of(t), ONE) for t in range(4)]
        assert (committed, second.subscribe(ONE, start=Consumer("bank")).take(1)) == ([0, 0, 1, 2], [])


# Members.


def test_members_share_streams_evenly_and_without_overlap(conn: Connection) -> None:
    conn.append([{"other": n} for n in range(3)], "other")
    for p in range(7):
        pay(conn, (p, p))
        conn.append([{"other": p + 10}], "other")
    members = [conn.subscribe(PAID, start=Consumer("bank", member, 3)) for member in range(3)]
    assert [[record["partition"] for _, record in member.take(99)] for member in members] == [[0, 3, 6], [1, 4], [2, 5]]
    pay(conn, (7, 0), (8, 0), (0, 1))
    assert [[record["partition"] for _, record in member.take(99)] for member in members] == [[0], [7], [8]]


def test_members_of_another_number_that_was_forgotten_are_refused(conn: Connection) -> None:
    pay(conn, (0, 1), (1, 2), (2, 3))
    forgotten = conn.subscribe(PAID, start=Consumer("bank", 0, 2)).take(9)
    for member in range(3):
        consumer = Consumer("bank", member, 3)
        project(conn, consumer, conn.subscribe(PAID, start=consumer).take(9))
    for item in forgotten:
        with pytest.raises(tourlog.ConflictError):
            project(conn, Consumer("bank", 0, 2), [item])
    assert total(conn) == 6


@pytest.mark.parametrize("wrong", [("",), (5,), ("a", 1), ("a", -1, 2), ("a", 2, 2), ("a", 0, 0), ("a", "0", 1)])
def test_a_consumer_needs_a_name_and_a_place_among_its_members(wrong: Any) -> None:
    with pytest.raises(tourlog.ArgumentError):
        Consumer(*wrong)


def test_a_consumer_is_asked_of_a_database(conn: Connection) -> None:
    wrong: Any = conn
    for work in (lambda: Consumer("bank").lag(wrong), lambda: Consumer("bank").committed(wrong, ONE)):
        with pytest.raises(tourlog.ArgumentError, match=r"expected a Database, such as conn.db\(\), got"):
            work()


def test_what_was_not_read_from_a_stream_cannot_be_done(conn: Connection) -> None:
    pay(conn, (1, 5))
    conn.append([{"consumer": 1}], "consumer")
    foreign = tourlog.connect()
    pay(foreign, (1, 5))
    for wrong in ({}, {"db/id": "x"}, 5):
        with pytest.raises(tourlog.ArgumentError):
            Consumer("bank").done(wrong)  # type: ignore[arg-type]
    for document in (foreign.db().documents(ONE)[0], conn.db().documents({"consumer": 1})[0]):
        with pytest.raises(tourlog.ArgumentError):
            conn.transact([Consumer("bank").done(document)])
    assert conn.db().t == 2


# At the same time.


def test_threads_that_compete_as_one_consumer_deal_with_everything_once(conn: Connection) -> None:
    """However many run it, and whoever wins each record."""
    pay(conn, *[(n % 3, n) for n in range(60)])

    def run() -> None:
        bank = Consumer("bank")
        while True:
            items = conn.subscribe(PAID, start=bank).take(5)
            if not items:
                return
            for item in items:
                try:
                    project(conn, bank, [item])
                except tourlog.ConflictError:
                    break

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(run) for _ in range(4)]:
            future.result(WAIT)
    assert total(conn) == sum(range(60))


MEMBER = """
import sys, tourlog
path, member, members, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
consumer = tourlog.Consumer("bank", member, members)
with tourlog.connect(path, durability="normal") as conn:
    for _, record in conn.subscribe({"topic": "paid", "partition": None}, start=consumer):
        conn.append([{"member": member, "partition": record["partition"], "n": record["n"]}], "member")
        conn.transact([consumer.done(record)])
        count -= 1
        if not count:
            break
"""


def test_processes_share_the_partitions_of_a_topic_as_they_fill(tmp_path: Path) -> None:
    path = tmp_path / "a.tourlog"
    with tourlog.connect(path, durability="normal") as conn:
        members = [
            subprocess.Popen([sys.executable, "-c", MEMBER, str(path), str(member), "2", "20"], stderr=subprocess.PIPE)
            for member in range(2)
        ]
        for n in range(10):
            log_store.commit_records(conn, [{"topic": "paid", "partition": p, "n": n} for p in range(4)])
        assert [(member.communicate(timeout=WAIT)[1], member.returncode) for member in members] == [(b"", 0)] * 2
        dealt = {
            (document["member"], document["partition"], document["n"])
            for member in range(2)
            for document in conn.db().documents({"member": member})
        }
        assert dealt == {(p % 2, p, n) for p in range(4) for n in range(10)}
        assert set(Consumer("bank").lag(conn.db()).values()) == {0}


def test_the_library_of_log_rules_knows_how_far_consumers_are_behind(conn: Connection) -> None:
    pay(conn, (1, 5), (1, 7), (1, 9), (2, 7))
    conn.transact([Consumer("bank").done(*conn.db().documents(ONE)[:1], *conn.db().documents(TWO))])
    behind = conn.db().q('[:find ?p ?n :in $ % :where (lag "bank" "paid" ?p ?n)]', "log")
    assert behind == {(1, 2), (2, 0)}
