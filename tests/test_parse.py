"""Query text and data to the abstract syntax: the grammar row by row, on both surfaces; each error with its
place; hostile and random input.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tourlog.errors import QuerySyntaxError
from tourlog.query.edn import Keyword, Symbol
from tourlog.query.parse import parse_pull, parse_query, parse_rules
from tourlog.query.parse_terms import MAX_DEPTH
from tourlog.query.syntax import (
    Aggregate,
    And,
    BindCollection,
    BindIgnore,
    BindRelation,
    BindScalar,
    BindTuple,
    Blank,
    Clause,
    Constant,
    Find,
    FunctionCall,
    Not,
    Or,
    Order,
    Pattern,
    Place,
    Predicate,
    Pull,
    PullAttribute,
    PullPattern,
    Query,
    Rule,
    RuleCall,
    RulesInput,
    Source,
    Variable,
)

E, X, Y, Z = Variable("e"), Variable("x"), Variable("y"), Variable("z")
ANY = Blank()
ID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
ALL = PullPattern(True, ())


def pattern(*terms: Any, source: str = "$") -> Pattern:
    """A pattern; what is no variable and no blank is a constant."""
    return Pattern(
        tuple([term if isinstance(term, Variable | Blank) else Constant(term) for term in terms]), Source(source)
    )


def where_of(text: str, inputs: str = "$ ?e ?x ?y ?z % $b") -> Clause:
    (clause,) = parse_query(f"[:find ?e :in {inputs} :where {text}]").where
    return clause


def where_of_data(data: Any, rules: frozenset[str] = frozenset()) -> Clause:
    inputs = ["$", "?e", "?x", "?y", "?z", "%", "$b"]
    (clause,) = parse_query({"find": ["?e"], "in": inputs, "where": [data]}, rules).where
    return clause


# Clauses, on both surfaces.


@pytest.mark.parametrize(
    ("text", "data", "clause"),
    [
        ("[?e]", ("?e",), pattern(E)),
        ("[?e :type]", ("?e", "type"), pattern(E, "type")),
        ('[?e "type" ?x]', ["?e", "type", "?x"], pattern(E, "type", X)),
        ("[?e :a ?x ?y]", ("?e", "a", "?x", "?y"), pattern(E, "a", X, Y)),
        ("[?e :a ?x ?y ?z]", ("?e", "a", "?x", "?y", "?z"), pattern(E, "a", X, Y, Z)),
        ("[_ :a _]", ("_", "a", "_"), pattern(ANY, "a", ANY)),
        ("[?e ?x ?e]", ("?e", "?x", "?e"), pattern(E, X, E)),
        ("[?e :a/b nil]", ("?e", "a/b", None), pattern(E, "a/b", None)),
        ("[?e :a true]", ("?e", "a", True), pattern(E, "a", True)),
        ("[?e :a 1]", ("?e", "a", 1), pattern(E, "a", 1)),
        ("[?e :a 1.0]", ("?e", "a", 1.0), pattern(E, "a", 1.0)),
        ("[?e :a ##NaN]", ("?e", "a", float("nan")), pattern(E, "a", float("nan"))),
        ("[?e :a 1.50M]", ("?e", "a", Decimal("1.50")), pattern(E, "a", Decimal("1.50"))),
        (f'[?e :a #uuid "{ID}"]', ("?e", "a", UUID(ID)), pattern(E, "a", UUID(ID))),
        (
            '[?e :a #inst "2026-01-02"]',
            ("?e", "a", datetime(2026, 1, 2, tzinfo=UTC)),
            pattern(E, "a", datetime(2026, 1, 2, tzinfo=UTC)),
        ),
        ("[?e :a [1 [:b]]]", ("?e", "a", [1, ["b"]]), pattern(E, "a", [1, ["b"]])),
        ("[?e :a {:b 1}]", ("?e", "a", {"b": 1}), pattern(E, "a", {"b": 1})),
        ("[?e :a #{1 :b}]", ("?e", "a", frozenset({1, "b"})), pattern(E, "a", frozenset({1, "b"}))),
        ("[[1 2] :a ?x]", None, pattern([1, 2], "a", X)),
        ("[$b ?e :a]", ("$b", "?e", "a"), pattern(E, "a", source="$b")),
        ("[$ ?e :a]", ("$", "?e", "a"), pattern(E, "a")),
        ('["not" :a ?x]', None, pattern("not", "a", X)),
        ("[?o' :a]", ("?o'", "a"), pattern(Variable("o'"), "a")),
        ("[(< ?x ?y 3)]", [("<", "?x", "?y", 3)], Predicate("<", (X, Y, Constant(3)))),
        ("[(f)]", [("f",)], Predicate("f", ())),
        ("[(?x ?y)]", [("?x", "?y")], Predicate(X, (Y,))),
        ("[(not ?x)]", [("not", "?x")], Predicate("not", (X,))),
        ("[(missing? $ ?e :a)]", [("missing?", "$", "?e", "a")],
         Predicate("missing?", (Source(), E, Constant("a")))),
        ("[(+ ?x 1) ?z]", [("+", "?x", 1), "?z"], FunctionCall("+", (X, Constant(1)), BindScalar(Z))),
        ("[(f ?x) _]", [("f", "?x"), "_"], FunctionCall("f", (X,), BindIgnore())),
        (
            "[(f $b) [?x _ [?y]]]",
            [("f", "$b"), ["?x", "_", ["?y"]]],
            FunctionCall(
                "f", (Source("$b"),), BindTuple((BindScalar(X), BindIgnore(), BindTuple((BindScalar(Y),))))
            ),
        ),
        ("[(ground [1 2]) [?x ...]]", [("ground", [1, 2]), ["?x", "..."]],
         FunctionCall("ground", (Constant([1, 2]),), BindCollection(BindScalar(X)))),
        ("[(f ?e) [[?x _]]]", [("f", "?e"), [("?x", "_")]],
         FunctionCall("f", (E,), BindRelation((BindScalar(X), BindIgnore())))),
        ("[(f ?e) [[?x ?y] ...]]", [("f", "?e"), [["?x", "?y"], "..."]],
         FunctionCall("f", (E,), BindCollection(BindTuple((BindScalar(X), BindScalar(Y)))))),
        ("(not [?e :a])", ("not", ("?e", "a")), Not((pattern(E, "a"),))),
        (
            "(not [?e :a] [(f ?e)])",
            ["not", ["?e", "a"], [["f", "?e"]]],
            Not((pattern(E, "a"), Predicate("f", (E,)))),
        ),
        ("($b not [?e :a])", ("$b", "not", ("?e", "a")), Not((pattern(E, "a"),), None, Source("$b"))),
        ("(not-join [?e] [?e :a ?z])", ("not-join", ["?e"], ("?e", "a", "?z")),
         Not((pattern(E, "a", Z),), (E,))),
        ("($b not-join [?e] [?e :a])", ("$b", "not-join", ["?e"], ("?e", "a")),
         Not((pattern(E, "a"),), (E,), Source("$b"))),
        (
            "(or [?e :a] (and [?e :b] [?e :c]))",
            ("or", ("?e", "a"), ("and", ("?e", "b"), ("?e", "c"))),
            Or((And((pattern(E, "a"),)), And((pattern(E, "b"), pattern(E, "c"))))),
        ),
        ("($b or [?e :a])", ("$b", "or", ("?e", "a")), Or((And((pattern(E, "a"),)),), None, 0, Source("$b"))),
        ("(or-join [?e] [?e :a ?x] [?e :b])", ("or-join", ["?e"], ("?e", "a", "?x"), ("?e", "b")),
         Or((And((pattern(E, "a", X),)), And((pattern(E, "b"),))), (E,))),
        ("(or-join [[?x ?y] ?e] [?e ?x ?y])", ("or-join", [["?x", "?y"], "?e"], ("?e", "?x", "?y")),
         Or((And((pattern(E, X, Y),)),), (X, Y, E), 2)),
        ("(or-join [[?e]] [?e :a])", ("or-join", [["?e"]], ("?e", "a")),
         Or((And((pattern(E, "a"),)),), (E,), 1)),
        ("(and [?e :a] (and [?e :b]))", ("and", ("?e", "a"), ("and", ("?e", "b"))),
         And((pattern(E, "a"), And((pattern(E, "b"),))))),
        ("(reaches ?x _)", ("reaches", "?x", "_"), RuleCall("reaches", (X, ANY))),
        ('($b reaches ?x "c" 1)', ("$b", "reaches", "?x", "c", 1),
         RuleCall("reaches", (X, Constant("c"), Constant(1)), Source("$b"))),
        (
            "(not (or [?e :a] (not-join [?e] (or [?e :b] [?e :c]))))",
            ("not", ("or", ("?e", "a"), ("not-join", ["?e"], ("or", ("?e", "b"), ("?e", "c"))))),
            Not((
                Or((
                    And((pattern(E, "a"),)),
                    And((Not((Or((And((pattern(E, "b"),)), And((pattern(E, "c"),)))),), (E,)),)),
                )),
            )),
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)  # fmt: skip
def test_clauses(text: str, data: Any, clause: Clause) -> None:
    assert where_of(text) == clause
    assert data is None or where_of_data(data) == clause
    assert hash(where_of(text)) == hash(clause)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ("1", "1.0"),
        ("1", "1M"),
        ("[1]", "[true]"),
        ("{:a 1}", "{:a true}"),
        ("nil", "[]"),
    ],
)
def test_values_of_different_types_make_different_queries(one: str, other: str) -> None:
    """A cache of plans must not give one the plan of the other."""
    assert len({parse_query(f"[:find ?e :where [?e :a {value}]]") for value in (one, other)}) == 2
    assert len({parse_pull(f"[(:a :default {value})]") for value in (one, other)}) == 2


def test_clauses_remember_their_places() -> None:
    query = parse_query("[:find ?e\n :where [?e :a]\n  (not [?e :b ?x])]")
    assert [clause.place for clause in query.where] == [Place(2, 9), Place(3, 3)]


def test_strings_of_data_are_verbatim() -> None:
    clause = where_of_data(("?e", ":name", "(x) [y] :z"))
    assert clause == pattern(E, ":name", "(x) [y] :z")


def test_symbols_that_mean_nothing_there_are_strings_in_data() -> None:
    assert where_of_data(("?e", "$a", "%")) == pattern(E, "$a", "%")
    assert where_of_data([("join", "_", "%", "?x")]) == Predicate("join", (Constant("_"), Constant("%"), X))


def test_enum_members_of_data_are_their_values() -> None:
    class Color(StrEnum):
        RED = "red"

    class Size(Enum):
        BIG = 3

    assert where_of_data(("?e", Color.RED, Size.BIG)) == pattern(E, "red", 3)


def test_written_symbols_and_keywords_are_read_from_data() -> None:
    data = [Keyword("find"), Symbol("?e"), Keyword("where"), [Symbol("?e"), Keyword("type"), "x"]]
    assert parse_query(data) == parse_query('[:find ?e :where [?e :type "x"]]')


# Rule calls in data.


def test_a_rule_call_in_data_starts_with_a_known_name() -> None:
    names = frozenset({"old"})
    assert where_of_data(("old", "?x"), names) == RuleCall("old", (X,))
    assert where_of_data(("old", 3), names) == RuleCall("old", (Constant(3),))
    assert where_of_data(("e1", "?x", "?y"), names) == pattern("e1", X, Y)


def test_without_names_a_rule_call_in_data_has_a_variable_or_a_blank_second() -> None:
    assert where_of_data(("old", "?x")) == RuleCall("old", (X,))
    assert where_of_data(("old", "_")) == RuleCall("old", (ANY,))
    assert where_of_data(("e1", "name", "?x")) == pattern("e1", "name", X)


def test_without_rules_in_in_nothing_in_data_is_a_rule_call() -> None:
    query = parse_query({"find": ["?x"], "where": [("old", "?x")]}, frozenset({"old"}))
    assert query.where == (pattern("old", X),)


# Find.


COUNT = Aggregate("count", (X,))


@pytest.mark.parametrize(
    ("text", "data", "find"),
    [
        ("?e", ["?e"], Find("relation", (E,))),
        ("?e ?x ?e", ("?e", "?x", "?e"), Find("relation", (E, X, E))),
        ("[?x ...]", [["?x", "..."]], Find("collection", (X,))),
        ("[?x]", [["?x"]], Find("tuple", (X,))),
        ("[?x ?y]", [["?x", "?y"]], Find("tuple", (X, Y))),
        ("?x .", ["?x", "."], Find("scalar", (X,))),
        ("(count ?x)", [("count", "?x")], Find("relation", (COUNT,))),
        ("(count ?x)", ["(count ?x)"], Find("relation", (COUNT,))),
        ("?e (count ?x)", ["?e", ["count", "?x"]], Find("relation", (E, COUNT))),
        ("(count ?x) .", [("count", "?x"), "."], Find("scalar", (COUNT,))),
        ("(count ?x) .", ["(count ?x)", "."], Find("scalar", (COUNT,))),
        ("[(count ?x) ...]", [[("count", "?x"), "..."]], Find("collection", (COUNT,))),
        ("[(count ?x) ?y]", [["(count ?x)", "?y"]], Find("tuple", (COUNT, Y))),
        ("(min 3 ?x)", [("min", 3, "?x")], Find("relation", (Aggregate("min", (Constant(3), X)),))),
        ("(min ?y ?x)", [("min", "?y", "?x")], Find("relation", (Aggregate("min", (Y, X)),))),
        ("(?f ?x)", ["(?f ?x)"], Find("relation", (Aggregate(Variable("f"), (X,)),))),
        ("?e (?f ?x)", ["?e", ("?f", "?x")], Find("relation", (E, Aggregate(Variable("f"), (X,))))),
        ("(aggregate ?f ?x)", [("aggregate", "?f", "?x")], Find("relation", (Aggregate(Variable("f"), (X,)),))),
        ("(plain ?x)", [("plain", "?x")], Find("relation", (Aggregate(Variable("plain"), (X,)),))),
        ("(pull ?e [*])", [("pull", "?e", ["*"])], Find("relation", (Pull(E, ALL),))),
        ("(pull ?e [*])", ["(pull ?e [*])"], Find("relation", (Pull(E, ALL),))),
        ("(pull $b ?e [*]) .", [("pull", "$b", "?e", ["*"]), "."], Find("scalar", (Pull(E, ALL, Source("$b")),))),
        ("[(pull ?e [*]) ...]", [[("pull", "?e", ["*"]), "..."]], Find("collection", (Pull(E, ALL),))),
        ("(pull ?e ?x)", [("pull", "?e", "?x")], Find("relation", (Pull(E, X),))),
        ("(pull ?e plain)", [("pull", "?e", "plain")], Find("relation", (Pull(E, Variable("plain")),))),
    ],
    ids=str,
)  # fmt: skip
def test_find(text: str, data: Any, find: Find) -> None:
    assert parse_query(f"[:find {text} :in $ $b ?e ?x ?y ?f plain]").find == find
    inputs = ["$", "$b", "?e", "?x", "?y", "?f", "plain"]
    assert parse_query({"find": data, "in": inputs}).find == find


# Inputs and the other parts.


@pytest.mark.parametrize(
    ("text", "data", "inputs"),
    [
        ("$", ["$"], (Source(),)),
        ("$ $b", ["$", "$b"], (Source(), Source("$b"))),
        ("?x", ["?x"], (BindScalar(X),)),
        ("% ?x $b", ["%", "?x", "$b"], (RulesInput(), BindScalar(X), Source("$b"))),
        ("_ ?x", ["_", "?x"], (BindIgnore(), BindScalar(X))),
        ("[?x ...]", [["?x", "..."]], (BindCollection(BindScalar(X)),)),
        ("[?x _ ?y]", [("?x", "_", "?y")], (BindTuple((BindScalar(X), BindIgnore(), BindScalar(Y))),)),
        ("[[?x _]]", [[["?x", "_"]]], (BindRelation((BindScalar(X), BindIgnore())),)),
        (
            "[[?x [?y ...]] ...]",
            [[["?x", ["?y", "..."]], "..."]],
            (BindCollection(BindTuple((BindScalar(X), BindCollection(BindScalar(Y))))),),
        ),
        ("x", ["x"], (BindScalar(X),)),
    ],
    ids=str,
)
def test_inputs(text: str, data: Any, inputs: Any) -> None:
    found = "?x" if "x" in text else "?e"
    clauses = "" if "x" in text else "[?e :a]"
    assert parse_query(f"[:find {found} :in {text} :where {clauses}]").inputs == inputs
    where = [("?e", "a")] if clauses else []
    assert parse_query({"find": [found], "in": data, "where": where}).inputs == inputs


def test_the_database_is_the_only_input_unless_said_otherwise() -> None:
    assert parse_query("[:find ?e :where [?e :a]]").inputs == (Source(),)


def test_a_plain_input_may_be_called() -> None:
    query = parse_query("[:find ?e :in $ old :where [?e :age ?x] [(old ?x)]]")
    assert query.where[1] == Predicate(Variable("old"), (X,))


@pytest.mark.parametrize(
    ("text", "data", "orders"),
    [
        ("[?x]", ["?x"], (Order(1),)),
        ("[?x ?e]", ["?x", "?e"], (Order(1), Order(0))),
        ("[[?x :desc] ?e]", [["?x", "desc"], "?e"], (Order(1, True), Order(0))),
        ("[[?x :asc]]", [("?x", ":asc")], (Order(1),)),
        ("[?x :desc ?e :asc]", ["?x", ":desc", "?e", "asc"], (Order(1, True), Order(0))),
        ("[1 [0 :desc]]", [1, (0, "desc")], (Order(1), Order(0, True))),
        ("[(count ?y)]", [("count", "?y")], (Order(2),)),
        ("[[(count ?y) :desc] ?e]", [["(count ?y)", "desc"], "?e"], (Order(2, True), Order(0))),
        ("?x [?e :desc]", "?x", None),
        ("[]", [], ()),
    ],
    ids=str,
)
def test_order_by(text: str, data: Any, orders: tuple[Order, ...] | None) -> None:
    clauses = [("?e", "a", "?x"), ("?e", "b", "?y")]
    find = ["?e", "?x", ("count", "?y")]
    in_text = parse_query(f"[:find ?e ?x (count ?y) :where [?e :a ?x] [?e :b ?y] :order-by {text}]")
    in_data = parse_query({"find": find, "where": clauses, "order-by": data})
    if orders is None:
        assert (in_text.order_by, in_data.order_by) == ((Order(1), Order(0, True)), (Order(1),))
    else:
        assert (in_text.order_by, in_data.order_by) == (orders, orders)


@pytest.mark.parametrize("part", ["keys", "strs", "syms"])
def test_keys(part: str) -> None:
    assert parse_query(f"[:find ?e ?x :{part} id the-x :where [?e :a ?x]]").keys == ("id", "the-x")
    data = {"find": [["?e", "?x"]], part: ["id", "the x"], "where": [("?e", "a", "?x")]}
    assert parse_query(data).keys == ("id", "the x")


WHOLE = Query(
    find=Find("relation", (E, Aggregate("sum", (X,)))),
    inputs=(Source(), BindScalar(Y)),
    with_=(Z,),
    where=(pattern(E, "a", X), pattern(E, "b", Z), pattern(E, "c", Y)),
    keys=("e", "total"),
    order_by=(Order(1, True),),
    limit=10,
    offset=20,
)


@pytest.mark.parametrize(
    "source",
    [
        """[:find ?e (sum ?x) :keys e total :in $ ?y :with ?z
            :where [?e :a ?x] [?e :b ?z] [?e :c ?y]
            :order-by [[(sum ?x) :desc]] :limit 10 :offset 20]""",
        """{:limit 10, :offset 20, :order-by [[1 :desc]], :where [[?e :a ?x] [?e :b ?z] [?e :c ?y]],
            :with [?z], :in [$ ?y], :keys [e total], :find [?e (sum ?x)]}""",
        {
            "find": ["?e", ("sum", "?x")],
            "keys": ["e", "total"],
            "in": ["$", "?y"],
            "with": ["?z"],
            "where": [("?e", "a", "?x"), ("?e", "b", "?z"), ("?e", "c", "?y")],
            "order-by": [[("sum", "?x"), "desc"]],
            "limit": 10,
            "offset": 20,
        },
        {
            ":find": ("?e", "(sum ?x)"),
            ":keys": ("e", "total"),
            ":in": ("$", "?y"),
            ":with": ("?z",),
            ":where": (["?e", "a", "?x"], ["?e", "b", "?z"], ["?e", "c", "?y"]),
            ":order-by": [1, ":desc"],
            ":limit": 10,
            ":offset": 20,
        },
        [":find", "?e", ("sum", "?x"), ":keys", "e", "total", ":in", "$", "?y", ":with", "?z", ":where",
         ("?e", "a", "?x"), ("?e", "b", "?z"), ("?e", "c", "?y"),
         ":order-by", [["(sum ?x)", "desc"]], ":limit", 10, ":offset", 20],
    ],
    ids=["vector", "map", "data", "data-with-colons", "data-vector"],
)  # fmt: skip
def test_every_part_of_a_query_on_every_surface(source: Any) -> None:
    assert parse_query(source) == WHOLE
    assert hash(parse_query(source)) == hash(WHOLE)


def test_a_query_stays_what_it_is() -> None:
    assert parse_query(WHOLE) is WHOLE


def test_an_object_with_edn_is_its_text() -> None:
    assert parse_query(SimpleNamespace(edn="[:find ?e :where [?e :a]]")).where == (pattern(E, "a"),)


def test_the_same_text_is_parsed_once() -> None:
    text = "[:find ?e :where [?e :parsed-once]]"
    assert parse_query(text) is parse_query(text)
    rules = "[[(parsed-once ?e) [?e :a]]]"
    assert parse_rules(rules)[0] is parse_rules(rules)[0]
    assert parse_pull("[:parsed-once]") is parse_pull("[:parsed-once]")


def test_long_text_is_not_kept() -> None:
    text = f'[:find ?e :where [?e :a "{"x" * 20_000}"]]'
    assert parse_query(text) == parse_query(text)
    assert parse_query(text) is not parse_query(text)


# What is no query.


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("hello", (1, 1), "expected a query such as [:find ?e :where [?e :type _]], got hello"),
        ("(:find ?e)", (1, 1), "expected a query"),
        ("[]", (1, 1), "expected a query with :find, got []"),
        ("[:where [?e :a]]", (1, 1), "expected a query with :find"),
        ("[?e :where [?e :a]]", (1, 2), "expected :find first, got ?e"),
        ("[:find ?e :were [?e :a]]", (1, 11), "expected one of :find, :in, :with, :where, :keys"),
        ("[:find ?e :where [?e :a] :find ?x]", (1, 26), "expected :find once, got a second :find"),
        ('{"find" [?e]}', (1, 2), 'expected one of :find, :in, :with, :where, :keys'),
        ("{:find ?e}", (1, 8), "expected brackets [...] after :find, got ?e"),
        ("{:find [?e] :where (not [?e :a])}", (1, 20), "expected brackets [...] after :where"),
        # find
        ("[:find :where [?e :a]]", (1, 2), "expected something to find"),
        ("[:find [] :where [?e :a]]", (1, 8), "expected something to find"),
        ("[:find e :where [?e :a]]", (1, 8), "expected a variable, an aggregate such as (count ?x), or (pull"),
        ("[:find ? :where [?e :a]]", (1, 8), "expected a variable such as ?x, got ?"),
        ("[:find $e :where [?e :a]]", (1, 8), "expected a variable, an aggregate"),
        ("[:find _ :where [?e :a]]", (1, 8), "expected a variable, an aggregate"),
        ("[:find 5 :where [?e :a]]", (1, 8), "got 5, in :find"),
        ("[:find ?e . ?e :where [?e :a]]", (1, 11), "got ., in :find"),
        ("[:find ?e ... :where [?e :a]]", (1, 11), "got ..., in :find"),
        ("[:find ?e [?x ...] :where [?e :a ?x]]", (1, 11), "got [?x ...], in :find"),
        ("[:find () :where [?e :a]]", (1, 8), "got (), in :find"),
        ("[:find (count) :where [?e :a]]", (1, 8), "expected an aggregate whose last argument is a variable"),
        ("[:find (count 1) :where [?e :a]]", (1, 8), "expected an aggregate whose last argument is a variable"),
        ("[:find (count $ ?e) :where [?e :a]]", (1, 8), "expected an aggregate"),
        ("[:find (count _) :where [?e :a]]", (1, 15), "got _, in :find"),
        ("[:find (count (count ?e)) :where [?e :a]]", (1, 15), "got (count ?e), in :find"),
        ("[:find (3 ?e) :where [?e :a]]", (1, 9), "expected the name of a function"),
        ("[:find (aggregate count ?e) :where [?e :a]]", (1, 8), "expected a variable after aggregate"),
        ("[:find (?f ?e) :where [?e :a ?f]]", (1, 9), "expected a variable given in :in, got ?f"),
        ("[:find (pull ?e) :where [?e :a]]", (1, 8), "expected a variable and a pattern"),
        ("[:find (pull ?e [*] 1) :where [?e :a]]", (1, 8), "expected a variable and a pattern"),
        ("[:find (pull 1 [*]) :where [?e :a]]", (1, 14), "expected a variable such as ?x, got 1"),
        ("[:find (pull ?e :a) :where [?e :a]]", (1, 17), "expected attributes in brackets"),
        ("[:find (pull ?e ?p) :where [?e :a ?p]]", (1, 17), "expected a variable given in :in, got ?p"),
        ("[:find (pull $b ?e [*]) :where [?e :a]]", (1, 14), "expected a source of :in ($), got $b"),
        ("[:find ?e ?q :where [?e :a]]", (1, 11), "expected a variable bound in :where or :in, got ?q"),
        ("[:find (sum ?q) :where [?e :a]]", (1, 13), "expected a variable bound in :where or :in, got ?q"),
        ("[:find (pull ?q [*]) :where [?e :a]]", (1, 14), "expected a variable bound in :where or :in, got ?q"),
        ("[:find ?x :where [?e :a] (not-join [?e] [?e :b ?x])]", (1, 8), "got ?x, in :find"),
        # with, keys, order, limit
        ("[:find ?e :with ?q :where [?e :a]]", (1, 17), "bound in :where or :in, got ?q, in :with"),
        ("[:find ?e :with x :where [?e :a]]", (1, 17), "expected a variable such as ?x, got x, in :with"),
        ("[:find ?e :with ?e :where [?e :a]]", (1, 17), "expected other variables in :with than in :find"),
        ("[:find ?e :with ?x ?x :where [?e :a ?x]]", (1, 20), "expected different variables, got a second ?x"),
        ("[:find ?e ?x :keys a :where [?e :a ?x]]", (1, 14), "expected as many names as :find has elements, 2"),
        ("[:find ?e ?x :strs a a :where [?e :a ?x]]", (1, 22), "expected different names, got a, in :strs"),
        ("[:find ?e :keys 1 :where [?e :a]]", (1, 17), "expected different names, got 1, in :keys"),
        ("[:find ?e . :keys a :where [?e :a]]", (1, 13), "expected no :keys for a find scalar"),
        ("[:find [?e ...] :syms a :where [?e :a]]", (1, 17), "expected no :syms for a find collection"),
        ("[:find ?e :keys a :strs a :where [?e :a]]", (1, 19), "expected only one of :keys, :strs and :syms"),
        ("[:find ?e :where [?e :a ?x] :order-by [?x]]", (1, 40), "expected what :find has"),
        ("[:find ?e :where [?e :a ?x] :order-by [1]]", (1, 40), "got 1, in :order-by"),
        ("[:find ?e :where [?e :a ?x] :order-by [-1]]", (1, 40), "got -1, in :order-by"),
        ("[:find ?e :where [?e :a ?x] :order-by [true]]", (1, 40), "got true, in :order-by"),
        ("[:find ?e :where [?e :a] :order-by [[?e :up]]]", (1, 37), "got [?e :up], in :order-by"),
        ("[:find ?e :where [?e :a] :order-by [:desc]]", (1, 37), "got :desc, in :order-by"),
        ("[:find ?e :where [?e :a] :order-by [[?e :desc] :desc]]", (1, 48), "got :desc, in :order-by"),
        ("[:find ?e :where [?e :a] :limit -1]", (1, 33), "expected a number, 0 or more, got -1, in :limit"),
        ("[:find ?e :where [?e :a] :limit 1.0]", (1, 33), "got 1.0, in :limit"),
        ("[:find ?e :where [?e :a] :limit true]", (1, 33), "got true, in :limit"),
        ("[:find ?e :where [?e :a] :limit]", (1, 26), "got nothing, in :limit"),
        ("[:find ?e :where [?e :a] :offset 1 2]", (1, 34), "got 1 2, in :offset"),
        ("{:find [?e] :where [[?e :a]] :limit [1]}", (1, 37), "got [1], in :limit"),
        # in
        ("[:find ?e :in $ $ :where [?e :a]]", (1, 17), "expected different names, got a second $, in :in"),
        ("[:find ?x :in $ ?x [?x ...]]", (1, 21), "expected different names, got a second ?x, in :in"),
        ("[:find ?x :in [?x ?x]]", (1, 19), "expected different names, got a second ?x, in :in"),
        ("[:find ?x :in % % ?x]", (1, 17), "expected different names, got a second %, in :in"),
        ("[:find ?x :in x ?x]", (1, 17), "got a second ?x, in :in"),
        ("[:find ?e :in $ 5 :where [?e :a]]", (1, 17), "expected a binding such as ?x, _, [?x ?y]"),
        ("[:find ?e :in $ [] :where [?e :a]]", (1, 17), "expected at least one variable or _"),
        ("[:find ?e :in $ [[]] :where [?e :a]]", (1, 18), "expected at least one variable or _"),
        ("[:find ?e :in $ [[?x ...]] :where [?e :a]]", (1, 22), "expected a binding"),
        ("[:find ?e :in $ [... ?x] :where [?e :a]]", (1, 18), "expected a binding"),
        ("[:find ?e :in $ ... :where [?e :a]]", (1, 17), "expected a binding"),
        ("[:find ?e :in $ (?x) :where [?e :a]]", (1, 17), "expected a binding"),
        # where
        ("[:find ?e :where []]", (1, 18), "expected a clause such as [?e :name ?v], [(< ?a ?b)] or (not"),
        ("[:find ?e :where ()]", (1, 18), "expected a clause"),
        ("[:find ?e :where ?e]", (1, 18), "expected a clause"),
        ("[:find ?e :where {:a 1}]", (1, 18), "expected a clause"),
        ("[:find ?e :where [$]]", (1, 18), "expected a clause that goes on after $"),
        ("[:find ?e :where [?e type]]", (1, 22), 'expected a variable, _ or a constant (:type or "type" is one)'),
        ("[:find ?e :where [?e :a $x]]", (1, 25), "got $x, in :where"),
        ("[:find ?e :where [?e :a ?]]", (1, 25), "expected a variable such as ?x, got ?"),
        ("[:find ?e :where [old ?e]]", (1, 19), "(a rule call is (old ...)), got old, in the clause [old ?e]"),
        ("[:find ?e :where [not [?e :a]]]", (1, 19), "(a rule call is (not ...))"),
        ("[:find ?e :where [?e :a [1 ?x]]]", (1, 28), "expected a value, got ?x"),
        ("[:find ?e :where [?e :a (inc 1)]]", (1, 25), "expected a constant, or a variable that a clause of its"),
        ("[:find ?e :where [?e :a {1 2}]]", (1, 25), "expected a value a document can hold, got {1 2}"),
        ("[:find ?e :where (?e :a 1)]", (1, 19), "first (a pattern is [...]), got ?e, in the clause (?e :a 1)"),
        ("[:find ?e :where (:a ?e)]", (1, 19), "first (a pattern is [...]), got :a"),
        ("[:find ?e :in % :where ([?e] 1)]", (1, 25), "first (a pattern is [...]), got [?e]"),
        ("[:find ?e :in % :where (old)]", (1, 24), "expected at least one argument of the rule, got (old)"),
        ("[:find ?e :in % :where (old e)]", (1, 29), 'got e, in the call of old in :where'),
        ("[:find ?e :where (< ?e 1)]", (1, 18), "expected % in :in for the rules (a predicate has brackets"),
        ("[:find ?e :where (not (old ?e))]", (1, 23), "expected % in :in for the rules"),
        ("[:find ?e :where [$b ?e :a]]", (1, 19), "expected a source of :in ($), got $b"),
        ("[:find ?e :in $a $b :where [?e :a]]", (1, 28), "expected a source of :in ($a, $b), got $"),
        ("[:find ?e :in ?e :where [?e :a]]", (1, 25), "expected a source of :in (there is none), got $"),
        ("[:find ?e :where [?e :a] ($b not [$ ?e :b])]", (1, 27), "got $b"),
        ("[:find ?e :in $b :where ($b not [$c ?e :b])]", (1, 34), "got $c"),
        ("[:find ?e :in $ % :where ($c old ?e)]", (1, 27), "got $c"),
        ("[:find ?e :where [?e :a] [(missing? $c ?e :b)]]", (1, 37), "got $c"),
        ("[:find ?e :where [()]]", (1, 18), "expected a clause such as [(< ?a ?b)] or [(+ ?a 1) ?b], got [()]"),
        ("[:find ?e :where [(f ?e) ?x ?y]]", (1, 18), "expected a clause such as [(< ?a ?b)]"),
        ("[:find ?e :where [(5 ?e)]]", (1, 20), "expected the name of a function, or a variable bound to a call"),
        ("[:find ?e :where [(\"f\" ?e)]]", (1, 20), "expected the name of a function"),
        ("[:find ?e :where [(_ ?e)]]", (1, 20), "expected the name of a function"),
        ("[:find ?e :where [($ ?e)]]", (1, 20), "expected the name of a function"),
        ("[:find ?e :where [?e :a ?f] [(?f ?e)]]", (1, 31), "expected a variable given in :in to be called, got ?f"),
        ("[:find ?e :where [(< _ ?e)]]", (1, 22), "expected a variable, a source or a constant, got _"),
        ("[:find ?e :where [(< x ?e)]]", (1, 22), "got x, in the call of < in :where"),
        ("[:find ?e :where [(+ (inc ?e) 1) ?x]]", (1, 22), "got (inc ?e), in the call of + in :where"),
        ("[:find ?e :where [(f ?e) 5]]", (1, 26), "expected a binding"),
        ("[:find ?e :where [(f ?e) []]]", (1, 26), "expected at least one variable or _"),
        ("[:find ?e :where [?e :a] (not)]", (1, 26), "expected at least one clause inside, got (not)"),
        ("[:find ?e :where [?e :a] (not [_ :b])]", (1, 26), "expected a variable inside not, in common with"),
        ("[:find ?e :where [?e :a] (not-join)]", (1, 26), "expected variables such as [?x ?y] after not-join"),
        ("[:find ?e :where [?e :a] (not-join [] [?e :b])]", (1, 26), "expected variables such as [?x ?y] after"),
        ("[:find ?e :where [?e :a] (not-join [?e])]", (1, 26), "expected at least one clause inside"),
        ("[:find ?e :where [?e :a] (not-join [?e ?e] [?e :b])]", (1, 40), "got a second ?e, in not-join"),
        ("[:find ?e :where [?e :a] (not-join [e] [?e :b])]", (1, 37), "expected a variable such as ?x, got e"),
        ("[:find ?e :where [?e :a] (or)]", (1, 26), "expected at least one clause inside, got (or)"),
        ("[:find ?e :where [?e :a] (or [_ :a])]", (1, 26), "expected a variable inside or"),
        ("[:find ?e :where (or [?e :a] ?e)]", (1, 30), "expected a clause"),
        ("[:find ?e :where (or-join [?e])]", (1, 18), "expected at least one clause inside"),
        ("[:find ?e :where (or-join ?e [?e :a])]", (1, 18), "expected variables such as [?x ?y] or [[?required]"),
        ("[:find ?e :where (or-join [] [?e :a])]", (1, 27), "expected at least one variable"),
        ("[:find ?e :where (or-join [[]] [?e :a])]", (1, 27), "expected at least one variable"),
        ("[:find ?e :where (or-join [[?e] ?e] [?e :a])]", (1, 33), "got a second ?e, in or-join of :where"),
        ("[:find ?e :where (and)]", (1, 18), "expected at least one clause inside"),
        ("[:find ?e :where ($ and [?e :a])]", (1, 18), "expected no source before and"),
        ("[:find ?e\n  :where [?e :a]\n  (not\n   (or [?e b]))]", (4, 12), "got b, in :where"),
    ],
)  # fmt: skip
def test_text_that_is_no_query_is_refused_with_its_place(text: str, place: Any, words: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse_query(text)
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == (place or (None, None))  # type: ignore[attr-defined]
    assert not place or str(caught.value).endswith(f"line {place[0]}, column {place[1]}")


def query_data(**parts: Any) -> dict[str, Any]:
    return {"find": ["?e"], "where": [("?e", "a")], **parts}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (42, "expected a query such as [:find ?e :where [?e :type _]], got 42, in a query"),
        (None, "expected a query"),
        ({}, "expected a query with :find, got {}"),
        ([], "expected a query with :find"),
        ({1: ["?e"]}, "expected one of :find"),
        (query_data(were=[]), "expected one of :find, :in, :with, :where, :keys, :strs, :syms, :order-by, :limit"),
        ({"find": ["?e"], ":find": ["?e"]}, "expected :find once, got a second ':find'"),
        (["find", "?e"], "expected :find first, got 'find'"),
        (query_data(find="?e"), "expected brackets [...] after 'find', got '?e'"),
        (query_data(find=["e"]), "expected a variable, an aggregate such as (count ?x), or (pull ?e [*]), got 'e'"),
        (query_data(find=["(count ?e"]), "expected ) to close the ("),
        (query_data(find=["(f ?e) ?x"]), "expected one form and the end of the text"),
        (query_data(find=[print]), "expected a variable, an aggregate"),
        (query_data(find=[(print, "?e"), "?e"]), "expected the name of a function, or a variable bound to a call"),
        (query_data(where=[]), "expected a variable bound in :where or :in, got ?e"),
        (query_data(where=[("?e", "a", print)]), "(a callable is passed through :in), got <built-in function print>"),
        (query_data(where=[[(print, "?e")]]), "expected the name of a function, or a variable bound to a callable"),
        (query_data(where=[("?e", "a", object)]), "expected a value a document can hold"),
        (query_data(where=[("?e", "a", 1j)]), "expected a value a document can hold, got 1j, in :where"),
        (query_data(where=[("?e", "a", ["?x"])]), "expected a constant without variables, such as '?x', got ['?x']"),
        (query_data(where=[("?e", "a", {"k": ("?x",)})]), "expected a constant without variables"),
        (query_data(where=[("?e", "a", "?")]), "expected a variable such as ?x, got '?'"),
        (query_data(where=[("?e", "a", 10**5000)], limit=-1), "expected a number, 0 or more, got -1"),
        (query_data(where=[("?e", "a", [1j, 10**5000])]), "expected a value a document can hold"),
        (query_data(where=["?e"]), "expected a clause such as"),
        (query_data(where=[{"?e": "a"}]), "expected a clause such as"),
        (query_data(where=[("not",)]), "expected at least one clause inside, got ('not',)"),
        (query_data(**{"in": ["$", "%"]}, where=[("old",)]), "expected at least one argument of the rule"),
        (query_data(where=[[("f", "?e"), "?x", "?y"]]), "expected a clause such as [(< ?a ?b)]"),
        (query_data(where=[[("?f", "?e")]]), "expected a variable given in :in to be called, got ?f"),
        (query_data(limit=True), "expected a number, 0 or more, got True, in :limit"),
        (query_data(limit=None), "expected a number, 0 or more, got None, in :limit"),
        (query_data(keys=["a", "b"]), "expected as many names as :find has elements, 1, got 2, in :keys"),
        (query_data(**{"order-by": ["?x"]}), "expected what :find has"),
        (query_data(**{"in": ["$", 5]}), "expected a binding such as"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "data",
)
def test_data_that_is_no_query_is_refused(data: Any, words: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse_query(data)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 500


# Rules.


def rule(name: str, parameters: tuple[Variable, ...], *clauses: Clause, required: int = 0) -> Rule:
    return Rule(name, parameters, required, clauses)


ANCESTOR = (
    rule("ancestor", (X, Y), pattern(X, "parent", Y)),
    rule("ancestor", (X, Y), pattern(X, "parent", Z), RuleCall("ancestor", (Z, Y))),
)
ANCESTOR_TEXT = """
[[(ancestor ?x ?y) [?x :parent ?y]]
 [(ancestor ?x ?y) [?x :parent ?z] (ancestor ?z ?y)]]"""
ANCESTOR_DATA = [
    [("ancestor", "?x", "?y"), ("?x", "parent", "?y")],
    [("ancestor", "?x", "?y"), ("?x", "parent", "?z"), ("ancestor", "?z", "?y")],
]
OLD = rule("old", (X,), pattern(X, "age", Y), Predicate("<", (Constant(60), Y)))
OLD_TEXT = "[[(old ?x) [?x :age ?y] [(< 60 ?y)]]]"


@pytest.mark.parametrize(
    ("source", "rules"),
    [
        (ANCESTOR_TEXT, ANCESTOR),
        (ANCESTOR_DATA, ANCESTOR),
        (tuple(map(tuple, ANCESTOR_DATA)), ANCESTOR),
        (ANCESTOR, ANCESTOR),
        (ANCESTOR[0], ANCESTOR[:1]),
        (ANCESTOR_DATA[0], ANCESTOR[:1]),
        (SimpleNamespace(edn=ANCESTOR_TEXT, rules=()), ANCESTOR),
        (SimpleNamespace(rules=ANCESTOR), ANCESTOR),
        (SimpleNamespace(rules=ANCESTOR_DATA), ANCESTOR),
        ([ANCESTOR_TEXT, OLD_TEXT], (*ANCESTOR, OLD)),
        ([SimpleNamespace(edn=OLD_TEXT), *ANCESTOR_DATA], (OLD, *ANCESTOR)),
        ([ANCESTOR_DATA, SimpleNamespace(rules=[OLD])], (OLD, *ANCESTOR)),
        ("[]", ()),
        ([], ()),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_rules_from_every_source(source: Any, rules: tuple[Rule, ...]) -> None:
    assert parse_rules(source) == rules


def test_required_parameters_stand_first() -> None:
    text = "[[(between [?x ?y] ?z) [?z :from ?x] [?z :to ?y]]]"
    data = [[("between", ["?x", "?y"], "?z"), ("?z", "from", "?x"), ("?z", "to", "?y")]]
    (expected,) = (rule("between", (X, Y, Z), pattern(Z, "from", X), pattern(Z, "to", Y), required=2),)
    assert parse_rules(text) == parse_rules(data) == (expected,)
    assert parse_rules("[[(r [?x]) [?x :a]]]") == (rule("r", (X,), pattern(X, "a"), required=1),)


def test_data_rules_may_call_rules_of_the_text_beside_them() -> None:
    data = [[("oldest", "?x"), ("old", "?x"), ("e1", "?x", "?x")]]
    rules = parse_rules([OLD_TEXT, data])
    assert rules[1] == rule("oldest", (X,), RuleCall("old", (X,)), pattern("e1", X, X))


def test_rules_may_call_what_they_are_given() -> None:
    """Which parameter is bound is for the planner, and so is a parameter that the body does not mention."""
    text = "[[(picked ?f ?x ?y) [?x :a ?v] [(?f ?v)]]]"
    clauses = (pattern(X, "a", Variable("v")), Predicate(Variable("f"), (Variable("v"),)))
    assert parse_rules(text) == (rule("picked", (Variable("f"), X, Y), *clauses),)


@pytest.mark.parametrize(
    ("source", "place", "words"),
    [
        ("old", (1, 1), "expected a vector of rules such as [[(name ?x) [?x :type ?y]]], got old"),
        ("{}", (1, 1), "expected a vector of rules"),
        ("[(old ?x) [?x :a]]", (1, 2), "expected a rule such as [(name ?x) [?x :type ?y]], got (old ?x)"),
        ("[[]]", (1, 2), "expected a rule such as"),
        ("[[()]]", (1, 2), "expected a rule such as"),
        ("[[[old ?x] [?x :a]]]", (1, 2), "expected a rule such as"),
        ("[[(old ?x)]]", (1, 2), "expected at least one clause after the head, got [(old ?x)], in rule old"),
        ("[[(old) [?x :a]]]", (1, 3), "expected at least one variable, got (old), in the head of rule old"),
        ("[[(old []) [?x :a]]]", (1, 3), "expected at least one variable, got (old [])"),
        ("[[(old 5) [?x :a]]]", (1, 8), "expected a variable such as ?x, got 5, in the head of rule old"),
        ("[[(old _) [?x :a]]]", (1, 8), "expected a variable such as ?x, got _"),
        ("[[(old ?x [?y]) [?x :a ?y]]]", (1, 11), "expected a variable such as ?x, got [?y]"),
        ("[[(old ?x ?x) [?x :a]]]", (1, 11), "expected different variables, got a second ?x"),
        ("[[(old [?x] ?x) [?x :a]]]", (1, 13), "expected different variables, got a second ?x"),
        ("[[(?old ?x) [?x :a]]]", (1, 4), "expected the name of a rule, got ?old"),
        ("[[(not ?x) [?x :a]]]", (1, 4), "expected the name of a rule, got not"),
        ("[[(:old ?x) [?x :a]]]", (1, 4), "expected the name of a rule, got :old"),
        ("[[(old ?x) ?x]]", (1, 12), "expected a clause such as"),
        ("[[(old ?x) [?x b]]]", (1, 16), "got b, in rule old"),
        (
            "[[(r ?x) [?x :a]]\n [(r ?x ?y) [?x :a ?y]]]",
            (2, 2),
            "expected the parameters (r ?x) in every rule r, got (r ?x ?y), in rules",
        ),
        (
            "[[(r ?x ?y) [?x :a ?y]] [(r [?x] ?y) [?x :a ?y]]]",
            (1, 25),
            "expected the parameters (r ?x ?y) in every rule r, got (r [?x] ?y)",
        ),
        (42, None, "expected rules as EDN text or as data such as"),
        (None, None, "expected rules as EDN text"),
        ({"old": 1}, None, "expected rules as EDN text"),
        ([42], None, "expected rules as EDN text"),
        ([[42]], None, "expected a rule such as"),
        (["hello"], (1, 1), "expected a vector of rules"),
        ([[("old", "?x"), ("?x", "a")], [("old", "?x", "?y"), ("?x", "a", "?y")]], None, "in every rule old"),
        ([OLD_TEXT, "[[(old ?x ?y) [?x :a ?y]]]"], (1, 2), "in every rule old"),
        ([[("old", "?x"), ("?x", "a", print)]], None, "(a callable is passed through :in)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_are_no_rules_is_refused(source: Any, place: Any, words: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse_rules(source)
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == (place or (None, None))  # type: ignore[attr-defined]


# Pull patterns.


def attributes(*given: PullAttribute) -> PullPattern:
    return PullPattern(False, given)


A = PullAttribute("a")


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        ("[*]", ["*"], ALL),
        ('["*"]', ("*",), ALL),
        ("[:*]", None, ALL),
        ("[:a * :b]", ["a", "*", "b"], PullPattern(True, (A, PullAttribute("b")))),
        ('["first name"]', ["first name"], attributes(PullAttribute("first name"))),
        ("[:db/id :value.type]", ["db/id", "value.type"],
         attributes(PullAttribute("db/id"), PullAttribute("value.type"))),
        ("[:_a]", ["_a"], attributes(PullAttribute("a", reverse=True))),
        ("[:ns/_a]", ["ns/_a"], attributes(PullAttribute("ns/a", reverse=True))),
        ("[:_]", ["_"], attributes(PullAttribute("_"))),
        ("[{:a [:b]}]", [{"a": ["b"]}], attributes(PullAttribute("a", pattern=attributes(PullAttribute("b"))))),
        ("[{:a [*] :_b 2}]", [{"a": ["*"], "_b": 2}],
         attributes(PullAttribute("a", pattern=ALL), PullAttribute("b", reverse=True, recursion=2))),
        ("[{:a ...}]", [{"a": "..."}], attributes(PullAttribute("a", recursion=0))),
        ('[{:a "..."}]', None, attributes(PullAttribute("a", recursion=0))),
        ("[{:a 3}]", [{"a": 3}], attributes(PullAttribute("a", recursion=3))),
        ('[(:a :as "x")]', [("a", ":as", "x")], attributes(PullAttribute("a", alias="x"))),
        ("[[:a :as :x]]", [["a", "as", "x"]], attributes(PullAttribute("a", alias="x"))),
        ("[(:a :limit 3)]", [("a", "limit", 3)], attributes(PullAttribute("a", limit=3))),
        ("[(:a :limit nil)]", [("a", "limit", None)], attributes(A)),
        ("[(:a :default 0)]", [("a", "default", 0)], attributes(PullAttribute("a", default=0, has_default=True))),
        ("[(:a :default nil)]", [("a", "default", None)], attributes(PullAttribute("a", has_default=True))),
        ("[(:a :default [:x {:y 1}])]", [("a", "default", ["x", {"y": 1}])],
         attributes(PullAttribute("a", default=["x", {"y": 1}], has_default=True))),
        ('[(:a :default "?")]', [("a", "default", "?")],
         attributes(PullAttribute("a", default="?", has_default=True))),
        ('[(:_a :limit 2 :as "x" :default false)]', [("_a", ":limit", 2, ":as", "x", ":default", False)],
         attributes(PullAttribute("a", True, "x", 2, False, True))),
        ("[(limit :a 3)]", None, attributes(PullAttribute("a", limit=3))),
        ("[[limit :a 3]]", None, attributes(PullAttribute("a", limit=3))),
        ('[(default :a "x")]', None, attributes(PullAttribute("a", default="x", has_default=True))),
        ("[(:limit :limit 3)]", [("limit", "limit", 3)], attributes(PullAttribute("limit", limit=3))),
        ("[{(:a :limit 3) [:b]}]", [{("a", "limit", 3): ["b"]}],
         attributes(PullAttribute("a", limit=3, pattern=attributes(PullAttribute("b"))))),
        ('[{[:a :as "x"] ...}]', [{("a", "as", "x"): "..."}],
         attributes(PullAttribute("a", alias="x", recursion=0))),
        ("[{(limit :_a 3) 2}]", None, attributes(PullAttribute("a", True, limit=3, recursion=2))),
        ("[:a {:b [{:c [*]}]}]", ["a", {"b": [{"c": ["*"]}]}],
         attributes(A, PullAttribute("b", pattern=attributes(PullAttribute("c", pattern=ALL))))),
    ],
    ids=str,
)  # fmt: skip
def test_pull_patterns(text: str, data: Any, expected: PullPattern) -> None:
    assert parse_pull(text) == expected
    assert data is None or parse_pull(data) == expected
    assert parse_query(f"[:find (pull ?e {text}) :where [?e :a]]").find.elements == (Pull(E, expected),)
    assert hash(parse_pull(text)) == hash(expected)


def test_a_pull_pattern_stays_what_it_is() -> None:
    assert parse_pull(ALL) is ALL


@pytest.mark.parametrize(
    ("source", "place", "words"),
    [
        ("*", (1, 1), "expected attributes in brackets such as [*] or [:name {:child [:name]}], got *"),
        ("[]", (1, 1), "expected attributes in brackets"),
        ("[a]", (1, 2), "expected an attribute such as :name, *, a map such as"),
        ("[?a]", (1, 2), "expected an attribute"),
        ("[5]", (1, 2), "expected an attribute"),
        ('[""]', (1, 2), "expected an attribute"),
        ("[{}]", (1, 2), "expected a map such as {:child [:name]}, got {}"),
        ("[{:a 0}]", (1, 6), "expected a pattern, ... or a depth above 0 for :a, got 0"),
        ("[{:a -1}]", (1, 6), "got -1"),
        ("[{:a true}]", (1, 6), "got true"),
        ("[{:a 1.0}]", (1, 6), "got 1.0"),
        ("[{:a :b}]", (1, 6), "got :b"),
        ("[{:a []}]", (1, 6), "expected attributes in brackets"),
        ("[{5 [*]}]", (1, 3), "expected an attribute"),
        ("[{{:a [*]} [*]}]", (1, 3), "expected an attribute"),
        ("[(:a)]", (1, 2), "expected an attribute and its options, such as (:name :limit 3), got (:a)"),
        ("[()]", (1, 2), "expected an attribute and its options"),
        ("[(:a :limit)]", (1, 2), "expected an attribute and its options"),
        ("[(:a :limit 0)]", (1, 13), "expected a number above 0, or nil, after :limit, got 0"),
        ("[(:a :limit true)]", (1, 13), "got true"),
        ("[(:a :limit :b)]", (1, 13), "got :b"),
        ("[(:a :xform inc)]", (1, 6), "expected one of :as, :limit, :default, once, got :xform"),
        ("[(:a :limit 1 :limit 2)]", (1, 15), "expected one of :as, :limit, :default, once, got :limit"),
        ("[(:a as 1)]", (1, 6), "expected one of :as"),
        ("[(:a :as 1)]", (1, 10), "expected a string or a keyword after :as, got 1"),
        ("[(:a :default ?x)]", (1, 15), "expected a value, got ?x"),
        ("[((:a :limit 1) :as :b)]", (1, 3), "expected an attribute such as :name, got (:a :limit 1)"),
        ("[(limit (default :a 1) 2)]", (1, 9), "expected an attribute such as :name"),
        (42, None, "expected attributes in brackets"),
        (None, None, "expected attributes in brackets"),
        ([], None, "expected attributes in brackets"),
        ({"a": ["*"]}, None, "expected attributes in brackets"),
        ([print], None, "expected an attribute"),
        ([("a", "default", print)], None, "(a callable is passed through :in)"),
        ([("limit", "a", 3)], None, "expected one of :as, :limit, :default, once, got 'a'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_pull_pattern_is_refused(source: Any, place: Any, words: str) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse_pull(source)
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.column) == (place or (None, None))  # type: ignore[attr-defined]


# Hostile input.


def nested(opening: str, inside: str, closing: str, levels: int) -> str:
    return opening * levels + inside + closing * levels


def test_clauses_nest_as_deep_as_said_and_no_deeper() -> None:
    text = "[:find ?e :where [?e :a] {}]"
    assert hash(parse_query(text.replace("{}", nested("(not ", "[?e :b]", ")", MAX_DEPTH))))
    with pytest.raises(QuerySyntaxError, match="at most 50 nested levels"):
        parse_query(text.replace("{}", nested("(not ", "[?e :b]", ")", MAX_DEPTH + 1)))


@pytest.mark.parametrize(
    "text",
    [
        "[:find ?e :where [?e :a] " + nested("(and ", "[?e :b]", ")", 150) + "]",
        "[:find ?e :where [?e :a] " + nested("(or [?e :a] (and ", "[?e :b]", "))", 90) + "]",
        "[:find ?x :in " + nested("[", "?x", "]", 190) + "]",
        "[:find ?x :in " + nested("[", "?x", " ...]", 190) + "]",
        "[:find " + nested("(f ", "?x", ")", 190) + " :in ?x]",
        "[:find (pull ?e " + nested("[{:a ", "[*]", "}]", 90) + ") :where [?e :a]]",
        "[:find ?e :where [?e :a " + nested("[", "?x", "]", 190) + "]]",
        "[:find ?e :where [?e :a] :order-by " + nested("[", "?e", "]", 190) + "]",
        "[" * 100_000,
        "[:find ?e :where " + "[?e :a" * 100_000,
        '[:find ?e :where [?e :a "' + "x" * 900_000,
        "\0" * 900_000,
        "[:find ?e :where [" + "?e" * 400_000 + " b]]",
        "[:find ?e :with " + " ".join(f"?v{number}" for number in range(8_000)) + " :where [?e :a]]",
        "[:find ?e :keys " + " ".join(f"k{number}" for number in range(8_000)) + " :where [?e :a]]",
        "[:find ?e :in " + " ".join(f"$s{number}" for number in range(8_000)) + " :where [?e :a]]",
        "[:find ?e :where [?e :a] :order-by [" + "?e :desc " * 8_000 + "?x]]",
        "[:find ?e :where (or-join [?e ?e] " + "[?e :a] " * 5_000 + ")]",
    ],
    ids=lambda text: f"{text[:30]!r}-{len(text)}",
)
def test_hostile_text_is_refused_soon_and_briefly(text: str) -> None:
    start = time.process_time()
    with pytest.raises(QuerySyntaxError) as caught:
        parse_query(text)
    assert time.process_time() - start < 5
    assert len(str(caught.value)) < 700


def endless() -> list[Any]:
    data: list[Any] = []
    data.append(data)
    return data


def deep(levels: int) -> Any:
    data: Any = ("?e", "b")
    for _ in range(levels):
        data = ("not", data)
    return data


@pytest.mark.parametrize(
    "data",
    [
        query_data(where=endless()),
        query_data(where=[deep(100_000)]),
        query_data(where=[("?e", "a", endless())]),
        query_data(where=[("?e", "a", deep(100_000)[1])]),
        query_data(**{"in": endless()}),
        query_data(find=endless()),
        query_data(**{"order-by": endless()}),
        endless(),
    ],
    ids=["where", "deep", "constant", "deep constant", "in", "find", "order-by", "itself"],
)
def test_data_nested_without_end_is_refused(data: Any) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        parse_query(data)
    assert len(str(caught.value)) < 700
    with pytest.raises(QuerySyntaxError):
        parse_pull(data)


def test_a_nearly_full_stack_is_a_syntax_error_and_not_a_recursion_error() -> None:
    text = "[:find ?e :where [?e :a] " + nested("(not ", "[?e :b]", ")", MAX_DEPTH) + "]"
    parse_query("[:find ?e :where [?e :a]]")  # the parser is built

    def at_depth(levels: int) -> Query:
        return at_depth(levels - 1) if levels else parse_query(text + " " * 20_000)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    try:
        with pytest.raises(QuerySyntaxError, match="less nesting on a nearly full stack"):
            at_depth(800)
    finally:
        sys.setrecursionlimit(limit)


TOKENS = st.sampled_from(
    [":find", ":in", ":with", ":where", ":keys", ":order-by", ":limit", ":a", "?e", "?x", "_", "$", "$b", "%", ".",
     "...", "*", "not", "or", "and", "not-join", "or-join", "pull", "count", "f", "1", "-1", "nil", "true", '"s"',
     "(", ")", "[", "]", "{", "}", "#{", "#_", "##NaN", "?", "'"]
)  # fmt: skip
ATOMS = st.sampled_from(
    ["?e", "?x", "e", "_", "$", "$b", "%", ".", "...", "*", "not", "or", "and", "not-join", "or-join", "pull", "(f ?x)",
     "count", "a", ":a", "desc", 1, 0, -1, None, True, 1.5, float("nan"), 1j, print, b"x", Decimal(1), "\ud800", "?",
     ""]
)  # fmt: skip
DATA = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.sampled_from(["a", "?e", ":b"]), inner, max_size=2),
    ),
    max_leaves=12,
)


def parsed_or_refused(parse: Callable[[Any], Any], source: Any) -> None:
    try:
        parsed = parse(source)
    except QuerySyntaxError as error:
        assert str(error).startswith("expected ")
    else:
        assert hash(parsed) == hash(parse(source))
        assert parsed == parse(source)


FORMS = st.recursive(
    TOKENS.filter(lambda token: token not in "()[]{}#{#_"),
    lambda inner: st.tuples(st.sampled_from(["()", "[]"]), st.lists(inner, max_size=4)).map(
        lambda made: made[0][0] + " ".join(made[1]) + made[0][1]
    ),
    max_leaves=10,
)


@given(st.one_of(st.text(max_size=40), st.lists(TOKENS, max_size=30).map(" ".join), FORMS))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_query, parse_rules, parse_pull):
        parsed_or_refused(parse, text)


@given(FORMS, st.lists(FORMS, max_size=3), FORMS)
def test_any_forms_in_the_parts_of_a_query_are_parsed_or_refused(find: str, where: list[str], given_: str) -> None:
    parsed_or_refused(parse_query, f"[:find ?e {find} :in $ % ?e {given_} :where [?e :a] {' '.join(where)}]")
    parsed_or_refused(parse_rules, f"[[(r ?e) {' '.join(where)}] [{find}]]")


@given(DATA, DATA, DATA, DATA)
def test_any_data_is_parsed_or_refused(find: Any, clause: Any, given_: Any, order: Any) -> None:
    data = {"find": ["?e", find], "in": ["$", "%", "?e", given_], "where": [("?e", "a"), clause], "order-by": order}
    for source in (find, data, {**data, "in": ["$", "%", "?e"], "order-by": ["?e"]}):
        parsed_or_refused(parse_query, source)
    parsed_or_refused(parse_rules, [[("r", "?e"), clause], find])
    parsed_or_refused(parse_pull, find)


def test_importing_the_parser_does_not_import_the_parser_library() -> None:
    program = "import sys, tourlog.query.parse; print('lark' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
