"""Which column type every variable and relation column of a plan takes: all places a value flows between
form one class, and a class of mixed types is held as tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, TypeAlias

from tourlog.engines.codec import INTEGER, STRING, TOKEN, column_type, joined, type_of
from tourlog.engines.execution import Execution
from tourlog.query.program import (
    Body,
    Call,
    Compute,
    Given,
    Literal,
    Parameter,
    Plan,
    Rows,
    Scan,
    Slice,
    bodies_of,
)
from tourlog.query.syntax import Constant, Variable, binding_variables

Node: TypeAlias = Variable | tuple[str, int]
"""A variable, or a relation's name and the place of one of its columns."""

ValueType: TypeAlias = Callable[[Scan], str | None]
"""The type of the column a scan reads; None for a scan of no column."""


class Types:
    """The classes of one plan."""

    def __init__(self, execution: Execution, value_type: ValueType) -> None:
        self._execution, self._value_type = execution, value_type
        self._parents: dict[Node, Node] = {}
        self._types: dict[Node, set[str]] = {}
        self._plan(execution.plan)
        self._final = {node: joined(found or {TOKEN}) for node, found in self._types.items()}

    def of(self, node: Node) -> str:
        """The type of a variable or relation column."""
        return self._final.get(self._root(node), TOKEN)

    def _root(self, node: Node) -> Node:
        while (parent := self._parents.get(node, node)) != node:
            node = parent
        return node

    def _unite(self, a: Node, b: Node) -> None:
        a, b = self._root(a), self._root(b)
        if a != b:
            self._parents[b] = a
            self._types.setdefault(a, set()).update(self._types.pop(b, ()))

    def _add(self, node: object, type_: str) -> None:
        if isinstance(node, Variable | tuple):
            self._types.setdefault(self._root(node), set()).add(type_)

    def _plan(self, plan: Plan) -> None:
        for stratum in plan.strata:
            for relation in stratum.relations:
                for clause in relation.clauses:
                    for place, term in enumerate(clause.head):
                        self._head(relation.name, place, term)
                    self._body(clause.body)
        self._body(plan.body)

    def _head(self, relation: str, place: int, term: object) -> None:
        if isinstance(term, Variable):
            self._unite((relation, place), term)
        elif isinstance(term, Constant):
            self._add((relation, place), type_of(term.value))
        elif isinstance(term, Parameter):
            self._add((relation, place), type_of(self._execution.parameters[term.name]))

    def _body(self, body: Body) -> None:
        scanned = {
            term
            for literal in body
            if isinstance(literal, Scan) and self._value_type(literal) is not None
            for term in (literal.e, literal.v)
        }
        for literal in body:
            self._literal(literal, scanned)
            for inner in bodies_of(literal):
                self._body(inner)

    def _literal(self, literal: Literal, scanned: Container[object]) -> None:
        match literal:
            case Scan():
                value_type = self._value_type(literal) or TOKEN
                for term, type_ in zip(literal.terms, (TOKEN, STRING, value_type, INTEGER), strict=True):
                    self._add(term, type_)
            case Slice():
                self._add(literal.e, TOKEN)
                self._add(literal.offset, INTEGER)
            case Call():
                for place, term in enumerate(literal.terms):
                    if isinstance(term, Variable):
                        self._unite((literal.relation, place), term)
            case Given():
                self._rows(literal.variables, self._execution.given[literal.position], scanned)
            case Rows():
                rows = self._execution.sources[literal.source]
                assert not hasattr(rows, "log"), "planned as a collection"
                wide = [row for row in rows if len(row) >= len(literal.terms)]
                self._rows(literal.terms, wide, scanned)
            case Compute():
                for variable in binding_variables(literal.binding):
                    self._add(variable, TOKEN)

    def _rows(self, terms: Sequence[object], rows: Iterable[tuple[Any, ...]], scanned: Container[object]) -> None:
        """A column of given rows takes the type of the scan it joins; rows that do not fit cannot join."""
        rows = list(rows)
        for place, term in enumerate(terms):
            if term not in scanned:
                self._add(term, column_type([row[place] for row in rows]) if rows else TOKEN)
