"""The abstract syntax of queries, rules and pull patterns: frozen records, hashable, without behaviour
beyond listing their variables. Knows nothing of text, planning or engines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tourlog.query.place import Place
from tourlog.values import identity


@dataclass(frozen=True, slots=True)
class Variable:
    """`?name`; the name is kept without the question mark. `?e`, `?o'`."""

    name: str
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"?{self.name}"


@dataclass(frozen=True, slots=True)
class Blank:
    """`_`: matches anything, binds nothing; two blanks are unrelated."""

    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return "_"


@dataclass(frozen=True, slots=True)
class Constant:
    """A value written in the query; equal when the values are equal and of one type."""

    value: Any = field(hash=False, compare=False)
    place: Place | None = field(default=None, compare=False, repr=False)
    _key: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_key", (type(self.value), identity(self.value)))

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True, slots=True)
class Source:
    """A database or collection a clause reads: `$`, `$name`; the name is kept with the dollar."""

    name: str = "$"
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name


Term: TypeAlias = Variable | Blank | Constant
Argument: TypeAlias = Variable | Constant | Source
"""An argument of a predicate or function; a source where a built-in takes one (`get-else`)."""


# Bindings: the shapes of `:in` and of what a function returns.


@dataclass(frozen=True, slots=True)
class BindScalar:
    """`?x`"""

    variable: Variable

    def __str__(self) -> str:
        return str(self.variable)


@dataclass(frozen=True, slots=True)
class BindIgnore:
    """`_`"""

    def __str__(self) -> str:
        return "_"


@dataclass(frozen=True, slots=True)
class BindTuple:
    """`[?x ?y _]`"""

    elements: tuple[Binding, ...]

    def __str__(self) -> str:
        return f"[{_words(self.elements)}]"


@dataclass(frozen=True, slots=True)
class BindCollection:
    """`[?x ...]`"""

    element: Binding

    def __str__(self) -> str:
        return f"[{self.element} ...]"


@dataclass(frozen=True, slots=True)
class BindRelation:
    """`[[?x ?y]]`"""

    elements: tuple[Binding, ...]

    def __str__(self) -> str:
        return f"[[{_words(self.elements)}]]"


Binding: TypeAlias = BindScalar | BindIgnore | BindTuple | BindCollection | BindRelation


# Clauses.


@dataclass(frozen=True, slots=True)
class Pattern:
    """`[?e :a ?v ?tx]`: one to four terms over a database, any number over a plain collection."""

    terms: tuple[Term, ...]
    source: Source = Source()
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"[{_words((*_named(self.source), *self.terms))}]"


@dataclass(frozen=True, slots=True)
class Predicate:
    """`[(< ?a ?b)]`; the function is a built-in's name or a variable bound in `:in`."""

    function: str | Variable
    arguments: tuple[Argument, ...]
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"[({_words((self.function, *self.arguments))})]"


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`[(+ ?a 1) ?b]`"""

    function: str | Variable
    arguments: tuple[Argument, ...]
    binding: Binding
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"[({_words((self.function, *self.arguments))}) {self.binding}]"


@dataclass(frozen=True, slots=True)
class And:
    """`(and ...)`, a branch of `or`."""

    clauses: tuple[Clause, ...]
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"(and {_words(self.clauses)})"


@dataclass(frozen=True, slots=True)
class Not:
    """`(not ...)` when `variables` is None, else `(not-join [?x ...] ...)`."""

    clauses: tuple[Clause, ...]
    variables: tuple[Variable, ...] | None = None
    source: Source = Source()
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        head = ("not",) if self.variables is None else ("not-join", f"[{_words(self.variables)}]")
        return f"({_words((*_named(self.source), *head, *self.clauses))})"


@dataclass(frozen=True, slots=True)
class Or:
    """`(or ...)` when `variables` is None, else `(or-join [[?required ...] ?x ...] ...)`.

    `variables` holds the required ones first; `required` says how many those are.
    """

    branches: tuple[And, ...]
    variables: tuple[Variable, ...] | None = None
    required: int = 0
    source: Source = Source()
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        head: tuple[object, ...] = ("or",)
        if self.variables is not None:
            required, rest = self.variables[: self.required], self.variables[self.required :]
            head = ("or-join", f"[{_words((*([f'[{_words(required)}]'] if required else ()), *rest))}]")
        return f"({_words((*_named(self.source), *head, *self.branches))})"


@dataclass(frozen=True, slots=True)
class RuleCall:
    """`(ancestor ?x "c")`"""

    name: str
    arguments: tuple[Term, ...]
    source: Source = Source()
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"({_words((*_named(self.source), self.name, *self.arguments))})"


Clause: TypeAlias = Pattern | Predicate | FunctionCall | And | Not | Or | RuleCall


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule body: `[(name [?required ...] ?x ...) clause ...]`; required variables stand first."""

    name: str
    parameters: tuple[Variable, ...]
    required: int
    clauses: tuple[Clause, ...]
    place: Place | None = field(default=None, compare=False, repr=False)


