"""Reading a stream of a hundred thousand documents: all of it, ten of it, and the same through a query."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
from measure import Figure, as_fast, as_long, interleaved, timed, typical
from peers.stores import NAME, VALUE, PlainStore, Store, TourlogStore, event
from run import Run

import tourlog
from tourlog import event_store

BATCH, TEN, CALLS = 1_000, 10, 50
QUERY_AT_MOST, MEMORY_AT_MOST, DECODE_AT_MOST = 3, 3, 1.5


def figures(run: Run) -> Iterator[Figure]:
    folder = run.new_folder("reading")
    eventsourcing = run.peer("eventsourcing_store")
    ours, plain = TourlogStore(folder / "tourlog"), PlainStore(folder / "sqlite3")
    theirs = None if eventsourcing is None else eventsourcing.EventSourcingStore(folder / "events")
    for store in filter(None, (ours, plain, theirs)):
        _fill(store, run.sizes.stream)
    yield from _whole_and_slice(run, ours, plain, theirs)
    yield from _through_queries(run, ours)
    for store in filter(None, (ours, plain, theirs)):
        store.close()
    yield from _in_memory(run, None if eventsourcing is None else eventsourcing.EventSourcingStore(None))


def _fill(store: Store, size: int) -> None:
    for start in range(0, size, BATCH):
        store.append([event(n) for n in range(start, start + BATCH)])


def _whole_and_slice(run: Run, ours: TourlogStore, plain: Store, theirs: Store | None) -> Iterator[Figure]:
    size = run.sizes.stream
    stores = {"tourlog": ours, "sqlite3": plain} | ({} if theirs is None else {"eventsourcing": theirs})
    for store in stores.values():
        assert _without_place(store.documents()) == [event(n) for n in range(size)]
    reads = {name: timed(store.documents) for name, store in stores.items()}
    reads["events"] = timed(lambda: event_store.get_events_for_aggregate(ours.conn.db(), VALUE))
    seconds = interleaved(reads, run.sizes.rounds)
    for what, name in ((f"all of {size:,}, file", "tourlog"), ("the same as events, without ids", "events")):
        for peer, at_least in (("eventsourcing", 4), ("sqlite3", 2)):
            if peer in stores:
                yield as_fast(what, peer, seconds[name], seconds[peer], at_least)
    tens = {
        name: typical(partial(store.documents, size // 2, size // 2 + TEN), CALLS) for name, store in stores.items()
    }
    seconds = interleaved(tens, run.sizes.rounds)
    for peer, target in (("eventsourcing", 3), ("sqlite3", None)):
        if peer in stores:
            yield as_fast("ten in the middle, file", peer, seconds["tourlog"], seconds[peer], target)


def _through_queries(run: Run, store: TourlogStore) -> Iterator[Figure]:
    size = run.sizes.stream
    db, middle = store.conn.db(), (size // 2, size // 2 + TEN)
    asked = {
        f"q all of {size:,}, file": (timed, tourlog.gen_datalog("all", NAME), ()),
        "q ten in the middle, file": (partial(typical, calls=CALLS), tourlog.gen_datalog("slice", NAME), middle),
    }
    for what, (measured, query, offsets) in asked.items():
        ask, read = partial(db.q, query, VALUE, *offsets), partial(store.documents, *offsets)
        assert tourlog.post_query_transform(ask()) == [_without_id(document) for document in read()]
        seconds = interleaved({"query": measured(ask), "read": measured(read)}, run.sizes.rounds)
        yield as_long(what, "direct read", seconds["query"], seconds["read"], QUERY_AT_MOST)


def _in_memory(run: Run, theirs: Store | None) -> Iterator[Figure]:
    size = run.sizes.stream
    ours = TourlogStore(None)
    reads: dict[str, Callable[[], Any]] = {
        "ours": ours.documents,
        "events": lambda: event_store.get_events_for_aggregate(ours.conn.db(), VALUE),
        "msgspec": _decoding(size),
    }
    if theirs is not None:
        reads["eventsourcing"] = theirs.documents
    for store in filter(None, (ours, theirs)):
        _fill(store, size)
    seconds = interleaved({name: timed(read) for name, read in reads.items()}, run.sizes.rounds)
    if theirs is not None:
        yield as_long(
            f"all of {size:,}, memory", "eventsourcing", seconds["ours"], seconds["eventsourcing"], MEMORY_AT_MOST
        )
    for what, name in ((f"all of {size:,}, memory", "ours"), ("in memory, as events without ids", "events")):
        yield as_long(what, "msgspec decode", seconds[name], seconds["msgspec"], DECODE_AT_MOST)


def _decoding(size: int) -> Callable[[], Any]:
    """Decodes the bodies a store holds, a hundred documents each, and nothing more."""
    bodies = [msgspec.msgpack.encode([event(n) for n in range(start, start + 100)]) for start in range(0, size, 100)]
    decode = msgspec.msgpack.Decoder(list[dict[str, Any]]).decode
    return lambda: [document for body in bodies for document in decode(body)]


def _without_place(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in document.items() if name not in ("db/id", "offset")} for document in documents
    ]


def _without_id(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "db/id"}
