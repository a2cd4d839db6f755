"""Forms to pull patterns. Text and Python data come as the same forms; knows nothing of queries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tourlog.query.forms import Form, syntax_error, value_of
from tourlog.query.parse_terms import check_depth
from tourlog.query.syntax import PullAttribute, PullPattern

_OPTIONS = ("as", "limit", "default")
_WHERE = "a pull pattern"


def parse_pull_form(form: Form, depth: int = 0) -> PullPattern:
    """`[* :name :_parent {:child [...]} (:tags :limit 3)]`; `QuerySyntaxError` when it is none.

    `depth` is how many patterns it stands inside.
    """
    check_depth(depth, form, _WHERE)
    if not form.is_vector or not form.items:
        raise syntax_error("attributes in brackets such as [*] or [:name {:child [:name]}]", form, _WHERE)
    wildcard, attributes = False, []
    for item in form.items:
        if item.symbol == "*" or item.text == "*":
            wildcard = True
        elif item.kind == "map":
            attributes += _parse_map(item, depth)
        else:
            attributes.append(_parse_attribute(item))
    return PullPattern(wildcard, tuple(attributes))


def _parse_map(form: Form, depth: int) -> list[PullAttribute]:
    """`{:child [...] :friend 3 :boss ...}`"""
    pairs = form.pairs if form.kind == "map" else ()
    if not pairs:
        raise syntax_error("a map such as {:child [:name]}", form, _WHERE)
    return [_parse_nested(key, value, depth) for key, value in pairs]


def _parse_nested(key: Form, value: Form, depth: int) -> PullAttribute:
    attribute = _parse_attribute(key)
    if value.symbol == "..." or value.text == "...":
        return replace(attribute, recursion=0)
    if value.kind == "value" and type(value.content) is int and value.content > 0:
        return replace(attribute, recursion=value.content)
    if not value.is_vector:
        raise syntax_error(f"a pattern, ... or a depth above 0 for {key}", value, _WHERE)
    return replace(attribute, pattern=parse_pull_form(value, depth + 1))


def _parse_attribute(form: Form) -> PullAttribute:
    if form.is_list or form.is_vector:
        return _parse_expression(form)
    name = form.text
    if not name:
        expected = "an attribute such as :name, *, a map such as {:child [:name]} or (:name :limit 3)"
        raise syntax_error(expected, form, _WHERE)
    space, slash, last = name.rpartition("/")
    if last.startswith("_") and len(last) > 1:
        return PullAttribute(space + slash + last[1:], reverse=True)
    return PullAttribute(name)


def _parse_expression(form: Form) -> PullAttribute:
    """`(:name :as "x" :limit 3 :default 0)`, or DataScript's older `(limit :name 3)`, `(default :name 0)`."""
    items = form.items
    if len(items) == 3 and not form.in_data and items[0].symbol in ("limit", "default"):
        return _with_option(_parse_name(items[1]), items[0].symbol, items[2])
    if len(items) < 3 or len(items) % 2 == 0:
        raise syntax_error("an attribute and its options, such as (:name :limit 3)", form, _WHERE)
    attribute, seen = _parse_name(items[0]), set()
    for key, value in zip(items[1::2], items[2::2], strict=True):
        option = (key.text or "").removeprefix(":")
        if option not in _OPTIONS or option in seen:
            raise syntax_error(f"one of {', '.join(f':{name}' for name in _OPTIONS)}, once", key, _WHERE)
        seen.add(option)
        attribute = _with_option(attribute, option, value)
    return attribute


def _parse_name(form: Form) -> PullAttribute:
    if form.text is None:
        raise syntax_error("an attribute such as :name", form, _WHERE)
    return _parse_attribute(form)


def _with_option(attribute: PullAttribute, option: str, form: Form) -> PullAttribute:
    match option:
        case "as":
            if form.text is None:
                raise syntax_error("a string or a keyword after :as", form, _WHERE)
            return replace(attribute, alias=form.text)
        case "limit":
            return replace(attribute, limit=_parse_limit(form))
        case _:
            return replace(attribute, default=value_of(form, _WHERE), has_default=True)


def _parse_limit(form: Form) -> int | None:
    limit: Any = form.content
    if form.kind != "value" or not (limit is None or (type(limit) is int and limit > 0)):
        raise syntax_error("a number above 0, or nil, after :limit", form, _WHERE)
    return limit
