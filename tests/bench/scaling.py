"""Append, slice and open: what they cost in a stream of a million documents, and in one of ten thousand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from measure import Figure, Measure, as_long, interleaved, timed, typical
from run import ORDERS, Run, order_chunks

import tourlog

FEW = 10_000
AT_MOST = 1.3
STORE = "scaling"
TRANSACTIONS = 2


def figures(run: Run) -> Iterator[Figure]:
    many = run.sizes.orders
    measures = {size: _measures(run, size) for size in (many, FEW)}
    for name in measures[many]:
        seconds = interleaved({str(size): measures[size][name] for size in (many, FEW)}, run.sizes.rounds)
        yield as_long(
            f"{name}, {many:,} documents", f"{FEW:,} documents", seconds[str(many)], seconds[str(FEW)], AT_MOST
        )


def _measures(run: Run, size: int) -> dict[str, Measure]:
    conn = run.orders(STORE, size)
    path = run.orders_path(STORE, size)
    return {
        "open": typical(lambda: tourlog.connect(path).close(), 10),
        "slice of ten": typical(lambda: conn.db().documents(ORDERS, size // 2, size // 2 + 10), 50),
        "append of 1,000": _appending(conn, size),
    }


def _appending(conn: tourlog.Connection, size: int) -> Measure:
    """Few transactions at a time, so that the small stream stays small."""
    starts = count(size, 1_000 * TRANSACTIONS)

    def measure() -> float:
        chunks = order_chunks(next(starts), 1_000 * TRANSACTIONS)
        batches = iter(list(chunks))
        return timed(lambda: conn.append(next(batches), *ORDERS), TRANSACTIONS)()

    return measure
