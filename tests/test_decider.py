"""Deciders on a store: the expected offset, retries, upcasters, snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tourlog
from tourlog.decider import Aggregate, Decider, drop_snapshots, handle, load


class Refused(Exception):
    pass


class Name(Enum):
    ANN = "ann"


def decide(balance: int, command: tuple[str, int]) -> list[dict[str, Any]]:
    kind, amount = command
    if kind == "withdraw" and amount > balance:
        raise Refused(f"{amount} of {balance}")
    return [{"type": kind, "amount": amount}] if amount else []


def evolve(balance: int, event: dict[str, Any]) -> int:
    return balance + event["amount"] * (1 if event["type"] == "deposit" else -1)


ACCOUNT = Decider(name="account", initial=0, decide=decide, evolve=evolve, key="account")


@pytest.fixture(params=["memory", "file"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tourlog.Connection]:
    with tourlog.connect(tmp_path / "store.tour" if request.param == "file" else None) as opened:
        yield opened


def test_a_command_becomes_events_of_its_aggregate(conn: tourlog.Connection) -> None:
    handled = handle(conn, ACCOUNT, "a", ("deposit", 5))
    events = [{"account": "a", "type": "deposit", "amount": 5}]
    assert (handled.state, handled.events) == (5, events)
    assert handled.report is not None
    assert handled.report.offsets == {tourlog.Stream(("account",), ("a",)): range(1)}
    assert tourlog.event_store.get_events_for_aggregate(conn.db(), "a", key="account") == events
    assert load(conn.db(), ACCOUNT, "a") == Aggregate(5, 1)
    assert load(conn.db(), ACCOUNT, "b") == Aggregate(0, 0)


def test_what_decides_nothing_writes_nothing(conn: tourlog.Connection) -> None:
    handled = handle(conn, ACCOUNT, "a", ("deposit", 0))
    assert (handled.state, handled.events, handled.report, conn.db().t) == (0, [], None, 0)


def test_a_refusal_is_the_caller_s_and_writes_nothing(conn: tourlog.Connection) -> None:
    with pytest.raises(Refused, match="5 of 0"):
        handle(conn, ACCOUNT, "a", ("withdraw", 5))
    assert conn.db().t == 0


def test_a_command_is_decided_anew_when_another_was_faster(conn: tourlog.Connection) -> None:
    """On the state with the other's events: what that makes impossible is refused."""
    handle(conn, ACCOUNT, "a", ("deposit", 5))
    seen = []

    def overtaken(balance: int, command: tuple[str, int]) -> list[dict[str, Any]]:
        seen.append(balance)
        if len(seen) == 1:
            handle(conn, ACCOUNT, "a", ("withdraw", 4))
        return decide(balance, command)

    assert handle(conn, replace(ACCOUNT, decide=overtaken), "a", ("withdraw", 1)).state == 0
    assert seen == [5, 1]
    seen.clear()
    handle(conn, ACCOUNT, "a", ("deposit", 5))
    with pytest.raises(Refused, match="2 of 1"):
        handle(conn, replace(ACCOUNT, decide=overtaken), "a", ("withdraw", 2))


def test_after_so_many_attempts_the_conflict_is_the_caller_s(conn: tourlog.Connection) -> None:
    def overtaken(balance: int, command: tuple[str, int]) -> list[dict[str, Any]]:
        handle(conn, ACCOUNT, "a", ("deposit", 1))
        return decide(balance, command)

    with pytest.raises(tourlog.ConflictError, match="expected stream account=a at offset 2, it is at 3"):
        handle(conn, replace(ACCOUNT, decide=overtaken), "a", ("deposit", 1), attempts=3)
    assert load(conn.db(), ACCOUNT, "a") == Aggregate(3, 3)


def test_a_conflict_about_something_else_is_not_retried(conn: tourlog.Connection) -> None:
    calls = []

    def conflicting(_: int, command: tuple[str, int]) -> list[dict[str, Any]]:
        calls.append(command)
        conn.append([{"other": 1}], "other", expect=9)
        return []

    with pytest.raises(tourlog.ConflictError, match="expected stream other=1"):
        handle(conn, replace(ACCOUNT, decide=conflicting), "a", ("deposit", 1))
    assert len(calls) == 1


