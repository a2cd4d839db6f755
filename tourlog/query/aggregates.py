"""The aggregates of the query language: each takes one group's values, a row's each, and gives one value.

No answer depends on the order of the rows, `rand` and `sample` aside. Knows nothing of groups and engines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import reduce
from heapq import nlargest, nsmallest
from types import MappingProxyType
from typing import Any

from tourlog.errors import QueryError
from tourlog.query.arithmetic import EXACT, ROUNDED, Number, as_decimal, bounded, divide, number
from tourlog.query.containers import as_set
from tourlog.query.deadline import pulse
from tourlog.query.functions import unknown
from tourlog.query.guard import guarded
from tourlog.query.large import pieces, sort_key
from tourlog.values import identity

PICKED = 100_000
"""The most values `rand` picks."""

_FLOAT_BITS = 1030
"""No float is as large as an integer of so many bits."""

_SMALL_BITS = 1_000
_HUGE_A_PULSE = 50
"""Integers larger than the small ones that are added between looks at the time."""

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class AggregateFunction:
    """`compute(values, *extra)`, `extra` being the `minimum` to `maximum` constants before the variable.

    `values` is a non-empty list of what the group's rows hold, repeats included. Raises `QueryError`.
    """

    name: str
    minimum: int
    maximum: int
    compute: Callable[..., Any]


def get_aggregate(name: str) -> AggregateFunction:
    """The aggregate of a name; `QueryError`, suggesting near names, for no such."""
    found = AGGREGATES.get(name)
    if found is None:
        raise unknown("an aggregate", name, AGGREGATES)
    return found


# Sums: ints exactly, floats rounded once, Decimals sorted first, so that rows may come in any order.


def total(values: Sequence[Any]) -> Number:
    """The sum of numbers: a float with floats among them, else a Decimal with Decimals, else an exact int.

    >>> total([0.1] * 10), total([1, Decimal("0.1")]), total([1e308, 1e308, -1e308, 1])
    (1.0, Decimal('1.1'), 1e+308)
    """
    ints, floats, decimals = _by_type(values)
    if floats:
        return _sum_of_floats([*floats, *map(float, ints), *map(float, decimals)])
    return _sum_of_decimals(ints, decimals) if decimals else bounded(_sum_of_ints(ints))


def _by_type(values: Sequence[Any]) -> tuple[list[int], list[float], list[Decimal]]:
    types = set(map(type, values))
    if types == {int}:
        return list(values), [], []
    if types == {float}:
        return [], list(values), []
    found: tuple[list[int], list[float], list[Decimal]] = ([], [], [])
    for value in map(number, values):
        of_one_type: list[Any] = found[0 if isinstance(value, int) else 1 if isinstance(value, float) else 2]
        of_one_type.append(value)
    return found


def _sum_of_decimals(ints: list[int], decimals: list[Decimal]) -> Decimal:
    return reduce(EXACT.add, _in_order(decimals), as_decimal(bounded(_sum_of_ints(ints))))


def _sum_of_ints(values: Sequence[int]) -> int:
    """The sum, and a look at the time now and then: huge ones take long, ten thousand small ones none."""
    if max(map(int.bit_length, values), default=0) <= _SMALL_BITS:
        return sum(map(sum, pieces(values)))
    found = 0
    for start in range(0, len(values), _HUGE_A_PULSE):
        pulse()
        found += sum(values[start : start + _HUGE_A_PULSE])
    return found


def _sum_of_floats(values: list[float], divisor: int = 1) -> float:
    try:
        return math.fsum(values) / divisor
    except ValueError:
        return math.nan  # both infinities
    except OverflowError:
        return _huge_sum(values, divisor)


def _huge_sum(values: list[float], divisor: int) -> float:
    """A sum that overflows, or does so on its way."""
    infinite = [value for value in values if not math.isfinite(value)]
    if infinite:
        return sum(infinite)
    from fractions import Fraction  # for few queries

    exact = sum(map(Fraction, values)) / divisor
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _of_durations(compute: Callable[[Sequence[Any]], Any]) -> Callable[[Sequence[Any]], Any]:
    """`compute`, of numbers, extended to durations: it is given their microseconds, each a whole number."""

    def extended(values: Sequence[Any]) -> Any:
        if not any(isinstance(value, timedelta) for value in values):
            return compute(values)
        for value in values:
            if not isinstance(value, timedelta):
                raise QueryError("expected only durations beside a duration", value=value)
        return timedelta(microseconds=compute([value // _MICROSECOND for value in values]))

    return extended


# Averages and spread.


def _average(values: Sequence[Any]) -> Number:
    ints, floats, decimals = _by_type(values)
    if floats:
        return _sum_of_floats([*floats, *map(float, ints), *map(float, decimals)], len(values))
    return divide(total(values), len(values))


def _median(values: Sequence[Any]) -> Number:
    # Equal numbers of several types by type, so that the order they come in is no matter.
    ordered: list[Number] = _in_order(sorted(map(number, values), key=lambda value: type(value).__name__))
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return _average(ordered[middle - 1 : middle + 1])


def _variance(values: Sequence[Any]) -> Number:
    """The mean squared distance from the mean (of the population): exact of ints, else in two passes."""
    ints, floats, decimals = _by_type(values)
    count = len(values)
    if floats:
        return _variance_of_floats([*floats, *map(float, ints), *map(float, decimals)])
    if decimals:
        return _variance_of_decimals(ints, decimals)
    # Of the distances from one of them, which vary as much: squares of huge integers would take for ever.
    away = [value - ints[0] for value in ints]
    furthest = max(map(abs, away))
    if 2 * furthest.bit_length() > _FLOAT_BITS + 2 * count.bit_length():
        raise OverflowError("no float is as large")
    return (count * sum(value * value for value in away) - sum(away) ** 2) / count**2


def _variance_of_floats(values: list[float]) -> float:
    centre = _sum_of_floats(values, len(values))
    return _sum_of_floats([(value - centre) * (value - centre) for value in values], len(values))


def _variance_of_decimals(ints: list[int], decimals: list[Decimal]) -> Decimal:
    values = _in_order([*map(as_decimal, ints), *decimals])
    centre = ROUNDED.divide(_sum_of_decimals(ints, decimals), len(values))
    away = (ROUNDED.subtract(value, centre) for value in values)
    return ROUNDED.divide(reduce(ROUNDED.add, (ROUNDED.multiply(d, d) for d in away)), len(values))


def _deviation(values: Sequence[Any]) -> Number:
    variance = _variance(values)
    return ROUNDED.sqrt(variance) if isinstance(variance, Decimal) else math.sqrt(variance)


# Order and choice.


def _order_key(values: Sequence[Any]) -> Callable[[Any], Any] | None:
    """What sorts the values in the total order; None where Python's own comparison does, ten times faster."""
    types = set(map(type, values))
    if types == {str}:
        return None
    if types <= {int, float} and not any(value != value for value in values):
        return None
    return None if types == {Decimal} and not any(map(Decimal.is_nan, values)) else sort_key


