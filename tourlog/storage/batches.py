"""Batches cut and joined by their bytes: no document is decoded.

A batch of several transactions holds their documents one after the other, as `spans` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import msgspec

from tourlog.storage.log import Batch

_SPLIT = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_NUMBERS = msgspec.msgpack.Decoder(list[int]).decode

_SMALL_DOCUMENTS, _SMALL_BYTES, _MOST_GATHERED = 16, 4096, 100

Spans = tuple[tuple[int, int], ...]
"""How many documents of which transaction, in order."""


def spans_of(batch: Batch) -> Spans:
    """The batch's spans; one for a batch of a single transaction."""
    return batch.spans or ((batch.t, batch.count),)


def packed_spans(spans: Spans) -> bytes | None:
    """Spans as compact bytes: transactions as steps from the one before. None for a single one."""
    if len(spans) == 1:
        return None
    numbers: list[int] = []
    before = 0
    for t, count in spans:
        numbers += (t - before, count)
        before = t
    return msgspec.msgpack.encode(numbers)


def unpacked_spans(packed: bytes | None) -> Spans:
    """What `packed_spans` was given; nothing for a single one.

    >>> unpacked_spans(packed_spans(((7, 1), (9, 3))))
    ((7, 1), (9, 3))
    """
    if packed is None:
        return ()
    numbers = _NUMBERS(packed)
    return tuple(zip(accumulate(numbers[::2]), numbers[1::2], strict=True))


def transaction_at(batch: Batch, offset: int) -> int:
    """The transaction that appended one of the batch's documents."""
    end = batch.first
    for t, count in batch.spans:
        end += count
        if offset < end:
            return t
    return batch.t


def end_as_of(batch: Batch, t: int) -> int:
    """The offset after the last of the batch's documents that was there at `t`."""
    return batch.first + sum(count for each, count in spans_of(batch) if each <= t)


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of one stream that follow each other, as one."""
    if len(batches) == 1:
        return batches[0]
    spans: list[tuple[int, int]] = []
    for t, count in (span for batch in batches for span in spans_of(batch)):
        if spans and spans[-1][0] == t:
            count += spans.pop()[1]
        spans.append((t, count))
    count = sum(batch.count for batch in batches)
    body = _list_of(count, (memoryview(batch.body)[_header_size(batch.count) :] for batch in batches))
    last = batches[-1]
    return Batch(last.t, last.stream, batches[0].first, count, body, tuple(spans) if len(spans) > 1 else ())


def gathered(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Batches of one stream that follow each other, runs of small ones as one: for who reads them all, that is fewer
    to take apart."""
    run: list[Batch] = []
    count = 0
    for batch in batches:
        is_small = batch.count <= _SMALL_DOCUMENTS and len(batch.body) <= _SMALL_BYTES
        if run and (not is_small or count + batch.count > _MOST_GATHERED):
            yield joined(run)
            run, count = [], 0
        if is_small:
            run.append(batch)
            count += batch.count
        else:
            yield batch
    if run:
        yield joined(run)


def cut(batch: Batch, start: int, stop: int) -> Batch:
    """The batch without the documents before offset `start` and from `stop` on."""
    low, high = max(start, batch.first), min(stop, batch.first + batch.count)
    if (low, high) == (batch.first, batch.first + batch.count):
        return batch
    documents = _SPLIT(batch.body)[low - batch.first : high - batch.first]
    spans, first = [], batch.first
    for t, count in spans_of(batch):
        kept = min(first + count, high) - max(first, low)
        first += count
        if kept > 0:
            spans.append((t, kept))
    body = _list_of(high - low, documents)
    return Batch(spans[-1][0], batch.stream, low, high - low, body, tuple(spans) if len(spans) > 1 else ())


def documents_of(batch: Batch, start: int, stop: int) -> bytes:
    """The body of the documents at offsets start … stop - 1 only."""
    low, high = max(start - batch.first, 0), min(stop - batch.first, batch.count)
    if (low, high) == (0, batch.count):
        return batch.body
    return _list_of(high - low, _SPLIT(batch.body)[low:high])


class Pieces:
    """What was written by parts into a batch, one after the other; its documents are told apart only once."""

    __slots__ = ("_batch", "_documents")

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._documents: list[msgspec.Raw] | None = None

    def hold(self, first: int, count: int) -> bool:
        """Whether these documents of its stream are in the batch."""
        return self._batch.first <= first and first + count <= self._batch.first + self._batch.count

    def is_whole(self, batch: Batch) -> bool:
        """Whether a batch cut out of it is all of it."""
        return batch is self._batch

    def cut(self, t: int, first: int, count: int) -> Batch:
        """These documents as the batch they were written as."""
        batch = self._batch
        if (batch.t, batch.first, batch.count, batch.spans) == (t, first, count, ()):
            return batch
        if self._documents is None:
            self._documents = _SPLIT(batch.body)
        documents = self._documents[first - batch.first : first - batch.first + count]
        return Batch(t, batch.stream, first, count, _list_of(count, documents))


def _list_of(count: int, items: Iterable[msgspec.Raw | memoryview]) -> bytes:
    return _header(count) + b"".join(items)


def _header(count: int) -> bytes:
    """What MessagePack puts before the items of a list."""
    if count < 16:
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdd" + count.to_bytes(4, "big")


def _header_size(count: int) -> int:
    return 1 if count < 16 else 3 if count < 1 << 16 else 5
