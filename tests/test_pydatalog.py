"""What pyDatalog gets wrong, and that the engine on top of it gets it right.

Where it is cheap, a test first shows that pyDatalog alone still misbehaves: a guard against nothing could go.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from pyDatalog import pyDatalog, pyEngine, pyParser
from pyDatalog.Logic import Logic

import tourlog
from tourlog.errors import QueryError
from tourlog.values import identity

RIGHT = "[[(reach ?x ?y) [?x :to ?y]] [(reach ?x ?y) [?x :to ?z] (reach ?z ?y)]]"
LEFT = "[[(reach ?x ?y) [?x :to ?y]] [(reach ?x ?y) (reach ?x ?z) [?z :to ?y]]]"


@pytest.fixture
def raw() -> Iterator[Any]:
    """pyDatalog as its user has it, its state put away again afterwards."""
    held = [(Logic.tl, "logic"), (pyEngine.Fresh_var.tl, "counter"), (pyParser.Thread_storage, "variables")]
    before = [vars(holder).get(name) for holder, name in held]
    Logic()
    pyDatalog.clear()
    yield pyDatalog
    for (holder, name), value in zip(held, before, strict=True):
        setattr(holder, name, value)


def database(*documents: dict[str, Any]) -> tourlog.Database:
    conn = tourlog.connect()
    conn.transact(list(documents))
    return conn.db()


def ask(db: tourlog.Database, query: str, *inputs: Any) -> Any:
    return db.q(query, *inputs, engine="pydatalog", timeout=20)


# Recursion.

CYCLE = """
from pyDatalog import pyDatalog
pyDatalog.load('''
+ to(1, 2)
+ to(2, 3)
+ to(3, 1)
reach(X, Y) <= to(X, Y)
reach(X, Y) <= to(X, Z) & reach(Z, Y)
''')
print(pyDatalog.ask('reach(1, Y)'))
"""


def test_pydatalog_alone_never_returns_from_right_recursion_on_a_cycle() -> None:
    """In a process of its own, since no signal stops it."""
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", CYCLE], timeout=2, check=True, capture_output=True)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("rules", [RIGHT, LEFT], ids=["right", "left"])
def test_recursion_ends_on_a_cycle(rules: str) -> None:
    """Right and left recursion over cyclic data give all that is reached."""
    db = database(*({"db/id": i, "to": [(i + 1) % 7, (i * 3) % 7]} for i in range(7)))
    assert ask(db, "[:find ?y :in $ % :where (reach 1 ?y)]", rules) == {(i,) for i in range(7)}
    assert ask(db, "[:find (count ?y) . :with ?x :in $ % :where (reach ?x ?y)]", rules) == 49


# Negation.


def test_negation_over_recursion_gives_what_is_not_reached(raw: Any) -> None:
    """pyDatalog alone calls pairs unreached that are reached; the order of clauses changes nothing here."""
    edges = [(1, 2), (2, 1), (2, 3)]
    for x, y in edges:
        raw.assert_fact("edge", x, y)
    for x in (1, 2, 3):
        raw.assert_fact("node", x)
    raw.load("""
