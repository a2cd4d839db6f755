"""Turns the answers of queries into tables and lines. Knows nothing of terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tourlog.query.syntax import Query
from tourlog.tables import document_table
from tourlog.values import sort_key


def answer_values(query: Query, answer: Any) -> list[Any]:
    """What to print as JSON lines: the rows of a relation, the values of a collection, the one tuple or
    value. Rows are in the order of their values unless the query orders them."""
    match query.find.shape:
        case "relation":
            return _ordered(query, list(answer))
        case "collection":
            return _ordered(query, answer)
        case _:
            return [answer]


def answer_table(query: Query, answer: Any) -> tuple[list[str] | None, Sequence[Sequence[Any]]]:
    """The columns (None for what needs no header) and rows to print. Pulled documents alone are spread over
    columns, one an attribute."""
    values = answer_values(query, answer)
    if query.keys is None and len(query.find.elements) == 1:
        documents = [row[0] for row in values] if query.find.shape == "relation" else values
        if documents and all(isinstance(document, dict) for document in documents):
            return document_table(documents)
    rows = [list(row.values()) if query.keys is not None and row is not None else row for row in values]
    match query.find.shape:
        case "relation":
            return list(answer.columns), rows
        case "tuple":
            return None if query.keys is None else list(query.keys), [row for row in rows if row is not None]
        case _:
            return None, [[value] for value in values]


def _ordered(query: Query, values: list[Any]) -> list[Any]:
    return values if query.order_by else sorted(values, key=sort_key)
