"""Takes values apart as a binding says: the same shapes for what `:in` is given and what functions return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from tourlog.errors import TourlogError
from tourlog.query.syntax import (
    BindCollection,
    Binding,
    BindRelation,
    BindScalar,
    BindTuple,
    Variable,
)

Bindings = list[tuple[Variable, Any]]
Refuse = Callable[[str, Any], TourlogError]
"""Makes the error for a value of the wrong shape, from what was expected and the value."""

_SEQUENCES = (list, tuple)
_COLLECTIONS = (list, tuple, set, frozenset)


def destructure(binding: Binding, value: Any, refuse: Refuse) -> Iterator[Bindings]:
    """Each way to bind the variables of `binding` to `value`, one list of pairs a row.

    >>> pair = BindTuple((BindScalar(Variable("a")), BindScalar(Variable("b"))))
    >>> [[v for _, v in row] for row in destructure(BindCollection(pair), [(1, 2), (3, 4)], TypeError)]
    [[1, 2], [3, 4]]
    """
    match binding:
        case BindScalar(variable):
            yield [(variable, value)]
        case BindTuple(elements):
            if not isinstance(value, _SEQUENCES) or len(value) < len(elements):
                raise refuse(f"a tuple of at least {len(elements)} elements", value)
            parts = [list(destructure(element, part, refuse)) for element, part in zip(elements, value, strict=False)]
            for combination in product(*parts):
                yield [pair for part in combination for pair in part]
        case BindCollection(element):
            for part in _members(value, refuse):
                yield from destructure(element, part, refuse)
        case BindRelation(elements):
            for part in _members(value, refuse):
                yield from destructure(BindTuple(elements), part, refuse)
        case _:
            yield []


def _members(value: Any, refuse: Refuse) -> Any:
    if isinstance(value, dict):
        return list(value.items())
    if not isinstance(value, _COLLECTIONS):
        raise refuse("a collection", value)
    return value
