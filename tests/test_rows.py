"""Rows and their checksums: nothing is read that was not written, and the chain tells what is missing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tourlog import connect
from tourlog.errors import StorageError
from tourlog.storage.rows import BATCH, ENTITY, STREAM, TX, Rows, chained, first_digest, written

KEY = {"k": "a"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def fill(path: Path) -> None:
    with connect(path) as conn:
        for n in range(6):
            report = conn.append([{"k": "a", "n": n}, {"k": n % 2, "n": n}], "k", tx_id=f"tx {n}")
        first = report.db_after.documents(KEY)[0]["db/id"]
        conn.transact([{"db/id": first, "n": "other"}, {"db/id": "ann", "name": "Ann"}])


def change(path: Path, sql: str) -> None:
    raw = sqlite3.connect(path)
    assert raw.execute(sql).rowcount == 1, sql
    raw.commit()
    raw.close()


READS: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "a document": (
        "UPDATE batch SET body = CAST(substr(body, 1, length(body) - 1) || '!' AS BLOB) WHERE place = (1 << 35) + 2",
        lambda db: db.documents(KEY),
        "1 documents of stream 1 from offset 2 on",
    ),
    "a place": (
        "UPDATE batch SET place = place + 1 WHERE place = (1 << 35) + 5",
        lambda db: db.documents(KEY, 0, 7),
        "1 documents of stream 1 from offset 6 on",
    ),
    "a count": (
        "UPDATE batch SET count = 2 WHERE place = (1 << 35) + 5",
        lambda db: db.streams(),
        "2 documents of stream 1 from offset 5 on",
    ),
    "a transaction of a batch": (
        "UPDATE batch SET t = 1 WHERE place = (1 << 35) + 5",
        lambda db: db.documents(KEY),
        "1 documents of stream 1 from offset 5 on",
    ),
    "no batch": (
        "DELETE FROM batch WHERE place = (1 << 35) + 2",
        lambda db: db.documents(KEY),
        "got none",
    ),
    "an instant": ("UPDATE tx SET instant = instant + 1 WHERE t = 3", lambda db: list(db.tx_range()), "transaction 3"),
    "no transaction": (
        "DELETE FROM tx WHERE t = 3",
        lambda db: list(db.tx_range()),
        "expected transaction 3, got none",
    ),
    "what a transaction that is gone was": (
        "DELETE FROM tx WHERE t = 3",
        lambda db: db.q("[:find ?at :where [3 :db/tx-instant ?at]]"),
        "expected transaction 3, got none",
    ),
    "the stream of documents": (
        "DELETE FROM stream WHERE id = 2",
        lambda db: [each.offsets for each in db.tx_range()],
        "expected stream 2, got none",
    ),
    "a stream's values": ("UPDATE stream SET vals = names WHERE id = 1", lambda db: db.streams(), "stream 1"),
    "no stream": ("DELETE FROM stream WHERE id = 1", lambda db: db.streams(), "expected stream 1, got none"),
    "an entity's state": (
        "UPDATE entity SET state = CAST(substr(state, 1, length(state) - 1) || '!' AS BLOB) WHERE stream IS NULL",
        lambda db: db.entity("ann"),
        "the entity with the key",
    ),
    "an amended document": (
        "UPDATE entity SET state = CAST(substr(state, 1, length(state) - 1) || '!' AS BLOB) WHERE stream = 1",
        lambda db: db.documents(KEY),
        "the entity with the key",
    ),
}


@pytest.mark.parametrize("name", READS)
def test_a_changed_row_is_never_read(path: Path, name: str) -> None:
    """The statement and the place are named; what does not touch the row goes on."""
    sql, read, message = READS[name]
    fill(path)
    change(path, sql)
    with connect(path, read_only=True) as conn:
        with pytest.raises(StorageError, match="damage") as caught:
            read(conn.db())
        assert message in str(caught.value)
        assert str(path) in str(caught.value)
        assert [document["n"] for document in conn.db().documents({"k": 1})] == [1, 3, 5]


@pytest.mark.parametrize(("table", "columns"), [("tx", TX), ("stream", STREAM), ("batch", BATCH), ("entity", ENTITY)])
def test_every_column_of_a_row_has_a_part_in_its_checksum(path: Path, table: str, columns: str) -> None:
    fill(path)
    raw = sqlite3.connect(path)
    found = raw.execute(f"SELECT {columns} FROM {table}").fetchall()
    (salt,) = raw.execute("SELECT value FROM store").fetchone()
    raw.close()
    rows, others = Rows(str(path), crc32(salt)), (None, 0, -1, 7, 1 << 62, 0.5, "text", b"", b"other")
    check = getattr(rows, table)
    for row in found:
        check(row)
        for place in range(len(row)):
            for other in others:
                if other != row[place]:
                    with pytest.raises(StorageError, match="damage"):
                        check((*row[:place], other, *row[place + 1 :]))
                    if table == "batch" and place < 6:
                        with pytest.raises(StorageError, match="damage"):
                            rows.header((*row[:place], other, *row[place + 1 :])[:6])


def test_a_row_of_another_store_is_not_read(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for each in (path, other):
        fill(each)
    raw = sqlite3.connect(path)
    raw.execute("ATTACH ? AS other", (str(other),))
    raw.execute("REPLACE INTO batch SELECT * FROM other.batch WHERE place = 1 << 35")
    raw.commit()
    raw.close()
    with connect(path) as conn, pytest.raises(StorageError, match="documents of stream 1 from offset 0 on"):
        conn.db().documents(KEY)


def test_compaction_does_not_take_damage_for_documents(path: Path) -> None:
    fill(path)
    change(path, READS["a document"][0])
    with connect(path) as conn, pytest.raises(StorageError, match="damage at 1 documents of stream 1"):
        conn.compact()


def test_the_tables_of_another_program_are_refused(path: Path) -> None:
    fill(path)
    raw = sqlite3.connect(path)
    raw.execute("DROP INDEX tx_by_id")
    raw.close()
    with pytest.raises(StorageError, match="expected the tables of a store"):
        connect(path)


def chain(path: Path) -> tuple[list[bytes], list[bytes]]:
    """The digests that are stored, and those the rows have."""
    raw = sqlite3.connect(path)
    (salt,) = raw.execute("SELECT value FROM store").fetchone()
    digest, stored, found = first_digest(salt), [], []
    for *row, kept in raw.execute("SELECT t, instant, tx_id, batches, amended, places, digest FROM tx ORDER BY t"):
        streams = [crc for (crc,) in raw.execute("SELECT crc FROM stream WHERE t = ? ORDER BY id", row[:1])]
        entities = [crc for (crc,) in raw.execute("SELECT crc FROM entity WHERE t = ? ORDER BY key", row[:1])]
        digest = chained(digest, row, streams, entities)
        stored.append(kept)
        found.append(digest)
    raw.close()
    return stored, found


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_the_chain_holds_over_sessions_rollbacks_and_compaction(path: Path, durability: str) -> None:
    for n in range(3):
        with connect(path, durability=durability) as conn:
            for k in range(5):
                conn.append([{"k": "a", "n": n}, {"k": k, "n": n}], "k")
                with pytest.raises(ZeroDivisionError), conn.transaction():
                    conn.append([{"k": "b"}], "k")
                    print(1 // 0)
            conn.transact([{"db/id": each, "n": n} for each in ("bob", "ann")])
    before = chain(path)
    assert before[0] == before[1]
    assert len(set(before[0])) == 18
    with connect(path) as conn:
        assert conn.compact() > 0
    assert chain(path) == before
    raw = sqlite3.connect(path)
    places = [each for (packed,) in raw.execute("SELECT places FROM tx") for each in written(packed)]
    raw.close()
    assert sum(count for place, count, _ in places if place >= 1 << 35) == 30


def test_the_chain_of_processes_that_share_commits_holds(path: Path) -> None:
    with connect(path) as one, connect(path) as other:
        threads = [
            threading.Thread(target=lambda conn=conn, k=k: [conn.append([{"k": k}], "k") for _ in range(20)])
            for k, conn in enumerate([one, other] * 4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stored, found = chain(path)
    assert (len(stored), stored) == (160, found)
