"""Bodies of a plan as SELECTs: joins, functions, negation, disjunction.

A function DuckDB would not compute exactly as the built-ins do is computed by them, over distinct arguments,
so errors arise on the very rows of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from tourlog.engines.codec import INTEGER, NEVER, TOKEN
from tourlog.engines.comparing import OPERATORS, compare_columns, compare_constant, flipped
from tourlog.engines.computing import inputs_of, solving
from tourlog.engines.ordered import offset_range
from tourlog.engines.scans import Scans, long_scan
from tourlog.engines.select import Select
from tourlog.engines.session import Session
from tourlog.engines.typing import Types
from tourlog.errors import BudgetError
from tourlog.query.arrange import can_fail
from tourlog.query.program import (
    Body,
    Call,
    Compute,
    Disjunction,
    Filter,
    Given,
    Literal,
    Negation,
    Rows,
    Scan,
    Slice,
    body_variables,
    variables_of,
)
from tourlog.query.syntax import Blank, Variable, binding_variables
from tourlog.snapshot import Snapshot
from tourlog.stream import Stream

_FEW = 1000
"""Up to so many documents of a slice are read straight from the log, and facts of no column looked up one by one."""


class NotNative(Exception):
    """A body needs more than one SELECT. Never leaves the engine."""


class Bodies:
    """Turns the bodies of one plan into SELECTs, over the relations computed so far."""

    def __init__(self, session: Session, scans: Scans, types: Types) -> None:
        self._session, self._scans, self._types = session, scans, types
        self._execution = session.execution
        self.tables: dict[str, str] = {}
        self.deltas: dict[str, str] = {}

    def select(self, body: Body, wanted: Iterable[Variable], *, native_only: bool = False) -> Select:
        """The rows of a body over (at least) the wanted variables. `native_only` raises NotNative for a body
        that is no single SELECT."""
        return self._body(body, Select(), frozenset(wanted), native_only)

    def with_stars(self, body: Body, head: Iterable[object], table: Callable[[str], str | None]) -> Body:
        """A body that runs many times, the patterns on each entity computed once: calls of a `table` of theirs.

        Left as they are where there is no such table, and where a function may fail, which must see the rows the
        plan's order gives it.
        """
        if any(map(can_fail, body)):
            return body
        stars: dict[tuple[str, object], list[Scan]] = {}
        for literal in body:
            if isinstance(literal, Scan) and self._scans.is_column(literal) and not isinstance(literal.e, Blank):
                stars.setdefault((literal.source, literal.e), []).append(literal)
        for star in stars.values():
            rest = [literal for literal in body if literal not in star]
            used = {*head, *body_variables(rest)}
            variables = tuple(variable for variable in body_variables(star) if variable in used)
            rows = table(self.select(tuple(star), variables).over(variables))
            if rows is None:
                continue
            name = f"star {len(self.tables)}"
            self.tables[name] = rows
            first = next(place for place, literal in enumerate(body) if literal in star)
            before = [literal for literal in body[:first] if literal not in star]
            body = (*before, Call(name, variables), *(literal for literal in body[first:] if literal not in star))
        return body

    def _body(self, body: Body, select: Select, wanted: frozenset[Variable], native_only: bool) -> Select:
        for place, literal in enumerate(body):
            later = wanted.union(body_variables(body[place + 1 :]))
            select = self._literal(literal, select, later, native_only)
        return select

    def _literal(self, literal: Literal, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        match literal:
            case Scan() if self._scans.is_column(literal):
                self._scans.scan(literal, select)
            case Scan():
                return self._long_scan(literal, select, later, native_only)
            case Slice():
                return self._slice(literal, select, later, native_only)
            case Call(relation, terms, delta):
                self._scans.join(select, (self.deltas if delta else self.tables)[relation], terms, relation)
            case Given(position, variables):
                self._scans.given(select, variables, self._execution.given[position])
            case Rows(source, terms):
                rows = self._execution.sources[source]
                assert not isinstance(rows, Snapshot), "planned as a collection"
                self._scans.given(select, terms, [row for row in rows if len(row) >= len(terms)])
            case Filter():
                return self._filter(literal, select, later, native_only)
            case Compute():
                return self._applied(literal, select, later, native_only)
            case Negation():
                return self._negation(literal, select, later, native_only)
            case Disjunction():
                return self._disjunction(literal, select, later, native_only)
        return select

    # Facts of no column, and documents by their place.

    def _long_scan(self, scan: Scan, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        """Looked up for each of the entities or values bound so far when those are few, else read whole."""
        places = [i for i, term in enumerate((scan.e, scan.a, scan.v)) if term in select.columns]
        known = any(map(self._execution.is_known, (scan.e, scan.v)))
        if not places or known or native_only:
            self._scans.given(select, scan.terms, long_scan(self._execution, scan, ()))
            return select
        inputs = tuple(dict.fromkeys(term for i in places if isinstance(term := scan.terms[i], Variable)))
        select, arguments = self._arguments(select, inputs, later)
        if len(arguments) > _FEW:
            rows = long_scan(self._execution, scan, ())
        else:
            bound = [[(i, row[inputs.index(scan.terms[i])]) for i in places] for row in arguments]
            rows = [row for each in bound for row in long_scan(self._execution, scan, each)]
        self._scans.given(select, scan.terms, rows)
        return select

    def _slice(self, literal: Slice, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        terms = (*literal.values, *(term for _, term in literal.bounds))
        inputs = inputs_of(terms)
        if native_only and inputs:
            raise NotNative
        snapshot = self._execution.database(literal.source)
        select, arguments = self._arguments(select, inputs, later.union(variables_of(literal)))
        spans = []
        for values in arguments:
            known = dict(zip(inputs, values, strict=True))
            given = [known[term] if isinstance(term, Variable) else self._execution.value(term) for term in terms]
            stream = Stream(literal.names, tuple(given[: len(literal.names)]))
            operators = [operator for operator, _ in literal.bounds]
            start, stop = offset_range(list(zip(operators, given[len(literal.names) :], strict=True)))
            stop = min(stop, snapshot.next_offset(stream))
            if start < stop:
                spans.append((values, stream, start, stop))
        if sum(stop - start for *_, start, stop in spans) <= _FEW or not self._scans.is_loaded(snapshot):
            self._ordered(literal, snapshot, select, inputs, spans)
        else:
            self._placed(literal, snapshot, select, inputs, spans)
        return select

    def _ordered(
        self, literal: Slice, snapshot: Snapshot, select: Select, inputs: tuple[Variable, ...], spans: Sequence[Any]
    ) -> None:
        """The documents of slices, straight from the log."""
        rows = []
        for values, stream, start, stop in spans:
            self._execution.budget.check()
            for ordered in snapshot.ordered(stream, start, stop):
                self._execution.remember(snapshot, ordered)
                rows.append((*values, ordered.e, ordered.offset))
        self._scans.given(select, (*inputs, literal.e, literal.offset), rows, inputs)

    def _placed(
        self, literal: Slice, snapshot: Snapshot, select: Select, inputs: tuple[Variable, ...], spans: Sequence[Any]
    ) -> None:
        """The rows of slices by their place in their stream."""
        types = [self._types.of(variable) for variable in inputs]
        held = []
        for values, stream, start, stop in spans:
            record = snapshot.find_stream(stream)
            assert record is not None, "a stream with documents exists"
            converted = [self._session.hold(value, t) for value, t in zip(values, types, strict=True)]
            held.append((*converted, record.id, start, stop))
        table = self._session.given([*types, INTEGER, INTEGER, INTEGER], held)
        span = self._session.name()
        select.tables.append(f"{table} {span}")
        for place, variable in enumerate(inputs):
            self._session.bind(select, variable, f"{span}.c{place}", exact=True)
        row, first = self._scans.row(literal.source, literal.e, snapshot, select), len(inputs)
        select.conditions += [
            f"{row}.stream = {span}.c{first}",
            f"{row}.off >= {span}.c{first + 1}",
            f"{row}.off < {span}.c{first + 2}",
        ]
        if self._execution.is_known(literal.offset):
            constant = self._session.constant(self._execution.value(literal.offset), INTEGER)
            select.conditions.append("false" if constant is None else f"{row}.off = {constant}")
        elif isinstance(literal.offset, Variable):
            self._offset(literal.offset, row, snapshot, select)

    def _offset(self, offset: Variable, row: str, snapshot: Snapshot, select: Select) -> None:
        if self._types.of(offset) == INTEGER:
            self._session.bind(select, offset, f"{row}.off")
            return
        # An offset that meets values of other kinds is compared as a token.
        last = max((end for _, end in snapshot.log.streams(snapshot.t)), default=0)
        pairs = [(number, self._session.hold(number, TOKEN)) for number in range(last)]
        table, alias = self._session.given([INTEGER, TOKEN], pairs), self._session.name()
        select.tables.append(f"{table} {alias}")
        select.conditions.append(f"{alias}.c0 = {row}.off")
        self._session.bind(select, offset, f"{alias}.c1")

    # Functions.

    def _filter(self, literal: Filter, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        sql = self._comparison(literal, select)
        if sql is None:
            return self._applied(literal, select, later, native_only)
        select.conditions.append(sql)
        return select

    def _comparison(self, literal: Filter, select: Select) -> str | None:
        """A comparison DuckDB makes exactly; None for any other predicate."""
        operator = OPERATORS.get(literal.function) if isinstance(literal.function, str) else None
        terms = literal.arguments
        if operator is None or len(terms) < 2 or (operator == "<>" and len(terms) > 2):
            return None
        found = [self._compared(operator, left, right, select) for left, right in pairwise(terms)]
        return " AND ".join(map(str, found)) if None not in found else None

    def _compared(self, operator: str, left: object, right: object, select: Select) -> str | None:
        if isinstance(left, Variable) and isinstance(right, Variable):
            first, second = (self._operand(term, select) for term in (left, right))
            return compare_columns(operator, first, second)
        if not isinstance(left, Variable):
            left, right, operator = right, left, flipped(operator)
        if not isinstance(left, Variable):
            return None
        column, type_, value = select.columns[left], self._types.of(left), self._execution.value(right)
        if type_ == TOKEN:
            if operator not in ("=", "<>"):
                return None
            constant = str(self._session.constant(value, TOKEN))
            return f"{self._session.key(column, TOKEN)} {operator} {self._session.key(constant, TOKEN)}"
        found = compare_constant(operator, column, type_, value)
        if found is None:
            return None
        sql, held = found
        return sql if held is NEVER else sql.format(self._session.parameter(held, type_))

    def _operand(self, term: Variable, select: Select) -> tuple[str, str]:
        type_ = self._types.of(term)
        return self._session.key(select.columns[term], type_), type_

    def _applied(
        self, literal: Filter | Compute, select: Select, later: frozenset[Variable], native_only: bool
    ) -> Select:
        """Join what a function gives for the distinct arguments of the rows so far."""
        if native_only:
            raise NotNative
        inputs = inputs_of(literal.arguments)
        outputs = binding_variables(literal.binding) if isinstance(literal, Compute) else ()
        bound = [variable for variable in outputs if variable in select.columns and variable not in inputs]
        select, arguments = self._arguments(select, inputs, later.union(bound))
        solve = solving(self._execution, literal)
        variables = tuple(dict.fromkeys((*inputs, *outputs)))
        rows: list[list[Any]] = []
        try:
            for values in arguments:
                known = dict(zip(inputs, values, strict=True))
                for solution in solve(known):
                    rows.append([{**known, **solution}[variable] for variable in variables])
            self._scans.given(select, variables, rows, inputs)
        except BudgetError:
            self._session.let_go(rows, arguments)
            raise
        return select

    def _arguments(
        self, select: Select, inputs: tuple[Variable, ...], later: frozenset[Variable]
    ) -> tuple[Select, list[tuple[Any, ...]]]:
        """The rows so far as a table, and their distinct values of some variables."""
        if not select.tables and not select.conditions:
            return select, [()]
        if not inputs:
            select = self._session.materialised(select, later)
            return select, [() for _ in self._session.fetch(select.sql(["1"]) + " LIMIT 1")]
        select = self._session.materialised(select, later.union(inputs))
        expressions = [select.columns[variable] for variable in inputs]
        rows = self._session.fetch(select.sql(expressions, distinct=not select.is_distinct_over(inputs)))
        return select, self._session.decoded(rows, [self._types.of(variable) for variable in inputs])

    # Negation and disjunction.

    def _negation(self, literal: Negation, select: Select, later: frozenset[Variable], native_only: bool) -> Select:
        try:
            select.conditions.append(self._negated(literal, select))
            return select
        except NotNative:
            if native_only:
                raise
        select = self._session.materialised(select, later.union(literal.shared))
        inner = self._body(literal.body, self._asked(select, literal.shared), frozenset(literal.shared), False)
        excluded = self._session.materialised(inner, literal.shared)
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
        inner = self._body(literal.body, inner, frozenset(literal.shared), True)
        if inner.tables:
            return f"NOT EXISTS ({inner.sql(['1'])})"
        conditions = " AND ".join(inner.conditions) or "true"
        return f"NOT coalesce({conditions}, false)"

    def _asked(self, select: Select, variables: Iterable[Variable]) -> Select:
        """The distinct rows over the variables an inner body takes from outside."""
        return self._session.materialised(select, variables) if select.tables else select.copy()

    def _disjunction(
        self, literal: Disjunction, select: Select, later: frozenset[Variable], native_only: bool
    ) -> Select:
        if native_only:
            raise NotNative
        used = frozenset(variables_of(literal))
        if select.tables or select.conditions:
            select = self._session.materialised(select, later.union(used))
        shared = tuple(variable for variable in select.columns if variable in used)
        new = tuple(variable for variable in literal.variables if variable not in shared)
        variables = (*shared, *new)
        asked = self._asked(select, shared)
        parts = [self._body(branch, asked.copy(), frozenset(variables), False) for branch in literal.branches]
        union = " UNION ".join(part.over(variables) for part in parts)
        self._scans.join(select, self._session.table(union), variables, exact=shared)
        return select
