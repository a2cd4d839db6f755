"""Aggregates as SQL, where DuckDB computes them exactly as the built-ins do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tourlog.engines.codec import BOOLEAN, FLOAT, INTEGER, STRING
from tourlog.engines.select import Select
from tourlog.query.syntax import Aggregate, FindElement, Pull, Variable


@dataclass(frozen=True, slots=True)
class SqlAggregates:
    """One statement that answers `:find`: for each element the columns it takes of a row, and how to make a
    value of them (None: the element is a variable, decoded by its type)."""

    sql: str
    elements: tuple[tuple[slice, Callable[..., Any] | None, Variable], ...]


def sql_aggregates(
    elements: Sequence[FindElement],
    select: Select,
    variables: Sequence[Variable],
    type_of: Callable[[Variable], str],
) -> SqlAggregates | None:
    """The statement for these elements over distinct rows of `variables`; None when one of them is not exact
    in SQL, or none is an aggregate."""
    if not any(isinstance(element, Aggregate) for element in elements):
        return None
    names = {variable: f"c{place}" for place, variable in enumerate(variables)}
    expressions: list[str] = []
    groups: list[str] = []
    made: list[tuple[slice, Callable[..., Any] | None, Variable]] = []
    for element in elements:
        start = len(expressions)
        if isinstance(element, Aggregate):
            found = _aggregate(element, names, type_of)
            if found is None:
                return None
            expressions.extend(found[0])
            made.append((slice(start, len(expressions)), found[1], found[2]))
        else:
            variable = element.variable if isinstance(element, Pull) else element
            if variable not in names:
                return None
            expressions.append(names[variable])
            groups.append(names[variable])
            made.append((slice(start, start + 1), None, variable))
    inner = [f"{select.columns[variable]} AS {name}" for variable, name in names.items()]
    rows = select.sql(inner, distinct=not select.is_distinct_over(variables))
    grouped = f" GROUP BY {', '.join(dict.fromkeys(groups))}" if groups else ""
    sql = f"SELECT {', '.join(expressions)} FROM ({rows}){grouped} HAVING count(*) > 0"
    return SqlAggregates(sql, tuple(made))


def _aggregate(
    element: Aggregate, names: dict[Variable, str], type_of: Callable[[Variable], str]
) -> tuple[list[str], Callable[..., Any], Variable] | None:
    variable = element.arguments[-1]
    if len(element.arguments) != 1 or not isinstance(variable, Variable) or variable not in names:
        return None
    column, type_ = names[variable], type_of(variable)
    match element.function:
        case "count":
            return ["count(*)"], int, variable
        case "count-distinct":
            return [f"count(DISTINCT {column})"], int, variable
        case "sum" if type_ == INTEGER:
            return [f"sum({column})"], int, variable
        case "avg" if type_ == INTEGER:
            return [f"sum({column})", "count(*)"], lambda total, rows: int(total) / rows, variable
        case "min" | "max" if type_ in (INTEGER, STRING, FLOAT, BOOLEAN):
            return [f"{element.function}({column})"], lambda value: value, variable
        case _:
            return None
