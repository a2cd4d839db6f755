"""Every rule of every library answers as plain Python does, on both engines, on data made by hand and on real data."""

from __future__ import annotations

import doctest
import gzip
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import tourlog
from tourlog.query.parse import parse_rules
from tourlog.rule_files import read_rule_file, rule_file_names

ENGINES = ("pydatalog", "compiled")
DATA = Path(tourlog.__file__).parent / "data"
README = Path(__file__).parent.parent / "README.md"
LIBRARIES = rule_file_names()
EDGE = tourlog.Rules("[[(edge ?x ?y) [?node :commit ?x] [?node :parents ?y]]]")

Row = tuple[Any, ...]


def real(name: str, count: int) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]


def library(name: str) -> tourlog.Rules:
    return tourlog.gen_rules("aggregate-id") if name == "order" else tourlog.rules(name)


def names(name: str) -> set[str]:
    return {rule.name for rule in parse_rules(library(name))}


def header(name: str) -> str:
    return read_rule_file(name).partition("\n[")[0]


# The data: entities are named by `n`, so that rows can be compared.


@dataclass(frozen=True)
class World:
    """A database, the rules to ask it, and what each rule holds of: all its rows."""

    db: tourlog.Database
    rules: tourlog.Rules
    truth: Mapping[str, set[Row]]


def numbered(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**document, "n": n} for n, document in enumerate(documents)]


def placed(documents: list[dict[str, Any]], *key: str) -> list[tuple[Row, int, int]]:
    """Of each document: its stream, its offset, its number."""
    ends: dict[Row, int] = {}
    found = []
    for document in documents:
        stream = tuple(document[name] for name in key)
        found.append((stream, ends.setdefault(stream, 0), document["n"]))
        ends[stream] += 1
    return found


def order_world(documents: list[dict[str, Any]], gone: Iterable[int] = ()) -> World:
    """Documents by `aggregate-id`, those numbered `gone` retracted, beside the same under another key."""
    conn = tourlog.connect()
    conn.append(documents, "aggregate-id")
    conn.append([{**document, "n": -1} for document in documents[:3]], "aggregate-id", "type")
    for n in gone:
        e = conn.db().q("[:find ?e . :in $ ?n :where [?e :n ?n]]", n)
        conn.transact([("db/retract-entity", e)])
    here = [entry for entry in placed(documents, "aggregate-id") if entry[2] not in gone]
    pairs = [(a, b) for a, b in product(here, here) if a[0] == b[0]]
    offsets = range(4)
    truth: dict[str, set[Row]] = {
        "all": {(n, *key) for key, _, n in here},
        "nthrest": {(n, *key, o) for key, at, n in here for o in offsets if at >= o},
        "take": {(n, *key, o) for key, at, n in here for o in offsets if at < o},
        "nth": {(n, *key, o) for key, at, n in here for o in offsets if at == o},
        "slice": {(n, *key, f, t) for key, at, n in here for f in offsets for t in offsets if f <= at < t},
        "first": {(n, *key) for key, at, n in here if at == min(o for k, o, _ in here if k == key)},
        "latest": {(n, *key) for key, at, n in here if at == max(o for k, o, _ in here if k == key)},
        "next": {(a[2], *a[0], b[2]) for a, b in pairs if b[1] == a[1] + 1},
        "before": {(a[2], *a[0], b[2]) for a, b in pairs if a[1] < b[1]},
        "within": {(a[2], *a[0], o, b[2]) for a, b in pairs for o in offsets if abs(a[1] - b[1]) <= o},
    }
    return World(conn.db(), library("order"), truth)


def closure(edges: set[Row]) -> set[Row]:
    """The pairs one can get from and to over one edge or more."""
    following: dict[Any, set[Any]] = {}
    for x, y in edges:
        following.setdefault(x, set()).add(y)
    found = set()
    for x in following:
        waiting = list(following[x])
        while waiting:
            y = waiting.pop()
            if (x, y) not in found:
                found.add((x, y))
                waiting.extend(following.get(y, ()))
    return found


