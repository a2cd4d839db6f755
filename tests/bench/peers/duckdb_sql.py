"""DuckDB by hand: the tables of the benchmarks as plain columns, with the settings tourlog gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import duckdb
from run import CUSTOMERS

SETTINGS = {"threads": 2, "memory_limit": "4GB"}

ORDERS = """CREATE TABLE "order" AS SELECT n, 'type-' || n % 10 AS type, n * 31 % 1000 AS amount,
    (n % 997)::DOUBLE / 8 AS price, 'customer-' || n * 7919 % ? AS customer FROM range(?) t(n)"""

REACHABLE = """WITH RECURSIVE reach(a, b) AS (
    SELECT a, b FROM edge UNION SELECT reach.a, edge.b FROM reach JOIN edge ON reach.b = edge.a)
    SELECT count(*) FROM reach"""

ANCESTORS = """WITH RECURSIVE ancestor(b) AS (
    SELECT b FROM edge WHERE a = ? UNION SELECT edge.b FROM ancestor JOIN edge ON ancestor.b = edge.a)
    SELECT b FROM ancestor"""


def orders(count: int) -> duckdb.DuckDBPyConnection:
    """The orders of `run.order` and their customers."""
    connection = duckdb.connect(config=SETTINGS)
    connection.execute(ORDERS, [CUSTOMERS, count])
    connection.execute(
        "CREATE TABLE customer AS SELECT 'customer-' || n AS name, 'region-' || n % 8 AS region FROM range(?) t(n)",
        [CUSTOMERS],
    )
    return connection


def graph(edges: Iterable[tuple[Any, Any]], type_: str) -> duckdb.DuckDBPyConnection:
    """A table `edge` of two columns of this type."""
    connection = duckdb.connect(config=SETTINGS)
    connection.execute(f"CREATE TABLE edge (a {type_}, b {type_})")
    connection.executemany("INSERT INTO edge VALUES (?, ?)", list(edges))
    return connection


def reachable(edges: Iterable[tuple[int, int]]) -> Callable[[], int]:
    connection = graph(edges, "BIGINT")
    return lambda: connection.execute(REACHABLE).fetchall()[0][0]


def ancestors(edges: Iterable[tuple[str, str]], start: str) -> Callable[[], list[str]]:
    connection = graph(edges, "VARCHAR")
    return lambda: [ancestor for (ancestor,) in connection.execute(ANCESTORS, [start]).fetchall()]
