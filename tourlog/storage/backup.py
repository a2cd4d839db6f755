"""Copies a store that may be in use, page by page, by SQLite's own backup: one moment of it, whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tourlog.errors import ArgumentError, StorageError
from tourlog.storage.sqlite_file import StoreFile
from tourlog.storage.verification import Verification
from tourlog.storage.verify import verify

_STEP_PAGES = 1_000
"""Between two steps Python hears of an interrupt."""

_SIDE_FILES = ("-wal", "-shm", "-journal")
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def backup(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Verification:
    """See `tourlog.backup`."""
    to = _new_file(target)
    file = StoreFile(source, durability="full", read_only=True, patience=10.0)
    try:
        with _temporary(to, Path(file.path)) as made:
            _copy(file, made)
            found = verify(made)
            if not found.ok:
                message = f"expected a whole copy of {file.path}, got one with {len(found.findings)} findings"
                first = ": ".join(found.findings[0])
                raise StorageError(f"{message}, the first {first}", path=file.path, findings=found.findings)
            _sync(made)
            _name(made, to)
            _sync(to.parent)
    except OSError as error:
        raise StorageError(f"expected a place for a backup, got {error}, in {to}", path=str(to)) from error
    finally:
        file.close()
    return replace(found, path=str(to))


def _new_file(target: object) -> Path:
    """The path of a file that is to be made; what lies there, or beside it, would be lost or taken for part of it."""
    if not isinstance(target, str | os.PathLike) or "\0" in str(target):
        raise ArgumentError(f"expected the path of a new file, got {target!r}", target=target)
    to = Path(target).absolute()
    if not to.parent.is_dir():
        raise StorageError(f"expected a new file in an existing folder, got none at {to.parent}, in {to}", path=str(to))
    for path in (to, *_beside(to)):
        if os.path.lexists(path):
            raise StorageError(f"expected a new file for a backup, got one that exists: {path}", path=str(path))
    return to


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _SIDE_FILES]


@contextmanager
def _temporary(to: Path, source: Path) -> Iterator[Path]:
    """A new file beside `to`, for no more eyes than the source; gone at the end with all that SQLite put beside it."""
    made = to.with_name(f".tourlog-{os.urandom(8).hex()}")
    os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, source.stat().st_mode & 0o777 | 0o600))
    try:
        yield made
    finally:
        for path in (made, *_beside(made)):
            path.unlink(missing_ok=True)


def _copy(file: StoreFile, made: Path) -> None:
    """All pages, as one read transaction has them: writers go on, and the copy need not begin again."""
    import apsw  # heavy

    with file.reading() as connection:
        try:
            copy = apsw.Connection(str(made), flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                connection.execute("BEGIN; SELECT 1 FROM sqlite_schema").fetchall()
                with copy.backup("main", connection, "main") as pages:
                    while not pages.done:
                        pages.step(_STEP_PAGES)
            finally:
                copy.close()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except apsw.Error as error:
            message = f"expected a backup of {file.path}, got a failure ({error}), in {made.parent}"
            raise StorageError(message, path=file.path) from error


def _sync(path: Path) -> None:
    """Write a file, or the names in a folder, through to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # folders cannot be opened there
    opened = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _name(made: Path, to: Path) -> None:
    """Give the copy its name, unless somebody has taken it meanwhile: then `FileExistsError`."""
    try:
        os.link(made, to)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A file system without hard links, as on a memory stick: the name is taken first.
        os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        made.replace(to)
