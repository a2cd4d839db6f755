"""What identifies a stream and the documents in it: typed composite keys, readable names, ids derived
from a document's place. Knows nothing of how streams are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from tourlog.errors import ArgumentError, shown
from tourlog.values import identity, ordered_bytes, sequential_uuids

ID_KEY = "db/id"
OFFSET_KEY = "offset"
ORDER_KEY = "db/key"
TX_KEY = "db/tx"
INSTANT_KEY = "db/tx-instant"
META_KEY = "db/meta"
"""Marks the entity of a transaction that the caller stated something about; its id is the transaction's position."""
SYSTEM_PREFIX = "db/"
OFFSET_METADATA = "offset-metadata"
"""The entity that shows every stream's next offset."""
INVARIANTS = "db/invariants"
"""The entity that holds the standing invariants."""

_PREFIX_BITS = 60
_OFFSET_BITS = 62


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A stream: the `names` of its key attributes and their `values`, compared as typed tuples. ArgumentError unless
    they are two tuples of one length.

    >>> Stream(("topic", "partition"), ("foo-1", 2)) == Stream(("topic", "partition"), ("foo", "1-2"))
    False
    >>> print(Stream(("topic", "partition"), ("foo", 1)))
    topic=foo,partition=1
    """

    names: tuple[str, ...]
    values: tuple[Any, ...]
    _key: bytes | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        named = type(self.names) is tuple and all(type(name) is str for name in self.names)
        if not named or type(self.values) is not tuple or len(self.names) != len(self.values):
            raise ArgumentError(
                "expected a tuple of names and as long a tuple of values for a Stream, got "
                f"{shown(self.names)} and {shown(self.values)}",
                argument="names",
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return self.names == other.names and identity(self.values) == identity(other.values)

    def __hash__(self) -> int:
        return hash((self.names, identity(self.values)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Stream, (self.names, self.values)

    def __str__(self) -> str:
        return ",".join(f"{name}={_text(value)}" for name, value in zip(self.names, self.values, strict=True))

    @property
    def key(self) -> bytes:
        """Canonical bytes: equal for equal streams, different for different ones. DocumentError for a value that no
        document can hold."""
        if self._key is None:
            object.__setattr__(self, "_key", ordered_bytes((self.names, self.values)))
        return self._key  # type: ignore[return-value]  # set above


@lru_cache(maxsize=1024, typed=True)
def simple_stream(names: tuple[str, ...], *values: str | int) -> Stream:
    """The stream of strings and integers, the same object for those used again and again: it knows its key."""
    return Stream(names, values)


def stream_name(stream: Stream, taken: Callable[[str], bool]) -> str:
    """The readable name of a new stream: its values joined by `-`; spelled out when that is `taken`, or would
    read as an attribute of the system's.

    >>> stream_name(Stream(("topic", "partition"), ("foo", "1-2")), {"foo-1-2"}.__contains__)
    'topic=foo,partition=1-2'
    """
    names = (name for name in _candidate_names(stream) if not name.startswith(SYSTEM_PREFIX))
    return next(name for name in names if not taken(name))


def _candidate_names(stream: Stream) -> Iterator[str]:
    yield "-".join(map(_text, stream.values))
    yield str(stream)
    typed = ",".join(f"{name}={_text(value, repr)}" for name, value in zip(stream.names, stream.values, strict=True))
    yield typed
    count = 2
    while True:
        yield f"{typed}#{count}"
        count += 1


def _text(value: Any, write: Callable[[Any], str] = str) -> str:
    """A value as text; integers of any length, which `str` and `repr` refuse."""
    return str(Decimal(value)) if type(value) is int else write(value)


def stream_prefix(salt: bytes, key: bytes, taken: Callable[[int], bool]) -> int:
    """The 60-bit number the ids of a stream's documents begin with, unlike any that is `taken`."""
    from hashlib import blake2b  # loads OpenSSL: with the first new stream only

    attempt = 0
    while True:
        digest = blake2b(key + attempt.to_bytes(2), key=salt, digest_size=8).digest()
        prefix = int.from_bytes(digest) >> (64 - _PREFIX_BITS)
        if not taken(prefix):
            return prefix
        attempt += 1


def document_id(prefix: int, offset: int) -> UUID:
    """The id of a stream's document: a version 8 UUID (RFC 9562) that says where the document stands,
    so that ids need neither storage nor an index.

    >>> document_id(1, 0) < document_id(1, 1)
    True
    """
    return UUID(int=_id_number(prefix, offset))


def document_ids(prefix: int, first: int, count: int) -> list[UUID]:
    """The ids of the documents at so many offsets from `first` on.

    >>> document_ids(1, 5, 2) == [document_id(1, 5), document_id(1, 6)]
    True
    """
    return sequential_uuids(_id_number(prefix, first), count)


def _id_number(prefix: int, offset: int) -> int:
    return prefix >> 12 << 80 | 8 << 76 | (prefix & 0xFFF) << 64 | 2 << 62 | offset


def document_place(value: object) -> tuple[int, int] | None:
    """The (prefix, offset) a document id was made of; None for anything that is no such id.

    >>> document_place(document_id(77, 5))
    (77, 5)
    """
    if type(value) is not UUID or value.version != 8:
        return None
    number = value.int
    prefix = number >> 80 << 12 | (number >> 64 & 0xFFF)
    return prefix, number & ((1 << _OFFSET_BITS) - 1)
