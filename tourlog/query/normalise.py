"""Clauses to literals: scopes made explicit (every inner variable renamed apart), scalar inputs made
parameters, rules that do not recurse spliced in where they are called. Says nothing of order or safety.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias

from tourlog.errors import QueryError, listed
from tourlog.query.deadline import pulse
from tourlog.query.functions import get_builtin
from tourlog.query.program import (
    Body,
    Compute,
    Disjunction,
    Filter,
    Literal,
    Negation,
    Parameter,
    Rows,
    RuleUse,
    Scan,
    Term,
)
from tourlog.query.syntax import (
    And,
    Argument,
    BindCollection,
    BindIgnore,
    Binding,
    BindRelation,
    BindScalar,
    BindTuple,
    Blank,
    Clause,
    FunctionCall,
    Not,
    Or,
    Pattern,
    Predicate,
    Rule,
    RuleCall,
    Source,
    Variable,
    binding_variables,
    term_variables,
)

Renaming: TypeAlias = Mapping[Variable, Term]
Rules: TypeAlias = Mapping[str, tuple[Rule, ...]]

_SPLICED_AT_MOST = 200
"""Literals spliced into one query; beyond, rules stay relations, so that plans cannot explode."""


@dataclass
class Scope:
    """What a clause is read in: the renaming in force, the source of `$`, and the query-wide context."""

    context: Context
    renaming: dict[Variable, Term]
    default_source: str = "$"

    def inner(self, renaming: dict[Variable, Term], default_source: str | None = None) -> Scope:
        return Scope(self.context, renaming, default_source or self.default_source)

    def source(self, source: Source) -> str:
        return self.default_source if source.name == "$" else source.name


@dataclass
class Context:
    """The rules of a query, which of them recurse, and which sources are plain collections."""

    rules: Rules
    recursive: frozenset[str]
    collections: frozenset[str]
    known_sources: frozenset[str]
    fresh: Iterator[int] = field(default_factory=count)
    spliced: int = 0

    def variable(self, name: str) -> Variable:
        """A variable like no other; `#` cannot stand in a variable that was written."""
        return Variable(f"{name.split('#')[0]}#{next(self.fresh)}")


def normalise(clauses: Sequence[Clause], scope: Scope) -> Body:
    """The literals of a conjunction, in the order written."""
    visible = frozenset(scope.renaming) | positive_variables(clauses)
    found: list[Literal] = []
    for clause in clauses:
        pulse()
        found += _clause(clause, scope, visible)
    return tuple(found)


def rule_body(rule: Rule, arguments: Sequence[Term], scope: Scope, source: str) -> Body:
    """The literals of one rule body with its parameters replaced by `arguments`."""
    renaming: dict[Variable, Term] = dict(zip(rule.parameters, arguments, strict=True))
    for variable in _by_name(positive_variables(rule.clauses) - renaming.keys()):
        renaming[variable] = scope.context.variable(variable.name)
    return normalise(rule.clauses, scope.inner(renaming, source))


def positive_variables(clauses: Iterable[Clause]) -> frozenset[Variable]:
    """The variables a conjunction exchanges with what surrounds it, those only a `not` uses left out."""
    found: set[Variable] = set()
    for clause in clauses:
        match clause:
            case Pattern(terms):
                found.update(term_variables(terms))
            case RuleCall(_, terms):
                found.update(term_variables(terms))
            case Predicate(_, arguments):
                found.update(term_variables(arguments))
            case FunctionCall(_, arguments, binding):
                found.update(term_variables(arguments), binding_variables(binding))
            case And(inner):
                found.update(positive_variables(inner))
            case Or(branches, variables):
                found.update(positive_variables(branches) if variables is None else variables)
            case Not():
                pass
    return frozenset(found)


def _all_variables(clauses: Iterable[Clause]) -> frozenset[Variable]:
    found = set(positive_variables(clauses))
    for clause in clauses:
        match clause:
            case Not(inner, variables):
                found.update(_all_variables(inner) if variables is None else variables)
            case And(inner):
                found.update(_all_variables(inner))
            case Or(branches, None):
                found.update(_all_variables(branches))
    return frozenset(found)


def _clause(clause: Clause, scope: Scope, visible: frozenset[Variable]) -> Iterator[Literal]:
    match clause:
        case Pattern():
            yield _pattern(clause, scope)
        case Predicate(function, arguments, place):
            name = _function(function, arguments, place, scope)
            yield Filter(name, _arguments(arguments, scope, place), place)
        case FunctionCall():
            yield from _compute(clause, scope)
        case And(inner):
            for each in inner:
                yield from _clause(each, scope, visible)
        case Not():
            yield _negation(clause, scope, visible)
        case Or():
            yield _disjunction(clause, scope, visible)
        case RuleCall():
            yield from _rule_call(clause, scope)


def _pattern(clause: Pattern, scope: Scope) -> Literal:
    source = _known(scope.source(clause.source), clause.place, scope)
    terms = tuple(_term(term, scope) for term in clause.terms)
    if source in scope.context.collections:
        return Rows(source, terms, clause.place)
    if len(terms) > 4:
        raise QueryError(
            f"expected at most 4 terms in a pattern over a database, got {len(terms)}{_at(clause.place)}",
            clause=clause,
        )
    e, a, v, tx = terms + (Blank(),) * (4 - len(terms))
    return Scan(source, e, a, v, tx, clause.place)


def _known(source: str, place: object, scope: Scope) -> str:
    if source not in scope.context.known_sources:
        raise QueryError(f"source {source} is not among :in{_at(place)}", source=source)
    return source


def _term(term: Term, scope: Scope) -> Term:
    return scope.renaming.get(term, term) if isinstance(term, Variable) else term


def _arguments(arguments: tuple[Argument, ...], scope: Scope, place: object) -> tuple[Term | Source, ...]:
    return tuple(
        Source(_known(scope.source(argument), place, scope))
        if isinstance(argument, Source)
        else _bindable(_term(argument, scope), scope)
        for argument in arguments
    )


def _bindable(term: Term, scope: Scope) -> Term:
    """A term an argument can take: a blank handed to a rule is a variable nobody else uses."""
    return scope.context.variable("_") if isinstance(term, Blank) else term


def _function(
    function: str | Variable, arguments: tuple[Argument, ...], place: object, scope: Scope
) -> str | Parameter:
    if isinstance(function, Variable):
        bound = scope.renaming.get(function)
        if not isinstance(bound, Parameter):
            raise QueryError(f"{function} is called, but it is no scalar input of the query{_at(place)}")
        return bound
    builtin = get_builtin(function)
    count = len(arguments)
    if count < builtin.minimum or (builtin.maximum is not None and count > builtin.maximum):
        expected = f"{builtin.minimum}" if builtin.maximum == builtin.minimum else f"at least {builtin.minimum}"
        if builtin.maximum is not None and builtin.maximum != builtin.minimum:
            expected = f"{builtin.minimum} to {builtin.maximum}"
        raise QueryError(
            f"({builtin.name} …) takes {expected} arguments, got {count}{_at(place)}", function=builtin.name
        )
    sources = [isinstance(argument, Source) for argument in arguments]
    if sources != [builtin.database and i == 0 for i in range(count)]:
        wanted = "takes a source such as $ first" if builtin.database else "takes no source"
        raise QueryError(f"({builtin.name} …) {wanted}{_at(place)}", function=builtin.name)
    return builtin.name


def _compute(clause: FunctionCall, scope: Scope) -> Iterator[Literal]:
    """A function call; where a variable it binds stands for a constant, an equality after it."""
    equalities: list[Literal] = []
    binding = _binding(clause.binding, scope, equalities)
    arguments = _arguments(clause.arguments, scope, clause.place)
    function = _function(clause.function, clause.arguments, clause.place, scope)
    yield Compute(function, arguments, binding, clause.place)
    yield from equalities


def _binding(binding: Binding, scope: Scope, equalities: list[Literal]) -> Binding:
    match binding:
        case BindScalar(variable):
            term = scope.renaming.get(variable, variable)
            if isinstance(term, Variable):
                return BindScalar(term)
            if isinstance(term, Blank):
                return BindIgnore()
            fresh = scope.context.variable(variable.name)
            equalities.append(Filter("=", (fresh, term)))
            return BindScalar(fresh)
        case BindCollection(element):
            return BindCollection(_binding(element, scope, equalities))
        case BindTuple(elements):
            return BindTuple(tuple(_binding(element, scope, equalities) for element in elements))
        case BindRelation(elements):
            return BindRelation(tuple(_binding(element, scope, equalities) for element in elements))
        case _:
            return binding


def _negation(clause: Not, scope: Scope, visible: frozenset[Variable]) -> Literal:
    inside = _all_variables(clause.clauses)
    shared = inside & visible if clause.variables is None else frozenset(clause.variables)
    if not shared:
        raise QueryError(
            f"`not` needs a variable in common with what surrounds it{_at(clause.place)}; inside it are "
            f"{_listed(inside)}, outside {_listed(visible)}",
            clause=clause,
        )
    unknown = shared - visible
    if unknown:
        raise QueryError(
            f"{_listed(unknown)} of `not-join` is bound nowhere outside it{_at(clause.place)}", clause=clause
        )
    renaming: dict[Variable, Term] = {v: scope.renaming.get(v, v) for v in _by_name(shared)}
    for variable in _by_name(positive_variables(clause.clauses) - shared):  # a `not` in it names those of its own
        renaming[variable] = scope.context.variable(variable.name)
    source = scope.source(clause.source)
    body = normalise(clause.clauses, scope.inner(renaming, source))
    outside = tuple(term for v in _by_name(shared) if isinstance(term := renaming[v], Variable))
    return Negation(body, outside, clause.place)


def _disjunction(clause: Or, scope: Scope, visible: frozenset[Variable]) -> Literal:
    exported = positive_variables(clause.branches) if clause.variables is None else frozenset(clause.variables)
    outer: dict[Variable, Term] = {v: scope.renaming.get(v, v) for v in _by_name(exported)}
    source = scope.source(clause.source)
    branches = []
    for branch in clause.branches:
        renaming = dict(outer)
        for variable in _by_name(_all_variables((branch,)) - exported):
            if clause.variables is None and variable in visible:
                renaming[variable] = scope.renaming.get(variable, variable)
            elif variable in positive_variables((branch,)):
                renaming[variable] = scope.context.variable(variable.name)
        branches.append(normalise(branch.clauses, scope.inner(renaming, source)))
    required = () if clause.variables is None else clause.variables[: clause.required]
    return Disjunction(
        tuple(branches),
        _only_variables(outer.values()),
        _only_variables(outer[variable] for variable in required),
        clause.place,
    )


def _rule_call(clause: RuleCall, scope: Scope) -> Iterator[Literal]:
    source = scope.source(clause.source)
    rules = find_rule(clause.name, len(clause.arguments), clause.place, scope.context.rules)
    terms = tuple(_term(term, scope) for term in clause.arguments)
    size = sum(len(rule.clauses) for rule in rules)
    context = scope.context
    if clause.name in context.recursive or context.spliced + size > _SPLICED_AT_MOST:
        yield RuleUse(clause.name, source, terms, clause.place)
        return
    context.spliced += size
    named = tuple(
        context.variable(parameter.name) if isinstance(term, Blank) else term
        for parameter, term in zip(rules[0].parameters, terms, strict=True)
    )
    required = _only_variables(named[: rules[0].required])
    branches = tuple(rule_body(rule, named, scope, source) for rule in rules)
    if len(branches) == 1 and not required and positive_variables(rules[0].clauses).issuperset(rules[0].parameters):
        yield from branches[0]
    else:
        yield Disjunction(branches, _only_variables(named), required, clause.place)


def find_rule(name: str, arity: int, place: object, rules: Rules) -> tuple[Rule, ...]:
    """The bodies of a rule, its name and arity checked."""
    if name not in rules:
        known = ", ".join(sorted(rules)) or "none"
        raise QueryError(f"unknown rule {name}{_at(place)}; the rules given are: {known}", rule=name)
    expected = len(rules[name][0].parameters)
    if arity != expected:
        raise QueryError(f"rule {name} takes {expected} arguments, got {arity}{_at(place)}", rule=name, arity=arity)
    return rules[name]


def rule_calls(clauses: Iterable[Clause], negated: bool = False) -> Iterator[tuple[RuleCall, bool]]:
    """Every rule call in clauses, with whether it stands inside a negation."""
    for clause in clauses:
        match clause:
            case RuleCall():
                yield clause, negated
            case Not(inner):
                yield from rule_calls(inner, True)
            case And(inner):
                yield from rule_calls(inner, negated)
            case Or(branches):
                yield from rule_calls(branches, negated)


def _by_name(variables: Iterable[Variable]) -> list[Variable]:
    """Variables in an order that is the same in every process, so that plans are."""
    return sorted(variables, key=str)


def _only_variables(terms: Iterable[Term]) -> tuple[Variable, ...]:
    return tuple(dict.fromkeys(term for term in terms if isinstance(term, Variable)))


def _listed(variables: Iterable[Variable]) -> str:
    return listed(sorted(map(str, variables))) or "none"


def _at(place: object) -> str:
    return f" ({place})" if place is not None else ""