# Pull patterns.


@dataclass(frozen=True, slots=True)
class PullAttribute:
    """One attribute of a pull pattern.

    `reverse` for `:_attr`; `pattern` for `{attr pattern}`; `recursion` is a depth, 0 for `...`, -1 when spent,
    or None; `limit` is None for no limit; `default` counts only when `has_default`. Defaults are
    compared as constants are: 1 is not true.
    """

    name: str
    reverse: bool = False
    alias: Any = None
    limit: int | None = None
    default: Any = field(default=None, hash=False, compare=False)
    has_default: bool = False
    pattern: PullPattern | None = None
    recursion: int | None = None
    _key: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_key", (type(self.default), identity(self.default)))


@dataclass(frozen=True, slots=True)
class PullPattern:
    """`[* :a {:b [...]}]`: `wildcard` for `*`, then the attributes in the order written."""

    wildcard: bool
    attributes: tuple[PullAttribute, ...]


# Find.


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`(count ?x)`, `(min 3 ?x)`, `(?mine ?x)`: the last argument is the variable aggregated."""

    function: str | Variable
    arguments: tuple[Variable | Constant, ...]
    place: Place | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Pull:
    """`(pull $ ?e pattern)`; the pattern is given, or a variable bound in `:in`."""

    variable: Variable
    pattern: PullPattern | Variable
    source: Source = Source()
    place: Place | None = field(default=None, compare=False, repr=False)


FindElement: TypeAlias = Variable | Aggregate | Pull


@dataclass(frozen=True, slots=True)
class Find:
    """`shape` is "relation", "collection", "tuple" or "scalar"."""

    shape: str
    elements: tuple[FindElement, ...]


@dataclass(frozen=True, slots=True)
class RulesInput:
    """`%` in `:in`."""


Input: TypeAlias = Binding | Source | RulesInput


@dataclass(frozen=True, slots=True)
class Order:
    """One entry of `:order-by`: a variable of `:find`, or a column number counted from 0."""

    column: int
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query. `keys` are the names of `:keys`/`:strs`/`:syms`, one a find element, or None."""

    find: Find
    inputs: tuple[Input, ...] = (Source(),)
    with_: tuple[Variable, ...] = ()
    where: tuple[Clause, ...] = ()
    keys: tuple[str, ...] | None = None
    order_by: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0


def term_variables(terms: tuple[object, ...]) -> tuple[Variable, ...]:
    """The distinct variables among `terms`, in order."""
    return tuple(dict.fromkeys(term for term in terms if isinstance(term, Variable)))


def binding_variables(binding: Binding) -> tuple[Variable, ...]:
    """The distinct variables a binding binds, in order.

    >>> [str(v) for v in binding_variables(BindTuple((BindScalar(Variable("a")), BindIgnore())))]
    ['?a']
    """
    match binding:
        case BindScalar(variable):
            return (variable,)
        case BindCollection(element):
            return binding_variables(element)
        case BindTuple(elements) | BindRelation(elements):
            found = (variable for element in elements for variable in binding_variables(element))
            return tuple(dict.fromkeys(found))
        case _:
            return ()


def _words(parts: Iterable[object]) -> str:
    return " ".join(map(str, parts))


def _named(source: Source) -> tuple[Source, ...]:
    """A source as it is written: left out where it is `$`."""
    return () if source.name == "$" else (source,)
