"""The built-in functions and predicates of the query language: one fixed table, shared by the engines.

Knows nothing of plans and databases; `get-else` and its like are given a lookup in place of their source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from math import isinf
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

from tourlog.errors import QueryError
from tourlog.query import arithmetic, containers, moments, text
from tourlog.query.guard import guarded, shown
from tourlog.query.large import equal, less, less_or_equal, sort_key
from tourlog.values import identity, kind

Lookup: TypeAlias = Callable[[Any, Any], tuple[Any, ...]]
"""The values an entity has under an attribute, of one database."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the query language.

    It takes `minimum` to `maximum` arguments (None: any number), a source among them. `fallible`: it can
    raise `QueryError`. `predicate`: it gives True or False. `database`: a source comes first, for which
    `compute` takes a `Lookup`. `optional`: None from it means that there is no result, so that a binding of
    it gives no row; from the others None is a value.
    """

    name: str
    minimum: int
    maximum: int | None
    compute: Callable[..., Any]
    fallible: bool = False
    predicate: bool = False
    database: bool = False
    optional: bool = False


def get_builtin(name: str) -> Builtin:
    """The built-in function of a name, also of one such as `clojure.string/blank?`; `QueryError` for no such.

    >>> get_builtin("clojure.string/blank?").name
    'blank?'
    >>> get_builtin("starts-wiht?")
    Traceback (most recent call last):
    tourlog.errors.QueryError: expected a built-in function, got 'starts-wiht?'; did you mean starts-with?
    """
    found = BUILTINS.get(name) or BUILTINS.get(_without_namespace(name))
    if found is None:
        raise unknown("a built-in function", name, BUILTINS)
    return found


def unknown(expected: str, name: str, known: Iterable[str]) -> QueryError:
    """The error for a name that is not among the `known`: it suggests the nearest three."""
    from difflib import get_close_matches  # for this error only

    near = tuple(get_close_matches(_without_namespace(name)[:50], known))
    hint = f"; did you mean {' or '.join(near)}" if near else ""
    return QueryError(f"expected {expected}, got {shown(name)}{hint}", function=name, suggestions=near)


def is_true(value: Any) -> bool:
    """Whether a value counts as true in a predicate: anything but False and None, as in Clojure."""
    return value is not None and value is not False


def _without_namespace(name: str) -> str:
    for namespace in ("clojure.string/", "clojure.core/", "str/"):
        if name.startswith(namespace):
            return name.removeprefix(namespace)
    return name


# Comparisons and logic.


def _chained(holds: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    """Whether it holds of every two neighbours."""

    def compute(*values: Any) -> bool:
        if len(values) == 2:
            return holds(values[0], values[1])
        return all(holds(a, b) for a, b in pairwise(values))

    return compute


_are_equal = _chained(equal)


def _differ(*values: Any) -> bool:
    return not _are_equal(*values)


def _compare(a: Any, b: Any) -> int:
    """-1, 0 or 1 by the total order of all values."""
    first, second = sort_key(a), sort_key(b)
    return (first > second) - (first < second)


def _halves_differ(*values: Any) -> bool:
    half = (len(values) + 1) // 2
    return len(values) % 2 == 1 or not all(map(equal, values[:half], values[half:]))


def _and(*values: Any) -> Any:
    """The first value that is not true, else the last; True of nothing."""
    return next((value for value in values if not is_true(value)), values[-1] if values else True)


def _or(*values: Any) -> Any:
    """The first true value, else the last; None of nothing."""
    return next((value for value in values if is_true(value)), values[-1] if values else None)


# Type tests.


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | Decimal) and identity(value) == identity(float("nan"))


def _is_infinite(value: Any) -> bool:
    return value.is_infinite() if isinstance(value, Decimal) else isinstance(value, float) and isinf(value)


def _is_plain_date(value: Any) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


# Functions of a database.


def _get_else(lookup: Lookup, e: Any, a: Any, default: Any) -> Any:
    """The least value of the attribute, or the default."""
    if default is None:
        raise QueryError("expected a default other than nil")
    return min(lookup(e, a), key=sort_key, default=default)


def _get_some(lookup: Lookup, e: Any, *attributes: Any) -> tuple[Any, Any] | None:
    """The first of the attributes that the entity has, with its least value."""
    found = ((a, values) for a in attributes if (values := lookup(e, a)))
    return next(((a, min(values, key=sort_key)) for a, values in found), None)


def _is_missing(lookup: Lookup, e: Any, a: Any) -> bool:
    return not lookup(e, a)


# The table: name, fewest and most arguments, computation.

_Row: TypeAlias = tuple[str, int, int | None, Callable[..., Any]]

_TESTS: tuple[_Row, ...] = (
    ("=", 1, None, _are_equal),
    ("==", 1, None, _are_equal),
    ("not=", 1, None, _differ),
    ("!=", 1, None, _differ),
    ("<", 1, None, _chained(less)),
    ("<=", 1, None, _chained(less_or_equal)),
    (">", 1, None, _chained(lambda a, b: less(b, a))),
    (">=", 1, None, _chained(lambda a, b: less_or_equal(b, a))),
    ("identical?", 2, 2, lambda a, b: type(a) is type(b) and equal(a, b)),
    ("-differ?", 0, None, _halves_differ),
    ("not", 1, 1, lambda value: not is_true(value)),
    ("true?", 1, 1, lambda value: value is True),
    ("false?", 1, 1, lambda value: value is False),
    ("nil?", 1, 1, lambda value: value is None),
    ("some?", 1, 1, lambda value: value is not None),
    ("zero?", 1, 1, lambda value: equal(value, 0)),
    ("pos?", 1, 1, lambda value: less(0, value)),
    ("neg?", 1, 1, lambda value: less(value, 0)),
    ("number?", 1, 1, _is_number),
    ("integer?", 1, 1, _is_integer),
    ("int?", 1, 1, _is_integer),
    ("float?", 1, 1, _is(float)),
    ("double?", 1, 1, _is(float)),
    ("decimal?", 1, 1, _is(Decimal)),
    ("nan?", 1, 1, _is_nan),
    ("infinite?", 1, 1, _is_infinite),
    ("boolean?", 1, 1, _is(bool)),
    ("string?", 1, 1, _is(str)),
    ("keyword?", 1, 1, _is(str)),
    ("bytes?", 1, 1, _is(bytes)),
    ("uuid?", 1, 1, _is(UUID)),
    ("inst?", 1, 1, _is(datetime)),
    ("date?", 1, 1, _is_plain_date),
    ("time?", 1, 1, _is(time)),
    ("duration?", 1, 1, _is(timedelta)),
    ("list?", 1, 1, _is(list)),
    ("tuple?", 1, 1, _is(tuple)),
    ("vector?", 1, 1, _is(list, tuple)),
    ("set?", 1, 1, _is(set, frozenset)),
    ("map?", 1, 1, _is(dict)),
    ("coll?", 1, 1, _is(list, tuple, set, frozenset, dict)),
)

_FALLIBLE_TESTS: tuple[_Row, ...] = (
    ("even?", 1, 1, arithmetic.is_even),
    ("odd?", 1, 1, arithmetic.is_odd),
    ("empty?", 1, 1, containers.is_empty),
    ("contains?", 2, 2, containers.has_key),
    ("blank?", 1, 1, text.is_blank),
    ("starts-with?", 2, 2, text.on_strings(str.startswith)),
    ("ends-with?", 2, 2, text.on_strings(str.endswith)),
    ("includes?", 2, 2, text.on_strings(str.__contains__)),
)

_TOTAL: tuple[_Row, ...] = (
    ("and", 0, None, _and),
    ("or", 0, None, _or),
    ("identity", 1, 1, lambda value: value),
    ("ground", 1, 1, lambda value: value),
    ("untuple", 1, 1, lambda value: value),
    ("compare", 2, 2, _compare),
    ("type", 1, 1, kind),
    ("min", 1, None, lambda *values: min(values, key=sort_key)),
    ("max", 1, None, lambda *values: max(values, key=sort_key)),
)

_FALLIBLE: tuple[_Row, ...] = (
    ("+", 0, None, arithmetic.add),
    ("-", 1, None, arithmetic.subtract),
    ("*", 0, None, arithmetic.multiply),
    ("/", 1, None, arithmetic.divide),
    ("quot", 2, 2, arithmetic.quotient),
    ("rem", 2, 2, arithmetic.remainder),
    ("mod", 2, 2, arithmetic.modulo),
    ("inc", 1, 1, lambda value: arithmetic.add(arithmetic.number(value), 1)),
    ("dec", 1, 1, lambda value: arithmetic.subtract(arithmetic.number(value), 1)),
    ("abs", 1, 1, arithmetic.magnitude),
    ("vector", 0, None, containers.to_list),
    ("list", 0, None, containers.to_list),
    ("tuple", 0, None, containers.to_tuple),
    ("set", 1, 1, containers.to_set),
    ("hash-map", 0, None, containers.to_dict),
    ("array-map", 0, None, containers.to_dict),
    ("range", 1, 3, containers.number_range),
    ("count", 1, 1, containers.size),
    ("str", 0, None, text.concatenate),
    ("print-str", 0, None, text.displayed),
    ("println-str", 0, None, lambda *values: text.displayed(*values) + "\n"),
    ("pr-str", 0, None, text.printed),
    ("prn-str", 0, None, lambda *values: text.printed(*values) + "\n"),
    ("subs", 2, 3, text.substring),
    ("upper-case", 1, 1, text.on_strings(text.in_pieces(str.upper))),
    ("lower-case", 1, 1, text.on_strings(text.in_pieces(str.lower))),
    ("trim", 1, 1, text.on_strings(str.strip)),
    ("keyword", 1, 2, text.keyword),
    ("name", 1, 1, text.name_of),
    ("re-pattern", 1, 1, text.re_pattern),
    ("year", 1, 1, moments.part("year", date)),
    ("month", 1, 1, moments.part("month", date)),
    ("day", 1, 1, moments.part("day", date)),
    ("hour", 1, 1, moments.part("hour", datetime, time)),
    ("minute", 1, 1, moments.part("minute", datetime, time)),
    ("second", 1, 1, moments.part("second", datetime, time)),
    ("microsecond", 1, 1, moments.part("microsecond", datetime, time)),
    ("weekday", 1, 1, moments.weekday),
    ("day-of-year", 1, 1, moments.day_of_year),
    ("iso-week", 1, 1, moments.iso_week),
    ("date", 1, 1, moments.date_of),
    ("time", 1, 1, moments.time_of),
    ("timestamp", 1, 1, moments.timestamp),
    ("total-seconds", 1, 1, moments.total_seconds),
)

_OPTIONAL: tuple[_Row, ...] = (
    ("get", 2, 3, containers.look_up),
    ("not-empty", 1, 1, containers.not_empty),
    ("namespace", 1, 1, text.namespace_of),
    ("re-find", 2, 2, text.re_find),
    ("re-matches", 2, 2, text.re_matches),
    ("re-seq", 2, 2, text.re_seq),
)

_OF_A_DATABASE: tuple[Builtin, ...] = (
    Builtin("get-else", 4, 4, guarded("get-else", _get_else), fallible=True, database=True),
    Builtin("get-some", 3, None, _get_some, database=True, optional=True),
    Builtin("missing?", 3, 3, _is_missing, predicate=True, database=True),
)


def _builtins() -> Iterator[Builtin]:
    yield from (Builtin(*row, predicate=True) for row in _TESTS)
    yield from (Builtin(*row) for row in _TOTAL)
    yield from (_guarded(row, predicate=True) for row in _FALLIBLE_TESTS)
    yield from (_guarded(row) for row in _FALLIBLE)
    yield from (_guarded(row, optional=True) for row in _OPTIONAL)
    yield from _OF_A_DATABASE


def _guarded(row: _Row, *, predicate: bool = False, optional: bool = False) -> Builtin:
    name, minimum, maximum, compute = row
    compute = guarded(name, compute)
    return Builtin(name, minimum, maximum, compute, fallible=True, predicate=predicate, optional=optional)


BUILTINS: Mapping[str, Builtin] = MappingProxyType({builtin.name: builtin for builtin in _builtins()})
"""Every built-in function by its name."""
