"""One pass over a stretch of the log: a row for each state of each entity, and what it holds under the
attributes asked for. Knows nothing of DuckDB.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tourlog.engines.tokens import Tokens
from tourlog.facts import elements, path_under, roots, select
from tourlog.storage.log import Batch, Log
from tourlog.stream import OFFSET_KEY, document_place
from tourlog.values import MISSING, columns_decoder, decode, identity

_COLLECTIONS = frozenset({list, tuple, set, frozenset})


@dataclass
class Places:
    """Columns of a pass: the token of each new row's entity, its transaction, its place in a stream (-1 for
    none); and which rows ended when, older ones included."""

    entities: list[int] = field(default_factory=list)
    transactions: list[int] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    ended: dict[int, int] = field(default_factory=dict)
    amended: dict[int, None] = field(default_factory=dict)
    """Entities that have an earlier state than one of these rows."""


class _Run(NamedTuple):
    start: int
    row: int
    length: int


class RowFinder:
    """Which row holds the newest state of each entity; knows the prefix of every stream."""

    def __init__(self, log: Log, tokens: Tokens) -> None:
        self._log, self._tokens = log, tokens
        self._prefixes: dict[int, int] = {}
        self._runs: list[_Run] = []
        self._rows: dict[int, int | None] = {}

    def place(self, batch: Batch, states: Sequence[tuple[Any, Any]], places: Places, first_row: int) -> None:
        """Add a batch's rows to `places`, the first of which is the table's row `first_row`."""
        if batch.stream:
            self._documents(batch, places, first_row)
        for e, state in states:
            self._state(batch.t, e, state, places, first_row)

    def _documents(self, batch: Batch, places: Places, first_row: int) -> None:
        tokens = self._tokens.run(self._prefix(batch.stream), batch.first, batch.count)
        row = first_row + len(places.entities)
        if isinstance(tokens, range):
            self._runs.append(_Run(tokens.start, row, batch.count))
        else:
            self._rows.update(zip(tokens, range(row, row + batch.count), strict=True))
        places.entities.extend(tokens)
        places.transactions.extend([batch.t] * batch.count)
        places.streams.extend([batch.stream] * batch.count)
        places.offsets.extend(range(batch.first, batch.first + batch.count))

    def _state(self, t: int, e: Any, state: Any, places: Places, first_row: int) -> None:
        token = self._tokens.key(e)
        held = self._row(token)
        if held is not None:
            places.ended[held] = t
        if token in self._rows or held is not None:
            places.amended[token] = None
        if not state:
            self._rows[token] = None
            return
        self._rows[token] = first_row + len(places.entities)
        place = document_place(e)
        stream = self._log.stream_by_prefix(place[0]) if place is not None else None
        places.entities.append(token)
        places.transactions.append(t)
        places.streams.append(stream.id if stream is not None else -1)
        places.offsets.append(place[1] if stream is not None and place is not None else -1)

    def _row(self, token: int) -> int | None:
        if token in self._rows:
            return self._rows[token]
        at = bisect_right(self._runs, (token, 1 << 62)) - 1
        if at < 0 or token >= self._runs[at].start + self._runs[at].length:
            return None
        return self._runs[at].row + token - self._runs[at].start

    def _prefix(self, stream: int) -> int:
        if stream not in self._prefixes:
            record = self._log.stream_by_id(stream)
            assert record is not None, "a batch's stream exists"
            self._prefixes[stream] = record.prefix
        return self._prefixes[stream]


def read(
    log: Log,
    attributes: Sequence[str],
    after: int,
    upto: int,
    check: Callable[[], None],
    finder: RowFinder | None = None,
    first_row: int = 0,
) -> tuple[Places, dict[str, list[Any]]]:
    """What transactions after + 1 … upto hold, a row at a time: their places (with a `finder`, for rows not
    read before), and the content of each attribute, `MISSING` where a row has none. `check` may raise to end it."""
    places = Places()
    contents: dict[str, list[Any]] = {attribute: [] for attribute in attributes}
    keys = tuple(dict.fromkeys(root for attribute in attributes for root in roots(attribute)))
    decoder = columns_decoder(keys)
    for batch in log.tail(after, upto):
        check()
        states = () if batch.stream else decode(batch.body)
        if finder is not None:
            finder.place(batch, states, places, first_row)
        if attributes and batch.stream:
            columns = dict(zip(keys, zip(*decoder(batch.body), strict=True), strict=True))
            for attribute, content in contents.items():
                content.extend(_of_documents(attribute, columns, batch))
        for _, state in states:
            if state:
                for attribute, content in contents.items():
                    content.append(_of_state(attribute, state))
    return places, contents


def _of_documents(attribute: str, columns: Mapping[str, Sequence[Any]], batch: Batch) -> Iterable[Any]:
    if attribute == OFFSET_KEY:
        return range(batch.first, batch.first + batch.count)
    keys = roots(attribute)
    if len(keys) == 1:
        return columns[attribute]
    return (_dotted(attribute, zip(keys, row, strict=True)) for row in zip(*(columns[k] for k in keys), strict=True))


def _of_state(attribute: str, state: Mapping[str, Any]) -> Any:
    if "." not in attribute:
        return state.get(attribute, MISSING)
    return _dotted(attribute, ((key, state.get(key, MISSING)) for key in roots(attribute)))


def _dotted(attribute: str, contents: Iterable[tuple[str, Any]]) -> Any:
    """The values under a dotted attribute as one list, `MISSING` for none."""
    values: list[Any] = []
    for key, content in contents:
        if content is not MISSING:
            values.extend(select(content, path_under(key, attribute)))
    return values or MISSING


def one_each(attribute: str, contents: list[Any]) -> Sequence[Any] | None:
    """Each row's one value, `MISSING` for none; None when a row has several."""
    if "." not in attribute and _COLLECTIONS.isdisjoint(map(type, contents)):
        return contents
    values: list[Any] = []
    for row in _values_by_row(attribute, contents):
        if len(row) > 1:
            return None
        values.append(row[0] if row else MISSING)
    return values


def several(attribute: str, contents: Sequence[Any], first_row: int) -> tuple[list[int], list[Any]]:
    """Rows, counted from `first_row`, and their values, a pair for each distinct value of a row."""
    rows: list[int] = []
    values: list[Any] = []
    for row, found in enumerate(_values_by_row(attribute, contents), first_row):
        rows.extend([row] * len(found))
        values.extend(found)
    return rows, values


def _values_by_row(attribute: str, contents: Iterable[Any]) -> Iterator[Sequence[Any]]:
    dotted = "." in attribute
    for content in contents:
        if content is MISSING:
            yield ()
        else:
            found = content if dotted else elements(content)
            yield tuple(found) if len(found) == 1 else tuple({identity(value): value for value in found}.values())
