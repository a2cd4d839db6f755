"""Misuse of each object: after its store was closed, in a forked child, abandoned, from a callback that raises or
appends, from inside a transaction: a refusal that says why, or the right answer; no crash, no hang.

What other tests show of closing, forking and interrupts is not repeated here.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tourlog
from tourlog import Connection, Database, StorageError, call
from tourlog.errors import TourlogError

ENGINES = ("pydatalog", "compiled")
ALL_NS = "[:find [?n ...] :where [?e :n ?n]]"
SECONDS = 20

forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def filled(conn: Connection, count: int = 5) -> Database:
    conn.append([{"k": 1, "n": n} for n in range(count)], "k")
    return conn.db()


def in_fork(work: Callable[[], Any]) -> str:
    """What happens in a forked child: "hangs", or what `outcome` says."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, outcome(work).encode())
        finally:
            os._exit(0)
    os.close(writer)
    end = time.monotonic() + SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            return "hangs"
        time.sleep(0.01)
    with os.fdopen(reader, "rb") as found:
        return found.read().decode() or "crashes"


def outcome(work: Callable[[], Any]) -> str:
    try:
        work()
    except TourlogError as error:
        return f"refused: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "allowed"


# Each object that holds on to a store.

OBJECTS: dict[str, Callable[[Connection, Database], Callable[[], Any]]] = {
    "an iterator of documents, begun": lambda _, db: _begun(db.iter_documents({"k": 1})),
    "an iterator of facts, begun": lambda _, db: _begun(db.facts(a="n")),
    "an iterator of transactions, begun": lambda _, db: _begun(db.tx_range()),
    "a database asked before by pyDatalog": lambda _, db: _asked(db, "pydatalog"),
    "a database asked before by DuckDB": lambda _, db: _asked(db, "compiled"),
    "a past database": lambda _, db: lambda: db.as_of(1).entity(1),
    "a pull": lambda _, db: lambda: db.pull("[*]", 1),
    "a difference": lambda _, db: lambda: list(db.diff(db.as_of(0)).came),
    "a speculation": lambda _, db: lambda: db.with_([{"db/id": 1, "n": 9}]).db_after.q(ALL_NS),
    "an explanation": lambda _, db: lambda: str(db.explain(ALL_NS, engine="compiled")),
    "a subscription": lambda conn, _: partial(conn.subscribe("k").take, 1, 0.1),
    "listening": lambda conn, _: lambda: conn.listen(str),
    "an invariant": lambda conn, _: lambda: conn.require("none", "[:find ?e :where [?e :none]]"),
    "a report's facts": lambda conn, _: partial(getattr, conn.append([{"k": 1, "n": 7}], "k"), "tx_data"),
    "a consumer": lambda _, db: lambda: tourlog.Consumer("c").lag(db),
}


def _begun(iterator: Any) -> Callable[[], Any]:
    next(iterator)
    return lambda: list(iterator)


def _asked(db: Database, engine: str) -> Callable[[], Any]:
    db.q(ALL_NS, engine=engine)
    return lambda: db.q(ALL_NS, engine=engine)


