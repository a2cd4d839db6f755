"""Streams as plain lists and entities as plain dicts, against a store in memory and one in a file at once."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oracle_values import equal, key

import tourlog
from tourlog import Connection, Database, Position, Stream, append, call, gen_datalog, gen_rules

Target = tuple[Any, ...]
"""("entity", id), or ("document", names, key values, offset)."""

Operation = tuple[Any, ...]
"""("append", names, documents), or the name of another operation, its target and its arguments."""


class Refused(Exception):
    """The store must refuse what the model was told to do."""


@dataclass
class Model:
    """What a store should hold at one position."""

    t: int = 0
    streams: dict[Any, tuple[Stream, list[dict[str, Any] | None]]] = field(default_factory=dict)
    entities: dict[Any, tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    required: frozenset[str] = frozenset()

    def stream(self, names: tuple[str, ...], values: tuple[Any, ...]) -> list[dict[str, Any] | None]:
        return self.streams.setdefault((names, key(values)), (Stream(names, values), []))[1]

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
                    raise Refused
                self.put(target, {**self.state(target), a: new})
            case ("fail",):
                raise Refused

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

    def states(self) -> list[dict[str, Any]]:
        return [*(state for _, state in self.entities.values()), *(document for _, _, document in self.documents())]

    def broken(self) -> bool:
        """Whether an invariant is."""
        return any(INVARIANTS[name][1](state) for name in self.required for state in self.states())

    def contents(self) -> Any:
        """Everything, so that two positions can be told apart."""
        streams = [(key, documents) for key, (_, documents) in self.streams.items() if documents]
        return repr((streams, [each for _, each in sorted(self.entities.items(), key=repr)]))

    def documents(self) -> Iterator[tuple[Stream, int, dict[str, Any]]]:
        for stream, documents in self.streams.values():
            for offset, document in enumerate(documents):
                if document is not None:
                    yield stream, offset, document


def transacted(model: Model, operations: list[Operation]) -> Model:
    """The model after a transaction; itself if that changed nothing. Refused leaves it as it is, too."""
    after = copy.deepcopy(model)
    for operation in operations:
        after.apply(operation)
    if after.contents() == model.contents():
        return model
    after.t += 1
    return after


def data_of(operation: Operation) -> Any:
    """An operation as transaction data; a document is found by its place, for its id differs among stores."""
    match operation:
        case "append", names, documents:
            return call(append, documents, *names)
        case ("fail",):
            return ("db/cas", "nobody", "n", 1, 2)
    return call(_on_target, operation)


def _on_target(db: Database, operation: Operation) -> list[Any]:
    name, target, *arguments = operation
    e = target[1]
    if target[0] == "document":
        _, names, values, offset = target
        (document,) = db.documents(Stream(names, values), offset, offset + 1)
        e = document["db/id"]
    if name == "upsert":
        return [{"db/id": e, **arguments[0]}]
    return [(f"db/{'retract-entity' if name == 'drop' else name}", e, *arguments)]


def check(db: Database, model: Model) -> None:
    """The store's every way of reading agrees with the model."""
    assert db.t == model.t
    streams = [(stream, len(documents)) for stream, documents in model.streams.values() if documents]
    assert [(stream, end) for _, stream, end in db.streams()] == streams
    names = [name for name, _, _ in db.streams()]
    assert len(set(names)) == len(names)
    ends = [end for _, end in streams]
    assert db.entity("offset-metadata") == {"db/id": "offset-metadata", **dict(zip(names, ends, strict=True))}
    for stream, documents in model.streams.values():
        check_stream(db, stream, documents)
    for e, state in model.entities.values():
        assert_same(db.entity(e), {"db/id": e, **state})
    check_values(db, model)


def check_stream(db: Database, stream: Stream, documents: list[dict[str, Any] | None]) -> None:
    wanted = [{"offset": n, **document} for n, document in enumerate(documents) if document is not None]
    found = db.documents(stream)
    assert_same([without_id(document) for document in found], wanted)
    assert_same([without_id(db.entity(document["db/id"])) for document in found], wanted)
    middle = len(documents) // 2
    for start, stop in ((middle, None), (0, middle), (middle, middle + 2)):
        part = [document for document in wanted if start <= document["offset"] < (stop or len(documents))]
        assert_same([without_id(document) for document in db.documents(stream, start, stop)], part if stop != 0 else [])
    rows = db.q(gen_datalog("nthrest", *stream.names), *stream.values, middle)
    assert_same(tourlog.post_query_transform(rows), [document for document in wanted if document["offset"] >= middle])


