"""Documents as a CSV file (RFC 4180): a column for each attribute, after those that say where a document stands.

Numbers, booleans and null stand without quotes and all else within: so the text "1" is not the number 1, and an empty
text is not a missing attribute, which is an empty cell. What CSV lacks is written as `tourlog.tables` writes it for
JSON: bytes in base64, dates as ISO 8601, collections and nested documents as JSON text. As such, too, goes text with
half a surrogate pair, which UTF-8 cannot hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from tourlog.database import Database
from tourlog.export import PLACE, Exported, attribute_names, check_exportable, placed_documents, replaced_file
from tourlog.tables import has_surrogates, json_line, jsonable
from tourlog.values import MISSING

_NUMBERS = (int, float, Decimal)  # and bool
_CONTAINERS = (list, tuple, set, frozenset, dict)


def export_csv(db: Database, file: str | os.PathLike[str], key: Any = None) -> Exported:
    """Write the documents of a database `db` to a CSV `file` in UTF-8, one a line, in the order of commits; `key` says
    of which streams, as that of `Connection.subscribe`. The columns are `db/id`, `db/key` (the names of the key
    attributes), `offset`, `db/tx`, `db/tx-instant`, then every attribute that any of the documents has.

    Text is written exactly as it is, also where it begins with `=`, `+`, `-` or `@`, which spreadsheets may take for a
    formula: let them import such columns as text. The documents are read twice, as they are written, be they longer
    than memory; the file takes its name when it is whole.

    Raises ArgumentError for what is no database, key or path; DocumentError for a value that no key has; StorageError
    when the file cannot be written.
    """
    check_exportable(db, key)
    count = 0
    with replaced_file(file) as opened:
        names = attribute_names(db, key)
        opened.write(csv_line((*PLACE, *names)))
        for placed in placed_documents(db, key):
            document = placed.document
            opened.write(csv_line([*placed.place(), *[document.get(name, MISSING) for name in names]]))
            count += 1
    return Exported(count, (*PLACE, *names), db.t)


def csv_line(values: Iterable[Any]) -> bytes:
    r"""A line of CSV; `MISSING` cells are empty.

    >>> csv_line([1, "1", "", None, MISSING, True, b"d"])
    b'1,"1","",null,,true,"ZA=="\n'
    """
    return (",".join(map(_cell, values)) + "\n").encode("utf-8")


def _cell(value: Any) -> str:
    if value is MISSING:
        return ""
    if value is None or isinstance(value, _NUMBERS):
        encoded = jsonable(value)
        return encoded if isinstance(encoded, str) else json_line(encoded)
    is_json = isinstance(value, _CONTAINERS) or (isinstance(value, str) and has_surrogates(value))
    text: str = json_line(value) if is_json else jsonable(value)
    return '"' + text.replace('"', '""') + '"'
