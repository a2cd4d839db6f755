"""The oracle's own view of values: one key that is both equality and total order, and a document's facts.

Written from the design's text alone; shares no code with the package.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

KINDS = ("none", "bool", "number", "string", "bytes", "uuid", "date", "datetime", "instant", "time", "instant-time")
KINDS = (*KINDS, "timedelta", "list", "tuple", "set", "dict", "other")


def kind(value: Any) -> str:
    """The kind of a value; only values of one kind are ever equal or ordered."""
    match value:
        case None:
            return "none"
        case bool():
            return "bool"
        case int() | float() | Decimal():
            return "number"
        case datetime():
            return "datetime" if value.utcoffset() is None else "instant"
        case time():
            return "time" if value.utcoffset() is None else "instant-time"
        case set() | frozenset():
            return "set"
    names = {str: "string", bytes: "bytes", UUID: "uuid", date: "date", timedelta: "timedelta"}
    return {**names, list: "list", tuple: "tuple", dict: "dict"}.get(type(value), "other")


def is_nan(value: Any) -> bool:
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float) and value != value


def key(value: Any) -> tuple[int, Any]:
    """Equal exactly when the values are equal, hashable, and ordered as the values are: kind, then value."""
    name = kind(value)
    return KINDS.index(name), _content(name, value)


def _content(name: str, value: Any) -> Any:
    match name:
        case "none":
            return 0
        case "number":
            return (1, 0) if is_nan(value) else (0, value)
        case "uuid":
            return value.int
        case "instant":
            return value.replace(tzinfo=None) - datetime.min - value.utcoffset()
        case "instant-time":
            clock = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second)
            return clock + timedelta(microseconds=value.microsecond) - value.utcoffset()
        case "list" | "tuple":
            return tuple(key(element) for element in value)
        case "set":
            return tuple(sorted({key(element) for element in value}))
        case "dict":
            return tuple(sorted((key(k), key(v)) for k, v in value.items()))
        case "other":
            return id(value)
    return value


def equal(a: Any, b: Any) -> bool:
    return key(a) == key(b)


def less(a: Any, b: Any) -> bool:
    """False between kinds and with NaN."""
    return kind(a) == kind(b) and not is_nan(a) and not is_nan(b) and key(a) < key(b)


def less_or_equal(a: Any, b: Any) -> bool:
    """False between kinds and with NaN."""
    return kind(a) == kind(b) and not is_nan(a) and not is_nan(b) and key(a) <= key(b)


def distinct(values: Any) -> list[Any]:
    """The first of every group of equal values, in order."""
    return list({key(value): value for value in reversed(list(values))}.values())[::-1]


def facts_of(document: dict[str, Any]) -> list[tuple[str, Any]]:
    """The distinct (attribute, value) pairs a document states, apart from `db/…`."""
    found = [pair for a, v in document.items() if not a.startswith("db/") for pair in _spread(a, v)]
    return [(a, v) for a, v in distinct(found)]


def _spread(attribute: str, value: Any) -> list[tuple[str, Any]]:
    elements = value if isinstance(value, list | tuple | set | frozenset) else [value]
    found = [(attribute, element) for element in elements]
    for element in elements:
        if isinstance(element, dict):
            found += [pair for k, v in element.items() for pair in _spread(f"{attribute}.{k}", v)]
    return found
