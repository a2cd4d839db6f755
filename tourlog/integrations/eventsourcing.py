"""tourlog as a persistence module of the `eventsourcing` library, 9.5 or newer.

Set `PERSISTENCE_MODULE=tourlog.integrations.eventsourcing` and `TOURLOG_PATH=some/file.tour`; without a path the
store is in memory. `TOURLOG_DURABILITY` is "full" (default) or "normal", as in `tourlog.connect`.

Each event is a document of its aggregate's stream, with `originator_id`, `originator_version`, `topic` and `state`:
facts, and where the state is JSON, facts of its fields. Snapshots have the same attributes under `snapshots/`.
The application's sequence is a stream of its own in the same store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from itertools import islice
from threading import Event
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from eventsourcing.dcb.persistence import DCBInfrastructureFactory
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    DataError,
    InfrastructureFactory,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    ProcessRecorder,
    Recorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
    WaitInterruptedError,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic

from tourlog.connection import Connection
from tourlog.database import Database, TxReport
from tourlog.errors import ArgumentError, ConflictError, shown
from tourlog.integrations.eventsourcing_dcb import TourlogDCBRecorder
from tourlog.integrations.eventsourcing_sequence import AggregateSequence, Attributes, Document, extended
from tourlog.integrations.eventsourcing_store import POLL_SECONDS, Datastore, persistence_errors, pull_until_notified
from tourlog.snapshot import EVERYTHING
from tourlog.stream import Stream

_EVENTS = Attributes()
_APPLICATION_SEQUENCE = b"application"
"""Bytes, which no aggregate's id can be."""
_NOTIFICATION = "notification"
_MISTYPED = 0.85
"""Names that are so like a setting's, of 1 for the same, are taken for a slip."""
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_NOTIFICATIONS = Stream((_EVENTS.sequence,), (_APPLICATION_SEQUENCE,))


class TourlogRecorder(Recorder):
    """What every recorder has: the `datastore`, and its newest database to ask. Made by `Factory`. Every method raises
    OperationalError once the store is closed, or when its file cannot be read or written."""

    def __init__(self, datastore: Datastore) -> None:
        self.datastore = datastore

    def db(self) -> Database:
        """The newest database: its facts are the recorded events."""
        with persistence_errors():
            return self.datastore.connection.db()


class TourlogAggregateRecorder(TourlogRecorder, AggregateRecorder):
    """Records events in the sequences of their aggregates, under the names in `attributes`. Made by `Factory`."""

    def __init__(self, datastore: Datastore, purpose: str = "events") -> None:
        super().__init__(datastore)
        self.attributes = Attributes(purpose)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Record `stored_events`, all or none; `kwargs` are what other recorders take. IntegrityError if an aggregate
        already has one of their versions, DataError for a version below 0 or what cannot be stored."""
        self._insert(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of the aggregate `originator_id` with versions `gt` + 1 … `lte`, in order or, with `desc`, the
        opposite; at most `limit`. DataError for what is no id."""
        with persistence_errors():
            sequence = AggregateSequence(self.db().snapshot, self.attributes, originator_id)
            return [self.attributes.event(document) for document in sequence.select(gt, lte, desc, limit)]

    def _insert(self, stored_events: Sequence[StoredEvent], **_: Any) -> TxReport:
        with persistence_errors():
            report = self._append(stored_events)
        self.datastore.notify()
        return report

    def _append(self, stored_events: Sequence[StoredEvent]) -> TxReport:
        """Append as documents; again, with a fresh look, when others have appended to an aggregate meanwhile."""
        connection = self.datastore.connection
        while True:
            documents, heads = extended(connection.db().snapshot, self.attributes, stored_events)
            documents += self._further(stored_events)
            try:
                return connection.append(documents, self.attributes.sequence, expect=heads)
            except ConflictError:
                continue

    def _further(self, stored_events: Sequence[StoredEvent]) -> list[Document]:  # noqa: ARG002  # as overridden
        """What else a recorder appends with its events."""
        return []


