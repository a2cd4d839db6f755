"""What the first query pays to load three attributes off the log, and what they take in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from measure import Figure, absolute
from run import Run

CHILD = Path(__file__).with_name("loading_child.py")


def figures(run: Run) -> Iterator[Figure]:
    """Each round is a new process, cold but for the operating system's cache of the file."""
    count = run.sizes.orders
    path = run.orders_path("file", count)
    run.orders("file", count)
    rounds = [_loaded(path) for _ in range(run.sizes.slow_rounds)]
    for clock, what in (
        ("seconds", f"first touch of three attributes, {count:,}"),
        ("processor", "first touch, processor"),
    ):
        yield absolute(what, [found[clock] / count * 1e6 for found in rounds], "µs/document", at_most=3)
    yield absolute("memory of the three attributes", [found["bytes"] / count for found in rounds], "bytes/document")


def _loaded(path: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, CHILD, path], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found
