"""Streams: typed composite keys, names that never collide, and ids that say where a document stands."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import oracle_values as oracle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tourlog import connect
from tourlog.errors import TransactionError
from tourlog.stream import Stream, document_id, document_place, stream_name, stream_prefix

PREFIXES = st.integers(0, (1 << 60) - 1)
OFFSETS = st.integers(0, (1 << 62) - 1)
KEY_VALUES = st.one_of(
    st.sampled_from(["foo", "foo-1", "1", "1-2", "2", "", "-", 1, 1.0, Decimal("1.00"), True, 2, b"1", float("nan")]),
    st.text(max_size=3),
    st.integers(),
)
STREAMS = st.builds(
    lambda names, values: Stream(names[: len(values)], tuple(values)),
    st.permutations(["topic", "partition", "a"]).map(tuple),
    st.lists(KEY_VALUES, min_size=1, max_size=3),
)


@given(STREAMS, STREAMS)
@example(Stream(("t", "p"), ("foo-1", 2)), Stream(("t", "p"), ("foo", "1-2")))
@example(Stream(("t",), (1,)), Stream(("t",), (True,)))
@example(Stream(("t",), (1,)), Stream(("t",), (1.0,)))
@example(Stream(("a", "b"), (1, 2)), Stream(("b", "a"), (2, 1)))
def test_streams_are_equal_when_names_and_typed_values_are(a: Stream, b: Stream) -> None:
    same = (a.names, oracle.key(a.values)) == (b.names, oracle.key(b.values))
    assert (a == b) is same
    assert (a.key == b.key) is same
    assert not same or hash(a) == hash(b)


def test_a_stream_is_no_tuple() -> None:
    assert Stream(("a",), (1,)) != (("a",), (1,))


@given(st.lists(STREAMS, max_size=12, unique_by=lambda stream: stream.key))
def test_no_two_streams_share_a_name_and_none_is_the_systems(streams: list[Stream]) -> None:
    names: list[str] = []
    for stream in streams:
        names.append(stream_name(stream, names.__contains__))
    assert len(set(names)) == len(names)
    assert not any(name.startswith("db/") for name in names)


def test_a_stream_is_named_by_its_values_and_spelled_out_only_when_that_is_taken() -> None:
    taken: list[str] = []
    for names, values, expected in (
        (("topic", "partition"), ("foo-1", 2), "foo-1-2"),
        (("topic", "partition"), ("foo", "1-2"), "topic=foo,partition=1-2"),
        (("topic", "partition"), ("foo", Decimal("1")), "foo-1"),
        (("topic", "partition"), ("foo", "1"), "topic=foo,partition=1"),
        (("topic", "partition"), ("foo", b"1"), "foo-b'1'"),
        (("topic", "partition"), ("foo-1", "2"), "topic=foo-1,partition=2"),
        (("topic", "partition"), ("foo-1", 2.5), "foo-1-2.5"),
        (("a",), ("x",), "x"),
        (("b",), ("x",), "b=x"),
        (("c",), ("b=x",), "c=b=x"),
        (("a",), ("db/id",), "a=db/id"),
        (("a",), ("db/tx",), "a=db/tx"),
        (("a",), (True,), "True"),
        (("a",), ("True",), "a=True"),
    ):
        taken.append(stream_name(Stream(names, values), taken.__contains__))
        assert taken[-1] == expected


def test_when_every_spelling_is_taken_a_number_tells_streams_apart() -> None:
    stream = Stream(("a",), (1,))
    assert stream_name(stream, {"1", "a=1", "a=1#2"}.__contains__) == "a=1#3"
    assert stream_name(Stream(("a",), ("1",)), {"1", "a=1"}.__contains__) == "a='1'"


@pytest.mark.parametrize("number", [10**5000, -(10**5000)], ids=["positive", "negative"])
def test_an_integer_of_any_length_can_be_a_key(number: int) -> None:
    """Python refuses to write integers of more than 4,300 digits."""
    stream = Stream(("k",), (number,))
    assert stream_name(stream, lambda _: False) == str(Decimal(number))
    assert str(stream) == f"k={Decimal(number)}"
    with connect() as conn:
        conn.append([{"k": number, "n": 1}], "k")
        conn.append([{"k": number + 1, "n": 2}], "k")
        assert [document["n"] for document in conn.db().documents({"k": number})] == [1]


def test_a_name_like_a_system_attribute_is_spelled_out_in_the_offset_metadata() -> None:
    with connect() as conn:
        conn.append([{"k": "db/tx"}, {"k": "db/id"}, {"k": "offset"}], "k")
        assert conn.db().entity("offset-metadata") == {
            **{"db/id": "offset-metadata", "k=db/tx": 1, "k=db/id": 1, "offset": 1}
        }


@given(PREFIXES, OFFSETS)
@example(0, 0)
@example((1 << 60) - 1, (1 << 62) - 1)
def test_an_id_says_where_its_document_stands(prefix: int, offset: int) -> None:
    id = document_id(prefix, offset)
    assert document_place(id) == (prefix, offset)
    assert (id.version, id.variant) == (8, "specified in RFC 4122")


@given(PREFIXES, st.lists(OFFSETS, unique=True))
def test_ids_of_a_stream_sort_by_offset(prefix: int, offsets: list[int]) -> None:
    ids = [document_id(prefix, offset) for offset in sorted(offsets)]
    assert all(a < b for a, b in pairwise(ids))


@pytest.mark.parametrize("value", [uuid4(), UUID(int=0), UUID(int=2**128 - 1), str(document_id(1, 1)), 5, None])
def test_anything_else_is_no_place(value: Any) -> None:
    assert document_place(value) is None


@given(st.binary(min_size=16, max_size=16), STREAMS)
def test_a_prefix_is_made_of_the_key_under_the_stores_salt(salt: bytes, stream: Stream) -> None:
    first = stream_prefix(salt, stream.key, lambda _: False)
    assert first == stream_prefix(salt, stream.key, lambda _: False)
    assert 0 <= first < 1 << 60
    second = stream_prefix(salt, stream.key, {first}.__contains__)
    third = stream_prefix(salt, stream.key, {first, second}.__contains__)
    assert len({first, second, third}) == 3


def test_two_stores_give_different_ids_to_the_same_document() -> None:
    def id_in_new_store() -> Any:
        with connect() as conn:
            conn.append([{"k": 1}], "k")
            return conn.db().documents({"k": 1})[0]["db/id"]

    assert id_in_new_store() != id_in_new_store()


def test_a_document_that_is_still_to_be_appended_cannot_be_written_and_so_is_not_lost() -> None:
    with connect() as conn:
        conn.append([{"k": 1, "n": 0}], "k")
        place = document_place(conn.db().documents({"k": 1})[0]["db/id"])
        assert place is not None
        next_id = document_id(place[0], 1)
        for data in ({"db/id": next_id, "n": "mine"}, ("db/add", next_id, "n", "mine")):
            with pytest.raises(TransactionError, match="is the id of a document still to come, number 1 of stream k=1"):
                conn.transact([data])
        conn.append([{"k": 1, "n": 1}], "k")
        conn.transact([{"db/id": next_id, "n": "mine"}])
        assert [(document["k"], document["n"]) for document in conn.db().documents({"k": 1})] == [(1, 0), (1, "mine")]
