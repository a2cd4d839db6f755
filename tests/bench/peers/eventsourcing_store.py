"""The recorders of eventsourcing as stores: its SQLite file and its plain Python objects. States are encoded by
msgspec, which is faster than the library's own transcoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from eventsourcing.popo import POPOApplicationRecorder
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

Document = dict[str, Any]

ORIGINATOR = UUID(int=7)


class EventSourcingStore:
    """An application recorder: of a file, or in memory when there is no path."""

    def __init__(self, path: Path | None, synchronous: str | None = None) -> None:
        """`synchronous` None leaves it as the library sets it."""
        self._datastore = None if path is None else SQLiteDatastore(str(path))
        self._recorder = _recorder(self._datastore)
        if self._datastore is not None and synchronous is not None:
            with self._datastore.get_connection(commit=True) as connection:
                connection.cursor().execute(f"PRAGMA synchronous = {synchronous}")
        self._encode, self._decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(dict[str, Any]).decode
        self._next = 0

    @property
    def synchronous(self) -> str:
        """What the file's connection runs with."""
        assert self._datastore is not None
        with self._datastore.transaction(commit=False) as cursor:
            cursor.execute("PRAGMA synchronous")
            return ("off", "normal", "full", "extra")[cursor.fetchone()[0]]

    def append(self, documents: Sequence[Document]) -> None:
        encode = self._encode
        self._recorder.insert_events(
            [
                StoredEvent(ORIGINATOR, version, "bots:Event", encode(document))
                for version, document in enumerate(documents, self._next)
            ]
        )
        self._next += len(documents)

    def documents(self, start: int = 0, stop: int | None = None) -> list[Document]:
        decode = self._decode
        last = None if stop is None else stop - 1
        events = self._recorder.select_events(ORIGINATOR, gt=start - 1 if start else None, lte=last)
        return [decode(event.state) for event in events]

    def close(self) -> None:
        if self._datastore is not None:
            self._datastore.close()


def _recorder(datastore: SQLiteDatastore | None) -> ApplicationRecorder:
    if datastore is None:
        return POPOApplicationRecorder()
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    return recorder
