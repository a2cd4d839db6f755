"""Long lists of new documents."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")

_MANY = 5_000


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