def test_concurrent_commands_never_break_a_rule(tmp_path: Path) -> None:
    """Eight threads over two connections withdraw one by one from a balance that lasts for half of them."""
    connections = [tourlog.connect(tmp_path / "store.tour", durability="normal") for _ in range(2)]
    handle(connections[0], ACCOUNT, "a", ("deposit", 20))
    barrier, outcomes = Barrier(8), list[str]()

    def withdraw(conn: tourlog.Connection) -> None:
        barrier.wait()
        for _ in range(5):
            try:
                handle(conn, ACCOUNT, "a", ("withdraw", 1), attempts=1000)
                outcomes.append("done")
            except Refused:
                outcomes.append("refused")

    threads = [Thread(target=withdraw, args=(connections[n % 2],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count("done"), outcomes.count("refused")) == (20, 20)
    assert load(connections[0].db(), ACCOUNT, "a") == Aggregate(0, 21)
    for conn in connections:
        conn.close()


@pytest.mark.parametrize("every", [None, 1])
def test_a_command_with_an_id_is_handled_once(conn: tourlog.Connection, every: int | None) -> None:
    """Again, it is not decided, though by now it would be refused; what was done then is what is returned."""
    account = replace(ACCOUNT, snapshot_every=every)
    handle(conn, account, "a", ("deposit", 5))
    first = handle(conn, account, "a", ("withdraw", 5), tx_id="once")
    handle(conn, account, "a", ("deposit", 1))
    again = handle(conn, account, "a", ("withdraw", 5), tx_id="once")
    assert (again.state, again.events) == (first.state, first.events)
    assert again.report is not None
    assert first.report is not None
    assert (again.report.t, again.report.offsets) == (first.report.t, first.report.offsets)
    assert load(conn.db(), account, "a").state == 1


def test_a_command_with_an_id_that_decided_nothing_stays_so(conn: tourlog.Connection) -> None:
    handle(conn, ACCOUNT, "a", ("deposit", 0), tx_id="once")
    again = handle(conn, ACCOUNT, "a", ("deposit", 7), tx_id="once")
    assert (again.state, again.events) == (0, [])


def test_commands_in_a_block_are_one_transaction(conn: tourlog.Connection) -> None:
    """A transfer: both aggregates or none."""
    handle(conn, ACCOUNT, "a", ("deposit", 5))

    def transfer(amount: int) -> None:
        handle(conn, ACCOUNT, "b", ("deposit", amount))
        handle(conn, ACCOUNT, "a", ("withdraw", amount))

    conn.run(lambda: transfer(3))
    with pytest.raises(Refused, match="3 of 2"):
        conn.run(lambda: transfer(3))
    assert [load(conn.db(), ACCOUNT, name).state for name in "ab"] == [2, 3]


def euros(event: dict[str, Any]) -> dict[str, Any]:
    """Amounts were in cents once."""
    return {**event, "amount": event.pop("cents") // 100} if "cents" in event else event


def named(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "type": {"paid": "deposit"}.get(event["type"], event["type"])}


def test_old_events_are_read_as_they_would_be_written_today(conn: tourlog.Connection) -> None:
    """By upcasters in order, at each reading; what is stored stays as it was."""
    old = {"account": "a", "type": "paid", "cents": 500}
    conn.append([old], "account")
    account = replace(ACCOUNT, upcasters=(euros, named))
    assert handle(conn, account, "a", ("withdraw", 2)).state == 3
    stored = tourlog.event_store.get_events_for_aggregate(conn.db(), "a", key="account")
    assert stored == [old, {"account": "a", "type": "withdraw", "amount": 2}]


# Snapshots.

SNAPSHOTS = "[:find ?of ?version ?offset ?state :where [?s :snapshot/of ?of] [?s :snapshot/version ?version] \
[?s :snapshot/offset ?offset] [?s :snapshot/state ?state] :order-by [?of]]"


def test_a_snapshot_is_kept_every_so_many_events_and_read_instead_of_them(conn: tourlog.Connection) -> None:
    folded = []

    def counting(balance: int, event: dict[str, Any]) -> int:
        folded.append(event["amount"])
        return evolve(balance, event)

    account = replace(ACCOUNT, evolve=counting, snapshot_every=3)
    for amount in range(1, 8):
        handle(conn, account, "a", ("deposit", amount))
    assert list(conn.db().q(SNAPSHOTS)) == [("a", 1, 6, 21)]
    folded.clear()
    assert load(conn.db(), account, "a") == Aggregate(28, 7, 6)
    assert folded == [7]
    assert load(conn.db().as_of(2), account, "a") == Aggregate(3, 2)


def test_a_snapshot_of_another_version_of_the_fold_is_not_read_and_soon_replaced(conn: tourlog.Connection) -> None:
    first = replace(ACCOUNT, snapshot_every=2)
    for _ in range(2):
        handle(conn, first, "a", ("deposit", 1))
    second = replace(first, evolve=lambda n, event: evolve(n, event) * 10, version=2)
    assert load(conn.db(), second, "a") == Aggregate(110, 2, None)
    assert handle(conn, second, "a", ("deposit", 1)).state == 1110
    assert list(conn.db().q(SNAPSHOTS)) == [("a", 2, 3, 1110)]


def test_deciders_and_typed_keys_have_their_own_snapshots(conn: tourlog.Connection) -> None:
    account, other = replace(ACCOUNT, snapshot_every=1), replace(ACCOUNT, name="other", snapshot_every=1)
    handle(conn, account, 1, ("deposit", 1))
    handle(conn, account, "1", ("deposit", 2))
    handle(conn, other, 1, ("deposit", 4))
    assert [load(conn.db(), account, key) for key in (1, "1")] == [Aggregate(5, 2, 1), Aggregate(2, 1, 1)]
    assert load(conn.db(), other, 1) == Aggregate(5, 2, 2)
    assert drop_snapshots(conn, account) == 2
    assert list(conn.db().q(SNAPSHOTS)) == [(1, 1, 2, 5)]
    assert load(conn.db(), account, 1) == Aggregate(5, 2)
    assert drop_snapshots(conn, account) == 0


@dataclass(frozen=True)
class Balance:
    amount: int


def test_a_state_that_is_no_value_is_dumped_and_restored(conn: tourlog.Connection) -> None:
    account = Decider(
        name="account",
        initial=Balance(0),
        decide=lambda balance, command: decide(balance.amount, command),
        evolve=lambda balance, event: Balance(evolve(balance.amount, event)),
        key="account",
        snapshot_every=1,
        dump=lambda balance: {"amount": balance.amount},
        restore=lambda value: Balance(value["amount"]),
    )
    handle(conn, account, "a", ("deposit", 5))
    assert load(conn.db(), account, "a") == Aggregate(Balance(5), 1, 1)
    assert conn.db().q("[:find ?amount . :where [_ :snapshot/state.amount ?amount]]") == 5


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.tuples(st.sampled_from(["deposit", "withdraw"]), st.integers(0, 3))),
        max_size=15,
    ),
    st.none() | st.integers(1, 4),
)
def test_snapshots_never_change_an_answer(commands: list[tuple[str, tuple[str, int]]], every: int | None) -> None:
    account, states = replace(ACCOUNT, snapshot_every=every), {"a": 0, "b": 0}
    with tourlog.connect() as conn:
        for name, command in commands:
            try:
                states[name] = handle(conn, account, name, command).state
            except Refused:
                assert command[1] > states[name]
            assert load(conn.db(), account, name).state == states[name] == load(conn.db(), ACCOUNT, name).state


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": ""}, "expected a name for the decider, got ''"),
        ({"snapshot_every": 0}, "expected a number of events from 1, got 0"),
        ({"key": ""}, "expected the name of an attribute as key, got ''"),
        ({"version": "2"}, "expected version to be a whole number, got '2'"),
        ({"decide": None}, "expected decide to be a function, got None, in the decider account"),
        ({"evolve": 1}, "expected evolve to be a function, got 1"),
        ({"dump": 1}, "expected dump to be a function, got 1"),
        ({"upcasters": len}, "expected a list of functions, got <built-in function len>, in upcasters"),
        ({"upcasters": [1]}, r"expected a list of functions, got \[1\], in upcasters of the decider account"),
    ],
)
def test_a_decider_that_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(tourlog.ArgumentError, match=message):
        replace(ACCOUNT, **wrong)


