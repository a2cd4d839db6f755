"""tourlog as a persistence module of `eventsourcing`: the abstract cases that ship inside that package, on memory
and on a file, and what they do not ask.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Thread
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb import tests as dcb_cases
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    InfrastructureFactory,
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

import tourlog
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
