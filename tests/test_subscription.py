"""Subscriptions and listeners: everything once, in order, from any place, by whomever it is written."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tourlog
from tourlog import Connection, Position, Stream, Subscription, TxReport

WAIT = 60
"""Seconds until a test that waits in vain gives up."""


def ns(items: list[Any]) -> list[Any]:
    return [document["n"] for _, document in items]


@contextmanager
def in_thread(job: Callable[[], Any]) -> Iterator[Future[Any]]:
    """A job in another thread; its result is waited for at the end."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(job)
        yield future
        future.result(WAIT)


def collected(subscription: Subscription, count: int) -> list[Any]:
    """So many documents, waiting for them."""
    items: list[Any] = []
    while len(items) < count:
        some = subscription.take(count - len(items), WAIT)
        assert some, f"only {len(items)} of {count} came"
        items += some
    return items


def test_a_subscription_yields_what_is_there_and_then_what_comes(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n} for n in range(3)], "k")
    subscription = conn.subscribe({"k": 1})
    assert ns(collected(subscription, 3)) == [0, 1, 2]
    with in_thread(lambda: [conn.append([{"k": key, "n": n}], "k") for n in (3, 4) for key in (2, 1)]):
        place, document = next(subscription)
        assert (place, document) == (3, {**conn.db().documents({"k": 1}, 3, 4)[0]})
        assert next(subscription)[0] == 4
    assert subscription.take(10) == []


def test_places_of_one_stream_are_offsets_and_documents_those_of_a_read(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n} for n in range(250)], "k")
    items = conn.subscribe({"k": 1}).take(1000)
    assert items == list(enumerate(conn.db().documents({"k": 1})))


def test_many_streams_come_in_the_order_of_commits(conn: Connection) -> None:
    conn.append([{"a": 1, "n": 0}, {"a": 2, "n": 1}, {"a": 1, "n": 2}], "a")
    conn.append([{"b": 1, "a": 1, "n": 3}], "b", "a")
    conn.transact([{"db/id": "x", "n": 9}])
    with conn.transaction():
        conn.append([{"a": 2, "n": 4}], "a")
        conn.append([{"a": 1, "b": 2, "n": 5}], "a", "b")
    everything = conn.subscribe().take(10)
    assert [(place, document["n"]) for place, document in everything] == [
        (Position(1, 0), 0),
        (Position(1, 1), 2),
        (Position(1, 2), 1),
        (Position(2, 0), 3),
        (Position(4, 0), 4),
        (Position(4, 1), 5),
    ]
    assert [document for _, document in everything[:2]] == conn.db().documents({"a": 1})


def test_streams_of_a_transaction_come_in_the_order_they_were_made_whichever_way_it_was_written(
    conn: Connection,
) -> None:
    conn.append([{"a": 1}, {"a": 2}], "a")
    documents = [{"a": 2, "n": 1}, {"a": 1, "n": 2}]
    conn.append(documents, "a")
    conn.append(documents, "a", tx_id="x")
    conn.transact([tourlog.call(tourlog.append, documents, "a")])
    assert [(place.t, document["a"]) for place, document in conn.subscribe(start=2).take(9)] == [
        (t, a) for t in (2, 3, 4) for a in (1, 2)
    ]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("a", [0]),
        (("a", "b"), [1, 2, 3]),
        (["b", "a"], [1, 2, 3]),
        ({"a": 1, "b": None}, [1, 2]),
        ({"b": 1, "a": None}, [1, 3]),
        ({"a": None, "b": None}, [1, 2, 3]),
        ({"b": 2, "a": 1}, [2]),
        (Stream(("a", "b"), (2, 1)), [3]),
        ({"a": True, "b": None}, []),
        ("c", []),
        (("a", "b", "c"), []),
        ({"a": 5}, []),
    ],
)
def test_a_key_selects_a_stream_or_those_with_its_names_and_values(
    conn: Connection, key: Any, expected: list[int]
) -> None:
    conn.append([{"a": 1, "n": 0}], "a")
    conn.append([{"a": 1, "b": 1, "n": 1}], "a", "b")
    conn.append([{"a": 1, "b": 2, "n": 2}, {"a": 2, "b": 1, "n": 3}], "a", "b")
    subscription = conn.subscribe(key)
    assert ns(subscription.take(10)) == expected


