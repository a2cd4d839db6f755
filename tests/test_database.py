"""The database value: reading, travelling in time, speculating, and keeping what it holds to itself."""

from __future__ import annotations

import copy
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import tourlog
from tourlog import Connection, Database, Fact, Stream, append, call, connect, gen_datalog
from tourlog.errors import ArgumentError
from tourlog.storage.log import Batch
from tourlog.storage.memory import MemoryLog


def fill(conn: Connection) -> None:
    """t=1 two documents, t=2 an entity, t=3 it and a document change, t=4 another stream, t=5 retractions."""
    conn.append([{"k": 1, "n": 0}, {"k": 1, "n": 1}], "k")
    conn.transact([{"db/id": "x", "n": [10, 11], "m": {"a": 1}}])
    conn.transact([{"db/id": "x", "n": [11, 12]}, {"db/id": document(conn, 1), "n": 5}])
    conn.append([{"k": 2, "n": 2}], "k")
    conn.transact([("db/retract", "x", "m"), ("db/retract-entity", document(conn, 0))])


def document(conn: Connection, offset: int) -> Any:
    return conn.db().documents({"k": 1}, offset, offset + 1)[0]["db/id"]


def values(db: Database, attribute: str) -> list[Any]:
    return sorted(db.q("[:find [?v ...] :in $ ?a :where [_ ?a ?v]]", attribute))


# Reading.


def test_an_empty_database_knows_nothing(conn: Connection) -> None:
    db = conn.db()
    assert (db.t, db.streams(), list(db.facts()), db.entity(1), db.documents({"k": 1})) == (0, [], [], None, [])
    assert db.entity("offset-metadata") == {"db/id": "offset-metadata"}
    assert db.q("[:find ?e :where [?e :k 1]]") == []
    assert repr(db) == "<Database t=0>"


def test_documents_come_in_order_by_slices(conn: Connection) -> None:
    for start in range(0, 250, 25):
        conn.append([{"k": 1, "n": n} for n in range(start, start + 25)], "k")
    conn.append([{"k": 2, "n": n} for n in range(250)], "k")
    for key in (1, 2):
        for start, stop in ((0, None), (0, 0), (0, 1), (99, 101), (24, 26), (249, 250), (200, 10**30), (250, None)):
            found = conn.db().documents({"k": key}, start, stop)
            wanted = range(250)[start:stop]
            assert [(d["offset"], d["k"], d["n"]) for d in found] == [(n, key, n) for n in wanted]
    assert conn.db().documents({"k": 1}, 7, 3) == []
    assert list(conn.db().documents({"k": 1}, 0, 1)[0]) == ["db/id", "offset", "k", "n"]


def test_a_key_may_be_given_in_any_order_or_as_a_stream(conn: Connection) -> None:
    conn.append([{"topic": "t", "partition": 1}], "topic", "partition")
    found = conn.db().documents({"topic": "t", "partition": 1})
    assert len(found) == 1
    assert conn.db().documents({"partition": 1, "topic": "t"}) == found
    assert conn.db().documents(Stream(("topic", "partition"), ("t", 1))) == found
    conn.append([{"topic": "t", "partition": 1, "n": 2}], "partition", "topic")
    assert [d.get("n") for d in conn.db().documents({"partition": 1, "topic": "t"})] == [2]
    assert conn.db().documents({"topic": "t", "partition": 1}) == found


def test_streams_are_listed_in_order_of_creation(conn: Connection) -> None:
    fill(conn)
    one, two = Stream(("k",), (1,)), Stream(("k",), (2,))
    assert conn.db().streams() == [("1", one, 2), ("2", two, 1)]
    assert conn.db().as_of(3).streams() == [("1", one, 2)]
    assert conn.db().stream({"k": 1}) == one


def test_facts_are_found_by_entity_attribute_and_value(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "a": [1, 2], "b": {"c": "x"}}])
    conn.transact([{"db/id": 2, "a": 1, "d": None}])
    every = [
        Fact(1, "a", 1, 1),
        Fact(1, "a", 2, 1),
        Fact(1, "b", {"c": "x"}, 1),
        Fact(1, "b.c", "x", 1),
        Fact(2, "a", 1, 2),
        Fact(2, "d", None, 2),
    ]
    found = conn.db().facts
    assert sorted(found(), key=repr) == sorted(every, key=repr)
    assert sorted(found(e=1), key=repr) == every[:4]
    assert sorted(found(a="a"), key=repr) == [every[0], every[1], every[4]]
    assert sorted(found(v=1), key=repr) == [every[0], every[4]]
    assert list(found(v=1.0, e=2)) == [every[4]]
    assert list(found(v=True)) == []
    assert list(found(a="b", v={"c": "x"})) == [every[2]]
    assert list(found(e=1, a="b.c")) == [every[3]]
    assert list(found(e=9)) == list(found(a="zz")) == list(found(a="b.c.d")) == []


