"""The collector's thresholds while queries run, and what is let go of."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

import tourlog
from tourlog import collector
from tourlog.collector import collections_in_time, empty, let_go
from tourlog.errors import BudgetError

NEVER = 1 << 30
PRODUCT = "[:find ?x . :where [?a :n ?x] [?b :n ?y] [(< ?y ?y)]]"


@pytest.fixture(autouse=True)
def _own_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 11)
    yield
    assert gc.get_threshold() == (700, 10, 11)
    gc.set_threshold(*before)


def oldest() -> int:
    return gc.get_threshold()[2]


def test_full_collections_wait_for_the_last_of_the_blocks() -> None:
    with collections_in_time(1.0):
        assert gc.get_threshold() == (700, 10, NEVER)
        with collections_in_time(2.0):
            assert oldest() == NEVER
        assert oldest() == NEVER
    assert oldest() == 11


@pytest.mark.parametrize("timeout", [None, 10.5, 3600])
def test_with_no_limit_or_a_long_one_nothing_changes(timeout: float | None) -> None:
    with collections_in_time(timeout):
        assert oldest() == 11


def test_an_error_ends_the_block() -> None:
    with pytest.raises(KeyError), collections_in_time(1.0):
        raise KeyError
    assert oldest() == 11


def test_what_somebody_sets_meanwhile_stays() -> None:
    with collections_in_time(1.0):
        gc.set_threshold(700, 10, 12)
    assert oldest() == 12
    gc.set_threshold(700, 10, 11)


def test_blocks_of_threads_without_a_gap_hold_a_collection_up_for_ten_seconds_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, collected = [0.0], []
    monkeypatch.setattr(collector, "monotonic", lambda: now[0])
    monkeypatch.setattr(collector.gc, "collect", lambda: collected.append(now[0]))
    held = [collections_in_time(1.0) for _ in range(30)]
    held[0].__enter__()
    for before, after in pairwise(held):
        now[0] += 1.0
        after.__enter__()
        before.__exit__(None, None, None)
    held[-1].__exit__(None, None, None)
    assert collected == [11.0, 22.0]


def test_many_threads_leave_the_thresholds_as_they_were() -> None:
    def work() -> None:
        for _ in range(300):
            with collections_in_time(1.0):
                assert oldest() == NEVER

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert oldest() == 11


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_amid_a_block_of_another_thread_has_its_thresholds_back() -> None:
    entered, done = threading.Event(), threading.Event()

    def work() -> None:
        with collections_in_time(1.0):
            entered.set()
            done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    with collections_in_time(1.0):
        child = os.fork()
        own = oldest()
    if not child:
        with collections_in_time(1.0):
            was = oldest()
        os._exit(0 if (own, was, oldest()) == (11, NEVER, 11) else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("engine", ["pydatalog", "compiled"])
def test_a_query_that_ran_out_of_time_leaves_the_thresholds_as_they_were(engine: str) -> None:
    with tourlog.connect() as conn:
        conn.append([{"k": 1, "n": n} for n in range(100)], "k")
        conn.db().q("[:find ?n :where [_ :n ?n]]", engine=engine)  # what the engine's start takes
        seen = []

        def look(*_: int) -> bool:
            time.sleep(0.001)
            seen.append(oldest())
            return True

        with pytest.raises(BudgetError, match=r"timeout=1\.0 seconds"):
            conn.db().q(
                "[:find ?x ?y :in $ ?look :where [?a :n ?x] [?b :n ?y] [(?look ?x ?y)]]",
                look,
                engine=engine,
                timeout=1.0,
            )
        assert set(seen) == {NEVER}


def test_a_query_that_ran_out_of_time_lets_go_of_what_it_held() -> None:
    with tourlog.connect() as conn:
        conn.append([{"k": 1, "n": n} for n in range(3000)], "k")
        for _ in range(3):
            with pytest.raises(BudgetError):
                conn.db().q(PRODUCT, engine="pydatalog", timeout=0.3)
        end = time.monotonic() + 20
        while any(type(each).__name__ == "Subgoal" for each in gc.get_objects()) and time.monotonic() < end:
            gc.collect()
        assert not [each for each in gc.get_objects() if type(each).__name__ == "Subgoal"]
        assert conn.db().q("[:find (count ?e) . :where [?e :n]]", engine="pydatalog") == 3000


def test_collections_are_emptied() -> None:
    rows, table = list(range(9)), dict.fromkeys(range(9))
    empty([rows, table])
    assert (rows, table) == ([], {})
    rows.extend(range(9))
    let_go(iter([rows]))
    while rows:
        time.sleep(0.001)


def test_a_program_ends_while_a_worker_is_busy() -> None:
    program = """
import time
import tourlog
from tourlog.engines.columns import Columns
conn = tourlog.connect()
conn.append([{"k": 1, "n": 2}], "k")
db = conn.db()
assert db.q("[:find ?n . :where [_ :n ?n]]", engine="compiled") == 2
columns = db.snapshot.index.shared(Columns, dict)
(worker,) = columns._idle
worker.later(lambda: worker.cursor.execute("SELECT count(DISTINCT i) FROM range(12000000) AS t(i)"))
worker.later(lambda: print("done"))
time.sleep(0.1)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("done\n", "", 0)
