"""The errors that each public name is documented to raise, each with a call that raises it.

`test_docstrings.py` runs them all, and holds them against the docstrings: what is named is raised here, what is raised
here is named.
"""

# ruff: noqa: ARG005  # calls of one shape, many of which need no store

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

import pytest
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
    WaitInterruptedError,
)
from test_storage import files_limited_to

import tourlog
from tourlog import aio, event_store, log_store, notebook, pictures, projection
from tourlog.csv_files import export_csv
from tourlog.decider import Decider, drop_snapshots, handle, load
from tourlog.errors import (
    ArgumentError,
    BudgetError,
    ConditionError,
    ConflictError,
    DocumentError,
    InvariantError,
    QueryError,
    QuerySyntaxError,
    StorageError,
    TransactionError,
    UnknownOutcomeError,
)
from tourlog.integrations.cloudevents import event_to_document, export_events, import_events
from tourlog.integrations.eventsourcing import (
    Factory,
)
from tourlog.integrations.parquet import export_parquet
from tourlog.projection import Projection
from tourlog.pytest_plugin import Scenario
from tourlog.stream_import import import_streams

ANY: Any = object()
"""A value that no document can hold, and nothing that any function wants."""

NAMES = "[:find ?name :where [?e :name ?name]]"
SYNTAX = "[:find ?name :where [?e"
UNKNOWN = "[:find ?x :where [(no-function 1) ?x]]"
DIVIDED = "[:find ?e :in $ [?e ...] :where [?e :n ?n] [(- ?n 1) ?m] [(/ 1 ?m) ?x]]"
EDGES = "[[(edge ?x ?y) [?x :to ?y]]]"
EVENT = {"aggregate-id": "a", "type": "made"}
counter: Decider[int, int] = Decider(name="n", initial=0, decide=lambda _, by: [{"by": by}], evolve=lambda n, _: n + 1)
by_function = Projection(name="kinds", apply=lambda table, event: table.update({event["type"]: {"seen": True}}))


@dataclass
class Setting:
    """A store in memory with some documents, an invariant, and a folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.conn = tourlog.connect()
        self.conn.transact([{"db/id": "ann", "name": "Ann", "balance": 10}])
        self.conn.append([{"k": 1, "n": 1}, {"k": 1, "n": 2}], "k")
        self.conn.require("no debts", "[:find ?a ?b :where [?a :balance ?b] [(< ?b 0)]]")
        event_store.save_events(self.conn, [EVENT])
        self.db = self.conn.db()
        self.file = self.folder / "store.tour"
        self.dcb_recorder = self.factory().dcb_recorder()
        self.tracking_recorder = self.factory().tracking_recorder()

    def text_file(self, content: str = "no store") -> Path:
        path = self.folder / "text"
        path.write_text(content, encoding="utf-8")
        return path

    def closed(self) -> tourlog.Connection:
        self.conn.close()
        return self.conn

    def factory(self, **settings: str) -> Factory:
        return Factory({"PERSISTENCE_MODULE": "tourlog.integrations.eventsourcing", **settings})

    def closed_factory(self) -> Factory:
        factory = self.factory(TOURLOG_PATH=str(self.file))
        factory.close()
        return factory


Call: TypeAlias = Callable[[Setting], object]

DEBT = [{"db/id": "ann", "balance": -1}]


def other(**attributes: Any) -> tourlog.Connection:
    """Another store, with one document."""
    conn = tourlog.connect()
    conn.append([{"k": 1, **attributes}], "k")
    return conn


def within(conn: tourlog.Connection, *works: Callable[[], object], **given: Any) -> None:
    """Work in a block of a transaction."""
    with conn.transaction(**given):
        for work in works:
            work()


def caught_inside(conn: tourlog.Connection) -> None:
    """A block that catches what left another inside it."""
    with conn.transaction():
        try:
            with conn.transaction():
                raise KeyError
        except KeyError:
            pass


def asynchronous(work: Callable[[aio.AsyncConnection], Awaitable[object]], *, is_open: bool = True) -> Call:
    async def run() -> None:
        async with aio.connect() as conn:
            if not is_open:
                await conn.close()
            await work(conn)

    return lambda _: asyncio.run(run())


@contextmanager
def without(package: str) -> Iterator[None]:
    """As if a package were not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package, None)
        yield


