"""The log: one contract every backend passes, and what holds for a store in a file besides."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tourlog import connect
from tourlog.errors import ArgumentError, StorageError
from tourlog.storage import open_log
from tourlog.storage.log import Batch, Commit, EntityRecord, Log, StreamRecord, Transaction
from tourlog.storage.overlay import OverlayLog
from tourlog.storage.sqlite import SqliteLog

HUGE = 1 << 70
EDGES = (-HUGE, -1, 0, 1, 1 << 62, (1 << 63) - 1, 1 << 63, HUGE)


# The model: what a log that took some commits answers, from the commits alone.


@dataclass
class Model:
    """A list of commits, and every read as a search through all of them."""

    commits: list[Commit] = field(default_factory=list)

    def upto(self, t: int) -> list[Commit]:
        return [commit for commit in self.commits if commit.transaction.t <= t]

    def head(self) -> Transaction:
        return self.commits[-1].transaction if self.commits else Transaction(0, 0)

    def transactions(self) -> list[Transaction]:
        return [commit.transaction for commit in self.commits]

    def streams(self, t: int) -> list[tuple[StreamRecord, int]]:
        records = [record for commit in self.upto(t) for record in commit.streams]
        return [(record, self.next_offset(record.id, t)) for record in records]

    def batches(self, stream: int, t: int) -> list[Batch]:
        return [batch for batch in self.tail(0, t) if batch.stream == stream]

    def next_offset(self, stream: int, t: int) -> int:
        return sum(batch.count for batch in self.batches(stream, t)) if stream > 0 else 0

    def read(self, stream: int, start: int, stop: int, t: int) -> list[Batch]:
        wanted = [
            batch for batch in self.batches(stream, t) if batch.first < stop and batch.first + batch.count > start
        ]
        return wanted if stream > 0 and start < stop else []

    def tail(self, after: int, upto: int) -> list[Batch]:
        return [batch for commit in self.upto(upto) if commit.transaction.t > after for batch in commit.batches]

    def entity(self, key: bytes, t: int) -> EntityRecord | None:
        found = [record for commit in self.upto(t) for record in commit.entities if record.key == key]
        return found[-1] if found else None

    def amended(self, stream: int, start: int, stop: int, t: int) -> dict[int, EntityRecord]:
        records = [record for commit in self.upto(t) for record in commit.entities if record.stream == stream]
        return {r.offset: r for r in records if r.offset is not None and start <= r.offset < stop}

    def position_at(self, instant: int) -> int:
        return max((each.t for each in self.transactions() if each.instant <= instant), default=0)


def stream_record(number: int, t: int, text: str = "") -> StreamRecord:
    name = f"stream-{number}{text}"
    return StreamRecord(
        number, ("topic", "n"), (name, number), name.encode("utf-8", "surrogatepass"), name, number * 97, t
    )


def next_commit(
    model: Model,
    appended: dict[int, list[int]],
    *,
    created: int = 0,
    entities: tuple[tuple[bytes, int | None, int | None], ...] = (),
    tx_id: str | None = None,
    text: str = "",
) -> Commit:
    """The commit that comes next: batch sizes by stream, so many new streams, and entity records."""
    t = model.head().t + 1
    known = len(model.streams(t))
    heads = {stream: model.next_offset(stream, t) for stream in appended}
    batches, ends = [], dict(heads)
    for stream, sizes in appended.items():
        for size in sizes:
            batches.append(Batch(t, stream, ends[stream], size, f"{t}/{stream}/{ends[stream]}".encode()))
            ends[stream] += size
    records = tuple(EntityRecord(key, t, f"{t}".encode() + key, stream, offset) for key, stream, offset in entities)
    if records:
        batches.append(Batch(t, 0, 0, len(records), b"states %d" % t))
    streams = tuple(stream_record(number, t, text) for number in range(known + 1, known + created + 1))
    transaction = Transaction(t, model.head().instant + 1 + t % 3 * 1000, tx_id)
    return Commit(transaction, streams, tuple(heads.items()), tuple(batches), records)


def example_history() -> Model:
    """Streams of one batch and of many, batches of one document and of a hundred, amended documents, entities
    that come and go, an empty transaction, ids with odd text."""
    model = Model()
    steps: list[dict[str, Any]] = [
        {"appended": {1: [1]}, "created": 1, "tx_id": "first"},
        {"appended": {}, "entities": ((b"e", None, None), (b"", None, None))},
        {"appended": {1: [100, 100, 37], 2: [1], 3: [2, 2]}, "created": 2, "text": "\ud800", "tx_id": "\ud800\0"},
        {"appended": {}, "tx_id": "empty"},
        {"appended": {2: [1]}, "entities": ((b"a", 1, 0), (b"b", 1, 100), (b"e", None, None))},
        {"appended": {2: [3], 1: [1, 1]}, "entities": ((b"a", 1, 0), (b"c", 3, 3))},
        {"appended": {4: [5], 3: [1]}, "created": 2, "entities": ((b"d", 4, 2), (b"\xff\0", None, None))},
    ]
    for step in steps:
        model.commits.append(next_commit(model, **step))
    return model


HISTORY = example_history()


def write(log: Log, *commits: Commit) -> None:
    for commit in commits:
        with log.writing():
            log.append(commit)


def assert_reads(log: Log, model: Model) -> None:
    """The log answers every read as the model does, at every position and around every border."""
    assert log.head() == model.head()
    top = model.head().t
    positions = [*range(top + 2), *EDGES]
    assert [log.transaction(t) for t in positions] == [
        model.transactions()[t - 1] if 0 < t <= top else None for t in positions
    ]
    for transaction in model.transactions():
        if transaction.tx_id is not None:
            assert log.transaction_by_id(transaction.tx_id) == transaction
    assert log.transaction_by_id("unknown") is None
    instants = {each.instant + step for each in model.transactions() for step in (-1, 0, 1)} | set(EDGES)
    assert {each: log.position_at(each) for each in instants} == {each: model.position_at(each) for each in instants}
    assert_reads_of_streams(log, model, positions)
    assert_reads_of_entities(log, model, positions)
    for after in positions:
        for upto in positions:
            assert list(log.tail(after, upto)) == model.tail(after, upto)


def assert_reads_of_streams(log: Log, model: Model, positions: list[int]) -> None:
    assert [log.streams(t) for t in positions] == [model.streams(t) for t in positions]
    records = [record for record, _ in model.streams(HUGE)]
    for record in records:
        found = (log.stream_by_key(record.key), log.stream_by_prefix(record.prefix), log.stream_by_name(record.name))
        assert (*found, log.stream_by_id(record.id)) == (record,) * 4
    assert (log.stream_by_key(b"?"), log.stream_by_prefix(5), log.stream_by_name("?")) == (None, None, None)
    assert [log.stream_by_id(n) for n in (*EDGES[:3], *EDGES[4:], len(records) + 1)] == [None] * 8
    assert [log.stream_by_prefix(n) for n in EDGES] == [None] * len(EDGES)
    assert log.next_stream() == len(records) + 1
    for stream in (*(record.id for record in records), len(records) + 1, *EDGES):
        borders = {batch.first + step for batch in model.batches(stream, HUGE)[:8] for step in (-1, 0, 1)}
        ends = {model.next_offset(stream, HUGE) + step for step in (-1, 0, 1)}
        offsets = sorted(borders | ends | set(EDGES))
        for t in positions:
            assert log.next_offset(stream, t) == model.next_offset(stream, t)
        for t in (*range(model.head().t + 1), HUGE):
            for start in offsets:
                for stop in offsets:
                    assert list(log.read(stream, start, stop, t)) == model.read(stream, start, stop, t)


def assert_reads_of_entities(log: Log, model: Model, positions: list[int]) -> None:
    keys = {record.key for commit in model.commits for record in commit.entities} | {b"?"}
    for key in keys:
        assert [log.entity(key, t) for t in positions] == [model.entity(key, t) for t in positions]
    for stream in (1, 2, 3, 4, 9, *EDGES):
        for t in positions:
            for start in (-1, 0, 1, 2, 100, *EDGES):
                for stop in (0, 1, 3, 4, 101, *EDGES):
                    assert log.amended(stream, start, stop, t) == model.amended(stream, start, stop, t)


# The contract. Every backend that can be written, and every way to have a written one in hand.

WRITABLE = ["memory", "file"]


@contextmanager
def writable(kind: str, folder: Path) -> Iterator[Log]:
    log: Log = open_log(None if kind == "memory" else folder / "store", durability="normal")
    try:
        yield log
    finally:
        log.close()


@pytest.fixture(params=WRITABLE)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    with writable(request.param, tmp_path) as opened:
        yield opened


def _overlay(folder: Path, kind: str) -> Log:
    """The last transaction of the history on top of a log of the others."""
    base = open_log(None if kind == "memory" else folder / "base", durability="normal")
    write(base, *HISTORY.commits[:-1])
    return OverlayLog(base, len(HISTORY.commits) - 1, HISTORY.commits[-1])


def _overlay_of_the_past(folder: Path, kind: str) -> Log:
    """The last transaction on top of an older position of a log that went on otherwise."""
    base = open_log(None if kind == "memory" else folder / "base", durability="normal")
    write(base, *HISTORY.commits[:-1])
    other = Model(HISTORY.commits[:-1])
    other.commits = [
        *other.commits,
        next_commit(other, {1: [7], 4: [3]}, created=3, entities=((b"d", 4, 2), (b"e", None, None))),
    ]
    write(base, other.commits[-1])
    return OverlayLog(base, len(HISTORY.commits) - 1, HISTORY.commits[-1])


def _written(folder: Path, kind: str) -> Log:
    log = open_log(None if kind == "memory" else folder / "store", durability="normal")
    write(log, *HISTORY.commits)
    return log


def _reopened(folder: Path, kind: str) -> Log:
    _written(folder, kind).close()
    return open_log(folder / "store", durability="normal")


def _read_only(folder: Path, kind: str) -> Log:
    _written(folder, kind).close()
    return open_log(folder / "store", read_only=True)


READABLE: dict[str, tuple[Callable[[Path, str], Log], str]] = {
    "memory": (_written, "memory"),
    "file": (_written, "file"),
    "file opened again": (_reopened, "file"),
    "file opened read-only": (_read_only, "file"),
    "overlay on memory": (_overlay, "memory"),
    "overlay on a file": (_overlay, "file"),
}


@pytest.mark.parametrize(("make", "kind"), READABLE.values(), ids=READABLE)
def test_every_read_at_every_position_is_the_models(
    make: Callable[[Path, str], Log], kind: str, tmp_path: Path
) -> None:
    log = make(tmp_path, kind)
    assert_reads(log, HISTORY)
    log.close()


@pytest.mark.parametrize("kind", WRITABLE)
def test_an_overlay_hides_what_its_base_wrote_since(kind: str, tmp_path: Path) -> None:
    log = _overlay_of_the_past(tmp_path, kind)
    top = HISTORY.head().t
    positions = range(top + 2)
    assert log.head() == HISTORY.head()
    assert [log.transaction(t) for t in positions] == [None, *HISTORY.transactions(), None]
    assert [log.streams(t) for t in positions] == [HISTORY.streams(t) for t in positions]
    assert log.stream_by_id(6) is None
    assert list(log.tail(0, top)) == HISTORY.tail(0, top)
    assert_reads_of_entities(log, HISTORY, [*positions])
    for stream in range(1, 6):
        assert list(log.read(stream, 0, HUGE, top)) == HISTORY.read(stream, 0, HUGE, top)
        assert [log.next_offset(stream, t) for t in positions] == [HISTORY.next_offset(stream, t) for t in positions]


def test_an_overlay_cannot_be_written(tmp_path: Path) -> None:
    log = _overlay(tmp_path, "memory")
    with pytest.raises(StorageError, match="speculative"), log.writing():
        pass
    with pytest.raises(StorageError, match="speculative"):
        log.append(HISTORY.commits[-1])


def test_an_empty_log_answers_every_read(log: Log) -> None:
    assert_reads(log, Model())


@st.composite
def histories(draw: st.DrawFn) -> Model:
    model = Model()
    for number in range(draw(st.integers(0, 8))):
        created = draw(st.integers(0, 2))
        streams = len(model.streams(HUGE)) + created
        appended = draw(
            st.dictionaries(st.integers(1, max(streams, 1)), st.lists(st.integers(1, 3), min_size=1, max_size=3))
        )
        keys = st.tuples(st.binary(max_size=1), st.none(), st.none()) | st.tuples(
            st.binary(min_size=2, max_size=2), st.integers(1, 2), st.integers(0, 3)
        )
        entities = draw(
            st.lists(keys, max_size=3, unique_by=(lambda each: each[0], lambda each: each[1:] if each[1] else each))
        )
        tx_id = f"tx {number}" if draw(st.booleans()) else None
        if not streams:
            appended = {}
        model.commits.append(next_commit(model, appended, created=created, entities=tuple(entities), tx_id=tx_id))
    return model


@given(histories())
@settings(max_examples=25)
def test_any_history_reads_as_the_models(tmp_path_factory: pytest.TempPathFactory, history: Model) -> None:
    folder = tmp_path_factory.mktemp("history")
    for kind in WRITABLE:
        with writable(kind, folder) as log:
            write(log, *history.commits)
            assert_reads_in_short(log, history)
    with writable("file", folder) as log:
        assert_reads_in_short(log, history)


def assert_reads_in_short(log: Log, model: Model) -> None:
    positions = range(model.head().t + 1)
    for t in positions:
        assert log.streams(t) == model.streams(t)
        assert list(log.tail(t, model.head().t)) == model.tail(t, model.head().t)
        for record, end in model.streams(HUGE):
            for start in range(end + 1):
                assert list(log.read(record.id, start, start + 2, t)) == model.read(record.id, start, start + 2, t)
            assert log.next_offset(record.id, t) == model.next_offset(record.id, t)
            assert log.amended(record.id, 0, 9, t) == model.amended(record.id, 0, 9, t)


def test_a_read_that_began_before_a_commit_does_not_see_it(log: Log) -> None:
    model = Model()
    model.commits.append(next_commit(model, {1: [1] * 300}, created=1))
    write(log, *model.commits)
    reading, tailing = log.read(1, 0, HUGE, 1), log.tail(0, 1)
    begun = [next(reading)], [next(tailing)]
    model.commits.append(next_commit(model, {1: [1] * 300}, entities=((b"e", None, None),)))
    write(log, model.commits[-1])
    assert begun[0] + list(reading) == begun[1] + list(tailing) == model.tail(0, 1)


def test_long_reads_go_on_after_the_first_rows(log: Log) -> None:
    """A file is read in chunks; bodies of every size keep their order."""
    model = Model()
    model.commits.append(next_commit(model, {1: [2] * 700}, created=1))
    big = next_commit(model, {1: [1] * 5})
    bodies = tuple(replace(batch, body=bytes([place]) * 3_000_000) for place, batch in enumerate(big.batches))
    model.commits.append(replace(big, batches=bodies))
    write(log, *model.commits)
    assert list(log.read(1, 0, HUGE, 2)) == list(log.tail(0, 2)) == model.tail(0, 2)
    assert list(log.read(1, 301, 1399, 2)) == model.read(1, 301, 1399, 2)


# Writing.


def changed(**changes: Any) -> Callable[[Commit], Commit]:
    return lambda commit: replace(commit, **changes)


def at_first_batch(**changes: Any) -> Callable[[Commit], Commit]:
    return lambda commit: replace(commit, batches=(replace(commit.batches[0], **changes), *commit.batches[1:]))


def at_transaction(**changes: Any) -> Callable[[Commit], Commit]:
    return lambda commit: replace(commit, transaction=replace(commit.transaction, **changes))


def at_stream(**changes: Any) -> Callable[[Commit], Commit]:
    return lambda commit: replace(commit, streams=(replace(commit.streams[0], **changes),))


MISFITS: dict[str, Callable[[Commit], Commit]] = {
    "the head again": at_transaction(t=7),
    "a position skipped": at_transaction(t=9),
    "an instant that is not after the head's": at_transaction(instant=HISTORY.head().instant),
    "a transaction id that is taken": at_transaction(tx_id="first"),
    "an older head of a stream": changed(heads=((1, 239), (6, 0))),
    "a head in the future": changed(heads=((1, 241), (6, 0))),
    "a head of a new stream": changed(heads=((1, 240), (6, 1))),
    "a batch with a gap before it": at_first_batch(first=241),
    "a batch over another": at_first_batch(first=239),
    "a batch of another transaction": at_first_batch(t=7),
    "a batch of no documents": at_first_batch(count=0),
    "a batch of a negative count": at_first_batch(count=-1),
    "a batch of a stream that is not": at_first_batch(stream=7, first=0),
    "a batch of a negative stream": at_first_batch(stream=-1, first=0),
    "a stream id that is taken": at_stream(id=5),
    "a stream id skipped": at_stream(id=7),
    "a stream name that is taken": at_stream(name="stream-1"),
    "a stream key that is taken": at_stream(key=b"stream-1"),
    "a stream prefix that is taken": at_stream(prefix=97),
    "a stream made by another transaction": at_stream(t=7),
    "an entity twice": lambda commit: replace(commit, entities=commit.entities * 2),
    "an entity left by another transaction": lambda commit: replace(
        commit, entities=(replace(commit.entities[0], t=7),)
    ),
}  # fmt: skip


def fitting() -> Commit:
    return next_commit(HISTORY, {1: [2], 6: [1]}, created=1, entities=((b"e", None, None),), tx_id="new")


@pytest.mark.parametrize("spoil", MISFITS.values(), ids=MISFITS)
def test_a_commit_that_does_not_continue_the_log_is_refused_and_leaves_nothing(
    log: Log, spoil: Callable[[Commit], Commit]
) -> None:
    write(log, *HISTORY.commits)
    with pytest.raises(StorageError), log.writing():
        log.append(spoil(fitting()))
    with log.writing(), pytest.raises(StorageError):
        log.append(spoil(fitting()))
    assert_reads_in_short(log, HISTORY)
    assert (log.head(), log.transaction_by_id("new"), log.stream_by_id(6)) == (HISTORY.head(), None, None)
    write(log, fitting())
    assert_reads_in_short(log, Model([*HISTORY.commits, fitting()]))


def test_the_next_append_of_the_same_writing_may_follow_one_that_was_refused(log: Log) -> None:
    write(log, *HISTORY.commits)
    with log.writing():
        with pytest.raises(StorageError):
            log.append(MISFITS["a batch with a gap before it"](fitting()))
        log.append(fitting())
    assert_reads_in_short(log, Model([*HISTORY.commits, fitting()]))


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_exception_inside_writing_leaves_nothing(log: Log, exception: type[BaseException]) -> None:
    write(log, *HISTORY.commits)
    with pytest.raises(exception), log.writing():
        log.append(fitting())
        raise exception
    assert_reads_in_short(log, HISTORY)
    write(log, fitting())
    assert_reads_in_short(log, Model([*HISTORY.commits, fitting()]))


def test_writing_nothing_commits_nothing(log: Log) -> None:
    with log.writing():
        pass
    assert log.head() == Transaction(0, 0)


def test_what_is_appended_is_seen_only_after_writing(log: Log) -> None:
    with log.writing():
        log.append(HISTORY.commits[0])
        assert_reads(log, Model())
    assert_reads(log, Model(HISTORY.commits[:1]))


def test_only_one_append_fits_a_writing(log: Log) -> None:
    with log.writing():
        log.append(HISTORY.commits[0])
        with pytest.raises(StorageError, match="one append inside writing"):
            log.append(HISTORY.commits[1])
    assert log.head() == HISTORY.commits[0].transaction


def test_an_append_outside_of_writing_is_refused(log: Log) -> None:
    with pytest.raises(StorageError, match="inside writing"):
        log.append(HISTORY.commits[0])
    assert log.head() == Transaction(0, 0)


def test_a_writing_inside_another_is_refused_and_no_deadlock(log: Log) -> None:
    with log.writing():
        with pytest.raises(StorageError, match="one writing at a time"), log.writing():
            pass
        log.append(HISTORY.commits[0])
    assert log.head() == HISTORY.commits[0].transaction


def test_a_stranger_to_the_writing_can_neither_append_nor_disturb_it(log: Log) -> None:
    refused: list[StorageError] = []

    def stranger() -> None:
        try:
            log.append(HISTORY.commits[0])
        except StorageError as error:
            refused.append(error)

    with log.writing():
        run_threads(stranger)
        log.append(HISTORY.commits[0])
    assert (len(refused), log.head()) == (1, HISTORY.commits[0].transaction)


def run_threads(*functions: Callable[[], None]) -> None:
    """Run functions in threads of their own and wait; what one raises is raised here."""
    errors: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def append_next(log: Log, sizes: list[int]) -> None:
    """Append batches to stream 1, made from what the log says while the writer's place is held."""
    with log.writing():
        head, offset = log.head(), 0
        t = head.t + 1
        created = (stream_record(1, t),) if log.next_stream() == 1 else ()
        start = offset = log.next_offset(1, head.t)
        batches = []
        for size in sizes:
            batches.append(Batch(t, 1, offset, size, b"%d" % t))
            offset += size
        entity = EntityRecord(b"counter", t, b"%d" % offset)
        state = Batch(t, 0, 0, 1, b"%d" % offset)
        log.append(Commit(Transaction(t, head.instant + 1), created, ((1, start),), (*batches, state), (entity,)))


