"""What the rows of an SQLite store hold, each with its checksum, and the chain over transactions.

A row's checksum starts from the store's salt: neither damage nor a row of another store is ever read as what was
written. The chain tells what is missing. They find damage, not forgery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NoReturn
from zlib import crc32

import msgspec

from tourlog.errors import StorageError, shown
from tourlog.storage.batches import packed_spans, unpacked_spans
from tourlog.storage.compression import packed, unpacked
from tourlog.storage.log import Batch, Commit, EntityRecord, StreamRecord, Transaction
from tourlog.storage.sqlite_file import OFFSET_BITS
from tourlog.values import decode, encode

MOST_STREAMS, MOST_DOCUMENTS = 1 << (63 - OFFSET_BITS), 1 << OFFSET_BITS
"""What a place has room for: 268 million streams of 34 thousand million documents."""

TX = "t, instant, tx_id, batches, amended, places, crc"
STREAM = "id, names, vals, key, name, prefix, t, crc"
BATCH = "place, t, count, spans, body_crc, crc, body"
ENTITY = 'key, t, state, stream, "offset", crc'
"""The columns as these functions take them; `tx` has its `digest` besides."""

INSERT_TX = "INSERT INTO tx VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_STREAM = "INSERT INTO stream VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_BATCH = "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_ENTITY = "INSERT INTO entity VALUES (?, ?, ?, ?, ?, ?)"

Row = tuple[Any, ...]
Written = tuple[int, int, int]
"""A batch as its transaction wrote it: its place, how many documents, and the checksum of their bytes."""

_pack = msgspec.msgpack.Encoder().encode
_unpack_numbers = msgspec.msgpack.Decoder(list[int]).decode


def place_of(stream: int, offset: int) -> int:
    """Stream and offset in one number."""
    return stream << OFFSET_BITS | offset


def written(places: bytes) -> list[Written]:
    """What `tx.places` says, in order."""
    numbers = iter(_unpack_numbers(places))
    return list(zip(numbers, numbers, numbers, strict=True))


def first_digest(salt: bytes) -> bytes:
    """Where the chain of a store begins."""
    return blake2b(salt, digest_size=16).digest()


def chained(before: bytes, row: Sequence[Any], streams: Sequence[int], entities: Sequence[int]) -> bytes:
    """The digest of a transaction: over the one before it, its row up to `places`, and the checksums of the rows of
    streams (in order) and entities (by key) that it wrote. `places` has those of the documents, as they were
    written: joining batches changes nothing."""
    own = _pack(row) + _pack((streams, entities)) if streams or entities else _pack(row)
    return blake2b(before + own, digest_size=16).digest()


def transaction(row: Row) -> Transaction:
    """A checked row of `tx` as its record."""
    tx_id = row[2]
    return Transaction(row[0], row[1], None if tx_id is None else text(tx_id))


def text(blob: bytes) -> str:
    """A text from how it is stored."""
    return blob.decode("utf-8", "surrogatepass")


def blob(text: str) -> bytes:
    """A text as it is stored: it may hold lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Rows:
    """Makes and checks the rows of one store; `seed` is where its checksums start."""

    path: str
    seed: int

    # Reading: each raises `StorageError` for a row that is not as it was written.

    def checked(self, row: Row, what: str) -> Row:
        """A row whose last column is its checksum."""
        if crc32(_pack(row[:-1]), self.seed) != row[-1]:
            self._damaged(f"{what} {shown(row[0])}")
        return row

    def tx(self, row: Row) -> Row:
        """A row of `tx`."""
        return self.checked(row, "transaction")

    def stream(self, row: Row) -> StreamRecord:
        """A stream from its row."""
        id, names, values, key, name, prefix, t, _ = self.checked(row, "stream")
        return StreamRecord(id, decode(names), decode(values), key, text(name), prefix, t)

    def entity(self, row: Row) -> EntityRecord:
        """An entity's state from its row."""
        key, t, state, stream, offset, _ = self.checked(row, "the entity with the key")
        return EntityRecord(key, t, state, stream, offset)

    def header(self, row: Row) -> Batch:
        """A batch from the columns before `body`, with an empty one."""
        place, t, count, spans, _, crc = row
        if crc32(_pack(row[:5]), self.seed) != crc:
            self.damaged_batch(place, count)
        return Batch(t, place >> OFFSET_BITS, place % MOST_DOCUMENTS, count, b"", unpacked_spans(spans))

    def batch(self, row: Row) -> Batch:
        """A batch from its row."""
        place, t, count, spans, body_crc, crc, stored = row
        body = unpacked(stored) if type(stored) is bytes else None
        if crc32(_pack(row[:5]), self.seed) != crc or body is None or crc32(body) != body_crc:
            self.damaged_batch(place, count)
        return Batch(t, place >> OFFSET_BITS, place % MOST_DOCUMENTS, count, body, unpacked_spans(spans))

    # Writing.

    def commit(self, commit: Commit, number: int, amended: int, digest: bytes) -> tuple[list[tuple[str, Any]], bytes]:
        """The rows of a commit by the statements that insert them, and its digest. `number` batches and `amended`
        changes of documents were there before it, and `digest` is the chain's."""
        places, batches = self._placed(commit, number)
        statements: list[tuple[str, Any]] = [(INSERT_BATCH, batches)] if batches else []
        streams: list[int] = []
        entities: list[int] = []
        if commit.streams:
            rows = list(map(self.stream_row, commit.streams))
            streams = [row[-1] for row in rows]
            statements.append((INSERT_STREAM, rows))
        if commit.entities:
            rows = sorted(map(self.entity_row, commit.entities))
            entities = [row[-1] for row in rows]
            statements.append((INSERT_ENTITY, rows))
            amended += sum(1 for record in commit.entities if record.stream is not None)
        given = commit.transaction
        tx_id = None if given.tx_id is None else blob(given.tx_id)
        row = (given.t, given.instant, tx_id, number + len(commit.batches), amended, _pack(places))
        digest = chained(digest, row, streams, entities)
        statements.append((INSERT_TX, ((*row, crc32(_pack(row), self.seed), digest),)))
        return statements, digest

    def joined_row(self, batch: Batch) -> Row:
        """A batch of a stream, perhaps of several transactions, as a row."""
        spans = packed_spans(batch.spans) if batch.spans else None
        header = (place_of(batch.stream, batch.first), batch.t, batch.count, spans, crc32(batch.body))
        return (*header, crc32(_pack(header), self.seed), packed(batch.body))

    def stream_row(self, record: StreamRecord) -> Row:
        """A stream as a row."""
        names, values = encode(record.names), encode(record.values)
        row = (record.id, names, values, record.key, blob(record.name), record.prefix, record.t)
        return (*row, crc32(_pack(row), self.seed))

    def entity_row(self, record: EntityRecord) -> Row:
        """An entity's state as a row."""
        row = (record.key, record.t, record.state, record.stream, record.offset)
        return (*row, crc32(_pack(row), self.seed))

    # Inside.

    def _placed(self, commit: Commit, number: int) -> tuple[list[int], list[Row]]:
        """What `tx.places` says of a commit's batches, and the batches as rows. States have no offset: they are
        numbered, after `number` batches of the log."""
        places: list[int] = []
        rows: list[Row] = []
        for batch in commit.batches:
            number += 1
            place = batch.stream << OFFSET_BITS | batch.first if batch.stream else number
            body_crc = crc32(batch.body)
            places += (place, batch.count, body_crc)
            header = (place, batch.t, batch.count, None, body_crc)
            rows.append((*header, crc32(_pack(header), self.seed), packed(batch.body)))
        return places, rows

    def damaged_batch(self, place: Any, count: Any) -> NoReturn:
        """Raise `StorageError` about the batch at a place; either may be damaged, too."""
        if type(place) is not int or place < MOST_DOCUMENTS:
            self._damaged(f"the entity states numbered {shown(place)}")
        stream, offset = place >> OFFSET_BITS, place % MOST_DOCUMENTS
        message = f"{shown(count)} documents of stream {stream} from offset {offset} on"
        self._damaged(message, stream=stream, offset=offset)

    def _damaged(self, what: str, **details: Any) -> NoReturn:
        message = f"expected what was written, got damage at {what}, in {self.path}"
        raise StorageError(message, path=self.path, **details)

    def missing(self, what: str, stream: int | None = None, offset: int | None = None) -> NoReturn:
        """Raise `StorageError` about what must be there and is not."""
        message = f"expected {what}, got none, in the damaged {self.path}"
        raise StorageError(message, path=self.path, stream=stream, offset=offset)