class TourlogApplicationRecorder(TourlogAggregateRecorder, ApplicationRecorder):
    """Records events in the sequences of their aggregates and in that of the application, whose ids are 1, 2, 3, … in
    the order of commits: a reader that has seen one has seen all before it. Made by `Factory`."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Record `stored_events` as an aggregate recorder does, with its errors, IntegrityError and DataError; the ids
        of their notifications. `kwargs` has the `tracking` of a process recorder."""
        offsets = self._insert(stored_events, **kwargs).offsets.get(_NOTIFICATIONS, range(0))
        return [offset + 1 for offset in offsets]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """At most `limit` notifications from `start` (or the next, unless `inclusive_of_start`) to `stop`, of these
        `topics`, or of all if there are none."""
        first = 0 if start is None else max(start - 1 if inclusive_of_start else start, 0)
        end = EVERYTHING if stop is None else max(stop, 0)
        if not topics:
            end = min(end, first + limit)
        with persistence_errors():
            found = self._notifications(first, end, frozenset(topics))
            return list(islice(found, limit))

    def max_notification_id(self) -> int | None:
        """The id of the newest notification; None if there is none."""
        with persistence_errors():
            return self.db().snapshot.next_offset(_NOTIFICATIONS) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Notifications after `gt`, of these `topics` or of all, waiting for new ones: at once for a commit of this
        factory's recorders, within some 50 ms for one of another process."""
        return TourlogSubscription(recorder=self, gt=gt, topics=topics)

    def _notifications(self, first: int, end: int, topics: frozenset[str]) -> Iterator[Notification]:
        for each in self.db().snapshot.ordered(_NOTIFICATIONS, first, end):
            originator_id, originator_version, topic, state = _unpack(each.document[_NOTIFICATION])
            if not topics or topic in topics:
                yield Notification(
                    id=each.offset + 1,
                    originator_id=UUID(bytes=originator_id) if type(originator_id) is bytes else originator_id,
                    originator_version=originator_version,
                    topic=topic,
                    state=state,
                )

    def _further(self, stored_events: Sequence[StoredEvent]) -> list[Document]:
        return [{_EVENTS.sequence: _APPLICATION_SEQUENCE, _NOTIFICATION: _packed(event)} for event in stored_events]


class TourlogSubscription(ListenNotifySubscription[TourlogApplicationRecorder]):
    """Notifications as they are recorded. Made by `TourlogApplicationRecorder.subscribe`."""

    def __init__(self, recorder: TourlogApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder=recorder, gt=gt, topics=topics)
        recorder.datastore.listen(self._has_been_notified)

    def stop(self) -> None:
        """End it: whoever waits for it stops."""
        super().stop()
        self._recorder.datastore.unlisten(self._has_been_notified)

    def _pull(self) -> None:
        pull_until_notified(self, self._recorder.datastore, self._pull_once)

    def _pull_once(self) -> None:
        """Pull, and pass those of other topics for good: each commit would have all of them read again."""
        newest = self._recorder.max_notification_id() or 0
        super()._pull()
        self._last_notification_id = max(self._last_notification_id or 0, newest)


class TourlogTrackingRecorder(TourlogRecorder, TrackingRecorder):
    """Records how far the notifications of other applications have been processed. Made by `Factory`."""

    def insert_tracking(self, tracking: Tracking) -> None:
        """Record the position that `tracking` says: IntegrityError unless it is past the one recorded for the
        application, DataError if it cannot be stored."""
        with self.recording(tracking):
            pass

    def max_tracking_id(self, application_name: str) -> int | None:
        """The position recorded for the application `application_name`; None if there is none."""
        return _tracked(self.db(), application_name)

    def wait(
        self,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: Event | None = None,
    ) -> None:
        """Return as soon as the position `notification_id` of `application_name` has been recorded, woken by the
        commits of this factory's recorders; looks every 50 ms for those of others. TimeoutError after `timeout`
        seconds, WaitInterruptedError when `interrupt` is set."""
        deadline, committed = monotonic() + timeout, Event()
        self.datastore.listen(committed)
        try:
            while True:
                committed.clear()
                if self.has_tracking_id(application_name, notification_id):
                    return
                if interrupt is not None and interrupt.is_set():
                    raise WaitInterruptedError
                remaining = deadline - monotonic()
                if remaining <= 0:
                    raise TimeoutError(
                        f"notification {notification_id} of {application_name} was not processed in time"
                    )
                committed.wait(min(remaining, POLL_SECONDS))
        finally:
            self.datastore.unlisten(committed)

    @contextmanager
    def recording(self, tracking: Tracking | None) -> Iterator[Connection]:
        """A transaction that records the position in `tracking`, if it is given, together with whatever the block
        writes through the connection it is given: how a materialised view stays exactly as far as its tracking says.
        IntegrityError unless the position is past the one recorded, DataError for what the block writes that cannot be
        stored."""
        with persistence_errors(), self.datastore.connection.transaction() as connection:
            if tracking is not None:
                _track(connection, tracking)
            yield connection
        self.datastore.notify()


class TourlogProcessRecorder(TourlogTrackingRecorder, TourlogApplicationRecorder, ProcessRecorder):
    """Records new events together with the position of what they were the answer to. Made by `Factory`."""

    def _insert(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None = None, **_: Any) -> TxReport:
        if tracking is None:
            return super()._insert(stored_events)
        with self.recording(tracking):
            return self._append(stored_events)


def _packed(event: StoredEvent) -> bytes:
    """An event as bytes: its facts are those of the aggregate's sequence, and are not to be found twice."""
    originator_id = event.originator_id
    key = originator_id.bytes if isinstance(originator_id, UUID) else originator_id
    try:
        return _pack((key, event.originator_version, event.topic, event.state))
    except UnicodeEncodeError as error:
        raise DataError(f"expected text without lone surrogates, got {error}, in {shown(event.topic)}") from error


