"""Rows as data frames: no value changes on the way, whatever the library."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tourlog
from tourlog import ArgumentError, Rows
from tourlog.values import identity

ID = UUID("5b0e0000-0000-4000-8000-000000000001")
NOON = datetime(2026, 1, 31, 12)
EAST = timezone(timedelta(hours=2))

# Values of one column; its type in pandas, polars and Arrow. None for Arrow: no type of its holds them.
COLUMNS: list[tuple[list[Any], str, str, str | None]] = [
    ([1, 2], "int64", "Int64", "int64"),
    ([1, None], "Int64", "Int64", "int64"),
    ([2**63], "object", "Int128", None),
    ([2**63, -1, None], "object", "Int128", None),
    ([[2**63]], "object", "Object", None),
    ([2**127], "object", "Object", None),
    ([0.5, float("inf")], "float64", "Float64", "double"),
    ([1, 2.5], "float64", "Float64", "double"),
    ([2**53 + 1, 2.5], "object", "Object", None),
    ([True, False], "bool", "Boolean", "bool"),
    ([True, None], "boolean", "Boolean", "bool"),
    ([True, 1], "object", "Object", None),
    ([1, "1"], "object", "Object", None),
    (["a", ""], "str", "String", "string"),
    ([b"\0"], "object", "Binary", "binary"),
    ([Decimal("1.10"), None], "object", "Decimal(precision=38, scale=2)", "decimal128(3, 2)"),
    ([Decimal("1e30"), Decimal("1e-30")], "object", "Object", None),
    ([Decimal("NaN")], "object", "Object", None),
    ([ID], "object", "Object", "extension<arrow.uuid>"),
    ([NOON, None], "datetime64[us]", "Datetime(time_unit='us', time_zone=None)", "timestamp[us]"),
    (
        [NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=EAST)],
        "datetime64[us, UTC]",
        "Datetime(time_unit='us', time_zone='UTC')",
        "timestamp[us, tz=UTC]",
    ),
    ([NOON, NOON.replace(tzinfo=UTC)], "object", "Object", None),
    ([date(2026, 1, 31)], "object", "Date", "date32[day]"),
    ([time(12, 0)], "object", "Time", "time64[us]"),
    ([time(12, 0, tzinfo=UTC)], "object", "Object", None),
    ([timedelta(days=1)], "timedelta64[us]", "Duration(time_unit='us')", "duration[us]"),
    ([[1, 2], [3]], "object", "List(Int64)", "list<item: int64>"),
    ([[1], ["a"]], "object", "Object", None),
    ([{1, 2}], "object", "Object", None),
    ([{"a": 1}, {"a": 2}], "object", "Struct({'a': Int64})", "struct<a: int64>"),
    ([{"a": 1}, {"b": 2}], "object", "Object", None),
]


def rows_of(values: list[Any]) -> Rows:
    return Rows(("?n", "?x"), list(enumerate(values)))


@pytest.mark.parametrize(("values", "wanted", "_polars", "_arrow"), COLUMNS)
def test_pandas_gets_a_type_that_holds_every_value_or_objects(
    values: list[Any], wanted: str, _polars: str, _arrow: str | None
) -> None:
    pandas = pytest.importorskip("pandas")
    column = rows_of(values).to_pandas()["?x"]
    assert str(column.dtype) == wanted
    got = [None if value is pandas.NA or value is pandas.NaT else value for value in column]
    assert got == values


@pytest.mark.parametrize(("values", "_pandas", "wanted", "_arrow"), COLUMNS)
def test_polars_gets_a_type_that_holds_every_value_or_objects(
    values: list[Any], _pandas: str, wanted: str, _arrow: str | None
) -> None:
    pytest.importorskip("polars")
    column = rows_of(values).to_polars()["?x"]
    assert str(column.dtype) == wanted
    assert repr(column.to_list()) == repr(values) or column.to_list() == values


@pytest.mark.parametrize(("values", "_pandas", "_polars", "wanted"), COLUMNS)
def test_arrow_gets_a_type_that_holds_every_value_or_refuses(
    values: list[Any], _pandas: str, _polars: str, wanted: str | None
) -> None:
    pytest.importorskip("pyarrow")
    if wanted is None:
        with pytest.raises(ArgumentError, match=r"one type of Arrow's holds exactly in \?x, got"):
            rows_of(values).to_arrow()
    else:
        column = rows_of(values).to_arrow()["?x"]
        assert (str(column.type), column.to_pylist()) == (wanted, values)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.decimals(),
    st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)),
    st.dates(),
)
KINDS = st.sampled_from([st.integers(), st.floats(), st.one_of(st.integers(), st.floats()), st.decimals(), SCALARS])


@given(KINDS.flatmap(st.lists))
def test_any_column_comes_back_from_polars_as_it_went_in(values: list[Any]) -> None:
    pytest.importorskip("polars")
    got = rows_of(values).to_polars()["?x"].to_list()
    assert list(map(identity, got)) == list(map(identity, values))


def test_columns_are_named_as_the_answer_names_them_even_without_rows() -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    empty = Rows(("?a", "(count ?b)"), [])
    assert list(empty.to_pandas().columns) == ["?a", "(count ?b)"]
    assert empty.to_polars().columns == ["?a", "(count ?b)"]
    assert empty.to_arrow().column_names == ["?a", "(count ?b)"]
    named = Rows(("a", "b"), [{"a": 1, "b": 2}])
    assert named.to_pandas().to_dict("records") == [{"a": 1, "b": 2}]


def test_pulled_documents_become_columns_one_an_attribute() -> None:
    pytest.importorskip("polars")
    pulled = Rows(("(pull ?e)",), [({"name": "Ann", "age": 3},), ({"name": "Bob"},)])
    assert pulled.to_polars().to_dicts() == [{"name": "Ann", "age": 3}, {"name": "Bob", "age": None}]


def test_an_entity_of_which_nothing_is_pulled_stays_a_row() -> None:
    pytest.importorskip("polars")
    pulled = Rows(("(pull ?e)",), [({"name": "Ann"},), (None,)])
    assert pulled.to_polars().to_dicts() == [{"(pull ?e)": {"name": "Ann"}}, {"(pull ?e)": None}]


@pytest.mark.parametrize(
    ("package", "method"), [("pandas", "to_pandas"), ("polars", "to_polars"), ("pyarrow", "to_arrow")]
)
def test_a_library_that_is_not_installed_is_named_with_the_extra_that_brings_it(package: str, method: str) -> None:
    program = f"import sys, tourlog; sys.modules[{package!r}] = None; tourlog.Rows(('?x',), [(1,)]).{method}()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"tourlog.errors.ArgumentError: expected {package} to be installed: pip install 'tourlog[frames]'"
    )


def test_an_answer_becomes_a_frame() -> None:
    pytest.importorskip("polars")
    conn = tourlog.connect()
    conn.append([{"bot": "a", "x": 1}, {"bot": "b", "x": 2}], "bot")
    answer = conn.db().q("[:find ?bot ?x :where [?e :bot ?bot] [?e :x ?x] :order-by [?bot]]")
    assert answer.to_polars().to_dicts() == [{"?bot": "a", "?x": 1}, {"?bot": "b", "?x": 2}]