reach(X, Y) <= edge(X, Y)
reach(X, Y) <= edge(X, Z) & reach(Z, Y)
apart(X, Y) <= node(X) & node(Y) & ~reach(X, Y)
""")
    assert (1, 3) in raw.ask("apart(X, Y)").answers

    db = database({"db/id": 1, "to": [2]}, {"db/id": 2, "to": [1, 3]}, {"db/id": 3, "to": []})
    clauses = ["[(ground [1 2 3]) [?x ...]]", "[(ground [1 2 3]) [?y ...]]", "(not (reach ?x ?y))"]
    for order in (clauses, clauses[::-1]):
        rows = ask(db, f"[:find ?x ?y :in $ % :where {' '.join(order)}]", RIGHT)
        assert rows == {(3, 1), (3, 2), (3, 3)}


def test_a_negation_is_asked_when_its_variables_are_bound(raw: Any) -> None:
    """pyDatalog alone gives nothing when the negation comes first."""
    for predicate, value in (("a", 1), ("a", 2), ("b", 2)):
        raw.assert_fact(predicate, value)
    raw.load("p(X) <= ~b(X) & a(X)")
    assert raw.ask("p(X)") is None

    db = database({"db/id": 1, "a": True}, {"db/id": 2, "a": True, "b": True})
    assert ask(db, "[:find ?e :where (not [?e :b _]) [?e :a _]]") == {(1,)}


def test_recursion_through_negation_is_refused_naming_the_cycle() -> None:
    db = database({"db/id": 1, "a": 1})
    rules = "[[(p ?x) [?x :a _] (not (q ?x))] [(q ?x) [?x :a _] (not (p ?x))]]"
    with pytest.raises(QueryError, match=r"p -> not q -> p|q -> not p -> q"):
        ask(db, "[:find ?x :in $ % :where (p ?x)]", rules)


# Values.

VALUES = [
    0.1 + 0.2,
    1.2345678901234567,
    "True",
    "False",
    "??",
    "?x",
    "$x",
    "_",
    "_y",
    "X",
    1,
    True,
    None,
    "None",
    "",
    10**30,
    b"bytes",
    Decimal("2.50"),
    [1, 2],
    (1, 2),
    {"a": {"b": [1]}},
    {3, 4},
    frozenset({5}),
]


def test_pydatalog_alone_changes_values(raw: Any) -> None:
    for e, value in enumerate((0.1 + 0.2, "True", [1, 2])):
        raw.assert_fact("v", e, value)
    assert sorted(raw.ask("v(E, V)").answers) == [(0, 0.30000000074505806), (1, True), (2, (1, 2))]
    raw.assert_fact("w", "??")
    assert raw.ask("w(V)").answers != [("??",)]
    with pytest.raises(TypeError, match="unhashable"):
        raw.assert_fact("v", 3, {"a": 1})


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_are_not_changed(value: Any) -> None:
    """A value that goes through a pattern, an input, a rule and a function comes back as it was."""
    stored = [value] if isinstance(value, list | tuple | set | frozenset) else value
    db = database({"db/id": "e", "v": stored})
    rules = "[[(same ?x ?y) [(identity ?x) ?y]]]"
    query = "[:find ?v ?y :in $ % ?v :where [?e :v ?v] (same ?v ?y)]"
    ((found, same),) = ask(db, query, rules, value)
    assert (type(found), type(same)) == (type(value), type(value))
    assert (found, same) == (value, value)


def test_equal_values_of_different_types_keep_their_types() -> None:
    """1, 1.0 and Decimal("1.0") meet in a join, True does not; each comes back as it was stored."""
    stored = {"a": 1, "b": 1.0, "c": True, "d": Decimal("1.0"), "e": Decimal("1.00")}
    db = database(*({"db/id": e, "v": value} for e, value in stored.items()))
    found = dict(ask(db, "[:find ?e ?v :where [?e :v ?v]]"))
    assert {e: repr(v) for e, v in found.items()} == {e: repr(v) for e, v in stored.items()}
    assert sorted(ask(db, "[:find [?e ...] :where [?e :v 1]]")) == ["a", "b", "d", "e"]
    assert ask(db, "[:find ?x ?y :where [?x :v ?v] [?y :v ?v] [(< ?x ?y)]]") == {
        (x, y) for x in "abde" for y in "abde" if x < y
    }


def test_the_precision_of_floats_is_nobody_elses_business() -> None:
    """pyDatalog's setting for rounding is one for the whole process: it plays no part, and stays as it was."""
    before = pyEngine.Float_Precision
    pyEngine.Float_Precision = 2
    try:
        db = database({"db/id": 1, "v": 0.1 + 0.2})
        assert ask(db, "[:find ?v . :where [_ :v ?v]]") == 0.1 + 0.2
        assert pyEngine.Float_Precision == 2
    finally:
        pyEngine.Float_Precision = before


# Functions.


def test_an_exception_is_raised_and_no_answer(raw: Any) -> None:
    for value in (0, 2):
        raw.assert_fact("n", value)
    raw.load("inverse(X, Y) <= n(X) & (Y == 1 / X)")
    assert {type(y) for _, y in raw.ask("inverse(X, Y)").answers} == {float, ZeroDivisionError}

    db = database({"db/id": 1, "n": 0}, {"db/id": 2, "n": 2})
    with pytest.raises(QueryError, match=r"\(/ 1 0\)"):
        ask(db, "[:find ?x ?y :where [_ :n ?x] [(/ 1 ?x) ?y]]")


