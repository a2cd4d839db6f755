"""What the backends share: who may use a log, who may write, and whether a commit fits what is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import RLock
from typing import NoReturn

from tourlog.errors import StorageError
from tourlog.storage.log import Commit, Transaction

_forks = 0
"""How many forks lie between the first process and this one."""


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):  # else nothing forks
    os.register_at_fork(after_in_child=_count_fork)


class Lifetime:
    """Whether a log may be used: not once it is closed, not in a fork of the process that opened it."""

    __slots__ = ("_forks", "_path", "closed")

    def __init__(self, path: str | None) -> None:
        self._forks, self._path, self.closed = _forks, path, False

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened the log."""
        return _forks != self._forks

    def check(self) -> None:
        """Raise `StorageError` when the log may not be used any more."""
        if self.closed or _forks != self._forks:
            self._refuse()

    def _refuse(self) -> NoReturn:
        if self.closed:
            raise StorageError(f"expected an open store, got a closed one, in {self._name}", path=self._path)
        message = f"expected the process that opened the store, got a fork of it, in {self._name}"
        raise StorageError(message, path=self._path)

    @property
    def _name(self) -> str:
        return self._path or "memory"


class WriterPlace:
    """The one place of a writer among the threads of a process."""

    __slots__ = ("_lock", "_waiting")

    def __init__(self) -> None:
        # Never taken twice, but a lock that knows whose it is.
        self._lock = RLock()
        self._waiting: set[object] = set()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds the place."""
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]  # what `threading.Condition` asks

    @property
    def is_wanted(self) -> bool:
        """Whether other threads wait for the place."""
        return bool(self._waiting)

    def taken(self, patience: float | None = None) -> AbstractContextManager[object]:
        """Waits for the place, at most `patience` seconds, and holds it, each time it is entered; `StorageError` when
        they are over, and, instead of a deadlock, when this thread already holds it."""
        return _Taken(self, self._lock, patience)

    def check_free(self) -> None:
        """Raise `StorageError` when this thread holds the place already."""
        if self.is_mine:
            raise StorageError("expected one writing at a time, got another inside it", path=None)

    def _wait(self, patience: float | None) -> None:
        waiter = object()
        self._waiting.add(waiter)
        try:
            if not self._lock.acquire(timeout=-1 if patience is None else patience):
                message = f"expected to write within {patience} seconds, got another thread that writes all that time"
                raise StorageError(message, path=None, timeout=patience)
        finally:
            self._waiting.discard(waiter)


class _Taken:
    """The writer's place, held. An interrupt comes when a function of Python's begins or a call has ended: it finds
    the place left, or somebody who will leave it."""

    __slots__ = ("__exit__", "_lock", "_patience", "_place")

    def __init__(self, place: WriterPlace, lock: RLock, patience: float | None) -> None:
        self._place, self._lock, self._patience = place, lock, patience
        self.__exit__ = lock.__exit__  # no function of Python's, which an interrupt could keep from leaving

    def __enter__(self) -> None:
        self._place.check_free()
        try:
            if not self._lock.acquire(blocking=False):
                self._place._wait(self._patience)
        except BaseException:
            try:  # noqa: SIM105  # nothing may come before `release`
                self._lock.release()
            except RuntimeError:  # this thread had not got it
                pass
            raise


def check_commit(
    commit: Commit, path: str | None, *, head: Transaction, next_stream: int, next_offset: Callable[[int], int]
) -> dict[int, int]:
    """The next offsets that the commit leaves its streams with; `StorageError` unless it continues the log exactly
    where it ends. A mismatch is a fault of the caller or the work of another program: whoever holds the writer's place
    knows where the log ends.
    """
    transaction = commit.transaction
    t = transaction.t
    if t != head.t + 1:
        _refuse(path, "transaction", head.t + 1, t)
    if transaction.instant <= head.instant:
        _refuse(path, "an instant after the newest", f"more than {head.instant}", transaction.instant)
    for stream, record in enumerate(commit.streams, next_stream):
        if record.id != stream:
            _refuse(path, "stream id", stream, record.id)
        if record.t != t:
            _refuse(path, "transaction of a stream", t, record.t)
    ends: dict[int, int] = {}
    for stream, offset in commit.heads:
        ends[stream] = next_offset(stream) if stream < next_stream else 0
        if offset != ends[stream]:
            _refuse(path, f"next offset of stream {stream}", ends[stream], offset)
    states = 0
    for batch in commit.batches:
        stream = batch.stream
        if batch.t != t:
            _refuse(path, "transaction of a batch", t, batch.t)
        if stream == 0:
            if batch.first != states:
                _refuse(path, "number of a state", states, batch.first)
            states += batch.count
            continue
        if not 0 < stream < next_stream + len(commit.streams) or batch.count < 1:
            _refuse(path, "batch", "documents of a stream", f"{batch.count} of stream {stream}")
        if stream not in ends:
            ends[stream] = next_offset(stream)
        if batch.first != ends[stream]:
            _refuse(path, f"first offset in stream {stream}", ends[stream], batch.first)
        ends[stream] += batch.count
    if commit.entities:
        _check_entities(path, commit)
    return ends


def refuse_known_id(path: str | None, tx_id: str) -> NoReturn:
    """Raise `StorageError` about a transaction whose id is in the log."""
    _refuse(path, "transaction id", "a new one", tx_id)


def _check_entities(path: str | None, commit: Commit) -> None:
    for entity in commit.entities:
        if entity.t != commit.transaction.t:
            _refuse(path, "transaction of an entity", commit.transaction.t, entity.t)
    distinct = len({entity.key for entity in commit.entities})
    if distinct != len(commit.entities):
        _refuse(path, "entities once each, namely", distinct, len(commit.entities))


def _refuse(path: str | None, what: str, expected: object, actual: object) -> NoReturn:
    message = f"expected {what} {expected}, got {actual}, in a commit to {path or 'memory'}"
    raise StorageError(message, path=path, expected=expected, actual=actual)
