"""Forms to clauses and rules: patterns, predicates, function calls, `not`, `or`, `and`, rule calls. Knows
nothing of a query's other parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tourlog.query.deadline import pulse
from tourlog.query.forms import Form, syntax_error
from tourlog.query.parse_terms import (
    Forms,
    check_depth,
    parse_argument,
    parse_binding,
    parse_function,
    parse_term,
    parse_variables,
)
from tourlog.query.syntax import (
    And,
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

_SPECIAL_FORMS = frozenset({"not", "not-join", "or", "or-join", "and"})


@dataclass(frozen=True, slots=True)
class Scope:
    """What decides how a clause is read.

    `where` names the part of the query in errors. `rule_names` matters for data only, where a pattern and a
    rule call look alike: a call is what starts with one of them; None means that the names are not known,
    and a call is what has a variable or a blank second, or nothing. `plain_inputs` are the inputs written
    without a question mark, `:in $ pattern`, which may be called.
    """

    where: str = ":where"
    rule_names: frozenset[str] | None = frozenset()
    plain_inputs: frozenset[str] = frozenset()
    depth: int = 0

    def inner(self, form: Form) -> Scope:
        """The scope of the clauses inside `form`."""
        check_depth(self.depth, form, self.where)
        return replace(self, depth=self.depth + 1)


def parse_clauses(forms: Forms, scope: Scope) -> tuple[Clause, ...]:
    """A clause for each form."""
    return tuple([parse_clause(form, scope) for form in forms])


def parse_clause(form: Form, scope: Scope) -> Clause:
    """One clause; `QuerySyntaxError` when it is none."""
    pulse()
    if not (form.is_vector or form.is_list) or not form.items:
        raise syntax_error("a clause such as [?e :name ?v], [(< ?a ?b)] or (not ...)", form, scope.where)
    source, items = _take_source(form, scope.where)
    if form.is_list and items[0].word in _SPECIAL_FORMS:
        return _parse_special(form, source, scope.inner(form))
    if form.kind == "list" or (form.in_data and _is_rule_call(items, scope)):
        return _parse_rule_call(form, source, scope)
    if form.items[0].is_list:
        return _parse_call(form, scope)
    if items[0].symbol and not form.in_data and items[0].symbol[0] not in "?_":
        expected = f"a variable, _ or a constant first (a rule call is ({items[0]} ...))"
        raise syntax_error(expected, items[0], f"the clause {form} of {scope.where}")
    where = scope.where
    return Pattern(tuple([parse_term(item, where) for item in items]), source, form.place)


def _take_source(form: Form, where: str) -> tuple[Source, Forms]:
    """The source a clause starts with, or `$`, and the rest."""
    first, *rest = form.items
    if first.symbol[:1] != "$":
        return Source(), form.items
    if not rest:
        raise syntax_error(f"a clause that goes on after {first}", form, where)
    return Source(first.symbol, first.place), rest


def _is_rule_call(items: Forms, scope: Scope) -> bool:
    name = items[0].word
    if not name or items[0].symbol:
        return False
    if scope.rule_names is not None:
        return name in scope.rule_names
    return len(items) == 1 or items[1].symbol == "_" or items[1].symbol[:1] == "?"


def _parse_rule_call(form: Form, source: Source, scope: Scope) -> RuleCall:
    name, *arguments = _take_source(form, scope.where)[1]
    if not name.word or name.symbol[:1] in ("?", "_", "$", "%"):
        expected = "not, not-join, or, or-join, and, or a rule's name first (a pattern is [...])"
        raise syntax_error(expected, name, f"the clause {form} of {scope.where}")
    if not arguments:
        raise syntax_error("at least one argument of the rule", form, scope.where)
    where = f"the call of {name.word} in {scope.where}"
    terms = tuple([parse_term(argument, where) for argument in arguments])
    return RuleCall(name.word, terms, source, form.place)


def _parse_call(form: Form, scope: Scope) -> Predicate | FunctionCall:
    call, *rest = form.items
    if not call.items or len(rest) > 1:
        raise syntax_error("a clause such as [(< ?a ?b)] or [(+ ?a 1) ?b]", form, scope.where)
    function = parse_function(call.items[0], scope.where, scope.plain_inputs)
    where = f"the call of {function} in {scope.where}"
    arguments = tuple([parse_argument(item, where) for item in call.items[1:]])
    if not rest:
        return Predicate(function, arguments, form.place)
    return FunctionCall(function, arguments, parse_binding(rest[0], scope.where), form.place)


def _parse_special(form: Form, source: Source, scope: Scope) -> Clause:
    head, *rest = _take_source(form, scope.where)[1]
    match head.word:
        case "and":
            if form.items[0] is not head:
                raise syntax_error("no source before and", form, scope.where)
            return And(_inner_clauses(form, rest, scope), form.place)
        case "not":
            return _parse_not(form, source, rest, scope)
        case "not-join":
            return _parse_not_join(form, source, rest, scope)
        case "or":
            return _parse_or(form, source, rest, scope)
        case _:
            return _parse_or_join(form, source, rest, scope)


def _inner_clauses(form: Form, rest: Forms, scope: Scope) -> tuple[Clause, ...]:
    if not rest:
        raise syntax_error("at least one clause inside", form, scope.where)
    return parse_clauses(rest, scope)


def _parse_not(form: Form, source: Source, rest: Forms, scope: Scope) -> Not:
    clauses = _inner_clauses(form, rest, scope)
    if not variables_of(clauses):
        raise syntax_error("a variable inside not, in common with what surrounds it", form, scope.where)
    return Not(clauses, None, source, form.place)


def _parse_not_join(form: Form, source: Source, rest: Forms, scope: Scope) -> Not:
    where = f"not-join of {scope.where}"
    if not rest or not rest[0].is_vector or not rest[0].items:
        raise syntax_error("variables such as [?x ?y] after not-join", form, where)
    variables = parse_variables(rest[0].items, where)
    clauses = _inner_clauses(form, rest[1:], scope)
    return Not(clauses, variables, source, form.place)


def _parse_or(form: Form, source: Source, rest: Forms, scope: Scope) -> Or:
    """What a branch may leave unbound depends on what is bound outside, so the planner decides it."""
    branches = _parse_branches(form, rest, scope)
    if not variables_of(branches):
        raise syntax_error("a variable inside or", form, scope.where)
    return Or(branches, None, 0, source, form.place)


def _parse_or_join(form: Form, source: Source, rest: Forms, scope: Scope) -> Or:
    where = f"or-join of {scope.where}"
    if not rest or not rest[0].is_vector:
        raise syntax_error("variables such as [?x ?y] or [[?required] ?x] after or-join", form, where)
    variables, required = _parse_parameters(rest[0].items, rest[0], where)
    branches = _parse_branches(form, rest[1:], scope)
    return Or(branches, variables, required, source, form.place)


def _parse_branches(form: Form, rest: Forms, scope: Scope) -> tuple[And, ...]:
    clauses = _inner_clauses(form, rest, scope)
    return tuple([clause if isinstance(clause, And) else And((clause,), clause.place) for clause in clauses])


def _parse_parameters(forms: Forms, form: Form, where: str) -> tuple[tuple[Variable, ...], int]:
    """`?x ?y` or `[?required ...] ?x`: the variables, required ones first, and how many those are."""
    required = forms[0].items if forms and forms[0].is_vector else ()
    rest = forms[1:] if forms and forms[0].is_vector else forms
    if not required and not rest:
        raise syntax_error("at least one variable", form, where)
    return parse_variables((*required, *rest), where), len(required)


# What clauses mention.


def walk(clauses: Sequence[Clause], source: str = "$") -> Iterator[tuple[Clause, str]]:
    """Every clause, at any depth, in the order written, with the source that `$` stands for in it."""
    left = [(clause, source) for clause in reversed(clauses)]
    while left:
        clause, source = left.pop()
        yield clause, source
        match clause:
            case And(inner):
                left.extend((child, source) for child in reversed(inner))
            case Not(inner) | Or(inner):
                name = source if clause.source.name == "$" else clause.source.name
                left.extend((child, name) for child in reversed(inner))


def variables_of(clauses: Sequence[Clause]) -> tuple[Variable, ...]:
    """The variables that clauses may share with what surrounds them, in order; not those that are called."""
    return tuple(dict.fromkeys([variable for clause in clauses for variable in _variables(clause)]))


def _variables(clause: Clause) -> tuple[Variable, ...]:
    match clause:
        case Pattern(terms):
            return term_variables(terms)
        case RuleCall(arguments=arguments) | Predicate(arguments=arguments):
            return term_variables(arguments)
        case FunctionCall():
            return (*term_variables(clause.arguments), *binding_variables(clause.binding))
        case And(clauses):
            return variables_of(clauses)
        case Not() | Or():
            inner = clause.clauses if isinstance(clause, Not) else clause.branches
            return variables_of(inner) if clause.variables is None else clause.variables


# Rules.


def _parse_name(form: Form, where: str) -> str:
    name = form.word
    if not name or name in _SPECIAL_FORMS or name[0] in "?$%" or name == "_":
        raise syntax_error("the name of a rule", form, where)
    return name


def rule_name(form: Form) -> str:
    """The name that a rule defines; `QuerySyntaxError` unless `form` looks like a rule."""
    if not form.is_vector or not form.items or not form.items[0].is_list or not form.items[0].items:
        raise syntax_error("a rule such as [(name ?x) [?x :type ?y]]", form, "rules")
    return _parse_name(form.items[0].items[0], f"the rule head {form.items[0]}")


def parse_rule(form: Form, rule_names: frozenset[str]) -> Rule:
    """`[(name [?required ...] ?x ...) clause ...]`"""
    name = rule_name(form)
    head, *body = form.items
    where = f"rule {name}"
    parameters, required = _parse_parameters(head.items[1:], head, f"the head of {where}")
    if not body:
        raise syntax_error("at least one clause after the head", form, where)
    return Rule(name, parameters, required, parse_clauses(body, Scope(where, rule_names)), form.place)
