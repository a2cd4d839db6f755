"""What the fixtures for pytest do: stores for tests, scenarios, a clock that stands, and what a failing test shows.

`pytest_tourlog` names the fixtures; this is imported when the first of them is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher, ndiff
from enum import Enum
from itertools import count, zip_longest
from pathlib import Path
from pprint import pformat
from typing import Any
from uuid import UUID
from zlib import crc32

import pytest

from tourlog import draft, transaction
from tourlog.connection import Connection, connect
from tourlog.database import Database
from tourlog.decider import Decider, handle
from tourlog.errors import ArgumentError, DocumentError, StorageError, TourlogError, shown
from tourlog.event_store import AGGREGATE_ID
from tourlog.facts import Fact
from tourlog.query.rows import Rows
from tourlog.storage.log import Commit, EntityRecord, Log
from tourlog.storage.sqlite import SqliteLog
from tourlog.stream import ID_KEY, OFFSET_KEY, document_place
from tourlog.values import decode, decode_documents, encode, equal, ordered_bytes, plain, sort_key

STORES = pytest.StashKey[list[Connection]]()
ENDED = pytest.StashKey[bool]()
"""Whether the test failed, or was skipped, before its end."""

_SHOWN_STREAMS = 50
_SHOWN_DOCUMENTS = 20
"""So many streams, or entities, are shown of a failing test, and so many of a stream's documents, the newest of each;
of each document, so many characters."""
_SHOWN_WIDTH = 200

_SHOWN_EQUAL = 4
"""So many equal lines in a row are shown of a difference; what is longer than a line is spread over several."""
_LINE_WIDTH = 100

_MOST_MARKED = 20

_PLAIN_TEST = re.compile(r"[\w./-]+(::\w+)*(\[[\w.-]*\])?", re.ASCII)
_LONGEST_NAME = 150


# Stores.


def opened(request: pytest.FixtureRequest, path: Path | None) -> Iterator[Connection]:
    """A store for one test; its log is shown should the test fail."""
    stopped = "tour_clock" in request.fixturenames
    if stopped:
        request.getfixturevalue("tour_clock")
    with _opened(path, stopped) as connection:
        request.node.stash.setdefault(STORES, []).append(connection)
        yield connection


def _opened(path: Path | None, stopped: bool) -> Connection:
    with pytest.MonkeyPatch.context() as patch:
        if stopped:
            patch.setattr(os, "urandom", bytes)  # the salt of a store, from which its documents' ids derive
        return connect(path)


@dataclass
class Clock:
    """The clock by which stores date transactions. It stands at `now` unless it is moved; transactions that share a
    moment are a microsecond apart, as a log wants them.

    >>> clock = Clock()
    >>> clock.advance(minutes=90)
    >>> clock.now
    datetime.datetime(2020, 1, 1, 1, 30, tzinfo=datetime.timezone.utc)
    """

    now: datetime = datetime(2020, 1, 1, tzinfo=UTC)

    def advance(self, **duration: float) -> None:
        """Move it on by a `duration` as `timedelta` takes it, such as `seconds=1`."""
        self.now += timedelta(**duration)

    def time_ns(self) -> int:
        """Nanoseconds since 1970, the unit of `time.time_ns`."""
        return (self.now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def stopped_clock() -> Iterator[Clock]:
    """Until the test ends, every store is dated by one clock, and new entities are numbered from 1."""
    clock, numbers = Clock(), count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draft, "time", clock)
        patch.setattr(transaction, "uuid4", lambda: UUID(int=next(numbers), version=4))
        yield clock


# Scenarios.


def scenarios(
    request: pytest.FixtureRequest, conn: Connection, decider: Decider[Any, Any] | None
) -> Iterator[Callable[..., Scenario]]:
    """The function `given`. A scenario that nobody asked for its outcome fails the test: it has not been run."""
    begun: list[Scenario] = []

    def given(*events: Mapping[str, Any], to: Any = "a", by: Decider[Any, Any] | None = decider) -> Scenario:
        """These events have happened to the aggregate `to`, whose decider is `by`."""
        __tracebackhide__ = True
        if by is not None and not isinstance(by, Decider):
            raise ArgumentError(f"expected a Decider or None, got {shown(by)}, in given(by=…)", argument="by")
        scenario = Scenario(conn, to, by)
        scenario.append(events)
        begun.append(scenario)
        return scenario

    yield given
    if any(scenario.is_pending for scenario in begun) and not request.node.stash.get(ENDED, False):
        pytest.fail("expected .then(…) after given(…).when(…), got none: the command has not been run", pytrace=False)


@dataclass
class Scenario:
    """What has happened to the aggregate `aggregate_id` in the store `conn`, what is asked for, what must come of it.
    Made by the fixture `given`. `commands` are yet to be put to the `decider`; `is_pending` until `then` has asked for
    the outcome."""

    conn: Connection
    aggregate_id: Any
    decider: Decider[Any, Any] | None
    commands: list[Any] = field(default_factory=list)
    is_pending: bool = True

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Add `events` to what has happened. ArgumentError for one that is no dict."""
        __tracebackhide__ = True
        _check_events(events, "given")
        self.conn.append([{self.key: self.aggregate_id, **event} for event in events], self.key)

    @property
    def key(self) -> str:
        """The attribute of events that has the aggregate's id."""
        return AGGREGATE_ID if self.decider is None else self.decider.key

    def when(self, command: Any) -> Scenario:
        """This `command` comes next: for the decider, or else a function of the store; ArgumentError for what is
        none. It is run by `then`."""
        __tracebackhide__ = True
        if self.decider is None and not callable(command):
            message = "expected a function of the store, as there is no decider (see the fixture `decider`)"
            raise ArgumentError(f"{message}, got {shown(command)}, in when(…)", argument="command")
        self.commands.append(command)
        self.is_pending = True
        return self

    def then(
        self, *expected: Any, raises: type[BaseException] | None = None, match: str = "", inputs: Sequence[Any] = ()
    ) -> Scenario:
        """Exactly the `expected` events come of it, in order; or, given a query and its `inputs`, its answer is the one
        that follows (without one: it has an answer); or the command `raises` an error whose text has a `match` for a
        regular expression, and nothing is written. AssertionError otherwise, which shows the difference;
        ArgumentError for what is no event, no query and no class of errors.

        The aggregate's own key may be left out of events. A relation's rows are compared in any order, unless the query
        orders them.
        """
        __tracebackhide__ = True
        self.is_pending = False
        _check_outcome(raises, expected)
        before = self.conn.db()
        if raises is not None:
            self._refused(raises, match, before)
            return self
        is_query = bool(expected) and _is_query(expected[0])
        if not is_query:
            _check_events(expected, "then")
        self._run()
        if is_query:
            _check_answer(self.conn.db(), expected[0], inputs, expected[1:])
        else:
            _check_equal("events", list(map(self._own, expected)), list(map(self._own, _new(before, self.conn.db()))))
        return self

    def _run(self) -> None:
        __tracebackhide__ = True
        commands, self.commands = self.commands, []
        for command in commands:
            if self.decider is None:
                command(self.conn)
            else:
                handle(self.conn, self.decider, self.aggregate_id, command)

    def _refused(self, error: type[BaseException], match: str, before: Database) -> None:
        __tracebackhide__ = True
        try:
            self._run()
        except error as raised:
            if not re.search(match, str(raised)):
                raise AssertionError(f"expected {error.__name__} matching {match!r}, got {raised!r}") from raised
        else:
            raise AssertionError(f"expected {error.__name__}, but the command was not refused")
        _check_equal("events", [], list(_new(before, self.conn.db())))

    def _own(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """An event without the key of this scenario's aggregate, which goes without saying."""
        return {
            n: value for n, value in event.items() if n != self.key or not _is_same(value, plain(self.aggregate_id))
        }


def _check_events(given: Sequence[Any], where: str) -> None:
    __tracebackhide__ = True
    for number, event in enumerate(given):
        if not isinstance(event, Mapping):
            raise ArgumentError(
                f"expected an event as a dict, got {shown(event)}, in {where}(…)[{number}]", argument="event"
            )


def _check_outcome(raises: Any, expected: Sequence[Any]) -> None:
    __tracebackhide__ = True
    if raises is None:
        return
    if not (isinstance(raises, type) and issubclass(raises, BaseException)):
        raise ArgumentError(f"expected a class of errors, got {shown(raises)}, in then(raises=…)", argument="raises")
    if expected:
        raise ArgumentError("expected either events, a query, or raises=, got more than one, in then(…)")


def _is_query(expected: Any) -> bool:
    return isinstance(expected, str) or (
        isinstance(expected, Mapping) and isinstance(expected.get("find"), list | tuple)
    )


def _check_answer(db: Database, query: Any, inputs: Sequence[Any], expected: Sequence[Any]) -> None:
    __tracebackhide__ = True
    if len(expected) > 1:
        raise ArgumentError(f"expected one answer after a query, got {len(expected)}, in then(…)", argument="expected")
    try:
        answer = db.q(query, *inputs)
    except TourlogError as error:
        raise error.with_traceback(None) from None  # it is about the test's own query: our frames say nothing
    if not expected:
        if answer is None or (isinstance(answer, Rows | list) and not answer):
            raise AssertionError(f"expected an answer to {query}, got none")
        return
    if isinstance(answer, Rows):
        if not isinstance(expected[0], Iterable):
            raise ArgumentError(f"expected rows, got {shown(expected[0])}, in then(…)", argument="expected")
        ordered = "order-by" in (query if isinstance(query, str) else map(str, query))
        rows = [list(answer), list(expected[0])]
        answer, wanted = rows if ordered else [sorted(each, key=sort_key) for each in rows]
    else:
        wanted = expected[0]
    _check_equal("rows", wanted, answer)


def _new(before: Database, after: Database) -> Iterator[dict[str, Any]]:
    """The documents appended between two positions, in the order of the log."""
    for batch in after.snapshot.log.tail(before.t, after.t):
        if batch.stream:
            yield from decode_documents(batch.body)


def _check_equal(what: str, expected: Any, actual: Any) -> None:
    __tracebackhide__ = True
    if not _is_same(expected, actual):
        raise AssertionError("\n".join([f"expected other {what} (- expected, + got)", *difference(expected, actual)]))


def _is_same(expected: Any, actual: Any) -> bool:
    """Whether they are equal as values of documents are; what is expected may be, or hold, what compares by itself,
    such as `pytest.approx(0.1)`."""
    if isinstance(expected, Enum):
        return _is_same(expected.value, actual)
    if type(expected) is dict and type(actual) is dict:
        return expected.keys() == actual.keys() and all(_is_same(expected[name], actual[name]) for name in expected)
    if type(expected) in (list, tuple) and type(expected) is type(actual):
        return len(expected) == len(actual) and all(map(_is_same, expected, actual))
    try:
        return equal(expected, actual)
    except DocumentError:
        return bool(expected == actual)


# What a failing test shows.


def difference(expected: Any, actual: Any) -> list[str]:
    """Two values line by line: one line an event, a document, a row or a fact, where they are sequences.

    >>> print(*difference([{"type": "made"}, {"n": 1}], [{"type": "made"}, {"n": 2}]), sep="\\n")
      {'type': 'made'}
    - {'n': 1}
    ?       ^
    + {'n': 2}
    ?       ^
    """
    left, right = _lines(expected), _lines(actual)
    return [
        line
        for tag, a, b, c, d in SequenceMatcher(None, left, right).get_opcodes()
        for line in (_folded(left[a:b]) if tag == "equal" else _changed(left[a:b], right[c:d]))
    ]


def _changed(left: list[str], right: list[str]) -> Iterator[str]:
    """Lines beside each other; what changed within them is marked where they are few: `ndiff` takes cubic time."""
    if len(left) + len(right) <= _MOST_MARKED:
        yield from [line.rstrip("\n") for line in ndiff(left, right)]
        return
    for old, new in zip_longest(left, right):
        yield from [] if old is None else [f"- {old}"]
        yield from [] if new is None else [f"+ {new}"]


def _folded(equal: list[str]) -> list[str]:
    """Equal lines, of many only the first and the last: pytest shows eight lines of a difference."""
    lines = [f"  {line}" for line in equal]
    return lines if len(lines) <= _SHOWN_EQUAL else [lines[0], f"  … {len(lines) - 2} equal lines", lines[-1]]


def compared(op: str, left: object, right: object) -> list[str] | None:
    """How documents, rows or facts that are not equal differ; None for other values, which pytest explains."""
    if op != "==" or not (_is_of_a_store(left) or _is_of_a_store(right)):
        return None
    return ["left == right (- right, + left)", *difference(right, left)]


def _is_of_a_store(value: object) -> bool:
    if isinstance(value, Rows):
        return True
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_fact_or_document, value))


