"""Subscriptions: the documents of one stream, of a key's streams, or of all, from a place on: first those that are
there, then those that come. Reads positions of the log one after another, and keeps nothing but its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from threading import TIMEOUT_MAX, Event
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

from tourlog.consumers import Consumer, committed_at, stream_of
from tourlog.database import Database, unwrapped, whole_number
from tourlog.documents import check_names, checked_stream
from tourlog.errors import ArgumentError, StorageError, shown
from tourlog.questions import answer, input_kinds, parts
from tourlog.snapshot import EVERYTHING, Snapshot
from tourlog.storage.log import Batch, Log, StreamRecord
from tourlog.stream import ID_KEY, OFFSET_KEY, Stream, document_id
from tourlog.values import check, decode_documents, identity
from tourlog.watch import Watch

NOW = "now"
_CHUNK = 1000
"""How many documents a condition is asked about at once."""

_CACHED_STREAMS = 4096


class Position(NamedTuple):
    """A document's place in the order of commits: its transaction `t`, and its `number` among that one's documents,
    counted from 0. These come stream by stream, the stream that was made first before others, each in the order of its
    offsets, and not in the order they were given in to several streams."""

    t: int
    number: int


Place: TypeAlias = int | Position
"""Where a document stands: its offset, when reading one stream; else its position."""

Item: TypeAlias = tuple[Any, dict[str, Any]]
"""A document's place, and the document."""


@dataclass(frozen=True)
class Selection:
    """Which streams to read: those with these key attributes, in any order, and the values given for some of them;
    all when `names` is None."""

    names: frozenset[str] | None
    values: Mapping[str, Any]

    @property
    def is_one(self) -> bool:
        """Whether a value is given for every name."""
        return self.names is not None and len(self.values) == len(self.names)

    def takes(self, record: StreamRecord) -> bool:
        """Whether a stream is one of them."""
        if self.names is None:
            return True
        if self.names != frozenset(record.names):
            return False
        own = zip(record.names, record.values, strict=True)
        return not self.values or all(
            identity(value) == self.values[name] for name, value in own if name in self.values
        )