def assert_consistent(log: Log, t: int) -> None:
    """Everything a commit wrote is there: batches, entity and stream table say the same."""
    batches = list(log.read(1, 0, HUGE, t))
    offset = 0
    for batch in batches:
        assert batch.first == offset
        offset += batch.count
    counter = log.entity(b"counter", t)
    assert counter is not None
    assert (counter.t, counter.state) == (t, b"%d" % offset)
    assert (log.next_offset(1, t), [end for _, end in log.streams(t)]) == (offset, [offset])
    assert sum(batch.count for batch in log.tail(0, t) if batch.stream) == offset


def test_threads_that_write_wait_for_each_other_and_readers_never_see_part_of_a_commit(log: Log) -> None:
    rounds, finished = 25, threading.Event()
    append_next(log, [1])

    def writer() -> None:
        for _ in range(rounds):
            append_next(log, [1, 2, 3])

    def reader() -> None:
        while not finished.is_set():
            assert_consistent(log, log.head().t)

    def writers() -> None:
        try:
            run_threads(writer, writer, writer)
        finally:
            finished.set()

    run_threads(writers, reader, reader)
    assert log.head().t == 3 * rounds + 1
    assert log.next_offset(1, HUGE) == 3 * rounds * 6 + 1
    for t in range(1, log.head().t + 1):
        assert_consistent(log, t)


