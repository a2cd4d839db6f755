"""`verify`: a whole store has no findings, and whatever is changed in one is named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import tourlog
from tourlog import StorageError, Verification, connect, verify
from tourlog.storage.verify import MOST_FINDINGS

KEY = {"k": "a"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def fill(path: Path, durability: str = "full") -> None:
    with connect(path, durability=durability) as conn:
        for n in range(6):
            report = conn.append([{"k": "a", "n": n}, {"k": n % 2, "n": n}], "k", tx_id=f"tx {n}")
        first = report.db_after.documents(KEY)[0]["db/id"]
        conn.transact([{"db/id": first, "n": "other"}, {"db/id": "ann", "name": "Ann"}])


def change(path: Path, *statements: str) -> None:
    raw = sqlite3.connect(path)
    for sql in statements:
        raw.execute(sql)
    raw.commit()
    raw.close()


def test_a_whole_store_has_no_findings(path: Path) -> None:
    fill(path)
    before = path.read_bytes()
    assert verify(path) == Verification(str(path), 7, 3, 12, 13, 2, ())
    assert verify(path).ok
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["store"]


def test_an_empty_store_and_an_open_one_are_whole(path: Path) -> None:
    with connect(path) as conn:
        assert verify(path) == Verification(str(path), 0, 0, 0, 0, 0, ())
        for n in range(3):
            conn.append([{"k": "a", "n": n}], "k")
            assert verify(path) == Verification(str(path), n + 1, 1, n + 1, n + 1, 0, ())
        with conn.transaction():
            conn.append([{"k": "a", "n": 3}], "k")
            assert verify(path).position == 3


def test_a_compacted_store_is_whole(path: Path) -> None:
    fill(path)
    with connect(path) as conn:
        assert conn.compact() == 9
        conn.append([{"k": "a", "n": 6}, {"k": "a", "n": 7}], "k")
    assert verify(path) == Verification(str(path), 8, 3, 14, 5, 2, ())


CHANGES: dict[str, tuple[str, str, str]] = {
    "body": (
        "UPDATE batch SET body = CAST(substr(body, 1, length(body) - 1) || '!' AS BLOB) WHERE place = (1 << 35) + 2",
        "stream 1 offset 2",
        "1 documents of stream 1 from offset 2 on",
    ),
    "place": ("UPDATE batch SET place = place + 1 WHERE place = (1 << 35) + 5", "stream 1 offset 6", "damage"),
    "no batch": ("DELETE FROM batch WHERE place = (1 << 35) + 2", "stream 1 offset 3", "expected offset 2 next"),
    "no last batch": ("DELETE FROM batch WHERE place = (1 << 35) + 5", "stream 1", "expected 6 documents, got 5"),
    "no states": ("DELETE FROM batch WHERE place < 1 << 35", "states", "expected 1 batches of states, got 0"),
    "instant": ("UPDATE tx SET instant = instant + 1 WHERE t = 3", "transaction 3", "damage at transaction 3"),
    "digest": ("UPDATE tx SET digest = zeroblob(16) WHERE t = 7", "transaction 7", "does not follow"),
    "no transaction": ("DELETE FROM tx WHERE t = 3", "transaction 4", "expected transaction 3 next"),
    "no last transaction": ("DELETE FROM tx WHERE t = 7", "transaction 7", "has 2 rows of entity"),
    "stream": ("UPDATE stream SET vals = names WHERE id = 1", "stream 1", "damage at stream 1"),
    "no stream": ("DELETE FROM stream WHERE id = 3", "transaction 2", "does not follow"),
    "entity": ("UPDATE entity SET offset = 1 WHERE stream = 1", "entity", "damage at the entity"),
    "no entity": ("DELETE FROM entity WHERE stream IS NULL", "transaction 7", "does not follow"),
    "salt": ("UPDATE store SET value = zeroblob(16)", "store", "expected a salt, got none"),
}


@pytest.mark.parametrize(
    ("name", "compacted"),
    # Batches of some places are there only until they are joined.
    [(name, False) for name in CHANGES] + [(name, True) for name, (sql, *_) in CHANGES.items() if "35) +" not in sql],
)
def test_what_is_changed_is_found(path: Path, name: str, compacted: bool) -> None:
    sql, where, what = CHANGES[name]
    fill(path)
    if compacted:
        with connect(path) as conn:
            assert conn.compact() > 0
    change(path, sql)
    found = verify(path)
    assert not found.ok
    assert [each for each in found.findings if each.where.startswith(where) and what in each.what], found.findings


def test_a_batch_of_an_earlier_time_is_found(path: Path) -> None:
    """Its checksum is right, but it is not what its transaction wrote."""
    fill(path)
    raw = sqlite3.connect(path)
    salt = raw.execute("SELECT value, crc FROM store").fetchone()
    raw.close()
    other = path.with_name("other")
    with connect(other):
        pass
    raw = sqlite3.connect(other)
    raw.execute("UPDATE store SET value = ?, crc = ?", salt)
    raw.commit()
    raw.close()
    with connect(other) as conn:
        for n in range(6):
            conn.append([{"k": "a", "n": -n}], "k")
    change(
        path,
        f"ATTACH '{other}' AS other",
        "REPLACE INTO batch SELECT * FROM other.batch WHERE place = (1 << 35) + 3",
    )
    with connect(path, read_only=True) as conn:
        assert conn.db().documents(KEY)[3]["n"] == -3
    (finding,) = verify(path).findings
    assert finding == ("stream 1 offset 3", "expected what transaction 4 wrote, got something else")


def test_findings_have_an_end(path: Path) -> None:
    with connect(path, durability="normal") as conn:
        for n in range(MOST_FINDINGS):
            conn.append([{"k": "a", "n": n}], "k")
    change(path, "UPDATE batch SET crc = crc + 1")
    found = verify(path).findings
    assert len(found) == MOST_FINDINGS + 1
    assert found[-1] == ("store", "more than 1000 findings; the rest was not looked at")


def test_what_is_no_store_is_refused(path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        verify(path)
    path.write_text("text")
    with pytest.raises(StorageError, match="expected a tourlog store"):
        tourlog.verify(path)
