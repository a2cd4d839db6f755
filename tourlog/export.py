"""Documents on their way out of a store into files: those of some streams, in the order of commits, and files that are
whole or not there. Knows no format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import UUID

from tourlog.database import Database, check_database
from tourlog.errors import ArgumentError, StorageError, shown
from tourlog.fact_index import instant_of
from tourlog.snapshot import EVERYTHING, Snapshot
from tourlog.storage.log import StreamRecord
from tourlog.stream import ID_KEY, INSTANT_KEY, OFFSET_KEY, ORDER_KEY, TX_KEY, document_place
from tourlog.subscription import LogReader, selection

PLACE = (ID_KEY, ORDER_KEY, OFFSET_KEY, TX_KEY, INSTANT_KEY)
"""The columns that say where a document stands, before those of its attributes."""

SQLITE = b"SQLite format 3\0"
"""What the file of a store begins with."""

_CACHED_STREAMS = 4096


class Placed(NamedTuple):
    """A document as it is at a position, without id and offset, and where it stands."""

    e: UUID
    stream: StreamRecord
    offset: int
    t: int
    instant: datetime
    document: dict[str, Any]

    def place(self) -> tuple[Any, ...]:
        """What stands in the columns of `PLACE`."""
        return self.e, list(self.stream.names), self.offset, self.t, self.instant


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote: how many `documents`, the `columns` (none for JSON lines), as of which position `t`."""

    documents: int
    columns: tuple[str, ...]
    t: int


def check_exportable(db: Database, key: Any) -> None:
    """Raise `ArgumentError` unless this is a database value with documents, and `key` one as `Connection.subscribe`
    takes it."""
    check_database(db)
    selection(key)
    if not db.snapshot.is_plain:
        raise ArgumentError("expected a database as of a position, got a history or a since", argument="db")


def placed_documents(db: Database, key: Any) -> Iterator[Placed]:
    """The documents of the streams a `key` selects, as they are in `db`, in the order of commits; read as they are
    asked for."""
    snapshot = db.snapshot
    instant = lru_cache(maxsize=1)(lambda t: instant_of(snapshot.log.transaction(t).instant))  # type: ignore[union-attr]  # positions are dense
    for e, record, offset, t, document in _documents(db, snapshot, key):
        yield Placed(e, record, offset, t, instant(t), document)


def _documents(
    db: Database, snapshot: Snapshot, key: Any
) -> Iterator[tuple[UUID, StreamRecord, int, int, dict[str, Any]]]:
    chosen = selection(key)
    if chosen.is_one:
        stream = db.stream(key)
        record = snapshot.find_stream(stream)
        for each in snapshot.ordered(stream, 0, EVERYTHING):
            assert record is not None, "it has documents"
            yield each.e, record, each.offset, each.tx, each.document
        return
    stream_by_prefix = lru_cache(maxsize=_CACHED_STREAMS)(snapshot.log.stream_by_prefix)
    for position, document in LogReader(chosen, None, snapshot).read(snapshot):
        e, offset = document.pop(ID_KEY), document.pop(OFFSET_KEY)
        place = document_place(e)
        found = stream_by_prefix(place[0]) if place is not None else None
        assert found is not None, "an ordered document has a stream"
        yield e, found, offset, position.t, document


def attribute_names(db: Database, key: Any) -> list[str]:
    """The names of all attributes that `placed_documents` have, in order of first appearance."""
    names: dict[str, None] = {}
    for each in placed_documents(db, key):
        names.update(dict.fromkeys(each.document))
    return list(names)


@contextmanager
def replaced_file(file: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write under another name; at the end of the block it is written through to the disk and takes the
    place of `file`, if that is there, in one step. After an error nothing has changed.

    Raises ArgumentError for what is no path, or that of a store; StorageError when it cannot be written.
    """
    name = _name(file)
    try:
        target = _target(name)
        with _temporary(target) as (made, opened):
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
            opened.close()
            made.replace(target)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"expected a file that can be written, got {reason}, in {name}", path=name) from error


def _name(file: object) -> str:
    name = os.fspath(file) if isinstance(file, str | os.PathLike) else file
    if type(name) is not str or not name or "\0" in name:
        raise ArgumentError(f"expected the path of a file to write, got {shown(file)}", argument="file")
    return name


def _target(name: str) -> Path:
    path = Path(os.path.realpath(name))  # `Path.resolve` raises RuntimeError for links in a circle
    if path.exists() and not path.is_file():
        raise ArgumentError(f"expected the path of a file to write, got what is no file: {path}", argument="file")
    if path.exists():
        with path.open("rb") as present:
            is_store = present.read(len(SQLITE)) == SQLITE
        if is_store:
            raise ArgumentError(f"expected the path of a file to write, got that of a store: {path}", argument="file")
    return path


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666
    made = target.with_name(f".tourlog-{os.urandom(8).hex()}")
    with os.fdopen(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as opened:
        try:
            yield made, opened
        finally:
            made.unlink(missing_ok=True)
