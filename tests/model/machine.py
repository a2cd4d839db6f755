"""The machine: what may happen to a store, in any order, done to the model, to a store in memory, and to one in a file
that three connections share, one of them of another process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oracle_values import key

import tourlog
from model.actions import act, data_of, without_id
from model.checks import CONSUMERS, ENGINES, assert_equal, assert_same, check, held, should_hold
from model.other import Other
from model.state import (
    BREAKING,
    CONDITIONS,
    INVARIANTS,
    Action,
    Model,
    Operation,
    Outcome,
    Placed,
    Reading,
    Refused,
    Target,
    acted,
    appended,
    meta_of,
    placed,
    read,
    spans,
    told,
    transacted,
)
from tourlog import Connection, Consumer, Database, Position, Stream, gen_datalog, gen_rules

KEY_VALUES = st.sampled_from(["foo", 1]) | st.sampled_from([1.0, True, "1", "1-2", "foo-1", 2, b"1", "topic=foo"])
NAMES = st.sampled_from([("k",), ("topic", "partition"), ("partition", "topic"), ("topic",)])
SCALARS = st.sampled_from([0, 1, True, "1", None, "", {"x": 1}])
VALUES = SCALARS | st.lists(st.sampled_from([0, 1, True, "1"]), max_size=3)
IDS = st.sampled_from([1, 2, "1", True, "robot"])
TX_IDS = st.none() | st.sampled_from(["a", "b", "c", "d", "e", "f"])
SAID = st.dictionaries(st.sampled_from(["who", "why", "n"]), SCALARS, max_size=3)
OPTIONS = st.fixed_dictionaries({}, optional={"tx_id": TX_IDS, "meta": st.none() | SAID})
WRITERS = st.sampled_from(["first", "second", "other"])
WAYS = ("append", "append", "call", "prepared")


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


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(list(CONDITIONS)))
    inputs = draw(st.tuples(*[SCALARS] * CONDITIONS[name][1]))
    return {draw(st.sampled_from(["unless", "only_if"])): (name, *inputs)}


@st.composite
def expectations(draw: st.DrawFn, model: Model, names: tuple[str, ...], documents: list[dict[str, Any]]) -> Any:
    """An `expect=`, right more often than not: an offset when all documents are of one stream, or a mapping."""
    streams = {stream: None for stream, _ in model.streams.values() if draw(st.booleans())}
    own = {Stream(names, tuple(each[name] for name in names)): None for each in documents}
    offset = {each: max(0, len(model.held(each)) + draw(st.sampled_from([0, 0, 0, 1, -1]))) for each in own | streams}
    if len(own) == 1 and draw(st.booleans()):
        return next(offset[each] for each in own)
    if len(own) == 1 and draw(st.booleans()):
        (only,) = own
        form = "value" if len(names) == 1 else "values"
        return [(form, *told(only), offset[only])]
    return [("stream", *told(each), number) for each, number in offset.items()]


class Stores(RuleBasedStateMachine):
    """One model, a store in memory, and a file with two connections of this process and one of another."""

    other: ClassVar[Other] = Other()
    steps: ClassVar[int] = 0
    """So many were run, of all machines of this process."""

    engines: ClassVar[tuple[str, str]] = ENGINES
    """What is asked most of the time, and what at every fourth step."""

    seldom: ClassVar[int] = 1
    """Everything is read at every so many steps."""

    @initialize()
    def open(self) -> None:
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.lives = 0
        self.taken_steps = 0
        self.memory = tourlog.connect()
        self.open_files()
        self.positions = [Model()]
        self.wrote: list[tuple[int, str]] = []
        self.log: list[Placed] = []
        self.snapshots: list[tuple[list[Database], Model]] = []
        self.followed = 0
        self.follow_from(None)

    @property
    def path(self) -> Path:
        return self.folder / f"store {self.lives}"

    def open_files(self) -> None:
        self.files = [tourlog.connect(self.path, durability="normal") for _ in range(2)]
        self.other.open(self.path)

    def close_files(self) -> None:
        for conn in self.files:
            conn.close()
        self.other.close()

    def follow_from(self, start: Any) -> None:
        """Subscriptions to everything: of the store in memory, and of the file by who seldom writes it."""
        self.subscriptions = [conn.subscribe(start=start) for conn in (self.memory, self.files[1])]

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.memory.close()
            self.close_files()
            self.stack.close()

    @property
    def model(self) -> Model:
        return self.positions[-1]

    @property
    def connections(self) -> list[Connection]:
        return [self.memory, self.files[0]]

    def databases(self) -> list[Database]:
        return [conn.db() for conn in self.connections]

    def moved(self, after: Model, writer: str) -> None:
        """The file was written by this one of those who can."""
        if after.t > self.model.t:
            self.log += placed(self.model, after)
            self.positions.append(after)
            self.wrote.append((after.t, writer))

    # Transactions.

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

    def do(self, action: Action, writer: str = "first", wrote: str | None = None) -> Outcome:
        """Both stores do what the model does and say what it says, whoever writes the file, or `wrote` it already."""
        after, wanted = acted(self.model, action)
        given = repr(action)
        assert_equal(act(self.memory, action), wanted)
        if writer == "other":
            assert_equal(self.other.act(action), wanted)
        else:
            assert_equal(act(self.files[writer == "second"], action), wanted)
        assert repr(action) == given
        self.moved(after, wrote or writer)
        return wanted

    @rule(operation=appends(), way=st.sampled_from(WAYS), options=OPTIONS, writer=WRITERS)
    def append(self, operation: Operation, way: str, options: dict[str, Any], writer: str) -> None:
        self.do((*operation, options if way == "append" else {"way": way, **options}), writer)

    @rule(data=st.data(), operation=appends(), options=conditions() | st.just({}), more=conditions(), writer=WRITERS)
    def append_if(
        self, data: st.DataObject, operation: Operation, options: dict[str, Any], more: dict[str, Any], writer: str
    ) -> None:
        """Under conditions: what others wrote counts, also what this connection has not read yet."""
        _, names, documents = operation
        options = {**options, **data.draw(st.sampled_from([{}, more]))}
        if not options or data.draw(st.booleans()):
            options["expect"] = data.draw(expectations(self.model, names, documents))
        self.do((*operation, {**options, **data.draw(OPTIONS)}), writer)

    @rule(
        operation=st.just(("append", ("k",), [{"k": "foo", "n": 0}])) | appends(),
        kind=st.sampled_from(["unless", "only_if"]),
        name=st.sampled_from(["n", "n without tags"]),
        writer=WRITERS,
        then=WRITERS,
    )
    def change_and_ask(self, operation: Operation, kind: str, name: str, writer: str, then: str) -> None:
        """A value that nobody stated is there for whoever asks next."""
        value = 1000 + self.model.t
        self.do(("append", ("k",), [{"k": "foo", "n": value}], {}), writer)
        self.do((*operation, {kind: (name, value)}), then)

    @rule(data=st.data(), kind=st.sampled_from(["transact", "run"]), options=OPTIONS, writer=WRITERS)
    def transact(self, data: st.DataObject, kind: str, options: dict[str, Any], writer: str) -> None:
        self.do((kind, self.operations(data), options), writer)

    @precondition(lambda self: self.model.ids)
    @rule(data=st.data(), kind=st.sampled_from(["transact", "run"]), operation=appends(), writer=WRITERS)
    def again(self, data: st.DataObject, kind: str, operation: Operation, writer: str) -> None:
        """A transaction that is stored is not stored again, by whoever it is sent, but told as it was."""
        tx_id = data.draw(st.sampled_from(sorted(self.model.ids)))
        before = self.model.t
        assert self.do((kind, [operation], {"tx_id": tx_id}), writer) == self.model.ids[tx_id]
        assert self.model.t == before

    @rule(data=st.data(), kind=st.sampled_from(["transact", "run"]), writer=WRITERS)
    def fail_half_way(self, data: st.DataObject, kind: str, writer: str) -> None:
        self.do((kind, [*self.operations(data), ("fail",), *self.operations(data, 2)], {}), writer)

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
            self.moved(after, "first")

    @rule(name=st.sampled_from(list(INVARIANTS)), writer=WRITERS, anew=st.booleans(), tried=st.booleans())
    def require_or_drop(self, name: str, writer: str, anew: bool, tried: bool) -> None:
        """One that holds is enforced, and one that was dropped no more."""
        kind = "drop" if name in self.model.required and not anew else "require"
        self.do((kind, name), writer)
        self.do((kind, name), "first")
        if tried and (kind == "drop" or name in self.model.required):
            self.do(("append", ("k",), [{"k": "foo", **each} for each in BREAKING[name]], {}), "first")

    # Subscriptions and consumers.

    def readings(self, data: st.DataObject, consumer: tuple[str, int, int] | None) -> Reading:
        """A subscription to one stream, to some by names and values, or to all."""
        streams = [stream for stream, documents in self.model.streams.values() if documents]
        stream = data.draw(st.sampled_from(streams))
        shape = data.draw(st.sampled_from(["one", "some", "all"]))
        n = data.draw(st.sampled_from([(), (), (0,), (1,), ("1",)]))
        if shape == "all":
            return Reading(start=data.draw(self.starts(None)), consumer=consumer, n=n)
        if shape == "one":
            start = data.draw(self.starts(stream))
            return Reading(*told(stream), is_one=True, start=start, consumer=consumer, n=n)
        values = tuple(None if data.draw(st.booleans()) else value for value in stream.values)
        if None not in values:
            values = ()
        return Reading(stream.names, values, start=data.draw(self.starts(None)), consumer=consumer, n=n)

    def starts(self, stream: Stream | None) -> st.SearchStrategy[Any]:
        if stream is not None:
            return st.none() | st.integers(0, len(self.model.held(stream)) + 1) | st.just("now")
        t = st.integers(0, self.model.t + 1)
        return st.none() | t | st.builds(Position, t.map(lambda n: max(n, 1)), st.integers(0, 5)) | st.just("now")

    def taken(self, reading: Reading, first: int) -> list[list[Any]]:
        """What the subscriptions of all connections find, a few first; the same as the model's."""
        wanted = read(self.model, self.log, reading)
        found = []
        for conn in (self.memory, *self.files):
            with subscribed(conn, reading) as subscription:
                few = subscription.take(first)
                with subscribed(conn, reading, None if reading.consumer else subscription.position) as anew:
                    rest = anew.take(1000)
                if reading.consumer:
                    rest = subscription.take(1000)
            items = [*few, *rest]
            assert [place for place, _ in items] == [place for place, *_ in wanted]
            assert_same([without_id(document) for _, document in items], [each for *_, each in wanted])
            found.append(items)
        return found

    @precondition(lambda self: self.log)
    @rule(data=st.data(), first=st.integers(0, 4))
    def subscribe(self, data: st.DataObject, first: int) -> None:
        """From any place on, a few, and then the rest by one that starts where the first stopped."""
        self.taken(self.readings(data, None), first)

    @precondition(lambda self: self.log)
    @rule(
        data=st.data(),
        name=st.sampled_from(CONSUMERS),
        members=st.sampled_from([1, 1, 2]),
        most=st.integers(1, 5),
        writer=WRITERS,
    )
    def consume(self, data: st.DataObject, name: str, members: int, most: int, writer: str) -> None:
        """Read on, commit what was made of it with how far that got (a second time that is refused), and read on."""
        reading = self.readings(data, (name, data.draw(st.integers(0, members - 1)), members))
        self.taken(reading, most)
        items = read(self.model, self.log, reading)[:most]
        places = [(*told(stream), offset) for _, stream, offset, _ in items]
        made = ("upsert", ("entity", "robot"), {"n": [self.model.t % 7]})
        self.do(("transact", [made, ("done", name, places)], data.draw(OPTIONS)), writer)
        if places and data.draw(st.booleans()):
            self.do(("transact", [("done", name, places)], {}), "first")
        self.taken(reading, most)

    @rule(data=st.data(), name=st.sampled_from(CONSUMERS), offset=st.integers(0, 3), writer=WRITERS)
    def replay(self, data: st.DataObject, name: str, offset: int, writer: str) -> None:
        streams = [told(stream) for stream, documents in self.model.streams.values() if documents]
        place = data.draw(st.sampled_from([None, *streams]))
        self.do(("transact", [("rewind", name, place, data.draw(st.sampled_from([0, offset])))], {}), writer)

    @rule(anew=st.booleans())
    def follow(self, anew: bool) -> None:
        """What subscriptions yield is what came since the last time, in order, as it is now."""
        if anew:
            self.follow_from(self.subscriptions[0].position)
        wanted = []
        for each in self.log:
            document = self.model.held(each.stream)[each.offset]
            if each.position.t > self.followed and document is not None:
                wanted.append((each.position, {"offset": each.offset, **document}))
        for subscription in self.subscriptions:
            found = subscription.take(1000)
            assert [place for place, _ in found] == [place for place, _ in wanted]
            assert_same([without_id(document) for _, document in found], [document for _, document in wanted])
        self.followed = self.model.t

    # The past, and what might be.

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

    def compare(self, older: Model, newer: Model) -> None:
        """What came and what went between two positions, and the transactions between them."""
        names = {outcome[1]: tx_id for tx_id, outcome in self.model.ids.items()}
        for db in self.databases():
            past = [
                (each.t, each.tx_id, each.meta, spans(each.offsets)) for each in db.tx_range(older.t + 1, newer.t + 1)
            ]
            wanted_past = [
                (after.t, names.get(after.t), meta_of(self.model, after.t), spans(appended(before, after)))
                for before, after in pairwise(self.positions[older.t : newer.t + 1])
            ]
            assert_same(past, wanted_past)
            before, after = (
                {(key(fact.e), fact.a, key(fact.v)): fact for fact in db.as_of(model.t).facts()}
                for model in (older, newer)
            )
            came, went = db.as_of(newer.t).diff(db.as_of(older.t))
            assert {(key(fact.e), fact.a, key(fact.v)) for fact in went} == before.keys() - after.keys()
            wanted = sorted(repr(after[fact]) for fact in after.keys() - before.keys())
            assert sorted(map(repr, came)) == wanted
            rows = db.as_of(newer.t).diff(db.as_of(older.t), "[:find ?e ?v :where [?e :n ?v]]")
            kept = [{(e, v) for e, a, v in facts if a == "n"} for facts in (before, after)]
            assert {(key(e), key(v)) for e, v in rows.came} == kept[1] - kept[0]
            assert {(key(e), key(v)) for e, v in rows.went} == kept[0] - kept[1]

    @rule()
    def keep(self) -> None:
        self.snapshots.append((self.databases(), self.model))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        dbs, model = data.draw(st.sampled_from(self.snapshots))
        for db in dbs:
            check(db, model)

    @rule(data=st.data(), engine=st.sampled_from(ENGINES))
    def as_of(self, data: st.DataObject, engine: str) -> None:
        model = data.draw(st.sampled_from(self.positions))
        for db in self.databases():
            check(db.as_of(model.t), model, engine)
        self.compare(model, self.model)

    @rule(data=st.data(), bounds=st.tuples(st.integers(-1, 6), st.integers(-1, 6)), engine=st.sampled_from(ENGINES))
    @precondition(lambda self: self.log)
    def slice(self, data: st.DataObject, bounds: tuple[int, int], engine: str) -> None:
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
            rows = db.q(gen_datalog("slice", *stream.names), *stream.values, *bounds, engine=engine)
            assert_same(tourlog.post_query_transform(rows), wanted)
            rows = db.q(query, gen_rules(*stream.names), *stream.values, *bounds, engine=engine)
            assert_same(tourlog.post_query_transform(rows), wanted)

    # Lives of the file.

    @rule(writer=WRITERS)
    def compact(self, writer: str) -> None:
        """Positions, offsets and every past stay, also of databases that are there."""
        assert self.memory.compact() == 0
        compact = self.other.compact if writer == "other" else self.files[writer == "second"].compact
        assert compact() >= 0
        assert compact() == 0

    @rule()
    def reopen(self) -> None:
        """All connections to the file are closed; the databases taken from them are of no use any more. What was stored
        under an id is not stored again."""
        self.close_files()
        self.begin_anew()

    def begin_anew(self) -> None:
        self.open_files()
        self.snapshots = [([dbs[0]], model) for dbs, model in self.snapshots]
        self.follow_from(self.subscriptions[0].position)
        for tx_id in list(self.model.ids)[-1:]:
            self.do(("transact", [("append", ("k",), [{"k": "foo"}])], {"tx_id": tx_id}), "second")

    @rule(data=st.data(), moment=st.sampled_from(["at rest", "in a block", "after a block that failed"]))
    def crash(self, data: st.DataObject, moment: str) -> None:
        """Everything stops, and what goes on is the file and its write-ahead log as they were at that moment."""
        operations = self.operations(data, 2)
        with suppress(Refused, tourlog.ConflictError), self.files[0].transaction():
            if moment != "at rest":
                self.files[0].transact(list(map(data_of, operations)))
            if moment == "in a block":
                self.leave_behind()
            raise Refused
        if moment != "in a block" or not (self.folder / f"store {self.lives + 1}").exists():
            self.leave_behind()
        self.close_files()
        self.lives += 1
        self.begin_anew()

    def leave_behind(self) -> None:
        for suffix in ("", "-wal"):
            left = Path(f"{self.path}{suffix}")
            if left.exists():
                shutil.copy(left, self.folder / f"store {self.lives + 1}{suffix}")

    @rule(data=st.data(), operation=appends(), writes=st.integers(0, 8), number=st.integers(0, 10**6))
    def kill(self, data: st.DataObject, operation: Operation, writes: int, number: int) -> None:
        """The other process is killed instead of a write, or when it has answered. Whether its transaction is there is
        unknown, unless it answered; sent again it is there, once, and as the model has it."""
        action = ("transact", [operation, *self.operations(data, 2)], {"tx_id": f"killed {number}"})
        before = self.model
        after, wanted = acted(before, action)
        answered = self.other.act_and_die(action, writes)
        t = self.files[1].db().t
        assert t == after.t if answered else t in (before.t, after.t)
        assert held(self.files[1]) == should_hold(after if t == after.t else before)
        self.other.open(self.path)
        assert self.do(action, "second", "other" if t == after.t else "second") == wanted

    @rule()
    def ask_other(self) -> None:
        assert repr(self.other.held()) == repr(should_hold(self.model))

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "files"):
            return
        Stores.steps += 1
        for conn in (self.memory, *self.files):
            assert conn.db().t == self.model.t
            assert {each.name for each in conn.invariants()} == self.model.required
        self.taken_steps += 1  # its own, so that a life that is lived again is the same
        if self.taken_steps % self.seldom == 0:
            for number, db in enumerate(self.databases()):
                check(db, self.model, self.engines[self.taken_steps % 4 == number])


def subscribed(conn: Connection, reading: Reading, start: Any = None) -> tourlog.Subscription:
    """The subscription that a reading describes."""
    key: Any = reading.names
    if reading.is_one and reading.names is not None:
        key = Stream(reading.names, reading.values)
    elif reading.names is not None and reading.values:
        key = dict(zip(reading.names, reading.values, strict=True))
    given = reading.start if start is None else start
    where = ("[:find ?e :in $ [?e ...] ?v :where [?e :n ?v]]", *reading.n) if reading.n else None
    return conn.subscribe(key, start=Consumer(*reading.consumer) if reading.consumer else given, where=where)


atexit.register(Stores.other.end)
