"""Documents as a Parquet file. With `tourlog.frames` the only module that knows pyarrow, which is imported when it is
first asked for (extra `parquet`).

A column has a type of Parquet's if all its values are of one kind that the type holds exactly; else it is JSON text, as
`tourlog.tables` writes it, and its field says so (`tourlog`: `json` in its metadata).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tourlog.database import Database
from tourlog.errors import ArgumentError
from tourlog.export import PLACE, Exported, check_exportable, placed_documents, replaced_file
from tourlog.tables import has_surrogates, json_line

if TYPE_CHECKING:
    from types import ModuleType

    import pyarrow

_INT64 = range(-(2**63), 2**63)
_DECIMAL_DIGITS = 38
_JSON_FIELD = {"tourlog": "json"}

_GROUP_ROWS = 20_000
_GROUP_CHARACTERS = 1 << 25
"""A row group ends at so many rows, or so many characters and bytes: it is what is held in memory."""

_JSON, _TEXT, _INTEGER, _FLOAT, _DECIMAL = "json", "text", "integer", "float", "decimal"
_INSTANT, _LOCAL, _TIME, _UUID = "instant", "local", "time", "uuid"
_KINDS: dict[type, str] = {bool: "boolean", int: _INTEGER, float: _FLOAT, str: _TEXT, bytes: "binary", date: "date"}
_KINDS |= {datetime: _LOCAL, time: _TIME, UUID: _UUID, Decimal: _DECIMAL}


def export_parquet(db: Database, file: str | os.PathLike[str], key: Any = None) -> Exported:
    """Write the documents of a database `db` to a Parquet `file`, in the order of commits; `key` says of which streams,
    as that of `Connection.subscribe`. The columns are `db/id` (as text), `db/key` (the names of the key attributes),
    `offset`, `db/tx`, `db/tx-instant`, then every attribute that any of the documents has.

    Booleans, integers of 64 bits, floats, text, bytes, dates, times, datetimes and decimals of 38 digits are those of
    Parquet: datetimes with a zone in UTC, decimals of a column with as many digits after the point. UUIDs are text.
    Collections, nested documents, durations, larger numbers and columns of several kinds are JSON text. None and a
    missing attribute are null, but in JSON text, where None is `null`.

    The documents are read twice, as they are written, be they longer than memory; the file takes its name when it is
    whole.

    Raises ArgumentError for what is no database, key or path, or when pyarrow is not installed; DocumentError for a
    value that no key has; StorageError when the file cannot be written.
    """
    check_exportable(db, key)
    with replaced_file(file) as opened:
        arrow, writer_of = _pyarrow()
        columns = _columns(db, key)
        fields = [*_place_fields(arrow), *[_field(arrow, name, column) for name, column in columns.items()]]
        schema, count = arrow.schema(fields), 0
        with writer_of(opened, schema) as writer:
            for group in _groups(_rows(db, key, columns)):
                cells = zip(zip(*group, strict=True), schema, strict=True)
                arrays = [arrow.array(values, type=each.type) for values, each in cells]
                writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
                count += len(group)
    return Exported(count, tuple(schema.names), db.t)


def _pyarrow() -> tuple[ModuleType, Any]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise ArgumentError(
            "expected pyarrow to be installed: pip install 'tourlog[parquet]'", package="pyarrow"
        ) from error
    return pyarrow, ParquetWriter


def _columns(db: Database, key: Any) -> dict[str, _Column]:
    columns: dict[str, _Column] = {}
    for placed in placed_documents(db, key):
        for name, value in placed.document.items():
            columns.setdefault(name, _Column()).add(value)
    return columns


def _rows(db: Database, key: Any, columns: Mapping[str, _Column]) -> Iterator[tuple[Any, ...]]:
    encoders = [(name, column.encoder()) for name, column in columns.items()]
    for placed in placed_documents(db, key):
        e, *place = placed.place()
        own = [encode(placed.document[name]) if name in placed.document else None for name, encode in encoders]
        yield str(e), *place, *own


def _groups(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows in groups that fit into memory."""
    group: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(group) == _GROUP_ROWS or size >= _GROUP_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


# Columns.


@dataclass(slots=True)
class _Column:
    """What a column's values are, learned one after another."""

    kinds: set[str] = field(default_factory=set)
    are_exact: bool = True
    """Whether all integers are floats, too."""
    whole: int = 0
    scale: int = 0
    """The digits of decimals before and after the point."""

    def add(self, value: Any) -> None:
        """Learn of one value more."""
        if value is None:
            return
        kind = _kind(value)
        self.kinds.add(kind)
        if kind is _INTEGER:
            self.are_exact = self.are_exact and int(float(value)) == value
        elif kind is _DECIMAL:
            exponent = value.as_tuple().exponent
            self.scale = max(self.scale, -exponent)
            self.whole = max(self.whole, value.adjusted() + 1)

    @property
    def kind(self) -> str:
        """The one kind they all can be written as."""
        if self.kinds == {_INTEGER, _FLOAT} and self.are_exact:
            return _FLOAT
        if len(self.kinds) > 1 or (self.kinds == {_DECIMAL} and self.whole + self.scale > _DECIMAL_DIGITS):
            return _JSON
        return next(iter(self.kinds), _TEXT)

    def encoder(self) -> Callable[[Any], Any]:
        """Makes what is written of a value."""
        kind = self.kind
        if kind == _JSON:
            return json_line
        if kind in (_FLOAT, _UUID):
            make: Callable[[Any], Any] = float if kind == _FLOAT else str
            return lambda value: None if value is None else make(value)
        return lambda value: value


def _kind(value: Any) -> str:
    kind = _KINDS.get(type(value), _JSON)
    if kind is _INTEGER:
        return kind if value in _INT64 else _JSON
    if kind is _TEXT:
        return _JSON if has_surrogates(value) else kind
    if kind is _DECIMAL:
        return kind if value.is_finite() else _JSON
    if kind is _LOCAL and value.tzinfo is not None:
        return _INSTANT if _has_time_in_utc(value) else _JSON
    if kind is _TIME and value.tzinfo is not None:
        return _JSON
    return kind


def _has_time_in_utc(value: datetime) -> bool:
    """Whether an instant lies in the years 1 to 9999 there, too: what reads the file could not show another."""
    if 1 < value.year < 9999:
        return True
    try:
        value.astimezone(UTC)
    except OverflowError:
        return False
    return True


def _field(arrow: ModuleType, name: str, column: _Column) -> pyarrow.Field:
    kind = column.kind
    types = {
        "boolean": arrow.bool_,
        _INTEGER: arrow.int64,
        _FLOAT: arrow.float64,
        "binary": arrow.binary,
        "date": arrow.date32,
        _LOCAL: lambda: arrow.timestamp("us"),
        _INSTANT: lambda: arrow.timestamp("us", "UTC"),
        _TIME: lambda: arrow.time64("us"),
        _DECIMAL: lambda: arrow.decimal128(max(column.whole + column.scale, 1), column.scale),
    }
    return arrow.field(name, types.get(kind, arrow.string)(), metadata=_JSON_FIELD if kind == _JSON else None)


def _place_fields(arrow: ModuleType) -> list[pyarrow.Field]:
    types = (arrow.string(), arrow.list_(arrow.string()), arrow.int64(), arrow.int64(), arrow.timestamp("us", "UTC"))
    return [arrow.field(name, type_) for name, type_ in zip(PLACE, types, strict=True)]
