"""What both engines are given besides a plan: sources, inputs, a budget; and what they share in turning
rows into the values of `:find`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tourlog.collector import collect_young
from tourlog.errors import BudgetError, QueryError
from tourlog.query.aggregates import AGGREGATES
from tourlog.query.functions import BUILTINS
from tourlog.query.program import Parameter, Plan, Scan
from tourlog.query.syntax import Aggregate, Constant, Pull, Source, Variable
from tourlog.snapshot import Ordered, Snapshot, state_values
from tourlog.stream import ID_KEY, OFFSET_KEY, OFFSET_METADATA, SYSTEM_PREFIX
from tourlog.values import identity

_ROWS_FOR_A_LOOKUP = 3
_ALWAYS_LOOKED_UP = 32

MADE_BYTES = 1_000_000_000
"""The most that the large values which functions of one query make may take altogether."""

_OLD_BYTES = 40_000_000
"""What is made, of large collections, between looks of the garbage collector at it; it takes some milliseconds."""

_LARGE = 10_000
_ELEMENT = 40
"""Bytes an element of a collection takes, about: a reference and a small object."""
_SIZED = (str, bytes, list, tuple, set, frozenset, dict)
CONTAINERS = frozenset({list, tuple, set, frozenset, dict})
"""Types of which a large value takes long to compare or copy."""

SourceData: TypeAlias = Snapshot | Sequence[tuple[Any, ...]]


class Budget:
    """A time and a row limit; `check` and `count` raise `BudgetError` when it is used up."""

    def __init__(self, timeout: float | None, max_rows: int | None) -> None:
        self.timeout, self.max_rows = timeout, max_rows
        self._kept = 0
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def check(self) -> None:
        """Raise when the time is up."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise BudgetError(f"the query took longer than timeout={self.timeout} seconds", budget="timeout")

    def count(self, rows: int) -> None:
        """Raise when a result has too many rows."""
        if self.max_rows is not None and rows > self.max_rows:
            raise BudgetError(f"the query has more than max_rows={self.max_rows} rows", budget="max_rows")

    def keep(self, value: Any) -> None:
        """Count a value that a function made, and raise when the large ones take too much memory together: what a
        query computes lives as long as it runs."""
        size = _size(value)
        if size >= _LARGE:
            before, is_one = self._kept, type(value) in (int, str, bytes)
            self._kept += size if is_one else size * _ELEMENT
            if not is_one and self._deadline is not None and before // _OLD_BYTES < self._kept // _OLD_BYTES:
                collect_young()  # each large collection is gone through once now, or all of them at once later
            if self._kept > MADE_BYTES:
                raise BudgetError(
                    f"the query made large values of more than {MADE_BYTES} bytes altogether", budget="memory"
                )

    def check_large(self, value: Any) -> None:
        """Raise when the time is up, before something is done to a value that takes long if it is large."""
        if _size(value) >= _LARGE:
            self.check()

    @property
    def remaining(self) -> float | None:
        """Seconds left; None without a limit."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())


def _size(value: Any) -> int:
    return value.bit_length() // 8 if type(value) is int else len(value) if type(value) in _SIZED else 0


class _Lookups:
    """How often each attribute was looked up in documents read off the log. When that has cost as much as loading the
    attribute's index, about a third of a row of the log each time, the index is loaded: never more than twice the
    least it could have cost."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def have_paid_for(self, attribute: str, snapshot: Snapshot) -> bool:
        self._counts[attribute] += 1
        count = self._counts[attribute]
        return not count % _ALWAYS_LOOKED_UP and count >= _ROWS_FOR_A_LOOKUP * snapshot.log.rows(snapshot.t)


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a plan: what its sources, parameters (scalars, Python callables) and inputs are."""

    plan: Plan
    sources: Mapping[str, SourceData]
    parameters: Mapping[str, Any]
    given: Mapping[int, Sequence[tuple[Any, ...]]]
    budget: Budget
    documents: dict[tuple[int, Any], dict[str, Any] | None] = field(default_factory=dict)
    """Entities already read off the log in this run, by snapshot (its `id`) and entity."""

    def entity(self, snapshot: Snapshot, e: Any) -> dict[str, Any] | None:
        """An entity as a document; read off the log once a run."""
        key = (id(snapshot), identity(e))
        if key not in self.documents:
            self.documents[key] = snapshot.entity(e)
        return self.documents[key]

    def take_entity(self, snapshot: Snapshot, e: Any) -> dict[str, Any] | None:
        """An entity as a document nobody else holds."""
        key = (id(snapshot), identity(e))
        return self.documents.pop(key) if key in self.documents else snapshot.entity(e)

    def remember(self, snapshot: Snapshot, ordered: Ordered) -> None:
        """Keep a document that was read on the way, for whoever asks for its entity."""
        document = {ID_KEY: ordered.e, OFFSET_KEY: ordered.offset, **ordered.document}
        self.documents[id(snapshot), ordered.e] = document

    def lookup(self, snapshot: Snapshot, e: Any, attribute: str) -> Iterable[Any]:
        """The distinct values of an entity's attribute: from its index if that is loaded, else off the log,
        which is cheaper for a few entities; after many, in this run or earlier ones, the index is loaded after all."""
        indexed = snapshot.index.is_loaded(attribute, snapshot.t)
        if indexed or not snapshot.is_plain or attribute.startswith(SYSTEM_PREFIX):
            return (fact.v for fact in snapshot.stored_facts(e, attribute))
        is_new = (id(snapshot), identity(e)) not in self.documents
        if is_new and snapshot.index.shared(_Lookups, _Lookups).have_paid_for(attribute, snapshot):
            snapshot.load((attribute,))
            return (fact.v for fact in snapshot.stored_facts(e, attribute))
        return state_values(self.entity(snapshot, e) or {}, attribute)

    def database(self, name: str) -> Snapshot:
        """A source that must be a database."""
        source = self.sources[name]
        if not isinstance(source, Snapshot):
            raise QueryError(f"source {name} is a collection where a database is needed", source=name)
        return source

    def is_known(self, term: object) -> bool:
        """Whether a term has a value before the query runs."""
        return isinstance(term, Constant | Parameter)

    def value(self, term: object) -> Any:
        """The value of a constant or parameter."""
        assert isinstance(term, Constant | Parameter), "only these have a value of their own"
        return term.value if isinstance(term, Constant) else self.parameters[term.name]

    def function(self, function: str | Parameter) -> Callable[..., Any]:
        """What a predicate or function calls: a built-in, or a callable of `:in` checked to be one."""
        if isinstance(function, str):
            return BUILTINS[function].compute
        return _callable(self.parameters[function.name], function.name)


def is_column(execution: Execution, snapshots: Sequence[Snapshot], scan: Scan) -> bool:
    """Whether a scan reads a column: an attribute of documents, in one of the databases that are loaded."""
    snapshot = execution.database(scan.source)
    if not execution.is_known(scan.a) or not any(snapshot is each for each in snapshots):
        return False
    attribute = execution.value(scan.a)
    if type(attribute) is not str or attribute.startswith(SYSTEM_PREFIX):
        return False
    return not (execution.is_known(scan.e) and identity(execution.value(scan.e)) == OFFSET_METADATA)


def _callable(function: Any, name: str) -> Callable[..., Any]:
    """A Python callable of `:in`. What it raises goes to the caller as it is: it is the caller's own."""
    if not callable(function):
        raise QueryError(f"?{name} is called, but it is {function!r}", variable=name)
    return function  # type: ignore[no-any-return]  # callable, as checked


