"""Looks over a whole store and says what is not as it was written. Reads only, in one read transaction; knows the
rows and how they hang together, nothing of what documents mean.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

from tourlog.encoding import decode, decode_documents
from tourlog.errors import StorageError, shown
from tourlog.storage.batches import Pieces, spans_of, transaction_at
from tourlog.storage.log import Batch
from tourlog.storage.rows import (
    BATCH,
    ENTITY,
    MOST_DOCUMENTS,
    STREAM,
    TX,
    Row,
    Rows,
    chained,
    first_digest,
    place_of,
    written,
)
from tourlog.storage.sqlite_file import OFFSET_BITS, StoreFile
from tourlog.storage.verification import Finding, Verification

if TYPE_CHECKING:
    from apsw import Connection

MOST_FINDINGS = 1_000
_MOST_HELD = 256
"""Batches held at a time, for what compaction joined."""

_TXS = f"SELECT {TX}, digest FROM tx ORDER BY t"
_STREAMS = f"SELECT {STREAM} FROM stream ORDER BY id"
_BATCHES = f"SELECT {BATCH} FROM batch ORDER BY place"
_ENTITIES = f"SELECT {ENTITY} FROM entity ORDER BY t, key"
_HOLDING = f"SELECT {BATCH} FROM batch WHERE place >= ?1 AND place <= ?2 ORDER BY place DESC LIMIT 1"


_Held: TypeAlias = dict[int, tuple[Batch, Pieces]]
"""Batches by stream, as transactions come by them."""


def verify(path: str | os.PathLike[str]) -> Verification:
    """See `tourlog.verify`."""
    file = StoreFile(path, durability="full", read_only=True, patience=10.0)
    try:
        with file.reading() as connection:
            connection.execute("BEGIN")
            try:
                return _verified(connection, file.path)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
    finally:
        file.close()


def _verified(connection: Connection, path: str) -> Verification:
    view = _View(connection, path)
    found = list(islice(_findings(view), MOST_FINDINGS + 1))
    if len(found) > MOST_FINDINGS:
        found[MOST_FINDINGS:] = [Finding("store", f"more than {MOST_FINDINGS} findings; the rest was not looked at")]
    findings = tuple(dict.fromkeys(found))  # damage to a batch shows in `batch` and in `tx`
    return Verification(path, view.position, view.streams, view.documents, view.batches, view.entities, findings)


@dataclass(slots=True)
class _View:
    """The store under the glass, and what was counted so far."""

    connection: Connection
    path: str
    rows: Rows = field(init=False)
    position: int = 0
    streams: int = 0
    documents: int = 0
    batches: int = 0
    states: int = 0
    entities: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    """The next offsets of streams, as the batches have them."""

    def select(self, sql: str, *bindings: int) -> Iterator[Row]:
        return iter(self.connection.execute(sql, bindings))


def _findings(view: _View) -> Iterator[Finding]:
    yield from _guarded("file", _file(view))
    salts: list[bytes] = []
    yield from _guarded("store", _salt(view, salts))
    if not salts:
        return  # no checksum can be tried without it
    view.rows = Rows(view.path, crc32(salts[0]))
    yield from _guarded("batches", _batches(view))
    yield from _guarded("transactions", _transactions(view, salts[0]))


def _guarded(where: str, part: Iterator[Finding]) -> Iterator[Finding]:
    """A part's findings; pages that SQLite cannot read end it and are one more."""
    import apsw  # heavy

    try:
        yield from part
    except (apsw.Error, UnicodeDecodeError) as error:
        yield Finding(where, f"cannot be read on: {error}")


def _file(view: _View) -> Iterator[Finding]:
    for (line,) in view.select("PRAGMA integrity_check(100)"):
        if line != "ok":
            yield Finding("file", " ".join(str(line).split()))


def _salt(view: _View, salts: list[bytes]) -> Iterator[Finding]:
    for key, salt, crc in view.select("SELECT key, value, crc FROM store"):
        if key == "salt" and type(salt) is bytes and crc32(salt) == crc:
            salts.append(salt)
        else:
            yield Finding("store", f"expected the salt as it was written, got {shown((key, salt, crc))}")
    if not salts:
        yield Finding("store", "expected a salt, got none: checksums cannot be tried")