def test_system_attributes_are_facts_when_named(conn: Connection) -> None:
    fill(conn)
    e = document(conn, 1)
    assert [fact.v for fact in conn.db().facts(e, "db/key")] == [["k"]]
    assert [fact.v for fact in conn.db().facts(e, "db/tx")] == [3]
    assert [fact.v for fact in conn.db().facts("x", "db/id")] == ["x"]
    instants = [fact.v for fact in conn.db().facts(a="db/tx-instant")]
    assert (len(instants), instants) == (5, sorted(instants))
    assert not [fact for fact in conn.db().facts() if fact.a.startswith("db/")]


def test_explain_says_how_a_query_would_run_and_prints(conn: Connection) -> None:
    fill(conn)
    explained = str(conn.db().explain(gen_datalog("nthrest", "k"), 1, 0))
    assert "k" in explained
    assert conn.db().explain("[:find ?e :in $ $b :where [$b ?e :k 1]]", conn.db()).query.inputs[1].name == "$b"


def test_q_takes_databases_where_the_query_has_sources(conn: Connection) -> None:
    fill(conn)
    old = conn.db().as_of(2)
    query = "[:find [?v ...] :in $ $old :where [$ ?e :n ?v] [$old ?e :n ?v]]"
    assert sorted(conn.db().q(query, old)) == sorted(tourlog.q(query, conn.db(), old)) == [11]


# Fresh copies.


def nested() -> dict[str, Any]:
    return {"k": "key", "list": [1, [2, {"deep": [3]}]], "dict": {"a": {"b": [1]}}, "bag": [{"x": 1}], "set": {1}}


def spoil(value: Any) -> None:
    """Changes everything in a value that can be changed."""
    if isinstance(value, dict):
        for inner in list(value.values()):
            spoil(inner)
        value["spoilt"] = True
    elif isinstance(value, list):
        for inner in value:
            spoil(inner)
        value.append("spoilt")
    elif isinstance(value, set):
        value.add("spoilt")
    elif isinstance(value, tuple):
        for inner in value:
            spoil(inner)


WRITES: list[tuple[str, Callable[[Connection, dict[str, Any]], Any]]] = [
    ("append", lambda conn, given: conn.append([given], "k")),
    ("transact", lambda conn, given: conn.transact([{"db/id": 1, **given}])),
    ("call", lambda conn, given: conn.transact([call(append, [given], "k")])),
    ("prepared", lambda conn, given: conn.transact(append(conn.db(), [given], "k"))),
    ("add", lambda conn, given: conn.transact([("db/add", 1, name, value) for name, value in given.items()])),
]

READS: list[tuple[str, Callable[[Database], Any]]] = [
    ("documents", lambda db: db.documents({"k": "key"})),
    ("entity", lambda db: [db.entity(e) for e in db.q("[:find [?e ...] :where [?e :k]]")]),
    ("pull", lambda db: [db.pull("[*]", e) for e in db.q("[:find [?e ...] :where [?e :k]]")]),
    ("pull inside", lambda db: [db.pull("[{:dict [:a]} :list]", e) for e in db.q("[:find [?e ...] :where [?e :k]]")]),
    ("pull default", lambda db: db.pull([("missing", "default", [[1]]), "k"], db.q("[:find ?e . :where [?e :k]]"))),
    ("query pull", lambda db: db.q("[:find [(pull ?e [*]) ...] :where [?e :k]]")),
    ("query pull twice", lambda db: list(db.q("[:find (pull ?e [*]) (pull ?e [:dict]) ?v :where [?e :dict ?v]]"))),
    ("generated", lambda db: list(db.q(gen_datalog("all", "k"), "key"))),
    ("value of a query", lambda db: db.q("[:find [?v ...] :where [_ :dict ?v]]")),
    ("list of a query", lambda db: db.q("[:find [?v ...] :where [_ :list ?v]]")),
    ("key of a query", lambda db: db.q("[:find [?v ...] :where [_ :db/key ?v]]")),
    ("facts", lambda db: sorted(db.facts(), key=repr)),
    ("facts of an attribute", lambda db: sorted(db.facts(a="list"), key=repr)),
    ("system facts", lambda db: list(db.facts(a="db/key"))),
    ("streams", lambda db: db.streams()),
    ("metadata", lambda db: db.entity("offset-metadata")),
    ("history", lambda db: sorted(db.history().facts(), key=repr)),
    (
        "post_query_transform",
        lambda db: [r for rows in [db.q(gen_datalog("all", "k"), "key")] for r in tourlog.post_query_transform(rows)],
    ),
    ("events", lambda db: tourlog.event_store.get_events_for_aggregate(db, "key", key="k")),
]


