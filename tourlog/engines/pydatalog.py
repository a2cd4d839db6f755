"""Runs a plan on pyDatalog, the reference engine.

pyDatalog answers conjunctions; everything it gets wrong is kept from it: values go in as tokens, functions
and comparisons run in resolvers of ours, negation looks at finished relations only, recursion runs in
semi-naive rounds out here. Nothing is asserted, so nothing leaks into later queries.
"""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

from tourlog.collector import let_go
from tourlog.engines.execution import CONTAINERS, Budget, Execution, find_rows
from tourlog.engines.resolvers import Environment, Resolver, make_resolver
from tourlog.engines.table import Row, Table, Tokens
from tourlog.errors import BudgetError
from tourlog.query.program import (
    Body,
    Call,
    Clause,
    Disjunction,
    Literal,
    Negation,
    Plan,
    Relation,
    Stratum,
    Term,
    body_variables,
    bound_by,
    variables_of,
)
from tourlog.query.syntax import Aggregate, Variable
from tourlog.values import fresh

_CHECKED_EVERY = 64
"""Rows pyDatalog derives between looks at the budget. Not fewer: to stop it while a question is still being put, which
takes it some tens of hashes, leaves its tables half done, and it ends with a KeyError."""

_runs = count(1)
"""Numbers runs, so that the resolvers of two running queries never share a name."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of tokens over variables."""

    variables: tuple[Variable, ...]
    rows: Sequence[Row]

    def over(self, variables: tuple[Variable, ...]) -> Found:
        """The distinct rows over these of the variables."""
        if variables == self.variables:
            return self
        places = [self.variables.index(variable) for variable in variables]
        return Found(variables, list(dict.fromkeys(tuple(row[i] for i in places) for row in self.rows)))


UNIT = Found((), [()])
_ABSENT: Any = object()


def run(execution: Execution) -> list[tuple[Any, ...]]:
    """The rows of the plan's `:find` (pulls still entities), distinct, in no particular order."""
    with _own_logic() as engine, _remembered_interrupts(engine):
        environment = Environment.of(execution)
        evaluation = _Evaluation(environment, engine)
        for stratum in execution.plan.strata:
            evaluation.stratum(stratum)
        engine.limits_answers = _is_one_question(execution.plan)
        rows = list(evaluation.head(execution.plan.columns, execution.plan.body))
    value, rows = environment.tokens.value, list(environment.tokens.distinct(rows))

    def made(token: int) -> Any:
        found = value(token)
        if type(found) not in CONTAINERS:
            return found
        execution.budget.check_large(found)
        return fresh(found)

    return find_rows(execution, [tuple(map(made, row)) for row in rows])


def _is_one_question(plan: Plan) -> bool:
    """Whether the answers to the body's one question to pyDatalog are the rows of `:find`, and so can be counted
    while they come."""
    compound = any(isinstance(literal, Negation | Disjunction) for literal in plan.body)
    return not (compound or plan.query.with_ or any(isinstance(e, Aggregate) for e in plan.find.elements))


def explain(execution: Execution) -> str:
    """The plan as the clauses pyDatalog is asked, each literal a resolver of ours; what stands in a comment is what
    the resolver answers. Negations and disjunctions run between such questions, recursion in rounds of them."""
    numbers = count(1)
    plan = execution.plan
    clauses = [(r.name, c.head, c.body) for stratum in plan.strata for r in stratum.relations for c in r.clauses]
    return "\n".join(_shown(*clause, numbers) for clause in (*clauses, ("rows", plan.columns, plan.body)))


def _shown(name: str, head: Sequence[Term], body: Body, numbers: Iterator[int]) -> str:
    calls = [(f"resolver_{next(numbers)}", variables_of(literal), literal) for literal in body]
    called = " & ".join(f"{resolver}({', '.join(map(str, variables))})" for resolver, variables, _ in calls)
    comments = [f"    # {resolver}: {literal}" for resolver, _, literal in calls]
    return "\n".join([f"{name}({', '.join(map(str, head))}) <= {called or 'True'}", *comments])


