"""One run's connection to DuckDB: statements, bound values, temporary tables, values to columns and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Timer
from typing import Any

from tourlog.engines.arrow import registered
from tourlog.engines.codec import NEVER, SQL_TYPES, TOKEN, native
from tourlog.engines.execution import Execution
from tourlog.engines.select import Select
from tourlog.engines.tokens import RunTokens, Tokens
from tourlog.query.syntax import Variable


class Session:
    """A cursor of its own; its temporary tables go with it. A `dry` one computes nothing, only says what it
    would ask."""

    def __init__(self, cursor: Any, tokens: Tokens, execution: Execution, *, dry: bool = False) -> None:
        self.execution = execution
        self.statements: list[str] = []
        self.tokens = RunTokens(tokens)
        self.dry = dry
        self._cursor = cursor
        self._values: dict[str, Any] = {}
        self._numbers = count(1)

    def close(self) -> None:
        """Give up the cursor and every temporary table."""
        self._cursor.close()

    @contextmanager
    def interrupted_after(self, seconds: float | None) -> Iterator[None]:
        """Stops DuckDB when the time is up."""
        timer = None if seconds is None else Timer(seconds, self._cursor.interrupt)
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    # Statements.

    def name(self) -> str:
        """A new name for a table."""
        return f"x{next(self._numbers)}"

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        self.statements.append(sql)
        rows: list[tuple[Any, ...]] = self._execute(sql if not self.dry else f"SELECT * FROM ({sql}) LIMIT 0")
        return rows

    def table(self, sql: str) -> str:
        """The name of a new temporary table of the rows of a SELECT."""
        name = self.name()
        self.statements.append(f"CREATE TEMP TABLE {name} AS {sql}")
        self._execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM ({sql}){' LIMIT 0' if self.dry else ''}")
        return name

    def change(self, sql: str) -> None:
        """Run a statement that changes temporary tables."""
        self.statements.append(sql)
        self._execute(sql)

    def given(self, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
        """A temporary table with columns c0, c1, … of rows held as these types."""
        name = self.name()
        columns = {f"c{place}": (type_, [row[place] for row in rows]) for place, type_ in enumerate(types)}
        self.statements.append(f"CREATE TEMP TABLE {name} AS SELECT * FROM given_rows")
        with registered(self._cursor, columns) as given:
            self._cursor.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {given}")
        return name

    def materialised(self, select: Select, wanted: Iterable[Variable]) -> Select:
        """The distinct rows over these of the variables, as a temporary table."""
        kept = frozenset(wanted)
        variables = [variable for variable in select.columns if variable in kept]
        name = self.table(select.over(variables))
        columns = {variable: f"{name}.c{place}" for place, variable in enumerate(variables)}
        return Select(tables=[name], columns=columns, keys=set(variables))

    def _execute(self, sql: str) -> Any:
        values = {name: value for name, value in self._values.items() if f"${name}:" in sql}
        return (self._cursor.execute(sql, values) if values else self._cursor.execute(sql)).fetchall()

    # Values.

    def hold(self, value: Any, type_: str) -> Any:
        """A value as a column of a type holds it; NEVER when it equals nothing there."""
        return self.tokens.token(value) if type_ == TOKEN else native(value, type_)

    def bind(self, held: Any, type_: str) -> str:
        """The expression of a value that is held as this type."""
        name = f"p{len(self._values)}"
        self._values[name] = held
        return f"${name}::{SQL_TYPES[type_]}"

    def constant(self, value: Any, type_: str) -> str | None:
        """A value as an expression of a column type; None when it equals nothing of that type."""
        held = self.hold(value, type_)
        return None if held is NEVER else self.bind(held, type_)

    def maker(self, type_: str) -> Callable[[Any], Any] | None:
        """What makes a value of one held as this type; None when it is the value."""
        return self.tokens.value if type_ == TOKEN else None

    def decoded(self, rows: list[tuple[Any, ...]], types: Sequence[str]) -> list[tuple[Any, ...]]:
        """Fetched rows as Python values."""
        makers = [self.maker(type_) for type_ in types]
        if not rows or not any(makers):
            return rows
        columns = zip(*rows, strict=True)
        made = [map(make, column) if make else column for make, column in zip(makers, columns, strict=False)]
        return list(zip(*made, strict=True))