@pytest.mark.parametrize(("write", "do"), WRITES, ids=[write for write, _ in WRITES])
def test_changing_what_was_written_changes_nothing_in_the_store(
    conn: Connection, write: str, do: Callable[[Connection, dict[str, Any]], Any]
) -> None:
    given = nested()
    report = do(conn, given)
    assert given == nested(), write
    spoil(given)
    (found,) = conn.db().q("[:find [(pull ?e [*]) ...] :where [?e :k]]")
    assert {name: found[name] for name in nested()} == nested()
    assert "spoilt" not in repr(report.tx_data)
    speculative = conn.db().with_([{"db/id": 2, "list": (more := [[1]])}])
    more[0].append("spoilt")
    assert speculative.db_after.entity(2) == {"db/id": 2, "list": [[1]]}


@pytest.mark.parametrize(("read", "do"), READS, ids=[read for read, _ in READS])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_changing_what_was_read_changes_nothing_in_the_store(
    conn: Connection, read: str, do: Callable[[Database], Any], warm: bool
) -> None:
    conn.append([nested()], "k")
    if warm:
        list(conn.db().facts())
        for attribute in ("k", "list", "dict", "db/key", "offset"):
            list(conn.db().facts(a=attribute))
    for db in (conn.db(), conn.db().with_([{"db/id": 9, "z": 1}]).db_after):
        first = do(db)
        kept = copy.deepcopy(first)
        spoil(first)
        for again in (db, conn.db() if db.t == 1 else db):
            assert do(again) == kept, read


@pytest.mark.parametrize("engine", ["pydatalog", "compiled"])
@pytest.mark.parametrize(
    "query",
    [
        "[:find [?v ...] :where [_ :dict ?v]]",
        "[:find [?v ...] :where [_ :list ?v]]",
        "[:find [?v ...] :where [_ :db/key ?v]]",
        "[:find [?v ...] :where [_ :k] [(ground [[1]]) ?v]]",
        "[:find [(pull ?e [*]) ...] :where [?e :k]]",
    ],
    ids=["document", "list", "key", "constant", "pull"],
)
def test_changing_an_answer_changes_no_later_answer(conn: Connection, query: str, engine: str) -> None:
    conn.append([nested()], "k")
    first = conn.db().q(query, engine=engine)
    kept = copy.deepcopy(first)
    spoil(first)
    again = conn.db().q(query, engine=engine)
    assert sorted(again, key=repr) == sorted(kept, key=repr)  # no order is promised


def test_changing_the_facts_of_a_report_changes_nothing_in_the_store(conn: Connection) -> None:
    report = conn.append([nested()], "k")
    spoil([fact.v for fact in report.tx_data])
    spoil(report.offsets)
    (found,) = conn.db().documents({"k": "key"})
    assert {name: found[name] for name in nested()} == nested()
    assert "spoilt" not in repr(list(conn.db().facts()))


# Time.


def test_as_of_is_the_database_as_it_was(conn: Connection) -> None:
    fill(conn)
    db = conn.db()
    assert [values(db.as_of(t), "n") for t in range(6)] == [
        [],
        [0, 1],
        [0, 1, 10, 11],
        [0, 5, 11, 12],
        [0, 2, 5, 11, 12],
        [2, 5, 11, 12],
    ]
    assert [[d["n"] for d in db.as_of(t).documents({"k": 1})] for t in range(6)] == [
        [],
        [0, 1],
        [0, 1],
        [0, 5],
        [0, 5],
        [5],
    ]
    assert [db.as_of(t).entity("x") for t in range(6)] == [
        None,
        None,
        *[{"db/id": "x", "n": [10, 11], "m": {"a": 1}}],
        *[{"db/id": "x", "n": [11, 12], "m": {"a": 1}}] * 2,
        {"db/id": "x", "n": [11, 12]},
    ]
    assert [db.as_of(t).t for t in (0, 3, 5, 6, 10**30)] == [0, 3, 5, 5, 5]
    assert db.as_of(2).as_of(4).t == 2


