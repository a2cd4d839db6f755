"""Whether an index can be trusted when it says that something is not there: a store that believes a damaged one would
write a transaction, or a stream, twice.

Twice as much is asked of it as a lookup does: once, that it has as many entries as its table has rows, and of the same
numbers; and at each miss, that the entries on either side of the gap are those of their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tourlog.storage.sqlite_file import OFFSET_BITS

if TYPE_CHECKING:
    from apsw import Connection


@dataclass(frozen=True, slots=True)
class Lookup:
    """A column of a table and the index over it; `rows` is SQL for how many entries the index must have and the sum of
    their rows' numbers."""

    table: str
    number: str
    column: str
    index: str
    rows: str

    def row(self, columns: str) -> str:
        """SQL for the row with a value."""
        return f"SELECT {columns} FROM {self.table} WHERE {self.column} = ?"

    def is_whole(self, connection: Connection) -> bool:
        """Whether the index has an entry for every row: takes some 0.04 s for a million entries, and 0.2 s more for a
        million transactions."""
        entries = f"SELECT count(*), coalesce(sum({self.number}), 0) FROM {self.table} INDEXED BY {self.index}"
        sql = f"SELECT ({entries} WHERE {self.column} IS NOT NULL) IS ({self.rows})"
        ((is_same,),) = connection.execute(sql).fetchall()
        return bool(is_same)

    def is_gap(self, connection: Connection, value: Any) -> bool:
        """Whether the entries before and after a value that was not found are as in their rows: one whose key was
        changed lies beside the place where it was looked for."""
        sql = f"SELECT {self._beside('<', 'DESC')} IS NOT 0 AND {self._beside('>', 'ASC')} IS NOT 0"
        ((is_gap,),) = connection.execute(sql, (value,)).fetchall()
        return bool(is_gap)

    def _beside(self, comparison: str, order: str) -> str:
        """SQL for whether the next entry is that of its row, NULL when there is none."""
        own = f"SELECT own.{self.column} FROM {self.table} AS own NOT INDEXED WHERE own.{self.number} = e.{self.number}"
        return f"""(SELECT e.{self.column} IS ({own}) FROM {self.table} AS e INDEXED BY {self.index}
            WHERE e.{self.column} {comparison} ?1 ORDER BY e.{self.column} {order} LIMIT 1)"""


_STREAMS = "SELECT coalesce(max(id), 0), coalesce(max(id) * (max(id) + 1) / 2, 0) FROM stream"
"""Ids are dense."""

TX_BY_ID = Lookup(
    "tx",
    "t",
    "tx_id",
    "tx_by_id",
    "SELECT count(tx_id), coalesce(sum(iif(tx_id IS NULL, 0, t)), 0) FROM tx NOT INDEXED",
)
STREAM_BY_KEY, STREAM_BY_NAME, STREAM_BY_PREFIX = (
    Lookup("stream", "id", column, f"sqlite_autoindex_stream_{number}", _STREAMS)
    for number, column in enumerate(("key", "name", "prefix"), 1)
)

AMENDED_IS_WHOLE = """SELECT (SELECT count(*) FROM entity AS i INDEXED BY entity_in_stream
        WHERE stream IS NOT NULL AND EXISTS (SELECT 1 FROM entity AS e
            WHERE e.key = i.key AND e.t = i.t AND +e.stream = i.stream AND +e."offset" = i."offset"))
    = coalesce((SELECT amended FROM tx ORDER BY t DESC LIMIT 1), 0)"""
"""Whether `entity_in_stream` has an entry for every change of an ordered document, by their number in `tx`, and a row
for each: takes some 0.3 s for a million."""

STATES_ARE_WHOLE = f"""SELECT (SELECT count(*), coalesce(sum(t), 0) FROM entity NOT INDEXED)
    = (SELECT coalesce(sum(count), 0), coalesce(sum(count * t), 0) FROM batch WHERE place < {1 << OFFSET_BITS})"""
"""Whether `entity` has as many states as transactions wrote, of the same transactions, for `batch` has them, too: takes
some 0.06 s for a million."""