def _is_fact_or_document(value: object) -> bool:
    return isinstance(value, Fact) or (isinstance(value, dict) and (ID_KEY in value or OFFSET_KEY in value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, Rows | list | tuple):
        return [line for each in value for line in _element(each)]
    return _spread(value)


def _element(value: Any) -> list[str]:
    """One line, where an element fits into it."""
    if isinstance(value, Fact):
        return [f"{_text(value.e)} {value.a} {_text(value.v)} tx={value.tx}{'' if value.added else ' retracted'}"]
    text = _text(value)
    return [text] if len(text) <= _LINE_WIDTH else _spread(value)


def _spread(value: Any) -> list[str]:
    try:
        return pformat(value, sort_dicts=False, width=_LINE_WIDTH).split("\n")
    except ValueError:
        return [shown(value)]


def _text(value: Any) -> str:
    """A value as Python writes it; shortened where it has an integer that is too long for that."""
    try:
        return repr(value)
    except ValueError:
        return shown(value)


def add_logs(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the logs of a failing test's stores to its report; keep the stores, if that was asked for. A test that
    fails as it is taken down has closed them; one that is skipped has nothing to show."""
    item.stash[ENDED] = True
    if report.when == "teardown" or not report.failed:
        return
    folder = item.config.getoption("--tourlog-keep")
    stores: list[Connection] = item.stash.get(STORES, [])
    for number, conn in enumerate(stores):
        text = ""
        try:
            text = log_text(conn.db())
            if folder is not None:
                text += f"kept as {keep(conn.db(), Path(folder), item.nodeid, number)}\n"
        except StorageError as error:  # a test may close its store, or damage it
            text = f"not to be read: {error}\n"
        except OSError as error:
            text += f"not kept: {error}\n"
        report.sections.append((f"tourlog: {conn!r}", text))


def log_text(db: Database) -> str:
    """A store's streams with their newest documents, and the entities that transactions left, for people.

    >>> conn = connect()
    >>> report = conn.append([{"k": 1, "n": n} for n in range(2)], "k")
    >>> report = conn.transact([{"db/id": "me", "n": 5}])
    >>> print(log_text(conn.db()), end="")
    position 2
    stream k=1, next offset 2
      0 {'k': 1, 'n': 0}
      1 {'k': 1, 'n': 1}
    entities
      'me' {'n': 5}
    """
    lines = [f"position {db.t}"]
    streams, states = db.streams(), dict(_states(db))
    lines += _before(streams)
    for _, stream, end in streams[-_SHOWN_STREAMS:]:
        lines.append(f"stream {stream}, next offset {end}")
        start = max(0, end - _SHOWN_DOCUMENTS)
        if start:
            lines.append(f"  … {start} before")
        for each in db.snapshot.ordered(stream, start, end):
            lines.append(f"  {each.offset} {_cut(each.document)}")
    if states:
        lines += ["entities", *_before(states)]
        lines += [f"  {e} {_cut(state)}" for e, state in list(states.items())[-_SHOWN_STREAMS:]]
    return "\n".join(lines) + "\n"


def _before(found: Sized) -> list[str]:
    return [f"  … {len(found) - _SHOWN_STREAMS} before"] if len(found) > _SHOWN_STREAMS else []


def _cut(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= _SHOWN_WIDTH else f"{text[: _SHOWN_WIDTH - 1]}…"


def _states(db: Database) -> Iterator[tuple[str, Any]]:
    for batch in db.snapshot.log.tail(0, db.t):
        if not batch.stream:
            yield from ((_text(e), state) for e, state in decode(batch.body))


def keep(db: Database, folder: Path, test: str, number: int) -> Path:
    """Write a store to a file in the folder, named after the test; what a run before left there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_file_name(test)}{f'+{number}' if number else ''}.tour"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    log = SqliteLog(path, durability="normal")
    try:
        for t in range(1, db.t + 1):
            with log.writing():
                log.append(_commit(db.snapshot.log, t))
    finally:
        log.close()
    return path


def _file_name(test: str) -> str:
    """A name for the file of a test, its own: `test_it[a b]` and `test_it[a/b]` are two tests."""
    name = re.sub(r"[^\w.-]+", "-", test, flags=re.ASCII).strip("-")
    if len(name) <= _LONGEST_NAME and _PLAIN_TEST.fullmatch(test):
        return name
    return f"{name[-_LONGEST_NAME:]}-{crc32(test.encode('utf-8', 'surrogatepass')):08x}"


def _commit(log: Log, t: int) -> Commit:
    """A transaction of a log as it was written to it."""
    done = log.transaction(t)
    assert done is not None
    batches = tuple(log.tail(t - 1, t))
    ids = dict.fromkeys(batch.stream for batch in batches if batch.stream)
    records = [record for record in map(log.stream_by_id, ids) if record is not None]
    heads = tuple((record.id, log.next_offset(record.id, t - 1)) for record in records)
    states = [state for batch in batches if not batch.stream for state in decode(batch.body)]
    entities = tuple(_entity(log, t, e, state) for e, state in states)
    return Commit(done, tuple(record for record in records if record.t == t), heads, batches, entities)


def _entity(log: Log, t: int, e: Any, state: Any) -> EntityRecord:
    place = document_place(e)
    stream = None if place is None else log.stream_by_prefix(place[0])
    if place is None or stream is None or stream.t > t:
        return EntityRecord(ordered_bytes(e), t, encode(state))
    return EntityRecord(ordered_bytes(e), t, encode(state), stream.id, place[1])
