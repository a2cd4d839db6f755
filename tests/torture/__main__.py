"""What tourlog survives, under models that are named: `python tests/torture [TOPIC ...] [--seed N] [--seconds S]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from torture.findings import Findings

TOPICS = (
    "kill",
    "kill9",
    "power",
    "recovery",
    "faults",
    "isolation",
    "model",
    "mutants",
    "clock",
    "reader",
    "damage",
    "fuzz",
    "bombs",
)
MUST_BE_ZERO = ("silent", "findings", "broken", "too_large")
"""Figures of topics that only count: answers of damaged stores that were wrong and said nothing, inputs that gave an
undocumented error, query bombs that left a database unusable or took too much memory."""


def main() -> int:
    options = _options()
    failed = 0
    for topic in options.topics:
        findings = _run(topic, options)
        failed += bool(findings.violations)
    return 1 if failed else 0


def _run(topic: str, options: argparse.Namespace) -> Findings:
    command = f"python tests/torture {topic} --seed {options.seed} --seconds {options.seconds:g}"
    module = import_module(f"torture.{topic}")
    reason = module.missing() if hasattr(module, "missing") else None
    if reason is not None:
        print(f"{topic}: left out: {reason}", flush=True)
        return Findings()
    started = perf_counter()
    findings = _findings(module.run(options.seed, options.seconds))
    took = perf_counter() - started
    model = " ".join(str(module.__doc__).split())
    if options.json:
        told = {"topic": topic, "model": model, "figures": findings.figures, "violations": findings.violations}
        print(json.dumps({**told, "seconds": round(took, 1), "command": command}), flush=True)
        return findings
    print(f"{topic}: {model}")
    for name, number in findings.figures.items():
        print(f"  {number:>10,} {name}")
    print(f"  {len(findings.violations):>10,} violations, in {took:.0f} s: {command}\n", flush=True)
    return findings


def _findings(result: Any) -> Findings:
    """What a topic found; one that only counts says by a figure of its own what must not be."""
    if isinstance(result, Findings):
        return result
    violations = [f"{result[name]} {name}" for name in MUST_BE_ZERO if result.get(name)]
    return Findings(Counter(result), violations)


def _options() -> argparse.Namespace:
    there = [topic for topic in TOPICS if find_spec(f"torture.{topic}") is not None]
    parser = argparse.ArgumentParser(prog="python tests/torture", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(there)}; all by default")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run, as far as threads and kills allow")
    parser.add_argument("--seconds", type=float, default=60, help="of each topic, about; a topic may be done earlier")
    parser.add_argument("--json", action="store_true", help="one line of JSON a topic")
    given = parser.parse_args()
    if unknown := [topic for topic in given.topics if topic not in there]:
        parser.error(f"expected topics of {', '.join(there)}, got {', '.join(unknown)}")
    given.topics = given.topics or there
    return given


if __name__ == "__main__":
    sys.exit(main())
