"""The query generator: queries and rules that read a stream by composite key and offset, as in Tour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from tourlog.documents import check_names
from tourlog.errors import ArgumentError
from tourlog.html import edn_html
from tourlog.query.edn import read
from tourlog.query.forms import syntax_error
from tourlog.query.writer import Keyword, Symbol, attribute_form, to_edn
from tourlog.rule_files import read_rule_file
from tourlog.stream import OFFSET_KEY, ORDER_KEY

OFFSET_TYPES: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "all": (),
        "nthrest": ((">=", "?o"),),
        "take": (("<", "?o"),),
        "nth": (("=", "?o"),),
        "slice": ((">=", "?f-o"), ("<", "?t-o")),
    }
)
"""How each offset type compares `?o'`, a document's offset, with its inputs."""

_RESERVED = ("?e", "?o'", "?o", "?f-o", "?t-o")

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|;[^\n]*|\\.|[\[\]]', re.DOTALL)
"""A bracket, or what may have one inside that is none: a string, a comment, a character."""


@dataclass(frozen=True)
class GeneratedQuery:
    """A query. Made by `gen_datalog`; `q` takes it as it is. `str` and `edn` give its text, `data` the same as Python
    data."""

    data: Mapping[str, Any]

    @cached_property
    def edn(self) -> str:
        """The query as EDN text."""
        where = [_clause_form(clause) for clause in self.data["where"]]
        inputs = [Symbol(name) for name in self.data["in"]]
        find = [(Symbol("pull"), Symbol("?e"), [Symbol("*")])]
        return to_edn({Keyword("find"): find, Keyword("in"): inputs, Keyword("where"): where})

    def __str__(self) -> str:
        return self.edn

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # the protocol of IPython
        printer.text(self.edn)

    def _repr_html_(self) -> str:
        sections = re.sub(r" (?=:in |:where )", "\n ", self.edn)
        return edn_html(re.sub(r"(?<=]) (?=\[)", "\n         ", sections))


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules as EDN text, `edn`; `q` takes them for `%`. `+` puts two together; QuerySyntaxError if one is no vector of
    rules.

    >>> print(Rules("[[(bot ?e) [?e :bot]]]") + Rules("[[(cat ?e) [?e :cat]]] ; and cats"))
    [[(bot ?e) [?e :bot]]
    [(cat ?e) [?e :cat]]
    ]
    """

    edn: str

    def __str__(self) -> str:
        return self.edn

    def __add__(self, other: Rules) -> Rules:
        if not isinstance(other, Rules):
            return NotImplemented
        return Rules(f"[{_inside(self.edn)}\n{_inside(other.edn)}\n]")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # the protocol of IPython
        printer.text(self.edn)

    def _repr_html_(self) -> str:
        return edn_html(self.edn)


def gen_datalog(offset_type: str, *keys: str) -> GeneratedQuery:
    """The query for the documents of a stream ordered by `keys`. `offset_type` is "all", "nthrest" (offset ≥ ?o),
    "take" (< ?o), "nth" (= ?o) or "slice" (?f-o ≤ offset < ?t-o). Its inputs are the database, the key's values, then
    the offsets. ArgumentError for another type, or names that no key has.

    >>> print(gen_datalog("take", "topic"))  # doctest: +NORMALIZE_WHITESPACE
    {:find [(pull ?e [*])] :in [$ ?topic ?o] :where [[?e :db/key ["topic"]] [?e :topic ?topic]
     [?e :offset ?o'] [(< ?o' ?o)]]}
    """
    bounds = _bounds(offset_type)
    check_names(keys)
    variables = _variables(keys)
    where: list[Any] = _ordered(keys, variables)
    if bounds:
        where.append(("?e", OFFSET_KEY, "?o'"))
    where.extend([(operator, "?o'", limit)] for operator, limit in bounds)
    inputs = ["$", *variables, *(limit for _, limit in bounds)]
    return GeneratedQuery({"find": [("pull", "?e", ["*"])], "in": inputs, "where": where})


def gen_rules(*keys: str) -> Rules:
    """The order of the streams with these `keys` as rules to compose with others: the five offset types `all`,
    `nthrest`, `take`, `nth` and `slice`, and `first`, `latest`, `next`, `before` and `within`, as `rules/order.edn`
    describes them. ArgumentError for names that no key has.

    Each takes `?e`, the key's values, then what else it is about: `(slice ?e ?topic ?partition 0 10)`.
    """
    check_names(keys)
    lines = [line for line in read_rule_file("order").splitlines() if not line.lstrip().startswith(";")]
    template = "\n".join(lines)
    variables = _variables(keys, (*re.findall(r"\?[^\s()\[\]]+", template), "?names"))
    keyed, names = list(zip(keys, variables, strict=True)), list(keys)

    def written(match: re.Match[str]) -> str:
        match match[1]:
            case "KEY":
                return " ".join(variables)
            case "ORDERED":
                return _edn([*(("?e", key, variable) for key, variable in keyed), ("?e", ORDER_KEY, names)])
            case _:
                e = match[2]
                same = _edn([*((e, key, variable) for key, variable in keyed), (e, ORDER_KEY, "?names")])
                return f"{same} [(= ?names {to_edn(names)})]"

    return Rules(re.sub(r"\b(KEY|ORDERED|SAME (\?\w+))\b", written, template))


def rules(name: str) -> Rules:
    """A rule library of tourlog, by `name`; ArgumentError naming those there are for any other name."""
    return Rules(read_rule_file(name))


def _inside(text: str) -> str:
    """What stands in the vector of rules, comments included; QuerySyntaxError when the text is none."""
    form = read(text)
    if not form.is_vector or form.place is None:
        raise syntax_error("a vector of rules such as [[(name ?x) [?x :type ?y]]]", form, "rules")
    lines = text.split("\n")
    start = sum(len(line) + 1 for line in lines[: form.place.line - 1]) + form.place.column
    depth = 1
    for token in _TOKEN.finditer(text, start):
        depth += {"[": 1, "]": -1}.get(token[0], 0)
        if depth == 0:
            return text[start : token.start()]
    raise AssertionError("a vector that could be read has an end")


def _bounds(offset_type: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(offset_type, str) or offset_type not in OFFSET_TYPES:
        raise ArgumentError(
            f"expected an offset type among {', '.join(OFFSET_TYPES)}, got {offset_type!r}",
            offset_type=offset_type,
        )
    return OFFSET_TYPES[offset_type]


def _ordered(keys: Sequence[str], variables: Sequence[str]) -> list[Any]:
    keyed = [("?e", key, variable) for key, variable in zip(keys, variables, strict=True)]
    return [("?e", ORDER_KEY, list(keys)), *keyed]


def _edn(clauses: Sequence[Any]) -> str:
    return " ".join(to_edn(_clause_form(clause)) for clause in clauses)


def _variables(keys: Sequence[str], reserved: Iterable[str] = _RESERVED) -> list[str]:
    """A variable for each key, named after it as far as a variable can be, and like none that is reserved."""
    taken = set(reserved)
    variables = []
    for key in keys:
        name = "?" + re.sub(r"[^\w.*+!?<>=-]", "_", key, flags=re.ASCII)
        while name in taken or name == "?":
            name += "-key"
        taken.add(name)
        variables.append(name)
    return variables


def _clause_form(clause: Any) -> Any:
    """A clause of Python data as EDN forms."""
    if isinstance(clause, list):
        operator, *arguments = clause[0]
        return [(Symbol(operator), *map(Symbol, arguments))]
    e, attribute, value = clause
    return [Symbol(e), attribute_form(attribute), Symbol(value) if isinstance(value, str) else value]
