"""A process that loads three attributes of a store's documents, and prints what that took beyond a warm query."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from time import perf_counter

import tourlog

QUERY = '[:find (count ?e) . :where [?e :type "type-3"] [?e :amount ?amount] [?e :price ?price] [(< ?amount ?price)]]'


def main(path: str) -> None:
    with tourlog.connect() as small:  # loads and starts what any first query does
        small.append([{"k": 1, "type": "type-3", "amount": 1, "price": 1.0}], "k")
        small.db().q(QUERY, engine="compiled")
    with tourlog.connect(path, read_only=True) as conn:
        db, before = conn.db(), _resident_bytes()
        first, warm = (_seconds(db) for _ in range(2))
        print(json.dumps({"seconds": first - warm, "bytes": _resident_bytes() - before}))


def _seconds(db: tourlog.Database) -> float:
    started = perf_counter()
    db.q(QUERY, engine="compiled")
    return perf_counter() - started


def _resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(sys.argv[1])
