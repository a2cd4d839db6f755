"""Comparisons as SQL, exact for every pair of column types and constants, or not made at all.

A comparison between kinds is false (`not=` true), as it is everywhere else; NaN is ordered with nothing.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from tourlog.engines.codec import BOOLEAN, FLOAT, INTEGER, NEVER, STRING, TOKEN, native

OPERATORS = {"=": "=", "==": "=", "not=": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "<>": "<>"}
_NUMBERS = frozenset({INTEGER, FLOAT})
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def flipped(operator: str) -> str:
    """The operator that says the same with its operands exchanged."""
    return _FLIPPED[operator]


def compare_columns(operator: str, left: tuple[str, str], right: tuple[str, str]) -> str | None:
    """The SQL that compares two columns, each an expression and its type; None where SQL is not exact."""
    types = {left[1], right[1]}
    if len(types) == 2:
        return None if TOKEN in types or types == _NUMBERS else _between_kinds(operator)
    sql = f"{left[0]} {operator} {right[0]}"
    if operator in ("=", "<>"):
        return sql
    if left[1] == TOKEN:
        return None
    return f"({sql} AND NOT isnan({left[0]}) AND NOT isnan({right[0]}))" if left[1] == FLOAT else sql


def compare_constant(operator: str, column: str, type_: str, value: Any) -> tuple[str, Any] | None:
    """The SQL, `{}` standing for what is to be bound there, that compares a native column with a value, and what
    is to be bound (`NEVER` for nothing); None where SQL is not exact.

    >>> compare_constant("<", "x", INTEGER, 2.5)
    ('x < {}', 3)
    """
    if type_ == TOKEN:
        return None
    if type_ in (STRING, BOOLEAN):
        held = native(value, type_)
        if held is NEVER and type(value) is str and operator not in ("=", "<>"):
            return None  # a string with lone surrogates
        return (_between_kinds(operator), NEVER) if held is NEVER else (f"{column} {operator} {{}}", held)
    if type(value) not in (int, float, Decimal):
        return _between_kinds(operator), NEVER
    if _is_nan(value):
        return _with_nan(operator, column, type_)
    return _integers(operator, column, value) if type_ == INTEGER else _floats(operator, column, value)


def _between_kinds(operator: str) -> str:
    return "true" if operator == "<>" else "false"


def _is_nan(value: int | float | Decimal) -> bool:
    return value.is_nan() if isinstance(value, Decimal) else value != value


def _with_nan(operator: str, column: str, type_: str) -> tuple[str, Any]:
    if type_ == INTEGER or operator not in ("=", "<>"):
        return _between_kinds(operator), NEVER
    return (f"isnan({column})" if operator == "=" else f"NOT isnan({column})"), NEVER


def _integers(operator: str, column: str, value: int | float | Decimal) -> tuple[str, Any]:
    """An integer is below a number exactly when it is below the next integer, and so on."""
    if operator in ("=", "<>"):
        held = native(value, INTEGER)
        return (_between_kinds(operator), NEVER) if held is NEVER else (f"{column} {operator} {{}}", held)
    is_upper = operator in ("<", "<=")
    if value > _HIGHEST or value < _LOWEST:
        return ("true" if is_upper == (value > 0) else "false"), NEVER
    return f"{column} {operator} {{}}", math.ceil(value) if operator in ("<", ">=") else math.floor(value)


def _floats(operator: str, column: str, value: int | float | Decimal) -> tuple[str, Any] | None:
    """A float is below a number between two floats exactly when it is not above the lower of them."""
    try:
        nearest = float(value)
    except OverflowError:
        return None
    if nearest == value:
        sql = f"{column} {operator} {{}}"
        return (sql if operator in ("=", "<>") else f"({sql} AND NOT isnan({column}))"), nearest
    if operator in ("=", "<>"):
        return _between_kinds(operator), NEVER
    below = operator in ("<", "<=")
    inclusive = below == (nearest < value)
    strict = operator.rstrip("=")
    return f"({column} {strict}{'=' if inclusive else ''} {{}} AND NOT isnan({column}))", nearest
