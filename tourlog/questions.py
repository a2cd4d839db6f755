"""Questions to databases: what the rest of tourlog asks queries by. The first one imports what reads, plans and runs
queries, a third of what `import tourlog` would take.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tourlog.errors import ArgumentError, QueryError
from tourlog.query.rows import Rows
from tourlog.snapshot import Snapshot

if TYPE_CHECKING:
    from tourlog.query.run import Explanation
    from tourlog.query.stated import Statement, Wanted

_REMEMBERED_LENGTH = 1_000


def ask(query: Any, inputs: Sequence[Any], *, engine: str, timeout: float | None, max_rows: int | None) -> Any:
    """The answer to a query; see `query.run.run_query`."""
    from tourlog.query.run import run_query

    return run_query(query, inputs, engine=engine, timeout=timeout, max_rows=max_rows)


def explain(query: Any, inputs: Sequence[Any], *, engine: str) -> Explanation:
    """How a query would run on these inputs."""
    from tourlog.query.run import explain_query

    return explain_query(query, inputs, engine=engine)


def pull(
    snapshot: Snapshot, pattern: Any, eids: Iterable[Any], *, timeout: float | None
) -> list[dict[str, Any] | None]:
    """Entities as documents cut to a pull pattern; None for those of which nothing is there."""
    from tourlog.query.run import run_pull

    return run_pull(snapshot, pattern, eids, timeout=timeout)


def input_kinds(query: Any, inputs: Sequence[Any]) -> list[str]:
    """What a query's inputs are, in order: "source", "rules", "collection" or "other"; the query's errors, if any."""
    from tourlog.query.run import prepare
    from tourlog.query.syntax import BindCollection, RulesInput, Source

    kinds = {Source: "source", RulesInput: "rules", BindCollection: "collection"}
    return [kinds.get(type(entry), "other") for entry in prepare(query, inputs).plan.query.inputs]


def read_attributes(snapshot: Snapshot, query: Any, inputs: Sequence[Any]) -> frozenset[str] | None:
    """The top-level attributes whose change can change a query's answer; None for any."""
    from tourlog.query.reads import attributes_read
    from tourlog.query.run import prepare

    return attributes_read(prepare(query, [snapshot, *inputs]))


def wanted_by(question: Any) -> Wanted | None:
    """What one entity must state for a condition, a query or a tuple of one and its inputs, to have an answer; None
    for one that asks anything else, or is no text that can be read."""
    query, inputs = (question[0], question[1:]) if isinstance(question, tuple) and question else (question, ())
    statement = _statement(query) if type(query) is str and len(query) < _REMEMBERED_LENGTH else None
    return None if statement is None else statement.wanted(inputs)


@lru_cache(maxsize=256)
def _statement(text: str) -> Statement | None:
    from tourlog.query.parse import parse_query
    from tourlog.query.stated import statement_of

    try:
        return statement_of(parse_query(text))
    except QueryError:
        return None  # who asks the query says what is wrong with it


def parts(question: Any, argument: str) -> tuple[Any, list[Any]]:
    """A query and its inputs after the database, given as a tuple or as the query alone; `ArgumentError` for ()."""
    if type(question) is tuple and not question:  # nothing else is asked what it equals
        raise ArgumentError("expected a query, or a tuple of a query and its inputs, got ()", argument=argument)
    query, *inputs = question if isinstance(question, tuple) else (question,)
    return query, [list(given) if isinstance(given, Iterator) else given for given in inputs]


def answer(snapshot: Snapshot, query: Any, inputs: Sequence[Any]) -> Rows:
    """The rows of a query over a snapshot: one of a None, too, and those of a collection or a scalar,
    however `:find` would have them shown."""
    from tourlog.query.run import prepare, run_query

    sources = [snapshot, *inputs]
    parsed = prepare(query, sources).plan.query
    rows: Rows = run_query(replace(parsed, keys=None, find=replace(parsed.find, shape="relation")), sources)
    return rows
