"""How Python lets go of what is much: its garbage collector, kept from going through what is new again and again, and
from coming late in a query with little time; large collections emptied while nobody waits.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeVar

Item = TypeVar("Item")

_MANY = 5_000

_LONGEST_SECONDS = 10.0
"""As long as full collections may wait. Whoever has more time than that is not late by one."""

_NEVER = 1 << 30


def all_of(parts: Iterable[list[Item]]) -> list[Item]:
    """The items of the lists in one. While they are many, the garbage collector waits: it would go through all of
    them again and again, as new as they are, for two fifths of the time."""
    found: list[Item] = []
    is_paused = False
    try:
        for part in parts:
            found += part
            if len(found) > _MANY and not is_paused and gc.isenabled():
                is_paused = True
                gc.disable()
    finally:
        if is_paused:
            gc.enable()
    return found


def collections_in_time(timeout: float | None) -> AbstractContextManager[None]:
    """A block that is to end after `timeout` seconds: full collections wait for its end. With some hundred megabytes
    of small objects one takes a tenth of a second and more, deaf to every limit; the young are still collected.
    Nothing is changed without a limit, or with a long one."""
    return nullcontext() if timeout is None or timeout > _LONGEST_SECONDS else _waiting.block()


def collect_young() -> None:
    """Go through what is new, unless the collector is off: for one who just made a few large objects, which would
    be gone through later, many at once."""
    if gc.isenabled():
        gc.collect(1)


def empty(collections: Iterable[list[Any] | dict[Any, Any]]) -> None:
    """Take everything out of collections, an item at a time: to let go of millions at once holds up every thread."""
    for each in collections:
        take = each.pop if isinstance(each, list) else each.popitem
        while each:
            take()


def let_go(collections: Iterable[list[Any] | dict[Any, Any]]) -> None:
    """Empty collections in a thread of their own, which asks for them, too: to let go of millions of rows takes tenths
    of a second that nobody need wait for."""
    Thread(target=empty, args=(collections,), name="tourlog-release", daemon=True).start()


class _Waiting:
    """How many blocks full collections wait for; the threshold of the oldest generation is out of reach meanwhile."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._blocks = 0
        self._since = 0.0
        self._threshold = 0

    @contextmanager
    def block(self) -> Iterator[None]:
        is_in = False
        try:
            with self._lock:
                self._blocks += 1
                is_in = True
                is_late = self._begin()
            if is_late:
                gc.collect()
            yield
        finally:
            if is_in:
                self._end()

    def _begin(self) -> bool:
        """Whether blocks of other threads, one beginning before the other ended, made collections wait too long."""
        now = monotonic()
        is_late = self._blocks > 1 and now > self._since + _LONGEST_SECONDS
        if self._blocks == 1:
            first, second, self._threshold = gc.get_threshold()
            gc.set_threshold(first, second, _NEVER)
        if self._blocks == 1 or is_late:
            self._since = now
        return is_late and gc.isenabled()

    def _end(self) -> None:
        with self._lock:
            self._blocks = max(self._blocks - 1, 0)
            if not self._blocks:
                self._restore()

    def _restore(self) -> None:
        first, second, oldest = gc.get_threshold()
        if oldest == _NEVER:  # else somebody set it meanwhile
            gc.set_threshold(first, second, self._threshold)

    def forget(self) -> None:
        """In a fork, which has none of the threads that are in a block; its own does without from here on."""
        self._lock = Lock()
        self._blocks = 0
        self._restore()


_waiting = _Waiting()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.forget)
