"""Stores that earlier versions wrote open and answer exactly as they did then; see tests/stores/make.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from stores.make import STREAMS, answers, main, write

from tourlog import Stream, connect, verify
from tourlog.storage.sqlite_file import VERSION

STORES = Path(__file__).parent / "stores"
KEPT = sorted(each.stem for each in STORES.glob("*.tour"))


@pytest.fixture(params=KEPT)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    """A copy: what opens a store may write to it."""
    return Path(shutil.copy(STORES / f"{name}.tour", tmp_path))


def test_the_present_version_is_among_them() -> None:
    assert f"version-{VERSION}" in KEPT


@pytest.mark.parametrize("read_only", [True, False])
def test_a_kept_store_answers_exactly(name: str, path: Path, read_only: bool) -> None:
    assert verify(path).ok
    with connect(path, read_only=read_only) as conn:
        assert answers(conn) == json.loads((STORES / f"{name}.json").read_text(encoding="utf-8"))
        db = conn.db()
        for key, documents in STREAMS.items():
            stream = Stream(tuple(each for each, _ in key), tuple(value for _, value in key))
            expected = [dict(each) for each in documents]
            if stream.values == ("orders",):
                expected[1]["n"] = "changed"
            found = list(db.own_documents(stream))
            assert found == expected
            assert [[*map(type, each.values())] for each in found] == [[*map(type, each.values())] for each in expected]


def test_only_writing_makes_a_kept_store_one_of_this_version(name: str, path: Path) -> None:
    def version() -> str:
        return f"version-{int.from_bytes(path.read_bytes()[60:64], 'big')}"

    connect(path, read_only=True).close()
    assert version() == name
    connect(path).close()
    assert version() == f"version-{VERSION}"


def test_a_kept_store_is_written_on(path: Path) -> None:
    with connect(path) as conn:
        t = conn.db().t
        assert conn.append([{"topic": "orders", "n": 120}], "topic").t == t + 1
        assert conn.append([{"topic": "orders", "n": 0}], "topic", tx_id="orders 0").t == 1
        assert len(conn.db().documents({"topic": "orders"})) == 121
        conn.compact()
    found = verify(path)
    assert (found.position, found.findings) == (t + 1, ())


def test_a_store_made_today_is_like_the_kept_one(tmp_path: Path) -> None:
    """But for its ids and instants."""
    kept = json.loads((STORES / f"version-{VERSION}.json").read_text(encoding="utf-8"))
    with connect(tmp_path / "new") as conn:
        write(conn)
        found = answers(conn)
    assert found.keys() == kept.keys()
    for part in ("t", "streams", "ages", "sum", "entities", "invariants"):
        assert found[part] == kept[part], part


def test_a_kept_store_is_never_made_again(tmp_path: Path) -> None:
    (tmp_path / "a.tour").write_text("kept")
    with pytest.raises(SystemExit, match="is kept as it is"):
        main(str(tmp_path / "a"))