class Subscription:
    """An iterator of (place, document) that waits for what comes. Made by `Connection.subscribe`.

    One thread at a time reads it; any may close it. It ends when it, or its connection, is closed. Reading raises
    QueryError when its query cannot be computed for a document; reading again then begins with the first that was not
    handed out.
    """

    def __init__(self, newest: Callable[[], Snapshot], watch: Watch, reader: Reader, where: Any) -> None:
        self._newest, self._watch, self._reader = newest, watch, reader
        self._where = where
        self._place = reader.place
        self._pass: Iterator[Item] | None = None
        self._read_to = -1
        self._closed = False
        self._woken = Event()

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Item:
        while not self.closed:
            item = self._next()
            if item is not None:
                return item
            self.wait()
        raise StopIteration

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether nothing comes any more."""
        return self._closed or self._watch.closed

    @property
    def position(self) -> Any:
        """The place to start at for what this one would read next: an offset when it reads one stream, else a
        `Position`."""
        return self._place

    def close(self) -> None:
        """End it: whoever waits for it stops. Closing again does nothing."""
        self._closed = True
        self._woken.set()

    def take(self, limit: int, timeout: float | None = 0) -> list[Item]:
        """Up to `limit` documents with their places; waits up to `timeout` seconds (None: as long as it takes) until
        there is one, but not for more. Empty when there is none by then, or when all is closed. ArgumentError for a
        limit that is no whole number, or a timeout that is no number."""
        most = whole_number("limit", limit)
        check_timeout(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            items = self._taken(most)
            rest = None if deadline is None else deadline - monotonic()
            if items or not most or self.closed or (rest is not None and rest <= 0):
                return items
            self.wait(rest)

    def _taken(self, most: int) -> list[Item]:
        """Up to so many documents that are there already: all of them, or an error and none is passed."""
        first = self._place
        try:
            return list(islice(iter(self._next, None), most))
        except BaseException:
            self._place = first
            self._read_again()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there may be something to read, or all is closed; False when that took more than `timeout`
        seconds. ArgumentError for a timeout that is no number."""
        check_timeout(timeout)
        self._woken.clear()
        try:
            self._watch.register(self._woken.set)
            # After registering: what is committed from here on wakes.
            return self.closed or self._is_behind() or self._woken.wait(timeout)
        finally:
            self._watch.withdraw(self._woken.set)

    def call_when_grown(self, wake: Callable[[], None]) -> None:
        """Have `wake` called once, from any thread, at the next commit, or when the connection is closed. What came
        before is to be looked for afterwards. It must not raise, nor wait."""
        self._watch.register(wake)

    def withdraw(self, wake: Callable[[], None]) -> None:
        """Call `wake`, which `call_when_grown` was given, no more."""
        self._watch.withdraw(wake)

    def _is_behind(self) -> bool:
        return self._pass is not None or self._newest().t > self._read_to

    def _next(self) -> Item | None:
        """The next document that is there already; None when there is none."""
        try:
            while not self.closed:
                if self._pass is None and not self._begin_pass():
                    return None
                assert self._pass is not None, "a pass was begun"
                for item in self._pass:
                    self._place = following(item[0])
                    return item
                self._pass, self._place = None, self._reader.place
        except StorageError:
            if not self._watch.closed:  # else it was closed meanwhile, which ends it as it ends all
                self._read_again()
                raise
        except BaseException:
            self._read_again()
            raise
        return None

    def _read_again(self) -> None:
        """Forget a pass that failed: the next one begins with the first document that was not handed out."""
        self._pass, self._read_to, self._reader.place = None, -1, self._place

    def _begin_pass(self) -> bool:
        """Begin to read up to the newest position; False when it is where the last pass ended."""
        snapshot = self._newest()
        if snapshot.t <= self._read_to:
            return False
        found = self._reader.read(snapshot)
        self._pass = found if self._where is None else _filtered(found, snapshot, *self._where)
        self._read_to = snapshot.t
        return True


# What to read.


def subscription(newest: Callable[[], Snapshot], watch: Watch, key: Any, start: Any, where: Any) -> Subscription:
    """A subscription as `Connection.subscribe` describes it."""
    snapshot = newest()
    condition = None if where is None else _condition(snapshot, where)
    reader = _reader(snapshot, key, start)
    return Subscription(newest, watch, reader, condition)


def _reader(snapshot: Snapshot, key: Any, start: Any) -> Reader:
    chosen = selection(key)
    if chosen.is_one and not _shares(start):
        return StreamReader(key, start, snapshot)
    return LogReader(chosen, start, snapshot)


def selection(key: Any) -> Selection:
    """The streams that a `key` as `Connection.subscribe` takes it means; ArgumentError or DocumentError for what is
    none."""
    if isinstance(key, Stream):
        key = checked_stream(key.names, key.values, "the key")
        names, fixed = key.names, dict(zip(key.names, key.values, strict=True))
    elif isinstance(key, Mapping) and key:
        names, fixed = tuple(key), {name: value for name, value in key.items() if value is not None}
    elif key is None:
        return Selection(None, {})
    else:
        names, fixed = ((key,) if isinstance(key, str) else _names(key)), {}
    check_names(names)
    check(dict.fromkeys(names), where="the key")
    values = checked_stream(tuple(fixed), tuple(fixed.values()), "the key").values if fixed else ()
    return Selection(frozenset(names), dict(zip(fixed, map(identity, values), strict=True)))


def _shares(start: Any) -> bool:
    return isinstance(start, Consumer) and start.members > 1


