"""What transactions wrote, in order: read by what `tx.places` says, and held against the checksums there.

Compaction may have joined batches since; they are cut apart again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from zlib import crc32

from msgspec.structs import replace

from tourlog.storage.batches import Pieces
from tourlog.storage.log import Batch
from tourlog.storage.rows import BATCH, MOST_DOCUMENTS, TX, Rows, place_of, written
from tourlog.storage.sqlite_file import OFFSET_BITS, StoreFile, all_rows, bounded

if TYPE_CHECKING:
    from apsw import Connection

CHUNK_ROWS = 128
CHUNK_BYTES = 4_000_000
"""So many rows, or the first with which they have so many bytes, are read at a time."""

_TRANSACTIONS = f"SELECT {TX} FROM tx WHERE t > ? AND t <= ? ORDER BY t LIMIT {CHUNK_ROWS}"
_HOLDING = f"SELECT {BATCH} FROM batch WHERE place >= ?1 AND place <= ?2 ORDER BY place DESC LIMIT 1"
"""The batch that holds a place, from the first place of its stream on."""
_BODY_CRC = BATCH.split(", ").index("body_crc")


_Written = tuple[int, int, int, int, int]
"""A batch as its transaction wrote it: transaction, place, first, count, checksum. `first` counts the states of the
transaction, if it holds some."""


def tail(
    file: StoreFile, rows: Rows, after: int, upto: int, check_transaction: Callable[[int], object]
) -> Iterator[Batch]:
    """The batches of transactions after + 1 … upto. `check_transaction` raises if one is missing that must be there."""
    found = _written(file, rows, max(bounded(after), 0), bounded(upto), check_transaction)
    while chunk := _fetched(file, rows, found):
        yield from chunk


def _written(
    file: StoreFile, rows: Rows, after: int, upto: int, check_transaction: Callable[[int], object]
) -> Iterator[_Written]:
    while after < upto:
        with file.reading() as connection:
            chunk = all_rows(connection, _TRANSACTIONS, (after, upto))
        if not chunk:
            check_transaction(after + 1)
            return
        for row in chunk:
            t, after = rows.tx(row)[0], after + 1
            if t != after:
                rows.missing(f"transaction {after}")
            states = 0
            for place, count, body_crc in written(row[5]):
                is_state = place < MOST_DOCUMENTS
                yield t, place, states if is_state else place % MOST_DOCUMENTS, count, body_crc
                states += count if is_state else 0


def _fetched(file: StoreFile, rows: Rows, written: Iterator[_Written]) -> list[Batch]:
    """The next batches, cut out of those they were compacted into."""
    chunk: list[Batch] = []
    size = 0
    held: dict[int, tuple[Pieces, int]] = {}
    with file.reading() as connection:
        for t, place, first, count, body_crc in written:
            stream = place >> OFFSET_BITS
            pieces, crc = held.get(stream, (None, 0))
            if pieces is None or not pieces.hold(first, count):
                found, crc = _holding(connection, rows, stream, place)
                pieces = Pieces(found if stream else replace(found, first=first))
                if stream:
                    held[stream] = pieces, crc
            chunk.append(pieces.cut(t, first, count))
            if body_crc != (crc if pieces.is_whole(chunk[-1]) else crc32(chunk[-1].body)):
                rows.damaged_batch(place, count)
            size += len(chunk[-1].body)
            if len(chunk) == CHUNK_ROWS or size > CHUNK_BYTES:
                break
    return chunk


def _holding(connection: Connection, rows: Rows, stream: int, place: int) -> tuple[Batch, int]:
    """The batch with the document, or the states, at a place, and the checksum of its body."""
    found = all_rows(connection, _HOLDING, (place_of(stream, 0) if stream else place, place))
    batch = rows.batch(found[0]) if found else None
    offset = place % MOST_DOCUMENTS
    if batch is None or (stream and batch.first + batch.count <= offset):
        what = f"documents of stream {stream} from offset {offset} on" if stream else f"states numbered {place}"
        rows.missing(what, stream, offset)
    return batch, found[0][_BODY_CRC]