def test_a_stream_may_be_subscribed_to_before_it_exists(conn: Connection) -> None:
    subscription = conn.subscribe({"b": 2, "a": 1})
    late = conn.subscribe({"a": 1, "b": 2}, start=1)
    assert subscription.take(1) == []
    conn.append([{"a": 1, "b": 2, "n": 0}, {"a": 1, "b": 2, "n": 1}], "a", "b")
    assert ns(subscription.take(5)) == [0, 1]
    assert late.take(5) == [(1, conn.db().documents({"a": 1, "b": 2})[1])]


def test_start_is_an_offset_of_a_stream_and_a_position_of_many(conn: Connection) -> None:
    for n in range(0, 6, 2):
        conn.append([{"k": 1, "n": n}, {"k": 1, "n": n + 1}], "k")
    assert ns(conn.subscribe({"k": 1}, start=3).take(9)) == [3, 4, 5]
    assert ns(conn.subscribe({"k": 1}, start=9).take(9)) == []
    assert ns(conn.subscribe("k", start=2).take(9)) == [2, 3, 4, 5]
    assert ns(conn.subscribe(start=Position(2, 1)).take(9)) == [3, 4, 5]
    assert ns(conn.subscribe(start=(2, 5)).take(9)) == [4, 5]
    assert ns(conn.subscribe(start=0).take(9)) == [0, 1, 2, 3, 4, 5]
    assert ns(conn.subscribe(start=conn.db().t + 1).take(9)) == []


@pytest.mark.parametrize("key", [{"k": 1}, "k", None])
def test_now_is_what_comes_after_subscribing(conn: Connection, key: Any) -> None:
    conn.append([{"k": 1, "n": 0}], "k")
    subscription = conn.subscribe(key, start="now")
    conn.append([{"k": 1, "n": 1}], "k")
    assert ns(subscription.take(9)) == [1]


def test_documents_are_as_they_are_when_read(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n} for n in range(4)], "k")
    first, second = (document["db/id"] for document in conn.db().documents({"k": 1})[:2])
    conn.transact([{"db/id": first, "n": 10}, ("db/retract-entity", second)])
    for key in ({"k": 1}, "k"):
        subscription = conn.subscribe(key)
        assert ns(subscription.take(9)) == [10, 2, 3]
    conn.transact([("db/retract-entity", conn.db().documents({"k": 1})[-1]["db/id"])])
    subscription = conn.subscribe({"k": 1}, start=3)
    assert (subscription.take(9), subscription.position) == ([], 4)


def test_whoever_gets_a_document_may_change_it(conn: Connection) -> None:
    conn.append([{"k": 1, "n": [1]}], "k")
    for _ in range(2):
        [(_, document)] = conn.subscribe("k").take(1)
        assert document["n"] == [1]
        document["n"].append(2)


# Where one stopped.


@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), max_size=8),
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from([{"k": 1}, "k", None, {"k": None}]),
    st.booleans(),
)
@settings(max_examples=60)
def test_a_subscription_goes_on_from_where_another_stopped(
    transactions: list[list[int]], cuts: list[int], key: Any, filtered: bool
) -> None:
    """However it is cut, and whatever comes meanwhile, everything comes once."""
    where = "[:find ?e :in $ [?e ...] :where [?e :n ?n] [(even? ?n)]]" if filtered else None
    with tourlog.connect() as conn:
        seen: list[Any] = []
        position = None
        numbers = iter(range(1000))
        for number, keys in enumerate(transactions):
            conn.append([{"k": k, "n": next(numbers)} for k in keys], "k")
            subscription = conn.subscribe(key, start=position, where=where)
            seen += subscription.take(cuts[number % len(cuts)] if cuts else 1)
            position = subscription.position
        seen += conn.subscribe(key, start=position, where=where).take(1000)
        assert seen == conn.subscribe(key, where=where).take(1000)
        expected = {
            document["n"]
            for _, stream, _ in conn.db().streams()
            if key != {"k": 1} or stream.values == (1,)
            for document in conn.db().documents(stream)
            if not filtered or document["n"] % 2 == 0
        }
        assert sorted(ns(seen)) == sorted(expected)
        assert [place for place, _ in seen] == sorted({place for place, _ in seen})


# Conditions.

BIG = "[:find ?e :in $ [?e ...] ?least :where [?e :n ?n] [(<= ?least ?n)]]"


