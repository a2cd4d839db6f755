"""Values, tables and EDN as HTML and as plain text, for whoever displays them. Knows nothing of stores, queries
or notebooks.

Styles stand inline, because notebooks are shown in places that drop style sheets; colours are those of the
notebook's own theme where it has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, time
from decimal import Decimal
from itertools import islice
from typing import Any

from tourlog.encoding import MISSING

MOST_ROWS = 20
"""How many rows of a table are shown."""

MOST_COLUMNS = 30
"""How many of its columns."""

CELL_LENGTH = 100
"""How many characters of a value; a tooltip shows the first thousand."""

_TOOLTIP_LENGTH = 1_000
_TEXT_WIDTH = 40
_MOST_BITS = 14_000  # Python refuses to write integers of more than 4,300 digits in decimal.

# Control characters, line separators, and what turns the direction of writing.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_DIM = "opacity:.6"
_LEFT, _RIGHT = "text-align:left", "text-align:right"
_CODE = (
    "margin:0;font-family:var(--jp-code-font-family, monospace);white-space:pre-wrap;word-break:normal;line-height:1.4"
)

_TOKEN = re.compile(
    r"""
      (?P<comment>;[^\n]*)
    | (?P<string>"(?:[^"\\]|\\.)*"?|'[^'\n]*'|\#[a-z]+)
    | (?P<keyword>:[^\s,()\[\]{}";]+)
    | (?P<variable>[?$%][^\s,()\[\]{}";]*)
    | (?P<number>[+-]?\d[^\s,()\[\]{}";]*)
    | (?P<function>(?<=\()[^\s,()\[\]{}";?:$%'][^\s,()\[\]{}";]*)
    """,
    re.VERBOSE,
)
_COLOURS = {
    "comment": ("var(--jp-mirror-editor-comment-color, #408080)", "3"),
    "string": ("var(--jp-mirror-editor-string-color, #ba2121)", "31"),
    "keyword": ("var(--jp-mirror-editor-keyword-color, #008000)", "32"),
    "variable": ("var(--jp-mirror-editor-variable-2-color, #05a)", "34"),
    "number": ("var(--jp-mirror-editor-number-color, #080)", "36"),
    "function": ("var(--jp-mirror-editor-builtin-color, #a2f)", "35"),
}
"""Of each kind of token: its colour in HTML, and on a terminal."""


def escape(text: str) -> str:
    """Text as HTML shows it, markup and quotes included."""
    from html import escape as escaped  # when something is shown

    return escaped(text)


def visible(text: str) -> str:
    r"""The text with its control characters written out, so that a document cannot clear the screen of who looks
    at it, or show a name for another one.

    >>> visible("a\nb\x1b")
    'a\\nb\\u001b'
    """
    return _INVISIBLE.sub(lambda found: _ESCAPES.get(found[0], f"\\u{ord(found[0]):04x}"), text)


def shown_value(value: Any) -> str:
    """A value as it stands in a cell: text as it is, the rest as Python writes it.

    >>> shown_value("a"), shown_value(["a", None]), shown_value(datetime(2026, 1, 31, 12))
    ('a', "['a', None]", '2026-01-31 12:00:00')
    """
    match value:
        case str():
            text = value if len(value) <= _TOOLTIP_LENGTH else value[: _TOOLTIP_LENGTH + 1]
        case datetime():
            text = value.isoformat(" ")
        case time():
            text = value.isoformat()
        case int() if value.bit_length() > _MOST_BITS:
            text = f"an int of {value.bit_length():,} bits"
        case list() | tuple() | set() | frozenset() | dict():
            text = _collection(value)
        case bytes():
            text = repr(value[:_TOOLTIP_LENGTH])
        case _:
            text = str(value)
    return visible(text)


def _collection(value: Any) -> str:
    """A collection with its elements as Python writes them, no more of them than a cell has room for."""
    if isinstance(value, dict):
        items = [f"{key!r}: {_element(item)}" for key, item in islice(value.items(), CELL_LENGTH)]
    else:
        items = [_element(item) for item in islice(value, CELL_LENGTH)]
    inner = ", ".join([*items, "…"] if len(value) > len(items) else items)
    match value:
        case list():
            return f"[{inner}]"
        case tuple():
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        case _ if not value:
            return "{}" if isinstance(value, dict) else "set()"
        case _:
            return f"{{{inner}}}"


def _element(value: Any) -> str:
    return repr(value[:_TOOLTIP_LENGTH]) if isinstance(value, str | bytes) else shown_value(value)


# Tables.


def document_columns(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """The attributes of documents in order of first appearance."""
    return list(dict.fromkeys(name for document in documents for name in document))


def documents_html(documents: Sequence[Mapping[str, Any]], *, total: int | None = None) -> str:
    """Documents as a table, a column an attribute; a cell stays empty where a document lacks it."""
    kept = documents[:MOST_ROWS]
    names = document_columns(kept)
    rows = [[document.get(name, MISSING) for name in names] for document in kept]
    return table_html(names, rows, total=len(documents) if total is None else total, noun="document")


def document_html(document: Mapping[str, Any]) -> str:
    """One document, an attribute a line."""
    rows = [[name, value] for name, value in islice(document.items(), MOST_ROWS)]
    return table_html(None, rows, total=len(document), noun="attribute", count=False)


def table_html(
    columns: Sequence[str] | None,
    rows: Sequence[Sequence[Any]],
    *,
    total: int,
    noun: str = "row",
    count: bool = True,
) -> str:
    """Rows under their columns, and a line that says how many there are if that is not plain to see.

    `rows` may be only the first of `total`; no more than `MOST_ROWS` are shown. Everything is escaped.
    """
    rows = rows[:MOST_ROWS]
    width = max(map(len, rows), default=len(columns or ()))
    numeric = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(width)][:MOST_COLUMNS]
    head = "" if columns is None else f"<thead><tr>{_cells('th', columns, numeric)}</tr></thead>"
    body = "".join(f"<tr>{_cells('td', row, numeric)}</tr>" for row in rows)
    table = f'<table style="margin:0">{head}<tbody>{body}</tbody></table>'
    notes = list(_notes(total, len(rows), width, noun, count))
    note = f'<div style="{_DIM}">{"; ".join(notes)}</div>' if notes else ""
    return f'<div style="overflow-x:auto">{table}{note}</div>'


def _notes(total: int, shown: int, width: int, noun: str, count: bool) -> Iterator[str]:
    if total > shown:
        yield f"{counted(total, noun)}, the first {shown} shown"
    elif count:
        yield counted(total, noun)
    if width > MOST_COLUMNS:
        yield f"{width} columns, the first {MOST_COLUMNS} shown"


def counted(number: int, noun: str) -> str:
    """A number and what it counts.

    >>> counted(1, "row"), counted(5531, "row"), counted(2, "entity")
    ('1 row', '5,531 rows', '2 entities')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def _cells(tag: str, row: Sequence[Any], numeric: Sequence[bool]) -> str:
    return "".join(
        f'<{tag} style="{_RIGHT if is_numeric else _LEFT}{_wrapping(value)}">{value_html(value)}</{tag}>'
        for value, is_numeric in zip(row, numeric, strict=False)
    )


def _wrapping(value: Any) -> str:
    """Ids, instants and names stay on one line, where a notebook would break them at a hyphen. Longer values are
    broken anywhere, but in a wide table not at each space: a row would be as high as the value has words."""
    if value is MISSING:
        return ""
    if len(shown_value(value)) <= _TEXT_WIDTH:
        return ";white-space:nowrap"
    return ";min-width:18em;overflow-wrap:anywhere"


def value_html(value: Any) -> str:
    """A value in a cell, escaped and cut."""
    if value is MISSING:
        return ""
    text = shown_value(value)
    if len(text) > CELL_LENGTH:
        return f'<span title="{escape(text[:_TOOLTIP_LENGTH])}">{escape(text[:CELL_LENGTH])}…</span>'
    return f'<span style="{_DIM}">None</span>' if value is None else escape(text)


def _is_number(value: Any) -> bool:
    return value is MISSING or (isinstance(value, int | float | Decimal) and not isinstance(value, bool))


def rows_html(columns: Sequence[str], rows: Sequence[Any]) -> str:
    """The rows of an answer: tuples, or dicts under their columns; documents that stand alone are spread over
    columns, one an attribute."""
    kept = rows[:MOST_ROWS]
    if len(columns) == 1 and kept and all(isinstance(row, tuple) and isinstance(row[0], dict) for row in kept):
        return documents_html([row[0] for row in kept], total=len(rows))
    return table_html(columns, [_tuple(row) for row in kept], total=len(rows))


def _tuple(row: Any) -> Sequence[Any]:
    return list(row.values()) if isinstance(row, dict) else row


def rows_text(columns: Sequence[str], rows: Sequence[Any]) -> str:
    """The rows of an answer as a table of plain text.

    >>> print(rows_text(("?name", "?n"), [("Ann", 1), ("Bob", 10)]))
    ?name  ?n
    Ann     1
    Bob    10
    2 rows
    """
    kept = [_tuple(row) for row in rows[:MOST_ROWS]]
    cells = [[_cut(name) for name in columns], *([_cut(shown_value(value)) for value in row] for row in kept)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [bool(kept) and all(map(_is_number, column)) for column in zip(*kept, strict=True)] or [False] * len(
        widths
    )
    lines = [
        "  ".join(
            text.rjust(width) if is_numeric else text.ljust(width)
            for text, width, is_numeric in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([*lines, *_notes(len(rows), len(kept), len(columns), "row", True)])


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_WIDTH else f"{text[: _TEXT_WIDTH - 1]}…"


# Titles and code.


def titled(title: str, *parts: str) -> str:
    """Parts under a title, which is text."""
    return f"<div><strong>{escape(visible(title))}</strong>{''.join(parts)}</div>"


def folded(title: str, *parts: str) -> str:
    """Parts that show when the title, which is text, is clicked."""
    return f"<details><summary>{escape(visible(title))}</summary>{''.join(parts)}</details>"


def note(text: str) -> str:
    """A line beside the main thing."""
    return f'<div style="{_DIM}">{escape(visible(text))}</div>'


def code_html(text: str) -> str:
    """Text as it is, line by line."""
    return f'<pre style="{_CODE}">{escape(text)}</pre>'


def edn_html(text: str) -> str:
    """EDN, or a plan, with its tokens in colour."""
    return f'<pre style="{_CODE}">{"".join(_coloured_html(text))}</pre>'


def _coloured_html(text: str) -> Iterator[str]:
    for kind, part in tokens(text):
        yield escape(part) if kind is None else f'<span style="color:{_COLOURS[kind][0]}">{escape(part)}</span>'


def edn_ansi(text: str) -> str:
    """EDN with its tokens in the colours of a terminal."""
    return "".join(part if kind is None else f"\x1b[{_COLOURS[kind][1]}m{part}\x1b[0m" for kind, part in tokens(text))


def tokens(text: str) -> Iterable[tuple[str | None, str]]:
    """The text in parts, each with its kind: comment, string, keyword, variable, number, function or None.

    >>> [kind for kind, part in tokens('[?e :name "x"]') if kind]
    ['variable', 'keyword', 'string']
    """
    end = 0
    for found in _TOKEN.finditer(text):
        if found.start() > end:
            yield None, text[end : found.start()]
        yield found.lastgroup, found[0]
        end = found.end()
    if end < len(text):
        yield None, text[end:]
