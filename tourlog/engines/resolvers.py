"""What pyDatalog asks us: one resolver a literal, which takes the bound terms' tokens and gives whole rows.

A resolver never asks pyDatalog anything (a nested question can leave its state broken) and raises what
goes wrong, where pyDatalog would make an answer of an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tourlog.engines.computing import inputs_of, solving
from tourlog.engines.execution import Execution
from tourlog.engines.ordered import offset_in, offset_range
from tourlog.engines.table import Row, Table, Tokens
from tourlog.query.program import Call, Compute, Filter, Given, Literal, Parameter, Rows, Scan, Slice, Term
from tourlog.query.syntax import Blank, Constant, Source, Variable, binding_variables
from tourlog.snapshot import ANY, Snapshot
from tourlog.stream import OFFSET_METADATA, SYSTEM_PREFIX, Stream
from tourlog.values import identity

Bound: TypeAlias = frozenset[Variable]
Solve: TypeAlias = Callable[[tuple[int | None, ...]], Iterable[Row]]

_ROWS_A_CHECK = 100
"""Rows taken in between looks at the budget."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """The distinct variables of a literal, and its solutions given the tokens of those that are bound."""

    variables: tuple[Variable, ...]
    solve: Solve


@dataclass
class Environment:
    """What the resolvers of one run share."""

    execution: Execution
    tokens: Tokens = field(default_factory=Tokens)
    tables: dict[str, Table] = field(default_factory=dict)
    deltas: dict[str, Table] = field(default_factory=dict)

    @classmethod
    def of(cls, execution: Execution) -> Environment:
        return cls(execution)

    def known(self, term: object) -> bool:
        """Whether a term has a value before the query runs."""
        return isinstance(term, Constant | Parameter)

    def value(self, term: object) -> Any:
        """The value of a constant or parameter."""
        assert isinstance(term, Constant | Parameter), "only these have a value of their own"
        return term.value if isinstance(term, Constant) else self.execution.parameters[term.name]

    def maker(self, term: Term, variables: Sequence[Variable]) -> Callable[[Row], int]:
        """How to get a head term's token from a row over `variables`."""
        if isinstance(term, Variable):
            place = variables.index(term)
            return lambda row: row[place]
        token = self.tokens.token(self.value(term))
        return lambda _: token

    def table(self, rows: Iterable[Row] = ()) -> Table:
        """A table of tokens of this run."""
        return Table(rows, self.tokens.firsts)

    def checked(self, rows: Iterable[Sequence[Any]]) -> Iterator[Row]:
        """The tokens of rows of values, the budget looked at now and then."""
        for number, row in enumerate(rows):
            if not number % _ROWS_A_CHECK:
                self.execution.budget.check()
            yield self.tokens.row(row)

    def rows(self, terms: tuple[Term, ...], table: Table) -> Resolver:
        """A resolver over a table whose columns are `terms`."""
        fixed = {i: self.tokens.token(self.value(term)) for i, term in enumerate(terms) if self.known(term)}
        return _columns_resolver(terms, fixed, table.find, self.tokens)


def make_resolver(literal: Literal, environment: Environment) -> Resolver:
    """The resolver of one literal."""
    match literal:
        case Scan():
            return _scan(literal, environment)
        case Slice():
            return _slice(literal, environment)
        case Call():
            tables = environment.deltas if literal.delta else environment.tables
            return environment.rows(literal.terms, tables[literal.relation])
        case Given():
            rows = environment.execution.given[literal.position]
            return environment.rows(literal.variables, environment.table(environment.checked(rows)))
        case Rows():
            return _collection(literal, environment)
        case Filter():
            return _filter(literal, environment)
        case Compute():
            return _compute(literal, environment)
    raise AssertionError(f"{literal} is not conjunctive")


Find: TypeAlias = Callable[[tuple[int, ...], Row], Iterable[Row]]
"""Rows over all columns that hold given tokens in given columns (in increasing order)."""


def _columns_resolver(terms: tuple[Term, ...], fixed: dict[int, int], find: Find, tokens: Tokens) -> Resolver:
    """Columns to variables: constants are looked up, blanks dropped, repeated variables compared (pyDatalog
    itself fails to match a repeated variable against a resolver's row)."""
    places: dict[Variable, list[int]] = {}
    for place, term in enumerate(terms):
        if isinstance(term, Variable):
            places.setdefault(term, []).append(place)
    variables = tuple(places)
    groups = tuple(places.values())
    firsts = [group[0] for group in groups]
    repeated = [group for group in groups if len(group) > 1]

    def solve(given: tuple[int | None, ...]) -> Iterator[Row]:
        known = dict(fixed)
        for group, token in zip(groups, given, strict=True):
            if token is not None:
                known.update((place, token) for place in group)
        columns = tuple(sorted(known))
        for row in find(columns, tuple(known[column] for column in columns)):
            if all(tokens.equal(row[group[0]], row[other]) for group in repeated for other in group[1:]):
                yield tuple([row[first] for first in firsts])

    return Resolver(variables, solve)


