"""Numbers that stand for values in the compiled engine: equal values share one, so SQL compares numbers.

The documents of a stream take runs of numbers, since their ids follow from their place: a million documents
need no table of their ids.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

from tourlog.stream import document_id, document_place
from tourlog.values import identity

_LARGEST_OFFSET = 1 << 62


class _Run(NamedTuple):
    """The documents `first` … `first + length - 1` of the stream of a prefix, numbered from `start` on."""

    first: int
    start: int
    length: int
    prefix: int


class Tokens:
    """The tokens of one log's values, from 0 up. Only ever grows, so readers need no lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next = 0
        self._tokens: dict[Any, int] = {}
        self._values: dict[int, Any] = {}
        self._starts: list[int] = []
        self._runs: list[_Run] = []
        self._runs_of: dict[int, list[_Run]] = {}
        self._early: dict[int, dict[int, int]] = {}

    def find(self, value: Any) -> int | None:
        """The token of a value; None when it has none."""
        token = self._tokens.get(identity(value))
        if token is not None:
            return token
        place = document_place(value)
        return None if place is None else self._find_place(*place)

    def token(self, value: Any) -> int:
        """The token of a value, a new one if it has none."""
        found = self.find(value)
        return self._add(value) if found is None else found

    def value(self, token: int) -> Any:
        """The first value that took this token."""
        if token in self._values:
            return self._values[token]
        run = self._runs[bisect_right(self._starts, token) - 1]
        return document_id(run.prefix, run.first + token - run.start)

    def run(self, prefix: int, first: int, count: int) -> Sequence[int]:
        """Tokens for `count` documents of a stream that were not numbered before. An id that stood somewhere
        as a value already keeps its token."""
        with self._lock:
            run = _Run(first, self._next, count, prefix)
            self._next += count
            self._runs.append(run)
            self._starts.append(run.start)
            self._runs_of.setdefault(prefix, []).append(run)
        early = self._early.get(prefix)
        numbers = range(run.start, run.start + count)
        if early is None:
            return numbers
        return [early.get(offset, number) for offset, number in enumerate(numbers, first)]

    def _find_place(self, prefix: int, offset: int) -> int | None:
        runs = self._runs_of.get(prefix, [])
        at = bisect_right(runs, (offset, _LARGEST_OFFSET)) - 1
        if at < 0 or offset >= runs[at].first + runs[at].length:
            return None
        return runs[at].start + offset - runs[at].first

    def _add(self, value: Any) -> int:
        with self._lock:
            token = self._tokens.setdefault(identity(value), self._next)
            if token == self._next:
                self._next += 1
                self._values[token] = value
                place = document_place(value)
                if place is not None:
                    self._early.setdefault(place[0], {})[place[1]] = token
        return token


class RunTokens:
    """The tokens of one run of a query: those of the log, and negative ones for values only the run knows,
    so that what a query computes is forgotten with it."""

    def __init__(self, base: Tokens) -> None:
        self._base = base
        self._tokens: dict[Any, int] = {}
        self._values: list[Any] = []

    def token(self, value: Any) -> int:
        """The token of a value. One found missing in the log's stays the run's own, whatever others load."""
        key = identity(value)
        token = self._tokens.get(key)
        if token is None:
            token = self._base.find(value)
        if token is None:
            self._values.append(value)
            token = self._tokens[key] = -len(self._values)
        return token

    def value(self, token: int) -> Any:
        """The value of a token."""
        return self._base.value(token) if token >= 0 else self._values[-token - 1]
