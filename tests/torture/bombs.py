"""Query bombs: what a stranger's query could try. Each runs on both engines under budgets of time and rows, in a
process of its own that measures how long it took to stop and how much memory it had.

`python tests/torture/bombs.py [NAME ...]`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tourlog
from tourlog.errors import BudgetError, QueryError

ENGINES = ("pydatalog", "compiled")
TIMEOUTS = (0.5, 2.0)
TRIES = 2
"""A bomb that is late on a machine with other work gets as many tries; the quickest counts."""

MEMORY_MB = 3_000
"""What no bomb may need, at any timeout up to two seconds; the documents and the engines take up to 500 of it."""


@dataclass(frozen=True)
class Bomb:
    """`inputs` follow the database; `documents` are how many the store holds."""

    name: str
    query: str
    inputs: tuple[Any, ...] = ()
    documents: int = 2_000
    make: Callable[[int], dict[str, Any]] = lambda n: {"k": 1, "n": n, "s": f"s{n}"}
    pulls: Any = None
    """The entity whose document is pulled by `query`, a pull pattern then; None for a query."""


def _calling_twice(depth: int) -> str:
    rules = [f"[(r{n} ?x) (r{n + 1} ?x) (r{n + 1} ?x)]" for n in range(depth)]
    return f"[{' '.join(rules)} [(r{depth} ?x) [_ :n ?x]]]"


def _either(depth: int) -> str:
    """Rules of which each is reached in two ways, by other arguments."""
    rules = [f"[(r{n} ?x ?y) (r{n + 1} ?x ?z) (r{n + 1} ?z ?y)]" for n in range(depth)]
    return f"[{' '.join(rules)} [(r{depth} ?x ?y) [?e :n ?x] [?e :s ?y]]]"


def _mutual(count: int) -> str:
    """Rules that all call each other."""
    rules = [f"[(m{n} ?x ?y) (m{m} ?x ?z) (m{(n * m) % count} ?z ?y)]" for n in range(count) for m in range(count)]
    return f"[{' '.join(rules)} [(m0 ?x ?y) [?e :n ?x] [?f :n ?y]]]"


def _nested(operator: str, depth: int) -> str:
    return f"[:find ?e :where [?e :n ?n] {f'({operator} ' * depth}[?e :n ?n]{')' * depth}]"


def _branches(width: int) -> str:
    """A conjunction of alternatives: 2 ** width ways, were they multiplied out."""
    either = " ".join(f"(or-join [?e] [?e :n {n}] (and [?e :n ?n{n}] [(< {n - 9} ?n{n})]))" for n in range(width))
    return f"[:find ?e :where [?e :s ?s] {either}]"


GROWING = "[[(r ?v) [(ground %s) ?v]] [(r ?v) (r ?w) [(%s) ?v]]]"
ALL = "[:find ?v :in $ % :where (r ?v)]"
HARSH = "(.*a){0,9}(.*c){0,9}.{0,99}x?"

BOMBS = (
    # Cross products and huge results.
    Bomb("three-way product, counted", "[:find (count ?a) . :with ?b ?c :where [?a :n] [?b :n] [?c :n]]"),
    Bomb("two-way product, returned", "[:find ?a ?b :where [?a :n] [?b :n]]", documents=20_000),
    Bomb("product as a collection", "[:find [?v ...] :where [?a :n ?x] [?b :n ?y] [(str ?x ?y) ?v]]"),
    Bomb("product, sorted", "[:find ?x ?y :where [?a :n ?x] [?b :s ?y] :order-by [?y ?x]]", documents=5_000),
    Bomb("product, keyed", "[:find ?x ?y :keys a b :where [?a :n ?x] [?b :s ?y]]", documents=5_000),
    Bomb("product, first of it", "[:find ?x . :where [?a :n ?x] [?b :s ?y] [(< ?y ?y)]]", documents=20_000),
    Bomb("product, negated", "[:find ?x :where [?a :n ?x] [?b :s ?y] (not [?c :n ?x] [?d :n ?z] [(< ?z -1)])]"),
    Bomb("product, pulled", "[:find (pull ?a [*]) (pull ?b [*]) :where [?a :n] [?b :n]]"),
    Bomb(
        "product of mixed values, sorted",
        "[:find ?x ?y :where [?a :n ?x] [?b :n ?y] :order-by [[?x :desc] ?y]]",
        documents=5_000,
        make=lambda n: {"k": 1, "n": (n, float(n) + 0.5, str(n), [n])[n % 4]},
    ),
    # Aggregates of much.
    Bomb("distinct of a product", "[:find (distinct ?v) . :where [?a :n ?x] [?b :s ?y] [(str ?x ?y) ?v]]"),
    Bomb("median of a product", "[:find (median ?x) :with ?b :where [?a :n ?x] [?b :n]]", documents=5_000),
    Bomb("largest of a product", "[:find (max 1000000 ?x) :with ?b :where [?a :n ?x] [?b :n]]", documents=5_000),
    Bomb("picks for each", "[:find ?x (rand 1000000 ?n) :where [_ :n ?x] [?a :n ?n] [(< ?n 3)]]"),
    Bomb("a group each", "[:find ?a ?b (count ?c) :where [?a :n] [?b :n] [?c :n 1]]", documents=5_000),
    Bomb(
        "variance of huge integers",
        "[:find (variance ?v) :in $ ?big :where [_ :n ?n] [(+ ?big ?n) ?v]]",
        (1 << 999_990,),
    ),
    Bomb("sum of huge integers", "[:find (sum ?v) :in $ ?big :where [_ :n ?n] [(+ ?big ?n) ?v]]", (1 << 999_000,)),
    # Invented values.
    Bomb("counting", ALL, (GROWING % (1, "inc ?w"),)),
    Bomb("squaring", ALL, (GROWING % (3, "* ?w ?w"),)),
    Bomb("multiplying a little", ALL, (GROWING % (3 << 3000, "* ?w 7"),)),
    Bomb("doubling a text", ALL, (GROWING % ('"ab"', "str ?w ?w"),)),
    Bomb("lengthening a text", ALL, (GROWING % (f'"{"ab" * 9_000}"', "str ?w ?w 1"),)),
    Bomb("nesting vectors", ALL, (GROWING % ("1", "vector ?w"),)),
    Bomb("doubling vectors", ALL, (GROWING % ("1", "vector ?w ?w"),)),
    Bomb("doubling maps", ALL, (GROWING % ("1", 'hash-map "a" ?w "b" ?w "c" ?w'),)),
    Bomb("doubling what is printed", ALL, (GROWING % ("1", "pr-str ?w ?w"),)),
    Bomb("halves of a fraction", ALL, (GROWING % ("1M", "/ ?w 3"),)),
    Bomb("huge texts, one a row", "[:find ?v :in $ ?s :where [_ :n ?n] [(str ?s ?n) ?v]]", ("x" * 9_000_000,)),
    Bomb("huge texts, counted", "[:find (count ?v) :in $ ?s :where [_ :n ?n] [(str ?s ?n) ?v]]", ("x" * 9_000_000,)),
    Bomb("huge ranges", "[:find (count ?v) :where [_ :n ?n] [(range ?n 1000000) [?v ...]]]"),
    Bomb("huge ranges as values", "[:find ?v :where [_ :n ?n] [(range ?n 1000000) ?v]]"),
    Bomb(
        "two huge ranges compared",
        "[:find (count ?n) . :where [_ :n ?n] [(range 1000000) ?a] [(range 1000000) ?b] [(<= ?a ?b)]]",
        documents=1,
    ),
    Bomb("huge ranges, equal", "[:find ?n :where [_ :n ?n] [(range 999999) ?a] [(range ?n 999999) ?b] [(= ?a ?b)]]"),
    Bomb("huge ranges, sorted", "[:find ?v :where [_ :n ?n] [(< ?n 3)] [(range ?n 1000000) ?v] :order-by [?v]]"),
    Bomb("the largest of huge ranges", "[:find (max ?v) . :where [_ :n ?n] [(< ?n 9)] [(range ?n 1000000) ?v]]"),
    Bomb("huge ranges as sets", "[:find (count ?s) :where [_ :n ?n] [(range ?n 1000000) ?v] [(set ?v) ?s]]"),
    Bomb("huge ranges as text", "[:find (count ?s) :where [_ :n ?n] [(range ?n 1000000) ?v] [(pr-str ?v) ?s]]"),
    Bomb("one huge value", "[:find ?v . :where [(range 1000000) ?v]]"),
    Bomb("ranges of ranges", "[:find ?v :where [(range 1000) [?x ...]] [(range 1000) [?y ...]] [(* ?x ?y) ?v]]"),
    Bomb("products of huge integers", "[:find (count ?v) :in $ ?b :where [_ :n ?n] [(* ?b ?n ?b) ?v]]", (3**300_000,)),
    Bomb(
        "divisions of huge integers",
        "[:find (count ?v) :in $ ?b ?c :where [_ :n ?n] [(+ ?b ?n) ?d] [(quot ?d ?c) ?v]]",
        (1 << 999_000, 3**310_000),
    ),
    Bomb("splitting a huge text", '[:find ?v :in $ ?s :where [_ :n ?n] [(re-seq "" ?s) [?v ...]]]', ("x" * 9_000_000,)),
    Bomb(
        "cases of a huge text", "[:find (count ?v) :in $ ?s :where [_ :n ?n] [(upper-case ?s) ?v]]", ("ß" * 9_000_000,)
    ),
    # Regular expressions.
    Bomb(
        "nested repetition",
        "[:find ?n :in $ ?p ?s :where [_ :n ?n] [(re-matches ?p ?s)]]",
        (HARSH, "a" * 20_000),
    ),
    Bomb(
        "alternatives", "[:find ?n :in $ ?p ?s :where [_ :n ?n] [(re-find ?p ?s)]]", ("(a|aa)+$", "a" * 1_000_000 + "b")
    ),
    Bomb(
        "a counted wildcard",
        "[:find ?n :in $ ?p ?s :where [_ :n ?n] [(re-find ?p ?s)]]",
        ("(.{0,200}a.{0,200}){2}c$", "ab" * 40_000),
    ),
    Bomb(
        "all matches of a wildcard",
        "[:find ?v :in $ ?p ?s :where [_ :n ?n] [(re-seq ?p ?s) ?v]]",
        ("a.*?c|a", "ab" * 200_000),
    ),
    Bomb(
        "another pattern each",
        '[:find ?n :in $ ?s :where [_ :n ?n] [(str "(x{0,30}y{0,9}){1,9}" ?n) ?p] [(re-find ?p ?s)]]',
        ("x" * 1000,),
    ),
    # Rules and plans.
    Bomb("rules that call twice", "[:find ?x :in $ % :where (r0 ?x)]", (_calling_twice(60),)),
    Bomb("rules that join twice", "[:find ?x ?y :in $ % :where (r0 ?x ?y)]", (_either(24),)),
    Bomb("rules that all call each other", "[:find ?x ?y :in $ % :where (m0 ?x ?y)]", (_mutual(25),), documents=300),
    Bomb(
        "non-linear recursion",
        "[:find ?x ?y :in $ % :where (r ?x ?y)]",
        ("[[(r ?x ?y) [?e :n ?x] [?f :n ?y]] [(r ?x ?y) (r ?x ?z) (r ?z ?y)]]",),
    ),
    Bomb("alternatives of alternatives", _branches(60)),
    Bomb("nested not", _nested("not", 45)),
    Bomb("nested or", _nested("or", 45)),
    Bomb(
        "nested or with two branches",
        f"[:find ?e :where [?e :n ?n] {'(or [?e :s ?n] (and [?e :n ?n] ' * 24}[?e :n ?n]{'))' * 24}]",
    ),
    Bomb("two thousand clauses", f"[:find ?e0 :where {' '.join(f'[?e{n} :n ?e{n + 1}]' for n in range(2_000))}]"),
    Bomb(
        "a thousand functions in reverse",
        f"[:find ?v0 :where {' '.join(f'[(inc ?v{n + 1}) ?v{n}]' for n in range(1_000))} [_ :n ?v1000]]",
    ),
    Bomb(
        "a thousand predicates",
        f"[:find ?x :where [_ :n ?x] {' '.join(f'[(< ?x {n + 10_000})]' for n in range(1_000))}]",
    ),
    Bomb("a thousand find elements", f"[:find {'?x ' * 1_000} :where [_ :n ?x]]"),
    Bomb("a million characters", f"[:find ?e :where [?e :n ?n] {' '.join(f'[(not= ?n {n})]' for n in range(45_000))}]"),
    Bomb("a large constant", f"[:find ?e :where [?e :n ?n] [(ground [{'1 ' * 400_000}]) [?n ...]]]"),
    Bomb("many rules", "[:find ?x :in $ % :where (r0 ?x)]", (_calling_twice(3_000),)),
    # Inputs, loading, collisions.
    Bomb("many inputs", "[:find ?e :in $ [?n ...] :where [?e :n ?n]]", (list(range(300_000)),)),
    Bomb(
        "many rows of input",
        "[:find ?e ?y :in $ [[?n ?y]] :where [?e :n ?n]]",
        ([(n, str(n)) for n in range(200_000)],),
    ),
    Bomb(
        "first touch of many documents",
        "[:find (count ?e) (count-distinct ?n) :where [?e :n ?n] [?e :s ?s]]",
        documents=400_000,
    ),
    Bomb(
        "integers of one hash",
        "[:find ?x ?y :where [?a :n ?x] [?b :n ?y] [(< ?x ?y)]]",
        documents=20_000,
        make=lambda n: {"k": 1, "n": n * (2**61 - 1)},
    ),
    Bomb(
        "integers of one hash as input",
        "[:find ?n ?m :in $ [?n ...] [?m ...]]",
        ([n * (2**61 - 1) for n in range(20_000)],) * 2,
    ),
    Bomb(
        "pulling a dense graph",
        "[:find (pull ?e [{:to ...}]) :where [?e :to]]",
        documents=60,
        make=lambda n: {"k": 1, "db/id": n, "to": list(range(60))},
    ),
    Bomb(
        "pulling back along a dense graph",
        "[:find (pull ?e [* {:_to [* {:_to [* {:_to [* {:_to [*]}]}]}]}]) :where [?e :to]]",
        documents=60,
        make=lambda n: {"k": 1, "db/id": n, "to": list(range(60))},
    ),
    Bomb(
        "pulling one of a dense graph, without a query",
        "[{:to ...}]",
        documents=60,
        make=lambda n: {"k": 1, "db/id": n, "to": list(range(60))},
        pulls=0,
    ),
    Bomb(
        "pulling back, without a query",
        "[* {:_to [* {:_to [* {:_to [* {:_to [*]}]}]}]}]",
        documents=60,
        make=lambda n: {"k": 1, "db/id": n, "to": list(range(60))},
        pulls=0,
    ),
    Bomb(
        "reaching along a dense graph",
        "[:find ?x ?y ?p :in $ % :where (r ?x ?y ?p)]",
        (
            "[[(r ?x ?y ?p) [?x :to ?y] [(vector ?x ?y) ?p]]"
            " [(r ?x ?y ?p) (r ?x ?z ?q) [?z :to ?y] [(vector ?q ?y) ?p]]]",
        ),
        documents=60,
        make=lambda n: {"k": 1, "db/id": n, "to": list(range(60))},
    ),
)


def run(seed: int, seconds: float, names: list[str] | None = None) -> dict[str, int]:
    """Set off every bomb on both engines, in an order of the seed's, as many as the time lasts for.

    `worst_overshoot_permille` is how far over its budget the latest query came back, in thousandths of the budget;
    `busy_overshoot_permille` leaves out what a machine with other work kept the processor from it.
    """
    jobs = [(b.name, engine) for b in BOMBS for engine in ENGINES if not names or any(n in b.name for n in names)]
    random.Random(seed).shuffle(jobs)
    end = time.monotonic() + seconds
    names_of_totals = ("queries", "late", "worst_overshoot_permille", "busy_overshoot_permille")
    totals = dict.fromkeys((*names_of_totals, "peak_mb", "too_large", "broken"), 0)
    for name, engine in jobs:
        if time.monotonic() > end:
            break
        figures = in_child(name, engine)
        late = figures["overshoot_permille"] > 100
        totals["queries"] += figures["queries"]
        totals["late"] += late
        totals["worst_overshoot_permille"] = max(totals["worst_overshoot_permille"], figures["overshoot_permille"])
        busy = figures.get("busy_overshoot_permille", figures["overshoot_permille"])
        totals["busy_overshoot_permille"] = max(totals["busy_overshoot_permille"], busy)
        totals["peak_mb"] = max(totals["peak_mb"], figures["peak_mb"])
        totals["too_large"] += figures["peak_mb"] > MEMORY_MB
        totals["broken"] += "problem" in figures
        mark = "LATE " if late else "LARGE " if figures["peak_mb"] > MEMORY_MB else ""
        print(f"{mark}{name}, {engine}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    return totals


def in_child(name: str, engine: str, timeouts: tuple[float, ...] = TIMEOUTS) -> dict[str, Any]:
    """What one bomb did on one engine, in a process of its own."""
    command = [sys.executable, __file__, "--child", name, engine, *map(str, timeouts)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return {"queries": 0, "overshoot_permille": 99_999, "peak_mb": 0, "problem": "not back after two minutes"}
    if done.returncode:
        problem = f"ended with {done.returncode}: {done.stderr[-700:]}"
        return {"queries": 0, "overshoot_permille": 0, "peak_mb": 99_999, "problem": problem}
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _child(name: str, engine: str, timeouts: list[float]) -> dict[str, Any]:
    bomb = next(bomb for bomb in BOMBS if bomb.name == name)
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    with tourlog.connect() as conn:
        documents = [bomb.make(n) for n in range(bomb.documents)]
        if "db/id" in documents[0]:
            conn.transact(documents)
        else:
            conn.append(documents, "k")
        conn.db().q("[:find ?e :where [?e :nothing]]", engine=engine)  # what an engine's start takes is no bomb's
        figures: dict[str, Any] = {"queries": 0, "overshoot_permille": 0, "busy_overshoot_permille": 0, "outcomes": []}
        for timeout in timeouts:
            outcomes = []
            for _ in range(TRIES):
                outcomes.append(_set_off(conn, bomb, engine, timeout))
                figures["queries"] += 1
                if outcomes[-1][0] <= 100:
                    break
            overshoot, busy, outcome = min(outcomes)
            figures["overshoot_permille"] = max(figures["overshoot_permille"], overshoot)
            figures["busy_overshoot_permille"] = max(figures["busy_overshoot_permille"], busy)
            figures["outcomes"].append(outcome)
        got = conn.db().q("[:find (count ?e) . :where [?e :k 1]]", engine=engine)
        if got != bomb.documents:
            figures["problem"] = f"{got} documents afterwards"
        figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return figures


def _set_off(conn: tourlog.Connection, bomb: Bomb, engine: str, timeout: float) -> tuple[int, int, str]:
    """How far over its budget it came back in thousandths, the same by the processor's time, and what it was."""
    start, used = time.monotonic(), time.process_time()
    try:
        if bomb.pulls is not None:
            found: Any = conn.db().pull(bomb.query, bomb.pulls, timeout=timeout)
        else:
            found = conn.db().q(bomb.query, *bomb.inputs, engine=engine, timeout=timeout, max_rows=3_000_000)
        outcome = f"answered: {len(found) if hasattr(found, '__len__') else found}"
    except BudgetError as error:
        outcome = f"budget: {error.budget}"  # type: ignore[attr-defined]  # by the constructor
    except QueryError as error:
        outcome = f"refused: {str(error)[:60]}"
    took, used = time.monotonic() - start, time.process_time() - used
    overshoot, busy = (max(0, round((seconds / timeout - 1) * 1000)) for seconds in (took, used))
    return overshoot, min(overshoot, busy), f"{outcome} ({took:.2f} s of {timeout})"


def _main() -> None:
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(_child(sys.argv[2], sys.argv[3], list(map(float, sys.argv[4:])))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of bombs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600)
    given = parser.parse_args()
    print(json.dumps(run(given.seed, given.seconds, given.names), indent=1))


if __name__ == "__main__":
    _main()
