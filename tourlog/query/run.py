"""Answers a query: parse, plan, engine, rows. The whole flow, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

from tourlog.collector import collections_in_time
from tourlog.engines import ordered as ordered_path
from tourlog.engines.choice import Choice, choose
from tourlog.engines.execution import Budget, Execution, SourceData
from tourlog.errors import ArgumentError, QueryError
from tourlog.html import code_html, edn_html, folded, titled
from tourlog.pull import pull
from tourlog.query.deadline import pulse, watched
from tourlog.query.destructure import destructure
from tourlog.query.large import sort_key
from tourlog.query.parse import parse_pull, parse_query, parse_rules
from tourlog.query.plan import make_plan
from tourlog.query.program import Plan
from tourlog.query.rows import Rows
from tourlog.query.syntax import (
    Binding,
    BindScalar,
    BindTuple,
    Pull,
    PullPattern,
    Query,
    Rule,
    RulesInput,
    Source,
    Variable,
    binding_variables,
)
from tourlog.rule_files import is_library_name, read_rule_library
from tourlog.snapshot import Snapshot
from tourlog.values import plain

ENGINES = ("auto", "compiled", "pydatalog")

_ROWS_A_PULSE = 100
"""Rows that are made or sorted between looks at the budget."""

_plan = lru_cache(maxsize=512)(make_plan)


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a `query` runs: its syntax tree, its `plan`, the `engine` and the `reason` why, and the `program` that engine
    is given: SQL, or pyDatalog's clauses. Made by `Database.explain`. Prints readably."""

    query: Query
    plan: Plan
    engine: str
    reason: str
    program: str

    def __str__(self) -> str:
        lines = [[title, *(f"  {line}" for line in text.splitlines())] for title, text in self._parts()]
        return "\n".join(line for part in lines for line in part)

    def _parts(self) -> list[tuple[str, str]]:
        clauses = "\n".join(map(str, self.query.where))
        engine = f"engine: {self.engine} ({self.reason})"
        return [("query", clauses), ("plan", str(self.plan)), (engine, self.program)]

    def _repr_html_(self) -> str:
        (_, clauses), (_, plan), (engine, program) = self._parts()
        parts = folded("query", edn_html(clauses)), folded(engine, code_html(program))
        return titled("plan", edn_html(plan), *parts)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # the protocol of IPython
        printer.text(str(self))


def run_query(
    query: Any,
    inputs: Sequence[Any],
    *,
    engine: str = "auto",
    timeout: float | None = None,
    max_rows: int | None = None,
) -> Any:
    """The answer, shaped as `:find` says; `inputs` stand for `:in` in order, databases as snapshots."""
    budget = _budget(timeout, max_rows)
    with collections_in_time(timeout), watched(budget.check):
        execution = _prepared(query, inputs, budget)
        chosen = _choice(execution, engine).engine
        if chosen == "log" and ordered_path.is_of_documents(execution.plan):
            return shaped(execution, ordered_path.documents(execution))
        rows = _engine(chosen).run(execution)
        budget.count(len(rows))
        return shaped(execution, _pulled(execution, ordered(execution.plan.query, rows)))


def explain_query(query: Any, inputs: Sequence[Any], *, engine: str = "auto") -> Explanation:
    """How a query would run on these inputs, without running it."""
    execution = prepare(query, inputs)
    choice = _choice(execution, engine)
    program = _engine(choice.engine).explain(execution)
    return Explanation(execution.plan.query, execution.plan, choice.engine, choice.reason, program)


def _engine(name: str) -> ModuleType:
    """The engine: a module with `run` and `explain`. Each is imported by its first query, which spares programs that
    only append a quarter of what `import tourlog` takes."""
    if name == "compiled":
        from tourlog.engines import compiled

        return compiled
    if name == "pydatalog":
        from tourlog.engines import pydatalog

        return pydatalog
    return ordered_path


def _choice(execution: Execution, engine: str) -> Choice:
    if engine not in ENGINES:
        raise ArgumentError(f"expected an engine among {', '.join(ENGINES)}, got {engine!r}", engine=engine)
    return choose(execution) if engine == "auto" else Choice(engine, "it was asked for")


