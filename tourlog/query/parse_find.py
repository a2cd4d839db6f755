"""Forms to what a query returns: `:find`, `:keys`, `:order-by`. Knows nothing of clauses."""

from __future__ import annotations

from collections import deque

from tourlog.query.edn import read
from tourlog.query.forms import Form, syntax_error
from tourlog.query.parse_pull import parse_pull_form
from tourlog.query.parse_terms import Forms, parse_argument, parse_function, parse_variable
from tourlog.query.syntax import (
    Aggregate,
    Constant,
    Find,
    FindElement,
    Order,
    Pull,
    PullPattern,
    Source,
    Variable,
)

_WHERE = ":find"
_DIRECTIONS = {"asc": False, ":asc": False, "desc": True, ":desc": True}


def parse_find(forms: Forms, key: Form, plain_inputs: frozenset[str]) -> Find:
    """`?x ?y`, `[?x ...]`, `[?x ?y]` or `?x .`; `key` is the `:find` they follow.

    In data, where lists and tuples are the same, a nested one that starts with a variable is a collection or
    a tuple when it stands alone, and a call otherwise; `("aggregate", "?f", "?x")` is always a call.
    """
    if not forms:
        raise syntax_error("something to find, such as ?x", f"nothing after {key}", _WHERE, place=key.place)
    if len(forms) == 1 and forms[0].is_vector and not _is_call(forms[0]):
        return _parse_bracketed(forms[0], plain_inputs)
    if len(forms) == 2 and forms[1].word == ".":
        return Find("scalar", (_parse_element(forms[0], plain_inputs),))
    return Find("relation", _parse_elements(forms, plain_inputs))


def _parse_bracketed(form: Form, plain_inputs: frozenset[str]) -> Find:
    items = form.items
    if not items:
        raise syntax_error("something to find, such as [?x ...]", form, _WHERE)
    if len(items) == 2 and items[1].word == "...":
        return Find("collection", (_parse_element(items[0], plain_inputs),))
    return Find("tuple", _parse_elements(items, plain_inputs))


def _is_call(form: Form) -> bool:
    if form.kind != "sequence":
        return form.kind == "list"
    return bool(form.items and form.items[0].word and form.items[0].symbol[:1] != "?" and not _read(form.items[0]))


def _read(form: Form) -> Form | None:
    """The form inside a data string such as "(count ?x)"."""
    return read(form.word) if form.in_data and form.word.startswith("(") else None


def _parse_elements(forms: Forms, plain_inputs: frozenset[str]) -> tuple[FindElement, ...]:
    return tuple([_parse_element(form, plain_inputs) for form in forms])


def _parse_element(form: Form, plain_inputs: frozenset[str]) -> FindElement:
    form = _read(form) or form
    if form.symbol[:1] == "?":
        return parse_variable(form, _WHERE)
    if not form.is_list or not form.items:
        expected = "a variable, an aggregate such as (count ?x), or (pull ?e [*])"
        raise syntax_error(expected, form, _WHERE)
    head, *rest = form.items
    if head.word == "pull":
        return _parse_pull(form, rest, plain_inputs)
    if head.word == "aggregate":  # DataScript's way to call a variable
        if not rest or rest[0].symbol[:1] != "?":
            raise syntax_error("a variable after aggregate", form, _WHERE)
        head, *rest = rest
    return _parse_aggregate(form, parse_function(head, _WHERE, plain_inputs), rest)


def _parse_aggregate(form: Form, function: str | Variable, rest: Forms) -> Aggregate:
    arguments = [parse_argument(item, _WHERE) for item in rest]
    found = [item for item in arguments if isinstance(item, Variable | Constant)]
    if not found or len(found) < len(arguments) or not isinstance(found[-1], Variable):
        raise syntax_error("an aggregate whose last argument is a variable, such as (count ?x)", form, _WHERE)
    return Aggregate(function, tuple(found), form.place)


def _parse_pull(form: Form, rest: Forms, plain_inputs: frozenset[str]) -> Pull:
    has_source = bool(rest) and rest[0].symbol[:1] == "$"
    if len(rest) != 2 + has_source:
        raise syntax_error("a variable and a pattern, such as (pull ?e [*])", form, _WHERE)
    source = Source(rest[0].symbol, rest[0].place) if has_source else Source()
    variable = parse_variable(rest[-2], _WHERE)
    return Pull(variable, _parse_pattern(rest[-1], plain_inputs), source, form.place)


def _parse_pattern(form: Form, plain_inputs: frozenset[str]) -> PullPattern | Variable:
    if form.symbol[:1] == "?":
        return parse_variable(form, _WHERE)
    if form.word in plain_inputs:
        return Variable(form.word, form.place)
    return parse_pull_form(form)


def parse_keys(forms: Forms, key: Form, find: Find) -> tuple[str, ...]:
    """The names of `:keys`, `:strs` or `:syms`, one for each element of a relation or a tuple."""
    where = f":{(key.text or '').removeprefix(':')}"
    if find.shape not in ("relation", "tuple"):
        raise syntax_error(f"no {where} for a find {find.shape}", str(key), where, place=key.place)
    names: dict[str, None] = {}
    for form in forms:
        name = form.word or form.text
        if not name or name in names:
            raise syntax_error("different names", form, where)
        names[name] = None
    if len(names) != len(find.elements):
        expected = f"as many names as :find has elements, {len(find.elements)}"
        raise syntax_error(expected, f"{len(names)}", where, place=key.place)
    return tuple(names)


def parse_order(forms: Forms, find: Find, plain_inputs: frozenset[str]) -> tuple[Order, ...]:
    """`[?name [?n :desc] [1 :asc] [(count ?e) :desc]]`; the inner brackets may be left out."""
    if len(forms) == 1 and forms[0].is_vector:
        forms = forms[0].items
    columns: dict[FindElement | int, int] = {}
    for number, element in enumerate(find.elements):
        columns[number] = number
        columns.setdefault(element, number)
    orders: list[Order] = []
    left = deque(forms)
    while left:
        form = left.popleft()
        is_pair = form.is_vector and len(form.items) == 2 and _direction(form.items[1]) is not None
        column = _column(form.items[0] if is_pair else form, columns, plain_inputs)
        direction = _direction(form.items[1]) if is_pair else _direction(left[0]) if left else None
        if not is_pair and direction is not None:
            left.popleft()
        orders.append(Order(column, direction is True))
    return tuple(orders)


def _direction(form: Form) -> bool | None:
    """Whether it says descending; None when it is no direction."""
    return _DIRECTIONS.get(form.text or "")


def _column(form: Form, columns: dict[FindElement | int, int], plain_inputs: frozenset[str]) -> int:
    """The column of a number, or of what equals an element of `:find`."""
    found: FindElement | int | None = None
    if form.kind == "value" and type(form.content) is int:
        found = form.content
    elif form.symbol[:1] == "?" or form.is_list or _read(form) is not None:
        found = _parse_element(form, plain_inputs)
    if found is None or found not in columns:
        expected = "what :find has, or the number of one of its columns, and :asc or :desc"
        raise syntax_error(expected, form, ":order-by")
    return columns[found]