class _Evaluation:
    """The relations of one run, computed stratum by stratum."""

    def __init__(self, environment: Environment, engine: _Engine) -> None:
        self._environment = environment
        self._engine = engine
        self._budget = environment.execution.budget

    def stratum(self, stratum: Stratum) -> None:
        tables = self._environment.tables
        for relation in stratum.relations:
            tables[relation.name] = self._environment.table()
        fresh = {
            relation.name: tables[relation.name].add(
                row for clause in relation.clauses if not clause.variants for row in self.head(clause.head, clause.body)
            )
            for relation in stratum.relations
        }
        while stratum.recursive and any(fresh.values()):
            self._environment.deltas = {name: self._environment.table(rows) for name, rows in fresh.items()}
            fresh = self._round(stratum.relations)

    def _round(self, relations: Iterable[Relation]) -> dict[str, list[Row]]:
        """One semi-naive round: what follows from the rows the last round added (Bancilhon, 1986)."""
        found = {
            relation.name: [row for clause in relation.clauses for row in self._step(clause)] for relation in relations
        }
        return {name: self._environment.tables[name].add(rows) for name, rows in found.items()}

    def _step(self, clause: Clause) -> Iterator[Row]:
        deltas = self._environment.deltas
        for variant in clause.variants:
            first = variant[0]
            if not (isinstance(first, Call) and first.delta) or len(deltas[first.relation]):
                yield from self.head(clause.head, variant)

    def head(self, head: Sequence[Term], body: Body) -> Iterable[Row]:
        """The distinct rows a body gives for a head of variables, constants and parameters."""
        wanted = tuple(dict.fromkeys(term for term in head if isinstance(term, Variable)))
        found = self._body(body, UNIT, frozenset(wanted)).over(wanted)
        if wanted == tuple(head):
            return found.rows
        makers = [self._environment.maker(term, found.variables) for term in head]
        return [tuple(make(row) for make in makers) for row in found.rows]

    def _body(self, body: Body, found: Found, wanted: frozenset[Variable]) -> Found:
        """Extends rows literal by literal; each run of conjunctive literals is one pyDatalog query."""
        segment: list[Literal] = []
        for place, literal in enumerate(body):
            if not isinstance(literal, Negation | Disjunction):
                segment.append(literal)
                continue
            needed = wanted.union(body_variables(body[place:]))
            found = self._conjunction(segment, found, needed)
            segment = []
            if found.rows and isinstance(literal, Negation):
                found = self._without(literal, found)
            elif found.rows and isinstance(literal, Disjunction):
                found = self._union(literal, found, wanted.union(body_variables(body[place + 1 :])))
            if not found.rows:  # also where they have no variable, so that no resolver could stand for them
                break
        if not found.rows:
            every = tuple(dict.fromkeys((*found.variables, *body_variables(body))))
            return Found(every, [])
        return self._conjunction(segment, found, wanted)

    def _without(self, literal: Negation, found: Found) -> Found:
        """The rows for which the negated body has no solution."""
        shared = tuple(variable for variable in literal.shared if variable in found.variables)
        asked = found.over(shared)
        excluded = set(self._body(literal.body, asked, frozenset(shared)).over(shared).rows)
        places = [found.variables.index(variable) for variable in shared]
        kept = [row for row in found.rows if tuple(row[i] for i in places) not in excluded]
        return Found(found.variables, kept)

    def _union(self, literal: Disjunction, found: Found, needed: frozenset[Variable]) -> Found:
        """The rows extended by every branch; only what the branches use goes through them."""
        used = frozenset(variables_of(literal))
        shared = tuple(variable for variable in found.variables if variable in used)
        asked = found.over(shared)
        new = tuple(variable for variable in literal.variables if variable not in shared)
        extended = Table(  # one that tells equal values of different forms apart: each goes on with its own rows
            row
            for branch in literal.branches
            for row in self._body(branch, asked, frozenset((*shared, *new))).over((*shared, *new)).rows
        )
        if shared == found.variables:
            return Found((*shared, *new), extended.rows)
        places = [found.variables.index(variable) for variable in shared]
        columns = tuple(range(len(shared)))
        rows = (
            row + match[len(shared) :]
            for row in found.rows
            for match in extended.find(columns, tuple(row[i] for i in places))
        )
        every = (*found.variables, *new)
        return Found(every, list(rows)).over(tuple(v for v in every if v in needed or v in new))

    def _conjunction(self, literals: Sequence[Literal], found: Found, wanted: frozenset[Variable]) -> Found:
        if not literals:
            return found
        self._budget.check()
        every = dict.fromkeys((*found.variables, *(v for literal in literals for v in bound_by(literal))))
        variables = tuple(variable for variable in every if variable in wanted)
        resolvers = []
        if found.variables:
            resolvers.append(self._environment.rows(found.variables, self._environment.table(found.rows)))
        for literal in literals:
            resolvers.append(make_resolver(literal, self._environment))
        return Found(variables, self._engine.ask(variables, resolvers, self._environment))


Variables: TypeAlias = tuple[Variable, ...]


