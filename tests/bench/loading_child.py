"""A process that loads three attributes of a store's documents, and prints what that took beyond a warm query."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from time import perf_counter, process_time

import tourlog

QUERY = '[:find (count ?e) . :where [?e :type "type-3"] [?e :amount ?amount] [?e :price ?price] [(< ?amount 500)]]'


def main(path: str) -> None:
    with tourlog.connect() as small:  # loads and starts what any first query does
        small.append([{"k": 1, "type": "type-3", "amount": 1, "price": 1.0}], "k")
        small.db().q(QUERY, engine="compiled")
    with tourlog.connect(path, read_only=True) as conn:
        db, before = conn.db(), _resident_bytes()
        (first, first_used), (warm, warm_used) = (_seconds(db) for _ in range(2))
        found = {"seconds": first - warm, "processor": first_used - warm_used, "bytes": _resident_bytes() - before}
        print(json.dumps(found))


def _seconds(db: tourlog.Database) -> tuple[float, float]:
    """What a query takes, and what of the processor."""
    started, used = perf_counter(), process_time()
    db.q(QUERY, engine="compiled")
    return perf_counter() - started, process_time() - used


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(sys.argv[1])
