"""The oracle: the plainest evaluator of parsed queries there is, to judge the real engines by.

Facts are tuples, environments are dicts, every clause scans everything, rules are tabled by goal and
re-evaluated until no table grows. Shares only the syntax records with the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from oracle_functions import AGGREGATES, FUNCTIONS, NOTHING, OracleError
from oracle_pull import pull
from oracle_values import distinct, equal, key

from tourlog.query import syntax as ast


class OracleUnsafe(OracleError):
    """The program cannot be evaluated: something stays unbound, or recursion runs through negation."""


@dataclass(frozen=True)
class Facts:
    """A database: facts (e, a, v, tx), and the documents by entity key for `pull`."""

    facts: tuple[tuple[Any, ...], ...]
    documents: dict[Any, dict[str, Any]] = field(default_factory=dict)

    def values(self, e: Any, a: str) -> list[Any]:
        found = self.by_attribute.get(a, ()) if isinstance(a, str) else ()
        return [fact[2] for fact in found if equal(fact[0], e)]

    @cached_property
    def by_attribute(self) -> dict[str, list[tuple[Any, ...]]]:
        """Only to spare looking at facts that cannot match."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        for fact in self.facts:
            found.setdefault(fact[1], []).append(fact)
        return found

    def candidates(self, terms: Any) -> Iterable[tuple[Any, ...]]:
        """The facts a pattern may match; the system's own attributes can be reached by name only."""
        if len(terms) > 4:
            raise OracleUnsafe(f"{len(terms)} terms over a database")
        match terms:
            case [_, ast.Constant(name), *_]:
                return self.by_attribute.get(name, ()) if isinstance(name, str) else ()
        return (fact for fact in self.facts if not fact[1].startswith("db/"))


@dataclass(frozen=True)
class Answer:
    """What a query gives: the find shape, the rows in order, and whether that order was asked for."""

    shape: str
    rows: list[Any]
    ordered: bool

    @property
    def value(self) -> Any:
        if self.shape == "relation":
            return self.rows
        if self.shape == "collection":
            return [row[0] for row in self.rows]
        first = self.rows[0] if self.rows else None
        return first[0] if first is not None and self.shape == "scalar" else first


Env = dict[str, Any]


def answer(query: ast.Query, inputs: Iterable[Any], rules: Iterable[ast.Rule] = ()) -> Answer:
    """The answer of `query` to `inputs`: a `Facts` or plain tuples for a source; `%` takes no input here."""
    sources: dict[str, Any] = {}
    environments: list[Env] = [{}]
    wanted_inputs = [wanted for wanted in query.inputs if not isinstance(wanted, ast.RulesInput)]
    if len(wanted_inputs) != len(inputs := list(inputs)):
        raise OracleError(f"{len(wanted_inputs)} inputs expected, {len(inputs)} given")
    for wanted, value in zip(wanted_inputs, inputs, strict=True):
        if isinstance(wanted, ast.Source):
            sources[wanted.name] = value if isinstance(value, Facts) else collection(value)
        else:
            environments = [bound for env in environments for bound in bind(wanted, value, env)]
    return shape(query, Program(sources, tuple(rules)).run(query, environments), sources)


# Which variables a clause mentions, and which it can bind.


def names(variables: Iterable[Any]) -> frozenset[str]:
    return frozenset(v.name for v in variables if isinstance(v, ast.Variable))


def bound_names(binding: ast.Binding) -> frozenset[str]:
    return names(ast.binding_variables(binding))


def union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)


def mentions(clause: ast.Clause) -> frozenset[str]:
    """The variables of a clause that its surroundings can see."""
    match clause:
        case ast.Pattern(terms):
            return names(terms)
        case ast.Predicate(function, arguments):
            return names((function, *arguments))
        case ast.FunctionCall(function, arguments, binding):
            return names((function, *arguments)) | bound_names(binding)
        case ast.RuleCall(_, arguments):
            return names(arguments)
        case ast.Not(_, variables) | ast.Or(_, variables) if variables is not None:
            return names(variables)
        case ast.Or(branches):
            return union(mentions(branch) for branch in branches)
    return union(mentions(inner) for inner in clause.clauses)


