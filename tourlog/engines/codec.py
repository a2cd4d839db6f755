"""Values as DuckDB columns hold them: one native type where a column's values allow it, else canonical bytes.

Canonical bytes (`values.ordered_bytes`) are equal and ordered exactly as the values are, whatever their
mix; a native column is faster and just as exact for the values it takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from tourlog.values import ordered_bytes

ENTITY: Final = "entity"
INTEGER: Final = "integer"
FLOAT: Final = "float"
STRING: Final = "string"
BOOLEAN: Final = "boolean"
ANY: Final = "any"

SQL_TYPES: Final = {
    ENTITY: "BIGINT",
    INTEGER: "BIGINT",
    FLOAT: "DOUBLE",
    STRING: "VARCHAR",
    BOOLEAN: "BOOLEAN",
    ANY: "BLOB",
}

NEVER: Any = object()
"""What a value becomes in a column that can hold nothing equal to it."""

_NATIVE: dict[type, str] = {int: INTEGER, float: FLOAT, str: STRING, bool: BOOLEAN}
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def joined(types: Iterable[str]) -> str:
    """The type of a column that must hold values of all these types."""
    distinct = set(types)
    return distinct.pop() if len(distinct) == 1 else ANY


def type_of(value: Any) -> str:
    """The native type a value fits, else ANY."""
    native = _NATIVE.get(type(value), ANY)
    if native == INTEGER and not _LOWEST <= value <= _HIGHEST:
        return ANY
    return ANY if native == STRING and not _is_text(value) else native


def column_type(values: Iterable[Any]) -> str:
    """The type of a column of these values."""
    kinds = set(map(type, values))
    native = _NATIVE.get(kinds.pop(), ANY) if len(kinds) == 1 else ANY
    if native in (INTEGER, STRING):
        return joined(set(map(type_of, values)))
    return native


def native(value: Any, type_: str) -> Any:
    """A value as a column of this (native) type holds it, NEVER when it equals nothing there."""
    if type_ == STRING:
        return value if type(value) is str and _is_text(value) else NEVER
    if type_ == BOOLEAN:
        return value if type(value) is bool else NEVER
    if type(value) not in (int, float, Decimal):
        return NEVER
    return _integer(value) if type_ == INTEGER else _float(value)


def _integer(value: int | float | Decimal) -> Any:
    if not math.isfinite(value) or not _LOWEST <= value <= _HIGHEST or int(value) != value:
        return NEVER
    return int(value)


def _float(value: int | float | Decimal) -> Any:
    if isinstance(value, float) or not math.isfinite(value):
        return NEVER if isinstance(value, Decimal) and value.is_snan() else float(value)
    try:
        nearest = float(value)
    except OverflowError:
        return NEVER
    return nearest if nearest == value else NEVER


def _is_text(value: str) -> bool:
    """Whether a string can be UTF-8: one with lone surrogates cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Codec:
    """Values to canonical bytes and back: remembers the values it made bytes of."""

    def __init__(self, base: Codec | None = None) -> None:
        self._base = base
        self._values: dict[bytes, Any] = {}

    def encode(self, value: Any) -> bytes:
        """The canonical bytes of a value."""
        key = ordered_bytes(value)
        if self._base is None or key not in self._base._values:
            self._values.setdefault(key, value)
        return key

    def decode(self, key: bytes) -> Any:
        """The first value encoded to these bytes."""
        if key in self._values:
            return self._values[key]
        assert self._base is not None, "bytes come from this codec or its base"
        return self._base.decode(key)
