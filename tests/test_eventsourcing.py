"""tourlog as a persistence module of `eventsourcing`: the abstract cases that ship inside that package, on memory
and on a file, and what they do not ask.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Event, Thread
from typing import Any, ClassVar
from unittest import TestCase
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.dcb import tests as dcb_cases
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem, DCBRecorder
from eventsourcing.dcb.popo import InMemoryDCBRecorder
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.tests import application as application_cases
from eventsourcing.tests import persistence as persistence_cases
from eventsourcing.tests import projection as projection_cases
from eventsourcing.utils import Environment
from hypothesis import given
from hypothesis import strategies as st
from test_writer import until

import tourlog
from tourlog.integrations import eventsourcing, eventsourcing_dcb
from tourlog.integrations.eventsourcing import (
    Factory,
    TourlogAggregateRecorder,
    TourlogApplicationRecorder,
    TourlogProcessRecorder,
    TourlogTrackingRecorder,
)
from tourlog.integrations.eventsourcing_dcb import TourlogDCBRecorder
from tourlog.integrations.eventsourcing_store import Datastore, as_bytes, as_document

MODULE = "tourlog.integrations.eventsourcing"


class InMemory:
    """The environment of an abstract case: a store in memory."""

    env: ClassVar[dict[str, str]]

    def setUp(self) -> None:
        self.place = TemporaryDirectory()
        self.env = Environment("", {"PERSISTENCE_MODULE": MODULE, **self.where()})  # type: ignore[misc]
        os.environ.update(self.env)
        self.datastores: list[Datastore] = []
        super().setUp()  # type: ignore[misc]

    def tearDown(self) -> None:
        super().tearDown()  # type: ignore[misc]
        for datastore in self.datastores:
            datastore.close()
        for name in ("PERSISTENCE_MODULE", "TOURLOG_PATH", "MAPPER_TOPIC"):
            os.environ.pop(name, None)
        self.place.cleanup()

    def where(self) -> dict[str, str]:
        return {}

    def datastore(self) -> Datastore:
        self.datastores.append(Datastore(self.env.get("TOURLOG_PATH")))
        return self.datastores[-1]


class OnFile(InMemory):
    """The same with a file."""

    def where(self) -> dict[str, str]:
        return {"TOURLOG_PATH": os.path.join(self.place.name, "store.tour")}  # noqa: PTH118  # as an environment has it


class AggregateRecorderCase:
    def create_recorder(self) -> TourlogAggregateRecorder:
        return TourlogAggregateRecorder(self.datastore())


class ApplicationRecorderCase:
    def create_recorder(self) -> TourlogApplicationRecorder:
        return TourlogApplicationRecorder(self.datastore())

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TrackingRecorderCase:
    def create_recorder(self) -> TourlogTrackingRecorder:
        return TourlogTrackingRecorder(self.datastore())


class ProcessRecorderCase:
    def create_recorder(self) -> TourlogProcessRecorder:
        return TourlogProcessRecorder(self.datastore())


class NonInterleavingCase:
    def create_recorder(self) -> TourlogApplicationRecorder:
        return TourlogApplicationRecorder(self.datastore())


class OwnTrackingRecorder(TourlogTrackingRecorder):
    pass


class FactoryCase:
    def expected_factory_class(self) -> type[Factory]:
        return Factory

    def expected_aggregate_recorder_class(self) -> type[TourlogAggregateRecorder]:
        return TourlogAggregateRecorder

    def expected_application_recorder_class(self) -> type[TourlogApplicationRecorder]:
        return TourlogApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TourlogTrackingRecorder]:
        return TourlogTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TourlogTrackingRecorder]:
        return OwnTrackingRecorder

    def expected_process_recorder_class(self) -> type[TourlogProcessRecorder]:
        return TourlogProcessRecorder


class ExampleApplicationCase:
    expected_factory_topic = f"{MODULE}:Factory"


class DCBRecorderCase:
    def test_append_read(self) -> None:
        self._test_append_read(TourlogDCBRecorder(self.datastore()))

    def test_append_subscribe(self) -> None:
        self._test_append_subscribe(TourlogDCBRecorder(self.datastore()))


class CountersView(TourlogTrackingRecorder, projection_cases.EventCountersView):
    """A materialised view: counters as an entity, written in one transaction with the position."""

    def get_created_event_counter(self) -> int:
        return self._counter("created")

    def get_subsequent_event_counter(self) -> int:
        return self._counter("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _counter(self, name: str) -> int:
        return (self.db().entity("counters") or {}).get(name, 0)  # type: ignore[no-any-return]

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.recording(tracking) as connection:
            connection.transact([("db/add", "counters", name, self._counter(name) + 1)])


class ViewCase:
    def construct_event_counters_view(self) -> CountersView:
        return CountersView(self.datastore())


class ProjectionCase:
    view_class = CountersView


class DecisionsProjectionCase:
    view_class = CountersView

    def setUp(self) -> None:
        super().setUp()
        os.environ["MAPPER_TOPIC"] = "eventsourcing.dcb.msgpack:MessagePackMapper"


class ApplicationCase:
    pytestmark = pytest.mark.filterwarnings("default:'log' is deprecated:DeprecationWarning")  # which a case records


class EventSourcedProjectionCase:
    """A projection that is an application, too: in one store with the other, it would be told of its own events."""

    def setUp(self) -> None:
        super().setUp()
        if "TOURLOG_PATH" in self.env:
            self.env["COUNTERS_TOURLOG_PATH"] = f"{self.env['TOURLOG_PATH']}.counters"


CASES = (
    (AggregateRecorderCase, persistence_cases.AggregateRecorderTestCase),
    (ApplicationRecorderCase, persistence_cases.ApplicationRecorderTestCase),
    (TrackingRecorderCase, persistence_cases.TrackingRecorderTestCase),
    (ProcessRecorderCase, persistence_cases.ProcessRecorderTestCase),
    (NonInterleavingCase, persistence_cases.NonInterleavingNotificationIDsBaseCase),
    (FactoryCase, persistence_cases.InfrastructureFactoryTestCase),
    (ExampleApplicationCase, application_cases.ExampleApplicationTestCase),
    (ApplicationCase, application_cases.ApplicationTestCase),
    (ViewCase, projection_cases.EventCountersViewTestCase),
    (ProjectionCase, projection_cases.AggregateEventCountersProjectionTestCase),
    (DecisionsProjectionCase, projection_cases.TaggedDecisionCountersProjectionTestCase),
    (EventSourcedProjectionCase, projection_cases.EventSourcedProjectionTestCase),
    (DCBRecorderCase, dcb_cases.DCBRecorderTestCase),
)


def abstract_cases() -> dict[str, type]:
    """Each abstract case completed, in each place. Generated, for pytest collects whatever is a TestCase here."""
    return {
        f"{abstract.__name__}{place.__name__}": type(
            f"{abstract.__name__}{place.__name__}", (place, completion, abstract), {"__module__": __name__}
        )
        for completion, abstract in CASES
        for place in (InMemory, OnFile)
    }


globals().update(abstract_cases())


# What the abstract cases do not ask.


@pytest.fixture(params=["memory", "file"])
def datastore(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Datastore]:
    store = Datastore(str(tmp_path / "store.tour") if request.param == "file" else None)
    yield store
    store.close()


def stored(originator_id: UUID | str, version: int, topic: str = "topic", state: bytes = b"{}") -> StoredEvent:
    return StoredEvent(originator_id, version, topic, state)


def test_every_abstract_case_of_the_package_is_run() -> None:
    """A test case that a new version of the package brings is either run here or named as none of ours."""
    shipped = {
        name
        for module in (persistence_cases, application_cases, projection_cases, dcb_cases)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, TestCase) and value.__module__ == module.__name__
    }
    not_of_persistence_modules = {"RecorderTestCase", "TranscoderTestCase"}
    assert shipped - not_of_persistence_modules == {abstract.__name__ for _, abstract in CASES}


@pytest.mark.parametrize(
    "versions",
    [
        [1, 2, 3, 4, 5],
        [0, 1, 2],
        [7],
        [3, 10, 20, 21, 50],
        [0, 15, 16, 17, 18, 19, 20, 21, 22, 50],
        [5, 2, 9, 1, 10],
        [10, 20, 15, 30, 5],
        [],
    ],
    ids=str,
)
def test_events_between_versions_are_found_as_a_scan_finds_them(datastore: Datastore, versions: list[int]) -> None:
    """Whatever gaps versions have and in whatever order they came."""
    recorder, originator_id = TourlogAggregateRecorder(datastore), uuid4()
    for version in versions:
        recorder.insert_events([stored(originator_id, version)])
    bounds = [None, *range(-1, 12), 15, 20, 21, 49, 50, 51]
    for gt, lte, desc, limit in product(bounds, bounds, [False, True], [None, 0, 1, 2, 9]):
        expected = [v for v in sorted(versions) if (gt is None or v > gt) and (lte is None or v <= lte)]
        expected = (expected[::-1] if desc else expected)[:limit]
        found = recorder.select_events(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)
        assert [event.originator_version for event in found] == expected, (gt, lte, desc, limit)


@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12)), max_size=4), max_size=6))
def test_a_version_is_recorded_once_whatever_the_order(insertions: list[list[tuple[str, int]]]) -> None:
    """An insertion that has a version again, of an earlier one or of its own, records nothing at all."""
    store = Datastore(None)
    recorder, known, notified = TourlogApplicationRecorder(store), set[tuple[str, int]](), list[tuple[str, int]]()
    for events in insertions:
        if len(set(events)) < len(events) or known & set(events):
            with pytest.raises(IntegrityError, match="is already recorded"):
                recorder.insert_events([stored(*event) for event in events])
        else:
            ids = recorder.insert_events([stored(*event) for event in events])
            assert ids == list(range(len(notified) + 1, len(notified) + 1 + len(events)))
            known |= set(events)
            notified += events
    for originator_id in "ab":
        found = [event.originator_version for event in recorder.select_events(originator_id)]
        assert found == sorted(version for name, version in known if name == originator_id)
    notifications = recorder.select_notifications(None, 100)
    assert [(each.id, (each.originator_id, each.originator_version)) for each in notifications] == list(
        enumerate(notified, 1)
    )


def test_a_version_below_zero_is_refused(datastore: Datastore) -> None:
    with pytest.raises(DataError, match="expected a version from 0, got -1, for 'a'"):
        TourlogAggregateRecorder(datastore).insert_events([stored("a", -1)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"originator_id": b"a"},
        {"originator_id": 5},
        {"originator_id": "\ud800"},
        {"originator_version": 2**70},
        {"originator_version": 1.5},
        {"originator_version": "1"},
        {"topic": None},
        {"topic": "\ud800"},
        {"state": "text"},
    ],
    ids=ascii,
)
def test_what_is_no_event_is_refused_before_it_makes_the_sequence_unreadable(
    datastore: Datastore, wrong: dict[str, Any]
) -> None:
    event = StoredEvent(**{"originator_id": "a", "originator_version": 0, "topic": "t", "state": b"", **wrong})
    recorder = TourlogApplicationRecorder(datastore)
    with pytest.raises(DataError, match="expected "):
        recorder.insert_events([event])
    assert recorder.max_notification_id() is None


def test_a_text_and_the_uuid_it_spells_are_two_aggregates(datastore: Datastore) -> None:
    recorder, originator_id = TourlogAggregateRecorder(datastore), uuid4()
    for given_id, topic in ((originator_id, "uuid"), (str(originator_id), "text")):
        recorder.insert_events([stored(given_id, 5, topic), stored(given_id, 2, topic)])
    assert recorder.select_events(originator_id) == [stored(originator_id, v, "uuid") for v in (2, 5)]
    assert recorder.select_events(str(originator_id)) == [stored(str(originator_id), v, "text") for v in (2, 5)]


def test_purposes_are_apart(datastore: Datastore) -> None:
    """A snapshot has the aggregate's id and a version that an event has, too."""
    events, snapshots = TourlogApplicationRecorder(datastore), TourlogAggregateRecorder(datastore, "snapshots")
    events.insert_events([stored("a", 1, "event")])
    snapshots.insert_events([stored("a", 1, "snapshot")])
    assert events.select_events("a") == [stored("a", 1, "event")]
    assert snapshots.select_events("a") == [stored("a", 1, "snapshot")]
    assert len(events.select_notifications(None, 10)) == 1
    assert sorted(events.db().q("[:find [?topic ...] :where [_ :topic ?topic]]")) == ["event"]
    assert events.db().q("[:find [?topic ...] :where [_ :snapshots/topic ?topic]]") == ["snapshot"]


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    st.one_of(
        st.binary(max_size=30),
        st.dictionaries(st.text(max_size=5), JSON_LIKE, max_size=4).map(lambda value: json.dumps(value).encode()),
        st.dictionaries(st.text(max_size=5), JSON_LIKE, max_size=4).map(
            lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        ),
        st.sampled_from(
            [
                b'{"a":1,"a":2}',
                b'{"a":1e400}',
                b'{"a":"\\ud800"}',
                b'{"\\ud800":1}',
                b"{" * 999,
                b'{"a":' * 300 + b"}" * 300,
            ]
        ),
        st.sampled_from([b'{"a":' * 150 + b"1" + b"}" * 150, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"{}", b"[]", b""]),
    )
)
def test_a_state_comes_back_byte_for_byte(state: bytes) -> None:
    recorder = TourlogApplicationRecorder(Datastore(None))
    recorder.insert_events([stored("a", 1, state=state)])
    assert [event.state for event in recorder.select_events("a")] == [state]
    assert [event.state for event in recorder.select_notifications(None, 1)] == [state]
    assert as_bytes("state", as_document("state", state)) == state


