"""The facts of a log as DuckDB columns: a row for each state of each entity, a column for each attribute asked
for, loaded from the log in one pass, extended after appends.

A row holds from its `tx` until `ended`, so every past position is a filter. An attribute that holds several
values in any document has a table of its own (row, value). The only module that opens DuckDB.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from tourlog.engines.codec import ANY, INTEGER, SQL_TYPES, Codec, column_type
from tourlog.facts import elements, roots, select
from tourlog.storage.log import Log, StreamRecord
from tourlog.stream import OFFSET_KEY, document_id, document_place
from tourlog.values import MISSING, columns_decoder, decode, identity

NEVER_ENDED = (1 << 62) - 1
BASE = ("r", "e", "tx", "ended", "stream", "off")
"""The columns every row has: its number, entity, span of transactions, and place in a stream."""
_COLLECTIONS = frozenset({list, tuple, set, frozenset})

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "memory_limit": "4GB",
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
"""How DuckDB runs; locked once it is open."""


@dataclass
class Column:
    """Where an attribute is: a column of `rows`, or (`many`) a table of its own."""

    name: str
    type: str
    many: bool
    has_any: bool = False

    def sql(self, type_: str) -> str:
        """The column to read values as this type from."""
        return f"{self.name}_any" if type_ == ANY and self.type != ANY else self.name


@dataclass
class _Pass:
    """What one pass over the log collects: the place of each new row, and attributes' contents by row."""

    e: list[int] = field(default_factory=list)
    tx: list[int] = field(default_factory=list)
    stream: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    contents: dict[str, list[Any]] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)