def test_a_command_needs_an_attempt(conn: tourlog.Connection) -> None:
    with pytest.raises(tourlog.ArgumentError, match="expected a number of attempts from 1, got 0"):
        handle(conn, ACCOUNT, "a", ("deposit", 1), attempts=0)


@pytest.mark.parametrize(
    ("decided", "message"),
    [
        (None, "expected a list of events, got None, from decide of the decider account"),
        ({"amount": 1}, "expected a list of events, got {'amount': 1}, from decide"),
        ("made", "expected a list of events, got 'made', from decide"),
        ([1], "expected events as dicts, got 1, from decide"),
        ([{"account": "b", "amount": 1}], "expected events of account=a, got one of 'b', from decide"),
        (
            [{"account": "a", "type": "deposit", "amount": 1}, {"account": None}],
            "expected events of account=a, got one",
        ),
    ],
)
@pytest.mark.parametrize("every", [None, 1])
def test_what_is_no_event_of_the_aggregate_is_refused(
    conn: tourlog.Connection, decided: Any, message: str, every: int | None
) -> None:
    """An event of another aggregate was appended to that one, and a snapshot kept for it of this one's state."""
    decider = replace(ACCOUNT, decide=lambda *_: decided, snapshot_every=every)
    with pytest.raises(tourlog.ArgumentError, match=message):
        handle(conn, decider, "a", ("deposit", 1))
    assert conn.db().t == 0


