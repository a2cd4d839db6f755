"""The past as facts: what began and what ended to hold at each position, by the states that a model had there. Knows
nothing of how tourlog works."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from oracle_values import facts_of, key

from model.state import Model, Target, own

Stated = tuple[Any, str, Any]
"""Who stands for an entity, an attribute, and what stands for a value."""


class Event(NamedTuple):
    """A fact that was added, or taken back, at a position."""

    t: int
    added: bool
    fact: Stated


def whole(model: Model) -> dict[Any, dict[str, Any]]:
    """The states of all entities and documents, as they are read, by what stands for each."""
    found = {who(("entity", e)): state for e, state in model.entities.values()}
    for stream, offset, document in model.documents():
        found[who(("document", stream.names, stream.values, offset))] = {"offset": offset, **document}
    return found


def who(target: Target) -> Any:
    if target[0] == "entity":
        return key(target[1])
    return (target[1], key(target[2]), target[3])


def stated(model: Model) -> set[Stated]:
    return {(e, a, key(v)) for e, state in whole(model).items() for a, v in facts_of(state)}


def events(positions: Sequence[Model]) -> list[Event]:
    """What happened from the first position on, in order."""
    found = []
    sets = [stated(model) for model in positions]
    for model, (before, after) in zip(positions[1:], pairwise(sets), strict=True):
        found += [Event(model.t, True, fact) for fact in after - before]
        found += [Event(model.t, False, fact) for fact in before - after]
    return found


def holding(happened: list[Event]) -> dict[Stated, int]:
    """The facts that hold in the end, each with the position that added it."""
    found: dict[Stated, int] = {}
    for event in happened:
        if event.added:
            found[event.fact] = event.t
        else:
            del found[event.fact]
    return found


def versions(positions: Sequence[Model]) -> dict[Any, list[tuple[int, dict[str, Any] | None]]]:
    """The states each went through, with the positions that left it so."""
    found: dict[Any, list[tuple[int, dict[str, Any] | None]]] = {}
    for model, (before, after) in zip(positions[1:], pairwise(map(whole, positions)), strict=True):
        for name in before.keys() | after.keys():
            if repr(before.get(name)) != repr(after.get(name)):
                found.setdefault(name, []).append((model.t, own(after.get(name, {})) or None))
    return found
