"""Every case of `cases/` on the oracle and on every engine, in every data state that can hide a mistake."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oracle
import pytest
from casefile import Case, read_cases
from oracle_values import key
from states import history, stages, states_of

import tourlog
from tourlog.errors import TourlogError
from tourlog.query.parse import parse_pull, parse_query, parse_rules
from tourlog.query.syntax import Pull, Query, RulesInput, Source, Variable

CASES = read_cases(Path(__file__).parent / "cases")
ENGINES = ["pydatalog", "compiled"]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}:{case.line}")


def test_the_language_is_covered() -> None:
    """There are hundreds of cases, each with a sentence of its own within its file."""
    assert len(CASES) > 320
    assert len({(case.file, case.sentence) for case in CASES}) == len(CASES)


@each_case
def test_oracle(case: Case) -> None:
    """The oracle gives what the case expects, in every state."""
    for state in states_of(case):
        for final, facts, _ in stages(history(case, state)):
            if final:
                check(
                    case,
                    attempt(lambda facts=facts, state=state: ask_oracle(case, facts, state)),
                    state,
                    True,
                )


@pytest.mark.parametrize("engine", ENGINES)
@each_case
def test_engine(case: Case, engine: str) -> None:
    """The engine gives what the case expects, in every state, and what the oracle gives on the way there."""
    for state in states_of(case):
        with tourlog.connect() as conn:
            for final, facts, db in stages(history(case, state), conn):
                got = attempt(lambda db=db, state=state: ask_engine(case, db, state, engine))
                if final:
                    check(case, got, state, False)
                else:
                    expected = attempt(lambda facts=facts, state=state: ask_oracle(case, facts, state))
                    agree(case, expected, got, f"{state}, on the way")


# Asking.


def ask_oracle(case: Case, facts: oracle.Facts, state: str) -> Any:
    query = parse_query(case.query)
    rules = parse_rules(case.rules) if case.rules else ()
    others = {name: list(stages(history(case, state, docs)))[-1][1] for name, docs in case.others.items()}
    given = [value for value in arguments(case, query, facts, others) if value is not RulesInput]
    patterns = {e.pattern for e in query.find.elements if isinstance(e, Pull) and isinstance(e.pattern, Variable)}
    wanted = [entry for entry in query.inputs if not isinstance(entry, RulesInput)]
    for place, entry in enumerate(wanted):
        if getattr(entry, "variable", None) in patterns:
            given[place] = parse_pull(given[place])
    return oracle.answer(query, given, rules).value


def ask_engine(case: Case, db: Any, state: str, engine: str) -> Any:
    others = {name: database(history(case, state, docs)) for name, docs in case.others.items()}
    try:
        given = list(arguments(case, parse_query(case.query), db, others))
    except TourlogError:
        given = [db, *case.inputs]
    given = [(case.rules or "[]") if value is RulesInput else value for value in given]
    return tourlog.q(case.query, *given, engine=engine)


def database(steps: list[Any]) -> Any:
    return list(stages(steps, tourlog.connect()))[-1][2]


def arguments(case: Case, query: Query, main: Any, others: dict[str, Any]) -> Iterator[Any]:
    """What `:in` takes, in its order: the case's databases under their names, then its inputs."""
    inputs = list(case.inputs)
    for entry in query.inputs:
        if isinstance(entry, RulesInput):
            yield RulesInput
        elif isinstance(entry, Source) and entry.name in others:
            yield others[entry.name]
        elif isinstance(entry, Source) and main is not None:
            yield main
            main = None
        elif inputs:
            yield inputs.pop(0)
    yield from inputs


# Comparing.


def attempt(ask: Callable[[], Any]) -> Any:
    """What it gives, or the exception it raises."""
    try:
        return ask()
    except (TourlogError, oracle.OracleError, RuntimeError) as error:
        return error


def check(case: Case, got: Any, state: str, of_oracle: bool) -> None:
    where = f"{case}\n{state}: {case.query}\n"
    if case.expected == "error":
        check_error(case, got, where, of_oracle)
    elif isinstance(got, Exception):
        raise AssertionError(f"{where}expected {case.wanted!r}, got {got!r}") from got
    elif case.expected == "result":
        value = list(got) if isinstance(got, tourlog.Rows) else got
        assert key(value) == key(case.wanted), f"{where}expected {case.wanted!r}, got {value!r}"
    else:
        rows = rows_of(case, got)
        assert {key(row) for row in rows} == {key(row) for row in case.wanted}, (
            f"{where}expected {case.wanted!r}, got {rows!r}"
        )


def check_error(case: Case, got: Any, where: str, of_oracle: bool) -> None:
    """The class and a part of the message; the oracle only has to refuse what it was given to evaluate."""
    name, _, part = case.wanted.partition(" ")
    assert isinstance(got, Exception), f"{where}expected {case.wanted}, got {got!r}"
    if not (of_oracle and isinstance(got, oracle.OracleError) and name != "QuerySyntaxError"):
        expected = getattr(tourlog.errors, name, None) or getattr(builtins, name)
        assert isinstance(got, expected), f"{where}expected {case.wanted}, got {got!r}"
        assert part.strip('"') in str(got), f"{where}expected {case.wanted}, got {got!r}"


def agree(case: Case, expected: Any, got: Any, state: str) -> None:
    where = f"{case}\n{state}: {case.query}\n"
    if isinstance(expected, Exception) or isinstance(got, Exception):
        both = isinstance(expected, Exception) and isinstance(got, Exception)
        assert both, f"{where}the oracle gives {expected!r}, the engine {got!r}"
    elif case.expected == "rows" or parse_query(case.query).find.shape in ("relation", "collection"):
        ours, theirs = ({key(row) for row in rows_of(case, rows)} for rows in (expected, got))
        assert ours == theirs, f"{where}the oracle gives {expected!r}, the engine {got!r}"
    else:
        assert key(expected) == key(got), f"{where}the oracle gives {expected!r}, the engine {got!r}"


def rows_of(case: Case, got: Any) -> list[Any]:
    """The rows of a relation, or a collection's values as rows of one; without repeats."""
    query = parse_query(case.query)
    rows = [(value,) for value in got] if query.find.shape == "collection" else list(got)
    pulled = any(isinstance(element, Pull) for element in query.find.elements)
    assert pulled or len({key(row) for row in rows}) == len(rows), f"{case}: repeats in {rows!r}"
    return rows
