"""The facts of a log as DuckDB columns: a row for each state of each entity, a column for each attribute asked
for, loaded from the log in one pass, extended after appends.

A row holds from its `tx` until `ended`, so every past position is a filter. An attribute that holds several
values in any row has a table of its own (row, value). The only module that opens DuckDB.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import RLock
from typing import Any

from tourlog.engines.arrow import registered
from tourlog.engines.codec import INTEGER, TOKEN, column_type
from tourlog.engines.interrupts import deferred_interrupt
from tourlog.engines.reading import Places, RowFinder, one_each, read, several
from tourlog.engines.tokens import Tokens
from tourlog.engines.worker import Worker
from tourlog.errors import StorageError
from tourlog.storage.log import Log
from tourlog.values import MISSING

NEVER_ENDED = (1 << 62) - 1
_MOST_IDLE = 4

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "allowed_configs": ["threads"],
    "memory_limit": "4GB",
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
"""How DuckDB runs; locked once it is open, but for the threads."""

_THREADS = 2
_ROW_GROUP = 122_880
"""Rows that DuckDB scans by one thread. A second one that is there for fewer only costs the time to wake it, in every
round of a recursion: a third of the time where there are some thousands of rows."""

_TABLES = (
    "CREATE TABLE rows (r BIGINT, e BIGINT, tx BIGINT, ended BIGINT, stream BIGINT, off BIGINT)",
    "CREATE TABLE amended (e BIGINT)",
)
"""`rows`: number, entity, span of transactions, place in a stream. `amended`: entities that had several states."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where an attribute is: a column of `rows` or, with several values a row, of a table of the same name.
    A native column may have its values as tokens beside it."""

    name: str
    type: str
    many: bool
    has_tokens: bool = False

    def sql(self, type_: str) -> str:
        """The column to read values as this type from."""
        return f"{self.name}_token" if type_ == TOKEN != self.type else self.name

    @property
    def table(self) -> str:
        """The table the column stands in."""
        return self.name if self.many else "rows"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a run may read: the columns by attribute, the position they are complete to."""

    columns: Mapping[str, Column]
    position: int
    any_ended: bool
    unique: dict[str, bool]
    """Of columns of `rows` that were looked at: whether they hold few values, no two of them equal."""
    scales: dict[str, int]
    """Of sums of floats, by the SELECT of their rows: the scale they needed, which others are not worth a try."""


