"""Room made in the write-ahead log: how much, when, and that nothing of it is ever read."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest

import tourlog
from tourlog.storage.room import Room

KIB, MIB = 1 << 10, 1 << 20


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    found = log_of(tmp_path / "store")
    found.write_bytes(b"")
    return found


def write(log: Path, size: int) -> None:
    with log.open("r+b") as file:
        file.seek(size - 1)
        file.write(b"x")


def test_it_grows_by_what_is_there_within_bounds_and_not_beyond_the_end(log: Path) -> None:
    room = Room(str(log).removesuffix("-wal"), upto=3 * MIB)
    sizes = []
    for size in (0, 8 * KIB, 8 * KIB, 100 * KIB, 100 * KIB, 1536 * KIB, 2800 * KIB, 4 * MIB):
        if size > log.stat().st_size:
            write(log, size)
        room.make()
        sizes.append(log.stat().st_size)
    room.close()
    assert [size // KIB for size in sizes] == [0, 40, 40, 200, 200, 1792, 3056, 4096]


def test_a_log_that_was_cut_short_grows_again_when_it_is_written(log: Path) -> None:
    room = Room(str(log).removesuffix("-wal"), upto=3 * MIB)
    write(log, 100 * KIB)
    room.make()
    os.truncate(log, 0)
    room.make()
    assert log.stat().st_size == 0
    write(log, 8 * KIB)
    room.make()
    assert log.stat().st_size == 40 * KIB
    room.close()


def test_a_full_disk_leaves_the_log_as_it_was(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(str(log).removesuffix("-wal"), upto=3 * MIB)
    write(log, 8 * KIB)
    pwrite = os.pwrite

    def half(file: int, data: bytes, place: int) -> int:
        return pwrite(file, data[: len(data) // 2], place)

    def full(file: int, data: bytes, place: int) -> int:
        half(file, data, place)
        raise OSError(28, "No space left on device")

    for failing in (half, full):
        monkeypatch.setattr(os, "pwrite", failing)
        write(log, log.stat().st_size + 1)
        before = log.read_bytes()
        room.make()
        assert log.read_bytes() == before
    room.close()


@pytest.mark.parametrize("is_closed", [True, False])
def test_the_file_is_let_go_of(log: Path, is_closed: bool) -> None:
    room = Room(str(log).removesuffix("-wal"), upto=MIB)
    room.make()
    file = room._file
    assert os.fstat(file).st_ino == log.stat().st_ino
    if is_closed:
        room.close()
        room.close()
    del room
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_only_commits_that_are_synced_have_room_made(tmp_path: Path, durability: str) -> None:
    path = tmp_path / "s.tour"
    with tourlog.connect(path, durability=durability) as conn:
        for n in range(40):
            conn.append([{"k": 1, "n": n}], "k")
        content = log_of(path).read_bytes()
        assert content.endswith(bytes(8192)) is (durability == "full")
        assert len(content) < MIB


def test_a_store_whose_log_ends_in_zeros_is_read_and_written_on(tmp_path: Path) -> None:
    path, copy = tmp_path / "s.tour", tmp_path / "copy.tour"
    with tourlog.connect(path) as conn:
        for n in range(100):
            conn.append([{"k": 1, "n": n}], "k")
        shutil.copy(path, copy)
        shutil.copy(log_of(path), log_of(copy))
    assert log_of(copy).read_bytes().endswith(bytes(8192))
    for round_ in range(2):
        with tourlog.connect(copy) as conn:
            assert [each["n"] for each in conn.db().documents({"k": 1})] == list(range(100 + round_))
            conn.append([{"k": 1, "n": 100 + round_}], "k")
    assert tourlog.verify(copy).ok
