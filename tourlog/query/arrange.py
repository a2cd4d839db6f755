"""Clause order and safety: arranges a conjunction so that every clause has what it needs when it runs.

Greedy, by rank and then as written. Clauses that cannot fail may overtake each other; one that can raise
waits for every relational clause written before it, so that it sees no row those would have removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from tourlog.errors import QueryError, listed
from tourlog.query.deadline import pulse
from tourlog.query.functions import BUILTINS
from tourlog.query.program import (
    Body,
    Call,
    Compute,
    Disjunction,
    Filter,
    Given,
    Literal,
    Negation,
    RuleUse,
    Scan,
    Slice,
    Term,
    bodies_of,
    bound_by,
    variables_of,
    with_bodies,
)
from tourlog.query.syntax import Blank, Variable

Bound = frozenset[Variable]
_MOST_TOLD = 1_000
"""Characters of a clause in an error's message."""

SafeCall = Callable[[RuleUse, Bound], bool]
"""Whether a rule can be computed when these variables are bound."""


class Unsafe(Exception):
    """A conjunction cannot be ordered: `literal` never gets `missing`. Never leaves the planner."""

    def __init__(self, literal: Literal, missing: tuple[Variable, ...]) -> None:
        super().__init__(str(literal))
        self.literal, self.missing = literal, missing

    def error(self) -> QueryError:
        names = tuple(dict.fromkeys(variable.name.split("#")[0] for variable in self.missing))
        shown = listed(f"?{name}" for name in names) or "a variable"
        place = getattr(self.literal, "place", None)
        where = f" ({place})" if place is not None else ""
        clause = re.sub(r"#\d+", "", str(self.literal))  # as it was written: names are told apart in plans only
        told = clause if len(clause) <= _MOST_TOLD else f"{clause[:_MOST_TOLD]}…"
        return QueryError(
            f"{shown} {'are' if len(names) > 1 else 'is'} not bound by any clause that can run before {told}{where}",
            variables=names,
            clause=clause,
        )


class Arranger:
    """Arranges bodies, remembering nested ones: nesting would otherwise double the work at every level."""

    def __init__(self, safe_call: SafeCall) -> None:
        self._safe_call = safe_call
        self._nested: dict[tuple[int, Bound], Literal | None] = {}
        self._kept: list[Literal] = []

    def arrange(self, body: Sequence[Literal], bound: Bound) -> Body:
        """The literals in an order that is safe given the variables already bound; raises `Unsafe`."""
        waiting = list(enumerate(body))
        ordered: list[Literal] = []
        while waiting:
            pulse()
            ready = [entry for entry in waiting if self._ready(entry[1], bound)]
            allowed = [entry for entry in ready if not _must_wait(entry, ready)]
            if not allowed:
                raise self._unsafe([literal for _, literal in waiting], bound)
            chosen = min(allowed, key=lambda entry: (_rank(entry[1], bound, bool(ordered)), entry[0]))
            waiting.remove(chosen)
            ordered.append(self._arranged(chosen[1], bound))
            bound = bound | frozenset(bound_by(chosen[1]))
        return tuple(ordered)

    def _ready(self, literal: Literal, bound: Bound) -> bool:
        match literal:
            case Filter():
                return bound.issuperset(variables_of(literal))
            case Compute():
                return bound.issuperset(_variables(literal.arguments))
            case Slice():
                return bound.issuperset(_variables((*literal.values, *(term for _, term in literal.bounds))))
            case Negation():
                return bound.issuperset(literal.shared)
            case Disjunction():
                return bound.issuperset(literal.required) and self._nest(literal, bound) is not None
            case RuleUse():
                return self._safe_call(literal, bound)
            case _:
                return True

    def _arranged(self, literal: Literal, bound: Bound) -> Literal:
        match literal:
            case Negation():
                return with_bodies(literal, (self.arrange(literal.body, bound),))
            case Disjunction():
                return self._nest(literal, bound) or literal
            case _:
                return literal

    def _nest(self, literal: Disjunction, bound: Bound) -> Literal | None:
        """The disjunction with its branches arranged; None while a branch is not safe."""
        known = bound.intersection(variables_of(literal))
        key = (id(literal), known)
        if key not in self._nested:
            self._kept.append(literal)  # an id names an object only while it lives
            self._nested[key] = self._branches(literal, known)
        return self._nested[key]

    def _branches(self, literal: Disjunction, bound: Bound) -> Literal | None:
        for branch in literal.branches:
            if not bound.union(*map(bound_by, branch)).issuperset(literal.variables):
                return None
        try:
            return with_bodies(literal, tuple(self.arrange(branch, bound) for branch in literal.branches))
        except Unsafe:
            return None

    # Blame.

    def _unsafe(self, stuck: list[Literal], bound: Bound) -> Unsafe:
        """Blame the first literal that waits for something; its variables nobody binds come first."""
        ready = [literal for literal in stuck if not self._wants(literal, bound)]
        binders = {variable for literal in ready for variable in bound_by(literal)}
        for literal in stuck:
            missing = self._wants(literal, bound)
            hopeless = tuple(variable for variable in missing if variable not in binders)
            if missing:
                return Unsafe(literal, hopeless or missing)
        return Unsafe(stuck[0], ())

    def _wants(self, literal: Literal, bound: Bound) -> tuple[Variable, ...]:
        """The variables a literal waits for."""
        match literal:
            case Disjunction():
                return self._branches_want(literal, bound)
            case Compute():
                wanted = _variables(literal.arguments)
            case _:
                wanted = variables_of(literal)
        return tuple(variable for variable in wanted if variable not in bound)

    def _branches_want(self, literal: Disjunction, bound: Bound) -> tuple[Variable, ...]:
        missing = tuple(variable for variable in literal.required if variable not in bound)
        for branch in literal.branches:
            known = bound.union(*map(bound_by, branch))
            missing = missing or tuple(variable for variable in literal.variables if variable not in known)
            try:
                self.arrange(branch, bound)
            except Unsafe as problem:
                missing = missing or problem.missing
        return missing


