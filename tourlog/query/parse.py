"""Query text and Python data to the abstract syntax: `parse_query`, `parse_rules`, `parse_pull`.

Both surfaces become the same forms first, and the same builders read them. In data, strings that start
with "?" are variables, "_" is the blank, "$" and "$name" are sources, "%" is the rules; other strings are
constants, verbatim. Knows nothing of databases, planning or engines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from tourlog.query.edn import read
from tourlog.query.forms import Form, data_form, syntax_error
from tourlog.query.parse_clauses import parse_rule, rule_name
from tourlog.query.parse_pull import parse_pull_form
from tourlog.query.parse_sections import build_query
from tourlog.query.syntax import PullPattern, Query, Rule

_CACHED_LENGTH = 10_000
"""Longer texts are parsed each time, so that what strangers send cannot fill the memory."""


def parse_query(source: Any, rule_names: frozenset[str] = frozenset()) -> Query:
    """The query of EDN text, of Python data (a dict, or a list like the vector), or of an object with `.edn`.

    `rule_names` tells rule calls from patterns in data; without it, and with "%" in `:in`, a call is what has
    a variable or a blank second, or nothing. `QuerySyntaxError` when it is no query, with `line` and `column`
    for text.

    >>> query = parse_query("[:find ?e :in $ ?t :where [?e :type ?t]]")
    >>> query == parse_query({"find": ["?e"], "in": ["$", "?t"], "where": [("?e", "type", "?t")]})
    True
    """
    if isinstance(source, Query):
        return source
    text = _text_of(source)
    with _enough_stack("a query"):
        if text is None:
            return build_query(data_form(source), rule_names)
        return _cached_query(text) if len(text) <= _CACHED_LENGTH else _query_of_text(text)


def parse_rules(source: Any) -> tuple[Rule, ...]:
    """The rules of EDN text, of Python data, of an object with `.edn` or `.rules`, or of a sequence of those.

    In data a rule is a list like the vector, `[("name", "?x"), ("?x", "type", "?y")]`.

    >>> [rule.name for rule in parse_rules("[[(old ?e) [?e :age ?a] [(< 60 ?a)]]]")]
    ['old']
    """
    rules: list[Rule] = []
    forms: list[Form] = []
    with _enough_stack("rules"):
        for library in _libraries(source):
            _collect_rules(library, rules, forms)
        names = frozenset([*(rule.name for rule in rules), *map(rule_name, forms)])
        rules += [parse_rule(form, names) for form in forms]
    _check_arities(rules)
    return tuple(rules)


def parse_pull(source: Any) -> PullPattern:
    """The pull pattern of EDN text, or of data: `["*", "name", {"child": ["name"]}, ("a", "as", "b")]`.

    >>> parse_pull("[* :name]") == parse_pull(["*", "name"])
    True
    """
    if isinstance(source, PullPattern):
        return source
    text = _text_of(source)
    with _enough_stack("a pull pattern"):
        if text is None:
            return parse_pull_form(data_form(source))
        return _cached_pull(text) if len(text) <= _CACHED_LENGTH else _pull_of_text(text)


def _text_of(source: Any) -> str | None:
    text = source if isinstance(source, str) else getattr(source, "edn", None)
    return str.__str__(text) if isinstance(text, str) else None


@contextmanager
def _enough_stack(what: str) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise syntax_error("less nesting on a nearly full stack", "more", what) from error


def _query_of_text(text: str) -> Query:
    return build_query(read(text), frozenset())


def _rules_of_text(text: str) -> tuple[Rule, ...]:
    form = read(text)
    if not form.is_vector:
        raise syntax_error("a vector of rules such as [[(name ?x) [?x :type ?y]]]", form, "rules")
    return tuple([parse_rule(item, frozenset()) for item in form.items])


def _pull_of_text(text: str) -> PullPattern:
    return parse_pull_form(read(text))


_cached_query = lru_cache(maxsize=512)(_query_of_text)
_cached_rules = lru_cache(maxsize=128)(_rules_of_text)
_cached_pull = lru_cache(maxsize=512)(_pull_of_text)


# Rules.


def _libraries(source: Any) -> Iterable[Any]:
    is_sequence = isinstance(source, list | tuple) and not _looks_like_rule(source)
    return source if is_sequence else (source,)


def _collect_rules(library: Any, rules: list[Rule], forms: list[Form]) -> None:
    """Sorts what a library holds into finished rules and the forms of rules still to be read."""
    text = _text_of(library)
    inside = getattr(library, "rules", None)
    if text is not None:
        rules += _cached_rules(text) if len(text) <= _CACHED_LENGTH else _rules_of_text(text)
    elif isinstance(library, Rule):
        rules.append(library)
    elif _looks_like_rule(library):
        forms.append(data_form(library))
    elif isinstance(library, list | tuple):
        forms += map(data_form, library)
    elif inside is not None:
        for inner in _libraries(inside):
            _collect_rules(inner, rules, forms)
    else:
        expected = 'rules as EDN text or as data such as [[("name", "?x"), ("?x", "type", "?y")]]'
        raise syntax_error(expected, data_form(library), "rules")


def _looks_like_rule(value: Any) -> bool:
    """Whether it is a list that starts with a rule's head, a list that starts with a name."""
    head = value[0] if isinstance(value, list | tuple) and value else None
    return isinstance(head, list | tuple) and bool(head) and isinstance(head[0], str)


def _check_arities(rules: list[Rule]) -> None:
    first: dict[str, Rule] = {}
    for rule in rules:
        other = first.setdefault(rule.name, rule)
        if (len(rule.parameters), rule.required) != (len(other.parameters), other.required):
            expected = f"the parameters {_parameters(other)} in every rule {rule.name}"
            raise syntax_error(expected, _parameters(rule), "rules", place=rule.place)


def _parameters(rule: Rule) -> str:
    names = [str(parameter) for parameter in rule.parameters]
    required = [f"[{' '.join(names[: rule.required])}]"] if rule.required else []
    return " ".join(["(" + rule.name, *required, *names[rule.required :]]) + ")"
