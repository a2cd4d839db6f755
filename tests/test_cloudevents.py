"""CloudEvents come in and go out as they are: what is no event is refused with its line, an event is stored once, and
documents that are none go out inside one.
"""

from __future__ import annotations

import gzip
import io
import json
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import fail, json_lines, succeed

import tourlog
from tourlog.errors import ArgumentError, DocumentError, StorageError
from tourlog.integrations.cloudevents import (
    document_to_event,
    event_to_document,
    export_events,
    import_events,
    read_event,
    write_event,
)
from tourlog.json_lines import Source

EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "sold"}
COMMITS = Path(tourlog.__file__).parent / "data" / "commits.jsonl.gz"


def event(**attributes: Any) -> dict[str, Any]:
    return {**EVENT, **attributes}


def written(path: Path, *events: Any) -> Path:
    lines = [each if isinstance(each, str) else json.dumps(each) for each in events]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def documents(conn: tourlog.Connection, key: dict[str, Any]) -> list[dict[str, Any]]:
    return conn.db().own_documents(key)


# One event.

TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
"""Lone surrogates, control characters and NUL included."""
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(10**30, 10**60)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TIMES = st.builds(
    lambda moment, fraction, zone: f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{zone}".rjust(20 + len(fraction), "0"),
    st.datetimes(datetime(1000, 1, 3), datetime(9999, 12, 29)),
    st.sampled_from(["", ".5", ".500000", ".123456", ".123456789", ".0"]),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+02:00", "-11:30"]),
)
ATTRIBUTES = st.fixed_dictionaries(
    {"id": TEXT.filter(bool), "source": TEXT.filter(bool), "type": TEXT.filter(bool)},
    optional={
        "subject": TEXT.filter(bool),
        "datacontenttype": st.just("application/json"),
        "dataschema": st.just("urn:schema"),
        "time": TIMES,
        "flag": st.booleans(),
        "sequence": st.integers(-(2**31), 2**31 - 1),
        "traceparent": TEXT,
    },
)
CONTENT = st.just({}) | st.fixed_dictionaries({"data": JSON}) | st.just({"data_base64": "AAH/"})
EVENTS = st.builds(lambda own, data: {"specversion": "1.0", **own, **data}, ATTRIBUTES, CONTENT)


def exact(value: Any) -> str:
    """JSON in which 1, 1.0 and -0.0 differ."""
    return json.dumps(value, sort_keys=True)


@given(EVENTS)
def test_an_event_goes_out_as_it_came(given_event: dict[str, Any]) -> None:
    document = event_to_document(read_event(json.dumps(given_event)))
    assert "specversion" not in document
    again = document_to_event(document)
    assert again is not None
    line = write_event(again)
    assert "\n" not in line
    assert exact(json.loads(line.encode("utf-8"))) == exact(given_event)


@given(st.lists(EVENTS, max_size=5, unique_by=lambda each: (each["source"], each["id"])))
def test_a_file_of_events_goes_out_as_it_came(events: list[dict[str, Any]]) -> None:
    lines = "".join(f"{json.dumps(each)}\n" for each in events).encode()
    with tourlog.connect() as conn:
        report = import_events(conn, Source("lines", io.BytesIO(lines), None, lambda: 0), "id")
        assert (report.documents, report.known) == (len(events), 0)
        found = [document for _, document in conn.subscribe().take(99)]
        own = [{name: value for name, value in each.items() if name not in ("db/id", "offset")} for each in found]
    assert sorted(exact(document_to_event(each)) for each in own) == sorted(map(exact, events))


@pytest.mark.parametrize(
    ("text", "instant", "is_kept"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC), False),
        ("2026-01-31T12:00:00.120000Z", datetime(2026, 1, 31, 12, 0, 0, 120_000, tzinfo=UTC), False),
        ("2026-01-31T12:00:00.12Z", datetime(2026, 1, 31, 12, 0, 0, 120_000, tzinfo=UTC), True),
        ("2026-01-31T12:00:00.123456789Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC), True),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC), True),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC), True),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC), True),
    ],
)
def test_a_time_is_an_instant_and_keeps_a_text_that_says_more(text: str, instant: datetime, is_kept: bool) -> None:
    document = event_to_document(event(time=text))
    assert document["time"] == instant
    assert document["time"].tzinfo is UTC
    assert document.get("time-text") == (text if is_kept else None)
    assert document_to_event(document) == event(time=text)


