"""Calls functions with the report of each transaction of a connection, in the order of the log, after it is there
for good. What they raise is logged and harms nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Lock, get_ident

from tourlog.database import TxReport

Listener = Callable[[TxReport], object]


@dataclass(slots=True)
class _Expected:
    """A transaction on its way into the log: `report` once it is there."""

    thread: int = field(default_factory=get_ident)
    report: TxReport | None = None


class Listeners:
    """The listeners of one connection. Threads commit one after another but come back from it in any order:
    transactions queue up before they are committed, and are delivered from the head of that queue."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._listeners: tuple[Callable[[TxReport], None], ...] = ()
        self._expected: deque[_Expected] = deque()
        self._delivering = False

    @property
    def is_empty(self) -> bool:
        """Whether nobody listens."""
        return not self._listeners

    def add(self, listener: Listener) -> Callable[[], None]:
        """From now on call it; what is returned ends that."""
        added = partial(_call, listener)
        with self._lock:
            self._listeners = (*self._listeners, added)

        def remove() -> None:
            with self._lock:
                self._listeners = tuple(each for each in self._listeners if each is not added)

        return remove

    def expect(self) -> None:
        """This thread is about to commit; called in the writer's place."""
        with self._lock:
            self._expected.append(_Expected())

    @contextmanager
    def writing(self, place: AbstractContextManager[None]) -> Iterator[None]:
        """The writer's place: what does not get out of it committed is expected no more."""
        try:
            with place:
                yield
        except BaseException:
            with self._lock:
                expected = self._of_this_thread()
                if expected is not None:
                    self._expected.remove(expected)
            self._deliver()
            raise

    def committed(self, report: TxReport) -> None:
        """This thread has committed what it was expected to."""
        with self._lock:
            expected = self._of_this_thread()
            if expected is not None:
                expected.report = report
        self._deliver()

    def _of_this_thread(self) -> _Expected | None:
        mine = get_ident()
        return next((each for each in self._expected if each.thread == mine and each.report is None), None)

    def _deliver(self) -> None:
        """Call the listeners with what is ready, unless somebody is at it, who then does this too."""
        with self._lock:
            if self._delivering:
                return
            self._delivering = True
        try:
            while (report := self._next()) is not None:
                for deliver in self._listeners:
                    deliver(report)
        except BaseException:
            self._delivering = False
            raise

    def _next(self) -> TxReport | None:
        with self._lock:
            report = self._expected[0].report if self._expected else None
            if report is None:
                self._delivering = False
            else:
                self._expected.popleft()
            return report


def _call(listener: Listener, report: TxReport) -> None:
    try:
        listener(report)
    except Exception:  # the listener's own, of any kind: its writer has committed, and must not hear otherwise
        import logging  # when there is something to log

        logging.getLogger("tourlog").exception("the listener %r raised on the transaction %d", listener, report.t)
