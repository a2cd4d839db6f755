"""The bytes of values: exact, stable between versions, read by columns, and refused when damaged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import reduce
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_values import DOCUMENTS, KEYS, VALUES, by_value, exact

from tourlog.encoding import (
    MISSING,
    FlatDocuments,
    columns_decoder,
    decode,
    decode_documents,
    decode_slice,
    encode,
    encode_documents,
    is_native,
    microseconds,
    sequential_uuids,
)
from tourlog.errors import DocumentError, StorageError

# Values and the bytes that stand for them in every store there is: these lines only ever get more.
FORMAT: list[tuple[Any, str]] = [
    (None, "c0"),
    (True, "c3"),
    (-1, "ff"),
    (2**64 - 1, "cfffffffffffffffff"),
    (2**64, "c70901010000000000000000"),
    (-(2**63) - 1, "c70901ff7fffffffffffffff"),
    (1.5, "cb3ff8000000000000"),
    (-0.0, "cb8000000000000000"),
    ("é", "a2c3a9"),
    ("\ud800", "c70302eda080"),
    (b"\0", "c40100"),
    ([1], "9101"),
    ((1,), "d5039101"),
    ({1}, "d5049101"),
    (frozenset({1}), "d5059101"),
    ({"a": (2,)}, "81a161d5039102"),
    (Decimal("1.50"), "d606312e3530"),
    (Decimal("-sNaN7"), "c706062d734e614e37"),
    (UUID(int=1), "d80700000000000000000000000000000001"),
    (datetime(2026, 3, 1, 23, 4, 5, 678), "c70c0807ea0301170405000002a600"),
    (datetime(2026, 3, 1, tzinfo=UTC), "c70d0807ea0301000000000000000075"),
    (datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=1))), "c7150807ea030100000000000000006f00000000d693a400"),
    (datetime(2026, 3, 1, tzinfo=timezone(timedelta(0), "x")), "c7160807ea030100000000000000006e000000000000000078"),
    (
        datetime(2026, 3, 1, tzinfo=ZoneInfo("Asia/Tokyo"), fold=1),
        "c7170807ea030100000000000000017a417369612f546f6b796f",
    ),
    (date(2026, 3, 1), "d609000b495c"),
    (time(1, 2, 3, 4, fold=1), "d70a0102030000000401"),
    (timedelta(-1, 2, 3), "c70c0bffffffff0000000200000003"),
]


@pytest.mark.parametrize(("value", "written"), FORMAT)
def test_the_bytes_of_values_stay_what_they_are(value: Any, written: str) -> None:
    assert encode(value).hex() == written
    assert exact(decode(bytes.fromhex(written))) == exact(value)


@given(st.lists(DOCUMENTS, max_size=4))
def test_documents_decode_exactly_as_they_were_encoded(documents: list[dict[str, Any]]) -> None:
    assert exact(decode_documents(encode_documents(documents))) == exact(by_value(documents))


@given(st.lists(DOCUMENTS, max_size=4), st.lists(KEYS, max_size=4))
@example([{"a": 2**70, "b": 1}, {}], ["a", "b", "a"])
@example([{'"': 1, "\\": 2, "\0": 3}], ['"', "\\", "\0"])
@example([{"f0": 1, "f1": 2}], ["f1", "f0"])
def test_columns_are_what_the_whole_documents_hold(documents: list[dict[str, Any]], names: list[str]) -> None:
    expected = [
        tuple(by_value(document[name]) if name in document else MISSING for name in names) for document in documents
    ]
    assert exact(columns_decoder(names)(encode_documents(documents))) == exact(expected)


def test_no_columns_give_an_empty_row_for_every_document() -> None:
    assert columns_decoder([])(encode_documents([{"a": 1}, {}])) == [(), ()]


@given(VALUES)
def test_what_is_native_is_encoded_as_it_stands(value: Any) -> None:
    """Only strings and integers are not looked into."""
    if is_native(value):
        assert exact(decode(encode(value))) == exact(value)
    else:
        assert type(value) not in (type(None), bool, int, float, str, bytes)


@given(VALUES, st.data())
def test_bytes_cut_short_are_never_a_value(value: Any, data: st.DataObject) -> None:
    whole = encode(value)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(StorageError, match="expected an encoded value, got damaged bytes"):
        decode(whole[:cut])


@given(VALUES, st.data())
def test_damaged_bytes_are_another_value_or_an_error_of_the_storage(value: Any, data: st.DataObject) -> None:
    damaged = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for read in (decode, decode_documents, columns_decoder(["a"])):
        try:
            read(bytes(damaged))
        except StorageError:
            continue


@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_an_error_of_the_storage(data: bytes) -> None:
    for read in (decode, decode_documents, columns_decoder(["a"])):
        try:
            read(data)
        except StorageError:
            continue


def test_a_zone_this_machine_does_not_know_is_named() -> None:
    known = encode(datetime(2026, 3, 1, tzinfo=ZoneInfo("Asia/Tokyo")))
    for key in (b"\xff", b"", b"../etc", b"Europe"):
        with pytest.raises(StorageError):
            decode(b"\xc7" + bytes((14 + len(key) - 1,)) + known[2:16] + key)
    with pytest.raises(StorageError, match=r"expected a time zone that is known here, got .*Asia/Tokio"):
        decode(known.replace(b"Tokyo", b"Tokio"))


def test_a_key_that_no_text_encodes_is_refused() -> None:
    for document in ({"\ud800": 1}, {"a": {"\ud800": (1,)}}):
        with pytest.raises(DocumentError, match="keys of Unicode text"):
            encode(document)


def near_the_end_of_the_stack(function: Callable[[], Any], left: int) -> Any:
    """Call a function with about so many frames left on Python's stack."""
    frame: Any = sys._getframe()
    depth = 0
    while frame is not None:
        depth, frame = depth + 1, frame.f_back

    def descend(levels: int) -> Any:
        return function() if levels <= 0 else descend(levels - 1)

    return descend(sys.getrecursionlimit() - depth - left)


