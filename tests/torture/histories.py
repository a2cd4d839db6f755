"""Whether a history of calls to one store is strictly serialisable in the order of positions: a pure function of what
was noted and of what the store holds in the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Contents = dict[str, list[tuple[int, int, str]]]
"""The documents of each stream: offset, transaction, id."""


@dataclass
class Call:
    """One call as its caller noted it, in ns of a clock that all share. Of an append: the position it was told (None
    when it was refused), the ids of its documents by stream, the spans it was told, the offset it expected and the
    one it was told instead, the name that must not have been taken. Of a read: the position, what it saw."""

    kind: str
    began: int
    ended: int
    t: int | None = None
    streams: dict[str, Any] = field(default_factory=dict)
    offsets: dict[str, Any] = field(default_factory=dict)
    expected: int | None = None
    actual: int | None = None
    name: str | None = None


def faults(calls: list[Call], contents: Contents) -> Iterator[str]:
    """What is wrong with a history, if anything."""
    made = [call for call in calls if call.kind == "append" and call.t is not None]
    yield from _dense(contents)
    yield from _whole(made, contents)
    yield from _alone(calls, contents)
    yield from _snapshots([call for call in calls if call.kind == "read"], contents)
    yield from _real_time(calls)
    yield from _expectations(calls, contents)
    yield from _names(calls)


def _dense(contents: Contents) -> Iterator[str]:
    for k, documents in contents.items():
        if [offset for offset, _, _ in documents] != list(range(len(documents))):
            yield f"stream {k} is not dense"
        positions = [t for _, t, _ in documents]
        if positions != sorted(positions):
            yield f"stream {k} is not in the order of transactions"


def _whole(made: list[Call], contents: Contents) -> Iterator[str]:
    """What was acknowledged is where it was said to be, in order, in one transaction of its own."""
    for t, number in Counter(call.t for call in made).items():
        if number > 1:
            yield f"{number} appends were told position {t}"
    for call in made:
        for k, ids in call.streams.items():
            start, stop = call.offsets.get(k, (0, 0))
            found = contents.get(k, [])[start:stop]
            if [id for _, _, id in found] != ids:
                yield f"append at {call.t}: stream {k} holds {found!r:.100} at {start}, not {ids}"
            if any(t != call.t for _, t, _ in found):
                yield f"append at {call.t}: stream {k} has it in another transaction"


def _alone(calls: list[Call], contents: Contents) -> Iterator[str]:
    """Every document is there once, and was written by an append that was acknowledged."""
    made = [call for call in calls if call.kind == "append" and call.t]
    known = Counter(id for call in made for ids in call.streams.values() for id in ids)
    there = Counter(id for documents in contents.values() for _, _, id in documents)
    for id in there - known:
        yield f"document {id} is there {there[id]} times, and was acknowledged {known[id]} times"
    for id in known - there:
        yield f"document {id} was acknowledged and is not there"


def _snapshots(reads: list[Call], contents: Contents) -> Iterator[str]:
    """A snapshot is the prefix of all streams at its position, no more and no less."""
    for read in reads:
        assert read.t is not None
        for k, documents in contents.items():
            wanted = [[offset, id] for offset, t, id in documents if t <= read.t]
            if [list(each) for each in read.streams.get(k, [])] != wanted:
                yield f"a snapshot at {read.t} saw {len(read.streams.get(k, []))} of stream {k}, not its {len(wanted)}"


def _real_time(calls: list[Call]) -> Iterator[str]:
    """What ended before another began has no later position, and an append an earlier one: positions are a total
    order, so that an order of calls that contains real time has no cycle."""
    ended = sorted((call for call in calls if call.t is not None), key=lambda call: call.ended)
    newest, number = 0, 0
    for call in sorted((call for call in calls if call.t is not None), key=lambda call: call.began):
        while number < len(ended) and ended[number].ended < call.began:
            newest, number = max(newest, ended[number].t or 0), number + 1
        assert call.t is not None
        if call.t < newest + (call.kind == "append"):
            yield f"a call ({call.kind}) at {call.t} began after one at {newest} had ended"


def _expectations(calls: list[Call], contents: Contents) -> Iterator[str]:
    """An expected offset was the end of its stream; one that was refused was not, and the end was as it was told at
    some moment of the call."""
    for call in calls:
        if call.expected is None:
            continue
        (k,) = call.streams
        if call.t is not None:
            end = sum(1 for _, t, _ in contents[k] if t < call.t)
            if end != call.expected:
                yield f"append at {call.t} expected {call.expected}, and the end of {k} was {end}"
        elif call.actual == call.expected:
            yield f"an append was refused for its expectation {call.expected}, which was the end"
        elif call.actual not in _ends(call, calls, contents[k]):
            yield f"an append was told that {k} ends at {call.actual}, where it did not while it ran"


def _ends(call: Call, calls: list[Call], documents: list[tuple[int, int, str]]) -> set[int]:
    """Where a stream may have ended while a call ran."""
    before = max((each.t or 0 for each in calls if each.t is not None and each.ended < call.began), default=0)
    after = min(
        (each.t for each in calls if each.t is not None and each.kind == "append" and each.began > call.ended),
        default=1 << 62,
    )
    first = sum(1 for _, t, _ in documents if t <= before)
    return {first, *(offset + 1 for offset, t, _ in documents if before < t < after)}


def _names(calls: list[Call]) -> Iterator[str]:
    """Of the appends that needed a name to be free, one had it; who was refused did not come before it."""
    taken: dict[str, Call] = {}
    for call in sorted((each for each in calls if each.name and each.t is not None), key=lambda call: call.t or 0):
        if str(call.name) in taken:
            yield f"{call.name} was taken twice, at {taken[str(call.name)].t} and {call.t}"
        taken.setdefault(str(call.name), call)
    for call in calls:
        if call.name and call.t is None and (call.name not in taken or taken[call.name].began > call.ended):
            yield f"an append was refused {call.name}, which nobody had"
