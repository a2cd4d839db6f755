"""Reader: one stays open through a long write: a suspended iterator, a subscription, threads and processes that read
all the time, a backup over and over, or a foreign connection with an open transaction. The write-ahead log stays
bounded, or a warning says who keeps it.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import monotonic

import apsw
from torture.findings import Findings, Time
from torture.work import expect

import tourlog
from tourlog.storage.checkpoints import LARGE

ALLOWED = LARGE + (1 << 23)
"""What a log may have when nobody reads for long: one transaction goes on top of a log that is looked at before it."""

KEY = {"k": "read"}
READ_ALL = "import sys, tourlog\nconn = tourlog.connect(sys.argv[1], read_only=True)\nprint(flush=True)\n"
IN_PROCESS = f"{READ_ALL}while True: conn.db().documents({KEY})"
SUSPENDED = f"{READ_ALL}held = conn.db().iter_documents({KEY})\nnext(held)\nprint(flush=True)\nsys.stdin.read()"
FOREIGN = "import sys, sqlite3\nc = sqlite3.connect(sys.argv[1])\nc.execute('BEGIN')\nc.execute('SELECT * FROM tx')"
FOREIGN += ".fetchone()\nprint(flush=True)\nsys.stdin.read()"


@dataclass(frozen=True)
class Store:
    """An open store and its file."""

    conn: tourlog.Connection
    path: Path


@contextmanager
def nobody(store: Store) -> Iterator[None]:
    expect(store.conn.db().t > 0, "something to read")
    yield


@contextmanager
def suspended(store: Store) -> Iterator[None]:
    """A half read stream, half read facts, and a snapshot."""
    db = store.conn.db()
    held = [iter(db.facts()), iter(db.iter_documents(KEY))]
    firsts = [next(each) for each in held]
    yield
    expect(db.documents(KEY)[0] == firsts[1], "an old snapshot to read as before")


@contextmanager
def subscribed(store: Store) -> Iterator[None]:
    with store.conn.subscribe(KEY, start=0) as subscription:
        next(subscription)
        yield


@contextmanager
def threads(store: Store) -> Iterator[None]:
    """Reads of a few hundred documents that overlap."""
    with _working(lambda: store.conn.db().documents(KEY), 3):
        yield


@contextmanager
def backups(store: Store) -> Iterator[None]:
    numbers = count()

    def copy() -> None:
        target = store.path.with_name(f"copy-{next(numbers)}")
        tourlog.backup(store.path, target)
        target.unlink()

    with _working(copy, 1):
        yield


@contextmanager
def _working(work: Callable[[], object], number: int) -> Iterator[None]:
    """Threads that do something over and over; what one of them raised is raised at the end."""
    stop, failed = Event(), list[Exception]()

    def run() -> None:
        try:
            while not stop.is_set():
                work()
        except Exception as error:
            failed.append(error)

    workers = [Thread(target=run) for _ in range(number)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    for error in failed:
        raise error


def _process(program: str, number: int = 1) -> Callable[[Store], object]:
    @contextmanager
    def held(store: Store) -> Iterator[None]:
        command = [sys.executable, "-c", program, str(store.path)]
        children = [subprocess.Popen(command, stdin=-1, stdout=-1) for _ in range(number)]
        try:
            for child in children:
                assert child.stdout is not None
                expect(child.stdout.readline() == b"\n", "a process that reads")
            yield
        finally:
            for child in children:
                child.kill()
                child.communicate()

    return held


@contextmanager
def foreign(store: Store) -> Iterator[None]:
    """Another connection of this process, that none of tourlog's knows of."""
    raw = apsw.Connection(str(store.path))
    raw.execute("BEGIN; SELECT * FROM tx").fetchall()
    yield
    raw.close()


SHORT = {
    "nobody": nobody,
    "a suspended iterator": suspended,
    "a suspended iterator in another process": _process(SUSPENDED),
    "a subscription": subscribed,
    "three threads reading": threads,
    "two processes reading": _process(IN_PROCESS, 2),
}
"""Readers beside which the log must stay bounded."""

OFTEN_LONG = {"backups": backups}
"""A backup reads for as long as it copies: the log is bounded, or there is a warning."""

LONG = {"a foreign transaction": foreign, "a foreign transaction in another process": _process(FOREIGN)}
"""Readers that only a warning can do something about."""


def run(seed: int, seconds: float) -> Findings:
    findings, time, rng = Findings(), Time.of(seconds), Random(seed)
    kinds = [*SHORT, *OFTEN_LONG, *LONG]
    while True:
        for number, kind in enumerate(rng.sample(kinds, len(kinds))):
            with TemporaryDirectory() as folder, findings.watch(kind):
                share = (time.until - monotonic()) / (len(kinds) - number)
                check(kind, Path(folder) / "store", rng, findings, max(share, 1.0))
            findings.count("long writes")
        if time.until - monotonic() < seconds / 2:
            return findings


def check(kind: str, path: Path, rng: Random, findings: Findings, seconds: float) -> None:
    """Write until the time is over, and at least three times as much as a log may have."""
    with tourlog.connect(path, durability="normal") as conn, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        conn.append([{**KEY, "n": n, "text": rng.randbytes(500).hex()} for n in range(300)], "k")
        with (SHORT | OFTEN_LONG | LONG)[kind](Store(conn, path)):  # type: ignore[attr-defined]  # context managers, all
            largest, number = _write(conn, path, rng, seconds)
        findings.count("transactions", number)
        findings.most(f"largest -wal in MB, {kind}", largest >> 20)
        warned = [str(each.message) for each in told if each.category is tourlog.LongReadWarning]
        findings.count("warnings", len(warned))
        if kind in SHORT:
            expect(largest <= ALLOWED, f"a log of at most {ALLOWED} bytes, got {largest}")
            expect(not warned, f"no warning, got {warned}")
        elif kind in OFTEN_LONG:
            expect(largest <= 2 * LARGE or bool(warned), f"a log of twice {LARGE} bytes or a warning, got {largest}")
        else:
            doublings = (largest // LARGE).bit_length()
            expect(1 <= len(warned) <= doublings, f"a warning a doubling, got {len(warned)} up to {largest}")
            expect(not sys.platform.startswith("linux") or "process" in warned[0], f"a process, got {warned[0]}")
            expect(_shrinks(conn, path), "a log that shrinks once the reader has gone")


def _shrinks(conn: tourlog.Connection, path: Path) -> bool:
    """Whether the next seconds' transactions find the log's reader gone."""
    until = monotonic() + 10
    while log_size(path) > LARGE and monotonic() < until:
        conn.append([{**KEY, "n": -1}], "k")
    return log_size(path) <= LARGE


def log_size(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def _write(conn: tourlog.Connection, path: Path, rng: Random, seconds: float) -> tuple[int, int]:
    """The largest log, and how many transactions there were."""
    until, largest, written = monotonic() + seconds, 0, 0
    for number in count(1):
        size = rng.randint(1_000, 200_000)
        conn.append([{"k": "written", "n": n, "text": rng.randbytes(size // 2).hex()} for n in range(10)], "k")
        largest, written = max(largest, log_size(path)), written + 10 * size
        if written > 3 * LARGE and monotonic() > until:
            return largest, number
    raise AssertionError("a count that never ends")
