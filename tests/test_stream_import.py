"""Streams, entities and invariants of another store: transaction by transaction, as they were, once, whenever an
import is interrupted or repeated.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_cli import fail, json_lines, run, succeed

import tourlog
from tourlog.errors import ArgumentError, ConflictError, InvariantError, TransactionError
from tourlog.stream import Stream
from tourlog.stream_import import import_streams

EVENTS = Path(tourlog.__file__).parent / "data" / "file-events.jsonl.gz"
HOSTILE = [
    {"k": "a", "v": value}
    for value in (
        "\0\n\"'\ud800",
        10**400,
        b"\0\xff",
        datetime(2026, 1, 31),
        Decimal("1.10"),
        float("nan"),
        {1, 2},
        (1,),
    )
]


def streams(db: tourlog.Database) -> dict[Stream, list[dict[str, Any]]]:
    return {stream: db.own_documents(stream) for _, stream, _ in db.streams()}  # type: ignore[arg-type]  # a stream is a key


def exact(db: tourlog.Database) -> dict[Stream, str]:
    """The documents of each stream with the types of what they hold; the order of attributes is no matter."""
    found = {stream: [sorted(document.items()) for document in documents] for stream, documents in streams(db).items()}
    return {stream: repr(documents) for stream, documents in found.items()}


def imported(db: tourlog.Database) -> list[int]:
    """The positions, in the source, of the transactions that were imported, in order."""
    return [each.meta["imported-t"] for each in db.tx_range() if "imported-t" in each.meta]


def old_store(conn: tourlog.Connection) -> tourlog.Connection:
    conn.append([{"k": "a", "n": 1}, {"k": "b", "n": 2}], "k", meta={"who": "ann"}, tx_id="first")
    conn.transact([{"db/id": "someone", "name": "Ann"}])
    conn.append(HOSTILE, "k")
    conn.append([{"topic": "t", "part": 1, "n": 3}], "topic", "part")
    conn.append([{"k": "b", "n": 4}], "k")
    return conn


@pytest.fixture
def old(tmp_path: Path) -> Any:
    with tourlog.connect(tmp_path / "old.tour") as conn:
        yield old_store(conn)


def test_each_transaction_is_one_with_all_that_was_stated(old: tourlog.Connection, conn: tourlog.Connection) -> None:
    report = import_streams(conn, old.db())
    assert (report.transactions, report.documents, report.streams, report.t) == (5, 12, 3, 5)
    assert exact(conn.db()) == exact(old.db())
    past = {each.t: each for each in old.tx_range()}
    for each in conn.tx_range():
        before = past[each.meta["imported-t"]]
        assert each.offsets == before.offsets
        assert each.meta["imported-instant"] == before.instant
        assert {**each.meta, "who": None}.get("imported-tx-id") == before.tx_id
        assert each.meta.get("who") == before.meta.get("who")
        assert each.tx_id is None
    assert imported(conn.db()) == [1, 2, 3, 4, 5]
    assert (report.entities, report.invariants, report.left_out) == (1, 0, ())
    assert conn.db().entity("someone") == {"db/id": "someone", "name": "Ann"}


def test_a_repeated_import_adds_nothing_and_a_later_one_what_is_new(
    old: tourlog.Connection, conn: tourlog.Connection
) -> None:
    import_streams(conn, old.db().as_of(3))
    again = import_streams(conn, old.db().as_of(3))
    assert (again.transactions, again.documents, again.t) == (0, 0, 3)
    more = import_streams(conn, old.db())
    assert (more.transactions, more.documents, more.entities, more.t) == (2, 2, 0, 5)
    assert exact(conn.db()) == exact(old.db())
    assert import_streams(conn, old.db()).t == 5


def test_streams_may_be_imported_one_by_one(old: tourlog.Connection, conn: tourlog.Connection) -> None:
    assert import_streams(conn, old.db(), {"k": "b"}).documents == 2
    assert list(streams(conn.db())) == [Stream(("k",), ("b",))]
    assert import_streams(conn, old.db(), ("topic", "part")).documents == 1
    assert import_streams(conn, old.db(), {"part": 1, "topic": None}).documents == 0
    assert import_streams(conn, old.db()).documents == 9
    assert exact(conn.db()) == exact(old.db())
    assert imported(conn.db()) == [1, 5, 4, 1, 2, 3]
    assert conn.db().entity("someone") == old.db().entity("someone")


def test_a_copy_of_the_source_goes_on_where_the_source_was(tmp_path: Path, conn: tourlog.Connection) -> None:
    with tourlog.connect(tmp_path / "old.tour") as old:
        old_store(old)
        import_streams(conn, old.db())
        old.append([{"k": "a", "n": 9}], "k")
    tourlog.backup(tmp_path / "old.tour", tmp_path / "copy.tour")
    with tourlog.connect(tmp_path / "copy.tour", read_only=True) as copy:
        assert import_streams(conn, copy.db()).documents == 1
        assert exact(conn.db()) == exact(copy.db())


def test_a_compacted_source_is_imported_by_its_transactions(conn: tourlog.Connection) -> None:
    with tourlog.connect() as old:
        for n in range(250):
            old.append([{"k": str(n % 3), "n": n}, {"k": "all", "n": n}], "k")
        old.compact()
        assert import_streams(conn, old.db().as_of(100)).transactions == 100
        assert import_streams(conn, old.db()).transactions == 150
        assert exact(conn.db()) == exact(old.db())
        assert imported(conn.db()) == list(range(1, 251))


def test_documents_that_were_changed_later_are_changed_later(old: tourlog.Connection, conn: tourlog.Connection) -> None:
    a, b = old.db().documents({"k": "a"}), old.db().documents({"k": "b"})
    import_streams(conn, old.db().as_of(1))
    old.transact(
        [{"db/id": a[0]["db/id"], "n": 1.0, "note": ["x"]}, ("db/retract", a[1]["db/id"], "v")], meta={"why": "x"}
    )
    old.transact([("db/retract-entity", b[0]["db/id"]), {"db/id": "other"}])
    old.transact([{"db/id": b[0]["db/id"], "again": True}])
    old.run(lambda: [old.append([{"k": "a"}], "k"), old.transact([("db/add", a[0]["db/id"], "note", "y")])])
    before = conn.db()
    report = import_streams(conn, old.db())
    assert (report.transactions, report.documents) == (8, 11)
    assert exact(conn.db()) == exact(old.db())
    assert imported(conn.db()) == list(range(1, 10))
    for each in conn.tx_range(2):
        then = exact(conn.db().as_of(each.t))
        assert then == exact(old.db().as_of(each.meta["imported-t"]))
    assert exact(before) == exact(old.db().as_of(1))
    (restated,) = conn.db().q("[:find [?e ...] :where [?e :again true]]")
    assert conn.db().entity(restated) == {"db/id": restated, "again": True}
    assert import_streams(conn, old.db()).transactions == 0


def test_what_was_imported_may_be_imported_again_elsewhere(old: tourlog.Connection, conn: tourlog.Connection) -> None:
    with tourlog.connect() as middle:
        import_streams(middle, old.db(), {"k": "b"})
        middle_meta = [dict(each.meta) for each in middle.tx_range()]
        import_streams(conn, middle.db())
    assert [each.meta["imported-t"] for each in conn.tx_range()] == [1, 2]
    assert [each.meta["imported-before"]["imported-t"] for each in conn.tx_range()] == [1, 5]
    before = [{**each.meta["imported-before"], **({"who": "ann"} if each.t == 1 else {})} for each in conn.tx_range()]
    assert before == middle_meta
    assert exact(conn.db())[Stream(("k",), ("b",))] == exact(old.db())[Stream(("k",), ("b",))]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["append", "append", "append", "state", "take back", "retract", "restate", "nothing", "import"]
        ),
        st.integers(0, 2),
        st.integers(0, 5),
        st.sampled_from([0, 1, 1.0, True, "x", None, [1, 2], {"a": 1}]),
    ),
    max_size=25,
)


@given(st.lists(STEPS, max_size=4))
@example([[("append", 0, 0, 0)], [("state", 0, 0, 1)]])
@example([[("append", 0, 0, True)], [("state", 0, 0, 1), ("state", 0, 0, 1.0)]])
def test_whatever_happens_to_documents_happens_to_those_imported(transactions: list[Any]) -> None:
    """Each import leaves the streams as they are in the source, and every transaction left them as its source did."""
    with tourlog.connect() as old, tourlog.connect() as new:
        for steps in transactions:
            imports = False
            with old.transaction():
                for what, stream, offset, value in steps:
                    imports |= what == "import"
                    _do(old, what, stream, offset, value)
            if imports:
                import_streams(new, old.db())
        import_streams(new, old.db())
        assert exact(new.db()) == exact(old.db())
        for each in new.tx_range():
            then, source = exact(new.db().as_of(each.t)), exact(old.db().as_of(each.meta["imported-t"]))
            assert then == source


def _do(conn: tourlog.Connection, what: str, stream: int, offset: int, value: Any) -> None:
    if what == "append":
        conn.append([{"k": stream, "v": value}] * (offset + 1), "k")
    documents = conn.db().documents({"k": stream})
    if what in ("append", "nothing", "import") or offset >= len(documents):
        return
    e = documents[offset]["db/id"]
    conn.transact(
        {
            "state": [{"db/id": e, "v": value, "more": value}],
            "take back": [("db/retract", e, "v")],
            "retract": [("db/retract-entity", e)],
            "restate": [("db/retract-entity", e), {"db/id": e, "n": value}],
        }[what]
    )


# What is in no stream.


def own_entities(db: tourlog.Database, ids: Any) -> dict[Any, Any]:
    """Each entity, with the types of what it holds."""
    return {e: repr(sorted((db.entity(e) or {}).items())) for e in ids}


IDS = ["ann", uuid5(NAMESPACE_URL, "ann"), 0, -1, 1.5, b"x", True, float("nan"), date(2026, 1, 31)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["append", "put", "add", "retract", "retract entity", "import"]),
            st.sampled_from(IDS),
            st.sampled_from(["offset", "v"]),
            st.sampled_from([0, 1, 1.0, True, None, [1, 2], {"a": 1}, "ann"]),
        ),
        max_size=20,
    )
)
def test_entities_are_at_each_transaction_as_they_were(steps: list[Any]) -> None:
    with tourlog.connect() as old, tourlog.connect() as new:
        for what, e, a, value in steps:
            operation: Any = {
                "put": {"db/id": e, a: value},
                "add": ("db/add", e, a, value),
                "retract": ("db/retract", e, a),
                "retract entity": ("db/retract-entity", e),
            }.get(what)
            if what == "append":
                old.run(
                    lambda value=value, e=e: [old.append([{"k": 1}], "k"), old.transact([{"db/id": e, "v": value}])]
                )
            elif what == "import":
                import_streams(new, old.db())
            else:
                old.transact([operation])
        assert import_streams(new, old.db()).left_out == ()
        for each in new.tx_range():
            source = old.db().as_of(each.meta["imported-t"])
            assert own_entities(new.db().as_of(each.t), IDS) == own_entities(source, IDS)
        assert own_entities(new.db(), IDS) == own_entities(old.db(), IDS)
        assert exact(new.db()) == exact(old.db())
        assert import_streams(new, old.db()).transactions == 0


def test_references_and_what_is_stated_about_nothing_come_along(conn: tourlog.Connection) -> None:
    with tourlog.connect() as old:
        old.transact([{"db/id": "bob", "boss": "ann"}, {"db/id": "ann", "name": "Ann"}], tx_id="a", meta={"who": "x"})
        old.transact([], tx_id="b", meta={"why": "audit"})
        report = import_streams(conn, old.db())
        assert (report.transactions, report.entities, report.documents, report.streams) == (2, 2, 0, 0)
        assert conn.db().q("[:find ?name . :where [?e :boss ?boss] [?boss :name ?name]]") == "Ann"
        first, second = conn.tx_range()
        assert (first.meta["who"], first.meta["imported-tx-id"]) == ("x", "a")
        assert (second.meta["why"], second.meta["imported-t"]) == ("audit", 2)
        assert import_streams(conn, old.db()).transactions == 0


def test_an_entity_that_is_here_already_with_other_facts_is_refused_before_anything_is_written(
    old: tourlog.Connection, conn: tourlog.Connection
) -> None:
    conn.transact([{"db/id": "someone", "name": "Bob"}])
    with pytest.raises(
        ConflictError, match=r"expected the entity 'someone' to be None.*it is {'name': 'Bob'}"
    ) as caught:
        import_streams(conn, old.db())
    assert caught.value.entity == "someone"  # type: ignore[attr-defined]
    assert conn.db().t == 1
    conn.transact([{"db/id": "someone", "name": "Ann"}])
    assert import_streams(conn, old.db()).transactions == 5
    conn.transact([{"db/id": "someone", "age": 7}])
    assert import_streams(conn, old.db()).transactions == 0
    old.transact([{"db/id": "someone", "name": "Anne"}])
    t = conn.db().t
    with pytest.raises(ConflictError, match="before its transaction 6"):
        import_streams(conn, old.db())
    assert conn.db().t == t


def test_an_entity_that_somebody_writes_meanwhile_is_not_overwritten(
    old: tourlog.Connection, conn: tourlog.Connection
) -> None:
    def write(t: int) -> None:
        if t == 1:
            conn.transact([{"db/id": "someone", "name": "Bob"}])

    with pytest.raises(ConflictError, match="'someone'"):
        import_streams(conn, old.db(), progress=write)
    assert imported(conn.db()) == [1]
    assert conn.db().entity("someone") == {"db/id": "someone", "name": "Bob"}


def test_what_means_something_else_here_is_left_out_by_name(tmp_path: Path, conn: tourlog.Connection) -> None:
    with tourlog.connect(tmp_path / "old.tour") as old, tourlog.connect() as oldest:
        oldest.append([{"k": 1}], "k")
        import_streams(old, oldest.db())
        old.transact([{"db/id": 70, "n": 1}, {"db/id": Decimal("71"), "n": 2}, {"db/id": "seven", "n": 7}])
        old.transact([{"db/id": 1, "note": "later"}])
        report = import_streams(conn, old.db())
        assert report.left_out[1:] == (70, Decimal("71"), 1)
        assert report.left_out[0].startswith(b"import\0")
        assert report.entities == 1
        assert [conn.db().entity(e) for e in (70, 71)] == [None, None]
        assert conn.db().entity("seven") == {"db/id": "seven", "n": 7}
        assert all("note" not in each.meta for each in conn.tx_range())
        assert import_streams(conn, old.db()).left_out == report.left_out
    found = succeed("import", tmp_path / "old.tour", tmp_path / "new.tour")
    assert "left out: the entity 70, which means something else in another store" in found
    (again,) = json_lines(succeed("import", tmp_path / "old.tour", tmp_path / "new.tour", "--json"))
    assert again["left_out"][1] == 70


SMALL = "[:find ?e :in $ ?most :where [?e :n ?n] [(< ?most ?n)]]"


def test_invariants_are_required_at_the_end(old: tourlog.Connection, conn: tourlog.Connection) -> None:
    old.transact([{"db/id": "huge", "n": 1000}])
    old.transact([("db/retract-entity", "huge")])
    old.require("small", SMALL, 100)
    report = import_streams(conn, old.db())
    assert (report.invariants, conn.invariants()) == (1, old.invariants())
    with pytest.raises(InvariantError, match="small"):
        conn.append([{"k": "a", "n": 101}], "k")
    again = import_streams(conn, old.db())
    assert (again.invariants, again.transactions, again.t) == (0, 0, report.t)


def test_an_invariant_by_the_name_of_another_is_refused_before_anything_is_written(
    old: tourlog.Connection, conn: tourlog.Connection
) -> None:
    old.require("small", SMALL, 100)
    conn.require("small", SMALL, 101)
    with pytest.raises(ArgumentError, match="the invariant 'small' of the source is another query here"):
        import_streams(conn, old.db())
    assert imported(conn.db()) == []
    assert import_streams(conn, old.db(), "k").transactions == 3
    conn.drop_invariant("small")
    conn.append([{"own": 1, "n": 200}], "own")
    with pytest.raises(InvariantError, match="small"):
        import_streams(conn, old.db())
    assert (conn.invariants(), exact(conn.db()).keys() > exact(old.db()).keys()) == ((), True)


def test_an_offset_that_an_entity_states_itself_is_imported(conn: tourlog.Connection) -> None:
    """An id that a document had and that somebody gave an entity later: `offset` is an attribute as any other."""
    with tourlog.connect() as old:
        old.append([{"k": 1}], "k")
        (e,) = (document["db/id"] for document in old.db().documents({"k": 1}))
        old.transact([("db/retract-entity", e)])
        old.transact([{"db/id": e, "offset": 7, "n": 1}])
        import_streams(conn, old.db())
    assert sorted(conn.db().q("[:find ?a ?v :where [?e :n] [?e ?a ?v]]")) == [("n", 1), ("offset", 7)]


def test_equal_sets_are_no_conflict_in_whichever_order_they_were_put_together(conn: tourlog.Connection) -> None:
    """These numbers collide in a small set, which iterates, and is encoded, in the order they came."""
    with tourlog.connect() as old:
        old.transact([{"db/id": "e", "all": {240}}])
        for value in (136, 144):
            old.transact([("db/add", "e", "all", value)])
        old.transact([{"db/id": "e", "more": True}])
        import_streams(conn, old.db())
    assert conn.db().entity("e") == {"db/id": "e", "all": {136, 144, 240}, "more": True}


# What is refused.


def test_a_store_is_not_imported_into_itself_or_a_copy(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "old.tour") as old:
        old_store(old)
        with pytest.raises(ArgumentError, match="this store or of a copy"):
            import_streams(old, old.db())
        tourlog.backup(tmp_path / "old.tour", tmp_path / "copy.tour")
        with tourlog.connect(tmp_path / "copy.tour") as copy:
            with pytest.raises(ArgumentError, match="this store or of a copy"):
                import_streams(copy, old.db())
            assert copy.db().t == old.db().t
    assert "this store or of a copy" in fail("import", tmp_path / "old.tour", tmp_path / "copy.tour")


def test_a_stream_that_holds_something_else_is_refused_unless_into_names_another(
    old: tourlog.Connection, conn: tourlog.Connection
) -> None:
    conn.append([{"k": "a", "n": 0}], "k")
    with pytest.raises(
        ConflictError, match="expected 0 documents in stream k=a, as imported from k=a, it has 1"
    ) as caught:
        import_streams(conn, old.db())
    assert (caught.value.expected, caught.value.actual) == (0, 1)  # type: ignore[attr-defined]
    assert conn.db().t == 1
    assert import_streams(conn, old.db(), {"k": "a"}, into={"k": "old a"}).documents == 9
    assert conn.db().own_documents({"k": "old a"})[0] == {"k": "old a", "n": 1}
    old.transact([("db/add", old.db().documents({"k": "a"})[0]["db/id"], "note", "seen")])
    assert import_streams(conn, old.db(), {"k": "a"}, into={"k": "old a"}).transactions == 1
    assert conn.db().own_documents({"k": "old a"})[0] == {"k": "old a", "n": 1, "note": "seen"}
    with pytest.raises(ArgumentError, match="expected to go on with k=a into k=old a, got k=new"):
        import_streams(conn, old.db(), {"k": "a"}, into={"k": "new"})
    conn.append([{"k": "old a"}], "k")
    with pytest.raises(ConflictError, match="expected 9 documents in stream k=old a"):
        import_streams(conn, old.db(), {"k": "a"}, into={"k": "old a"})


@pytest.mark.parametrize(
    ("key", "into", "problem"),
    [
        ({"k": "none"}, None, "expected the key of streams in the source"),
        ("none", None, "expected the key of streams in the source"),
        (None, {"part": 2}, "expected key attributes of the stream k=a in into, got 'part'"),
        ("k", {"k": "x"}, "expected a stream of its own for each, got k=x for k=a and k=b"),
        ("k", {"k": None}, "has None in the key attribute 'k'"),
        (7, None, "expected a key"),
        (None, 5, "expected a mapping of key attributes or None, got 5"),
        (None, [("k", 1)], "expected a mapping of key attributes or None"),
    ],
)
def test_a_key_that_cannot_be_is_refused(
    key: Any, into: Any, problem: str, old: tourlog.Connection, conn: tourlog.Connection
) -> None:
    with pytest.raises((ArgumentError, tourlog.DocumentError), match=problem):
        import_streams(conn, old.db(), key, into=into)
    assert conn.db().t == 0


def test_a_source_with_another_past_is_refused(tmp_path: Path, conn: tourlog.Connection) -> None:
    with tourlog.connect(tmp_path / "old.tour") as old:
        old_store(old)
        tourlog.backup(tmp_path / "old.tour", tmp_path / "fork.tour")
        old.append([{"k": "a"}, {"k": "a"}], "k")
        import_streams(conn, old.db())
    with tourlog.connect(tmp_path / "fork.tour") as fork:
        for _ in range(2):
            fork.append([{"k": "a", "forked": True}], "k")
        before = conn.db().t
        with pytest.raises(ConflictError, match="it is not the store that was imported from"):
            import_streams(conn, fork.db())
        assert conn.db().t == before


def test_an_import_needs_whole_databases(old: tourlog.Connection, conn: tourlog.Connection) -> None:
    for view in (old.db().history(), old.db().since(1), old.db().with_([{"a": 1}]).db_after, old):
        with pytest.raises(ArgumentError, match=r"expected a [dD]atabase"):
            import_streams(conn, view)  # type: ignore[arg-type]
    with conn.transaction(), pytest.raises(TransactionError, match="outside of a transaction"):
        import_streams(conn, old.db())
    with conn.transaction(), pytest.raises(TransactionError, match="outside of a transaction"):
        conn.append([{"x": 1}], "x")
        import_streams(conn, old.db())
    assert imported(conn.db()) == []


def test_an_invariant_stops_it_and_it_goes_on_when_that_is_gone(
    old: tourlog.Connection, conn: tourlog.Connection
) -> None:
    conn.require("small", "[:find ?e :where [?e :n ?n] [(< 2 ?n)]]")
    with pytest.raises(InvariantError, match=r"small.*, in transaction 4 of .*old\.tour"):
        import_streams(conn, old.db())
    assert imported(conn.db()) == [1, 2, 3]
    conn.drop_invariant("small")
    assert import_streams(conn, old.db()).transactions == 2
    assert exact(conn.db()) == exact(old.db())


# Interrupted.


def test_an_error_in_between_is_no_matter(old: tourlog.Connection, conn: tourlog.Connection) -> None:
    def stop(t: int) -> None:
        if random.random() < 0.5:
            raise KeyError(t)

    old.require("small", SMALL, 100)
    for _ in range(100):
        try:
            import_streams(conn, old.db(), progress=stop)
            break
        except KeyError:
            continue
    assert exact(conn.db()) == exact(old.db())
    assert imported(conn.db()) == [1, 2, 3, 4, 5]
    assert conn.db().entity("someone") == old.db().entity("someone")
    assert conn.invariants() == old.invariants()


PROGRAM = """
import sys, tourlog
from tourlog.stream_import import import_streams
with tourlog.connect(sys.argv[1], read_only=True) as old, tourlog.connect(sys.argv[2], durability="normal") as new:
    import_streams(new, old.db(), progress=lambda t: print(t, flush=True))
