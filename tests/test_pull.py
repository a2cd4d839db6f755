"""Pull: patterns on entities, nested documents and references, on cycles and on chains without end."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

import tourlog
from tourlog import Connection, Database

PEOPLE = [
    {"db/id": 1, "name": "Ann", "friend": [2, 3], "address": {"city": "Ulm", "geo": {"lat": 1, "lon": 2}}},
    {"db/id": 2, "name": "Bob", "friend": 1, "tags": ["a", "b", "c"], "boss": 1},
    {
        "db/id": 3,
        "name": "Cid",
        "friend": 9,
        "boss": 1,
        "none": None,
        "addresses": [{"city": "Bonn"}, {"city": "Köln"}, 5],
    },
]


@pytest.fixture
def db(conn: Connection) -> Database:
    conn.transact(PEOPLE)
    return conn.db()


PULLS: list[tuple[Any, Any, Any]] = [
    ("[*]", 2, PEOPLE[1]),
    (["*"], 2, PEOPLE[1]),
    ("[:name]", 1, {"name": "Ann"}),
    (["name", "missing"], 1, {"name": "Ann"}),
    ("[:missing]", 1, None),
    ("[*]", 9, None),
    ("[:name]", 9, None),
    ("[:db/id]", 1, {"db/id": 1}),
    ("[:db/id :name]", 1, {"db/id": 1, "name": "Ann"}),
    ("[:none]", 3, {"none": None}),
    ("[:tags]", 2, {"tags": ["a", "b", "c"]}),
    ("[(:tags :limit 2)]", 2, {"tags": ["a", "b"]}),
    ("[(limit :tags 1)]", 2, {"tags": ["a"]}),
    ("[(:name :as :called)]", 1, {"called": "Ann"}),
    ("[* (:name :as :called)]", 2, {**{k: v for k, v in PEOPLE[1].items() if k != "name"}, "called": "Bob"}),
    ("[(:missing :default 7)]", 1, {"missing": 7}),
    ([("missing", "default", [1, [2]])], 9, {"missing": [1, [2]]}),
    ("[(:none :default 7)]", 3, {"none": None}),
    ("[{:friend [:name]}]", 1, {"friend": [{"name": "Bob"}, {"name": "Cid"}]}),
    ([{"friend": ["name"]}], 2, {"friend": {"name": "Ann"}}),
    ("[{:friend [:name]}]", 3, None),
    ("[:name {:friend [:tags]}]", 1, {"name": "Ann", "friend": [{"tags": ["a", "b", "c"]}]}),
    (
        "[{:friend [:name {:friend [:name]}]}]",
        2,
        {"friend": {"name": "Ann", "friend": [{"name": "Bob"}, {"name": "Cid"}]}},
    ),
    ("[{(:friend :limit 1) [:name]}]", 1, {"friend": [{"name": "Bob"}]}),
    ("[:_boss]", 1, {"_boss": [{"db/id": 2}, {"db/id": 3}]}),
    ("[{:_boss [:name]}]", 1, {"_boss": [{"name": "Bob"}, {"name": "Cid"}]}),
    ("[(:_boss :as :staff)]", 1, {"staff": [{"db/id": 2}, {"db/id": 3}]}),
    ("[{:_boss [:name]}]", 2, None),
    ("[{:address [:city]}]", 1, {"address": {"city": "Ulm"}}),
    ("[{:address [{:geo [:lat]}]}]", 1, {"address": {"geo": {"lat": 1}}}),
    ("[:address.city]", 1, {"address.city": "Ulm"}),
    ("[:address.geo]", 1, {"address.geo": {"lat": 1, "lon": 2}}),
    ("[:address.geo.lon]", 1, {"address.geo.lon": 2}),
    ("[:addresses.city]", 3, {"addresses.city": ["Bonn", "Köln"]}),
    ("[{:addresses [:city]}]", 3, {"addresses": [{"city": "Bonn"}, {"city": "Köln"}]}),
    ("[:name {:friend 1}]", 1, {"name": "Ann", "friend": [{"name": "Bob"}, {"name": "Cid"}]}),
    (
        "[:name {:friend 2}]",
        2,
        {
            "name": "Bob",
            "friend": {"name": "Ann", "friend": [{"name": "Bob", "friend": {"db/id": 1}}, {"name": "Cid"}]},
        },
    ),
    (
        "[:name {:friend ...}]",
        2,
        {
            "name": "Bob",
            "friend": {"name": "Ann", "friend": [{"name": "Bob", "friend": {"db/id": 1}}, {"name": "Cid"}]},
        },
    ),
    ("[:name {:_boss ...}]", 1, {"name": "Ann", "_boss": [{"name": "Bob"}, {"name": "Cid"}]}),
]


@pytest.mark.parametrize(("pattern", "e", "wanted"), PULLS, ids=[f"{pattern} of {e}" for pattern, e, _ in PULLS])
def test_a_pattern_cuts_an_entity(db: Database, pattern: Any, e: Any, wanted: Any) -> None:
    assert db.pull(pattern, e) == wanted
    assert db.pull_many(pattern, [e, 77, e]) == [wanted, db.pull(pattern, 77), wanted]
    if wanted is not None:
        assert db.q("[:find (pull ?e ?pattern) . :in $ ?e ?pattern]", e, pattern) == wanted


def test_pull_many_keeps_the_order_and_takes_any_iterable(db: Database) -> None:
    names = [{"name": "Cid"}, {"name": "Ann"}, None, {"name": "Cid"}]
    assert db.pull_many("[:name]", (e for e in (3, 1, 9, 3))) == names
    assert db.pull_many("[:name]", []) == []
    assert db.pull_many("[:name]", {1}) == [{"name": "Ann"}]


def test_pull_goes_by_the_position_it_is_asked_at(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "name": "Ann", "friend": 2}, {"db/id": 2, "name": "Bob"}])
    conn.transact([{"db/id": 2, "name": "Bert"}, ("db/retract", 1, "name")])
    pattern = "[:name {:friend [:name :_friend]}]"
    then = {"name": "Ann", "friend": {"name": "Bob", "_friend": [{"db/id": 1}]}}
    now = {"friend": {"name": "Bert", "_friend": [{"db/id": 1}]}}
    assert [conn.db().as_of(t).pull(pattern, 1) for t in (0, 1, 2)] == [None, then, now]
    speculative = conn.db().with_([{"db/id": 1, "name": "Zoe"}]).db_after
    assert speculative.pull(pattern, 1) == {"name": "Zoe", **now}


def test_appended_documents_are_pulled_with_offset_and_without_what_is_the_stores_own(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 5}], "k")
    (document,) = conn.db().documents({"k": 1})
    assert conn.db().pull("[*]", document["db/id"]) == document
    assert conn.db().pull("[:offset :n]", document["db/id"]) == {"offset": 0, "n": 5}
    assert conn.db().pull("[:db/key :db/tx]", document["db/id"]) == {"db/key": ["k"], "db/tx": 1}


def test_cycles_end_where_they_come_back(conn: Connection) -> None:
    """At an entity the recursion has come to before, as in DataScript: where it began counts from the second time."""
    conn.transact([{"db/id": 1, "next": 2}, {"db/id": 2, "next": 3}, {"db/id": 3, "next": 1}, {"db/id": 4, "next": 4}])
    pattern = [{"next": "..."}, "db/id"]
    ends = {"db/id": 3, "next": {"db/id": 1, "next": {"db/id": 2}}}
    assert conn.db().pull(pattern, 1) == {"db/id": 1, "next": {"db/id": 2, "next": ends}}
    assert conn.db().pull(pattern, 4) == {"db/id": 4, "next": {"db/id": 4, "next": {"db/id": 4}}}


def test_cycles_through_nested_documents_end_too(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "next": {"label": "in", "next": 2}}, {"db/id": 2, "next": {"label": "in", "next": 1}}])
    first_again = {"db/id": 1, "next": {"label": "in", "next": {"db/id": 2}}}
    assert conn.db().pull([{"next": "..."}, "db/id", "label"], 1) == {
        "db/id": 1,
        "next": {"label": "in", "next": {"db/id": 2, "next": {"label": "in", "next": first_again}}},
    }


def test_siblings_that_share_a_reference_both_have_it(conn: Connection) -> None:
    conn.transact(
        [{"db/id": 1, "next": [2, 3]}, {"db/id": 2, "next": 4}, {"db/id": 3, "next": 4}, {"db/id": 4, "n": 1}]
    )
    assert conn.db().pull([{"next": "..."}, "db/id"], 1) == {
        "db/id": 1,
        "next": [{"db/id": 2, "next": {"db/id": 4}}, {"db/id": 3, "next": {"db/id": 4}}],
    }


def test_a_chain_is_followed_however_long_it_is(conn: Connection) -> None:
    length = 5000
    conn.transact([{"db/id": n, "next": n + 1, "n": n} for n in range(length)])
    found = conn.db().pull(["n", {"next": "..."}], 0)
    steps = []
    while found is not None:
        steps.append(found["n"])
        found = found.get("next")
    assert steps == list(range(length))


def test_recursion_by_depth_stops_there_on_a_chain(conn: Connection) -> None:
    conn.transact([{"db/id": n, "next": n + 1, "n": n} for n in range(10)])
    assert conn.db().pull(["n", {"next": 2}], 0) == {"n": 0, "next": {"n": 1, "next": {"n": 2}}}


def test_a_default_is_a_fresh_value_each_time(db: Database) -> None:
    for pattern in ("[(:missing :default [1])]", [("missing", "default", [1])]):
        first = db.pull(pattern, 1)
        assert first == {"missing": [1]}
        first["missing"].append(2)
        assert db.pull(pattern, 1) == {"missing": [1]}


def test_ids_of_equal_value_are_followed_whatever_their_type(conn: Connection) -> None:
    conn.transact(
        [{"db/id": 1, "name": "one"}, {"db/id": True, "name": "yes"}, {"db/id": "a", "ref": [1.0, True, "1"]}]
    )
    assert conn.db().pull([{"ref": ["name"]}], "a") == {"ref": [{"name": "one"}, {"name": "yes"}]}
    assert sorted(e["db/id"] for e in conn.db().pull(["_ref"], 1)["_ref"]) == ["a"]  # type: ignore[index]


@pytest.mark.parametrize("pattern", ["[", "[:a", "{:a", 5, None, [], "[]", [{"a": "nonsense"}], [("a", "limit", -1)]])
def test_what_is_no_pattern_is_a_syntax_error(db: Database, pattern: Any) -> None:
    with pytest.raises(tourlog.QuerySyntaxError):
        db.pull(pattern, 1)
    with pytest.raises(tourlog.QuerySyntaxError):
        db.pull_many(pattern, [1])


def test_a_pull_that_takes_longer_than_its_timeout_raises() -> None:
    """All ways through a dense graph are more than anybody waits for."""
    with tourlog.connect() as conn:
        conn.transact([{"db/id": n, "to": list(range(40))} for n in range(40)])
        db = conn.db()
        for pull, e in ((db.pull, 0), (db.pull_many, [0])):
            start = monotonic()
            with pytest.raises(tourlog.BudgetError, match=r"timeout=0\.2"):
                pull("[{:to ...}]", e, timeout=0.2)  # type: ignore[operator]  # either of the two
            assert monotonic() - start < 2
        assert db.pull("[:db/id]", 0, timeout=5) == {"db/id": 0}
        with pytest.raises(tourlog.ArgumentError, match="timeout"):
            db.pull("[*]", 0, timeout=0)
