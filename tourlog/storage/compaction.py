"""Small batches of a stream joined into full ones, in short transactions; positions and offsets stay as they are.

What was written when is in `tx`, which is left alone: readers find a document in whatever batch holds its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tourlog.storage.batches import joined
from tourlog.storage.compression import HEAD, size_of
from tourlog.storage.rows import BATCH, INSERT_BATCH, Row, Rows, place_of
from tourlog.storage.sqlite_file import OFFSET_BITS, StoreFile, all_rows

FULL_DOCUMENTS = 100
FULL_BYTES = 1 << 18
_MOST_JOINED, _MOST_BYTES = 2_000, 1 << 24
_LOOKED_AT = 20_000
"""So many batches, of so many bytes, are joined in one transaction at most, and so many looked at in one read."""

_SIZES = f"""SELECT place, count, length(body),
        CASE WHEN count < {FULL_DOCUMENTS} AND length(body) < {FULL_BYTES} THEN {HEAD} ELSE x'' END
    FROM batch WHERE place > ? AND place >= {1 << OFFSET_BITS} ORDER BY place LIMIT {_LOOKED_AT}"""
"""What is full as it is stored is joined with nothing, and not read: SQLite reads all of a body for a part of it."""
_BATCHES = f"SELECT {BATCH} FROM batch WHERE place >= ? AND place <= ? ORDER BY place"

Size = tuple[int, int, int]
"""A batch's place, its documents and the bytes of its body."""


def compact(file: StoreFile, rows: Rows) -> int:
    """Join what can be joined; how many batches there are fewer. A store that was compacted stays as it is, and so
    does damage: it raises `StorageError`."""
    file.writer()  # a store that cannot be written is refused even if there is nothing to do
    fewer = 0
    for runs in _looked_at(file):
        for part in _parts([run for run in runs if len(run) > 1]):
            fewer += _join(file, rows, part)
    return fewer


def joinable(file: StoreFile) -> tuple[int, int]:
    """How many batches of documents there are, and how many fewer `compact` would leave."""
    sizes = [len(run) for runs in _looked_at(file) for run in runs]
    return sum(sizes), sum(sizes) - len(sizes)


def _looked_at(file: StoreFile) -> Iterator[list[list[Size]]]:
    """All batches as runs, by the read that found them; none stays open."""
    before = -1
    while True:
        with file.reading() as connection:
            found = all_rows(connection, _SIZES, (before,))
        sizes: list[Size] = [(place, count, size_of(length, head)) for place, count, length, head in found]
        runs = list(_runs(sizes))
        if len(sizes) == _LOOKED_AT and len(runs) > 1:
            runs.pop()  # it may go on
        yield runs
        if len(sizes) < _LOOKED_AT:
            return
        before = runs[-1][-1][0]


def _runs(sizes: Sequence[Size]) -> Iterator[list[Size]]:
    """The batches in order, those together that make one: as many as fit, from the first on."""
    run: list[Size] = []
    documents = size = 0
    for each in sizes:
        place, count, length = each
        follows = run and place == run[-1][0] + run[-1][1] and place >> OFFSET_BITS == run[0][0] >> OFFSET_BITS
        if not follows or documents + count > FULL_DOCUMENTS or size + length > FULL_BYTES:
            if run:
                yield run
            run, documents, size = [], 0, 0
        run.append(each)
        documents, size = documents + count, size + length
    if run:
        yield run


def _parts(runs: Sequence[list[Size]]) -> Iterator[list[list[Size]]]:
    """Runs by the transaction that joins them."""
    part: list[list[Size]] = []
    number = size = 0
    for run in runs:
        length = sum(length for _, _, length in run)
        if part and (number + len(run) > _MOST_JOINED or size + length > _MOST_BYTES):
            yield part
            part, number, size = [], 0, 0
        part.append(run)
        number, size = number + len(run), size + length
    if part:
        yield part


def _join(file: StoreFile, rows: Rows, runs: Sequence[list[Size]]) -> int:
    """Put one batch in the place of each run; another process may have done so, and then the run is gone."""
    fewer = 0
    with file.writing(alone=True):
        removed: list[tuple[int]] = []
        added: list[Row] = []
        for run in runs:
            with file.reading() as connection:
                found = all_rows(connection, _BATCHES, (run[0][0], run[-1][0]))
            batches = list(map(rows.batch, found))
            if [(place_of(each.stream, each.first), each.count, len(each.body)) for each in batches] == run:
                removed += [(place,) for place, *_ in found]
                added.append(rows.joined_row(joined(batches)))
                fewer += len(batches) - 1
        if added:
            remove = "DELETE FROM batch WHERE place = ?"
            file.writer().write(((remove, removed), (INSERT_BATCH, added)))
    return fewer
