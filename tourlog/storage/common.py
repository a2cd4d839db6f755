"""What the backends share: who may use a log, who may write, and whether a commit fits what is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident

from tourlog.errors import StorageError
from tourlog.storage.log import Commit, Log


class Lifetime:
    """Whether a log may be used: not once it is closed, not in a fork of the process that opened it."""

    __slots__ = ("_owner", "_path", "closed")

    def __init__(self, path: str | None) -> None:
        self._owner, self._path, self.closed = os.getpid(), path, False

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened the log."""
        return os.getpid() != self._owner

    def check(self) -> None:
        """Raise `StorageError` when the log may not be used any more."""
        if self.closed:
            raise StorageError(f"expected an open store, got a closed one, in {self._name}", path=self._path)
        if self.forked:
            message = f"expected the process that opened the store, got a fork of it, in {self._name}"
            raise StorageError(message, path=self._path)

    @property
    def _name(self) -> str:
        return self._path or "memory"


class WriterPlace:
    """The one place of a writer among the threads of a process."""

    __slots__ = ("_lock", "_thread", "_waiting")

    def __init__(self) -> None:
        self._lock, self._thread = Lock(), 0
        self._waiting: set[object] = set()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds the place."""
        return self._thread == get_ident()

    @property
    def is_wanted(self) -> bool:
        """Whether other threads wait for the place."""
        return bool(self._waiting)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the place and hold it; `StorageError`, and no deadlock, when this thread already does."""
        if self.is_mine:
            raise StorageError("expected one writing at a time, got another inside it", path=None)
        waiter = object()
        self._waiting.add(waiter)
        try:
            # No interrupt comes between a lock taken by `with` and the block, as one could after `acquire`.
            with self._lock:
                self._waiting.discard(waiter)
                self._thread = get_ident()
                try:
                    yield
                finally:
                    self._thread = 0
        finally:
            self._waiting.discard(waiter)


def check_commit(log: Log, commit: Commit) -> None:
    """Raise `StorageError` unless the commit continues the log exactly where it ends. A mismatch is a fault
    of the caller or the work of another program: whoever holds the writer's place knows where the log ends.
    """
    head, transaction = log.head(), commit.transaction
    _expect(log, "transaction", head.t + 1, transaction.t)
    if transaction.instant <= head.instant:
        _expect(log, "an instant after the newest", f"more than {head.instant}", transaction.instant)
    if transaction.tx_id is not None and log.transaction_by_id(transaction.tx_id) is not None:
        _expect(log, "transaction id", "a new one", transaction.tx_id)
    next_stream = log.next_stream()
    for stream, record in enumerate(commit.streams, next_stream):
        _expect(log, "stream id", stream, record.id)
        _expect(log, "transaction of a stream", transaction.t, record.t)
    ends: dict[int, int] = {}
    for stream, offset in commit.heads:
        ends[stream] = log.next_offset(stream, head.t) if stream < next_stream else 0
        _expect(log, f"next offset of stream {stream}", ends[stream], offset)
    _check_batches(log, commit, ends, next_stream + len(commit.streams))
    for entity in commit.entities:
        _expect(log, "transaction of an entity", transaction.t, entity.t)
    _expect(log, "entities once each, namely", len({entity.key for entity in commit.entities}), len(commit.entities))


def _check_batches(log: Log, commit: Commit, ends: dict[int, int], next_stream: int) -> None:
    states = 0
    for batch in commit.batches:
        _expect(log, "transaction of a batch", commit.transaction.t, batch.t)
        if batch.stream == 0:
            _expect(log, "number of a state", states, batch.first)
            states += batch.count
            continue
        if not 0 < batch.stream < next_stream or batch.count < 1:
            _expect(log, "batch", "documents of a stream", f"{batch.count} of stream {batch.stream}")
        if batch.stream not in ends:
            ends[batch.stream] = log.next_offset(batch.stream, commit.transaction.t - 1)
        _expect(log, f"first offset in stream {batch.stream}", ends[batch.stream], batch.first)
        ends[batch.stream] += batch.count


def _expect(log: Log, what: str, expected: object, actual: object) -> None:
    if expected != actual:
        message = f"expected {what} {expected}, got {actual}, in a commit to {log.path or 'memory'}"
        raise StorageError(message, path=log.path, expected=expected, actual=actual)