def events_world(events: list[dict[str, Any]]) -> World:
    conn = tourlog.connect()
    tourlog.event_store.save_events(conn, events)
    conn.append([{"aggregate-id": "a", "type": "other", "topic": "t", "n": -1}] * 9, "topic")
    where = placed(events, "aggregate-id")
    kinds = {event["n"]: event["type"] for event in events}
    ends = {key: max(o for k, o, _ in where if k == key) for key, _, _ in where}
    latest = {(*key, n) for key, o, n in where if o == ends[key]}
    had = {(*key, kinds[n]) for key, _, n in where}
    causes = {event["n"]: event.get("causation-id", []) for event in events}
    causes = {n: cause if isinstance(cause, list) else [cause] for n, cause in causes.items()}
    caused = {(e["n"], n) for e in events for n, ids in causes.items() if e.get("event-id") in ids}
    led_to = closure(caused)
    said = {(event["correlation-id"], event["n"]) for event in events if "correlation-id" in event}
    conversation = said | {(c, f) for c, n in said for e, f in led_to if e == n}
    truth: dict[str, set[Row]] = {
        "event": {(*key, n) for key, _, n in where},
        "latest-event": latest,
        "last-type": {(key, kinds[n]) for key, n in latest},
        "had": had,
        "never-had": {(key[0], kind) for key in ends for kind in [*set(kinds.values()), "no such"]} - had,
        "caused": caused,
        "led-to": led_to,
        "conversation": conversation,
        "correlated": {(e, f) for c, e in conversation for d, f in conversation if c == d},
    }
    return World(conn.db(), library("events"), truth)


def log_world(records: list[dict[str, Any]], positions: list[tuple[str, Any, Any, int]]) -> World:
    conn = tourlog.connect()
    tourlog.log_store.commit_records(conn, records)
    fields = ("consumer", "topic", "partition", "committed")
    conn.transact([dict(zip(fields, position, strict=True)) for position in positions])
    where = placed(records, "topic", "partition")
    keys = {record["n"]: record["key"] for record in records}
    ends = {key: 1 + max(o for k, o, _ in where if k == key) for key, _, _ in where}
    last = {(*key, keys[n]): n for key, _, n in where}
    truth: dict[str, set[Row]] = {
        "record": {(*key, n) for key, _, n in where},
        "keyed": {(key[0], keys[n], n) for key, _, n in where},
        "latest-record": {(*key, n) for key, n in last.items()},
        "end": {(*key, end) for key, end in ends.items()},
        "lag": {(c, t, p, ends[t, p] - done) for c, t, p, done in positions if (t, p) in ends},
    }
    return World(conn.db(), library("log"), truth)


def graph_world(nodes: list[dict[str, Any]]) -> World:
    conn = tourlog.connect()
    conn.append([{**node, "kind": "node"} for node in nodes], "kind")
    edges = {(node["commit"], parent) for node in nodes for parent in node["parents"]}
    reachable = closure(edges)
    linked = edges | {(y, x) for x, y in edges}
    same: set[Row] = set()
    fresh = {(x, y) for (x, p), (y, q) in product(edges, edges) if p == q}
    while fresh - same:
        same |= fresh
        fresh = {(x, y) for (x, p), (y, q) in product(edges, edges) if (p, q) in same}
    walks, walk = {1: edges}, edges
    for length in (2, 3):
        walk = {(x, y) for (x, z), (w, y) in product(walk, edges) if z == w}
        walks[length] = walk
    walked = {(x, y, n, d) for n in (0, 1, 3) for d in range(1, n + 1) for x, y in walks[d]}
    truth: dict[str, set[Row]] = {
        "reachable": reachable,
        "ancestor": {(y, x) for x, y in reachable},
        "same-generation": same,
        "linked": linked,
        "connected": closure(linked),
        "walk": walked,
        "distance": {row for row in walked if not any((*row[:3], d) in walked for d in range(row[3]))},
        "on-cycle": {(x,) for x, y in reachable if x == y},
    }
    return World(conn.db(), library("graph") + EDGE, truth)


SMALL_EVENTS = numbered(
    {"aggregate-id": key, "type": kind, **more}
    for key, kind, more in [
        ("a", "made", {"event-id": 1, "correlation-id": "c"}),
        ("b", "made", {"event-id": 2, "causation-id": [1, 4]}),
        ("a", "used", {"event-id": 3, "causation-id": 2}),
        (1, "made", {"event-id": "1", "correlation-id": "d"}),
        ("a", "made", {"event-id": 4, "causation-id": 3}),
        ("b", "gone", {"event-id": 5, "causation-id": "1"}),
        ("c", "used", {"causation-id": 99}),
        ("a", "used", {"event-id": 6, "causation-id": [4, "1"]}),
    ]
)
SMALL_RECORDS = numbered(
    {"topic": topic, "partition": partition, "key": key, "value": value}
    for topic, partition, key, value in [
        ("t", 1, "x", 1), ("t", 1, "y", 2), ("t", 2, "x", 3), ("t", 1, "x", None), ("u", 1, "x", 4), ("t", "1", "y", 5),
    ]
)  # fmt: skip
POSITIONS = [("me", "t", 1, 0), ("me", "t", 2, 1), ("you", "t", 1, 2), ("you", "t", "1", 0), ("you", "none", 1, 0)]
SMALL_GRAPH = [
    {"commit": x, "parents": parents}
    for x, parents in {"a": ["b", "c"], "b": ["d"], "c": ["d", "c"], "d": ["e"], "e": ["b"], "f": ["g"]}.items()
]


