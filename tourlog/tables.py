"""Prints values: as tables for people, as JSON lines for machines. Knows nothing of stores and queries.

JSON has fewer kinds of values than a document. The others are written like this: UUIDs as text, dates,
times and durations as ISO 8601 text, decimals as text with all their digits, bytes as base64, NaN and the
infinities as "NaN", "Infinity" and "-Infinity", tuples and sets (sorted) as arrays, and integers of more
than about 4,000 digits, which few programs read, as hexadecimal text.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from datetime import date, time, timedelta
from typing import IO, Any

import msgspec
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from tourlog.html import visible
from tourlog.values import MISSING, sort_key

_MAX_BITS = 14_000  # Python refuses to write integers of more than 4,300 digits in decimal.
_SURROGATE = re.compile("[\ud800-\udfff]")

_GAP = 3
"""Between two columns of a table."""

_NARROWEST = 10
"""A column that needs as much is not made narrower: rather the last ones are left out."""

_MOST_LINES = 4
"""About so many lines of a cell are shown on a terminal."""


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


def has_surrogates(text: str) -> bool:
    """Whether a text has half a surrogate pair, which UTF-8 cannot hold."""
    return _SURROGATE.search(text) is not None


def json_line(value: Any, encode: Callable[[Any], Any] = jsonable) -> str:
    """`value` as one line of JSON, made of what `encode` makes of it.

    >>> json_line((1, 2.5, "é"))
    '[1, 2.5, "é"]'
    """
    line = json.dumps(encode(value), ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair is no UTF-8, but JSON has a way to write it.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


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
    """Print `rows` under `columns` (None: without a header); `MISSING` cells stay empty. On a terminal long cells are
    folded to fit its width, very long ones cut, and the last columns left out where there is no room for all, which a
    line says; elsewhere a row is one line, and whole.
    """
    if title is not None:
        console.print(Text(cell(title), style="bold"), soft_wrap=True)
    found = list(rows)
    texts = [["" if value is MISSING else cell(value) for value in row] for row in found]
    names = [cell(name) for name in columns] if columns is not None else [""] * max(map(len, found), default=0)
    numeric = [all(_is_number(row[place]) for row in found) for place in range(len(names))]
    shown = len(names)
    if console.is_terminal:
        shown = _fitting(names, texts, console.width)
        limit = max(_NARROWEST * _MOST_LINES, console.width * _MOST_LINES // max(shown, 1))
        texts = [[_cut(text, limit) for text in row] for row in texts]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=columns is not None)
    for name, is_number in zip(names[:shown], numeric, strict=False):
        justify: JustifyMethod = "right" if is_number else "left"
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=not console.is_terminal)
    for row in texts:
        table.add_row(*map(Text, row[:shown]))
    console.print(table)
    if shown < len(names):
        left_out = ", ".join(names[shown:])
        console.print(Text(_cut(f"no room for {len(names) - shown} more: {left_out}", console.width), style="dim"))


def _fitting(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """How many of the columns have room beside each other, at least one."""
    used = -_GAP
    for place, name in enumerate(names):
        widest = max((cell_len(row[place]) for row in rows), default=0)
        used += _GAP + min(max(widest, cell_len(name)), max(_NARROWEST, min(cell_len(name), 2 * _NARROWEST)))
        if used > width:
            return max(place, 1)
    return len(names)


def _cut(text: str, limit: int) -> str:
    """The text in at most so many cells of a terminal; wide characters take two.

    >>> _cut("abcdef", 4), _cut("日本語日本語", 5)
    ('abc…', '日本…')
    """
    return text if cell_len(text) <= limit else f"{set_cell_size(text, limit - 1).rstrip()}…"


def print_line(console: Console, text: str) -> None:
    """Print one line at once; on a terminal what does not fit its width is cut."""
    print(_cut(text, console.width) if console.is_terminal else text, file=console.file, flush=True)


def print_json_lines(
    values: Iterable[Any], file: IO[str] | None = None, encode: Callable[[Any], Any] = jsonable
) -> None:
    """Print every value as a line of JSON."""
    for value in values:
        print(json_line(value, encode), file=file)


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
