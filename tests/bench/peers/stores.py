"""tourlog and two ways to do its work with SQLite from Python, behind the same few calls."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

import tourlog

Document = dict[str, Any]

NAME, VALUE = "aggregate-id", "bot-1"
"""The key of the one stream all of them write."""


class Store(Protocol):
    """A store of one stream of documents."""

    def append(self, documents: Sequence[Document]) -> None:
        """In one transaction."""

    def documents(self, start: int = 0, stop: int | None = None) -> list[Document]:
        """In order, as dicts of the caller's own."""

    def close(self) -> None: ...


def event(n: int) -> Document:
    """A small document, the n-th of the stream."""
    return {NAME: VALUE, "type": "moved", "x": n % 100, "y": n * 7 % 100, "note": "a step on the way"}


class TourlogStore:
    """tourlog; `synchronous` is "full" or "normal"."""

    def __init__(self, path: Path | None, synchronous: str = "full") -> None:
        self.conn = tourlog.connect(path, durability=synchronous)
        self._key = {NAME: VALUE}

    def append(self, documents: Sequence[Document]) -> None:
        self.conn.append(documents, NAME)

    def documents(self, start: int = 0, stop: int | None = None) -> list[Document]:
        return self.conn.db().documents(self._key, start, stop)

    def close(self) -> None:
        self.conn.close()


class PlainStore:
    """The standard library's sqlite3, write-ahead log, a row for every document, encoded by msgspec."""

    def __init__(self, path: Path, synchronous: str = "full") -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = wal")
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        self._connection.execute(
            'CREATE TABLE document (stream TEXT, "offset" INTEGER, body BLOB, PRIMARY KEY (stream, "offset"))'
        )
        self._encode, self._decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(dict[str, Any]).decode
        self._next = 0

    def append(self, documents: Sequence[Document]) -> None:
        encode = self._encode
        rows = [(VALUE, offset, encode(document)) for offset, document in enumerate(documents, self._next)]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO document VALUES (?, ?, ?)", rows)
        self._connection.execute("COMMIT")
        self._next += len(rows)

    def documents(self, start: int = 0, stop: int | None = None) -> list[Document]:
        sql = 'SELECT body FROM document WHERE stream = ? AND "offset" >= ? AND "offset" < ? ORDER BY "offset"'
        rows: Iterable[tuple[bytes]] = self._connection.execute(
            sql, (VALUE, start, self._next if stop is None else stop)
        )
        decode = self._decode
        return [decode(body) for (body,) in rows]

    def close(self) -> None:
        self._connection.close()
