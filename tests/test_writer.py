"""The writer's place: threads that wait for it share a commit, and nothing of it but the commit."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from test_storage import Trace, files_limited_to, python, traced

from tourlog import ArgumentError, ConditionError, ConflictError, Connection, connect
from tourlog.errors import StorageError, UnknownOutcomeError
from tourlog.storage.common import WriterPlace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def conn(path: Path) -> Iterator[Connection]:
    with connect(path) as opened:
        yield opened


@dataclass
class Outcomes:
    """What became of work done in threads: results and errors, by number."""

    results: dict[int, Any] = field(default_factory=dict)
    errors: dict[int, BaseException] = field(default_factory=dict)

    def run(self, number: int, work: Callable[[int], Any]) -> None:
        try:
            self.results[number] = work(number)
        except BaseException as error:
            self.errors[number] = error


@contextmanager
def holding(conn: Connection) -> Iterator[None]:
    """A thread holds the writer's place; at the end of the block it leaves, having written nothing."""
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with conn._log.writing():
            inside.set()
            assert leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(30)
    try:
        yield
    finally:
        leave.set()
        thread.join()


def waiting(conn: Connection) -> int:
    """How many threads wait for the writer's place, or for one that does."""
    place = conn._log._file._writer.place  # type: ignore[attr-defined]  # a log in a file
    return len(place._waiting) + len(conn._plain._combining._waiting)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def in_one_group(conn: Connection, *works: Callable[[int], Any]) -> Outcomes:
    """Do works in threads that come to the writer's place while it is held, so that all share a commit."""
    outcomes = Outcomes()
    threads = [threading.Thread(target=outcomes.run, args=(n, work)) for n, work in enumerate(works)]
    with holding(conn):
        for number, thread in enumerate(threads, 1):
            thread.start()
            until(lambda number=number: waiting(conn) == number)  # type: ignore[misc]  # bound now
    for thread in threads:
        thread.join()
    return outcomes


def count(trace: Trace, statement: str) -> int:
    return sum(sql == statement for sql, _ in trace.statements)


def appending(conn: Connection, **options: Any) -> Callable[[int], Any]:
    return lambda number: conn.append([{"k": "a", "n": number}], "k", **options)


def numbers(conn: Connection, key: str = "a") -> list[int]:
    documents = conn.db().documents({"k": key})
    assert [document["offset"] for document in documents] == list(range(len(documents)))
    return [document["n"] for document in documents]


def test_threads_that_wait_share_one_commit_and_each_has_its_own_transaction(path: Path) -> None:
    with traced() as trace, connect(path) as conn:
        trace.statements.clear()
        outcomes = in_one_group(conn, *[appending(conn)] * 8)
        assert (count(trace, "COMMIT"), outcomes.errors) == (1, {})
        reports = outcomes.results
        assert sorted(report.t for report in reports.values()) == list(range(1, 9))
        for number, report in reports.items():
            (span,) = report.offsets.values()
            assert (report.db_before.t, len(span), span.start) == (report.t - 1, 1, report.t - 1)
            assert [fact.v for fact in report.tx_data if fact.a == "n"] == [number]
            assert report.db_after.documents({"k": "a"})[-1]["n"] == number
        assert sorted(numbers(conn)) == list(range(8))
        assert [conn.db().as_of(t).t for t in range(9)] == list(range(9))


def test_one_thread_alone_commits_every_transaction_by_itself(path: Path) -> None:
    with traced() as trace, connect(path) as conn:
        trace.statements.clear()
        for number in range(5):
            appending(conn)(number)
        assert count(trace, "COMMIT") == 5


def test_with_normal_durability_only_plain_appends_share_a_commit(path: Path) -> None:
    with traced() as trace, connect(path, durability="normal") as conn:
        trace.statements.clear()
        works = [lambda n: conn.append([{"k": "a", "n": n}], "k", tx_id=str(n))] * 5
        assert in_one_group(conn, *works).errors == {}
        assert count(trace, "COMMIT") == 5
        assert in_one_group(conn, *[appending(conn)] * 5).errors == {}
        assert count(trace, "COMMIT") == 6


