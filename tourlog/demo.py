"""The main job on real input: the history of a real project (Flask) through both stores and Datalog.

Runs on the public API alone, so that its steps can be copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from tourlog.connection import Connection, connect
from tourlog.errors import ArgumentError, DocumentError
from tourlog.event_store import get_events_for_aggregate
from tourlog.json_lines import Source, import_json_lines, open_source, read_documents
from tourlog.log_store import commit_records, event_to_record, save_events_and_publish
from tourlog.order import post_query_transform
from tourlog.query.generate import gen_datalog
from tourlog.tables import document_table, print_table
from tourlog.terminal import progress_bar

EVENTS = "file-events.jsonl.gz"
COMMITS = "commits.jsonl.gz"
TOPIC = "file-events"
CODE, REST = 1, 2
"""The topic's partitions: 1 for what users of Flask import, 2 for documentation, tests and the rest."""

FILE = "README.md"
COMMIT = "87d5f5b9a969"
"""The commit of 2024 that made README.md anew."""

BUSIEST = """[:find ?author (count ?e)
 :where [?e :type "file-deleted"]
        [?e :author ?author]]"""

UNTOUCHED = """[:find (count ?file) .
 :where [?e :type "file-created"]
        [?e :aggregate-id ?file]
        (not [?later :aggregate-id ?file]
             [?later :type "file-changed"])]"""

ANCESTOR = """[[(ancestor ?commit ?parent)
  [?c :commit ?commit]
  [?c :parents ?parent]]
 [(ancestor ?commit ?older)
  (ancestor ?commit ?parent)
  [?c :commit ?parent]
  [?c :parents ?older]]]"""

ANCESTORS = """[:find [?ancestor ...]
 :in $ % ?commit
 :where (ancestor ?commit ?ancestor)]"""

BEFORE = """[:find ?at ?ancestor ?type
 :in $ % ?commit ?file
 :where (ancestor ?commit ?ancestor)
        [?e :commit ?ancestor]
        [?e :aggregate-id ?file]
        [?e :type ?type]
        [?e :at ?at]]"""


class Step(NamedTuple):
    """One step of the demo: what was done, to how much, in what time."""

    name: str
    amount: str
    seconds: float


@dataclass(slots=True)
class _Steps:
    """What was done so far."""

    rows: list[Step] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str, amount: str = "") -> Iterator[list[str]]:
        """Time the block as a step; a text put into the list given is its amount."""
        amounts = [amount]
        started = perf_counter()
        yield amounts
        self.rows.append(Step(name, amounts[-1], perf_counter() - started))


def run_demo(store: Path | None, console: Console) -> list[Step]:
    """Run the demo in a new store: a temporary one that is removed, or the file `store`, which is kept.
    The steps it took.

    Raises ArgumentError when `store` already holds something.
    """
    steps = _Steps()
    if store is not None:
        _run(store, steps, console)
        console.print(f"The store is kept: {store}", soft_wrap=True)
        return steps.rows
    with TemporaryDirectory(prefix="tourlog-demo-") as folder:
        path = Path(folder) / "demo.tour"
        _run(path, steps, console)
    console.print(f"The store was temporary and is removed: {path}", soft_wrap=True)
    return steps.rows


def _run(path: Path, steps: _Steps, console: Console) -> None:
    with connect(path) as conn:
        if conn.db().t:
            raise ArgumentError(f"expected a new or empty store for the demo, got {path}", path=str(path))
        _import(conn, path, steps, console)
        _show_life(conn, steps, console)
        _show_log(conn, steps, console)
        _publish(conn, steps, console)
    _reopen(path, steps, console)
    with connect(path, read_only=True) as conn:
        _ask(conn, steps, console)
    _heading(console, "The time each step took")
    print_table(console, ["step", "", "seconds"], [(row.name, row.amount, f"{row.seconds:6.3f}") for row in steps.rows])
    console.print()


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _import(conn: Connection, path: Path, steps: _Steps, console: Console) -> None:
    _heading(console, f"The history of a real project, into {path}")
    for name, key in ((EVENTS, "aggregate-id"), (COMMITS, "author")):
        with steps.timed(f"import {name}") as amounts, _source(name) as source:
            with progress_bar(name, source.size) as progress:
                report = import_json_lines(conn, source, [key], progress=progress)
            amounts.append(f"{report.documents:,} documents, {report.streams:,} streams")
        console.print(f"{name}: {amounts[-1]} (one for each {key})")
    with steps.timed(f"publish them as topic {TOPIC}") as amounts:
        records = list(_records())
        commit_records(conn, records)
        amounts.append(f"{len(records):,} records, 2 partitions")
    console.print(f"topic {TOPIC}: {amounts[-1]}")