@pytest.mark.parametrize("key", [{"k": 1}, "k", None])
def test_a_condition_keeps_the_documents_it_finds(conn: Connection, key: Any) -> None:
    conn.append([{"k": 1, "n": n} for n in range(2500)], "k")
    subscription = conn.subscribe(key, where=(BIG, 2400))
    assert ns(subscription.take(50)) == list(range(2400, 2450))
    assert ns(subscription.take(500)) == list(range(2450, 2500))
    assert subscription.take(1) == []
    conn.append([{"k": 1, "n": n} for n in (1, 5000, 2, 6000)], "k")
    assert ns(subscription.take(500)) == [5000, 6000]


def test_a_condition_may_ask_about_anything_in_the_store(conn: Connection) -> None:
    conn.transact([{"db/id": "ann", "vip": True}])
    vip = "[:find [?e ...] :in $ [?e ...] % :where (of-vip ?e)]"
    rules = "[[(of-vip ?e) [?e :by ?who] [?who :vip true]]]"
    subscription = conn.subscribe("k", where=(vip, rules))
    conn.append([{"k": 1, "by": "ann", "n": 0}, {"k": 1, "by": "bob", "n": 1}], "k")
    assert ns(subscription.take(9)) == [0]


def test_a_condition_that_fails_on_a_document_skips_nothing(conn: Connection) -> None:
    conn.append([{"k": 1, "n": n, "d": d} for n, d in enumerate((1, 2, 0, 4))], "k")
    failing = "[:find ?e :in $ [?e ...] :where [?e :d ?d] [(/ 4 ?d) ?q]]"
    subscription = conn.subscribe("k", where=failing)
    for _ in range(2):
        with pytest.raises(tourlog.QueryError):
            subscription.take(9)
    conn.transact([{"db/id": conn.db().documents({"k": 1})[2]["db/id"], "d": 1}])
    assert ns(subscription.take(9)) == [0, 1, 2, 3]


def test_documents_that_were_taken_before_a_failure_are_taken_again(conn: Connection) -> None:
    """A condition is asked of a thousand documents at a time: those of the first time are not lost with the second."""
    conn.append([{"k": 1, "n": n, "d": int(n != 1200)} for n in range(1500)], "k")
    failing = "[:find ?e :in $ [?e ...] :where [?e :d ?d] [(/ 4 ?d) ?q]]"
    for key in ({"k": 1}, "k"):
        subscription = conn.subscribe(key, where=failing)
        before = subscription.position
        for _ in range(2):
            with pytest.raises(tourlog.QueryError):
                subscription.take(1500)
            assert subscription.position == before
        assert [document["n"] for _, document in subscription.take(1000)] == list(range(1000))
        with pytest.raises(tourlog.QueryError):
            subscription.take(1)


def test_a_key_names_one_stream_for_as_long_as_it_is_read(conn: Connection) -> None:
    """One that is made later with the same attributes in the order of the key would have been read from there on."""
    subscription = conn.subscribe({"a": 1, "b": 2})
    conn.append([{"a": 1, "b": 2, "n": n} for n in range(3)], "b", "a")
    assert ns(subscription.take(9)) == [0, 1, 2]
    conn.append([{"a": 1, "b": 2, "n": n} for n in range(10, 15)], "a", "b")
    conn.append([{"a": 1, "b": 2, "n": 3}], "b", "a")
    assert subscription.take(9) == [(3, conn.db().documents(Stream(("b", "a"), (2, 1)), 3)[0])]  # type: ignore[arg-type]


def test_the_documents_of_one_transaction_come_stream_by_stream(conn: Connection) -> None:
    """The oldest stream first, whatever the order in which they were given, before and after compaction."""
    conn.append([{"k": "old", "n": 0}], "k")
    conn.append([{"k": key, "n": n} for n, key in enumerate(("new", "old", "newer", "new", "old"), 1)], "k")
    with conn.transaction():
        for n, key in enumerate(("newest", "newer", "newest", "old"), 6):
            conn.append([{"k": key, "n": n}], "k")
    for _ in range(2):
        items = conn.subscribe().take(99)
        assert ns(items) == [0, 2, 5, 1, 4, 3, 9, 7, 6, 8]
        assert [place for place, _ in items[1:6]] == [Position(2, number) for number in range(5)]
        conn.compact()


