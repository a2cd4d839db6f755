"""Values as DuckDB columns hold them: a native type where all of a column's values are of it, else tokens
(numbers that stand for values, see `tokens`). A native column is exact for the values it takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from tourlog.values import MISSING

INTEGER: Final = "integer"
FLOAT: Final = "float"
STRING: Final = "string"
BOOLEAN: Final = "boolean"
TOKEN: Final = "token"

SQL_TYPES: Final = {INTEGER: "BIGINT", FLOAT: "DOUBLE", STRING: "VARCHAR", BOOLEAN: "BOOLEAN", TOKEN: "BIGINT"}

NEVER: Any = object()
"""What a value becomes in a column that can hold nothing equal to it."""

_NATIVE: dict[type, str] = {int: INTEGER, float: FLOAT, str: STRING, bool: BOOLEAN}
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_ABSENT = type(MISSING)


def joined(types: Iterable[str]) -> str:
    """The type of a column that must hold values of all these types."""
    distinct = set(types)
    return distinct.pop() if len(distinct) == 1 else TOKEN


def type_of(value: Any) -> str:
    """The native type a value fits, else TOKEN."""
    return column_type((value,))


def column_type(values: Sequence[Any]) -> str:
    """The type of a column of these values, `MISSING` ones aside; passes that never leave C.

    >>> column_type([1, 2]), column_type([1, 2.0]), column_type(["a", MISSING]), column_type([2**63])
    ('integer', 'token', 'string', 'token')
    """
    kinds = set(map(type, values))
    has_absent = _ABSENT in kinds
    kinds.discard(_ABSENT)
    native_type = _NATIVE.get(kinds.pop(), TOKEN) if len(kinds) == 1 else TOKEN
    if native_type not in (INTEGER, STRING):
        return native_type
    present = [value for value in values if value is not MISSING] if has_absent else values
    if native_type == INTEGER:
        return INTEGER if min(present) >= _LOWEST and max(present) <= _HIGHEST else TOKEN
    return STRING if _are_text(present) else TOKEN


def native(value: Any, type_: str) -> Any:
    """A value as a column of this (native) type holds it, NEVER when it equals nothing there.

    >>> native(2.0, INTEGER), native(2.5, INTEGER) is NEVER, native("2", INTEGER) is NEVER
    (2, True, True)
    """
    if type_ == STRING:
        return value if type(value) is str and _are_text((value,)) else NEVER
    if type_ == BOOLEAN:
        return value if type(value) is bool else NEVER
    if type(value) not in (int, float, Decimal):
        return NEVER
    return _integer(value) if type_ == INTEGER else _float(value)


def _integer(value: int | float | Decimal) -> Any:
    if not _is_finite(value) or not _LOWEST <= value <= _HIGHEST or int(value) != value:
        return NEVER
    return int(value)


def _float(value: int | float | Decimal) -> Any:
    if isinstance(value, float):
        return value
    if not _is_finite(value):
        return math.nan if isinstance(value, Decimal) and value.is_nan() else float(value)
    try:
        nearest = float(value)
    except OverflowError:
        return NEVER
    return nearest if nearest == value else NEVER


def _is_finite(value: int | float | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else isinstance(value, int) or math.isfinite(value)


def _are_text(values: Sequence[str]) -> bool:
    """Whether strings can be UTF-8: one with lone surrogates cannot."""
    try:
        for start in range(0, len(values), 10_000):
            "".join(values[start : start + 10_000]).encode()
    except UnicodeEncodeError:
        return False
    return True