def test_a_reader_does_not_wait_for_the_writer(log: Log) -> None:
    append_next(log, [1])
    with log.writing():
        run_threads(lambda: assert_consistent(log, 1))


def test_closing_waits_for_the_writer(log: Log) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def writer() -> None:
        with log.writing():
            log.append(HISTORY.commits[0])
            writing.set()
            assert go_on.wait(30)

    def closer() -> None:
        assert writing.wait(30)
        threading.Timer(0.1, go_on.set).start()
        log.close()
        assert go_on.is_set()

    run_threads(writer, closer)


def test_a_log_is_not_closed_inside_its_own_writing(log: Log) -> None:
    with log.writing():
        with pytest.raises(StorageError):
            log.close()
        log.append(HISTORY.commits[0])
    assert log.head().t == 1


def test_what_is_written_by_a_call_is_there_after_it_or_undone(log: Log) -> None:
    def append(commit: Commit, error: type[Exception] | None = None) -> int:
        log.append(commit)
        if error is not None:
            raise error
        return commit.transaction.t

    first, second = HISTORY.commits[:2]
    assert (log.written(append, first), log.head().t) == (1, 1)
    with pytest.raises(Left):
        log.written(append, second, Left)
    assert log.head().t == 1
    with log.writing(), pytest.raises(StorageError, match="one writing at a time"):
        log.written(append, second)
    with pytest.raises(StorageError, match="one writing at a time"):
        log.written(log.written, append, second)
    assert (log.written(append, second), log.written(lambda: None), log.head().t) == (2, None, 2)