def prepare(query: Any, inputs: Sequence[Any]) -> Execution:
    """Everything an engine needs: the plan, and the inputs matched to `:in`."""
    return _prepared(query, inputs, _budget(None, None))


def _prepared(query: Any, inputs: Sequence[Any], budget: Budget) -> Execution:
    rules = next((_rules(given) for given in inputs if _looks_like_rules(given)), ())
    parsed = parse_query(query, frozenset(rule.name for rule in rules))
    entries = parsed.inputs
    if len(inputs) != len(entries):
        wanted = " ".join(map(_shown, entries))
        noun = "input" if len(entries) == 1 else "inputs"
        raise QueryError(f"the query takes {len(entries)} {noun} ({wanted}), got {len(inputs)}")
    pairs = list(zip(entries, inputs, strict=True))
    rules = next((_rules(given) for entry, given in pairs if isinstance(entry, RulesInput)), ())
    sources = {entry.name: _source(entry, given) for entry, given in pairs if isinstance(entry, Source)}
    collections = frozenset(name for name, source in sources.items() if not isinstance(source, Snapshot))
    plan = _plan(parsed, rules, collections)
    parameters, given_rows = _bound_inputs(plan, pairs)
    return Execution(plan, sources, parameters, given_rows, budget)


def _budget(timeout: float | None, max_rows: int | None) -> Budget:
    return Budget(_limit("timeout", timeout), _limit("max_rows", max_rows))


def _limit(name: str, value: float | None) -> Any:
    if value is not None and (type(value) not in (int, float) or not value > 0):
        raise ArgumentError(f"expected a positive number for {name}, got {value!r}", argument=name)
    return value


def _shown(entry: object) -> str:
    match entry:
        case Source():
            return entry.name
        case RulesInput():
            return "%"
        case BindScalar(variable):
            return str(variable)
        case _:
            return f"[{' '.join(map(str, binding_variables(entry)))} …]"  # type: ignore[arg-type]  # a binding


def _looks_like_rules(given: Any) -> bool:
    """Whether an input is rules by its type alone; only then can Python data be parsed with their names."""
    return hasattr(given, "rules") and hasattr(given, "edn")


def _rules(given: Any) -> tuple[Rule, ...]:
    """Rules from text, data, a `Rules`, or the name of a rule library."""
    if is_library_name(given):
        given = read_rule_library(given)
    return parse_rules(given)


def _source(entry: Source, given: Any) -> SourceData:
    if isinstance(given, Snapshot):
        return given
    if isinstance(given, list | tuple | set | frozenset):
        rows = list(given)
        for row in rows:
            if not isinstance(row, list | tuple):
                raise ArgumentError(f"expected tuples in the collection given for {entry.name}, got {row!r}", value=row)
        return [tuple(plain(list(row), entry.name)) for row in rows]
    raise ArgumentError(
        f"expected a database or a collection of tuples for {entry.name}, got {type(given).__name__}",
        value=given,
    )


def _bound_inputs(
    plan: Plan, pairs: Iterable[tuple[Any, Any]]
) -> tuple[dict[str, Any], dict[int, list[tuple[Any, ...]]]]:
    parameters: dict[str, Any] = {}
    rows: dict[int, list[tuple[Any, ...]]] = {}
    for position, (entry, given) in enumerate(pairs):
        if isinstance(entry, Source | RulesInput):
            continue
        value = given if isinstance(entry, BindScalar) and callable(given) else _input(entry, given)
        bindings = destructure(entry, value, _refuse(entry))
        names = binding_variables(entry)
        if all(variable.name in plan.parameters for variable in names) and isinstance(entry, BindScalar | BindTuple):
            parameters.update((variable.name, part) for variable, part in next(bindings))
        else:
            rows[position] = list(_consistent_rows(bindings, names))
    return parameters, rows


