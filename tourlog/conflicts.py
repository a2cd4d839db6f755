"""What a writer is told whose streams are not where it expected them."""

from __future__ import annotations

from itertools import islice

from tourlog.errors import ConflictError
from tourlog.snapshot import EVERYTHING, Snapshot
from tourlog.stream import ID_KEY, OFFSET_KEY, Stream

MOST_APPENDED = 100


def conflict(message: str, snapshot: Snapshot, stream: Stream, *, expected: int, actual: int) -> ConflictError:
    """The error, with the first documents that were appended since; they are read now, for the caller holds the
    position it was judged at."""
    since = islice(snapshot.ordered(stream, expected, EVERYTHING), MOST_APPENDED)
    appended = [{ID_KEY: each.e, OFFSET_KEY: each.offset, **each.document} for each in since]
    return ConflictError(message, stream=stream, expected=expected, actual=actual, appended=appended)
