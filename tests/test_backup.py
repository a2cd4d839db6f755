"""`backup`: one moment of a store in use, whole under its name or not there at all."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

from tourlog import ArgumentError, StorageError, Verification, backup, connect, verify
from tourlog.storage.backup import _name


def fill(path: Path) -> None:
    with connect(path) as conn:
        for n in range(5):
            conn.append([{"k": "a", "n": n}, {"k": "b", "n": n}], "k")


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_backup_is_the_store(tmp_path: Path) -> None:
    source, target = tmp_path / "store", tmp_path / "copy"
    fill(source)
    source.chmod(0o640)
    found = backup(source, target)
    assert found == Verification(str(target), 5, 2, 10, 10, 0, ())
    assert names(tmp_path) == ["copy", "store"]
    assert target.stat().st_mode & 0o777 == 0o640
    with connect(source, read_only=True) as one, connect(target) as other:
        assert one.db().documents({"k": "a"}) == other.db().documents({"k": "a"})
        assert other.append([{"k": "a", "n": 5}], "k").t == 6
    assert verify(target).ok


def test_a_backup_holds_what_is_only_in_the_log_of_a_store_in_use(tmp_path: Path) -> None:
    with connect(tmp_path / "store") as conn:
        conn.append([{"k": "a"}], "k")
        with conn.transaction():
            conn.append([{"k": "a"}], "k")
            assert backup(tmp_path / "store", tmp_path / "copy").documents == 1


def test_writers_go_on_meanwhile(tmp_path: Path) -> None:
    """Every backup is one position, no older than what was acknowledged when it began."""
    source, written, ended = tmp_path / "store", [0], threading.Event()
    with connect(source, durability="normal") as conn:

        def write() -> None:
            while not ended.is_set():
                written[0] = conn.append([{"k": "a", "n": written[0]}, {"k": "b"}], "k").t

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for n in range(5):
                acknowledged = written[0]
                found = backup(source, tmp_path / f"copy{n}")
                assert found.position >= acknowledged
                assert found.documents == 2 * found.position
        finally:
            ended.set()
            thread.join()
        assert written[0] > found.position
    assert names(tmp_path) == [*(f"copy{n}" for n in range(5)), "store"]


@pytest.mark.parametrize("taken", ["copy", "copy-wal", "copy-journal"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    fill(tmp_path / "store")
    (tmp_path / taken).write_text("mine")
    with pytest.raises(StorageError, match=f"one that exists: .*{taken}$"):
        backup(tmp_path / "store", tmp_path / "copy")
    assert (tmp_path / taken).read_text() == "mine"
    assert names(tmp_path) == sorted(["store", taken])


def test_a_name_that_is_taken_meanwhile_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hard links and without them."""
    made, to = tmp_path / "made", tmp_path / "to"
    made.write_text("copy")
    to.write_text("mine")
    for has_links in (True, False):
        if not has_links:
            monkeypatch.setattr(os, "link", no_link)
        with pytest.raises(FileExistsError):
            _name(made, to)
        assert to.read_text() == "mine"
    to.unlink()
    _name(made, to)
    assert to.read_text() == "copy"


def no_link(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_damaged_store_has_no_backup(tmp_path: Path) -> None:
    fill(tmp_path / "store")
    raw = sqlite3.connect(tmp_path / "store")
    raw.execute("UPDATE tx SET digest = zeroblob(16) WHERE t = 3")
    raw.commit()
    raw.close()
    with pytest.raises(
        StorageError, match=r"expected a whole copy .*the first transaction 3: does not follow"
    ) as raised:
        backup(tmp_path / "store", tmp_path / "copy")
    assert [each.where for each in raised.value.findings] == ["transaction 3", "transaction 4"]
    assert names(tmp_path) == ["store"]


def test_bad_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        backup(tmp_path / "store", tmp_path / "copy")
    fill(tmp_path / "store")
    with pytest.raises(StorageError, match="existing folder"):
        backup(tmp_path / "store", tmp_path / "none" / "copy")
    with pytest.raises(ArgumentError, match="expected the path of a new file, got 7"):
        backup(tmp_path / "store", 7)  # type: ignore[arg-type]
    assert names(tmp_path) == ["store"]
