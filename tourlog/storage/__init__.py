"""The log: transactions as record batches, in order, in memory or in one SQLite file."""

from __future__ import annotations

import os

from tourlog.storage.log import Log
from tourlog.storage.memory import MemoryLog

__all__ = ["Log", "open_log"]


def open_log(
    path: str | os.PathLike[str] | None, *, durability: str = "full", read_only: bool = False, patience: float = 10.0
) -> Log:
    """The log in the file at `path`, made if there is none; a new log in memory for None.

    `durability` is "full" (a commit survives power loss) or "normal" (it survives a killed process). Who
    writes waits at most `patience` seconds for others. Raises
    `StorageError` when the file is no store, or one that cannot be opened, and says why.
    """
    if path is None:
        return MemoryLog(patience=patience)
    from tourlog.storage.sqlite import SqliteLog  # not for programs that stay in memory

    return SqliteLog(path, durability=durability, read_only=read_only, patience=patience)