@contextmanager
def following(conn: Connection, work: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """Once a transaction has left its commit to those behind it, a thread does `work`, and calls what it is given
    when it is at its place."""
    writer = conn._log._file._writer  # type: ignore[attr-defined]  # a log in a file
    ghost = object()
    writer.place._waiting.add(ghost)
    outcomes = Outcomes()

    def follow(_: int) -> None:
        until(lambda: writer._group is not None and writer._group.members == 1)
        work(lambda: writer.place._waiting.discard(ghost))

    thread = threading.Thread(target=outcomes.run, args=(0, follow))
    thread.start()
    yield
    thread.join()
    assert outcomes.errors == {}


@contextmanager
def lingering(conn: Connection) -> Iterator[None]:
    """A thread follows and stays inside; it leaves at the end of the block."""
    inside, leave = threading.Event(), threading.Event()

    def linger(is_there: Callable[[], None]) -> None:
        with conn._log.writing():
            is_there()
            inside.set()
            assert leave.wait(30)

    with following(conn, linger):
        yield
        assert inside.wait(30)
        leave.set()


def test_a_transaction_is_acknowledged_and_seen_only_with_the_commit_that_holds_it(conn: Connection) -> None:
    outcomes = Outcomes()
    thread = threading.Thread(target=outcomes.run, args=(0, appending(conn)))
    with lingering(conn):
        thread.start()
        thread.join(0.15)
        assert (thread.is_alive(), conn.db().t, outcomes.results) == (True, 0, {})
    thread.join()
    assert (outcomes.results[0].t, conn.db().t) == (1, 1)


def test_transactions_that_fail_take_nothing_of_the_others_with_them(conn: Connection) -> None:
    conn.append([{"k": "a", "n": -1}], "k")

    def bad(number: int) -> Any:
        return conn.transact([{"db/id": "x", "n": number}, ("db/cas", "x", "n", "no", 1)])

    def raising(_: int) -> Any:
        with conn._log.writing():
            conn._log.append(conn_draft(conn))
            raise ZeroDivisionError

    works = [appending(conn), bad, appending(conn), raising, appending(conn, expect=99), appending(conn)]
    outcomes = in_one_group(conn, *works)
    assert {n: type(e) for n, e in outcomes.errors.items()} == {
        1: ConflictError,
        3: ZeroDivisionError,
        4: ConflictError,
    }
    assert sorted(report.t for report in outcomes.results.values()) == [2, 3, 4]
    assert sorted(numbers(conn)) == [-1, 0, 2, 5]
    assert conn.db().entity("x") is None
    assert conn.append([{"k": "a", "n": 6}], "k").t == 5


def conn_draft(conn: Connection) -> Any:
    """A prepared transaction on what the calling thread writes on."""
    from tourlog.draft import Draft

    draft = Draft(conn._base())
    draft.put("spoilt", {"n": 1})
    return draft.prepare()


def test_expectations_see_what_precedes_them_in_the_group(conn: Connection) -> None:
    outcomes = in_one_group(conn, *[appending(conn, expect=0)] * 6)
    (winner,) = outcomes.results
    assert {(type(e), e.expected, e.actual) for e in outcomes.errors.values()} == {(ConflictError, 0, 1)}  # type: ignore[attr-defined]
    assert numbers(conn) == [winner]


def test_conditions_see_what_precedes_them_in_the_group_and_leave_no_trace_of_what_fails(conn: Connection) -> None:
    conn.append([{"k": "b", "taken": "x", "n": 0}], "k")
    query = ('[:find ?e :in $ ?name :where [?e "taken" ?name]]', "ann")

    def take(number: int) -> Any:
        return conn.append([{"k": "b", "taken": "ann", "n": number}], "k", unless=query)

    outcomes = in_one_group(conn, *[take] * 5)
    assert ({type(e) for e in outcomes.errors.values()}, len(outcomes.results)) == ({ConditionError}, 1)
    assert sorted(conn.db().q('[:find [?v ...] :where [?e "taken" ?v]]')) == ["ann", "x"]


def test_the_same_transaction_sent_by_many_threads_at_once_is_stored_once(conn: Connection) -> None:
    outcomes = in_one_group(conn, *[appending(conn, tx_id="one")] * 6)
    assert (outcomes.errors, {report.t for report in outcomes.results.values()}) == ({}, {1})
    assert len(numbers(conn)) == 1


def test_a_new_stream_made_by_one_member_is_known_to_the_next(conn: Connection) -> None:
    works = [lambda n, key=key: conn.append([{"k": key, "n": n}], "k") for key in "abab"]
    outcomes = in_one_group(conn, *works)
    assert outcomes.errors == {}
    assert {name: end for name, _, end in conn.db().streams()} == {"a": 2, "b": 2}


def test_a_block_shares_no_commit_and_finds_what_came_before_committed(conn: Connection) -> None:
    seen: list[int] = []

    def block(is_there: Callable[[], None]) -> None:
        with conn.transaction():
            is_there()
            until(lambda: 0 in outcomes.results)
            seen.append(conn.db().t)
            conn.append([{"k": "a", "n": 1}], "k")

    outcomes = Outcomes()
    with following(conn, block):
        outcomes.run(0, appending(conn))
    assert (seen, outcomes.errors, numbers(conn)) == ([1], {}, [0, 1])


# Disks that fail.


def test_a_commit_that_fails_leaves_all_its_transactions_unknown_and_a_retry_settles_them(path: Path) -> None:
    conn = connect(path)
    conn.append([{"k": "a", "n": -1, "pad": "x" * 100_000}], "k")
    assert conn.db().q('[:find [?n ...] :where [?e "n" ?n]]') == [-1]
    size = path.with_name("store-wal").stat().st_size

    def keyed(number: int) -> Any:
        condition = ('[:find ?e :in $ ?n :where [?e "n" ?n]]', number)
        return conn.append([{"k": "a", "n": number}], "k", tx_id=f"tx {number}", unless=condition)

    with files_limited_to(size):
        outcomes = in_one_group(conn, *[keyed] * 4)
        assert {type(error) for error in outcomes.errors.values()} == {UnknownOutcomeError}
        assert len(outcomes.errors) == 4
        assert (conn.db().t, numbers(conn)) == (1, [-1])
        assert conn.db().q('[:find [?n ...] :where [?e "n" ?n]]') == [-1]
    reports = [keyed(number) for number in (2, 0, 1, 3, 2)]
    assert [report.t for report in reports] == [2, 3, 4, 5, 2]
    assert sorted(conn.db().q('[:find [?n ...] :where [?e "n" ?n]]')) == [-1, 0, 1, 2, 3]
    conn.close()
    with connect(path) as conn:
        assert numbers(conn) == [-1, 2, 0, 1, 3]


def test_a_lone_transaction_whose_commit_fails_is_unknown_too(path: Path) -> None:
    with connect(path) as conn:
        conn.append([{"k": "a", "n": 0}], "k")
        size = path.with_name("store-wal").stat().st_size
        with files_limited_to(size), pytest.raises(UnknownOutcomeError, match="leaves open whether") as caught:
            conn.append([{"k": "a", "n": 1}], "k", tx_id="x")
        assert (caught.value.path, caught.value.__cause__ is not None) == (str(path), True)  # type: ignore[attr-defined]
        assert (conn.db().t, conn.append([{"k": "a", "n": 1}], "k", tx_id="x").t) == (1, 2)


def test_a_write_that_finds_no_room_fails_alone_or_says_what_it_took_along(path: Path) -> None:
    """SQLite may undo a whole transaction when a write inside it fails; whoever was in it is told."""
    with connect(path) as conn:
        conn.append([{"k": "a", "n": -1}], "k")
        large = {"k": "b", "n": 0, "pad": "x" * 20_000_000}
        size = path.with_name("store-wal").stat().st_size + 100_000
        with files_limited_to(size):
            outcomes = in_one_group(conn, appending(conn), lambda _: conn.append([large], "k"), appending(conn))
        assert isinstance(outcomes.errors[1], StorageError)
        stored = [n for n in (0, 2) if n in outcomes.results]
        assert numbers(conn) == [-1, *stored]
        assert all(isinstance(error, StorageError) for error in outcomes.errors.values())
        assert numbers(conn, "b") == []
        assert conn.append([{"k": "a", "n": 3}], "k").t == len(stored) + 2


# Interrupts and kills.


def interrupt_soon() -> None:
    """Ctrl-C, for the thread that runs the tests."""
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGINT)).start()