def test_as_of_an_instant_is_the_position_then(conn: Connection) -> None:
    instants = []
    before = datetime.now(UTC) - timedelta(seconds=1)
    for n in range(3):
        conn.append([{"k": 1, "n": n}], "k")
        instants.append(conn.db().q("[:find (max ?i) . :where [_ :db/tx-instant ?i]]"))
        time.sleep(0.002)
    assert all(abs(instant - datetime.now(UTC)) < timedelta(minutes=1) for instant in instants)
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    for n, instant in enumerate(instants):
        for zone in (UTC, east, west):
            assert conn.db().as_of(instant.astimezone(zone)).t == n + 1
            assert conn.db().as_of(instant.astimezone(zone) - timedelta(microseconds=1)).t == n
            assert values(conn.db().since(instant.astimezone(zone)), "n") == list(range(n + 1, 3))
    assert conn.db().as_of(before).t == 0
    for zone in (UTC, east, west):
        assert conn.db().as_of(datetime.min.replace(tzinfo=zone)).t == 0
        assert conn.db().as_of(datetime.max.replace(tzinfo=zone)).t == 3


def test_since_is_what_was_added_later_and_still_holds(conn: Connection) -> None:
    fill(conn)
    db = conn.db()
    assert [values(db.since(t), "n") for t in range(6)] == [
        [2, 5, 11, 12],
        [2, 5, 11, 12],
        [2, 5, 12],
        [2],
        [],
        [],
    ]
    assert [db.since(t).entity("x") for t in range(4)] == [
        {"db/id": "x", "n": [11, 12]},
        {"db/id": "x", "n": [11, 12]},
        {"db/id": "x", "n": [12]},
        None,
    ]
    changed = document(conn, 1)
    assert db.since(1).entity(changed) == {"db/id": changed, "n": 5}
    assert db.since(3).pull("[*]", changed) is None
    assert [len(db.since(t).documents({"k": 2})) for t in (3, 4)] == [1, 0]
    assert db.since(3).since(1).entity("x") is None
    assert values(db.as_of(4).since(2), "n") == [2, 5, 12]
    assert repr(db.since(2)) == "<Database t=5 since=2>"


def test_history_is_everything_that_ever_held(conn: Connection) -> None:
    fill(conn)
    history = conn.db().history()
    assert values(history, "n") == [0, 1, 2, 5, 10, 11, 12]
    of_x = sorted(((f.v, f.tx, f.added) for f in history.facts("x", "n")), key=repr)
    assert of_x == [(10, 2, True), (10, 3, False), (11, 2, True), (12, 3, True)]
    assert sorted((f.v, f.tx, f.added) for f in history.facts(a="m.a")) == [(1, 2, True), (1, 5, False)]
    assert sorted((f.v, f.tx, f.added) for f in conn.db().as_of(4).history().facts(a="m.a")) == [(1, 2, True)]
    assert sorted((f.v, f.tx, f.added) for f in history.since(2).facts(a="m.a")) == [(1, 5, False)]
    kept = '[:find [?n ...] :where [?e :db/key ["k"]] [?e :k 1] [?e :offset ?o] [?e :n ?n]]'
    assert sorted(conn.db().q(kept)) == [5]
    assert sorted(history.q(kept)) == [0, 1, 5]
    assert repr(history) == "<Database t=5 history>"


def test_a_history_has_no_entities_and_no_documents(conn: Connection) -> None:
    fill(conn)
    history = conn.db().history()
    for ask in (
        lambda: history.entity("x"),
        lambda: history.pull("[*]", "x"),
        lambda: history.documents({"k": 1}),
        lambda: history.with_([]),
        lambda: conn.db().since(1).with_([]),
    ):
        with pytest.raises(tourlog.ArgumentError):
            ask()