@pytest.mark.parametrize("name", OBJECTS)
def test_after_close_it_is_refused_or_right_and_never_hangs(name: str, conn: Connection) -> None:
    use = OBJECTS[name](conn, filled(conn))
    conn.close()
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(outcome(use)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert found, "it hangs"
    assert found[0] == "allowed" or (found[0].startswith("refused") and "closed" in found[0]), found


@pytest.mark.parametrize("name", OBJECTS)
class TestForks:
    pytestmark = forks

    def test_in_a_fork_it_is_refused_or_right_and_never_hangs(self, name: str, conn: Connection) -> None:
        db = filled(conn)
        use = OBJECTS[name](conn, db)
        found = in_fork(use)
        assert found == "allowed" or (found.startswith("refused") and "fork" in found), found
        assert sorted(db.q(ALL_NS))[:5] == [0, 1, 2, 3, 4], "the parent goes on"
        conn.append([{"k": 1, "n": 100}], "k")


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


class TestDropped:
    @pytest.mark.parametrize("hold", ["nothing", "database", "iterator", "subscription"])
    def test_a_store_dropped_without_closing_keeps_what_was_acknowledged(self, hold: str, tmp_path: Path) -> None:
        path = tmp_path / "dropped.tour"
        conn = tourlog.connect(path)
        filled(conn)
        held: Any = {"database": conn.db(), "iterator": iter(conn.db().iter_documents({"k": 1}))}.get(hold)
        if hold == "subscription":
            held = conn.subscribe("k")
        reference = weakref.ref(conn)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del conn
            gc.collect()
            with tourlog.connect(path) as again:
                assert sorted(again.db().q(ALL_NS)) == [0, 1, 2, 3, 4]
                filled(again, 1)
            assert hold != "nothing" or reference() is None
            del held
            gc.collect()

    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_process_that_closes_nothing_ends_well(self, engine: str, tmp_path: Path) -> None:
        program = (
            "import sys, tourlog\n"
            "conn = tourlog.connect(sys.argv[1])\n"
            "conn.append([{'k': 1, 'n': n} for n in range(500)], 'k')\n"
            "documents = conn.db().iter_documents({'k': 1}); next(documents)\n"
            "subscription = conn.subscribe('k'); next(subscription)\n"
            "conn.listen(print)\n"
            f"print(len(conn.db().q('{ALL_NS}', engine='{engine}')))\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "store")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "500\n", "")

    def test_connections_in_numbers_leave_no_threads_or_files_behind(self, tmp_path: Path) -> None:
        def once(number: int) -> None:
            with tourlog.connect(tmp_path / f"{number % 3}") as conn:
                filled(conn)
                subscription = conn.subscribe("k")
                subscription.take(1, 0.01)
                next(conn.db().iter_documents({"k": 1}))

        once(0)
        gc.collect()
        threads, files = threading.active_count(), _open_files()
        for number in range(30):
            once(number)
        gc.collect()
        assert threading.active_count() <= threads + 1
        if files:
            assert _open_files() <= files + 3


class TestAbandoned:
    def test_generators_left_midway_hold_nobody_up(self, conn: Connection) -> None:
        db = filled(conn, 500)
        left = [db.iter_documents({"k": 1}), db.facts(a="n"), db.facts(), db.tx_range()]
        for iterator in left:
            next(iterator)
        filled(conn, 500)
        assert conn.db().q("[:find (count ?e) . :where [?e :n]]") == 1_000
        for iterator in left:
            getattr(iterator, "close", lambda: None)()
        assert len(list(db.iter_documents({"k": 1}))) == 500

    def test_one_iterator_of_many_threads_gives_each_document_at_most_once(self, conn: Connection) -> None:
        """A generator shared by threads may refuse; it must not repeat, lose itself or hang."""
        iterator = filled(conn, 2_000).iter_documents({"k": 1})
        seen: list[int] = []
        problems: list[Exception] = []

        def take() -> None:
            while True:
                try:
                    seen.append(next(iterator)["offset"])
                except StopIteration:
                    return
                except ValueError as error:  # "generator already executing" is Python's own
                    problems.append(error)
                    return

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        assert len(seen) == len(set(seen))
        assert all("already executing" in str(problem) for problem in problems)


class TestCallbacks:
    def test_a_callable_of_a_query_may_ask_and_append(self, conn: Connection) -> None:
        """It sees what it wrote; the query that called it does not."""
        db = filled(conn)
        for engine in ENGINES:

            def twice(n: int, engine: str = engine) -> int:
                conn.append([{"k": 2, "m": n}], "k")
                return int(conn.db().q("[:find (max ?m) . :where [?e :m ?m]]", engine=engine)) * 0 + n * 2

            query = "[:find [?v ...] :in $ ?f :where [?e :n ?n] [(?f ?n) ?v]]"
            assert sorted(db.q(query, twice, engine=engine)) == [0, 2, 4, 6, 8]
            assert db.q("[:find ?m :where [?e :m ?m]]", engine=engine) == []

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit, StopIteration, RecursionError])
    def test_what_a_callable_raises_comes_out_and_harms_nothing(
        self, engine: str, error: type[BaseException], conn: Connection
    ) -> None:
        def fail(_: Any) -> Any:
            raise error

        db = filled(conn)
        with pytest.raises((error, RuntimeError)):  # Python makes a RuntimeError of a StopIteration in a generator
            db.q("[:find ?v :in $ ?f :where [?e :n ?n] [(?f ?n) ?v]]", fail, engine=engine)
        assert sorted(db.q(ALL_NS, engine=engine)) == [0, 1, 2, 3, 4]

    def test_a_listener_may_append_and_may_close(self, conn: Connection) -> None:
        seen: list[int] = []
        done = threading.Event()

        def follow(report: Any) -> None:
            seen.append(report.t)
            if report.t < 4:
                conn.append([{"k": 1, "n": report.t}], "k")
            else:
                done.set()

        conn.listen(follow)
        conn.append([{"k": 1, "n": 0}], "k")
        assert done.wait(SECONDS)
        assert seen == [1, 2, 3, 4]

    @pytest.mark.parametrize(
        "misuse",
        [
            lambda conn: conn.append([{"k": 1, "n": 1}], "k"),
            lambda conn: conn.transact([{"db/id": 1, "n": 1}]),
            lambda conn: conn.run(lambda: None),
            lambda conn: conn.close(),
            lambda conn: conn.transaction().__enter__(),
        ],
    )
    def test_a_transaction_function_that_uses_the_connection_never_hangs(self, misuse: Any, conn: Connection) -> None:
        """Whether refused or taken into the transaction, the store is whole afterwards."""
        filled(conn)

        def work(_: Database) -> list[Any]:
            misuse(conn)
            return [{"db/id": 2, "n": 2}]

        found: list[str] = []
        thread = threading.Thread(
            target=lambda: found.append(outcome(lambda: conn.transact([call(work)]))), daemon=True
        )
        thread.start()
        thread.join(SECONDS)
        assert found, "it hangs"
        assert found[0].startswith(("allowed", "refused")), found
        if "closed" not in outcome(conn.db):
            offsets = [document["offset"] for document in conn.db().documents({"k": 1})]
            assert offsets == list(range(len(offsets)))
            filled(conn)

    def test_a_transaction_function_that_calls_itself_without_end_is_told(self, conn: Connection) -> None:
        def again(_: Database) -> list[Any]:
            return [call(again)]

        with pytest.raises((TourlogError, RecursionError)):
            conn.transact([call(again)])
        assert conn.db().t == 0
        filled(conn)


