"""Which Python values a document may hold, and when two of them are equal, ordered or the same.

Their exact bytes come from `tourlog.encoding`, whose names are part of this module's. Knows nothing of facts
or storage.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Final, NoReturn
from uuid import UUID

from tourlog.encoding import (
    MISSING,
    NATIVE,
    FlatDocuments,
    columns_decoder,
    decode,
    decode_documents,
    decode_slice,
    encode,
    encode_documents,
    microseconds,
    sequential_uuids,
)
from tourlog.errors import DocumentError

__all__ = [
    "LEAVES",
    "MAX_DEPTH",
    "MISSING",
    "NATIVE",
    "FlatDocuments",
    "check",
    "columns_decoder",
    "decode",
    "decode_documents",
    "decode_slice",
    "encode",
    "encode_documents",
    "equal",
    "fresh",
    "identity",
    "kind",
    "less",
    "less_or_equal",
    "ordered_bytes",
    "plain",
    "same_form",
    "sequential_uuids",
    "sort_key",
]

MAX_DEPTH = 200
"""How many containers a document may nest."""

LEAVES = frozenset({NoneType, bool, int, float, str, bytes, Decimal, UUID, date, timedelta})
"""The types of values that need no look inside."""
_STRINGS = frozenset({str})

_Path = tuple[Any, str]
"""Where a value stands: (what is checked, path so far), then (outer path, step) a level; read in errors."""


def check(document: Any, *, where: str = "document") -> None:
    """Raise `DocumentError`, naming the path, unless `document` is a dict with string keys of values that can
    be stored.

    >>> check({"value": [2j]})
    Traceback (most recent call last):
    tourlog.errors.DocumentError: expected a value a document can hold, got complex, in document at value[0]
    """
    if type(document) is not dict:
        _refuse("a dict", document, (where, ""))
    if not (LEAVES.issuperset(map(type, document.values())) and _has_simple_keys(document)):
        with _enough_stack(where, ""):
            _walk(document, (where, ""), 0, in_set=False)


def plain(value: Any, path: str = "") -> Any:
    """A deep copy with Enum members replaced by their values; `DocumentError`, naming the path, when it holds
    anything that cannot be stored.

    >>> plain({"a": [1, (2, None)]})
    {'a': [1, (2, None)]}
    """
    if type(value) in LEAVES:
        return value
    with _enough_stack("value", path):
        _walk(value, ("value", path), 0, in_set=False)
        return _copy(value)


@contextmanager
def _enough_stack(where: str, path: str) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise DocumentError(f"expected less nesting on a nearly full stack, in {where}", path=path) from error


def _walk(value: Any, path: _Path, depth: int, *, in_set: bool) -> None:
    """Check one value; inside sets an Enum member may stand for something no set can hold."""
    python_type = type(value)
    if python_type in LEAVES:
        return
    if depth >= MAX_DEPTH:
        _refuse(f"at most {MAX_DEPTH} nested levels and no cycle", value, path)
    if python_type is dict and not in_set:
        _check_keys(value, path)
        for key, item in value.items():
            if type(item) not in LEAVES:
                _walk(item, (path, f".{key}"), depth + 1, in_set=False)
    elif python_type is tuple or (python_type is list and not in_set):
        for place, item in enumerate(value):
            if type(item) not in LEAVES:
                _walk(item, (path, f"[{place}]"), depth + 1, in_set=in_set)
    elif python_type is frozenset or (python_type is set and not in_set):
        for item in value:
            if type(item) not in LEAVES:
                _walk(item, (path, "{}"), depth + 1, in_set=True)
    elif python_type is datetime or python_type is time:
        _check_timezone(value, path)
    elif isinstance(value, Enum):
        _walk(value.value, path, depth + 1, in_set=in_set)
    else:
        _refuse("a hashable value in a set" if in_set else "a value a document can hold", value, path)


def _has_simple_keys(document: dict[Any, Any]) -> bool:
    return _STRINGS.issuperset(map(type, document)) and all(map(str.isascii, document))


def _check_keys(document: dict[Any, Any], path: _Path) -> None:
    if _has_simple_keys(document):
        return
    for key in document:
        if type(key) is not str:
            _refuse("string keys", key, path)
        try:
            key.encode()
        except UnicodeEncodeError:
            _refuse(f"keys without lone surrogates (here {key!r})", key, path)


def _check_timezone(value: datetime | time, path: _Path) -> None:
    zone = value.tzinfo
    if zone is not None and type(zone) is not timezone and not _is_known_zone(zone, value):
        _refuse("a fixed timezone or a ZoneInfo with a key", zone, path)


def _is_known_zone(zone: tzinfo, value: datetime | time) -> bool:
    """Whether the zone's key alone brings back the same zone."""
    from zoneinfo import ZoneInfo  # for few values

    if type(zone) is not ZoneInfo or type(zone.key) is not str:
        return False
    try:
        known = ZoneInfo(zone.key)
    except (LookupError, ValueError, OSError):
        return False
    return known is zone or value.replace(tzinfo=known).utcoffset() == value.utcoffset()