class Columns:
    """The columns of one log, shared by its databases. A run reads them in a transaction of its own, so that
    what others load meanwhile does not touch it."""

    def __init__(self, log: Log) -> None:
        self._log, self._owner = log, os.getpid()
        self._lock = RLock()
        self._empty()

    def _empty(self) -> None:
        with deferred_interrupt():
            import duckdb  # heavy; imported when first needed

        self.tokens = Tokens()
        self._finder = RowFinder(self._log, self.tokens)
        self._columns: dict[str, Column] = {}
        self._position = 0
        self._count = 0
        self._held_rows = 0
        self._any_ended = False
        self._names = 0
        self._version = 0
        self._unique: dict[str, bool] = {}
        self._scales: dict[str, int] = {}
        self._idle: list[Worker] = []
        self._connection: Any = duckdb.connect(":memory:", config=SETTINGS)
        for statement in ("SET lock_configuration = true", *_TABLES):
            self._connection.execute(statement)

    @contextmanager
    def ready(self, attributes: Iterable[str], t: int, check: Callable[[], None]) -> Iterator[None]:
        """Holds the columns still, for a run to get ready: complete to `t` at least, these attributes loaded.

        What `check` raises, called now and then, ends the loading, and so does Ctrl-C.
        """
        if os.getpid() != self._owner:  # a fork has none of DuckDB's threads, and would wait for them for ever
            raise StorageError("expected the process that opened the store, got a fork of it", path=None)
        with self._lock:
            try:
                if self._position < t:
                    self._change()
                    self._extend(t, check)
                missing = [name for name in dict.fromkeys(attributes) if name not in self._columns]
                if missing:
                    self._change()
                    self._add_columns(missing, check)
            except BaseException:
                self._empty()  # half loaded is no state to go on from
                raise
            yield

    def worker(self) -> Worker:
        """A worker of a run's own, pinned to what is loaded now; to be asked for inside `ready`."""
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = Worker(self._connection)
        worker.begin(self._version)
        return worker

    def give_back(self, worker: Worker) -> None:
        """Keep a worker for the next run; pinned if nothing has changed since."""
        if not worker.sees(self._version):
            worker.unpin()
        if len(self._idle) < _MOST_IDLE and worker.serves(self._connection):
            self._idle.append(worker)
        else:
            worker.close()

    def loaded(self) -> Loaded:
        """What there is to read; to be asked for inside `ready`."""
        return Loaded(dict(self._columns), self._position, self._any_ended, self._unique, self._scales)

    def load_tokens(self, attributes: Iterable[str]) -> None:
        """Have these attributes' values as tokens too; inside `ready`."""
        for attribute in attributes:
            column = self._columns[attribute]
            if column.type != TOKEN and not column.has_tokens:
                self._change()
                self._add_tokens(column)
                self._columns[attribute] = Column(column.name, column.type, column.many, True)

    @property
    def memory(self) -> int:
        """Bytes DuckDB holds for the columns."""
        sql = "SELECT sum(memory_usage_bytes) FROM duckdb_memory()"
        return int(self._connection.execute(sql).fetchall()[0][0])

    def _change(self) -> None:
        """Before a change: idle workers let go of what they see, which DuckDB would keep beside the new."""
        self._version += 1
        self._unique = {}
        for worker in tuple(self._idle):  # a run takes one inside `ready` only, where we are
            worker.unpin()

    # New rows.

    def _extend(self, t: int, check: Callable[[], None]) -> None:
        """Append the rows of later transactions; a column they do not fit is loaded anew."""
        first = self._count
        places, contents = read(self._log, list(self._columns), self._position, t, check, self._finder, first)
        columns = _base_columns(places, first)
        misfits = [
            attribute
            for attribute, column in self._columns.items()
            if not self._extend_column(attribute, column, contents[attribute], columns)
        ]
        if places.entities:
            self._insert("rows", columns)
        self._end({row: ended for row, ended in places.ended.items() if row < first})
        if places.amended:
            self._insert("amended", {"e": (TOKEN, list(places.amended))})
        self._any_ended = self._any_ended or bool(places.ended)
        self._count += len(places.entities)
        self._position = t
        self._reload(misfits, check)

    def _extend_column(self, attribute: str, column: Column, contents: list[Any], columns: dict[str, Any]) -> bool:
        """Add new rows' contents to a column: to `columns`, or to its own table. False if it takes no such."""
        if not column.many:
            values = one_each(attribute, contents)
            if values is None or not _fits(column, values):
                return False
            columns.update(self._held(column, values))
            return True
        rows, found = several(attribute, contents, self._count)
        if not _fits(column, found):
            return False
        if rows:
            self._insert(column.name, {"r": (INTEGER, rows), **self._held(column, found)})
        return True

    def _held(self, column: Column, values: Sequence[Any]) -> dict[str, tuple[str, list[Any]]]:
        held = {column.name: (column.type, self._converted(values, column.type))}
        if column.has_tokens:
            held[f"{column.name}_token"] = (TOKEN, self._converted(values, TOKEN))
        return held

    def _converted(self, values: Sequence[Any], type_: str) -> list[Any]:
        if type_ != TOKEN:
            return [None if value is MISSING else value for value in values]
        token = self.tokens.token
        return [None if value is MISSING else token(value) for value in values]

    def _insert(self, table: str, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
        self._count_rows(columns)
        with registered(self._connection, columns) as given:
            self._connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {given}")

    def _count_rows(self, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> None:
        """Before rows are held: have threads for them."""
        before = self._held_rows
        self._held_rows += len(next(iter(columns.values()))[1])
        if before <= _ROW_GROUP < self._held_rows:
            self._connection.execute(f"SET threads = {_THREADS}")

    def _end(self, ended: Mapping[int, int]) -> None:
        if ended:
            columns = {"r": (INTEGER, list(ended)), "ended": (INTEGER, list(ended.values()))}
            with registered(self._connection, columns) as given:
                self._connection.execute(f"UPDATE rows SET ended = n.ended FROM {given} n WHERE rows.r = n.r")

    def _reload(self, attributes: Sequence[str], check: Callable[[], None]) -> None:
        for attribute in attributes:
            column = self._columns.pop(attribute)
            if column.many:
                self._connection.execute(f"DROP TABLE {column.name}")
            else:
                for name in (column.name, column.sql(TOKEN)) if column.has_tokens else (column.name,):
                    self._connection.execute(f"ALTER TABLE rows DROP COLUMN {name}")
        if attributes:
            self._add_columns(attributes, check)

    # New columns.

    def _add_columns(self, attributes: Sequence[str], check: Callable[[], None]) -> None:
        _, contents = read(self._log, attributes, 0, self._position, check)
        single: dict[str, tuple[str, Sequence[Any]]] = {}
        for attribute in attributes:
            self._names += 1
            column, columns = self._new_column(f"c{self._names}", attribute, contents.pop(attribute))
            self._columns[attribute] = column
            if column.many:
                self._count_rows(columns)
                with registered(self._connection, columns) as given:
                    self._connection.execute(f"CREATE TABLE {column.name} AS SELECT * FROM {given}")
            else:
                single.update(columns)
        if single:
            with registered(self._connection, {"r": (INTEGER, range(self._count)), **single}) as given:
                self._replace("rows", f"SELECT rows.*, n.* EXCLUDE (r) FROM rows JOIN {given} n USING (r)")

    def _new_column(
        self, name: str, attribute: str, contents: list[Any]
    ) -> tuple[Column, dict[str, tuple[str, Sequence[Any]]]]:
        values = one_each(attribute, contents)
        if values is not None:
            column = Column(name, column_type(values), False)
            return column, dict(self._held(column, values))
        rows, found = several(attribute, contents, 0)
        column = Column(name, column_type(found), True)
        return column, {"r": (INTEGER, rows), **self._held(column, found)}

    def _add_tokens(self, column: Column) -> None:
        """Add tokens beside a native column, value by distinct value."""
        name, table = column.name, column.table
        sql = f"SELECT DISTINCT {name} FROM {table} WHERE {name} IS NOT NULL"
        values = [row[0] for row in self._connection.execute(sql).fetchall()]
        pairs = {"value": (column.type, values), "token": (TOKEN, self._converted(values, TOKEN))}
        with registered(self._connection, pairs) as given:
            tokens = f"(SELECT value, token AS {name}_token FROM {given})"
            self._replace(table, f"SELECT t.*, {name}_token FROM {table} t LEFT JOIN {tokens} n ON t.{name} = n.value")

    def _replace(self, table: str, select: str) -> None:
        import duckdb  # heavy; imported when first needed

        self._connection.execute("BEGIN TRANSACTION")
        try:
            self._connection.execute(f"CREATE TABLE replacement AS {select}")
            self._connection.execute(f"DROP TABLE {table}")
            self._connection.execute(f"ALTER TABLE replacement RENAME TO {table}")
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(duckdb.TransactionException):  # an interrupted COMMIT has ended it already
                self._connection.execute("ROLLBACK")
            raise


def _base_columns(places: Places, first: int) -> dict[str, tuple[str, Sequence[Any]]]:
    count = len(places.entities)
    ended = [NEVER_ENDED] * count
    for row, t in places.ended.items():
        if row >= first:
            ended[row - first] = t
    return {
        "r": (INTEGER, range(first, first + count)),
        "e": (TOKEN, places.entities),
        "tx": (INTEGER, places.transactions),
        "ended": (INTEGER, ended),
        "stream": (INTEGER, places.streams),
        "off": (INTEGER, places.offsets),
    }


def _fits(column: Column, values: Sequence[Any]) -> bool:
    return column.type == TOKEN or all(value is MISSING for value in values) or column_type(values) == column.type
