"""A pyDatalog program of the user's own over a database."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
from pyDatalog import pyDatalog, pyEngine
from pyDatalog.Logic import Logic

import tourlog
from tourlog.errors import ArgumentError

DOCUMENTS: list[dict[str, Any]] = [
    {"db/id": 1, "name": "Ann", "boss": 2, "pay": 1.123456789012345, "tags": ["a", "b"]},
    {"db/id": 2, "name": "Bob", "boss": 3, "exact": Decimal("1.0"), "text": "True"},
    {"db/id": 3, "name": "Cem", "home": {"town": "Oslo", "floor": 2}},
]


@pytest.fixture
def db() -> tourlog.Database:
    conn = tourlog.connect()
    conn.transact(DOCUMENTS)
    Logic()
    return conn.db()


def ask(text: str) -> set[Any]:
    found = pyDatalog.ask(text)
    return set() if found is None else set(found.answers)


def test_facts_are_found_by_any_of_their_parts(db: tourlog.Database) -> None:
    with tourlog.pydatalog_program(db):
        assert ask("fact(1, A, V)") >= {("name", "Ann"), ("boss", 2), ("tags", "a"), ("tags", "b")}
        assert ask('fact(E, "name", "Bob")') == {(2,)}
        assert ask('fact(E, "home.town", V)') == {(3, "Oslo")}
        assert ask('fact(9, "name", V)') == set()
        assert ask('fact(E, "unknown", V)') == set()


def test_documents_are_entities_that_state_every_pair(db: tourlog.Database) -> None:
    with tourlog.pydatalog_program(db):
        assert ask('document(E, "name", N, "boss", B)') == {(1, "Ann", 2), (2, "Bob", 3)}
        assert ask('document(E, "name", "Ann", "tags", T)') == {(1, "a"), (1, "b")}
        assert ask('document(E, "name", N, "boss", 9)') == set()


def test_values_come_as_they_are_stored(db: tourlog.Database) -> None:
    with tourlog.pydatalog_program(db):
        assert ask('fact(1, "pay", V)') == {(1.123456789012345,)}
        ((exact,),) = ask('fact(2, "exact", V)')
        assert (exact, type(exact)) == (Decimal("1.0"), Decimal)
        assert ask('fact(2, "text", V)') == {("True",)}
        assert ask('fact(3, "home", V)') == {((("floor", 2), ("town", "Oslo")),)}


def test_rules_of_the_user_run_over_them(db: tourlog.Database) -> None:
    with tourlog.pydatalog_program(db):
        pyDatalog.load("""
            above(X, Y) <= fact(X, "boss", Y)
            above(X, Y) <= above(X, Z) & fact(Z, "boss", Y)
        """)
        assert ask("above(1, Y)") == {(2,), (3,)}


def test_a_block_leaves_nothing_behind(db: tourlog.Database) -> None:
    pyDatalog.assert_fact("fact", "mine", "is", "here")
    pyDatalog.assert_fact("other", 1)
    known, resolvers = set(Logic.tl.logic.Db), dict(pyEngine.Python_resolvers)
    with pytest.raises(ZeroDivisionError), tourlog.pydatalog_program(db):
        assert ("mine", "is", "here") not in ask("fact(E, A, V)")
        raise ZeroDivisionError
    assert (set(Logic.tl.logic.Db), dict(pyEngine.Python_resolvers)) == (known, resolvers)
    assert ask("fact(E, A, V)") == {("mine", "is", "here")}
    assert ask("other(X)") == {(1,)}
    with pytest.raises(AttributeError):
        ask('document(E, "name", N)')


def test_blocks_nest_and_threads_have_their_own(db: tourlog.Database) -> None:
    newer = db.with_([{"db/id": 4, "name": "Dua"}]).db_after
    found: dict[str, Any] = {}

    def other() -> None:
        with tourlog.pydatalog_program(newer):
            found["other"] = ask('fact(E, "name", V)')

    with tourlog.pydatalog_program(db):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with tourlog.pydatalog_program(newer):
            assert (4, "Dua") in ask('fact(E, "name", V)')
        assert ask('fact(E, "name", V)') == {(1, "Ann"), (2, "Bob"), (3, "Cem")}
    assert (4, "Dua") in found["other"]


def test_queries_of_tourlog_run_inside_a_block(db: tourlog.Database) -> None:
    with tourlog.pydatalog_program(db):
        assert db.q('[:find ?e . :where [?e :name "Ann"]]', engine="pydatalog") == 1
        assert ask('fact(E, "name", "Ann")') == {(1,)}


def test_only_a_database_will_do() -> None:
    with pytest.raises(ArgumentError, match="Database"):
        tourlog.pydatalog_program(tourlog.connect())  # type: ignore[arg-type]
