"""Kill at every write: a child makes a store, appends, compacts and reopens, and SIGKILL comes instead of its N-th
write, sync, truncation or deletion, for every N, on a new store and on one that a kill left behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torture.findings import Findings, Time, shuffled
from torture.work import Acknowledgements, acknowledged, check_store, expect, write

import tourlog

CALLS = ("pwrite64", "fdatasync", "ftruncate", "unlink")
LIVES = ("new", "old")
"""A store made by the child itself, and one whose writer was killed with its write-ahead log full."""

TESTS = Path(__file__).parent.parent


def missing() -> str | None:
    """Why this topic cannot be run here, if it cannot."""
    return None if shutil.which("strace") else "strace is not installed: apt-get install strace"


def run(seed: int, seconds: float) -> Findings:
    """Every point, in an order that the seed decides, until the seconds are over."""
    findings, time = Findings(), Time.of(seconds)
    with TemporaryDirectory() as name:
        folder = Path(name)
        leave_behind(folder / "left")
        points = [
            Point(life, *each, n) for life in LIVES for each in counted(folder, life) for n in range(1, each[1] + 1)
        ]

        def visit(point: Point) -> None:
            if time.is_left:
                with findings.watch(f"killed in {point.life} at {point.call} {point.n}"):
                    check_point(folder, point)
                findings.count("points")
                findings.count(f"points at {point.call}")

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(visit, shuffled(points, seed)))
    findings.count("points left out", len(points) - findings.figures["points"])
    return findings


def leave_behind(folder: Path) -> None:
    """What a writer that was killed leaves: a store, its write-ahead log, its acknowledgements."""
    folder.mkdir()
    subprocess.run([*_python(), "leave", str(folder)], env=environment(), check=False)
    expect((folder / "store-wal").stat().st_size > 0, "a write-ahead log left behind")


def counted(folder: Path, life: str) -> list[tuple[str, int]]:
    """How often a child that nothing happens to makes each call."""
    place = _prepared(folder, life, f"{life}-counted")
    log = folder / f"{life}.strace"
    traced = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}", *_python(), "live", str(place)]
    subprocess.run(traced, env=environment(), check=True)
    calls = Counter(line.split(maxsplit=1)[1].partition("(")[0] for line in log.read_text().splitlines())
    return [(call, calls[call]) for call in CALLS]


@dataclass(frozen=True)
class Point:
    """The n-th of the calls of one kind, of which another child made so many in this life."""

    life: str
    call: str
    most: int
    n: int


_FEWER = 3
"""Checksums and instants take more bytes or fewer, so that a child may make a few writes less than the one counted."""


def check_point(folder: Path, point: Point) -> None:
    """Kill a child at a point, check the store, go on with it, check again."""
    call, n = point.call, point.n
    place = _prepared(folder, point.life, f"{point.life}-{call}-{n}")
    # Per system call and thread, strace counts by itself; the child has one thread.
    injected = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
    injected += ["-e", f"inject={call}:signal=KILL:when={n}", *_python(), "live", str(place)]
    child = subprocess.run(injected, env=environment(), stderr=subprocess.PIPE, check=False)
    was_spared = child.returncode == 0 and n > point.most - _FEWER
    expect(was_spared or child.returncode == -9, f"a killed child, got {child.returncode}: {child.stderr[-300:]!r}")
    acked = acknowledged(place / "acks")
    begun = {writer: number + 1 for writer, number in {"a": 0, "b": 0, "left": 0, **acked}.items()}
    held = check_store(place / "store", acked, begun)
    with tourlog.connect(place / "store") as conn:
        number = held.get("a", 0)
        before = conn.db().t
        for _ in range(2):  # once stored, the same transaction again is not
            expect(write(conn, "a", number) == before + 1, "the next position")
    check_store(place / "store", {**held, "a": number + 1}, {**held, "a": number + 1})
    shutil.rmtree(place)


def _prepared(folder: Path, life: str, name: str) -> Path:
    place = folder / name
    if life == "old":
        shutil.copytree(folder / "left", place)
        (place / "store-shm").unlink(missing_ok=True)
    else:
        place.mkdir()
    return place


def _python() -> list[str]:
    return [sys.executable, "-m", "torture.kill"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}


# The child.


def live(folder: Path) -> None:
    """Make or open the store, append, checkpoint, compact, close, open with the other durability, append."""
    acks = Acknowledgements(folder / "acks")
    for writer, durability, transactions in (("a", "full", 14), ("b", "normal", 12)):
        with tourlog.connect(folder / "store", durability=durability) as conn:
            _checkpoint_often(conn)
            for n in range(transactions):
                write(conn, writer, n)
                acks.note(writer, n)
            conn.compact()


def leave(folder: Path) -> None:
    acks = Acknowledgements(folder / "acks")
    conn = tourlog.connect(folder / "store")
    for n in range(12):
        write(conn, "left", n)
        acks.note("left", n)
    os.kill(os.getpid(), 9)


def _checkpoint_often(conn: tourlog.Connection) -> None:
    """So that a short life has checkpoints too, in the middle of appends."""
    conn._log._file.writer().connection.pragma("wal_autocheckpoint", 12)


if __name__ == "__main__":
    {"live": live, "leave": leave}[sys.argv[1]](Path(sys.argv[2]))