def test_the_offset_metadata_is_an_entity_of_facts_at_every_position(conn: Connection) -> None:
    fill(conn)
    db = conn.db()
    assert [db.as_of(t).entity("offset-metadata") for t in (0, 1, 3, 4)] == [
        {"db/id": "offset-metadata"},
        {"db/id": "offset-metadata", "1": 2},
        {"db/id": "offset-metadata", "1": 2},
        {"db/id": "offset-metadata", "1": 2, "2": 1},
    ]
    query = '[:find ?stream ?next :where ["offset-metadata" ?stream ?next]]'
    assert [sorted(db.as_of(t).q(query)) for t in (0, 3, 4)] == [[], [("1", 2)], [("1", 2), ("2", 1)]]
    assert db.q('[:find ?next . :where ["offset-metadata" "2" ?next]]') == 1
    assert [(fact.a, fact.v) for fact in db.facts("offset-metadata")] == [("1", 2), ("2", 1)]
    assert [(fact.a, fact.v) for fact in db.facts("offset-metadata", v=2)] == [("1", 2)]
    assert db.pull(["2"], "offset-metadata") == {"2": 1}
    assert not [fact for fact in db.facts() if fact.e == "offset-metadata"]


# Speculation.


def test_speculations_stack_and_nobody_else_sees_them(conn: Connection) -> None:
    fill(conn)
    base = conn.db()
    dbs = [base]
    for n in range(40):
        data: list[Any] = [{"db/id": "x", "step": n}, call(append, [{"k": 3, "n": 100 + n}], "k")]
        if n % 10 == 9:
            data.append(("db/retract", "x", "step"))
        dbs.append(dbs[-1].with_(data).db_after)
    for n, db in enumerate(dbs):
        assert db.t == 5 + n
        assert [d["n"] for d in db.documents({"k": 3})] == list(range(100, 100 + n))
        step = None if n % 10 == 0 else n - 1
        assert (db.entity("x") or {}).get("step") == step
        assert db.q('[:find ?s . :where ["x" :step ?s]]') == step
        assert db.q("[:find (count ?e) . :where [?e :k 3]]") == (n or None)
        assert dbs[-1].as_of(5 + n).documents({"k": 3}) == db.documents({"k": 3})
        assert values(dbs[-1].as_of(5 + n), "step") == values(db, "step")
    assert conn.db().t == 5
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 2, "2": 1}
    steps = [(f.v, f.tx, f.added) for f in dbs[-1].history().facts("x", "step")]
    assert sorted(steps)[:3] == [(0, 6, True), (0, 7, False), (1, 7, True)]


def test_speculations_branch(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 0}], "k")
    one = conn.db().with_([call(append, [{"k": 1, "n": 1}], "k")]).db_after
    left = one.with_([call(append, [{"k": 1, "n": 2}], "k")]).db_after
    right = one.with_([call(append, [{"k": 1, "n": 3}, {"k": 2, "n": 4}], "k")]).db_after
    conn.append([{"k": 1, "n": 9}], "k")
    assert [[d["n"] for d in db.documents({"k": 1})] for db in (one, left, right, conn.db())] == [
        [0, 1],
        [0, 1, 2],
        [0, 1, 3],
        [0, 9],
    ]
    assert [values(db, "n") for db in (left, right, one, conn.db())] == [[0, 1, 2], [0, 1, 3, 4], [0, 1], [0, 9]]


def test_a_speculation_reports_as_a_transaction_does(conn: Connection) -> None:
    fill(conn)
    data = [{"db/id": "x", "n": 7}, call(append, [{"k": 1, "n": 8}, {"k": 9, "n": 9}], "k")]
    speculative = conn.db().with_(data)
    report = conn.transact(data)
    assert (speculative.t, speculative.offsets) == (report.t, report.offsets)
    assert sorted(speculative.tx_data, key=repr) == sorted(report.tx_data, key=repr)
    assert speculative.db_after.streams() == report.db_after.streams()
    assert sorted(speculative.db_after.facts(), key=repr) == sorted(report.db_after.facts(), key=repr)
    assert speculative.db_after.as_of(3).entity("x") == report.db_after.as_of(3).entity("x")
    assert conn.db().with_([]).db_after.t == 6