def _batches(view: _View) -> Iterator[Finding]:
    """Every row of `batch` by itself, and that those of a stream follow each other."""
    for row in view.select(_BATCHES):
        where = _at(row[0])
        try:
            batch = view.rows.batch(row)
            found = _decoded(batch)
        except StorageError as error:
            yield Finding(where, str(error))
            continue
        view.batches += 1
        if found != batch.count or sum(count for _, count in spans_of(batch)) != batch.count:
            yield Finding(where, f"expected {batch.count} documents, got {found}, with the spans {batch.spans}")
        if not batch.stream:
            view.states += 1
            continue
        view.documents += found
        expected = view.ends.get(batch.stream, 0)
        if batch.first != expected:
            yield Finding(where, f"expected offset {expected} next, got {batch.first}")
        view.ends[batch.stream] = batch.first + batch.count


def _decoded(batch: Batch) -> int:
    """How many documents, or states, the batch has; `StorageError` for bytes that are none."""
    if batch.stream:
        return len(decode_documents(batch.body))
    states = decode(batch.body)
    if type(states) is not list:
        raise StorageError(f"expected a list of states, got {shown(states)}")
    return len(states)


def _transactions(view: _View, salt: bytes) -> Iterator[Finding]:
    """The chain of transactions, with the streams and entities that each made and the batches it wrote."""
    digest, instant, batches, states, amended = first_digest(salt), 0, 0, 0, 0
    ends: dict[int, int] = {}
    held: _Held = {}
    streams = _ByTransaction(view, _STREAMS, "stream", 6, lambda row: view.rows.stream(row).id)
    entities = _ByTransaction(view, _ENTITIES, "entity", 1, lambda row: _entity(view, row))
    for *given, stored in view.select(_TXS):
        row, view.position = tuple(given), view.position + 1
        try:
            t = view.rows.tx(row)[0]
        except StorageError as error:
            yield Finding(f"transaction {shown(row[0])}", str(error))
            digest = stored if type(stored) is bytes else digest
            continue
        where = f"transaction {t}"
        if t != view.position:
            yield Finding(where, f"expected transaction {view.position} next")
            view.position = t
        made, changed = streams.of(t), entities.of(t)
        yield from streams.findings()
        yield from entities.findings()
        digest = chained(digest, row[:6], [each[-1] for each in made], [each[-1] for each in changed])
        if digest != stored:
            yield Finding(where, "does not follow from those before it, or its streams or entities are not its own")
            digest = stored if type(stored) is bytes else digest
        for each in made:
            view.streams += 1
            if each[0] != view.streams:
                yield Finding(where, f"expected stream {view.streams} next, got {each[0]}")
        if row[1] <= instant:
            yield Finding(where, f"expected an instant after {instant}, got {row[1]}")
        instant = row[1]
        for place, count, body_crc in written(row[5]):
            batches += 1
            if place >= MOST_DOCUMENTS:
                stream, first = place >> OFFSET_BITS, place % MOST_DOCUMENTS
                if first != ends.get(stream, 0) or stream > view.streams:
                    yield Finding(where, f"expected offset {ends.get(stream, 0)} of {_at(place)}")
                ends[stream] = first + count
            else:
                states += 1
                if place != batches:
                    yield Finding(where, f"expected states numbered {batches}, got {place}")
            yield from _as_written(view, held, t, (place, count, body_crc))
        for each in changed:
            view.entities += 1
            amended += each[3] is not None
            if each[3] is not None and not 0 <= each[4] < ends.get(each[3], 0):
                yield Finding(where, f"changes a document that is not there: {_at(place_of(each[3], each[4]))}")
        if row[3:5] != (batches, amended):
            yield Finding(where, f"counts {row[3:5]} batches and changes, expected {(batches, amended)}")
            batches, amended = row[3], row[4]
    yield from _left_over(view, streams, entities, ends, states)


