"""A SELECT in the making: tables, conditions, and where each variable is found. Identifiers are generated and
values are bound, so nothing of a query's text becomes SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tourlog.query.syntax import Variable


@dataclass
class Select:
    """Rows over variables. `keys` are variables that tell rows apart: rows over a superset of them are distinct."""

    tables: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    columns: dict[Variable, str] = field(default_factory=dict)
    stars: dict[tuple[str, Variable], str] = field(default_factory=dict)
    """The alias of the row of `rows` that a source's entity is read from."""
    keys: set[Variable] = field(default_factory=set)
    determined: list[tuple[Variable, Variable]] = field(default_factory=list)
    """Pairs of a variable and another whose value follows from its: an entity's single-valued attribute, say."""
    lookups: list[tuple[Variable, Variable, str]] = field(default_factory=list)
    """A value, the entity it was looked up by, and the column: where that is unique, the entity follows."""

    def copy(self) -> Select:
        """A select to go on with that leaves this one as it is."""
        return replace(
            self,
            tables=list(self.tables),
            conditions=list(self.conditions),
            columns=dict(self.columns),
            stars=dict(self.stars),
            keys=set(self.keys),
            determined=list(self.determined),
            lookups=list(self.lookups),
        )

    def following(self, variables: Iterable[Variable]) -> set[Variable]:
        """These variables and all whose values follow from theirs."""
        found = set(variables)
        while more := {second for first, second in self.determined if first in found} - found:
            found |= more
        return found

    def is_distinct_over(self, variables: Iterable[Variable]) -> bool:
        """Whether no two rows agree on all of these variables."""
        return self.keys <= self.following(variables)

    def sql(self, expressions: Iterable[str], *, distinct: bool = False) -> str:
        """The text of the SELECT of these expressions."""
        parts = [f"SELECT {'DISTINCT ' if distinct else ''}{', '.join(expressions) or '1 AS unit'}"]
        if self.tables:
            parts.append("FROM " + ", ".join(self.tables))
        if self.conditions:
            parts.append("WHERE " + " AND ".join(self.conditions))
        return " ".join(parts)

    def over(self, variables: Iterable[Variable]) -> str:
        """The distinct rows over these variables, as columns c0, c1, …"""
        variables = list(variables)
        return self._over(variables, distinct=not self.is_distinct_over(variables))

    def all_over(self, variables: Iterable[Variable]) -> str:
        """The rows over these variables, repeats included."""
        return self._over(variables, distinct=False)

    def _over(self, variables: Iterable[Variable], *, distinct: bool) -> str:
        named = [f"{self.columns[variable]} AS c{place}" for place, variable in enumerate(variables)]
        return self.sql(named, distinct=distinct)