def _names(key: Any) -> tuple[str, ...]:
    if isinstance(key, bytes) or not isinstance(key, Sequence):
        raise ArgumentError(
            'expected a key such as {"topic": "foo", "partition": 1}, the names of key attributes, or None, '
            f"got {shown(key)}",
            argument="key",
        )
    return tuple(key)


def _condition(snapshot: Snapshot, where: Any) -> tuple[Any, list[Any]]:
    """A condition's query and its further inputs; an error of the query's unless it takes documents' ids."""
    query, inputs = parts(where, "where")
    inputs = list(map(unwrapped, inputs))
    if input_kinds(query, [snapshot, [], *inputs])[1] != "collection":
        raise ArgumentError(
            "expected a query that takes the ids of documents, such as [:find ?e :in $ [?e ...] :where …]",
            argument="where",
        )
    return query, inputs


def _filtered(found: Iterator[Item], snapshot: Snapshot, query: Any, inputs: Sequence[Any]) -> Iterator[Item]:
    """The documents whose ids the condition finds, chunk by chunk."""
    while chunk := list(islice(found, _CHUNK)):
        rows = answer(snapshot, query, [[document[ID_KEY] for _, document in chunk], *inputs])
        wanted = {identity(row[0]) for row in rows}
        yield from (item for item in chunk if identity(item[1][ID_KEY]) in wanted)


def check_timeout(timeout: object) -> None:
    """Raise `ArgumentError` unless this is a number of seconds to wait, or None."""
    if timeout is None:
        return
    if type(timeout) not in (int, float) or not timeout <= TIMEOUT_MAX:  # type: ignore[operator]  # it is a number
        raise ArgumentError(
            f"expected a number of seconds, at most {TIMEOUT_MAX:.0f}, or None for timeout, got {shown(timeout)}",
            argument="timeout",
        )


def following(place: Place) -> Place:
    """The place after a document's."""
    return Position(place.t, place.number + 1) if isinstance(place, Position) else place + 1


class StreamReader:
    """Reads one stream by offsets; the stream may be still to come."""

    def __init__(self, key: Any, start: Any, snapshot: Snapshot) -> None:
        self._key = key
        self._found: Stream | None = None
        """The stream, once it is there: from then on no other that the key might name, too, in another order."""
        self.place: Any = self._first(start, snapshot)

    def read(self, snapshot: Snapshot) -> Iterator[Item]:
        """The documents from its place up to a snapshot."""
        stream = self._stream(snapshot)
        for each in snapshot.ordered(stream, self.place, EVERYTHING):
            self.place = each.offset + 1
            yield each.offset, {ID_KEY: each.e, OFFSET_KEY: each.offset, **each.document}
        self.place = max(self.place, snapshot.next_offset(stream))

    def _stream(self, snapshot: Snapshot) -> Stream:
        if self._found is not None:
            return self._found
        stream = Database(snapshot).stream(self._key)
        if snapshot.find_stream(stream) is not None:
            self._found = stream
        return stream

    def _first(self, start: Any, snapshot: Snapshot) -> int:
        stream = self._stream(snapshot)
        if start is None:
            return 0
        if isinstance(start, Consumer):
            return committed_at(snapshot, start.name, stream)
        if type(start) is str and start == NOW:
            return snapshot.next_offset(stream)
        if isinstance(start, Position):
            raise ArgumentError("expected an offset, for one stream is read, got a Position", argument="start")
        return whole_number("start", start)