def _in_order(values: Sequence[Any]) -> list[Any]:
    return sorted(values, key=_order_key(values))


def _least(values: Sequence[Any], n: Any = None) -> Any:
    """The least value, or a list of the n least, repeats included, ascending."""
    key = _order_key(values)
    return min(values, key=key) if n is None else nsmallest(_amount(n), values, key)


def _greatest(values: Sequence[Any], n: Any = None) -> Any:
    """The greatest value, or a list of the n greatest, ascending too, as DataScript gives them."""
    key = _order_key(values)
    return max(values, key=key) if n is None else nlargest(_amount(n), values, key)[::-1]


def _random(values: Sequence[Any], n: Any = None) -> Any:
    """A value picked at random, or a list of n, a value possibly more than once."""
    if n is not None and _amount(n) > PICKED:
        raise QueryError(f"expected at most {PICKED} values to pick", value=n)
    import random  # for few queries

    return random.choice(values) if n is None else random.choices(values, k=n)


def _sample(values: Sequence[Any], n: Any) -> list[Any]:
    """n values picked at random, none twice; all, shuffled, when there are no more."""
    import random  # for few queries

    return random.sample(values, min(_amount(n), len(values)))


def _amount(n: Any) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise QueryError("expected how many, an integer from 0", value=n)
    return n


def _count_distinct(values: Sequence[Any]) -> int:
    return len(set(map(identity, values)))


# The table: name, fewest and most constants before the variable, computation.

_TABLE: tuple[tuple[str, int, int, Callable[..., Any]], ...] = (
    ("count", 0, 0, len),
    ("count-distinct", 0, 0, _count_distinct),
    ("distinct", 0, 0, as_set),
    ("sum", 0, 0, _of_durations(total)),
    ("avg", 0, 0, _of_durations(_average)),
    ("median", 0, 0, _of_durations(_median)),
    ("variance", 0, 0, _variance),
    ("stddev", 0, 0, _deviation),
    ("min", 0, 1, _least),
    ("max", 0, 1, _greatest),
    ("rand", 0, 1, _random),
    ("sample", 1, 1, _sample),
)


def _aggregate(name: str, minimum: int, maximum: int, compute: Callable[..., Any]) -> AggregateFunction:
    return AggregateFunction(name, minimum, maximum, guarded(name, compute))


AGGREGATES: Mapping[str, AggregateFunction] = MappingProxyType({row[0]: _aggregate(*row) for row in _TABLE})
"""Every aggregate by its name."""