def uses(log: Log) -> dict[str, Callable[[], Any]]:
    """Every method that must not work on a log that may not be used."""

    def enter_writing() -> None:
        with log.writing():
            pass

    return {
        "head": log.head,
        "transaction": lambda: log.transaction(1),
        "transaction_by_id": lambda: log.transaction_by_id("first"),
        "position_at": lambda: log.position_at(1),
        "stream_by_key": lambda: log.stream_by_key(b"stream-1"),
        "stream_by_prefix": lambda: log.stream_by_prefix(97),
        "stream_by_name": lambda: log.stream_by_name("stream-1"),
        "stream_by_id": lambda: log.stream_by_id(1),
        "streams": lambda: log.streams(1),
        "next_stream": log.next_stream,
        "next_offset": lambda: log.next_offset(1, 1),
        "read": lambda: list(log.read(1, 0, 1, 1)),
        "tail": lambda: list(log.tail(0, 1)),
        "entity": lambda: log.entity(b"e", 2),
        "amended": lambda: log.amended(1, 0, 1, 1),
        "writing": enter_writing,
        "written": lambda: log.written(lambda: None),
        "append": lambda: log.append(fitting()),
    }


def refusals(log: Log) -> dict[str, str]:
    found = {}
    for name, use in uses(log).items():
        try:
            use()
        except StorageError as error:
            found[name] = str(error)
    return found


