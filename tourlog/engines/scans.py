"""Facts as SQL: what patterns, slices of streams and given rows add to a SELECT.

Clauses on one entity share one row of `rows`. A pattern that asks for the transaction, or looks at a history or
at what came since, reads an attribute's facts off the states that hold them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tourlog.engines.codec import INTEGER, NEVER, TOKEN
from tourlog.engines.columns import Column, Loaded
from tourlog.engines.execution import Execution, is_column
from tourlog.engines.select import Select
from tourlog.engines.session import Session
from tourlog.engines.typing import Types
from tourlog.query.program import Scan, Term
from tourlog.query.syntax import Blank, Constant, Variable
from tourlog.snapshot import ANY as ANYTHING
from tourlog.snapshot import Snapshot
from tourlog.stream import SYSTEM_PREFIX
from tourlog.values import identity

_ROWS_A_CHECK = 100
"""Rows taken in between looks at the budget."""


class Scans:
    """The patterns of one run over what is loaded for it."""

    def __init__(self, session: Session, snapshots: Sequence[Snapshot], loaded: Loaded, types: Types) -> None:
        self._session, self._snapshots, self._loaded, self._types = session, snapshots, loaded, types
        self._execution = session.execution

    def is_column(self, scan: Scan) -> bool:
        """Whether a scan reads a loaded column."""
        return is_column(self._execution, self._snapshots, scan)

    def column_names(self) -> list[tuple[str, str]]:
        """The names of columns (or their tables) with their attributes."""
        return [(column.name, attribute) for attribute, column in self._loaded.columns.items()]

    def is_loaded(self, snapshot: Snapshot) -> bool:
        """Whether the rows of a database are loaded, and are what it shows."""
        return snapshot.is_plain and any(snapshot is each for each in self._snapshots)

    def scan(self, scan: Scan, select: Select) -> None:
        """Join the facts a pattern over a loaded column finds."""
        snapshot = self._session.execution.database(scan.source)
        column = self._loaded.columns[self._execution.value(scan.a)]
        if snapshot.is_plain and isinstance(scan.tx, Blank):
            self._row_scan(scan, column, snapshot, select)
        else:
            self._fact_scan(scan, column, snapshot, select)

    def _row_scan(self, scan: Scan, column: Column, snapshot: Snapshot, select: Select) -> None:
        row = self.row(scan.source, scan.e, snapshot, select)
        if not column.many:
            self._follow(scan.e, scan.v, column, select)
            self._content(scan.v, row, column, select)
        elif isinstance(scan.v, Blank):
            alias = self._session.name()
            select.conditions.append(f"EXISTS (SELECT 1 FROM {column.name} {alias} WHERE {alias}.r = {row}.r)")
        else:
            alias = self._session.name()
            select.tables.append(f"{column.name} {alias}")
            select.conditions.append(f"{alias}.r = {row}.r")
            if isinstance(scan.v, Variable) and scan.v not in select.columns:
                select.keys.add(scan.v)
            self._content(scan.v, alias, column, select)

    def _follow(self, e: Term, v: Term, column: Column, select: Select) -> None:
        """An entity has one value here; where no two entities have the same one, the value has one entity, too."""
        if isinstance(e, Variable) and isinstance(v, Variable):
            select.determined.append((e, v))
            select.lookups.append((v, e, column.name))

    def _content(self, term: Term, alias: str, column: Column, select: Select) -> None:
        """What a pattern's value asks of a column."""
        if isinstance(term, Variable):
            sql = f"{alias}.{column.sql(self._types.of(term))}"
            if term not in select.columns and not column.many:
                select.conditions.append(f"{sql} IS NOT NULL")
            self._session.bind(select, term, sql)
        elif self._execution.is_known(term):
            self._equal_constant(term, f"{alias}.{column.name}", column.type, select)
        elif not column.many:
            select.conditions.append(f"{alias}.{column.name} IS NOT NULL")

    def row(self, source: str, e: Term, snapshot: Snapshot, select: Select) -> str:
        """The alias of the row of an entity; shared by all clauses on it."""
        if isinstance(e, Variable) and (source, e) in select.stars:
            return select.stars[source, e]
        row = self._session.name()
        select.tables.append(f"rows {row}")
        select.conditions.extend(self._visible(row, snapshot))
        if isinstance(e, Variable):
            select.stars[source, e] = row
            if e not in select.columns:
                select.keys.add(e)
            self._session.bind(select, e, f"{row}.e")
        elif self._execution.is_known(e):
            self._equal_constant(e, f"{row}.e", TOKEN, select)
        else:
            select.keys.add(Variable(row))  # a blank entity: nothing bound tells its rows apart
        return row

    def _equal_constant(self, term: Term, sql: str, type_: str, select: Select) -> None:
        constant = self._session.constant(self._execution.value(term), type_)
        select.conditions.append("false" if constant is None else self._session.equal(sql, constant, type_))

    def _visible(self, row: str, snapshot: Snapshot) -> list[str]:
        conditions = [f"{row}.tx <= {snapshot.t}"] if snapshot.t < self._loaded.position else []
        return [*conditions, f"{row}.ended > {snapshot.t}"] if self._loaded.any_ended else conditions

    # Facts with their transactions.

    def _fact_scan(self, scan: Scan, column: Column, snapshot: Snapshot, select: Select) -> None:
        v_type = self._types.of(scan.v) if isinstance(scan.v, Variable) else column.type
        facts = self._facts(column, column.sql(v_type), snapshot)
        columns = [(scan.e, "e", TOKEN), (scan.v, "v", v_type), (scan.tx, "tx", INTEGER)]
        alias = self._session.name()
        select.tables.append(f"({facts}) {alias}")
        for term, name, type_ in columns:
            if isinstance(term, Variable):
                self._bind_typed(term, f"{alias}.{name}", type_, select)
            elif self._execution.is_known(term):
                self._equal_constant(term, f"{alias}.{name}", type_, select)
            else:
                select.keys.add(Variable(alias))

    def _bind_typed(self, term: Variable, sql: str, type_: str, select: Select) -> None:
        if term not in select.columns:
            select.keys.add(term)
        if self._types.of(term) == type_:
            self._session.bind(select, term, sql)
        else:
            # Only a transaction that meets values of other kinds: few, so a table of their tokens will do.
            pairs = [(tx, self._session.hold(tx, TOKEN)) for tx in range(1, self._loaded.position + 1)]
            table, alias = self._session.given([INTEGER, TOKEN], pairs), self._session.name()
            select.tables.append(f"{table} {alias}")
            select.conditions.append(f"{alias}.c0 = {sql}")
            self._session.bind(select, term, f"{alias}.c1")

    def _facts(self, column: Column, value: str, snapshot: Snapshot) -> str:
        """The facts (e, v, tx) of an attribute that a snapshot shows: in a history, what was taken back too."""
        t, since = snapshot.t, snapshot.since
        spans = self._spans(column, value)
        over = f"ended <= {t}"
        added = f"SELECT e, v, tx FROM ({spans}) WHERE tx <= {t} AND tx > {since}"
        if not snapshot.history:
            return f"{added} AND NOT {over}"
        return f"{added} UNION SELECT e, v, ended AS tx FROM ({spans}) WHERE {over} AND ended > {since}"

    def _spans(self, column: Column, value: str) -> str:
        """Each fact with the transactions between which it held: a fact that goes on from one state of its
        entity to the next is one fact (gaps and islands)."""
        if column.many:
            states = f"SELECT s.e, m.{value} AS v, s.tx, s.ended FROM rows s JOIN {column.name} m USING (r)"
        else:
            states = f"SELECT s.e, s.{value} AS v, s.tx, s.ended FROM rows s WHERE s.{value} IS NOT NULL"
        if not self._loaded.any_ended:
            return states
        own = "PARTITION BY e, v ORDER BY tx"
        starts = f"SELECT *, (lag(ended) OVER ({own}) IS DISTINCT FROM tx)::INT AS starts FROM ({states}) " + (
            "WHERE e IN (FROM amended)"
        )
        islands = f"SELECT *, sum(starts) OVER ({own}) AS island FROM ({starts})"
        return (
            f"SELECT * FROM ({states}) WHERE e NOT IN (FROM amended) UNION ALL "
            f"SELECT e, v, min(tx) AS tx, max(ended) AS ended FROM ({islands}) GROUP BY e, v, island"
        )

    # Given rows.

    def given(
        self, select: Select, terms: Sequence[Term], rows: Iterable[Sequence[Any]], exact: Collection[Variable] = ()
    ) -> None:
        """Join rows of Python values over these terms; rows no column can hold join nothing."""
        session, execution = self._session, self._execution
        variables = list(dict.fromkeys(term for term in terms if isinstance(term, Variable)))
        known = [(i, identity(execution.value(term))) for i, term in enumerate(terms) if execution.is_known(term)]
        places = [[i for i, term in enumerate(terms) if term == variable] for variable in variables]
        types = [self._types.of(variable) for variable in variables]
        held: dict[tuple[Any, ...], None] = {}
        for number, row in enumerate(rows):
            if not number % _ROWS_A_CHECK:
                execution.budget.check()
            if any(identity(row[place]) != value for place, value in known):
                continue
            if any(identity(row[i]) != identity(row[group[0]]) for group in places for i in group[1:]):
                continue
            converted = tuple(session.hold(row[group[0]], t) for group, t in zip(places, types, strict=True))
            if NEVER not in converted:
                held[converted] = None
        if variables:
            self.join(select, session.given(types, list(held)), variables, exact=exact)
        elif not held:
            select.conditions.append("false")

    def join(
        self,
        select: Select,
        table: str,
        terms: Sequence[Term],
        relation: str = "",
        *,
        exact: Collection[Variable] = (),
    ) -> None:
        """Join a table with distinct rows over columns c0, c1, … on these terms; `exact` are variables whose values
        in the table were taken from the rows they are joined to."""
        alias = self._session.name()
        select.tables.append(f"{table} {alias}")
        for place, term in enumerate(terms):
            if isinstance(term, Variable):
                if term not in select.columns:
                    select.keys.add(term)
                self._session.bind(select, term, f"{alias}.c{place}", exact=term in exact)
            elif self._execution.is_known(term):
                self._equal_constant(term, f"{alias}.c{place}", self._types.of((relation, place)), select)
            else:
                select.keys.add(Variable(alias))


def long_scan(execution: Execution, scan: Scan, bound: Sequence[tuple[int, Any]]) -> list[tuple[Any, ...]]:
    """Facts of no column, read one by one: of system attributes, of any attribute, of another log's database.
    `bound` are places of the pattern whose values are known by now."""
    execution.budget.check()
    snapshot = execution.database(scan.source)
    terms = [execution.value(term) if execution.is_known(term) else ANYTHING for term in (scan.e, scan.a, scan.v)]
    for place, value in bound:
        terms[place] = value
    e, a, v = terms
    if not isinstance(scan.a, Constant) and type(a) is str and a.startswith(SYSTEM_PREFIX):
        return []  # the system's attributes are found by name only
    facts = snapshot.facts(e, a, v) if execution.is_known(scan.e) else snapshot.stored_facts(e, a, v)
    return [fact[:4] for fact in facts]
