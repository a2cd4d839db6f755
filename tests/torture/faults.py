"""Faults of the disk: through a VFS every n-th write, sync or truncation fails (with EIO or no room), once or until the
disk is well again; a small tmpfs and a limited file size run full; a file or folder is read-only. Every error is a
StorageError, one that is no UnknownOutcomeError leaves nothing, what was acknowledged is kept, and the same
transaction again, on the same connection, is stored once when the disk is well.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
from torture.disk import lay_out
from torture.findings import Findings, Time, shuffled
from torture.work import check_store, expect, expect_equal, name, write

import tourlog
from tourlog import StorageError, UnknownOutcomeError

KINDS: dict[str, tuple[str, type[Exception]]] = {
    "sync fails": ("sync", apsw.IOError),
    "write fails": ("write", apsw.IOError),
    "no room": ("write", apsw.FullError),
    "truncation fails": ("truncate", apsw.IOError),
}
TRANSACTIONS = 14

_numbers = count()


def run(seed: int, seconds: float) -> Findings:
    findings, time = Findings(), Time.of(seconds)
    with TemporaryDirectory() as folder:
        for case in (tmpfs, file_size, read_only):
            with findings.watch(case.__name__):
                case(Path(folder), findings)
        points = [(kind, n, lasts) for kind in KINDS for n in range(counted(Path(folder), kind)) for lasts in (0, 1)]
        for kind, n, lasts in shuffled(points, seed):
            if time.is_left:
                with findings.watch(f"{kind} at {n}{' and on' * lasts}"):
                    happened = failing_at(Path(folder) / "failing", kind, n, bool(lasts), findings)
                    # A life with other random bytes may be a few writes shorter than the one that was counted.
                    findings.count(f"cases, {kind}" if happened else "left out: after the last operation")
    return findings


class Disk(apsw.VFS):  # type: ignore[misc]
    """A VFS whose operations of one kind fail from the n-th on: one of them, or all until `mend`."""

    def __init__(self, kind: str, n: int | None, lasts: bool) -> None:
        self.operation, self.error = KINDS[kind]
        self.n, self.lasts, self.done, self.failed = n, lasts, 0, 0
        super().__init__(f"failing-{next(_numbers)}", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return File(self, name, flags)

    def mend(self) -> None:
        self.n = None

    def meet(self, operation: str) -> None:
        if operation != self.operation:
            return
        self.done += 1
        if self.n is not None and (self.done > self.n if self.lasts else self.done == self.n + 1):
            self.failed += 1
            raise self.error("injected")


class File(apsw.VFSFile):  # type: ignore[misc]
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk, self._is_read_only = disk, bool(flags[0] & apsw.SQLITE_OPEN_READONLY)
        super().__init__("unix", name, flags)

    def xLock(self, level: int) -> None:
        if self._is_read_only and level > apsw.SQLITE_LOCK_SHARED:
            raise apsw.BusyError("a file open for reading only")  # as in disk.py
        super().xLock(level)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.meet("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.meet("sync")
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        self._disk.meet("truncate")
        super().xTruncate(size)


@contextmanager
def disk(kind: str, n: int | None, lasts: bool) -> Iterator[Disk]:
    made = Disk(kind, n, lasts)
    try:
        yield made
    finally:
        made.unregister()


def counted(folder: Path, kind: str) -> int:
    """How often the operation comes in a life without faults."""
    lay_out(folder / "counted", {})
    with disk(kind, None, False) as counting:
        live(folder / "counted" / "store", counting, Findings())
    return counting.done


def failing_at(folder: Path, kind: str, n: int, lasts: bool, findings: Findings) -> bool:
    """Whether the fault happened."""
    lay_out(folder, {})
    with disk(kind, n, lasts) as failing:
        live(folder / "store", failing, findings)
    expect_equal(check_store(folder / "store", {"a": TRANSACTIONS}), {"a": TRANSACTIONS}, "what the store holds")
    return failing.failed > 0


def live(path: Path, failing: Disk, findings: Findings) -> None:
    """A writer that does everything again when it fails, once the disk is well."""
    conn = again(lambda: tourlog.connect(path), failing.mend, findings)
    conn._log._file.writer().connection.pragma("wal_autocheckpoint", 12)
    for n in range(TRANSACTIONS):
        append(conn, n, failing.mend, findings)
    again(conn.compact, failing.mend, findings)
    with suppress(StorageError):
        conn.close()


def again(work: Callable[[], Any], mend: Callable[[], None], findings: Findings) -> Any:
    try:
        return work()
    except StorageError as error:
        findings.count(f"{type(error).__name__} told")
        mend()
        return work()


def append(conn: tourlog.Connection, n: int, mend: Callable[[], None], findings: Findings) -> None:
    """The n-th transaction, at any price; what is told of a failure is true."""
    try:
        write(conn, "a", n)
    except StorageError as error:
        findings.count(f"{type(error).__name__} told")
        mend()
        held = conn._log.transaction_by_id(name("a", n))
        if not isinstance(error, UnknownOutcomeError):
            expect(held is None, f"nothing of a transaction that failed with {error}")
        expect_equal(conn.db().t, n + (held is not None), "the position after a failure")
        write(conn, "a", n)
    expect_equal(conn.db().t, n + 1, "the position")


# Disks that really run full.


def tmpfs(folder: Path, findings: Findings) -> None:
    """A small file system runs full, and has room again when another file goes."""
    place = folder / "tmpfs"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        findings.count("left out: no right to mount a tmpfs")
        return
    try:
        ballast = place / "ballast"
        ballast.write_bytes(bytes(7_800_000))
        run_full(place / "store", lambda: ballast.write_bytes(b""), findings)
        findings.count("cases, small tmpfs")
    finally:
        subprocess.run(["umount", place], check=True)


def file_size(folder: Path, findings: Findings) -> None:
    """The largest size of a file is limited, and then is not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        run_full(folder / "limited", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)), findings)
        findings.count("cases, RLIMIT_FSIZE")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def run_full(path: Path, mend: Callable[[], Any], findings: Findings) -> None:
    before = findings.figures.total()
    with tourlog.connect(path) as conn:
        for n in range(60):
            append(conn, n, mend, findings)
    expect(findings.figures.total() > before, "a disk that ran full")
    expect_equal(check_store(path, {"a": 60}), {"a": 60}, "what the store holds")


def read_only(folder: Path, findings: Findings) -> None:
    """A file and a folder without the right to write, and a file without any, for a user who is not the superuser."""
    for file_mode, folder_mode, way in ((0o444, 0o777, "open"), (0o644, 0o555, "open"), (0o000, 0o777, "read")):
        place = folder / f"mode-{file_mode:o}-{folder_mode:o}"
        place.mkdir()
        with tourlog.connect(place / "store") as conn:
            write(conn, "a", 0)
        folder.chmod(0o755)
        (place / "store").chmod(file_mode)
        place.chmod(folder_mode)
        expect_equal(_refused(place / "store", way == "read"), True, f"a StorageError with modes {place.name}")
        place.chmod(0o755)
        (place / "store").chmod(0o644)
        expect_equal(check_store(place / "store", {"a": 1}), {"a": 1}, "what the store holds")
        findings.count("cases, no permission")


def _refused(path: Path, read_only: bool) -> bool:
    """Whether opening is a StorageError for a process without rights."""
    child = os.fork()
    if child == 0:
        outcome = 1
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            tourlog.connect(path, read_only=read_only)
        except StorageError:
            outcome = 0
        finally:
            os._exit(outcome)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
