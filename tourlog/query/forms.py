"""What queries are written in, before it means anything: symbols, keywords, values, lists, maps, with
their places, read from EDN text or standing for Python data. Knows nothing of what a query is.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tourlog.errors import DocumentError, QuerySyntaxError
from tourlog.query.place import Place
from tourlog.query.writer import Keyword, Symbol, to_edn
from tourlog.values import plain

_SHOWN = 80


@dataclass(frozen=True)
class Form:
    """One form.

    `kind` is "symbol", "keyword", "value", "list", "vector", "map" or "set" in text. In Python data, lists
    and tuples are both a "sequence", strings that read as a symbol are one ("?x", "_", "$", "%") and every
    other string is a value. `content` is the name, the value, the forms inside (pairs of forms for a map),
    or in data the object itself. `key` is set for sets and maps: what makes them equal to another.
    """

    kind: str
    content: Any
    place: Place | None = None
    in_data: bool = False
    key: Any = None

    def __str__(self) -> str:
        return _shorten([_shown_data(self.content)] if self.in_data else _shown(self))

    @property
    def is_list(self) -> bool:
        """Whether this may stand where text needs `(...)`."""
        return self.kind in ("list", "sequence")

    @property
    def is_vector(self) -> bool:
        """Whether this may stand where text needs `[...]`."""
        return self.kind in ("vector", "sequence")

    @cached_property
    def items(self) -> tuple[Form, ...]:
        """The forms inside a list, vector or sequence."""
        return tuple(map(data_form, self.content)) if self.in_data else self.content

    @cached_property
    def pairs(self) -> tuple[tuple[Form, Form], ...]:
        """The keys and values of a map."""
        if self.in_data:
            return tuple((data_form(key), data_form(value)) for key, value in self.content.items())
        pairs: tuple[tuple[Form, Form], ...] = self.content
        return pairs

    @property
    def symbol(self) -> str:
        """The name of a symbol, else ""."""
        return self.content if self.kind == "symbol" else ""

    @property
    def word(self) -> str:
        """The name of a symbol, or in data any string: what may name a function or a rule; else ""."""
        return str(self.content) if self.kind == "symbol" or self._is_data_string else ""

    @property
    def text(self) -> str | None:
        """A keyword's or a string's text, in data any string's; else None."""
        if self.kind == "keyword" or self._is_data_string:
            return str(self.content)
        return self.content if self.kind == "value" and type(self.content) is str else None

    @property
    def _is_data_string(self) -> bool:
        return self.in_data and isinstance(self.content, str)


def data_form(value: Any) -> Form:
    """The form that Python data stands for.

    >>> data_form("?e").kind, data_form("name").kind, data_form(("?e", "name")).kind
    ('symbol', 'value', 'sequence')
    """
    if isinstance(value, str):
        return Form(_string_kind(value), str.__str__(value), in_data=True)
    if isinstance(value, list | tuple):
        return Form("sequence", value, in_data=True)
    is_map = issubclass(type(value), dict)  # `isinstance` believes an object that says it is one
    return Form("map" if is_map else "value", value, in_data=True)


def _string_kind(value: str) -> str:
    if isinstance(value, Keyword):
        return "keyword"
    return "symbol" if isinstance(value, Symbol) or value in ("_", "%") or value[:1] in ("?", "$") else "value"


def syntax_error(expected: str, got: Form | str, where: str, *, place: Place | None = None) -> QuerySyntaxError:
    """The error that says so, with the place of `got` in text."""
    place = got.place if isinstance(got, Form) else place
    at = f" at {place}" if place else ""
    line, column = (place.line, place.column) if place else (None, None)
    expected, got, where = (
        _shorten([expected], 300),
        _shorten([str(got)]),
        _shorten([where], 200),
    )  # names have any length
    return QuerySyntaxError(f"expected {expected}, got {got}, in {where}{at}", line=line, column=column)


def value_of(form: Form, where: str) -> Any:
    """The Python value a form stands for: keywords are strings, vectors lists, lists tuples, sets frozensets.

    `QuerySyntaxError` when it holds a symbol or something no document can hold.
    """
    value = form.content if form.in_data else _value(form, where, hashable=False)
    try:
        return plain(value)
    except DocumentError as error:
        hint = " (a callable is passed through :in)" if callable(value) else ""
        raise syntax_error(f"a value a document can hold{hint}", form, where) from error


def _value(form: Form, where: str, *, hashable: bool) -> Any:
    """`hashable` inside a set, where vectors are tuples."""
    match form.kind:
        case "symbol":
            raise syntax_error("a value", form, where)
        case "list" | "vector":
            values = [_value(item, where, hashable=hashable) for item in form.items]
            return values if form.kind == "vector" and not hashable else tuple(values)
        case "set":
            return _frozenset(form, where)
        case "map":
            if hashable:
                raise syntax_error("no map inside a set", form, where)
            return _dict(form, where)
        case _:
            return form.content


def _frozenset(form: Form, where: str) -> frozenset[Any]:
    values = frozenset([_value(item, where, hashable=True) for item in form.content])
    if len(values) < len(form.content):
        raise syntax_error("a set whose elements Python, too, holds for different (true is 1 to it)", form, where)
    return values


def _dict(form: Form, where: str) -> dict[Any, Any]:
    values = {_value(key, where, hashable=True): _value(value, where, hashable=False) for key, value in form.pairs}
    if len(values) < len(form.pairs):
        raise syntax_error("a map whose keys differ as strings, too", form, where)
    return values


def refuse_variables(form: Form, where: str) -> None:
    """`QuerySyntaxError` for a variable inside a constant of Python data, where it would be a mere string."""
    # Not recursive, and aware of cycles: nothing has looked at the data yet.
    left, seen = [form.content], set()
    while left:
        value = left.pop()
        if isinstance(value, str):
            if value.startswith("?"):
                raise syntax_error(f"a constant without variables, such as {value!r}", form, where)
        elif isinstance(value, list | tuple | set | frozenset | dict) and id(value) not in seen:
            seen.add(id(value))
            left.extend(value.values() if isinstance(value, dict) else value)


def _shown(form: Form) -> Iterator[str]:
    match form.kind:
        case "keyword":
            yield f":{form.content}"
        case "symbol":
            yield form.content
        case "value":
            yield to_edn(form.content)
        case kind:
            opening, closing = {"list": "()", "vector": "[]", "map": ("{", "}"), "set": ("#{", "}")}[kind]
            items = [item for pair in form.content for item in pair] if kind == "map" else form.content
            yield opening
            for number, item in enumerate(items):
                yield " " if number else ""
                yield from _shown(item)
            yield closing


def _shown_data(value: Any) -> str:
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = _SHOWN
    try:
        return shown.repr(value)
    except ValueError:  # an int of too many digits to print
        return type(value).__name__


def _shorten(pieces: Iterable[str], limit: int = _SHOWN) -> str:
    """Takes no more pieces than it shows: a form may be a megabyte."""
    text = ""
    for piece in pieces:
        text += piece[: limit + 1]
        if len(text) > limit:
            return f"{text[: limit - 3]}..."
    return text
