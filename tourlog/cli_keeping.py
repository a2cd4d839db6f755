"""The commands that keep a store safe: `verify`, `backup` and `doctor`."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Annotated, Any

import typer

from tourlog.cli_common import AsJson, Store
from tourlog.connection import connect
from tourlog.html import counted
from tourlog.keeping import Verification, backup, verify
from tourlog.storage.checkpoints import LARGE, named, readers
from tourlog.storage.compaction import joinable
from tourlog.storage.sqlite_file import StoreFile
from tourlog.tables import cell, print_json_lines, print_table
from tourlog.terminal import console

commands = typer.Typer(rich_markup_mode=None)

SAFE_SQLITE = (3, 51, 3)
"""Older ones can lose commits when a write-ahead log is begun anew."""

WORTH_JOINING = 0.5
NETWORK = {"9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "ncpfs", "nfs"}
NETWORK |= {"nfs4", "orangefs", "smb3", "smbfs", "vboxsf"}
"""File systems of several machines, on which SQLite's write-ahead log does not work."""


@commands.command("verify")
def verify_store(store: Store, as_json: AsJson = False) -> None:
    """Read all of STORE and print what is not as it was written.

    There is a line for each such thing; the exit code is 1 if there is any.
    Looks at the file, every row's checksum, the chain of transactions, offsets, batches, documents and counters.
    Readers and writers may go on meanwhile.

    \b
    Example: tourlog verify moves.tour
    """
    found = verify(store)
    if as_json:
        print_json_lines([_verified(found)])
    elif found.ok:
        typer.echo(f"{cell(found.path)} is whole: {_counts(found)}")
    for where, what in () if as_json else found.findings:
        typer.echo(cell(" ".join(f"{where}: {what}".split())))
    if not found.ok:
        raise typer.Exit(1)


@commands.command("backup")
def backup_store(
    store: Store,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new file.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Copy STORE to the new file TARGET, and verify the copy.

    It is as STORE is at one moment. Readers and writers may go on meanwhile. TARGET is whole or not there, and
    nothing is overwritten.

    \b
    Example: tourlog backup moves.tour moves-copy.tour
    """
    found = backup(store, target)
    if as_json:
        print_json_lines([_verified(found)])
    else:
        typer.echo(f"{cell(found.path)} is a whole copy: {_counts(found)}")


@commands.command()
def doctor(
    store: Annotated[Path | None, typer.Argument(metavar="[STORE]", help="A store to look at, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print how STORE is doing, what is unsafe, what would help.

    What is installed is printed, too. The exit code is 1 if anything is unsafe. `tourlog verify` looks for damage.

    \b
    Example: tourlog doctor moves.tour
    """
    import apsw  # heavy

    versions, unsafe = _versions(apsw.sqlite_lib_version())
    found: dict[str, Any] = {}
    advice: list[str] = []
    if store is not None:
        found = _store(store)
        unsafe += _dangers(found, datetime.now(UTC))
        advice += _advice(found, store)
    if as_json:
        print_json_lines([{"versions": versions, "store": found or None, "unsafe": unsafe, "advice": advice}])
    else:
        rows = [*versions.items(), *((name, value) for name, value in found.items() if value is not None)]
        print_table(console(), None, [(cell(name), value) for name, value in rows])
        for line in (*(f"unsafe: {each}" for each in unsafe), *(f"advice: {each}" for each in advice)):
            typer.echo(cell(line))
    if unsafe:
        raise typer.Exit(1)


def _counts(found: Verification) -> str:
    counts = (found.position, "transaction"), (found.streams, "stream"), (found.documents, "document")
    return ", ".join(counted(count, noun) for count, noun in counts)


def _verified(found: Verification) -> dict[str, Any]:
    return {
        "path": found.path,
        "ok": found.ok,
        "position": found.position,
        "streams": found.streams,
        "documents": found.documents,
        "batches": found.batches,
        "entities": found.entities,
        "findings": [each._asdict() for each in found.findings],
    }


def _versions(sqlite: str) -> tuple[dict[str, str], list[str]]:
    """Of Python, SQLite and every package tourlog needs, or can use and finds; and what is unsafe about them."""
    found = {"tourlog": version("tourlog"), "Python": platform.python_version(), "SQLite": sqlite}
    unsafe: list[str] = []
    for requirement in sorted(requires("tourlog") or (), key=str.lower):
        if re.search(r"extra == .(test|bench)", requirement):
            continue
        name, is_optional = re.split(r"[^\w.-]", requirement)[0], "extra ==" in requirement
        try:
            found[metadata(name)["Name"]] = version(name)
        except PackageNotFoundError:
            if not is_optional:
                unsafe.append(f"{name} is not installed")
    if tuple(map(int, sqlite.split("."))) < SAFE_SQLITE:
        safe = ".".join(map(str, SAFE_SQLITE))
        unsafe.append(f"SQLite {sqlite} is older than {safe}, which mended a loss of commits: upgrade apsw")
    return found, unsafe


def _store(store: Path) -> dict[str, Any]:
    """Sizes and counts of a store."""
    with connect(store, read_only=True) as conn:
        db = conn.db()
        counts = [count for _, _, count in db.streams()]
        newest = next(db.tx_range(db.t)).instant if db.t else None
    file = StoreFile(store, durability="full", read_only=True, patience=10.0)
    try:
        batches, fewer = joinable(file)
        wal = Path(f"{file.path}-wal")
        sizes = Path(file.path).stat().st_size, wal.stat().st_size if wal.exists() else 0
    finally:
        file.close()
    mounts = Path("/proc/mounts")
    return {
        "store": file.path,
        "file system": _file_system(store, mounts.read_text(errors="replace")) if mounts.exists() else None,
        "bytes": sizes[0],
        "bytes of the -wal": sizes[1],
        "transactions": db.t,
        "newest": newest,
        "streams": len(counts),
        "documents": sum(counts),
        "batches": batches,
        "batches per document": round(batches / sum(counts), 3) if sum(counts) else None,
        "batches that compact would save": fewer,
    }


def _file_system(path: Path, mounts: str) -> str | None:
    """The kind of file system that holds a path, by the text of Linux's /proc/mounts; None when that does not say.

    >>> _file_system(Path("/"), "/dev/sda1 / ext4 rw 0 0")
    'ext4'
    """
    wanted = path.resolve()
    found: list[tuple[int, str]] = []
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        folder = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place))
        if wanted.is_relative_to(folder):
            found.append((len(folder.parts), kind))
    return max(found, key=lambda each: each[0])[1] if found else None  # of equals, the last hides the others


def _dangers(found: dict[str, Any], now: datetime) -> Iterable[str]:
    """What could cost data."""
    kind, newest = found["file system"], found["newest"]
    if kind in NETWORK:
        yield f"the store is on a network file system ({kind}): its locks and its shared memory do not hold there"
    if newest is not None and newest > now:
        yield f"the clock is {newest - now} behind the newest transaction: instants will go on from there, not from now"


def _advice(found: dict[str, Any], store: Path) -> Iterable[str]:
    """What would make the store smaller or faster."""
    batches, fewer, wal = found["batches"], found["batches that compact would save"], found["bytes of the -wal"]
    if fewer and fewer > batches * WORTH_JOINING:
        yield f"{fewer:,} of {batches:,} batches can be joined: tourlog compact {store}"
    if wal > LARGE:
        who = named(readers(str(store)))
        yield f"the -wal has {wal:,} bytes: who reads for long, such as a backup, keeps it from shrinking ({who})"