def missing(package: str, work: Call) -> Call:
    def run(s: Setting) -> None:
        with without(package):
            work(s)

    return run


def stored(version: int = 0, state: bytes = b"{}", aggregate: Any = "a") -> StoredEvent:
    return StoredEvent(aggregate, version, "topic", state)


def fails_at_commit(s: Setting) -> None:
    """An append for whose commit the disk has no room."""
    with tourlog.connect(s.file) as conn:
        conn.append([{"k": 1}], "k")
        with files_limited_to(s.file.with_name("store.tour-wal").stat().st_size):
            conn.append([{"k": 1}], "k")


def competing(s: Setting) -> object:
    """A command during which somebody else appends to the aggregate, every time."""

    def decide(_: int, by: int) -> list[dict[str, int]]:
        event_store.save_events(s.conn, [EVENT])
        return [{"by": by}]

    rival: Decider[int, int] = Decider(name="n", initial=0, decide=decide, evolve=lambda n, _: n + 1)
    return handle(s.conn, rival, "a", 1, attempts=2)


def record(s: Setting, work: Callable[[tourlog.Connection], object]) -> None:
    with s.tracking_recorder.recording(Tracking("app", 1)) as conn:
        work(conn)


def interrupted() -> Event:
    event = Event()
    event.set()
    return event


CE = "integrations.cloudevents"
ES, DCB = "integrations.eventsourcing", "integrations.eventsourcing_dcb"
DECISIONS = [DCBEvent(type="made", data=b"", tags=["a"])]

