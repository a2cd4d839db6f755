"""Star queries with an aggregate over a million documents, warm, against SQL by hand on DuckDB's columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isclose
from typing import Any

from measure import Figure, as_long, interleaved, typical
from peers import duckdb_sql
from run import CUSTOMERS, Run, customer

import tourlog

AT_MOST = 1.5


@dataclass(frozen=True)
class Star:
    """One question, asked both ways."""

    name: str
    datalog: str
    sql: str


STARS = (
    Star(
        "group, sum of ints",
        "[:find ?type (sum ?amount) :with ?e :where [?e :type ?type] [?e :amount ?amount]]",
        'SELECT type, sum(amount) FROM "order" GROUP BY type',
    ),
    Star(
        "count with a filter",
        '[:find (count ?e) :where [?e :type "type-3"] [?e :amount ?amount] [(< ?amount 500)]]',
        """SELECT count(*) FROM "order" WHERE type = 'type-3' AND amount < 500""",
    ),
    Star(
        "group, avg of floats in eighths",
        "[:find ?type (avg ?price) :with ?e :where [?e :type ?type] [?e :price ?price]]",
        'SELECT type, avg(price) FROM "order" GROUP BY type',
    ),
    Star(
        "group of two, min and max",
        """[:find ?type ?amount (min ?price) (max ?price)
           :where [?e :type ?type] [?e :amount ?amount] [?e :price ?price]]""",
        'SELECT type, amount, min(price), max(price) FROM "order" GROUP BY type, amount',
    ),
    Star(
        "two entities joined by an attribute",
        """[:find ?region (sum ?amount) :with ?e
           :where [?e :customer ?name] [?e :amount ?amount] [?c :name ?name] [?c :region ?region]]""",
        'SELECT region, sum(amount) FROM "order" JOIN customer ON customer = name GROUP BY region',
    ),
)


def figures(run: Run) -> Iterator[Figure]:
    conn = run.orders("file", run.sizes.orders)
    _add_customers(conn)
    db, by_hand = conn.db(), duckdb_sql.orders(run.sizes.orders)
    for star in STARS:
        ours = partial(db.q, star.datalog, engine="compiled")
        theirs = partial(_rows, by_hand, star.sql)
        assert _agree(ours(), theirs()), star
        seconds = interleaved({"ours": typical(ours, 3), "theirs": typical(theirs, 3)}, run.sizes.rounds)
        yield as_long(f"{star.name}, {run.sizes.orders:,}", "DuckDB", seconds["ours"], seconds["theirs"], AT_MOST)


def _rows(connection: Any, sql: str) -> Any:
    return connection.execute(sql).fetchall()


def _add_customers(conn: tourlog.Connection) -> None:
    if not conn.db().documents({"directory": "customers"}, 0, 1):
        documents = (
            {"directory": "customers", "name": customer(n), "region": f"region-{n % 8}"} for n in range(CUSTOMERS)
        )
        conn.append(documents, "directory")


def _agree(ours: Any, theirs: Any) -> bool:
    pairs = zip(sorted(ours), sorted(theirs), strict=True)
    return all(
        isclose(our, their, rel_tol=1e-9) if isinstance(our, float) else our == their
        for rows in pairs
        for our, their in zip(*rows, strict=True)
    )
