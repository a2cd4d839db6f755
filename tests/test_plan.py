"""Plans: what is refused before it runs, in what order clauses run, what a plan prints."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tourlog.errors import QueryError
from tourlog.query.parse import parse_query, parse_rules
from tourlog.query.plan import make_plan
from tourlog.query.program import Plan

REACH = "[[(reach ?x ?y) [?x :to ?y]] [(reach ?x ?y) [?x :to ?z] (reach ?z ?y)]]"


def plan_of(query: str, rules: str = "[]") -> Plan:
    return make_plan(parse_query(query), parse_rules(rules))


# Safety.


@pytest.mark.parametrize(
    ("query", "rules", "variables"),
    [
        ("[:find ?e :where [(< ?e 1)]]", "[]", ("e",)),
        ("[:find ?x :where [?e :a ?v] [(+ ?v ?w) ?x]]", "[]", ("w",)),
        ("[:find ?x :where [(+ ?y 1) ?x] [(+ ?x 1) ?y]]", "[]", ("y",)),
        ("[:find ?a :where [?e :a _] (not [?e :b ?a])]", "[]", ("a",)),
        ("[:find ?e :where [?e :a _] (not [?e :b ?x] [(< ?x ?y)])]", "[]", ("y",)),
        ("[:find ?e ?a :where (or [?e :b _] [?e :a ?a])]", "[]", ("a",)),
        ("[:find ?e ?x :where (or-join [?e ?x] [?e :a ?x] [?e :b 1])]", "[]", ("x",)),
        ("[:find ?e :where (or-join [[?e]] [?e :a 1])]", "[]", ("e",)),
        ("[:find ?e :in $ % :where (small ?e)]", "[[(small ?e) [(< ?e 3)]]]", ("e",)),
        ("[:find ?e :in $ % :where (small ?e)]", "[[(small ?e) [?e :a ?v] [(< ?v ?limit)]]]", ("limit",)),
        ("[:find ?e :in $ % :where (up ?e ?n)]", "[[(up ?e ?n) [?e :a _]] [(up ?e ?n) (up ?e ?m)]]", ("n",)),
        ("[:find ?e :in $ % :where (big ?w ?e)]", "[[(big [?w] ?e) [?e :a ?w]]]", ("w",)),
    ],
)
def test_an_unsafe_query_is_refused_naming_the_variable(query: str, rules: str, variables: tuple[str, ...]) -> None:
    with pytest.raises(QueryError, match=rf"\?{variables[0]} is not bound") as caught:
        plan_of(query, rules)
    assert caught.value.details["variables"] == variables
    assert "#" not in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "cycle"),
    [
        ("[[(win ?x) [?x :to ?y] (not (win ?y))]]", ("win", "win")),
        ("[[(p ?x) [?x :a] (not (q ?x))] [(q ?x) [?x :a] (r ?x)] [(r ?x) (p ?x)]]", ("p", "q", "r", "p")),
        ("[[(p ?x) [?x :a] (or [?x :b] (not-join [?x] (q ?x)))] [(q ?x) (p ?x)]]", ("p", "q", "p")),
    ],
)
def test_recursion_through_negation_is_refused_naming_the_cycle(rules: str, cycle: tuple[str, ...]) -> None:
    with pytest.raises(QueryError, match="recursion through negation") as caught:
        plan_of(f"[:find ?x :in $ % :where ({cycle[0]} ?x)]", rules)
    assert caught.value.details["cycle"] == cycle
    assert f"{cycle[0]} -> not {cycle[1]}" in str(caught.value)


def test_rules_that_are_not_called_may_be_what_they_like() -> None:
    """Only what the query reaches is checked: a library can hold rules for other queries."""
    rules = "[[(good ?x) [?x :a]] [(bad ?x) [?x :a] (not (bad ?x))] [(worse ?x) [(< ?x ?y)]]]"
    assert str(plan_of("[:find ?x :in $ % :where (good ?x)]", rules)) == "rows(?x) <- [?x 'a' _]"


@pytest.mark.parametrize(
    ("query", "rules", "message"),
    [
        ("[:find ?x :in $ % :where (near ?x)]", "[[(far ?x) [?x :a]]]", "unknown rule near"),
        ("[:find ?x :in $ % :where (far ?x 1)]", "[[(far ?x) [?x :a]]]", "rule far takes 1 arguments, got 2"),
        ("[:find ?x :in $ % :where (far ?x)]", "[[(far ?x) [?x :a]] [(far ?x ?y) [?x :a ?y]]]", "in every rule far"),
        ("[:find ?x :where [?x :a] [(no-such ?x)]]", "[]", "no-such"),
        ("[:find ?x :where [?x :a] [(missing? ?x :a)]]", "[]", "missing"),
    ],
)
def test_what_can_never_run_is_refused(query: str, rules: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        plan_of(query, rules)


# Order.


@pytest.mark.parametrize(
    ("where", "body"),
    [
        ("[(< ?v 3)] [?e :a ?v]", "[?e 'a' ?v] [(< ?v 3)]"),
        ("(not [?e :b _]) [?e :a ?v]", "[?e 'a' ?v] not(?e: [?e 'b' _])"),
        ("[?e :a ?v] [?x :b 1] [?e :c ?x]", "[?x 'b' 1] [?e 'c' ?x] [?e 'a' ?v]"),
        ("[?e ?a ?v] [?e :b 1]", "[?e 'b' 1] [?e ?a ?v]"),
        ("[?e :a ?v] [(inc ?v) ?n] [?e :b ?n]", "[?e 'a' ?v] [(inc ?v) ?n] [?e 'b' ?n]"),
    ],
)
def test_clauses_run_when_what_they_need_is_bound(where: str, body: str) -> None:
    """Comparisons and negations as soon as they can, the narrowest pattern first."""
    assert str(plan_of(f"[:find ?e ?v :where {where}]")) == f"rows(?e ?v) <- {body}"


def test_a_function_that_can_fail_waits_for_the_clauses_written_before_it() -> None:
    """So that it does not see rows those would have removed."""
    plan = plan_of("[:find ?e ?n :where [?e :a ?v] [?e :b 1] [(/ 1 ?v) ?n]]")
    assert str(plan) == "rows(?e ?n) <- [?e 'b' 1] [?e 'a' ?v] [(/ 1 ?v) ?n]"


# Printing.


def test_a_plan_prints_its_strata_and_its_rows() -> None:
    plan = plan_of("[:find ?y :in $ % :where (reach 1 ?y) (not [?y :done true])]", REACH)
    assert (
        str(plan)
        == """\
