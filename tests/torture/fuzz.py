"""Fuzzes what takes text and data of strangers: `python tests/torture/fuzz.py`.

Atheris guides it by coverage where it is installed (`pip install -e '.[torture]'`); without it the same mutations
run blind, and the figures say so. Every target runs in a process of its own, whose memory is limited.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
MEMORY = 3 << 30
"""Bytes of memory, shared libraries and DuckDB's own included, that one process may ask for."""

SLOWEST = 2.5
"""Seconds an input may take: two engines, a timeout of a second each, and what is allowed over it."""

LONGEST = 2_000
WEIGHTS = {"ask": 8, "plan": 2}
"""Shares of the time; one for every other target."""


def run(seed: int, seconds: float, names: list[str] | None = None) -> dict[str, int]:
    """Fuzz every target for its share of the time; how many executions, findings, and the slowest in ms.

    Findings are printed with the input that shows them.
    """
    targets = names or _targets()
    totals = {"executions": 0, "findings": 0, "slowest_ms": 0, "peak_mb": 0, "guided_by_coverage": _has_atheris()}
    shares = {name: WEIGHTS.get(name, 1) for name in targets}
    for number, name in enumerate(targets):
        figures = _in_child(name, seed + number, seconds * shares[name] / sum(shares.values()))
        totals["executions"] += figures["executions"]
        totals["findings"] += len(figures["findings"])
        for worst in ("slowest_ms", "peak_mb"):
            totals[worst] = max(totals[worst], figures[worst])
        totals[f"executions of {name}"] = figures["executions"]
        for finding in figures["findings"]:
            print(f"{name}: {finding['problem']}\n  input: {finding['input']}\n{finding['trace']}", file=sys.stderr)
    return totals


def _targets() -> list[str]:
    from torture.targets import TARGETS  # imported here: the child instruments it first

    return list(TARGETS)


def _has_atheris() -> int:
    return int(find_spec("atheris") is not None)


def _in_child(name: str, seed: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", name, str(seed), str(seconds), folder]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds * 2 + 120, check=False, cwd=folder
        )
        path = Path(folder) / "figures.json"
        if not path.exists():
            raise RuntimeError(f"fuzzing {name} ended before it began:\n{done.stderr[-2000:]}")
        figures: dict[str, Any] = json.loads(path.read_text())
        if not figures["ended"]:
            problem = f"the process died ({done.returncode}): {done.stderr[-1500:]}"
            figures["findings"].append({"problem": problem, "input": figures["input"], "trace": ""})
    return figures


class _Trial:
    """Runs inputs of one target and writes down what happened: before each, for one that kills the process."""

    def __init__(self, name: str, seconds: float, folder: Path) -> None:
        from torture.targets import TARGETS

        self._target, self._path = TARGETS[name], folder / "figures.json"
        self._journal = (folder / "input").open("wb", buffering=0)
        self._end = time.monotonic() + seconds
        self.figures: dict[str, Any] = {"executions": 0, "findings": [], "slowest_ms": 0, "peak_mb": 0}
        self._known: set[str] = set()
        self.write(ended=False)

    def __call__(self, data: bytes) -> None:
        self._journal.seek(0)
        self._journal.truncate()
        self._journal.write(data)
        start = time.monotonic()
        try:
            self._target(data)
        except Exception as error:  # whatever comes out is a finding
            self._found(f"{type(error).__name__}: {error}", data, error)
        took = time.monotonic() - start
        if took > SLOWEST:
            self._found(f"took {took:.1f} s", data, None)
        self.figures["executions"] += 1
        self.figures["slowest_ms"] = max(self.figures["slowest_ms"], round(took * 1000))
        if start > self._end:
            self.write(ended=True)
            raise SystemExit

    def _found(self, problem: str, data: bytes, error: Exception | None) -> None:
        frames = traceback.extract_tb(error.__traceback__)[-2:] if error else []
        if self._is_new(repr([(type(error), frame.filename, frame.lineno) for frame in frames]) if error else problem):
            trace = "".join(traceback.format_exception(error)[-6:]) if error else ""
            shown = json.dumps(data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace"))
            self.figures["findings"].append({"problem": problem[:300], "input": shown, "trace": trace[-1500:]})
            self.write(ended=False)

    def _is_new(self, mark: str) -> bool:
        is_new = mark not in self._known
        self._known.add(mark)
        return is_new

    def write(self, *, ended: bool) -> None:
        """Keep the figures where the parent finds them."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        self._path.write_text(json.dumps({**self.figures, "peak_mb": peak, "ended": ended, "input": str(self._path)}))


def _child(name: str, seed: int, seconds: float, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY * 2, MEMORY * 2))
    if _has_atheris():
        import atheris

        with atheris.instrument_imports(include=["tourlog"]):
            from torture import targets
    else:
        from torture import targets
    rng, inputs = random.Random(seed), targets.seeds(name)
    trial = _Trial(name, seconds, folder)
    if not _has_atheris():
        _run_blind(trial, inputs, rng, targets)
    corpus = folder / "seeds"
    corpus.mkdir()
    for number, data in enumerate(inputs):
        (corpus / str(number)).write_bytes(data)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        if not seed % 5:
            mutated: bytes = atheris.Mutate(data, len(data) + 20)
        else:
            mutated = targets.mutated(data, inputs, random.Random(seed))
        return mutated[:size]

    options = [f"-seed={seed % 2**31 or 1}", f"-max_len={LONGEST}", "-timeout=60", f"-rss_limit_mb={MEMORY >> 20}"]
    atheris.Setup(["fuzz", *options, "-verbosity=0", str(corpus)], trial, custom_mutator=mutate)
    atheris.Fuzz()


def _run_blind(trial: _Trial, inputs: list[bytes], rng: random.Random, targets: Any) -> None:
    for data in inputs:
        trial(data)
    while True:
        trial(targets.mutated(rng.choice(inputs), inputs, rng)[:LONGEST])


def _main() -> None:
    sys.path.insert(0, str(FOLDER.parent))
    if sys.argv[1:2] == ["--child"]:
        _child(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    print(json.dumps(run(given.seed, given.seconds, given.targets), indent=1))


if __name__ == "__main__":
    _main()
