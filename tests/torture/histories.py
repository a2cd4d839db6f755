"""Whether a history of calls to one store is strictly serialisable in the order of positions: a pure function of what
was noted and of what the store holds in the end.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Contents = dict[str, list[tuple[int, int, str]]]
"""The documents of each stream: offset, transaction, id."""

LAST = 1 << 62


@dataclass
class Call:
    """One call as its caller noted it, in ns of a clock that all share. Of an append: the position it was told (None
    when it was refused), the ids of its documents by stream, the spans it was told, the offsets it expected by stream,
    its conditions, the name its first document states, what it set the switch to; if it was refused, for which of
    these, and the stream and the end it was told, or the invariant. What adds or drops an invariant is an append with a
    `rule`, or known when there was nothing to write. Of a read: the position, what it saw, what was required."""

    kind: str
    began: int
    ended: int
    t: int | None = None
    streams: dict[str, Any] = field(default_factory=dict)
    offsets: dict[str, Any] = field(default_factory=dict)
    expected: dict[str, int] | None = None
    conditions: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    switch: int | None = None
    rule: Any = None
    required: Any = None
    refused: str | None = None
    actual: Any = None


def faults(calls: list[Call], contents: Contents) -> Iterator[str]:
    """What is wrong with a history, if anything."""
    made = [call for call in calls if call.kind == "append" and call.t is not None]
    yield from _dense(contents)
    yield from _whole(made, contents)
    yield from _alone(calls, contents)
    yield from _snapshots([call for call in calls if call.kind == "read"], contents)
    yield from _real_time(calls)
    yield from _switches(calls)
    yield from _expectations(calls, contents)
    past = Past(made, contents)
    yield from _conditions(calls, past)
    yield from _rules(calls, past)


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


def _switches(calls: list[Call]) -> Iterator[str]:
    """A snapshot has the switch as the last append up to its position set it."""
    past = Past([call for call in calls if call.kind == "append" and call.t is not None], {})
    for read in calls:
        if read.kind == "read" and read.switch != past.switch_at(read.t or 0):
            yield f"a snapshot at {read.t} saw the switch at {read.switch}, where it was {past.switch_at(read.t or 0)}"


def _expectations(calls: list[Call], contents: Contents) -> Iterator[str]:
    """An expected offset was the end of its stream; one that was refused was not, and the end was as it was told at
    some moment of the call."""
    for call in calls:
        if call.expected is None:
            continue
        if call.t is not None:
            for k, expected in call.expected.items():
                end = _end(contents[k], call.t - 1)
                if end != expected:
                    yield f"append at {call.t} expected {expected}, and the end of {k} was {end}"
        elif call.refused == "expect":
            k, actual = call.actual
            if actual == call.expected.get(k, actual):
                yield f"an append was refused for its expectation that {k} ends at {actual}, which it did"
            elif actual not in {_end(contents[k], t) for t in _positions(call, calls)}:
                yield f"an append was told that {k} ends at {actual}, where it did not while it ran"


def _end(documents: list[tuple[int, int, str]], t: int) -> int:
    """Where a stream ended at a position."""
    return bisect_right(documents, t, key=lambda each: each[1])


def _positions(call: Call, calls: list[Call]) -> range:
    """What the newest position may have been while a call ran: no earlier than that of any call that had ended, and
    before that of any append that began later."""
    known = [each for each in calls if each.t is not None]
    first = max((each.t or 0 for each in known if each.ended < call.began), default=0)
    later = (each.t or 0 for each in known if each.kind == "append" and each.began > call.ended)
    return range(first, min(min(later, default=LAST), max((each.t or 0 for each in known), default=0) + 1))


class Past:
    """Whether a condition had an answer at a position, by what the appends that were made did."""

    def __init__(self, made: list[Call], contents: Contents) -> None:
        self._contents = contents
        self._names = {call.name: call.t or 0 for call in sorted(made, key=lambda call: -(call.t or 0)) if call.name}
        self._rules = sorted((call.t or 0, *call.rule) for call in made if call.rule is not None)
        self._flips = sorted((call.t or 0, call.switch) for call in made if call.switch is not None)

    def has_answer(self, condition: list[Any], t: int) -> bool:
        """A name is stated; the switch is at a value; a stream is longer than that."""
        match condition:
            case "name", name:
                return self._names.get(name, LAST) <= t
            case "switch", value:
                return self.switch_at(t) == value
            case "longer", k, length:
                return _end(self._contents[k], t) > length
        raise AssertionError(condition)

    def switch_at(self, t: int) -> int | None:
        number = bisect_right(self._flips, t, key=lambda each: each[0])
        return self._flips[number - 1][1] if number else None

    def required_at(self, t: int) -> list[Any]:
        """The invariants that hold at a position, sorted."""
        held: list[Any] = []
        for at, kind, condition in self._rules:
            if at <= t and kind == "require":
                held.append(condition)
            elif at <= t and condition in held:
                held.remove(condition)
        return sorted(held)

    def is_broken(self, t: int) -> list[Any]:
        """The invariants that hold at a position and have an answer there."""
        return [condition for condition in self.required_at(t) if self.has_answer(condition, t)]


def _rules(calls: list[Call], past: Past) -> Iterator[str]:
    """No invariant has an answer while it holds; one that a call was refused for held at some moment of the call, or
    had an answer then if it was to be added; what was added was not there, what was dropped was; a snapshot knows
    them."""
    for call in calls:
        kind, condition = call.rule or ("", None)
        if call.kind == "read" and call.required != past.required_at(call.t or 0):
            yield f"a snapshot at {call.t} saw {call.required} required, not {past.required_at(call.t or 0)}"
        if call.kind == "append" and call.t is not None:
            for broken in past.is_broken(call.t):
                yield f"append at {call.t} was made, and the invariant {broken} does not hold after it"
            if kind and (condition in past.required_at(call.t - 1)) is not (kind == "drop"):
                yield f"a call to {kind} {condition} was made at {call.t}, where there was nothing to do"
        if call.kind == "known" and condition not in past.required_at(call.t or 0):
            yield f"a call to {kind} {condition} was told that it is required at {call.t}, which it was not"
        if call.refused == "missing" and all(condition in past.required_at(t) for t in _positions(call, calls)):
            yield f"a call to {kind} {condition} was told that it is not required, which it was all the while"
        if call.refused == "invariant" and not _may_break(call, calls, past):
            yield f"a call was refused for the invariant {call.actual}, which it could not break"


def _may_break(call: Call, calls: list[Call], past: Past) -> bool:
    """Whether a call that was refused for an invariant would have broken it at some moment."""
    positions = _positions(call, calls)
    if call.rule is not None:
        return bool(call.actual == call.rule[1] and any(past.has_answer(call.actual, t) for t in positions))
    what, *inputs = call.actual
    if what == "longer":
        k, length = inputs
        more = len(call.streams.get(k, ()))
        breaks = {t for t in positions if more and past.has_answer(["longer", k, length - more], t)}
    else:
        breaks = set(positions) if inputs == [call.name if what == "name" else call.switch] else set()
    return any(call.actual in past.required_at(t) for t in breaks)


def _conditions(calls: list[Call], past: Past) -> Iterator[str]:
    """The conditions of an append that was made held just before it; of one that was refused, the one it was told did
    not hold at some moment of the call."""
    for call in calls:
        if call.t is not None:
            for kind, condition in call.conditions.items():
                if past.has_answer(condition, call.t - 1) is not (kind == "only_if"):
                    yield f"append at {call.t} was made, and its condition {kind} {condition} did not hold"
        elif call.refused in ("unless", "only_if"):
            condition, must_be = call.conditions.get(call.refused), call.refused == "only_if"
            if condition is None:
                yield f"an append was refused for {call.refused}, which it did not have"
            elif all(past.has_answer(condition, t) is must_be for t in _positions(call, calls)):
                yield f"an append was refused for {call.refused} {condition}, which held all the while it ran"
        elif call.kind == "append" and call.refused is None:
            yield "an append was refused for nothing"
