"""Python columns handed to DuckDB as Arrow arrays. The only module that knows nanoarrow, which is 3 MB where
pyarrow is 140, and as fast at this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tourlog.engines.codec import BOOLEAN, FLOAT, INTEGER, STRING, TOKEN

NAME = "given_rows"
"""What the columns are called in the SQL of a `registered` block."""


@contextmanager
def registered(connection: Any, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> Iterator[str]:
    """These columns (name to type and values, None for a missing one) as a table the connection can read
    once, for the length of a `with`; gives the table's name."""
    import nanoarrow  # heavy; imported when first needed

    types = {
        INTEGER: nanoarrow.int64(),
        FLOAT: nanoarrow.float64(),
        STRING: nanoarrow.large_string(),
        BOOLEAN: nanoarrow.bool_(),
        TOKEN: nanoarrow.int64(),
    }
    arrays = [nanoarrow.c_array(values, types[type_]) for type_, values in columns.values()]
    schema = nanoarrow.struct({name: types[type_] for name, (type_, _) in columns.items()})
    length = len(next(iter(columns.values()))[1])
    table = nanoarrow.c_array_from_buffers(schema, length, [None], children=arrays)
    connection.register(NAME, nanoarrow.ArrayStream(table))
    try:
        yield NAME
    finally:
        connection.unregister(NAME)
