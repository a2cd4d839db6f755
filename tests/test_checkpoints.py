"""The write-ahead log shrinks once nobody reads it; while somebody does, there is a warning, and nothing is lost."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from time import sleep

import apsw
import pytest

import tourlog
from tourlog.storage.checkpoints import LARGE, readers


def append(conn: tourlog.Connection, documents: int) -> None:
    conn.append([{"k": 1, "n": n, "text": os.urandom(1 << 19).hex()} for n in range(documents)], "k")


def size(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def test_a_long_reader_is_named_once_a_doubling_and_the_log_shrinks_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with tourlog.connect(path, durability="normal") as conn:
        append(conn, 1)
        foreign = apsw.Connection(str(path))
        foreign.execute("BEGIN; SELECT * FROM tx").fetchall()
        append(conn, (LARGE >> 20) + 1)
        sleep(0.02)
        with pytest.warns(tourlog.LongReadWarning, match=r"has read the store without a pause") as told:
            append(conn, 1)
        if sys.platform == "linux":
            assert readers(str(path)) == [os.getpid()]
            assert f"process {os.getpid()} (this one)" in str(told[0].message)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            append(conn, 1)
        foreign.close()
        sleep(1.1)  # it looks again in a second
        append(conn, 1)
        assert size(path) < LARGE
        assert readers(str(path)) == []


def test_a_warning_made_an_error_comes_before_anything_is_written(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "store", durability="normal") as conn:
        append(conn, 1)
        foreign = apsw.Connection(str(tmp_path / "store"))
        foreign.execute("BEGIN; SELECT * FROM tx").fetchall()
        append(conn, (LARGE >> 20) + 1)
        sleep(0.02)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(tourlog.LongReadWarning):
                append(conn, 1)
        assert conn.db().t == 2
        append(conn, 1)
        assert conn.db().t == 3
        foreign.close()
    assert tourlog.verify(tmp_path / "store").ok
