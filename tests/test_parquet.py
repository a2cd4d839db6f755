"""Parquet files have every value in a type that holds it exactly, or as JSON text; pyarrow and DuckDB read them."""

from __future__ import annotations

import doctest
import io
import math
import re
import tracemalloc
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from error_cases import without
from hypothesis import given
from hypothesis import strategies as st
from test_cli import fail, json_lines, succeed

import tourlog
from tourlog.errors import ArgumentError, StorageError
from tourlog.integrations import parquet
from tourlog.integrations.parquet import export_parquet
from tourlog.json_lines import import_json_lines, open_source
from tourlog.tables import json_line

pytest.importorskip("pyarrow")
DATA = Path(tourlog.__file__).parent / "data"


def table(documents: list[dict[str, Any]], folder: Path, key: Any = None) -> Any:
    """What pyarrow reads of these documents' file."""
    from pyarrow.parquet import read_table

    with tourlog.connect() as conn:
        conn.append(documents, "k")
        report = export_parquet(conn.db(), folder / "out.parquet", key)
    found = read_table(folder / "out.parquet")
    assert report.documents == found.num_rows
    assert list(report.columns) == found.column_names
    return found


def column(values: list[Any], folder: Path) -> tuple[str, list[Any]]:
    """The type of a column, `json` if it says so of itself, and its values."""
    found = table([{"k": 1, "v": value} for value in values], folder)
    field = found.schema.field("v")
    assert field.metadata in (None, {b"tourlog": b"json"})
    return f"json as {field.type}" if field.metadata else str(field.type), found["v"].to_pylist()


FIVE = timezone(timedelta(hours=5))


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([True, None, False], "bool"),
        ([1, -(2**63), 2**63 - 1, None], "int64"),
        ([1.5, math.inf, -0.0, 5e-324], "double"),
        ([1.5, 2, 2**53], "double"),
        (["", "null", "\0\n\"'", "é😀", "=1+1", None], "string"),
        ([b"", b"\0\xff"], "binary"),
        ([date(1, 1, 1), date(9999, 12, 31)], "date32[day]"),
        ([datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)], "timestamp[us]"),
        ([datetime(2026, 1, 31, tzinfo=UTC), datetime(2026, 1, 31, 5, tzinfo=FIVE)], "timestamp[us, tz=UTC]"),
        ([datetime(9999, 12, 31, 23, tzinfo=UTC)], "timestamp[us, tz=UTC]"),
        ([time(1, 2, 3, 4)], "time64[us]"),
        ([Decimal("1.50"), Decimal("-1234.5"), Decimal("1E+3")], "decimal128(6, 2)"),
        ([Decimal("0.001")], "decimal128(3, 3)"),
        ([Decimal(10) ** 37], "decimal128(38, 0)"),
        ([None, None], "string"),
    ],
    ids=str,
)
def test_values_of_one_kind_have_its_type(values: list[Any], type_: str, tmp_path: Path) -> None:
    assert column(values, tmp_path) == (type_, values)


@pytest.mark.parametrize(
    "values",
    [
        [1, "1", None],
        [1, True],
        [1, 2**63],
        [10**5000],
        [1.5, 2**53 + 1],
        [1.5, Decimal("1.5")],
        ["\ud800", "a"],
        [[1, "a"], {"b": None}],
        [{1, 2}],
        [timedelta(minutes=2)],
        [time(1, tzinfo=UTC)],
        [Decimal("NaN")],
        [Decimal(10) ** 38],
        [Decimal("1E-39")],
        [date(2026, 1, 31), datetime(2026, 1, 31)],
        [datetime(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)],
        [datetime(1, 1, 1, tzinfo=FIVE)],
        [UUID(int=1), "a"],
    ],
    ids=lambda values: str(values)[:40] if values != [10**5000] else "10**5000",
)
def test_what_no_type_holds_is_json_text(values: list[Any], tmp_path: Path) -> None:
    assert column(values, tmp_path) == ("json as string", list(map(json_line, values)))


def test_uuids_are_text(tmp_path: Path) -> None:
    assert column([UUID(int=1), None], tmp_path) == ("string", [str(UUID(int=1)), None])


SCALARS = {
    "bool": st.booleans(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "string": st.text(),
    "binary": st.binary(),
    "date32[day]": st.dates(),
    "timestamp[us]": st.datetimes(),
    "timestamp[us, tz=UTC]": st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones()),
    "time64[us]": st.times(),
}


