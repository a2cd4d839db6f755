"""The whole machine: what `Stores` does, and reports to listeners, everything of the past as facts, threads that
write at the same time, and copies of the file while it is written."""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from oracle_values import key

import tourlog
from model.actions import act
from model.checks import ENGINES, assert_equal, assert_same, check, held, should_hold
from model.events import Event, events, holding, versions, who
from model.machine import IDS, OPTIONS, Stores, appends, changes, conditions
from model.racing import order_of, raced
from model.state import INVARIANTS, Action, Model, acted, appended, distinct, own, spans, told
from tourlog import Database, Fact, Stream, TxReport

MICROSECOND = timedelta(microseconds=1)

DAMAGE = (
    "DELETE FROM batch WHERE place = (SELECT max(place) FROM batch)",
    "DELETE FROM tx WHERE t = (SELECT max(t) FROM tx)",
    "UPDATE tx SET instant = instant + 1 WHERE t = (SELECT min(t) FROM tx)",
)


@st.composite
def any_actions(draw: st.DrawFn, model: Model) -> Action:
    kind = draw(st.sampled_from(["append", "append if", "expect", "expect", "expect", "transact", "run", "rule"]))
    if kind == "rule":
        return draw(st.sampled_from(["require", "drop"])), draw(st.sampled_from(list(INVARIANTS)))
    if kind in ("transact", "run"):
        operation = appends() | changes(st.tuples(st.just("entity"), IDS))
        return kind, draw(st.lists(operation, min_size=1, max_size=3)), draw(OPTIONS)
    _, names, documents = draw(appends())
    options: dict[str, Any] = draw(OPTIONS)
    if kind == "append if":
        options = {**options, **draw(conditions())}
    if kind == "expect":
        names, documents = ("k",), [{"k": "foo", "n": draw(st.integers(0, 2))}]
        options = {**options, "expect": len(model.held(Stream(("k",), ("foo",))))}
    return "append", names, documents, options