_Recorder = TypeVar("_Recorder", bound=TourlogRecorder)


class Factory(InfrastructureFactory[TourlogTrackingRecorder], DCBInfrastructureFactory[TourlogTrackingRecorder]):
    """Makes the recorders of one store, for applications and for dynamic consistency boundaries.

    `env` has the settings: `TOURLOG_PATH`, the file, and `TOURLOG_DURABILITY`. `datastore` is the open store:
    OperationalError when it cannot be opened, ArgumentError for another durability, or for a setting that is one of
    these mistyped: events would go to memory and be lost.

    >>> from eventsourcing.application import Application
    >>> from eventsourcing.domain import Aggregate
    >>> app = Application(env={"PERSISTENCE_MODULE": "tourlog.integrations.eventsourcing"})
    >>> [recording.notification.id for recording in app.save(Aggregate(), Aggregate())]
    [1, 2]
    >>> app.recorder.db().q("[:find (count ?aggregate) . :where [_ :originator_id ?aggregate]]")
    2
    """

    TOURLOG_PATH = "TOURLOG_PATH"
    TOURLOG_DURABILITY = "TOURLOG_DURABILITY"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        _check_settings(self.env, (self.TOURLOG_PATH, self.TOURLOG_DURABILITY))
        path = self.env.get(self.TOURLOG_PATH) or None
        with persistence_errors():
            self.datastore = Datastore(path, self.env.get(self.TOURLOG_DURABILITY) or "full")

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """A recorder of aggregates' sequences; those of each `purpose`, such as "snapshots", are apart."""
        return TourlogAggregateRecorder(self.datastore, purpose)

    def application_recorder(self) -> ApplicationRecorder:
        """A recorder of the application's sequence, of the class that `APPLICATION_RECORDER_TOPIC` names in the
        environment, or ours; TypeError if it is no subclass of ours."""
        return self._recorder(self.APPLICATION_RECORDER_TOPIC, TourlogApplicationRecorder)

    def tracking_recorder(
        self, tracking_recorder_class: type[TourlogTrackingRecorder] | None = None
    ) -> TourlogTrackingRecorder:
        """A recorder of positions, of the class `tracking_recorder_class`, or that `TRACKING_RECORDER_TOPIC` names in
        the environment, or ours; TypeError if one named there is no subclass of ours."""
        if tracking_recorder_class is not None:
            return tracking_recorder_class(self.datastore)
        return self._recorder(self.TRACKING_RECORDER_TOPIC, TourlogTrackingRecorder)

    def process_recorder(self) -> ProcessRecorder:
        """A recorder of events with positions, of the class that `PROCESS_RECORDER_TOPIC` names in the environment, or
        ours; TypeError if it is no subclass of ours."""
        return self._recorder(self.PROCESS_RECORDER_TOPIC, TourlogProcessRecorder)

    def dcb_recorder(self) -> TourlogDCBRecorder:
        """A recorder of decisions."""
        return TourlogDCBRecorder(self.datastore)

    def close(self) -> None:
        """Close the store; its subscriptions end. Closing again does nothing."""
        self.datastore.close()

    def _recorder(self, variable: str, default: type[_Recorder]) -> _Recorder:
        """A recorder of the class that the environment names, which must be one of the default's."""
        topic = self.env.get(variable)
        recorder_class = resolve_topic(topic) if topic else default
        if not issubclass(recorder_class, default):
            raise TypeError(f"expected a subclass of {default.__name__} in {variable}, got {topic}")
        return recorder_class(self.datastore)


def _check_settings(env: Environment, known: tuple[str, ...]) -> None:
    """Raise `ArgumentError` for a name that is nearly that of a setting, of every application or of this one; another
    application's settings may be there, too."""
    for name in env:
        own = name.removeprefix(f"{env.name.upper()}_")
        for setting in known if not name.endswith(known) else ():
            if env.get(setting) is None and SequenceMatcher(None, own, setting).ratio() > _MISTYPED:
                raise ArgumentError(f"expected the setting {setting}, got {name}, in the environment", setting=name)


def _track(connection: Connection, tracking: Tracking) -> None:
    recorded = _tracked(connection.db(), tracking.application_name)
    if recorded is not None and tracking.notification_id <= recorded:
        raise IntegrityError(
            f"expected a notification of {tracking.application_name} after {recorded}, got {tracking.notification_id}"
        )
    connection.transact(
        [
            {
                "db/id": _tracking_id(tracking.application_name),
                "tracking/application_name": tracking.application_name,
                "tracking/notification_id": tracking.notification_id,
            }
        ]
    )


def _tracked(db: Database, application_name: str) -> int | None:
    state = db.entity(_tracking_id(application_name))
    return None if state is None else state["tracking/notification_id"]


def _tracking_id(application_name: str) -> str:
    return f"tracking/{application_name}"
