"""One SQLite file as a store: made or recognised, read by a pool of connections, written by one.

With `sqlite.py` all that knows SQLite; knows the tables but not what the rows mean.
"""

from __future__ import annotations

import atexit
import os
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NoReturn
from zlib import crc32

from tourlog.errors import ArgumentError, StorageError, shown
from tourlog.storage.checkpoints import Checkpoints
from tourlog.storage.common import Lifetime
from tourlog.storage.room import Room
from tourlog.storage.writer import Writer

if TYPE_CHECKING:
    from types import ModuleType

    from apsw import Connection

APPLICATION_ID = int.from_bytes(b"tour", "big")
VERSION = 3
_READ_VERSIONS = (2, 3)
"""Version 2 knows no compressed bodies; a store becomes one of version 3 when it is opened for writing."""

OFFSET_BITS = 35
"""How many of a place's bits are the offset; the others are the stream."""

_SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL"}
_IDLE_READERS = 8
_LARGEST = (1 << 63) - 1
_PAGE_BYTES = 4096
_CHECKPOINT_PAGES = 4_000
"""A checkpoint costs two syncs and the pages written since, each once: small commits write the same few often."""

_MAGIC = b"SQLite format 3\0"
_HEADER = struct.Struct(">16s 44x I 4x I 28x")
"""Of an SQLite file's header: the magic, `user_version` and `application_id`."""

_JOURNAL = struct.Struct(">8s 8x I")
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""Of a rollback journal's header: the magic, and how many pages the file had before."""

_SCHEMA = """
CREATE TABLE store (key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE tx (
    t INTEGER PRIMARY KEY,
    instant INTEGER NOT NULL,
    tx_id BLOB,
    batches INTEGER NOT NULL,
    amended INTEGER NOT NULL,
    places BLOB NOT NULL,
    crc INTEGER NOT NULL,
    digest BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX tx_by_id ON tx (tx_id) WHERE tx_id IS NOT NULL;
CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    names BLOB NOT NULL,
    vals BLOB NOT NULL,
    key BLOB NOT NULL UNIQUE,
    name BLOB NOT NULL UNIQUE,
    prefix INTEGER NOT NULL UNIQUE,
    t INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE TABLE batch (
    place INTEGER PRIMARY KEY,
    t INTEGER NOT NULL,
    count INTEGER NOT NULL,
    spans BLOB,
    body_crc INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE entity (
    key BLOB NOT NULL,
    t INTEGER NOT NULL,
    state BLOB NOT NULL,
    stream INTEGER,
    "offset" INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (key, t)
) STRICT, WITHOUT ROWID;
CREATE INDEX entity_in_stream ON entity (stream, "offset", t) WHERE stream IS NOT NULL;
"""
"""A batch's place is its stream and its first document in one number, so that a stream's documents stand together
and appending touches one page of `batch` and one of `tx`. `tx.places` are the places, counts and checksums of the
batches a transaction wrote, in order: compaction joins batches but leaves what was written when. `tx.batches` and
`tx.amended` count the batches, and the changes of ordered documents, up to that transaction. Texts are blobs because
strings may hold lone surrogates. A row's `crc` is over the other columns before it, `tx.digest` the chain's."""

_REASONS = {
    "BusyError": "is locked by another program",
    "LockedError": "is locked by another program",
    "FullError": "has no room left on its disk",
    "ReadOnlyError": "cannot be written",
    "CantOpenError": "cannot be opened",
    "PermissionsError": "cannot be used with these permissions",
    "NotADBError": "is no tourlog store",
    "CorruptError": "is damaged",
    "UnicodeDecodeError": "is damaged",  # a flipped bit makes the driver take bytes for a text
    "IOError": "its disk cannot read or write",
    "TooBigError": "cannot hold a value that large",
    "ConstraintError": "holds something else in that place",
}