def test_a_speculation_on_an_old_position_knows_nothing_of_what_came_later(conn: Connection) -> None:
    data = [call(append, [{"k": 2, "n": 5}], "k"), {"db/id": "x", "p": 1}]
    fill(conn)
    old = conn.db().as_of(2).with_(data).db_after
    fresh = tourlog.connect()
    fresh.append([{"k": 1, "n": 0}, {"k": 1, "n": 1}], "k")
    fresh.transact([{"db/id": "x", "n": [10, 11], "m": {"a": 1}}])
    wanted = fresh.db().with_(data).db_after
    assert old.t == wanted.t == 3
    assert old.entity("offset-metadata") == wanted.entity("offset-metadata")
    assert old.entity("x") == wanted.entity("x")
    assert values(old, "n") == values(wanted, "n") == [0, 1, 5, 10, 11]
    assert [d["n"] for d in old.documents({"k": 2})] == [5]
    assert [d["n"] for d in conn.db().documents({"k": 2})] == [2]


def test_a_past_position_asked_first_does_not_spoil_the_speculation(conn: Connection) -> None:
    fill(conn)
    after = conn.db().with_([{"db/id": "y", "n": 77}]).db_after
    assert values(after.as_of(1), "n") == [0, 1]
    assert values(after, "n") == [2, 5, 11, 12, 77]
    assert sorted(fact.v for fact in after.as_of(1).facts()) == [0, 0, 1, 1, 1, 1]
    assert len([fact for fact in after.facts() if fact.v == 77]) == 1


def test_thousands_of_speculations_can_stand_on_each_other(conn: Connection) -> None:
    db = conn.db()
    for n in range(3000):
        db = db.with_([{"db/id": "x", "n": n}]).db_after
    assert (db.t, db.entity("x")) == (3000, {"db/id": "x", "n": 2999})
    assert db.as_of(1234).entity("x") == {"db/id": "x", "n": 1233}
    assert values(db, "n") == [2999]
    assert conn.db().t == 0


# Indexes.


class Interrupted(BaseException):
    pass


class BrittleLog(MemoryLog):
    """A log whose reading from the start stops half way once, as Ctrl-C would stop it."""

    stops_after: int | None = None

    def tail(self, after: int, upto: int) -> Iterator[Batch]:
        for place, batch in enumerate(super().tail(after, upto)):
            if place == self.stops_after:
                self.stops_after = None
                raise Interrupted
            yield batch


@pytest.mark.parametrize("asked", ["n", None])
@pytest.mark.parametrize("loaded_before", [0, 2])
def test_an_index_whose_loading_was_interrupted_is_right_when_asked_again(
    asked: str | None, loaded_before: int
) -> None:
    log = BrittleLog()
    conn = Connection(log)
    ask = (lambda db: sorted(map(repr, db.facts()))) if asked is None else (lambda db: values(db, asked))
    for n in range(6):
        if n == loaded_before:
            old = conn.db()
            before = ask(old)
        conn.append([{"k": 1, "n": n}], "k")
        conn.transact([{"db/id": "x", "n": -n}])
    log.stops_after = 5
    with pytest.raises(Interrupted):
        ask(conn.db())
    wanted = tourlog.connect()
    for n in range(6):
        wanted.append([{"k": 1, "n": n}], "k")
    assert [v for v in values(conn.db(), "n") if v >= 0] == list(range(6)) if asked else True
    assert len(ask(conn.db())) == len(set(ask(conn.db())))
    assert len(list(conn.db().facts(a="n"))) == 7
    assert len([fact for fact in conn.db().facts() if fact.a == "n"]) == 7
    assert ask(old) == before