def in_utc(value: Any) -> Any:
    """A datetime that a change of clocks leaves out equals none in another zone."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value


@given(st.data(), st.sampled_from(sorted(SCALARS)))
def test_any_value_of_a_kind_is_held_exactly(data: st.DataObject, type_: str) -> None:
    from pyarrow.parquet import read_table

    values = data.draw(st.lists(SCALARS[type_], min_size=1, max_size=4))
    written = io.BytesIO()

    @contextmanager
    def in_memory(_: object) -> Any:
        yield written

    with pytest.MonkeyPatch.context() as patch, tourlog.connect() as conn:
        patch.setattr(parquet, "replaced_file", in_memory)
        conn.append([{"k": 1, "v": value} for value in values], "k")
        stored = [in_utc(document["v"]) for document in conn.db().own_documents({"k": 1})]
        export_parquet(conn.db(), "out.parquet")
    found = read_table(io.BytesIO(written.getvalue()))
    assert (str(found.schema.field("v").type), found["v"].to_pylist()) == (type_, stored)


def test_a_file_has_a_column_for_every_attribute_and_the_place(tmp_path: Path) -> None:
    found = table([{"k": "a", "x": 1}, {"k": "b", "y": "z"}, {"k": "a", "": 2, "é": None}], tmp_path)
    rows = found.to_pylist()
    assert found.column_names == ["db/id", "db/key", "offset", "db/tx", "db/tx-instant", "k", "x", "", "é", "y"]
    assert [(row["db/key"], row["offset"], row["db/tx"], row["k"]) for row in rows] == [
        (["k"], 0, 1, "a"),
        (["k"], 1, 1, "a"),
        (["k"], 0, 1, "b"),
    ]
    assert [(row["x"], row["y"], row[""]) for row in rows] == [(1, None, None), (None, None, 2), (None, "z", None)]
    assert {type(row["db/tx-instant"]) for row in rows} == {datetime}
    assert len({UUID(row["db/id"]) for row in rows}) == 3
    assert table([{"k": "a", "x": 1}, {"k": "b"}], tmp_path, {"k": "b"}).column_names[5:] == ["k"]
    assert table([{"k": "a"}], tmp_path, "none").num_rows == 0


def test_a_long_stream_is_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow.parquet import ParquetFile

    with tourlog.connect() as conn:
        conn.append([{"k": n % 3, "n": n} for n in range(250)], "k")
        monkeypatch.setattr(parquet, "_GROUP_ROWS", 100)
        export_parquet(conn.db(), tmp_path / "rows.parquet")
        monkeypatch.setattr(parquet, "_GROUP_CHARACTERS", 1)
        export_parquet(conn.db(), tmp_path / "sizes.parquet")
    files = [ParquetFile(tmp_path / f"{name}.parquet") for name in ("rows", "sizes")]
    assert [file.metadata.num_row_groups for file in files] == [3, 250]
    expected = sorted(range(250), key=lambda n: (n % 3, n))
    assert [file.read()["n"].to_pylist() for file in files] == [expected, expected]


def test_a_stream_longer_than_memory_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP_CHARACTERS", 2_000_000)
    with tourlog.connect(tmp_path / "s.tour", durability="normal") as conn:
        for n in range(40):
            conn.append([{"k": "a", "n": n, "text": str(n % 10) * 1_000_000}], "k")
    with tourlog.connect(tmp_path / "s.tour", read_only=True) as conn:
        tracemalloc.start()
        report = export_parquet(conn.db(), tmp_path / "out.parquet")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert report.documents == 40
    assert peak < 20_000_000


GUIDE = Path(__file__).parent.parent / "notebooks" / "guide" / "files.md"


def test_the_example_of_the_guide_does_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs pyarrow, which the rest of the guide does without."""
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```text\n(>>> .*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    with tourlog.connect() as conn:
        parsed = doctest.DocTestParser().get_doctest(example, {"conn": conn, "duckdb": duckdb}, GUIDE.name, None, 0)
        failures: list[str] = []
        result = doctest.DocTestRunner().run(parsed, out=failures.append)
    assert (result.failed, result.attempted) == (0, 4), "".join(failures)


def test_duckdb_reads_a_real_history(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    with tourlog.connect() as conn, open_source(str(DATA / "commits.jsonl.gz")) as source:
        import_json_lines(conn, source, ["author"])
        export_parquet(conn.db(), out)
        documents = [
            {**each, "offset": offset}
            for _, stream, _ in conn.db().streams()
            for offset, each in enumerate(conn.db().own_documents(stream))  # type: ignore[arg-type]  # a stream is a key
        ]
    names = list(dict.fromkeys(name for each in documents for name in each))
    with duckdb.connect() as connection:
        selected = ", ".join(f'"{name}"' for name in names)
        found = connection.execute(f"SELECT {selected} FROM '{out}'").fetchall()
    assert len(found) == len(documents) > 5_000
    expected = [
        tuple(json_line(each[name]) if isinstance(each.get(name), list | dict) else each.get(name) for name in names)
        for each in documents
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_text("before", encoding="utf-8")
    with tourlog.connect() as conn:
        conn.append([{"k": 1}], "k")
        db = conn.db()
        with without("pyarrow"), pytest.raises(ArgumentError, match=r"pip install 'tourlog\[parquet\]'"):
            export_parquet(db, out)
        with pytest.raises(ArgumentError, match="expected a database as of a position"):
            export_parquet(db.since(1), out)
    with pytest.raises(StorageError):
        export_parquet(db, out)
    assert out.read_text("utf-8") == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_the_command_writes_parquet(tmp_path: Path) -> None:
    store, out = tmp_path / "s.tour", tmp_path / "out.parquet"
    with tourlog.connect(store) as conn:
        conn.append([{"k": "a", "x": 1}, {"k": "b"}], "k")
    (found,) = json_lines(succeed("export", store, out, "k=a", "--json"))
    assert (found["documents"], found["columns"][5:], found["t"]) == (1, ["k", "x"], 1)
    assert out.read_bytes()[:4] == b"PAR1"
    with without("pyarrow"):
        assert "pip install 'tourlog[parquet]'" in fail("export", store, tmp_path / "x", "--format", "parquet")
