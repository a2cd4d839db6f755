"""What a program pays before its first document."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

from measure import Figure, Spread, Target, absolute, interleaved, spread, timed
from run import Run

import tourlog

IMPORT = "import tourlog"
MEMORY = "import tourlog, time; s = time.perf_counter(); tourlog.connect(); print(time.perf_counter() - s)"


def figures(run: Run) -> Iterator[Figure]:
    rounds = run.sizes.rounds * 2
    seconds = interleaved({"import": timed(_python(IMPORT)), "bare": timed(_python("pass"))}, rounds)
    taken = [(full - bare) * 1e3 for full, bare in zip(seconds["import"], seconds["bare"], strict=True)]
    yield absolute("import tourlog, a new process (bare interpreter taken off)", taken, "ms", at_most=100)
    first = [float(_python(MEMORY)()) * 1e3 for _ in range(rounds)]
    yield absolute("connect() in memory, the first of a process", first, "ms", at_most=2)
    later = interleaved({"connect": timed(_connect, calls=20)}, rounds)["connect"]
    yield Figure("connect() in memory, later ones", "", _in_ms(spread(later)), "ms", Target(at_most=2))


def _python(program: str) -> Callable[[], str]:
    return lambda: subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def _connect() -> None:
    tourlog.connect().close()


def _in_ms(found: Spread) -> Spread:
    return Spread(found.median * 1e3, found.low * 1e3, found.high * 1e3)
