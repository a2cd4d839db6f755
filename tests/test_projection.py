"""Projections: tables that follow the log, their position committed with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tourlog
from tourlog import projection
from tourlog.projection import Projection, Table, position, rows, table, update


def total(kept: Table, event: dict[str, Any]) -> None:
    row = kept.get(event["account"], {"total": 0})
    if event["type"] == "closed":
        del kept[event["account"]]
    else:
        kept[event["account"]] = {"total": row["total"] + event["amount"]}


TOTALS = Projection(name="totals", apply=total, by=("account",))
BIG = Projection(
    name="big",
    query="[:find ?account ?amount :keys account amount :in $ ?least :where [?e :account ?account] [?e :amount ?amount]"
    " [(>= ?amount ?least)]]",
    inputs=(5,),
)


@pytest.fixture(params=["memory", "file"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tourlog.Connection]:
    with tourlog.connect(tmp_path / "store.tour" if request.param == "file" else None) as opened:
        yield opened


def deposit(conn: tourlog.Connection, account: Any, *amounts: int) -> None:
    conn.append([{"account": account, "type": "deposit", "amount": amount} for amount in amounts], "account")


def close(conn: tourlog.Connection, account: Any) -> None:
    conn.append([{"account": account, "type": "closed"}], "account")


def test_a_function_s_table_follows_the_events_of_its_streams(conn: tourlog.Connection) -> None:
    deposit(conn, "a", 1, 2)
    conn.append([{"topic": "account", "amount": 99}], "topic")
    assert (update(conn, TOTALS), table(conn.db(), TOTALS), position(conn.db(), TOTALS)) == (1, {"a": {"total": 3}}, 2)
    deposit(conn, "a", 4)
    deposit(conn, "b", 5)
    assert table(conn.db(), TOTALS) == {"a": {"total": 3}}
    assert (update(conn, TOTALS), table(conn.db(), TOTALS)) == (2, {"a": {"total": 7}, "b": {"total": 5}})
    close(conn, "a")
    assert (update(conn, TOTALS), rows(conn.db(), TOTALS)) == (1, [{"total": 5}])
    assert conn.db().q("[:find ?key ?total :where [?row :projection/key ?key] [?row :totals/total ?total]]") == [
        ("b", 5)
    ]


def test_without_news_nothing_is_written(conn: tourlog.Connection) -> None:
    for kept in (TOTALS, BIG):
        deposit(conn, "a", 7)
        update(conn, kept)
        before = conn.db().t
        assert (update(conn, kept), update(conn, kept), conn.db().t) == (0, 0, before)


def test_projections_that_are_updated_by_turns_find_no_news_in_each_other(conn: tourlog.Connection) -> None:
    deposit(conn, "a", 200)
    both = (BIG, replace(BIG, name="bigger"))
    for each in 2 * both:
        update(conn, each)
    before = conn.db().t
    for each in 2 * both:
        assert update(conn, each) == 0
    assert conn.db().t == before
    deposit(conn, "b", 300)
    assert [update(conn, each) for each in both] == [1, 1]


def test_typed_keys_are_rows_of_their_own(conn: tourlog.Connection) -> None:
    deposit(conn, 1, 1)
    deposit(conn, "1", 2)
    update(conn, TOTALS)
    assert table(conn.db(), TOTALS) == {1: {"total": 1}, "1": {"total": 2}}


def test_an_answer_is_kept_as_a_table_and_changes_with_it(conn: tourlog.Connection) -> None:
    deposit(conn, "a", 1, 7)
    assert (update(conn, BIG), rows(conn.db(), BIG)) == (1, [{"account": "a", "amount": 7}])
    deposit(conn, "b", 9)
    assert update(conn, BIG) == 1
    assert table(conn.db(), BIG) == {("a", 7): {"account": "a", "amount": 7}, ("b", 9): {"account": "b", "amount": 9}}
    (erased,) = conn.db().q('[:find [?e ...] :where [?e :account "a"] [?e :amount 7]]')
    conn.transact([("db/retract-entity", erased)])
    assert (update(conn, BIG), rows(conn.db(), BIG)) == (1, [{"account": "b", "amount": 9}])


def test_an_answer_about_another_projection_s_table_follows_it(conn: tourlog.Connection) -> None:
    rich = Projection(name="rich", query="[:find ?t :keys total :where [?row :totals/total ?t] [(> ?t 5)]]")
    deposit(conn, "a", 9)
    update(conn, rich)
    update(conn, TOTALS)
    assert (update(conn, rich), rows(conn.db(), rich)) == (1, [{"total": 9}])


def test_another_version_makes_the_table_anew(conn: tourlog.Connection) -> None:
    """Rows and columns of the old one are gone."""
    deposit(conn, "a", 1)
    deposit(conn, "b", 2)
    update(conn, TOTALS)

    def highest(kept: Table, event: dict[str, Any]) -> None:
        if event["account"] == "b":
            kept["b"] = {"highest": event["amount"]}

    second = replace(TOTALS, apply=highest, version=2)
    assert position(conn.db(), second) == 0
    update(conn, second)
    assert (table(conn.db(), second), position(conn.db(), second)) == ({"b": {"highest": 2}}, 3)
    update(conn, BIG)
    update(conn, replace(BIG, inputs=(1,), version=2))
    assert [row["amount"] for row in rows(conn.db(), BIG)] == [1, 2]


def test_a_row_has_the_columns_it_was_last_given(conn: tourlog.Connection) -> None:
    def latest(kept: Table, event: dict[str, Any]) -> None:
        kept["latest"] = {event["type"]: event.get("amount", [1, {"x": None}])}

    last = Projection(name="last", apply=latest, by=("account",))
    deposit(conn, "a", 1)
    update(conn, last)
    close(conn, "a")
    update(conn, last)
    assert table(conn.db(), last) == {"latest": {"closed": [1, {"x": None}]}}


def test_what_fails_leaves_table_and_position_as_they_were(conn: tourlog.Connection) -> None:
    deposit(conn, "a", 1)
    update(conn, TOTALS)
    deposit(conn, "a", 2)
    close(conn, "b")
    with pytest.raises(KeyError, match="b"):
        update(conn, TOTALS)
    assert (table(conn.db(), TOTALS), position(conn.db(), TOTALS)) == ({"a": {"total": 1}}, 1)


def test_a_table_is_a_mapping_with_what_is_stored_and_what_is_new(conn: tourlog.Connection) -> None:
    deposit(conn, "a", 1)
    deposit(conn, "b", 2)
    update(conn, TOTALS)
    kept = Table(conn.db(), TOTALS)
    kept["c"], kept["a"] = {"total": 3}, {"total": 9}
    del kept["b"]
    assert (dict(kept), len(kept), "b" in kept) == ({"a": {"total": 9}, "c": {"total": 3}}, 2, False)
    kept["a"]["total"] = 5
    assert kept["a"] == {"total": 9}
    for wrong in ({}, 5, None):
        with pytest.raises(tourlog.ArgumentError, match="expected a row as a dict of columns"):
            kept["a"] = wrong


def test_past_tables_are_there_as_the_store_was_then(conn: tourlog.Connection) -> None:
    deposit(conn, "a", 1)
    update(conn, TOTALS)
    deposit(conn, "a", 1)
    update(conn, TOTALS)
    assert [table(conn.db().as_of(t), TOTALS) for t in (1, 2, 3, 4)] == [
        {},
        {"a": {"total": 1}},
        {"a": {"total": 1}},
        {"a": {"total": 2}},
    ]


def test_a_transaction_that_is_not_complete_is_not_followed(conn: tourlog.Connection) -> None:
    """What it appends later would be missed."""
    with pytest.raises(tourlog.TransactionError, match="with a transaction that is not complete"), conn.transaction():
        deposit(conn, "a", 1)
        update(conn, TOTALS)
    with conn.transaction():
        update(conn, TOTALS)
        deposit(conn, "a", 1)
    update(conn, TOTALS)
    assert table(conn.db(), TOTALS) == {"a": {"total": 1}}


def test_transactions_of_others_are_passed_for_good(conn: tourlog.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there are many of them, so that no update reads them again."""
    monkeypatch.setattr(projection, "_IDLE", 5)
    deposit(conn, "a", 1)
    update(conn, TOTALS)
    for n in range(6):
        conn.append([{"topic": n}], "topic")
        update(conn, TOTALS)
    assert position(conn.db(), TOTALS) == 6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=20), st.integers(1, 3))
