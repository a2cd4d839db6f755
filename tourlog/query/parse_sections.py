"""Forms to a query: its parts, vector or map, and what they hold. Leaves finding, clauses and pull patterns
to their own modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tourlog.query.check import check_query
from tourlog.query.forms import Form, syntax_error
from tourlog.query.parse_clauses import Scope, parse_clauses
from tourlog.query.parse_find import parse_find, parse_keys, parse_order
from tourlog.query.parse_terms import Forms, parse_binding, parse_variables
from tourlog.query.syntax import BindScalar, Find, Input, Query, RulesInput, Source, Variable

_SECTIONS = ("find", "in", "with", "where", "keys", "strs", "syms", "order-by", "limit", "offset")
_KEYS = ("keys", "strs", "syms")
_SINGLE = ("order-by", "limit", "offset")


class _Section(NamedTuple):
    key: Form
    forms: Forms


def build_query(form: Form, rule_names: frozenset[str]) -> Query:
    """The query a vector or a map of forms holds; `parse_query` in parse.py says the rest."""
    sections = _sections(form)
    if "find" not in sections:
        raise syntax_error("a query with :find", form, "a query")
    inputs = _parse_inputs(sections)
    plain = frozenset([form.word for form in _forms(sections, "in") if _is_plain_name(form)])
    find = parse_find(_forms(sections, "find"), sections["find"].key, plain)
    query = Query(
        find=find,
        inputs=inputs,
        with_=parse_variables(_forms(sections, "with"), ":with"),
        where=parse_clauses(_forms(sections, "where"), Scope(":where", _call_names(inputs, rule_names), plain)),
        keys=_parse_keys(sections, find),
        order_by=parse_order(_forms(sections, "order-by"), find, plain),
        limit=_parse_number(sections, "limit"),
        offset=_parse_number(sections, "offset") or 0,
    )
    check_query(query)
    return query


def _call_names(inputs: tuple[Input, ...], rule_names: frozenset[str]) -> frozenset[str] | None:
    """What `Scope.rule_names` should be: without rules in `:in`, nothing in data is a call."""
    if RulesInput() not in inputs:
        return frozenset()
    return rule_names or None


def _sections(form: Form) -> dict[str, _Section]:
    if form.kind != "map" and not form.is_vector:
        raise syntax_error("a query such as [:find ?e :where [?e :type _]]", form, "a query")
    sections: dict[str, _Section] = {}
    for key, forms in _map_entries(form) if form.kind == "map" else _vector_entries(form):
        name = _section_name(key)
        if name not in _SECTIONS:
            raise syntax_error(f"one of {', '.join(f':{known}' for known in _SECTIONS)}", key, "a query")
        if name in sections:
            raise syntax_error(f":{name} once", f"a second {key}", "a query", place=key.place)
        sections[name] = _Section(key, forms)
    return sections


def _section_name(key: Form) -> str:
    if key.in_data:
        return (key.text or "").removeprefix(":")
    return str(key.content) if key.kind == "keyword" else ""


def _map_entries(form: Form) -> Iterator[_Section]:
    for key, value in form.pairs:
        if _section_name(key) in _SINGLE:
            yield _Section(key, (value,))
        elif value.is_vector:
            yield _Section(key, value.items)
        else:
            raise syntax_error(f"brackets [...] after {key}", value, "a query")


def _vector_entries(form: Form) -> Iterator[_Section]:
    """`[:find ?e :where [...]]`: every keyword starts a section; so does a string with a colon in data."""
    key: Form | None = None
    forms: list[Form] = []
    for item in form.items:
        if item.kind == "keyword" or (item.in_data and item.word.startswith(":")):
            if key:
                yield _Section(key, tuple(forms))
            key, forms = item, []
        elif key is None:
            raise syntax_error(":find first", item, "a query")
        else:
            forms.append(item)
    if key:
        yield _Section(key, tuple(forms))


def _forms(sections: dict[str, _Section], name: str) -> Forms:
    return sections[name].forms if name in sections else ()


def _parse_inputs(sections: dict[str, _Section]) -> tuple[Input, ...]:
    if "in" not in sections:
        return (Source(),)
    rules = [form for form in sections["in"].forms if form.word == "%"]
    if len(rules) > 1:
        raise syntax_error("different names", f"a second {rules[1]}", ":in", place=rules[1].place)
    return tuple([_parse_input(form) for form in sections["in"].forms])


def _parse_input(form: Form) -> Input:
    name = form.word
    if name[:1] == "$":
        return Source(name, form.place)
    if name == "%":
        return RulesInput()
    if _is_plain_name(form):
        return BindScalar(Variable(name, form.place))
    return parse_binding(form, ":in")


def _is_plain_name(form: Form) -> bool:
    """Whether it is an input without a question mark, as in `[:find (pull ?e pattern) :in $ pattern ...]`."""
    return form.word[:1].isalpha()


def _parse_keys(sections: dict[str, _Section], find: Find) -> tuple[str, ...] | None:
    given = [sections[name] for name in _KEYS if name in sections]
    if len(given) > 1:
        key = given[1].key
        raise syntax_error("only one of :keys, :strs and :syms", key, "a query")
    return parse_keys(given[0].forms, given[0].key, find) if given else None


def _parse_number(sections: dict[str, _Section], name: str) -> int | None:
    if name not in sections:
        return None
    key, forms = sections[name]
    number = forms[0].content if len(forms) == 1 and forms[0].kind == "value" else None
    if type(number) is not int or number < 0:
        got = " ".join(map(str, forms[:9])) or "nothing"
        place = forms[0].place if forms else key.place
        raise syntax_error("a number, 0 or more", got, f":{name}", place=place)
    return number