def _refuse(expected: str, value: Any, path: _Path) -> NoReturn:
    steps = []
    while type(path[0]) is tuple:
        path, step = path
        steps.append(step)
    where, prefix = path
    place = (prefix + "".join(reversed(steps))).lstrip("." if not prefix else "")
    at = f" at {place if len(place) < 300 else place[:300] + '…'}" if place else ""
    message = f"expected {expected}, got {type(value).__name__}, in {where}{at}"
    raise DocumentError(message, path=place, value=value)


def fresh(value: Any) -> Any:
    """A stored value for somebody who may change what he is given.

    >>> value = [1]
    >>> fresh(value) == value, fresh(value) is value
    (True, False)
    """
    return _copy(value) if type(value) in _MAY_CHANGE else value


def _copy(value: Any) -> Any:
    python_type = type(value)
    if python_type is dict:
        return {key: _copy(item) for key, item in value.items()}
    if python_type in _CONTAINERS:
        return python_type(value if LEAVES.issuperset(map(type, value)) else [_copy(item) for item in value])
    return _copy(value.value) if isinstance(value, Enum) else value


def kind(value: Any) -> str:
    """The kind of a value: only values of one kind are ever equal or ordered.

    >>> kind(1.5), kind(True), kind({1})
    ('number', 'bool', 'set')
    """
    return _KIND_NAMES[_kind_byte(value)]


def identity(value: Any) -> Hashable:
    """What stands for a value in dicts and sets: equal exactly when the values are.

    >>> identity(1) == identity(Decimal("1.0")), identity(1) == identity(True)
    (True, False)
    """
    python_type = type(value)
    if python_type in _OWN_IDENTITY:
        return value  # type: ignore[no-any-return]  # hashable, by the table
    # Containers here and not in a function of theirs: nesting takes one stack frame a level.
    # Long lists of plain values take a tenth of the time that a call each would.
    if python_type is list:
        return "list", *(value if _OWN_IDENTITY.issuperset(map(type, value)) else map(identity, value))
    if python_type is tuple:
        return "tuple", *(value if _OWN_IDENTITY.issuperset(map(type, value)) else map(identity, value))
    if python_type is dict:
        return "dict", frozenset(zip(value, map(identity, value.values()), strict=True))
    if python_type is set or python_type is frozenset:
        return "set", frozenset(map(identity, value))
    identify = _IDENTITIES.get(python_type)
    if identify is None:
        raise _unsupported(value)
    return identify(value)


def equal(a: Any, b: Any) -> bool:
    """Whether two values are equal: as in Python, but booleans are no numbers and NaN equals itself."""
    return identity(a) == identity(b)


