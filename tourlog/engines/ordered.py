"""The ordered access path: documents of a stream by offset, straight from the log. Both engines use it inside their
plans; a plan that is nothing else needs no engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from tourlog.collector import all_of
from tourlog.engines.execution import Execution, find_rows
from tourlog.query.program import Parameter, Plan, Slice
from tourlog.query.syntax import Constant, Pull, PullPattern
from tourlog.snapshot import EVERYTHING, Snapshot
from tourlog.stream import Stream, document_place
from tourlog.values import equal

NUMBERS = (int, float, Decimal)

_WHOLE = PullPattern(True, ())


def is_ordered(plan: Plan) -> bool:
    """Whether a plan reads one slice of a stream, all of which is known beforehand, and does nothing else."""
    if plan.strata or len(plan.body) != 1:
        return False
    (literal,) = plan.body
    if not isinstance(literal, Slice) or literal.e == literal.offset:
        return False
    return all(isinstance(term, Constant | Parameter) for term in (*literal.values, *(t for _, t in literal.bounds)))


def is_of_documents(plan: Plan) -> bool:
    """Whether the rows of such a plan are the documents of the slice, whole and in their order."""
    query, (literal,) = plan.query, plan.body
    assert isinstance(literal, Slice), "chosen for a slice"
    if query.with_ or query.order_by or query.offset or query.limit is not None or len(query.find.elements) != 1:
        return False
    (element,) = query.find.elements
    is_plain = query.find.shape in ("relation", "collection") and not isinstance(literal.offset, Constant | Parameter)
    if not is_plain or not isinstance(element, Pull) or element.source.name != literal.source:
        return False
    return element.pattern == _WHOLE and element.variable == literal.e


def documents(execution: Execution) -> list[tuple[Any, ...]]:
    """The rows of such a plan, their pulls done."""
    snapshot, stream, start, stop = _slice(execution)

    def parts() -> Iterator[list[tuple[Any, ...]]]:
        count = 0
        for part in snapshot.documents(stream, start, stop):
            execution.budget.check()
            count += len(part)
            execution.budget.count(count)
            yield [(document,) for document in part]

    return all_of(parts())


def _slice(execution: Execution) -> tuple[Snapshot, Stream, int, int]:
    (literal,) = execution.plan.body
    assert isinstance(literal, Slice), "chosen for a slice"
    start, stop = offset_range([(operator, execution.value(term)) for operator, term in literal.bounds])
    stream = Stream(literal.names, tuple(map(execution.value, literal.values)))
    return execution.database(literal.source), stream, start, stop


def run(execution: Execution) -> list[tuple[Any, ...]]:
    """The rows of the `:find` of such a plan (pulls still entities), in the order of the stream."""
    plan = execution.plan
    (literal,) = plan.body
    assert isinstance(literal, Slice), "chosen for a slice"
    snapshot, stream, start, stop = _slice(execution)
    fixed = execution.value(literal.offset) if execution.is_known(literal.offset) else None
    rows = []
    for ordered in snapshot.ordered(stream, start, stop):
        execution.budget.check()
        if fixed is None or equal(fixed, ordered.offset):
            execution.remember(snapshot, ordered)
            known = {literal.e: ordered.e, literal.offset: ordered.offset}
            rows.append(tuple([known[c] if c in known else execution.value(c) for c in plan.columns]))
    return find_rows(execution, rows)


def explain(execution: Execution) -> str:
    """What is read."""
    return str(execution.plan)


def offset_in(snapshot: Snapshot, stream: Stream, e: Any) -> range:
    """The offset of an entity in a stream, as a range; empty for one that is no document of it."""
    place, record = document_place(e), snapshot.find_stream(stream)
    if place is None or record is None or place[0] != record.prefix:
        return range(0)
    return range(place[1], place[1] + 1)


def offset_range(bounds: Sequence[tuple[str, Any]]) -> tuple[int, int]:
    """The offsets start … stop - 1 that satisfy every bound; a bound that is no number admits none.

    >>> offset_range([(">=", 2), ("<", 4.5)])
    (2, 5)
    """
    start, stop = 0, EVERYTHING
    for operator, value in bounds:
        low, high = _admitted(operator, value)
        start, stop = max(start, low), min(stop, high)
    return start, max(start, stop)


def _admitted(operator: str, value: Any) -> tuple[int, int]:
    if type(value) is bool or not isinstance(value, NUMBERS) or value != value:  # NaN alone differs from itself
        return 0, 0
    if value >= EVERYTHING or value < 0:
        low_side = operator in (">", ">=") if value < 0 else operator in ("<", "<=")
        return (0, EVERYTHING) if low_side else (0, 0)
    whole, exact = int(value), int(value) == value
    match operator:
        case ">=":
            return whole if exact else whole + 1, EVERYTHING
        case ">":
            return whole + 1, EVERYTHING
        case "<":
            return 0, whole if exact else whole + 1
        case "<=":
            return 0, whole + 1
        case _:
            return (whole, whole + 1) if exact else (0, 0)
