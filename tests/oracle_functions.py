"""The oracle's built-in functions and aggregates, each as plain as it can be."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from oracle_values import distinct, equal, key, kind, less, less_or_equal


class OracleError(Exception):
    """The query cannot be computed."""


NOTHING = object()
"""What a function returns to give no row at all."""


def numbers(*values: Any) -> tuple[Any, ...]:
    if any(kind(value) != "number" for value in values):
        raise TypeError("numbers expected")
    return values


def strings(*values: Any) -> tuple[Any, ...]:
    if any(kind(value) != "string" for value in values):
        raise TypeError("strings expected")
    return values


def is_true(value: Any) -> bool:
    """Anything but None and False, as in Clojure."""
    return value is not None and value is not False


def conjunction(*values: Any) -> Any:
    return next((value for value in values if not is_true(value)), values[-1])


def disjunction(*values: Any) -> Any:
    return next((value for value in values if is_true(value)), values[-1])


def chain(holds: Any) -> Any:
    return lambda *values: all(holds(a, b) for a, b in pairwise(values))


def common(a: Any, b: Any) -> tuple[Any, Any]:
    """A float and a Decimal do not mix in Python; they meet as floats."""
    if isinstance(a, float) != isinstance(b, float) and isinstance(a, Decimal) != isinstance(b, Decimal):
        return float(a), float(b)
    return a, b


def fold(operation: Any, start: Any, alone: Any = None, moves: bool = False) -> Any:
    """`operation` over any number of numbers (dates and durations, too, when it `moves`); `alone` of one."""

    def run(*values: Any) -> Any:
        if not moves or not any(isinstance(value, date | timedelta) for value in values):
            numbers(*values)
        if len(values) == 1 and alone:
            return alone(*values)
        result, rest = (values[0], values[1:]) if values else (start, ())
        for value in rest:
            result = operation(*common(result, value))
        return result

    return run


def divide(a: Any, b: Any) -> Any:
    if b == 0:
        raise ZeroDivisionError(a)
    return a / b


def quotient(a: Any, b: Any) -> Any:
    numbers(a, b)
    if b == 0:
        raise ZeroDivisionError(a)
    return math.trunc(Fraction(a) / Fraction(b))


def remainder(a: Any, b: Any) -> Any:
    """With the sign of the dividend."""
    return a - b * quotient(a, b)


def modulo(a: Any, b: Any) -> Any:
    """With the sign of the divisor."""
    rest = remainder(a, b)
    return rest + b if rest and (rest < 0) != (b < 0) else rest


def whole(value: Any) -> int:
    if numbers(value)[0] != int(value):
        raise TypeError("a whole number expected")
    return int(value)


def get_else(source: Any, e: Any, a: str, default: Any) -> Any:
    """The least value, where there are several."""
    if default is None:
        raise TypeError("a default other than nil expected")
    return min(source.values(e, a), key=key, default=default)


def get_some(source: Any, e: Any, *attributes: str) -> Any:
    for a in attributes:
        if values := source.values(e, a):
            return (a, min(values, key=key))
    return NOTHING


def text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
    return str(value)


def subs(string: str, start: int, end: int | None = None) -> str:
    strings(string)
    stop = len(string) if end is None else end
    if not 0 <= start <= stop <= len(string):
        raise IndexError(start)
    return string[start:stop]


def found(match: Any) -> Any:
    """As Clojure does: the whole match, or whole and groups when there are groups; no row without a match."""
    if match is None:
        return NOTHING
    return [match.group(), *match.groups()] if match.groups() else match.group()


def part(name: str, *types: type) -> Any:
    def read(value: Any) -> int:
        if not isinstance(value, types):
            raise TypeError(name)
        aware = isinstance(value, datetime) and value.tzinfo is not None
        return getattr(value.astimezone(UTC) if aware else value, name)

    return read


def count(value: Any) -> int:
    if value is None:
        return 0
    return len(value)


def extreme(best: Any) -> Any:
    return lambda *values: best(values, key=key)


def is_kind(*kinds: str) -> Any:
    return lambda value: kind(value) in kinds


FUNCTIONS: dict[str, Any] = {
    "=": chain(equal),
    "==": chain(equal),
    "not=": lambda *values: not chain(equal)(*values),
    "!=": lambda *values: not chain(equal)(*values),
    "<": chain(less),
    "<=": chain(less_or_equal),
    ">": chain(lambda a, b: less(b, a)),
    ">=": chain(lambda a, b: less_or_equal(b, a)),
    "+": fold(lambda a, b: a + b, 0, moves=True),
    "-": fold(lambda a, b: a - b, 0, lambda a: -a, moves=True),
    "*": fold(lambda a, b: a * b, 1),
    "/": fold(divide, 1, lambda a: divide(1, a)),
    "quot": quotient,
    "rem": remainder,
    "mod": modulo,
    "inc": lambda a: numbers(a)[0] + 1,
    "dec": lambda a: numbers(a)[0] - 1,
    "abs": lambda a: abs(*numbers(a)),
    "and": conjunction,
    "or": disjunction,
    "not": lambda value: not is_true(value),
    "even?": lambda a: whole(a) % 2 == 0,
    "odd?": lambda a: whole(a) % 2 == 1,
    "zero?": lambda a: equal(a, 0),
    "pos?": lambda a: less(0, a),
    "neg?": lambda a: less(a, 0),
    "min": extreme(min),
    "max": extreme(max),
    "count": count,
    "get-else": get_else,
    "get-some": get_some,
    "missing?": lambda source, e, a: not source.values(e, a),
    "ground": lambda value: value,
    "identity": lambda value: value,
    "untuple": lambda value: value,
    "tuple": lambda *values: tuple(values),
    "vector": lambda *values: list(values),
    "str": lambda *values: "".join(text(value) for value in values),
    "subs": subs,
    "upper-case": lambda s: strings(s)[0].upper(),
    "lower-case": lambda s: strings(s)[0].lower(),
    "trim": lambda s: strings(s)[0].strip(),
    "starts-with?": lambda s, t: strings(s, t)[0].startswith(t),
    "ends-with?": lambda s, t: strings(s, t)[0].endswith(t),
    "includes?": lambda s, t: t in strings(s, t)[0],
    "blank?": lambda s: s is None or not strings(s)[0].strip(),
    "re-find": lambda pattern, s: found(re.search(*strings(pattern, s))),
    "re-matches": lambda pattern, s: found(re.fullmatch(*strings(pattern, s))),
    "year": part("year", date),
    "month": part("month", date),
    "day": part("day", date),
    "hour": part("hour", datetime, time),
    "minute": part("minute", datetime, time),
    "second": part("second", datetime, time),
    "number?": is_kind("number"),
    "string?": is_kind("string"),
    "boolean?": is_kind("bool"),
    "nil?": is_kind("none"),
    "some?": lambda value: value is not None,
    "true?": lambda value: value is True,
    "false?": lambda value: value is False,
    "float?": lambda value: isinstance(value, float),
    "inst?": is_kind("datetime", "instant"),
}


# Aggregates: of the values of one group, repeats included where `:with` or other columns make them.


def nearest(values: list[Any], descending: bool) -> Any:
    return sorted(values, key=key, reverse=descending)[0]


def several(values: list[Any], n: int, descending: bool) -> list[Any]:
    """The n least or greatest values, in ascending order, as DataScript gives them."""
    return sorted(sorted(values, key=key, reverse=descending)[:n], key=key)


def exact(value: Any) -> Any:
    """A Fraction as the plainest number equal or nearest to it."""
    return int(value) if value == int(value) else float(value)


def mean(values: list[Any]) -> Fraction:
    return Fraction(sum(map(Fraction, numbers(*values)))) / len(values)


def middle(values: list[Any]) -> Any:
    ordered = sorted(map(Fraction, numbers(*values)))
    half = len(ordered) // 2
    return exact(ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2)


def variance(values: list[Any]) -> Fraction:
    centre = mean(values)
    return Fraction(sum((Fraction(value) - centre) ** 2 for value in values)) / len(values)


AGGREGATES: dict[str, Any] = {
    "count": len,
    "count-distinct": lambda values: len(distinct(values)),
    "sum": lambda values: FUNCTIONS["+"](*values),
    "avg": lambda values: exact(mean(values)),
    "median": middle,
    "variance": lambda values: exact(variance(values)),
    "stddev": lambda values: math.sqrt(variance(values)),
    "distinct": frozenset,
    "min": lambda *args: nearest(args[-1], False) if len(args) == 1 else several(args[1], args[0], False),
    "max": lambda *args: nearest(args[-1], True) if len(args) == 1 else several(args[1], args[0], True),
    "rand": lambda *args: args[-1][0] if len(args) == 1 else [args[1][0]] * args[0],
    "sample": lambda n, values: distinct(values)[:n],
}