@pytest.mark.parametrize("timeout", ["1", float("nan"), float("inf"), 2**70, True, [1]])
def test_a_timeout_that_nobody_can_wait_for_is_refused(timeout: Any) -> None:
    with tourlog.connect() as conn, conn.subscribe() as subscription:
        for wait in (subscription.wait, lambda timeout: subscription.take(1, timeout)):
            with pytest.raises(tourlog.ArgumentError, match=r"expected a number of seconds, at most \d+, or "):
                wait(timeout)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"where": "[:find ?e"}, tourlog.QuerySyntaxError),
        ({"where": "[:find ?e :where [?e :n]]"}, tourlog.QueryError),
        ({"where": "[:find ?e :in $ ?e :where [?e :n]]"}, tourlog.ArgumentError),
        ({"where": BIG}, tourlog.QueryError),
        ({"where": ()}, tourlog.ArgumentError),
        ({"key": 5}, tourlog.ArgumentError),
        ({"key": b"k"}, tourlog.ArgumentError),
        ({"key": {}}, tourlog.ArgumentError),
        ({"key": ()}, tourlog.ArgumentError),
        ({"key": ("k", "k")}, tourlog.ArgumentError),
        ({"key": {"k": [1]}}, tourlog.DocumentError),
        ({"key": {"k": [1], "j": None}}, tourlog.DocumentError),
        ({"key": "offset"}, tourlog.ArgumentError),
        ({"key": "\ud800"}, tourlog.DocumentError),
        ({"key": {"\ud800": 1}}, tourlog.DocumentError),
        ({"start": -1}, tourlog.ArgumentError),
        ({"start": "then"}, tourlog.ArgumentError),
        ({"start": (1, "a")}, tourlog.ArgumentError),
        ({"start": Position(1, 0), "key": {"k": 1}}, tourlog.ArgumentError),
    ],
)
def test_what_cannot_be_subscribed_to_is_refused_at_once(
    conn: Connection, arguments: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        conn.subscribe(**arguments)


# Ends.


def test_closing_a_subscription_ends_whoever_waits_for_it(conn: Connection) -> None:
    subscription = conn.subscribe("k")
    with in_thread(lambda: list(subscription)) as waiting:
        conn.append([{"k": 1, "n": 1}], "k")
        subscription.close()
    assert waiting.result() in ([], conn.subscribe("k").take(1))
    assert (subscription.closed, list(subscription), subscription.take(1, None)) == (True, [], [])
    subscription.close()


def test_a_with_statement_closes_a_subscription(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 1}], "k")
    with conn.subscribe("k") as subscription:
        assert ns([next(subscription)]) == [1]
    assert list(subscription) == []


def test_closing_the_connection_ends_all_its_subscriptions(tmp_path: Path) -> None:
    for path in (None, tmp_path / "a.tourlog"):
        conn = tourlog.connect(path)
        conn.append([{"k": 1, "n": 1}], "k")
        subscriptions = [conn.subscribe("k"), conn.subscribe({"k": 1}, start="now")]
        half_read = conn.subscribe("k")
        started = threading.Barrier(3)

        def read(subscription: Subscription, started: threading.Barrier = started) -> list[Any]:
            subscription.take(1)
            started.wait(WAIT)
            return list(subscription)

        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(read, subscription) for subscription in subscriptions]
            started.wait(WAIT)
            conn.close()
            assert [each.result(WAIT) for each in waiting] == [[], []]
        assert list(half_read) == []
        with pytest.raises(tourlog.StorageError):
            conn.subscribe("k")


