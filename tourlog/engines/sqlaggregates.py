"""Aggregates as SQL: computed by DuckDB where it is exact, else over each group's list of values by the built-ins
or by the callables of `:in`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

from tourlog.engines.codec import FLOAT, INTEGER, TOKEN
from tourlog.engines.execution import aggregate
from tourlog.engines.select import Select
from tourlog.engines.session import Session
from tourlog.errors import BudgetError
from tourlog.query.syntax import Aggregate, FindElement, Pull, Variable


@dataclass(frozen=True, slots=True)
class _Scale:
    """Floats that are whole numbers of 2**-bits, below 2**limit of them, which DuckDB adds exactly as this type: as
    many as fit in memory have a sum that 128 bits hold."""

    bits: int
    limit: int
    type: str


_SCALES = (_Scale(20, 62, "BIGINT"), _Scale(72, 100, "HUGEINT"))
"""Halves, eighths and whole numbers are the first; any floats between about 1e-6 and 1e8 the second, in half as long
again."""
_MOST_SCALES = 1_000

_LONGEST = 20_000_000
"""Values of a group that may become a list of Python's, some 50 bytes each."""
_VALUES_A_SECOND = 1_000_000
"""About how many of them an aggregate deals with in a second."""

_FEW = 100_000
"""Values of a column that are worth being compared to spare the rows of a join."""


@dataclass(frozen=True, slots=True)
class _Made:
    """The columns of the statement a value is made of, and how; `groups` is the key of what rows are grouped by."""

    expressions: tuple[str, ...]
    make: Callable[..., Any]
    groups: str = ""


class _Inexact(Exception):
    """Values that DuckDB cannot add exactly were met."""


def aggregated(session: Session, select: Select, variables: Sequence[Variable], types: Sequence[str]) -> list[Any]:
    """The rows of `:find` from the distinct rows over `variables`, one a group."""
    elements = session.execution.plan.find.elements
    columns = dict(zip(variables, ((f"c{i}", type_) for i, type_ in enumerate(types)), strict=True))
    scales, asked = session.scales, select.all_over(variables)
    for place in range(scales.get(asked, 0), len(_SCALES)):
        try:
            made = [_element(session, e, columns, _SCALES[place]) for e in elements]
            return _rows(session, select, variables, made)
        except _Inexact:
            if len(scales) >= _MOST_SCALES:
                scales.clear()
            scales[asked] = place + 1
    return _rows(session, select, variables, [_element(session, e, columns, None) for e in elements])


def _rows(session: Session, select: Select, variables: Sequence[Variable], made: Sequence[_Made]) -> list[Any]:
    groups = dict.fromkeys(each.groups for each in made if each.groups)
    grouped = f" GROUP BY {', '.join(groups)}" if groups else ""
    expressions = [expression for each in made for expression in each.expressions]
    if not groups:  # SQL has a row even for no rows then, which the last column tells
        expressions.append("count(*)")
    if _ignores_repeats(session):
        rows = select.all_over(variables)
    else:
        _look_for_unique_columns(session, select, variables)
        rows = session.distinct(select, variables)
    sql = f"SELECT {', '.join(expressions)} FROM ({rows}){grouped}"
    ends = list(accumulate(len(each.expressions) for each in made))
    places = [slice(start, end) for start, end in pairwise([0, *ends])]
    check = session.execution.budget.check
    found = []
    for row in session.fetch(sql):
        check()
        if groups or row[-1]:
            found.append(tuple([each.make(*row[place]) for each, place in zip(made, places, strict=True)]))
    return found


def _look_for_unique_columns(session: Session, select: Select, variables: Sequence[Variable]) -> None:
    """Where every entity's value is its own, as in a table of countries by name, rows joined to it stay distinct:
    to find that out for a few values is quicker than to compare all the rows."""
    for value, entity, column in select.lookups:
        found = select.following(variables)
        if value in found and entity in select.keys - found:
            if column not in session.unique:
                sql = f"SELECT count({column}) <= {_FEW} AND count({column}) = count(DISTINCT {column}) FROM rows"
                answer = session.fetch(sql)
                if session.dry:
                    continue
                session.unique[column] = answer == [(True,)]
            if session.unique[column]:
                select.determined.append((value, entity))


