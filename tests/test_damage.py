"""A damaged store is never taken for another: each case is detected, or reads as the store once was."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

import apsw
import pytest
from torture import damage

import tourlog
from tourlog.storage.sqlite import SqliteLog

CASES = 300


def test_no_damage_goes_unnoticed() -> None:
    counts: Counter[str] = Counter()
    kinds: dict[str, set[str]] = defaultdict(set)
    for name, case, outcome in islice(damage.outcomes(seed=1), CASES):
        assert outcome not in ("silent", "read_otherwise"), f"case {name}: {case.what}"
        counts[outcome] += 1
        kinds[outcome].add(case.what.split(":")[0])
    # Both happen, in stores of every kind, or the cases would try nothing.
    assert counts["refused"] > CASES / 10
    assert counts["found_by_verify"] > 0
    assert counts["prefix"] > CASES / 10
    assert len(kinds["refused"]) == len(kinds["prefix"]) == 7


def test_what_is_not_damaged_is_whole(tmp_path: Path) -> None:
    sources = damage.make(tmp_path)
    for files in sources.stores:
        found = damage.outcome(sources, damage.Case(files.name, files.main, files.wal), tmp_path)
        assert found == "prefix", files.name


def test_a_wrong_store_would_be_silent(tmp_path: Path) -> None:
    """The test can fail: a whole store that is not what was expected counts as silent."""
    sources = damage.make(tmp_path)
    wrong = damage.Sources(sources.stores, sources.foreign, {})
    files = sources.stores[0]
    assert damage.outcome(wrong, damage.Case("", files.main, files.wal), tmp_path) == "silent"


def test_run_counts() -> None:
    counts = damage.run(2, 0.5)
    assert counts.keys() == set(damage.OUTCOMES)
    assert counts["silent"] == 0
    assert sum(counts.values()) > 0


# What an index says is not there, or a transaction or a stream would be written twice.


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    with tourlog.connect(path) as conn:
        for n in range(300):
            conn.append([{"k": f"stream {n}", "n": n}], "k", tx_id=f"id {n}")
        for n in range(1, 61):
            (document,) = conn.db().documents({"k": f"stream {n}"})
            conn.transact([{"db/id": document["db/id"], "n": -n}])
    return path


def without_last_leaf(path: Path, index: str) -> None:
    """Take the last entry off each leaf of an index, as if the disk had lost a write of every page."""
    raw = apsw.Connection(str(path))
    pages = raw.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (index,))
    numbers = [number for (number,) in pages.fetchall()]
    raw.close()
    content = bytearray(path.read_bytes())
    for number in numbers:
        start = (number - 1) * damage.PAGE
        assert content[start] == 10, "a leaf of an index"
        cells = int.from_bytes(content[start + 3 : start + 5], "big")
        content[start + 3 : start + 5] = (cells - 1).to_bytes(2, "big")
    path.write_bytes(content)


def with_key_changed(path: Path, index: str, key: bytes, other: bytes) -> None:
    raw = apsw.Connection(str(path))
    pages = raw.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (index,)).fetchall()
    raw.close()
    content = path.read_bytes()
    for (number,) in pages:
        start = (number - 1) * damage.PAGE
        page = content[start : start + damage.PAGE]
        if page.count(key) == 1:
            content = content[:start] + page.replace(key, other) + content[start + damage.PAGE :]
            path.write_bytes(content)
            return
    raise AssertionError("a page with the key")


def test_a_transaction_whose_id_the_index_has_lost_is_not_stored_twice(store: Path) -> None:
    without_last_leaf(store, "tx_by_id")
    with tourlog.connect(store) as conn:
        for n in range(300):
            before = conn.db().t
            try:
                assert conn.append([{"k": "again"}], "k", tx_id=f"id {n}").t == n + 1
            except tourlog.StorageError as error:
                assert "tx_by_id" in str(error)
                break
            assert conn.db().t == before
        else:
            raise AssertionError("expected an error")


def test_a_transaction_whose_id_was_changed_in_the_index_is_not_stored_twice(store: Path) -> None:
    with_key_changed(store, "tx_by_id", b"id 123", b"id 323")
    with tourlog.connect(store) as conn:
        with pytest.raises(tourlog.StorageError, match="tx_by_id"):
            conn.append([{"k": "again"}], "k", tx_id="id 123")
        assert conn.db().t == 360


def test_a_new_id_is_still_taken_and_others_are_found(store: Path) -> None:
    with tourlog.connect(store) as conn:
        assert conn.append([{"k": "again"}], "k", tx_id="id 7").t == 8
        assert conn.append([{"k": "again"}], "k", tx_id="new").t == 361


def test_a_stream_that_the_index_has_lost_is_neither_empty_nor_made_again(store: Path) -> None:
    without_last_leaf(store, "sqlite_autoindex_stream_1")
    with tourlog.connect(store) as conn, pytest.raises(tourlog.StorageError, match="sqlite_autoindex_stream_1"):
        for n in range(300):
            assert conn.db().documents({"k": f"stream {n}"})
    with tourlog.connect(store) as conn, pytest.raises(tourlog.StorageError, match="sqlite_autoindex_stream_1"):
        conn.append([{"k": "new"}], "k")


def test_a_change_of_a_document_that_the_index_has_lost_is_not_overlooked(store: Path) -> None:
    without_last_leaf(store, "entity_in_stream")
    with tourlog.connect(store) as conn, pytest.raises(tourlog.StorageError, match="entity_in_stream"):
        conn.db().documents({"k": "stream 1"})


# What reading alone notices, without `verify`.


def table_page(path: Path, table: str) -> int:
    """Where the only page of a table, or of an index, starts."""
    raw = apsw.Connection(str(path))
    ((number,),) = raw.execute("SELECT pageno FROM dbstat WHERE name = ?", (table,)).fetchall()
    raw.close()
    return int((number - 1) * damage.PAGE)


def with_page_of(path: Path, earlier: bytes, table: str) -> None:
    """Put a table's page as it was earlier: the disk lost a write."""
    start = table_page(path, table)
    path.write_bytes(damage.overwrite(path.read_bytes(), start, earlier[start : start + damage.PAGE]))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    with tourlog.connect(path) as conn:
        conn.append([{"k": "a", "n": 1}], "k", tx_id="first")
        conn.transact([{"db/id": "e", "n": 1}])
        own = conn.db().documents({"k": "a"})[0]["db/id"]
        conn.transact([{"db/id": own, "n": 2}])
    return path