def test_a_table_is_what_all_events_come_to_however_often_it_is_updated(
    events: list[tuple[str, int, bool]], chunk: int
) -> None:
    """In chunks of any size."""
    expected: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch, tourlog.connect() as conn:
        patch.setattr(projection, "CHUNK", chunk)
        for account, amount, updates in events:
            deposit(conn, account, amount)
            expected[account] += amount
            if updates:
                update(conn, TOTALS)
                assert table(conn.db(), TOTALS) == {key: {"total": value} for key, value in expected.items()}
        update(conn, TOTALS)
        assert table(conn.db(), TOTALS) == {key: {"total": value} for key, value in expected.items()}


def test_every_event_counts_once_whoever_updates(tmp_path: Path) -> None:
    """Writers and updaters at once, over two connections to one file."""
    connections = [tourlog.connect(tmp_path / "store.tour", durability="normal") for _ in range(2)]

    def write(conn: tourlog.Connection) -> None:
        for _ in range(20):
            deposit(conn, "a", 1)

    def follow(conn: tourlog.Connection) -> None:
        for _ in range(20):
            update(conn, TOTALS)

    threads = [Thread(target=work, args=(conn,)) for conn in connections for work in (write, follow)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    update(connections[0], TOTALS)
    assert table(connections[1].db(), TOTALS) == {"a": {"total": 40}}
    for conn in connections:
        conn.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": ""}, "expected a name for the projection, got ''"),
        ({"name": "db/x"}, "expected a name for the projection, got 'db/x'"),
        ({"name": "db"}, "expected a name for the projection, got 'db'"),  # a column `id` was the id of its row
        ({"name": "projection"}, "expected a name for the projection, got 'projection'"),  # and `of` its table
        ({"query": "[:find ?e :where [?e :a 1]]"}, "expected either apply or query for the projection totals"),
        ({"apply": None}, "expected either apply or query for the projection totals"),
        ({"apply": 1}, "expected apply to be a function, got 1, in the projection totals"),
        ({"by": "account"}, "expected by to be a tuple of names of attributes, got 'account'"),
        ({"by": ()}, r"expected by to be a tuple of names of attributes, got \(\)"),
        ({"version": None}, "expected version to be a whole number, got None"),
    ],
)
def test_a_projection_that_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(tourlog.ArgumentError, match=message):
        replace(TOTALS, **wrong)