def test_readers_are_right_while_another_thread_extends_the_index(conn: Connection) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                db = conn.db()
                wanted = [] if db.t == 0 else [db.t]
                assert db.q('[:find [?n ...] :where ["counter" :n ?n]]') == wanted
                assert [fact.v for fact in db.facts("counter", "n")] == wanted
                assert len(list(db.facts(a="seen"))) == db.t
                past = db.as_of(db.t // 2)
                assert [fact.v for fact in past.facts("counter", "n")] == ([past.t] if past.t else [])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(1, 80):
        conn.transact([{"db/id": "counter", "n": n}, {"db/id": n, "seen": True}])
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_loading_the_changes_of_one_entity_costs_about_what_those_of_many_cost() -> None:
    """Were each change compared with all of the entity's past, this would take ten times as long."""
    conn = tourlog.connect()
    for n in range(12000):
        conn.transact([{"db/id": n, "many": n}, {"db/id": "x", "one": n}])
    times = {}
    for attribute in ("many", "one"):
        start = time.process_time()
        conn.db().snapshot.load([attribute])
        times[attribute] = time.process_time() - start
    assert values(conn.db(), "one") == [11999]
    assert times["one"] < 4 * times["many"]


def test_a_store_read_by_one_attribute_after_another_agrees_with_itself(conn: Connection) -> None:
    fill(conn)
    for attribute in ("n", "k", "m", "m.a", "offset"):
        alone = sorted(map(repr, conn.db().facts(a=attribute)))
        assert alone == sorted(repr(fact) for fact in conn.db().facts() if fact.a == attribute)
        for t in range(6):
            then = conn.db().as_of(t)
            alone = sorted(map(repr, then.facts(a=attribute)))
            assert alone == sorted(repr(fact) for fact in then.facts() if fact.a == attribute)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        2**70,
        1.5,
        "",
        b"\0",
        Decimal("1.50"),
        UUID(int=3),
        datetime(2020, 1, 1, tzinfo=UTC),
        (1, (2,)),
        frozenset({1}),
        {"a": [1, {"b": None}]},
        [[]],
        timedelta(1),
    ],
)
def test_values_come_back_from_every_reading_as_they_were(conn: Connection, value: Any) -> None:
    conn.append([{"k": 1, "v": value}], "k")
    conn.transact([{"db/id": 1, "v": value}])
    (found,) = conn.db().documents({"k": 1})
    for read in (found["v"], conn.db().entity(1)["v"], conn.db().pull(["v"], 1)["v"]):  # type: ignore[index]
        assert (type(read), repr(read)) == (type(value), repr(value))


# Streams longer than memory.


def test_iter_documents_gives_what_documents_gives(conn: Connection) -> None:
    report = conn.append([{"k": 1, "n": n} for n in range(250)], "k")
    ids = [document["db/id"] for document in conn.db().documents({"k": 1})]
    conn.transact([{"db/id": ids[120], "n": "changed"}, ("db/retract-entity", ids[121])])
    conn.append([{"k": 1, "n": n} for n in range(250, 260)], "k")
    for db in (conn.db(), report.db_after, conn.db().since(1), conn.db().with_([{"db/id": ids[3], "n": 0}]).db_after):
        for bounds in ((0, None), (100, 101), (119, 123), (240, 255), (300, None), (7, 3)):
            assert list(db.iter_documents({"k": 1}, *bounds)) == db.documents({"k": 1}, *bounds)
    assert list(conn.db().iter_documents({"k": 2})) == []


def test_iter_documents_refuses_bad_arguments_when_called(conn: Connection) -> None:
    with pytest.raises(ArgumentError, match="history"):
        conn.db().history().iter_documents({"k": 1})
    with pytest.raises(ArgumentError, match="start"):
        conn.db().iter_documents({"k": 1}, -1)


def test_iter_documents_stays_at_its_position(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n} for n in range(20_300)], "k")
    reading = conn.db().iter_documents({"k": 1})
    first = next(reading)
    conn.append([{"k": 1, "n": "later"}] * 300, "k")
    last = conn.db().documents({"k": 1}, 20_299, 20_300)[0]
    conn.transact([{"db/id": last["db/id"], "n": "changed"}])
    assert [first["n"], *(document["n"] for document in reading)] == list(range(20_300))


def test_a_stream_larger_than_what_is_held_is_read_through(tmp_path: Path) -> None:
    with connect(tmp_path / "store", durability="normal") as conn:
        for n in range(30):
            conn.append([{"k": 1, "n": n, "pad": f"{n}" * 1000} for _ in range(1000)], "k")
        first = conn.db().documents({"k": 1}, 5, 6)[0]["db/id"]
        conn.transact([{"db/id": first, "pad": ""}])
        tracemalloc.start()
        length = sum(len(document["pad"]) for document in conn.db().iter_documents({"k": 1}))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert length == 1000 * (10 * 1000 + 20 * 2000) - 1000
    assert peak < 12_000_000 < length // 4


def test_documents_of_small_transactions_know_theirs_wherever_a_slice_begins(conn: Connection) -> None:
    for size in (3, 3, 1, 1, 30, 2, 1):
        conn.append([{"k": 1}] * size, "k")
    transactions = [t for t, size in enumerate((3, 3, 1, 1, 30, 2, 1), 1) for _ in range(size)]
    snapshot = conn.db().snapshot
    for start in range(42):
        for stop in range(start, 43, 3):
            found = [(each.offset, each.tx) for each in snapshot.ordered(Stream(("k",), (1,)), start, stop)]
            assert found == list(enumerate(transactions))[start:stop]