def test_the_bytes_of_a_state_are_kept_only_where_they_do_not_follow() -> None:
    assert as_document("state", b'{"b":1,"a":[1.5]}') == {"state": {"b": 1, "a": [1.5]}}
    assert as_document("state", b'{"b": 1}') == {"state": {"b": 1}, "state_bytes": b'{"b": 1}'}
    assert as_document("state", b"[1]") == {"state": b"[1]"}


def test_writers_of_one_aggregate_record_each_version_once(tmp_path: Path) -> None:
    """Threads over one store and over another connection to its file: exactly one of those who race for a version
    has it, the others are told."""
    stores = [Datastore(str(tmp_path / "store.tour")) for _ in range(2)]
    recorders = [TourlogApplicationRecorder(store) for store in stores for _ in range(2)]
    barrier, refused = Barrier(len(recorders)), list[int]()

    recorders[0].insert_events([stored("late", 20)])

    def record(recorder: TourlogApplicationRecorder) -> None:
        for version in range(20):
            for events in ([stored("a", version), stored("b", version)], [stored("late", version)]):
                barrier.wait()
                try:
                    recorder.insert_events(events)
                except IntegrityError:
                    refused.append(version)

    threads = [Thread(target=record, args=(recorder,)) for recorder in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [("late", 20), *((name, version) for version in range(20) for name in ("a", "b", "late"))]
    for name in ("a", "b", "late"):
        versions = [event.originator_version for event in recorders[0].select_events(name)]
        assert versions == sorted(version for originator_id, version in expected if originator_id == name)
    notifications = recorders[-1].select_notifications(1, 99)
    assert [(each.originator_id, each.originator_version) for each in notifications] == expected
    assert sorted(refused) == sorted(list(range(20)) * 6)
    for store in stores:
        store.close()


def test_a_subscription_is_told_of_what_another_process_commits(tmp_path: Path) -> None:
    path = tmp_path / "store.tour"
    recorder = TourlogApplicationRecorder(Datastore(str(path)))
    program = (
        "import sys; from eventsourcing.persistence import StoredEvent\n"
        "from tourlog.integrations.eventsourcing import Datastore, TourlogApplicationRecorder\n"
        "recorder = TourlogApplicationRecorder(Datastore(sys.argv[1]))\n"
        "for version in range(3): recorder.insert_events([StoredEvent('a', version, 'topic', b'{}')])\n"
    )
    with recorder.subscribe() as subscription:
        subprocess.run([sys.executable, "-c", program, str(path)], check=True)
        assert [next(subscription).originator_version for _ in range(3)] == [0, 1, 2]
    recorder.datastore.close()


def test_a_subscription_passes_other_topics_for_good(datastore: Datastore) -> None:
    """All notifications since the last of its topics were read again at each commit."""
    recorder = TourlogApplicationRecorder(datastore)
    recorder.insert_events([stored("a", version, "other") for version in range(1200)])
    with recorder.subscribe(topics=("mine",)) as subscription:
        for version in range(1200, 1210, 2):
            recorder.insert_events([stored("a", version, "other"), stored("a", version + 1, "mine")])
            assert next(subscription).id == version + 2
        recorder.insert_events([stored("a", 1210, "other")])
        until(lambda: subscription._last_notification_id == 1211)  # type: ignore[attr-defined]


def test_who_begins_to_listen_looks_at_once(datastore: Datastore) -> None:
    """For what was committed between its last look and then."""
    event = Event()
    datastore.listen(event)
    assert event.is_set()


def test_a_subscription_ends_with_an_error_when_the_store_is_closed(datastore: Datastore) -> None:
    with TourlogApplicationRecorder(datastore).subscribe() as subscription:
        datastore.close()
        with pytest.raises(OperationalError, match="expected an open store, got a closed one"):
            next(subscription)


def test_tracking_and_what_is_written_with_it_are_one_transaction(datastore: Datastore) -> None:
    view = CountersView(datastore)
    view.incr_created_event_counter(Tracking("upstream", 1))
    with pytest.raises(ZeroDivisionError), view.recording(Tracking("upstream", 2)) as connection:
        connection.transact([("db/add", "counters", "created", 99)])
        raise ZeroDivisionError
    assert (view.max_tracking_id("upstream"), view.get_created_event_counter()) == (1, 1)
    recorder = TourlogProcessRecorder(datastore)
    with pytest.raises(IntegrityError, match="expected a notification of upstream after 1, got 1"):
        recorder.insert_events([stored("a", 1)], tracking=Tracking("upstream", 1))
    assert recorder.select_events("a") == []
    assert recorder.max_notification_id() is None


def test_who_waits_for_a_position_is_woken_by_its_commit(datastore: Datastore, monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not find it by looking now and then."""
    monkeypatch.setattr(eventsourcing, "POLL_SECONDS", 100)
    recorder = TourlogTrackingRecorder(datastore)
    thread = Thread(target=recorder.wait, args=("upstream", 3, 100))
    thread.start()
    for notification_id in range(1, 4):
        assert thread.is_alive()
        recorder.insert_tracking(Tracking("upstream", notification_id))
    thread.join(50)
    assert not thread.is_alive()


def test_a_file_that_is_no_store_is_the_library_s_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no store " * 100, encoding="utf-8")
    with pytest.raises(OperationalError, match=r"notes\.txt"):
        Factory({"TOURLOG_PATH": str(path)})


def test_a_recorder_class_must_be_one_of_ours() -> None:
    with Factory({"APPLICATION_RECORDER_TOPIC": "eventsourcing.popo:POPOApplicationRecorder"}) as factory:
        with pytest.raises(TypeError, match=r"expected a subclass of TourlogApplicationRecorder in APPLICATION_REC"):
            factory.application_recorder()
        factory.close()


# Decisions.

ITEMS = st.builds(
    DCBQueryItem,
    types=st.lists(st.sampled_from(["T1", "T2", "T3"]), max_size=2),
    tags=st.lists(st.sampled_from(["a", "b", "c"]), max_size=2),
)
DECISIONS = st.builds(
    DCBEvent,
    type=st.sampled_from(["T1", "T2", "T3"]),
    data=st.sampled_from([b"x", b'{"n":1}']),
    tags=st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
)


@given(
    st.lists(st.tuples(st.lists(DECISIONS, min_size=1, max_size=4), st.lists(ITEMS, max_size=2)), max_size=6),
    st.integers(0, 12),
    st.none() | st.integers(0, 5),
)
def test_decisions_are_found_as_the_library_s_own_recorder_finds_them(
    appends: list[tuple[list[DCBEvent], list[DCBQueryItem]]], after: int, limit: int | None
) -> None:
    """By looking at few of them and by the facts alike."""
    ours, theirs = TourlogDCBRecorder(Datastore(None)), InMemoryDCBRecorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eventsourcing_dcb, "_FEW", 2)
        patch.setattr(eventsourcing_dcb, "_NEAR", 1)
        for events, items in appends:
            condition = DCBAppendCondition(DCBQuery(items), after=after)
            outcomes = [outcome(recorder, events, condition) for recorder in (ours, theirs)]
            assert outcomes[0] == outcomes[1]
            for start in (None, after):
                answers = [r.read(DCBQuery(items), after=start, limit=limit) for r in (ours, theirs)]
                assert list(answers[0]) == list(answers[1])
                assert answers[0].head == answers[1].head


def outcome(recorder: DCBRecorder, events: list[DCBEvent], condition: DCBAppendCondition) -> int | str:
    try:
        return recorder.append(events, condition)
    except IntegrityError:
        return "refused"


def test_an_append_of_no_decision_is_refused(datastore: Datastore) -> None:
    with pytest.raises(ProgrammingError, match="expected at least one event to append, got none"):
        TourlogDCBRecorder(datastore).append([])


# An example application.


class Account(Aggregate):
    """A bank account as `eventsourcing` would have it written."""

    @event("Opened")
    def __init__(self, owner: str) -> None:
        self.owner, self.balance, self.is_closed = owner, 0, False

    @event("Deposited")
    def deposit(self, amount: int) -> None:
        self.balance += amount

    @event("Closed")
    def close(self) -> None:
        self.is_closed = True


class Bank(Application[UUID]):
    env: ClassVar[dict[str, str]] = {"PERSISTENCE_MODULE": MODULE}

    def open(self, owner: str, *deposits: int, close: bool = False) -> UUID:
        account = Account(owner)
        for amount in deposits:
            account.deposit(amount)
        if close:
            account.close()
        self.save(account)
        return account.id

    def never_closed(self) -> list[str]:
        """The owners of accounts that have never been closed: one query, no projection to keep."""
        return sorted(self.recorder.db().q(NEVER_CLOSED, Account.Closed.__qualname__))


NEVER_CLOSED = """
[:find [?owner ...]
 :in $ ?closed
 :where [?opening :originator_id ?account]
        [?opening :state.owner ?owner]
        (not-join [?account ?closed]
          [?closing :originator_id ?account]
          [?closing :topic ?topic]
          [(clojure.string/ends-with? ?topic ?closed)])]
"""

DEPOSITS = """
[:find ?owner (sum ?amount)
 :with ?deposit
 :where [?opening :originator_id ?account]
        [?opening :state.owner ?owner]
        [?deposit :originator_id ?account]
        [?deposit :state.amount ?amount]
 :order-by [?owner]]
"""


@pytest.mark.parametrize("place", ["memory", "file"])
def test_an_application_asks_its_events(place: str, tmp_path: Path) -> None:
    """Which accounts have never been closed, how much was paid into each: answered by the events themselves."""
    env = {"TOURLOG_PATH": str(tmp_path / "bank.tour")} if place == "file" else {}
    with Bank(env=env) as bank:
        ann = bank.open("Ann", 5, 7)
        bank.open("Bob", 5, close=True)
        bank.open("Cid", 1)
        assert bank.never_closed() == ["Ann", "Cid"]
        account: Account = bank.repository.get(ann)
        account.close()
        bank.save(account)
        assert bank.never_closed() == ["Cid"]
        assert list(bank.recorder.db().q(DEPOSITS)) == [("Ann", 12), ("Bob", 5), ("Cid", 1)]


def test_the_store_of_an_application_is_read_by_anyone(tmp_path: Path) -> None:
    """The file is a store as any other: an aggregate's events are its stream."""
    path = tmp_path / "bank.tour"
    with Bank(env={"TOURLOG_PATH": str(path)}) as bank:
        ann = bank.open("Ann", 5)
    with tourlog.connect(path, read_only=True) as conn:
        events = tourlog.event_store.get_events_for_aggregate(conn.db(), ann, key="sequence")
    assert [(e["originator_id"], e["originator_version"], e["topic"].rpartition(".")[2]) for e in events] == [
        (ann, 1, "Opened"),
        (ann, 2, "Deposited"),
    ]
    assert events[1]["state"]["amount"] == 5


@pytest.mark.parametrize(
    "name", ["TOURLOG_PATHH", "TOURLOG_PAHT", "TOURLGO_PATH", "BANK_TOURLOG_PTH", "TOURLOG_DURABILTY"]
)
def test_a_setting_that_is_mistyped_is_refused_rather_than_kept_in_memory(name: str) -> None:
    with pytest.raises(tourlog.ArgumentError, match=f"expected the setting TOURLOG_[A-Z]+, got {name}"):
        Factory(Environment("Bank", {name: "bank.tour"}))


def test_settings_of_other_applications_and_other_names_are_let_be(tmp_path: Path) -> None:
    env = {"SHOP_TOURLOG_PATH": "shop.tour", "S_TOURLOG_PATH": "s.tour", "TOURLOG_PROGRAMS": "3", "PATH": "/bin"}
    factory = Factory(Environment("Bank", env))
    assert factory.datastore.connection.db().t == 0
    factory.close()
    Factory(Environment("Bank", {"TOURLOG_PATHH": "x", "TOURLOG_PATH": str(tmp_path / "bank.tour")})).close()