class LogReader:
    """Reads the streams of a selection in the order of commits, all of them or a consumer's share."""

    def __init__(self, selection: Selection, start: Any, snapshot: Snapshot) -> None:
        self._selection = selection
        self._log = snapshot.log
        self._share = _Share(selection, start) if _shares(start) else None
        self._find = lru_cache(maxsize=_CACHED_STREAMS)(self._wanted)
        self._committed: dict[int, int] = {}
        self.place: Any = self._first(start, snapshot)

    def read(self, snapshot: Snapshot) -> Iterator[Item]:
        """The documents from its place up to a snapshot."""
        position = Position(self.place.t, 0)
        for batch in snapshot.log.tail(self.place.t - 1, snapshot.t):
            if batch.t > position.t:
                position = Position(batch.t, 0)
            record = self._find(batch.stream) if batch.stream else None
            if record is not None:
                yield from self._documents(snapshot, record, batch, position)
            if batch.stream:
                position = Position(batch.t, position.number + batch.count)
        self.place = max(self.place, Position(snapshot.t + 1, 0))

    def _documents(self, snapshot: Snapshot, record: StreamRecord, batch: Batch, first: Position) -> Iterator[Item]:
        skipped = self.place.number - first.number if batch.t == self.place.t else 0
        start = max(batch.first + max(skipped, 0), self._committed.get(record.id, 0))
        if start < batch.first + batch.count:
            for offset, document in _documents(snapshot, record, batch, start):
                own = {ID_KEY: document_id(record.prefix, offset), OFFSET_KEY: offset}
                yield Position(batch.t, first.number + offset - batch.first), {**own, **document}

    def _wanted(self, stream: int) -> StreamRecord | None:
        record = self._log.stream_by_id(stream)
        assert record is not None, "a batch's stream exists"
        is_mine = self._share is None or self._share.has(self._log, stream)
        return record if is_mine and self._selection.takes(record) else None

    def _first(self, start: Any, snapshot: Snapshot) -> Position:
        if start is None:
            return Position(1, 0)
        if isinstance(start, Consumer):
            return self._first_of(start, snapshot)
        if type(start) is str and start == NOW:
            return Position(snapshot.t + 1, 0)
        if isinstance(start, tuple) and len(start) == 2:
            t, number = (whole_number("start", part) for part in start)
            return Position(max(t, 1), number if t else 0)
        return Position(max(whole_number("start", start), 1), 0)

    def _first_of(self, consumer: Consumer, snapshot: Snapshot) -> Position:
        """Where the first document stands that a consumer has not committed."""
        first = Position(snapshot.t + 1, 0)
        for record, end in snapshot.log.streams(snapshot.t):
            if self._find(record.id) is not None:
                committed = committed_at(snapshot, consumer.name, stream_of(record))
                if committed:
                    self._committed[record.id] = committed
                if committed < end:
                    batch = next(snapshot.log.read(record.id, committed, committed + 1, snapshot.t))
                    first = min(first, Position(batch.t, 0))
        return first


def _documents(
    snapshot: Snapshot, record: StreamRecord, batch: Batch, start: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The documents of a batch from an offset on, as they are at the snapshot."""
    stop = batch.first + batch.count
    if not snapshot.log.amended(record.id, start, stop, snapshot.t):
        return islice(enumerate(decode_documents(batch.body), batch.first), start - batch.first, None)
    return ((each.offset, each.document) for each in snapshot.ordered(stream_of(record), start, stop))


Reader: TypeAlias = StreamReader | LogReader


class _Share:
    """Which streams of a selection a member of a consumer reads: every so many-th, in the order they were made."""

    def __init__(self, selection: Selection, consumer: Consumer) -> None:
        self._selection, self._consumer = selection, consumer
        self._is_mine = bytearray(1)
        self._count = 0

    def has(self, log: Log, stream: int) -> bool:
        """Whether it is this member's, if it is of the selection at all."""
        if len(self._is_mine) == 1:
            self._add(record for record, _ in log.streams(log.head().t))
        while stream >= len(self._is_mine):
            record = log.stream_by_id(len(self._is_mine))
            assert record is not None, "ids of streams are dense"
            self._add([record])
        return bool(self._is_mine[stream])

    def _add(self, records: Iterable[StreamRecord]) -> None:
        for record in records:
            is_taken = self._selection.takes(record)
            self._is_mine.append(is_taken and self._count % self._consumer.members == self._consumer.member)
            self._count += is_taken