"""


def test_an_import_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    source, target = tmp_path / "old.tour", tmp_path / "new.tour"
    with gzip.open(EVENTS, "rt", encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines][:1_500]
    with tourlog.connect(source, durability="normal") as conn:
        for n in range(0, len(events), 3):
            with conn.transaction(meta={"batch": n}):
                conn.append(events[n : n + 3], "aggregate-id")
                conn.transact([{"db/id": f"e{n % 7}", "last": n, "all": [n]}, ("db/retract-entity", f"e{n % 5}")])
        conn.require("dense", "[:find ?e :where [?e :last ?n] [(< ?n 0)]]")
        entities = own_entities(conn.db(), [f"e{n}" for n in range(7)])
        expected, count = exact(conn.db()), conn.db().t - 1
    kills = 0
    while kills < 4:
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, source, target], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(random.randint(1, 100)):
                assert process.stdout.readline() != ""
            os.kill(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        kills += 1
    with tourlog.connect(source, read_only=True) as old, tourlog.connect(target, durability="normal") as new:
        t = new.db().t
        assert 4 <= t < count
        report = import_streams(new, old.db())
        assert report.transactions == count - t
        assert imported(new.db()) == list(range(1, count + 1))
        assert exact(new.db()) == expected
        assert own_entities(new.db(), entities) == entities
        assert (report.invariants, new.invariants()) == (1, old.invariants())
        assert [each.meta["batch"] for each in new.tx_range() if each.meta] == list(range(0, len(events), 3))
    assert tourlog.verify(target).ok


# The command.


@pytest.mark.usefixtures("old")
def test_the_command_imports_streams_of_a_store(tmp_path: Path) -> None:
    source, target = tmp_path / "old.tour", tmp_path / "new.tour"
    assert json_lines(succeed("import", source, target, "k=b", "--json")) == [
        {"transactions": 2, "documents": 2, "streams": 1, "t": 2, "entities": 0, "invariants": 0, "left_out": []}
    ]
    found = succeed("import", source, target)
    assert found.startswith(
        f"imported 10 documents of 3 streams, 1 entity and 0 invariants in 4 transactions into {target} in "
    )
    assert "no entities, no invariants" in succeed("import", source, target, "k=b")
    assert json_lines(succeed("import", source, target, "k=b", "--json"))[0]["transactions"] == 0
    topic = ("part=1", "topic=t", "--into", "topic=u")
    assert "expected to go on with topic=t,part=1 into topic=t,part=1" in fail("import", source, target, *topic)
    assert json_lines(succeed("import", source, tmp_path / "other.tour", *topic, "--json")) == [
        {"transactions": 1, "documents": 1, "streams": 1, "t": 1, "entities": 0, "invariants": 0, "left_out": []}
    ]
    assert json_lines(succeed("streams", tmp_path / "other.tour", "--json"))[0]["key"] == {"topic": "u", "part": 1}
    assert "expected the key of streams in the source" in fail("import", source, target, "k=none")
    assert "none.tour" in fail("import", tmp_path / "none.tour", target, "k=a")
    assert run("import", source, target, "k=b", "--key", "k").exit_code == 2
    assert "none.jsonl" in fail("import", tmp_path / "none.jsonl", target)
    lines = tmp_path / "moves.jsonl"
    lines.write_text('{"k": 1}', encoding="utf-8")
    assert run("import", lines, target).exit_code == 2
    assert "moves.jsonl" in fail("import", lines, target, "k=a")
    assert not (tmp_path / "none.tour").exists()