@pytest.mark.parametrize("left", [20, 60, 120])
def test_a_nearly_full_stack_is_an_error_that_says_so(left: int) -> None:
    value = reduce(lambda inner, _: (inner,), range(200), 1)
    encoded = encode(value)
    with pytest.raises(DocumentError, match="nearly full stack"):
        near_the_end_of_the_stack(lambda: encode(value), left)
    with pytest.raises(StorageError, match="nearly full stack"):
        near_the_end_of_the_stack(lambda: decode(encoded), left)
    assert decode(encoded) == value


@given(st.timedeltas())
@example(timedelta.min)
@example(timedelta.max)
def test_microseconds_are_exact(value: timedelta) -> None:
    assert timedelta(microseconds=1) * microseconds(value) == value


@given(st.lists(DOCUMENTS, max_size=20), st.integers(0, 21), st.integers(0, 21))
def test_a_slice_is_the_same_documents_as_of_the_whole(documents: list[dict[str, Any]], start: int, stop: int) -> None:
    data = encode_documents(documents)
    assert exact(decode_slice(data, start, stop)) == exact(decode_documents(data)[start:stop])


def test_damaged_bytes_are_refused_by_slices_too() -> None:
    for data in (b"", b"\x91", b"\xc1", b"\x91\x01", encode_documents([{"a": 1}])[:-1]):
        with pytest.raises(StorageError):
            decode_slice(data, 0, 1)


@given(st.lists(st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3) | st.binary())))
def test_flat_documents_have_the_same_bytes_without_a_look(documents: list[dict[str, Any]]) -> None:
    try:
        expected = encode_documents(documents)
    except DocumentError:
        with pytest.raises(DocumentError):
            encode_documents(FlatDocuments(documents), is_flat=True)
    else:
        assert encode_documents(FlatDocuments(documents), is_flat=True) == expected


@given(st.integers(0, (1 << 128) - 300), st.integers(0, 300))
def test_sequential_uuids_are_those_of_the_numbers_that_follow(first: int, count: int) -> None:
    found = sequential_uuids(first, count)
    assert found == [UUID(int=first + n) for n in range(count)]
    assert all(
        type(each) is UUID and each.is_safe == UUID(int=0).is_safe and hash(each) == hash(UUID(int=each.int))
        for each in found
    )
