"""What a store should hold: streams as plain lists, entities and consumers as plain dicts, and what it should answer to
an action. Knows nothing of how tourlog works."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from oracle_values import equal, key

from tourlog import Position, Stream

Target = tuple[Any, ...]
"""("entity", id), or ("document", names, key values, offset)."""

Operation = tuple[Any, ...]
"""("append", names, documents), or the name of another operation, its target and its arguments."""

Action = tuple[Any, ...]
"""A transaction, of literals only, so that it can be told to another process: ("append", names, documents, options),
("transact", operations, options), ("run", operations, options), ("require", name) or ("drop", name)."""

META = "db/meta"
"""What the entity of a transaction states that the caller said something about."""

Outcome = tuple[Any, ...]
"""("done", position, offsets by stream), or the error's name and what it tells."""


class Refused(Exception):
    """The store must refuse what the model was told to do, with this outcome."""


class Placed(NamedTuple):
    """Where in the order of commits a document of a stream stands."""

    position: Position
    stream: Stream
    offset: int


@dataclass
class Model:
    """What a store should hold at one position."""

    t: int = 0
    streams: dict[Any, tuple[Stream, list[dict[str, Any] | None]]] = field(default_factory=dict)
    entities: dict[Any, tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    ids: dict[str, Outcome] = field(default_factory=dict)
    consumers: dict[Any, tuple[str, Stream, int]] = field(default_factory=dict)

    def stream(self, names: tuple[str, ...], values: tuple[Any, ...]) -> list[dict[str, Any] | None]:
        return self.streams.setdefault((names, key(values)), (Stream(names, values), []))[1]

    def held(self, stream: Stream) -> list[dict[str, Any] | None]:
        """The documents of a stream that may not be there."""
        return self.streams.get((stream.names, key(stream.values)), (stream, []))[1]

    def state(self, target: Target) -> dict[str, Any]:
        if target[0] == "entity":
            return self.entities.get(key(target[1]), (None, {}))[1]
        return self.stream(*target[1:3])[target[3]] or {}

    def put(self, target: Target, state: dict[str, Any]) -> None:
        if target[0] == "document":
            self.stream(*target[1:3])[target[3]] = state or None
        elif state:
            self.entities[key(target[1])] = (target[1], state)
        else:
            self.entities.pop(key(target[1]), None)

    def committed(self, consumer: str, stream: Stream) -> int:
        return self.consumers.get((consumer, stream.names, key(stream.values)), (consumer, stream, 0))[2]

    def lag(self, consumer: str) -> dict[Stream, int]:
        own = [(stream, offset) for name, stream, offset in self.consumers.values() if name == consumer]
        return {stream: len(self.held(stream)) - offset for stream, offset in own if self.held(stream)}

    def apply(self, operation: Operation) -> None:
        match operation:
            case "append", names, documents:
                for document in documents:
                    self.stream(names, tuple(document[name] for name in names)).append(copy.deepcopy(document))
            case "upsert", target, attributes:
                self.put(target, {**self.state(target), **copy.deepcopy(attributes)})
            case "add", target, a, v:
                self._add(target, a, v)
            case "retract", target, a, v:
                self._retract(target, a, v)
            case "drop", target:
                self.put(target, {})
            case "cas", target, a, old, new:
                if not equal(self.state(target).get(a), old):
                    raise Refused("ConflictError", a)
                self.put(target, {**self.state(target), a: new})
            case "done", consumer, places:
                self._done(consumer, places)
            case "rewind", consumer, place, offset:
                own = [stream for name, stream, _ in self.consumers.values() if name == consumer and self.held(stream)]
                for stream in own if place is None else [Stream(*place)]:
                    self._commit(consumer, stream, offset)
            case ("fail",):
                raise Refused("ConflictError", "n")

    def _add(self, target: Target, a: str, v: Any) -> None:
        held = self.state(target).get(a)
        if isinstance(held, list):
            v = held if any(equal(v, each) for each in held) else [*held, v]
        self.put(target, {**self.state(target), a: v})

    def _retract(self, target: Target, a: str, v: Any) -> None:
        state = dict(self.state(target))
        held = state.get(a)
        kept = [each for each in held if not equal(each, v)] if isinstance(held, list) else []
        if a in state and isinstance(held, list) and kept and not equal(held, v):
            state[a] = kept
        elif a in state and (isinstance(held, list) or equal(held, v)):
            del state[a]
        self.put(target, state)

    def _done(self, consumer: str, places: list[tuple[Any, Any, int]]) -> None:
        spans: dict[Any, tuple[Stream, list[int]]] = {}
        for names, values, offset in places:
            spans.setdefault((names, key(values)), (Stream(names, values), []))[1].append(offset)
        for stream, offsets in spans.values():
            reached = self.committed(consumer, stream)
            if reached > min(offsets):
                raise Refused("ConflictError", (*told(stream), min(offsets), reached, consumer))
        for stream, offsets in spans.values():
            self._commit(consumer, stream, max(offsets) + 1)

    def _commit(self, consumer: str, stream: Stream, offset: int) -> None:
        self.consumers[consumer, stream.names, key(stream.values)] = (consumer, stream, offset)

    def states(self) -> list[dict[str, Any]]:
        return [*(state for _, state in self.entities.values()), *(document for _, _, document in self.documents())]

    def broken(self) -> bool:
        """Whether an invariant is."""
        return any(self.breaks(name) for name in self.required)

    def breaks(self, invariant: str) -> bool:
        return INVARIANTS[invariant][2](self.states())

    def contents(self) -> Any:
        """Everything, so that two positions can be told apart."""
        streams = [(key, documents) for key, (_, documents) in self.streams.items() if documents]
        entities = [each for _, each in sorted(self.entities.items(), key=repr)]
        return repr((streams, entities, sorted(map(repr, self.consumers.values()))))

    def documents(self) -> Iterator[tuple[Stream, int, dict[str, Any]]]:
        for stream, documents in self.streams.values():
            for offset, document in enumerate(documents):
                if document is not None:
                    yield stream, offset, document


def acted(model: Model, action: Action) -> tuple[Model, Outcome]:
    """The model after an action, and what the store must answer. What is refused leaves the model as it is."""
    try:
        match action:
            case "append", names, documents, options:
                tx_id = options.get("tx_id")
                if tx_id in model.ids:
                    return model, model.ids[tx_id]
                _check_expected(model, names, documents, options.get("expect"))
                _check_conditions(model, options)
                return _committed(model, [("append", names, documents)], options)
            case "transact" | "run", operations, options:
                tx_id = options.get("tx_id")
                return (model, model.ids[tx_id]) if tx_id in model.ids else _committed(model, operations, options)
            case "require", name:
                return _required(model, name, model.required | {name})
            case "drop", name:
                if name not in model.required:
                    raise Refused("ArgumentError", None)
                return _required(model, name, model.required - {name})
    except Refused as refusal:
        return model, refusal.args
    raise AssertionError(action)


def transacted(model: Model, operations: list[Operation]) -> Model:
    """The model after a transaction, whatever is required; itself if that changed nothing. May raise Refused."""
    after = copy.deepcopy(model)
    for operation in operations:
        after.apply(operation)
    if after.contents() == model.contents():
        return model
    after.t += 1
    return after


def _committed(model: Model, operations: list[Operation], options: Mapping[str, Any]) -> tuple[Model, Outcome]:
    tx_id, meta = options.get("tx_id"), options.get("meta")
    after = transacted(model, operations)
    if after is model and tx_id is not None:
        after = copy.deepcopy(model)
        after.t += 1
    if meta and after is not model:
        _annotate(after, meta)
    if after.broken():
        raise Refused("InvariantError", None)
    outcome = ("done", after.t, spans(appended(model, after)))
    if tx_id is not None:
        after.ids[tx_id] = outcome
    return after, outcome


def _annotate(model: Model, meta: dict[str, Any]) -> None:
    """State something of the newest transaction; an entity of the caller's may have its id."""
    state = model.state(("entity", model.t))
    if state and META not in state:
        raise Refused("TransactionError", None)
    model.put(("entity", model.t), {META: True, **state, **copy.deepcopy(meta)})


def meta_of(model: Model, t: int) -> dict[str, Any]:
    """What is said of a transaction."""
    state = model.state(("entity", t))
    return own(state) if META in state else {}


def own(state: dict[str, Any]) -> dict[str, Any]:
    """A state without what is the system's."""
    return {name: value for name, value in state.items() if not name.startswith("db/")}


def _required(model: Model, name: str, required: frozenset[str]) -> tuple[Model, Outcome]:
    if required == model.required:
        return model, ("done", model.t, [])
    after = copy.deepcopy(model)
    after.t, after.required = after.t + 1, required
    if name in required and model.breaks(name):
        raise Refused("InvariantError", None)
    return after, ("done", after.t, [])


def _check_expected(model: Model, names: tuple[str, ...], documents: list[dict[str, Any]], expect: Any) -> None:
    if expect is None:
        return
    if isinstance(expect, int):
        expect = [("stream", names, tuple(documents[0][name] for name in names), expect)]
    for _, of, values, offset in expect:
        held = model.held(Stream(of, values))
        if len(held) != offset:
            since = [{"offset": n, **each} for n, each in enumerate(held) if each is not None and n >= offset]
            raise Refused("ConflictError", (of, values, offset, len(held), since))


def _check_conditions(model: Model, options: Mapping[str, Any]) -> None:
    for kind, must_be in (("unless", False), ("only_if", True)):
        if kind in options:
            name, *inputs = options[kind]
            rows = CONDITIONS[name][2](model, *inputs)
            if bool(rows) is not must_be:
                raise Refused("ConditionError", rows)


def appended(before: Model, after: Model) -> dict[Stream, range]:
    """The offsets of each stream that came between two positions, in the order of the log."""
    ends = {stream: len(documents) for stream, documents in before.streams.values()}
    spans = ((stream, range(ends.get(stream, 0), len(documents))) for stream, documents in after.streams.values())
    return {stream: span for stream, span in spans if span}


def placed(before: Model, after: Model) -> list[Placed]:
    """The places of the documents that a transaction appended."""
    places = [(stream, n) for stream, span in appended(before, after).items() for n in span]
    return [Placed(Position(after.t, number), *place) for number, place in enumerate(places)]


def told(stream: Stream) -> tuple[Any, Any]:
    return stream.names, stream.values


def spans(offsets: Mapping[Stream, range]) -> list[Any]:
    """The offsets of a report as literals, in one order."""
    return sorted(((*told(stream), span.start, span.stop) for stream, span in offsets.items()), key=key)


def distinct(state: dict[str, Any], attribute: str) -> list[Any]:
    if attribute not in state:
        return []
    held = state[attribute]
    return list({key(v): v for v in held}.values()) if isinstance(held, list) else [held]


def has(state: dict[str, Any], attribute: str, v: Any) -> bool:
    return any(equal(v, each) for each in distinct(state, attribute))


# What subscriptions read.


@dataclass(frozen=True)
class Reading:
    """A subscription: which streams (names and values, None for any; all without names), whether it is to be read as
    the one stream it is, from where on, what `n` the documents must state, and who reads: consumer, member, members."""

    names: tuple[str, ...] | None = None
    values: tuple[Any, ...] = ()
    is_one: bool = False
    start: Any = None
    consumer: tuple[str, int, int] | None = None
    n: tuple[Any, ...] = ()


def read(model: Model, log: list[Placed], reading: Reading) -> list[tuple[Any, Stream, int, dict[str, Any]]]:
    """What a subscription finds: place, stream, offset and document."""
    mine = _share(model, reading)
    found = []
    for each in log:
        document = model.held(each.stream)[each.offset]
        if each.stream in mine and document is not None and _is_reached(model, each, reading):
            place = each.offset if _is_offset(reading) else each.position
            found.append((place, each.stream, each.offset, {"offset": each.offset, **document}))
    return [each for each in found if not reading.n or has(each[3], "n", reading.n[0])]


def _is_offset(reading: Reading) -> bool:
    return reading.is_one and (reading.consumer is None or reading.consumer[2] == 1)


def _share(model: Model, reading: Reading) -> set[Stream]:
    streams = [stream for stream, documents in model.streams.values() if documents and _takes(stream, reading)]
    if reading.consumer is None or _is_offset(reading):
        return set(streams)
    _, member, members = reading.consumer
    return {stream for number, stream in enumerate(streams) if number % members == member}


def _takes(stream: Stream, reading: Reading) -> bool:
    if reading.names is None:
        return True
    if _is_offset(reading):
        return stream == Stream(reading.names, reading.values)
    wanted = dict(zip(reading.names, reading.values, strict=False))
    own = dict(zip(stream.names, stream.values, strict=True))
    return set(own) == set(reading.names) and all(v is None or equal(own[name], v) for name, v in wanted.items())


def _is_reached(model: Model, each: Placed, reading: Reading) -> bool:
    if reading.consumer is not None:
        return each.offset >= model.committed(reading.consumer[0], each.stream)
    if reading.start == "now":
        return False
    if _is_offset(reading):
        return each.offset >= (reading.start or 0)
    start = reading.start or 0
    return each.position >= (start if isinstance(start, Position) else Position(start, 0))


# What is asked.

INVARIANTS: dict[str, tuple[str, tuple[Any, ...], Callable[[list[dict[str, Any]]], bool]]] = {
    "no text": ('[:find ?e :where [?e :n "1"]]', (), lambda states: any(has(state, "n", "1") for state in states)),
    "tags need n": (
        "[:find ?e :where [?e :tags _] (not [?e :n _])]",
        (),
        lambda states: any(distinct(state, "tags") and not distinct(state, "n") for state in states),
    ),
    "none both": (
        "[:find ?e :where [?e :n ?v] [?e :tags ?v]]",
        (),
        lambda states: any(has(state, "n", tag) for state in states for tag in distinct(state, "tags")),
    ),
    "one at most": (
        "[:find ?e :in $ ?v :where [?e :n ?v] [?f :n ?v] [(not= ?e ?f)]]",
        ("",),
        lambda states: sum(has(state, "n", "") for state in states) > 1,
    ),
}
"""Queries that may be required to stay empty, their inputs, and whether they have an answer where these are the states
of entities."""


BREAKING: dict[str, list[dict[str, Any]]] = {
    "no text": [{"n": "1"}],
    "tags need n": [{"tags": [0]}],
    "none both": [{"n": 0, "tags": [0]}],
    "one at most": [{"n": ""}, {"n": ""}],
}
"""Documents after which an invariant has an answer."""


def _count(model: Model, test: Callable[[dict[str, Any]], bool]) -> int:
    return sum(map(test, model.states()))


CONDITIONS: dict[str, tuple[str, int, Callable[..., int]]] = {
    "n": ("[:find ?e :in $ ?v :where [?e :n ?v]]", 1, lambda model, v: _count(model, lambda s: has(s, "n", v))),
    "n and tag": (
        "[:find ?e :in $ ?v ?w :where [?e :n ?v] [?e :tags ?w]]",
        2,
        lambda model, v, w: _count(model, lambda s: has(s, "n", v) and has(s, "tags", w)),
    ),
    "n without tags": (
        "[:find ?e :in $ ?v :where [?e :n ?v] (not [?e :tags _])]",
        1,
        lambda model, v: _count(model, lambda s: has(s, "n", v) and not distinct(s, "tags")),
    ),
    "long": (
        "[:find ?e :where [?e :offset ?o] [(>= ?o 2)]]",
        0,
        lambda model: sum(1 for _, offset, _ in model.documents() if offset >= 2),
    ),
    "read": (
        '[:find ?c :where [?e :consumer "one"] [?e :committed ?c] [(> ?c 0)]]',
        0,
        lambda model: len({offset for name, _, offset in model.consumers.values() if name == "one" and offset}),
    ),
}
"""Queries that an append may depend on, how many inputs they take, and how many rows they have."""
