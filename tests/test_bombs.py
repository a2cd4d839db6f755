"""Query bombs in a process of their own: stopped in time, with bounded memory, the database usable after them.

All of them, at two budgets, are `python tests/torture/bombs.py`; here are those that once were late, large or fatal.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from torture.bombs import BOMBS, ENGINES, MEMORY_MB, in_child

import tourlog
from tourlog.errors import BudgetError, QueryError

ONCE_LATE = [
    "two-way product, returned",
    "median of a product",
    "variance of huge integers",
    "doubling vectors",
    "huge ranges",
    "a large constant",
    "a thousand predicates",
    "many rules",
    "splitting a huge text",
    "huge ranges as values",
    "huge ranges, sorted",
    "huge ranges as text",
    "sum of huge integers",
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ONCE_LATE)
def test_a_bomb_is_stopped_in_time_with_bounded_memory(name: str, engine: str) -> None:
    """Late by half a second at most: this machine may have other work, and the torture run measures exactly."""
    figures = in_child(name, engine, (0.5,))
    assert "problem" not in figures
    assert figures["peak_mb"] < MEMORY_MB
    assert figures["overshoot_permille"] <= 1_000, figures


def test_bombs_have_names_of_their_own() -> None:
    assert len({bomb.name for bomb in BOMBS}) == len(BOMBS) > 50


def test_the_time_a_query_takes_to_be_planned_counts() -> None:
    """Ten thousand clauses took minutes, whatever the timeout."""
    with tourlog.connect() as conn:
        query = f"[:find ?e0 :where {' '.join(f'[?e{n} :n ?e{n + 1}]' for n in range(10_000))}]"
        with pytest.raises(BudgetError, match=r"timeout=0\.3"):
            conn.db().q(query, timeout=0.3)


def test_hundreds_of_clauses_run_on_pydatalog_with_a_limit() -> None:
    """The budget is looked at before there is a question, too."""
    with tourlog.connect() as conn:
        conn.transact([{"db/id": 1, "n": 5}])
        query = f"[:find ?n :where [?e :n ?n] {' '.join(f'[(not= ?n {-n})]' for n in range(1, 600))}]"
        assert list(conn.db().q(query, engine="pydatalog", max_rows=5)) == [(5,)]


def test_a_process_that_ends_right_after_a_timeout_ends_well() -> None:
    """A daemon thread inside DuckDB aborted it."""
    program = (
        "import tourlog\n"
        "conn = tourlog.connect()\n"
        "conn.append([{'k': 1, 'n': n} for n in range(3000)], 'k')\n"
        "try:\n"
        "    query = '[:find (count ?a) . :with ?b ?c :where [?a :n] [?b :n] [?c :n]]'\n"
        "    conn.db().q(query, engine='compiled', timeout=0.2)\n"
        "except tourlog.BudgetError:\n"
        "    print('stopped')\n"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("(vector ?x ?x)", "at most 30000 elements"),
        ('(hash-map "a" ?x "b" ?x)', "at most 30000 elements"),
        ("(str ?x ?x)", "at most 10000000 characters"),
        ("(* ?x ?x)", "at most 1000000 bits"),
    ],
)
def test_what_doubles_is_refused_before_it_is_huge(call: str, words: str, engine: str) -> None:
    with tourlog.connect() as conn:
        start = "7" if "*" in call else '"seven"'
        rules = f"[[(r ?y) [(ground {start}) ?y]] [(r ?y) (r ?x) [{call} ?y]]]"
        with pytest.raises(QueryError, match=words):
            conn.db().q("[:find ?x :in $ % :where (r ?x)]", rules, engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_large_values_take_no_more_memory_than_they_may_together(engine: str) -> None:
    with tourlog.connect() as conn:
        conn.append([{"k": 1, "n": n} for n in range(500)], "k")
        query = "[:find (count ?v) . :in $ ?s :where [_ :n ?n] [(str ?s ?n) ?v]]"
        with pytest.raises(BudgetError) as caught:
            conn.db().q(query, "x" * 9_000_000, engine=engine)
        assert caught.value.budget == "memory"  # type: ignore[attr-defined]  # by the constructor
        assert conn.db().q(query, "x" * 9_000, engine=engine) == 500


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_done_to_large_values_piece_by_piece_gives_what_it_gives_of_small_ones(engine: str) -> None:
    length = 25_000
    with tourlog.connect() as conn:
        ask = f"[:find ?x . :where [(range {length}) ?a] [(range 1 {length + 1}) ?b] "
        db = conn.db()
        for call, expected in (
            ("(= ?a ?b)", False),
            ("(= ?a ?a)", True),
            ("(< ?a ?b)", True),
            ("(<= ?b ?a)", False),
            ("(compare ?a ?b)", -1),
            ("(max ?a ?b)", list(range(1, length + 1))),
            ("(str ?a)", f"[{' '.join(map(str, range(length)))}]"),
            ("(set ?a)", frozenset(range(length))),
        ):
            assert db.q(f"{ask} [{call} ?x]]", engine=engine) == expected, call
        big = 1 << 2_000
        query = "[:find (sum ?v) . :in $ [?v ...]]"
        assert db.q(query, [big + n for n in range(200)], engine=engine) == 200 * big + 19_900
        assert db.q(query, list(range(length)), engine=engine) == length * (length - 1) // 2
