"""Conditions of an append: where its streams must stand, which queries must have an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from tourlog.conflicts import conflict
from tourlog.database import unwrapped
from tourlog.documents import checked_stream
from tourlog.draft import Draft
from tourlog.errors import ArgumentError, ConditionError, shown
from tourlog.presence import Presence
from tourlog.query.rows import Rows
from tourlog.questions import answer, parts, wanted_by
from tourlog.snapshot import Snapshot
from tourlog.stream import Stream

if TYPE_CHECKING:
    from tourlog.query.stated import Wanted


def check_conditions(draft: Draft, unless: Any, only_if: Any) -> None:
    """Raise `ConditionError` if the query `unless` has an answer or `only_if` has none; None asks nothing."""
    if unless is not None:
        rows = _rows(draft.view(), unless)
        if rows:
            message = f"`unless` has an answer, so nothing is appended: {shown(list(rows))}"
            raise ConditionError(message, condition=unless, rows=rows)
    if only_if is not None:
        rows = _rows(draft.view(), only_if)
        if not rows:
            raise ConditionError("`only_if` has no answer, so nothing is appended", condition=only_if, rows=rows)


Conditions: TypeAlias = "tuple[tuple[Wanted, bool], ...]"
"""Values one entity may not, or must, state."""


def simple_conditions(unless: Any, only_if: Any) -> Conditions | None:
    """Conditions that ask no more than whether an entity states certain values; None if one asks more."""
    found: Conditions = ()
    if unless is not None:
        wanted = wanted_by(unless)
        if wanted is None:
            return None
        found = ((wanted, False),)
    if only_if is not None:
        wanted = wanted_by(only_if)
        if wanted is None:
            return None
        found = (*found, (wanted, True))
    return found


def hold(conditions: Conditions, presence: Presence, snapshot: Snapshot) -> bool:
    """Whether the conditions are known to hold; for whoever holds the writer's place."""
    for wanted, is_met in conditions:  # noqa: SIM110  # a generator takes as long as the answer
        if presence.any_states(snapshot, wanted) is not is_met:
            return False
    return True


def calls_out(condition: Any) -> bool:
    """Whether judging a condition may call a function of the user's, given among its inputs."""
    return isinstance(condition, tuple) and any(map(callable, condition))


def _rows(snapshot: Snapshot, condition: Any) -> Rows:
    query, inputs = parts(condition, "condition")
    return answer(snapshot, query, list(map(unwrapped, inputs)))


def check_expected(
    draft: Draft, expect: int | Mapping[Any, int] | None, streams: list[Stream], key: tuple[str, ...]
) -> None:
    """Raise `ConflictError` unless streams are where the writer of documents to `streams` expects them."""
    if expect is None:
        return
    if isinstance(expect, Mapping):
        wanted = {_stream(given, key): offset for given, offset in expect.items()}
    elif len(streams) == 1:
        wanted = {streams[0]: expect}
    else:
        raise ArgumentError(
            f"expect={shown(expect)} needs documents of one stream, got {len(streams)}; give a mapping from streams",
            argument="expect",
        )
    for stream, offset in wanted.items():
        if type(offset) is not int or offset < 0:
            raise ArgumentError(f"expected a next offset for {stream}, got {shown(offset)}", argument="expect")
        actual = draft.next_offset(stream)
        if actual != offset:
            message = f"expected stream {stream} at offset {shown(offset)}, it is at {actual}"
            raise conflict(message, draft.view(), stream, expected=offset, actual=actual)


def _stream(given: Any, key: tuple[str, ...]) -> Stream:
    if isinstance(given, Stream):
        return checked_stream(given.names, given.values, "expect")
    values = given if isinstance(given, tuple) else (given,)
    if len(values) != len(key):
        raise ArgumentError(
            f"expected {len(key)} values ({', '.join(key)}) in expect, got {shown(given)}", argument="expect"
        )
    return checked_stream(key, values, "expect")
