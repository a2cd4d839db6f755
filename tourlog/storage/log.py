"""What every storage backend does: keep transactions as record batches, in order, and give them back.

The records here are the whole vocabulary between a backend and the rest; a backend knows nothing of
facts, queries or documents beyond their encoded bytes. They are made for every append and every batch read, which
msgspec does some ten times as fast as `dataclasses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, TypeVarTuple

from msgspec import Struct

Given = TypeVarTuple("Given")
Result = TypeVar("Result")


class Transaction(Struct, frozen=True, gc=False):
    """One committed transaction: its position, its instant in µs since the epoch (UTC), its id if given."""

    t: int
    instant: int
    tx_id: str | None = None


class StreamRecord(Struct, frozen=True, gc=False):
    """One stream, as created: `key` are the canonical bytes of (names, values), `name` the unique readable
    name, `prefix` the unique 60-bit number its documents' ids begin with, `t` the transaction that made it."""

    id: int
    names: tuple[str, ...]
    values: tuple[Any, ...]
    key: bytes
    name: str
    prefix: int
    t: int


class Batch(Struct, frozen=True, gc=False):
    """One row of the log. In a stream (`stream` > 0): documents `first` … `first + count - 1`, encoded by
    `values.encode_documents` without the ids and offsets, which follow from their place. `stream` 0 holds
    entity states: `values.encode` of a list of `[e, state]`, the state None for a retracted entity; `first` counts
    the states of the transaction. Compacted documents of several transactions have `spans`, how many of which in
    order, as `(t, count)`; `t` is the newest."""

    t: int
    stream: int
    first: int
    count: int
    body: bytes
    spans: tuple[tuple[int, int], ...] = ()


class EntityRecord(Struct, frozen=True, gc=False):
    """Where transaction `t` left entity `key` (canonical bytes): the state after it, encoded with
    `values.encode` (None when retracted). `stream` and `offset` are set when the entity is an ordered document."""

    key: bytes
    t: int
    state: bytes
    stream: int | None = None
    offset: int | None = None


class Commit(Struct, frozen=True, gc=False):
    """A prepared transaction: `transaction.t` must be the log's head + 1, and `heads` the next offset of every
    stream the batches extend, as the writer saw them."""

    transaction: Transaction
    streams: tuple[StreamRecord, ...]
    heads: tuple[tuple[int, int], ...]
    batches: tuple[Batch, ...]
    entities: tuple[EntityRecord, ...]


class Log(Protocol):
    """The interface of a backend. Every read takes the position it is bound to and never sees later commits."""

    path: str | None
    salt: bytes

    def head(self) -> Transaction:
        """The newest transaction, `Transaction(0, 0)` for an empty log. Inside `writing` it may be one that others
        wait for, who share this commit."""

    def settled(self) -> int:
        """The newest position that is committed: the head's, but inside a `writing` that shares a commit."""

    def transaction(self, t: int) -> Transaction | None: ...
    def transaction_by_id(self, tx_id: str) -> Transaction | None: ...
    def position_at(self, instant: int) -> int:
        """The newest position whose instant is not after `instant` (µs), 0 if there is none."""

    def stream_by_key(self, key: bytes) -> StreamRecord | None: ...
    def stream_by_prefix(self, prefix: int) -> StreamRecord | None: ...
    def stream_by_name(self, name: str) -> StreamRecord | None: ...
    def stream_by_id(self, stream: int) -> StreamRecord | None: ...
    def streams(self, t: int) -> list[tuple[StreamRecord, int]]:
        """Every stream that exists at `t` with its next offset there, in order of creation."""

    def next_stream(self) -> int:
        """The id the next new stream takes; ids count from 1."""

    def next_offset(self, stream: int, t: int) -> int: ...
    def read(self, stream: int, start: int, stop: int, t: int) -> Iterator[Batch]:
        """The batches that hold any offset in start … stop - 1, in order, as of `t`. Compacted ones are cut to
        these offsets, and do not overlap."""

    def rows(self, t: int) -> int:
        """How many batches were written up to `t`: a measure of its size that costs nothing to ask for."""

    def tail(self, after: int, upto: int) -> Iterator[Batch]:
        """The batches of transactions after + 1 … upto, in the order they were written, compacted or not; each of
        one transaction."""

    def entity(self, key: bytes, t: int) -> EntityRecord | None:
        """The newest record of an entity at or before `t`; None when no transaction changed it by its id."""

    def amended(self, stream: int, start: int, stop: int, t: int) -> dict[int, EntityRecord]:
        """The newest records of those ordered documents in start … stop - 1 that were changed after being
        appended, by offset."""

    def writing(self, *, alone: bool = False) -> AbstractContextManager[None]:
        """Hold the one writer's place: other writers (threads, processes) wait, readers do not. Leaving commits
        what was appended; an exception undoes it. Threads that wait for the place may share one commit: each leaves
        once it is done, and fails if it fails. `alone` shares none, for whoever may hold the place for long."""

    def written(self, work: Callable[[*Given], Result], *given: *Given) -> Result:
        """What `work` gives, done inside `writing`; a call takes less time than a block."""

    def check_free(self) -> None:
        """`StorageError` where `writing` would raise it at once: in a closed or read-only log, or inside another."""

    def append(self, *commits: Commit) -> None:
        """Write prepared transactions, one after the other, inside `writing`; once a `writing`."""

    def compact(self) -> int:
        """Join small batches that follow each other in their streams, in short transactions of their own, unseen by
        readers; how many batches there are fewer."""

    def close(self) -> None: ...
