"""Random programs give the same answers from the oracle and from every engine.

Program n is the same everywhere. `TOURLOG_PROGRAMS=100000` tries that many, `TOURLOG_FIRST_PROGRAM=5000` begins
there. A program on which two differ is made small; mended, it becomes a case of `cases/`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import oracle
import pytest
from casefile import Case
from oracle_values import key
from programs import as_case, shrunk, write_program
from states import history, stages
from test_cases import arguments, ask_engine, ask_oracle, attempt, database

import tourlog
from tourlog.errors import QuerySyntaxError, TourlogError
from tourlog.query.normalise import rule_calls
from tourlog.query.parse import parse_query, parse_rules
from tourlog.query.syntax import RuleCall, RulesInput, term_variables

ENGINES = ["pydatalog", "compiled"]
FIRST = int(os.environ.get("TOURLOG_FIRST_PROGRAM", "0"))
PROGRAMS = int(os.environ.get("TOURLOG_PROGRAMS", "3000"))
A_TEST = 250
"""Programs tried in one test."""

UNSAFE = "refused before it runs"
FAILED = "failed while it ran"


@pytest.mark.parametrize("first", range(FIRST, FIRST + PROGRAMS, A_TEST))
def test_engines_agree_with_the_oracle(first: int) -> None:
    """Every engine gives the oracle's set, or refuses what it refuses; engines fail on the same programs."""
    for number in range(first, min(first + A_TEST, FIRST + PROGRAMS)):
        program = write_program(Random(number))
        if is_wrong(program.case()):
            case = shrunk(program, lambda smaller: is_wrong(smaller.case())).case()
            pytest.fail(f"program {number}, made small:\n{as_case(case)}\n{verdicts(case, ENGINES)}", pytrace=False)


def test_programs_are_worth_running() -> None:
    """Most random programs are sound, many have rows, and every kind of answer is among them."""
    found = [verdicts(write_program(Random(number)).case(), ()).expected for number in range(300)]
    assert found.count(UNSAFE) < 100
    assert found.count(FAILED) < 30
    assert sum(1 for answer in found if answer and answer not in (UNSAFE, FAILED)) > 80


@dataclass(frozen=True)
class Verdicts:
    """What the oracle and the engines, in their order, say to a program; and their answers as they were."""

    expected: Any
    found: list[Any]
    answers: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join(f"{name}: {answer!r}" for name, answer in self.answers.items())


def is_wrong(case: Case) -> bool:
    both = verdicts(case, ENGINES)
    return any(answer != both.found[0] for answer in both.found) or not agrees(case, both.expected, both.found[0])


def verdicts(case: Case, engines: Sequence[str]) -> Verdicts:
    with tourlog.connect() as conn:
        (state,) = case.states
        *_, (_, facts, db) = stages(history(case, state), conn)
        answers = {"oracle": attempt(lambda: ask_oracle(case, facts, state))}
        for engine in engines:
            answers[engine] = attempt(lambda engine=engine: ask_engine(case, db, state, engine))
        expected, *found = (verdict(case, answer, db) for answer in answers.values())
        return Verdicts(expected, found, answers)


def verdict(case: Case, got: Any, db: Any) -> Any:
    """An answer as something that can be compared: keys of rows, in order only where there is one."""
    match got:
        case oracle.OracleUnsafe() | QuerySyntaxError():
            return UNSAFE
        case oracle.OracleError():
            return FAILED
        case Exception():
            return UNSAFE if is_refused(case, db) else FAILED
    query = parse_query(case.query)
    if query.find.shape in ("relation", "collection") and not query.order_by:
        keys = list(map(key, got))
        assert len(set(keys)) == len(keys), f"repeats in {got!r} of {case.query}"
        return set(keys)
    return key(list(got) if query.find.shape == "relation" else got)


def is_refused(case: Case, db: Any) -> bool:
    """Whether planning alone refuses a program."""
    others = {name: database(history(case, "together", docs)) for name, docs in case.others.items()}
    inputs = [value for value in arguments(case, parse_query(case.query), db, others) if value is not db]
    rules = case.rules or "[]"
    return isinstance(
        attempt(lambda: db.explain(case.query, *(rules if v is RulesInput else v for v in inputs))), TourlogError
    )


def agrees(case: Case, expected: Any, found: Any) -> bool:
    """Whether an engine may answer so. A function that fails for some values does so or not by the order of
    clauses, which is the engines' own; and they know more of a call that repeats a variable than the oracle,
    which looks at argument positions alone."""
    if expected == UNSAFE and found != UNSAFE:
        return any(repeats_a_variable(call) for call in calls(case))
    if FAILED in (expected, found):
        return found != UNSAFE
    return bool(expected == found)


def calls(case: Case) -> Sequence[RuleCall]:
    bodies = [parse_query(case.query).where, *(rule.clauses for rule in parse_rules(case.rules or "[]"))]
    return [call for body in bodies for call, _ in rule_calls(body)]


def repeats_a_variable(call: RuleCall) -> bool:
    variables = [term for term in call.arguments if term_variables((term,))]
    return len(set(variables)) < len(variables)
