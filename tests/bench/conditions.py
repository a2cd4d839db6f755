"""What a condition costs: one document a transaction, under conditions and without, beside a million documents."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

from measure import Figure, Measure, as_long, interleaved, timed
from run import CUSTOMERS, ORDERS, Run, customer, order

AT_MOST = 2
STORE = "conditions"
TRANSACTIONS = 50

STATES = "[:find ?e :in $ ?n :where [?e :n ?n]]"
STATES_BOTH = "[:find ?e :in $ ?n ?customer :where [?e :n ?n] [?e :customer ?customer]]"


def figures(run: Run) -> Iterator[Figure]:
    size = run.sizes.orders
    for place in (STORE, f"memory, {STORE}"):
        conn = run.orders(place, size)
        numbers = count(size)
        conditions: dict[str, Any] = {
            "no condition": lambda _: {},
            "unless one attribute": lambda n: {"unless": (STATES, n)},
            "unless two attributes": lambda n: {"unless": (STATES_BOTH, n, customer(n % CUSTOMERS))},
            "only_if one attribute": lambda n: {"only_if": (STATES, n * 7919 % size)},
        }
        measures = {name: _appending(conn, numbers, of) for name, of in conditions.items()}
        seconds = interleaved(measures, run.sizes.rounds)
        where = "file, synchronous full" if place == STORE else "memory"
        for name in list(conditions)[1:]:
            what = f"{name}, {size:,} documents, {where}"
            yield as_long(what, "no condition", seconds[name], seconds["no condition"], AT_MOST)


def _appending(conn: Any, numbers: Iterator[int], condition: Any) -> Measure:
    """Measures one transaction; the documents and conditions are made before."""

    def measure() -> float:
        given = [(order(n), condition(n)) for n in (next(numbers) for _ in range(TRANSACTIONS))]
        works = iter([partial(conn.append, [document], *ORDERS, **under) for document, under in given])
        return timed(lambda: next(works)(), TRANSACTIONS)()

    return measure
