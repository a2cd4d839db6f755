"""Isolation: threads of several processes append (with and without `expect=`, `unless=` and `only_if=`, over one
stream and two), set a switch, add and drop invariants and read snapshots of one store, and note when each call
began and ended and what it saw.
Violated are: lost, duplicated, reordered, torn, stale or cyclic observations; transactions must be strictly
serialisable in the order of positions, with their conditions true just before them, and those of a call that was
refused false at some moment of it; an invariant holds from the position that added it to the one that dropped it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic_ns
from typing import Any

from torture.findings import Findings, Time
from torture.histories import Call, faults
from torture.kill import environment

import tourlog
from tourlog import Connection

PROCESSES, THREADS, SECONDS = 2, 3, 2.0
"""Of one round; its history is checked whole."""

STREAMS = ("a", "b", "c")


def run(seed: int, seconds: float) -> Findings:
    findings, time, rng = Findings(), Time.of(seconds), Random(seed)
    while time.is_left:
        durability = rng.choice(("full", "normal"))
        with TemporaryDirectory() as name:
            path = Path(name) / "store"
            calls = recorded(path, rng.getrandbits(32), durability, SECONDS)
            with findings.watch("isolation"):
                for fault in faults(calls, contents(path)):
                    findings.violate(fault)
            findings.count("rounds")
            findings.count("calls", len(calls))
            findings.count("transactions", sum(1 for call in calls if call.kind == "append" and call.t is not None))
            findings.count("refused", sum(1 for call in calls if call.kind == "append" and call.t is None))
            findings.count(
                "of them on conditions", sum(1 for call in calls if is_conditional(call) and call.t is not None)
            )
            findings.count("invariants added", sum(1 for call in calls if call.rule and call.rule[0] == "require"))
            findings.count("refused by invariants", sum(1 for call in calls if call.refused == "invariant"))
            findings.count("snapshots", sum(1 for call in calls if call.kind == "read"))
    return findings


def is_conditional(call: Call) -> bool:
    return bool(call.conditions) or call.expected is not None


def recorded(path: Path, seed: int, durability: str, seconds: float) -> list[Call]:
    """What threads of processes did to one store, in any order."""
    tourlog.connect(path).close()
    command = [sys.executable, "-m", "torture.isolation", str(path), durability, str(seconds)]
    children = [
        subprocess.Popen([*command, f"{process}", str(seed + process)], env=environment(), stdout=subprocess.PIPE)
        for process in range(PROCESSES)
    ]
    lines = [line for child in children for line in child.communicate()[0].splitlines()]
    assert [child.returncode for child in children] == [0] * PROCESSES
    return [Call(**json.loads(line)) for line in lines]


def contents(path: Path) -> dict[str, list[tuple[int, int, str]]]:
    """The documents of each stream as the store holds them in the end: offset, transaction, id."""
    with tourlog.connect(path, read_only=True) as conn:
        return seen(conn.db())


def seen(db: tourlog.Database) -> dict[str, list[tuple[int, int, str]]]:
    transactions = {
        (stream.values[0], offset): past.t
        for past in db.tx_range()
        for stream, span in past.offsets.items()
        for offset in span
    }
    return {
        k: [(d["offset"], transactions.get((k, d["offset"]), 0), d["id"]) for d in db.documents({"k": k})]
        for k in STREAMS
    }


# The child.


KINDS = (
    "plain",
    "two",
    "expect",
    "expect two",
    "free name",
    "known name",
    "switch",
    "long",
    "both",
    "flip",
    "flip",
    "require",
    "drop",
    *["read"] * 5,
)
QUERIES = {
    "name": "[:find ?e :in $ ?name :where [?e :name ?name]]",
    "switch": "[:find ?e :in $ ?value :where [?e :switch ?value]]",
    "longer": "[:find ?o :in $ ?k ?n :where [?e :k ?k] [?e :offset ?o] [(>= ?o ?n)]]",
}


def work(conn: Connection, who: str, rng: Random, seconds: float, calls: list[Call]) -> None:
    until, number = monotonic_ns() + int(seconds * 1e9), 0
    while monotonic_ns() < until:
        number += 1
        kind = rng.choice(KINDS)
        if kind == "read":
            calls.append(read(conn))
        elif kind in ("require", "drop"):
            calls.append(rule(conn, kind, rng))
        else:
            calls.append(write(conn, f"{who}/{number}", kind, rng))


def read(conn: Connection) -> Call:
    began = monotonic_ns()
    db = conn.db()
    streams = {k: [(d["offset"], d["id"]) for d in db.documents({"k": k})] for k in STREAMS}
    switch = (db.entity("switch") or {}).get("switch")
    required = sorted(json.loads(each.name) for each in db.invariants())
    return Call("read", began, monotonic_ns(), t=db.t, streams=streams, switch=switch, required=required)


def rule(conn: Connection, kind: str, rng: Random) -> Call:
    """Require that nobody states a name, that a stream gets no longer, or that the switch is not at a value; or require
    that no more."""
    switch = ["switch", rng.randint(0, 2)]
    k = rng.choice(STREAMS)
    longer = ["longer", k, len(conn.db().documents({"k": k})) + rng.randint(0, 3)]
    condition = rng.choice((["name", f"name {rng.randint(0, 60)}"], longer, switch, switch))
    held = [json.loads(each.name) for each in conn.invariants()]
    if kind == "drop" and held and rng.random() < 0.9:
        condition = rng.choice(held)
    call = Call("append", monotonic_ns(), 0, rule=[kind, condition])
    what, *inputs = condition
    try:
        if kind == "require":
            report = conn.require(json.dumps(condition), QUERIES[what], *inputs)
        else:
            report = conn.drop_invariant(json.dumps(condition))
        call.t = report.t
        if report.db_before.t == report.t:
            call.kind = "known"  # and nothing was written
    except tourlog.InvariantError as broken:
        call.refused, call.actual = "invariant", json.loads(broken.details["invariant"])
    except tourlog.ArgumentError:
        call.refused = "missing"
    call.ended = monotonic_ns()
    return call


def write(conn: Connection, id: str, kind: str, rng: Random) -> Call:
    """Append, set the switch, or be refused."""
    streams = rng.sample(STREAMS, 2 if kind in ("two", "expect two") else 1)
    documents = [{"k": k, "id": f"{id}/{n}"} for n in range(rng.randint(1, 3)) for k in streams]
    call = Call("append", 0, 0, conditions=conditions(conn, kind, streams[0], rng))
    if kind == "flip":
        call.switch, documents = rng.randint(0, 2), []
    if kind in ("expect", "expect two"):
        known = conn.db().entity("offset-metadata") or {}
        call.expected = {k: known.get(k, 0) for k in streams}
    if kind == "free name":
        call.name = call.conditions["unless"][1]
        documents = [{**documents[0], "name": call.name}]
    call.streams = {k: [d["id"] for d in documents if d["k"] == k] for k in streams if documents}
    options: dict[str, Any] = {name: (QUERIES[what], *inputs) for name, (what, *inputs) in call.conditions.items()}
    call.began = monotonic_ns()
    try:
        if kind == "flip":
            report = conn.transact([{"db/id": "switch", "switch": call.switch, "by": id}])
        else:
            report = conn.append(documents, "k", expect=call.expected, **options)
        call.t, call.offsets = report.t, {s.values[0]: [span.start, span.stop] for s, span in report.offsets.items()}
    except tourlog.ConflictError as conflict:
        call.refused, call.actual = "expect", [conflict.details["stream"].values[0], conflict.details["actual"]]
    except tourlog.ConditionError as broken:
        call.refused = next(name for name, given in options.items() if given is broken.details["condition"])
    except tourlog.InvariantError as broken:
        call.refused, call.actual = "invariant", json.loads(broken.details["invariant"])
    call.ended = monotonic_ns()
    return call


def conditions(conn: Connection, kind: str, k: str, rng: Random) -> dict[str, Any]:
    """What the append needs: a name that nobody has, or somebody; the switch where it is wanted; a stream not too
    long, as one can tell who has just looked."""
    wanted = rng.choice(("unless", "only_if"))
    name, switch = ["name", f"name {rng.randint(0, 60)}"], ["switch", rng.randint(0, 2)]
    if kind == "long":
        length = len(conn.db().documents({"k": k}))
        return {wanted: ["longer", k, max(0, length + rng.randint(-2, 1))]}
    return {
        "free name": {"unless": name},
        "known name": {"only_if": name},
        "switch": {wanted: switch},
        "both": {"unless": switch, "only_if": name},
    }.get(kind, {})


def main(path: str, durability: str, seconds: str, process: str, seed: str) -> None:
    calls: list[list[Call]] = [[] for _ in range(THREADS)]
    with tourlog.connect(path, durability=durability) as conn:
        threads = [
            threading.Thread(
                target=work, args=(conn, f"{process}.{n}", Random(int(seed) * 31 + n), float(seconds), calls[n])
            )
            for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for call in (call for each in calls for call in each):
        print(json.dumps(call.__dict__))


if __name__ == "__main__":
    main(*sys.argv[1:])