def test_a_time_that_was_changed_goes_out_as_it_is_now() -> None:
    document = event_to_document(event(time="2026-01-31T12:00:00+02:00"))
    changed = {**document, "time": datetime(2026, 2, 1, 12, tzinfo=timezone(timedelta(hours=1)))}
    assert document_to_event(changed) == event(time="2026-02-01T11:00:00Z")
    assert document_to_event({**document, "time-text": "soon"}) == event(time="2026-01-31T10:00:00Z")


def test_numbers_keep_all_their_digits() -> None:
    line = '{"a": 0.1000000000000000000001, "b": 1e400, "c": 1.10, "d": -0.0, "e": 12345678901234567890123}'
    value = read_event(line)
    assert {name: type(each) for name, each in value.items()} == {
        "a": Decimal,
        "b": Decimal,
        "c": float,
        "d": float,
        "e": int,
    }
    assert write_event(value) == line.replace("1e400", "1E+400").replace("1.10", "1.1")


def test_null_attributes_are_not_set_and_null_data_is() -> None:
    assert event_to_document(event(subject=None, data=None)) == {
        "id": "1",
        "source": "/shop",
        "type": "sold",
        "data": None,
    }


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("[1]", "expected a JSON object, got list"),
        ("{", "expected a JSON object"),
        ('{"id": 1, "id": 2}', "the name 'id' twice"),
        ('{"specversion": "1.0", "data": NaN}', "NaN, which is not JSON"),
        ('{"specversion": "1.0", "data": 1e9999999999999999999}', "a number that is too large"),
        ({}, "expected '1.0' for 'specversion' of an event, got None"),
        (event(specversion="0.3"), "expected '1.0' for 'specversion' of an event, got '0.3'"),
        ({"specversion": "1.0", "source": "/s", "type": "t"}, "expected the attribute 'id' of an event, got none"),
        (event(id=""), "expected a text that is not empty for 'id' of an event, got ''"),
        (event(id=7), "expected a text that is not empty for 'id' of an event, got 7"),
        (event(type=None), "expected the attribute 'type' of an event, got none"),
        (event(subject=""), "for 'subject' of an event"),
        (event(Loud=1), "expected the name of an attribute, of the letters a-z and digits for 'Loud' of an event"),
        (event(**{"db/id": "x"}), "for 'db/id' of an event"),
        (event(**{"": "x"}), "expected the name of an attribute"),
        (event(**{"time-text": "x"}), "for 'time-text' of an event"),
        (event(id="2", offset=1), "has 'offset', which the store adds itself"),
        (event(nested={"a": 1}), "expected a text, a boolean or an integer of 32 bits for 'nested' of an event"),
        (event(big=2**31), "expected a text, a boolean or an integer of 32 bits for 'big' of an event"),
        (event(half=0.5), "for 'half' of an event, got 0.5"),
        (event(time="yesterday"), "expected a time as in 2026-01-31T12:00:00Z for 'time' of an event"),
        (event(time="2026-01-31T12:00:00"), "for 'time' of an event"),
        (event(time="2026-02-30T12:00:00Z"), "for 'time' of an event"),
        (event(time="9999-12-31T23:59:60Z"), "for 'time' of an event"),
        (event(time=1), "for 'time' of an event"),
        (event(data_base64="?"), "expected text in base64 for 'data_base64' of an event"),
        (event(data_base64=[1]), "expected text in base64 for 'data_base64' of an event"),
        (
            '{"specversion": "1.0", "id": "2", "source": "/s", "type": "t", "data": ' + "[" * 250 + "]" * 250 + "}",
            "levels",
        ),
        (event(data=1, data_base64="AA=="), "expected data or data_base64 of an event, got both"),
    ],
)
def test_a_bad_line_is_refused_by_its_number_and_nothing_is_stored(bad: Any, problem: str, tmp_path: Path) -> None:
    file = written(tmp_path / "events.jsonl", event(), "", bad)
    with tourlog.connect(tmp_path / "s.tour") as conn:
        with pytest.raises(DocumentError) as caught:
            import_events(conn, file)
        assert problem in str(caught.value)
        assert "events.jsonl line 3" in str(caught.value)
        assert caught.value.line == 3  # type: ignore[attr-defined]
        assert conn.db().t == 0
    assert "events.jsonl line 3" in fail("import", file, tmp_path / "s.tour", "--events")