@contextmanager
def _source(name: str) -> Iterator[Source]:
    with as_file(files("tourlog") / "data" / name) as path, open_source(str(path)) as source:
        yield source


def _records() -> Iterator[dict[str, Any]]:
    with _source(EVENTS) as source:
        for _, event in read_documents(source):
            yield event_to_record(TOPIC, _partition(event), "aggregate-id", event)


def _partition(event: dict[str, Any]) -> int:
    return CODE if event["aggregate-id"].startswith(("flask", "src/flask")) else REST


def _show_life(conn: Connection, steps: _Steps, console: Console) -> None:
    _heading(console, f"The life of {FILE}, in order")
    with steps.timed(f"read the life of {FILE}") as amounts:
        events = get_events_for_aggregate(conn.db(), FILE)
        amounts.append(f"{len(events)} events")
    print_table(console, *document_table(events, without=["aggregate-id", "author"]))


def _show_log(conn: Connection, steps: _Steps, console: Console) -> None:
    query = gen_datalog("slice", "topic", "partition")
    _heading(console, f"A page of the topic {TOPIC}: offsets 1000 to 1004 of each partition")
    console.print(re.sub(r" (?=:(?:in|where))|(?<=]) (?=\[)", "\n ", query.edn))
    for partition in (CODE, REST):
        with steps.timed(f"read a page of partition {partition}", "5 records"):
            records = post_query_transform(conn.db().q(query, TOPIC, partition, 1000, 1005))
        shown = [
            {"offset": record["offset"], "key": record["key"], **_without_key(record["value"])} for record in records
        ]
        console.print()
        print_table(console, *document_table(shown), title=f"partition {partition}")


def _without_key(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("type", "at")}


def _publish(conn: Connection, steps: _Steps, console: Console) -> None:
    _heading(console, "An event saved and published in one transaction, and one that is refused")
    before = _next_offsets(conn)
    event = {"aggregate-id": FILE, "type": "file-changed", "author": "you", "insertions": 1}
    with steps.timed("save and publish an event", "1 event, 1 record"):
        save_events_and_publish(conn, [event], TOPIC, REST)
    after = _next_offsets(conn)
    refusal = _refused(conn, [event, {"aggregate-id": FILE, "insertions": 2j}])
    refused = _next_offsets(conn)
    rows = [(stream, before[stream], after[stream], refused[stream]) for stream in before]
    print_table(console, ["next offset of", "before", "after", "after the refused one"], rows)
    console.print(Text(f"refused: {refusal}"), soft_wrap=True)


def _refused(conn: Connection, events: list[dict[str, Any]]) -> str:
    try:
        save_events_and_publish(conn, events, TOPIC, REST)
    except DocumentError as error:
        return str(error)
    raise AssertionError("a complex number was stored")


def _next_offsets(conn: Connection) -> dict[str, int]:
    metadata = conn.db().entity("offset-metadata") or {}
    return {name: metadata[name] for name in (FILE, f"{TOPIC}-{REST}")}


def _reopen(path: Path, steps: _Steps, console: Console) -> None:
    _heading(console, "Closed and opened again")
    with steps.timed("open the store again"), connect(path, read_only=True) as conn:
        t = conn.db().t
    console.print(f"{t} transactions, {path.stat().st_size:,} bytes on disk")


def _ask(conn: Connection, steps: _Steps, console: Console) -> None:
    db = conn.db()
    _heading(console, "Who deleted the most files?")
    console.print(BUSIEST)
    with steps.timed("ask who deleted the most files"):
        counts = db.q(BUSIEST)
    busiest = sorted(counts, key=lambda row: (-row[1], row[0]))[:5]
    print_table(console, ["?author", "(count ?e)"], busiest)

    _heading(console, "How many files were never changed after they were made?")
    console.print(UNTOUCHED)
    with steps.timed("ask for files never changed"):
        untouched = db.q(UNTOUCHED)
    console.print(f"{untouched}")

    _heading(console, f"Which commits led to {COMMIT}, that made {FILE} anew in 2024?")
    console.print(ANCESTOR)
    console.print(ANCESTORS)
    with steps.timed(f"ask for the ancestors of {COMMIT}") as amounts:
        ancestors = db.q(ANCESTORS, ANCESTOR, COMMIT)
        amounts.append(f"{len(ancestors):,} commits")
    console.print(f"{amounts[-1]}, such as {', '.join(sorted(ancestors)[:4])}")

    _heading(console, f"And what had they done to {FILE}?")
    console.print(BEFORE)
    with steps.timed(f"ask what they had done to {FILE}"):
        rows = db.q(BEFORE, ANCESTOR, COMMIT, FILE)
    print_table(console, ["?at", "?ancestor", "?type"], sorted(rows))