def _left_over(
    view: _View, streams: _ByTransaction, entities: _ByTransaction, ends: dict[int, int], states: int
) -> Iterator[Finding]:
    """What no transaction wrote."""
    for rows in (streams, entities):
        for t, number in rows.rest():
            yield Finding(f"transaction {shown(t)}", f"is not there but has {number} rows of {rows.table}")
        yield from rows.findings()
    if states != view.states:
        yield Finding("states", f"expected {states} batches of states, got {view.states}")
    for stream in sorted(ends.keys() | view.ends.keys()):
        expected, found = ends.get(stream, 0), view.ends.get(stream, 0)
        if expected != found:
            yield Finding(f"stream {stream}", f"expected {expected} documents, got {found}")


def _as_written(view: _View, held: _Held, t: int, piece: tuple[int, int, int]) -> Iterator[Finding]:
    """That the batch which holds a place now, joined or not, has the very bytes that the transaction wrote there."""
    place, count, body_crc = piece
    stream, first = place >> OFFSET_BITS, place % MOST_DOCUMENTS if place >= MOST_DOCUMENTS else 0
    if not stream or stream not in held or not held[stream][1].hold(first, count):
        try:
            rows = list(view.select(_HOLDING, place_of(stream, 0) if stream else place, place))
            batch = view.rows.batch(rows[0]) if rows else None
            if batch is not None:
                _decoded(batch)
        except StorageError:
            return  # found among the batches
        if batch is None or (stream and batch.first + batch.count < first + count):
            yield Finding(_at(place), f"expected {count} documents of transaction {t}, got none")
            return
        if len(held) >= _MOST_HELD:
            held.clear()
        held[stream] = batch, Pieces(batch)
    batch, pieces = held[stream]
    if not stream:
        is_same = (batch.t, batch.count, crc32(batch.body)) == (t, count, body_crc)
    else:
        by = {transaction_at(batch, offset) for offset in range(first, first + count)}
        is_same = by == {t} and crc32(pieces.cut(t, first, count).body) == body_crc
    if not is_same:
        yield Finding(_at(place), f"expected what transaction {t} wrote, got something else")


def _entity(view: _View, row: Row) -> None:
    """Raise `StorageError` for an entity that is not as it was written."""
    decode(view.rows.entity(row).state)


class _ByTransaction:
    """The rows of a table in the order of the transactions that wrote them, without those that are not as they were
    written: any column of such a row may hold anything."""

    def __init__(self, view: _View, sql: str, table: str, column: int, check: Callable[[Row], Any]) -> None:
        self.table = table
        self._found: list[Finding] = []
        self._groups = groupby(self._checked(view.select(sql), check), key=lambda row: row[column])
        self._next = next(self._groups, None)

    def _checked(self, rows: Iterator[Row], check: Callable[[Row], Any]) -> Iterator[Row]:
        for row in rows:
            try:
                check(row)
            except StorageError as error:
                self._found.append(Finding(f"{self.table} {shown(row[0])}", str(error)))
            else:
                yield row

    def of(self, t: int) -> list[Row]:
        """The rows of a transaction; those of transactions that are not there are left out as findings."""
        while self._next is not None and self._next[0] < t:
            where = f"transaction {self._next[0]}"
            self._found.append(Finding(where, f"cannot be read, or comes too late for its rows of {self.table}"))
            self._next = next(self._groups, None)
        if self._next is None or self._next[0] != t:
            return []
        rows = list(self._next[1])
        self._next = next(self._groups, None)
        return rows

    def rest(self) -> Iterator[tuple[int, int]]:
        """Transactions past the last one and how many rows they have."""
        while self._next is not None:
            yield self._next[0], len(list(self._next[1]))
            self._next = next(self._groups, None)

    def findings(self) -> list[Finding]:
        """What was found since the last call."""
        found, self._found = self._found, []
        return found


def _at(place: Any) -> str:
    """A place as a finding names it."""
    if type(place) is not int or place < MOST_DOCUMENTS:
        return f"states {shown(place)}"
    return f"stream {place >> OFFSET_BITS} offset {place % MOST_DOCUMENTS}"
