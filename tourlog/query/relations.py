"""Rules that recurse become relations, computed only for the arguments a query asks for.

Each rule is taken once for each set of argument positions bound where it is called; a `wanted` relation
collects the values asked for and restricts the rule to them (the magic sets of Bancilhon, Maier, Sagiv and
Ullman, 1986). Every choice rests on the order `arrange` gives a body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from tourlog.errors import QueryError
from tourlog.query.arrange import Arranger, Bound, Unsafe
from tourlog.query.normalise import Scope, find_rule, rule_body, rule_calls
from tourlog.query.program import (
    Body,
    Call,
    Clause,
    Disjunction,
    Literal,
    Negation,
    Relation,
    RuleUse,
    Term,
    bodies_of,
    body_variables,
    bound_by,
    variables_of,
    walk,
    with_bodies,
)
from tourlog.query.slices import recognise_slices
from tourlog.query.syntax import Blank, Variable

_MOST_CLAUSES = 1000
"""Clauses one rule body may be multiplied out to, where `or` stands around recursive calls."""


@dataclass(frozen=True, slots=True)
class Demand:
    """A rule, the source it reads, and the argument positions that are bound where it is called.

    What a query's `not` asks for, and what is called after it, goes to a `copy` of the rule's relations: were
    they shared with the calls before it, the `not` could wait for an answer that waits for the `not`.
    """

    rule: str
    source: str
    positions: tuple[int, ...]
    copy: int = 0


def build_relations(
    body: Body, scope: Scope, wanted_columns: Sequence[Variable], components: Mapping[str, frozenset[str]]
) -> tuple[Body, dict[str, Relation]]:
    """The query's body arranged, its rule calls turned into relation calls, and those relations.

    Assumes every call safe and starts over when one turns out not to be, so mutual recursion needs no
    special case. Raises QueryError when the body itself cannot be arranged.
    """
    unsafe: dict[Demand, Unsafe] = {}
    while True:
        builder = _Builder(scope, components, unsafe)
        try:
            return builder.main(body, wanted_columns), builder.relations()
        except _FoundUnsafe as found:
            unsafe[found.demand] = found.reason
        except Unsafe as problem:
            raise _root_cause(problem, unsafe).error() from None


class _FoundUnsafe(Exception):
    def __init__(self, demand: Demand, reason: Unsafe) -> None:
        super().__init__(demand.rule)
        self.demand, self.reason = demand, reason


def _root_cause(problem: Unsafe, unsafe: Mapping[Demand, Unsafe]) -> Unsafe:
    """The clause inside a rule that made its call unsafe, if that is what the problem is."""
    rules = {literal.rule for literal in walk((problem.literal,)) if isinstance(literal, RuleUse)}
    return next((reason for demand, reason in unsafe.items() if demand.rule in rules), problem)


class _Builder:
    """One attempt at the relations of a query, under the assumption that only `unsafe` demands are unsafe."""

    def __init__(self, scope: Scope, components: Mapping[str, frozenset[str]], unsafe: Mapping[Demand, Unsafe]) -> None:
        self._scope = scope
        self._components = components
        self._unsafe = unsafe
        self._arranger = Arranger(self._is_safe)
        self._clauses: dict[str, list[Clause]] = {}
        self._waiting: list[Demand] = []
        self._names: dict[Demand, str] = {}
        self._prefixes = count(1)
        self._copy = 0

    def main(self, body: Body, wanted_columns: Sequence[Variable]) -> Body:
        arranged = self._arranger.arrange(body, frozenset())
        bound = frozenset().union(*map(bound_by, arranged))
        unbound = tuple(variable for variable in wanted_columns if variable not in bound)
        if unbound:
            raise Unsafe(arranged[-1] if arranged else Disjunction((), unbound), unbound)
        return self._call_relations(arranged, wanted_columns)

    def relations(self) -> dict[str, Relation]:
        while self._waiting:
            self._define(self._waiting.pop())
        return {
            name: Relation(name, len(clauses[0].head), tuple(dict.fromkeys(clauses)))
            for name, clauses in self._clauses.items()
        }

    # Safety.

    def _is_safe(self, use: RuleUse, bound: Bound) -> bool:
        demand = self._demand(use, bound)
        required = find_rule(use.rule, len(use.terms), use.place, self._scope.context.rules)[0].required
        return demand not in self._unsafe and all(place in demand.positions for place in range(required))

    def _demand(self, use: RuleUse, bound: Bound) -> Demand:
        positions = tuple(
            place
            for place, term in enumerate(use.terms)
            if (term in bound if isinstance(term, Variable) else not isinstance(term, Blank))
        )
        return Demand(use.rule, use.source, positions)

    # The query's own body.

    def _call_relations(self, arranged: Body, wanted_columns: Sequence[Variable]) -> Body:
        """Before a call that depends on rows found so far, those rows become a relation of their own."""
        done: list[Literal] = []
        bound: Bound = frozenset()
        for place, literal in enumerate(arranged):
            if done and self._asks_for_rows(literal, bound):
                later = {*wanted_columns, *body_variables(arranged[place:])}
                columns = tuple(variable for variable in body_variables(done) if variable in later)
                name = f"rows^{next(self._prefixes)}"
                self._clauses[name] = [Clause(columns, tuple(done))]
                done = [Call(name, columns)]
            done.append(self._converted(literal, tuple(done), bound, None))
            bound = bound | frozenset(bound_by(literal))
        return tuple(done)

    def _asks_for_rows(self, literal: Literal, bound: Bound) -> bool:
        """Whether a call in `literal` takes bound variables, not just constants."""
        if isinstance(literal, RuleUse):
            return any(term in bound for term in literal.terms)
        inside = bound.union(*map(bound_by, walk((literal,))))
        return any(isinstance(use, RuleUse) and any(term in inside for term in use.terms) for use in walk((literal,)))

    # Calls.

    def _converted(self, literal: Literal, before: Body, bound: Bound, within: Demand | None) -> Literal:
        """A literal with the rule calls in it made relation calls; `before` is what ran already, `within` the rule
        the literal stands in."""
        if isinstance(literal, RuleUse):
            return self._call(literal, before, bound, within)
        apart = isinstance(literal, Negation) and within is None
        self._copy += apart
        bodies = []
        for body in bodies_of(literal):
            inner: list[Literal] = []
            known = bound
            for nested in body:
                inner.append(self._converted(nested, (*before, *inner), known, within))
                known = known | frozenset(bound_by(nested))
            bodies.append(tuple(inner))
        self._copy += apart
        return with_bodies(literal, tuple(bodies))

    def _call(self, use: RuleUse, before: Body, bound: Bound, within: Demand | None) -> Call:
        demand = self._demand(use, bound)
        if within is not None and use.rule not in self._components[within.rule]:
            # Inside a recursive rule, what is asked of another one would depend on the recursion, and a
            # negation on the way would then run in a circle: compute the other rule whole, if it can be.
            whole = replace(demand, positions=())
            required = find_rule(use.rule, len(use.terms), use.place, self._scope.context.rules)[0].required
            demand = whole if whole not in self._unsafe and not required else demand
        if within is not None and not within.positions and (use.rule, use.source) == (within.rule, within.source):
            demand = within  # all of the rule is computed here anyway: asking for parts would do the work twice
        demand = self._of_single_values(use, demand, within) or self._without_passed(demand)
        if demand.positions:
            demand = replace(demand, copy=self._copy if within is None else within.copy)
        terms = tuple(self._scope.context.variable("_") if isinstance(term, Blank) else term for term in use.terms)
        name = self._name(demand)
        if demand.positions:
            self._ask(name, tuple(terms[place] for place in demand.positions), before, within)
        return Call(name, terms, place=use.place)

    def _of_single_values(self, use: RuleUse, demand: Demand, within: Demand | None) -> Demand | None:
        """The demand of constants and inputs alone, where a query also binds other arguments: one walk from a single
        value, joined with what is bound, never costs more than all edges; one from each bound value may."""
        single = tuple(place for place in demand.positions if not isinstance(use.terms[place], Variable))
        reduced = replace(demand, positions=single)
        required = self._scope.context.rules[demand.rule][0].required
        fits = reduced not in self._unsafe and all(place in single for place in range(required))
        return reduced if within is None and single and single != demand.positions and fits else None

    def _without_passed(self, demand: Demand) -> Demand:
        """The demand without arguments that recursion only hands on: asking for each of their values would
        repeat the same walk; joining with the answer costs less."""
        calls = [
            (rule, call)
            for rule in self._scope.context.rules[demand.rule]
            for call, _ in rule_calls(rule.clauses)
            if call.name in self._components[demand.rule]
        ]
        changing = tuple(
            place
            for place in demand.positions
            if any(call.name != rule.name or call.arguments[place] != rule.parameters[place] for rule, call in calls)
        )
        reduced = replace(demand, positions=changing)
        required = self._scope.context.rules[demand.rule][0].required
        safe = changing and reduced not in self._unsafe and all(place in changing for place in range(required))
        return reduced if safe else demand

    def _ask(self, name: str, values: tuple[Term, ...], before: Body, within: Demand | None) -> None:
        """Add the values a call asks for to what is wanted of a relation."""
        wanted = wanted_name(name)
        constant = not any(isinstance(value, Variable) for value in values)
        body = () if constant and within is None else tuple(filter(_restricts, before)) if within else before
        if body != (Call(wanted, values),):
            self._clauses.setdefault(wanted, []).append(Clause(values, body))

    def _name(self, demand: Demand) -> str:
        if demand not in self._names:
            arity = len(self._scope.context.rules[demand.rule][0].parameters)
            pattern = "".join("b" if place in demand.positions else "f" for place in range(arity))
            source = "" if demand.source == "$" else f"@{demand.source}"
            copy = f"~{demand.copy}" if demand.copy else ""
            self._names[demand] = f"{demand.rule}{source}{copy}^{pattern}"
            self._waiting.append(demand)
        return self._names[demand]

    # Rules.

    def _define(self, demand: Demand) -> None:
        name = self._names[demand]
        self._clauses.setdefault(name, [])
        if demand.positions:
            self._clauses.setdefault(wanted_name(name), [])
        try:
            for rule in self._scope.context.rules[demand.rule]:
                head = tuple(self._scope.context.variable(variable.name) for variable in rule.parameters)
                body = recognise_slices(rule_body(rule, head, self._scope, demand.source))
                for flat in self._multiplied_out(body, demand.rule):
                    self._define_clause(demand, name, head, flat)
        except Unsafe as problem:
            raise _FoundUnsafe(replace(demand, copy=0), problem) from None

    def _define_clause(self, demand: Demand, name: str, head: tuple[Variable, ...], body: Body) -> None:
        given = tuple(head[place] for place in demand.positions)
        bound: Bound = frozenset(given)
        arranged = self._arranger.arrange(body, bound)
        missing = frozenset(head) - bound.union(*map(bound_by, arranged))
        if missing:
            stuck = arranged[-1] if arranged else RuleUse(demand.rule, demand.source, head)
            raise Unsafe(stuck, tuple(sorted(missing, key=str)))
        done: list[Literal] = [Call(wanted_name(name), given)] if given else []
        for literal in arranged:
            done.append(self._converted(literal, tuple(done), bound, demand))
            bound = bound | frozenset(bound_by(literal))
        self._clauses[name].append(Clause(head, tuple(done)))

    def _multiplied_out(self, body: Body, rule: str) -> Iterable[Body]:
        """The bodies a body stands for once every `or` around a recursive call is taken apart."""
        waiting, flat = [body], []
        while waiting:
            current = waiting.pop()
            place = next((i for i, literal in enumerate(current) if self._recurses(literal, rule)), None)
            if place is None:
                flat.append(current)
            else:
                literal = current[place]
                waiting.extend(
                    current[:place] + branch + current[place + 1 :] for branch in reversed(bodies_of(literal))
                )
            if len(waiting) + len(flat) > _MOST_CLAUSES:
                raise QueryError(f"rule {rule} stands for more than {_MOST_CLAUSES} clauses", rule=rule)
        return flat

    def _recurses(self, literal: Literal, rule: str) -> bool:
        return isinstance(literal, Disjunction) and any(
            isinstance(use, RuleUse) and use.rule in self._components[rule] for use in walk((literal,))
        )


def wanted_name(relation: str) -> str:
    """The relation that holds what is asked of `relation`."""
    return f"{relation}.wanted"


def _restricts(literal: Literal) -> bool:
    """Whether a literal may restrict what a rule asks of itself: a negation over rules must not, since
    the question would then depend on the answer."""
    return not (isinstance(literal, Negation) and any(isinstance(inner, Call | RuleUse) for inner in walk((literal,))))


def factor_right_linear(relations: dict[str, Relation]) -> dict[str, Relation]:
    """Turn right recursion over wanted values into left recursion: walk from each value asked for, instead
    of answering for every value met on the way (Naughton, Ramakrishnan, Sagiv and Ullman, 1989).

    `r(c, a) <- wanted(c), p(c, d), r(d, a)` and `r(c, a) <- wanted(c), q(c, a)` become
    `walk(c, c) <- asked(c)`, `walk(s, d) <- walk(s, c), p(c, d)` and `r(s, a) <- walk(s, c), q(c, a)`.
    """
    changed = dict(relations)
    for relation in relations.values():
        steps = _right_linear_steps(relation, relations)
        if steps:
            changed.update(_factored(relation, relations[wanted_name(relation.name)], steps))
    return changed


def _right_linear_steps(relation: Relation, relations: Mapping[str, Relation]) -> list[Clause]:
    """The recursive clauses of a relation when all of them are right-linear; else nothing."""
    wanted = wanted_name(relation.name)
    if wanted not in relations or _uses(relations[wanted], relation.name):
        return []
    steps = [clause for clause in relation.clauses if _calls(clause.body, relation.name)]
    users = [other for other in relations.values() if _uses(other, wanted)]
    alone = all(other.name in (relation.name, wanted) for other in users)
    return steps if alone and all(_is_right_linear(step, relation.name) for step in steps) else []


def _is_right_linear(clause: Clause, name: str) -> bool:
    first, *middle, last = clause.body
    if not (isinstance(first, Call) and first.relation == wanted_name(name)) or not isinstance(last, Call):
        return False
    if last.relation != name or _calls(middle, name):
        return False
    free = {term for term in clause.head if term not in first.terms}
    passed = all(own == handed for own, handed in zip(clause.head, last.terms, strict=True) if own in free)
    handed = {term for own, term in zip(clause.head, last.terms, strict=True) if own not in free and term in free}
    return passed and not handed and free.isdisjoint(_every_variable(middle))


def _every_variable(body: Iterable[Literal]) -> set[Variable]:
    return {variable for literal in walk(body) for variable in variables_of(literal)}


def _factored(relation: Relation, wanted: Relation, steps: list[Clause]) -> dict[str, Relation]:
    name = f"{relation.name}.walk"
    places = _bound_places(relation)
    seeds = tuple(Variable(f"seed#{place}") for place in places)
    own = {step.body[:-1] for step in steps}
    asked = [clause for clause in wanted.clauses if clause.body not in own]
    starts = tuple(replace(clause, head=clause.head * 2) for clause in asked)
    moves = tuple(
        Clause((*seeds, *_at_places(step.body[-1].terms, places)), (_walk(name, seeds, step), *step.body[1:-1]))
        for step in steps
        if isinstance(step.body[-1], Call)
    )
    ends = tuple(
        Clause(_seeded(clause.head, places, seeds), (_walk(name, seeds, clause), *clause.body[1:]))
        for clause in relation.clauses
        if clause not in steps
    )
    return {
        name: Relation(name, 2 * len(places), starts + moves),
        relation.name: replace(relation, clauses=ends),
        wanted.name: replace(wanted, clauses=tuple(asked)),
    }


def _bound_places(relation: Relation) -> tuple[int, ...]:
    pattern = relation.name.rpartition("^")[2]
    return tuple(place for place, letter in enumerate(pattern) if letter == "b")


def _at_places(terms: Sequence[Term], places: Iterable[int]) -> tuple[Term, ...]:
    return tuple(terms[place] for place in places)


def _walk(name: str, seeds: tuple[Variable, ...], clause: Clause) -> Call:
    first = clause.body[0]
    assert isinstance(first, Call), "a clause of a wanted relation begins with what is wanted"
    return Call(name, (*seeds, *first.terms))


def _seeded(head: tuple[Term, ...], places: tuple[int, ...], seeds: tuple[Variable, ...]) -> tuple[Term, ...]:
    by_place = dict(zip(places, seeds, strict=True))
    return tuple(by_place.get(place, term) for place, term in enumerate(head))


def _uses(relation: Relation, name: str) -> bool:
    return any(_calls(clause.body, name) for clause in relation.clauses)


def _calls(body: Iterable[Literal], name: str) -> bool:
    return any(isinstance(literal, Call) and literal.relation == name for literal in walk(body))
