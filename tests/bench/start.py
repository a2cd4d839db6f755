"""What a program pays before its first document; the bare interpreter is taken off."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

from measure import Figure, absolute, interleaved, typical
from run import Run

import tourlog

IMPORT, BARE = "import tourlog", "pass"
FIRST = "import tourlog, time; s = time.perf_counter(); tourlog.connect(); print(time.perf_counter() - s)"


def figures(run: Run) -> Iterator[Figure]:
    rounds = run.sizes.rounds * 2
    python = partial(_python, run.new_folder("bytecode"))
    seconds = interleaved({"import": partial(python, IMPORT), "bare": partial(python, BARE)}, rounds)
    taken = [(full - bare) * 1e3 for full, bare in zip(seconds["import"], seconds["bare"], strict=True)]
    yield absolute("import tourlog, a new process", taken, "ms", at_most=100)
    used = [(_processor(python, IMPORT) - _processor(python, BARE)) * 1e3 for _ in range(rounds)]
    yield absolute("import tourlog, processor", used, "ms", at_most=100)
    first = [python(FIRST) * 1e3 for _ in range(rounds)]
    yield absolute("connect() in memory, the first of a process", first, "ms", at_most=2)
    later = interleaved({"connect": typical(_connect, calls=20)}, rounds)["connect"]
    yield absolute("connect() in memory, later ones", [each * 1e3 for each in later], "ms", at_most=2)


def _python(bytecode: Path, program: str) -> float:
    """The seconds a new interpreter says or takes; the package's bytecode is kept, as it is where people install it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    started = perf_counter()
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout or perf_counter() - started)


def _processor(python: Callable[[str], float], program: str) -> float:
    """The seconds of processor time: on a busy machine, closer to what an idle one takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(program)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _connect() -> None:
    tourlog.connect().close()
