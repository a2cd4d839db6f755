"""What a plan is made of: literals in the order they run, relations, strata. Frozen records that print
themselves; both engines run exactly these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tourlog.query.place import Place
from tourlog.query.syntax import (
    Binding,
    BindScalar,
    Blank,
    Constant,
    Find,
    Query,
    Source,
    Variable,
    binding_variables,
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A scalar input, known when the query runs: a variable that is bound before anything else."""

    name: str

    def __str__(self) -> str:
        return f"?{self.name}"


Term: TypeAlias = Variable | Blank | Constant | Parameter

_ANYTHING = Blank()


@dataclass(frozen=True, slots=True)
class Scan:
    """The facts of a database that fit four terms; a function-free pattern."""

    source: str
    e: Term
    a: Term
    v: Term
    tx: Term = _ANYTHING
    place: Place | None = field(default=None, compare=False, repr=False)

    @property
    def terms(self) -> tuple[Term, ...]:
        return (self.e, self.a, self.v, self.tx)

    def __str__(self) -> str:
        terms = self.terms if not isinstance(self.tx, Blank) else self.terms[:3]
        return f"{_of(self.source)}[{_words(terms)}]"


@dataclass(frozen=True, slots=True)
class Rows:
    """The tuples of a plain collection given as a source."""

    source: str
    terms: tuple[Term, ...]
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{_of(self.source)}[{_words(self.terms)}]"


@dataclass(frozen=True, slots=True)
class Slice:
    """The ordered access path: documents of one stream, their offsets within bounds. Each bound is an
    operator (`<`, `<=`, `>`, `>=`, `=`) and a term, all of which hold."""

    source: str
    e: Term
    names: tuple[str, ...]
    values: tuple[Term, ...]
    offset: Term
    bounds: tuple[tuple[str, Term], ...] = ()
    place: Place | None = field(default=None, compare=False, repr=False)

    @property
    def terms(self) -> tuple[Term, ...]:
        return (self.e, *self.values, self.offset, *(term for _, term in self.bounds))

    def __str__(self) -> str:
        key = ", ".join(f"{name} = {value}" for name, value in zip(self.names, self.values, strict=True))
        bounds = "".join(f", {operator} {term}" for operator, term in self.bounds)
        return f"{_of(self.source)}slice({self.e}; {key}; offset {self.offset}{bounds})"


@dataclass(frozen=True, slots=True)
class Filter:
    """A predicate over bound terms."""

    function: str | Parameter
    arguments: tuple[Term | Source, ...]
    place: Place | None = field(default=None, compare=False, repr=False)

    @property
    def terms(self) -> tuple[Term | Source, ...]:
        return self.arguments

    def __str__(self) -> str:
        return f"[{_call(self.function, self.arguments)}]"


@dataclass(frozen=True, slots=True)
class Compute:
    """A function of bound terms, its result bound (or unified, where a variable is bound already)."""

    function: str | Parameter
    arguments: tuple[Term | Source, ...]
    binding: Binding
    place: Place | None = field(default=None, compare=False, repr=False)

    @property
    def terms(self) -> tuple[Term | Source, ...]:
        return (*self.arguments, *binding_variables(self.binding))

    def __str__(self) -> str:
        shown = " ".join(map(str, binding_variables(self.binding)))
        bound = shown if isinstance(self.binding, BindScalar) else f"[{shown}]"
        return f"[{_call(self.function, self.arguments)} {bound}]"


@dataclass(frozen=True, slots=True)
class Given:
    """The rows of one collection or relation input, by its place in `:in`."""

    position: int
    variables: tuple[Variable, ...]

    @property
    def terms(self) -> tuple[Term, ...]:
        return self.variables

    def __str__(self) -> str:
        return f"input {self.position}({_words(self.variables)})"


@dataclass(frozen=True, slots=True)
class Call:
    """A relation of the plan; `delta` for only the rows the last round added."""

    relation: str
    terms: tuple[Term, ...]
    delta: bool = False
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{'Δ' if self.delta else ''}{self.relation}({_words(self.terms)})"


@dataclass(frozen=True, slots=True)
class RuleUse:
    """A call of a rule not yet turned into a relation; gone from a finished plan."""

    rule: str
    source: str
    terms: tuple[Term, ...]
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"({self.rule} {_words(self.terms)})"


@dataclass(frozen=True, slots=True)
class Negation:
    """Holds where `body` has no solution; `shared` are the variables it takes from outside, all bound."""

    body: tuple[Literal, ...]
    shared: tuple[Variable, ...]
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"not({_words(self.shared)}: {' '.join(map(str, self.body))})"


