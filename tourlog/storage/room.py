"""Room in a store's write-ahead log, made ahead of what is written. A sync after a write that made the file longer
takes half as long again: the file system has to write down the new length, too.
"""

from __future__ import annotations

import os
from weakref import finalize

_LEAST, _MOST = 1 << 15, 1 << 18
"""So many bytes are made at a time: as many as there are, between these. Larger steps save no more, and the commit that
syncs one, too, takes longer."""


class Room:
    """Makes a log longer whenever it has become so by itself, up to a size where it is soon begun anew.

    SQLite reads its log up to the first frame that is none, which zeros are: those of former rounds lie there as well.
    """

    def __init__(self, path: str, *, upto: int) -> None:
        self._log, self._upto = f"{path}-wal", upto
        self._size = 0
        self._close: finalize[[int], Room] | None = None
        self._file = -1

    def make(self) -> None:
        """To be called by who may write, inside a transaction that has not written yet. Where there is none to be had,
        all is as without: SQLite says what is wrong when it needs some itself."""
        try:
            self._make()
        except OSError:
            self._size = -1  # to look again

    def close(self) -> None:
        """Let go of the file."""
        if self._close is not None:
            self._close()

    def _make(self) -> None:
        if self._close is None:
            self._file = os.open(self._log, os.O_RDWR)
            self._close = finalize(self, os.close, self._file)
        # Not by `fstat`: where a file's times are finer than a tick (Linux 6.13) the next write then changes them, and
        # syncing takes a third longer.
        size = os.lseek(self._file, 0, os.SEEK_END)
        if size > self._size:
            more = min(max(size, _LEAST), _MOST, self._upto - size)
            size += self._lengthened(size, more) if size and more > 0 else 0
        self._size = size

    def _lengthened(self, size: int, more: int) -> int:
        """By how much the file got longer: all or nothing."""
        try:
            if os.pwrite(self._file, bytes(more), size) == more:
                return more
        except OSError:  # none left: what there is of it is given back
            pass
        os.ftruncate(self._file, size)
        return 0
