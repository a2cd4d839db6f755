"""A second process that writes to the same file: it is told what to do by a pipe, a line of literals each, and may be
killed by SIGKILL, also instead of one of its writes to the disk."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw

import tourlog
from model.actions import act
from model.checks import held
from model.state import Action, Outcome

TESTS = Path(__file__).parent.parent


class Other:
    """A process with a connection to a store. One that was killed is replaced at the next `open`."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def open(self, path: Path) -> None:
        """Open a store, instead of the one before."""
        if self._child is None or self._child.poll() is not None:
            self.end()
            environment = {**os.environ, "PYTHONPATH": str(TESTS)}
            command = [sys.executable, "-m", "model.other"]
            self._child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._ask("open", str(path)) == "opened"

    def act(self, action: Action) -> Outcome:
        outcome: Outcome = self._ask("act", action)
        return outcome

    def held(self) -> Any:
        return self._ask("held")

    def compact(self) -> int:
        return int(self._ask("compact"))

    def act_and_die(self, action: Action, writes: int) -> bool:
        """Act, and be killed after so many writes to the disk, or when it is done; whether it came to an answer."""
        answer = self._answer("die", action, writes)
        self._running.wait()
        return answer != b""

    def kill(self) -> None:
        """Kill it, with whatever it has open."""
        self._running.kill()
        self._running.wait()

    def close(self) -> None:
        """Close its store; a killed one has none."""
        if self._running.poll() is None:
            assert self._ask("close") == "closed"

    def end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._child is not None, "a process was started"
        return self._child

    def _ask(self, *command: Any) -> Any:
        line = self._answer(*command)
        assert line, f"the other process ended at {command}"
        return ast.literal_eval(line.decode())

    def _answer(self, *command: Any) -> bytes:
        stdin, stdout = self._running.stdin, self._running.stdout
        assert stdin is not None and stdout is not None
        stdin.write(repr(command).encode() + b"\n")
        stdin.flush()
        return stdout.readline()


# The child.


class Deadly(apsw.VFS):  # type: ignore[misc]
    """A VFS under which this process is killed instead of one of its writes, if that is wished."""

    def __init__(self) -> None:
        self.left: int | None = None
        super().__init__("deadly", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return DeadlyFile(self, name, flags)

    def meet(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DeadlyFile(apsw.VFSFile):  # type: ignore[misc]
    def __init__(self, deadly: Deadly, name: Any, flags: list[int]) -> None:
        self._deadly = deadly
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._deadly.meet()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._deadly.meet()
        super().xSync(flags)


def serve() -> None:
    deadly = Deadly()
    conn: tourlog.Connection | None = None
    for line in sys.stdin:
        name, *arguments = ast.literal_eval(line)
        if conn is not None and name in ("open", "close"):
            conn.close()
            conn = None
        answer: Any = None
        if name == "open":
            conn = tourlog.connect(*arguments, durability="normal")
            answer = "opened"
        elif name == "close":
            answer = "closed"
        else:
            assert conn is not None, "a store is open"
            answer = answered(conn, deadly, name, arguments)
        print(repr(answer), flush=True)
        if name == "die":
            os.kill(os.getpid(), signal.SIGKILL)


def answered(conn: tourlog.Connection, deadly: Deadly, name: str, arguments: list[Any]) -> Any:
    if name == "compact":
        return conn.compact()
    if name == "held":
        return held(conn)
    if name == "die":
        deadly.left = arguments[1]
    return act(conn, arguments[0])


if __name__ == "__main__":
    serve()
