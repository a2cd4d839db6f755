"""A thread with a DuckDB cursor of its own. DuckDB holds the thread that asks it until it is done, deaf to Ctrl-C and
to budgets; whoever waits for a worker is not.

Made of what C makes atomic, a queue and locks: Ctrl-C leaves `threading.Condition`, and so every future, half done.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, finalize

from tourlog.engines.interrupts import deferred_interrupt

Result = TypeVar("Result")
Tasks = SimpleQueue[Callable[[], object] | None]

_threads: WeakKeyDictionary[Thread, Tasks] = WeakKeyDictionary()


class Worker:
    """One run at a time uses it: from `begin` until `end`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.cursor = connection.cursor()
        self._tasks: Tasks = SimpleQueue()
        with deferred_interrupt():
            # Daemons, for nothing else would end them with the program; what they are in is waited for, see below.
            thread = Thread(target=_work, args=(self._tasks,), name="tourlog-query", daemon=True)
            thread.start()
            if not _threads:
                # Not when this module is imported: what is registered last is called first, and DuckDB, imported by
                # whoever made the connection, registers what closes every connection, busy or not.
                atexit.unregister(_finish)
                atexit.register(_finish)
            _threads[thread] = self._tasks
        finalize(self, self._tasks.put, None)
        self._is_computing = False
        self._is_abandoned = False
        self._pinned: int | None = None

    def serves(self, connection: Any) -> bool:
        """Whether it is a worker of this connection."""
        return self._connection is connection

    def sees(self, version: int) -> bool:
        """Whether it is pinned to this version."""
        return self._pinned == version

    def begin(self, version: int) -> None:
        """Pin what the cursor sees to what there is now, which is this version; a worker may be pinned still."""
        if self._pinned == version:
            return
        self.unpin()
        # The transaction begins with its first read.
        self.cursor.execute("BEGIN TRANSACTION; SELECT 1 FROM rows LIMIT 0")
        self._pinned = version

    def unpin(self) -> None:
        """Let go of what the cursor sees, and of every temporary table; while no run uses the worker."""
        if self._pinned is not None:
            self._pinned = None
            self.cursor.execute("ROLLBACK")

    def later(self, task: Callable[[], object]) -> None:
        """Have the thread do something when it is through with what it does; does not wait."""
        self._tasks.put(task)

    def end(self, give_back: Callable[[Worker], None], *, used: bool) -> None:
        """Give the worker back, unless it was abandoned; does not wait. One `used` for more than reading drops its
        temporary tables once DuckDB is through with them; any other stays pinned, which spares the next run that."""
        if self._is_abandoned:
            self._tasks.put(None)
        elif used:
            self._tasks.put(lambda: self._reset(give_back))
        else:
            give_back(self)

    def close(self) -> None:
        """Let go of the cursor and end the thread."""
        self.cursor.close()
        self._tasks.put(None)

    def execute(self, sql: str, values: dict[str, Any]) -> Any:
        """Run a statement; called by what `wait_for` runs."""
        self._is_computing = True
        try:
            return self.cursor.execute(sql, values) if values else self.cursor.execute(sql)
        finally:
            self._is_computing = False

    def wait_for(self, compute: Callable[[], Result], seconds: float | None) -> Result:
        """What `compute` gives, run by the thread. After so many seconds raises TimeoutError; then, and on Ctrl-C,
        DuckDB is stopped, which may take it a moment that nobody waits for."""
        task = _Task(compute)
        try:
            self._tasks.put(task.run)
            return task.result(seconds)
        except (TimeoutError, KeyboardInterrupt):
            if not task.is_over:
                self._is_abandoned, task.is_wanted = True, False
                last = _Task(int)  # over when the other is, if that is there at all
                self._tasks.put(last.run)
                # No daemon: Python would unwind it inside DuckDB at its end, which aborts the process.
                Thread(target=self._interrupt, args=(last,), name="tourlog-interrupt").start()
            raise

    def _interrupt(self, last: _Task[Any]) -> None:
        """Interrupt DuckDB again and again until it heard, for it may not have begun; then close."""
        while not last.done.acquire(timeout=0.01):
            if self._is_computing:
                self.cursor.interrupt()
        self.cursor.close()

    def _reset(self, give_back: Callable[[Worker], None]) -> None:
        self.unpin()
        give_back(self)


class _Task(Generic[Result]):
    """Something a worker's thread is to compute. `done` is locked until then."""

    def __init__(self, compute: Callable[[], Result]) -> None:
        self._compute = compute
        self._result: Result
        self._error: BaseException | None = None
        self.done = Lock()
        self.done.acquire()
        self.is_wanted, self.is_over = True, False

    def run(self) -> None:
        """Compute it, in the worker's thread."""
        try:
            if self.is_wanted:
                self._result = self._compute()
        except BaseException as error:  # whoever waits for it gets it
            self._error = error
        finally:
            self.is_over = True
            self.done.release()

    def result(self, seconds: float | None) -> Result:
        """What it gave or raised; TimeoutError after so many seconds."""
        if not self.done.acquire(timeout=-1 if seconds is None else seconds):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result


def _work(tasks: Tasks) -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # or what it holds would live until the next


def _finish() -> None:
    """Wait for what threads are in: Python would unwind them inside DuckDB at its end, which aborts the process."""
    for thread, tasks in list(_threads.items()):
        tasks.put(None)
        thread.join()