def check_values(db: Database, model: Model) -> None:
    """Facts of attributes, of whatever entity, by two queries and by `facts`."""
    states = model.states()
    for attribute in ("n", "tags"):
        wanted = sorted(key(v) for state in states for v in distinct(state, attribute))
        assert sorted(key(v) for _, v in db.q("[:find ?e ?v :in $ ?a :where [?e ?a ?v]]", attribute)) == wanted
        assert sorted(key(fact.v) for fact in db.facts(a=attribute)) == wanted
    both = sum(1 for state in states if any(equal(v, 1) for v in distinct(state, "n")) and "tags" not in state)
    found = db.q("[:find (count ?e) . :where [?e :n 1] (not [?e :tags _])]")
    assert (found or 0) == both + sum(
        1 for state in states if any(equal(v, 1) for v in distinct(state, "n")) and state.get("tags") == []
    )


def appended(before: Model, after: Model) -> dict[Stream, range]:
    """The offsets of each stream that came between two positions, in the order of the log."""
    ends = {stream: len(documents) for stream, documents in before.streams.values()}
    spans = ((stream, range(ends.get(stream, 0), len(documents))) for stream, documents in after.streams.values())
    return {stream: span for stream, span in spans if span}


def distinct(state: dict[str, Any], attribute: str) -> list[Any]:
    if attribute not in state:
        return []
    held = state[attribute]
    return list({key(v): v for v in held}.values()) if isinstance(held, list) else [held]


def without_id(document: dict[str, Any] | None) -> dict[str, Any]:
    assert document is not None
    return {name: value for name, value in document.items() if name != "db/id"}


def assert_same(found: Any, wanted: Any) -> None:
    """Equal, and of the same types: 1 is not 1.0 here."""
    assert found == wanted
    assert repr(normal(found)) == repr(normal(wanted))


def normal(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, normal(inner)) for name, inner in value.items())
    return [normal(inner) for inner in value] if isinstance(value, list) else value


INVARIANTS: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "no text": ('[:find ?e :where [?e :n "1"]]', lambda state: any(equal(v, "1") for v in distinct(state, "n"))),
    "tags need n": (
        "[:find ?e :where [?e :tags _] (not [?e :n _])]",
        lambda state: bool(distinct(state, "tags")) and not distinct(state, "n"),
    ),
    "none both": (
        "[:find ?e :where [?e :n ?v] [?e :tags ?v]]",
        lambda state: any(equal(v, tag) for v in distinct(state, "n") for tag in distinct(state, "tags")),
    ),
}
"""Queries that may be required to stay empty, and which states of one entity are in their answers."""


# What happens.

KEY_VALUES = st.sampled_from([1, 1.0, True, "1", "1-2", "foo", "foo-1", 2, b"1", "topic=foo"])
NAMES = st.sampled_from([("k",), ("topic", "partition"), ("partition", "topic"), ("topic",)])
SCALARS = st.sampled_from([0, 1, True, "1", None, "", {"x": 1}])
VALUES = SCALARS | st.lists(st.sampled_from([0, 1, True, "1"]), max_size=3)
IDS = st.sampled_from([1, 2, "1", True, "robot"])


@st.composite
def appends(draw: st.DrawFn) -> Operation:
    names = draw(NAMES)
    keys = draw(st.lists(st.tuples(*[KEY_VALUES] * len(names)), min_size=1, max_size=2))
    documents = []
    for number in range(draw(st.integers(1, 5))):
        document = dict(zip(names, keys[number % len(keys)], strict=True))
        document["n"] = draw(VALUES)
        if draw(st.booleans()):
            document["tags"] = draw(st.lists(SCALARS, max_size=2))
        documents.append(document)
    return ("append", names, documents)


def changes(targets: st.SearchStrategy[Target]) -> st.SearchStrategy[Operation]:
    a = st.sampled_from(["n", "tags"])
    return st.one_of(
        st.tuples(st.just("upsert"), targets, st.dictionaries(a, VALUES, min_size=1)),
        st.tuples(st.just("add"), targets, a, SCALARS),
        st.tuples(st.just("retract"), targets, a, VALUES),
        st.tuples(st.just("cas"), targets, a, VALUES, VALUES),
        st.tuples(st.just("drop"), targets),
    )