def real_commits(count: int) -> list[dict[str, Any]]:
    return numbered(
        {
            "aggregate-id": commit["author"],
            "type": "merged" if len(commit["parents"]) > 1 else "committed",
            "event-id": commit["commit"],
            "causation-id": commit["parents"],
            **({"correlation-id": commit["at"]} if place % 40 == 0 else {}),
        }
        for place, commit in enumerate(real("commits", count))
    )


def real_records(count: int) -> list[dict[str, Any]]:
    return numbered(
        tourlog.log_store.event_to_record("files", len(event["aggregate-id"]) % 2, "aggregate-id", event)
        for event in real("file-events", count)
    )


WORLDS: dict[str, Callable[[], World]] = {
    "order": lambda: order_world(SMALL_EVENTS),
    "order, documents gone": lambda: order_world(SMALL_EVENTS, gone=(2, 5)),
    "order, real": lambda: order_world(numbered(real("file-events", 60))),
    "events": lambda: events_world(SMALL_EVENTS),
    "events, real": lambda: events_world(real_commits(80)),
    "log": lambda: log_world(SMALL_RECORDS, POSITIONS),
    "log, real": lambda: log_world(real_records(150), [("c", "files", 0, 7), ("c", "files", 1, 0)]),
    "graph": lambda: graph_world(SMALL_GRAPH),
    "graph, real": lambda: graph_world(real("commits", 40)),
}

DOCUMENTS = {"?e", "?next", "?later", "?other", "?effect"}
GIVEN = {"?o", "?f-o", "?t-o", "?n"}
"""Parameters that must be bound, where the rule does not bind them itself."""
BINDS_N = {"lag"}


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest) -> tuple[str, World]:
    return request.param.partition(",")[0], WORLDS[request.param]()


@pytest.mark.parametrize("engine", ENGINES)
def test_every_rule_answers_as_python_does(world: tuple[str, World], engine: str) -> None:
    """Whatever arguments are bound, a rule's rows are those plain Python finds."""
    name, made = world
    assert set(made.truth) == names(name), "a rule has no test"
    for rule in {rule.name: rule for rule in parse_rules(library(name))}.values():
        parameters = tuple(map(str, rule.parameters))
        for bound in product((False, True), repeat=len(parameters)):
            if all(is_bound for p, is_bound in zip(parameters, bound, strict=True) if needed(rule.name, p)):
                check_rule(made, rule.name, parameters, bound, engine)


@pytest.mark.parametrize("name", [*LIBRARIES, "order, documents gone"])
def test_every_rule_holds_of_something_made_by_hand(name: str) -> None:
    """No rule could find nothing at all and pass."""
    assert {rule for rule, rows in WORLDS[name]().truth.items() if not rows} == set()


def needed(rule: str, parameter: str) -> bool:
    return (parameter in GIVEN and rule not in BINDS_N) or (rule, parameter) == ("never-had", "?type")


