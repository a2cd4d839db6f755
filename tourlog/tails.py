"""Transactions that append documents to streams that exist and do nothing else, as most do: made without a draft.

The documents are checked and encoded before the writer's place is taken, for others to write meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from tourlog.documents import group_plain_documents
from tourlog.draft import bodies, next_instant
from tourlog.storage.log import Batch, Commit, Log, StreamRecord, Transaction
from tourlog.stream import Stream
from tourlog.values import FlatDocuments


class NewTail(Struct, frozen=True, gc=False):
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
        tails.append(NewTail(stream, record, bodies(group, is_flat=type(group) is FlatDocuments)))
    if len(tails) > 1:
        tails.sort(key=lambda tail: tail.record.id)  # as in every transaction: what subscriptions read depends on it
    return tails or None


def extensions(log: Log, head: Transaction, appends: Iterable[Sequence[NewTail]]) -> list[Commit]:
    """The transactions after `head`, one after the other, that append these; for whoever holds the writer's place."""
    commits = []
    ends: dict[int, int] = {}
    base_t = head.t
    for tails in appends:
        t = head.t + 1
        batches, heads = [], []
        for tail in tails:
            stream = tail.record.id
            first = ends[stream] if stream in ends else log.next_offset(stream, base_t)
            heads.append((stream, first))
            for count, body in tail.bodies:
                batches.append(Batch(t, stream, first, count, body))
                first += count
            ends[stream] = first
        head = Transaction(t, next_instant(head))
        commits.append(Commit(head, (), tuple(heads), tuple(batches), ()))
    return commits


def spans_of(commit: Commit, tails: Sequence[NewTail]) -> Iterator[tuple[Stream, range]]:
    """The offsets that the transaction of these tails appended to each stream."""
    for (_, first), tail in zip(commit.heads, tails, strict=True):
        yield tail.stream, range(first, first + sum(count for count, _ in tail.bodies))