def same_form(a: Any, b: Any) -> bool:
    """Whether two equal values are the same also in type, sign of zero, digits, time zone, and so within.

    >>> same_form(1, 1.0), same_form([1], [1.0]), same_form("a", "a")
    (False, False, True)
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is float:
        return a != 0 or repr(a) == repr(b)
    return type(a) in _ONE_FORM or encode(a) == encode(b)


def less(a: Any, b: Any) -> bool:
    """Whether `a` comes before `b`, both of one kind; False between kinds and with NaN.

    >>> less(2**53, 2.0**53 + 2), less(1, "a"), less(1, float("nan"))
    (True, False, False)
    """
    python_type = type(a)
    if python_type is type(b) and python_type in _OWN_ORDER:
        return a < b  # type: ignore[no-any-return]  # a bool, by the table
    return _comparable(a, b) and ordered_bytes(a) < ordered_bytes(b)


def less_or_equal(a: Any, b: Any) -> bool:
    """Whether `a` comes before `b` or equals it, both of one kind; False between kinds and with NaN."""
    python_type = type(a)
    if python_type is type(b) and python_type in _OWN_ORDER:
        return a <= b  # type: ignore[no-any-return]  # a bool, by the table
    return _comparable(a, b) and ordered_bytes(a) <= ordered_bytes(b)


def _comparable(a: Any, b: Any) -> bool:
    return _kind_byte(a) == _kind_byte(b) and not (_is_nan(a) or _is_nan(b))


def _is_nan(value: Any) -> bool:
    return (type(value) is float and value != value) or (type(value) is Decimal and value.is_nan())


def sort_key(value: Any) -> bytes:
    """The key that sorts values of any kinds: by kind, then by value; NaN is the last number."""
    return ordered_bytes(value)


def ordered_bytes(value: Any) -> bytes:
    """Canonical bytes that sort as the values do: kind, then value; the same for equal values only.

    No value's bytes begin another's, so that they can follow each other in a container's.

    >>> sorted([2, "a", 1.5, None, float("inf")], key=ordered_bytes)
    [None, 1.5, 2, inf, 'a']
    """
    payload = _PAYLOADS.get(type(value))
    if payload is None:
        raise _unsupported(value)
    return bytes((_kind_byte(value),)) + payload(value)


def _unsupported(value: Any) -> DocumentError:
    return DocumentError(f"expected a value a document can hold, got {type(value).__name__}", path="", value=value)


def _kind_byte(value: Any) -> int:
    python_type = type(value)
    if python_type is datetime:
        return _INSTANT if value.tzinfo is not None else _DATETIME
    if python_type is time:
        return _TIME if value.utcoffset() is None else _OFFSET_TIME
    found = _KINDS.get(python_type)
    if found is None:
        raise _unsupported(value)
    return found


def _instant(value: datetime) -> int:
    """µs from year 1 (UTC) to an aware datetime; below zero when its offset says so."""
    offset = value.utcoffset()
    assert offset is not None, "supported time zones know the offset of every datetime"
    return microseconds(value.replace(tzinfo=None) - datetime.min) - microseconds(offset)


def _utc_time(value: time) -> int:
    """µs from midnight (UTC); below zero or past a day as the offset says, as Python compares them."""
    offset = value.utcoffset() or timedelta()
    clock = timedelta(0, value.second, value.microsecond, 0, value.minute, value.hour)
    return microseconds(clock - offset)


def _number_bytes(value: int | float | Decimal) -> bytes:
    """Sign, then for finite numbers the first digit's exponent and the digits, all flipped below zero."""
    if not value:
        return b"\x02"
    if type(value) is int and value.bit_length() <= _SHORT_INTEGER:
        text = str(abs(value)).encode()
        return _finite_bytes(value < 0, len(text) - 1, text)
    number = Decimal.from_float(value) if type(value) is float else Decimal(value)
    if number.is_nan():
        return b"\x05"
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        return b"\x00" if sign else b"\x04"
    return _finite_bytes(bool(sign), exponent + len(digits) - 1, bytes(digits).translate(_TO_ASCII))


def _finite_bytes(negative: bool, exponent: int, digits: bytes) -> bytes:
    magnitude = (exponent + _EXPONENT_BIAS).to_bytes(8, "big") + digits.rstrip(b"0") + b"\x00"
    return b"\x01" + magnitude.translate(_FLIPPED) if negative else b"\x03" + magnitude


def _text_bytes(value: bytes) -> bytes:
    return value.replace(b"\x00", b"\x00\xff") + b"\x00\x00"


def _sequence_bytes(value: list[Any] | tuple[Any, ...]) -> bytes:
    return b"".join(map(ordered_bytes, value)) + b"\x00"


