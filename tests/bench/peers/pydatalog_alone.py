"""pyDatalog by itself, its facts asserted: one program a knowledge base."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Any

from pyDatalog import pyDatalog
from pyDatalog.Logic import Logic

REACH = "reach(X, Y) <= edge(X, Y)\nreach(X, Y) <= reach(X, Z) & edge(Z, Y)"


def seconds_to_reach(edges: Iterable[tuple[int, int]], expected: int) -> float:
    """What it takes to count the reachable pairs with the left-recursive program, the facts being there."""
    new_knowledge_base()
    for a, b in edges:
        add("edge", a, b)
    pyDatalog.load(REACH)
    started = perf_counter()
    found = len(asked("reach(X, Y)"))
    took = perf_counter() - started
    assert found == expected
    return took


def new_knowledge_base() -> None:
    """From here on the thread has no facts and no rules."""
    Logic()


def add(predicate: str, *row: Any) -> None:
    pyDatalog.assert_fact(predicate, *row)


def asked(goal: str) -> list[tuple[Any, ...]]:
    return list(pyDatalog.ask(goal).answers)
