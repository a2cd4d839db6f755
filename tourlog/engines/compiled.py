"""Runs a plan as SQL on DuckDB over columns loaded from the log.

Clauses on one entity are one scan of `rows`; conjunctions are joins, negation an anti-join, recursion a
recursive CTE where it is linear and semi-naive rounds where it is not. A function DuckDB would not compute
exactly as the built-ins do is computed by them, over distinct arguments, so errors arise on the very rows
of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from threading import Timer
from typing import Any

from tourlog.engines.codec import ANY, ENTITY, INTEGER, NEVER, SQL_TYPES, Codec, native
from tourlog.engines.columns import Columns, Registered
from tourlog.engines.computing import inputs_of, solving
from tourlog.engines.execution import Execution, find_rows
from tourlog.engines.resolvers import offset_range
from tourlog.engines.select import Bound, Select, comparison
from tourlog.engines.sqlaggregates import SqlAggregates, sql_aggregates
from tourlog.engines.typing import Types
from tourlog.errors import BudgetError
from tourlog.query.program import (
    Body,
    Call,
    Clause,
    Compute,
    Disjunction,
    Filter,
    Given,
    Literal,
    Negation,
    Parameter,
    Relation,
    Rows,
    Scan,
    Slice,
    Stratum,
    Term,
    body_variables,
    variables_of,
    walk,
)
from tourlog.query.syntax import Aggregate, Blank, Constant, Variable, binding_variables
from tourlog.snapshot import ANY as ANYTHING
from tourlog.snapshot import Snapshot
from tourlog.storage.memory import MemoryLog
from tourlog.stream import OFFSET_METADATA, SYSTEM_PREFIX, Stream
from tourlog.values import identity


def run(execution: Execution) -> list[tuple[Any, ...]]:
    """The rows of the plan's `:find` (pulls still entities), distinct, in no particular order."""
    columns = _columns_of(execution)
    with columns.lock:
        evaluation = Evaluation(execution, columns)
        with _interrupted(evaluation):
            return evaluation.run()


def explain(execution: Execution) -> str:
    """The SQL a plan runs as, statement by statement."""
    columns = _columns_of(execution)
    with columns.lock:
        evaluation = Evaluation(execution, columns)
        with _interrupted(evaluation):
            evaluation.run()
        return ";\n".join(evaluation.statements)


def _columns_of(execution: Execution) -> Columns:
    """The columns of the first database among the sources; empty ones when there is none."""
    for source in execution.sources.values():
        if isinstance(source, Snapshot):
            return _shared_columns(source)
    return Columns(MemoryLog())


@contextmanager
def _interrupted(evaluation: Evaluation) -> Iterator[None]:
    """Stops DuckDB when the time is up; frees what the run made in any case."""
    import duckdb  # heavy; imported when first needed

    budget = evaluation.execution.budget
    timer = None if budget.remaining is None else Timer(budget.remaining, evaluation.cursor.interrupt)
    if timer is not None:
        timer.start()
    try:
        yield
    except duckdb.InterruptException as problem:
        budget.check()
        raise BudgetError("the query was interrupted", budget="interrupt") from problem
    except duckdb.OutOfMemoryException as problem:
        raise BudgetError(f"the query needs more memory than DuckDB is given: {problem}", budget="memory") from problem
    finally:
        if timer is not None:
            timer.cancel()
        evaluation.cursor.close()


def _shared_columns(snapshot: Snapshot) -> Columns:
    return snapshot.index.shared(Columns, lambda: Columns(snapshot.log))


class NotNative(Exception):
    """A body needs more than one SELECT. Never leaves this module."""


