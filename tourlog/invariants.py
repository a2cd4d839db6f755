"""Standing invariants: queries that must stay empty, stored in the log as one entity, so that a position knows
which held there and every writer, whichever process it is of, finds them with one look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tourlog.draft import Draft
from tourlog.errors import ArgumentError, InvariantError, shown
from tourlog.query.generate import Rules
from tourlog.questions import answer, input_kinds, read_attributes
from tourlog.rule_files import is_library_name, read_rule_library
from tourlog.snapshot import Snapshot
from tourlog.stream import INVARIANTS
from tourlog.values import decode, encode, ordered_bytes, plain

_ATTRIBUTE = "db/invariant"
_KEY = ordered_bytes(INVARIANTS)


@dataclass(frozen=True)
class Invariant:
    """A `query` that must have no answer, with its `inputs` after the database, under a `name`."""

    name: str
    query: Any
    inputs: tuple[Any, ...]


@dataclass(frozen=True)
class Watched:
    """An invariant with the attributes its answer depends on; None when that may be any."""

    invariant: Invariant
    attributes: frozenset[str] | None


def checked(name: Any, query: Any, inputs: Sequence[Any], snapshot: Snapshot) -> Invariant:
    """An invariant as it can be stored; an error of the query's for one that cannot be asked of a database, and
    `ArgumentError` or `DocumentError` for inputs that are no values."""
    if type(name) is not str or not name:
        raise ArgumentError(f"expected a name for the invariant, got {shown(name)}", argument="name")
    given = [list(each) if isinstance(each, Iterator) else each for each in inputs]
    kinds = input_kinds(query, [snapshot, *given])[1:]
    values = tuple(_storable(kind, each) for kind, each in zip(kinds, given, strict=True))
    return Invariant(name, query.edn if hasattr(query, "edn") else plain(query, "rule"), values)


def _storable(kind: str, given: Any) -> Any:
    """An input as a value: rules as their text, so that a library that changes later does not change them."""
    if kind == "source" and isinstance(given, Snapshot):
        raise ArgumentError("an invariant is asked of the newest database alone, got another", argument="inputs")
    if kind != "rules":
        return plain(given, "inputs")
    if is_library_name(given):
        return Rules(read_rule_library(given))
    return Rules(given) if isinstance(given, str) else given if isinstance(given, Rules) else plain(given, "inputs")


def invariants_at(snapshot: Snapshot) -> tuple[Invariant, ...]:
    """The invariants that hold at a position, in the order they were required."""
    record = snapshot.log.entity(_KEY, snapshot.t)
    return () if record is None else _stated(decode(record.state))


def _stated(state: dict[str, Any] | None) -> tuple[Invariant, ...]:
    found = (state or {}).get(_ATTRIBUTE, [])
    return tuple(Invariant(each["name"], each["query"], tuple(map(_input, each["inputs"]))) for each in found)


def _input(stored: list[Any]) -> Any:
    kind, value = stored
    return Rules(value) if kind == "rules" else value


def _state(invariants: Sequence[Invariant]) -> dict[str, Any]:
    def stored(given: Any) -> list[Any]:
        return ["rules", given.edn] if isinstance(given, Rules) else ["value", given]

    return {
        _ATTRIBUTE: [
            {"name": each.name, "query": each.query, "inputs": list(map(stored, each.inputs))} for each in invariants
        ]
    }


def require(draft: Draft, name: Any, query: Any, inputs: Sequence[Any]) -> None:
    """Add an invariant to a transaction. Again the same changes nothing; `ArgumentError` for another under a
    name that is taken, `InvariantError` when it is broken already."""
    held = _stated(draft.state(INVARIANTS))
    new = checked(name, query, inputs, draft.view())
    if any(same(new, each) for each in held):
        return
    if any(each.name == name for each in held):
        raise ArgumentError(f"the invariant {name!r} is another query: drop it first", argument="name")
    _enforce_one(draft.view(), new)
    draft.put(INVARIANTS, _state([*held, new]))


def drop(draft: Draft, name: Any) -> None:
    """Take an invariant away with a transaction; `ArgumentError` when there is none of that name."""
    held = _stated(draft.state(INVARIANTS))
    kept = [each for each in held if each.name != name]
    if len(kept) == len(held):
        names = ", ".join(each.name for each in held) or "none"
        raise ArgumentError(f"expected the name of an invariant ({names}), got {shown(name)}", argument="name")
    draft.put(INVARIANTS, _state(kept) if kept else None)


def same(one: Invariant, other: Invariant) -> bool:
    """Whether two invariants are the same: name, query and inputs."""
    return encode(_state([one])) == encode(_state([other]))


def enforce(draft: Draft, held: Sequence[Watched]) -> None:
    """Raise `InvariantError` if a transaction breaks an invariant. One whose attributes it does not touch it
    cannot break."""
    touched = draft.attributes() if held else frozenset[str]()
    for each in held:
        if each.attributes is None or not each.attributes.isdisjoint(touched):
            _enforce_one(draft.view(), each.invariant)


def _enforce_one(snapshot: Snapshot, invariant: Invariant) -> None:
    rows = answer(snapshot, invariant.query, invariant.inputs)
    if rows:
        message = f"the invariant {invariant.name!r} does not hold: {shown(list(rows))}"
        raise InvariantError(message, invariant=invariant.name, rows=rows)


def watched_at(snapshot: Snapshot) -> tuple[Watched, ...]:
    """The invariants that hold at a position, ready to be enforced."""
    return tuple(Watched(each, read_attributes(snapshot, each.query, each.inputs)) for each in invariants_at(snapshot))


class Standing:
    """The invariants of a log as a writer knows them: read again only after somebody else has written."""

    def __init__(self) -> None:
        self._known: tuple[int, tuple[Watched, ...]] = (0, ())
        """A committed position and what holds there: true for ever, so that threads may race for it."""

    def enforce(self, draft: Draft) -> tuple[Watched, ...]:
        """What holds after a transaction; `InvariantError` if it breaks any of it."""
        is_changed = draft.changes(INVARIANTS)
        held = watched_at(draft.view()) if is_changed else self.at(draft.base.t, lambda _: draft.base)
        enforce(draft, held)
        return held

    def committed(self, t: int, held: tuple[Watched, ...]) -> None:
        """Remember what holds after a transaction that is committed, so that the next one need not look."""
        self._known = (t, held)

    @property
    def are_any(self) -> bool:
        """Whether there were any when it was last looked."""
        return bool(self._known[1])

    def at(self, t: int, snapshot_at: Callable[[int], Snapshot]) -> tuple[Watched, ...]:
        """What holds at a position."""
        known, held = self._known
        if known == t:
            return held
        snapshot = snapshot_at(t)
        record = snapshot.log.entity(_KEY, t)
        if record is None:
            return ()
        return held if record.t <= known < t else watched_at(snapshot)