def test_taking_waits_no_longer_than_told(conn: Connection) -> None:
    subscription = conn.subscribe("k")
    before = time.monotonic()
    assert subscription.take(1, 0.05) == []
    assert 0.05 <= time.monotonic() - before < WAIT
    assert subscription.take(0, None) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_the_process_cannot_go_on_reading(conn: Connection) -> None:
    conn.append([{"k": 1, "n": 1}], "k")
    subscription = conn.subscribe("k")
    subscription.take(1, 0)
    subscription.take(1, 0.01)
    child = os.fork()
    if child == 0:
        try:
            next(subscription)
        except tourlog.StorageError as error:
            conn.close()
            os._exit(7 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    conn.append([{"k": 1, "n": 2}], "k")
    assert ns(collected(subscription, 1)) == [2]


# Many at once.


def test_threads_that_write_and_threads_that_read_agree(conn: Connection) -> None:
    """Every subscriber sees every document once, in the order of commits."""
    keys: list[Any] = [{"k": 0}, {"k": 1}, "k", None, {"k": None}]
    subscriptions = [conn.subscribe(key) for key in keys]

    def write(k: int) -> None:
        for n in range(60):
            conn.append([{"k": k, "n": n}] * (1 + n % 3), "k")

    each = sum(1 + n % 3 for n in range(60))
    counts = [each, each, 2 * each, 2 * each, 2 * each]
    with ThreadPoolExecutor(7) as pool:
        reads = [pool.submit(collected, *pair) for pair in zip(subscriptions, counts, strict=True)]
        writes = [pool.submit(write, k) for k in range(2)]
        for future in writes:
            future.result(WAIT)
        found = [future.result(WAIT) for future in reads]
    assert found == [conn.subscribe(key).take(10_000) for key in keys]
    assert [subscription.take(1) for subscription in subscriptions] == [[]] * 5
    assert found[0] == list(enumerate(conn.db().documents({"k": 0})))


WRITER = """
import sys, time, tourlog
path, k, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with tourlog.connect(path, durability="normal") as conn:
    for n in range(count):
        conn.append([{"k": k, "n": n, "at": time.time()}], "k")
"""

READER = """
import json, sys, tourlog
path, count = sys.argv[1], int(sys.argv[2])
with tourlog.connect(path, read_only=True) as conn, conn.subscribe("k") as subscription:
    print(json.dumps([next(subscription)[1]["n"] for _ in range(count)]))
"""


def process(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(child: subprocess.Popen[str]) -> str:
    out, errors = child.communicate(timeout=WAIT)
    assert (child.returncode, errors) == (0, "")
    return out


def test_processes_that_write_and_processes_that_read_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.tourlog"
    with tourlog.connect(path) as conn:
        subscription = conn.subscribe("k")
        reader = process(READER, path, 200)
        writers = [process(WRITER, path, k, 100) for k in range(2)]
        items = collected(subscription, 200)
        for writer in writers:
            finished(writer)
        assert items == conn.subscribe().take(1000)
        assert json.loads(finished(reader)) == ns(items)
        for k in range(2):
            assert [document["n"] for _, document in items if document["k"] == k] == list(range(100))


def test_a_thread_that_could_not_be_started_is_started_for_the_next_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would ever be told of what others commit."""

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with tourlog.connect(tmp_path / "a.tourlog") as conn, tourlog.connect(tmp_path / "a.tourlog") as other:
        subscription = conn.subscribe({"k": 1})
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="can't start new thread"):
            patch.setattr(threading.Thread, "start", none_left)
            subscription.take(1, 1)
        with in_thread(lambda: (time.sleep(0.1), other.append([{"k": 1, "n": 5}], "k"))):
            assert ns(subscription.take(1, WAIT)) == [5]


def test_another_connection_of_this_process_is_heard(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "a.tourlog") as one, tourlog.connect(tmp_path / "a.tourlog") as two:
        subscription = one.subscribe("k")
        with in_thread(lambda: collected(subscription, 3)) as reading:
            for n in range(3):
                two.append([{"k": 1, "n": n}], "k")
        assert ns(reading.result()) == [0, 1, 2]


# What it costs.


def test_waiting_costs_next_to_nothing(conn: Connection) -> None:
    """A loop that never sleeps would use all of the time; looking a hundred times a second uses a hundredth."""
    subscription = conn.subscribe("k")
    subscription.take(1, 0.05)
    before = time.process_time()
    subscription.take(1, 0.5)
    assert time.process_time() - before < 0.1


def test_nobody_waits_nothing_runs(conn: Connection) -> None:
    def threads() -> int:
        return sum(thread.name == "tourlog watch" for thread in threading.enumerate())

    before = threads()
    subscription = conn.subscribe("k")
    subscription.take(1)
    assert threads() == before
    for _ in range(3):
        subscription.take(1, 0.01)
    assert threads() - before == (conn.db().snapshot.log.path is not None)
    conn.close()
    assert threads() == before


def test_reading_a_long_log_takes_little_memory(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "a.tourlog", durability="normal") as conn:
        for _ in range(20):
            conn.append([{"k": 1, "text": f"{n:01000}"} for n in range(1000)], "k")
        for key in ({"k": 1}, "k"):
            subscription = conn.subscribe(key)
            subscription.take(10)
            tracemalloc.start()
            count = sum(1 for _ in iter(lambda subscription=subscription: subscription.take(1), []))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert (count, peak < 10_000_000) == (19_990, True)  # there are 20 MB


# Listeners.


def test_a_listener_is_called_with_every_report_of_the_connection_after_its_commit(conn: Connection) -> None:
    heard: list[tuple[int, int, dict[Any, Any], int]] = []

    def listener(report: TxReport) -> None:
        heard.append((report.t, conn.db().t, dict(report.offsets), len(report.tx_data)))

    unlisten = conn.listen(listener)
    conn.append([{"k": 1, "n": 0}], "k")
    conn.transact([{"db/id": "x", "n": 1}], tx_id="once")
    conn.transact([{"db/id": "x", "n": 1}], tx_id="once")
    conn.transact([])
    with conn.transaction():
        conn.append([{"k": 1}], "k")
        conn.append([{"k": 2}], "k")
        assert len(heard) == 2
    conn.run(lambda: conn.append([{"k": 2}], "k"))
    unlisten()
    conn.append([{"k": 1}], "k")
    one, two = Stream(("k",), (1,)), Stream(("k",), (2,))
    assert heard == [
        (1, 1, {one: range(0, 1)}, 3),
        (2, 2, {}, 1),
        (3, 3, {one: range(1, 2), two: range(0, 1)}, 4),
        (4, 4, {two: range(1, 2)}, 2),
    ]
    unlisten()


def test_transactions_that_fail_are_not_heard_of(conn: Connection) -> None:
    heard: list[int] = []
    conn.listen(lambda report: heard.append(report.t))
    conn.require("no debts", "[:find ?e :where [?e :sum ?s] [(< ?s 0)]]")
    with pytest.raises(tourlog.ConflictError):
        conn.append([{"k": 1}], "k", expect=1)
    with pytest.raises(tourlog.InvariantError):
        conn.transact([{"db/id": "x", "sum": -1}])
    with pytest.raises(LookupError), conn.transaction():
        conn.append([{"k": 1}], "k")
        raise LookupError
    conn.append([{"k": 1}], "k")
    assert heard == [1, 2]


def test_what_a_listener_raises_is_logged_and_harms_nobody(conn: Connection, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[int] = []

    def failing(_: TxReport) -> None:
        raise ValueError("oh")

    conn.listen(failing)
    conn.listen(lambda report: heard.append(report.t))
    with caplog.at_level(logging.ERROR, logger="tourlog"):
        assert conn.append([{"k": 1}], "k").t == 1
        conn.append([{"k": 1}], "k")
    assert heard == [1, 2]
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("oh",)] * 2  # type: ignore[union-attr]
    assert len(conn.db().documents({"k": 1})) == 2


def test_a_listener_may_write_and_reports_stay_in_order(conn: Connection) -> None:
    heard: list[int] = []

    def listener(report: TxReport) -> None:
        heard.append(report.t)
        if report.t < 5:
            conn.append([{"k": 1}], "k")

    conn.listen(listener)
    conn.append([{"k": 1}], "k")
    assert heard == [1, 2, 3, 4, 5]


def test_a_function_listens_as_often_as_it_was_added(conn: Connection) -> None:
    heard: list[int] = []

    def listener(report: TxReport) -> None:
        heard.append(report.t)

    unlisten = conn.listen(listener)
    conn.listen(listener)
    conn.append([{"k": 1}], "k")
    unlisten()
    conn.append([{"k": 1}], "k")
    assert heard == [1, 1, 2]
    with pytest.raises(tourlog.ArgumentError):
        conn.listen(5)  # type: ignore[arg-type]


def test_reports_of_many_threads_come_in_the_order_of_the_log(tmp_path: Path) -> None:
    """Other writers' transactions and failed ones leave no gap to wait for."""
    with (
        tourlog.connect(tmp_path / "a.tourlog", durability="normal") as conn,
        tourlog.connect(tmp_path / "a.tourlog", durability="normal") as other,
    ):
        heard: list[int] = []
        conn.listen(lambda report: heard.append(report.t))

        def write(mine: Connection, k: int) -> list[int]:
            written = []
            for n in range(40):
                if n % 5 == 4:
                    with pytest.raises(tourlog.ConflictError):
                        mine.append([{"k": k}], "k", expect=0)
                else:
                    written.append(mine.append([{"k": k, "n": n}], "k").t)
            return written

        with ThreadPoolExecutor(5) as pool:
            own = [pool.submit(write, conn, k) for k in range(4)]
            others = pool.submit(write, other, 4)
            written = sorted(t for future in own for t in future.result(WAIT))
            others.result(WAIT)
        assert heard == written