def can_fail(literal: Literal) -> bool:
    """Whether computing a literal can raise for some row."""
    match literal:
        case Filter() | Compute():
            builtin = BUILTINS.get(literal.function) if isinstance(literal.function, str) else None
            return builtin is None or builtin.fallible
        case Negation() | Disjunction():
            return any(can_fail(inner) for body in bodies_of(literal) for inner in body)
        case _:
            return False


def _variables(terms: Iterable[object]) -> tuple[Variable, ...]:
    return tuple(term for term in terms if isinstance(term, Variable))


def _must_wait(entry: tuple[int, Literal], ready: Iterable[tuple[int, Literal]]) -> bool:
    return can_fail(entry[1]) and any(place < entry[0] for place, _ in ready)


def _rank(literal: Literal, bound: Bound, started: bool) -> int:
    match literal:
        case Filter():
            return 0
        case Negation():
            return 1
        case Compute():
            return 2
        case Given():
            return 3
        case Scan():
            return _scan_rank(literal, bound, started)
        case Call() | RuleUse() | Disjunction():
            known = any(_is_bound(term, bound) for term in _interface(literal))
            return 6 if known else 9
        case _:
            connected = any(term in bound for term in variables_of(literal))
            return 4 if connected or not started else 8


def _scan_rank(literal: Scan, bound: Bound, started: bool) -> int:
    """From a lookup of one entity's attribute to a scan of everything, joined to nothing."""
    e, a, v = (_is_bound(term, bound) for term in (literal.e, literal.a, literal.v))
    if e:
        return 3 if a else 4
    if v and a:
        return 5
    joined = any(term in bound for term in variables_of(literal))
    if not a:
        return 11 if joined or not started else 12
    return 7 if joined or not started else 10


def _interface(literal: Literal) -> tuple[Term, ...]:
    return literal.variables if isinstance(literal, Disjunction) else literal.terms  # type: ignore[union-attr, return-value]  # calls and rule uses


def _is_bound(term: object, bound: Bound) -> bool:
    return term in bound if isinstance(term, Variable) else not isinstance(term, Blank)
