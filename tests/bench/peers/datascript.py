"""DataScript in Node: installed by npm into the run's folder; queries as EDN, times taken inside its process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from run import MissingPeerError, Run

VERSION = "1.8.1"
PROGRAM = Path(__file__).with_suffix(".js")


class DataScript:
    """A Node process that holds one database."""

    def __init__(self, modules: Path) -> None:
        environment = {**os.environ, "NODE_PATH": str(modules)}
        self._process = subprocess.Popen(
            ["node", str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def close(self) -> None:
        self._process.communicate()

    def load(self, facts: Iterable[tuple[int, str, Any]], many: Sequence[str] = ()) -> None:
        """Make it hold these facts only; the attributes `many` have any number of values."""
        self._send({"facts": list(facts), "many": list(many)})

    def q(self, query: str, *inputs: Any) -> tuple[float, int]:
        """The seconds a query took there, and how many rows it gave."""
        answer = self._send({"query": query, "inputs": inputs})
        return answer["seconds"], answer["rows"]

    def _send(self, command: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(command) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer


def start(run: Run) -> DataScript:
    """Raises MissingPeerError without Node and npm, or when npm cannot install it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise MissingPeerError("DataScript needs node and npm, so it is left out: install Node.js")
    modules = run.folder / "datascript"
    if not modules.exists():
        command = [
            "npm",
            "install",
            "--silent",
            "--no-fund",
            "--no-audit",
            "--prefix",
            modules,
            f"datascript@{VERSION}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise MissingPeerError(f"npm cannot install datascript@{VERSION}, so it is left out: {done.stderr.strip()}")
    process = DataScript(modules / "node_modules")
    run.closing.callback(process.close)
    return process
