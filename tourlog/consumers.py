"""Consumers: how far a named reader of streams has come, kept as entities in the same store, so that what it made of
documents and how far that got it are committed together.

A consumer has one entity a stream: `consumer`, the stream's key attributes, and `committed`, the offset of the
document it reads next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tourlog.database import Database, check_database, whole_number
from tourlog.errors import ArgumentError, ConflictError, shown
from tourlog.snapshot import Snapshot
from tourlog.storage.log import StreamRecord
from tourlog.stream import ID_KEY, Stream, document_place
from tourlog.transaction import Call, call
from tourlog.values import ordered_bytes

NAME = "consumer"
COMMITTED = "committed"


@dataclass(frozen=True)
class Consumer:
    """A reader of streams that is known by its `name`; number `member` of the `members` that share its streams, counted
    from 0. ArgumentError for other values.

    Members share the streams of a subscription by turns, in the order the streams were made: the first is member 0's,
    the second member 1's, and so on, for ever. To share among more or fewer, stop the members and start all with the
    new number; one that was forgotten has its commits refused, for others have been there before it.

    >>> import tourlog
    >>> conn = tourlog.connect()
    >>> report = conn.append([{"topic": "paid", "n": n} for n in (5, 7)], "topic")
    >>> bank = Consumer("bank")
    >>> for _, record in conn.subscribe({"topic": "paid"}, start=bank).take(10):
    ...     total = (conn.db().entity("total") or {"n": 0})["n"]
    ...     report = conn.transact([{"db/id": "total", "n": total + record["n"]}, bank.done(record)])
    >>> conn.db().entity("total"), bank.committed(conn.db(), {"topic": "paid"})
    ({'db/id': 'total', 'n': 12}, 2)
    """

    name: str
    member: int = 0
    members: int = 1

    def __post_init__(self) -> None:
        if type(self.name) is not str or not self.name:
            raise ArgumentError(f"expected a name for the consumer, got {shown(self.name)}", argument="name")
        numbers = type(self.member) is int and type(self.members) is int
        if not numbers or not 0 <= self.member < self.members:
            raise ArgumentError(
                f"expected a member from 0 to below the number of members, got {shown(self.member)} of "
                f"{shown(self.members)}",
                argument="member",
            )

    def committed(self, db: Database, key: Any) -> int:
        """The offset, in `db`, of the document it reads next of the stream with this `key`, such as
        `{"topic": "paid", "partition": 1}`; 0 for one it has not read. ArgumentError or DocumentError for what is no
        database or no key."""
        check_database(db)
        return committed_at(db.snapshot, self.name, db.stream(key))

    def lag(self, db: Database) -> dict[Stream, int]:
        """How many documents of `db` are still to read of each stream it has committed in. ArgumentError for what is no
        database."""
        check_database(db)
        offsets = {stream: offset for _, stream, offset in db.streams()}
        return {
            stream: end - committed_at(db.snapshot, self.name, stream)
            for stream, end in offsets.items()
            if db.snapshot.state(_entity_id(self.name, stream))
        }

    def done(self, *documents: Mapping[str, Any]) -> Call:
        """Transaction data: these `documents`, of a subscription or a read, are dealt with. Give it along with what was
        made of them, so that both are committed or neither is. ArgumentError for one without the `db/id` it was read
        with.

        The transaction raises ConflictError when the consumer has come further than the first of them already: somebody
        else has dealt with it.
        """
        places = [_place(document) for document in documents]
        return call(_done, self.name, places)

    def rewind(self, key: Any = None, offset: int = 0) -> Call:
        """Transaction data: read the stream with this `key` (or all it has committed in) again from an `offset` on, a
        whole number from 0; ArgumentError otherwise."""
        return call(_rewind, self.name, key, whole_number("offset", offset))


def committed_at(snapshot: Snapshot, name: str, stream: Stream) -> int:
    """The offset of the document a consumer reads next of a stream."""
    state = snapshot.state(_entity_id(name, stream))
    return state[COMMITTED] if state else 0


def _done(db: Database, name: str, places: list[tuple[int, int]]) -> list[dict[str, Any]]:
    offsets: dict[int, list[int]] = {}
    for prefix, offset in places:
        offsets.setdefault(prefix, []).append(offset)
    return [_moved(db, name, _stream(db, prefix), min(of), max(of) + 1) for prefix, of in offsets.items()]


def _moved(db: Database, name: str, stream: Stream, first: int, following: int) -> dict[str, Any]:
    reached = committed_at(db.snapshot, name, stream)
    if reached > first:
        raise ConflictError(
            f"consumer {name!r} has come to offset {reached} of stream {stream}: {first} is dealt with already",
            stream=stream,
            expected=first,
            actual=reached,
            consumer=name,
        )
    return _entity(name, stream, following)


def _rewind(db: Database, name: str, key: Any, offset: int) -> list[dict[str, Any]]:
    streams = [db.stream(key)] if key is not None else list(_read_streams(db, name))
    return [_entity(name, stream, offset) for stream in streams]


def _read_streams(db: Database, name: str) -> Iterator[Stream]:
    """The streams a consumer has committed in."""
    return (stream for _, stream, _ in db.streams() if db.snapshot.state(_entity_id(name, stream)))


def _stream(db: Database, prefix: int) -> Stream:
    record = db.snapshot.log.stream_by_prefix(prefix)
    if record is None or record.t > db.t:
        raise ArgumentError("expected documents of this store, got one of another", argument="documents")
    return stream_of(record)


def stream_of(record: StreamRecord) -> Stream:
    """The stream a record is of."""
    return Stream(record.names, record.values)


def _place(document: Any) -> tuple[int, int]:
    place = document_place(document.get(ID_KEY)) if isinstance(document, Mapping) else None
    if place is None:
        raise ArgumentError(f"expected a document with the {ID_KEY} it was read with, got {shown(document)}")
    return place


def _entity(name: str, stream: Stream, committed: int) -> dict[str, Any]:
    if NAME in stream.names or COMMITTED in stream.names:
        raise ArgumentError(
            f"a consumer's entity has {NAME} and {COMMITTED}, which are key attributes of stream {stream}",
            argument="documents",
        )
    key = dict(zip(stream.names, stream.values, strict=True))
    return {ID_KEY: _entity_id(name, stream), NAME: name, **key, COMMITTED: committed}


def _entity_id(name: str, stream: Stream) -> UUID:
    """The same for the same consumer and stream, in every store."""
    from hashlib import blake2b  # loads OpenSSL: by who has consumers only

    digest = blake2b(ordered_bytes((name, stream.names, stream.values)), digest_size=16, person=b"consumer").digest()
    return UUID(bytes=digest, version=5)