def test_a_callables_own_exception_reaches_the_caller() -> None:
    db = database({"db/id": 1, "n": 0})
    with pytest.raises(ZeroDivisionError):
        ask(db, "[:find ?y :in $ ?inverse :where [_ :n ?x] [(?inverse ?x) ?y]]", lambda x: 1 / x)


def test_kinds_that_have_no_order_compare_as_false(raw: Any) -> None:
    for value in (0, "a"):
        raw.assert_fact("n", value)
    raw.load("small(X) <= n(X) & (X < 2)")
    with pytest.raises(TypeError):
        raw.ask("small(X)")

    db = database({"db/id": 1, "n": 0}, {"db/id": 2, "n": "a"}, {"db/id": 3, "n": None})
    assert ask(db, "[:find ?x :where [_ :n ?x] [(< ?x 2)]]") == {(0,)}


def test_aggregates_count_every_row_that_with_keeps(raw: Any) -> None:
    """pyDatalog alone counts equal values once."""
    for n in (1, 2):
        raw.assert_fact("pay", "a", n, 10)
    raw.load("(total[X] == sum_(Y, for_each=Y)) <= pay(X, N, Y)")
    assert raw.ask("total['a'] == Y").answers == [(10,)]

    db = database({"db/id": 1, "to": "a", "sum": 10}, {"db/id": 2, "to": "a", "sum": 10})
    assert ask(db, "[:find ?to (sum ?n) :with ?e :where [?e :to ?to] [?e :sum ?n]]") == {("a", 20)}


def test_an_unknown_attribute_is_an_empty_relation(raw: Any) -> None:
    with pytest.raises(AttributeError, match="unknown/1"):
        raw.ask("unknown(X)")

    db = database({"db/id": 1, "a": 1})
    assert ask(db, "[:find ?e :where [?e :unknown ?v]]") == []
    assert ask(db, "[:find ?e :where [?e :a] (not [?e :unknown _])]") == {(1,)}


# Text.


def test_text_is_never_run(raw: Any, tmp_path: Any) -> None:
    """pyDatalog runs as Python what it is given as text: values, attributes and names stay what they are."""
    code = f"__import__('os').mkdir({str(tmp_path / 'run')!r})"
    raw.load(f"seen({code})")
    assert (tmp_path / "run").exists()
    (tmp_path / "run").rmdir()

    db = database({"db/id": code, code: code, "to": ") & x(", "a": "X == 1"})
    assert ask(db, '[:find ?e ?a ?v :where [?e ?a ?v] [(= ?v "X == 1")]]') == {(code, "a", "X == 1")}
    assert ask(db, "[:find ?v :in $ ?a ?v :where [_ ?a ?v]]", code, code) == {(code,)}
    assert ask(db, "[:find ?p__import__ :in $ % :where (os.system ?p__import__)]", "[[(os.system ?x) [_ :to ?x]]]") == {
        (") & x(",)
    }
    assert not (tmp_path / "run").exists()


# State.


def test_the_users_own_program_survives_queries(raw: Any) -> None:
    """Facts and rules asserted before are there after a query, an error and a timeout, and nothing else is."""
    raw.load("""
+ likes('a', 'b')
+ likes('b', 'c')
chain(X, Y) <= likes(X, Y)
chain(X, Y) <= chain(X, Z) & likes(Z, Y)
""")
    logic, resolvers, classes = Logic.tl.logic, dict(pyEngine.Python_resolvers), dict(pyEngine.Class_dict)
    predicates = set(logic.Db)
    db = database(*({"db/id": i, "a": i % 3, "to": [(i + 1) % 9]} for i in range(9)))

    assert sorted(ask(db, "[:find [?e ...] :where [?e :a 1]]")) == [1, 4, 7]
    with pytest.raises(QueryError):
        ask(db, "[:find ?x :where [_ :a ?a] [(/ 1 ?a) ?x]]")
    with pytest.raises(RuntimeError, match="mine"):
        ask(db, "[:find ?x :in $ ?f :where [_ :a ?a] [(?f ?a) ?x]]", failing)
    with pytest.raises(tourlog.TourlogError, match="max_rows"):
        db.q("[:find ?x ?y :in $ % :where (reach ?x ?y)]", RIGHT, engine="pydatalog", max_rows=5)

    assert Logic.tl.logic is logic
    assert (pyEngine.Python_resolvers, pyEngine.Class_dict) == (resolvers, classes)
    assert set(logic.Db) == predicates
    assert sorted(raw.ask("chain('a', Y)").answers) == [("b",), ("c",)]
    raw.assert_fact("likes", "c", "d")
    assert sorted(raw.ask("chain('a', Y)").answers) == [("b",), ("c",), ("d",)]