def test_an_interrupt_while_waiting_for_the_commit_leaves_the_commit_to_the_others(conn: Connection) -> None:
    with lingering(conn):
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            conn.append([{"k": "a", "n": 0}], "k")
        assert conn.db().t == 0
    assert numbers(conn) == [0]


def test_an_interrupt_while_waiting_for_the_place_leaves_no_trace(conn: Connection) -> None:
    with holding(conn):
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            conn.append([{"k": "a", "n": 0}], "k")
        assert waiting(conn) == 0
    assert conn.append([{"k": "a", "n": 1}], "k").t == 1


@contextmanager
def bombarded(act: Callable[[], None]) -> Iterator[None]:
    """Call a function at the next moment at which a signal is looked at, again and again."""
    main, over = threading.main_thread().ident, threading.Event()
    assert main is not None

    def send() -> None:
        while not over.wait(random.random() / 20_000):
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: act())
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_interrupt_at_any_moment_leaves_the_place_free() -> None:
    place, armed, interrupts = WriterPlace(), False, 0
    taken = place.taken(1)

    def act() -> None:
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    with bombarded(act):
        while interrupts < 200:
            try:
                armed = True
                while True:
                    with taken:
                        pass
            except KeyboardInterrupt:
                interrupts += 1
            assert not place.is_mine