class Columns:
    """The columns of one log. Shared by its databases; guarded by a lock while it grows."""

    def __init__(self, log: Log) -> None:
        import duckdb  # heavy; imported when first needed

        self._log = log
        self.lock = RLock()
        self.codec = Codec()
        self.position = 0
        self.count = 0
        self.any_ended = False
        self.columns: dict[str, Column] = {}
        self.has_any_entities = False
        self._streams: dict[int, StreamRecord] = {}
        self._starts: list[int] = []
        self._spans: list[tuple[int, int, int]] = []  # entity number, stream, offset of each run of documents
        self._firsts: dict[int, list[tuple[int, int, int]]] = {}  # stream: (offset, entity number, count)
        self._row_starts: list[int] = []
        self._own: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}
        self._row_of: dict[int, int] = {}
        self._entities = 0
        self._names = 0
        self.connection: Any = duckdb.connect(":memory:", config=SETTINGS)
        self.connection.execute("SET lock_configuration = true")
        self.connection.execute(
            "CREATE TABLE rows (r BIGINT, e BIGINT, tx BIGINT, ended BIGINT, stream BIGINT, off BIGINT)"
        )

    # Entities.

    def entity(self, number: int) -> Any:
        """The entity of a number."""
        if number in self._own:
            return self._own[number]
        start, stream, first = self._spans[bisect_right(self._starts, number) - 1]
        return document_id(self._stream(stream).prefix, first + number - start)

    def entity_number(self, e: Any) -> int | None:
        """The number of an entity; None for a value that is none."""
        number = self._numbers.get(identity(e))
        if number is not None:
            return number
        place = document_place(e)
        stream = self._log.stream_by_prefix(place[0]) if place is not None else None
        if stream is None or place is None:
            return None
        runs = self._firsts.get(stream.id, [])
        at = bisect_right(runs, (place[1], NEVER_ENDED, 0)) - 1
        if at < 0:
            return None
        first, start, count = runs[at]
        return start + place[1] - first if place[1] - first < count else None

    # Loading.

    def load(self, attributes: Iterable[str], t: int) -> None:
        """Bring `rows` up to position `t` at least, with a column for each of these attributes."""
        with self.lock:
            if self.position < t:
                self._extend(t)
            missing = [name for name in dict.fromkeys(attributes) if name not in self.columns]
            if missing:
                self._add_columns(missing)

    def load_any(self, attribute: str) -> None:
        """Make an attribute's values available as canonical bytes too."""
        with self.lock:
            column = self.columns[attribute]
            if column.type != ANY and not column.has_any:
                self._add_any(column.name, "rows" if not column.many else column.name, self.codec.encode)
                column.has_any = True

    def load_any_entities(self) -> None:
        """Make entities available as canonical bytes too."""
        with self.lock:
            if not self.has_any_entities:
                encode, entity = self.codec.encode, self.entity
                self._add_any("e", "rows", lambda number: encode(entity(number)))
                self.has_any_entities = True

    def _extend(self, t: int) -> None:
        """Append the rows of later transactions; a column they do not fit is loaded anew."""
        found = self._read(list(self.columns), self.position, t, place=True)
        first, new = self.count, len(found.e)
        ends = [NEVER_ENDED] * new
        for row, ended in found.ended.items():
            if row >= first:
                ends[row - first] = ended
        places = (range(first, first + new), found.e, found.tx, ends, found.stream, found.offset)
        data: dict[str, Any] = dict(zip(BASE, places, strict=True))
        types = dict.fromkeys(BASE, INTEGER)
        if self.has_any_entities:
            data["e_any"] = [self.codec.encode(self.entity(number)) for number in found.e]
            types["e_any"] = ANY
        misfits = [
            attribute
            for attribute, column in self.columns.items()
            if not self._extend_column(column, found.contents[attribute], "." in attribute, data, types)
        ]
        with Registered(self.connection, data, types) as name:
            self.connection.execute(f"INSERT INTO rows BY NAME SELECT * FROM {name}")
        self._end([(row, ended) for row, ended in found.ended.items() if row < first])
        self.any_ended = self.any_ended or bool(found.ended)
        self.count += new
        self.position = t
        if misfits:
            self._drop(misfits)
            self._add_columns(misfits)

    def _extend_column(
        self,
        column: Column,
        contents: Sequence[Any],
        dotted: bool,
        data: dict[str, Any],
        types: dict[str, str],
    ) -> bool:
        """Add new rows' contents to a column (its values to `data`, or to its own table); False if it cannot
        take them."""
        encode = self.codec.encode
        if column.many:
            rows, values = _several(contents, dotted, self.count)
            if not _fits(column, values):
                return False
            own: dict[str, Any] = {"r": rows, column.name: _encoded(values, column.type, encode)}
            own_types = {"r": INTEGER, column.name: column.type}
            if column.has_any:
                own[f"{column.name}_any"], own_types[f"{column.name}_any"] = list(map(encode, values)), ANY
            with Registered(self.connection, own, own_types) as name:
                self.connection.execute(f"INSERT INTO {column.name} BY NAME SELECT * FROM {name}")
            return True
        if not _COLLECTIONS.isdisjoint(map(type, contents)):
            return False
        if not _fits(column, [value for value in contents if value is not MISSING]):
            return False
        data[column.name], types[column.name] = _encoded(contents, column.type, encode), column.type
        if column.has_any:
            data[f"{column.name}_any"], types[f"{column.name}_any"] = _encoded(contents, ANY, encode), ANY
        return True

    def _end(self, ended: Sequence[tuple[int, int]]) -> None:
        if ended:
            rows, ends = zip(*ended, strict=True)
            with Registered(self.connection, {"r": rows, "ended": ends}, dict.fromkeys(BASE, INTEGER)) as name:
                self.connection.execute(f"UPDATE rows SET ended = n.ended FROM {name} n WHERE rows.r = n.r")

    def _drop(self, attributes: Sequence[str]) -> None:
        for attribute in attributes:
            column = self.columns.pop(attribute)
            if column.many:
                self.connection.execute(f"DROP TABLE {column.name}")
            else:
                self.connection.execute(f"ALTER TABLE rows DROP COLUMN {column.name}")
                if column.has_any:
                    self.connection.execute(f"ALTER TABLE rows DROP COLUMN {column.name}_any")

    def _add_columns(self, attributes: Sequence[str]) -> None:
        found = self._read(attributes, 0, self.position, place=False)
        single: dict[str, Sequence[Any]] = {}
        types: dict[str, str] = {}
        for attribute in attributes:
            contents = found.contents[attribute]
            name = self._fresh_name()
            if "." in attribute or not _COLLECTIONS.isdisjoint(map(type, contents)):
                self.columns[attribute] = self._add_table(name, contents, dotted="." in attribute)
            else:
                type_ = column_type([value for value in contents if value is not MISSING])
                single[name], types[name] = _encoded(contents, type_, self.codec.encode), type_
                self.columns[attribute] = Column(name, type_, False)
        if single:
            self._widen({"r": range(self.count), **single}, {"r": INTEGER, **types})

    def _fresh_name(self) -> str:
        self._names += 1
        return f"c{self._names}"

    def _add_table(self, name: str, contents: Sequence[Any], *, dotted: bool) -> Column:
        rows, values = _several(contents, dotted, 0)
        type_ = column_type(values)
        data = {"r": rows, name: _encoded(values, type_, self.codec.encode)}
        with Registered(self.connection, data, {"r": INTEGER, name: type_}) as given:
            self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {given}")
        return Column(name, type_, True)

    def _widen(self, data: dict[str, Sequence[Any]], types: dict[str, str]) -> None:
        with Registered(self.connection, data, types) as name:
            self.connection.execute(
                f"CREATE OR REPLACE TABLE wider AS SELECT rows.*, n.* EXCLUDE (r) FROM rows JOIN {name} n USING (r)"
            )
        self.connection.execute("DROP TABLE rows")
        self.connection.execute("ALTER TABLE wider RENAME TO rows")

    def _add_any(self, name: str, table: str, encode: Callable[[Any], bytes]) -> None:
        """Add the canonical bytes beside a native column, value by distinct value."""
        found = self.connection.execute(f"SELECT DISTINCT {name} FROM {table} WHERE {name} IS NOT NULL").fetchall()
        native_type = next(c.type for c in self.columns.values() if c.name == name) if name != "e" else INTEGER
        data = {"n": [row[0] for row in found], "b": [encode(row[0]) for row in found]}
        self.connection.execute(f"ALTER TABLE {table} ADD COLUMN {name}_any BLOB")
        with Registered(self.connection, data, {"n": native_type, "b": ANY}) as register:
            self.connection.execute(f"UPDATE {table} SET {name}_any = m.b FROM {register} m WHERE {table}.{name} = m.n")

    # Reading the log.

    def _read(self, attributes: Sequence[str], after: int, upto: int, *, place: bool) -> _Pass:
        """One pass over transactions after + 1 … upto; `place` numbers new rows and entities too."""
        found = _Pass(contents={attribute: [] for attribute in attributes})
        keys = tuple(dict.fromkeys(root for attribute in attributes for root in roots(attribute)))
        decoder = columns_decoder(keys)
        for batch in self._log.tail(after, upto):
            if batch.stream:
                if place:
                    self._place_documents(found, batch.t, batch.stream, batch.first, batch.count)
                if attributes:
                    by_key = dict(zip(keys, zip(*decoder(batch.body), strict=True), strict=True))
                    offsets = range(batch.first, batch.first + batch.count)
                    for attribute, contents in found.contents.items():
                        contents.extend(_contents(attribute, by_key, offsets))
            else:
                for e, state in decode(batch.body):
                    if place:
                        self._place_state(found, batch.t, e, state)
                    if state:
                        for attribute, contents in found.contents.items():
                            contents.append(_state_content(attribute, state))
        return found

    def _place_documents(self, found: _Pass, t: int, stream: int, first: int, count: int) -> None:
        start = self._entities
        self._starts.append(start)
        self._row_starts.append(self.count + len(found.e))
        self._spans.append((start, stream, first))
        self._firsts.setdefault(stream, []).append((first, start, count))
        self._entities += count
        found.e.extend(range(start, start + count))
        found.tx.extend([t] * count)
        found.stream.extend([stream] * count)
        found.offset.extend(range(first, first + count))

    def _place_state(self, found: _Pass, t: int, e: Any, state: dict[str, Any] | None) -> None:
        number = self.entity_number(e)
        if number is None:
            number = self._numbers[identity(e)] = self._entities
            self._own[number] = e
            self._starts.append(number)
            self._row_starts.append(-1)
            self._spans.append((number, 0, 0))
            self._entities += 1
        row = self._row_of[number] if number in self._row_of else self._first_row(number)
        if row >= 0:
            found.ended[row] = t
        if not state:
            self._row_of[number] = -1
            return
        self._row_of[number] = self.count + len(found.e)
        place = document_place(e)
        stream = self._log.stream_by_prefix(place[0]) if place is not None else None
        found.e.append(number)
        found.tx.append(t)
        found.stream.append(stream.id if stream is not None else 0)
        found.offset.append(place[1] if stream is not None and place is not None else -1)

    def _first_row(self, number: int) -> int:
        """The row an appended document began with; -1 for an entity that began otherwise."""
        run = bisect_right(self._starts, number) - 1
        start = self._row_starts[run]
        return start + number - self._starts[run] if start >= 0 else -1

    def _stream(self, stream: int) -> StreamRecord:
        if stream not in self._streams:
            record = self._log.stream_by_id(stream)
            assert record is not None, "a batch's stream exists"
            self._streams[stream] = record
        return self._streams[stream]


