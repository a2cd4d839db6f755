"""The past: what errors say came in between, who wrote what and why, transactions and versions in order."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tourlog
from tourlog import Connection, Stream, call

ONE = Stream(("k",), (1,))


# Errors that carry what was in the way.


def test_a_conflict_carries_what_was_appended_since(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n} for n in range(3)], "k")
    with pytest.raises(tourlog.ConflictError) as refusal:
        conn.append([{"k": 1, "n": 9}], "k", expect=1)
    error = refusal.value
    assert (error.stream, error.expected, error.actual) == (ONE, 1, 3)
    assert error.appended == conn.db().documents({"k": 1}, 1)


def test_a_conflict_carries_the_first_hundred_documents_of_many(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n} for n in range(500)], "k")
    with pytest.raises(tourlog.ConflictError) as refusal:
        conn.append([{"k": 1, "n": 9}], "k", expect=7)
    assert refusal.value.appended == conn.db().documents({"k": 1}, 7, 107)


def test_a_conflict_inside_a_block_counts_what_the_block_appended(conn: Connection) -> None:
    with conn.transaction():
        conn.append([{"k": 1, "n": 0}], "k")
        with pytest.raises(tourlog.ConflictError) as refusal:
            conn.append([{"k": 1, "n": 1}], "k", expect=0)
    assert refusal.value.appended == conn.db().documents({"k": 1})


def test_data_prepared_for_an_older_position_is_refused_with_what_came_since(conn: Connection) -> None:
    prepared = tourlog.append(conn.db(), [{"k": 1, "n": 1}], "k")
    conn.append([{"k": 1, "n": 0}], "k")
    with pytest.raises(tourlog.ConflictError) as refusal:
        conn.transact(prepared)
    assert refusal.value.appended == conn.db().documents({"k": 1})


def test_a_condition_carries_the_rows_that_broke_it(conn: Connection) -> None:
    conn.append([{"k": 1, "nick": "ann"}, {"k": 2, "nick": "bob"}], "k")
    taken = ("[:find ?k ?e :in $ ?nick :where [?e :nick ?nick] [?e :k ?k]]", "bob")
    with pytest.raises(tourlog.ConditionError, match="`unless` has an answer") as refusal:
        conn.append([{"k": 3, "nick": "bob"}], "k", unless=taken)
    bob = conn.db().documents({"k": 2})[0]["db/id"]
    assert refusal.value.details == {"condition": taken, "rows": [(2, bob)]}


def test_errors_with_documents_and_rows_travel_between_processes(conn: Connection) -> None:
    conn.append([{"k": 1}], "k")
    wrongs: tuple[Any, ...] = ({"expect": 0}, {"unless": "[:find [?e ...] :where [?e :k 1]]"})
    for wrong in wrongs:
        with pytest.raises(tourlog.TourlogError) as refusal:
            conn.append([{"k": 1}], "k", **wrong)
        copy = pickle.loads(pickle.dumps(refusal.value))
        assert (type(copy), str(copy), copy.details) == (
            type(refusal.value),
            str(refusal.value),
            refusal.value.details,
        )


# What is stated about transactions.

WHO = "[:find ?k ?who :where [?e :k ?k ?tx] [?tx :who ?who]]"


def test_what_is_stated_about_a_transaction_is_found_from_its_facts(conn: Connection) -> None:
    conn.append([{"k": "a"}], "k", meta={"who": "ann", "why": "import"})
    conn.append([{"k": "b"}], "k")
    conn.transact([{"db/id": "x", "k": "c"}], meta={"who": "bob", "cause": {"id": 7, "chain": [1, 2]}})
    db = conn.db()
    assert db.q(WHO) == {("a", "ann"), ("c", "bob")}
    assert db.q(WHO, engine="pydatalog") == set(db.q(WHO, engine="compiled"))
    assert db.q("[:find ?n . :where [?tx :cause.id ?n] [?tx :who _]]") == 7
    assert db.as_of(2).q(WHO) == {("a", "ann")}
    assert db.entity(1) == {"db/id": 1, "who": "ann", "why": "import"}
    assert db.pull(["who"], 3) == {"who": "bob"}
    assert db.entity(2) is None
    assert db.q("[:find [?tx ...] :where [?tx :db/meta true]]") in ([1, 3], [3, 1])


def test_the_instant_and_the_statements_are_of_one_entity(conn: Connection) -> None:
    before = datetime.now(UTC)
    conn.append([{"k": "a"}], "k", meta={"who": "ann"})
    who, instant = conn.db().q("[:find [?who ?i] :where [?tx :who ?who] [?tx :db/tx-instant ?i]]")
    assert who == "ann" and before <= instant <= datetime.now(UTC)


def test_the_report_and_the_facts_of_a_transaction_have_what_is_stated_about_it(conn: Connection) -> None:
    report = conn.transact([{"db/id": "x", "n": 1}], meta={"who": "ann"})
    assert set(report.tx_data) == {("x", "n", 1, 1, True), (1, "who", "ann", 1, True)}


def test_statements_of_a_block_and_all_inside_it_are_of_the_one_transaction(conn: Connection) -> None:
    with conn.transaction(meta={"who": "ann", "why": "outer"}):
        conn.append([{"k": 1}], "k", meta={"request": 1})
        with conn.transaction(meta={"why": "inner"}):
            conn.transact([{"db/id": "x", "n": 1}], meta={"request": 2})
        with pytest.raises(tourlog.ConflictError):
            conn.append([{"k": 1}], "k", expect=0, meta={"who": "nobody"})
    assert conn.db().entity(1) == {"db/id": 1, "who": "ann", "why": "inner", "request": 2}


def test_a_run_has_statements_and_its_id_keeps_the_first_ones(conn: Connection) -> None:
    for who in ("ann", "bob"):
        conn.run(lambda: conn.append([{"k": 1}], "k"), tx_id="once", meta={"who": who})
    assert [past.meta for past in conn.tx_range()] == [{"who": "ann"}]


def test_statements_alone_make_no_transaction(conn: Connection) -> None:
    conn.append([], "k", meta={"who": "ann"})
    conn.transact([], meta={"who": "ann"})
    with conn.transaction(meta={"who": "ann"}):
        conn.db()
    assert conn.db().t == 0


def test_an_earlier_transaction_can_be_annotated_later(conn: Connection) -> None:
    conn.append([{"k": 1}], "k", meta={"who": "ann"})
    conn.transact([("db/add", 1, "reviewed-by", "bob")])
    assert conn.db().entity(1) == {"db/id": 1, "who": "ann", "reviewed-by": "bob"}
    assert conn.db().as_of(1).entity(1) == {"db/id": 1, "who": "ann"}
    assert [past.meta for past in conn.tx_range()] == [{"who": "ann", "reviewed-by": "bob"}, {}]


def test_a_transaction_is_never_mixed_up_with_an_entity_of_the_same_number(conn: Connection) -> None:
    conn.transact([{"db/id": 2, "name": "Two"}])
    with pytest.raises(tourlog.TransactionError, match="2 is the id of an entity"):
        conn.append([{"k": 1}], "k", meta={"who": "ann"})
    assert (conn.db().t, conn.db().entity(2)) == (1, {"db/id": 2, "name": "Two"})
    with pytest.raises(tourlog.TransactionError, match="2 is the id of an entity"):
        conn.transact([{"db/id": 2, "name": "Zwei"}], meta={"who": "ann"})
    conn.append([{"k": 1}], "k")
    assert [past.meta for past in conn.tx_range()] == [{}, {}]


@pytest.mark.parametrize(
    ("meta", "kind"),
    [
        ("ann", tourlog.DocumentError),
        ([("who", "ann")], tourlog.DocumentError),
        ({1: "ann"}, tourlog.DocumentError),
        ({"who": object()}, tourlog.DocumentError),
        ({"db/who": "ann"}, tourlog.TransactionError),
    ],
)
def test_wrong_statements_are_refused_and_nothing_is_written(
    conn: Connection, meta: Any, kind: type[Exception]
) -> None:
    for write in (
        lambda: conn.append([{"k": 1}], "k", meta=meta),
        lambda: conn.transact([{"db/id": "x", "n": 1}], meta=meta),
        lambda: conn.run(lambda: conn.append([{"k": 1}], "k"), meta=meta),
    ):
        with pytest.raises(kind):
            write()
    with pytest.raises(kind), conn.transaction(meta=meta):
        conn.append([{"k": 1}], "k")
    assert conn.db().t == 0


def test_statements_survive_closing_and_opening(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "a.tourlog") as first:
        first.append([{"k": "a"}], "k", meta={"who": "ann"})
    with tourlog.connect(tmp_path / "a.tourlog") as second:
        assert second.db().q(WHO) == {("a", "ann")}


# Transactions in order.


@pytest.fixture
def told(conn: Connection) -> Iterator[Connection]:
    """A store of five transactions of every kind."""
    conn.append([{"k": 1, "n": n} for n in range(250)], "k", meta={"who": "ann"})
    conn.append([{"k": 1, "n": 1}, {"k": 2, "n": 2}], "k", tx_id="two")
    conn.transact([], tx_id="empty")
    conn.transact([{"db/id": "x", "n": 1}, ("db/add", "x", "tags", 1)])
    conn.transact([{"db/id": "x", "n": 2}, call(tourlog.append, [{"k": 2, "n": 3}], "k")])
    yield conn


def test_transactions_come_in_order_with_all_there_is_to_know(told: Connection) -> None:
    two = Stream(("k",), (2,))
    past = list(told.tx_range())
    assert [(each.t, each.tx_id, dict(each.meta), dict(each.offsets)) for each in past] == [
        (1, None, {"who": "ann"}, {ONE: range(0, 250)}),
        (2, "two", {}, {ONE: range(250, 251), two: range(0, 1)}),
        (3, "empty", {}, {}),
        (4, None, {}, {}),
        (5, None, {}, {two: range(1, 2)}),
    ]
    instants = [each.instant for each in past]
    assert instants == sorted(set(instants))
    assert [told.db().as_of(instant).t for instant in instants] == [1, 2, 3, 4, 5]
    assert set(past[4].tx_data) == {
        ("x", "n", 1, 5, False),
        ("x", "n", 2, 5, True),
        *((told.db().documents({"k": 2})[1]["db/id"], a, v, 5, True) for a, v in [("k", 2), ("n", 3), ("offset", 1)]),
    }


def test_the_facts_of_all_transactions_are_those_of_the_history(told: Connection) -> None:
    from_transactions = {fact for past in told.tx_range() for fact in past.tx_data}
    assert from_transactions == set(told.db().history().facts())


def test_a_range_of_transactions_is_cut_like_a_slice_and_by_the_position(told: Connection) -> None:
    def positions(db: tourlog.Database, *bounds: int) -> list[int]:
        return [past.t for past in db.tx_range(*bounds)]

    db = told.db()
    assert positions(db, 2, 4) == [2, 3]
    assert positions(db, 0) == [1, 2, 3, 4, 5]
    assert positions(db, 4, 100) == [4, 5]
    assert positions(db, 4, 4) == positions(db, 9) == positions(db, 3, 1) == []
    assert positions(db.as_of(3)) == [1, 2, 3]
    assert positions(db.since(3)) == [4, 5]
    assert positions(db.with_([{"db/id": "y", "n": 1}]).db_after, 5) == [5, 6]
    with pytest.raises(tourlog.ArgumentError):
        told.tx_range(-1)


# Versions of an entity.


def test_an_entity_has_its_versions_in_order(conn: Connection) -> None:
    conn.transact([{"db/id": "x", "n": 1}])
    conn.transact([{"db/id": "y", "n": 1}])
    conn.transact([{"db/id": "x", "n": 2, "tags": ["a"]}])
    conn.transact([("db/retract-entity", "x")])
    conn.transact([{"db/id": "x", "m": 1}])
    versions = conn.db().entity_history("x")
    expected = [
        (1, {"db/id": "x", "n": 1}),
        (3, {"db/id": "x", "n": 2, "tags": ["a"]}),
        (4, None),
        (5, {"db/id": "x", "m": 1}),
    ]
    assert [(version.t, version.document) for version in versions] == expected
    assert [conn.db().as_of(version.instant).entity("x") for version in versions] == [doc for _, doc in expected]
    assert conn.db().as_of(3).entity_history("x") == versions[:2]
    assert conn.db().since(3).entity_history("x") == versions[2:]
    assert conn.db().entity_history("z") == []


def test_the_history_of_an_ordered_document_begins_with_how_it_was_appended(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 1}, {"k": 1, "n": 2}], "k")
    e = conn.db().documents({"k": 1})[1]["db/id"]
    conn.transact([{"db/id": e, "n": 3}])
    first, second = ({"db/id": e, "offset": 1, "k": 1, "n": n} for n in (2, 3))
    assert [(each.t, each.document) for each in conn.db().entity_history(e)] == [(1, first), (2, second)]
    speculative = conn.db().with_([("db/retract-entity", e)]).db_after
    assert [each.document for each in speculative.entity_history(e)] == [first, second, None]


def test_the_view_of_the_streams_has_no_history_of_its_own(conn: Connection) -> None:
    with pytest.raises(tourlog.ArgumentError, match="as_of"):
        conn.db().entity_history("offset-metadata")


# What came and went.


def test_a_difference_has_the_facts_that_came_and_those_that_went(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 1}, {"k": 1, "n": 2}], "k")
    older = conn.transact([{"db/id": "x", "a": 1, "b": 1, "tags": ["p", "q"]}, {"db/id": "y", "a": 1}]).db_after
    conn.transact([{"db/id": "x", "a": 2, "b": 2}, ("db/retract", "x", "tags", "p")])
    conn.append([{"k": 1, "n": 3}, {"k": 1, "n": 4}], "k")
    first, last = (conn.db().documents({"k": 1})[offset]["db/id"] for offset in (0, 3))
    conn.transact([{"db/id": "x", "b": 1}, {"db/id": last, "n": 5}, {"db/id": first, "n": 0}])
    newer = conn.transact([("db/retract-entity", "y"), {"db/id": "z", "c": {"d": None}}]).db_after
    third = conn.db().documents({"k": 1})[2]["db/id"]
    came, went = newer.diff(older)
    assert sorted(came, key=repr) == sorted(
        [
            *((third, a, v, 4, True) for a, v in (("k", 1), ("n", 3), ("offset", 2))),
            *((last, a, v, t, True) for a, v, t in (("k", 1, 4), ("n", 5, 5), ("offset", 3, 4))),
            ("x", "a", 2, 3, True),
            (first, "n", 0, 5, True),
            ("z", "c", {"d": None}, 6, True),
            ("z", "c.d", None, 6, True),
        ],
        key=lambda fact: repr(tourlog.Fact(*fact)),
    )
    assert sorted(went, key=repr) == sorted(
        [
            tourlog.Fact("x", "a", 1, 3, False),
            tourlog.Fact("x", "tags", "p", 3, False),
            tourlog.Fact(first, "n", 1, 5, False),
            tourlog.Fact("y", "a", 1, 6, False),
        ],
        key=repr,
    )
    assert [fact.tx for fact in came] == sorted(fact.tx for fact in came)
    assert newer.diff(newer) == older.diff(older) == ([], [])


def test_speculations_differ_from_what_they_stand_on_and_from_each_other(conn: Connection) -> None:
    base = conn.transact([{"db/id": "x", "n": 1}]).db_after
    one = base.with_([{"db/id": "x", "n": 2}, call(tourlog.append, [{"k": 1}], "k")]).db_after
    two = one.with_([{"db/id": "y", "n": 3}]).db_after
    other = base.with_([{"db/id": "x", "m": 4}]).db_after
    document = one.documents({"k": 1})[0]["db/id"]
    appended = [(document, "k", 1), (document, "offset", 0)]

    def pairs(newer: tourlog.Database, older: tourlog.Database) -> Any:
        return tuple(sorted([(fact.e, fact.a, fact.v) for fact in side], key=repr) for side in newer.diff(older))

    def in_order(*facts: Any) -> Any:
        return sorted(facts, key=repr)

    assert pairs(one, base) == (in_order(*appended, ("x", "n", 2)), [("x", "n", 1)])
    assert pairs(two, one) == ([("y", "n", 3)], [])
    assert pairs(one, two) == ([], [("y", "n", 3)])
    assert pairs(base, one) == ([("x", "n", 1)], in_order(*appended, ("x", "n", 2)))
    assert pairs(other, one) == (in_order(("x", "n", 1), ("x", "m", 4)), in_order(*appended, ("x", "n", 2)))
    assert [fact.tx for fact in base.diff(one).came] == [1]


def test_a_query_has_rows_that_came_and_rows_that_went(conn: Connection) -> None:
    query = "[:find ?e (pull ?e [:n]) :in $ ?least :where [?e :n ?n] [(>= ?n ?least)]]"
    older = conn.transact([{"db/id": "x", "n": 1}, {"db/id": "y", "n": 5}, {"db/id": "z", "n": 5}]).db_after
    newer = conn.transact([{"db/id": "x", "n": 4}, {"db/id": "y", "n": 2}]).db_after
    came, went = newer.diff(older, query, 3)
    assert (list(came), list(went)) == ([("x", {"n": 4})], [("y", {"n": 5})])
    assert came.columns == ("?e", "(pull ?e)")


def test_databases_of_two_stores_and_histories_have_no_difference(conn: Connection) -> None:
    conn.transact([{"db/id": "x", "n": 1}])
    with tourlog.connect() as other, pytest.raises(tourlog.ArgumentError, match="of one store"):
        conn.db().diff(other.db())
    for wrong in (conn.db().history(), conn.db().since(0).since(1), 1):
        with pytest.raises(tourlog.ArgumentError):
            conn.db().diff(wrong)  # type: ignore[call-overload]


def test_two_connections_to_one_file_have_one_past(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "a.tourlog") as one, tourlog.connect(tmp_path / "a.tourlog") as two:
        one.transact([{"db/id": "x", "n": 1}])
        older = one.db()
        two.transact([{"db/id": "x", "n": 2}])
        assert two.db().diff(older) == ([("x", "n", 2, 2, True)], [("x", "n", 1, 2, False)])


changes = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("xyz"), st.sampled_from("ab"), st.integers(0, 1)),
    st.tuples(st.just("add"), st.sampled_from("xyz"), st.just("tags"), st.integers(0, 2)),
    st.tuples(st.just("retract"), st.sampled_from("xyz"), st.sampled_from(["a", "b", "tags"])),
    st.tuples(st.just("end"), st.sampled_from("xyz")),
    st.tuples(st.just("append"), st.integers(0, 1)),
    st.tuples(st.just("amend"), st.integers(0, 2), st.integers(0, 2)),
)


@given(st.lists(changes, max_size=10), st.integers(0, 10), st.integers(0, 10))
def test_a_difference_is_that_of_the_facts_and_its_transactions_are_those_of_the_history(
    taken: list[Any], one: int, other: int
) -> None:
    with tourlog.connect() as conn:
        for step in taken:
            match step:
                case "put", e, a, v:
                    conn.transact([{"db/id": e, a: v}, ("db/add", e, "tags", 9)])
                case "add", e, a, v:
                    conn.transact([{"db/id": e, a: [v, 9]}])
                case "retract", e, a:
                    conn.transact([("db/retract", e, a)])
                case "end", e:
                    conn.transact([("db/retract-entity", e)])
                case "append", n:
                    conn.append([{"k": 1, "n": n}], "k")
                case "amend", offset, n:
                    found = conn.db().documents({"k": 1}, offset, offset + 1)
                    conn.transact([{"db/id": document["db/id"], "n": n} for document in found])
        older, newer = conn.db().as_of(min(one, other)), conn.db().as_of(max(one, other))
        before, after = ({(f.e, f.a, repr(f.v)): f for f in db.facts()} for db in (older, newer))
        came, went = newer.diff(older)
        assert sorted(came, key=repr) == sorted((f for key, f in after.items() if key not in before), key=repr)
        gone = [f for f in newer.history().facts() if not f.added]
        ends = {key: max((f.tx for f in gone if (f.e, f.a, repr(f.v)) == key), default=0) for key in before}
        ended = [f._replace(tx=ends[key], added=False) for key, f in before.items() if key not in after]
        assert sorted(went, key=repr) == sorted(ended, key=repr)


def test_a_transaction_of_which_nothing_is_said_any_more_states_nothing() -> None:
    with tourlog.connect() as conn:
        conn.append([{"k": "a"}], "k", meta={"who": "bob"})
        db = conn.transact([("db/retract", 1, "who", "bob")]).db_after
        assert (db.entity(1), db.pull("[*]", 1)) == (None, None)
        assert [each.document for each in db.entity_history(1)] == [{"db/id": 1, "who": "bob"}, None]
