"""Writes Python data as EDN text; `Symbol` and `Keyword` are the strings that are printed bare."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from tourlog.errors import ArgumentError

MAX_NESTING = 200
"""How deep EDN text may nest, written or read."""

_KEYWORD = re.compile(r"(?:[^\W\d]|[*+!?<>=&$%|.-])[\w*+!?<>=&$%|.'-]*")
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Symbol(str):
    """A name written bare: `?e`, `$`, `count`."""

    __slots__ = ()


class Keyword(str):
    """A name written with a colon, which is not part of it: `:type` is `Keyword("type")`."""

    __slots__ = ()


def attribute_form(name: str) -> Keyword | str:
    """An attribute as a keyword, or as a string where it cannot be one.

    >>> to_edn([attribute_form("aggregate-id"), attribute_form("first name")])
    '[:aggregate-id "first name"]'
    """
    namespace, slash, rest = name.partition("/")
    is_keyword = _KEYWORD.fullmatch(namespace) and (not slash or _KEYWORD.fullmatch(rest))
    return Keyword(name) if is_keyword else name


def to_edn(form: Any) -> str:
    """EDN text: lists are vectors, tuples are lists, dicts maps, sets sets; the reader gives the same back.

    `ArgumentError` for what EDN cannot hold: bytes, dates without a time zone, callables.

    >>> to_edn([Keyword("find"), Symbol("?e"), Keyword("where"), [Symbol("?e"), Keyword("type"), "x y"]])
    '[:find ?e :where [?e :type "x y"]]'
    """
    pieces: list[str] = []
    _write(form, pieces.append, 0)
    return "".join(pieces)


def _write(form: Any, put: Callable[[str], None], depth: int) -> None:
    match form:
        case list():
            _write_items("[", form, "]", put, depth)
        case tuple():
            _write_items("(", form, ")", put, depth)
        case dict():
            _write_items("{", [item for pair in form.items() for item in pair], "}", put, depth)
        case set() | frozenset():
            _write_items("#{", form, "}", put, depth)
        case _:
            put(_scalar(form))


def _write_items(opening: str, items: Iterable[Any], closing: str, put: Callable[[str], None], depth: int) -> None:
    if depth == MAX_NESTING:
        raise ArgumentError(f"expected at most {MAX_NESTING} nested levels, got more, in data to write as EDN")
    put(opening)
    for number, item in enumerate(items):
        if number:
            put(" ")
        _write(item, put, depth + 1)
    put(closing)


def _scalar(value: Any) -> str:
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case Symbol():
            return str(value)
        case Keyword():
            return f":{value}"
        case str():
            return '"' + _ESCAPED.sub(_escape, value) + '"'
        case int():
            return _integer(value)
        case float():
            return repr(value) if math.isfinite(value) else _symbolic(value)
        case Decimal() if value.is_finite():
            return f"{value}M"
        case UUID():
            return f'#uuid "{value}"'
        case datetime() if value.tzinfo is not None:
            return f'#inst "{value.isoformat()}"'
        case _:
            raise ArgumentError(f"expected a value EDN can hold, got {type(value).__name__}", value=value)


def _symbolic(value: float) -> str:
    if math.isnan(value):
        return "##NaN"
    return "##Inf" if value > 0 else "##-Inf"


def _integer(value: int) -> str:
    try:
        digits = str(value)
    except ValueError as error:  # Python prints ints of a few thousand digits at most
        raise ArgumentError(f"expected an int that can be printed, got {value.bit_length()} bits") from error
    return digits if -(2**63) <= value < 2**63 else f"{digits}N"


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _SHORT_ESCAPES.get(character) or f"\\u{ord(character):04x}"