def _ignores_repeats(session: Session) -> bool:
    """Whether every aggregate gives the same of rows that are there twice, so that none need be looked for."""
    aggregates = [e for e in session.execution.plan.find.elements if isinstance(e, Aggregate)]
    return all(e.function in ("min", "max", "count-distinct") and len(e.arguments) == 1 for e in aggregates)


def _element(
    session: Session, element: FindElement, columns: dict[Variable, tuple[str, str]], scale: _Scale | None
) -> _Made:
    if not isinstance(element, Aggregate):
        column, type_ = columns[element.variable if isinstance(element, Pull) else element]
        key = session.key(column, type_)
        return _Made((column if key == column else f"any_value({column})",), session.maker(type_) or _unchanged, key)
    variable = element.arguments[-1]
    assert isinstance(variable, Variable), "an aggregate is over a variable"
    column, type_ = columns[variable]
    is_alone = len(element.arguments) == 1
    by_sql = _by_sql(element, column, session.key(column, type_), type_, scale) if is_alone else None
    return by_sql or _by_list(session, element, column, type_)


def _by_list(session: Session, element: Aggregate, column: str, type_: str) -> _Made:
    """By the list of a group's values, which becomes Python's in one go that nothing can stop: one too long for the
    time left, or for the memory, does not leave DuckDB."""
    execution, decode = session.execution, session.maker(type_) or _unchanged
    remaining = execution.budget.remaining
    longest = _LONGEST if remaining is None else min(_LONGEST, int(remaining * _VALUES_A_SECOND))

    def make(values: list[Any] | None) -> Any:
        if values is None:
            budget = "memory" if longest == _LONGEST else "timeout"
            raise BudgetError(f"{element} over more than {longest} values of a group takes too long", budget=budget)
        return aggregate(execution, element, values if decode is _unchanged else list(map(decode, values)))

    return _Made((f"CASE WHEN count(*) <= {longest} THEN list({column}) END",), make)


def _by_sql(element: Aggregate, column: str, key: str, type_: str, scale: _Scale | None) -> _Made | None:
    """What DuckDB computes exactly as the built-in does; sums of floats at a scale they may turn out not to fit."""
    match element.function:
        case "count":
            return _Made(("count(*)",), int)
        case "count-distinct":
            return _Made((f"count(DISTINCT {key})",), int)
        case "sum" if type_ == INTEGER:
            return _Made((f"sum({column})",), int)
        case "avg" if type_ == INTEGER:
            return _Made((f"sum({column})", "count(*)"), lambda total, rows: int(total) / rows)
        case "sum" if type_ == FLOAT and scale is not None:
            return _Made(_scaled_sum(column, scale), partial(_sum, scale))
        case "avg" if type_ == FLOAT and scale is not None:
            total, is_exact = _scaled_sum(column, scale)
            # To count those alone that are exact, all of them or the sum is no use, takes half the time of count(*).
            return _Made((total, is_exact, f"count(*) FILTER ({_is_whole(column, scale)})"), partial(_mean, scale))
        case "min" | "max" if type_ != TOKEN:  # NaN is the last of the numbers for DuckDB, too
            return _Made((f"{element.function}({column})",), _unchanged)
        case _:
            return None


def _scaled_sum(column: str, scale: _Scale) -> tuple[str, str]:
    """The sum of floats at a scale, and whether it is exact."""
    return f"sum(TRY_CAST({_scaled(column, scale)} AS {scale.type}))", f"bool_and({_is_whole(column, scale)})"


def _scaled(column: str, scale: _Scale) -> str:
    return f"({column} * {float(2**scale.bits)!r}::DOUBLE)"


def _is_whole(column: str, scale: _Scale) -> str:
    """Whether a scaled float is a whole number DuckDB adds exactly; of NaN and infinities it is false, too."""
    scaled = _scaled(column, scale)
    return f"({scaled} = trunc({scaled}) AND abs({scaled}) < {float(2**scale.limit)!r}::DOUBLE)"


def _sum(scale: _Scale, scaled: int, is_exact: bool) -> float:
    if not is_exact:
        raise _Inexact
    return float(Fraction(scaled, 2**scale.bits))


def _mean(scale: _Scale, scaled: int, is_exact: bool, rows: int) -> float:
    return _sum(scale, scaled, is_exact) / rows


def _unchanged(value: Any) -> Any:
    return value
