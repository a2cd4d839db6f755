"""The model: the stateful machine of tests/model does what may happen to a store, in any order (appends, conditions,
invariants, transactions sent twice and what is said of them, blocks and runs inside each other, reports to listeners,
consumers, subscriptions, speculations, compaction; threads that write at the same time; backups of a file that is
written; reopening, crashes, a second process, also one that is killed instead of a write), to a model of plain lists
and dicts, to a store in memory and to one in a file, and asks both engines for every past. Everything a store answers
must equal what the model does, and what threads are told what it does in some order.
"""

from __future__ import annotations

import sys
from random import Random

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from model.further import Machine
from torture.findings import Findings, Time

EXAMPLES, STEPS = 6, 40
"""Lives of stores in one round, the first the simplest there is, and steps of a life at most."""


def run(seed: int, seconds: float) -> Findings:
    findings, time, rng = Findings(), Time.of(seconds), Random(seed)
    before = Machine.steps
    while time.is_left:
        with findings.watch("model"):
            play(Machine, rng.getrandbits(32), EXAMPLES, STEPS)
        findings.count("rounds")
    findings.count("steps", Machine.steps - before)
    return findings


def play(machine: type[Machine], seed: int, examples: int, steps: int) -> None:
    """Run a machine with a seed; AssertionError for what differs, and the steps that led to it on stderr."""
    seeded = hypothesis.seed(seed)(type(machine.__name__, (machine,), {}))
    wanted = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seeded, settings=wanted)
    except Exception as error:
        print(*getattr(error, "__notes__", ()), sep="\n", file=sys.stderr, flush=True)
        raise