def _input(entry: Binding, given: Any) -> Any:
    """An input as a value of the store's; any iterable will do for a collection."""
    if not isinstance(entry, BindScalar) and isinstance(given, Iterable) and not isinstance(given, str | bytes | dict):
        given = given if isinstance(given, list | tuple | set | frozenset) else list(given)
    return plain(given, _shown(entry))


def _consistent_rows(bindings: Iterable[Any], names: Sequence[Variable]) -> Iterator[tuple[Any, ...]]:
    for number, found in enumerate(bindings):
        if not number % _ROWS_A_PULSE:
            pulse()
        row = _consistent_row(found, names)
        if row is not None:
            yield row


def _consistent_row(found: Sequence[tuple[Variable, Any]], names: Sequence[Variable]) -> tuple[Any, ...] | None:
    """One row over `names`; None when a variable that stands twice would take two values."""
    row: dict[Variable, Any] = {}
    for variable, value in found:
        if sort_key(row.setdefault(variable, value)) != sort_key(value):
            return None
    return tuple(row[name] for name in names)


def _refuse(entry: Binding) -> Callable[[str, Any], QueryError]:
    return lambda expected, value: QueryError(
        f"expected {expected} for the input {_shown(entry)}, got {value!r}", value=value
    )


def ordered(query: Query, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows by `:order-by`, ties by the whole row, then `:offset` and `:limit`."""
    first_only = query.find.shape in ("tuple", "scalar")
    if query.order_by or query.limit is not None or query.offset or (first_only and len(rows) > 1):
        rows = sorted(rows, key=sort_key)
        for order in reversed(query.order_by):
            rows.sort(key=lambda row: sort_key(row[order.column]), reverse=order.descending)  # used at once
    stop = None if query.limit is None else query.offset + query.limit
    return rows[query.offset : stop]


def _pulled(execution: Execution, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows with every `pull` element done."""
    elements = execution.plan.find.elements
    if not any(isinstance(element, Pull) for element in elements):
        return rows
    pullers = [_puller(execution, element) if isinstance(element, Pull) else None for element in elements]
    return [
        tuple(value if puller is None else puller(value) for value, puller in zip(row, pullers, strict=True))
        for row in rows
    ]


def run_pull(
    snapshot: Snapshot, pattern: Any, eids: Iterable[Any], *, timeout: float | None
) -> list[dict[str, Any] | None]:
    """Entities as documents cut to a pull pattern, None for those of which nothing is there."""
    budget = _budget(timeout, None)
    with collections_in_time(timeout), watched(budget.check):
        parsed = parse_pull(pattern)
        return [pull(snapshot, parsed, eid) for eid in eids]


def _puller(execution: Execution, element: Pull) -> Callable[[Any], Any]:
    snapshot = execution.database(element.source.name)
    pattern = element.pattern
    if not isinstance(pattern, PullPattern):
        if pattern.name not in execution.parameters:
            raise QueryError(f"the pull pattern {pattern} is no scalar input of the query", variable=pattern.name)
        pattern = parse_pull(execution.parameters[pattern.name])

    def read(e: Any) -> Mapping[str, Any] | None:
        execution.budget.check()
        return execution.take_entity(snapshot, e)

    return lambda e: pull(snapshot, pattern, e, read)


def shaped(execution: Execution, rows: list[tuple[Any, ...]]) -> Any:
    """The answer in the shape of `:find`: rows, a list, a tuple (a dict with `:keys`) or a value."""
    query = execution.plan.query
    match query.find.shape:
        case "collection":
            return [row[0] for row in rows]
        case "scalar":
            return rows[0][0] if rows else None
    named = rows if query.keys is None else [dict(zip(query.keys, row, strict=True)) for row in rows]
    if query.find.shape == "tuple":
        return named[0] if named else None
    return Rows(query.keys or tuple(map(_column_name, query.find.elements)), named)


def _column_name(element: object) -> str:
    match element:
        case Variable():
            return str(element)
        case Pull(variable):
            return f"(pull {variable})"
        case _:
            return f"({element.function} {' '.join(map(str, element.arguments))})"  # type: ignore[attr-defined]  # an aggregate