def test_transactions_whose_last_member_never_came_are_committed_all_the_same(conn: Connection) -> None:
    """A thread left the commit to one behind it, which was interrupted before it had the place."""
    writer = conn._log._file._writer  # type: ignore[attr-defined]  # a log in a file
    ghost = object()
    writer.place._waiting.add(ghost)
    outcomes = Outcomes()
    thread = threading.Thread(target=outcomes.run, args=(0, appending(conn)))
    thread.start()
    time.sleep(0.1)
    assert (thread.is_alive(), conn.db().t) == (True, 0)
    writer.place._waiting.discard(ghost)
    thread.join(5)
    assert (outcomes.results[0].t, numbers(conn)) == (1, [0])


def test_closing_commits_what_others_wait_for(path: Path) -> None:
    conn = connect(path)

    def close(is_there: Callable[[], None]) -> None:
        is_there()
        conn.close()

    with following(conn, close):
        assert conn.append([{"k": "a", "n": 0}], "k").offsets != {}
    with connect(path) as conn:
        assert numbers(conn) == [0]


KILLED = """
import sys, threading
from tourlog import connect
conn = connect(sys.argv[1])
print(flush=True)
lock = threading.Lock()
def work(name):
    for n in range(100_000):
        t = conn.append([{"k": name, "n": n}, {"k": "all", "by": name}], "k").t
        with lock:
            print(t, flush=True)
for n in range(8):
    threading.Thread(target=work, args=(f"thread {n}",)).start()
"""


def test_a_kill_in_the_middle_of_groups_loses_nothing_that_was_acknowledged(path: Path) -> None:
    for life in range(3):
        with python(KILLED, path) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(200 + 31 * life)]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines()
        acknowledged = {int(line) for line in lines if line.strip()}
        with connect(path) as conn:
            db = conn.db()
            assert max(acknowledged) <= db.t
            assert [d["offset"] for d in db.documents({"k": "all"})] == list(range(db.t))
            assert sum(end for name, _, end in db.streams() if name != "all") == db.t


def test_two_processes_with_many_threads_lose_nothing_and_see_each_other(path: Path) -> None:
    program = KILLED.replace("100_000", "40").replace('f"thread {n}"', 'f"{sys.argv[2]} {n}"')
    with python(program, path, "a") as a, python(program, path, "b") as b:
        printed = [child.communicate()[0].split() for child in (a, b)]
    assert sorted(int(t) for lines in printed for t in lines) == list(range(1, 641))
    with connect(path) as conn:
        assert [d["offset"] for d in conn.db().documents({"k": "all"})] == list(range(640))
        assert {end for name, _, end in conn.db().streams() if name != "all"} == {40}


def test_a_transaction_that_sqlite_ended_by_itself_is_never_reported_as_made(conn: Connection) -> None:
    """As it may after a read that failed."""
    writer = conn._log._file._writer  # type: ignore[attr-defined]  # a log in a file
    conn.append([{"k": "a", "n": 0}], "k")

    def spoil(is_there: Callable[[], None]) -> None:
        with pytest.raises(StorageError, match="after a write that failed"), conn._log.writing():
            is_there()
            prepared = conn_draft(conn)
            writer.connection.execute("ROLLBACK")
            conn._log.append(prepared)

    with following(conn, spoil), pytest.raises(UnknownOutcomeError):
        conn.append([{"k": "a", "n": 1}], "k")
    assert (numbers(conn), conn.append([{"k": "a", "n": 2}], "k").t) == ([0], 2)


@pytest.mark.parametrize("name", [None, "patience.tour"])
def test_a_thread_waits_for_another_only_so_long(name: str | None, tmp_path: Path) -> None:
    with connect(name and tmp_path / name, timeout=0.2) as conn:
        errors: list[StorageError] = []

        def late() -> None:
            try:
                conn.append([{"k": "late"}], "k")
            except StorageError as error:
                errors.append(error)

        with conn.transaction():
            conn.append([{"k": "slow"}], "k")
            thread = threading.Thread(target=late)
            thread.start()
            thread.join(30)
        assert [str(error) for error in errors] == [
            "expected to write within 0.2 seconds, got another thread that writes all that time"
        ]
        assert conn.append([{"k": "next"}], "k").t == 2
        assert conn.db().q("[:find [?k ...] :where [_ :k ?k]]") == ["next", "slow"]


@pytest.mark.parametrize("timeout", [0, -1, True, "1", float("nan"), float("inf")])
def test_a_timeout_is_a_positive_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(ArgumentError, match="positive number of seconds for timeout"):
        connect(timeout=timeout)