class _Engine:
    """A fresh pyDatalog knowledge base, asked through objects: text would be run as Python."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._prefix = f"tourlog_{next(_runs)}_"
        self._questions = count()
        self.limits_answers = False
        self.is_interrupted = False

    def ask(self, variables: Variables, resolvers: Sequence[Resolver], environment: Environment) -> list[Row]:
        """The distinct rows over `variables` that satisfy every resolver, in the order given.

        A constant goes in front of the terms: pyDatalog cannot tell an empty row from no row.
        """
        engine = self._engine
        front = _Pulse(lambda: self._check(environment.execution.budget))
        question = f"{self._prefix}{next(self._questions)}"
        names = {variable: engine.Var(f"V{place}") for place, variable in enumerate(every(resolvers))}
        registered = {
            f"{question}_{place}/{len(resolver.variables) + 1}": self._guarded(resolver, environment, front)
            for place, resolver in enumerate(resolvers)
        }
        body = [
            engine.Literal(key.rpartition("/")[0], [engine.Const(front), *(names[v] for v in resolver.variables)])
            for key, resolver in zip(registered, resolvers, strict=True)
        ]
        head = engine.Literal(question, [engine.Const(front), *(names[variable] for variable in variables)])
        engine.Python_resolvers.update(registered)
        try:
            engine.assert_(engine.Clause(head, body))
            answers = [answer[1:] for answer in head.ask()]
            engine.remove(head.pred)  # not after an interrupt: what is half put cannot be taken back, and the run ends
            return answers
        except BudgetError:
            let_go(_state(engine.Logic.tl.logic))
            raise
        finally:
            for key in registered:
                engine.Python_resolvers.pop(key, None)

    def _guarded(self, resolver: Resolver, environment: Environment, front: int) -> Callable[..., Iterator[Row]]:
        """A resolver as pyDatalog calls it: terms in (bound ones constant), whole rows out."""
        solve, tokens, firsts = resolver.solve, environment.tokens, environment.tokens.firsts

        def resolve(_: Any, *terms: Any) -> Iterator[Row]:
            given = tuple([term.id if term.is_const() else None for term in terms])
            for row in solve(given):
                yield (front, *(_kept(given, row, tokens) if firsts else row))

        return resolve

    def _check(self, budget: Budget) -> None:
        budget.check()
        if self.is_interrupted:
            raise KeyboardInterrupt
        goal = self._engine.Logic.tl.logic.Goal if self.limits_answers else None
        answers = goal.facts if goal is not None else None  # none while the question is still being put
        if isinstance(answers, dict):
            budget.count(len(answers))


def _state(logic: Any) -> Iterator[list[Any] | dict[Any, Any]]:
    """What pyDatalog holds when it is stopped amid a question."""
    for goal in (logic.Goal, *logic.Subgoals.values()):
        yield goal.waiters
        if goal.facts is not True:
            yield goal.facts
    yield logic.Tasks
    yield logic.Subgoals


class _Pulse(int):
    """A zero whose hash looks at the budget now and then. It stands in front of every row, so pyDatalog asks for its
    hash whenever it derives one: the only chance to stop its compiled code, which no signal interrupts."""

    def __new__(cls, check: Callable[[], None]) -> _Pulse:
        self = super().__new__(cls, 0)
        self._check, self._count = check, 0
        return self

    def __hash__(self) -> int:
        self._count += 1
        if not self._count % _CHECKED_EVERY:
            self._check()
        return 0

    _check: Callable[[], None]
    _count: int


def every(resolvers: Iterable[Resolver]) -> Variables:
    """The distinct variables of resolvers, in order."""
    return tuple(dict.fromkeys(variable for resolver in resolvers for variable in resolver.variables))


def _kept(given: tuple[int | None, ...], row: Row, tokens: Tokens) -> Row:
    """The row with what was given in place of its equals: pyDatalog compares tokens only."""
    return tuple(
        [own if bound is None or not tokens.equal(bound, own) else bound for bound, own in zip(given, row, strict=True)]
    )


@contextmanager
def _remembered_interrupts(engine: _Engine) -> Iterator[None]:
    """Ctrl-C is raised wherever Python code runs, and some of that is where exceptions get lost (a callback of a weak
    reference, say) or make others of what they leave half done: it is remembered until the engine comes by again, or
    ends."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def remember(_number: int, frame: Any) -> None:
        engine.is_interrupted = True
        if frame is None or frame.f_code.co_filename != weakref.__file__:  # half done, pyDatalog's tables have no end
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    except Exception as error:
        if engine.is_interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if engine.is_interrupted:
        raise KeyboardInterrupt


@contextmanager
def _own_logic() -> Iterator[_Engine]:
    """pyDatalog's state is one knowledge base a thread: put the caller's aside, and back afterwards."""
    from pyDatalog import pyEngine, pyParser  # heavy; imported when first needed
    from pyDatalog.Logic import Logic

    held = [(Logic.tl, "logic"), (pyEngine.Fresh_var.tl, "counter"), (pyParser.Thread_storage, "variables")]
    saved = [vars(holder).get(name, _ABSENT) for holder, name in held]
    Logic()
    pyEngine.Fresh_var.tl.counter = 0
    try:
        yield _Engine(pyEngine)
    finally:
        for (holder, name), value in zip(held, saved, strict=True):
            if value is _ABSENT:
                delattr(holder, name)
            else:
                setattr(holder, name, value)
