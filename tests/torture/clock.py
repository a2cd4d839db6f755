"""Clock: transactions are dated by a clock that stands still and jumps, forth and back, by up to years. Positions are
dense whatever it does, instants only grow, and `as_of` of a later moment is never an earlier position.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from torture.findings import Findings, Time
from torture.work import expect, expect_equal

import tourlog
from tourlog import draft

JUMPS = (0, 0, 1, -1, 1_000, -1_000, 3_600_000_000, -3_600_000_000, 10**14, -(10**14))
"""In µs."""


class Clock:
    """What `draft` takes for the module `time`."""

    def __init__(self) -> None:
        self.now = 1_600_000_000_000_000

    def time_ns(self) -> int:
        return self.now * 1000


@contextmanager
def injected(clock: Clock) -> Iterator[None]:
    real: Any = draft.time
    draft.time = clock  # type: ignore[assignment]
    try:
        yield
    finally:
        draft.time = real


def run(seed: int, seconds: float) -> Findings:
    findings, time, rng = Findings(), Time.of(seconds), Random(seed)
    while time.is_left:
        with TemporaryDirectory() as name, findings.watch("clock"):
            path = None if rng.random() < 0.5 else Path(name) / "store"
            check_life(path, rng, findings)
        findings.count("stores")
    return findings


def check_life(path: Path | None, rng: Random, findings: Findings) -> None:
    clock = Clock()
    with injected(clock), tourlog.connect(path, durability="normal") as conn:
        transactions = 60
        for n in range(transactions):
            jump = rng.choice(JUMPS)
            findings.count("jumps back", jump < 0)
            findings.count("standing still", jump == 0)
            clock.now = max(1, clock.now + jump)
            expect_equal(conn.append([{"k": "a", "n": n}], "k").t, n + 1, "the position")
        db = conn.db()
        instants = [past.instant for past in db.tx_range()]
        expect(instants == sorted(set(instants)), "instants that only grow")
        expect_equal([d["n"] for d in db.documents({"k": "a"})], list(range(transactions)), "the order of documents")
        first = datetime(1970, 1, 1, tzinfo=UTC)
        step = timedelta(microseconds=1)
        moments = sorted([*instants, *(each - step for each in instants if each > first)])
        positions = [db.as_of(moment).t for moment in moments]
        expect(positions == sorted(positions), "positions that only grow with moments")
        expect_equal([db.as_of(each).t for each in instants], list(range(1, transactions + 1)), "as_of an instant")
        findings.count("moments asked", len(moments))
