"""Conditions of an append: where its streams must stand, which queries must have an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tourlog.database import unwrapped
from tourlog.documents import checked_stream
from tourlog.draft import Draft
from tourlog.errors import ArgumentError, ConditionError, ConflictError, shown
from tourlog.query.run import prepare, run_query
from tourlog.snapshot import Snapshot
from tourlog.stream import Stream


def check_conditions(draft: Draft, unless: Any, only_if: Any) -> None:
    """Raise `ConditionError` if the query `unless` has an answer or `only_if` has none; None asks nothing."""
    if unless is not None and _has_answer(draft.view(), unless):
        raise ConditionError("`unless` has an answer, so nothing is appended", condition=unless)
    if only_if is not None and not _has_answer(draft.view(), only_if):
        raise ConditionError("`only_if` has no answer, so nothing is appended", condition=only_if)


def calls_out(condition: Any) -> bool:
    """Whether judging a condition may call a function of the user's, given among its inputs."""
    return isinstance(condition, tuple) and any(map(callable, condition))


def _has_answer(snapshot: Snapshot, condition: Any) -> bool:
    """Whether a query has an answer: a row, however `:find` would have it shown, be it that of a None."""
    if condition == ():
        raise ArgumentError("expected a query, or a tuple of a query and its inputs, got ()", argument="condition")
    query, *inputs = condition if isinstance(condition, tuple) else (condition,)
    inputs = [list(given) if isinstance(given, Iterator) else unwrapped(given) for given in inputs]
    sources = [snapshot, *inputs]
    parsed = prepare(query, sources, None, None).plan.query
    rows = run_query(replace(parsed, find=replace(parsed.find, shape="relation")), sources)
    return len(rows) > 0


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
            raise ConflictError(
                f"expected stream {stream} at offset {shown(offset)}, it is at {actual}",
                stream=stream,
                expected=offset,
                actual=actual,
            )


def _stream(given: Any, key: tuple[str, ...]) -> Stream:
    if isinstance(given, Stream):
        return checked_stream(given.names, given.values, "expect")
    values = given if isinstance(given, tuple) else (given,)
    if len(values) != len(key):
        raise ArgumentError(
            f"expected {len(key)} values ({', '.join(key)}) in expect, got {shown(given)}", argument="expect"
        )
    return checked_stream(key, values, "expect")
