"""Runs a plan as SQL on DuckDB over columns loaded from the log.

Conjunctions are joins, negation an anti-join, recursion a recursive CTE where it is linear and semi-naive
rounds where it is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tourlog.engines.bodies import Bodies, NotNative
from tourlog.engines.codec import SQL_TYPES, TOKEN
from tourlog.engines.columns import Columns
from tourlog.engines.execution import Execution, find_rows, is_column
from tourlog.engines.interrupts import deferred_interrupt
from tourlog.engines.scans import Scans
from tourlog.engines.select import Select
from tourlog.engines.session import Session
from tourlog.engines.sqlaggregates import aggregated
from tourlog.engines.typing import Types
from tourlog.errors import BudgetError, shown
from tourlog.query.program import Body, Call, Clause, Filter, Parameter, Plan, Relation, Scan, Stratum, walk
from tourlog.query.syntax import Aggregate, Variable
from tourlog.snapshot import Snapshot
from tourlog.storage.memory import MemoryLog

_ALIAS = re.compile(r"\bx\d+\b")


def run(execution: Execution) -> list[tuple[Any, ...]]:
    """The rows of the plan's `:find` (pulls still entities), distinct, in no particular order."""
    with _evaluation(execution, dry=False) as evaluation:
        return evaluation.run()


def explain(execution: Execution) -> str:
    """The SQL a plan runs as, statement by statement, as far as it does not depend on what is found."""
    with _evaluation(execution, dry=True) as evaluation:
        evaluation.run()
        return "\n".join((*evaluation.comments(), *(f"{sql};" for sql in evaluation.session.statements)))


@contextmanager
def _evaluation(execution: Execution, *, dry: bool) -> Iterator[Evaluation]:
    """An evaluation on a connection of its own, which the budget's end interrupts."""
    with deferred_interrupt():
        import duckdb  # heavy; imported when first needed

    snapshots = _of_one_log(execution)
    columns = _columns_of(snapshots[0]) if snapshots else Columns(MemoryLog())
    position = max((snapshot.t for snapshot in snapshots), default=0)
    try:
        with columns.ready(_attributes(execution, snapshots), position, execution.budget.check):
            evaluation = _prepared(execution, snapshots, columns, dry)
        try:
            yield evaluation
        except BudgetError:
            evaluation.session.let_go()
            raise
        finally:
            evaluation.session.end(columns.give_back)
    except duckdb.OutOfMemoryException as problem:
        raise BudgetError(f"the query needs more memory than DuckDB is given: {problem}", budget="memory") from problem
    except (RuntimeError, duckdb.Error) as problem:
        if "Query interrupted" in str(problem) or "KeyboardInterrupt" in str(problem):  # DuckDB's words for Ctrl-C
            raise KeyboardInterrupt from problem
        raise


def _of_one_log(execution: Execution) -> list[Snapshot]:
    """The databases among the sources that share their facts with the first: those that can be columns."""
    snapshots = [source for source in execution.sources.values() if isinstance(source, Snapshot)]
    return [snapshot for snapshot in snapshots if snapshot.index is snapshots[0].index]


def _columns_of(snapshot: Snapshot) -> Columns:
    return snapshot.index.shared(Columns, lambda: Columns(snapshot.log))


def _column_scans(execution: Execution, snapshots: Sequence[Snapshot]) -> list[Scan]:
    plan = execution.plan
    bodies = [clause.body for stratum in plan.strata for r in stratum.relations for clause in r.clauses]
    literals = [literal for body in (*bodies, plan.body) for literal in walk(body) if isinstance(literal, Scan)]
    return [scan for scan in literals if is_column(execution, snapshots, scan)]


def _attributes(execution: Execution, snapshots: Sequence[Snapshot]) -> list[str]:
    return [execution.value(scan.a) for scan in _column_scans(execution, snapshots)]


def _prepared(execution: Execution, snapshots: Sequence[Snapshot], columns: Columns, dry: bool) -> Evaluation:
    """An evaluation over loaded columns, tokens included where values of several kinds meet."""
    loaded = columns.loaded()
    scans = _column_scans(execution, snapshots)

    def value_type(scan: Scan) -> str | None:
        is_loaded = is_column(execution, snapshots, scan)
        return loaded.columns[execution.value(scan.a)].type if is_loaded else None

    types = Types(execution, value_type)
    columns.load_tokens(
        execution.value(scan.a) for scan in scans if isinstance(scan.v, Variable) and types.of(scan.v) == TOKEN
    )
    loaded = columns.loaded()
    session = Session(columns.worker(), columns.tokens, execution, types, loaded.unique, loaded.scales, dry=dry)
    return Evaluation(session, Scans(session, snapshots, loaded, types), types)


