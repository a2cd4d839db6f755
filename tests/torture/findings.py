"""What a topic of the torture battery found: figures, and violations in words."""

from __future__ import annotations

import random
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Any


class Violation(AssertionError):
    """A store that does not hold what it must."""


@dataclass
class Findings:
    """Figures by name, and what was violated; nothing was when the list is empty."""

    figures: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self.figures[name] += number

    def most(self, name: str, number: int) -> None:
        """Keep the largest."""
        with self._lock:
            self.figures[name] = max(self.figures[name], number)

    def violate(self, text: str) -> None:
        with self._lock:
            self.violations.append(text)
        print(f"violation: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def watch(self, where: str) -> Iterator[None]:
        """Whatever the block raises is a violation: a broken store may make anything raise anything."""
        try:
            yield
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.violate(f"{where}: {type(error).__name__} at {place.name}:{place.lineno}: {error}")


@dataclass(frozen=True)
class Time:
    """Until when a topic may run."""

    until: float

    @classmethod
    def of(cls, seconds: float) -> Time:
        return cls(monotonic() + seconds)

    @property
    def is_left(self) -> bool:
        return monotonic() < self.until


def shuffled(items: list[Any], seed: int) -> list[Any]:
    """The same items in an order that the seed decides, so that a run cut short has seen some of everything."""
    return random.Random(seed).sample(items, len(items))
