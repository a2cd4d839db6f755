"""Lets a pyDatalog program of the user's own run over a database: its facts as pyDatalog predicates of the calling
thread, read off the snapshot when asked for, gone at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, product
from typing import Any

from tourlog.errors import DocumentError
from tourlog.facts import Fact
from tourlog.snapshot import ANY, Snapshot
from tourlog.values import identity

MOST_PAIRS = 8
"""How many pairs of attribute and value `document` takes at the most."""

_numbers = count(1)
"""Numbers programs, so that the resolvers of two of them never share a name."""


@contextmanager
def exposed(snapshot: Snapshot) -> Iterator[None]:
    """Defines `fact(E, A, V)` and `document(E, A1, V1, A2, V2, …)` in the calling thread's pyDatalog logic, for
    the length of a `with`; what these predicates were before, they are again afterwards."""
    prefix = f"tourlog_program_{next(_numbers)}"
    with ExitStack() as stack:
        stack.enter_context(_predicate("fact", 3, f"{prefix}_fact", lambda *terms: _facts(snapshot, terms)))
        for pairs in range(1, MOST_PAIRS + 1):
            name = f"{prefix}_document"
            solve = lambda *terms: _documents(snapshot, terms)  # noqa: E731 - one shape with the line above
            stack.enter_context(_predicate("document", 1 + 2 * pairs, name, solve))
        yield


Solve = Callable[..., Iterable[tuple[Any, ...]]]
"""From terms (a value, or ANY for what is not bound) to the rows that fit."""


@contextmanager
def _predicate(name: str, arity: int, resolver: str, solve: Solve) -> Iterator[None]:
    """Defines one predicate by a clause over a resolver of a name of ours: resolvers are the whole process's,
    clauses a thread's."""
    from pyDatalog import pyEngine  # heavy; imported when first needed
    from pyDatalog.Logic import Logic

    Logic(True)  # the thread's own, made when it has none
    held = Logic.tl.logic.Db.get(f"{name}/{arity}")
    if held is not None:
        pyEngine.remove(held)
    variables = [pyEngine.Var(f"V{place}") for place in range(arity)]
    head, body = pyEngine.Literal(name, variables), pyEngine.Literal(resolver, variables)

    def resolve(*terms: Any) -> Iterator[tuple[Any, ...]]:
        given = [_value(term) if term.is_const() else ANY for term in terms]
        return (tuple(map(_term, row)) for row in solve(*given))

    pyEngine.Python_resolvers[f"{resolver}/{arity}"] = resolve
    try:
        pyEngine.assert_(pyEngine.Clause(head, [body]))
        yield
    finally:
        del pyEngine.Python_resolvers[f"{resolver}/{arity}"]
        pyEngine.remove(body.pred)
        pyEngine.remove(head.pred)
        if held is not None:
            pyEngine.insert(held)


def _facts(snapshot: Snapshot, terms: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    return ((fact.e, fact.a, fact.v) for fact in _found(snapshot, *terms))


def _documents(snapshot: Snapshot, terms: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Entities that state every pair, found by the pair that narrows them most."""
    e, pairs = terms[0], [(terms[place], terms[place + 1]) for place in range(1, len(terms), 2)]
    first = min(range(len(pairs)), key=lambda place: (pairs[place][1] is ANY, pairs[place][0] is ANY))
    entities = {identity(fact.e): fact.e for fact in _found(snapshot, e, *pairs[first])}
    for entity in entities.values():
        choices = [[(fact.a, fact.v) for fact in _found(snapshot, entity, a, v)] for a, v in pairs]
        for chosen in product(*choices):
            yield (entity, *(part for pair in chosen for part in pair))


def _found(snapshot: Snapshot, e: Any, a: Any, v: Any) -> Iterable[Fact]:
    try:
        return snapshot.facts(e, a, v)
    except DocumentError:
        return ()  # a constant of the program that no document can hold


def _value(term: Any) -> Any:
    """What a bound term stands for: pyDatalog wraps the elements of tuples."""
    value = term.id
    return tuple(map(_value, value)) if isinstance(value, tuple) else value


def _term(value: Any) -> Any:
    """A value as pyDatalog can hold it, kept exact: collections as tuples, sorted pairs for a dict."""
    from pyDatalog import pyEngine

    frozen = _frozen(value)
    return pyEngine.VarTuple(tuple(map(_term, frozen))) if isinstance(frozen, tuple) else pyEngine.Const(frozen)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, value[key]) for key in sorted(value))
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(value)
    return value
