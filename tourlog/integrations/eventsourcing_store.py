"""What the recorders for `eventsourcing` share: the open store, who waits for its commits, and how a state of
bytes becomes a document. Knows nothing of what a recorder records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any, Protocol

from eventsourcing.persistence import DataError, OperationalError

from tourlog.connection import Connection, connect
from tourlog.errors import DocumentError, StorageError
from tourlog.values import check

POLL_SECONDS = 0.05
"""How often a subscription asks a file whether another process has committed: a look-up of some 10 µs."""

_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_SURELY_NO_DEEPER = 50
"""JSON of so few containers nests no deeper than a document may."""


class Datastore:
    """One open store, shared by the recorders of a factory, and the events that its commits set."""

    def __init__(self, path: str | None, durability: str = "full") -> None:
        self.connection: Connection = connect(path, durability=durability)
        self.poll_seconds = None if path is None else POLL_SECONDS
        self._listeners: set[Event] = set()
        self._lock = Lock()

    @property
    def position(self) -> int:
        """How many transactions the store has, those of other processes included."""
        with persistence_errors():
            return self.connection.db().t

    def listen(self, event: Event) -> None:
        """Set `event` at each commit from now on; and once now, for what was committed just before."""
        with self._lock:
            self._listeners.add(event)
        event.set()

    def unlisten(self, event: Event) -> None:
        """Set `event` no more."""
        with self._lock:
            self._listeners.discard(event)

    def notify(self) -> None:
        """Wake whoever waits for a commit."""
        with self._lock:
            listeners = list(self._listeners)
        for event in listeners:
            event.set()

    def close(self) -> None:
        """Close the store, and wake whoever waits for a commit."""
        self.connection.close()
        self.notify()


class _Subscription(Protocol):
    _has_been_stopped: bool
    _has_been_notified: Event


def pull_until_notified(subscription: _Subscription, datastore: Datastore, pull: Callable[[], None]) -> None:
    """Pull once; then, until a commit of this process is notified, whenever another process has committed."""
    position = datastore.position
    pull()
    while not subscription._has_been_stopped and not subscription._has_been_notified.wait(datastore.poll_seconds):
        newest = datastore.position
        if newest != position:
            position = newest
            pull()


@contextmanager
def persistence_errors() -> Iterator[None]:
    """Errors of the store as those that `eventsourcing` documents."""
    try:
        yield
    except StorageError as error:
        raise OperationalError(str(error)) from error
    except DocumentError as error:
        raise DataError(str(error)) from error


def as_document(name: str, state: bytes) -> dict[str, Any]:
    """A state's attributes. A JSON object is stored as the nested document it is, so that its fields are facts;
    its bytes are kept beside it when they do not follow from it. Anything else (encrypted, compressed) stays bytes.

    >>> as_document("state", b'{"name":"Ann"}')
    {'state': {'name': 'Ann'}}
    >>> as_document("state", b'{"name": "Ann"}')
    {'state': {'name': 'Ann'}, 'state_bytes': b'{"name": "Ann"}'}
    >>> as_document("state", b"\\x00")
    {'state': b'\\x00'}
    """
    fields = _json_object(state)
    if fields is None:
        return {name: state}
    if _encoded(fields) == state:
        return {name: fields}
    return {name: fields, f"{name}_bytes": state}


def as_bytes(name: str, document: dict[str, Any]) -> bytes:
    """The exact bytes that `as_document` was given.

    >>> as_bytes("state", {"state": {"name": "Ann"}})
    b'{"name":"Ann"}'
    """
    state = document[name]
    if type(state) is bytes:
        return state
    kept = document.get(f"{name}_bytes")
    return kept if type(kept) is bytes else _JSON.encode(state).encode()


def _json_object(state: bytes) -> dict[str, Any] | None:
    """The object that JSON bytes are; None for other bytes, and for what no document holds: deeper nesting, and half a
    surrogate pair in a name."""
    if state[:1] != b"{":
        return None
    try:
        fields: dict[str, Any] = json.loads(state)
        if state.count(b"{") + state.count(b"[") > _SURELY_NO_DEEPER or b"\\u" in state:
            check({"state": fields})
    except (ValueError, RecursionError):
        return None
    return fields


def _encoded(fields: dict[str, Any]) -> bytes | None:
    try:
        return _JSON.encode(fields).encode()
    except UnicodeEncodeError:  # a lone surrogate, written as an escape
        return None