class Evaluation:
    """One run of a plan on a cursor of its own; its temporary tables go with the cursor."""

    def __init__(self, execution: Execution, columns: Columns) -> None:
        self.execution, self.columns = execution, columns
        self.cursor: Any = columns.connection.cursor()
        self.statements: list[str] = []
        self._codec = Codec(columns.codec)
        self._bound = Bound(self._codec)
        self._numbers = count(1)
        self._tables: dict[str, str] = {}
        self._deltas: dict[str, str] = {}
        self._load()
        self.types = Types(execution, self._scan_types)
        self._load_any()

    def run(self) -> list[tuple[Any, ...]]:
        """Computes the strata, then the body."""
        for stratum in self.execution.plan.strata:
            self._stratum(stratum)
        columns = self.execution.plan.columns
        wanted = frozenset(column for column in columns if isinstance(column, Variable))
        select = self._body(self.execution.plan.body, Select(), wanted)
        return self._answer(select, columns)

    # Preparing.

    def _load(self) -> None:
        """Loads the attributes of the native scans, in one pass over the log."""
        bodies = [clause.body for s in self.execution.plan.strata for r in s.relations for clause in r.clauses]
        scans = [literal for body in (*bodies, self.execution.plan.body) for literal in walk(body)]
        snapshots = [s for s in self.execution.sources.values() if isinstance(s, Snapshot)]
        native_ones = [snapshot for snapshot in snapshots if self._is_native(snapshot)]
        if not native_ones:
            return
        names = [self._value(scan.a) for scan in scans if isinstance(scan, Scan) and self._is_column(scan)]
        self.columns.load(names, max(snapshot.t for snapshot in native_ones))

    def _load_any(self) -> None:
        """Makes canonical bytes available where a native column meets values of other types."""
        bodies = [clause.body for s in self.execution.plan.strata for r in s.relations for clause in r.clauses]
        for body in (*bodies, self.execution.plan.body):
            for literal in walk(body):
                if isinstance(literal, Scan) and self._is_column(literal):
                    if isinstance(literal.e, Variable) and self.types.of(literal.e) == ANY:
                        self.columns.load_any_entities()
                    if isinstance(literal.v, Variable) and self.types.of(literal.v) == ANY:
                        self.columns.load_any(self._value(literal.a))
                elif isinstance(literal, Slice) and self.types.of(_variable(literal.e)) == ANY:
                    self.columns.load_any_entities()

    def _is_native(self, snapshot: Snapshot) -> bool:
        return snapshot.is_plain and snapshot.index.shared(Columns, lambda: Columns(snapshot.log)) is self.columns

    def _is_column(self, scan: Scan) -> bool:
        """Whether a scan reads a column of `rows`: an attribute of documents, as things are at a position."""
        snapshot = self.execution.database(scan.source)
        if not isinstance(scan.a, Constant | Parameter) or not isinstance(scan.tx, Blank):
            return False
        attribute = self._value(scan.a)
        if type(attribute) is not str or attribute.startswith(SYSTEM_PREFIX) or not self._is_native(snapshot):
            return False
        return not (self._is_known(scan.e) and identity(self._value(scan.e)) == OFFSET_METADATA)

    def _scan_types(self, scan: Scan) -> tuple[str, str] | None:
        if not self._is_column(scan):
            return None
        return ENTITY, self.columns.columns[self._value(scan.a)].type

    # Strata.

    def _stratum(self, stratum: Stratum) -> None:
        if not stratum.recursive:
            for relation in stratum.relations:
                self._tables[relation.name] = self._table(
                    relation, [self._clause_sql(clause, clause.body) for clause in relation.clauses]
                )
        elif not self._recursive_cte(stratum):
            self._rounds(stratum)

    def _table(self, relation: Relation, parts: Sequence[str]) -> str:
        """A temporary table of the distinct rows of SELECTs."""
        name = self._name()
        self._execute(f"CREATE TEMP TABLE {name} AS {self._union(relation, parts)}")
        return name

    def _union(self, relation: Relation, parts: Sequence[str]) -> str:
        if len(parts) == 1 and parts[0].startswith("SELECT DISTINCT"):
            return parts[0]
        return " UNION ".join(parts) + " UNION " + self._nothing(relation) if parts else self._nothing(relation)

    def _nothing(self, relation: Relation) -> str:
        columns = ", ".join(
            f"NULL::{_sql_type(self.types.of((relation.name, place)))} AS c{place}" for place in range(relation.arity)
        )
        return f"SELECT {columns or '1 AS unit'} WHERE false"

    def _clause_sql(self, clause: Clause, body: Body, *, native_only: bool = False) -> str:
        """The rows a clause gives, as a SELECT over columns c0, c1, …"""
        wanted = frozenset(term for term in clause.head if isinstance(term, Variable))
        select = self._body(body, Select(), wanted, native_only=native_only)
        return select.sql(self._head(clause, select), distinct=not select.keys <= wanted)

    def _head(self, clause: Clause, select: Select) -> list[str]:
        expressions = []
        for place, term in enumerate(clause.head):
            if isinstance(term, Variable):
                sql = select.columns[term]
            else:
                type_ = self.types.of((self._clause_relation[id(clause)], place))
                sql = self._bound.constant(self._value(term), type_) or "NULL"
            expressions.append(f"{sql} AS c{place}")
        return expressions

    @property
    def _clause_relation(self) -> dict[int, str]:
        return {
            id(clause): relation.name
            for stratum in self.execution.plan.strata
            for relation in stratum.relations
            for clause in relation.clauses
        }

    def _recursive_cte(self, stratum: Stratum) -> bool:
        """One relation with one linear clause is DuckDB's own recursion; anything else is not done here."""
        steps = [clause for relation in stratum.relations for clause in relation.clauses if clause.variants]
        if len(stratum.relations) != 1 or len(steps) != 1 or len(steps[0].variants) != 1:
            return False
        relation, step = stratum.relations[0], steps[0]
        first = step.variants[0][0]
        if not (isinstance(first, Call) and first.delta):
            return False
        base = self._table(relation, [self._clause_sql(c, c.body) for c in relation.clauses if c is not step])
        name = self._name()
        self._deltas[relation.name] = name
        bound = dict(self._bound.values)
        try:
            sql = self._clause_sql(step, step.variants[0], native_only=True)
        except NotNative:
            self._bound.values = bound
            del self._deltas[relation.name]
            return False
        columns = ", ".join(f"c{place}" for place in range(relation.arity))
        table = self._name()
        self._execute(
            f"CREATE TEMP TABLE {table} AS WITH RECURSIVE {name}({columns}) AS (SELECT * FROM {base} UNION {sql}) "
            f"SELECT * FROM {name}"
        )
        del self._deltas[relation.name]
        self._tables[relation.name] = table
        return True

    def _rounds(self, stratum: Stratum) -> None:
        """Semi-naive rounds: each asks only what follows from the rows the last one added."""
        fresh = {}
        for relation in stratum.relations:
            self._tables[relation.name] = self._table(relation, [])
        for relation in stratum.relations:
            parts = [self._clause_sql(clause, clause.body) for clause in relation.clauses if not clause.variants]
            fresh[relation.name] = self._table(relation, parts)
        while sum(self._grow(name, table) for name, table in fresh.items()):
            self.execution.budget.check()
            self._deltas = fresh
            fresh = {relation.name: self._round(relation) for relation in stratum.relations}
            for table in self._deltas.values():
                self._execute(f"DROP TABLE {table}")
        self._deltas = {}

    def _grow(self, relation: str, fresh: str) -> int:
        self._execute(f"INSERT INTO {self._tables[relation]} SELECT * FROM {fresh}")
        return int(self._execute(f"SELECT count(*) FROM {fresh}").fetchall()[0][0])

    def _round(self, relation: Relation) -> str:
        parts = [self._clause_sql(clause, body) for clause in relation.clauses for body in clause.variants]
        name = self._name()
        new = self._union(relation, parts)
        self._execute(f"CREATE TEMP TABLE {name} AS ({new}) EXCEPT SELECT * FROM {self._tables[relation.name]}")
        return name

    # Bodies.

    def _body(self, body: Body, select: Select, wanted: frozenset[Variable], *, native_only: bool = False) -> Select:
        for place, literal in enumerate(body):
            later = wanted.union(body_variables(body[place + 1 :]))
            select = self._literal(literal, select, later, native_only)
        return select

    def _literal(self, literal: Literal, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        match literal:
            case Scan():
                self._scan(literal, select)
            case Slice():
                return self._slice(literal, select, later, native_only)
            case Call():
                tables = self._deltas if literal.delta else self._tables
                self._join(select, tables[literal.relation], literal.terms, literal.relation)
            case Given():
                self._given(select, literal.variables, self.execution.given[literal.position])
            case Rows():
                rows = self.execution.sources[literal.source]
                assert not isinstance(rows, Snapshot), "planned as a collection"
                self._given(select, literal.terms, [row for row in rows if len(row) >= len(literal.terms)])
            case Filter():
                return self._filter(literal, select, later, native_only)
            case Compute():
                return self._applied(literal, select, later, native_only)
            case Negation():
                return self._negation(literal, select, later, native_only)
            case Disjunction():
                return self._disjunction(literal, select, later, native_only)
        return select

    # Facts.

    def _scan(self, scan: Scan, select: Select) -> None:
        if not self._is_column(scan):
            self._long_scan(scan, select)
            return
        column = self.columns.columns[self._value(scan.a)]
        row = self._row(scan.source, scan.e, select)
        if row is None:
            select.conditions.append("false")
            return
        if not column.many:
            self._content(select, scan.v, f"{row}.{column.sql(self._type(scan.v, column.type))}", column.type)
        elif isinstance(scan.v, Blank):
            select.conditions.append(f"{row}.r IN (SELECT r FROM {column.name})")
        else:
            alias = self._name()
            select.tables.append(f"{column.name} {alias}")
            select.conditions.append(f"{alias}.r = {row}.r")
            if isinstance(scan.v, Variable) and scan.v not in select.columns:
                select.keys.add(scan.v)
            self._content(select, scan.v, f"{alias}.{column.sql(self._type(scan.v, column.type))}", column.type)

    def _content(self, select: Select, term: Term, sql: str, type_: str) -> None:
        """Bind a column of values that may be missing (NULL) to a pattern's third term."""
        if isinstance(term, Variable):
            if term not in select.columns:
                select.conditions.append(f"{sql} IS NOT NULL")
            select.bind(term, sql)
        elif isinstance(term, Blank):
            select.conditions.append(f"{sql} IS NOT NULL")
        else:
            constant = self._bound.constant(self._value(term), type_)
            select.conditions.append("false" if constant is None else f"{sql} = {constant}")

    def _row(self, source: str, e: Term, select: Select) -> str | None:
        """The alias of the row of an entity; shared by all clauses on it. None for a constant no entity has."""
        if isinstance(e, Variable) and (source, e) in select.stars:
            return select.stars[source, e]
        row = self._name()
        number = None
        if self._is_known(e):
            number = self.columns.entity_number(self._value(e))
            if number is None:
                return None
        select.tables.append(f"rows {row}")
        select.conditions.extend(self._visible(source, row))
        if number is not None:
            select.conditions.append(f"{row}.e = {self._bound.add(number)}::BIGINT")
        elif isinstance(e, Variable):
            select.stars[source, e] = row
            if e not in select.columns:
                select.keys.add(e)
            select.bind(e, f"{row}.e_any" if self.types.of(e) == ANY else f"{row}.e")
        else:
            select.keys.add(Variable(row))  # a blank entity: rows are not told apart by anything bound
        return row

    def _visible(self, source: str, row: str) -> list[str]:
        t = self.execution.database(source).t
        conditions = [f"{row}.tx <= {t}"] if t < self.columns.position else []
        return [*conditions, f"{row}.ended > {t}"] if self.columns.any_ended else conditions

    def _long_scan(self, scan: Scan, select: Select) -> None:
        """Facts read one by one: of history, of system attributes, with their transactions, of any attribute."""
        snapshot = self.execution.database(scan.source)
        e, a, v = (self._value(term) if self._is_known(term) else ANYTHING for term in (scan.e, scan.a, scan.v))
        facts = snapshot.facts(e, a, v) if e is not ANYTHING else snapshot.stored_facts(e, a, v)
        self._given(select, scan.terms, [fact[:4] for fact in facts])

    def _given(self, select: Select, terms: Sequence[Term], rows: Iterable[Sequence[Any]]) -> None:
        """Join rows of Python values over these terms."""
        variables = list(dict.fromkeys(term for term in terms if isinstance(term, Variable)))
        known = [(place, identity(self._value(term))) for place, term in enumerate(terms) if self._is_known(term)]
        places = [[i for i, term in enumerate(terms) if term == variable] for variable in variables]
        types = [self.types.of(variable) for variable in variables]
        held: dict[tuple[Any, ...], None] = {}
        for row in rows:
            if any(identity(row[place]) != value for place, value in known):
                continue
            if any(identity(row[i]) != identity(row[group[0]]) for group in places for i in group[1:]):
                continue
            converted = tuple(self._hold(row[group[0]], t) for group, t in zip(places, types, strict=True))
            if NEVER not in converted:
                held[converted] = None
        if not variables:
            if not held:
                select.conditions.append("false")
            return
        table = self._temporary(types, list(held))
        self._join(select, table, variables, None)

    def _hold(self, value: Any, type_: str) -> Any:
        """A value as a column of a type holds it."""
        if type_ == ANY:
            return self._codec.encode(value)
        if type_ == ENTITY:
            number = self.columns.entity_number(value)
            return NEVER if number is None else number
        return native(value, type_)

    def _temporary(self, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
        """A temporary table with columns c0, c1, … of these rows."""
        name = self._name()
        names = [f"c{place}" for place in range(len(types))]
        data = {column: [row[place] for row in rows] for place, column in enumerate(names)}
        with Registered(self.cursor, data, dict(zip(names, types, strict=True))) as given:
            self._execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {given}")
        return name

    def _join(self, select: Select, table: str, terms: Sequence[Term], relation: str | None) -> None:
        """Join a table with columns c0, c1, … over these terms."""
        alias = self._name()
        select.tables.append(f"{table} {alias}")
        for place, term in enumerate(terms):
            if isinstance(term, Variable):
                if term not in select.columns:
                    select.keys.add(term)
                select.bind(term, f"{alias}.c{place}")
            elif not isinstance(term, Blank):
                assert relation is not None, "given rows are compared before"
                type_ = self.types.of((relation, place))
                held = self._hold(self._value(term), type_)
                constant = None if held is NEVER else f"{self._bound.add(held)}::{_sql_type(type_)}"
                select.conditions.append("false" if constant is None else f"{alias}.c{place} = {constant}")
            else:
                select.keys.add(Variable(alias))

    def _slice(self, literal: Slice, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        """The rows of a stream by their place in it."""
        terms = (*literal.values, *(term for _, term in literal.bounds))
        inputs = inputs_of(terms)
        if native_only and inputs:
            raise NotNative
        operators = [operator for operator, _ in literal.bounds]
        log = self.execution.database(literal.source).log
        select, arguments = self._arguments(select, inputs, later)
        spans = []
        for values in arguments:
            known = dict(zip(inputs, values, strict=True))
            given = [known[term] if isinstance(term, Variable) else self._value(term) for term in terms]
            record = log.stream_by_key(Stream(literal.names, tuple(given[: len(literal.names)])).key)
            if record is not None:
                bounds = list(zip(operators, given[len(literal.names) :], strict=True))
                held = [self._hold(value, self.types.of(v)) for v, value in known.items()]
                spans.append((*held, record.id, *offset_range(bounds)))
        table = self._temporary([*(self.types.of(v) for v in inputs), INTEGER, INTEGER, INTEGER], spans)
        alias = self._name()
        select.tables.append(f"{table} {alias}")
        for place, variable in enumerate(inputs):
            select.bind(variable, f"{alias}.c{place}")
        row = self._row(literal.source, literal.e, select)
        first = len(inputs)
        if row is None:
            select.conditions.append("false")
            return select
        select.conditions += [
            f"{row}.stream = {alias}.c{first}",
            f"{row}.off >= {alias}.c{first + 1}",
            f"{row}.off < {alias}.c{first + 2}",
        ]
        if isinstance(literal.offset, Variable):
            if self.types.of(literal.offset) == INTEGER:
                select.bind(literal.offset, f"{row}.off")
            else:
                scan = Scan(literal.source, literal.e, Constant("offset"), literal.offset)
                self._offset_any(scan, select)
        elif self._is_known(literal.offset):
            constant = self._bound.constant(self._value(literal.offset), INTEGER)
            select.conditions.append("false" if constant is None else f"{row}.off = {constant}")
        return select

    def _offset_any(self, scan: Scan, select: Select) -> None:
        self.columns.load(["offset"], self.columns.position)
        self.columns.load_any("offset")
        self._scan(scan, select)

    # Functions.

    def _filter(self, literal: Filter, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        sql = self._comparison(literal, select)
        if sql is None:
            return self._applied(literal, select, later, native_only)
        select.conditions.append(sql)
        return select

    def _comparison(self, literal: Filter, select: Select) -> str | None:
        """A comparison of two terms DuckDB makes exactly; None for any other predicate."""
        if not isinstance(literal.function, str) or len(literal.arguments) != 2:
            return None
        left, right = literal.arguments
        if isinstance(left, Variable) and isinstance(right, Variable):
            operands = [(select.columns[term], self.types.of(term)) for term in (left, right)]
            return comparison(literal.function, operands[0], operands[1])
        variable = left if isinstance(left, Variable) else right
        constant = right if variable is left else left
        if not isinstance(variable, Variable):
            return None
        type_ = self.types.of(variable)
        held = self._hold(self._value(constant), type_)
        if held is NEVER or held != held:  # NaN alone differs from itself, and is ordered with nothing
            return None
        given = (f"{self._bound.add(held)}::{_sql_type(type_)}", type_)
        own = (select.columns[variable], type_)
        return (
            comparison(literal.function, own, given) if variable is left else comparison(literal.function, given, own)
        )

    def _applied(
        self, literal: Filter | Compute, select: Select, later: frozenset[Variable], native_only: bool
    ) -> Select:
        """Join what a function gives for the distinct arguments of the rows so far."""
        if native_only:
            raise NotNative
        inputs = inputs_of(literal.arguments)
        outputs = binding_variables(literal.binding) if isinstance(literal, Compute) else ()
        bound = tuple(variable for variable in outputs if variable in select.columns and variable not in inputs)
        select, arguments = self._arguments(select, inputs, later.union(bound))
        solve = solving(self.execution, literal)
        variables = tuple(dict.fromkeys((*inputs, *outputs)))
        types = [self.types.of(variable) for variable in variables]
        rows: dict[tuple[Any, ...], None] = {}
        for values in arguments:
            known = dict(zip(inputs, values, strict=True))
            for solution in solve(known):
                row = {**known, **solution}
                held = tuple(self._hold(row[v], t) for v, t in zip(variables, types, strict=True))
                if NEVER not in held:
                    rows[held] = None
        if not variables:
            if not rows:
                select.conditions.append("false")
            return select
        self._join(select, self._temporary(types, list(rows)), variables, None)
        return select

    def _arguments(
        self, select: Select, inputs: tuple[Variable, ...], later: frozenset[Variable]
    ) -> tuple[Select, list[tuple[Any, ...]]]:
        """The rows so far as a table, and their distinct values of some variables."""
        if not inputs:
            exists = not select.tables and not select.conditions
            if not exists:
                select = self._materialised(select, later)
                exists = bool(self._execute(select.sql(["1"]) + " LIMIT 1").fetchall())
            return select, [()] if exists else []
        select = self._materialised(select, later.union(inputs))
        sql = select.sql([select.columns[variable] for variable in inputs], distinct=True)
        return select, self._decoded(self._execute(sql), [self.types.of(variable) for variable in inputs])

    def _materialised(self, select: Select, wanted: Iterable[Variable]) -> Select:
        """The distinct rows over these of the variables, as a temporary table."""
        variables = [variable for variable in select.columns if variable in frozenset(wanted)]
        name = self._name()
        expressions = [f"{select.columns[variable]} AS c{place}" for place, variable in enumerate(variables)]
        sql = select.sql(expressions, distinct=not select.keys <= set(variables))
        self._execute(f"CREATE TEMP TABLE {name} AS {sql}")
        table = Select(tables=[f"{name} {name}"], keys=set(variables))
        table.columns = {variable: f"{name}.c{place}" for place, variable in enumerate(variables)}
        return table

    # Negation and disjunction.

    def _negation(self, literal: Negation, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        bound = dict(self._bound.values)
        try:
            select.conditions.append(self._negated(literal, select))
            return select
        except NotNative:
            self._bound.values = bound
            if native_only:
                raise
        select = self._materialised(select, later.union(literal.shared))
        inner = self._body(literal.body, self._asked(select, literal.shared), frozenset(literal.shared))
        excluded = self._materialised(inner, literal.shared)
        same = " AND ".join(f"{excluded.columns[v]} = {select.columns[v]}" for v in literal.shared)
        tables = ", ".join(excluded.tables)
        select.conditions.append(f"NOT EXISTS (SELECT 1 FROM {tables} WHERE {same or 'true'})")
        return select

    def _negated(self, literal: Negation, select: Select) -> str:
        """A negation as one condition."""
        inner = Select(
            columns={v: select.columns[v] for v in literal.shared},
            stars={key: row for key, row in select.stars.items() if key[1] in literal.shared},
        )
        inner = self._body(literal.body, inner, frozenset(literal.shared), native_only=True)
        if inner.tables:
            return f"NOT EXISTS ({inner.sql(['1'])})"
        conditions = " AND ".join(inner.conditions) or "true"
        return f"NOT coalesce({conditions}, false)"

    def _asked(self, select: Select, variables: Iterable[Variable]) -> Select:
        """The distinct rows over the variables an inner body takes from outside."""
        return self._materialised(select, variables) if select.tables else select.copy()

    def _disjunction(
        self, literal: Disjunction, select: Select, later: frozenset[Variable], native_only: bool
    ) -> Select:
        if native_only:
            raise NotNative
        used = frozenset(variables_of(literal))
        select = self._materialised(select, later.union(used)) if select.tables or select.conditions else select
        shared = tuple(variable for variable in select.columns if variable in used)
        new = tuple(variable for variable in literal.variables if variable not in shared)
        variables = (*shared, *new)
        parts = []
        for branch in literal.branches:
            inner = self._body(branch, self._asked(select, shared), frozenset(variables))
            expressions = [f"{inner.columns[variable]} AS c{place}" for place, variable in enumerate(variables)]
            parts.append(inner.sql(expressions))
        name = self._name()
        self._execute(f"CREATE TEMP TABLE {name} AS " + " UNION ".join(parts))
        if variables:
            self._join(select, name, variables, None)
        else:
            select.conditions.append(f"EXISTS (SELECT 1 FROM {name})")
        return select

    # Answers.

    def _answer(self, select: Select, columns: Sequence[Variable | Parameter]) -> list[tuple[Any, ...]]:
        variables = tuple(column for column in columns if isinstance(column, Variable))
        if len(variables) == len(columns):
            found = sql_aggregates(self.execution.plan.find.elements, select, variables, self.types.of)
            if found is not None:
                return self._aggregated(found)
        expressions = [select.columns[variable] for variable in variables]
        sql = select.sql(expressions, distinct=not variables or not select.keys <= set(variables))
        budget, find = self.execution.budget, self.execution.plan.find
        plain = not self.execution.plan.query.with_ and not any(isinstance(e, Aggregate) for e in find.elements)
        if budget.max_rows is not None and plain:
            sql = f"{sql} LIMIT {budget.max_rows + 1}"
        rows = self._decoded(self._execute(sql), [self.types.of(variable) for variable in variables])
        if plain:
            budget.count(len(rows))
        if len(variables) < len(columns):
            rows = [self._with_parameters(columns, variables, row) for row in rows]
        return find_rows(self.execution, rows)

    def _aggregated(self, aggregates: SqlAggregates) -> list[tuple[Any, ...]]:
        makers = [
            (place, make or self._maker(self.types.of(variable)) or _unchanged)
            for place, make, variable in aggregates.elements
        ]
        rows = self._execute(aggregates.sql).fetchall()
        return [tuple(make(*row[place]) for place, make in makers) for row in rows]

    def _with_parameters(
        self, columns: Sequence[Variable | Parameter], variables: Sequence[Variable], row: Sequence[Any]
    ) -> tuple[Any, ...]:
        values = dict(zip(variables, row, strict=False))
        return tuple(values[c] if isinstance(c, Variable) else self._value(c) for c in columns)

    def _decoded(self, result: Any, types: Sequence[str]) -> list[tuple[Any, ...]]:
        """Fetched rows as Python values."""
        rows: list[tuple[Any, ...]] = result.fetchall()
        makers: list[Callable[[Any], Any] | None] = [self._maker(type_) for type_ in types]
        if not any(makers):
            return rows
        columns = list(zip(*rows, strict=True))
        made = [
            list(map(make, column)) if make is not None else column
            for make, column in zip(makers, columns, strict=False)
        ]
        return list(zip(*made, strict=True))

    def _maker(self, type_: str) -> Callable[[Any], Any] | None:
        if type_ == ANY:
            return self._codec.decode
        return self.columns.entity if type_ == ENTITY else None

    # Small things.

    def _execute(self, sql: str) -> Any:
        self.statements.append(sql)
        used = {name: value for name, value in self._bound.values.items() if f"${name}:" in sql}
        return self.cursor.execute(sql, used) if used else self.cursor.execute(sql)

    def _name(self) -> str:
        return f"x{next(self._numbers)}"

    def _is_known(self, term: object) -> bool:
        return isinstance(term, Constant | Parameter)

    def _value(self, term: object) -> Any:
        assert isinstance(term, Constant | Parameter), "only these have a value of their own"
        return term.value if isinstance(term, Constant) else self.execution.parameters[term.name]

    def _type(self, term: Term, otherwise: str) -> str:
        return self.types.of(term) if isinstance(term, Variable) else otherwise


def _sql_type(type_: str) -> str:
    return SQL_TYPES[type_]


def _unchanged(value: Any) -> Any:
    return value


def _variable(term: Term) -> Variable:
    assert isinstance(term, Variable), "a slice's entity is a variable"
    return term