class TestInterrupts:
    @pytest.mark.parametrize("number", [1, 2, 4, 8, 16])
    def test_ctrl_c_while_duckdb_is_imported_comes_out_after_it(self, number: int, tmp_path: Path) -> None:
        """The n-th module that DuckDB's own initialiser imports is where the signal comes."""
        program = (
            "import signal, sys, tourlog\n"
            "seen = []\n"
            "def hook(event, given):\n"
            "    if event == 'import' and (seen or given[0] == '_duckdb'):\n"
            "        seen.append(given[0])\n"
            f"        if len(seen) == {number} + 1:\n"
            "            signal.raise_signal(signal.SIGINT)\n"
            "conn = tourlog.connect(sys.argv[1])\n"
            "conn.append([{'k': 1, 'n': 7}], 'k')\n"
            "sys.addaudithook(hook)\n"
            "try:\n"
            f"    conn.db().q('{ALL_NS}', engine='compiled')\n"
            "except KeyboardInterrupt:\n"
            "    print('interrupted', len(seen) > 1, 'duckdb' in sys.modules)\n"
            f"print(conn.db().q('{ALL_NS}', engine='compiled'))\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "store")]
        child = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        assert (child.returncode, child.stdout) == (0, "interrupted True True\n[7]\n"), child.stderr[-2000:]

    @pytest.mark.parametrize("engine", ENGINES)
    def test_ctrl_c_again_and_again_leaves_the_store_whole(self, engine: str, tmp_path: Path) -> None:
        """A child is interrupted a hundred times in the middle of appends and queries."""
        program = (
            "import sys, tourlog\n"
            "conn = tourlog.connect(sys.argv[1])\n"
            f"conn.db().q('{ALL_NS}', engine='{engine}')\n"  # Ctrl-C in DuckDB's import aborts Python
            "for _ in range(40):\n"
            "    try:\n"
            "        print('go', flush=True)\n"
            "        while True:\n"
            "            conn.append([{'k': 1, 'n': n} for n in range(20)], 'k')\n"
            f"            conn.db().q('{ALL_NS}', engine='{engine}')\n"
            "    except KeyboardInterrupt:\n"
            "        pass\n"
            "offsets = [d['offset'] for d in conn.db().documents({'k': 1})]\n"
            "assert offsets == list(range(len(offsets))) and len(offsets) % 20 == 0\n"
            f"assert set(conn.db().q('{ALL_NS}', engine='{engine}')) <= set(range(20))\n"
            "print('whole')\n"
        )
        command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "store")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for number in range(40):
            if child.stdout.readline() != "go\n":
                break
            time.sleep(0.03 * (number % 7 + 1) / 7)
            child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=SECONDS)
        assert (child.returncode, out) == (0, "whole\n"), errors[-2000:]


def test_closing_twice_and_using_after_closing_are_refused_for_each_object(conn: Connection) -> None:
    filled(conn)
    subscription = conn.subscribe("k")
    subscription.close()
    subscription.close()
    with pytest.raises((StorageError, StopIteration)):
        next(subscription)
    conn.close()
    conn.close()
    with pytest.raises(StorageError, match="closed"):
        conn.subscribe("k").take(1, 0)