def test_a_closed_log_refuses_every_use_and_closes_again(log: Log) -> None:
    write(log, *HISTORY.commits)
    reading = log.read(1, 0, HUGE, 7)
    next(reading)
    log.close()
    log.close()
    with pytest.raises(StorageError, match="got a closed one"):
        list(reading)
    assert refusals(log).keys() == uses(log).keys()
    assert all("got a closed one" in message for message in refusals(log).values())


def test_threads_that_read_while_a_log_is_closed_end_with_that_error_and_no_other(log: Log) -> None:
    write(log, *HISTORY.commits)
    messages: list[str] = []

    def reader() -> None:
        try:
            while True:
                assert_reads_in_short(log, HISTORY)
        except StorageError as error:
            messages.append(str(error))

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    log.close()
    for thread in threads:
        thread.join()
    assert [message[:45] for message in messages] == ["expected an open store, got a closed one, in "[:45]] * 4


def in_fork(function: Callable[[], bool]) -> bool:
    """Whether the function returns True in a forked process."""
    child = os.fork()
    if child == 0:
        os._exit(0 if function() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_refuses_every_use_and_its_parent_goes_on(log: Log) -> None:
    write(log, *HISTORY.commits[:-1])

    def refuses_everything() -> bool:
        found = refusals(log)
        log.close()
        return found.keys() == uses(log).keys() and all("got a fork of it" in message for message in found.values())

    assert in_fork(refuses_everything)
    with log.writing():
        assert in_fork(refuses_everything)
        log.append(HISTORY.commits[-1])
    assert_reads_in_short(log, HISTORY)


class Left(Exception):
    """How a forked process leaves a block it was forked in."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("leave", ["by an exception", "at its end"])
def test_a_fork_inside_writing_neither_commits_nor_undoes_what_its_parent_writes(log: Log, leave: str) -> None:
    """The commit is so large that SQLite has written part of it before."""
    write(log, *HISTORY.commits)
    commit = fitting()
    large = replace(commit, batches=tuple(replace(batch, body=os.urandom(5_000_000)) for batch in commit.batches))
    child = -1
    try:
        with log.writing():
            log.append(large)
            child = os.fork()
            if child == 0 and leave == "by an exception":
                raise Left
            if child != 0:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    except Left:
        os._exit(0)
    except StorageError as error:
        if child == 0:
            os._exit(0 if "got a fork of it" in str(error) else 2)
        raise
    finally:
        if child == 0:
            os._exit(1)
    assert_reads_in_short(log, Model([*HISTORY.commits, large]))
    append = next_commit(Model([*HISTORY.commits, large]), {1: [1]})
    write(log, append)
    assert_reads_in_short(log, Model([*HISTORY.commits, large, append]))


FORK = """
import os, sys
sys.path.insert(0, sys.argv[2])
from test_storage import HISTORY, Model, assert_reads_in_short, fitting, open_log, replace, write
log = open_log(sys.argv[1])
write(log, *HISTORY.commits)
large = replace(fitting(), batches=tuple(replace(batch, body=os.urandom(5_000_000)) for batch in fitting().batches))
with log.writing():
    log.append(large)
    child = os.fork()
    if child == 0:
        sys.exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
assert_reads_in_short(log, Model([*HISTORY.commits, large]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_end_of_a_forks_interpreter_does_not_undo_what_its_parent_writes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path / "store"), str(Path(__file__).parent)]
    subprocess.run(command, check=True)


# A store in a file.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def make_store(path: Path) -> None:
    log = SqliteLog(path)
    write(log, *HISTORY.commits)
    log.close()


def test_a_store_carries_the_marks_of_one_and_leaves_one_file(path: Path) -> None:
    make_store(path)
    header = path.read_bytes()[:100]  # https://sqlite.org/fileformat2.html#the_database_header
    assert (header[68:72], header[60:64], header[18:20]) == (b"tour", b"\0\0\0\3", b"\2\2")
    assert [each.name for each in path.parent.iterdir()] == ["store"]


def test_a_store_keeps_its_salt_and_no_two_share_one(tmp_path: Path) -> None:
    def salt(name: str | None) -> bytes:
        log = open_log(None if name is None else tmp_path / name)
        log.close()
        return log.salt

    salts = [salt("a"), salt("b"), salt(None), salt(None)]
    assert (len(set(salts)), {len(each) for each in salts}) == (4, {16})
    assert [salt("a"), salt("b")] == salts[:2]


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
def test_durability_sets_how_the_writer_synchronises(path: Path, durability: str, level: int) -> None:
    with traced() as trace:
        log = SqliteLog(path, durability=durability)
    levels = {each.pragma("synchronous") for each in trace.connections if not each.readonly("main")}
    modes = {each.pragma("journal_mode") for each in trace.connections}
    log.close()
    assert (levels, modes) == ({level}, {"wal"})


def test_an_unknown_durability_is_refused_before_a_file_is_made(path: Path) -> None:
    with pytest.raises(ArgumentError, match="durability of 'full' or 'normal', got 'some'"):
        SqliteLog(path, durability="some")
    assert not path.exists()


def text_file(path: Path) -> None:
    path.write_text("a letter\n" * 1000)


def short_file(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


def other_database(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE other (a)")
    raw.commit()
    raw.close()


def other_database_in_use(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA journal_mode = wal")
    raw.execute("CREATE TABLE other (a)")
    raw.commit()
    raw.close()


def other_application(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA application_id = 1234")
    raw.close()


def newer_store(path: Path) -> None:
    make_store(path)
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 4")
    raw.close()


def older_store(path: Path) -> None:
    make_store(path)
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 0")
    raw.close()


STRANGERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "text": (text_file, "expected a tourlog store, got another kind of file"),
    "a header cut short": (short_file, "expected a tourlog store, got another kind of file"),
    "another database": (other_database, "got an SQLite file of another application (0x0)"),
    "another database with a log": (other_database_in_use, "got an SQLite file of another application (0x0)"),
    "another application": (other_application, "got an SQLite file of another application (0x4d2)"),
    "a newer store": (newer_store, "expected a store of version 3, got the newer version 4: a newer tourlog wrote it"),
    "an older store": (older_store, "expected a store of version 3, got version 0"),
    "a directory": (Path.mkdir, "expected a file, got a directory"),
    "a pipe": (os.mkfifo, "expected a file, got neither a file nor a directory"),
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(("make", "message"), STRANGERS.values(), ids=STRANGERS)
def test_what_is_no_store_is_refused_and_left_as_it_was(
    path: Path, make: Callable[[Path], None], message: str, read_only: bool
) -> None:
    make(path)
    before = contents(path.parent)
    with pytest.raises(StorageError) as error:
        open_log(path, read_only=read_only)
    assert message in str(error.value)
    assert str(error.value).endswith(f"in {path}")
    assert error.value.path == str(path)  # type: ignore[attr-defined]
    assert contents(path.parent) == before


def contents(folder: Path) -> dict[str, Any]:
    """Every file of a folder with its bytes and the time it was changed."""
    return {
        each.name: (each.read_bytes() if each.is_file() else None, each.stat().st_mtime_ns) for each in folder.iterdir()
    }


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"in an existing directory \(there is no .*/missing\)"):
        open_log(tmp_path / "missing" / "store")


@pytest.mark.parametrize("bad", [b"store", 5, "a\0b", "\udcff"])
def test_a_path_that_can_be_none_is_refused(bad: Any) -> None:
    with pytest.raises(ArgumentError, match=r"expected (a|the) path"):
        connect(bad)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    make_store(path)
    log = SqliteLog(path)
    assert_reads_in_short(log, HISTORY)
    log.close()


def test_there_is_nothing_to_read_in_no_file_and_an_empty_one(path: Path) -> None:
    with pytest.raises(StorageError, match="expected a store to read, got no such file"):
        open_log(path, read_only=True)
    assert not path.exists()
    path.touch()
    with pytest.raises(StorageError, match="expected a store to read, got an empty file"):
        open_log(path, read_only=True)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("name", ["a b", "a?b=c", "a#b", "%41", "é", ":memory:", "file:x", "a'b", "-"])
def test_a_store_may_have_any_file_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_store(Path(name))
    log = open_log(name, read_only=True)
    assert_reads_in_short(log, HISTORY)
    log.close()
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_store_stays_open_when_the_process_moves_to_another_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    log = SqliteLog("store")
    monkeypatch.chdir("/")
    run_threads(*[lambda: write(log, HISTORY.commits[0])])
    assert (log.head().t, log.path) == (1, str(path))
    log.close()


def test_reading_only_writes_nothing_and_leaves_no_file(path: Path) -> None:
    make_store(path)
    before = contents(path.parent)
    log = open_log(path, read_only=True)
    assert_reads_in_short(log, HISTORY)
    with pytest.raises(StorageError, match="expected a writable store, got one opened read-only"), log.writing():
        pass
    with pytest.raises(StorageError):
        log.append(fitting())
    log.close()
    assert contents(path.parent) == before


def test_a_reader_sees_what_a_writer_commits_and_leaves_its_files_alone(path: Path) -> None:
    make_store(path)
    reader, writer = open_log(path, read_only=True), open_log(path)
    write(writer, fitting())
    assert reader.head() == fitting().transaction
    reader.close()
    write(writer, next_commit(Model([*HISTORY.commits, fitting()]), {1: [1]}))
    reader = open_log(path, read_only=True)
    assert reader.head().t == 9
    reader.close()
    writer.close()
    assert [each.name for each in path.parent.iterdir()] == ["store"]


def test_opening_a_store_again_keeps_the_locks_of_the_first(path: Path) -> None:
    """POSIX drops all locks of a process on a file when it closes the file once; another process would then take
    itself for the only one and remove the write-ahead log."""
    make_store(path)
    first = SqliteLog(path)
    write(first, fitting())
    SqliteLog(path).close()
    open_log(path, read_only=True).close()
    with python("import sys; from tourlog import connect; connect(sys.argv[1]).close()", path) as other:
        assert other.wait() == 0
    assert path.with_name("store-wal").exists()
    later = next_commit(Model([*HISTORY.commits, fitting()]), {1: [1]})
    write(first, later)
    second = SqliteLog(path)
    assert_reads_in_short(second, Model([*HISTORY.commits, fitting(), later]))
    second.close()
    first.close()


def test_a_damaged_file_is_an_error_of_the_storage(path: Path) -> None:
    make_store(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
    with pytest.raises(StorageError, match="is damaged"):
        open_log(path)


def test_a_store_that_lost_its_salt_or_tables_is_an_error_of_the_storage(path: Path) -> None:
    for statement, message in (
        ("DELETE FROM store", "a store with a salt"),
        ("DROP TABLE store", "the tables of a store"),
    ):
        make_store(path)
        raw = sqlite3.connect(path)
        raw.execute(statement)
        raw.commit()
        raw.close()
        with pytest.raises(StorageError, match=message):
            open_log(path)
        path.unlink()


def test_a_tail_over_lost_batches_is_an_error_and_not_endless(path: Path) -> None:
    make_store(path)
    raw = sqlite3.connect(path)
    raw.execute("DELETE FROM batch WHERE place % 5 = 0")
    raw.commit()
    raw.close()
    log = open_log(path)
    with pytest.raises(StorageError, match="expected states numbered 10, got none"):
        list(log.tail(0, 7))
    log.close()


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file of this process may grow past so many bytes: what a full disk looks like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_commit_that_finds_no_room_leaves_nothing_and_the_next_one_goes_on(path: Path) -> None:
    make_store(path)
    log = SqliteLog(path)
    commit = fitting()
    large = replace(commit, batches=tuple(replace(batch, body=os.urandom(4_000_000)) for batch in commit.batches))
    with files_limited_to(1_000_000), pytest.raises(StorageError, match=r"no room left|cannot read or write"):
        write(log, large)
    with files_limited_to(1_000_000), log.writing():
        with pytest.raises(StorageError):
            log.append(large)
        with pytest.raises(StorageError, match="after a write that failed"):
            log.append(fitting())
    assert_reads_in_short(log, HISTORY)
    write(log, large)
    assert_reads_in_short(log, Model([*HISTORY.commits, large]))
    log.close()


# What a kill leaves.


def test_a_kill_in_the_middle_of_a_checkpoint_loses_nothing(path: Path) -> None:
    """The file's header already tells of pages that only the write-ahead log holds."""
    killed = path.with_name("killed")
    log = SqliteLog(path)
    write(log, *HISTORY.commits)
    model = Model(list(HISTORY.commits))
    for _ in range(40):
        commit = next_commit(model, {1: [1]})
        model.commits.append(replace(commit, batches=(replace(commit.batches[0], body=os.urandom(9000)),)))
        write(log, model.commits[-1])
    written = path.with_name("store-wal").read_bytes()
    killed.write_bytes(newest_first_page(written) + path.read_bytes()[4096:])
    killed.with_name("killed-wal").write_bytes(written)
    log.close()
    survivor = open_log(killed, read_only=True)
    assert_reads_in_short(survivor, model)
    survivor.close()
    survivor = open_log(killed)
    write(survivor, next_commit(model, {1: [1]}))
    survivor.close()


def newest_first_page(write_ahead_log: bytes) -> bytes:
    """The newest version of page 1 in a write-ahead log (https://sqlite.org/fileformat2.html#walformat)."""
    frames = [write_ahead_log[start : start + 24 + 4096] for start in range(32, len(write_ahead_log), 24 + 4096)]
    return [frame[24:] for frame in frames if frame[:4] == b"\0\0\0\1"][-1]


def test_a_kill_between_making_a_store_and_its_log_leaves_a_store(path: Path) -> None:
    make_store(path)
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA journal_mode = delete").fetchone() == ("delete",)
    raw.close()
    log = open_log(path, read_only=True)
    assert_reads_in_short(log, HISTORY)
    log.close()
    log = open_log(path)
    write(log, fitting())
    assert_reads_in_short(log, Model([*HISTORY.commits, fitting()]))
    log.close()


def test_a_kill_while_a_store_is_made_leaves_an_empty_file_or_a_store(path: Path) -> None:
    """A child is killed at ever later moments of its opening."""
    program = "import os, sys; from tourlog.storage import open_log; print(flush=True); open_log(sys.argv[1])"
    for delay in [number * 0.005 for number in range(7)]:
        with python(program, path) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(delay)
            child.kill()
        log = open_log(path)
        assert log.head() == Transaction(0, 0)
        log.close()
        path.unlink()


APPEND = """
import sys
from tourlog import connect
path, name, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
print(flush=True)
with connect(path, durability="normal") as conn:
    for number in range(rounds):
        report = conn.append([{"k": "shared", "by": name, "n": number}] * 3 + [{"k": name, "n": number}], "k")
        print(report.t, flush=True)
"""


@contextmanager
def python(program: str, *arguments: Any) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def test_processes_that_append_at_once_lose_nothing(path: Path) -> None:
    """They also make the store at once."""
    rounds, names = 60, ("a", "b", "c")
    with (
        python(APPEND, path, "a", rounds) as a,
        python(APPEND, path, "b", rounds) as b,
        python(APPEND, path, "c", rounds) as c,
    ):
        printed = [child.communicate()[0].split() for child in (a, b, c)]
    assert [child.returncode for child in (a, b, c)] == [0, 0, 0]
    assert sorted(int(t) for lines in printed for t in lines) == list(range(1, 3 * rounds + 1))
    with connect(path) as conn:
        shared = conn.db().documents({"k": "shared"})
        assert [document["offset"] for document in shared] == list(range(9 * rounds))
        for name in names:
            numbers = list(range(rounds))
            assert [document["n"] for document in shared if document["by"] == name] == [
                n for n in numbers for _ in range(3)
            ]
            own = conn.db().documents({"k": name})
            assert [(document["offset"], document["n"]) for document in own] == [(n, n) for n in numbers]


def test_a_killed_writer_leaves_every_commit_it_acknowledged(path: Path) -> None:
    acknowledged = 0
    for life in range(4):
        with python(APPEND, path, f"life {life}", 100_000) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(30 + life * 7)]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines()
        acknowledged = int(lines[-1])
        with connect(path) as conn:
            database = conn.db()
            assert acknowledged <= database.t <= acknowledged + 1
            assert [d["offset"] for d in database.documents({"k": "shared"})] == list(range(3 * database.t))
            assert sum(len(database.documents({"k": f"life {each}"})) for each in range(life + 1)) == database.t


HOLD = """
import apsw, sys
connection = apsw.Connection(sys.argv[1])
connection.execute(sys.argv[2])
connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, statement: str) -> Iterator[None]:
    """Another process holds the file with an open transaction."""
    with python(HOLD, path, statement) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield


def test_a_writer_waits_for_another_process_only_so_long(path: Path) -> None:
    make_store(path)
    with held(path, "BEGIN IMMEDIATE"):
        log = SqliteLog(path, patience=0.3)
        assert_reads_in_short(log, HISTORY)
        began = time.monotonic()
        with pytest.raises(StorageError, match="is locked by another program"), log.writing():
            pass
        assert 0.3 <= time.monotonic() - began < 5
        assert_reads_in_short(log, HISTORY)
    write(log, fitting())
    assert log.head() == fitting().transaction
    log.close()


def test_a_writer_gets_its_turn_when_another_process_ends(path: Path) -> None:
    make_store(path)
    log = SqliteLog(path, patience=30)
    with held(path, "BEGIN IMMEDIATE"):
        thread = threading.Thread(target=write, args=(log, fitting()))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join()
    assert log.head() == fitting().transaction
    log.close()


def test_a_file_that_another_process_keeps_to_itself_cannot_be_opened(path: Path) -> None:
    make_store(path)
    for read_only in (False, True):
        with (
            held(path, "PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE"),
            pytest.raises(StorageError, match="is locked by another program"),
        ):
            SqliteLog(path, patience=0.2, read_only=read_only)


def without_rights(function: Callable[[], Any]) -> Any:
    """What the function returns, or the message of its StorageError, in a process that is not the superuser."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            try:
                answer = function()
            except StorageError as error:
                answer = str(error)
            os.write(writing, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answered = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answered)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and permissions of files")
@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "read_only", "answer"),
    [
        (0o444, 0o777, False, "expected a file that can be written, got a read-only one"),
        (0o444, 0o777, True, 7),
        (
            0o666,
            0o555,
            False,
            "expected a folder where SQLite can make the -wal and -shm files of a store, got a read-only one",
        ),
        (
            0o666,
            0o555,
            True,
            "expected a folder where SQLite can make the -wal and -shm files of a store, got a read-only one",
        ),
        (0o000, 0o777, False, "cannot be opened"),
        (0o000, 0o777, True, "cannot be opened"),
        (0o666, 0o000, False, "Permission denied"),
    ],
)
def test_permissions_that_lack_are_named(file_mode: int, folder_mode: int, read_only: bool, answer: Any) -> None:
    with TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "folder"
        folder.mkdir()
        path = folder / "store"
        make_store(path)
        before = path.read_bytes()
        path.chmod(file_mode)
        folder.chmod(folder_mode)
        found = without_rights(lambda: open_log(path, read_only=read_only).head().t)
        folder.chmod(0o777)
        path.chmod(0o666)
        assert path.read_bytes() == before
    assert found == answer if type(answer) is int else answer in found


# How much work a file takes, in steps of SQLite's machine and never in seconds.


@dataclass
class Trace:
    """The connections made meanwhile and the statements they ran, as SQLite counted their work."""

    connections: list[apsw.Connection] = field(default_factory=list)
    statements: list[tuple[str, dict[str, int]]] = field(default_factory=list)

    def add(self, connection: apsw.Connection) -> None:
        self.connections.append(connection)
        connection.trace_v2(
            apsw.SQLITE_TRACE_PROFILE, lambda event: self.statements.append((event["sql"], event["stmt_status"]))
        )

    def take(self) -> dict[str, int]:
        """Steps, rows scanned, and rows sorted since last asked."""
        names = ("VM_STEP", "FULLSCAN_STEP", "SORT", "AUTOINDEX")
        taken = {name: sum(status[f"SQLITE_STMTSTATUS_{name}"] for _, status in self.statements) for name in names}
        self.statements.clear()
        return taken


@contextmanager
def traced() -> Iterator[Trace]:
    trace = Trace()
    apsw.connection_hooks.append(trace.add)
    try:
        yield trace
    finally:
        apsw.connection_hooks.remove(trace.add)


def work(path: Path, length: int) -> dict[str, dict[str, int]]:
    """What every use of a log of so many transactions takes."""
    log = SqliteLog(path, durability="normal")
    for number in range(length):
        t = number + 1
        streams = (stream_record(1, t), stream_record(2, t)) if number == 0 else (stream_record(number + 2, t),)
        batches = (Batch(t, 1, number * 10, 10, b"x"), Batch(t, number + 2, 0, 1, b"x"), Batch(t, 0, 0, 2, b"x"))
        entities = (EntityRecord(b"e", t, b"x"), EntityRecord(b"%d" % number, t, b"x", 1, number * 10))
        heads = ((1, number * 10), (number + 2, 0))
        write(log, Commit(Transaction(t, t * 10, f"tx {number}"), streams, heads, batches, entities))
    log.close()
    middle = length // 2
    with traced() as trace:
        log = SqliteLog(path, durability="normal")
        taken = {"open": trace.take()}
        uses: dict[str, Callable[[], Any]] = {
            "head": log.head,
            "transaction": lambda: log.transaction(middle),
            "transaction_by_id": lambda: log.transaction_by_id(f"tx {middle}"),
            "first id that is not there": lambda: log.transaction_by_id("unknown"),
            "first stream that is not there": lambda: log.stream_by_key(b"unknown"),
            "first amended": lambda: log.amended(1, 0, 1, length),
            "first entity": lambda: log.entity(b"e", length),
            "id that is not there": lambda: log.transaction_by_id("unknown"),
            "stream that is not there": lambda: log.stream_by_key(b"unknown"),
            "position_at": lambda: log.position_at(middle * 10),
            "stream_by_key": lambda: log.stream_by_key(b"stream-7"),
            "stream_by_prefix": lambda: log.stream_by_prefix(97 * 7),
            "stream_by_name": lambda: log.stream_by_name("stream-7"),
            "stream_by_id": lambda: log.stream_by_id(7),
            "next_stream": log.next_stream,
            "next_offset": lambda: log.next_offset(1, length),
            "next_offset before": lambda: log.next_offset(1, middle),
            "read": lambda: list(log.read(1, middle * 10, middle * 10 + 10, length)),
            "read the end": lambda: list(log.read(1, length * 10 - 10, HUGE, length)),
            "read before": lambda: list(log.read(1, middle * 10 - 10, HUGE, middle)),
            "read the first of all": lambda: next(log.read(1, 0, HUGE, length)),
            "tail": lambda: list(log.tail(middle, middle + 3)),
            "entity": lambda: log.entity(b"e", length),
            "entity before": lambda: log.entity(b"e", middle),
            "amended": lambda: log.amended(1, middle * 10, middle * 10 + 30, length),
            "append": lambda: write(
                log,
                Commit(
                    Transaction(length + 1, length * 10 + 1, "new"),
                    (stream_record(length + 2, length + 1),),
                    ((1, length * 10),),
                    (Batch(length + 1, 1, length * 10, 10, b"x"),),
                    (EntityRecord(b"e", length + 1, b"x"),),
                ),
            ),
        }
        for name, use in uses.items():
            assert use() != []
            taken[name] = trace.take()
    log.close()
    return taken


def test_the_work_of_opening_reading_and_appending_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Bisections take a step more whenever the file doubles and a read takes the first rows at once; nothing else
    takes any more; nothing is scanned, sorted or indexed on the way. But each index is looked over once, when something
    is first not found in it, and the entities when the first of them is read."""
    small, large = work(tmp_path / "small", 64), work(tmp_path / "large", 2048)
    for use in [name for name in small if name.startswith("first ")]:
        assert large.pop(use)["VM_STEP"] <= 2048 / 64 * small.pop(use)["VM_STEP"]
    bounded = {"position_at", "next_offset before", "read the first of all"}
    assert {name: taken for name, taken in large.items() if name not in bounded} == {
        name: taken for name, taken in small.items() if name not in bounded
    }
    for name in bounded:
        assert large[name]["VM_STEP"] <= 2.2 * small[name]["VM_STEP"]
    for taken in large.values():
        assert (taken["FULLSCAN_STEP"], taken["SORT"], taken["AUTOINDEX"]) == (0, 0, 0)


def test_listing_streams_takes_work_for_every_stream_but_not_for_their_documents(tmp_path: Path) -> None:
    def listing(batches: int) -> int:
        log = SqliteLog(tmp_path / f"{batches}", durability="normal")
        model = Model()
        model.commits.append(next_commit(model, {number: [1] * batches for number in range(1, 11)}, created=10))
        write(log, *model.commits)
        log.close()
        with traced() as trace:
            log = SqliteLog(tmp_path / f"{batches}", read_only=True)
            trace.take()
            assert log.streams(1) == model.streams(1)
            steps = trace.take()["VM_STEP"]
        log.close()
        return steps

    assert listing(2) == listing(400)


def test_a_stream_made_while_streams_are_listed_is_no_damage(tmp_path: Path) -> None:
    class Listing(SqliteLog):
        """Another connection makes a stream between two of its reads."""

        def _check_newest(self, connection: apsw.Connection) -> None:
            other.append([{"k": self.head().t}], "k")
            super()._check_newest(connection)

    path = tmp_path / "store"
    with connect(path) as other:
        other.append([{"k": "first"}], "k")
        log = Listing(path)
        assert [record.values for record, _ in log.streams(log.head().t)] == [("first",)]
        log.close()
