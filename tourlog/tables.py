"""Prints values: as tables for people, as JSON lines for machines. Knows nothing of stores and queries.

JSON has fewer kinds of values than a document. The others are written like this: UUIDs as text, dates,
times and durations as ISO 8601 text, decimals as text with all their digits, bytes as base64, NaN and the
infinities as "NaN", "Infinity" and "-Infinity", tuples and sets (sorted) as arrays, and integers of more
than about 4,000 digits, which few programs read, as hexadecimal text.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from typing import IO, Any

import msgspec
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from tourlog.html import visible
from tourlog.values import MISSING, sort_key

_MAX_BITS = 14_000  # Python refuses to write integers of more than 4,300 digits in decimal.


def jsonable(value: Any) -> Any:
    """`value` out of what JSON has; see the module's text for what becomes of the rest.

    >>> from datetime import date, timedelta
    >>> jsonable({"at": date(2026, 1, 31), "took": timedelta(minutes=2), "tags": {"b", "a"}, "raw": b"x"})
    {'at': '2026-01-31', 'took': 'PT120S', 'tags': ['a', 'b'], 'raw': 'eA=='}
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if value.bit_length() <= _MAX_BITS else hex(value)
        case float():
            return value if math.isfinite(value) else _not_finite(value)
        case dict():
            return {key: jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
        case set() | frozenset():
            return [jsonable(item) for item in sorted(value, key=sort_key)]
        case bytes():
            return b64encode(value).decode("ascii")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return msgspec.to_builtins(value)
        case _:
            return str(value)


def json_line(value: Any) -> str:
    """`value` as one line of JSON.

    >>> json_line((1, 2.5, "é"))
    '[1, 2.5, "é"]'
    """
    return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False)


def cell(value: Any) -> str:
    r"""`value` as it stands in a table: text as it is, the rest as JSON, control characters made visible.

    >>> cell("a\nb"), cell(["a", None])
    ('a\\nb', '["a", null]')
    """
    encoded = jsonable(value)
    text = encoded if isinstance(encoded, str) else json.dumps(encoded, ensure_ascii=False)
    return visible(text)


def print_table(
    console: Console,
    columns: Sequence[str] | None,
    rows: Iterable[Sequence[Any]],
    *,
    title: str | None = None,
) -> None:
    """Print `rows` under `columns` (None: without a header); `MISSING` cells stay empty. On a terminal long
    cells are folded to fit its width; elsewhere a row is one line.
    """
    if title is not None:
        console.print(Text(cell(title), style="bold"), soft_wrap=True)
    console.print(_table(columns, list(rows), fold=console.is_terminal))


def _table(columns: Sequence[str] | None, rows: Sequence[Sequence[Any]], *, fold: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=columns is not None)
    names = columns if columns is not None else [""] * max(map(len, rows), default=0)
    for place, name in enumerate(names):
        justify: JustifyMethod = "right" if all(_is_number(row[place]) for row in rows) else "left"
        table.add_column(Text(cell(name)), justify=justify, overflow="fold", no_wrap=not fold)
    for row in rows:
        table.add_row(*(Text("" if value is MISSING else cell(value)) for value in row))
    return table


def print_json_lines(values: Iterable[Any], file: IO[str] | None = None) -> None:
    """Print every value as a line of JSON."""
    for value in values:
        print(json_line(value), file=file)


def document_table(
    documents: Sequence[dict[str, Any]], *, without: Sequence[str] = ()
) -> tuple[list[str], list[list[Any]]]:
    """The columns and rows of a table of documents: a column an attribute, in order of first appearance.

    >>> document_table([{"a": 1, "b": 2}, {"a": 3, "c": None}], without=["b"])
    (['a', 'c'], [[1, UNSET], [3, None]])
    """
    names = dict.fromkeys(name for document in documents for name in document if name not in without)
    return list(names), [[document.get(name, MISSING) for name in names] for document in documents]


def _is_number(value: Any) -> bool:
    return value is MISSING or (isinstance(value, int | float) and not isinstance(value, bool))


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