def binds(clause: ast.Clause) -> frozenset[str]:
    """The variables a clause can give a value to."""
    match clause:
        case ast.Pattern(terms):
            return names(terms)
        case ast.FunctionCall(_, _, binding):
            return bound_names(binding)
        case ast.RuleCall(_, arguments):
            return names(arguments)
        case ast.And(clauses):
            return union(binds(inner) for inner in clauses)
        case ast.Or(branches, variables, required):
            everywhere = frozenset.intersection(*(binds(branch) for branch in branches))
            return everywhere if variables is None else everywhere & names(variables[required:])
    return frozenset()


def flat(clauses: Any) -> Any:
    """The clauses of a conjunction: an `and` within it is no more than its clauses."""
    for clause in clauses:
        if isinstance(clause, ast.And):
            yield from flat(clause.clauses)
        else:
            yield clause


def exports(clause: ast.Clause) -> frozenset[str]:
    """The variables that have a value once a clause has been evaluated."""
    match clause:
        case ast.Not():
            return frozenset()
        case ast.And(clauses) | ast.Or(clauses, None):
            return union(exports(inner) for inner in clauses)
    return mentions(clause)


class Program:
    """Rules over sources: orders clauses so that they can be evaluated, and evaluates them."""

    def __init__(self, sources: dict[str, Any], rules: tuple[ast.Rule, ...]) -> None:
        self.sources = sources
        self.rules: dict[str, list[ast.Rule]] = {}
        for rule in rules:
            self.rules.setdefault(rule.name, []).append(rule)
        self.assumed: set[Any] = set()
        self.unsafe: set[Any] = set()
        self.orders: dict[Any, Any] = {}
        self.tables: dict[Any, dict[Any, tuple[Any, ...]]] = {}
        self.goals: dict[Any, Env] = {}
        self.changed = False
        self.negations: dict[Any, bool] = {}

    def run(self, query: ast.Query, environments: list[Env]) -> list[Env]:
        bound = union(bound_names(i) for i in query.inputs if not isinstance(i, ast.Source | ast.RulesInput))
        self.check_negation(query.where)
        while True:  # greatest fixpoint: every rule call is safe until shown otherwise
            known, self.assumed, self.orders = len(self.unsafe), set(), {}
            try:
                _, after = self.order(query.where, bound, bound)
            except OracleUnsafe:
                if len(self.unsafe) == known:
                    raise
            else:
                if len(self.unsafe) == known:
                    break
        wanted = names(query.with_) | union(map(element_names, query.find.elements))
        if not wanted <= after:
            raise OracleUnsafe(f"never bound: {sorted(wanted - after)}")
        return [e for env in environments for e in self.complete(query.where, env, bound, "$")]

    # Order: what can be evaluated when. All conditions are monotone in `bound`, so greedy is complete.

    def order(self, clauses: Any, bound: frozenset[str], scope: frozenset[str]) -> tuple[Any, frozenset[str]]:
        """The clauses (each with its scope) in an order that works, and what is bound after them."""
        memo = (id(clauses), bound, scope)
        if memo not in self.orders:
            inner = scope | bound | union(map(binds, clauses))
            waiting, ordered, after = list(flat(clauses)), [], bound
            while waiting:
                ready = next((c for c in waiting if self.ready(c, after, inner)), None)
                if ready is None:
                    raise OracleUnsafe(f"unbound: {'; '.join(map(repr, waiting))}")
                waiting.remove(ready)
                ordered.append((ready, inner))
                after |= exports(ready)
            self.orders[memo] = ordered, after, clauses  # keeps `clauses` alive, and so its id unique
        return self.orders[memo][:2]

    def can(self, clauses: Any, bound: frozenset[str], scope: frozenset[str], wanted: frozenset[str]) -> bool:
        try:
            return wanted <= self.order(clauses, bound, scope)[1]
        except OracleUnsafe:
            return False

    def ready(self, clause: ast.Clause, bound: frozenset[str], scope: frozenset[str]) -> bool:
        match clause:
            case ast.Predicate(function, arguments) | ast.FunctionCall(function, arguments):
                return names((function, *arguments)) <= bound
            case ast.Not(clauses, None):
                shared = mentions(clause) & scope
                if not shared:
                    raise OracleUnsafe(f"nothing in common: {clause}")
                return shared <= bound and self.can(clauses, shared, shared, frozenset())
            case ast.Not(clauses, variables):
                joined = names(variables)
                return joined <= bound and self.can(clauses, joined, joined, frozenset())
            case ast.Or(branches, None):
                free = union(exports(b) for b in branches)
                return all(self.can(b.clauses, bound, scope, free) for b in branches)
            case ast.Or(branches, variables, required):
                joined = names(variables)
                if not names(variables[:required]) <= bound:
                    return False
                return all(self.can(b.clauses, bound & joined, joined, joined) for b in branches)
            case ast.RuleCall(name, arguments):
                mask = tuple(not isinstance(a, ast.Blank) and names([a]) <= bound for a in arguments)
                return self.rule_ready(name, mask)
        return True

    def rule_ready(self, name: str, mask: tuple[bool, ...]) -> bool:
        if name not in self.rules:
            raise OracleUnsafe(f"unknown rule {name}")
        if (name, mask) not in self.assumed and (name, mask) not in self.unsafe:
            self.assumed.add((name, mask))
            if not all(self.body_ready(rule, mask) for rule in self.rules[name]):
                self.unsafe.add((name, mask))
        return (name, mask) not in self.unsafe

    def body_ready(self, rule: ast.Rule, mask: tuple[bool, ...]) -> bool:
        if len(rule.parameters) != len(mask):
            raise OracleUnsafe(f"{rule.name} takes {len(rule.parameters)} arguments")
        given = names(p for p, known in zip(rule.parameters, mask, strict=True) if known)
        if not names(rule.parameters[: rule.required]) <= given:
            return False
        return self.can(rule.clauses, given, names(rule.parameters), names(rule.parameters))

    def check_negation(self, where: Any) -> None:
        """Refuse rules that depend on their own negation."""
        edges = {n: list(self.calls([c for r in rules for c in r.clauses])) for n, rules in self.rules.items()}
        reach = {name: {callee for callee, _ in calls} for name, calls in edges.items()}
        for _ in reach:
            for name in reach:
                reach[name] |= {far for near in reach[name] for far in reach.get(near, ())}
        used = {name for name, _ in self.calls(where)}
        for name in used | {far for near in used for far in reach.get(near, ())}:
            for callee, negated in edges.get(name, ()):
                if negated and (callee == name or name in reach.get(callee, ())):
                    raise OracleUnsafe(f"recursion through negation: {name}, {callee}")

    def calls(self, clauses: Any, negated: bool = False) -> Iterator[tuple[str, bool]]:
        for clause in clauses:
            match clause:
                case ast.RuleCall(name):
                    yield name, negated
                case ast.Not(inner):
                    yield from self.calls(inner, True)
                case ast.And(inner) | ast.Or(inner):
                    yield from self.calls(inner, negated)

    # Evaluation.

    def complete(self, clauses: Any, env: Env, scope: frozenset[str], default: str) -> list[Env]:
        """Every environment that extends `env` and satisfies `clauses`, all rule tables being complete."""
        outer = self.tables, self.goals, self.changed
        self.tables, self.goals, self.changed = {}, {}, True
        found: list[Env] = []
        while self.changed:
            self.changed = False
            found = self.solve(clauses, env, scope, default)
            for goal in list(self.tables):
                self.extend(goal)
        self.tables, self.goals, self.changed = outer
        return found

    def extend(self, goal: Any) -> None:
        name, default, _ = goal
        for rule in self.rules[name]:
            params = [p.name for p in rule.parameters]
            given = [(p, self.goals[goal][i]) for i, p in enumerate(params) if i in self.goals[goal]]
            env = dict(given)
            if all(equal(env[p], value) for p, value in given):
                for found in self.solve(rule.clauses, env, frozenset(params), default):
                    row = tuple(found[p] for p in params)
                    if key(row) not in self.tables[goal]:
                        self.tables[goal][key(row)] = row
                        self.changed = True

    def solve(self, clauses: Any, env: Env, scope: frozenset[str], default: str) -> list[Env]:
        environments = [env]
        for clause, inner in self.order(clauses, frozenset(env), scope)[0]:
            environments = [e for old in environments for e in self.step(clause, old, inner, default)]
            environments = list({envkey(e): e for e in environments}.values())
        return environments

    def step(self, clause: ast.Clause, env: Env, scope: frozenset[str], default: str) -> Iterator[Env]:
        match clause:
            case ast.Pattern(terms, source):
                yield from self.match(terms, self.source(source, default), env)
            case ast.Predicate(function, arguments):
                result = self.call(function, arguments, env, default)
                if result is not None and result is not False and result is not NOTHING:
                    yield env
            case ast.FunctionCall(function, arguments, binding):
                result = self.call(function, arguments, env, default)
                if result is not NOTHING:
                    yield from bind(binding, result, env)
            case ast.Or(branches, variables, _, source):
                joined = scope if variables is None else names(variables)
                inside = {name: value for name, value in env.items() if name in joined}
                for branch in branches:
                    for found in self.solve(branch.clauses, inside, joined, self.named(source, default)):
                        yield env | {name: found[name] for name in joined & found.keys()}
            case ast.Not():
                if not self.holds(clause, env, scope, default):
                    yield env
            case ast.RuleCall(name, arguments):
                for row in self.table(name, arguments, env, self.named(clause.source, default)):
                    yield from unify(arguments, row, env)

    def holds(self, clause: ast.Not, env: Env, scope: frozenset[str], default: str) -> bool:
        joined = mentions(clause) & scope if clause.variables is None else names(clause.variables)
        inside = {name: value for name, value in env.items() if name in joined}
        memo = (id(clause), default, envkey(inside))
        if memo not in self.negations:
            source = self.named(clause.source, default)
            self.negations[memo] = bool(self.complete(clause.clauses, inside, joined, source))
        return self.negations[memo]

    def table(self, name: str, arguments: Any, env: Env, default: str) -> list[tuple[Any, ...]]:
        given: dict[int, Any] = {}
        for i, argument in enumerate(arguments):
            if isinstance(argument, ast.Constant):
                given[i] = argument.value
            elif isinstance(argument, ast.Variable) and argument.name in env:
                given[i] = env[argument.name]
        goal = (name, default, tuple((i, key(value)) for i, value in given.items()))
        if goal not in self.tables:
            self.tables[goal], self.goals[goal], self.changed = {}, given, True
        return list(self.tables[goal].values())

    def match(self, terms: Any, source: Any, env: Env) -> Iterator[Env]:
        for row in source.candidates(terms) if isinstance(source, Facts) else source:
            if len(row) >= len(terms):
                yield from unify(terms, row, env)

    def named(self, source: ast.Source, default: str) -> str:
        return default if source.name == "$" else source.name

    def source(self, source: ast.Source, default: str) -> Any:
        name = self.named(source, default)
        if name not in self.sources:
            raise OracleUnsafe(f"no source {name}")
        return self.sources[name]

    def call(self, function: Any, arguments: Any, env: Env, default: str) -> Any:
        values = [self.argument(argument, env, default) for argument in arguments]
        if isinstance(function, ast.Variable):
            result = env[function.name](*values)
            return NOTHING if result is None else result
        function = function.removeprefix("clojure.string/").removeprefix("clojure.core/")
        if function not in FUNCTIONS:
            raise OracleUnsafe(f"unknown function {function}")
        try:
            return FUNCTIONS[function](*values)
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, re.error) as error:
            raise OracleError(f"({function} {values}): {error!r}") from error

    def argument(self, argument: Any, env: Env, default: str) -> Any:
        match argument:
            case ast.Source():
                return self.source(argument, default)
            case ast.Variable(name):
                return env[name]
        return argument.value