class Evaluation:
    """One run of a plan, stratum by stratum."""

    def __init__(self, session: Session, scans: Scans, types: Types) -> None:
        self.session, self._scans, self._types = session, scans, types
        self._execution = session.execution
        self._bodies = Bodies(session, scans, types)

    def run(self) -> list[tuple[Any, ...]]:
        """Computes the strata, then the body."""
        plan = self._execution.plan
        for stratum in plan.strata:
            self._stratum(stratum)
        wanted = [column for column in plan.columns if isinstance(column, Variable)]
        return self._answer(self._bodies.select(plan.body, wanted), plan)

    def comments(self) -> list[str]:
        """What the columns and parameters in the statements are."""
        columns = [f"-- {name} is {attribute}" for name, attribute in self._scans.column_names()]
        return [*columns, *(f"-- ${name} is {shown(value)}" for name, value in self.session.parameters.items())]

    # Strata.

    def _stratum(self, stratum: Stratum) -> None:
        if not stratum.recursive:
            for relation in stratum.relations:
                self._bodies.tables[relation.name] = self._table(relation, relation.clauses)
        elif not self._recursive_cte(stratum):
            self._rounds(stratum)

    def _table(self, relation: Relation, clauses: Sequence[Clause]) -> str:
        """A temporary table of the distinct rows the clauses give."""
        return self.session.table(self._union(relation, [self._rows(relation, c, c.body) for c in clauses]))

    def _union(self, relation: Relation, parts: Sequence[str]) -> str:
        if not parts:
            return f"{self._nothing(relation)} WHERE false"
        return " UNION ".join(parts) if len(parts) > 1 else f"SELECT DISTINCT * FROM ({parts[0]})"

    def _nothing(self, relation: Relation) -> str:
        types = [SQL_TYPES[self._types.of((relation.name, place))] for place in range(relation.arity)]
        return f"SELECT {', '.join(f'NULL::{t} AS c{place}' for place, t in enumerate(types)) or '1 AS unit'}"

    def _rows(self, relation: Relation, clause: Clause, body: Body, *, native_only: bool = False) -> str:
        """The rows a body gives for a clause's head, as a SELECT over columns c0, c1, …"""
        wanted = [term for term in clause.head if isinstance(term, Variable)]
        select = self._bodies.select(body, wanted, native_only=native_only)
        expressions = []
        for place, term in enumerate(clause.head):
            if isinstance(term, Variable):
                sql = select.columns[term]
            else:
                type_ = self._types.of((relation.name, place))
                sql = str(self.session.constant(self._execution.value(term), type_))
            expressions.append(f"{sql} AS c{place}")
        return select.sql(expressions)

    def _recursive_cte(self, stratum: Stratum) -> bool:
        """One relation with one linear clause is DuckDB's own recursion; anything else is not done here."""
        steps = [clause for relation in stratum.relations for clause in relation.clauses if clause.variants]
        if len(stratum.relations) != 1 or len(steps) != 1 or len(steps[0].variants) != 1:
            return False
        relation, step = stratum.relations[0], steps[0]
        first = step.variants[0][0]
        if not (isinstance(first, Call) and first.delta):
            return False
        name = self.session.name()
        common = _Common(self.session.name)
        self._bodies.deltas[relation.name] = name
        try:
            body = self._bodies.with_stars(step.variants[0], step.head, common.add)
            sql = self._rows(relation, step, body, native_only=True)
        except NotNative:
            return False
        finally:
            del self._bodies.deltas[relation.name]
        # Repeats in the base cost nothing: the recursion's UNION drops them.
        base = [self._base(relation, clause, common) for clause in relation.clauses if clause is not step]
        columns = ", ".join(f"c{place}" for place in range(relation.arity)) or "unit"
        start = " UNION ALL ".join(base) or f"{self._nothing(relation)} WHERE false"
        tables = ", ".join([*common.definitions, f"{name}({columns}) AS (({start}) UNION {sql})"])
        found = f"WITH RECURSIVE {tables} SELECT * FROM {name}"
        is_all = self._is_all_there_is(relation)
        self._bodies.tables[relation.name] = f"({found})" if is_all else self.session.table(found)
        return True

    def _base(self, relation: Relation, clause: Clause, common: _Common) -> str:
        """The rows a recursion starts with, from the tables its step has, if a single SELECT can: they are no tables
        but in that statement."""
        body = self._bodies.with_stars(clause.body, clause.head, common.find)
        if body is not clause.body:
            try:
                return self._rows(relation, clause, body, native_only=True)
            except NotNative:
                pass
        return self._rows(relation, clause, clause.body)

    def _is_all_there_is(self, relation: Relation) -> bool:
        """Whether the plan's body is one call of this relation, filtered perhaps: one statement reads it, and
        joins it to nothing, for which DuckDB would have to know its size."""
        first, *others = self._execution.plan.body or (None,)
        is_called = isinstance(first, Call) and first.relation == relation.name
        return is_called and all(isinstance(literal, Filter) for literal in others)

    def _rounds(self, stratum: Stratum) -> None:
        """Semi-naive rounds: each asks only what follows from the rows the last one added (Bancilhon, 1986)."""
        bodies = self._bodies
        for relation in stratum.relations:
            bodies.tables[relation.name] = self._table(relation, [])
        fresh = {r.name: self._table(r, [c for c in r.clauses if not c.variants]) for r in stratum.relations}
        steps = {
            r.name: [(c, bodies.with_stars(body, c.head, self.session.table)) for c in r.clauses for body in c.variants]
            for r in stratum.relations
        }
        grown = self._grow(fresh)
        while grown or (self.session.dry and not bodies.deltas):
            self._execution.budget.check()
            bodies.deltas = fresh
            fresh = {relation.name: self._round(relation, steps[relation.name]) for relation in stratum.relations}
            grown = self._grow(fresh)
        bodies.deltas = {}

    def _round(self, relation: Relation, steps: Sequence[tuple[Clause, Body]]) -> str:
        parts = [self._rows(relation, clause, body) for clause, body in steps]
        return self.session.table(
            f"({self._union(relation, parts)}) EXCEPT SELECT * FROM {self._bodies.tables[relation.name]}"
        )

    def _grow(self, fresh: dict[str, str]) -> int:
        """Add fresh rows to their relations; how many there were."""
        count = 0
        for relation, table in fresh.items():
            self.session.change(f"INSERT INTO {self._bodies.tables[relation]} SELECT * FROM {table}")
            count += sum(row[0] for row in self.session.fetch(f"SELECT count(*) FROM {table}"))
        return count

    # Answers.

    def _answer(self, select: Select, plan: Plan) -> list[tuple[Any, ...]]:
        variables = [column for column in plan.columns if isinstance(column, Variable)]
        types = [self._types.of(variable) for variable in variables]
        aggregates = any(isinstance(element, Aggregate) for element in plan.find.elements)
        if aggregates and len(variables) == len(plan.columns):
            return aggregated(self.session, select, variables, types)
        sql = self.session.distinct(select, variables) if variables else f"{select.sql(['1'])} LIMIT 1"
        budget = self._execution.budget
        plain = not plan.query.with_ and not aggregates
        if budget.max_rows is not None and plain and variables:
            sql = f"{sql} LIMIT {budget.max_rows + 1}"
        fetched = self.session.fetch(sql)
        if plain:
            self._count(fetched)
        rows = self.session.decoded(fetched, types)
        if len(variables) < len(plan.columns):
            rows = [self._with_parameters(plan.columns, variables, row) for row in rows]
        return find_rows(self._execution, rows)

    def _count(self, rows: list[tuple[Any, ...]]) -> None:
        """Count the answer's rows; too many are let go of while nobody waits."""
        try:
            self._execution.budget.count(len(rows))
        except BudgetError:
            self.session.let_go(rows)
            raise

    def _with_parameters(
        self, columns: Sequence[Variable | Parameter], variables: Sequence[Variable], row: Sequence[Any]
    ) -> tuple[Any, ...]:
        values = dict(zip(variables, row, strict=False))
        return tuple(values[c] if isinstance(c, Variable) else self._execution.value(c) for c in columns)


class _Common:
    """The tables of a recursive query that are computed once and read in every round."""

    def __init__(self, new_name: Callable[[], str]) -> None:
        self._new_name = new_name
        self._names: dict[str, str] = {}
        self.definitions: list[str] = []

    def add(self, sql: str) -> str:
        """The name of the table of these rows."""
        name = self.find(sql)
        if name is None:
            name = self._names[_shape(sql)] = self._new_name()
            self.definitions.append(f"{name} AS MATERIALIZED ({sql})")
        return name

    def find(self, sql: str) -> str | None:
        """The name of a table of these rows, if there is one."""
        return self._names.get(_shape(sql))


def _shape(sql: str) -> str:
    """What of a SELECT from columns is the same whatever its aliases are."""
    numbers: dict[str, int] = {}
    return _ALIAS.sub(lambda alias: f"x{numbers.setdefault(alias[0], len(numbers))}", sql)