class Registered:
    """Python columns as a table DuckDB can read, for the length of a `with`."""

    def __init__(self, connection: Any, data: dict[str, Any], types: dict[str, str]) -> None:
        self._connection, self._data, self._types = connection, data, types
        self._name = f"given_{id(self)}"

    def __enter__(self) -> str:
        import pyarrow  # heavy; imported when first needed

        arrow = {
            "BIGINT": pyarrow.int64(),
            "DOUBLE": pyarrow.float64(),
            "VARCHAR": pyarrow.large_string(),
            "BOOLEAN": pyarrow.bool_(),
            "BLOB": pyarrow.large_binary(),
        }
        arrays = {
            name: pyarrow.array(values, arrow[SQL_TYPES[self._types[name]]]) for name, values in self._data.items()
        }
        self._connection.register(self._name, pyarrow.table(arrays))
        return self._name

    def __exit__(self, *_: object) -> None:
        self._connection.unregister(self._name)


def _several(contents: Sequence[Any], dotted: bool, first: int) -> tuple[list[int], list[Any]]:
    """The distinct values of rows `first` … with the row of each."""
    rows: list[int] = []
    values: list[Any] = []
    for row, content in enumerate(contents, first):
        if content is not MISSING:
            distinct = {identity(value): value for value in (content if dotted else elements(content))}
            rows.extend([row] * len(distinct))
            values.extend(distinct.values())
    return rows, values


