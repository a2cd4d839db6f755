"""Small stores damaged in every region of their files: bits, garbage, zeros, pages of other times, files cut, missing
or foreign. All of each is read, then `verify` looks: what is damaged is refused, or found by `verify` alone in what
reads as it was written at some position, or reads otherwise; else the store is as it was at some position.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import apsw

from tourlog import Connection, Database, TourlogError, connect, verify
from tourlog.storage.sqlite import SqliteLog

PAGE = 4096
WAL_HEADER, FRAME_HEADER = 32, 24
OUTCOMES = ("refused", "found_by_verify", "read_otherwise", "prefix", "silent")
"""Opening or reading raises; all reads as at some position, but `verify` finds damage; something reads otherwise,
which `verify` alone finds; as at some position, and whole; something reads otherwise, and `verify` finds nothing."""
MOST_ENTITIES = 3


@dataclass(frozen=True)
class Files:
    """A store as it lies on the disk."""

    name: str
    main: bytes
    wal: bytes | None


@dataclass(frozen=True)
class Case:
    """A damaged store, and how it came to be so."""

    what: str
    main: bytes
    wal: bytes | None


@dataclass(frozen=True)
class Sources:
    """Stores of one history at several times, foreign write-ahead logs, and what is to be read at every position."""

    stores: tuple[Files, ...]
    foreign: tuple[bytes, ...]
    expected: dict[int, Any]


def contents(db: Database, log: SqliteLog) -> Any:
    """All that can be read, by every way there is into it."""
    streams = [(name, stream, db.documents(stream)) for name, stream, count in db.streams()]
    entities = [db.entity(f"entity {n}") for n in range(MOST_ENTITIES)]
    transactions = [log.transaction(t) for t in range(1, db.t + 1)]
    past = [repr(each) for each in db.tx_range(1, db.t + 1)] if db.t else []
    by_id = [log.transaction_by_id(each.tx_id) for each in transactions if each is not None and each.tx_id is not None]
    return db.t, streams, entities, transactions, past, by_id, list(log.tail(0, db.t))


def make(folder: Path) -> Sources:
    """The same history on its way: closed, in use, half and wholly checkpointed, compacted."""
    stores: list[Files] = []
    path = folder / "store"

    def keep(name: str) -> None:
        wal = path.with_name("store-wal")
        stores.append(Files(name, path.read_bytes(), wal.read_bytes() if wal.exists() else None))

    def write(conn: Connection, first: int, number: int) -> None:
        for n in range(first, first + number):
            conn.append([{"k": n % 3, "n": n, "text": f"{n} " * (n % 40)}, {"k": "a", "n": n}], "k", tx_id=f"tx {n}")
            if n % 4 == 0:
                own = conn.db().documents({"k": "a"})[n // 2]["db/id"]
                conn.transact([{"db/id": own, "n": -n}, {"db/id": f"entity {n % MOST_ENTITIES}", "n": n}])

    with connect(path) as conn:
        write(conn, 1, 10)
        keep("in use")
    keep("closed")
    with connect(path) as conn:
        write(conn, 11, 10)
        reader = apsw.Connection(str(path))
        reader.execute("BEGIN; SELECT 1 FROM tx").fetchall()
        write(conn, 21, 10)
        reader.execute("SELECT 1").fetchall()
        checkpoint(path)
        keep("half checkpointed")
        reader.close()
        checkpoint(path)
        keep("checkpointed")
        write(conn, 31, 4)
        keep("begun anew")
        conn.compact()
        keep("compacted, in use")
        write(conn, 35, 4)
    keep("compacted, closed")
    with connect(path, read_only=True) as conn:
        log, db = SqliteLog(path, read_only=True), conn.db()
        expected = {t: contents(db.as_of(t), log) for t in range(db.t + 1)}
        log.close()
    return Sources(tuple(stores), (foreign(folder / "other"), *(each.wal for each in stores if each.wal)), expected)


def checkpoint(path: Path) -> None:
    raw = apsw.Connection(str(path))
    raw.pragma("wal_checkpoint", "PASSIVE")
    raw.close()


def foreign(path: Path) -> bytes:
    """The write-ahead log of another store."""
    with connect(path) as conn:
        for n in range(30):
            conn.append([{"k": n % 3, "n": -n}], "k")
        return path.with_name("other-wal").read_bytes()


# Ways to damage.


def flip(data: bytes, random: Random, start: int, stop: int) -> bytes:
    """One to eight flipped bits."""
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 8))):
        damaged[random.randrange(start, stop)] ^= 1 << random.randrange(8)
    return bytes(damaged)


def overwrite(data: bytes, start: int, new: bytes) -> bytes:
    return data[:start] + new[: len(data) - start] + data[start + len(new) :]


def some_page(data: bytes, random: Random) -> int:
    return random.randrange(len(data) // PAGE) * PAGE


def in_header(files: Files, random: Random, sources: Sources) -> Case:
    return Case("bits of the header", flip(files.main, random, 0, 100), files.wal)


def in_pages(files: Files, random: Random, sources: Sources) -> Case:
    return Case("bits of pages", flip(files.main, random, 100, len(files.main)), files.wal)


def in_page_header(files: Files, random: Random, sources: Sources) -> Case:
    """Where cells are found, and how many there are."""
    start = some_page(files.main, random) or 100
    return Case(f"the header of page {start // PAGE}", flip(files.main, random, start, start + 40), files.wal)


def garbage(files: Files, random: Random, sources: Sources) -> Case:
    start = random.randrange(len(files.main))
    return Case(f"garbage at {start}", overwrite(files.main, start, random.randbytes(64)), files.wal)


def zeroed(files: Files, random: Random, sources: Sources) -> Case:
    start = some_page(files.main, random)
    return Case(f"zeros in page {start // PAGE}", overwrite(files.main, start, bytes(PAGE)), files.wal)


def swapped(files: Files, random: Random, sources: Sources) -> Case:
    one, other = some_page(files.main, random), some_page(files.main, random)
    main = overwrite(files.main, one, files.main[other : other + PAGE])
    main = overwrite(main, other, files.main[one : one + PAGE])
    return Case(f"pages {one // PAGE} and {other // PAGE} swapped", main, files.wal)


def lost_write(files: Files, random: Random, sources: Sources) -> Case:
    """A page as it was earlier, or will be later: the disk lost a write, or kept one only."""
    other = random.choice(sources.stores)
    start = some_page(files.main, random)
    page = other.main[start : start + PAGE]
    return Case(f"page {start // PAGE} as in {other.name}", overwrite(files.main, start, page), files.wal)


def cut(files: Files, random: Random, sources: Sources) -> Case:
    size = random.choice((random.randrange(len(files.main)), some_page(files.main, random)))
    return Case(f"cut to {size}", files.main[:size], files.wal)


def in_log(files: Files, random: Random, sources: Sources) -> Case:
    assert files.wal is not None
    return Case("bits of the log", files.main, flip(files.wal, random, 0, len(files.wal)))


def in_log_header(files: Files, random: Random, sources: Sources) -> Case:
    assert files.wal is not None
    return Case("bits of the log's header", files.main, flip(files.wal, random, 0, WAL_HEADER))


def in_frame_header(files: Files, random: Random, sources: Sources) -> Case:
    assert files.wal is not None
    frame = random.randrange((len(files.wal) - WAL_HEADER) // (FRAME_HEADER + PAGE))
    start = WAL_HEADER + frame * (FRAME_HEADER + PAGE)
    return Case(f"frame {frame}'s header", files.main, flip(files.wal, random, start, start + FRAME_HEADER))


def cut_log(files: Files, random: Random, sources: Sources) -> Case:
    assert files.wal is not None
    size = random.randrange(len(files.wal))
    return Case(f"log cut to {size}", files.main, files.wal[:size])


def no_log(files: Files, random: Random, sources: Sources) -> Case:
    return Case("no log", files.main, None)


def other_log(files: Files, random: Random, sources: Sources) -> Case:
    """The log of another store, or of this one at another time."""
    number = random.randrange(len(sources.foreign))
    wal = sources.foreign[number]
    frames = random.choice((0, random.randrange(1, (len(wal) - WAL_HEADER) // (FRAME_HEADER + PAGE) + 1)))
    return Case(f"log {number}, {frames or 'all'} frames", files.main, wal[: wal_size(frames)] if frames else wal)


def wal_size(frames: int) -> int:
    return WAL_HEADER + frames * (FRAME_HEADER + PAGE)


ON_MAIN = (in_header, in_pages, in_page_header, garbage, zeroed, swapped, lost_write, cut, no_log, other_log)
ON_LOG: tuple[Callable[[Files, Random, Sources], Case], ...] = (in_log, in_log_header, in_frame_header, cut_log)


def case(sources: Sources, random: Random) -> Case:
    files = random.choice(sources.stores)
    made = random.choice(ON_MAIN + ON_LOG if files.wal else ON_MAIN)(files, random, sources)
    return Case(f"{files.name}: {made.what}", made.main, made.wal)


# What becomes of it.


def outcome(sources: Sources, case: Case, folder: Path) -> str:
    path = folder / "damaged"
    path.write_bytes(case.main)
    if case.wal is not None:
        path.with_name("damaged-wal").write_bytes(case.wal)
    try:
        is_prefix = read(path, sources)
        is_whole = is_found_whole(path)
    except TourlogError:
        return "refused"
    finally:
        for each in folder.glob("damaged*"):
            each.unlink()
    if is_prefix:
        return "prefix" if is_whole else "found_by_verify"
    return "silent" if is_whole else "read_otherwise"


def is_found_whole(path: Path) -> bool:
    try:
        return verify(path).ok
    except TourlogError:
        return False


def read(path: Path, sources: Sources) -> bool:
    """Whether the store is as it was at its position."""
    with connect(path, read_only=True) as conn:
        log = SqliteLog(path, read_only=True)
        try:
            db = conn.db()
            return db.t in sources.expected and contents(db, log) == sources.expected[db.t]
        finally:
            log.close()


def outcomes(seed: int) -> Iterator[tuple[str, Case, str]]:
    """Endless cases of a seed: a name to make it again by, the case, and its outcome."""
    with TemporaryDirectory() as folder:
        sources = make(Path(folder))
        number = 0
        while True:
            name = f"{seed} {number}"
            made = case(sources, Random(name))
            yield name, made, outcome(sources, made, Path(folder))
            number += 1


def run(seed: int, seconds: float) -> dict[str, int]:
    """How many cases had which outcome; none may be silent."""
    until, counts = monotonic() + seconds, Counter(dict.fromkeys(OUTCOMES, 0))
    for name, made, found in outcomes(seed):
        counts[found] += 1
        if found in ("silent", "read_otherwise"):
            print(f"{found}: case {name}, {made.what}", file=sys.stderr)
        if monotonic() > until:
            break
    return dict(counts)
