"""Functions and predicates over values, as both engines compute them: built-ins with their sources looked up,
callables of `:in`, results taken apart, errors told with their clause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from tourlog.engines.execution import Execution
from tourlog.errors import DocumentError, QueryError
from tourlog.query.destructure import destructure
from tourlog.query.functions import BUILTINS, is_true
from tourlog.query.program import Compute, Filter, Parameter
from tourlog.query.syntax import Constant, Source, Variable
from tourlog.values import identity, plain

Values: TypeAlias = Mapping[Variable, Any]
Solve: TypeAlias = Callable[[Values], Iterator[dict[Variable, Any]]]
"""From the values of a literal's inputs to what each of its solutions binds (nothing, for a predicate)."""


_ROWS_A_CHECK = 1_000
"""Rows a function may give between looks at the budget."""


def inputs_of(terms: Iterable[object]) -> tuple[Variable, ...]:
    """The distinct variables among arguments, in order."""
    return tuple(dict.fromkeys(term for term in terms if isinstance(term, Variable)))


def solving(execution: Execution, literal: Filter | Compute) -> Solve:
    """How to solve a literal for values of its inputs."""
    compute = _computing(execution, literal)
    if isinstance(literal, Filter):
        return lambda known: iter(({},) if is_true(compute(known)) else ())
    optional = not isinstance(literal.function, str) or BUILTINS[literal.function].optional

    def refuse(expected: str, value: Any) -> QueryError:
        return _in_clause(QueryError(f"expected {expected}, got {value!r}", value=value), literal)

    def solve(known: Values) -> Iterator[dict[Variable, Any]]:
        result = compute(known)
        bindings = () if result is None and optional else destructure(literal.binding, result, refuse)
        for number, found in enumerate(bindings, 1):
            if not number % _ROWS_A_CHECK:
                execution.budget.check()
            row = dict(known)
            if all(_agrees(row.setdefault(variable, value), value) for variable, value in found):
                yield {variable: row[variable] for variable, _ in found}

    return solve


def _agrees(held: Any, value: Any) -> bool:
    """Whether two values are one; a new variable holds the value itself, however large it is."""
    return held is value or identity(held) == identity(value)


def _computing(execution: Execution, literal: Filter | Compute) -> Callable[[Values], Any]:
    function = execution.function(literal.function)
    arguments = literal.arguments
    if isinstance(literal.function, str) and BUILTINS[literal.function].database:
        source, *rest = arguments
        assert isinstance(source, Source), "checked when planned"
        snapshot, arguments, builtin = execution.database(source.name), tuple(rest), function

        def lookup(e: Any, attribute: str) -> tuple[Any, ...]:
            # What is no string is no attribute, and nothing states it.
            return tuple(execution.lookup(snapshot, e, attribute)) if type(attribute) is str else ()

        def function(*values: Any) -> Any:
            return builtin(lookup, *values)

    checked = not isinstance(literal.function, str) and isinstance(literal, Compute)

    def compute(known: Values) -> Any:
        execution.budget.check()
        values = [_value(execution, argument, known) for argument in arguments]
        try:
            result = function(*values)
            execution.budget.keep(result)
            execution.budget.check()
            return plain(result) if checked else result
        except (QueryError, DocumentError) as problem:
            raise _in_clause(problem, literal) from problem.__cause__

    return compute


def _value(execution: Execution, argument: object, known: Values) -> Any:
    if isinstance(argument, Variable):
        return known[argument]
    if isinstance(argument, Parameter):
        return execution.parameters[argument.name]
    assert isinstance(argument, Constant), "what else an argument can be"
    return argument.value


def _in_clause(problem: QueryError | DocumentError, literal: Filter | Compute) -> QueryError:
    """The error of a function with the clause it stands in."""
    place = f" ({literal.place})" if literal.place is not None else ""
    return QueryError(f"{problem}, in {literal}{place}", **{**problem.details, "clause": str(literal)})
