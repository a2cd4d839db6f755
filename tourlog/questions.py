"""Questions a program asks of a database it does not hold in its hands: a query, or a tuple of a query and its
inputs after the database. Their answer is all its rows, however `:find` would have them shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tourlog.errors import ArgumentError
from tourlog.query.rows import Rows
from tourlog.query.run import prepare, run_query
from tourlog.snapshot import Snapshot


def parts(question: Any, argument: str) -> tuple[Any, list[Any]]:
    """The query and its inputs; `ArgumentError` for an empty tuple."""
    if question == ():
        raise ArgumentError("expected a query, or a tuple of a query and its inputs, got ()", argument=argument)
    query, *inputs = question if isinstance(question, tuple) else (question,)
    return query, [list(given) if isinstance(given, Iterator) else given for given in inputs]


def answer(snapshot: Snapshot, query: Any, inputs: Sequence[Any]) -> Rows:
    """The rows of a query over a snapshot: one of a None, too, and those of a collection or a scalar."""
    sources = [snapshot, *inputs]
    parsed = prepare(query, sources, None, None).plan.query
    rows: Rows = run_query(replace(parsed, keys=None, find=replace(parsed.find, shape="relation")), sources)
    return rows