def test_events_may_name_their_aggregate_also_as_a_member_of_an_enum(conn: tourlog.Connection) -> None:
    decider = replace(ACCOUNT, decide=lambda *_: [{"account": Name.ANN, "type": "deposit", "amount": 1}])
    assert handle(conn, decider, "ann", None).state == handle(conn, ACCOUNT, Name.ANN, ("withdraw", 1)).state + 1 == 1
    assert [str(stream) for _, stream, _ in conn.db().streams()] == ["account=ann"]


def test_a_member_of_an_enum_counts_as_its_value_from_the_first(conn: tourlog.Connection) -> None:
    """Else the state after a command, and a snapshot of it, would be another than what is read later."""
    named = Decider(
        name="named",
        initial=0,
        decide=lambda _, name: [{"name": name}],
        evolve=lambda count, event: count + (event["name"] == "ann"),
        snapshot_every=1,
    )
    handled = [handle(conn, named, who, Name.ANN, tx_id="once") for who in (Name.ANN, "ann")]
    assert [(each.state, each.events) for each in handled] == [(1, [{"aggregate-id": "ann", "name": "ann"}])] * 2
    assert load(conn.db(), named, Name.ANN) == load(conn.db(), named, "ann") == Aggregate(1, 1, 1)


def test_an_upcaster_may_change_the_event_it_is_given(conn: tourlog.Connection) -> None:
    def upcast(event: dict[str, Any]) -> dict[str, Any]:
        event["n"] = event.pop("number", 0)
        return event

    last = Decider(
        name="last",
        initial=0,
        decide=lambda _, n: [{"number": n}],
        evolve=lambda _, event: event["n"],
        upcasters=(upcast,),
    )
    handled = handle(conn, last, "a", 5)
    assert (handled.state, handled.events) == (5, [{"aggregate-id": "a", "number": 5}])
    assert tourlog.event_store.get_events_for_aggregate(conn.db(), "a") == handled.events
    assert load(conn.db(), last, "a").state == 5


def test_an_upcaster_gives_an_event(conn: tourlog.Connection) -> None:
    handle(conn, ACCOUNT, "a", ("deposit", 1))
    with pytest.raises(tourlog.ArgumentError, match="expected an upcaster to give an event as a dict, got None"):
        load(conn.db(), replace(ACCOUNT, upcasters=[lambda _: None]), "a")  # type: ignore[arg-type,return-value]


def test_what_is_no_decider_is_said(conn: tourlog.Connection) -> None:
    calls: list[Callable[[Any], Any]] = [
        lambda other: load(conn.db(), other, "a"),
        lambda other: handle(conn, other, "a", 1),
        lambda other: drop_snapshots(conn, other),
    ]
    for call in calls:
        with pytest.raises(tourlog.ArgumentError, match="expected a Decider, got 3"):
            call(3)
