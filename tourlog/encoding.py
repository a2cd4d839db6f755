"""Values as bytes, exactly: MessagePack for what it can hold, extension types for the rest.

The public names are re-exported by `tourlog.values`; knows nothing of equality, order or documents' rules.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import chain
from types import NoneType
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from tourlog.errors import DocumentError, StorageError

MISSING: Final = msgspec.UNSET
"""What `columns_decoder` gives for an attribute a document does not have (it is `msgspec.UNSET`)."""

NATIVE = frozenset({NoneType, bool, int, float, str, bytes})
"""The types MessagePack itself has."""

_ALWAYS_NATIVE = NATIVE - {int, str}
_STRINGS = frozenset({str})
_DICTS = frozenset({dict})
_DEPTH_LIMIT = 208
"""A little above the nesting that `check` allows a document, for what the log wraps around documents."""

_INTEGER, _SURROGATES, _TUPLE, _SET, _FROZENSET, _DECIMAL, _UUID = range(1, 8)
_DATETIME, _DATE, _TIME, _TIMEDELTA = range(8, 12)

_DATETIME_FIELDS = struct.Struct(">HBBBBBIB")
_TIME_FIELDS = struct.Struct(">BBBIB")
_ORDINAL = struct.Struct(">i")
_DURATION = struct.Struct(">iii")
_OFFSET = struct.Struct(">q")

_SIXTEEN_BYTES = b"\xc4\x10"
"""What MessagePack puts before 16 raw bytes: msgspec reads a UUID off them five times as fast as Python."""

_UUID_DECODER = Decoder(UUID)
_UUIDS_DECODER = Decoder(list[UUID])
_BYTES = [bytes((byte,)) for byte in range(256)]


def encode(value: Any) -> bytes:
    """The exact bytes of any supported value; `DocumentError` when it is none.

    >>> decode(encode((1, {"a": Decimal("1.50")})))
    (1, {'a': Decimal('1.50')})
    """
    return _pack(_fit, value)


class FlatDocuments(list[dict[str, Any]]):
    """Documents of `NATIVE` values only, none of which nests: who makes one has looked."""


def encode_documents(documents: list[dict[str, Any]], *, is_flat: bool = False) -> bytes:
    """The exact bytes of a batch of documents, in one call; `decode_documents` reads them. `is_flat` spares the
    look at documents that were `FlatDocuments`."""
    return _pack(_as_given if is_flat else _fit_documents, documents)


def _as_given(documents: list[dict[str, Any]]) -> list[Any]:
    return documents


def decode(data: bytes) -> Any:
    """The value `encode` was given; `StorageError` when the bytes are damaged."""
    return _unpack(_DECODER, data)


def decode_documents(data: bytes) -> list[dict[str, Any]]:
    """The documents `encode_documents` was given; `StorageError` when the bytes are damaged."""
    documents: list[dict[str, Any]] = _unpack(_DOCUMENTS_DECODER, data)
    return documents


def decode_slice(data: bytes, start: int, stop: int) -> list[dict[str, Any]]:
    """The documents `start` … `stop` - 1 of those `encode_documents` was given; the others are only passed over.

    >>> decode_slice(encode_documents([{"n": 1}, {"n": 2}, {"n": 3}]), 1, 2)
    [{'n': 2}]
    """
    wanted = _unpack(_RAW_DECODER, data)[start:stop]
    return decode_documents(_list_header(len(wanted)) + b"".join(wanted))


def sequential_uuids(first: int, count: int) -> list[UUID]:
    """The UUIDs of the number `first` and those that follow, some five times as fast as by the constructor.

    >>> sequential_uuids(7, 2)
    [UUID('00000000-0000-0000-0000-000000000007'), UUID('00000000-0000-0000-0000-000000000008')]
    """
    number, end = first, first + count
    pieces = [_list_header(count)]
    while number < end:
        # Runs that differ in the last byte only: what is before it stands between the last bytes, too.
        lasts = _BYTES[number & 0xFF : (number & 0xFF) + end - number]
        before = _SIXTEEN_BYTES + (number >> 8).to_bytes(15, "big")
        pieces += (before, before.join(lasts))
        number += len(lasts)
    found: list[UUID] = _UUIDS_DECODER.decode(b"".join(pieces))
    return found


def _list_header(count: int) -> bytes:
    """What MessagePack may put before the items of a list of any length."""
    return b"\xdd" + count.to_bytes(4, "big")


def columns_decoder(attribute_names: Iterable[str]) -> Callable[[bytes], list[tuple[Any, ...]]]:
    """A function that reads only these top-level attributes of a batch of documents: one tuple a document,
    `MISSING` where a document lacks the attribute.

    >>> columns_decoder(["b", "a"])(encode_documents([{"a": 1, "b": 2, "c": 3}, {"a": 4}]))
    [(2, 1), (UNSET, 4)]
    """
    return _columns_decoder(tuple(attribute_names))


def is_native(value: Any, depth: int = 0) -> bool:
    """Whether MessagePack itself holds the value (integers and strings of any content not looked into)."""
    kind = type(value)
    if kind is dict:
        if not _STRINGS.issuperset(map(type, value)):
            return False
        items = value.values()
    elif kind is list:
        items = value
    else:
        return kind in NATIVE
    if NATIVE.issuperset(map(type, items)):
        return True
    if depth > _DEPTH_LIMIT:
        return False
    for item in items:  # noqa: SIM110 - a generator would double the stack a nested value takes
        if type(item) not in NATIVE and not is_native(item, depth + 1):
            return False
    return True


def _pack(fit: Callable[[Any], Any], value: Any) -> bytes:
    try:
        try:
            return _ENCODER.encode(fit(value))
        except (OverflowError, UnicodeEncodeError):
            # Integers past 64 bits, lone surrogates: looking for them first would slow every other value.
            given = list(value) if type(value) is FlatDocuments else value
            return _ENCODER.encode(_convert(given, -1, _ALWAYS_NATIVE))
    except UnicodeEncodeError as error:
        raise DocumentError("expected keys of Unicode text, got a lone surrogate", path="") from error
    except RecursionError as error:
        raise DocumentError("expected less nesting on a nearly full stack", path="") from error


def _fit(value: Any) -> Any:
    return value if is_native(value) else _convert(value, 0, NATIVE)


def _fit_documents(documents: list[dict[str, Any]]) -> list[Any]:
    return documents if _are_flat(documents) else [_fit(document) for document in documents]


def _are_flat(documents: list[dict[str, Any]]) -> bool:
    """Whether MessagePack holds every document and nothing nests: passes that never leave C."""
    return (
        _DICTS.issuperset(map(type, documents))
        and NATIVE.issuperset(map(type, chain.from_iterable(map(dict.values, documents))))
        and _STRINGS.issuperset(map(type, chain.from_iterable(documents)))
    )


def _convert(value: Any, depth: int, native: frozenset[type]) -> Any:
    """The value with everything but these `native` types replaced by extension types where it has to be."""
    kind = type(value)
    if kind in native:
        return value
    if kind is dict:
        if not _STRINGS.issuperset(map(type, value)):
            raise DocumentError("expected string keys, got others, in a dict to encode", path="")
        _check_depth(depth)
        converted = {}
        for key, item in value.items():
            converted[key] = item if type(item) in native else _convert(item, depth + 1, native)
        return converted
    if kind is list:
        return _convert_items(value, depth, native)
    convert = _CONVERTERS.get(kind)
    if convert is not None:
        return convert(value)
    code = _COLLECTION_CODES.get(kind)
    if code is not None:
        return Ext(code, _ENCODER.encode(_convert_items(value, depth, native)))
    if isinstance(value, Enum):
        _check_depth(depth)
        return _convert(value.value, depth + 1, native)
    raise DocumentError(f"expected a value a document can hold, got {kind.__name__}", path="", value=value)


def _convert_items(items: Iterable[Any], depth: int, native: frozenset[type]) -> list[Any]:
    _check_depth(depth)
    converted = []
    for item in items:
        converted.append(item if type(item) in native else _convert(item, depth + 1, native))
    return converted


def _check_depth(depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        raise DocumentError(f"expected at most {_DEPTH_LIMIT} nested levels, got more", path="")


def _convert_integer(value: int) -> Any:
    if -(1 << 63) <= value < 1 << 64:
        return value
    return Ext(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _convert_string(value: str) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return Ext(_SURROGATES, value.encode("utf-8", "surrogatepass"))
    return value


def _convert_datetime(value: datetime) -> Ext:
    fields = _DATETIME_FIELDS.pack(
        *(value.year, value.month, value.day, value.hour, value.minute, value.second),
        *(value.microsecond, value.fold),
    )
    return Ext(_DATETIME, fields + _timezone_bytes(value.tzinfo))


def _convert_time(value: time) -> Ext:
    fields = _TIME_FIELDS.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    return Ext(_TIME, fields + _timezone_bytes(value.tzinfo))


def _convert_timedelta(value: timedelta) -> Ext:
    return Ext(_TIMEDELTA, _DURATION.pack(value.days, value.seconds, value.microseconds))


def microseconds(value: timedelta) -> int:
    """A duration in whole µs, exactly."""
    return (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds


def _timezone_bytes(zone: tzinfo | None) -> bytes:
    if zone is None:
        return b""
    if zone is UTC:
        return b"u"
    if type(zone) is not timezone:
        from zoneinfo import ZoneInfo  # for few values

        if type(zone) is ZoneInfo and type(zone.key) is str:
            return b"z" + zone.key.encode()
        raise DocumentError(f"expected a timezone or ZoneInfo with a key, got {zone!r}", path="")
    offset, name = zone.utcoffset(None), zone.tzname(None)
    packed = _OFFSET.pack(microseconds(offset))
    if name == timezone(offset).tzname(None):
        return b"o" + packed
    return b"n" + packed + name.encode("utf-8", "surrogatepass")


def _named_zone(key: str) -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # for few values

    try:
        return ZoneInfo(key)
    except ZoneInfoNotFoundError as error:
        raise StorageError(f"expected a time zone that is known here, got another: {error.args[0]}") from error


def _timezone(data: memoryview) -> tzinfo | None:
    if not data:
        return None
    form = chr(data[0])
    if form == "u":
        return UTC
    if form == "z":
        return _named_zone(str(data[1:], "utf-8"))
    offset = timedelta(microseconds=_OFFSET.unpack_from(data, 1)[0])
    if form == "n":
        return timezone(offset, str(data[1 + _OFFSET.size :], "utf-8", "surrogatepass"))
    return timezone(offset)


def _read_datetime(data: memoryview) -> datetime:
    year, month, day, hour, minute, second, micros, fold = _DATETIME_FIELDS.unpack_from(data)
    zone = _timezone(data[_DATETIME_FIELDS.size :])
    return datetime(year, month, day, hour, minute, second, micros, zone, fold=fold)


def _read_time(data: memoryview) -> time:
    hour, minute, second, micros, fold = _TIME_FIELDS.unpack_from(data)
    return time(hour, minute, second, micros, _timezone(data[_TIME_FIELDS.size :]), fold=fold)


def _read_timedelta(data: memoryview) -> timedelta:
    days, seconds, micros = _DURATION.unpack(data)
    return timedelta(days, seconds, micros)


def _read_extension(code: int, data: memoryview) -> Any:
    collection = _COLLECTIONS.get(code)
    if collection is not None:
        return collection(_ITEMS_DECODER.decode(data))
    read = _READERS.get(code)
    if read is None:
        raise ValueError(f"unknown extension type {code}")
    return read(data)


_CONVERTERS: dict[type, Callable[[Any], Any]] = {
    int: _convert_integer,
    str: _convert_string,
    Decimal: lambda value: Ext(_DECIMAL, str(value).encode()),
    UUID: lambda value: Ext(_UUID, value.int.to_bytes(16, "big")),
    datetime: _convert_datetime,
    date: lambda value: Ext(_DATE, _ORDINAL.pack(value.toordinal())),
    time: _convert_time,
    timedelta: _convert_timedelta,
}

_COLLECTION_CODES: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_COLLECTIONS: dict[int, Callable[[list[Any]], Any]] = {_TUPLE: tuple, _SET: set, _FROZENSET: frozenset}

_READERS: dict[int, Callable[[memoryview], Any]] = {
    _INTEGER: lambda data: int.from_bytes(data, "big", signed=True),
    _SURROGATES: lambda data: str(data, "utf-8", "surrogatepass"),
    _DECIMAL: lambda data: Decimal(str(data, "ascii")),
    _UUID: lambda data: _UUID_DECODER.decode(_SIXTEEN_BYTES + data),
    _DATETIME: _read_datetime,
    _DATE: lambda data: date.fromordinal(_ORDINAL.unpack(data)[0]),
    _TIME: _read_time,
    _TIMEDELTA: _read_timedelta,
}

_ENCODER = Encoder()
_DECODER: Decoder[Any] = Decoder(Any, ext_hook=_read_extension)
_ITEMS_DECODER: Decoder[list[Any]] = Decoder(list[Any], ext_hook=_read_extension)
_RAW_DECODER = Decoder(list[msgspec.Raw])
_DOCUMENTS_DECODER: Decoder[list[dict[str, Any]]] = Decoder(list[dict[str, Any]], ext_hook=_read_extension)


def _unpack(decoder: Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except RecursionError as error:
        raise StorageError("expected less nesting on a nearly full stack") from error
    except (
        msgspec.MsgspecError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        OSError,
        struct.error,
    ) as error:
        raise StorageError(f"expected an encoded value, got damaged bytes: {error}") from error


@lru_cache(maxsize=256)
def _columns_decoder(names: tuple[str, ...]) -> Callable[[bytes], list[tuple[Any, ...]]]:
    if len(set(names)) < len(names) or not all(map(_can_be_field, names)):
        return lambda data: [
            tuple(document.get(name, MISSING) for name in names) for document in decode_documents(data)
        ]
    fields = [(f"f{place}", Any | msgspec.UnsetType, MISSING) for place in range(len(names))]
    renamed = {f"f{place}": name for place, name in enumerate(names)}
    row = msgspec.defstruct("Row", fields, rename=renamed, gc=False)
    decoder: Decoder[Any] = Decoder(list[row], ext_hook=_read_extension)  # type: ignore[valid-type]  # made at run time
    return lambda data: list(map(msgspec.structs.astuple, _unpack(decoder, data)))


def _can_be_field(name: str) -> bool:
    """Whether msgspec takes the name for a field: no quotes, backslashes or controls."""
    return name.isprintable() and '"' not in name and "\\" not in name
