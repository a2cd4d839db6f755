"""Rows as data frames: pandas, polars, Arrow. The only module that knows these libraries, each of which is
imported when it is first asked for.

No value is changed on the way: a column has a type of the library's if all its values are of one kind that the
type holds exactly, else it is one of Python objects, or refused where there are none. Datetimes with a zone come
in UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from tourlog.errors import ArgumentError
from tourlog.html import document_columns

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

Column: TypeAlias = list[Any]

_SCALARS = (bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta)
_INT64 = range(-(2**63), 2**63)
_DECIMAL_DIGITS = 38
_INT128 = range(-(2**127), 2**127)


def to_pandas(columns: Sequence[str], rows: Sequence[Any]) -> pandas.DataFrame:
    """The rows as a pandas `DataFrame`; None is NA, in a column of floats NaN."""
    try:
        import pandas
    except ImportError as error:
        raise _missing("pandas") from error

    def series(values: Column) -> Any:
        return pandas.Series(values, dtype=_pandas_type(values))

    table = {name: series(values) for name, values in _columns(columns, rows)}
    return pandas.DataFrame(table, index=pandas.RangeIndex(len(rows)))


def to_polars(columns: Sequence[str], rows: Sequence[Any]) -> polars.DataFrame:
    """The rows as a polars `DataFrame`."""
    try:
        import polars
    except ImportError as error:
        raise _missing("polars") from error

    def series(name: str, values: Column) -> Any:
        if _fits(values, _SCALARS):
            return polars.Series(name, values)
        is_large = all(value is None or (type(value) is int and value in _INT128) for value in values)
        return polars.Series(name, values, dtype=polars.Int128 if is_large else polars.Object)

    return polars.DataFrame([series(name, values) for name, values in _columns(columns, rows)])


def to_arrow(columns: Sequence[str], rows: Sequence[Any]) -> pyarrow.Table:
    """The rows as an Arrow `Table`. ArgumentError for a column that no type of Arrow's holds exactly."""
    try:
        import pyarrow
    except ImportError as error:
        raise _missing("pyarrow") from error
    arrays = {}
    for name, values in _columns(columns, rows):
        if not _fits(values, (*_SCALARS, UUID)):
            kinds = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
            raise ArgumentError(f"expected values that one type of Arrow's holds exactly in {name}, got {kinds}")
        arrays[name] = pyarrow.array(values)
    return pyarrow.table(arrays)


def _missing(package: str) -> ArgumentError:
    return ArgumentError(f"expected {package} to be installed: pip install 'tourlog[frames]'", package=package)


def _columns(columns: Sequence[str], rows: Sequence[Any]) -> list[tuple[str, Column]]:
    """The values of each column. Documents that stand alone are spread over columns, one an attribute; where one
    lacks it, there is None."""
    if len(columns) == 1 and rows and all(isinstance(row, tuple) and isinstance(row[0], dict) for row in rows):
        documents = [row[0] for row in rows]
        return [(name, _same([each.get(name) for each in documents])) for name in document_columns(documents)]
    tuples = [tuple(row.values()) if isinstance(row, dict) else row for row in rows]
    return [(name, _same([row[place] for row in tuples])) for place, name in enumerate(columns)]


def _same(values: Column) -> Column:
    """Whole numbers among floats as floats, if that changes none of them."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float} and all(type(value) is not int or _is_exact(value) for value in values):
        return [float(value) if type(value) is int else value for value in values]
    return values


def _is_exact(value: int) -> bool:
    return value.bit_length() <= 1023 and int(float(value)) == value


def _fits(values: Column, scalars: tuple[type, ...]) -> bool:
    """Whether all values but None are of one kind, and that kind is a scalar, or lists or dicts of such."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if len(kinds) > 1:
        return False
    match kinds.pop() if kinds else None:
        case None:
            return True
        case kind if kind is int:
            return all(value in _INT64 for value in present)
        case kind if kind is Decimal:
            return _fits_decimals(present)
        case kind if kind in (datetime, time):
            return len({value.tzinfo is None for value in present}) == 1 and (kind is datetime or _is_naive(present))
        case kind if kind in (list, tuple):
            return _fits([inner for value in present for inner in value], scalars)
        case kind if kind is dict:
            names = present[0].keys()
            same = all(value.keys() == names for value in present)
            return bool(names) and same and all(_fits([v[name] for v in present], scalars) for name in names)
        case kind:
            return kind in scalars


def _fits_decimals(values: Column) -> bool:
    """Whether one decimal type, of 38 digits at most, holds all of these."""
    exponents = [value.as_tuple().exponent for value in values]
    if not all(isinstance(exponent, int) for exponent in exponents):  # NaN and the infinities have a letter
        return False
    scale = max(0, *(-int(exponent) for exponent in exponents))
    whole: int = max(0, *(value.adjusted() + 1 for value in values))
    return scale + whole <= _DECIMAL_DIGITS


def _is_naive(times: Column) -> bool:
    return all(value.tzinfo is None for value in times)


_PANDAS_TYPES: dict[type, str] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "str",
    timedelta: "timedelta64[us]",
}
_PANDAS_TYPES_WITH_NONE = {bool: "boolean", int: "Int64"}


def _pandas_type(values: Column) -> Any:
    kinds = {type(value) for value in values}
    has_none = type(None) in kinds
    kinds -= {type(None)}
    if len(kinds) != 1 or not _fits(values, _SCALARS):
        return object
    kind = kinds.pop()
    if kind is datetime:
        is_naive = all(value is None or value.tzinfo is None for value in values)
        return "datetime64[us]" if is_naive else "datetime64[us, UTC]"
    return (_PANDAS_TYPES_WITH_NONE if has_none else _PANDAS_TYPES).get(kind, _PANDAS_TYPES.get(kind, object))
