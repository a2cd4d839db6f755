"""Facts: which pairs of attribute and value a document states, and how an attribute is read off a document."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Any

import oracle_values as oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tourlog import connect
from tourlog.errors import BudgetError
from tourlog.fact_index import FactIndex
from tourlog.facts import Fact, document_facts, elements, path_under, roots, select, spread
from tourlog.query.deadline import watched

LEAVES = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["x", 1.0, float("nan")])
KEYS = st.sampled_from(["a", "b", "a.b", "b.a", ".", "", "..", "a.", ".b", "db/x"])
CONTENTS = st.recursive(
    LEAVES | st.frozensets(LEAVES, max_size=2),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=2).map(tuple), st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(KEYS, CONTENTS, max_size=3)


def keyed(pairs: Any) -> list[Any]:
    return [(attribute, oracle.key(value)) for attribute, value in pairs]


@pytest.mark.parametrize(
    ("document", "facts"),
    [
        ({}, []),
        ({"a": None}, [("a", None)]),
        ({"a": []}, []),
        ({"a": [1, 2, 1, 1.0, True]}, [("a", 1), ("a", 2), ("a", True)]),
        ({"a": (1, (1, 2))}, [("a", 1), ("a", (1, 2))]),
        ({"a": "text", "b": b"bytes"}, [("a", "text"), ("b", b"bytes")]),
        ({"a": {}}, [("a", {})]),
        ({"a": {"b": {"c": 1}}}, [("a", {"b": {"c": 1}}), ("a.b", {"c": 1}), ("a.b.c", 1)]),
        ({"a": [{"b": 1}, {"b": 2}]}, [("a", {"b": 1}), ("a.b", 1), ("a", {"b": 2}), ("a.b", 2)]),
        ({"a.b": 1, "a": {"b": 1.0}}, [("a.b", 1), ("a", {"b": 1.0})]),
        ({"db/id": 1, "db/x": {"y": 2}, "db": {"/": 3}}, [("db", {"/": 3}), ("db./", 3)]),
        ({"": {"": 1}}, [("", {"": 1}), (".", 1)]),
    ],
)
def test_a_document_states_these_facts(document: dict[str, Any], facts: list[tuple[str, Any]]) -> None:
    assert document_facts(document) == facts


@given(DOCUMENTS)
def test_the_facts_of_a_document_are_the_models(document: dict[str, Any]) -> None:
    assert set(keyed(document_facts(document))) == set(keyed(oracle.facts_of(document)))
    assert len(keyed(document_facts(document))) == len(set(keyed(document_facts(document))))


@given(DOCUMENTS)
@example({"a": {"": 1}})
@example({"a": {"b.a": 1, "b": {"a": 2}}, "a.b": {"a": 3}, "a.b.a": [4]})
def test_selecting_an_attribute_below_its_roots_finds_exactly_what_spreading_states(document: dict[str, Any]) -> None:
    stated = [pair for key, content in document.items() for pair in spread(key, content)]
    for wanted in {attribute for attribute, _ in stated} | {"a.c", "c"}:
        selected = [
            (wanted, value)
            for root in roots(wanted)
            if root in document
            for value in select(document[root], path_under(root, wanted))
        ]
        assert sorted(keyed(selected)) == sorted(keyed(pair for pair in stated if pair[0] == wanted))


@given(DOCUMENTS.map(lambda document: {key: value for key, value in document.items() if key != "db/x"}))
def test_every_fact_of_a_stored_document_is_found_by_its_attribute(document: dict[str, Any]) -> None:
    """The index and the entity read the same facts off the log, for amended and appended documents alike."""
    with connect() as conn:
        conn.transact([{"db/id": 1, **document}])
        conn.append([{"key": 1, **document}], "key")
        appended = conn.db().documents({"key": 1})[0]["db/id"]
        for e, added in ((1, set()), (appended, {("key", oracle.key(1)), ("offset", oracle.key(0))})):
            expected = set(keyed(oracle.facts_of(document))) | added
            found = [fact for a in {a for a, _ in expected} for fact in conn.db().facts(a=a) if fact.e == e]
            assert {(fact.a, oracle.key(fact.v)) for fact in found} == expected
            assert set(keyed((fact.a, fact.v) for fact in conn.db().facts(e))) == expected


@pytest.mark.parametrize("engine", ["pydatalog", "compiled"])
def test_a_key_may_be_empty(engine: str) -> None:
    with connect() as conn:
        conn.transact([{"db/id": 1, "a": {"": 5}}])
        query = {"find": ["?v", "."], "where": [("_", "a.", "?v")]}
        assert conn.db().q(query, engine=engine) == 5


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [("a", ("a",)), ("a.b", ("a", "a.b")), ("", ("",)), (".", ("", ".")), ("a..b", ("a", "a.", "a..b"))],
)
def test_roots_are_every_beginning_of_an_attribute(attribute: str, expected: tuple[str, ...]) -> None:
    assert roots(attribute) == expected


def test_only_collections_have_elements() -> None:
    assert [list(elements(value)) for value in ([1], (1,), {1}, frozenset({1}))] == [[1]] * 4
    assert [list(elements(value)) for value in ("ab", b"ab", {"a": 1}, None)] == [["ab"], [b"ab"], [{"a": 1}], [None]]


def test_a_fact_is_an_assertion_unless_it_says_otherwise() -> None:
    assert Fact(1, "a", 2, 3) == (1, "a", 2, 3, True)


def test_loading_that_is_stopped_goes_on_where_it_was() -> None:
    conn = connect()
    for number in range(10):
        conn.append([{"k": 1, "n": number * 300 + each} for each in range(300)], "k")
        conn.transact([{"db/id": "e", "n": number}])
    t, pulses, attempts = conn.db().t, count(1), 0

    def check() -> None:
        if next(pulses) % 7 == 0:
            raise BudgetError("no time", budget="timeout")

    index, whole = FactIndex(conn._log), FactIndex(conn._log)
    while not index.is_loaded("n", t):
        attempts += 1
        assert attempts < 20
        with suppress(BudgetError), watched(check):
            index.load(("n",), t)
    assert attempts > 2
    found, expected = (list(one.attribute("n", t).find(None, None, (False, False))) for one in (index, whole))
    assert found == expected
