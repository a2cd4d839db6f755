"""Random kill -9: processes of several threads each append to one store and note what was acknowledged, a reader notes
what it sees, and SIGKILL comes at any moment to all writers or to one. Afterwards nothing acknowledged lacks, every
transaction is whole, and everything the reader ever saw is a prefix of the log.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import sleep

from torture.findings import Findings, Time
from torture.kill import environment
from torture.work import Acknowledgements, acknowledged, check_store, expect, expect_equal, write

import tourlog

WRITERS, THREADS, LIVES = 3, 3, 5
"""So many processes at once, threads of each, and kills of one store."""


def run(seed: int, seconds: float) -> Findings:
    findings, time, rng = Findings(), Time.of(seconds), Random(seed)
    while time.is_left:
        with TemporaryDirectory() as name, findings.watch("kill -9"):
            one_store(Path(name), rng, time, findings)
            findings.count("stores")
    return findings


def one_store(folder: Path, rng: Random, time: Time, findings: Findings) -> None:
    tourlog.connect(folder / "store").close()
    with (folder / "seen").open("wb") as seen:
        reader = _start("read", folder, seen)
        try:
            for life in range(LIVES):
                if time.is_left:
                    kill_some(folder, life, rng, findings)
            expect(reader.poll() is None, "a reader that no kill of a writer ends")
        finally:
            reader.kill()
            reader.wait()
    findings.count("snapshots of the reader", check_seen(folder))


def kill_some(folder: Path, life: int, rng: Random, findings: Findings) -> None:
    """Writers live for a while; one dies first, the others when they will; then the store is looked at."""
    durability = rng.choice(("full", "normal"))
    names = [f"{life}.{n}" for n in range(WRITERS)]
    writers = [_start("write", folder, None, name, durability) for name in names]
    sleep(0.3 + rng.random() * 0.5)
    for writer in writers:
        writer.kill()
        writer.wait()
        findings.count("kills")
        sleep(rng.random() * 0.1)
    acked = noted(folder)
    begun = {f"{earlier}.{n}.{m}": 0 for earlier in range(life + 1) for n in range(WRITERS) for m in range(THREADS)}
    begun |= acked  # who was killed before its first acknowledgement has none, and may have written
    held = check_store(folder / "store", acked, {writer: number + 1 for writer, number in begun.items()})
    findings.most("most transactions of a store", sum(held.values()))
    findings.count("acknowledged", sum(number for writer, number in acked.items() if writer.startswith(f"{life}.")))


def noted(folder: Path) -> dict[str, int]:
    return {writer: number for path in folder.glob("acks-*") for writer, number in acknowledged(path).items()}


def check_seen(folder: Path) -> int:
    """How many snapshots the reader noted, each of them what the store holds as of that position."""
    lines = [json.loads(line) for line in (folder / "seen").read_bytes().split(b"\n")[:-1]]
    expect(sorted(t for t, _, _ in lines) == [t for t, _, _ in lines], "positions that only grow")
    with tourlog.connect(folder / "store") as conn:
        db = conn.db()
        for t, ends, digest in lines:
            expect(t <= db.t, f"the position {t} that a reader saw, got {db.t}")
            expect_equal(snapshot(db.as_of(t)), (ends, digest), f"what a reader saw at {t}")
    return len(lines)


def snapshot(db: tourlog.Database) -> tuple[dict[str, int], str]:
    """The ends of streams, and a digest of the newest documents of each."""
    ends = {str(stream.values[0]): end for _, stream, end in db.streams() if end}
    newest = [(k, db.documents({"k": k}, max(0, end - 20))) for k, end in ends.items()]
    return ends, hashlib.sha256(repr(newest).encode()).hexdigest()


def _start(role: str, folder: Path, stdout: object, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torture.kill9", role, str(folder), *more]
    return subprocess.Popen(command, env=environment(), stdout=stdout)  # type: ignore[call-overload, no-any-return]


# The children.


def writing(folder: Path, name: str, durability: str) -> None:
    conn = tourlog.connect(folder / "store", durability=durability)
    conn._log._file.writer().connection.pragma("wal_autocheckpoint", 50)

    def append(thread: int) -> None:
        acks = Acknowledgements(folder / f"acks-{name}.{thread}")
        for n in range(1_000_000):
            write(conn, f"{name}.{thread}", n)
            acks.note(f"{name}.{thread}", n)

    for thread in range(THREADS):
        threading.Thread(target=append, args=(thread,)).start()


def reading(folder: Path) -> None:
    with tourlog.connect(folder / "store", read_only=True) as conn:
        last = Counter[str]()
        while True:
            db = conn.db()
            ends, digest = snapshot(db)
            expect(all(ends.get(k, 0) >= end for k, end in last.items()), "streams that only grow")
            last = Counter(ends)
            sys.stdout.buffer.write(json.dumps([db.t, ends, digest]).encode() + b"\n")
            sys.stdout.buffer.flush()
            sleep(0.005)


if __name__ == "__main__":
    {"write": writing, "read": reading}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
