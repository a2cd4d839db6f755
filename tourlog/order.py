"""Order on top of facts, as in Tour: `append` as a pure function, and the reading side's last step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from tourlog.database import Database, check_database
from tourlog.documents import keyed_documents
from tourlog.draft import Draft
from tourlog.errors import ArgumentError, shown
from tourlog.stream import ID_KEY, OFFSET_KEY, ORDER_KEY, Stream, document_id
from tourlog.values import plain


def append(db: Database, documents: Iterable[Mapping[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """Transaction data that appends `documents` to the streams their key attributes, `keys`, name, as of the database
    `db`. Pure.

    Each document comes back with its `db/id`, its `offset` and its `db/key` (the names it is ordered by). Under
    competing writers, `call(append, documents, *keys)` runs it on the newest database. Raises ArgumentError for `keys`
    that no stream can have, DocumentError for a document that cannot be stored or lacks one of them.

    >>> import tourlog
    >>> [data["offset"] for data in append(tourlog.connect().db(), [{"k": 1}, {"k": 1}, {"k": 2}], "k")]
    [0, 1, 0]
    """
    check_database(db)
    draft = Draft(db.snapshot)
    ends: dict[Any, tuple[int, Iterator[int]]] = {}
    result = []
    for stream_key, values, document in keyed_documents(documents, keys):
        if stream_key not in ends:
            tail = draft.tail(Stream(tuple(keys), values))
            ends[stream_key] = (tail.record.prefix, count(tail.head))
        prefix, offsets = ends[stream_key]
        offset = next(offsets)
        own = {ID_KEY: document_id(prefix, offset), OFFSET_KEY: offset, ORDER_KEY: list(keys)}
        result.append({**own, **plain(document)})
    return result


def post_query_transform(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """The documents of a query's `rows`, flattened, sorted by `offset`, without `db/id`. ArgumentError unless each is a
    document with an offset, or a list or tuple of such.

    >>> post_query_transform([({"db/id": 7, "offset": 1, "n": 2},), ({"db/id": 8, "offset": 0, "n": 1},)])
    [{'offset': 0, 'n': 1}, {'offset': 1, 'n': 2}]
    """
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise ArgumentError(f"expected the rows of a query, got {shown(rows)}", argument="rows")
    documents = [document for row in rows for document in (row if isinstance(row, list | tuple) else (row,))]
    for document in documents:
        if not isinstance(document, dict) or type(document.get(OFFSET_KEY)) is not int:
            raise ArgumentError(f"expected rows of documents with an offset, got {shown(document)}", argument="rows")
    documents.sort(key=lambda document: document[OFFSET_KEY])
    return [{key: value for key, value in document.items() if key != ID_KEY} for document in documents]
