"""Access paths: recognises the clauses that ask for documents of one stream, by offset, and makes them one
literal that reads the log directly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tourlog.query.program import (
    Body,
    Filter,
    Given,
    Literal,
    Scan,
    Slice,
    Term,
    bodies_of,
    variables_of,
    with_bodies,
)
from tourlog.query.syntax import Blank, Constant, Variable
from tourlog.stream import OFFSET_KEY, ORDER_KEY

_FLIPPED: Mapping[str, str] = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "==": "="}


def recognise_slices(body: Body, known: frozenset[Variable] = frozenset()) -> Body:
    """The body with every group `[?e :db/key names] [?e :name value] … [?e :offset ?o] [(>= ?o n)]` made a
    slice, where the values are known beforehand (constants, parameters, collection inputs)."""
    known = known.union(*(variables_of(literal) for literal in body if isinstance(literal, Given)))
    result = tuple(
        with_bodies(literal, tuple(recognise_slices(inner, known) for inner in bodies_of(literal))) for literal in body
    )
    for literal in body:
        if isinstance(literal, Scan) and _ordered_by(literal):
            result = _with_slice(result, literal, known)
    return result


def _ordered_by(literal: Scan) -> tuple[str, ...]:
    """The names in a clause `[?e :db/key ["topic" "partition"]]`; empty for any other clause."""
    names = literal.v.value if isinstance(literal.v, Constant) else None
    if not (_attribute(literal) == ORDER_KEY and isinstance(literal.e, Variable) and type(names) is list):
        return ()
    return tuple(names) if names and all(type(name) is str for name in names) else ()


def _attribute(literal: Scan) -> str | None:
    plain = isinstance(literal.a, Constant) and isinstance(literal.tx, Blank)
    return literal.a.value if plain and isinstance(literal.a, Constant) else None


def _with_slice(body: Body, order: Scan, known: frozenset[Variable]) -> Body:
    names = _ordered_by(order)
    keys = [_scan_of(body, order, name, known) for name in names]
    if any(key is None for key in keys):
        return body
    values = tuple(key.v for key in keys if key is not None)
    offset = _offset_of(body, order)
    bounds = tuple(_bounds(body, offset.v, known)) if offset is not None else ()
    absorbed = [order, *keys, offset, *(literal for literal, _ in bounds)]
    slice_ = Slice(
        order.source,
        order.e,
        names,
        values,
        offset.v if offset is not None else Blank(),
        tuple(bound for _, bound in bounds),
        order.place,
    )
    kept = tuple(literal for literal in body if not any(literal is gone for gone in absorbed))
    place = next(i for i, literal in enumerate(body) if literal is order)
    before = sum(1 for literal in body[:place] if any(literal is other for other in kept))
    return (*kept[:before], slice_, *kept[before:])


def _scan_of(body: Body, order: Scan, name: str, known: frozenset[Variable]) -> Scan | None:
    for literal in body:
        if _same_entity(literal, order, name) and isinstance(literal, Scan) and _is_known(literal.v, known):
            return literal
    return None


def _offset_of(body: Body, order: Scan) -> Scan | None:
    for literal in body:
        if _same_entity(literal, order, OFFSET_KEY) and isinstance(literal, Scan):
            return literal if literal.v != order.e else None
    return None


def _same_entity(literal: Literal, order: Scan, attribute: str) -> bool:
    return (
        isinstance(literal, Scan)
        and literal.source == order.source
        and literal.e == order.e
        and _attribute(literal) == attribute
    )


def _is_known(term: object, known: frozenset[Variable]) -> bool:
    return term in known if isinstance(term, Variable) else not isinstance(term, Blank)


def _bounds(body: Body, offset: Term, known: frozenset[Variable]) -> Iterator[tuple[Filter, tuple[str, Term]]]:
    if not isinstance(offset, Variable) or offset in known:
        return
    for literal in body:
        if not (isinstance(literal, Filter) and literal.function in _FLIPPED and len(literal.arguments) == 2):
            continue
        assert isinstance(literal.function, str)
        left, right = literal.arguments
        operator = "=" if literal.function == "==" else literal.function
        if left == offset and right != offset and _is_known(right, known):
            yield literal, (operator, right)  # type: ignore[misc]  # comparisons take no source
        elif right == offset and left != offset and _is_known(left, known):
            yield literal, (_FLIPPED[operator], left)  # type: ignore[misc]  # comparisons take no source
