"""Ten documents of a stream: the same for a thousand and for a million of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from measure import Figure, as_long, interleaved, typical
from run import ORDERS, Run

import tourlog

FEW = 1_000
CALLS = 50
AT_MOST = 1.3
"""What "the same" may be: about 1, and the machine's noise."""

Read = Callable[[], Any]


def figures(run: Run) -> Iterator[Figure]:
    many = run.sizes.orders
    for place in ("memory", "file"):
        few_reads, many_reads = (_reads(run.orders(place, count), count) for count in (FEW, many))
        for name, read in few_reads.items():
            assert len(read()) == len(many_reads[name]()) == (1 if "nth" in name.split() else 10), name
            works = {"many": typical(many_reads[name], CALLS), "few": typical(read, CALLS)}
            seconds = interleaved(works, run.sizes.rounds)
            what = f"{place}: {name}, {many:,} documents"
            yield as_long(what, f"{FEW:,} documents", seconds["many"], seconds["few"], AT_MOST)


def _reads(conn: tourlog.Connection, count: int) -> dict[str, Read]:
    """Ways to ask for documents in the middle, at the end and at the start, each on the newest database."""
    middle = count // 2
    offsets = {"slice": (middle, middle + 10), "nthrest": (count - 10,), "take": (10,), "nth": (middle,)}
    asked = {f"q {name}": partial(_asked, conn, tourlog.gen_datalog(name, *ORDERS), at) for name, at in offsets.items()}
    return {**asked, "direct read": lambda: conn.db().documents(ORDERS, middle, middle + 10)}


def _asked(conn: tourlog.Connection, query: Any, offsets: tuple[int, ...]) -> Any:
    return conn.db().q(query, *ORDERS.values(), *offsets)
