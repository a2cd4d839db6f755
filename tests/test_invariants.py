"""Standing invariants: stored in the log, enforced on every transaction of every writer, gone when dropped."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tourlog
from tourlog import Connection, InvariantError, call

ONE_NICK = "[:find ?nick ?a ?b :where [?a :nick ?nick] [?b :nick ?nick] [(!= ?a ?b)]]"
NO_DEBTS = "[:find ?e ?sum :where [?e :balance ?sum] [(< ?sum 0)]]"


def test_a_transaction_that_breaks_an_invariant_is_refused_with_its_name_and_rows(conn: Connection) -> None:
    conn.require("no debts", NO_DEBTS)
    conn.transact([{"db/id": "ann", "balance": 5}])
    with pytest.raises(InvariantError, match="'no debts' does not hold: ") as refusal:
        conn.transact([{"db/id": "ann", "balance": -2}, {"db/id": "bob", "balance": 1}])
    assert refusal.value.details == {"invariant": "no debts", "rows": [("ann", -2)]}
    copy = pickle.loads(pickle.dumps(refusal.value))
    assert copy.details == refusal.value.details
    assert (conn.db().t, conn.db().entity("ann"), conn.db().entity("bob")) == (
        2,
        {"db/id": "ann", "balance": 5},
        None,
    )


def test_appends_are_held_to_invariants_against_everything_there_is(conn: Connection) -> None:
    conn.require("one nick", ONE_NICK)
    conn.append([{"robot": 1, "nick": "ann"}], "robot")
    with pytest.raises(InvariantError):
        conn.append([{"robot": 2, "nick": "bob"}, {"robot": 3, "nick": "ann"}], "robot")
    with pytest.raises(InvariantError):
        conn.append([{"robot": 2, "nick": "bob"}, {"robot": 3, "nick": "bob"}], "robot")
    conn.append([{"robot": 2, "nick": "bob"}], "robot")
    assert sorted(conn.db().q("[:find [?n ...] :where [_ :nick ?n]]")) == ["ann", "bob"]


def test_every_way_of_writing_is_held_to_invariants(conn: Connection) -> None:
    conn.require("no debts", NO_DEBTS)
    conn.transact([{"db/id": "ann", "balance": 1}])
    debt = [{"db/id": "ann", "balance": -1}]

    def block() -> None:
        with conn.transaction():
            conn.transact(debt)

    ways = (
        lambda: conn.transact(debt),
        lambda: conn.transact([("db/add", "ann", "balance", -1)]),
        lambda: conn.transact([("db/cas", "ann", "balance", 1, -1)]),
        lambda: conn.transact([call(lambda _: debt)]),
        lambda: conn.transact(debt, tx_id="once"),
        lambda: conn.append([{"k": 1, "balance": -1}], "k"),
        lambda: conn.append([{"k": 1}], "k", meta={"balance": -1}),
        lambda: conn.run(lambda: conn.transact(debt)),
        lambda: conn.db().with_(debt),
        block,
    )
    for way in ways:
        with pytest.raises(InvariantError):
            way()
    assert conn.db().t == 2


def test_a_block_may_break_an_invariant_on_its_way_but_not_in_the_end(conn: Connection) -> None:
    conn.require("no debts", NO_DEBTS)
    with conn.transaction():
        conn.transact([{"db/id": "ann", "balance": -1}])
        conn.transact([{"db/id": "ann", "balance": 1}])
    assert conn.db().entity("ann") == {"db/id": "ann", "balance": 1}


def test_what_is_broken_already_cannot_be_required(conn: Connection) -> None:
    conn.transact([{"db/id": "ann", "balance": -1}])
    with pytest.raises(InvariantError) as refusal:
        conn.require("no debts", NO_DEBTS)
    assert refusal.value.details == {"invariant": "no debts", "rows": [("ann", -1)]}
    assert (conn.db().t, conn.invariants()) == (1, ())


def test_invariants_are_listed_in_order_and_old_databases_know_theirs(conn: Connection) -> None:
    conn.require("no debts", NO_DEBTS)
    conn.require("at most", "[:find ?e :in $ ?most :where [?e :balance ?s] [(> ?s ?most)]]", 100)
    listed = [(each.name, each.query, each.inputs) for each in conn.invariants()]
    assert listed == [
        ("no debts", NO_DEBTS, ()),
        ("at most", "[:find ?e :in $ ?most :where [?e :balance ?s] [(> ?s ?most)]]", (100,)),
    ]
    conn.drop_invariant("no debts")
    assert [each.name for each in conn.invariants()] == ["at most"]
    conn.drop_invariant("at most")
    assert conn.invariants() == ()
    assert [[each.name for each in conn.db().as_of(t).invariants()] for t in range(5)] == [
        [],
        ["no debts"],
        ["no debts", "at most"],
        ["at most"],
        [],
    ]
    conn.transact([{"db/id": "ann", "balance": -1}, {"db/id": "bob", "balance": 101}])


def test_requiring_the_same_again_does_nothing_and_another_under_the_name_is_refused(conn: Connection) -> None:
    conn.require("no debts", NO_DEBTS)
    assert conn.require("no debts", NO_DEBTS).t == 1
    with pytest.raises(tourlog.ArgumentError, match="another query"):
        conn.require("no debts", ONE_NICK)
    with conn.transaction():
        conn.drop_invariant("no debts")
        conn.require("no debts", ONE_NICK)
    assert [(each.name, each.query) for each in conn.invariants()] == [("no debts", ONE_NICK)]


def test_a_requirement_counts_in_its_own_block_and_not_when_that_fails(conn: Connection) -> None:
    with pytest.raises(InvariantError), conn.transaction():
        conn.require("no debts", NO_DEBTS)
        conn.transact([{"db/id": "ann", "balance": -1}])
    assert (conn.db().t, conn.invariants()) == (0, ())
    conn.transact([{"db/id": "ann", "balance": -1}])


@pytest.mark.parametrize(
    "rules",
    ["[[(poor ?e) [?e :balance ?s] [(< ?s 0)]]]", tourlog.Rules("[[(poor ?e) [?e :balance ?s] [(< ?s 0)]]]")],
)
def test_invariants_take_rules_and_other_inputs(conn: Connection, rules: Any) -> None:
    conn.require("none poor", "[:find ?e :in $ % [?kind ...] :where (poor ?e) [?e :kind ?kind]]", rules, ["a", "b"])
    with pytest.raises(InvariantError):
        conn.transact([{"db/id": 1, "balance": -1, "kind": "b"}])
    conn.transact([{"db/id": 1, "balance": -1, "kind": "c"}])


def test_invariants_can_be_python_data_with_rules(conn: Connection) -> None:
    query = {"find": ["?e"], "in": ["$", "%"], "where": [("poor", "?e")]}
    conn.require("none poor", query, tourlog.Rules("[[(poor ?e) [?e :balance ?s] [(< ?s 0)]]]"))
    with pytest.raises(InvariantError):
        conn.transact([{"db/id": 1, "balance": -1}])


def test_a_rule_library_is_stored_as_it_is_now(conn: Connection) -> None:
    conn.require("never broken", '[:find ?id :in $ % :where (had ?id "broken")]', "events")
    assert conn.invariants()[0].inputs == (tourlog.rules("events"),)
    with pytest.raises(InvariantError, match="never broken"):
        conn.append([{"aggregate-id": "a", "type": "broken"}], "aggregate-id")


def test_generated_rules_may_be_part_of_an_invariant(conn: Connection) -> None:
    conn.require("no slice", "[:find ?e :in $ % :where (all ?e 1) [?e :bad true]]", tourlog.gen_rules("k"))
    conn.append([{"k": 1}], "k")
    with pytest.raises(InvariantError):
        conn.append([{"k": 1, "bad": True}], "k")
    conn.append([{"k": 2, "bad": True}], "k")


@pytest.mark.parametrize(
    ("name", "query", "inputs", "kind"),
    [
        ("", NO_DEBTS, (), tourlog.ArgumentError),
        (5, NO_DEBTS, (), tourlog.ArgumentError),
        ("x", "[:find ?e :where", (), tourlog.QuerySyntaxError),
        ("x", "[:find ?e :where [?e :a ?v] [(< ?z ?v)]]", (), tourlog.QueryError),
        ("x", NO_DEBTS, (1,), tourlog.QueryError),
        ("x", "[:find ?e :in $ ?f :where [?e :a ?v] [(?f ?v)]]", (bool,), tourlog.DocumentError),
        ("x", "[:find ?e :in $ $old :where [?e :a] [$old ?e :a]]", (tourlog.connect().db(),), tourlog.ArgumentError),
    ],
)
def test_what_cannot_be_an_invariant_is_refused(
    conn: Connection, name: Any, query: Any, inputs: tuple[Any, ...], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        conn.require(name, query, *inputs)
    assert conn.db().t == 0


def test_dropping_what_is_not_there_names_what_is(conn: Connection) -> None:
    conn.require("no debts", NO_DEBTS)
    with pytest.raises(tourlog.ArgumentError, match=r"\(no debts\), got 'debts'"):
        conn.drop_invariant("debts")
    assert [each.name for each in conn.invariants()] == ["no debts"]


def test_nobody_writes_the_entity_of_the_invariants(conn: Connection) -> None:
    conn.require("no debts", NO_DEBTS)
    for data in ([{"db/id": "db/invariants", "n": 1}], [("db/retract-entity", "db/invariants")]):
        with pytest.raises(tourlog.TransactionError, match="require"):
            conn.transact(data)
    assert [each.name for each in conn.invariants()] == ["no debts"]


def test_invariants_are_queried_like_facts_and_are_no_facts_of_the_users(conn: Connection) -> None:
    conn.require("no debts", NO_DEBTS)
    assert conn.db().q('[:find [?n ...] :where [_ "db/invariant.name" ?n]]') == ["no debts"]
    assert list(conn.db().facts()) == []


# Other writers.


def test_connections_of_one_file_enforce_each_others_invariants(tmp_path: Path) -> None:
    path = tmp_path / "a.tourlog"
    with tourlog.connect(path) as one, tourlog.connect(path) as two:
        two.transact([{"db/id": "ann", "balance": 1}])
        one.require("no debts", NO_DEBTS)
        with pytest.raises(InvariantError):
            two.transact([{"db/id": "ann", "balance": -1}])
        two.transact([{"db/id": "ann", "balance": 2}])
        with pytest.raises(InvariantError):
            one.transact([{"db/id": "ann", "balance": -1}])
        one.drop_invariant("no debts")
        two.transact([{"db/id": "ann", "balance": -1}])
        with pytest.raises(InvariantError):
            two.require("no debts", NO_DEBTS)
    with tourlog.connect(path) as again:
        again.transact([{"db/id": "ann", "balance": 0}])
        again.require("no debts", NO_DEBTS)
    with tourlog.connect(path) as again, pytest.raises(InvariantError):
        again.transact([{"db/id": "ann", "balance": -1}])


def test_another_process_is_held_to_an_invariant(tmp_path: Path) -> None:
    path = tmp_path / "a.tourlog"
    program = f"""