@dataclass(frozen=True, slots=True)
class Disjunction:
    """The union of branches, each of which binds all of `variables`; `required` must be bound before."""

    branches: tuple[tuple[Literal, ...], ...]
    variables: tuple[Variable, ...]
    required: tuple[Variable, ...] = ()
    place: Place | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        branches = " | ".join(" ".join(map(str, branch)) for branch in self.branches)
        return f"or({_words(self.variables)}: {branches})"


Literal: TypeAlias = Scan | Rows | Slice | Filter | Compute | Given | Call | RuleUse | Negation | Disjunction
Body: TypeAlias = tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Clause:
    """One way to derive a relation. `variants`, for a recursive clause, is the same body once for each of
    its recursive calls, that call first and reading only the last round's rows (semi-naive evaluation)."""

    head: tuple[Term, ...]
    body: Body
    variants: tuple[Body, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """A derived relation: the union of its clauses."""

    name: str
    arity: int
    clauses: tuple[Clause, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{self.name}({_words(clause.head)}) <- {' '.join(map(str, clause.body)) or 'true'}"
            for clause in self.clauses
        )


@dataclass(frozen=True, slots=True)
class Stratum:
    """Relations that are computed together; lower strata are finished by then."""

    relations: tuple[Relation, ...]
    recursive: bool

    def __str__(self) -> str:
        return "\n".join(map(str, self.relations))


@dataclass(frozen=True, slots=True)
class Plan:
    """A query ready to run: strata from the bottom up, then the body, whose rows are over `columns` (the
    variables and parameters of `:find` and `:with`)."""

    query: Query
    strata: tuple[Stratum, ...]
    body: Body
    columns: tuple[Variable | Parameter, ...]
    parameters: tuple[str, ...]

    @property
    def find(self) -> Find:
        return self.query.find

    def __str__(self) -> str:
        lines = [
            f"stratum {number}{' (recursive)' if stratum.recursive else ''}\n{_indent(str(stratum))}"
            for number, stratum in enumerate(self.strata, 1)
        ]
        rows = f"rows({_words(self.columns)}) <- {' '.join(map(str, self.body)) or 'true'}"
        return "\n".join([*lines, rows])


def variables_of(literal: Literal) -> tuple[Variable, ...]:
    """The distinct variables a literal exchanges with what surrounds it."""
    match literal:
        case Negation():
            return literal.shared
        case Disjunction():
            seen = (*literal.variables, *(v for branch in literal.branches for v in body_variables(branch)))
            return tuple(dict.fromkeys(seen))
        case _:
            return tuple(dict.fromkeys(term for term in literal.terms if isinstance(term, Variable)))


def body_variables(body: Iterable[Literal]) -> tuple[Variable, ...]:
    """The distinct variables of a conjunction, in order."""
    return tuple(dict.fromkeys(variable for literal in body for variable in variables_of(literal)))


def bound_by(literal: Literal) -> tuple[Variable, ...]:
    """The variables that are bound once a literal has run."""
    match literal:
        case Negation() | Filter():
            return ()
        case Disjunction():
            return literal.variables
        case _:
            return variables_of(literal)


def walk(body: Iterable[Literal]) -> Iterator[Literal]:
    """Every literal of a body, nested ones included, outer before inner."""
    for literal in body:
        yield literal
        match literal:
            case Negation():
                yield from walk(literal.body)
            case Disjunction():
                for branch in literal.branches:
                    yield from walk(branch)


def with_bodies(literal: Literal, bodies: tuple[Body, ...]) -> Literal:
    """A negation or disjunction with other bodies in place of its own."""
    match literal:
        case Negation():
            return replace(literal, body=bodies[0])
        case Disjunction():
            return replace(literal, branches=bodies)
        case _:
            return literal


def bodies_of(literal: Literal) -> tuple[Body, ...]:
    """The bodies nested in a literal."""
    match literal:
        case Negation():
            return (literal.body,)
        case Disjunction():
            return literal.branches
        case _:
            return ()


def _words(terms: Iterable[object]) -> str:
    return " ".join(map(str, terms))


def _of(source: str) -> str:
    return "" if source == "$" else f"{source} "


def _call(function: str | Parameter, arguments: tuple[Term | Source, ...]) -> str:
    return f"({' '.join(map(str, (function, *arguments)))})"


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
