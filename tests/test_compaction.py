"""Compaction: small batches become full ones, and nobody can tell but by the time reads take."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_storage import HUGE, Model, next_commit, python, run_threads, write

from tourlog import Connection, Database, connect
from tourlog.encoding import decode_documents, encode_documents
from tourlog.errors import ArgumentError, StorageError
from tourlog.storage import compaction, open_log
from tourlog.storage.batches import transaction_at
from tourlog.storage.log import Batch, Commit, Log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def batch_counts(path: Path) -> list[int]:
    """The documents of each batch of streams in the file."""
    raw = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    sql = "SELECT count FROM batch WHERE place >= 1 << 35 ORDER BY place"
    counts = [count for (count,) in raw.execute(sql).fetchall()]
    raw.close()
    return counts


def fill(conn: Connection, rounds: int) -> None:
    """Small transactions over streams, amended and retracted documents, entities that come and go."""
    for n in range(rounds):
        report = conn.append([{"k": "a", "n": n}] * (1 + n % 3) + [{"k": n % 4, "n": n, "deep": {"x": [n]}}], "k")
        first = report.db_after.documents({"k": "a"})[-1]["db/id"]
        if n % 5 == 0:
            conn.transact([{"db/id": first, "n": -n}, {"db/id": "e", "n": n}])
        if n % 7 == 0:
            conn.transact([("db/retract-entity", first)])
        if n % 11 == 0:
            conn.append([{"k": "big", "n": each} for each in range(150)], "k")


KEYS: tuple[Any, ...] = ("a", "big", 0, 1, 2, 3)


def everything(db: Database) -> Any:
    """All that a database of a position says, and its past."""
    past = [
        [db.as_of(t).documents({"k": key}) for key in KEYS] + [db.since(t).documents({"k": key}) for key in KEYS]
        for t in range(0, db.t + 1, 3)
    ]
    facts = [
        sorted(map(repr, each.facts(a=a)))
        for each in (db, db.as_of(db.t // 2), db.since(db.t // 2), db.history())
        for a in ("n", "deep.x", "offset", "db/tx", "db/tx-instant")
    ]
    single = [db.documents({"k": "a"}, n, n + 2) for n in range(0, 70, 7)]
    ids = [db.entity(document["db/id"]) for document in db.documents({"k": "a"})]
    rows = sorted(map(repr, db.q('[:find ?n ?tx :where [?e "n" ?n ?tx]]', engine="compiled")))
    return past, facts, single, ids, db.streams(), rows


def test_everything_reads_as_before_through_old_and_new_eyes(path: Path) -> None:
    with connect(path) as conn:
        fill(conn, 60)
        old, log = conn.db(), conn._log
        half = old.as_of(old.t // 2)
        before, before_half, tail = everything(old), everything(half), list(log.tail(0, old.t))
        counts = batch_counts(path)
        fewer = conn.compact()
        assert (fewer, sum(counts)) == (len(counts) - len(batch_counts(path)), sum(batch_counts(path)))
        assert fewer > 100
        fresh = Connection(log)
        for db in (old, fresh.db()):
            assert everything(db) == before
        for db in (half, fresh.db().as_of(old.t // 2)):
            assert everything(db) == before_half
        assert list(log.tail(0, old.t)) == tail
        assert [list(log.tail(t, t + 5)) for t in range(old.t)] == [
            [batch for batch in tail if t < batch.t <= t + 5] for t in range(old.t)
        ]
        report = conn.append([{"k": "a", "n": "next"}], "k", tx_id="later")
        assert report.offsets == {stream: range(end, end + 1) for name, stream, end in old.streams() if name == "a"}
    with connect(path) as conn:
        assert everything(conn.db().as_of(old.t)) == before
        assert conn.db().documents({"k": "a"})[-1]["n"] == "next"


def test_a_report_of_an_earlier_transaction_is_the_same_after_compaction(path: Path) -> None:
    with connect(path) as conn:
        for n in range(10):
            conn.append([{"k": "a", "n": n}, {"k": "a", "n": -n}], "k", tx_id=f"{n}")
        conn.compact()
        report = conn.append([{"k": "other"}], "k", tx_id="4")
        (span,) = report.offsets.values()
        assert (report.t, span) == (5, range(8, 10))
        assert sorted(fact.v for fact in report.tx_data if fact.a == "n") == [-4, 4]


def test_compacting_again_changes_nothing_and_full_batches_stay(path: Path) -> None:
    with connect(path) as conn:
        conn.append([{"k": "a", "n": n} for n in range(100)], "k")
        for n in range(130):
            conn.append([{"k": "a", "n": n}, {"k": n % 2, "n": n}], "k")
        assert (conn.compact(), batch_counts(path)) == (256, [100, 100, 30, 65, 65])
        assert (conn.compact(), batch_counts(path)) == (0, [100, 100, 30, 65, 65])
        conn.append([{"k": "a", "n": 0}], "k")
        assert (conn.compact(), batch_counts(path)) == (1, [100, 100, 31, 65, 65])


def test_a_batch_stays_below_its_size(path: Path) -> None:
    with connect(path) as conn:
        for n in range(4):
            conn.append([{"k": "a", "pad": "x" * 100_000, "n": n}], "k")
        assert (conn.compact(), batch_counts(path)) == (2, [2, 2])
        assert [document["n"] for document in conn.db().documents({"k": "a"})] == [0, 1, 2, 3]


def test_a_store_in_memory_has_nothing_to_compact() -> None:
    with connect() as conn:
        fill(conn, 5)
        assert conn.compact() == 0


def test_compaction_is_refused_where_nothing_can_be_written(path: Path) -> None:
    with connect(path) as conn:
        conn.append([{"k": "a"}, {"k": "a"}], "k")
        with pytest.raises(ArgumentError, match="outside of a transaction"), conn.transaction():
            conn.compact()
    for refused in (conn, connect(path, read_only=True)):
        with pytest.raises(StorageError):
            refused.compact()
        refused.close()


def documents_by_transaction(log: Log, stream: int, start: int, stop: int, t: int) -> list[tuple[int, int, Any]]:
    found = []
    for batch in log.read(stream, start, stop, t):
        for offset, document in enumerate(decode_documents(batch.body), batch.first):
            if start <= offset < stop:
                found.append((offset, transaction_at(batch, offset), document))
    return found


def readable(commit: Commit) -> Commit:
    """The commit with documents in its batches that say where they stand."""

    def body(batch: Batch) -> bytes:
        return encode_documents([{"stream": batch.stream, "offset": batch.first + n} for n in range(batch.count)])

    return replace(commit, batches=tuple(replace(batch, body=body(batch)) for batch in commit.batches))


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(1, 3), st.lists(st.integers(1, 40), min_size=1, max_size=3)), st.booleans()
        ),
        max_size=12,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_log_compacted_at_any_time_reads_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[dict[int, list[int]], bool]]
) -> None:
    log = open_log(tmp_path_factory.mktemp("compaction") / "store", durability="normal")
    model = Model()
    write(log, readable(next_commit(model, {1: [1]}, created=3)))
    model.commits.append(readable(next_commit(model, {1: [1]}, created=3)))
    for appended, compacts in steps:
        commit = readable(next_commit(model, appended, entities=((b"e", None, None),)))
        model.commits.append(commit)
        write(log, commit)
        if compacts:
            log.compact()
    top = model.head().t
    assert list(log.tail(0, top)) == model.tail(0, top)
    for t in range(top + 1):
        assert log.streams(t) == model.streams(t)
        for stream in (1, 2, 3):
            end = model.next_offset(stream, t)
            assert log.next_offset(stream, t) == end
            expected = [
                (batch.first + n, batch.t, {"stream": stream, "offset": batch.first + n})
                for batch in model.batches(stream, t)
                for n in range(batch.count)
            ]
            assert documents_by_transaction(log, stream, 0, HUGE, t) == expected
            for start in (0, end // 3, end - 1):
                assert documents_by_transaction(log, stream, start, start + 2, t) == expected[max(start, 0) : start + 2]
    log.close()


def test_a_read_under_way_neither_skips_nor_repeats_when_its_batches_are_joined(path: Path) -> None:
    with connect(path) as conn:
        for n in range(500):
            conn.append([{"k": "a", "n": n}], "k")
        reading = conn.db().iter_documents({"k": "a"})
        tailing = conn._log.tail(0, 500)
        begun = [next(reading)["n"] for _ in range(130)]
        tail = [next(tailing) for _ in range(130)]
        assert conn.compact() == 495
        assert begun + [document["n"] for document in reading] == list(range(500))
        assert [(batch.t, batch.first) for batch in (*tail, *tailing)] == [(n + 1, n) for n in range(500)]


def test_readers_and_writers_go_on_while_it_compacts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_MOST_JOINED", 20)
    finished = threading.Event()
    with connect(path) as conn:
        for n in range(300):
            conn.append([{"k": "a", "n": n}, {"k": n % 5, "n": n}], "k")

        def compact() -> None:
            try:
                for _ in range(4):
                    conn.compact()
            finally:
                finished.set()

        def append() -> None:
            for n in range(300, 340):
                conn.append([{"k": "a", "n": n}], "k")

        def read() -> None:
            while not finished.is_set():
                db = conn.db()
                assert [document["n"] for document in db.documents({"k": "a"})] == list(range(db.t))
                assert [document["n"] for document in db.as_of(77).documents({"k": "a"})] == list(range(77))
                assert sum(batch.count for batch in conn._log.tail(0, 300)) == 600

        run_threads(compact, compact, append, read, read)
        conn.compact()
        assert (conn.db().t, batch_counts(path)) == (340, [100, 100, 100, 40, *[60] * 5])


def test_long_logs_are_looked_at_in_parts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_MOST_JOINED", 7)
    monkeypatch.setattr(compaction, "_LOOKED_AT", 150)
    monkeypatch.setattr(compaction, "_SIZES", compaction._SIZES.replace("20000", "150"))
    with connect(path) as conn:
        for n in range(230):
            conn.append([{"k": "a", "n": n}], "k")
        conn.append([{"k": "b", "n": 0}], "k")
        conn.compact()
        assert [document["n"] for document in conn.db().documents({"k": "a"})] == list(range(230))
        assert (batch_counts(path), conn.compact()) == ([100, 100, 30, 1], 0)


COMPACT = """
import sys
from tourlog import connect
from tourlog.storage import compaction
compaction._MOST_JOINED = 4
conn = connect(sys.argv[1], durability="normal")
print(flush=True)
n = 0
while True:
    conn.append([{"k": "a"}, {"k": "a"}], "k")
    n += 1
    if n % 20 == 0:
        conn.compact()
        print(n, flush=True)
"""


def test_a_kill_while_it_compacts_loses_nothing(path: Path) -> None:
    for life in range(3):
        with python(COMPACT, path) as child:
            assert child.stdout is not None
            for _ in range(4 + life):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        with connect(path) as conn:
            db = conn.db()
            assert [document["offset"] for document in db.documents({"k": "a"})] == list(range(2 * db.t))
            assert sum(batch_counts(path)) == 2 * db.t
            assert [batch.t for batch in conn._log.tail(0, db.t)] == list(range(1, db.t + 1))
            conn.compact()
            assert len(batch_counts(path)) == -(-2 * db.t // 100)
