"""Transactions that append documents to streams that exist and do nothing else, as most do: made without a draft.

The documents are checked and encoded before the writer's place is taken, for others to write meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tourlog.documents import group_plain_documents
from tourlog.draft import bodies, next_instant
from tourlog.storage.log import Batch, Commit, Log, StreamRecord, Transaction
from tourlog.stream import Stream
from tourlog.values import FlatDocuments


class NewTail(NamedTuple):
    """What is to come after the end of a stream: bodies of batches, each with how many documents are in it."""

    stream: Stream
    record: StreamRecord
    bodies: list[tuple[int, bytes]]


def tails_of(log: Log, documents: list[Any], names: tuple[str, ...]) -> list[NewTail] | None:
    """Documents encoded by stream; None unless they can be appended, as a look at their types tells, and all their
    streams exist."""
    tails = []
    for stream, group in group_plain_documents(documents, names) or ():
        record = log.stream_by_key(stream.key)
        if record is None:
            return None
        tails.append(NewTail(stream, record, list(bodies(group, is_flat=type(group) is FlatDocuments))))
    return tails or None


def extension(log: Log, head: Transaction, tails: Sequence[NewTail]) -> Commit:
    """The transaction after `head` that appends these; for whoever holds the writer's place."""
    t = head.t + 1
    batches, heads = [], []
    for _, record, encoded in tails:
        first = log.next_offset(record.id, head.t)
        heads.append((record.id, first))
        for count, body in encoded:
            batches.append(Batch(t, record.id, first, count, body))
            first += count
    return Commit(Transaction(t, next_instant(head)), (), tuple(heads), tuple(batches), ())


def spans_of(commit: Commit, tails: Sequence[NewTail]) -> Iterator[tuple[Stream, range]]:
    """The offsets that the transaction of these tails appended to each stream."""
    for (_, first), (stream, _, encoded) in zip(commit.heads, tails, strict=True):
        yield stream, range(first, first + sum(count for count, _ in encoded))