def test_a_key_attribute_that_an_event_lacks_is_refused_by_its_line(tmp_path: Path) -> None:
    file = written(tmp_path / "events.jsonl", event(subject="a"), event(id="2"))
    with tourlog.connect() as conn:
        with pytest.raises(DocumentError, match=r"events.jsonl line 2 lacks the key attribute 'subject'"):
            import_events(conn, file, "subject")
        assert conn.db().t == 0
        with pytest.raises(ArgumentError, match="store's own"):
            import_events(conn, file, "offset")
    with pytest.raises(ArgumentError, match="expected a Connection"):
        import_events(None, file)  # type: ignore[arg-type]


# Files.


def test_the_same_event_is_stored_once(tmp_path: Path) -> None:
    first = written(tmp_path / "1.jsonl", event(data={"n": 1}), event(id="2"), event(data={"n": 1}))
    more = written(tmp_path / "2.jsonl", event(id="2"), event(id="3"), event(source="/other"))
    with tourlog.connect(tmp_path / "s.tour") as conn:
        reports = [import_events(conn, file) for file in (first, first, more, more)]
        assert [(each.documents, each.known, each.t) for each in reports] == [
            (2, 1, 1),
            (0, 3, 1),
            (2, 1, 2),
            (0, 3, 2),
        ]
        assert [each["id"] for each in documents(conn, {"source": "/shop"})] == ["1", "2", "3"]
        assert [each["id"] for each in documents(conn, {"source": "/other"})] == ["1"]


def test_an_event_that_was_changed_in_the_store_is_still_known(tmp_path: Path) -> None:
    file = written(tmp_path / "1.jsonl", event(data=1))
    with tourlog.connect() as conn:
        import_events(conn, file)
        (document,) = conn.db().documents({"source": "/shop"})
        conn.transact([("db/add", document["db/id"], "note", "seen")])
        assert import_events(conn, file).documents == 0
        conn.transact([{"db/id": document["db/id"], "id": "another"}])
        assert import_events(conn, file).documents == 0
        conn.transact([("db/retract-entity", document["db/id"])])
        assert import_events(conn, file).documents == 0


def test_ids_that_many_sources_share_are_found_in_no_time(tmp_path: Path) -> None:
    """Each of these events was compared to all others: 17 seconds."""
    file = written(tmp_path / "1.jsonl", *[event(source=f"/{n}") for n in range(3000)])
    with tourlog.connect() as conn:
        import_events(conn, file)
        before = time.process_time()
        assert import_events(conn, file).known == 3000
        assert time.process_time() - before < 3


@pytest.mark.parametrize("is_stored", [False, True])
def test_another_event_under_a_known_source_and_id_is_refused(is_stored: bool, tmp_path: Path) -> None:
    first, second = event(data=1), event(data=2)
    with tourlog.connect() as conn:
        if is_stored:
            import_events(conn, written(tmp_path / "1.jsonl", first))
        file = written(tmp_path / "2.jsonl", first, second)
        with pytest.raises(DocumentError, match=r"\('/shop', '1'\) again with other content, in .*2.jsonl line 2"):
            import_events(conn, file)
        assert conn.db().t == int(is_stored)


def test_documents_that_are_no_events_go_out_inside_one_the_same_each_time(tmp_path: Path) -> None:
    documents = [
        {"k": "a/b", "n": 1, "raw": b"\0", "when": datetime(2026, 1, 31), "half": "\ud800", "sum": Decimal("1.50")},
        {"k": "a/b", "id": "1", "source": "s", "type": "t", "price": Decimal("1.5")},
        {"k": "a/b", "id": "1", "source": "s", "type": "t", "time": datetime(2026, 1, 31)},
        {"k": "a/b", "id": UUID(int=1), "source": "s", "type": "t"},
    ]
    with tourlog.connect(tmp_path / "s.tour") as conn:
        conn.append(documents, "k")
        db = conn.db()
        report = export_events(db, tmp_path / "1.jsonl")
        export_events(conn.db(), tmp_path / "2.jsonl")
        instant = next(db.tx_range()).instant
        salt = db.snapshot.log.salt.hex()
    text = (tmp_path / "1.jsonl").read_text("utf-8")
    assert (report.documents, report.t) == (4, 1)
    assert text == (tmp_path / "2.jsonl").read_text("utf-8")
    found = json_lines(text)
    assert found[0] == {
        "specversion": "1.0",
        "id": "0",
        "source": f"urn:tourlog:{salt}:a%2Fb",
        "type": "tourlog.document",
        "time": instant.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {"k": "a/b", "n": 1, "raw": "AA==", "when": "2026-01-31T00:00:00", "half": "\ud800", "sum": 1.5},
    }
    assert '"sum": 1.50' in text
    assert [each["id"] for each in found] == ["0", "1", "2", "3"]
    with tourlog.connect() as other:
        assert import_events(other, tmp_path / "1.jsonl").documents == 4


