"""The query generator: what it writes, and that the planner sees the ordered access path in all of it."""

from __future__ import annotations

from typing import Any

import pytest

import tourlog
from tourlog.errors import ArgumentError
from tourlog.query.parse import parse_query, parse_rules
from tourlog.query.plan import make_plan
from tourlog.query.program import Slice

BOUNDS = {
    "all": (),
    "nthrest": (">= ?o",),
    "take": ("< ?o",),
    "nth": ("= ?o",),
    "slice": (">= ?f-o", "< ?t-o"),
}
OFFSETS: dict[str, tuple[int, ...]] = {"all": (), "nthrest": (2,), "take": (2,), "nth": (2,), "slice": (1, 3)}
FOUND = {"all": [0, 1, 2, 3], "nthrest": [2, 3], "take": [0, 1], "nth": [2], "slice": [1, 2]}

each_type = pytest.mark.parametrize("offset_type", BOUNDS)


@pytest.fixture
def db() -> tourlog.Database:
    conn = tourlog.connect()
    for partition in (1, 2):
        conn.append([{"topic": "a", "partition": partition, "n": n} for n in range(4)], "topic", "partition")
    return conn.db()


def given(query: Any) -> Any:
    """The three ways to give a generated query."""
    return [query, query.edn, query.data]


@each_type
def test_a_generated_query_is_one_read_of_the_log(offset_type: str) -> None:
    """Its plan is a slice and nothing else, given as it is, as text and as data."""
    query = tourlog.gen_datalog(offset_type, "topic", "partition")
    for form in given(query):
        plan = make_plan(parse_query(form))
        (slice_,) = plan.body
        assert isinstance(slice_, Slice)
        assert slice_.names == ("topic", "partition")
        assert tuple(f"{operator} {term}" for operator, term in slice_.bounds) == BOUNDS[offset_type]
        assert plan.strata == ()


@each_type
def test_a_generated_rule_is_one_read_of_the_log(offset_type: str) -> None:
    """Called with constants, inputs or members of a collection, it becomes a slice too."""
    rules = parse_rules(tourlog.gen_rules("topic", "partition"))
    offsets = " ".join(map(str, OFFSETS[offset_type]))
    for inputs in ("?t ?p", "[?t ...] [?p ...]", "[?t ?p]", "[[?t ?p]]"):
        query = parse_query(f"[:find (pull ?e [*]) :in $ % {inputs} :where ({offset_type} ?e ?t ?p {offsets})]")
        kinds = [type(literal).__name__ for literal in make_plan(query, rules).body]
        assert kinds.count("Slice") == 1
        assert set(kinds) <= {"Given", "Slice"}


@each_type
def test_generated_queries_and_rules_find_the_same(offset_type: str, db: tourlog.Database) -> None:
    """The documents of the stream at those offsets, whatever the engine and the form of the query."""
    expected = [{"topic": "a", "partition": 2, "n": n, "offset": n} for n in FOUND[offset_type]]
    query = tourlog.gen_datalog(offset_type, "topic", "partition")
    answers = [db.q(form, "a", 2, *OFFSETS[offset_type]) for form in given(query)]
    rules = tourlog.gen_rules("topic", "partition")
    offsets = " ".join(map(str, OFFSETS[offset_type]))
    answers.append(db.q(f'[:find (pull ?e [*]) :in $ % :where ({offset_type} ?e "a" 2 {offsets})]', rules))
    assert [tourlog.post_query_transform(rows) for rows in answers] == [expected] * 4


def test_the_access_path_stays_when_clauses_are_added(db: tourlog.Database) -> None:
    """What else is asked of the documents comes after the slice, in whatever order it was written."""
    query = """[:find ?n :in $ ?t ?p ?from
                :where [?e :n ?n] [(even? ?n)] [?e :offset ?o] [?e :topic ?t] [(<= ?from ?o)]
                       [?e :partition ?p] [?e :db/key ["topic" "partition"]]]"""
    first, *rest = make_plan(parse_query(query)).body
    assert isinstance(first, Slice)
    assert [str(literal) for literal in rest] == ["[?e 'n' ?n]", "[(even? ?n)]"]
    assert db.q(query, "a", 1, 1) == [(2,)]


def test_a_stream_is_known_by_all_its_keys(db: tourlog.Database) -> None:
    """Half a key, other names or the other order are other streams, which do not exist."""
    assert db.q(tourlog.gen_datalog("all", "topic"), "a") == []
    assert db.q(tourlog.gen_datalog("all", "partition", "topic"), 1, "a") == []
    assert len(db.q(tourlog.gen_datalog("all", "topic", "partition"), "a", 1)) == 4


def test_keys_that_are_no_variables_get_variables() -> None:
    """Names with any characters, names that collide, and the names of the query's own variables."""
    query = tourlog.gen_datalog("nth", "my key", "my/key", "o", "e")
    assert query.data["in"] == ["$", "?my_key", "?my_key-key", "?o-key", "?e-key", "?o"]
    conn = tourlog.connect()
    conn.append([{"my key": 1, "my/key": 2, "o": 3, "e": 4}], "my key", "my/key", "o", "e")
    ((document,),) = conn.db().q(query, 1, 2, 3, 4, 0)
    assert document["offset"] == 0


@pytest.mark.parametrize("offset_type", ["last", None, 1, "ALL"])
def test_an_unknown_offset_type_is_refused_naming_those_there_are(offset_type: Any) -> None:
    with pytest.raises(ArgumentError, match="all, nthrest, take, nth, slice"):
        tourlog.gen_datalog(offset_type, "topic")


def test_rules_are_added() -> None:
    """Generated rules and rules of one's own work together in one query."""
    conn = tourlog.connect()
    conn.append([{"topic": "a", "n": n} for n in range(3)], "topic")
    own = tourlog.Rules("[[(odd ?e) [?e :n ?n] [(odd? ?n)]]]")
    query = '[:find ?n :in $ % :where (nthrest ?e "a" 1) (odd ?e) [?e :n ?n]]'
    for rules in (tourlog.gen_rules("topic") + own, own + tourlog.gen_rules("topic")):
        assert conn.db().q(query, rules) == {(1,)}
