"""Order on top of facts: `append` as a pure function, and the reading side's last step."""

from __future__ import annotations

from enum import Enum
from typing import Any
from uuid import UUID

import pytest

import tourlog
from tourlog import Connection, append, post_query_transform


class Colour(Enum):
    RED = "red"


def places(data: list[dict[str, Any]]) -> list[tuple[Any, int]]:
    return [(document["k"], document["offset"]) for document in data]


def test_offsets_go_on_from_what_is_stored_key_by_key(conn: Connection) -> None:
    conn.append([{"k": 1}, {"k": 2}, {"k": 1}], "k")
    data = append(conn.db(), [{"k": 2}, {"k": 1}, {"k": 3}, {"k": 2}], "k")
    assert places(data) == [(2, 1), (1, 2), (3, 0), (2, 2)]


def test_each_document_has_its_id_its_offset_and_its_key_before_what_it_says_itself(conn: Connection) -> None:
    (data,) = append(conn.db(), [{"k": 1, "l": 2, "n": 3}], "l", "k")
    assert list(data) == ["db/id", "offset", "db/key", "k", "l", "n"]
    assert {name: data[name] for name in ("offset", "db/key", "k", "l", "n")} == {
        "offset": 0,
        "db/key": ["l", "k"],
        "k": 1,
        "l": 2,
        "n": 3,
    }
    assert (type(data["db/id"]), data["db/id"].version) == (UUID, 8)


def test_ids_say_where_a_document_stands_and_differ_among_streams_and_stores() -> None:
    one, other = tourlog.connect(), tourlog.connect()
    documents = [{"k": k, "l": k} for k in (1, 2, "1", True, 1)]
    ids = [data["db/id"] for conn in (one, other) for key in ("k", "l") for data in append(conn.db(), documents, key)]
    assert len(set(ids)) == 20
    assert [d["db/id"] for d in append(one.db(), documents, "k")] == ids[:5]
    assert ids[0] < ids[4]


def test_what_is_given_is_neither_changed_nor_shared(conn: Connection) -> None:
    given = [{"k": 1, "n": [[1]]}]
    data = append(conn.db(), given, "k")
    given[0]["n"][0].append(2)  # type: ignore[index]
    data[0]["db/key"].append("spoilt")
    assert (given, data[0]["n"]) == ([{"k": 1, "n": [[1, 2]]}], [[1]])
    assert append(conn.db(), [{"k": 1}], "k")[0]["db/key"] == ["k"]


def test_an_enum_member_is_a_key_by_its_value(conn: Connection) -> None:
    conn.append([{"k": Colour.RED, "n": 1}], "k")
    conn.append([{"k": "red", "n": 2}], "k")
    conn.transact(append(conn.db(), [{"k": Colour.RED, "n": Colour.RED}], "k"))
    for key in ("red", Colour.RED):
        assert [(d["k"], d["n"]) for d in conn.db().documents({"k": key})] == [("red", 1), ("red", 2), ("red", "red")]
    conn.append([{"k": "red"}], "k", expect={Colour.RED: 3})


def test_nothing_to_append_is_nothing_to_transact(conn: Connection) -> None:
    assert append(conn.db(), [], "k") == []
    assert append(conn.db(), iter(()), "k") == []


def test_append_works_on_speculations_and_past_positions(conn: Connection) -> None:
    conn.append([{"k": 1}, {"k": 1}], "k")
    speculative = conn.db().with_(append(conn.db(), [{"k": 1}], "k")).db_after
    assert places(append(speculative, [{"k": 1}], "k")) == [(1, 3)]
    assert places(append(conn.db().as_of(0), [{"k": 1}], "k")) == [(1, 0)]


@pytest.mark.parametrize(
    "rows",
    [
        [({"db/id": 8, "offset": 1, "n": 1},), ({"db/id": 7, "offset": 0, "n": 0},)],
        [{"db/id": 8, "offset": 1, "n": 1}, {"db/id": 7, "offset": 0, "n": 0}],
        [[{"db/id": 8, "offset": 1, "n": 1}, {"db/id": 7, "offset": 0, "n": 0}]],
        ({"offset": n, "n": n} for n in (1, 0)),
    ],
    ids=["a relation", "a collection", "a tuple", "any iterable"],
)
def test_rows_become_documents_in_order(rows: Any) -> None:
    assert post_query_transform(rows) == [{"offset": 0, "n": 0}, {"offset": 1, "n": 1}]


def test_documents_of_several_streams_stay_in_their_order_where_offsets_are_equal() -> None:
    rows = [{"offset": 1, "n": 3}, {"offset": 0, "n": 1}, {"offset": 0, "n": 2}]
    assert [document["n"] for document in post_query_transform(rows)] == [1, 2, 3]


def test_rows_are_not_changed_and_no_rows_are_no_documents() -> None:
    rows = [{"db/id": 8, "offset": 0}]
    assert (post_query_transform(rows), rows) == ([{"offset": 0}], [{"db/id": 8, "offset": 0}])
    assert post_query_transform([]) == []