stratum 1 (recursive)
  reach^bf.walk(1 1) <- true
  reach^bf.walk(?seed#0 ?z#4) <- reach^bf.walk(?seed#0 ?x#2) [?x#2 'to' ?z#4]
stratum 2
  reach^bf(?seed#0 ?y#1) <- reach^bf.walk(?seed#0 ?x#0) [?x#0 'to' ?y#1]
rows(?y) <- reach^bf(1 ?y) not(?y: [?y 'done' True])"""
    )


@pytest.mark.parametrize("second", ["(reach 2 ?y)", "(not (reach 2 ?y))"])
@pytest.mark.parametrize("rules", [REACH, REACH.replace("[?x :to ?z] (reach ?z ?y)", "(reach ?x ?z) [?z :to ?y]")])
def test_what_starts_from_a_constant_is_walked_from_there_and_not_from_every_value_bound(
    second: str, rules: str
) -> None:
    plan = str(plan_of(f"[:find ?y :in $ % :where (reach 1 ?y) {second}]", rules))
    assert "^bf" in plan
    assert "^fb" not in plan
    assert "^bb" not in plan


def test_a_composition_of_a_rule_with_itself_is_made_linear() -> None:
    """`r(x, z), r(z, y)` derives every pair once for each of its ways; `r(x, z), base(z, y)` does not."""
    plan = plan_of(
        "[:find ?x ?y :in $ % :where (r ?x ?y)]", "[[(r ?x ?y) [?x :to ?y]] [(r ?x ?y) (r ?x ?z) (r ?z ?y)]]"
    )
    (clause,) = [c for stratum in plan.strata for r in stratum.relations for c in r.clauses if c.variants]
    assert [str(literal).partition("(")[0] for literal in clause.body].count("r^ff") == 1


def test_a_plan_is_the_same_in_every_process() -> None:
    program = """
from tourlog.query.parse import parse_query, parse_rules
from tourlog.query.plan import make_plan
rules = "[[(r ?x ?y) [?a :b ?x] [?a :c ?y] (or [?x :d ?e] (and [?y :d ?e] (not [?x :f ?g] [?g :h ?y])))]" + (
    "[(r ?x ?y) (r ?x ?m) (or-join [?m ?y] [?m :to ?y] (and [?m :by ?n] [?n :to ?y]))]]"
)
print(make_plan(parse_query("[:find ?x ?y :in $ % :where (r ?x ?y) (or [?x :p ?q] [?y :p ?q])]"), parse_rules(rules)))
"""
    environments = [{**os.environ, "PYTHONHASHSEED": str(seed)} for seed in range(4)]
    plans = {
        subprocess.run([sys.executable, "-c", program], env=each, capture_output=True, text=True, check=True).stdout
        for each in environments
    }
    assert len(plans) == 1


def test_equal_queries_share_a_plan() -> None:
    """A query is planned once a shape: plans of equal queries and rules are equal."""
    query = "[:find ?y :in $ % :where (reach 1 ?y)]"
    assert plan_of(query, REACH) == plan_of(f" {query} ", REACH.replace("] [", "]\n["))


def test_one_is_not_true_in_a_plan() -> None:
    assert plan_of("[:find ?e :where [?e :a 1]]") != plan_of("[:find ?e :where [?e :a true]]")


@pytest.mark.parametrize("join", ["or-join", "not-join"])
def test_thousands_of_variables_that_are_bound_nowhere_make_a_short_error_at_once(join: str) -> None:
    names = " ".join(f"?v{number}" for number in range(20_000))
    query = f"[:find ?x :where [?x :a _] ({join} [{names}] [?v0 :a 1])]"
    with pytest.raises(QueryError) as caught:
        plan_of(query)
    assert "?v1" in str(caught.value)
    assert len(str(caught.value)) < 2_000
