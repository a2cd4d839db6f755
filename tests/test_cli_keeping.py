"""`tourlog verify`, `backup` and `doctor`, on real files."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tourlog import connect, verify
from tourlog.cli import app
from tourlog.cli_keeping import NETWORK, _advice, _dangers, _file_system, _versions


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def succeed(*words: object) -> str:
    result = run(*words)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with connect(tmp_path / "store.tour") as conn:
        for n in range(4):
            conn.append([{"k": "a", "n": n}], "k")
    return tmp_path / "store.tour"


def damage(store: Path) -> None:
    raw = sqlite3.connect(store)
    raw.execute("UPDATE batch SET body = zeroblob(3) WHERE place = (1 << 35) + 1")
    raw.execute("UPDATE tx SET digest = zeroblob(16) WHERE t = 4")
    raw.commit()
    raw.close()


def test_verify_says_that_a_store_is_whole(store: Path) -> None:
    assert succeed("verify", store) == f"{store} is whole: 4 transactions, 1 stream, 4 documents\n"
    counts = {"position": 4, "streams": 1, "documents": 4, "batches": 4, "entities": 0}
    found = json.loads(succeed("verify", store, "--json"))
    assert found == {"path": str(store), "ok": True, **counts, "findings": []}


def test_verify_prints_a_line_for_every_finding(store: Path) -> None:
    damage(store)
    result = run("verify", store)
    assert (result.exit_code, result.stderr) == (1, "")
    findings = verify(store).findings
    assert result.stdout.splitlines() == [f"{where}: {what}" for where, what in findings]
    assert {each.where for each in findings} >= {"stream 1 offset 1", "transaction 4"}
    result = run("verify", store, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["ok"], found["findings"]) == (False, [each._asdict() for each in findings])


def test_backup_copies_and_refuses(store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert succeed("backup", store, copy) == f"{copy} is a whole copy: 4 transactions, 1 stream, 4 documents\n"
    result = run("backup", store, copy)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"tourlog: expected a new file for a backup, got one that exists: {copy}\n"
    assert json.loads(succeed("backup", store, tmp_path / "other", "--json"))["path"] == str(tmp_path / "other")
    damage(store)
    assert run("backup", store, tmp_path / "third").exit_code == 1
    assert not (tmp_path / "third").exists()


def test_doctor_looks_at_what_is_installed() -> None:
    found = json.loads(succeed("doctor", "--json"))
    assert {"Python", "SQLite", "apsw", "duckdb", "pyDatalog", "lark", "msgspec"} <= found["versions"].keys()
    assert (found["store"], found["unsafe"], found["advice"]) == (None, [], [])


def test_doctor_looks_at_a_store(store: Path) -> None:
    found = json.loads(succeed("doctor", store, "--json"))
    kept = found["store"]
    assert [kept[name] for name in ("transactions", "streams", "documents", "batches")] == [4, 1, 4, 4]
    assert (kept["bytes"], kept["bytes of the -wal"]) == (store.stat().st_size, 0)
    assert (kept["batches per document"], kept["batches that compact would save"]) == (1.0, 3)
    assert found["advice"] == [f"3 of 4 batches can be joined: tourlog compact {store}"]
    lines = succeed("doctor", store).splitlines()
    assert lines[-1] == f"advice: {found['advice'][0]}"
    succeed("compact", store)
    assert json.loads(succeed("doctor", store, "--json"))["advice"] == []


def test_doctor_sees_a_clock_that_is_behind(store: Path) -> None:
    with connect(store) as conn:
        log = conn.db().snapshot.log
        newest = log.head().instant
    raw = sqlite3.connect(store)
    assert raw.execute("SELECT max(instant) FROM tx").fetchone() == (newest,)
    raw.close()
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=newest)
    about: dict[str, Any] = {"file system": "ext4", "newest": at}
    assert list(_dangers(about, at)) == []
    (line,) = _dangers(about, at - timedelta(seconds=90))
    assert line.startswith("the clock is 0:01:30 behind the newest transaction")


def test_doctor_sees_network_file_systems_and_large_logs() -> None:
    mounts = "/dev/sda1 / ext4 rw 0 0\nhost:/x /mnt/my\\040files nfs4 rw 0 0\nt /mnt/my\\040files/here tmpfs rw 0 0"
    places = ["/etc/store", "/mnt/my files/store", "/mnt/my files/here/store", "/mnt/my files2"]
    kinds = [_file_system(Path(place), mounts) for place in places]
    assert kinds == ["ext4", "nfs4", "tmpfs", "ext4"]
    assert _file_system(Path("/etc/store"), "") is None
    assert "nfs4" in NETWORK
    (line,) = _dangers({"file system": "nfs4", "newest": None}, datetime.now(UTC))
    assert line.startswith("the store is on a network file system (nfs4)")
    about = {"batches": 10, "batches that compact would save": 2, "bytes of the -wal": 1 << 30}
    (line,) = _advice(about, Path("store"))
    assert line.startswith("the -wal has 1,073,741,824 bytes")


def test_doctor_sees_an_old_sqlite() -> None:
    assert _versions("3.51.3")[1] == []
    assert "SQLite 3.45.1 is older than 3.51.3" in _versions("3.45.1")[1][0]


@pytest.mark.parametrize("verb", ["verify", "backup", "doctor"])
def test_every_verb_has_an_example_that_runs(verb: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.parent)
    os.rename("store.tour", "moves.tour")  # noqa: PTH104
    (example,) = re.findall(r"Example: tourlog (.*)", succeed(verb, "--help"))
    succeed(*example.split())
