"""clingo: the facts are text, and a query is grounding and solving the whole program."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import clingo

REACH = "reach(X, Y) :- edge(X, Y). reach(X, Z) :- reach(X, Y), edge(Y, Z). #show. #show reach/2."


def reachable(edges: Iterable[tuple[int, int]]) -> Callable[[], int]:
    return counter(" ".join(f"edge({a}, {b})." for a, b in edges), REACH)


def counter(facts: str, rules: str) -> Callable[[], int]:
    """Counts the atoms a program shows, each time from the text on."""
    return lambda: _count(facts, rules)


def _count(facts: str, rules: str) -> int:
    control = clingo.Control()
    control.add("base", [], facts)
    control.add("base", [], rules)
    control.ground([("base", [])])
    shown: list[Any] = []
    control.solve(on_model=lambda model: shown.append(len(model.symbols(shown=True))))
    (count,) = shown
    return int(count)
