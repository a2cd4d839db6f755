"""Keeps a store's write-ahead log from growing without end, and says who keeps it from being begun anew.

SQLite begins the log anew once all of it is in the store's file and nobody reads it. Readers that overlap are waited
for, a moment; one that stays open for long cannot be, and the log grows until it ends.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from tourlog.errors import LongReadWarning

if TYPE_CHECKING:
    from apsw import Connection

LARGE = 1 << 26
"""Four times what a checkpoint waits for."""

_FIRST_PATIENCE, _PATIENCE, _RETRY_SECONDS = 1.0, 0.05, 1.0
"""How long readers are waited for, each time the log has doubled and otherwise, and how often: a writer beside one that
stays loses a twentieth of its time."""
_LOOK_SECONDS = 0.01
"""How often the log's size is looked at: asking for it takes 3 µs, a small transaction 80."""

_READ_LOCKS = range(124, 128)
"""The bytes of the -shm file that SQLite locks for those who read the log."""


class Checkpoints:
    """Looks at the log of a writing connection before each of its transactions."""

    def __init__(
        self, connection: Connection, path: str, *, patience: float, wait: Callable[[float], Callable[[int], bool]]
    ) -> None:
        self._connection, self._path, self._log = connection, path, Path(f"{path}-wal")
        self._patience, self._wait = patience, wait
        """The connection's own patience in seconds, and what makes a busy handler of one."""
        self._next, self._warned = 0.0, LARGE

    def look(self) -> None:
        """Empty a large log, or warn, once each time it has doubled, that a reader keeps it. To be called outside
        transactions: a warning that is made an error must not look like one of a commit that was made."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + _LOOK_SECONDS
        size = self._log.stat().st_size if self._log.exists() else 0
        if size <= LARGE:
            self._warned = LARGE
            return
        has_doubled = size >= self._warned
        if not self._emptied(_FIRST_PATIENCE if has_doubled else _PATIENCE):
            self._next = monotonic() + _RETRY_SECONDS
            if has_doubled and self._is_read():
                self._warned = 2 * size
                self._warn(size)

    def _emptied(self, patience: float) -> bool:
        import apsw  # heavy

        self._connection.set_busy_handler(self._wait(min(patience, self._patience)))
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:  # of a reader, or of another process that writes and does the same
            return False
        finally:
            self._connection.set_busy_handler(self._wait(self._patience))
        return True

    def _is_read(self) -> bool:
        """Whether a reader, and not a writer, keeps a part of the log from going to the store's file."""
        import apsw  # heavy

        frames, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return moved < frames

    def _warn(self, size: int) -> None:
        message = (
            f"expected the write-ahead log to stay under {LARGE:,} bytes, got {size:,}, in {self._path}: "
            f"{named(readers(self._path))} has read the store without a pause since it was shorter; "
            "it shrinks when that read ends (a backup, a verify, or another program's open transaction)"
        )
        warnings.warn(LongReadWarning(message), stacklevel=2)


def readers(path: str) -> list[int]:
    """The processes that read the log of a store at this moment, as far as Linux tells; the -shm file itself is not
    opened, for closing it would drop this process's locks on it."""
    locks, shared = Path("/proc/locks"), Path(f"{path}-shm")
    if not locks.exists() or not shared.exists():
        return []
    inode, found = str(shared.stat().st_ino), set()
    for line in locks.read_text(errors="replace").splitlines():
        match line.split():
            case [_, "POSIX", _, "READ", pid, file, first, last] if file.rpartition(":")[2] == inode:
                if int(first) in _READ_LOCKS or (last.isdecimal() and int(last) in _READ_LOCKS):
                    found.add(int(pid))
    return sorted(found)


def named(processes: list[int]) -> str:
    """Processes in words.

    >>> named([]), named([11, 12])
    ('a connection', 'a connection of process 11 or 12')
    """
    if not processes:
        return "a connection"
    own = os.getpid()
    return f"a connection of process {' or '.join(f'{p} (this one)' if p == own else str(p) for p in processes)}"
