"""Appends of many threads written by one of them, with one commit: whoever finds nobody at it takes along what the
others bring meanwhile (flat combining: Hendler, Incze, Shavit, Tzafrir, 2010). Handing over costs more than an append.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from itertools import islice
from threading import Lock

from tourlog.errors import StorageError, TourlogError, UnknownOutcomeError
from tourlog.storage.log import Commit, Log, Transaction
from tourlog.tails import NewTail, extensions

_MOST = 1_000
"""So many appends go into one commit."""

_NUDGE_SECONDS = 0.05
"""Who waits looks so often what became of it, for the case that whoever was to say so was interrupted."""


class _State(Enum):
    NEW = "new, or to be asked for again"
    WAITING = "another thread does it"
    LEADING = "this thread does it, and what others wait for"
    DONE = "committed, failed, or not done here"


class _Append:
    """What a thread wants appended, and what became of it."""

    __slots__ = ("commit", "error", "state", "tails", "turn")

    def __init__(self, tails: Sequence[NewTail]) -> None:
        self.tails = tails
        self.state = _State.NEW
        self.turn = Lock()
        """Locked but for a moment when the state has changed."""
        self.turn.acquire()
        self.commit: Commit | None = None
        """Prepared; in the log for good when it is `DONE` without an error."""
        self.error: Callable[[], TourlogError] | None = None

    def wake(self) -> None:
        with suppress(RuntimeError):  # it is awake already
            self.turn.release()


class Combining:
    """The appends of one connection. `is_plain` says, in the writer's place, whether nothing but the append is to be
    done after a transaction. Two threads may come to lead at once when one is interrupted: the log has one writer."""

    def __init__(self, log: Log, is_plain: Callable[[Transaction], bool]) -> None:
        self._log, self._is_plain = log, is_plain
        self._lock = Lock()
        self._waiting: deque[_Append] = deque()
        self._is_led = False

    def append(self, tails: Sequence[NewTail]) -> Commit | None:
        """The transaction that appended these, committed; None where more is to be done than that."""
        wanted = _Append(tails)
        try:
            while wanted.state is not _State.DONE:
                self._enter(wanted)
                if wanted.state is _State.LEADING:
                    self._lead(wanted)
        except BaseException:
            self._leave(wanted)
            raise
        if wanted.error is not None:
            raise wanted.error()
        return wanted.commit

    def _enter(self, wanted: _Append) -> None:
        """Lead, or wait until another thread has done it or this one is to lead."""
        with self._lock:
            if not self._is_led:
                wanted.state, self._is_led = _State.LEADING, True
                return
            self._log.check_free()  # whoever leads would wait for this thread, and this one for it
            wanted.state = _State.WAITING
            self._waiting.append(wanted)
        while wanted.state is _State.WAITING:
            wanted.turn.acquire(timeout=_NUDGE_SECONDS)

    def _leave(self, wanted: _Append) -> None:
        """An interrupted thread goes: what it was to lead, another does."""
        with self._lock:
            if wanted in self._waiting:
                self._waiting.remove(wanted)
            elif wanted.state is _State.LEADING:
                self._pass_on()

    def _lead(self, own: _Append) -> None:
        others: list[_Append] = []
        try:
            self._write(own, others)
        except BaseException as error:
            self._settle(others, error)
            raise
        finally:
            for each in others:
                each.wake()
            with self._lock:
                self._pass_on()
                own.state = _State.DONE

    def _pass_on(self) -> None:
        """Have the next thread lead, if any waits; under the lock."""
        if self._waiting:
            following = self._waiting.popleft()
            following.state = _State.LEADING
            following.wake()
        else:
            self._is_led = False

    def _write(self, own: _Append, others: list[_Append]) -> None:
        """Write this thread's append, and those that wait by then: they go to `others`."""
        self._log.written(self._extend, own, others)
        for each in others:
            each.state = _State.DONE

    def _extend(self, own: _Append, others: list[_Append]) -> None:
        if self._waiting:
            with self._lock:
                others += islice(self._waiting, _MOST)
                for _ in others:
                    self._waiting.popleft()
        head = self._log.head()
        if not self._is_plain(head):
            return
        appends = [own, *others]
        commits = extensions(self._log, head, [each.tails for each in appends])
        for each, commit in zip(appends, commits, strict=True):
            each.commit = commit
        self._log.append(*commits)

    def _settle(self, others: Sequence[_Append], error: BaseException) -> None:
        """Say what became of the others' appends. What interrupted this thread is no failure of theirs: they ask again
        unless the log has what they wanted."""
        known = error if isinstance(error, TourlogError) else self._look(others)
        with self._lock:
            for each in others:
                if each.state is not _State.WAITING or each in self._waiting:
                    continue
                if known is not None:
                    each.error, each.state = _again(known), _State.DONE
                elif each.commit is not None:
                    each.state = _State.DONE
                else:
                    each.state = _State.NEW

    def _look(self, others: Sequence[_Append]) -> TourlogError | None:
        """Find out which of the appends the log has, after an interrupt; an error if it cannot be asked."""
        try:
            with self._log.writing(alone=True):
                pass  # whatever was under way is over now
            for each in others:
                if each.commit is not None and not self._has(each.commit.transaction):
                    each.commit = None
        except StorageError as problem:
            message = f"expected a commit, got an interrupt that leaves open whether it was made, and then: {problem}"
            return UnknownOutcomeError(message, **problem.details)
        return None

    def _has(self, transaction: Transaction) -> bool:
        return self._log.transaction(transaction.t) == transaction


def _again(error: TourlogError) -> Callable[[], TourlogError]:
    """Makes an error of each thread's own."""

    def make() -> TourlogError:
        copied = type(error)(str(error), **error.details)
        copied.__cause__ = error.__cause__
        return copied

    return make