class Machine(Stores):
    """All there is to know."""

    @initialize()
    def open(self) -> None:
        super().open()
        self.names: list[dict[UUID, Any]] = [{}, {}]
        self.named = 0
        self.instants: list[list[datetime]] = [[], []]
        self.copies = 0
        self.heard: dict[str, tuple[int, list[TxReport], Callable[[], None]]] = {}
        self.begin_to_hear("second")

    def begin_anew(self) -> None:
        for name in ("first", "second"):
            self.heard.pop(name, None)
        super().begin_anew()
        self.begin_to_hear("second")

    # Reports.

    def begin_to_hear(self, name: str) -> None:
        conn = {"memory": self.memory, "first": self.files[0], "second": self.files[1]}[name]
        reports: list[TxReport] = []

        def hear(report: TxReport) -> None:
            # What a listener raises is only logged: a report that comes too early is told as if it never came.
            if conn.db().t >= report.t:
                reports.append(report)

        self.heard[name] = (self.model.t, reports, conn.listen(hear))

    @rule(name=st.sampled_from(["memory", "first", "second"]))
    def listen_or_not(self, name: str) -> None:
        if name in self.heard:
            _, _, end = self.heard.pop(name)
            end()
        else:
            self.begin_to_hear(name)

    @invariant()
    def each_transaction_is_told_once(self) -> None:
        for name, (since, reports, _) in getattr(self, "heard", {}).items():
            mine = [t for t, writer in self.wrote if t > since and name in ("memory", writer)]
            assert [report.t for report in reports] == mine, f"{name} was told of other transactions"
            for report in reports[-1:]:
                before, after = self.positions[report.t - 1 : report.t + 1]
                assert (report.db_before.t, report.db_after.t) == (before.t, after.t)
                assert_equal(spans(report.offsets), spans(appended(before, after)))

    # The past.

    def learn_names(self) -> None:
        """Which id each store gave to each document, dropped ones too."""
        for place in self.log:
            if place.position.t > self.named:
                for names, db in zip(self.names, self.databases(), strict=True):
                    past = db.as_of(place.position.t)
                    (document,) = past.documents(place.stream, place.offset, place.offset + 1)
                    names[document["db/id"]] = who(("document", *told(place.stream), place.offset))
        self.named = self.model.t

    @precondition(lambda self: self.model.t)
    @rule(data=st.data(), engine=st.sampled_from(ENGINES))
    def remember(self, data: st.DataObject, engine: str) -> None:
        """Facts with the transactions that added and ended them, now and at an earlier position."""
        self.learn_names()
        t, since = data.draw(st.integers(1, self.model.t)), data.draw(st.integers(0, self.model.t))
        positions = self.positions[: t + 1]
        happened, model = events(positions), positions[-1]
        held_since = holding(happened)
        for names, newest in zip(self.names, self.databases(), strict=True):
            db = newest.as_of(t)
            ways = [
                (db, [Event(tx, True, fact) for fact, tx in held_since.items()]),
                (db.since(since), [Event(tx, True, fact) for fact, tx in held_since.items() if tx > since]),
                (db.history(), happened),
            ]
            for view, wanted in ways:
                assert Counter(as_events(names, view.facts())) == Counter(wanted)
                rows = view.q("[:find ?e ?v ?tx :where [?e :n ?v ?tx]]", engine=engine)
                found = {(named(names, e), key(v), tx) for e, v, tx in rows if is_named(names, e)}
                assert found == {(e, v, tx) for tx, _, (e, a, v) in wanted if a == "n"}
            (past,) = db.tx_range(t, t + 1)
            assert Counter(as_events(names, past.tx_data)) == Counter(each for each in happened if each.t == t)
            self.check_said(db, model, engine)
            self.check_entity_histories(names, db, positions)

    def check_said(self, db: Database, model: Model, engine: str) -> None:
        """What is said of transactions, by their entities and by queries."""
        for t in range(1, model.t + 1):
            said = own(model.state(("entity", t)))
            assert_same(db.entity(t), {"db/id": t, **said} if said else None)
        rows = db.q("[:find ?tx ?who :where [?tx :who ?who] [?tx :db/tx-instant _]]", engine=engine)
        wanted = {(t, key(v)) for t in range(1, model.t + 1) for v in distinct(model.state(("entity", t)), "who")}
        assert {(t, key(v)) for t, v in rows} == wanted

    def check_entity_histories(self, names: dict[UUID, Any], db: Database, positions: list[Model]) -> None:
        went_through = versions(positions)
        ids = {who(("entity", e)): e for e in [1, 2, "1", True, "robot", *range(3, db.t + 1)]}
        # Of documents that nobody changed a few stand for all.
        often = [e for e, name in names.items() if len(went_through.get(name, [])) > 1]
        ids.update({names[e]: e for e in [*often, *list(names)[:2], *list(names)[-2:]]})
        for name, e in ids.items():
            wanted = [(t, None if state is None else {"db/id": e, **state}) for t, state in went_through.get(name, [])]
            assert_same([(each.t, each.document) for each in db.entity_history(e)], wanted)

    @precondition(lambda self: self.model.t)
    @rule(data=st.data())
    def remember_when(self, data: st.DataObject) -> None:
        """Instants never change, never go back, and lead to the position that was the newest then."""
        n = data.draw(st.integers(0, self.model.t - 1))
        for number, db in enumerate(self.databases()):
            instants = [past.instant for past in db.tx_range()]
            known = self.instants[number]
            assert instants[: len(known)] == known
            assert instants == sorted(instants)
            self.instants[number] = instants
            for instant in (instants[n], instants[n] - MICROSECOND):
                t = bisect_right(instants, instant)
                assert db.as_of(instant).t == t
                assert sorted(map(repr, db.since(instant).facts())) == sorted(map(repr, db.since(t).facts()))
                check(db.as_of(instant), self.positions[t])
            query = "[:find ?when . :in $ ?tx :where [?tx :db/tx-instant ?when]]"
            assert db.q(query, n + 1) == instants[n]

    # Threads.

    @rule(data=st.data(), in_memory=st.booleans())
    def together(self, data: st.DataObject, in_memory: bool) -> None:
        """Threads write at the same time, over several connections to a copy of the file, or in a memory of its own:
        life goes on without it, for what is drawn next must not depend on who came first."""
        self.copies += 1
        begun = Model() if in_memory else self.model
        actions = data.draw(st.lists(any_actions(begun), min_size=2, max_size=4))
        writers = data.draw(st.lists(st.sampled_from([0, 0, 1]), min_size=len(actions), max_size=len(actions)))
        listening = data.draw(st.booleans())
        with ExitStack() as stack:
            path = None if in_memory else self.copied(self.folder / f"race {self.copies}")
            conns = [stack.enter_context(tourlog.connect(path, durability="normal")) for _ in range(1 + bool(path))]
            reports: list[list[TxReport]] = [[] for _ in conns]
            for conn, own_reports in zip(conns, reports, strict=True):
                if listening:
                    conn.listen(own_reports.append)
            used = [writer % len(conns) for writer in writers]
            answers = raced([partial(act, conns[n], action) for n, action in zip(used, actions, strict=True)])
            order = order_of(begun, actions, answers)
            models, wrote = [begun], []
            for number in order:
                models.append(acted(models[-1], actions[number])[0])
                wrote += [used[number]] * (models[-1].t - models[-2].t)
            for number, conn in enumerate(conns):
                check(conn.db(), models[-1])
                assert {each.name for each in conn.invariants()} == models[-1].required
                mine = [begun.t + 1 + n for n, writer in enumerate(wrote) if writer == number]
                assert [report.t for report in reports[number]] == (mine if listening else [])

    def copied(self, to: Path) -> Path:
        for suffix in ("", "-wal"):
            left = Path(f"{self.path}{suffix}")
            if left.exists():
                shutil.copy(left, f"{to}{suffix}")
        return to

    # Copies.

    @rule(data=st.data(), goes_on=st.booleans())
    def back_up(self, data: st.DataObject, goes_on: bool) -> None:
        """A copy is whole, and the store as it was at a moment of the copying, whatever is written meanwhile. With
        something taken out of it it is not whole. The life of the file may go on from it."""
        self.copies += 1
        copy = self.folder / f"copy {self.copies}"
        actions = [("append", *data.draw(appends())[1:], {}) for _ in range(data.draw(st.integers(0, 3)))]
        damage = data.draw(st.sampled_from(DAMAGE))
        began = self.model.t
        verified, answers = raced(
            [
                lambda: tourlog.backup(self.path, copy),
                lambda: [act(self.files[1], action) for action in actions],
            ]
        )
        for action, answer in zip(actions, answers, strict=True):
            after, wanted = acted(self.model, action)
            assert_equal(answer, wanted)
            assert_equal(act(self.memory, action), wanted)
            self.moved(after, "second")
        assert verified.ok and began <= verified.position <= self.model.t
        model = self.positions[verified.position]
        self.check_verified(tourlog.verify(copy), model)
        self.check_verified(tourlog.verify(self.path), self.model)
        with tourlog.connect(copy, read_only=True) as conn:
            check(conn.db(), model)
            assert held(conn) == should_hold(model)
        if goes_on and not actions:
            self.close_files()
            self.lives += 1
            shutil.move(copy, self.path)
            self.begin_anew()
        else:
            self.damage(copy, damage)

    def check_verified(self, found: tourlog.Verification, model: Model) -> None:
        assert found.ok, found.findings
        streams = [documents for _, documents in model.streams.values() if documents]
        assert (found.position, found.streams, found.documents) == (model.t, len(streams), sum(map(len, streams)))

    def damage(self, copy: Path, sql: str) -> None:
        connection = apsw.Connection(str(copy))
        connection.execute(sql)
        is_changed = connection.changes() > 0
        connection.close()
        assert tourlog.verify(copy).ok is not is_changed


def is_named(names: dict[UUID, Any], e: Any) -> bool:
    """All but the entities of consumers, which the model keeps as something else."""
    return not isinstance(e, UUID) or e in names


def named(names: dict[UUID, Any], e: Any) -> Any:
    return names[e] if isinstance(e, UUID) else key(e)


def as_events(names: dict[UUID, Any], facts: Iterable[Fact]) -> list[Event]:
    return [
        Event(fact.tx, fact.added, (named(names, fact.e), fact.a, key(fact.v)))
        for fact in facts
        if is_named(names, fact.e) and not fact.a.startswith("db/")
    ]
