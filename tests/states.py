"""Data states: different histories that end in the same facts, and a plain model of what they leave.

A history is a list of steps: `("transact", ops)`, `("append", key, documents)`, `("check",)` where a query
may be asked on the way, and `("mark",)` for the position whose past is asked about at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from casefile import Case
from oracle import Facts
from oracle_values import equal, facts_of, key

Step = tuple[Any, ...]


@dataclass
class World:
    """What a sequence of transactions leaves: every entity's document and the live facts."""

    t: int = 0
    documents: dict[Any, dict[str, Any]] = field(default_factory=dict)
    facts: dict[Any, tuple[Any, ...]] = field(default_factory=dict)
    touched: dict[Any, tuple[Any, int, int]] = field(default_factory=dict)
    heads: dict[Any, int] = field(default_factory=dict)

    def transact(self, operations: list[Any]) -> None:
        before = dict(self.documents)
        for operation in operations:
            if isinstance(operation, dict):
                self._put(operation["db/id"], {**self._get(operation["db/id"]), **operation})
            else:
                getattr(self, "_" + operation[0].removeprefix("db/").replace("-", "_"))(*operation[1:])
        self._commit(before)

    def append(self, names: list[str], documents: list[dict[str, Any]]) -> None:
        before = dict(self.documents)
        for document in documents:
            stream = key([names, [document[name] for name in names]])
            offset = self.heads.get(stream, 0)
            self.heads[stream] = offset + 1
            e = f"{names} {stream} {offset}"
            self._put(e, {"db/id": e, "offset": offset, "db/key": list(names), **document})
        self._commit(before)

    def _commit(self, before: dict[Any, dict[str, Any]]) -> None:
        """One transaction more, unless nothing changed: facts that still hold keep theirs, the others end."""
        after = self.documents
        changed = [k for k in {**before, **after} if key(before.get(k)) != key(after.get(k))]
        self.t += bool(changed)
        for k in changed:
            e = {**before, **after}[k]["db/id"]
            self.touched[k] = (e, self.touched[k][1] if k in self.touched else self.t, self.t)
            stated = facts_of(after.get(k, {}))
            wanted = {key((e, a, v)): (e, a, v, self.t) for a, v in stated}
            held = {known: fact for known, fact in self.facts.items() if key(fact[0]) == k}
            self.facts = {known: fact for known, fact in self.facts.items() if known not in held}
            self.facts |= {known: held.get(known, fact) for known, fact in wanted.items()}
            if k not in after:
                del self.touched[k]

    def snapshot(self) -> Facts:
        """The live facts, the system's own included."""
        epoch = datetime(2020, 1, 1, tzinfo=UTC)
        own = [(t, "db/tx-instant", epoch + timedelta(seconds=t), t) for t in range(1, self.t + 1)]
        for e, first, last in self.touched.values():
            own += [(e, "db/id", e, first), (e, "db/tx", last, last)]
            if names := self._get(e).get("db/key"):
                own.append((e, "db/key", names, first))
        return Facts((*self.facts.values(), *own), dict(self.documents))

    def _get(self, e: Any) -> dict[str, Any]:
        return self.documents.get(key(e), {"db/id": e})

    def _put(self, e: Any, document: dict[str, Any]) -> None:
        self.documents[key(e)] = document
        if list(document) == ["db/id"]:
            del self.documents[key(e)]

    def _add(self, e: Any, a: str, v: Any) -> None:
        held = self._get(e).get(a)
        if isinstance(held, list | tuple):
            v = held if any(equal(v, each) for each in held) else type(held)([*held, v])
        elif isinstance(held, set | frozenset):
            v = held | {v}
        self._put(e, {**self._get(e), a: v})

    def _retract(self, e: Any, a: str, *value: Any) -> None:
        document = dict(self._get(e))
        held = document.get(a)
        many = isinstance(held, list | tuple | set | frozenset)
        if not value or (not many and equal(held, value[0])):
            document.pop(a, None)
        elif many:
            document[a] = type(held)(each for each in held if not equal(each, value[0]))
            if not document[a]:
                del document[a]
        self._put(e, document)

    def _retract_entity(self, e: Any) -> None:
        self.documents.pop(key(e), None)

    def _cas(self, e: Any, a: str, old: Any, new: Any) -> None:
        assert equal(self._get(e).get(a), old)
        self._put(e, {**self._get(e), a: new})