@pytest.mark.parametrize(
    "query",
    [
        "[:find ?e :where [?e :account _]]",
        "[:find ?e :where [?e :account 5]]",
        "[:find ?e . :where [?e :account _]]",
    ],
)
def test_a_query_without_keys_is_no_table(conn: tourlog.Connection, query: str) -> None:
    deposit(conn, "a", 1)
    with pytest.raises(tourlog.ArgumentError, match="expected a query with :keys for the projection big"):
        update(conn, replace(BIG, query=query, inputs=()))


def test_columns_have_names(conn: tourlog.Connection) -> None:
    """A number came back as a string."""
    deposit(conn, "a", 1)
    with pytest.raises(tourlog.ArgumentError, match=r"expected the names of columns as strings, got \[3\]"):
        update(conn, Projection(name="p", apply=lambda kept, _: kept.update({"k": {3: 1}}), by=("account",)))


@pytest.mark.parametrize("key", [[1], {"a": 1}, (1, [2])])
def test_a_key_that_no_dict_can_have_is_refused(conn: tourlog.Connection, key: Any) -> None:
    """It was stored, and nobody could read the table any more."""
    deposit(conn, "a", 1)
    with pytest.raises(tourlog.ArgumentError, match="expected a key that a dict can have, got "):
        update(conn, Projection(name="p", apply=lambda kept, _: kept.__setitem__(key, {"n": 1}), by=("account",)))


def test_rows_that_no_dict_can_hold_are_there_as_rows(conn: tourlog.Connection) -> None:
    nested = Projection(name="nested", query="[:find ?v :keys v :where [_ :value ?v]]")
    alike = Projection(
        name="alike", apply=lambda kept, _: kept.update([(1, {"n": 1}), (True, {"n": 2})]), by=("account",)
    )
    conn.transact([{"db/id": "x", "value": {"a": 1}}])
    deposit(conn, "a", 1)
    for made, kept in ((nested, [{"v": {"a": 1}}]), (alike, [{"n": 2}, {"n": 1}])):
        update(conn, made)
        assert rows(conn.db(), made) == kept
        with pytest.raises(tourlog.ArgumentError, match="expected keys that are apart in a dict"):
            table(conn.db(), made)


def test_what_is_no_projection_is_said(conn: tourlog.Connection) -> None:
    for call in (lambda: update(conn, 3), lambda: rows(conn.db(), 3), lambda: position(conn.db(), 3)):  # type: ignore[arg-type]
        with pytest.raises(tourlog.ArgumentError, match="expected a Projection, got 3"):
            call()