CASES: list[tuple[str, type[BaseException], Call]] = [
    ("connect", ArgumentError, lambda s: tourlog.connect(durability="some")),
    ("connect", StorageError, lambda s: tourlog.connect(s.text_file())),
    ("Connection", StorageError, lambda s: s.closed().db()),
    ("Connection", UnknownOutcomeError, fails_at_commit),
    ("Connection.close", StorageError, lambda s: s.closed().db()),
    ("Connection.transact", ArgumentError, lambda s: s.conn.transact([], tx_id=ANY)),
    ("Connection.transact", TransactionError, lambda s: s.conn.transact([("db/add", "ann")])),
    ("Connection.transact", DocumentError, lambda s: s.conn.transact([{"a": ANY}])),
    ("Connection.transact", ConflictError, lambda s: s.conn.transact([("db/cas", "ann", "name", "Bob", "Ann")])),
    ("Connection.transact", InvariantError, lambda s: s.conn.transact(DEBT)),
    ("Connection.append", ArgumentError, lambda s: s.conn.append([])),
    ("Connection.append", DocumentError, lambda s: s.conn.append([{"n": 1}], "k")),
    ("Connection.append", ConflictError, lambda s: s.conn.append([{"k": 1}], "k", expect=1)),
    ("Connection.append", ConditionError, lambda s: s.conn.append([{"k": 1}], "k", unless=NAMES)),
    ("Connection.append", QueryError, lambda s: s.conn.append([{"k": 1}], "k", only_if=UNKNOWN)),
    ("Connection.append", QuerySyntaxError, lambda s: s.conn.append([{"k": 1}], "k", only_if=SYNTAX)),
    ("Connection.append", InvariantError, lambda s: s.conn.append([{"k": 1, "balance": -1}], "k")),
    ("Connection.append", TransactionError, lambda s: s.conn.append([{"k": 1}], "k", meta={"db/tx": 1})),
    ("Connection.transaction", TransactionError, lambda s: caught_inside(s.conn)),
    ("Connection.transaction", DocumentError, lambda s: within(s.conn, meta={"who": ANY})),
    ("Connection.transaction", InvariantError, lambda s: within(s.conn, lambda: s.conn.transact(DEBT))),
    ("Connection.run", ArgumentError, lambda s: s.conn.run(ANY)),
    ("Connection.run", TransactionError, lambda s: s.conn.run(lambda: caught_inside(s.conn))),
    ("Connection.run", DocumentError, lambda s: s.conn.run(list, meta={"who": ANY})),
    ("Connection.run", InvariantError, lambda s: s.conn.run(lambda: s.conn.transact(DEBT))),
    ("Connection.require", ArgumentError, lambda s: s.conn.require("", NAMES)),
    ("Connection.require", DocumentError, lambda s: s.conn.require("a", "[:find ?e :in $ ?x :where [?e :a ?x]]", ANY)),
    ("Connection.require", InvariantError, lambda s: s.conn.require("none has a name", NAMES)),
    ("Connection.require", QueryError, lambda s: s.conn.require("a", UNKNOWN)),
    ("Connection.require", QuerySyntaxError, lambda s: s.conn.require("a", SYNTAX)),
    ("Connection.drop_invariant", ArgumentError, lambda s: s.conn.drop_invariant("another")),
    ("Connection.tx_range", ArgumentError, lambda s: s.conn.tx_range(-1)),
    ("Connection.subscribe", ArgumentError, lambda s: s.conn.subscribe(start="never")),
    ("Connection.subscribe", DocumentError, lambda s: s.conn.subscribe({"k": ANY})),
    ("Connection.subscribe", QueryError, lambda s: s.conn.subscribe(where=UNKNOWN)),
    ("Connection.subscribe", QuerySyntaxError, lambda s: s.conn.subscribe(where=SYNTAX)),
    ("Connection.listen", ArgumentError, lambda s: s.conn.listen(ANY)),
    ("Connection.compact", ArgumentError, lambda s: within(s.conn, s.conn.compact)),
    ("Consumer", ArgumentError, lambda s: tourlog.Consumer("bank", 2, 2)),
    ("Consumer.committed", ArgumentError, lambda s: tourlog.Consumer("bank").committed(s.db, "k")),
    ("Consumer.committed", DocumentError, lambda s: tourlog.Consumer("bank").committed(s.db, {"k": ANY})),
    ("Consumer.lag", ArgumentError, lambda s: tourlog.Consumer("bank").lag(ANY)),
    ("Consumer.done", ArgumentError, lambda s: tourlog.Consumer("bank").done({"k": 1})),
    ("Consumer.done", ConflictError, lambda s: [s.conn.transact([bank_done(s)]) for _ in range(2)]),
    ("Consumer.rewind", ArgumentError, lambda s: tourlog.Consumer("bank").rewind(offset=-1)),
    ("Database", StorageError, lambda s: (s.closed(), s.db.documents({"k": 1}))),
    ("Database.q", ArgumentError, lambda s: s.db.q(NAMES, engine="fast")),
    ("Database.q", QueryError, lambda s: s.db.q(UNKNOWN)),
    ("Database.q", QuerySyntaxError, lambda s: s.db.q(SYNTAX)),
    ("Database.q", BudgetError, lambda s: s.db.q("[:find ?e ?a :where [?e ?a _]]", max_rows=1)),
    ("Database.q", DocumentError, lambda s: s.db.q("[:find ?e :in $ ?x :where [?e :a ?x]]", ANY)),
    ("Database.explain", ArgumentError, lambda s: s.db.explain(NAMES, engine="fast")),
    ("Database.explain", QueryError, lambda s: s.db.explain(UNKNOWN)),
    ("Database.explain", QuerySyntaxError, lambda s: s.db.explain(SYNTAX)),
    ("Database.pull", ArgumentError, lambda s: s.db.pull("[*]", None)),
    ("Database.pull", BudgetError, lambda s: s.db.pull("[*]", "ann", timeout=1e-9)),
    ("Database.pull", DocumentError, lambda s: s.db.pull("[*]", ANY)),
    ("Database.pull", QuerySyntaxError, lambda s: s.db.pull("[", "ann")),
    ("Database.pull_many", ArgumentError, lambda s: s.db.pull_many("[*]", "ann")),
    ("Database.pull_many", BudgetError, lambda s: s.db.pull_many("[*]", ["ann"], timeout=1e-9)),
    ("Database.pull_many", DocumentError, lambda s: s.db.pull_many("[*]", [ANY])),
    ("Database.pull_many", QuerySyntaxError, lambda s: s.db.pull_many("[", ["ann"])),
    ("Database.entity", ArgumentError, lambda s: s.db.entity(None)),
    ("Database.entity", DocumentError, lambda s: s.db.entity(ANY)),
    ("Database.facts", ArgumentError, lambda s: s.db.facts(a=ANY)),
    ("Database.facts", DocumentError, lambda s: s.db.facts(v=ANY)),
    ("Database.documents", ArgumentError, lambda s: s.db.documents({"k": 1}, -1)),
    ("Database.documents", DocumentError, lambda s: s.db.documents({"k": ANY})),
    ("Database.iter_documents", ArgumentError, lambda s: s.db.iter_documents("k")),
    ("Database.iter_documents", DocumentError, lambda s: s.db.iter_documents({"k": ANY})),
    ("Database.own_documents", DocumentError, lambda s: s.db.own_documents({"k": ANY})),
    ("Database.own_documents", ArgumentError, lambda s: s.db.history().own_documents({"k": 1})),
    ("Database.stream", ArgumentError, lambda s: s.db.stream({})),
    ("Database.stream", DocumentError, lambda s: s.db.stream({"k": ANY})),
    ("Database.diff", ArgumentError, lambda s: s.db.diff(tourlog.connect().db())),
    ("Database.diff", QueryError, lambda s: s.db.diff(s.db, UNKNOWN)),
    ("Database.diff", QuerySyntaxError, lambda s: s.db.diff(s.db, SYNTAX)),
    ("Database.tx_range", ArgumentError, lambda s: s.db.tx_range(-1)),
    ("Database.entity_history", ArgumentError, lambda s: s.db.entity_history("offset-metadata")),
    ("Database.entity_history", DocumentError, lambda s: s.db.entity_history(ANY)),
    ("Database.as_of", ArgumentError, lambda s: s.db.as_of("yesterday")),  # type: ignore[arg-type]
    ("Database.since", ArgumentError, lambda s: s.db.since(-1)),
    ("Database.with_", ArgumentError, lambda s: s.db.history().with_([])),
    ("Database.with_", TransactionError, lambda s: s.db.with_([("db/add", "ann")])),
    ("Database.with_", DocumentError, lambda s: s.db.with_([{"a": ANY}])),
    ("Database.with_", ConflictError, lambda s: s.db.with_([("db/cas", "ann", "name", "Bob", "Ann")])),
    ("Database.with_", InvariantError, lambda s: s.db.with_(DEBT)),
    ("TxReport.tx_data", StorageError, lambda s: report_of_closed(s).tx_data),
    ("PastTransaction.tx_data", StorageError, lambda s: past_of_closed(s).tx_data),
    ("Rows.to_pandas", ArgumentError, missing("pandas", lambda s: s.db.q(NAMES).to_pandas())),
    ("Rows.to_polars", ArgumentError, missing("polars", lambda s: s.db.q(NAMES).to_polars())),
    ("Rows.to_arrow", ArgumentError, lambda s: tourlog.Rows(["?x"], [(1,), ("a",)]).to_arrow()),
    ("Rules", QuerySyntaxError, lambda s: tourlog.Rules("no rules") + tourlog.rules("graph")),
    ("Stream", ArgumentError, lambda s: tourlog.Stream(("k",), ())),
    ("Stream.key", DocumentError, lambda s: tourlog.Stream(("k",), (ANY,)).key),
    ("Subscription", QueryError, lambda s: s.conn.subscribe(where=DIVIDED).take(10)),
    ("Subscription.wait", ArgumentError, lambda s: s.conn.subscribe().wait(timeout=ANY)),
    ("Subscription.take", ArgumentError, lambda s: s.conn.subscribe().take(-1)),
    ("append", ArgumentError, lambda s: tourlog.append(s.db, [])),
    ("append", DocumentError, lambda s: tourlog.append(s.db, [{"n": 1}], "k")),
    ("backup", ArgumentError, lambda s: tourlog.backup(s.file, ANY)),
    ("backup", StorageError, lambda s: tourlog.backup(s.file, s.text_file())),
    ("call", TransactionError, lambda s: tourlog.call(ANY)),
    ("gen_datalog", ArgumentError, lambda s: tourlog.gen_datalog("some", "k")),
    ("gen_rules", ArgumentError, lambda s: tourlog.gen_rules()),
    ("post_query_transform", ArgumentError, lambda s: tourlog.post_query_transform([("Ann",)])),
    ("pydatalog_program", ArgumentError, lambda s: tourlog.pydatalog_program(ANY)),
    ("q", ArgumentError, lambda s: tourlog.q(NAMES, s.db, timeout=-1)),
    ("q", QueryError, lambda s: tourlog.q(NAMES)),
    ("q", QuerySyntaxError, lambda s: tourlog.q(SYNTAX, s.db)),
    ("q", BudgetError, lambda s: tourlog.q("[:find ?e ?a :where [?e ?a _]]", s.db, max_rows=1)),
    ("q", DocumentError, lambda s: tourlog.q("[:find ?e :in $ ?x :where [?e :a ?x]]", s.db, ANY)),
    ("rules", ArgumentError, lambda s: tourlog.rules("another")),
    ("verify", StorageError, lambda s: tourlog.verify(s.text_file())),
    ("verify", ArgumentError, lambda s: tourlog.verify(ANY)),
    ("event_store.save_events", ArgumentError, lambda s: event_store.save_events(ANY, [])),
    ("event_store.get_events_for_aggregate", ArgumentError, lambda s: event_store.get_events_for_aggregate(ANY, "a")),
    (
        "event_store.get_events_for_aggregate",
        DocumentError,
        lambda s: event_store.get_events_for_aggregate(s.db, ANY),
    ),
    ("event_store.hydrate", ArgumentError, lambda s: event_store.hydrate(s.db, "a", ANY, 0)),
    ("event_store.hydrate", DocumentError, lambda s: event_store.hydrate(s.db, ANY, max, 0)),
    ("log_store.commit_records", ArgumentError, lambda s: log_store.commit_records(ANY, [])),
    ("log_store.poll", ArgumentError, lambda s: log_store.poll(s.db, "topic", 1, -1)),
    ("log_store.poll", DocumentError, lambda s: log_store.poll(s.db, ANY, 1, 0)),
    ("log_store.event_to_record", ArgumentError, lambda s: log_store.event_to_record("topic", 1, ANY, EVENT)),
    (
        "log_store.save_events_and_publish",
        ArgumentError,
        lambda s: log_store.save_events_and_publish(ANY, [EVENT], "topic", 1),
    ),
    (
        "log_store.save_events_and_publish",
        DocumentError,
        lambda s: log_store.save_events_and_publish(s.conn, [EVENT], ANY, 1),
    ),
    ("decider.Decider", ArgumentError, lambda s: Decider(name="", initial=0, decide=ANY, evolve=ANY)),
    ("decider.load", ArgumentError, lambda s: load(ANY, counter, "a")),
    ("decider.load", DocumentError, lambda s: load(s.db, counter, ANY)),
    ("decider.handle", ArgumentError, lambda s: handle(s.conn, counter, "a", 1, attempts=0)),
    ("decider.handle", ConflictError, competing),
    ("decider.drop_snapshots", ArgumentError, lambda s: drop_snapshots(ANY, counter)),
    ("projection.Projection", ArgumentError, lambda s: Projection(name="kinds")),
    ("projection.Projection.row_id", DocumentError, lambda s: by_function.row_id(ANY)),
    ("projection.Table", ArgumentError, lambda s: projection.Table(s.db, by_function).update(made=ANY)),
    ("projection.Table", KeyError, lambda s: projection.Table(s.db, by_function)["made"]),
    ("projection.update", ArgumentError, lambda s: projection.update(ANY, by_function)),
    (
        "projection.update",
        TransactionError,
        lambda s: within(s.conn, lambda: s.conn.transact([{}, {}]), lambda: projection.update(s.conn, by_function)),
    ),
    ("projection.table", ArgumentError, lambda s: projection.table(ANY, by_function)),
    ("projection.rows", ArgumentError, lambda s: projection.rows(ANY, by_function)),
    ("projection.position", ArgumentError, lambda s: projection.position(ANY, by_function)),
    ("aio.AsyncConnection", StorageError, asynchronous(lambda conn: conn.db(), is_open=False)),
    ("aio.AsyncConnection.blocking", StorageError, lambda s: aio.connect().blocking),
    ("aio.AsyncSubscription.take", ArgumentError, asynchronous(lambda conn: conn.subscribe().take(-1))),
    ("aio.AsyncSubscription.take", StorageError, asynchronous(lambda conn: conn.subscribe().take(1), is_open=False)),
    ("pictures.Picture.save", ArgumentError, lambda s: pictures.Picture(None, "none").save("a.gif")),
    ("pictures.timeline", ArgumentError, lambda s: pictures.timeline(s.db, {"k": 2})),
    ("pictures.causation", ArgumentError, lambda s: pictures.causation(s.db, "nobody")),
    ("pictures.causation", DocumentError, lambda s: pictures.causation(s.db, ANY)),
    ("pictures.rule_graph", ArgumentError, missing("altair", lambda s: pictures.rule_graph(EDGES))),
    ("pictures.rule_graph", QuerySyntaxError, lambda s: pictures.rule_graph("[[(a ?x)")),
    ("pictures.plan_graph", ArgumentError, lambda s: pictures.plan_graph(ANY)),
    ("pytest_plugin.Scenario.append", ArgumentError, lambda s: Scenario(s.conn, "a", counter).append([ANY])),
    ("pytest_plugin.Scenario.when", ArgumentError, lambda s: Scenario(s.conn, "a", None).when(ANY)),
    ("pytest_plugin.Scenario.then", ArgumentError, lambda s: Scenario(s.conn, "a", counter).when(1).then(ANY)),
    ("pytest_plugin.Scenario.then", AssertionError, lambda s: Scenario(s.conn, "a", counter).when(1).then(EVENT)),
    ("notebook.import_file", ArgumentError, lambda s: notebook.import_file(s.conn, s.file, "k")),
    ("notebook.import_file", DocumentError, lambda s: notebook.import_file(s.conn, s.text_file(), "k")),
    ("stream_import.import_streams", ArgumentError, lambda s: import_streams(s.conn, s.db)),
    ("stream_import.import_streams", DocumentError, lambda s: import_streams(s.conn, other().db(), {"k": ANY})),
    ("stream_import.import_streams", ConflictError, lambda s: import_streams(s.conn, other().db())),
    (
        "stream_import.import_streams",
        TransactionError,
        lambda s: within(s.conn, lambda: s.conn.transact([{}]), lambda: import_streams(s.conn, other().db())),
    ),
    (
        "stream_import.import_streams",
        InvariantError,
        lambda s: import_streams(s.conn, other(balance=-1).db(), into={"k": 2}),
    ),
    ("csv_files.export_csv", ArgumentError, lambda s: export_csv(ANY, s.file)),
    ("csv_files.export_csv", DocumentError, lambda s: export_csv(s.db, s.file, {"k": ANY})),
    ("csv_files.export_csv", StorageError, lambda s: export_csv(s.db, s.folder / "none" / "out")),
    ("integrations.parquet.export_parquet", ArgumentError, missing("pyarrow", lambda s: export_parquet(s.db, s.file))),
    ("integrations.parquet.export_parquet", DocumentError, lambda s: export_parquet(s.db, s.file, {"k": ANY})),
    ("integrations.parquet.export_parquet", StorageError, lambda s: export_parquet(s.db, s.folder / "none" / "out")),
    (f"{CE}.event_to_document", DocumentError, lambda s: event_to_document({})),
    (f"{CE}.import_events", ArgumentError, lambda s: import_events(s.conn, s.folder / "none")),
    (f"{CE}.import_events", DocumentError, lambda s: import_events(s.conn, s.text_file("{}"))),
    (f"{CE}.export_events", ArgumentError, lambda s: export_events(s.db, s.folder)),
    (f"{CE}.export_events", DocumentError, lambda s: export_events(s.db, s.file, {"k": ANY})),
    (f"{CE}.export_events", StorageError, lambda s: export_events(s.db, s.folder / "none" / "out")),
    (f"{ES}.Factory", OperationalError, lambda s: s.factory(TOURLOG_PATH=str(s.text_file()))),
    (f"{ES}.Factory", ArgumentError, lambda s: s.factory(TOURLOG_DURABILITY="some")),
    (
        f"{ES}.Factory.application_recorder",
        TypeError,
        lambda s: s.factory(APPLICATION_RECORDER_TOPIC="builtins:dict").application_recorder(),
    ),
    (
        f"{ES}.Factory.tracking_recorder",
        TypeError,
        lambda s: s.factory(TRACKING_RECORDER_TOPIC="builtins:dict").tracking_recorder(),
    ),
    (
        f"{ES}.Factory.process_recorder",
        TypeError,
        lambda s: s.factory(PROCESS_RECORDER_TOPIC="builtins:dict").process_recorder(),
    ),
    (f"{ES}.TourlogRecorder", OperationalError, lambda s: s.closed_factory().tracking_recorder().db()),
    (
        f"{ES}.TourlogAggregateRecorder.insert_events",
        IntegrityError,
        lambda s: s.factory().aggregate_recorder().insert_events([stored(), stored()]),
    ),
    (
        f"{ES}.TourlogAggregateRecorder.insert_events",
        DataError,
        lambda s: s.factory().aggregate_recorder().insert_events([stored(-1)]),
    ),
    (
        f"{ES}.TourlogAggregateRecorder.select_events",
        DataError,
        lambda s: s.factory().aggregate_recorder().select_events(ANY),
    ),
    (
        f"{ES}.TourlogApplicationRecorder.insert_events",
        IntegrityError,
        lambda s: s.factory().application_recorder().insert_events([stored(), stored()]),
    ),
    (
        f"{ES}.TourlogApplicationRecorder.insert_events",
        DataError,
        lambda s: s.factory().application_recorder().insert_events([stored(-1)]),
    ),
    (
        f"{ES}.TourlogTrackingRecorder.insert_tracking",
        IntegrityError,
        lambda s: [s.tracking_recorder.insert_tracking(Tracking("app", 1)) for _ in range(2)],
    ),
    (
        f"{ES}.TourlogTrackingRecorder.insert_tracking",
        DataError,
        lambda s: s.tracking_recorder.insert_tracking(Tracking("app", ANY)),
    ),
    (
        f"{ES}.TourlogTrackingRecorder.recording",
        IntegrityError,
        lambda s: [record(s, lambda conn: None) for _ in range(2)],
    ),
    (
        f"{ES}.TourlogTrackingRecorder.recording",
        DataError,
        lambda s: record(s, lambda conn: conn.transact([{"a": ANY}])),
    ),
    (f"{ES}.TourlogTrackingRecorder.wait", TimeoutError, lambda s: s.tracking_recorder.wait("app", 1, timeout=0)),
    (
        f"{ES}.TourlogTrackingRecorder.wait",
        WaitInterruptedError,
        lambda s: s.tracking_recorder.wait("app", 1, interrupt=interrupted()),
    ),
    (f"{DCB}.TourlogDCBRecorder", OperationalError, lambda s: s.closed_factory().dcb_recorder().read()),
    (f"{DCB}.TourlogDCBRecorder.append", ProgrammingError, lambda s: s.factory().dcb_recorder().append([])),
    (
        f"{DCB}.TourlogDCBRecorder.append",
        IntegrityError,
        lambda s: [s.dcb_recorder.append(DECISIONS, DCBAppendCondition(DCBQuery())) for _ in range(2)],
    ),
    (
        f"{DCB}.TourlogDCBRecorder.append",
        DataError,
        lambda s: s.dcb_recorder.append([DCBEvent(type="made", data=b"", tags=[ANY])]),
    ),
]


def bank_done(s: Setting) -> Any:
    (document, _) = s.db.documents({"k": 1})
    return tourlog.Consumer("bank").done(document)


def report_of_closed(s: Setting) -> tourlog.TxReport:
    report = s.conn.transact([{"db/id": "ann", "name": "Anna"}])
    s.conn.close()
    return report


def past_of_closed(s: Setting) -> tourlog.PastTransaction:
    past = next(s.conn.tx_range())
    s.conn.close()
    return past
