"""CSV files have all that documents have, told apart by quotes, whatever it is; other programs read them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tracemalloc
from base64 import b64decode
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import json_lines, succeed
from test_storage import files_limited_to

import tourlog
from tourlog.csv_files import csv_line, export_csv
from tourlog.errors import ArgumentError, StorageError
from tourlog.json_lines import import_json_lines, open_source
from tourlog.values import MISSING

DATA = Path(tourlog.__file__).parent / "data"
_CELL = re.compile(r'("(?:[^"]|"")*"|[^",\n]*)(,|\n)')


def cells(line: str) -> list[tuple[bool, str]]:
    """Whether each cell of a line is quoted, and its text."""
    found, place = [], 0
    while place < len(line):
        match = _CELL.match(line, place)
        assert match is not None, line[place:]
        place = match.end()
        text = match[1]
        found.append((True, text[1:-1].replace('""', '"')) if text.startswith('"') else (False, text))
    return found


def read_back(cell: tuple[bool, str], kind: type) -> Any:
    """The value of a cell, if it is known of which kind it was."""
    is_text, text = cell
    if kind is type(MISSING):
        return MISSING if cell == (False, "") else None
    assert is_text == (kind not in (type(None), bool, int, float, Decimal))
    if kind is int and text.startswith(("0x", "-0x")):
        return int(text, 16)
    readers: dict[type, Any] = {
        str: lambda text: json.loads(text) if "\\ud" in text else text,
        bytes: b64decode,
        Decimal: Decimal,
        float: float,
        UUID: UUID,
        date: date.fromisoformat,
        datetime: datetime.fromisoformat,
    }
    return readers.get(kind, json.loads)(text)


VALUES = (
    st.just(MISSING)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**5000, -(10**5000), 2**63, 2**64])
    | st.floats(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.binary(max_size=20)
    | st.uuids()
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.text().filter(lambda text: "\\ud" not in text)
    | st.sampled_from(["", "null", "1", "true", "=1+1", "a\nb", 'a"b', ",", "\0", "\r\n", "\ud800", "é\udfffx", " a "])
    | st.lists(st.text(st.characters(exclude_categories=())) | st.integers(-9, 9), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=3), max_size=3)
)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_a_line_can_be_read_back(values: list[Any]) -> None:
    values = [0, *values]  # a line of one empty cell is no line
    line = csv_line(values).decode("utf-8")
    found = [read_back(cell, type(value)) for cell, value in zip(cells(line), values, strict=True)]
    assert found == values
    (row,) = csv.reader(io.StringIO(line, newline=""), strict=True)
    assert row == [text for _, text in cells(line)]


def test_what_csv_lacks_is_written_as_json() -> None:
    values = [math.nan, math.inf, Decimal("1.50"), timedelta(minutes=2), (1, "a"), {2, 1}, {"a": [b"x"]}, "\ud800"]
    assert csv_line(values) == (
        b'NaN,Infinity,1.50,"PT120S","[1, ""a""]","[1, 2]","{""a"": [""eA==""]}","""\\ud800"""\n'
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_a_file_has_a_column_for_every_attribute_of_any_document(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with tourlog.connect() as conn:
        conn.append([{"k": "a", "x": 1}, {"k": "b", "y": None}], "k")
        conn.append([{"topic": "t", "part": 1, "db": "=1+1"}], "topic", "part")
        conn.transact([("db/add", conn.db().documents({"k": "b"})[0]["db/id"], "late", "1\n2")])
        db = conn.db()
        report = export_csv(db, out)
        ids = [document["db/id"] for _, document in conn.subscribe().take(9)]
        instants = [each.instant.isoformat() for each in db.tx_range()]
    columns = ("db/id", "db/key", "offset", "db/tx", "db/tx-instant", "k", "x", "y", "late", "topic", "part", "db")
    assert (report.documents, report.columns, report.t) == (3, columns, 3)
    assert out.read_text("utf-8").splitlines()[0] == ",".join(f'"{name}"' for name in columns)
    places = [(ids[0], '["k"]', 0, 1), (ids[1], '["k"]', 0, 1), (ids[2], '["topic", "part"]', 0, 2)]
    own = [{"k": "a", "x": "1"}, {"k": "b", "y": "null", "late": "1\n2"}, {"topic": "t", "part": "1", "db": "=1+1"}]
    expected = [
        dict(zip(columns[:5], (*map(str, place), instants[place[3] - 1]), strict=True)) | each
        for place, each in zip(places, own, strict=True)
    ]
    assert [{name: text for name, text in row.items() if text} for row in rows(out)] == expected


def test_a_file_is_of_the_streams_and_the_position_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with tourlog.connect() as conn:
        conn.append([{"k": "a", "x": 1}, {"k": "b", "y": 2}], "k")
        conn.append([{"k": "a", "z": 3}], "k")
        assert export_csv(conn.db().as_of(1), out, {"k": "a"}).columns[5:] == ("k", "x")
        assert [row["x"] for row in rows(out)] == ["1"]
        assert export_csv(conn.db(), out, "none").documents == 0
        assert rows(out) == []
        with pytest.raises(ArgumentError, match="expected a database as of a position"):
            export_csv(conn.db().history(), out)
        db = conn.db()
    with pytest.raises(StorageError):
        export_csv(db, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_stream_longer_than_memory_is_no_matter(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "s.tour", durability="normal") as conn:
        for n in range(40):
            conn.append([{"k": "a", "n": n, "text": str(n % 10) * 1_000_000}], "k")
    with tourlog.connect(tmp_path / "s.tour", read_only=True) as conn:
        tracemalloc.start()
        export_csv(conn.db(), tmp_path / "out.csv")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (tmp_path / "out.csv").stat().st_size > 40_000_000
    assert peak < 20_000_000


def test_a_disk_without_room_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before", encoding="utf-8")
    with tourlog.connect() as conn:
        conn.append([{"k": 1, "text": "x" * 1_000_000}], "k")
        with files_limited_to(100_000), pytest.raises(StorageError, match="expected a file that can be written"):
            export_csv(conn.db(), out)
    assert [(path.name, path.read_text("utf-8")) for path in tmp_path.iterdir()] == [("out.csv", "before")]


def test_a_path_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before", encoding="utf-8")
    with tourlog.connect() as conn:
        for path in (tmp_path / ("x" * 300), tmp_path / "file" / "x", tmp_path / "none" / "x"):
            with pytest.raises(StorageError, match="expected a file that can be written, got ") as raised:
                export_csv(conn.db(), path)
            assert raised.value.path == str(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_duckdb_reads_a_real_history(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with tourlog.connect() as conn, open_source(str(DATA / "file-events.jsonl.gz")) as source:
        import_json_lines(conn, source, ["aggregate-id"])
        report = export_csv(conn.db(), out)
        expected = [
            (stream.values[0], offset, each["type"], each["author"])
            for _, stream, _ in conn.db().streams()
            for offset, each in enumerate(conn.db().own_documents(stream))  # type: ignore[arg-type]  # a stream is a key
        ]
    assert report.documents == len(expected) > 9_000
    query = (
        f"SELECT \"aggregate-id\", \"offset\", type, author FROM read_csv('{out}', types={{'aggregate-id': 'TEXT'}})"
    )
    with duckdb.connect() as connection:
        assert sorted(connection.execute(query).fetchall()) == sorted(expected)


def test_the_command_writes_csv(tmp_path: Path) -> None:
    store, out = tmp_path / "s.tour", tmp_path / "out.csv"
    with tourlog.connect(store) as conn:
        conn.append([{"k": "a", "x": 1}, {"k": "b"}], "k")
    assert succeed("export", store, out, "k=a") == f"wrote 1 document of {store} to {out}\n"
    assert [row["k"] for row in rows(out)] == ["a"]
    (found,) = json_lines(succeed("export", store, tmp_path / "x", "--format", "csv", "--json"))
    assert (found["documents"], found["columns"][5:], found["t"]) == (2, ["k", "x"], 1)