def stages(steps: list[Step], conn: Any = None) -> Iterator[tuple[bool, Facts, Any]]:
    """Goes through the steps in the model, and in a store when there is one: at every check, and last at the
    mark or the end, gives whether it is the last, the facts that hold there, and the store's database."""
    world, marked, position = World(), None, 0
    for step in steps:
        match step:
            case ("transact", operations):
                world.transact(operations)
                if conn:
                    conn.transact(operations)
            case ("append", names, documents):
                world.append(names, documents)
                if conn:
                    conn.append(documents, *names)
            case ("check",):
                yield False, world.snapshot(), conn and conn.db()
            case ("mark",):
                marked, position = world.snapshot(), conn and conn.db().t
    if marked is None:
        yield True, world.snapshot(), conn and conn.db()
    else:
        yield True, marked, conn and conn.db().as_of(position)


def history(case: Case, state: str, transactions: tuple[Any, ...] | None = None) -> list[Step]:
    """The steps that bring a case's data about in one of the states that `states_of` names."""
    data = case.transactions if transactions is None else transactions
    kind = case.kind if transactions is None else "docs"
    plain = _plain(kind, data)
    match state:
        case "bit by bit":
            return [step for each in _single(kind, data) for step in (each, ("check",))]
        case "superseded":
            return _superseded(data)
        case "as of":
            return [*plain, ("mark",), *_vandalised(kind, data)]
    return plain


def states_of(case: Case) -> list[str]:
    """The states a case is tried in."""
    if case.states:
        return list(case.states)
    return {
        "docs": ["together", "bit by bit", "superseded", "as of"],
        "ops": ["together", "as of"],
        "streams": ["together", "bit by bit", "as of"],
    }[case.kind]


def _final(steps: list[Step]) -> tuple[dict[str, Any], ...]:
    ((_, facts, _),) = stages(steps)
    return tuple(facts.documents.values())


def _plain(kind: str, data: tuple[Any, ...]) -> list[Step]:
    if kind == "docs":
        return [("transact", list(data))] if data else []
    if kind == "ops":
        return [("transact", operations) for operations in data]
    return [("append", names, documents) for names, documents in data]


def _single(kind: str, data: tuple[Any, ...]) -> list[Step]:
    if kind == "docs":
        return [("transact", [document]) for document in data]
    return [("append", names, [document]) for names, documents in data for document in documents]


def _superseded(data: tuple[Any, ...]) -> list[Step]:
    """Every entity first has the next one's values and attributes; strangers come and go."""
    documents = _final(_plain("docs", data))
    rotated = [
        {**other, "db/id": document["db/id"]}
        for document, other in zip(documents, documents[1:] + documents[:1], strict=True)
    ]
    strangers = [{**document, "db/id": f"stranger {i}"} for i, document in enumerate(documents)]
    extra = [
        ("db/retract", document["db/id"], attribute)
        for document, other in zip(documents, rotated, strict=True)
        for attribute in other
        if attribute not in document
    ]
    gone = [("db/retract-entity", stranger["db/id"]) for stranger in strangers]
    steps = [rotated, strangers, list(documents), [*extra, *gone]]
    return [step for operations in steps if operations for step in (("transact", operations), ("check",))]


def _vandalised(kind: str, data: tuple[Any, ...]) -> list[Step]:
    """What happens after the position that is asked about: nothing of it may be seen."""
    if kind == "streams":
        return [("append", names, documents) for names, documents in data]
    documents = _final(_plain(kind, data))
    if not documents:
        return [("transact", [{"db/id": "late", "a": 1}])]
    moved = _superseded(documents)[0][1]
    gone = [("db/retract-entity", document["db/id"]) for document in documents[::2]]
    late = [{**document, "db/id": f"late {i}"} for i, document in enumerate(documents)]
    return [("transact", moved), ("transact", [*gone, *late])]
