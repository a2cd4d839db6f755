"""Cozo in memory, through its Python client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pycozo.client import Client

REACH = """reach[a, b] := *edge{a, b}
reach[a, c] := reach[a, b], *edge{a: b, b: c}
?[count(b)] := reach[a, b]"""

SMALL = "?[e, n] := *document{e, type: $type, n}, n < 100"


def reachable(edges: Iterable[tuple[int, int]]) -> Callable[[], int]:
    client = Client(dataframe=False)
    client.run("?[a, b] <- $rows :create edge {a, b}", {"rows": [list(edge) for edge in edges]})
    return lambda: client.run(REACH)["rows"][0][0]


def small(documents: Iterable[tuple[int, str, int]], type_: str) -> Callable[[], Any]:
    """The documents of one type, through an index on it."""
    client = Client(dataframe=False)
    rows = [list(document) for document in documents]
    client.run("?[e, type, n] <- $rows :create document {e => type, n}", {"rows": rows})
    client.run("::index create document:by_type {type, n}")
    return lambda: client.run(SMALL, {"type": type_})["rows"]