def _fits(column: Column, values: Sequence[Any]) -> bool:
    return not values or column.type == ANY or column_type(values) == column.type


def _encoded(contents: Sequence[Any], type_: str, encode: Callable[[Any], bytes]) -> list[Any]:
    if type_ != ANY:
        return [None if value is MISSING else value for value in contents]
    return [None if value is MISSING else encode(value) for value in contents]


def _contents(attribute: str, by_key: Mapping[str, Sequence[Any]], offsets: range) -> Iterable[Any]:
    """What each document of a batch holds under an attribute: its content, for a dotted one the values."""
    if attribute == OFFSET_KEY:
        return offsets
    keys = roots(attribute)
    if len(keys) == 1:
        return by_key[attribute]
    return [
        list(_dotted(attribute, dict(zip(keys, row, strict=True)))) or MISSING
        for row in zip(*(by_key[key] for key in keys), strict=True)
    ]


def _state_content(attribute: str, state: dict[str, Any]) -> Any:
    if "." not in attribute:
        return state.get(attribute, MISSING)
    return list(_dotted(attribute, {key: state.get(key, MISSING) for key in roots(attribute)})) or MISSING


def _dotted(attribute: str, contents: dict[str, Any]) -> Iterator[Any]:
    for key, content in contents.items():
        if content is not MISSING:
            yield from select(content, attribute[len(key) + 1 :] or None)
