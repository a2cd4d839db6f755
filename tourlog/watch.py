"""Wakes those who wait for a log to grow: at once when this connection commits, and within a few milliseconds when
anybody else does. Nobody waits, nothing runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Condition, Thread
from time import sleep

from tourlog.errors import StorageError
from tourlog.storage.log import Log

_SHORTEST = 0.001
_LONGEST = 0.01
"""Seconds between two looks at a file that others may write: short after a change, longer while nothing comes."""

_LINGER = 1.0
"""Seconds the looking thread stays without anybody waiting, so that short waits do not each start one."""

Wake = Callable[[], None]
"""Called once, from any thread; must not raise, nor wait."""


class Watch:
    """The waiting on one log. Who waits registers first and looks at the log's head then: whatever comes after
    that look wakes it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = Condition()
        self._wakes: set[Wake] = set()
        self._looking: Thread | None = None
        self._closed = False
        self._owner = os.getpid()

    @property
    def closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._closed

    def register(self, wake: Wake) -> None:
        """Have `wake` called at the next change, or at once when nothing will come any more."""
        with self._lock:
            self._wakes.add(wake)
            if not self.closed and self._log.path is not None:
                self._look()
        if self.closed:
            self._wake_all()

    def withdraw(self, wake: Wake) -> None:
        """Forget about it."""
        with self._lock:
            self._wakes.discard(wake)

    def committed(self) -> None:
        """Something was committed here."""
        if self._wakes:
            self._wake_all()

    def close(self) -> None:
        """Wake everybody, for the last time."""
        self._closed = True
        if os.getpid() != self._owner:
            return  # in a fork the thread is not there, and the lock may have been held when it was made
        with self._lock:
            self._lock.notify_all()
            looking = self._looking
        self._wake_all()
        if looking is not None:
            looking.join()

    def _wake_all(self) -> None:
        with self._lock:
            wakes = list(self._wakes)
            self._wakes.clear()
        for wake in wakes:
            wake()

    def _look(self) -> None:
        """Have a thread look for the commits of others; under the lock."""
        if self._looking is None:
            looking = Thread(target=self._run, name="tourlog watch", daemon=True)
            looking.start()  # may fail, for want of memory or threads: the next one who waits tries again
            self._looking = looking
        else:
            self._lock.notify()

    def _run(self) -> None:
        newest, pause = -1, _SHORTEST
        while self._is_wanted():
            sleep(pause)  # half the processor time of waiting for an event that nearly never comes
            try:
                head = self._log.head().t
            except StorageError:  # whoever waits looks at the log again, and gets the error
                with self._lock:
                    self._looking = None
                self._wake_all()
                return
            if head != newest:
                newest, pause = head, _SHORTEST
                self._wake_all()
            else:
                pause = min(pause * 1.5, _LONGEST)

    def _is_wanted(self) -> bool:
        """Wait until somebody waits; False when nobody comes for a while, or when all is closed."""
        with self._lock:
            self._lock.wait_for(lambda: self._wakes or self.closed, _LINGER)
            if self._wakes and not self.closed:
                return True
            self._looking = None
            return False
