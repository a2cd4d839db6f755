"""Reads JSON lines, plain or gzipped, and appends them to a store, all or nothing. Knows nothing of
terminals.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tourlog.connection import Connection
from tourlog.database import TxReport
from tourlog.documents import check_document, check_names
from tourlog.errors import ArgumentError, DocumentError
from tourlog.stream import Stream

_CHUNK = 1_000
_GZIP = b"\x1f\x8b"

Line = tuple[int, dict[str, Any]]
"""A line's number, counted from 1, and its document."""

Decode = Callable[[str], Any]
"""Makes a value of JSON text; ValueError for what is none."""


@dataclass(frozen=True, slots=True)
class Source:
    """An opened input: its name in messages, its lines, the bytes it has (None when unknown) and the
    function that tells how many of them were read."""

    name: str
    lines: IO[bytes]
    size: int | None
    position: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import appended: how many `documents`, the `streams` they went to, and the position `t` after it."""

    documents: int
    streams: int
    t: int


@contextmanager
def open_source(name: str) -> Iterator[Source]:
    """Open the file `name`, or standard input for `-`; gzip is recognised by the content. `ArgumentError`
    when the file cannot be opened."""
    if name == "-":
        yield _source("standard input", BufferedReader(sys.stdin.buffer), None)  # type: ignore[arg-type]  # a binary stream has what this reads
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 - closed below; only errors of opening are caught here
        size = Path(name).stat().st_size
    except OSError as error:
        raise ArgumentError(f"expected a readable file, got {name!r}: {error.strerror}", path=name) from error
    with file:
        yield _source(name, file, size)


def _source(name: str, file: BufferedReader, size: int | None) -> Source:
    is_gzip = file.peek(len(_GZIP))[: len(_GZIP)] == _GZIP
    opened: Any = gzip.open(file) if is_gzip else file  # noqa: SIM115  # closed with the file
    return Source(name, opened, size, lambda: file.tell() if size else 0)


def read_json(text: str) -> Any:
    """The value of JSON text; ValueError for what is none, or has a name twice in one object."""
    return json.loads(text, object_pairs_hook=unique_names)


def read_documents(source: Source, decode: Decode = read_json) -> Iterator[Line]:
    """The documents with their line numbers; empty lines are skipped. `DocumentError` with the number for
    a line that is not a JSON object in UTF-8, as `decode` reads it."""
    number = 0
    try:
        for number, line in enumerate(source.lines, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line := line.strip():
                yield number, parse_document(line, source.name, number, decode)
    except (OSError, EOFError, zlib.error) as error:
        raise _error(f"expected readable data, got {error}", source.name, number + 1) from error


def parse_document(line: bytes, name: str, number: int, decode: Decode = read_json) -> dict[str, Any]:
    """The document of a line; `DocumentError` with its number, and the `name` of where it is from, when it is no JSON
    object in UTF-8."""
    try:
        document = decode(line.decode("utf-8"))
    except RecursionError as error:
        raise _error("expected less nesting", name, number) from error
    except ValueError as error:
        raise _error(f"expected a JSON object, got {_reason(error)}", name, number) from error
    if not isinstance(document, dict):
        raise _error(f"expected a JSON object, got {type(document).__name__}", name, number)
    return document


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; ValueError for a name that it has twice."""
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {repeated!r} twice in one object")
    return document


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"something else at column {error.pos + 1} ({error.msg})"
    if isinstance(error, UnicodeDecodeError):
        return f"bytes that are not UTF-8 at byte {error.start + 1}"
    return str(error)


def _error(message: str, name: str, number: int) -> DocumentError:
    place = f"{name} line {number}"
    return DocumentError(f"{message}, in {place}", where=place, line=number)


def import_json_lines(
    conn: Connection,
    source: Source,
    keys: Sequence[str],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Append every document of `source`, ordered by `keys`, in one transaction.

    `progress` is called now and then with the number of bytes read. `DocumentError` names the line of a
    document that cannot be stored; then nothing of the source is.
    """
    count = 0
    streams: set[Stream] = set()
    documents = read_documents(source)
    check_names(keys)
    with conn.transaction():
        while chunk := list(islice(documents, _CHUNK)):
            streams.update(append_lines(conn, chunk, keys, source.name).offsets)
            count += len(chunk)
            progress(source.position())
    return Imported(count, len(streams), conn.db().t)


def append_lines(conn: Connection, chunk: list[Line], keys: Sequence[str], name: str) -> TxReport:
    """Append the documents of some lines of what is called `name`; `DocumentError` names the line of one that cannot
    be."""
    try:
        return conn.append([document for _, document in chunk], *keys)
    except DocumentError:
        for number, document in chunk:
            check_line(document, keys, name, number)
        raise


def check_line(document: dict[str, Any], keys: Sequence[str], name: str, number: int) -> None:
    """Raise `DocumentError`, naming the line, unless its document can be appended under these key attributes."""
    try:
        check_document(document, keys, 0)
    except DocumentError as error:
        place = f"{name} line {number}"
        raise DocumentError(
            str(error).replace("documents[0]", place), **{**error.details, "where": place, "line": number}
        ) from error
