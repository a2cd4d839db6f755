"""Pictures: what they show, as the texts and arrows of their SVG, and what cannot be drawn."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import tourlog
from tourlog import ArgumentError
from tourlog.pictures import Picture, causation, plan_graph, rule_graph, timeline

needs_altair = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import altair, vl_convert"], capture_output=True, check=False).returncode
    != 0,
    reason="the notebook extra is not installed",
)

RULES = """[[(ancestor ?c ?p) [?e :commit ?c] [?e :parents ?p]]
            [(ancestor ?c ?o) (ancestor ?c ?p) [?e :commit ?p] [?e :parents ?o]]
            [(root ?c) [?e :commit ?c] (not [?e :parents _])]
            [(other ?c) (or (root ?c) (and [?e :commit ?c] (not (ancestor ?c _))))]]"""


@pytest.fixture
def shop() -> Iterator[tourlog.Connection]:
    """A story: m1 leads to m2 and m3, these to m4; m9 stands alone."""
    story = [
        {"shop": 1, "id": "m1", "type": "placed", "at": 10},
        {"shop": 1, "id": "m2", "type": "paid", "because": "m1", "at": 12},
        {"shop": 1, "id": "m3", "type": "reserved", "because": "m1", "at": 15},
        {"shop": 2, "id": "m4", "type": "shipped", "because": ["m2", "m3"], "at": 20},
        {"shop": 2, "id": "m9", "type": "placed", "at": 30},
    ]
    with tourlog.connect() as conn:
        conn.append(story, "shop")
        yield conn


def texts(picture: Picture) -> list[str]:
    """Every line of text in a picture, in order, without its indentation."""
    root = ElementTree.fromstring(picture.svg())
    lines = [element for element in root.iter() if element.tag.endswith(("}text", "}tspan")) and element.text]
    return [str(line.text).strip("\u200b\u00a0") for line in lines]


def arrows(picture: Picture) -> tuple[int, int]:
    """How many arrows there are, and how many of them are dashed."""
    paths = re.findall(
        r"<path aria-label=\"[^\"]*negated: (true|false)[^\"]*\"[^>]*aria-roledescription=\"line mark\"", picture.svg()
    )
    return len(paths), paths.count("true")


# Timelines.


@needs_altair
def test_a_timeline_of_one_stream_has_a_lane_for_each_kind(shop: tourlog.Connection) -> None:
    picture = timeline(shop.db(), {"shop": 1})
    assert {"placed", "paid", "reserved", "offset", "0", "1", "2"} <= set(texts(picture))
    assert picture.title == "3 documents of shop=1"


@needs_altair
def test_a_timeline_of_several_streams_has_a_lane_for_each_and_colours_for_kinds(shop: tourlog.Connection) -> None:
    picture = timeline(shop.db(), {"shop": 1}, {"shop": 2}, at="at")
    assert {"shop=1", "shop=2", "type", "placed", "paid", "reserved", "shipped", "at"} <= set(texts(picture))
    points = [(point["stream"], point["at"], point["kind"]) for point in picture.chart.data.values]
    assert points[:2] + points[3:] == [
        ("shop=1", 10, "placed"),
        ("shop=1", 12, "paid"),
        ("shop=2", 20, "shipped"),
        ("shop=2", 30, "placed"),
    ]


@needs_altair
def test_a_timeline_shows_moments_in_utc_whatever_they_are_written_as() -> None:
    conn = tourlog.connect()
    moments: list[Any] = [
        "2026-01-31T01:00:00+02:00",
        "2026-01-31",
        datetime(2026, 1, 31, 12),
        datetime(2026, 1, 31, 12, tzinfo=UTC),
        date(2026, 2, 1),
    ]
    conn.append([{"k": 1, "at": at} for at in moments], "k")
    shown = [point["at"] for point in timeline(conn.db(), {"k": 1}, at="at").chart.data.values]
    assert shown == [
        "2026-01-30T23:00:00Z",
        "2026-01-31T00:00:00Z",
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z",
        "2026-02-01T00:00:00Z",
    ]


def test_a_timeline_needs_documents_and_moments(shop: tourlog.Connection) -> None:
    db = shop.db()
    with pytest.raises(ArgumentError, match="the key of at least one stream"):
        timeline(db)
    with pytest.raises(ArgumentError, match="expected a stream with documents, got shop=3"):
        timeline(db, {"shop": 3})
    with pytest.raises(ArgumentError, match="expected a time in type of document 0 of shop=1, got 'placed'"):
        timeline(db, {"shop": 1}, at="type")


# Causes.


@needs_altair
def test_causation_shows_what_led_to_a_document_and_what_followed(shop: tourlog.Connection) -> None:
    picture = causation(shop.db(), "m2", cause="because", id="id")
    assert sorted(texts(picture)) == ["m1", "m2", "m3", "m4", "paid", "placed", "reserved", "shipped"]
    assert arrows(picture) == (4, 0)


@needs_altair
def test_causation_shows_the_nearest_when_there_are_too_many(shop: tourlog.Connection) -> None:
    picture = causation(shop.db(), "m1", cause="because", id="id", most=3)
    assert sorted(texts(picture)) == ["m1", "m2", "m3", "paid", "placed", "reserved"]
    assert picture.title == "what caused m1, and what it caused, the nearest 3"


@needs_altair
def test_causation_that_is_wider_than_a_page_leads_from_the_top_down() -> None:
    """Made to fit, a long chain could not be read."""
    chain = [{"k": 1, "id": n, "type": "a kind of event", "because": n - 1} for n in range(20)]
    size = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
    with tourlog.connect() as conn:
        conn.append(chain, "k")
        sizes = [
            tuple(map(float, size.findall(causation(conn.db(), 0, cause="because", id="id", most=most).svg())[0]))
            for most in (4, 20)
        ]
    assert sizes[0][0] > sizes[0][1]
    assert sizes[1][0] < 200 < 1500 < sizes[1][1]


@needs_altair
def test_causation_goes_by_the_ids_of_entities_unless_told_otherwise() -> None:
    conn = tourlog.connect()
    conn.transact(
        [{"db/id": "a", "type": "x"}, {"db/id": "b", "causation-id": "a"}, {"db/id": "c", "causation-id": "c"}]
    )
    assert texts(causation(conn.db(), "a")) == ["x", "a", "b"]
    assert arrows(causation(conn.db(), "c")) == (0, 0)


def test_causation_needs_a_document_and_room_for_it(shop: tourlog.Connection) -> None:
    with pytest.raises(ArgumentError, match="expected the id of a document, got 'm5'"):
        causation(shop.db(), "m5", cause="because", id="id")
    with pytest.raises(ArgumentError, match="expected the db/id of a document, got 'm1'"):
        causation(shop.db(), "m1", cause="because")
    with pytest.raises(ArgumentError, match="expected at least 1 document to show, got 0"):
        causation(shop.db(), "m1", cause="because", id="id", most=0)


# Rules and plans.


@needs_altair
def test_a_rule_graph_shows_what_each_rule_uses_and_what_it_negates() -> None:
    picture = rule_graph(RULES)
    assert sorted(texts(picture)) == [
        "(ancestor ?c ?o) ↻",
        "(other ?c)",
        "(root ?c)",
        ":commit",
        ":parents",
    ]
    assert arrows(picture) == (7, 2)


@needs_altair
def test_a_plan_graph_shows_every_relation_and_every_clause(shop: tourlog.Connection) -> None:
    query = '[:find ?c :in $ % :where (ancestor ?c "m") (not (root ?c))]'
    explained = shop.db().explain(query, RULES)
    shown = texts(plan_graph(explained))
    for stratum in explained.plan.strata:
        for relation in stratum.relations:
            assert f"{relation.name}{' ↻' if stratum.recursive else ''}" in shown
            for clause in relation.clauses:
                assert set(map(str, clause.body)) <= set(shown)
    assert set(map(str, explained.plan.body)) <= set(shown)
    assert texts(plan_graph(explained.plan)) == shown


def test_what_is_no_plan_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"expected a plan, such as db.explain\(query\), got '\[:find\]'"):
        plan_graph("[:find]")  # type: ignore[arg-type]  # that is the point


# Files.


@needs_altair
def test_a_picture_is_saved_as_svg_or_png(shop: tourlog.Connection, tmp_path: Path) -> None:
    picture = timeline(shop.db(), {"shop": 1})
    picture.save(tmp_path / "story.svg")
    picture.save(str(tmp_path / "story.png"))
    assert ElementTree.parse(tmp_path / "story.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert (tmp_path / "story.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(ArgumentError, match=r"expected a file that ends in \.svg or \.png, got 'story\.gif'"):
        picture.save("story.gif")


@needs_altair
def test_a_picture_shows_itself_in_a_notebook(shop: tourlog.Connection) -> None:
    picture = timeline(shop.db(), {"shop": 1})
    assert picture._repr_mimebundle_() == {
        "image/svg+xml": picture.svg(),
        "text/plain": "<Picture: 3 documents of shop=1>",
    }


@needs_altair
def test_a_picture_wider_than_a_page_is_shown_smaller() -> None:
    rules = "".join(f"[(rule-{n} ?x) (rule-{n + 1} ?x)] " for n in range(9))
    names = "".join(f"[(rule-9 ?x) [?x :attribute-{n} _]] " for n in range(12))
    picture = rule_graph(f"[{rules}{names}]")
    size = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
    (width, height), shown = (
        map(float, size.findall(svg)[0]) for svg in (picture.svg(), picture._repr_mimebundle_()["image/svg+xml"])
    )
    assert width > 1000
    assert list(shown) == [840, round(height * 840 / width)]


def test_without_altair_the_extra_that_brings_it_is_named() -> None:
    program = (
        "import sys, tourlog; from tourlog.pictures import rule_graph; sys.modules['altair'] = None; "
        "rule_graph('[[(a ?x) [?x :y _]]]')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "tourlog.errors.ArgumentError: expected altair to be installed: pip install 'tourlog[notebook]'"
    )