class Stores(RuleBasedStateMachine):
    """One model, a store in memory, and a file with two connections that take turns."""

    @initialize()
    def open(self) -> None:
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.path = Path(folder) / "store"
        self.memory = tourlog.connect()
        self.files = [tourlog.connect(self.path, durability="normal") for _ in range(2)]
        self.positions = [Model()]
        self.snapshots: list[tuple[list[Database], Model]] = []
        self.followed = 0
        self.follow_from(None)

    def follow_from(self, start: Any) -> None:
        """Subscriptions to everything: of the store in memory, and of the file by who seldom writes it."""
        self.subscriptions = [conn.subscribe(start=start) for conn in (self.memory, self.files[1])]

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            for conn in (self.memory, *self.files):
                conn.close()
            self.stack.close()

    @property
    def model(self) -> Model:
        return self.positions[-1]

    @property
    def connections(self) -> list[Connection]:
        return [self.memory, self.files[0]]

    def databases(self) -> list[Database]:
        return [conn.db() for conn in self.connections]

    def moved(self, after: Model) -> None:
        if after.t > self.model.t:
            self.positions.append(after)

    def operations(self, data: st.DataObject, most: int = 4) -> list[Operation]:
        """A few operations in order; those on documents name ones that are there before and not dropped here."""
        places = [("document", s.names, s.values, n) for s, n, _ in self.model.documents()]
        kinds = [appends(), changes(st.tuples(st.just("entity"), IDS))]
        if places:
            kinds.append(changes(st.sampled_from(places)))
        found = data.draw(st.lists(st.one_of(kinds), min_size=1, max_size=most))
        dropped: list[Target] = []
        kept = []
        for operation in found:
            if operation[0] == "append" or operation[1] not in dropped:
                kept.append(operation)
            if operation[0] == "drop" and operation[1][0] == "document":
                dropped.append(operation[1])
        return kept

    def do(self, operations: list[Operation], write: Callable[[Connection], Any]) -> None:
        """Both stores do what the model does, or refuse it."""
        refusal: type[tourlog.TourlogError] | None = None
        try:
            after = transacted(self.model, operations)
            refusal = tourlog.InvariantError if after.broken() else None
        except Refused:
            refusal = tourlog.ConflictError
        if refusal is not None:
            for conn in self.connections:
                with pytest.raises(refusal):
                    write(conn)
            return
        for conn in self.connections:
            assert write(conn).t == after.t
        self.moved(after)

    @rule(operation=appends(), way=st.sampled_from(["append", "call", "prepared"]))
    def append(self, operation: Operation, way: str) -> None:
        _, names, documents = operation
        given = copy.deepcopy(documents)
        ways: dict[str, Callable[[Connection], Any]] = {
            "append": lambda conn: conn.append(given, *names),
            "call": lambda conn: conn.transact([call(append, given, *names)]),
            "prepared": lambda conn: conn.transact(append(conn.db(), given, *names)),
        }
        self.do([operation], ways[way])
        assert repr(given) == repr(documents)

    @rule(data=st.data())
    def transact(self, data: st.DataObject) -> None:
        operations = self.operations(data)
        self.do(operations, lambda conn: conn.transact(list(map(data_of, operations))))

    @rule(data=st.data())
    def fail_half_way(self, data: st.DataObject) -> None:
        operations = [*self.operations(data), ("fail",), *self.operations(data, 2)]
        self.do(operations, lambda conn: conn.transact(list(map(data_of, operations))))

    @rule(data=st.data(), ending=st.sampled_from(["commit", "inner failure", "failure", "refusal"]))
    def block(self, data: st.DataObject, ending: str) -> None:
        """Nested blocks; a refused operation inside is caught and leaves the rest."""
        first, second = self.operations(data, 2), [data.draw(appends())]
        try:
            after = transacted(self.model, [*first, *second])
        except Refused:
            return
        held = not after.broken()
        for conn in self.connections:
            try:
                with conn.transaction():
                    for operation in first:
                        conn.transact([data_of(operation)])
                    with conn.transaction():
                        if ending == "refusal":
                            with pytest.raises(tourlog.ConflictError):
                                conn.transact([*map(data_of, second), data_of(("fail",))])
                        for _, names, documents in second:
                            conn.append(documents, *names)
                        check(conn.db(), after)
                        if ending == "inner failure":
                            raise Refused
                    if ending == "failure":
                        raise Refused
            except tourlog.InvariantError:
                assert not held and ending in ("commit", "refusal")
                check(conn.db(), self.model)
            except Refused:
                check(conn.db(), self.model)
            else:
                assert held
        if held and ending in ("commit", "refusal"):
            self.moved(after)

    @rule(name=st.sampled_from(list(INVARIANTS)))
    def require_or_drop(self, name: str) -> None:
        if name in self.model.required:
            self.drop(name)
        else:
            self.require(name)

    def require(self, name: str) -> None:
        query, breaks = INVARIANTS[name]
        is_broken = any(map(breaks, self.model.states()))
        after = copy.deepcopy(self.model)
        if not is_broken:
            after.t, after.required = after.t + 1, after.required | {name}
        for conn in self.connections:
            if is_broken:
                with pytest.raises(tourlog.InvariantError):
                    conn.require(name, query)
            else:
                assert conn.require(name, query).t == conn.require(name, query).t == after.t
        self.moved(after)

    def drop(self, name: str) -> None:
        after = copy.deepcopy(self.model)
        after.t, after.required = after.t + 1, after.required - {name}
        for conn in self.connections:
            assert conn.drop_invariant(name).t == after.t
            with pytest.raises(tourlog.ArgumentError):
                conn.drop_invariant(name)
        self.moved(after)

    @rule(data=st.data())
    def speculate(self, data: st.DataObject) -> None:
        """Two speculations on each other, and what lies below them."""
        base = data.draw(st.sampled_from(self.positions))
        parts = [[data.draw(appends())], [data.draw(appends()), ("upsert", ("entity", "robot"), {"n": [1]})]]
        for db in self.databases():
            models, dbs = [base], [db.as_of(base.t)]
            for operations in parts:
                models.append(transacted(models[-1], operations))
                if models[-1].broken():
                    with pytest.raises(tourlog.InvariantError):
                        dbs[-1].with_(list(map(data_of, operations)))
                    return
                dbs.append(dbs[-1].with_(list(map(data_of, operations))).db_after)
            check(dbs[1], models[1])
            check(dbs[2].as_of(base.t), base)
            check(dbs[2], models[2])

    @rule(anew=st.booleans())
    def follow(self, anew: bool) -> None:
        """What subscriptions yield is what came since the last time, in order, as it is now."""
        if anew:
            self.follow_from(self.subscriptions[0].position)
        wanted = []
        for before, after in pairwise(self.positions[self.followed :]):
            places = [(stream, n) for stream, span in appended(before, after).items() for n in span]
            for number, (stream, n) in enumerate(places):
                document = self.model.stream(stream.names, stream.values)[n]
                if document is not None:
                    wanted.append((Position(after.t, number), {"offset": n, **document}))
        for subscription in self.subscriptions:
            found = subscription.take(1000)
            assert [place for place, _ in found] == [place for place, _ in wanted]
            assert_same([without_id(document) for _, document in found], [document for _, document in wanted])
        self.followed = len(self.positions) - 1

    def compare(self, older: Model, newer: Model) -> None:
        """What came and what went between two positions, and the transactions between them."""
        for db in self.databases():
            past = [(each.t, dict(each.offsets)) for each in db.tx_range(older.t + 1, newer.t + 1)]
            steps = pairwise(self.positions[older.t : newer.t + 1])
            assert past == [(after.t, appended(before, after)) for before, after in steps]
            before, after = (
                {(key(fact.e), fact.a, key(fact.v)): fact for fact in db.as_of(model.t).facts()}
                for model in (older, newer)
            )
            came, went = db.as_of(newer.t).diff(db.as_of(older.t))
            assert {(key(fact.e), fact.a, key(fact.v)) for fact in went} == before.keys() - after.keys()
            wanted = sorted(repr(after[fact]) for fact in after.keys() - before.keys())
            assert sorted(map(repr, came)) == wanted

    @rule()
    def keep(self) -> None:
        self.snapshots.append((self.databases(), self.model))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        dbs, model = data.draw(st.sampled_from(self.snapshots))
        for db in dbs:
            check(db, model)

    @rule(data=st.data())
    def as_of(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(self.positions))
        for db in self.databases():
            check(db.as_of(model.t), model)
        self.compare(model, self.model)

    @rule(data=st.data(), bounds=st.tuples(st.integers(-1, 6), st.integers(-1, 6)))
    @precondition(lambda self: any(documents for _, documents in self.model.streams.values()))
    def slice(self, data: st.DataObject, bounds: tuple[int, int]) -> None:
        """The same slice as a query and as a rule among others."""
        stream, documents = data.draw(st.sampled_from([s for s in self.model.streams.values() if s[1]]))
        wanted = [
            {"offset": n, **document}
            for n, document in enumerate(documents)
            if document is not None and bounds[0] <= n < bounds[1]
        ]
        inputs = " ".join(f"?{n}" for n in range(len(stream.values)))
        query = f"[:find (pull ?e [*]) :in $ % {inputs} ?f ?t :where (slice ?e {inputs} ?f ?t)]"
        for db in self.databases():
            rows = db.q(gen_datalog("slice", *stream.names), *stream.values, *bounds)
            assert_same(tourlog.post_query_transform(rows), wanted)
            rows = db.q(query, gen_rules(*stream.names), *stream.values, *bounds)
            assert_same(tourlog.post_query_transform(rows), wanted)

    @rule()
    def reopen(self) -> None:
        """All connections to the file are closed; the databases taken from them are of no use any more."""
        for conn in self.files:
            conn.close()
        self.files = [tourlog.connect(self.path, durability="normal") for _ in range(2)]
        self.snapshots = [([dbs[0]], model) for dbs, model in self.snapshots]
        self.follow_from(self.subscriptions[0].position)

    @rule()
    def change_connection(self) -> None:
        self.files.reverse()

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "files"):
            for conn in (self.memory, *self.files):
                assert conn.db().t == self.model.t
                assert {each.name for each in conn.invariants()} == self.model.required
            for db in self.databases():
                check(db, self.model)


TestStores = Stores.TestCase
TestStores.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