def envkey(env: Env) -> Any:
    return frozenset((name, key(value)) for name, value in env.items())


def unify(terms: Any, row: Any, env: Env) -> Iterator[Env]:
    found: Env = {}
    for term, value in zip(terms, row, strict=False):
        match term:
            case ast.Constant() if not equal(term.value, value):
                return
            case ast.Variable(name) if not equal(env[name] if name in env else found.setdefault(name, value), value):
                return
    yield env | found


def bind(binding: ast.Binding, value: Any, env: Env) -> Iterator[Env]:
    """Every environment that `value`, taken apart as `binding` says, makes of `env`."""
    match binding:
        case ast.BindScalar(variable):
            if equal(env.get(variable.name, value), value):
                yield env | {variable.name: env.get(variable.name, value)}
        case ast.BindIgnore():
            yield env
        case ast.BindTuple(elements):
            yield from bind_row(elements, sequence(value), env)
        case ast.BindCollection(element):
            yield from (found for each in collection(value) for found in bind(element, each, env))
        case ast.BindRelation(elements):
            yield from (e for each in collection(value) for e in bind_row(elements, sequence(each), env))


def bind_row(elements: Any, values: Any, env: Env) -> Iterator[Env]:
    if len(values) < len(elements):
        raise OracleError(f"too few values in {values!r}")
    environments = [env]
    for element, value in zip(elements, values, strict=False):
        environments = [found for old in environments for found in bind(element, value, old)]
    yield from environments