import tourlog
with tourlog.connect({str(path)!r}) as conn:
    try:
        conn.transact([{{"db/id": "ann", "balance": -1}}])
    except tourlog.InvariantError as error:
        print(error.invariant, list(error.rows))
"""
    with tourlog.connect(path) as conn:
        conn.require("no debts", NO_DEBTS)
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert found.stdout == "no debts [('ann', -1)]\n"
        assert conn.db().entity("ann") is None


def test_threads_that_race_never_break_an_invariant(conn: Connection) -> None:
    conn.require("at most one", "[:find ?a ?b :where [?a :leader true] [?b :leader true] [(!= ?a ?b)]]")
    refused: list[str] = []

    def work(name: str) -> None:
        try:
            conn.transact([{"db/id": name, "leader": True}])
        except InvariantError as error:
            refused.append(error.invariant)  # type: ignore[attr-defined]

    threads = [threading.Thread(target=work, args=(f"n{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["at most one"] * 7
    assert len(conn.db().q("[:find ?e :where [?e :leader true]]")) == 1


# What a transaction does not touch is not asked for; that never lets anything through.

QUERIES = (
    "[:find ?e :where [?e :a ?x] [?e :b ?y] [(= ?x ?y)]]",
    "[:find ?e :where [?e :a ?x] (not [?e :b _])]",
    "[:find ?x :where [?x :next ?y] (not [?y :a _])]",
    "[:find ?e :where [?e ?any 3]]",
    "[:find ?e :where [?e :c.d 3]]",
    "[:find ?e :where [?e :a] [(get-else $ ?e :b 0) ?b] [(= ?b 0)]]",
    "[:find ?e :where [?e :a _ ?tx] [?tx :who 1]]",
    "[:find ?e :in $ % :where (linked ?e ?e)]",
    "[:find ?e :where [?e :offset 2]]",
    '[:find ?e :where [?e :db/key ["k"]] [?e :k 1] [?e :offset ?o] [(> ?o 1)]]',
    '[:find ?n :where ["offset-metadata" ?s ?n] [(> ?n 2)]]',
)
LINKED = "[[(linked ?x ?y) [?x :next ?y]] [(linked ?x ?z) [?x :next ?y] (linked ?y ?z)]]"

ids = st.sampled_from(["x", "y", "z"])
pairs = [("a", 0), ("a", 3), ("b", 0), ("b", 3), ("next", "x"), ("next", "y"), ("next", "z"), ("c", {"d": 3})]
documents = st.lists(st.sampled_from(pairs), min_size=1, max_size=3).map(dict)
steps = st.one_of(
    st.tuples(st.just("put"), ids, documents),
    st.tuples(st.just("drop"), ids, st.sampled_from(["a", "b", "c", "next"])),
    st.tuples(st.just("end"), ids),
    st.tuples(st.just("append"), st.integers(1, 2), documents, st.sampled_from([None, 1, 2])),
)


def written(conn: Connection, step: Any) -> None:
    match step:
        case "put", e, document:
            conn.transact([{"db/id": e, **document}])
        case "drop", e, a:
            conn.transact([("db/retract", e, a)])
        case "end", e:
            conn.transact([("db/retract-entity", e)])
        case "append", k, document, who:
            conn.append([{"k": k, **document}], "k", meta=None if who is None else {"who": who})


@pytest.mark.parametrize("query", QUERIES)
@settings(max_examples=40)
@given(taken=st.lists(steps, min_size=3, max_size=12))
def test_an_invariant_refuses_exactly_what_gives_its_query_an_answer(query: str, taken: list[Any]) -> None:
    inputs = (LINKED,) if "%" in query else ()
    with tourlog.connect() as held, tourlog.connect() as free:
        held.require("it", query, *inputs)
        free.transact([{"db/id": "filler", "filler": True}])
        for step in taken:
            free_before = free.db()
            try:
                with free.transaction():
                    written(free, step)
                    broken = len(free.db().q(query, *inputs)) > 0 or _is_broken_with_meta(free, query, inputs, step)
                    if broken:
                        raise LookupError
            except LookupError:
                assert free.db().t == free_before.t
                with pytest.raises(InvariantError):
                    written(held, step)
            else:
                written(held, step)
        assert [held.db().entity(e) for e in "xyz"] == [free.db().entity(e) for e in "xyz"]
        assert held.db().entity("offset-metadata") == free.db().entity("offset-metadata")


def _is_broken_with_meta(free: Connection, query: str, inputs: tuple[Any, ...], step: Any) -> bool:
    """Inside a block what is stated about the transaction is not there yet; say it as an entity of that number."""
    if step[0] != "append" or step[3] is None:
        return False
    t = free.db().t
    return len(free.db().with_([{"db/id": t, "who": step[3]}]).db_after.q(query, *inputs)) > 0
