"""What holds between the parts of a query: names are declared once, and nothing is used that is not declared.
Knows nothing of text or planning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tourlog.query.forms import syntax_error
from tourlog.query.parse_clauses import variables_of, walk
from tourlog.query.place import Place
from tourlog.query.syntax import (
    Aggregate,
    BindCollection,
    BindRelation,
    BindScalar,
    BindTuple,
    Clause,
    FindElement,
    FunctionCall,
    Input,
    Not,
    Or,
    Pattern,
    Predicate,
    Pull,
    Query,
    RuleCall,
    RulesInput,
    Source,
    Variable,
)


def check_query(query: Query) -> None:
    """`QuerySyntaxError`, naming what and where, unless the parts of the query fit together."""
    given = _inputs(query.inputs)
    has_rules = RulesInput() in query.inputs
    variables = {name for name in given if isinstance(name, Variable)}
    _check_find(query, variables)
    sources = {name.name for name in given if isinstance(name, Source)}
    for element in query.find.elements:
        if isinstance(element, Pull):
            _check_source(element.source, "$", sources, element.place)
    for clause, source in walk(query.where):
        _check_function(clause, variables)
        for used in _sources(clause):
            _check_source(used, source, sources, clause.place)
        if isinstance(clause, RuleCall) and not has_rules:
            expected = "% in :in for the rules (a predicate has brackets, [(< ?a ?b)])"
            raise syntax_error(expected, f"a call of {clause.name}", ":where", place=clause.place)


def _check_find(query: Query, given: set[Variable]) -> None:
    known = {*given, *variables_of(query.where)}
    found = dict.fromkeys([variable for element in query.find.elements for variable in _found(element)])
    _check_known(found, known, ":find", "bound in :where or :in")
    _check_known(query.with_, known, ":with", "bound in :where or :in")
    for variable in query.with_:
        if variable in found:
            expected = "other variables in :with than in :find"
            raise syntax_error(expected, str(variable), ":with", place=variable.place)
    for element in query.find.elements:
        _check_known(_called(element), given, ":find", "given in :in")


def _inputs(inputs: Iterable[Input]) -> set[Variable | Source]:
    """The names of `:in`, which must differ."""
    seen: set[Variable | Source] = set()
    for name in (name for given in inputs for name in _names(given)):
        if name in seen:
            raise syntax_error("different names", f"a second {name}", ":in", place=name.place)
        seen.add(name)
    return seen


def _names(given: Input) -> Iterator[Variable | Source]:
    match given:
        case Source():
            yield given
        case BindScalar(variable):
            yield variable
        case BindCollection(element):
            yield from _names(element)
        case BindTuple(elements) | BindRelation(elements):
            for element in elements:
                yield from _names(element)


def _found(element: FindElement) -> tuple[Variable, ...]:
    match element:
        case Variable():
            return (element,)
        case Pull(variable):
            return (variable,)
        case Aggregate(_, arguments):
            return tuple([argument for argument in arguments if isinstance(argument, Variable)])


def _called(element: FindElement) -> tuple[Variable, ...]:
    """The variables that stand for a callable or a pull pattern."""
    match element:
        case Pull(_, Variable() as variable) | Aggregate(Variable() as variable):
            return (variable,)
        case _:
            return ()


def _check_known(variables: Iterable[Variable], known: set[Variable], where: str, expected: str) -> None:
    for variable in variables:
        if variable not in known:
            raise syntax_error(f"a variable {expected}", str(variable), where, place=variable.place)


def _check_function(clause: Clause, given: set[Variable]) -> None:
    if isinstance(clause, Predicate | FunctionCall) and isinstance(clause.function, Variable):
        _check_known((clause.function,), given, ":where", "given in :in to be called")


def _sources(clause: Clause) -> tuple[Source, ...]:
    """The sources a clause needs; a rule may need none, and `not` and `or` pass theirs on."""
    match clause:
        case Pattern():
            return (clause.source,)
        case Predicate() | FunctionCall():
            return tuple([argument for argument in clause.arguments if isinstance(argument, Source)])
        case Not() | Or() | RuleCall() if clause.source.name != "$":
            return (clause.source,)
        case _:
            return ()


def _check_source(source: Source, default: str, sources: set[str], place: Place | None) -> None:
    """`default` is what `$` stands for here."""
    name = default if source.name == "$" else source.name
    if name not in sources:
        expected = f"a source of :in ({', '.join(sorted(sources)[:9]) or 'there is none'})"
        raise syntax_error(expected, name, "a query", place=source.place or place)
