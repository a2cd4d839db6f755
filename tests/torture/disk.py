"""A disk that may lose power: a VFS that records what is written and synced, and what files are after a power cut.

The model: what was synced is there. Of the rest of a file any part may be, by write, by order or by sector of 512
bytes (a sector is old or new, and zeros where the file was not so long). Entries of the folder that were made or
removed since it was synced are there or not, the older first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import apsw

from tourlog.storage.room import Room

SECTOR = 512
MODES = ("nothing", "prefix", "subset", "torn", "everything")
"""Which of the writes since the last sync a power cut leaves: none, the older of all files, any, any sectors, all."""

Operation = tuple[Any, ...]
"""("write", inode, offset, bytes), ("truncate", inode, size), ("sync", inode), ("make", name, inode),
("remove", name), ("sync folder",), and notes of the writer: ("begun", …), ("acked", …)."""

_numbers = count()


@dataclass
class Disk:
    """What is durable, and what was done since, in order."""

    files: dict[int, bytearray] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    since: list[Operation] = field(default_factory=list)
    syncs: bool = True
    """Whether syncs do anything."""

    @classmethod
    def holding(cls, contents: dict[str, bytes]) -> Disk:
        """A disk with these files, all durable; their inodes count down from -1, in order of their names."""
        names = {name: -1 - number for number, name in enumerate(sorted(contents))}
        return cls({names[name]: bytearray(content) for name, content in contents.items()}, names)

    def do(self, operation: Operation) -> None:
        kind = operation[0]
        if kind in ("write", "truncate", "make", "remove"):
            self.since.append(operation)
        elif kind == "sync" and self.syncs:
            self._settle(lambda each: each[0] in ("write", "truncate") and each[1] == operation[1])
        elif kind == "sync folder" and self.syncs:
            self._settle(lambda each: each[0] in ("make", "remove"))

    def _settle(self, concerned: Any) -> None:
        for each in self.since:
            if concerned(each):
                _apply(each, self.files, self.names)
        self.since = [each for each in self.since if not concerned(each)]

    def cut(self, mode: str, rng: Random) -> dict[str, bytes]:
        """The files, by name, after a power cut now."""
        files = {inode: bytearray(content) for inode, content in self.files.items()}
        names = dict(self.names)
        entries = [each for each in self.since if each[0] in ("make", "remove")]
        writes = [each for each in self.since if each[0] in ("write", "truncate")]
        kept = {"nothing": 0, "everything": len(entries)}.get(mode, rng.randint(0, len(entries)))
        upto = {"nothing": 0, "prefix": rng.randint(0, len(writes))}.get(mode, len(writes))
        for each in entries[:kept]:
            _apply(each, files, names)
        for each in writes[:upto]:
            if mode == "torn" and each[0] == "write":
                for sector in _sectors(each):
                    if rng.random() < 0.5:
                        _apply(sector, files, names)
            elif mode not in ("subset", "torn") or rng.random() < 0.5:
                _apply(each, files, names)
        return {name: bytes(files.get(inode, b"")) for name, inode in names.items()}


def _apply(operation: Operation, files: dict[int, bytearray], names: dict[str, int]) -> None:
    match operation:
        case "write", inode, offset, content:
            held = files.setdefault(inode, bytearray())
            held.extend(bytes(max(0, offset - len(held))))
            held[offset : offset + len(content)] = content
        case "truncate", inode, size:
            held = files.setdefault(inode, bytearray())
            held.extend(bytes(max(0, size - len(held))))
            del held[size:]
        case "make", name, inode:
            names[name] = inode
        case "remove", name:
            names.pop(name, None)


def _sectors(operation: Operation) -> Iterator[Operation]:
    """A write cut where sectors of the file begin."""
    _, inode, offset, content = operation
    begin = offset
    while begin < offset + len(content):
        end = min((begin // SECTOR + 1) * SECTOR, offset + len(content))
        yield "write", inode, begin, content[begin - offset : end - offset]
        begin = end


class Recorder(apsw.VFS):  # type: ignore[misc]
    """A VFS that does as the system's, and records what concerns the files of one folder, of one thread."""

    def __init__(self, folder: Path, operations: list[Operation]) -> None:
        self.name, self.folder, self.operations = f"recorder-{next(_numbers)}", str(folder), operations
        self.inodes = {path.name: -1 - n for n, path in enumerate(sorted(folder.iterdir()))}
        super().__init__(self.name, "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name if isinstance(name, str) or name is None else name.filename()
        return RecordedFile(self, name, path, flags)

    def xDelete(self, name: str, sync_folder: bool) -> None:
        super().xDelete(name, sync_folder)
        self.operations.append(("remove", Path(name).name))
        self.inodes.pop(Path(name).name, None)
        if sync_folder:
            self.operations.append(("sync folder",))


class RecordedFile(apsw.VFSFile):  # type: ignore[misc]
    def __init__(self, recorder: Recorder, name: Any, path: str | None, flags: list[int]) -> None:
        self._operations = recorder.operations
        self._is_read_only = bool(flags[0] & apsw.SQLITE_OPEN_READONLY)
        self._is_kept = path is not None and str(Path(path).parent) == recorder.folder
        is_side_file = bool(flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))
        # As SQLite's own does at the first sync of such a file, whether it was there or not.
        self._syncs_folder = is_side_file and bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        super().__init__("unix", name, flags)
        if not self._is_kept:
            return
        entry = Path(str(path)).name
        if entry not in recorder.inodes:
            recorder.inodes[entry] = next(_numbers)
            self._operations.append(("make", entry, recorder.inodes[entry]))
        self._inode = recorder.inodes[entry]

    def xLock(self, level: int) -> None:
        """SQLite tries for a lock that a file open for reading cannot have, and does without; APSW would raise it."""
        if self._is_read_only and level > apsw.SQLITE_LOCK_SHARED:
            raise apsw.BusyError("a file open for reading only")
        super().xLock(level)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        if self._is_kept:
            self._operations.append(("write", self._inode, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        if self._is_kept:
            self._operations.append(("truncate", self._inode, size))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        if self._is_kept:
            self._operations.append(("sync", self._inode))
            if self._syncs_folder:
                self._operations.append(("sync folder",))
                self._syncs_folder = False


@contextmanager
def recording(folder: Path) -> Iterator[list[Operation]]:
    """Within the block every store in the folder is opened through a recorder; what it records grows. The room that
    tourlog makes in the log itself is noted as well."""
    operations: list[Operation] = []
    recorder, lengthened = Recorder(folder, operations), Room._lengthened

    def noted(room: Room, size: int, more: int) -> int:
        made = lengthened(room, size, more)
        operations.append(("write", recorder.inodes[Path(room._log).name], size, bytes(made)))
        return made

    try:
        with patch.object(Room, "_lengthened", noted):
            yield operations
    finally:
        recorder.unregister()


def lay_out(folder: Path, contents: dict[str, bytes]) -> None:
    """Make a folder with these files and no others."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
