"""Crash during recovery: files after a power cut are opened through the recording VFS, taken up again and cut anew, up
to three times in a row, after any of the operations that recovery, its first transactions and its checkpoint make.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from torture.disk import MODES, Disk, Operation, lay_out, recording
from torture.findings import Findings, Time
from torture.power import live, noted, recorded
from torture.work import check_store

import tourlog

CUTS = 3
EACH = 40
"""So many histories of recovery go out from one recorded history."""


def run(seed: int, seconds: float) -> Findings:
    findings, time, rng = Findings(), Time.of(seconds), Random(seed)
    with TemporaryDirectory() as name:
        while time.is_left:
            durability = rng.choice(("full", "full", "normal"))
            history = recorded(Path(name) / "recorded", durability, rng)
            findings.count("histories")
            for _ in range(EACH):
                if time.is_left:
                    cut_again_and_again(Path(name) / "cut", durability, history, rng, findings)
    return findings


def cut_again_and_again(
    folder: Path, durability: str, history: list[Operation], rng: Random, findings: Findings
) -> None:
    """Cut a history anywhere, then what takes it up anywhere, and so on; each time the store is looked at."""
    operations, disk, kept, begun = history, Disk(), 0, 0
    for cut in range(1, CUTS + 1):
        number, mode, choice = rng.randint(0, len(operations)), rng.choice(MODES), rng.getrandbits(32)
        for operation in operations[:number]:
            disk.do(operation)
        files = disk.cut(mode, Random(choice))
        acked, more = noted(operations[:number])
        kept, begun = kept + acked if durability == "full" else 0, begun + more
        lay_out(folder, files)
        with findings.watch(f"{durability}, cut {cut} after {number} of {len(operations)}, {mode} of the rest"):
            held = check_store(folder / "store", {"a": kept}, {"a": begun}).get("a", 0)
            lay_out(folder, files)  # looking has recovered it
            disk = Disk.holding(files)
            operations = taken_up(folder, durability, held, rng)
            kept, begun = (held if durability == "full" else 0), held
            findings.count(f"states, cut {cut} of {CUTS}")
            continue
        return


def taken_up(folder: Path, durability: str, number: int, rng: Random) -> list[Operation]:
    """What is done to the files of a store by opening it and writing a little."""
    with recording(folder) as operations, tourlog.connect(folder / "store", durability=durability) as conn:
        live(conn, operations, range(number, number + rng.randint(0, 4)), rng)
    return operations
