"""What is displayed: escaped, cut, and the same for every kind of value. No browser needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tourlog
from tourlog import Rows
from tourlog.html import (
    CELL_LENGTH,
    MOST_COLUMNS,
    MOST_ROWS,
    document_html,
    documents_html,
    edn_ansi,
    edn_html,
    rows_text,
    shown_value,
    table_html,
    tokens,
)

_VOID = {"progress"}


class Page(HTMLParser):
    """What a reader sees of HTML, and whether its tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # inherited
        self.tags.add(tag)
        self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def seen(displayed: Any) -> list[str]:
    """The texts of what something shows in a notebook."""
    return Page(displayed._repr_html_()).texts


def cells(html: str) -> list[list[str]]:
    """The table in some HTML, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.S)
    return [["".join(Page(cell).texts) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)] for row in rows]


@pytest.fixture
def robots() -> Iterator[tourlog.Connection]:
    with tourlog.connect() as conn:
        events = [{"bot": "a", "x": 1}, {"bot": "b", "x": 2}, {"bot": "a", "x": 3}]
        conn.append(events, "bot")
        yield conn


def test_a_database_shows_its_position_its_streams_and_how_many_documents_they_hold(robots: tourlog.Connection) -> None:
    shown = robots.db()._repr_html_()
    assert shown is not None
    assert Page(shown).texts[:2] == ["Database at t = 1", "3 documents in 2 streams"]
    assert cells(shown) == [["stream", "key", "documents"], ["a", "bot", "2"], ["b", "bot", "1"]]


def test_a_database_of_another_time_says_so(robots: tourlog.Connection) -> None:
    robots.append([{"bot": "c", "x": 0}], "bot")
    db = robots.db()
    titles = [seen(each)[0] for each in (db.as_of(1), db.since(1), db.history())]
    assert titles == ["Database at t = 1", "Database at t = 2, since 1", "Database at t = 2, history"]


def test_an_empty_database_has_no_table() -> None:
    assert seen(tourlog.connect().db()) == ["Database at t = 0", "0 documents in 0 streams"]


def test_a_database_with_many_streams_shows_the_first_and_counts_the_rest() -> None:
    conn = tourlog.connect()
    conn.append([{"k": number} for number in range(1234)], "k")
    texts = seen(conn.db())
    assert texts[1] == "1,234 documents in 1,234 streams"
    assert texts[-1] == "1,234 streams, the first 10 shown"


def test_what_is_shown_after_its_store_was_closed_is_left_to_repr(tmp_path: Path) -> None:
    conn = tourlog.connect(tmp_path / "closed.tour")
    report = conn.append([{"k": 1}], "k")
    conn.close()
    assert (report._repr_html_(), report.db_after._repr_html_()) == (None, None)


def test_a_report_shows_the_offsets_and_the_facts(robots: tourlog.Connection) -> None:
    report = robots.append([{"bot": "a", "x": 4}, {"bot": "a", "x": 5}, {"bot": "c", "x": 6}], "bot")
    html = report._repr_html_()
    assert html is not None
    assert cells(html)[:3] == [["stream", "offsets", "documents"], ["bot=a", "2 … 3", "2"], ["bot=c", "0", "1"]]
    assert "9 facts" in Page(html).texts
    assert [row[:1] + row[2:] for row in cells(html)[3:6]] == [["", "a", "v"], ["+", "offset", "2"], ["+", "bot", "a"]]


def test_a_report_shows_what_was_taken_back(robots: tourlog.Connection) -> None:
    robots.transact([{"db/id": "k", "n": 1}])
    html = robots.transact([("db/retract", "k", "n", 1)])._repr_html_()
    assert html is not None
    assert cells(html) == [["", "e", "a", "v"], ["−", "k", "n", "1"]]


def test_a_large_report_shows_its_first_facts(robots: tourlog.Connection) -> None:
    report = robots.append([{"bot": "z", "x": number} for number in range(1000)], "bot")
    assert f"the first {MOST_ROWS} facts" in seen(report)


def test_a_report_of_nothing_says_so(robots: tourlog.Connection) -> None:
    assert seen(robots.transact([])) == ["Transaction 1", "nothing was written"]


def test_rows_show_a_table_and_their_number(robots: tourlog.Connection) -> None:
    answer = robots.db().q("[:find ?bot (sum ?x) :where [?e :bot ?bot] [?e :x ?x] :order-by [?bot]]")
    assert cells(answer._repr_html_()) == [["?bot", "(sum ?x)"], ["a", "4"], ["b", "2"]]
    assert seen(answer)[-1] == "2 rows"
    named = robots.db().q("[:find ?bot :keys bot :where [?e :bot ?bot] :order-by [?bot]]")
    assert cells(named._repr_html_()) == [["bot"], ["a"], ["b"]]


def test_pulled_documents_are_spread_over_columns(robots: tourlog.Connection) -> None:
    answer = robots.db().q('[:find (pull ?e [:bot :x]) :where [?e :bot "b"]]')
    assert cells(answer._repr_html_()) == [["bot", "x"], ["b", "2"]]
    assert seen(answer)[-1] == "1 document"


def test_long_answers_are_cut_and_say_how_long_they_are() -> None:
    rows = Rows(("?n",), [(number,) for number in range(5531)])
    assert len(cells(rows._repr_html_())) == 1 + MOST_ROWS
    assert seen(rows)[-1] == "5,531 rows, the first 20 shown"
    assert rows_text(rows.columns, list(rows)).splitlines()[-1] == "5,531 rows, the first 20 shown"


def test_wide_answers_are_cut_and_say_how_wide_they_are() -> None:
    wide = documents_html([{f"a{number}": number for number in range(100)}])
    assert len(cells(wide)[1]) == MOST_COLUMNS
    assert Page(wide).texts[-1] == "1 document; 100 columns, the first 30 shown"


def test_rows_of_no_columns_and_no_rows_are_tables_too() -> None:
    assert cells(Rows(("?a", "?b"), [])._repr_html_()) == [["?a", "?b"]]
    assert rows_text(("?a", "?b"), []) == "?a  ?b\n0 rows"


def test_long_values_are_cut_and_whole_in_a_tooltip() -> None:
    html = table_html(["v"], [["x" * 150]], total=1)
    assert cells(html)[1] == ["x" * CELL_LENGTH + "…"]
    assert f'title="{"x" * 150}"' in html


def test_no_value_is_too_large_to_show() -> None:
    deep: list[Any] = []
    for _ in range(50):
        deep = [deep]
    values = ["x" * 10_000_000, 10**100_000, list(range(1_000_000)), b"\0" * 10_000_000, deep, {"k": 10**10_000}]
    assert len(table_html(None, [values], total=1)) < 20_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\u001b[2J"),
        ("abc\u202edef", r"abc\u202edef"),
        (True, "True"),
        (Decimal("1.50"), "1.50"),
        (datetime(2026, 1, 31, tzinfo=UTC), "2026-01-31 00:00:00+00:00"),
        (b"\0", r"b'\x00'"),
        (["a", 1, None], "['a', 1, None]"),
        ((1,), "(1,)"),
        ({"a": {"b": "c"}}, "{'a': {'b': 'c'}}"),
        (set(), "set()"),
        ({}, "{}"),
    ],
)
def test_a_value_is_shown_as_text_or_as_python_writes_it(value: Any, text: str) -> None:
    assert shown_value(value) == text


@given(
    st.dictionaries(
        st.text(), st.recursive(st.text() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
    )
)
def test_nothing_in_a_document_becomes_markup(document: dict[str, Any]) -> None:
    for html in (document_html(document), documents_html([document])):
        assert Page(html).tags <= {"div", "table", "thead", "tbody", "tr", "th", "td", "span"}


@given(st.text(alphabet="[](){}\"';:?$%#\\ab1 \n<>&"))
def test_colour_changes_no_character_of_edn(text: str) -> None:
    assert "".join(part for _, part in tokens(text)) == text
    assert "".join(Page(edn_html(text)).texts) == text
    assert re.sub(r"\x1b\[\d+m", "", edn_ansi(text)) == text


def test_each_kind_of_token_has_its_colour() -> None:
    text = '[:find (count ?e) :in $ % :where [?e :a "s"] [(< 1.5 ?o\')] ; why\n [?e :at #inst "2026"]]'
    found = [(kind, part) for kind, part in tokens(text) if kind is not None]
    assert found == [
        ("keyword", ":find"),
        ("function", "count"),
        ("variable", "?e"),
        ("keyword", ":in"),
        ("variable", "$"),
        ("variable", "%"),
        ("keyword", ":where"),
        ("variable", "?e"),
        ("keyword", ":a"),
        ("string", '"s"'),
        ("function", "<"),
        ("number", "1.5"),
        ("variable", "?o'"),
        ("comment", "; why"),
        ("variable", "?e"),
        ("keyword", ":at"),
        ("string", "#inst"),
        ("string", '"2026"'),
    ]


def test_a_plan_shows_strata_engine_and_what_it_is_given(robots: tourlog.Connection) -> None:
    plan = robots.db().explain("[:find ?bot :where [?e :bot ?bot]]")
    assert "".join(seen(plan)).startswith("planrows(?bot) <- [?e 'bot' ?bot]query")
    assert f"engine: {plan.engine} ({plan.reason})" in seen(plan)


def test_queries_and_rules_show_their_text() -> None:
    query = tourlog.gen_datalog("take", "topic")
    assert " ".join("".join(seen(query)).split()) == query.edn
    rules = tourlog.gen_rules("topic")
    assert "".join(seen(rules)) == rules.edn


def test_a_long_value_has_a_least_width_and_breaks_anywhere() -> None:
    """Beside a value without spaces, a list of numbers was a line for each number."""
    found = tourlog.html.table_html(["long", "short"], [["x" * 60, "a-b"]], total=1)
    assert '<td style="text-align:left;min-width:18em;overflow-wrap:anywhere">xxx' in found
    assert '<td style="text-align:left;white-space:nowrap">a-b</td>' in found
