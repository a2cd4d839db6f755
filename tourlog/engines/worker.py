"""A thread with a DuckDB cursor of its own. DuckDB holds the thread that asks it until it is done, deaf to Ctrl-C and
to budgets; whoever waits for a worker is not.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")


class Worker:
    """One run at a time uses it: from `begin` until `end`."""

    def __init__(self, connection: Any) -> None:
        from concurrent.futures import ThreadPoolExecutor  # with DuckDB only

        self._connection = connection
        self.cursor = connection.cursor()
        self._executor = ThreadPoolExecutor(1, "tourlog-query")
        self._is_computing = Event()
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

    def end(self, give_back: Callable[[Worker], None], *, used: bool) -> None:
        """Give the worker back, unless it was abandoned; does not wait. One `used` for more than reading drops its
        temporary tables once DuckDB is through with them; any other stays pinned, which spares the next run that."""
        if self._is_abandoned:
            self._executor.shutdown(wait=False)
        elif used:
            self._executor.submit(self._reset, give_back)
        else:
            give_back(self)

    def close(self) -> None:
        """Let go of the cursor and end the thread."""
        self.cursor.close()
        self._executor.shutdown(wait=False)

    def execute(self, sql: str, values: dict[str, Any]) -> Any:
        """Run a statement; called by what `wait_for` runs."""
        self._is_computing.set()
        try:
            return self.cursor.execute(sql, values) if values else self.cursor.execute(sql)
        finally:
            self._is_computing.clear()

    def wait_for(self, compute: Callable[[], Result], seconds: float | None) -> Result:
        """What `compute` gives, run by the thread. After so many seconds raises TimeoutError; then, and on Ctrl-C,
        DuckDB is stopped, which may take it a moment that nobody waits for."""
        future = self._executor.submit(compute)
        try:
            return future.result(seconds)
        except (TimeoutError, KeyboardInterrupt):
            self._is_abandoned = True
            # No daemon: Python would unwind it inside DuckDB at its end, which aborts the process.
            Thread(target=self._interrupt, args=(future,), name="tourlog-interrupt").start()
            raise

    def _interrupt(self, future: Future[Any]) -> None:
        """Interrupt DuckDB again and again until it heard, for it may not have begun; then close."""
        from concurrent.futures import wait

        while not future.cancel() and not future.done():
            if self._is_computing.is_set():
                self.cursor.interrupt()
            wait([future], timeout=0.01)
        self.cursor.close()

    def _reset(self, give_back: Callable[[Worker], None]) -> None:
        self.unpin()
        give_back(self)
