"""Recursive rules: all pairs reachable in a random graph, and ancestors in a real history."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from itertools import product
from typing import Any

from measure import Figure, Measure, as_fast, as_long, interleaved, timed, typical
from peers import duckdb_sql, pydatalog_alone
from run import Run

import tourlog

AT_MOST, AT_LEAST = 1.5, 100
CHAIN = 81

COUNT = "[:find (count ?b) . :in $ % :with ?a :where (reach ?a ?b)]"
EDGES = {
    "references": "[{} :to {}]",
    "attributes": "[?edge{0}{1} :from {0}] [?edge{0}{1} :to {1}]",
}
STEPS = {
    "left": "(reach ?a ?b) {bc}",
    "right": "{ab} (reach ?b ?c)",
    "non-linear": "(reach ?a ?b) (reach ?b ?c)",
}
ANCESTOR = """[[(ancestor ?c ?p) [?e :commit ?c] [?e :parents ?p]]
 [(ancestor ?c ?p) (ancestor ?c ?b) [?e :commit ?b] [?e :parents ?p]]]"""
ANCESTORS = "[:find [?p ...] :in $ % ?c :where (ancestor ?c ?p)]"

Edges = list[tuple[int, int]]


def figures(run: Run) -> Iterator[Figure]:
    yield from _against_duckdb(run)
    yield _ancestors(run)
    yield from _against_others(run)
    yield from _against_datascript(run)


def rules(form: str, step: str) -> str:
    """The rules of `reach` over a graph stored in this form, with this recursive step."""
    ab, bc = (_edge(form, *ends) for ends in (("?a", "?b"), ("?b", "?c")))
    return f"[[(reach ?a ?b) {ab}] [(reach ?a ?c) {STEPS[step].format(ab=ab, bc=bc)}]]"


def _edge(form: str, a: str, b: str) -> str:
    return EDGES[form].format(a, b).replace(f"edge{a}{b}", f"edge{a[1:]}{b[1:]}")


def random_edges(nodes: int) -> Edges:
    """Twice as many distinct edges as nodes; the same ones every time."""
    chosen = random.Random(7).sample(range(nodes * nodes), 2 * nodes)
    return [divmod(number, nodes) for number in chosen]


def store(run: Run, form: str, edges: Edges) -> tourlog.Connection:
    """The graph in memory: edges as references from node to node, or as documents of two attributes."""
    conn = run.closing.enter_context(tourlog.connect())
    if form == "attributes":
        conn.append([{"graph": 1, "from": a, "to": b} for a, b in edges], "graph")
    else:
        to = {a: [b for other, b in edges if other == a] for a, _ in edges}
        conn.transact([{"db/id": a, "to": nodes} for a, nodes in to.items()])
    return conn


def _against_duckdb(run: Run) -> Iterator[Figure]:
    edges = random_edges(run.sizes.nodes)
    theirs = duckdb_sql.reachable(edges)
    pairs = theirs()
    for form, step in product(EDGES, STEPS):
        ours = _counting(store(run, form, edges), rules(form, step), engine="compiled")
        assert ours() == pairs, (form, step)
        seconds = interleaved({"ours": timed(ours), "theirs": timed(theirs)}, run.sizes.slow_rounds)
        what = f"{pairs:,} pairs; {form}, {step}"
        yield as_long(what, "DuckDB", seconds["ours"], seconds["theirs"], AT_MOST)


def _ancestors(run: Run) -> Figure:
    commits = [
        json.loads(line)
        for line in gzip.decompress((files("tourlog") / "data/commits.jsonl.gz").read_bytes()).splitlines()
    ]
    conn = run.closing.enter_context(tourlog.connect())
    conn.append(({"repository": "flask", **commit} for commit in commits), "repository")
    db, newest = conn.db(), commits[-1]["commit"]
    ours = partial(db.q, ANCESTORS, ANCESTOR, newest, engine="compiled")
    theirs = duckdb_sql.ancestors(((c["commit"], parent) for c in commits for parent in c["parents"]), newest)
    found = ours()
    assert sorted(found) == sorted(theirs())
    seconds = interleaved({"ours": timed(ours), "theirs": timed(theirs)}, run.sizes.slow_rounds)
    what = f"{len(found):,} ancestors among {len(commits):,} commits"
    return as_fast(what, "DuckDB", seconds["ours"], seconds["theirs"], None)


def _against_others(run: Run) -> Iterator[Figure]:
    nodes = run.sizes.program_nodes
    edges = random_edges(nodes)
    conn, left = store(run, "references", edges), rules("references", "left")
    compiled, auto = (_counting(conn, left, engine=engine) for engine in ("compiled", "auto"))
    pairs = compiled()
    what = f"{pairs:,} pairs of {nodes} nodes"
    peers = _other_peers(run, edges, pairs)
    # A few milliseconds of work right after a second of a peer's: several calls, as in the other topics.
    measures = {"compiled": typical(compiled, 5), "auto": typical(auto, 5), **peers}
    measures["pyDatalog alone"] = lambda: pydatalog_alone.seconds_to_reach(edges, pairs)
    seconds = interleaved(measures, run.sizes.slow_rounds)
    for engine in ("compiled", "auto"):
        theirs = seconds["pyDatalog alone"]
        yield as_fast(f"{what}; engine={engine}", "pyDatalog alone", seconds[engine], theirs, AT_LEAST)
    for name in peers:
        yield as_fast(f"{what}; engine=compiled", name, seconds["compiled"], seconds[name], None)


def _other_peers(run: Run, edges: Edges, pairs: int) -> dict[str, Measure]:
    measures: dict[str, Measure] = {}
    for name, module in (("clingo", run.peer("clingo_solver")), ("Cozo", run.peer("cozo_db"))):
        if module is not None:
            theirs = module.reachable(edges)
            assert theirs() == pairs, name
            measures[name] = timed(theirs)
    return measures


def _against_datascript(run: Run) -> Iterator[Figure]:
    """A chain: on random graphs with cycles DataScript's time grows without bound (20 nodes: over a minute)."""
    process = run.datascript()
    if process is None:
        return
    chain = [(node, node + 1) for node in range(1, CHAIN)]
    ours = _counting(store(run, "references", chain), rules("references", "left"), engine="compiled")
    process.load([(a, "to", b) for a, b in chain], many=["to"])
    text = rules("references", "right").replace(":to", '"to"')
    theirs = partial(process.q, "[:find ?a ?b :in $ % :where (reach ?a ?b)]", text)
    assert theirs()[1] == ours()
    seconds = interleaved({"ours": timed(ours), "theirs": lambda: theirs()[0]}, run.sizes.slow_rounds)
    yield as_fast(
        f"{ours():,} pairs of a chain of {CHAIN} nodes", "DataScript", seconds["ours"], seconds["theirs"], None
    )


def _counting(conn: tourlog.Connection, rules: str, engine: str = "auto") -> Callable[[], Any]:
    db = conn.db()
    return lambda: db.q(COUNT, rules, engine=engine)
