"""From a parsed query to a plan: rules resolved, scopes made explicit, access paths recognised, clauses put
in a safe order, recursion restricted to what is asked for, relations sorted into strata.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter

from tourlog.errors import QueryError
from tourlog.query.aggregates import get_aggregate
from tourlog.query.arrange import Arranger
from tourlog.query.deadline import pulse
from tourlog.query.linear import made_linear
from tourlog.query.normalise import Context, Rules, Scope, find_rule, normalise, rule_calls
from tourlog.query.program import (
    Body,
    Call,
    Clause,
    Given,
    Literal,
    Negation,
    Parameter,
    Plan,
    Relation,
    Stratum,
    bodies_of,
    bound_by,
    walk,
)
from tourlog.query.relations import build_relations, factor_right_linear
from tourlog.query.slices import recognise_slices
from tourlog.query.syntax import (
    Aggregate,
    BindCollection,
    BindIgnore,
    Binding,
    BindRelation,
    BindScalar,
    BindTuple,
    Pull,
    Query,
    Rule,
    Source,
    Variable,
    binding_variables,
)


def make_plan(query: Query, rules: Sequence[Rule] = (), collections: frozenset[str] = frozenset()) -> Plan:
    """The plan of a query with these rules; `collections` are the sources that are no database.

    Raises QueryError for what can never run: an unbound variable, an unknown rule, recursion through
    negation.
    """
    grouped = _grouped(rules)
    parameters, given = _inputs(query)
    reachable = _reachable(query, grouped)
    components = _components(grouped, reachable)
    _refuse_negative_cycles(grouped, components)
    _check_calls(grouped, reachable)
    grouped = made_linear(grouped, components)
    components = _components(grouped, _reachable(query, grouped))
    sources = frozenset(entry.name for entry in query.inputs if isinstance(entry, Source))
    context = Context(grouped, _recursive(grouped, components), collections, sources)
    scope = Scope(context, dict(parameters))
    for literal in given:
        scope.renaming.update((variable, variable) for variable in literal.variables)
    body = recognise_slices((*given, *normalise(query.where, scope)))
    columns = _columns(query, parameters)
    wanted = [column for column in columns if isinstance(column, Variable)]
    body, relations = build_relations(body, scope, wanted, components)
    relations = factor_right_linear(relations)
    strata = _strata(_needed(relations, body))
    return Plan(query, strata, body, columns, tuple(v.name for v in parameters))


def _grouped(rules: Sequence[Rule]) -> Rules:
    grouped: dict[str, tuple[Rule, ...]] = {}
    for rule in rules:
        others = grouped.get(rule.name, ())
        if others and len(others[0].parameters) != len(rule.parameters):
            raise QueryError(
                f"rule {rule.name} is given with {len(others[0].parameters)} and with "
                f"{len(rule.parameters)} parameters",
                rule=rule.name,
            )
        grouped[rule.name] = (*others, rule)
    return grouped


def _inputs(query: Query) -> tuple[dict[Variable, Parameter], list[Given]]:
    """Scalars become parameters; collections and relations, literals that give their rows."""
    parameters: dict[Variable, Parameter] = {}
    given = []
    for position, entry in enumerate(query.inputs):
        match entry:
            case BindScalar() | BindTuple() if _is_single(entry):
                for variable in binding_variables(entry):
                    parameters[variable] = Parameter(variable.name)
            case BindScalar() | BindTuple() | BindCollection() | BindRelation():
                given.append(Given(position, binding_variables(entry)))
    return parameters, given


def _is_single(binding: Binding) -> bool:
    """Whether a binding takes its variables from one row."""
    match binding:
        case BindScalar() | BindIgnore():
            return True
        case BindTuple(elements):
            return all(map(_is_single, elements))
        case _:
            return False


def _columns(query: Query, parameters: Mapping[Variable, Parameter]) -> tuple[Variable | Parameter, ...]:
    """The distinct variables that find and with need a row over."""
    wanted: list[Variable] = []
    for element in query.find.elements:
        match element:
            case Variable():
                wanted.append(element)
            case Pull(variable):
                wanted.append(variable)
            case Aggregate(_, arguments):
                _check_aggregate(element)
                wanted.extend(argument for argument in arguments if isinstance(argument, Variable))
    wanted.extend(query.with_)
    return tuple(parameters.get(variable, variable) for variable in dict.fromkeys(wanted))


def _check_aggregate(element: Aggregate) -> None:
    if isinstance(element.function, Variable):
        return
    aggregate, before = get_aggregate(element.function), len(element.arguments) - 1
    if not aggregate.minimum <= before <= aggregate.maximum:
        raise QueryError(
            f"({aggregate.name} …) takes {aggregate.minimum} to {aggregate.maximum} constants before its "
            f"variable, got {before}",
            function=aggregate.name,
        )


def _reachable(query: Query, rules: Rules) -> set[str]:
    waiting = [call.name for call, _ in rule_calls(query.where)]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in rules and name not in found:
            found.add(name)
            waiting.extend(call.name for rule in rules[name] for call, _ in rule_calls(rule.clauses))
    return found


def _components(rules: Rules, reachable: Iterable[str]) -> dict[str, frozenset[str]]:
    """For each rule, the rules that call each other with it, itself included."""
    calls = {name: {call.name for rule in rules[name] for call, _ in rule_calls(rule.clauses)} for name in reachable}
    return _strongly_connected(calls)


def _strongly_connected(edges: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    reach = {node: _reach(node, edges) for node in edges}
    return {
        node: frozenset({node} | {other for other in reach[node] if other in reach and node in reach[other]})
        for node in edges
    }


def _reach(start: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(edges[start])
    while waiting:
        pulse()
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(edges.get(node, ()))
    return found


def _recursive(rules: Rules, components: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset(
        name
        for name, component in components.items()
        if len(component) > 1 or any(call.name == name for rule in rules[name] for call, _ in rule_calls(rule.clauses))
    )


def _check_calls(rules: Rules, reachable: Iterable[str]) -> None:
    """Refuse calls with too few or too many arguments before anything counts on them."""
    for name in sorted(reachable):
        for rule in rules[name]:
            for call, _ in rule_calls(rule.clauses):
                if call.name in rules:
                    find_rule(call.name, len(call.arguments), call.place, rules)


def _refuse_negative_cycles(rules: Rules, components: Mapping[str, frozenset[str]]) -> None:
    for name, component in components.items():
        for rule in rules[name]:
            for call, negated in rule_calls(rule.clauses):
                if negated and call.name in component:
                    back = _path(call.name, name, rules)
                    cycle = " -> ".join([name, f"not {call.name}", *back])
                    raise QueryError(f"recursion through negation: {cycle}", cycle=(name, call.name, *back))


def _path(start: str, goal: str, rules: Rules) -> list[str]:
    """The rules on a shortest way from `start` to `goal`, without `start`."""
    came_from: dict[str, str] = {}
    waiting = [start]
    while waiting and start != goal:
        name = waiting.pop(0)
        for rule in rules.get(name, ()):
            for call, _ in rule_calls(rule.clauses):
                if call.name not in came_from and call.name != start:
                    came_from[call.name] = name
                    waiting.append(call.name)
    way = [] if start == goal else [goal]
    while way and came_from[way[0]] != start:
        way.insert(0, came_from[way[0]])
    return way


def _needed(relations: Mapping[str, Relation], body: Body) -> dict[str, Relation]:
    """The relations the body depends on."""
    needed: dict[str, Relation] = {}
    waiting = list(_called(body))
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = relations[name]
            waiting.extend(other for clause in relations[name].clauses for other in _called(clause.body))
    return needed


def _called(body: Iterable[Literal]) -> dict[str, None]:
    return {literal.relation: None for literal in walk(body) if isinstance(literal, Call)}


def _strata(relations: Mapping[str, Relation]) -> tuple[Stratum, ...]:
    """The relations grouped by mutual recursion, those they depend on first."""
    edges = {
        name: {other: None for clause in relation.clauses for other in _called(clause.body)}
        for name, relation in relations.items()
    }
    components = _strongly_connected(edges)
    order = TopologicalSorter(
        {
            component: {components[other] for name in component for other in edges[name]} - {component}
            for component in components.values()
        }
    ).static_order()
    return tuple(_stratum([relations[name] for name in edges if name in group], edges, group) for group in order)


def _stratum(relations: Sequence[Relation], edges: Mapping[str, Mapping[str, None]], group: frozenset[str]) -> Stratum:
    recursive = any(other in group for name in group for other in edges[name])
    if not recursive:
        return Stratum(tuple(relations), False)
    for relation in relations:
        for clause in relation.clauses:
            _refuse_nested_recursion(clause.body, group)
    return Stratum(
        tuple(replace(r, clauses=tuple(_with_variants(clause, group) for clause in r.clauses)) for r in relations),
        True,
    )


def _refuse_nested_recursion(body: Body, group: frozenset[str]) -> None:
    """A relation inside a negation must be finished: asking only for what is needed can make that fail."""
    for literal in body:
        inner = {name for nested in bodies_of(literal) for name in _called(nested)}
        if isinstance(literal, Negation) and inner & group:
            raise QueryError(
                f"cannot compute {literal}: what it negates depends on its own answer through the variables "
                "bound before it; bind them inside the `not` as well",
                clause=str(literal),
            )


def _with_variants(clause: Clause, group: frozenset[str]) -> Clause:
    arranger = Arranger(lambda _use, _bound: False)
    variants = []
    for place, literal in enumerate(clause.body):
        if isinstance(literal, Call) and literal.relation in group:
            rest = clause.body[:place] + clause.body[place + 1 :]
            first = replace(literal, delta=True)
            variants.append((first, *arranger.arrange(rest, frozenset(bound_by(first)))))
    if any(name in group for literal in clause.body for body in bodies_of(literal) for name in _called(body)):
        variants.append(clause.body)  # a call nested deeper has no delta of its own: run the whole body again
    return replace(clause, variants=tuple(variants))
