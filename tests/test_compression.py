"""Bodies as they are stored, and what pretends to be one."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tourlog
from tourlog.encoding import encode_documents
from tourlog.errors import StorageError
from tourlog.storage.compression import HEAD, packed, size_of, unpacked

ALIKE = encode_documents([{"type": "moved", "x": n, "note": "a step on the way"} for n in range(100)])


@given(st.binary(max_size=2000).filter(lambda body: not body.startswith(b"\xc1")), st.integers(1, 40))
def test_every_body_comes_back_and_none_gets_longer(part: bytes, times: int) -> None:
    body = part * times
    stored = packed(body)
    assert unpacked(stored) == body
    assert len(stored) <= len(body)
    assert size_of(len(stored), stored[:5]) == len(body)


def test_documents_that_are_alike_take_a_fraction() -> None:
    assert len(packed(ALIKE)) < len(ALIKE) / 5
    assert packed(ALIKE)[:1] == b"\xc1"


def test_what_does_not_get_shorter_is_stored_as_it_is() -> None:
    for body in (b"\x90", b"\x91" + bytes(100), b"\xc4\xff" + os.urandom(500)):
        assert packed(body) == body


@pytest.mark.parametrize("size", [0, 1, 5999, 6001, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_wrong_size_is_damage_and_takes_no_memory(size: int) -> None:
    stored = packed(bytes(6000))
    assert unpacked(stored[:1] + size.to_bytes(4, "little") + stored[5:]) is None


@given(st.binary(max_size=300))
def test_anything_after_the_mark_is_a_body_or_damage(rest: bytes) -> None:
    body = unpacked(b"\xc1" + rest)
    assert body is None or len(body) == int.from_bytes(rest[:4], "little")


@pytest.mark.parametrize("change", ["cut", "flipped", "of another", "not compressed", "a text"])
def test_a_changed_body_is_refused_by_every_way_of_reading(tmp_path: Path, change: str) -> None:
    path = tmp_path / "s.tour"
    with tourlog.connect(path) as conn:
        conn.append([{"k": 1, "n": n, "note": "a step on the way"} for n in range(100)], "k")
        conn.append([{"k": 1, "n": -n, "note": "a step on the way"} for n in range(100)], "k")
    raw = sqlite3.connect(path)
    (place, body), (_, other) = raw.execute("SELECT place, body FROM batch ORDER BY place")
    assert body[:1] == b"\xc1"
    assert raw.execute(f"SELECT {HEAD} FROM batch").fetchall() == [(body[:5],), (other[:5],)]
    changed = {
        "cut": body[:-1],
        "flipped": body[:20] + bytes((body[20] ^ 1,)) + body[21:],
        "of another": other,
        "not compressed": encode_documents([{"k": 1, "n": n} for n in range(100)]),
    }.get(change, body)
    value = "CAST(? AS TEXT)" if change == "a text" else "?"
    raw.execute("PRAGMA ignore_check_constraints = 1")
    sql = f"UPDATE batch SET body = {value} WHERE place = ?"
    try:
        raw.execute(sql, (changed, place))
    except sqlite3.IntegrityError:  # the table is STRICT
        assert change == "a text"
        return
    raw.commit()
    raw.close()
    with tourlog.connect(path, read_only=True) as conn:
        db = conn.db()
        for read in (
            lambda: db.documents({"k": 1}),
            lambda: db.documents({"k": 1}, 50, 51),
            lambda: list(db.iter_documents({"k": 1})),
            lambda: db.q("[:find (sum ?n) . :where [_ :n ?n]]", engine="compiled"),
            lambda: db.q("[:find (sum ?n) . :where [_ :n ?n]]", engine="pydatalog"),
        ):
            with pytest.raises(StorageError, match="got damage at 100 documents of stream 1 from offset 0 on"):
                read()
    assert not tourlog.verify(path).ok


def test_the_checksum_is_of_the_documents_however_they_are_stored(tmp_path: Path) -> None:
    """So that what `tx` says of them stays true when they are joined or stored otherwise."""
    path = tmp_path / "s.tour"
    with tourlog.connect(path) as conn:
        conn.append([{"k": 1, "n": n, "note": "a step on the way"} for n in range(100)], "k")
        body = encode_documents(conn.db().own_documents({"k": 1}))
    raw = sqlite3.connect(path)
    ((body_crc, places),) = raw.execute("SELECT body_crc, places FROM batch, tx")
    assert (body_crc, msgspec.msgpack.decode(places)[2]) == (crc32(body), crc32(body))
    raw.execute("UPDATE batch SET body = ?", (body,))
    raw.commit()
    raw.close()
    assert tourlog.verify(path).ok
