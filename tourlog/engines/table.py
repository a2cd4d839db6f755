"""Relations while a query runs on pyDatalog: rows of tokens, indexed by whichever columns are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from tourlog.values import identity

Row: TypeAlias = tuple[int, ...]


class Tokens:
    """Values as ints and back: equal values share a token, so the engine compares tokens only.

    pyDatalog changes many values it is given (floats are rounded, "True" becomes True, lists become
    tuples); an int it leaves alone.
    """

    def __init__(self) -> None:
        self._tokens: dict[Any, int] = {}
        self._values: list[Any] = []

    def token(self, value: Any) -> int:
        """The token of a value, the same for every equal value."""
        key = identity(value)
        token = self._tokens.get(key)
        if token is None:
            token = self._tokens[key] = len(self._values)
            self._values.append(value)
        return token

    def value(self, token: int) -> Any:
        """The first value that took this token."""
        return self._values[token]

    def row(self, values: Iterable[Any]) -> Row:
        """The tokens of a row of values."""
        return tuple(map(self.token, values))


class Table:
    """Distinct rows in the order they came, found by any set of columns; grows, never shrinks."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: list[Row] = []
        self._seen: set[Row] = set()
        self._indexes: dict[tuple[int, ...], dict[Row, list[Row]]] = {}
        self.add(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, row: Row) -> bool:
        return row in self._seen

    def add(self, rows: Iterable[Row]) -> list[Row]:
        """Add rows; the ones that were not there yet."""
        fresh = []
        for row in rows:
            if row not in self._seen:
                self._seen.add(row)
                fresh.append(row)
        self.rows.extend(fresh)
        for columns, index in self._indexes.items():
            _file(fresh, columns, index)
        return fresh

    def find(self, columns: tuple[int, ...], values: Row) -> Sequence[Row]:
        """The rows that hold `values` in `columns` (increasing places)."""
        if not columns:
            return self.rows
        if columns not in self._indexes:
            self._indexes[columns] = {}
            _file(self.rows, columns, self._indexes[columns])
        return self._indexes[columns].get(values, ())


def _file(rows: Iterable[Row], columns: tuple[int, ...], index: dict[Row, list[Row]]) -> None:
    for row in rows:
        index.setdefault(tuple(row[column] for column in columns), []).append(row)
