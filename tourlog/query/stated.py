"""Recognises the simplest of queries: whether any entity states certain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tourlog.query.syntax import BindScalar, Blank, Constant, Pattern, Query, Source, Variable
from tourlog.stream import OFFSET_KEY, SYSTEM_PREFIX
from tourlog.values import LEAVES

Wanted: TypeAlias = tuple[tuple[str, Any], ...]
"""Attributes, and the values that one entity must state."""

_SIMPLE = LEAVES - {type(None)}


@dataclass(frozen=True, slots=True)
class Statement:
    """What one entity must state for a query to have an answer: attributes with a value, or with the number of the
    input after the database that is the value."""

    inputs: int
    pairs: tuple[tuple[str, Any, int | None], ...]

    def wanted(self, inputs: Sequence[Any]) -> Wanted | None:
        """Attributes and values; None where the inputs are not as many, or no simple values."""
        if len(inputs) != self.inputs or not _SIMPLE.issuperset(map(type, inputs)):
            return None
        return tuple([(name, value if place is None else inputs[place]) for name, value, place in self.pairs])


def statement_of(query: Query) -> Statement | None:
    """What the query asks of one entity; None for a query that asks anything else.

    >>> from tourlog.query.parse import parse_query
    >>> statement_of(parse_query("[:find ?e :in $ ?n :where [?e :type :robot] [?e :name ?n]]")).wanted(["r2"])
    (('type', 'robot'), ('name', 'r2'))
    """
    source, *scalars = query.inputs
    names = [entry.variable.name for entry in scalars if isinstance(entry, BindScalar)]
    is_plain = not (query.with_ or query.order_by or query.offset) and query.limit is None
    if not is_plain or source != Source() or len(names) < len(scalars):
        return None
    patterns = [clause for clause in query.where if isinstance(clause, Pattern)]
    entities = {clause.terms[0] for clause in patterns}
    if len(patterns) < len(query.where) or len(entities) != 1:
        return None
    (entity,) = entities
    is_alone = isinstance(entity, Blank) and len(patterns) == 1
    is_free = isinstance(entity, Variable) and entity.name not in names
    known = {entity, *map(Variable, names)}
    if not (is_alone or is_free) or any(element not in known for element in query.find.elements):
        return None
    pairs = [_pair(clause, names) for clause in patterns]
    found = tuple([pair for pair in pairs if pair is not None])
    return Statement(len(names), found) if len(found) == len(pairs) else None


def _pair(clause: Pattern, names: list[str]) -> tuple[str, Any, int | None] | None:
    """The attribute and the value of a pattern `[?e :attribute value]`."""
    if clause.source != Source() or len(clause.terms) != 3:
        return None
    _, a, v = clause.terms
    attribute = a.value if isinstance(a, Constant) else None
    if type(attribute) is not str or "." in attribute:
        return None
    if attribute == OFFSET_KEY or attribute.startswith(SYSTEM_PREFIX):
        return None
    if isinstance(v, Variable) and v.name in names:
        return attribute, None, names.index(v.name)
    return (attribute, v.value, None) if isinstance(v, Constant) and type(v.value) in _SIMPLE else None
