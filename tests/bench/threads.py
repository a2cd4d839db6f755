"""Many threads that each commit single documents, durably, to one file."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from measure import Figure, as_fast, interleaved, sync_seconds, timed
from peers.stores import NAME, event
from run import Run

import tourlog

THREADS, DOCUMENTS, AT_LEAST = 32, 512, 3


def figures(run: Run) -> Iterator[Figure]:
    """One thread commits as many documents as all the threads do together. A bare sync of a page, in the same
    rounds, says what the disk allows without commits in groups."""
    folder = run.new_folder("threads")
    conn = tourlog.connect(folder / "threads.tour", durability="full")
    many, one = (timed(lambda threads=threads: _commit(conn, threads)) for threads in (THREADS, 1))
    measures = {"many": many, "one": one, "sync": lambda: DOCUMENTS * sync_seconds(folder / "sync")}
    seconds = interleaved(measures, run.sizes.rounds)
    each = {name: [taken / DOCUMENTS for taken in found] for name, found in seconds.items()}
    yield as_fast(f"a document, {THREADS} threads", "one thread", each["many"], each["one"], AT_LEAST)
    yield as_fast(f"a document, {THREADS} threads", "a bare sync", each["many"], each["sync"], None)
    yield as_fast("a document, one thread", "a bare sync", each["one"], each["sync"], None)
    conn.close()


def _commit(conn: tourlog.Connection, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(_commit_some, conn, DOCUMENTS // threads) for _ in range(threads)]:
            done.result()


def _commit_some(conn: tourlog.Connection, documents: int) -> None:
    for n in range(documents):
        conn.append([event(n)], NAME)
