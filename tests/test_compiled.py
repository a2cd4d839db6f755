"""The compiled engine: columns that follow the log, tokens, exact comparisons, budgets, runs beside each other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_values import equal, key, less, less_or_equal

import tourlog
from tourlog.engines.codec import BOOLEAN, FLOAT, INTEGER, NEVER, STRING, TOKEN, column_type, native
from tourlog.engines.columns import Columns
from tourlog.engines.comparing import OPERATORS, compare_columns, compare_constant
from tourlog.engines.tokens import KEY, RunTokens, Tokens
from tourlog.errors import BudgetError
from tourlog.stream import document_id

BIG = 2**53

VALUES = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 2, BIG, BIG + 1, 2**63, -(2**63), 10**30, 0.0, -0.0, 1.0, 0.5, float(BIG)),
        *(float("nan"), float("inf"), -float("inf"), Decimal("1.0"), Decimal("0.5"), Decimal("NaN"), "", "a", "1"),
        *("True", "a\x00b", "é", "\ud800", b"", b"a", UUID(int=1), [1, "a"], [], (1,), {1}, {"x": 1, "y": [2, 3]}),
        *(datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC), timedelta(1), {"x": None}, [{"x": 1}, {"x": 2}]),
    ]
)
ENTITIES = st.sampled_from([1, 2, "a", True, UUID(int=5)])
ATTRIBUTES = st.sampled_from(["a", "b", "a.x"])


def both(db: tourlog.Database, query: str, *inputs: Any) -> Any:
    """The rows of a query, the same from both engines."""
    found = [db.q(query, *inputs, engine=engine) for engine in ("pydatalog", "compiled")]
    assert sorted(map(key, found[0])) == sorted(map(key, found[1])), (query, *found)
    return found[1]


class TestHistories:
    """Whatever happens to entities, both engines see the same facts at every position, in every view."""

    QUERIES = (
        "[:find ?e ?v :where [?e :a ?v]]",
        "[:find ?e ?v ?t :where [?e :a ?v ?t]]",
        "[:find ?e ?v ?w :where [?e :a ?v] [?e :b ?w]]",
        "[:find ?x ?y :where [?x :a ?v] [?y :b ?v]]",
        "[:find ?x ?y :where [?x :a ?y] [?y :b _]]",
        "[:find ?e ?v :where [?e :a.x ?v]]",
        "[:find ?e ?a ?v ?t :where [?e ?a ?v ?t]]",
        "[:find ?e :where [?e :a _ ?t] [?e :b _ ?t]]",
        "[:find ?e ?t ?x :where [?e :a _ ?t] [?x :b ?t]]",
        "[:find ?e :where [?e :a _] (not [?e :b 1])]",
        "[:find ?e :where (or [?e :a 1] [?e :b true])]",
        "[:find (count ?e) . :where [?e :a ?v] [(= ?v 1)]]",
    )

    @settings(max_examples=60)
    @given(st.data())
    def test_both_engines_agree(self, data: st.DataObject) -> None:
        operation = st.one_of(
            st.tuples(st.just("put"), ENTITIES, st.dictionaries(st.sampled_from(["a", "b"]), VALUES, min_size=1)),
            st.tuples(st.just("append"), st.sampled_from([1, 2]), st.lists(VALUES, min_size=1, max_size=3)),
            st.tuples(st.just("retract"), ENTITIES, st.sampled_from(["a", "b"])),
            st.tuples(st.just("drop"), ENTITIES, st.none()),
            st.tuples(st.just("ask"), st.sampled_from(self.QUERIES), st.none()),
            st.tuples(st.just("amend"), st.sampled_from([1, 2]), VALUES),
        )
        with tourlog.connect() as conn:
            for kind, first, second in data.draw(st.lists(operation, min_size=1, max_size=8)):
                self._apply(conn, kind, first, second)
            db = conn.db()
            past, other = (data.draw(st.integers(0, db.t)) for _ in range(2))
            for view in (db, db.as_of(past), db.since(past), db.history(), db.as_of(past).since(other).history()):
                for query in data.draw(st.lists(st.sampled_from(self.QUERIES), min_size=3, max_size=5)):
                    self._ask(view, query)

    def _apply(self, conn: tourlog.Connection, kind: str, first: Any, second: Any) -> None:
        match kind:
            case "put":
                conn.transact([{"db/id": first, **second}])
            case "append":
                conn.append([{"k": first, "a": value} for value in second], "k")
            case "retract":
                conn.transact([("db/retract", first, second)])
            case "drop":
                conn.transact([("db/retract-entity", first)])
            case "ask":
                self._ask(conn.db(), first)
            case "amend":
                for document in conn.db().documents({"k": first}, 0, 1):
                    conn.transact([("db/add", document["db/id"], "b", second)])

    def _ask(self, db: tourlog.Database, query: str) -> None:
        answers = [db.q(query, engine=engine) for engine in ("pydatalog", "compiled")]
        if isinstance(answers[0], tourlog.Rows):
            assert sorted(map(key, answers[0])) == sorted(map(key, answers[1])), (query, *answers)
        else:
            assert answers[0] == answers[1], (query, *answers)


class TestColumns:
    """Columns follow the log: extended after appends, widened when a value does not fit."""

    @pytest.mark.parametrize(
        "later", [2, 2.5, "x", True, None, 2**70, [1, 2], [], {"deep": 1}, Decimal("1.5"), "\ud800"]
    )
    def test_a_value_of_any_kind_can_follow_an_integer(self, later: Any) -> None:
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "v": 1}], "k")
            both(conn.db(), "[:find ?o ?v :where [?e :v ?v] [?e :offset ?o]]")
            conn.append([{"k": 1, "v": later}, {"k": 1, "v": 1}, {"k": 1}], "k")
            both(conn.db(), "[:find ?o ?v :where [?e :v ?v] [?e :offset ?o]]")

    def test_an_id_that_was_a_value_before_its_document_joins_it(self) -> None:
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": 0}], "k")
            (first,) = conn.db().documents({"k": 1})
            place = first["db/id"].int
            following = UUID(int=place + 1)
            conn.transact([{"db/id": "pointer", "to": following}])
            assert both(conn.db(), "[:find ?n :where [_ :to ?e] [?e :n ?n]]") == []
            conn.append([{"k": 1, "n": 1}, {"k": 1, "n": 2}], "k")
            assert both(conn.db(), "[:find ?n :where [_ :to ?e] [?e :n ?n]]") == [(1,)]
            conn.transact([("db/add", following, "n", 7)])
            assert both(conn.db(), "[:find ?n :where [_ :to ?e] [?e :n ?n]]") == [(7,)]

    def test_an_old_database_keeps_its_answers_while_columns_grow(self) -> None:
        query = "[:find ?v :where [?e :v ?v]]"
        with tourlog.connect() as conn:
            databases = []
            for number in range(6):
                conn.append([{"k": 1, "v": number if number < 4 else str(number)}], "k")
                databases.append(conn.db())
                assert len(both(conn.db(), query)) == number + 1
            for number, db in enumerate(databases):
                assert len(both(db, query)) == number + 1

    def test_a_load_that_is_cut_off_leaves_nothing_half_done(self) -> None:
        with tourlog.connect() as conn:
            for number in range(50):
                conn.append([{"k": 1, "v": number}], "k")
            query = "[:find (count ?e) . :where [?e :v ?v]]"
            with pytest.raises(BudgetError):
                conn.db().q(query, engine="compiled", timeout=1e-9)
            assert conn.db().q(query, engine="compiled") == 50

    def test_memory_is_told(self) -> None:
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "v": number} for number in range(1000)], "k")
            conn.db().q("[:find (count ?e) . :where [?e :v ?v]]", engine="compiled")
            snapshot = conn.db().snapshot
            columns = snapshot.index.shared(Columns, lambda: Columns(snapshot.log))
            assert columns.memory > 0

    def test_a_mixed_column_gives_its_values_in_their_own_form(self) -> None:
        with tourlog.connect() as conn:
            conn.transact([{"db/id": 1, "v": 1.0}, {"db/id": 2, "v": 2}, {"db/id": 3, "v": Decimal("1.00")}])
            for engine in ("pydatalog", "compiled"):
                rows = conn.db().q("[:find ?e ?v :where [?e :v ?v]]", engine=engine)
                assert {e: repr(v) for e, v in rows} == {1: "1.0", 2: "2", 3: "Decimal('1.00')"}
                assert conn.db().q("[:find (count ?v) (count-distinct ?v) :with ?e :where [?e :v ?v]]", engine=engine)[
                    0
                ] == (3, 2)
                assert len(conn.db().q("[:find ?v :where [?e :v ?v]]", engine=engine)) == 2
                assert len(conn.db().q("[:find ?x ?y :where [?x :v ?v] [?y :v ?v]]", engine=engine)) == 5


class TestRunsBesideEachOther:
    def test_threads_ask_while_others_append_and_load(self) -> None:
        """Every answer is that of the database asked, whatever is loaded meanwhile."""
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "a": 0, "b": "x", "c": 0.5}], "k")
            problems: list[Any] = []
            done = threading.Event()

            def ask(attribute: str) -> None:
                while not done.is_set():
                    db = conn.db()
                    found = db.q(f"[:find (count ?e) . :where [?e :{attribute} _]]", engine="compiled")
                    if found != db.t:
                        problems.append((attribute, db.t, found))

            threads = [threading.Thread(target=ask, args=(attribute,)) for attribute in "abc"]
            for thread in threads:
                thread.start()
            for number in range(1, 40):
                value = number if number % 7 else str(number)
                conn.append([{"k": 1, "a": value, "b": str(value), "c": float(number)}], "k")
            done.set()
            for thread in threads:
                thread.join()
            assert problems == []

    def test_a_run_is_not_held_up_by_a_long_one(self) -> None:
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": number} for number in range(3000)], "k")
            conn.db().q("[:find (count ?e) . :where [?e :n _]]", engine="compiled")
            bomb = "[:find (count ?a) . :with ?b ?c :where [?a :n] [?b :n] [?c :n]]"
            ended: list[float] = []

            def explode() -> None:
                with pytest.raises(BudgetError):
                    conn.db().q(bomb, engine="compiled", timeout=3)
                ended.append(time.monotonic())

            thread = threading.Thread(target=explode)
            thread.start()
            assert conn.db().q("[:find (count ?e) . :where [?e :n 5]]", engine="compiled") == 1
            answered = time.monotonic()
            thread.join()
            assert answered < ended[0]


class TestBudgets:
    BOMBS = (
        "[:find (count ?a) . :with ?b ?c :where [?a :n] [?b :n] [?c :n]]",
        "[:find ?a ?b :where [?a :n] [?b :n]]",
        "[:find ?n :in $ % :where (r ?n)]",
    )
    RULES = "[[(r ?n) [(ground 1) ?n]] [(r ?n) (r ?m) [(inc ?m) ?n]]]"

    @pytest.mark.parametrize("engine", ["pydatalog", "compiled"])
    @pytest.mark.parametrize("query", BOMBS)
    def test_a_timeout_stops_it_and_leaves_the_database_usable(self, query: str, engine: str) -> None:
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": number} for number in range(5000)], "k")
            inputs = [self.RULES] if "%" in query else []
            with pytest.raises(BudgetError, match=r"timeout=0\.3") as caught:
                conn.db().q(query, *inputs, engine=engine, timeout=0.3)
            assert caught.value.budget == "timeout"  # type: ignore[attr-defined]
            assert conn.db().q("[:find (count ?e) . :where [?e :n _]]", engine=engine) == 5000

    @pytest.mark.parametrize("engine", ["pydatalog", "compiled"])
    def test_max_rows_is_a_limit_and_not_a_cut(self, engine: str) -> None:
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": number} for number in range(100)], "k")
            query = "[:find ?n :where [?e :n ?n]]"
            assert len(conn.db().q(query, engine=engine, max_rows=100)) == 100
            with pytest.raises(BudgetError, match="max_rows=99"):
                conn.db().q(query, engine=engine, max_rows=99)

    @pytest.mark.parametrize("engine", ["pydatalog", "compiled"])
    def test_too_many_rows_are_never_all_computed(self, engine: str) -> None:
        """Four hundred million rows would fill the memory long before they are counted at the end."""
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": number} for number in range(20_000)], "k")
            with pytest.raises(BudgetError, match="max_rows=1000"):
                conn.db().q("[:find ?a ?b :where [?a :n] [?b :n]]", engine=engine, max_rows=1000)

    # The interrupt may be raised inside a callback, such as one of Hypothesis on garbage collection, and be lost there.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("engine", ["pydatalog", "compiled"])
    def test_an_interrupt_stops_it(self, engine: str) -> None:
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": number} for number in range(5000)], "k")
            conn.db().q("[:find (count ?e) . :where [?e :n _]]", engine=engine)
            timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                conn.db().q(self.BOMBS[0], engine=engine, timeout=60)
            assert conn.db().q("[:find (count ?e) . :where [?e :n _]]", engine=engine) == 5000


class TestTokens:
    def test_equal_values_share_a_key_and_each_form_comes_back(self) -> None:
        tokens = Tokens()
        forms = [1, 1.0, Decimal(1), Decimal("1.00"), True]
        numbers = [tokens.token(value) for value in forms]
        assert [number & KEY for number in numbers] == [numbers[0]] * 4 + [numbers[4]]
        assert len(set(numbers)) == 5
        assert [repr(tokens.value(number)) for number in numbers] == list(map(repr, forms))
        assert [tokens.token(value) for value in forms] == numbers
        assert tokens.find("b") is None

    def test_documents_take_a_run_and_are_found_by_their_ids(self) -> None:
        tokens = Tokens()
        early = tokens.token(document_id(9, 11))
        numbers = list(tokens.run(9, 10, 3))
        assert numbers[1] == early
        assert [tokens.token(document_id(9, offset)) for offset in (10, 11, 12)] == numbers
        assert [tokens.value(number) for number in numbers] == [document_id(9, offset) for offset in (10, 11, 12)]
        assert tokens.find(document_id(9, 13)) is None

    def test_what_only_a_run_knows_stays_its_own(self) -> None:
        tokens = Tokens()
        shared = tokens.token("a")
        run = RunTokens(tokens)
        own = run.token("b")
        assert (run.token("a"), run.value(own)) == (shared, "b")
        assert tokens.find("b") is None
        tokens.token("b")
        assert run.token("b") == own
        assert run.value(run.token(Decimal("2.0"))) == 2
        assert repr(run.value(run.token(2))) == "2"
        assert run.token(2) & KEY == run.token(2.0) & KEY


class TestExactness:
    """SQL is used for a comparison only where it says what the design says."""

    NATIVE: tuple[tuple[str, list[Any]], ...] = (
        (INTEGER, [0, 1, -1, BIG, BIG + 1, 2**63 - 1, -(2**63)]),
        (FLOAT, [0.0, -0.0, 0.5, 0.1, -0.1, float(BIG), 1e308, float("inf"), -float("inf"), float("nan")]),
        (STRING, ["", "a", "b", "é", "a\x00", "\U0001f600"]),
        (BOOLEAN, [True, False]),
    )
    CONSTANTS = (
        *(0, 1, -1, 2, BIG + 1, 2**63, -(2**63) - 1, 10**400, 0.5, -0.5, float(BIG), float(2**63), float("inf")),
        *(-float("inf"), float("nan"), Decimal("0.1"), Decimal("1e400"), Decimal("-Infinity"), Decimal("sNaN")),
        *("", "a", "é", "\ud800", True, False, None, b"a", UUID(int=1), [1], {"a": 1}),
    )
    PYTHON: dict[str, Callable[[Any, Any], bool]] = {  # noqa: RUF012  # a constant
        "=": equal,
        "<>": lambda a, b: not equal(a, b),
        "<": less,
        "<=": less_or_equal,
        ">": lambda a, b: less(b, a),
        ">=": lambda a, b: less_or_equal(b, a),
    }

    @pytest.mark.parametrize(("type_", "column"), NATIVE)
    @pytest.mark.parametrize("operator", sorted(set(OPERATORS.values())))
    def test_a_column_against_a_constant(self, operator: str, type_: str, column: list[Any]) -> None:
        import duckdb

        sql_type = {INTEGER: "BIGINT", FLOAT: "DOUBLE", STRING: "VARCHAR", BOOLEAN: "BOOLEAN"}[type_]
        with duckdb.connect() as database:
            database.execute(f"CREATE TABLE t (i BIGINT, x {sql_type})")
            database.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(column)))
            for constant in self.CONSTANTS:
                found = compare_constant(operator, "x", type_, constant)
                if found is None:
                    continue
                sql, held = found
                bound = [] if held is NEVER else [held]
                condition = sql.replace("{}", f"?::{sql_type}")
                rows = database.execute(f"SELECT i FROM t WHERE {condition}", bound).fetchall()
                expected = {i for i, value in enumerate(column) if self.PYTHON[operator](value, constant)}
                assert {row[0] for row in rows} == expected, (operator, column, constant, sql)

    def test_most_comparisons_are_sql(self) -> None:
        assert compare_constant("<", "x", INTEGER, 2.5) == ("x < {}", 3)
        assert compare_constant("<", "x", INTEGER, "a") == ("false", NEVER)
        assert compare_columns("<", ("x", STRING), ("y", STRING)) == "x < y"
        assert compare_columns("=", ("x", TOKEN), ("y", TOKEN)) == "x = y"
        assert compare_columns("<", ("x", TOKEN), ("y", TOKEN)) is None
        assert compare_columns("=", ("x", INTEGER), ("y", FLOAT)) is None

    @given(st.lists(VALUES.filter(lambda value: type(value) in (int, float, str, bool)), min_size=1))
    def test_a_native_column_holds_its_values_exactly(self, values: list[Any]) -> None:
        type_ = column_type(values)
        if type_ != TOKEN:
            held = [native(value, type_) for value in values]
            assert list(map(repr, held)) == list(map(repr, values))

    def test_floats_add_exactly(self) -> None:
        values = [0.1] * 10 + [1e7, -1e7, 1e-5]
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "x": value} for value in values], "k")
            assert both(conn.db(), "[:find (sum ?x) (avg ?x) :with ?e :where [?e :x ?x]]")[0][0] == 1.00001
            conn.append([{"k": 1, "x": value} for value in (1e300, float("inf"))], "k")
            assert both(conn.db(), "[:find (sum ?x) (avg ?x) :with ?e :where [?e :x ?x]]")[0][0] == float("inf")


class TestExplain:
    def test_it_shows_the_sql_and_says_why(self) -> None:
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": number} for number in range(10)], "k")
            explanation = conn.db().explain("[:find ?n :where [?e :n ?n] [(< ?n 3)]]", engine="compiled")
            assert "SELECT" in explanation.program
            assert explanation.reason == "it was asked for"

    def test_it_runs_nothing(self) -> None:
        called: list[Any] = []
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": number} for number in range(10)], "k")
            conn.db().explain("[:find ?n :in $ ?f :where [?e :n ?n] [(?f ?n)]]", called.append, engine="compiled")
            rules = "[[(r ?x ?n) [?x :n ?n]] [(r ?x ?n) (r ?x ?m) [(inc ?m) ?n]]]"
            conn.db().explain("[:find ?n :in $ % :where (r _ ?n)]", rules, engine="compiled")
        assert called == []


class TestChoice:
    def test_a_small_log_is_asked_by_pydatalog_and_a_large_one_by_duckdb(self) -> None:
        query = "[:find ?n :where [?e :n ?n]]"
        with tourlog.connect() as conn:
            conn.append([{"k": 1, "n": 1}], "k")
            assert conn.db().explain(query).engine == "pydatalog"
            conn.append([{"k": number % 7, "n": number} for number in range(200)], "k")
            assert conn.db().explain(query).engine == "pydatalog"
            rules = "[[(next ?n ?m) [?e :n ?n] [(inc ?n) ?m]] [(next ?n ?m) (next ?n ?k) (next ?k ?m)]]"
            assert conn.db().explain("[:find ?m :in $ % :where (next 1 ?m)]", rules).engine == "compiled"
            conn.append([{"k": number % 7, "n": number} for number in range(1000)], "k")
            assert conn.db().explain(query).engine == "compiled"
            assert conn.db().as_of(1).explain(query).engine == "pydatalog"
            assert conn.db().explain("[:find ?n :where [1 :n ?n]]").engine == "pydatalog"
            assert conn.db().explain(tourlog.gen_datalog("all", "k"), 1).engine == "log"
            assert conn.db().with_([{"a": 1}]).db_after.explain(query).engine == "pydatalog"


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.5, 0.125, 3.0, -7.25], 0),
        ([2.0**41, -(2.0**41), 0.125], 0),
        ([0.1, 0.2, 0.3, 19.99], 1),
        ([2.0**43, 0.125], 2),
        ([1e-30, 1.0, -1.0], 2),
        ([1e200, 1.0, -1e200], 2),
        ([float("inf"), 1.0], 2),
        ([float("nan"), 1.0], 2),
    ],
)
def test_sums_of_floats_are_exact_at_the_scale_they_need(values: list[float], scale: int) -> None:
    conn = tourlog.connect()
    conn.append([{"k": 1, "x": value, "n": number} for number, value in enumerate(values)], "k")
    for aggregate in ("sum", "avg"):
        query = f"[:find ({aggregate} ?x) :with ?n :where [?e :x ?x] [?e :n ?n]]"
        for _ in range(2):  # the second time the scale is known
            both(conn.db(), query)
    columns = conn._index.shared(Columns, lambda: pytest.fail("loaded by the queries"))
    assert set(columns._scales.values()) <= {scale}
    assert bool(columns._scales) == bool(scale)
    conn.append([{"k": 1, "x": 1e-300, "n": -1}], "k")
    both(conn.db(), "[:find (sum ?x) :with ?n :where [?e :x ?x] [?e :n ?n]]")
