"""How everything here is measured: candidates in interleaved rounds, and what comes of it as figures.

The machine may be shared and noisy, so what counts are ratios within a round: their median, minimum and maximum.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

Measure = Callable[[], float]
"""Prepares what it needs, does its work once, and returns the seconds the work took."""


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and their extremes."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Target:
    """What a figure must reach."""

    at_least: float | None = None
    at_most: float | None = None

    def is_reached(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the report. `unit` is "×" for a ratio, which is the peer's time by ours where more is better
    and ours by the peer's where the target is a most. `seconds` are ours and the peer's, as an extra."""

    what: str
    peer: str
    value: Spread
    unit: str
    target: Target | None = None
    seconds: tuple[float, ...] = ()

    @property
    def reached(self) -> bool | None:
        return None if self.target is None else self.target.is_reached(self.value.median)


def spread(numbers: Sequence[float]) -> Spread:
    return Spread(median(numbers), min(numbers), max(numbers))


def timed(work: Callable[[], Any], calls: int = 1) -> Measure:
    """Measures one call of `work`, as the mean of so many calls: for writes, whose cost comes in lumps. Garbage
    is collected before, not during; the collector stays on, as it is for users."""

    def measure() -> float:
        gc.collect()
        started = perf_counter()
        for _ in range(calls):
            work()
        return (perf_counter() - started) / calls

    return measure


def typical(work: Callable[[], Any], calls: int, clock: Callable[[], float] = perf_counter) -> Measure:
    """Measures one call of `work`, as the median of so many calls: for short reads, which others interrupt."""

    def measure() -> float:
        gc.collect()
        return median(_seconds(work, clock) for _ in range(calls))

    return measure


def _seconds(work: Callable[[], Any], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


def interleaved(measures: Mapping[str, Measure], rounds: int, *, warm: bool = True) -> dict[str, list[float]]:
    """The seconds of each candidate in each round, A B A B …; `warm` runs one round more, first, and drops it."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(-1 if warm else 0, rounds):
        for name, measure in measures.items():
            seconds = measure()
            if number >= 0:
                found[name].append(seconds)
    return found


def as_fast(what: str, peer: str, ours: Sequence[float], theirs: Sequence[float], at_least: float | None) -> Figure:
    """How many times as fast as the peer."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    target = None if at_least is None else Target(at_least=at_least)
    return Figure(what, peer, spread(ratios), "×", target, (median(ours), median(theirs)))


def as_long(what: str, peer: str, ours: Sequence[float], theirs: Sequence[float], at_most: float) -> Figure:
    """How many times as long as the peer."""
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    return Figure(what, peer, spread(ratios), "×", Target(at_most=at_most), (median(ours), median(theirs)))


def absolute(what: str, numbers: Sequence[float], unit: str, at_most: float | None = None) -> Figure:
    """A figure without a peer, in the unit given."""
    return Figure(what, "", spread(numbers), unit, None if at_most is None else Target(at_most=at_most))


def sync_seconds(path: Path, times: int = 50) -> float:
    """What one durable write of a page costs here, the mean of several."""
    with path.open("wb", buffering=0) as file:
        started = perf_counter()
        for _ in range(times):
            file.write(bytes(4096))
            os.fsync(file.fileno())
        return (perf_counter() - started) / times
