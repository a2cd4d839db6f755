"""Power cut: what SQLite wrote through a recording VFS is cut after any operation, and the files rebuilt from what was
synced and nothing, a prefix, a subset, any 512-byte sectors or all of what was not. "full" must lose nothing
acknowledged; "normal" may lose the newest transactions, and is a whole prefix; with syncs ignored damage must be found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from torture.disk import MODES, Disk, Operation, lay_out, recording
from torture.findings import Findings, Time
from torture.work import check_store, write

import tourlog

STATES = {"full": 0.5, "normal": 0.4, "full, syncs ignored": 0.1}
"""What is cut, and the part of the time it gets."""

TRANSACTIONS = 24


def run(seed: int, seconds: float) -> Findings:
    """Histories recorded anew, each cut at every operation once and at more while there is time."""
    findings = Findings()
    with TemporaryDirectory() as name:
        for what, part in STATES.items():
            time, rng = Time.of(seconds * part), Random(f"{seed} {what}")
            while time.is_left:
                cut_anew(Path(name), what, rng, time, findings)
    if not findings.figures["syncs ignored: damage found"]:
        findings.violate("no damage was found with syncs ignored: this check sees nothing")
    return findings


def cut_anew(folder: Path, what: str, rng: Random, time: Time, findings: Findings) -> None:
    """Record a history and cut it at each of its operations, in any order."""
    durability, _, ignored = what.partition(", ")
    history = recorded(folder / "recorded", durability, rng)
    findings.count("histories")
    for number in rng.sample(range(len(history) + 1), len(history) + 1):
        if not time.is_left:
            return
        state = State(history[:number], rng.choice(MODES), rng.getrandbits(32), not ignored)
        if not ignored:
            findings.count(f"states, {what}")
            with findings.watch(f"{what}, cut after {number} of {len(history)}, {state.mode} of the rest"):
                state.check(folder / "cut", must_keep=durability == "full")
            continue
        findings.count("syncs ignored: states")
        try:
            state.check(folder / "cut", must_keep=True)
        except Exception:  # damage may show as anything
            findings.count("syncs ignored: damage found")


@dataclass(frozen=True)
class State:
    """Files after a power cut, told by what was done before it."""

    operations: list[Operation]
    mode: str
    seed: int
    syncs: bool = True

    def files(self) -> dict[str, bytes]:
        disk = Disk(syncs=self.syncs)
        for operation in self.operations:
            disk.do(operation)
        return disk.cut(self.mode, Random(self.seed))

    def check(self, folder: Path, *, must_keep: bool) -> None:
        """The store opens, and holds what it must; it takes up the first transaction that it lacks, once."""
        lay_out(folder, self.files())
        acked, begun = noted(self.operations)
        held = check_store(folder / "store", {"a": acked if must_keep else 0}, {"a": begun})
        number = held.get("a", 0)
        with tourlog.connect(folder / "store") as conn:
            write(conn, "a", number)
            write(conn, "a", number)
        check_store(folder / "store", {"a": number + 1}, {"a": number + 1})


def noted(operations: list[Operation]) -> tuple[int, int]:
    """How many transactions were acknowledged, and how many begun."""
    kinds = [each[0] for each in operations]
    return kinds.count("acked"), kinds.count("begun")


def recorded(folder: Path, durability: str, rng: Random) -> list[Operation]:
    """What a writer does to its files: it makes a store, appends, compacts, closes, opens, appends."""
    lay_out(folder, {})
    with recording(folder) as operations:
        number = 0
        for _ in range(2):
            with tourlog.connect(folder / "store", durability=durability) as conn:
                live(conn, operations, range(number, number := number + rng.randint(1, TRANSACTIONS)), rng)
    return operations


def live(conn: tourlog.Connection, operations: list[Operation], numbers: range, rng: Random) -> None:
    conn._log._file.writer().connection.pragma("wal_autocheckpoint", rng.choice((5, 12, 40)))
    for n in numbers:
        operations.append(("begun", n))
        write(conn, "a", n)
        operations.append(("acked", n))
        if rng.random() < 0.1:
            conn.compact()
