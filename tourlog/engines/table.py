"""Relations while a query runs on pyDatalog: rows of tokens, indexed by whichever columns are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from tourlog.values import identity, same_form

Row: TypeAlias = tuple[int, ...]

NO_FORMS: Mapping[int, int] = MappingProxyType({})


class Tokens:
    """Values as ints and back, so that the engine compares tokens only.

    pyDatalog changes many values it is given (floats are rounded, "True" becomes True, lists become
    tuples); an int it leaves alone. A value that equals an earlier one in another form (1.0 after 1) has a
    token of its own: it must come back as it is. `firsts` leads from such a token to the first of its equals.
    """

    def __init__(self) -> None:
        self.firsts: dict[int, int] = {}
        self._tokens: dict[Any, int] = {}
        self._values: list[Any] = []
        self._forms: dict[int, list[int]] = {}

    def token(self, value: Any) -> int:
        """The token of a value, the same for every value that is the same in form too."""
        key = identity(value)
        token = self._tokens.get(key)
        if token is None:
            token = self._tokens[key] = len(self._values)
            self._values.append(value)
        elif not same_form(self._values[token], value):
            return self._other_form(token, value)
        return token

    def value(self, token: int) -> Any:
        """The value of this token."""
        return self._values[token]

    def row(self, values: Iterable[Any]) -> Row:
        """The tokens of a row of values."""
        return tuple(map(self.token, values))

    def equal(self, a: int, b: int) -> bool:
        """Whether the values of two tokens are equal."""
        firsts = self.firsts
        return a == b or (bool(firsts) and firsts.get(a, a) == firsts.get(b, b))

    def distinct(self, rows: Iterable[Row]) -> Iterable[Row]:
        """Distinct rows without those that equal an earlier one."""
        firsts = self.firsts
        if not firsts:
            return rows
        return {tuple([firsts.get(token, token) for token in row]): row for row in rows}.values()

    def _other_form(self, first: int, value: Any) -> int:
        forms = self._forms.setdefault(first, [])
        for token in forms:
            if same_form(self._values[token], value):
                return token
        token = len(self._values)
        self._values.append(value)
        self.firsts[token] = first
        forms.append(token)
        return token


class Table:
    """Distinct rows in the order they came, found by any set of columns; grows, never shrinks.

    Values equal in another form are found too, given `firsts` of the tokens.
    """

    def __init__(self, rows: Iterable[Row] = (), firsts: Mapping[int, int] = NO_FORMS) -> None:
        self.rows: list[Row] = []
        self._firsts = firsts
        self._seen: set[Row] = set()
        self._indexes: dict[tuple[int, ...], dict[Row, list[Row]]] = {}
        self.add(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, rows: Iterable[Row]) -> list[Row]:
        """Add rows; the ones that were not there yet."""
        fresh = []
        for row in rows:
            if row not in self._seen:
                self._seen.add(row)
                fresh.append(row)
        self.rows.extend(fresh)
        for columns, index in self._indexes.items():
            self._file(fresh, columns, index)
        return fresh

    def find(self, columns: tuple[int, ...], values: Row) -> Sequence[Row]:
        """The rows that hold `values` in `columns` (increasing places)."""
        if not columns:
            return self.rows
        if columns not in self._indexes:
            self._indexes[columns] = {}
            self._file(self.rows, columns, self._indexes[columns])
        return self._indexes[columns].get(self._key(values), ())

    def _file(self, rows: Iterable[Row], columns: tuple[int, ...], index: dict[Row, list[Row]]) -> None:
        for row in rows:
            index.setdefault(self._key(tuple([row[column] for column in columns])), []).append(row)

    def _key(self, values: Row) -> Row:
        firsts = self._firsts
        return tuple([firsts.get(token, token) for token in values]) if firsts else values