def test_an_entity_whose_newest_state_the_disk_lost_is_not_read_as_it_was_before(small: Path) -> None:
    earlier = small.read_bytes()
    with tourlog.connect(small) as conn:
        conn.transact([{"db/id": "e", "n": 3}])
    with_page_of(small, earlier, "entity")
    with tourlog.connect(small, read_only=True) as conn, pytest.raises(tourlog.StorageError, match="every change"):
        conn.db().entity("e")


def test_a_stream_whose_newest_documents_the_disk_lost_is_not_read_as_shorter(small: Path) -> None:
    earlier = small.read_bytes()
    with tourlog.connect(small) as conn:
        conn.append([{"k": "a", "n": 3}], "k")
    with_page_of(small, earlier, "batch")
    with tourlog.connect(small, read_only=True) as conn, pytest.raises(tourlog.StorageError, match="newest"):
        conn.db().documents({"k": "a"})


def test_a_change_whose_state_the_disk_lost_is_not_left_out(small: Path) -> None:
    earlier = small.read_bytes()
    with tourlog.connect(small) as conn:
        own = conn.db().documents({"k": "a"})[0]["db/id"]
        conn.transact([{"db/id": own, "n": 3}])
    with_page_of(small, earlier, "entity")
    with tourlog.connect(small, read_only=True) as conn, pytest.raises(tourlog.StorageError, match="entity_in_stream"):
        conn.db().documents({"k": "a"})


def test_streams_of_a_table_the_disk_cut_short_are_not_left_out(small: Path) -> None:
    start = table_page(small, "stream")
    content = small.read_bytes()
    small.write_bytes(damage.overwrite(content, start + damage.PAGE // 2, bytes(damage.PAGE // 2)))
    with tourlog.connect(small, read_only=True) as conn, pytest.raises(tourlog.StorageError):
        conn.db().streams()


def test_a_transaction_whose_id_was_changed_in_the_index_is_not_said_to_be_unknown(store: Path) -> None:
    with_key_changed(store, "tx_by_id", b"id 123", b"id 323")
    log = SqliteLog(store, read_only=True)
    with pytest.raises(tourlog.StorageError, match="tx_by_id"):
        log.transaction_by_id("id 123")
    log.close()
