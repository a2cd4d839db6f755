"""Stores as files that are to be kept: looked over, and copied while they are in use."""

from __future__ import annotations

import os

from tourlog.storage.verification import Finding, Verification

__all__ = ["Finding", "Verification", "backup", "verify"]


def verify(path: str | os.PathLike[str]) -> Verification:
    """Read the whole store at `path`, which may be in use: the file, by SQLite's own check; every row, by its checksum;
    the transactions, by their chain of digests; offsets, that have no gaps; batches, that hold what transactions wrote;
    documents, that can be decoded; counters.

    A store cut back to an earlier state is whole: what came later has left no trace. Raises StorageError when the file
    is no store or cannot be opened, be it for damage; ArgumentError for what is no path.
    """
    from tourlog.storage.verify import verify  # not for programs that stay in memory

    return verify(path)


def backup(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Verification:
    """Copy the store at `source`, which may be in use, to the new file `target`, as of one moment: with all that was
    committed before the call. Readers and writers go on meanwhile.

    The copy is made under another name in the folder of `target`, verified, written through to the disk and only then
    given its name: there is a whole backup or none. Raises StorageError, and leaves nothing behind, when `target`
    exists, the copy is not whole (`findings` says why) or one of the two files cannot be used; ArgumentError for what
    is no path.
    """
    from tourlog.storage.backup import backup  # not for programs that stay in memory

    return backup(source, target)
