"""Transaction data: every operation, the order they apply in, and what the report says of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

import tourlog
from tourlog import Connection, Database, Fact, Stream, TxReport, append, call


class Colour(Enum):
    RED = "red"


def told(report: TxReport) -> list[tuple[Any, str, Any, bool]]:
    """The facts of a report in a fixed order; all must be of its transaction."""
    assert {fact.tx for fact in report.tx_data} <= {report.t}
    return sorted(((f.e, f.a, f.v, f.added) for f in report.tx_data), key=repr)


# One operation: what an entity states before, the operation, what it states after, the facts of the report.

Before = dict[str, Any]
OPERATIONS: list[tuple[str, Before, Any, Any, list[tuple[str, Any, bool]]]] = [
    ("a new document", {}, {"a": 1}, {"a": 1}, [("a", 1, True)]),
    ("another attribute", {"a": 1}, {"b": 2}, {"a": 1, "b": 2}, [("b", 2, True)]),
    ("another value", {"a": 1}, {"a": 2}, {"a": 2}, [("a", 1, False), ("a", 2, True)]),
    ("the same value", {"a": 1}, {"a": 1}, {"a": 1}, []),
    ("nothing", {"a": 1}, {}, {"a": 1}, []),
    ("None is a value", {"a": 1}, {"a": None}, {"a": None}, [("a", 1, False), ("a", None, True)]),
    ("a list in place of a scalar", {"a": 1}, {"a": [1, 2]}, {"a": [1, 2]}, [("a", 2, True)]),
    ("a shorter list", {"a": [1, 2, 3]}, {"a": [3]}, {"a": [3]}, [("a", 1, False), ("a", 2, False)]),
    ("an empty list", {"a": [1]}, {"a": []}, {"a": []}, [("a", 1, False)]),
    ("an Enum member by its value", {}, {"a": Colour.RED}, {"a": "red"}, [("a", "red", True)]),
    (
        "a nested document",
        {"a": {"x": 1}},
        {"a": {"x": 2}},
        {"a": {"x": 2}},
        [("a", {"x": 1}, False), ("a", {"x": 2}, True), ("a.x", 1, False), ("a.x", 2, True)],
    ),
    ("add to nothing", {}, ("db/add", 1, "a", 5), {"a": 5}, [("a", 5, True)]),
    ("add over a scalar", {"a": 1}, ("db/add", 1, "a", 5), {"a": 5}, [("a", 1, False), ("a", 5, True)]),
    ("add to a list", {"a": [1]}, ("db/add", 1, "a", 5), {"a": [1, 5]}, [("a", 5, True)]),
    ("add to a tuple", {"a": (1,)}, ("db/add", 1, "a", 5), {"a": (1, 5)}, [("a", 5, True)]),
    ("add to a set", {"a": {1}}, ("db/add", 1, "a", 5), {"a": {1, 5}}, [("a", 5, True)]),
    ("add to a frozenset", {"a": frozenset({1})}, ("db/add", 1, "a", 5), {"a": frozenset({1, 5})}, [("a", 5, True)]),
    ("add what a list has", {"a": [1, 5]}, ("db/add", 1, "a", 5), {"a": [1, 5]}, []),
    ("add true beside 1", {"a": [1]}, ("db/add", 1, "a", True), {"a": [1, True]}, [("a", True, True)]),
    ("add as a list", {"a": [1]}, ["db/add", 1, "a", 5], {"a": [1, 5]}, [("a", 5, True)]),
    ("retract a scalar", {"a": 1, "b": 2}, ("db/retract", 1, "a", 1), {"b": 2}, [("a", 1, False)]),
    ("retract another scalar", {"a": 1}, ("db/retract", 1, "a", 2), {"a": 1}, []),
    ("retract true for 1", {"a": 1}, ("db/retract", 1, "a", True), {"a": 1}, []),
    ("retract an element", {"a": [1, 2, 1]}, ("db/retract", 1, "a", 1), {"a": [2]}, [("a", 1, False)]),
    ("retract an element of a set", {"a": {1, 2}}, ("db/retract", 1, "a", 1), {"a": {2}}, [("a", 1, False)]),
    ("retract the last element", {"a": [1], "b": 2}, ("db/retract", 1, "a", 1), {"b": 2}, [("a", 1, False)]),
    ("retract a whole list", {"a": [1, 2]}, ("db/retract", 1, "a", [1, 2]), None, [("a", 1, False), ("a", 2, False)]),
    (
        "retract an attribute",
        {"a": [1, 2], "b": 2},
        ("db/retract", 1, "a"),
        {"b": 2},
        [("a", 1, False), ("a", 2, False)],
    ),
    ("retract None", {"a": None, "b": 2}, ("db/retract", 1, "a", None), {"b": 2}, [("a", None, False)]),
    ("retract what is missing", {"a": 1}, ("db/retract", 1, "b"), {"a": 1}, []),
    ("retract the last attribute", {"a": 1}, ("db/retract", 1, "a"), None, [("a", 1, False)]),
    (
        "retract an entity",
        {"a": 1, "b": [2, 3]},
        ("db/retract-entity", 1),
        None,
        [("a", 1, False), ("b", 2, False), ("b", 3, False)],
    ),
    ("retract an unknown entity", {}, ("db/retract-entity", 1), None, []),
    ("compare and set", {"a": 1}, ("db/cas", 1, "a", 1, 2), {"a": 2}, [("a", 1, False), ("a", 2, True)]),
    ("compare and set from nothing", {}, ("db/cas", 1, "a", None, 2), {"a": 2}, [("a", 2, True)]),
    ("compare and set a list", {"a": [1]}, ("db/cas", 1, "a", [1], [1, 2]), {"a": [1, 2]}, [("a", 2, True)]),
    ("compare 1 with 1.0", {"a": 1}, ("db/cas", 1, "a", 1.0, 2), {"a": 2}, [("a", 1, False), ("a", 2, True)]),
    (
        "call",
        {"a": 1},
        call(lambda db: [{"db/id": 1, "a": db.entity(1)["a"] + 1}]),
        {"a": 2},
        [("a", 1, False), ("a", 2, True)],
    ),
    ("call that does nothing", {"a": 1}, call(lambda _: []), {"a": 1}, []),
]


@pytest.mark.parametrize(("name", "before", "operation", "after", "facts"), OPERATIONS, ids=[o[0] for o in OPERATIONS])
def test_an_operation_changes_the_entity_and_says_how(
    conn: Connection, name: str, before: Before, operation: Any, after: Any, facts: list[tuple[str, Any, bool]]
) -> None:
    if before:
        conn.transact([{"db/id": 1, **before}])
    if isinstance(operation, dict):
        operation = {"db/id": 1, **operation}
    speculative = conn.db().with_([operation])
    report = conn.transact([operation])
    expected = None if not after else {"db/id": 1, **after}
    for each in (report, speculative):
        assert each.db_after.entity(1) == expected, name
        assert {k: type(v) for k, v in (each.db_after.entity(1) or {}).items()} == {
            k: type(v) for k, v in (expected or {}).items()
        }
        assert told(each) == sorted(((1, *fact) for fact in facts), key=repr)
        assert (each.db_before.entity(1) or {}) == ({"db/id": 1, **before} if before else {})
    assert conn.db().t == report.t == report.db_before.t + bool(operation_changes(facts, before, after))
    assert sorted(map(repr, conn.db().facts())) == sorted(map(repr, report.db_after.facts()))


def operation_changes(facts: list[Any], before: Before, after: Any) -> bool:
    return bool(facts) or repr(before or None) != repr(after)


def test_a_changed_type_of_an_equal_value_is_kept_though_no_fact_changes(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "a": 1}])
    report = conn.transact([{"db/id": 1, "a": Decimal("1.0")}])
    assert (report.t, report.tx_data) == (2, ())
    assert repr(conn.db().entity(1)) == "{'db/id': 1, 'a': Decimal('1.0')}"


def test_operations_apply_in_order_each_seeing_the_ones_before_it(conn: Connection) -> None:
    def total(db: Database, name: str) -> list[Any]:
        return [{"db/id": "sums", name: sorted(db.q("[:find [?n ...] :where [_ :n ?n]]"))}]

    report = conn.transact(
        [
            {"db/id": 1, "n": [1]},
            call(total, "first"),
            ("db/add", 1, "n", 2),
            ("db/cas", 1, "n", [1, 2], [1, 2, 3]),
            call(total, "second"),
            ("db/retract", 1, "n", 1),
            ("db/retract-entity", 2),
            {"db/id": 2, "n": 9},
            call(total, "third"),
            ("db/retract-entity", 2),
            call(lambda db: [call(total, "fourth"), {"db/id": 3, "seen": db.entity(2) is None}]),
        ]
    )
    assert conn.db().entity("sums") == {
        "db/id": "sums",
        "first": [1],
        "second": [1, 2, 3],
        "third": [2, 3, 9],
        "fourth": [2, 3],
    }
    assert [conn.db().entity(e) for e in (1, 2, 3)] == [{"db/id": 1, "n": [2, 3]}, None, {"db/id": 3, "seen": True}]
    assert report.t == 1
    assert {(f.e, f.a, f.v) for f in report.tx_data if f.e != "sums"} == {(1, "n", 2), (1, "n", 3), (3, "seen", True)}
    assert all(fact.added for fact in report.tx_data)


def test_a_transaction_function_sees_documents_appended_before_it(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 0}], "k")

    def again(db: Database) -> list[Any]:
        last = db.documents({"k": 1})[-1]
        return append(db, [{"k": 1, "n": last["n"] + 1}], "k")

    report = conn.transact([call(again), call(again), call(lambda _: [call(again)])])
    assert [document["n"] for document in conn.db().documents({"k": 1})] == [0, 1, 2, 3]
    assert report.offsets == {Stream(("k",), (1,)): range(1, 4)}
    assert told(report) == sorted(
        (
            (document["db/id"], a, document[a], True)
            for document in conn.db().documents({"k": 1}, 1)
            for a in ("k", "n", "offset")
        ),
        key=repr,
    )


def test_a_transaction_function_takes_arguments_and_keywords(conn: Connection) -> None:
    def rename(db: Database, e: Any, *, name: str) -> list[Any]:
        return [{"db/id": e, "name": name, "t": db.t}]

    conn.transact([call(rename, 1, name="Ann")])
    assert conn.db().entity(1) == {"db/id": 1, "name": "Ann", "t": 0}


def test_what_a_transaction_function_saw_stays_as_it_was(conn: Connection) -> None:
    seen: list[Database] = []

    def look(db: Database) -> list[Any]:
        seen.append(db)
        return [{"db/id": 1, "n": len(seen)}, *append(db, [{"k": 1}], "k")]

    conn.transact([call(look), call(look), call(look)])
    assert [db.entity(1) for db in seen] == [None, {"db/id": 1, "n": 1}, {"db/id": 1, "n": 2}]
    assert [len(db.documents({"k": 1})) for db in seen] == [0, 1, 2]
    assert [db.q("[:find (count ?e) . :where [?e :k 1]]") for db in seen] == [None, 1, 2]
    assert [db.q("[:find ?n . :where [1 :n ?n]]") for db in seen] == [None, 1, 2]


def test_a_document_without_an_id_becomes_an_entity_of_its_own(conn: Connection) -> None:
    report = conn.transact([{"a": 1}, {"a": 1}])
    ids = {fact.e for fact in report.tx_data}
    assert {type(e) for e in ids} == {UUID}
    assert [conn.db().entity(e) for e in ids] == [{"db/id": e, "a": 1} for e in ids]
    assert len(ids) == 2


@pytest.mark.parametrize(
    "e",
    [
        0,
        -1,
        2**70,
        1.5,
        True,
        "",
        "robot",
        b"x",
        UUID(int=7),
        Decimal("1.5"),
        datetime(2020, 1, 1, tzinfo=UTC),
        Colour.RED,
    ],
)
def test_any_scalar_can_be_an_id(conn: Connection, e: Any) -> None:
    conn.transact([{"db/id": e, "a": 1}])
    plain = e.value if isinstance(e, Enum) else e
    assert conn.db().entity(e) == {"db/id": plain, "a": 1}
    assert conn.db().q("[:find [?e ...] :where [?e :a 1]]") == [plain]
    assert conn.db().q("[:find ?a . :in $ ?e :where [?e :a ?a]]", plain) == 1


def test_ids_of_equal_value_are_one_entity_whatever_their_type_but_booleans_are_no_numbers(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "a": 1}, {"db/id": True, "b": True}])
    conn.transact([{"db/id": 1.0, "c": 3}])
    conn.transact([("db/add", Decimal(1), "d", 4)])
    whole = {"a": 1, "c": 3, "d": 4}
    for e in (1, 1.0, Decimal("1.00")):
        assert conn.db().entity(e) == {"db/id": 1, **whole}
    assert conn.db().entity(True) == {"db/id": True, "b": True}
    assert conn.db().entity(False) is None
    assert conn.db().entity("1") is None
    assert sorted(conn.db().q("[:find ?a ?c ?d :where [?e :a ?a] [?e :c ?c] [?e :d ?d]]")) == [(1, 3, 4)]
    assert len(conn.db().q("[:find ?e :where [?e _ _]]")) == 2


# Appended documents.


def test_an_appended_document_can_be_changed_by_its_id_but_for_its_place(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n} for n in range(3)], "k")
    e = conn.db().documents({"k": 1})[1]["db/id"]
    report = conn.transact([{"db/id": e, "n": 11, "late": True}])
    assert conn.db().documents({"k": 1}, 1, 2) == [{"db/id": e, "offset": 1, "k": 1, "n": 11, "late": True}]
    assert told(report) == sorted([(e, "late", True, True), (e, "n", 1, False), (e, "n", 11, True)], key=repr)
    assert sorted(conn.db().q("[:find [?n ...] :where [?e :k 1] [?e :n ?n]]")) == [0, 2, 11]
    for operation in (
        {"db/id": e, "k": 2},
        {"db/id": e, "offset": 0},
        ("db/add", e, "k", 2),
        ("db/retract", e, "k"),
        ("db/retract", e, "offset", 1),
        ("db/cas", e, "k", 1, 2),
    ):
        with pytest.raises(tourlog.TransactionError):
            conn.transact([operation])
    assert conn.transact([{"db/id": e, "k": 1, "offset": 1}]).t == 2


def test_a_retracted_document_leaves_a_gap_and_its_offset_is_never_given_again(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n} for n in range(3)], "k")
    last = conn.db().documents({"k": 1})[2]["db/id"]
    conn.transact([("db/retract-entity", last)])
    assert [d["offset"] for d in conn.db().documents({"k": 1})] == [0, 1]
    assert conn.db().entity(last) is None
    conn.append([{"k": 1, "n": 3}], "k")
    assert [d["offset"] for d in conn.db().documents({"k": 1})] == [0, 1, 3]
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 4}
    rows = conn.db().q(tourlog.gen_datalog("all", "k"), 1)
    assert tourlog.post_query_transform(rows) == [{"offset": n, "k": 1, "n": n} for n in (0, 1, 3)]


def test_an_id_given_to_another_entity_after_its_document_was_retracted_is_out_of_the_stream(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 0}], "k")
    e = conn.db().documents({"k": 1})[0]["db/id"]
    conn.transact([("db/retract-entity", e), {"db/id": e, "other": 1}])
    assert conn.db().entity(e) == {"db/id": e, "other": 1}
    assert conn.db().documents({"k": 1}) == []
    assert list(conn.db().q(tourlog.gen_datalog("all", "k"), 1)) == []


def test_a_document_appended_and_changed_in_one_transaction_is_told_as_it_ended(conn: Connection) -> None:
    def change(db: Database) -> list[Any]:
        first, second = db.documents({"k": 1})
        return [("db/add", first["db/id"], "n", 5), ("db/retract-entity", second["db/id"])]

    operations = [call(append, [{"k": 1, "n": 0}, {"k": 1, "n": 1}], "k"), call(change)]
    speculative = conn.db().with_(operations)
    report = conn.transact(operations)
    (document,) = conn.db().documents({"k": 1})
    assert {name: document[name] for name in ("offset", "k", "n")} == {"offset": 0, "k": 1, "n": 5}
    for each in (report, speculative):
        assert told(each) == sorted(((document["db/id"], a, document[a], True) for a in ("k", "n", "offset")), key=repr)
        assert each.db_after.q("[:find [?n ...] :where [_ :n ?n]]") == [5]
        past = each.db_after.history()
        assert sorted((f.v, f.added) for f in past.facts(a="n")) == [(1, False), (1, True), (5, True)]
        for engine in ("pydatalog", "compiled"):
            assert sorted(past.q("[:find [?n ...] :where [?e :n ?n]]", engine=engine)) == [1, 5]
            of_stream = '[:find [?n ...] :where [?e :db/key ["k"]] [?e :k 1] [?e :offset ?o] [?e :n ?n]]'
            assert sorted(past.q(of_stream, engine=engine)) == [1, 5]


def test_ids_of_documents_still_to_come_cannot_be_taken(conn: Connection) -> None:
    prepared = append(conn.db(), [{"k": 1}, {"k": 1}], "k")
    conn.append([{"k": 1}], "k")
    with pytest.raises(tourlog.TransactionError) as refusal:
        conn.transact([{"db/id": prepared[1]["db/id"], "x": 1}])
    assert "number 1 of stream k=1" in str(refusal.value)
    conn.append([{"k": 1, "n": 1}], "k")
    assert [d["offset"] for d in conn.db().documents({"k": 1})] == [0, 1]


def test_an_entity_with_the_id_a_document_would_have_had_hides_no_document(conn: Connection) -> None:
    taken = append(conn.db(), [{"k": 1}], "k")[0]["db/id"]
    conn.transact([{"db/id": taken, "x": 1}])
    conn.append([{"k": 1, "n": 1}], "k")
    (document,) = conn.db().documents({"k": 1})
    assert document == {"db/id": document["db/id"], "offset": 0, "k": 1, "n": 1}
    assert document["db/id"] != taken
    assert conn.db().entity(taken) == {"db/id": taken, "x": 1}


# Reports.


def test_a_report_tells_both_databases_the_facts_and_the_offsets(conn: Connection) -> None:
    conn.append([{"k": 1}], "k")
    report = conn.append([{"k": 1, "n": 1}, {"k": 2, "n": 2}, {"k": 1, "n": 3}], "k")
    assert (report.db_before.t, report.db_after.t, report.t) == (1, 2, 2)
    assert report.offsets == {Stream(("k",), (1,)): range(1, 3), Stream(("k",), (2,)): range(0, 1)}
    documents = [*conn.db().documents({"k": 1}, 1), *conn.db().documents({"k": 2})]
    assert told(report) == sorted(
        ((d["db/id"], a, d[a], True) for d in documents for a in ("offset", "k", "n")), key=repr
    )
    assert all(isinstance(fact, Fact) for fact in report.tx_data)
    assert repr(report) == "<TxReport t=2 k=1: 1…2, k=2: 0…0>"


def test_a_report_stays_as_it_is_whatever_comes_later(conn: Connection) -> None:
    report = conn.transact([{"db/id": 1, "a": [1, 2]}])
    conn.transact([{"db/id": 1, "a": [3]}, ("db/retract-entity", 2)])
    conn.transact([("db/retract-entity", 1)])
    assert told(report) == [(1, "a", 1, True), (1, "a", 2, True)]
    assert (report.db_before.entity(1), report.db_after.entity(1)) == (None, {"db/id": 1, "a": [1, 2]})


@pytest.mark.parametrize("nothing", [[], (), iter(()), [call(lambda _: [])], [("db/retract", 9, "x")]])
def test_a_transaction_that_changes_nothing_is_not_written(conn: Connection, nothing: Any) -> None:
    conn.append([{"k": 1}], "k")
    report = conn.transact(nothing)
    assert (report.t, report.db_before.t, report.tx_data, report.offsets, conn.db().t) == (1, 1, (), {}, 1)
    assert conn.append([], "k").t == 1


def test_transaction_data_may_be_any_iterable(conn: Connection) -> None:
    conn.transact({"db/id": n, "n": n} for n in range(3))
    conn.append(iter([{"k": 1}]), "k")
    conn.append(({"k": 1} for _ in range(2)), "k")
    assert sorted(conn.db().q("[:find [?n ...] :where [_ :n ?n]]")) == [0, 1, 2]
    assert len(conn.db().documents({"k": 1})) == 3


def test_a_large_transaction_comes_back_whole(conn: Connection) -> None:
    count = 2345
    conn.append([{"k": n % 3, "n": n, "text": "x" * (n % 500)} for n in range(count)], "k")
    conn.transact([{"db/id": n, "m": n} for n in range(count)])
    for key in range(3):
        found = conn.db().documents({"k": key})
        assert [d["n"] for d in found] == list(range(key, count, 3))
        assert [len(d["text"]) for d in found] == [n % 500 for n in range(key, count, 3)]
    assert sorted(fact.v for fact in conn.db().facts(a="m")) == list(range(count))


def test_documents_of_megabytes_are_batched_and_come_back(conn: Connection) -> None:
    texts = [letter * 700_000 for letter in "abcdef"]
    conn.append([{"k": 1, "text": text} for text in texts], "k")
    assert [d["text"] for d in conn.db().documents({"k": 1}, 2, 5)] == texts[2:5]


# Failures.


FAILURES: list[tuple[str, Callable[[], Any], type[Exception]]] = [
    ("cas", lambda: ("db/cas", 1, "a", 2, 3), tourlog.ConflictError),
    ("cas true for 1", lambda: ("db/cas", 1, "a", True, 3), tourlog.ConflictError),
    ("cas for a missing value", lambda: ("db/cas", 1, "zz", 1, 3), tourlog.ConflictError),
    ("bad document", lambda: {"db/id": 9, "bad": object()}, tourlog.DocumentError),
    ("unknown operation", lambda: ("db/nothing", 1), tourlog.TransactionError),
    ("wrong number of arguments", lambda: ("db/add", 1, "a"), tourlog.TransactionError),
    ("a function that fails", lambda: call(lambda _: 1 / 0), ZeroDivisionError),
    ("a function that gives nothing", lambda: call(lambda _: None), tourlog.TransactionError),
    ("a function within itself for ever", lambda: call(_endless), tourlog.TransactionError),
]


def _endless(db: Database) -> list[Any]:
    return [{"db/id": 9, "a": db.t}, call(_endless)]


@pytest.mark.parametrize(("name", "operation", "error"), FAILURES, ids=[f[0] for f in FAILURES])
def test_an_operation_that_fails_takes_the_whole_transaction_back(
    conn: Connection, name: str, operation: Callable[[], Any], error: type[Exception]
) -> None:
    conn.transact([{"db/id": 1, "a": 1}])
    conn.append([{"k": 1}], "k")
    before = sorted(map(repr, conn.db().facts()))
    with pytest.raises(error):
        conn.transact([{"db/id": 5, "b": 1}, call(append, [{"k": 1}, {"new": 1, "k": 2}], "k"), operation()])
    assert (conn.db().t, sorted(map(repr, conn.db().facts()))) == (2, before), name
    assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "1": 1}
    assert conn.append([{"k": 1}], "k").offsets == {Stream(("k",), (1,)): range(1, 2)}


def test_cas_says_what_it_found(conn: Connection) -> None:
    conn.transact([{"db/id": 1, "a": 1}])
    with pytest.raises(tourlog.ConflictError) as refusal:
        conn.transact([("db/cas", 1, "a", 2, 3)])
    assert refusal.value.details == {"entity": 1, "attribute": "a", "expected": 2, "actual": 1}