class StoreFile:
    """An open store: hands a connection to every reader and the one writing connection to the writer."""

    def __init__(self, path: str | os.PathLike[str], *, durability: str, read_only: bool, patience: float) -> None:
        if durability not in _SYNCHRONOUS:
            message = f"expected a durability of 'full' or 'normal', got {durability!r}"
            raise ArgumentError(message, durability=durability)
        self._driver = _driver()
        self._durability, self._patience = durability, patience
        self._idle: list[Connection] = []
        self._writer: Writer | None = None
        self._made_side_files = False
        self._path = _absolute(path)
        self.path = str(self._path)
        self.lifetime = Lifetime(self.path)
        try:
            self._check_place(read_only)
            self._check_header()
            self._made_side_files = read_only and not _side_file(self._path).exists()
            if not read_only:
                connection = self._open_writer()
                self._writer = Writer(
                    connection,
                    self.lifetime,
                    checkpoints=Checkpoints(connection, self.path, patience=patience, wait=_Patience),
                    room=_room(self.path) if durability == "full" else None,
                    driver_error=self._driver.Error,
                    failure=self._failure,
                    shares=durability == "full",
                    patience=patience,
                )
            reader = self._open_reader()
            self._idle.append(reader)
            self._check_tables(reader)
        except (self._driver.Error, OSError, UnicodeDecodeError) as error:
            self.close()
            raise self._failure(error) from error
        except StorageError:
            self.close()
            raise

    def reading(self) -> _Reading:
        """A connection of the caller's own for one short read: the writer's, where it sees more."""
        self.lifetime.check()
        writer = self._writer
        return _Reading(self, writer.connection if writer is not None and writer.sees_more else None)

    def committed(self) -> _Reading:
        """A connection that sees what is committed only, for one short read."""
        return _Reading(self, None)

    @property
    def sees_more(self) -> bool:
        """Whether the calling thread writes on top of transactions that are not committed yet."""
        return self._writer is not None and self._writer.sees_more

    def held_writer(self) -> Writer | None:
        """The writer if the calling thread is inside `writing`."""
        self.lifetime.check()
        writer = self._writer
        return writer if writer is not None and writer.place.is_mine else None

    def writer(self) -> Writer:
        """Who hands out the writing connection; `StorageError` for a store that is open for reading only."""
        self.lifetime.check()
        if self._writer is None:
            self._refuse("a writable store", "one opened read-only")
        return self._writer

    def writing(self, *, alone: bool = False) -> AbstractContextManager[None]:
        """One transaction on the writing connection: committed at the end, undone by an exception."""
        return self.writer().writing(alone=alone)

    def check_writing(self) -> Writer:
        """The writer; `StorageError` unless the calling thread is inside `writing`."""
        writer = self.writer()
        if not writer.place.is_mine:
            self._refuse("a write inside writing()", "one outside")
        return writer

    def close(self) -> None:
        """Wait for the writer, then let go of the file; readers end with the call they are in."""
        if self.lifetime.closed or self.lifetime.forked:
            # A forked process must not touch the connections: they are the other process's.
            self.lifetime.closed = True
            return
        with self._writer.place.taken() if self._writer is not None else nullcontext():
            self.lifetime.closed = True
            self._close_idle()
            if self._writer is not None:
                self._writer.close()
            elif self._made_side_files:
                self._remove_side_files()

    def taken(self) -> Connection:
        """A connection that reads, until it is given back."""
        try:
            return self._idle_reader() or self._open_reader()
        except (self._driver.Error, UnicodeDecodeError) as error:
            raise self._failure(error) from error

    def translate(self, error: BaseException) -> None:
        """Raise an error of the driver's as one of ours."""
        if isinstance(error, (self._driver.Error, UnicodeDecodeError)):
            raise self._failure(error) from error

    def _idle_reader(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next read, or close it."""
        if len(self._idle) < _IDLE_READERS:
            self._idle.append(connection)
        else:
            connection.close()
        if self.lifetime.closed:
            self._close_idle()

    def _close_idle(self) -> None:
        while (connection := self._idle_reader()) is not None:
            connection.close()

    def _check_place(self, read_only: bool) -> None:
        exists = self._path.exists()
        if exists and not self._path.is_file():
            self._refuse("a file", "a directory" if self._path.is_dir() else "neither a file nor a directory")
        if not self._path.parent.is_dir():
            self._refuse(f"a file in an existing directory (there is no {self._path.parent})", "none")
        if not _side_file(self._path).exists() and not os.access(self._path.parent, os.W_OK):
            self._refuse("a folder where SQLite can make the -wal and -shm files of a store", "a read-only one")
        if read_only and not (exists and self._path.stat().st_size):
            self._refuse("a store to read", "an empty file" if exists else "no such file")

    def _check_header(self) -> None:
        """Refuse what is no store before anything could change it. SQLite's own file functions read it: a plain
        `open` would drop, on closing, the locks that other connections of this process hold on the file. And no
        connection does: without the write-ahead log it finds a file damaged whose checkpoint a kill cut short.
        """
        if not self._path.exists() or not self._path.stat().st_size:
            return
        flags = self._driver.SQLITE_OPEN_MAIN_DB | self._driver.SQLITE_OPEN_READONLY
        file = self._driver.VFSFile("", self.path, [flags, 0])
        try:
            header = file.xRead(_HEADER.size, 0)
        finally:
            file.xClose()
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            if _is_half_made(self._path):
                return  # opening it empties it
            self._refuse("a tourlog store", "another kind of file")
        _, version, application = _HEADER.unpack(header)
        self._recognise(application, version)

    def _recognise(self, application: int, version: int) -> None:
        if application != APPLICATION_ID:
            self._refuse("a tourlog store", f"an SQLite file of another application ({application:#x})")
        if version > VERSION:
            self._refuse(f"a store of version {VERSION}", f"the newer version {version}: a newer tourlog wrote it")
        if version not in _READ_VERSIONS:
            self._refuse(f"a store of version {VERSION}", f"version {version}, of before the first release")

    def _check_tables(self, connection: Connection) -> None:
        """Refuse tables and indexes that are not those of a store: what SQLite took from them could not be trusted."""
        found = connection.execute("SELECT sql FROM sqlite_schema WHERE rowid > 0 AND sql IS NOT NULL").fetchall()
        expected = [(each.strip(),) for each in _SCHEMA.split(";") if each.strip()]
        if found != expected:
            other = next((sql for (sql,) in found if (sql,) not in expected), "too few")
            self._refuse("the tables of a store", f"others, as in a damaged one ({shown(other)})")

    def _open_writer(self) -> Connection:
        with self._connected(self._driver.SQLITE_OPEN_READWRITE | self._driver.SQLITE_OPEN_CREATE) as connection:
            if connection.readonly("main"):
                self._refuse("a file that can be written", "a read-only one")
            if _is_empty(connection):
                self._create(connection)
            self._recognise(*_marks(connection))
            self._switch_to_wal(connection)
            if _marks(connection)[1] != VERSION:
                connection.pragma("user_version", VERSION)
            connection.pragma("synchronous", _SYNCHRONOUS[self._durability])
            connection.pragma("fullfsync", self._durability == "full")
            connection.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
        return connection

    def _open_reader(self) -> Connection:
        with self._connected(self._driver.SQLITE_OPEN_READONLY) as connection:
            connection.pragma("query_only", True)
            self._recognise(*_marks(connection))
        return connection

    @contextmanager
    def _connected(self, flags: int) -> Iterator[Connection]:
        """A new connection to set up: an exception closes it."""
        connection: Connection = self._driver.Connection(self.path, flags=flags)
        try:
            connection.set_busy_handler(_Patience(self._patience))
            connection.pragma("trusted_schema", False)
            connection.pragma("cell_size_check", True)
            yield connection
        except BaseException:
            connection.close()
            raise

    def _create(self, connection: Connection) -> None:
        """Make the tables in one transaction, with a rollback journal: a kill leaves an empty file or a
        store, and the header of the file itself says whose it is, whatever a write-ahead log later holds."""
        connection.execute("BEGIN IMMEDIATE")
        if _is_empty(connection):
            connection.execute(_SCHEMA)
            salt = os.urandom(16)
            connection.execute("INSERT INTO store VALUES ('salt', ?, ?)", (salt, crc32(salt)))
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", VERSION)
        connection.execute("COMMIT")

    def _switch_to_wal(self, connection: Connection) -> None:
        patience, attempts = _Patience(self._patience), 0
        while True:
            try:
                mode = connection.pragma("journal_mode", "wal")
            except self._driver.BusyError:
                # SQLite does not always call the busy handler here, and another process may be opening too.
                if not patience(attempts):
                    raise
                attempts += 1
                continue
            if mode != "wal":
                self._refuse("a file system with write-ahead logging", f"journal mode {mode}")
            return

    def _remove_side_files(self) -> None:
        """SQLite makes a -wal and a -shm file for readers too, but only a connection that may write removes
        them, when it is the last to close. With nothing in them it writes nothing."""
        side_file = _side_file(self._path)
        if not side_file.exists() or side_file.stat().st_size:
            return
        try:
            with self._connected(self._driver.SQLITE_OPEN_READWRITE) as connection:
                connection.set_busy_handler(None)
                connection.pragma("user_version")
                connection.close()
        except self._driver.BusyError:
            return  # whoever uses the store now closes it later
        except self._driver.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> StorageError:
        """An error of the driver or the file system as one of ours."""
        reason = _REASONS.get(type(error).__name__, "fails")
        message = f"expected a store that can be used, got one that {reason} ({error}), in {self.path}"
        return StorageError(message, path=self.path)

    def _refuse(self, expected: str, actual: str) -> NoReturn:
        raise StorageError(f"expected {expected}, got {actual}, in {self.path}", path=self.path)


class _Reading:
    """A block with a connection of a store: `shared`, or one of its pool. What the driver raises in it is raised as
    ours. A generator takes twice the time, and short reads have one or two of these."""

    __slots__ = ("_connection", "_file", "_is_shared")

    def __init__(self, file: StoreFile, shared: Connection | None) -> None:
        self._file, self._connection, self._is_shared = file, shared, shared is not None

    def __enter__(self) -> Connection:
        if self._connection is None:
            self._connection = self._file.taken()
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._connection is not None and not self._is_shared:
            self._file.give_back(self._connection)
        if error is not None:
            self._file.translate(error)


class _Patience:
    """A busy handler: waits in short steps, so that writers of several processes get their turn."""

    __slots__ = ("_seconds", "_until")

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, 0.0

    def __call__(self, attempts: int) -> bool:
        now = monotonic()
        if attempts == 0:
            self._until = now + self._seconds
        sleep(min(0.0005 * (attempts + 1), 0.01))
        return now < self._until


@cache
def _driver() -> ModuleType:
    import apsw  # heavy: a log in memory must not pay for it

    if hasattr(os, "register_at_fork"):
        # Closing a connection in a fork undoes its open transaction in memory that the processes share, and so
        # damages what the other one is writing. APSW closes all when the interpreter ends.
        os.register_at_fork(after_in_child=lambda: atexit.register(_never_free, apsw, *apsw.connections()))
    return apsw


def _never_free(*objects: object) -> None:
    import ctypes  # needed by forks only, at their end

    for each in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))


def _absolute(path: str | os.PathLike[str]) -> Path:
    try:
        absolute = Path(path).absolute()
        str(absolute).encode()
        absolute.stat()
    except OSError:
        return absolute
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"expected the path of a store, got {path!r}", path=path) from error
    return absolute


def _side_file(path: Path) -> Path:
    """Where SQLite keeps the write-ahead log."""
    return path.with_name(f"{path.name}-wal")


def _room(path: str) -> Room | None:
    """Room in a log up to where SQLite begins it anew; none where files cannot be written at a place."""
    return Room(path, upto=_CHECKPOINT_PAGES * _PAGE_BYTES) if hasattr(os, "pwrite") else None


def _is_half_made(path: Path) -> bool:
    """Whether a power cut came while the file was made: its pages may be there in part, in any order, and SQLite's
    rollback journal tells that it was empty before."""
    journal = path.with_name(f"{path.name}-journal")
    if not journal.is_file():
        return False
    with journal.open("rb") as file:
        header = file.read(_JOURNAL.size)
    return len(header) == _JOURNAL.size and _JOURNAL.unpack(header) == (_JOURNAL_MAGIC, 0)


def _marks(connection: Connection) -> tuple[int, int]:
    return connection.pragma("application_id"), connection.pragma("user_version")


def _is_empty(connection: Connection) -> bool:
    tables = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    return not tables and not connection.pragma("application_id")


def all_rows(connection: Connection, sql: str, bindings: tuple[Any, ...]) -> list[Any]:
    """Every row at once: a row left unfetched would hold the read open."""
    return connection.execute(sql, bindings).fetchall()


def bounded(number: int) -> int:
    """A position, offset or id within what SQLite holds; nothing stored lies outside."""
    return max(-1, min(number, _LARGEST))