def _set_bytes(value: set[Any] | frozenset[Any]) -> bytes:
    return b"".join(sorted(set(map(ordered_bytes, value)))) + b"\x00"


def _dict_bytes(value: dict[str, Any]) -> bytes:
    pairs = map(bytes.__add__, map(ordered_bytes, value), map(ordered_bytes, value.values()))
    return b"".join(sorted(pairs)) + b"\x00"


def _signed_bytes(number: int) -> bytes:
    """12 bytes in numeric order: enough for any timedelta in µs."""
    return (number + _SIGNED_BIAS).to_bytes(12, "big")


def _datetime_bytes(value: datetime) -> bytes:
    naive = value.tzinfo is None
    return _signed_bytes(microseconds(value - datetime.min) if naive else _instant(value))


def _float_identity(value: float) -> Hashable:
    return value if value == value else _NAN


def _decimal_identity(value: Decimal) -> Hashable:
    return _NAN if value.is_nan() else value


def _time_identity(value: time) -> Hashable:
    if value.utcoffset() is None:
        return value.replace(tzinfo=None)
    return "offset-time", _utc_time(value)


_SHORT_INTEGER = 2_000
"""Bits an int may have and still be written out by str(), which may be told to refuse more than 640 digits."""

_EXPONENT_BIAS = 1 << 63
_SIGNED_BIAS = 1 << 95
_FLIPPED = bytes(range(255, -1, -1))
_TO_ASCII = bytes((byte + ord("0")) % 256 for byte in range(256))
_NAN: Final = ("nan",)

_OWN_IDENTITY = frozenset({NoneType, int, str, UUID, date, timedelta})
_OWN_ORDER = frozenset({int, float, str, bytes, UUID, date, timedelta})
_CONTAINERS = frozenset({list, tuple, set, frozenset})
_ONE_FORM = frozenset({NoneType, bool, int, str, bytes, UUID, date, timedelta})
"""Types of which equal values are the same in every respect."""
_MAY_CHANGE = frozenset({list, dict, set, tuple})
"""Types whose values, or what they hold, can be changed."""

_KIND_NAMES = (
    *("end", "none", "bool", "number", "string", "bytes", "uuid", "date", "datetime", "instant"),
    *("time", "offset-time", "timedelta", "list", "tuple", "set", "dict"),
)
"""By kind byte; 0 is no kind but the end of a container, before any element."""

_DATETIME, _INSTANT, _TIME, _OFFSET_TIME = map(_KIND_NAMES.index, ("datetime", "instant", "time", "offset-time"))


_KINDS: dict[type, int] = {
    python_type: _KIND_NAMES.index(name)
    for python_type, name in (
        *((NoneType, "none"), (bool, "bool"), (int, "number"), (float, "number"), (Decimal, "number")),
        *((str, "string"), (bytes, "bytes"), (UUID, "uuid"), (date, "date"), (timedelta, "timedelta")),
        *((list, "list"), (tuple, "tuple"), (set, "set"), (frozenset, "set"), (dict, "dict")),
    )
}

_IDENTITIES: dict[type, Callable[[Any], Hashable]] = {
    bool: lambda value: ("bool", str(value)),
    float: _float_identity,
    Decimal: _decimal_identity,
    bytes: lambda value: ("bytes", value),
    datetime: lambda value: value if value.tzinfo is None else ("instant", _instant(value)),
    time: _time_identity,
}

_PAYLOADS: dict[type, Callable[[Any], bytes]] = {
    NoneType: lambda _: b"",
    bool: lambda value: b"\x01" if value else b"\x00",
    int: _number_bytes,
    float: _number_bytes,
    Decimal: _number_bytes,
    str: lambda value: _text_bytes(value.encode("utf-8", "surrogatepass")),
    bytes: _text_bytes,
    UUID: lambda value: value.bytes,
    date: lambda value: value.toordinal().to_bytes(4, "big"),
    datetime: _datetime_bytes,
    time: lambda value: _signed_bytes(_utc_time(value)),
    timedelta: lambda value: _signed_bytes(microseconds(value)),
    list: _sequence_bytes,
    tuple: _sequence_bytes,
    set: _set_bytes,
    frozenset: _set_bytes,
    dict: _dict_bytes,
}
