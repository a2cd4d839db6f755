"""Forms to what clauses are made of: variables, constants, sources, bindings. Text and Python data come as
the same forms, so there is one builder for both, here as in every module whose name starts with `parse`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tourlog.query.forms import Form, refuse_variables, syntax_error, value_of
from tourlog.query.syntax import (
    Argument,
    BindCollection,
    BindIgnore,
    Binding,
    BindRelation,
    BindScalar,
    BindTuple,
    Blank,
    Constant,
    Source,
    Term,
    Variable,
)

Forms: TypeAlias = Sequence[Form]

MAX_DEPTH = 50
"""How deep clauses, bindings and pull patterns may nest: every later stage recurses over them."""


def check_depth(depth: int, form: Form, where: str) -> None:
    """Refuse `form` when it stands inside too many of its kind."""
    if depth >= MAX_DEPTH:
        raise syntax_error(f"at most {MAX_DEPTH} nested levels", form, where)


def parse_variable(form: Form, where: str) -> Variable:
    """`?x`"""
    name = form.symbol
    if len(name) < 2 or name[0] != "?":
        raise syntax_error("a variable such as ?x", form, where)
    return Variable(name[1:], form.place)


def parse_variables(forms: Forms, where: str) -> tuple[Variable, ...]:
    """Variables, no two of them the same."""
    variables: dict[Variable, None] = {}
    for form in forms:
        variable = parse_variable(form, where)
        if variable in variables:
            raise syntax_error("different variables", f"a second {variable}", where, place=variable.place)
        variables[variable] = None
    return tuple(variables)


def parse_constant(form: Form, where: str) -> Constant:
    """Any value without variables; in text a list is none, because it reads like a call to be computed."""
    if form.kind == "list":
        raise syntax_error("a constant, or a variable that a clause of its own computes", form, where)
    if form.in_data:
        refuse_variables(form, where)
    return Constant(value_of(form, where), form.place)


def parse_term(form: Form, where: str) -> Term:
    """What may stand in a pattern or a rule call: a variable, `_` or a constant."""
    name = form.symbol
    if name == "_":
        return Blank(form.place)
    if name[:1] == "?":
        return parse_variable(form, where)
    if name and not form.in_data:
        raise syntax_error(f'a variable, _ or a constant (:{name} or "{name}" is one)', form, where)
    return parse_constant(form, where)


def parse_argument(form: Form, where: str) -> Argument:
    """A variable, a source or a constant."""
    name = form.symbol
    if name[:1] == "?":
        return parse_variable(form, where)
    if name[:1] == "$":
        return Source(name, form.place)
    if name and not form.in_data:
        raise syntax_error("a variable, a source or a constant", form, where)
    return parse_constant(form, where)


def parse_function(form: Form, where: str, plain_inputs: frozenset[str]) -> str | Variable:
    """A built-in's name, or a variable bound to a callable in `:in`."""
    name = form.word
    if name[:1] == "?":
        return parse_variable(form, where)
    if not name or name == "_" or name[0] in "$%":
        expected = "the name of a function, or a variable bound to a callable in :in"
        raise syntax_error(expected, form, where)
    return Variable(name, form.place) if name in plain_inputs else name


def parse_binding(form: Form, where: str, depth: int = 0) -> Binding:
    """`?x`, `_`, `[?x ?y]`, `[?x ...]` or `[[?x ?y]]`."""
    check_depth(depth, form, where)
    if form.symbol == "_":
        return BindIgnore()
    if not form.is_vector:
        expected = "a binding such as ?x, _, [?x ?y], [?x ...] or [[?x ?y]]"
        if form.symbol[:1] != "?":
            raise syntax_error(expected, form, where)
        return BindScalar(parse_variable(form, where))
    items = form.items
    if len(items) == 2 and items[1].word == "...":
        return BindCollection(parse_binding(items[0], where, depth + 1))
    if len(items) == 1 and items[0].is_vector:
        return BindRelation(_parse_elements(items[0], where, depth + 1))
    return BindTuple(_parse_elements(form, where, depth))


def _parse_elements(form: Form, where: str, depth: int) -> tuple[Binding, ...]:
    if not form.items:
        raise syntax_error("at least one variable or _ inside the brackets", form, where)
    return tuple([parse_binding(item, where, depth + 1) for item in form.items])