def _scan(literal: Scan, environment: Environment) -> Resolver:
    snapshot = environment.execution.database(literal.source)
    tokens, budget = environment.tokens, environment.execution.budget
    fixed = {i: tokens.token(environment.value(t)) for i, t in enumerate(literal.terms) if environment.known(t)}
    execution = environment.execution
    static = environment.known(literal.e)
    viewed = static and identity(environment.value(literal.e)) == OFFSET_METADATA
    facts = snapshot.facts if static else snapshot.stored_facts
    named = isinstance(literal.a, Constant)
    by_lookup = isinstance(literal.tx, Blank) and not viewed

    def find(columns: tuple[int, ...], values: Row) -> Iterator[Row]:
        budget.check()
        wanted = dict(zip(columns, values, strict=True))
        e, a, v = (tokens.value(wanted[column]) if column in wanted else ANY for column in range(3))
        if not named and type(a) is str and a.startswith(SYSTEM_PREFIX):
            return
        token = tokens.token
        if by_lookup and e is not ANY and type(a) is str:
            for value in execution.lookup(snapshot, e, a):
                if v is ANY or tokens.equal(token(value), wanted[2]):
                    yield (wanted[0], wanted[1], token(value), 0)
            return
        own_e, own_a, own_v = map(wanted.get, range(3))
        for fact in facts(e, a, v):
            tx = 0 if by_lookup else token(fact.tx)
            if 3 not in wanted or tokens.equal(tx, wanted[3]):
                yield (
                    token(fact.e) if own_e is None else own_e,
                    token(fact.a) if own_a is None else own_a,
                    token(fact.v) if own_v is None else own_v,
                    tx,
                )

    return _columns_resolver(literal.terms, fixed, find, tokens)


def _collection(literal: Rows, environment: Environment) -> Resolver:
    """A source that is a collection of tuples: only tuples of at least as many columns can match."""
    source = environment.execution.sources[literal.source]
    assert not isinstance(source, Snapshot), "planned as a collection"
    width = len(literal.terms)
    rows = environment.checked(row[:width] for row in source if len(row) >= width)
    return environment.rows(literal.terms, environment.table(rows))


def _slice(literal: Slice, environment: Environment) -> Resolver:
    snapshot = environment.execution.database(literal.source)
    tokens, budget = environment.tokens, environment.execution.budget
    inputs = inputs_of((*literal.values, *(term for _, term in literal.bounds)))
    outputs = tuple(t for t in dict.fromkeys((literal.e, literal.offset)) if isinstance(t, Variable))
    outputs = tuple(variable for variable in outputs if variable not in inputs)
    variables = (*inputs, *outputs)
    operators = [operator for operator, _ in literal.bounds]

    def solve(given: tuple[int | None, ...]) -> Iterator[Row]:
        budget.check()
        known = dict(zip(variables, given, strict=True))
        values = _values((*literal.values, *(term for _, term in literal.bounds)), known, environment)
        stream = Stream(literal.names, tuple(values[: len(literal.names)]))
        bounds = list(zip(operators, values[len(literal.names) :], strict=True))
        if environment.known(literal.offset):
            bounds.append(("=", environment.value(literal.offset)))
        elif (offset := _found(literal.offset, known)) is not None:
            bounds.append(("=", tokens.value(offset)))
        start, stop = offset_range(bounds)
        if (e := _found(literal.e, known)) is not None:
            place = offset_in(snapshot, stream, tokens.value(e))
            start, stop = max(start, place.start), min(stop, place.stop)
        before = tuple(token for variable in inputs if (token := known[variable]) is not None)
        for ordered in snapshot.ordered(stream, start, stop):
            found = {literal.e: ordered.e, literal.offset: ordered.offset}
            environment.execution.remember(snapshot, ordered)
            yield (*before, *(tokens.token(found[variable]) for variable in outputs))

    return Resolver(variables, solve)


def _found(term: object, known: Mapping[Variable, int | None]) -> int | None:
    """The token of a variable that is bound by now."""
    return known.get(term) if isinstance(term, Variable) else None


def _filter(literal: Filter, environment: Environment) -> Resolver:
    variables = inputs_of(literal.arguments)
    solve = solving(environment.execution, literal)

    def resolve(given: tuple[int | None, ...]) -> Iterator[Row]:
        arguments = _bound(given)
        return (arguments for _ in solve(_known(variables, arguments, environment)))

    return Resolver(variables, resolve)


def _compute(literal: Compute, environment: Environment) -> Resolver:
    inputs = inputs_of(literal.arguments)
    outputs = tuple(v for v in binding_variables(literal.binding) if v not in inputs)
    solve, token = solving(environment.execution, literal), environment.tokens.token

    def resolve(given: tuple[int | None, ...]) -> Iterator[Row]:
        arguments = _bound(given[: len(inputs)])
        for solution in solve(_known(inputs, arguments, environment)):
            yield (*arguments, *(token(solution[variable]) for variable in outputs))

    return Resolver((*inputs, *outputs), resolve)


def _bound(given: tuple[int | None, ...]) -> Row:
    """The tokens of arguments, all of which the plan's order has bound."""
    assert None not in given, "a plan computes nothing of what is not bound"
    return given  # type: ignore[return-value]  # as asserted


def _known(variables: tuple[Variable, ...], row: Row, environment: Environment) -> dict[Variable, Any]:
    value = environment.tokens.value
    return {variable: value(token) for variable, token in zip(variables, row, strict=True)}


def _values(terms: Iterable[Term | Source], known: dict[Variable, Any], environment: Environment) -> list[Any]:
    value = environment.tokens.value
    return [value(known[term]) if isinstance(term, Variable) else environment.value(term) for term in terms]
