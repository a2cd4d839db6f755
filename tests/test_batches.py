"""Batches cut and joined by their bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tourlog.encoding import decode_documents, encode_documents
from tourlog.storage.batches import (
    Pieces,
    cut,
    end_as_of,
    gathered,
    joined,
    packed_spans,
    spans_of,
    transaction_at,
    unpacked_spans,
)
from tourlog.storage.log import Batch

SPANS = st.dictionaries(st.integers(1, 1 << 40), st.integers(1, 70_000), min_size=1, max_size=20)


@st.composite
def runs(draw: st.DrawFn) -> list[Batch]:
    """Batches of one stream that follow each other, of growing transactions, some of several documents a batch."""
    batches: list[Batch] = []
    t, first = 0, draw(st.integers(0, 1000))
    for size in draw(st.lists(st.sampled_from([1, 2, 15, 16, 40]), min_size=1, max_size=8)):
        t += draw(st.integers(0, 2)) or (not batches)
        batches.append(Batch(t, 3, first, size, encode_documents([{"at": first + n} for n in range(size)])))
        first += size
    return batches


def listed(batch: Batch) -> list[tuple[int, Any]]:
    """Each document with its transaction."""
    transactions = [t for t, count in spans_of(batch) for _ in range(count)]
    return list(zip(transactions, decode_documents(batch.body), strict=True))


@given(runs(), st.data())
def test_what_is_joined_and_cut_holds_the_same_documents_of_the_same_transactions(
    run: list[Batch], data: st.DataObject
) -> None:
    whole = joined(run)
    documents = [pair for batch in run for pair in listed(batch)]
    assert listed(whole) == documents
    assert (whole.stream, whole.first, whole.count, whole.t) == (3, run[0].first, len(documents), run[-1].t)
    assert whole.body == encode_documents([document for _, document in documents])
    end = whole.first + whole.count
    low = data.draw(st.integers(whole.first, end - 1))
    high = data.draw(st.integers(low + 1, end))
    part = cut(whole, low, high)
    assert (part.first, listed(part)) == (low, documents[low - whole.first : high - whole.first])
    assert part.t == listed(part)[-1][0]
    assert [transaction_at(whole, offset) for offset in range(whole.first, end)] == [t for t, _ in documents]
    for t in range(run[-1].t + 2):
        assert end_as_of(whole, t) == whole.first + sum(each <= t for each, _ in documents)
    half = len(run) // 2
    if half:
        assert joined([joined(run[:half]), joined(run[half:])]) == whole


@given(runs())
def test_what_is_gathered_is_the_same_in_fewer_batches_of_bounded_size(run: list[Batch]) -> None:
    found = list(gathered(run))
    large = {batch.first for batch in run if batch.count == 40}
    assert [pair for batch in found for pair in listed(batch)] == [pair for batch in run for pair in listed(batch)]
    assert [batch for batch in run if batch.count == 40] == [batch for batch in found if batch.first in large]
    assert all(batch.count <= 100 for batch in found)
    for one, other in pairwise(found):
        assert one.first + one.count == other.first
        assert one.count > 16 or other.count > 16 or one.count + other.count > 84


@given(runs())
def test_what_was_written_comes_out_of_what_it_was_joined_to(run: list[Batch]) -> None:
    pieces = Pieces(joined(run))
    assert [pieces.cut(batch.t, batch.first, batch.count) for batch in run] == run
    assert all(pieces.hold(batch.first, batch.count) for batch in run)
    assert not pieces.hold(run[-1].first, run[-1].count + 1)
    assert not pieces.hold(run[0].first - 1, 1)


@given(SPANS)
def test_spans_survive_packing(spans: dict[int, int]) -> None:
    ordered = tuple(sorted(spans.items()))
    assert unpacked_spans(packed_spans(ordered)) == (ordered if len(ordered) > 1 else ())


def test_long_lists_are_joined_with_headers_of_every_size() -> None:
    for sizes in ((7, 8), (8, 8), (40_000, 30_000)):
        batches, first = [], 0
        for t, size in enumerate(sizes, 1):
            batches.append(Batch(t, 1, first, size, encode_documents([{"n": first + n} for n in range(size)])))
            first += size
        assert joined(batches).body == encode_documents([{"n": n} for n in range(first)])
