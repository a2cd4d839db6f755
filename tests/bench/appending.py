"""Appending to a file, and to memory: transactions of a thousand documents, and of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from measure import Figure, Measure, as_fast, as_long, interleaved, timed
from peers.stores import PlainStore, Store, TourlogStore, event
from run import Run

SYNCHRONOUS = ("full", "normal")
MEMORY_AT_MOST = 3
LOG_FULL = 2_500
"""After so many transactions of one document every store's write-ahead log has its full length, and is written over."""


@dataclass(frozen=True)
class Work:
    """Documents in a transaction, transactions in a measure, and how fast we must be: targets by peer. `before` is how
    many transactions of one document there are in the stores already."""

    documents: int
    transactions: int
    targets: Mapping[str, float]
    before: int = 0


WORKS = (
    Work(1_000, 10, {"eventsourcing": 4, "sqlite3": 3}),
    Work(1, 50, {"eventsourcing": 1, "sqlite3": 0.8}),
    Work(1, 50, {"eventsourcing": 1, "sqlite3": 0.8}, before=LOG_FULL),
)


def figures(run: Run) -> Iterator[Figure]:
    eventsourcing = run.peer("eventsourcing_store")
    for work in WORKS:
        for synchronous in SYNCHRONOUS:
            folder = run.new_folder("appending")
            stores = {"tourlog": TourlogStore(folder / "tourlog", synchronous)}
            stores["sqlite3"] = PlainStore(folder / "sqlite3", synchronous)
            if eventsourcing is not None:
                # Left alone it runs with "full", SQLite's default: what the assertion says.
                wanted = None if synchronous == "full" else synchronous
                stores["eventsourcing"] = eventsourcing.EventSourcingStore(folder / "events", wanted)
                assert stores["eventsourcing"].synchronous == synchronous
            yield from _compared(run, work, synchronous, stores)
    if eventsourcing is not None:
        yield _in_memory(run, eventsourcing.EventSourcingStore(None))


def appending(store: Store, documents: int, transactions: int) -> Measure:
    """Measures one transaction of new documents; they are made before."""
    numbers = count()

    def measure() -> float:
        batches = iter([[event(next(numbers)) for _ in range(documents)] for _ in range(transactions)])
        return timed(lambda: store.append(next(batches)), transactions)()

    return measure


def _compared(run: Run, work: Work, synchronous: str, stores: dict[str, Store]) -> Iterator[Figure]:
    measures = {name: appending(store, work.documents, work.transactions) for name, store in stores.items()}
    for n in range(work.before):
        for store in stores.values():
            store.append([event(n)])
    seconds = interleaved(measures, run.sizes.rounds)
    since = f", after {work.before:,}" if work.before else ""
    for peer in (name for name in work.targets if name in stores):
        what = f"{work.documents:,} a transaction, synchronous {synchronous}{since}"
        yield as_fast(what, peer, seconds["tourlog"], seconds[peer], work.targets[peer])
    for store in stores.values():
        store.close()


def _in_memory(run: Run, theirs: Store) -> Figure:
    ours = TourlogStore(None)
    measures = {"ours": appending(ours, 1, 500), "theirs": appending(theirs, 1, 500)}
    seconds = interleaved(measures, run.sizes.rounds)
    return as_long("1 a transaction, in memory", "eventsourcing", seconds["ours"], seconds["theirs"], MEMORY_AT_MOST)