def check_rule(made: World, rule: str, parameters: Row, bound: Row, engine: str) -> None:
    """The rows for some values of the bound parameters, given as a relation and as scalars."""
    rows = made.truth[rule]
    places = [place for place, is_bound in enumerate(bound) if is_bound]
    asked = sorted({tuple(row[place] for place in places) for row in rows}, key=repr)
    asked = asked[:: max(1, len(asked) // 5)][:5]
    expected = {row for row in rows if tuple(row[place] for place in places) in asked}
    documents = [p for p in parameters if p in DOCUMENTS and rule not in ("end", "lag")]
    shown = [f"{p}-n" if p in documents else p for p in parameters]
    numbers = " ".join(f"[{p} :n {p}-n]" for p in documents)
    inputs = [shown[place] for place in places]
    call = f"({rule} {' '.join(parameters)})"
    find = f"[:find {' '.join(shown)} :in $ %"
    given = f"[[{' '.join(inputs)}]]" if inputs else ""
    query = f"{find} {given} :where {numbers} {call}]"
    got = made.db.q(query, made.rules, *([asked] if inputs else []), engine=engine)
    assert {tuple(row) for row in got} == expected, query
    if inputs and asked:
        query = f"{find} {' '.join(inputs)} :where {numbers} {call}]"
        got = made.db.q(query, made.rules, *asked[0], engine=engine)
        one = {row for row in rows if tuple(row[place] for place in places) == asked[0]}
        assert {tuple(row) for row in got} == one, query


# Headers, names, composition.


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_header_of_a_library_shows_every_rule_and_runs_as_written(name: str) -> None:
    text = "\n".join(line[5:] if line.startswith(";;   ") else "" for line in header(name).splitlines())
    assert {rule for rule in names(name) if f"({rule} " not in text} == set()
    failures: list[str] = []
    example = doctest.DocTestParser().get_doctest(text, {"tourlog": tourlog}, name, name, 0)
    assert doctest.DocTestRunner().run(example, out=failures.append).failed == 0, "".join(failures)


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_rule_has_a_comment_of_one_sentence(name: str) -> None:
    body = read_rule_file(name).removeprefix(header(name))
    groups = re.findall(r"^ ;; (.*)\n \[\((\S+)", body, re.M)
    assert {rule for _, rule in groups} == names(name)
    for comment, rule in groups:
        assert re.fullmatch(r"[^.]+\.", comment), f"{rule}: {comment}"


def test_libraries_compose() -> None:
    """All libraries go together: no two share a rule, and comments with brackets do no harm."""
    together = library("graph") + EDGE + library("events") + library("log") + library("order")
    apart = [rule for part in (*map(library, ("graph", "events", "log", "order")), EDGE) for rule in parse_rules(part)]
    assert sorted(rule.name for rule in parse_rules(together)) == sorted(rule.name for rule in apart)
    assert sum(len(names(name)) for name in LIBRARIES) == len(set().union(*map(names, LIBRARIES)))


@pytest.mark.parametrize(
    "text", ['; [x\n[[(r ?x) [?x :a "]"]]] ; ]', '[[(r ?x) [?x :a ";]"]]]', "[]", "[[(r ?x) [?x :a \\]]]]"]
)
def test_rules_of_any_form_are_put_together_as_they_are(text: str) -> None:
    more = tourlog.Rules("[[(s ?x) [?x :b]]]")
    expected = {*parse_rules(text), *parse_rules(more)}
    assert set(parse_rules(tourlog.Rules(text) + more)) == expected
    assert set(parse_rules(more + tourlog.Rules(text))) == expected


def test_rules_that_are_no_vector_are_refused() -> None:
    with pytest.raises(tourlog.QuerySyntaxError, match="a vector of rules"):
        tourlog.Rules("(r ?x)") + tourlog.Rules("[]")


def test_a_key_may_be_named_like_a_variable_of_the_rules() -> None:
    with tourlog.connect() as conn:
        conn.append([{"next": 1, "names": 2, "o": 3, "v": v} for v in (4, 5)], "next", "names", "o")
        query = "[:find ?v ?w :in $ % :where (next ?e 1 2 3 ?f) [?e :v ?v] [?f :v ?w]]"
        assert list(conn.db().q(query, tourlog.gen_rules("next", "names", "o"))) == [(4, 5)]


def test_the_readme_describes_every_library() -> None:
    """Its table has a row for each: the name, what it answers, and an example that calls one of its rules."""
    rows = re.findall(r"^\| `([a-z]+)` \| (.+) \| `(.+)` \|$", README.read_text(encoding="utf-8"), re.M)
    assert sorted(name for name, _, _ in rows) == LIBRARIES
    for name, answers, example in rows:
        assert set(re.findall(r"`([a-z-]+)`", answers)) - {"edge"} == names(name), name
        assert set(re.findall(r"\(([a-z-]+) ", example)) <= names(name), name


def test_an_offset_bound_before_a_long_stream_is_read_still_holds() -> None:
    """The compiled engine reads long streams by columns, and must not drop what an offset equals on the way."""
    with tourlog.connect() as conn:
        conn.append([{"k": "s", "n": n} for n in range(1100)], "k")
        stream = '[?{0} :db/key ["k"]] [?{0} :k "s"] [?{0} :offset ?o{0}] [?{0} :n ?n{0}]'
        where = f"{stream.format('e')} [(< ?ne 2)] [(inc ?oe) ?of] {stream.format('f')}"
        assert set(conn.db().q(f"[:find ?ne ?nf :where {where}]", engine="compiled")) == {(0, 1), (1, 2)}


def test_a_template_is_no_library_to_ask_with() -> None:
    with tourlog.connect() as conn, pytest.raises(tourlog.ArgumentError, match="make them with gen_rules"):
        conn.db().q("[:find ?e :in $ % :where (all ?e)]", "order")
