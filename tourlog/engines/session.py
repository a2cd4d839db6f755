"""One run's connection to DuckDB: statements, bound values, temporary tables, values to columns and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, count
from typing import Any

from tourlog.collector import empty
from tourlog.engines.arrow import registered
from tourlog.engines.codec import NEVER, SQL_TYPES, TOKEN, native
from tourlog.engines.execution import CONTAINERS, Execution
from tourlog.engines.select import Select
from tourlog.engines.tokens import KEY, RunTokens, Tokens
from tourlog.engines.typing import Types
from tourlog.engines.worker import Worker
from tourlog.errors import BudgetError
from tourlog.query.syntax import Variable
from tourlog.values import fresh

_CHUNK = 10_000
"""Rows fetched at a time."""


class Session:
    """A run on a worker of its own. A `dry` one computes nothing, only says what it would ask."""

    def __init__(
        self,
        worker: Worker,
        tokens: Tokens,
        execution: Execution,
        types: Types,
        unique: dict[str, bool],
        scales: dict[str, int],
        *,
        dry: bool = False,
    ) -> None:
        self.execution = execution
        self.types = types
        self.tokens = RunTokens(tokens)
        self.unique, self.scales = unique, scales
        self.dry = dry
        self.statements: list[str] = []
        self.parameters: dict[str, Any] = {}
        self._worker = worker
        self._has_changed = False
        self._numbers = count(1)

    def let_go(self, *held: list[Any]) -> None:
        """Empty lists, and forget the values of this run, in the worker's time: to let go of millions of rows, or of
        large values, takes tenths of a second that nobody need wait for."""
        self._worker.later(lambda: empty(held))
        self._worker.later(self.tokens.forget)

    def end(self, give_back: Callable[[Worker], None]) -> None:
        """Give up every temporary table, and the worker back."""
        self._worker.end(give_back, used=self._has_changed)

    # Statements.

    def name(self) -> str:
        """A new name for a table."""
        return f"x{next(self._numbers)}"

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        self.statements.append(sql)
        return self._execute(sql if not self.dry else f"SELECT * FROM ({sql}) LIMIT 0")

    def table(self, sql: str) -> str:
        """The name of a new temporary table of the rows of a SELECT."""
        name = self.name()
        self._has_changed = True
        self.statements.append(f"CREATE TEMP TABLE {name} AS {sql}")
        self._execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM ({sql}){' LIMIT 0' if self.dry else ''}")
        return name

    def change(self, sql: str) -> None:
        """Run a statement that changes temporary tables."""
        self._has_changed = True
        self.statements.append(sql)
        self._execute(sql)

    def given(self, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
        """A temporary table with columns c0, c1, … of rows held as these types."""
        name = self.name()
        self._has_changed = True
        columns = {f"c{place}": (type_, [row[place] for row in rows]) for place, type_ in enumerate(types)}
        self.statements.append(f"CREATE TEMP TABLE {name} AS SELECT * FROM given_rows")
        with registered(self._worker.cursor, columns) as given:
            self._worker.cursor.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {given}")
        return name

    def materialised(self, select: Select, wanted: Iterable[Variable]) -> Select:
        """The distinct rows over these of the variables, as a temporary table."""
        kept = frozenset(wanted)
        variables = [variable for variable in select.columns if variable in kept]
        name = self.table(select.over(variables))
        columns = {variable: f"{name}.c{place}" for place, variable in enumerate(variables)}
        known = [pair for pair in select.determined if kept.issuperset(pair)]
        return Select(tables=[name], columns=columns, keys=set(variables), determined=known)

    def _execute(self, sql: str) -> list[tuple[Any, ...]]:
        values = {name: value for name, value in self.parameters.items() if f"${name}:" in sql}
        budget = self.execution.budget
        had_changed, self._has_changed = self._has_changed, True  # what fails leaves a transaction that is no use
        try:
            rows = self._worker.wait_for(lambda: self._fetched(sql, values), budget.remaining)
        except TimeoutError:
            budget.check()
            raise
        self._has_changed = had_changed
        return rows

    def _fetched(self, sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        result = self._worker.execute(sql, values)
        chunks: list[list[tuple[Any, ...]]] = []
        try:
            while chunk := result.fetchmany(_CHUNK):
                chunks.append(chunk)
                self.execution.budget.check()
        except BudgetError:
            empty([chunks])
            raise
        return chunks[0] if len(chunks) == 1 else list(chain.from_iterable(chunks))

    # Equality.

    def key(self, sql: str, type_: str) -> str:
        """What of a column is the same for every equal value."""
        return f"({sql} & {KEY})" if type_ == TOKEN and self.tokens.has_forms else sql

    def equal(self, left: str, right: str, type_: str) -> str:
        """The condition that two columns of a type hold equal values."""
        return f"{self.key(left, type_)} = {self.key(right, type_)}"

    def bind(self, select: Select, variable: Variable, sql: str, *, exact: bool = False) -> None:
        """Bind a variable to a column, or compare the two if it is bound; `exact` where rows are found again that
        came from there, form and all."""
        if variable not in select.columns:
            select.columns[variable] = sql
        elif exact:
            select.conditions.append(f"{select.columns[variable]} = {sql}")
        else:
            select.conditions.append(self.equal(select.columns[variable], sql, self.types.of(variable)))

    def distinct(self, select: Select, variables: Sequence[Variable]) -> str:
        """The rows over these variables that differ in value, as columns c0, c1, …"""
        if not self.tokens.has_forms or not variables:
            return select.over(variables)
        named = [f"{select.columns[variable]} AS c{place}" for place, variable in enumerate(variables)]
        keys = [self.key(select.columns[variable], self.types.of(variable)) for variable in variables]
        return select.sql(named).replace("SELECT", f"SELECT DISTINCT ON ({', '.join(keys)})", 1)

    # Values.

    def hold(self, value: Any, type_: str) -> Any:
        """A value as a column of a type holds it; NEVER when it equals nothing there."""
        if type_ != TOKEN:
            return native(value, type_)
        if type(value) in CONTAINERS:
            self.execution.budget.check_large(value)
        return self.tokens.token(value)

    def parameter(self, held: Any, type_: str) -> str:
        """The expression of a value that is held as this type."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = held
        return f"${name}::{SQL_TYPES[type_]}"

    def constant(self, value: Any, type_: str) -> str | None:
        """A value as an expression of a column type; None when it equals nothing of that type."""
        held = self.hold(value, type_)
        return None if held is NEVER else self.parameter(held, type_)

    def maker(self, type_: str) -> Callable[[Any], Any] | None:
        """What makes a value of one held as this type; None when it is the value."""
        return self._made if type_ == TOKEN else None

    def _made(self, token: int) -> Any:
        value = self.tokens.value(token)
        if type(value) not in CONTAINERS:
            return value
        self.execution.budget.check_large(value)
        return fresh(value)

    def decoded(self, rows: list[tuple[Any, ...]], types: Sequence[str]) -> list[tuple[Any, ...]]:
        """Fetched rows as Python values."""
        makers = [self.maker(type_) for type_ in types]
        if not rows or not any(makers):
            return rows
        decoded: list[tuple[Any, ...]] = []
        try:
            for start in range(0, len(rows), _CHUNK):
                self.execution.budget.check()
                columns = zip(*rows[start : start + _CHUNK], strict=True)
                made = [map(make, column) if make else column for make, column in zip(makers, columns, strict=False)]
                decoded.extend(zip(*made, strict=True))
        except BudgetError:
            self.let_go(rows, decoded)
            raise
        return decoded