def find_rows(execution: Execution, rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of `:find` from the distinct rows over the plan's columns: aggregates computed, `:with`
    projected away. A `pull` element holds the entity still."""
    plan = execution.plan
    elements = plan.find.elements
    if any(isinstance(element, Aggregate) for element in elements):
        return _aggregated(execution, rows)
    places = [_place(plan, element) for element in elements]
    if places == list(range(len(plan.columns))):
        return list(rows)
    projected = (tuple(row[place] for place in places) for row in rows)
    return list({identity(row): row for row in projected}.values())


def _place(plan: Plan, element: object) -> int:
    variable = element.variable if isinstance(element, Pull) else element
    names = [column.name for column in plan.columns]
    assert isinstance(variable, Variable), "only variables have a column"
    return names.index(variable.name)


def _aggregated(execution: Execution, rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    plan = execution.plan
    plain = [_place(plan, element) for element in plan.find.elements if not isinstance(element, Aggregate)]
    groups: dict[Any, list[tuple[Any, ...]]] = {}
    for row in rows:
        groups.setdefault(identity(tuple(row[place] for place in plain)), []).append(row)
    results = []
    for group in groups.values():
        execution.budget.check()
        results.append(
            tuple(
                aggregate(execution, element, [row[_place(plan, element.arguments[-1])] for row in group])
                if isinstance(element, Aggregate)
                else group[0][_place(plan, element)]
                for element in plan.find.elements
            )
        )
    return results


def aggregate(execution: Execution, element: Aggregate, values: list[Any]) -> Any:
    """An aggregate of one group's values, a row's each: by its built-in, or by the callable of `:in` it names."""
    before = [_argument(execution, argument) for argument in element.arguments[:-1]]
    if isinstance(element.function, str):
        return AGGREGATES[element.function].compute(values, *before)
    name = element.function.name
    return _callable(execution.parameters.get(name), name)(*before, values)


def _argument(execution: Execution, argument: Variable | Constant | Source) -> Any:
    if isinstance(argument, Constant):
        return argument.value
    if isinstance(argument, Variable) and argument.name in execution.parameters:
        return execution.parameters[argument.name]
    raise QueryError(f"an aggregate's first arguments are constants or scalar inputs, got {argument}")