def sequence(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise OracleError(f"cannot take {value!r} apart")
    return value


def collection(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise OracleError(f"not a collection: {value!r}")
    return list(value)


# Find.


def element_names(element: ast.FindElement) -> frozenset[str]:
    match element:
        case ast.Variable(name):
            return frozenset([name])
        case ast.Aggregate(function, arguments):
            return names((function, *arguments))
        case ast.Pull(variable, pattern):
            return names((variable, pattern))


def shape(query: ast.Query, environments: list[Env], sources: dict[str, Any]) -> Answer:
    elements = query.find.elements
    wanted = sorted(names(query.with_) | union(map(element_names, elements)))
    environments = list({envkey({n: e[n] for n in wanted}): e for e in environments}.values())
    groups: dict[Any, list[Env]] = {}
    for env in environments:
        plain = [env[grouped(e).name] for e in elements if not isinstance(e, ast.Aggregate)]
        groups.setdefault(key(plain), []).append(env)
    rows = distinct(tuple(column(e, group) for e in elements) for group in groups.values())
    rows.sort(key=key)
    for order in reversed(query.order_by):
        rows.sort(key=lambda row, order=order: key(row[order.column]), reverse=order.descending)
    rows = rows[query.offset :][: query.limit]
    rows = [
        tuple(pulled(e, value, sources, environments[0]) for e, value in zip(elements, row, strict=True))
        for row in rows
    ]
    if query.keys:
        rows = [dict(zip(query.keys, row, strict=True)) for row in rows]
    return Answer(query.find.shape, rows, bool(query.order_by))


def grouped(element: Any) -> ast.Variable:
    return element.variable if isinstance(element, ast.Pull) else element


def column(element: ast.FindElement, group: list[Env]) -> Any:
    match element:
        case ast.Variable(name) | ast.Pull(ast.Variable(name)):
            return group[0][name]
    *arguments, last = element.arguments
    given = [group[0][a.name] if isinstance(a, ast.Variable) else a.value for a in arguments]
    values = [env[last.name] for env in group]
    if isinstance(element.function, ast.Variable):
        return group[0][element.function.name](*given, values)
    if element.function not in AGGREGATES:
        raise OracleUnsafe(f"unknown aggregate {element.function}")
    try:
        return AGGREGATES[element.function](*given, values)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise OracleError(f"({element.function} {values}): {error!r}") from error


def pulled(element: ast.FindElement, value: Any, sources: dict[str, Any], env: Env) -> Any:
    """A column's value, or the document that stands for the entity; a pattern of `:in` is the same in every row."""
    if not isinstance(element, ast.Pull):
        return value
    pattern = env[element.pattern.name] if isinstance(element.pattern, ast.Variable) else element.pattern
    return pull(sources[element.source.name], pattern, value)
