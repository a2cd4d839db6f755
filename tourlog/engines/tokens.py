"""Numbers that stand for values in the compiled engine, so that SQL compares numbers.

Equal values have tokens that agree in their lower bits (their `KEY_BITS`): 1.0 after 1 has a token of its own, to come
back as it is. The documents of a stream take runs of numbers, since their ids follow from their place: a million
documents need no table of their ids.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

from tourlog.stream import document_id, document_place
from tourlog.values import encode, identity, same_form

KEY_BITS = 40
KEY = (1 << KEY_BITS) - 1
"""What is left of a token when its form is taken off: the same for every equal value."""

_OF_RUNS = 1 << (KEY_BITS - 1)
"""Keys from here on are those of values only one run knows."""
_FORMS_OF_RUNS = 1 << 20
_LARGEST_OFFSET = 1 << 62


class _Run(NamedTuple):
    """The documents `first` … `first + length - 1` of the stream of a prefix, numbered from `start` on."""

    first: int
    start: int
    length: int
    prefix: int


class Tokens:
    """The tokens of one log's values. Only ever grows, so readers need no lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next = 0
        self._keys: dict[Any, int] = {}
        self._values: dict[int, Any] = {}
        self._forms: dict[tuple[int, bytes], int] = {}
        self._starts: list[int] = []
        self._runs: list[_Run] = []
        self._runs_of: dict[int, list[_Run]] = {}
        self._early: dict[int, dict[int, int]] = {}

    @property
    def has_forms(self) -> bool:
        """Whether any two equal values have different tokens."""
        return bool(self._forms)

    def find(self, value: Any) -> int | None:
        """The key of a value; None when it has none."""
        key = self._keys.get(identity(value))
        if key is not None:
            return key
        place = document_place(value)
        return None if place is None else self._find_place(*place)

    def key(self, value: Any) -> int:
        """The key of a value, a new one if it has none."""
        found = self.find(value)
        return self._add(value) if found is None else found

    def token(self, value: Any) -> int:
        """The token of a value."""
        key = self.key(value)
        if same_form(self.value(key), value):
            return key
        with self._lock:
            token = self._forms.setdefault((key, encode(value)), key + ((len(self._forms) + 1) << KEY_BITS))
            self._values[token] = value
            return token

    def find_form(self, key: int, value: Any) -> int | None:
        """The token of a value with this key; None when it has none in its form."""
        return key if same_form(self.value(key), value) else self._forms.get((key, encode(value)))

    def value(self, token: int) -> Any:
        """The value of a token; of a key, the first value that took it."""
        if token in self._values:
            return self._values[token]
        run = self._runs[bisect_right(self._starts, token) - 1]
        return document_id(run.prefix, run.first + token - run.start)

    def run(self, prefix: int, first: int, count: int) -> Sequence[int]:
        """Keys for `count` documents of a stream that were not numbered before. An id that stood somewhere as a
        value already keeps its key."""
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
            key = self._keys.setdefault(identity(value), self._next)
            if key == self._next:
                self._next += 1
                self._values[key] = value
                place = document_place(value)
                if place is not None:
                    self._early.setdefault(place[0], {})[place[1]] = key
        return key


class RunTokens:
    """The tokens of one run of a query: those of the log, and its own for values and forms only the run knows,
    so that what a query computes is forgotten with it."""

    def __init__(self, base: Tokens) -> None:
        self._base = base
        self._keys: dict[Any, int] = {}
        self._values: dict[int, Any] = {}
        self._forms: dict[tuple[int, bytes], int] = {}

    @property
    def has_forms(self) -> bool:
        """Whether any two equal values have different tokens."""
        return bool(self._forms) or self._base.has_forms

    def token(self, value: Any) -> int:
        """The token of a value. One found missing in the log's stays the run's own, whatever others load."""
        identical = identity(value)
        own = self._keys.get(identical)
        key = self._base.find(value) if own is None else None
        if key is None and own is None:
            own = self._keys[identical] = _OF_RUNS + len(self._keys)
            self._values[own] = value
        if own is not None:
            return own if same_form(self._values[own], value) else self._form(own, value)
        assert key is not None, "a value has a key of the log's or of the run's"
        found = self._base.find_form(key, value)
        return self._form(key, value) if found is None else found

    def _form(self, key: int, value: Any) -> int:
        token = key + ((_FORMS_OF_RUNS + len(self._forms)) << KEY_BITS)
        token = self._forms.setdefault((key, encode(value)), token)
        self._values[token] = value
        return token

    def value(self, token: int) -> Any:
        """The value of a token."""
        return self._values[token] if token in self._values else self._base.value(token)

    def forget(self) -> None:
        """Let go of the run's own values, one after the other."""
        for held in (self._keys, self._forms, self._values):
            while held:
                held.popitem()