def test_a_real_history_goes_out_and_comes_in_again(tmp_path: Path) -> None:
    with gzip.open(COMMITS, "rt", encoding="utf-8") as lines:
        commits = [json.loads(line) for line in lines]
    events = [event(id=str(n), source=f"/r{n % 7}", data=each) for n, each in enumerate(commits)]
    file = written(tmp_path / "events.jsonl", *events)
    with tourlog.connect() as conn, tourlog.connect() as again:
        assert import_events(conn, file).documents == len(commits) > 5_000
        assert export_events(conn.db(), tmp_path / "out.jsonl").documents == len(commits)
        report = import_events(again, tmp_path / "out.jsonl")
        assert (report.documents, report.streams) == (len(commits), 7)
        for n in range(7):
            assert documents(again, {"source": f"/r{n}"}) == documents(conn, {"source": f"/r{n}"})


def test_an_export_is_of_the_streams_and_the_position_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with tourlog.connect() as conn:
        for n, source in enumerate("abab"):
            conn.append([{"id": str(n), "source": source, "type": "t"}], "source")
        conn.transact([("db/retract-entity", conn.db().documents({"source": "b"})[0]["db/id"])])

        def ids(db: tourlog.Database, key: Any = None) -> list[str]:
            export_events(db, out, key)
            return [each["id"] for each in json_lines(out.read_text("utf-8"))]

        assert ids(conn.db()) == ["0", "2", "3"]
        assert ids(conn.db().as_of(3)) == ["0", "1", "2"]
        assert ids(conn.db(), {"source": "a"}) == ["0", "2"]
        assert ids(conn.db(), {"source": None}) == ids(conn.db(), "source") == ["0", "2", "3"]
        assert ids(conn.db(), {"source": "none"}) == ids(conn.db(), "other") == []
        for db in (conn.db().history(), conn.db().since(1)):
            with pytest.raises(ArgumentError, match="expected a database as of a position"):
                export_events(db, out)


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    out, store = tmp_path / "out.jsonl", tmp_path / "s.tour"
    out.write_text("before", encoding="utf-8")
    with tourlog.connect(store) as conn:
        conn.append([{"k": 1}], "k")
        db = conn.db()
        for place, problem in ((store, "that of a store"), (tmp_path, "what is no file"), ("", "path of a file")):
            with pytest.raises(ArgumentError, match=problem):
                export_events(db, place)
        with pytest.raises(StorageError, match="No such file or directory"):
            export_events(db, tmp_path / "none" / "out.jsonl")
    with pytest.raises(StorageError):
        export_events(db, out)
    assert out.read_text("utf-8") == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "s.tour"]


# Commands.


def test_the_commands_import_and_export(tmp_path: Path) -> None:
    file, store, out = tmp_path / "e.jsonl", tmp_path / "s.tour", tmp_path / "out.jsonl"
    written(file, event(), event(id="2", subject="x"))
    text = file.read_text("utf-8")
    assert json_lines(succeed("import", "-", store, "--events", "--json", stdin=text.encode())) == [
        {"documents": 2, "streams": 1, "t": 1, "known": 0}
    ]
    found = succeed("import", file, store, "--events", "--key", "source")
    assert found.startswith(f"imported 0 documents into 0 streams of {store} in ")
    assert found.endswith("; 2 were there already\n")
    assert succeed("export", store, out) == f"wrote 2 documents of {store} to {out}\n"
    assert out.read_text("utf-8") == text
    assert json_lines(succeed("export", store, tmp_path / "x", "--format", "events", "source=/no", "--json")) == [
        {"documents": 0, "columns": [], "t": 1}
    ]
    assert "expected a file ending in .jsonl" in fail("export", store, tmp_path / "out.txt")
    assert "none.tour" in fail("export", tmp_path / "none.tour", out)
    assert "that of a store" in fail("export", store, store, "--format", "events")