def failing(_: Any) -> Any:
    raise RuntimeError("mine")


def test_a_thread_that_never_used_pydatalog_is_left_so() -> None:
    """pyDatalog alone fails in a second thread; a query works there and leaves nothing behind."""
    db = database({"db/id": 1, "a": 1})

    def alone() -> Any:
        with pytest.raises(AttributeError):
            pyDatalog.ask("anything(X)")
        rows = ask(db, "[:find ?e :where [?e :a 1]]")
        left = vars(Logic.tl), vars(pyEngine.Fresh_var.tl), vars(pyParser.Thread_storage)
        return rows == {(1,)}, left

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(alone).result() == (True, ({}, {}, {}))


def test_threads_ask_at_the_same_time() -> None:
    """Each thread gets the rows of its own query, recursion and negation included."""
    db = database(*({"db/id": i, "a": i % 5, "to": [(i + 1) % 20]} for i in range(20)))

    def work(thread: int) -> list[Any]:
        found = []
        for i in range(30):
            a = (thread + i) % 5
            found.append(ask(db, "[:find ?e :in $ ?a :where [?e :a ?a] (not [?e :to 0])]", a))
            found.append(ask(db, "[:find (count ?y) . :in $ % ?x :where (reach ?x ?y)]", LEFT, thread))
        return found

    def expected(thread: int) -> list[Any]:
        rows = [{(e,) for e in range(19) if e % 5 == (thread + i) % 5} for i in range(30)]
        return [answer for each in rows for answer in (each, 20)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [expected(thread) for thread in range(8)]


def test_a_callable_may_ask_a_query_itself() -> None:
    """A query inside a query's predicate has a program of its own."""
    db = database(*({"db/id": i, "a": i % 3} for i in range(9)))

    def has_a_later_one(a: Any) -> bool:
        return bool(ask(db, "[:find ?e :in $ ?a :where [?e :a ?a] [(> ?e 7)]]", a))

    query = "[:find ?e :in $ ?later :where [?e :a ?a] [(?later ?a)]]"
    assert ask(db, query, has_a_later_one) == {(2,), (5,), (8,)}


def test_queries_leak_nothing(raw: Any) -> None:
    """After a thousand queries, failed ones included, there is as much memory in use, and as many resolvers and
    predicates; pyDatalog alone keeps a predicate of every question that fails."""
    raw.assert_fact("n", 1)
    known = len(Logic.tl.logic.Db)
    with pytest.raises(TypeError):
        raw.ask("n(X) & (X > 'a')")
    assert len(Logic.tl.logic.Db) == known + 1

    db = database(*({"db/id": i, "a": i % 3, "to": [(i + 1) % 10]} for i in range(10)))

    def work(times: int) -> None:
        for i in range(times):
            ask(db, "[:find ?e :in $ ?a :where [?e :a ?a] (not [?e :to 3])]", i % 3)
            if i % 10 == 0:
                ask(db, "[:find ?y :in $ % :where (reach 1 ?y)]", RIGHT)
                with pytest.raises(QueryError):
                    ask(db, "[:find ?x :where [_ :a ?a] [(/ 1 ?a) ?x]]")

    work(300)
    before = counted()
    work(1000)
    after = counted()
    assert after[1:] == before[1:]
    assert after[0] - before[0] < 500


def counted() -> tuple[int, int, int, int]:
    gc.collect()
    predicates = len(Logic.tl.logic.Db) + len(Logic.tl.logic.Pred_registry)
    return sys.getallocatedblocks(), len(pyEngine.Python_resolvers), len(pyEngine.Class_dict), predicates


def test_answers_have_no_repeats_of_equal_values() -> None:
    """Equal values are one row, whatever their types."""
    db = database({"db/id": 1, "v": 1}, {"db/id": 2, "v": 1.0}, {"db/id": 3, "v": [[1]]}, {"db/id": 4, "v": [[1.0]]})
    rows = ask(db, "[:find ?v :where [_ :v ?v]]")
    assert sorted(identity(value) for (value,) in rows if value == 1) == [1]
    assert len(rows) == 2
