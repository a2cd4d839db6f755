"""A SELECT in the making: tables, conditions, and where each variable is found. Identifiers are generated and
values are bound, so nothing of a query's text becomes SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tourlog.engines.codec import ANY, BOOLEAN, ENTITY, FLOAT, INTEGER, NEVER, STRING, Codec, native
from tourlog.query.syntax import Variable

_OPERATORS = {"=": "=", "==": "=", "not=": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass
class Select:
    """Rows over variables. `keys` are variables that tell rows apart: rows over a superset are distinct."""

    tables: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    columns: dict[Variable, str] = field(default_factory=dict)
    stars: dict[tuple[str, Variable], str] = field(default_factory=dict)
    keys: set[Variable] = field(default_factory=set)

    def copy(self) -> Select:
        return Select(list(self.tables), list(self.conditions), dict(self.columns), dict(self.stars), set(self.keys))

    def bind(self, variable: Variable, sql: str) -> None:
        """Bind a variable to a column, or compare the two if it is bound."""
        if variable in self.columns:
            self.conditions.append(f"{self.columns[variable]} = {sql}")
        else:
            self.columns[variable] = sql

    def sql(self, expressions: Iterable[str], *, distinct: bool = False) -> str:
        """The text of the SELECT of these expressions."""
        parts = [f"SELECT {'DISTINCT ' if distinct else ''}{', '.join(expressions) or '1 AS unit'}"]
        if self.tables:
            parts.append("FROM " + ", ".join(self.tables))
        if self.conditions:
            parts.append("WHERE " + " AND ".join(self.conditions))
        return " ".join(parts)


class Bound:
    """The values a statement binds, as `$p1`, `$p2`, …"""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.values: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """The parameter that holds a value DuckDB takes as it is."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"${name}"

    def constant(self, value: Any, type_: str) -> str | None:
        """A value as an expression of a column type; None when it equals nothing of that type."""
        if type_ == ANY:
            return f"{self.add(self.codec.encode(value))}::BLOB"
        held = native(value, type_)
        if held is NEVER:
            return None
        casts = {INTEGER: "BIGINT", ENTITY: "BIGINT", FLOAT: "DOUBLE", STRING: "VARCHAR", BOOLEAN: "BOOLEAN"}
        return f"{self.add(held)}::{casts[type_]}"


def comparison(function: str, left: tuple[str, str], right: tuple[str, str]) -> str | None:
    """The SQL of a comparison of two (expression, type) operands; None when SQL would not be exact."""
    operator = _OPERATORS.get(function)
    if operator is None or left[1] != right[1]:
        return None
    sql = f"{left[0]} {operator} {right[0]}"
    if operator in ("=", "<>"):
        return sql
    if left[1] in (INTEGER, STRING):
        return sql
    if left[1] == FLOAT:  # DuckDB holds NaN greater than everything; nothing is ordered with it here
        return f"({sql} AND NOT isnan({left[0]}) AND NOT isnan({right[0]}))"
    return None
