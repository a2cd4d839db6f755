"""Transactions whose content follows from a writer's name and a number, and a check that a store holds each of
them whole or not at all, in order, and all that were acknowledged.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import apsw
from torture.findings import Violation

import tourlog
from tourlog import Connection, append, call

Document = dict[str, Any]


def documents(writer: str, n: int) -> list[Document]:
    """The documents of a writer's n-th transaction, over several streams; a few are large (what does not get shorter
    by compression, or what does), some are many."""
    rng = Random(f"{writer}-{n}")
    streams = rng.sample(["shared", writer, f"{writer}-{n % 3}", "other"], rng.randint(1, 3))
    count = 130 if n % 11 == 7 else rng.randint(1, 4)
    large = {3: rng.randbytes(15_000).hex(), 5: "x" * 30_000}.get(n % 7, "")
    made = {"w": writer, "n": n, "of": count}
    return [{"k": streams[i % len(streams)], **made, "i": i, "body": "x" * i if i else large} for i in range(count)]


def counter(writer: str, n: int) -> Document | None:
    """The entity that the n-th transaction upserts, if it does."""
    return None if n % 3 == 0 else {"db/id": f"counter {writer}", "last": n, f"at-{n % 4}": "y" * (n % 50)}


def name(writer: str, n: int) -> str:
    """The `tx_id`."""
    return f"{writer}/{n}"


def write(conn: Connection, writer: str, n: int) -> int:
    """Commit a writer's n-th transaction in one of three ways; its position."""
    given, entity = documents(writer, n), counter(writer, n)
    if entity is None:
        return conn.append(given, "k", tx_id=name(writer, n)).t
    if n % 3 == 1:
        return conn.run(lambda: (conn.append(given, "k"), conn.transact([entity])), tx_id=name(writer, n)).t
    return conn.transact([call(append, given, "k"), entity], tx_id=name(writer, n), meta={"by": writer}).t


class Acknowledgements:
    """A file of its own where a writer notes what was acknowledged; `write(2)` reaches the kernel before the next
    transaction begins, and a kill does not undo it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, writer: str, n: int) -> None:
        os.write(self._file, f"{writer}/{n}\n".encode())


def acknowledged(path: Path) -> dict[str, int]:
    """How many transactions of each writer were acknowledged."""
    if not path.exists():
        return {}
    noted: dict[str, int] = {}
    for line in path.read_text().split():
        writer, _, n = line.rpartition("/")
        expect(int(n) == noted.get(writer, 0), f"acknowledgements of {writer} in order")
        noted[writer] = int(n) + 1
    return noted


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(f"expected {what}")


def expect_equal(found: Any, wanted: Any, what: str) -> None:
    if found != wanted:
        raise Violation(f"expected {what} to be {wanted!r:.200}, got {found!r:.200}")


def check_store(path: Path, acked: Mapping[str, int], begun: Mapping[str, int] | None = None) -> dict[str, int]:
    """How many transactions of each writer the store holds. Violation unless the file is sound, every transaction is
    whole, they are each writer's first ones in order, none that was acknowledged lacks, and, when `begun` says how
    many were begun, there are none beyond."""
    with tourlog.connect(path) as conn:
        check_file(path)
        return check_connection(conn, acked, begun)


def check_file(path: Path) -> None:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        expect_equal(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "the integrity of the file")
    finally:
        connection.close()
    if hasattr(tourlog, "verify"):
        tourlog.verify(path)


def check_connection(conn: Connection, acked: Mapping[str, int], begun: Mapping[str, int] | None) -> dict[str, int]:
    db = conn.db()
    past = list(db.tx_range())
    expect_equal([each.t for each in past], list(range(1, db.t + 1)), "the positions of transactions")
    order = _order([each.tx_id for each in past])
    held = {writer: len(numbers) for writer, numbers in order.items()}
    for writer, number in acked.items():
        expect(held.get(writer, 0) >= number, f"{number} acknowledged transactions of {writer}, got {held.get(writer)}")
    if begun is not None:
        for writer, number in held.items():
            expect(number <= begun.get(writer, 0), f"at most {begun.get(writer, 0)} of {writer}, got {number}")
    ids = [_parts(each.tx_id) for each in past]
    _check_streams(db, ids)
    _check_reports(db, past, ids)
    for writer, number in held.items():
        _check_counter(db, writer, number)
    return held


def _order(ids: Iterable[str | None]) -> dict[str, list[int]]:
    order: dict[str, list[int]] = defaultdict(list)
    for writer, n in map(_parts, ids):
        order[writer].append(n)
    for writer, numbers in order.items():
        expect_equal(numbers, list(range(len(numbers))), f"the order of transactions of {writer}")
    return order


def _parts(tx_id: str | None) -> tuple[str, int]:
    expect(tx_id is not None, "a transaction with an id")
    writer, _, n = str(tx_id).rpartition("/")
    return writer, int(n)


def _check_streams(db: tourlog.Database, ids: list[tuple[str, int]]) -> None:
    """Every stream is dense and holds exactly what the transactions, in their order, put there."""
    wanted: dict[str, list[Document]] = defaultdict(list)
    for writer, n in ids:
        for document in documents(writer, n):
            wanted[document["k"]].append(document)
    found = {}
    for _, stream, end in db.streams():
        held = db.documents(stream)
        expect_equal([each["offset"] for each in held], list(range(end)), f"the offsets of {stream}")
        found[stream.values[0]] = [{a: v for a, v in each.items() if a not in ("offset", "db/id")} for each in held]
    expect_equal(sorted(found), sorted(wanted), "the streams")
    for k, each in wanted.items():
        expect(found[k] == each, f"stream {k} to hold what was written, whole and in order")


def _check_reports(db: tourlog.Database, past: list[Any], ids: list[tuple[str, int]]) -> None:
    """Every transaction tells the offsets it appended, and so do the ends of streams as of its position."""
    ends: dict[str, int] = defaultdict(int)
    for each, (writer, n) in zip(past, ids, strict=True):
        spans = {stream.values[0]: span for stream, span in each.offsets.items()}
        wanted = {}
        for k, group in groupby(sorted(documents(writer, n), key=lambda d: d["k"]), key=lambda d: d["k"]):
            wanted[k] = range(ends[k], ends[k] + len(list(group)))
            ends[k] = wanted[k].stop
        expect_equal(spans, wanted, f"the offsets of {writer}/{n}")
        found = {stream.values[0]: end for _, stream, end in db.as_of(each.t).streams() if end}
        expect_equal(found, dict(ends), f"the ends of streams as of {each.t}")


def _check_counter(db: tourlog.Database, writer: str, number: int) -> None:
    wanted: Document = {}
    for n in range(number):
        wanted |= counter(writer, n) or {}
    if wanted:
        expect_equal(db.entity(f"counter {writer}"), wanted, f"the counter of {writer}")
        expect_equal(db.q("[:find ?n . :in $ ?e :where [?e :last ?n]]", f"counter {writer}"), wanted["last"], "a fact")
