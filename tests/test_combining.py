"""Appends of several threads written by one of them: each stored once, or not at all, whoever is interrupted."""

from __future__ import annotations

import ctypes
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_writer import Outcomes, holding, until, waiting

from tourlog import Connection, connect
from tourlog.errors import StorageError


@pytest.fixture(params=["full", "normal"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    with connect(tmp_path / "store", durability=request.param) as opened:
        opened.append([{"k": "a", "n": -1}], "k")
        yield opened


def appending(conn: Connection) -> Callable[[int], Any]:
    return lambda number: conn.append([{"k": "a", "n": number}], "k")


def stored(conn: Connection) -> list[int]:
    return [document["n"] for document in conn.db().documents({"k": "a"})]


def together(
    conn: Connection, count: int, meanwhile: Callable[[list[threading.Thread]], None] | None = None
) -> Outcomes:
    """What becomes of so many appends that wait for a held writer's place: the first thread leads, the others wait."""
    outcomes = Outcomes()
    threads = [threading.Thread(target=outcomes.run, args=(n, appending(conn))) for n in range(count)]
    with holding(conn):
        for number, thread in enumerate(threads, 1):
            thread.start()
            until(lambda number=number: waiting(conn) == number)  # type: ignore[misc]  # bound now
        if meanwhile is not None:
            meanwhile(threads)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return outcomes


@contextmanager
def once(owner: Any, name: str, act: Callable[[Callable[..., Any], Any], Any]) -> Iterator[None]:
    """The next call of a method does something else."""
    original = getattr(owner, name)
    calls: list[None] = []

    def replaced(*arguments: Any, **keywords: Any) -> Any:
        if calls:
            return original(*arguments, **keywords)
        calls.append(None)
        return act(original, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, replaced)
        yield
    assert calls


def test_all_share_one_commit_in_the_order_they_came(conn: Connection) -> None:
    before = conn.db().t
    outcomes = together(conn, 6)
    assert outcomes.errors == {}
    assert stored(conn) == [-1, 0, 1, 2, 3, 4, 5]
    assert [outcomes.results[n].t for n in range(6)] == list(range(before + 1, before + 7))


def test_who_leads_is_interrupted_before_it_has_written(conn: Connection) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with once(conn._log, "append", interrupt):
        outcomes = together(conn, 5)
    assert {n: type(error) for n, error in outcomes.errors.items()} == {0: KeyboardInterrupt}
    assert sorted(stored(conn)) == [-1, 1, 2, 3, 4]
    assert sorted(outcomes.results) == [1, 2, 3, 4]


def test_who_leads_is_interrupted_after_the_commit(conn: Connection) -> None:
    outcomes = together_interrupted(conn)
    assert {n: type(error) for n, error in outcomes.errors.items()} == {0: KeyboardInterrupt}
    assert sorted(stored(conn)) == [-1, 0, 1, 2, 3], "each once, that of the interrupted thread too"
    assert sorted(outcomes.results) == [1, 2, 3]


def test_who_leads_is_interrupted_before_it_passes_that_on(conn: Connection) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with once(conn._plain._combining, "_pass_on", interrupt), pytest.raises(KeyboardInterrupt):
        conn.append([{"k": "a", "n": 0}], "k")
    outcomes = together(conn, 3)
    assert (outcomes.errors, stored(conn)) == ({}, [-1, 0, 0, 1, 2])


def together_interrupted(conn: Connection) -> Outcomes:
    """`together`, the leading thread interrupted at the end of what it writes."""
    log = conn._log
    original, leader = log.written, []

    def written(*given: Any) -> Any:
        found = original(*given)
        if threading.current_thread() is not threading.main_thread() and conn._plain._combining._is_led and not leader:
            leader.append(threading.current_thread())
            raise KeyboardInterrupt
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "written", written)
        return together(conn, 4)


def test_what_cannot_be_written_fails_for_each_with_an_error_of_its_own(conn: Connection) -> None:
    def full(*_: Any) -> None:
        raise StorageError("the disk is full", path="x")

    with once(conn._log, "append", full):
        outcomes = together(conn, 4)
    assert {type(error) for error in outcomes.errors.values()} == {StorageError}
    assert len({id(error) for error in outcomes.errors.values()}) == 4
    assert {(str(error), error.path) for error in outcomes.errors.values()} == {("the disk is full", "x")}  # type: ignore[attr-defined]
    assert stored(conn) == [-1]
    assert conn.append([{"k": "a", "n": 9}], "k").t == conn.db().t


def interrupt(thread: threading.Thread) -> None:
    """Have KeyboardInterrupt raised in a thread, as soon as it runs Python code."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))


def test_who_waits_is_interrupted(conn: Connection) -> None:
    def meanwhile(threads: list[threading.Thread]) -> None:
        interrupt(threads[2])
        threads[2].join(30)

    outcomes = together(conn, 5, meanwhile)
    assert {n: type(error) for n, error in outcomes.errors.items()} == {2: KeyboardInterrupt}
    assert stored(conn) == [-1, 0, 1, 3, 4]


def test_interrupts_at_any_time_lose_and_repeat_nothing(conn: Connection) -> None:
    """What was acknowledged is stored once, anything else at most once, and nobody waits for ever."""
    acknowledged: list[int] = []
    stop = threading.Event()

    def run(worker: int) -> None:
        number = worker * 1_000_000
        while not stop.is_set():
            try:
                conn.append([{"k": "a", "n": number}], "k")
                acknowledged.append(number)
            except KeyboardInterrupt:
                pass
            number += 1

    def guarded(worker: int) -> None:
        while not stop.is_set():
            try:
                run(worker)
            except KeyboardInterrupt:  # outside of the append
                worker += 100

    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in range(1, 7)]
    for thread in threads:
        thread.start()
    chosen = random.Random(5)
    for number in range(150):  # nobody twice at once: what an interrupt begins to undo it must be let finish
        interrupt(threads[number % len(threads)])
        time.sleep(0.005 + chosen.random() / 50)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    counts = Counter(stored(conn))
    assert set(counts.values()) == {1}
    assert not set(acknowledged) - set(counts)
    assert conn.append([{"k": "a", "n": -2}], "k").t == conn.db().t
