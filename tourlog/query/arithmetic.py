"""Numbers: exact where Python is, and the same in every thread. Knows nothing of tables and queries.

An int and a float meet as floats, an int and a Decimal as Decimals, a float and a Decimal as floats. Booleans
are no numbers. A zero divisor is refused for every type. `+` and `-` also take dates and durations.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from functools import reduce
from math import copysign
from typing import Any, TypeAlias

from tourlog.errors import QueryError
from tourlog.query.moments import is_moment, minus, plus

Number: TypeAlias = int | float | Decimal

_NUMBERS = (int, float, Decimal)

INT_BITS = 1_000_000
"""The most bits an integer result may have: beyond it one multiplication takes seconds and megabytes."""

DIVISION_WORK = 50_000_000_000
"""The most bits of a quotient times bits of a divisor: some hundredths of a second."""

DECIMAL_BITS = 100_000
"""The most bits an integer may have that meets a Decimal."""


def _context(digits: int) -> Context:
    signals = [InvalidOperation, DivisionByZero, Overflow]
    return Context(prec=digits, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=signals)


# The calling thread's decimal context is the user's own, so it must not change answers. Only the flags of
# these two ever change, and nobody reads them.
EXACT = _context(1000)
"""For operations whose exact result is finite: it is, up to 1,000 digits."""

ROUNDED = _context(50)
"""For division and roots: 50 digits, half to even."""


def number(value: Any) -> Number:
    """The value, a number, a signalling NaN as the quiet one it equals; `QueryError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise QueryError("expected numbers", value=value)
    return Decimal("NaN") if isinstance(value, Decimal) and value.is_snan() else value


def bounded(value: int) -> int:
    """The integer, unless it is larger than `INT_BITS`."""
    if value.bit_length() > INT_BITS:
        raise QueryError(f"expected an integer of at most {INT_BITS} bits")
    return value


def as_decimal(value: int | Decimal) -> Decimal:
    """The value as a Decimal; an integer too long for that, which takes quadratic time, is refused."""
    if isinstance(value, Decimal):
        return value
    if value.bit_length() > DECIMAL_BITS:
        raise QueryError(f"expected an integer of at most {DECIMAL_BITS} bits beside a Decimal")
    return Decimal(value)


def add(*values: Any) -> Any:
    """The sum; 0 of nothing.

    >>> add(1, 2.5), add(1, Decimal("0.10")), add()
    (3.5, Decimal('1.10'), 0)
    """
    if len(values) == 2:
        return _add(*values)
    return reduce(_add, values[1:], _operand(values[0])) if values else 0


def subtract(first: Any, *rest: Any) -> Any:
    """The first less the rest; alone, its negative."""
    if rest:
        return reduce(_subtract, rest, first)
    if isinstance(first, timedelta):
        return -first
    value = number(first)
    return EXACT.minus(value) if isinstance(value, Decimal) else -value


def multiply(*values: Any) -> Number:
    """The product; 1 of nothing."""
    return reduce(_multiply, values[1:], number(values[0])) if values else 1


def divide(first: Any, *rest: Any) -> Number:
    """The first divided by the rest; alone, its reciprocal. True division: a float of two ints.

    >>> divide(7, 2), divide(Decimal(1), 8), divide(4)
    (3.5, Decimal('0.125'), 0.25)
    """
    return reduce(_divide, rest, first) if rest else _divide(1, first)


def quotient(a: Any, b: Any) -> Number:
    """`a` divided by `b`, cut to a whole number towards zero; an int only of ints."""
    return _quotient(a, b)


def remainder(a: Any, b: Any) -> Number:
    """What `quotient` leaves; it has the sign of `a`.

    >>> remainder(-7, 2), modulo(-7, 2), remainder(7.5, 2)
    (-1, 1, 1.5)
    """
    return _remainder(a, b)


def modulo(a: Any, b: Any) -> Number:
    """The remainder of division towards minus infinity; it has the sign of `b`."""
    return _modulo(a, b)


def magnitude(value: Any) -> Any:
    """The absolute value of a number or a duration."""
    if isinstance(value, timedelta):
        return abs(value)
    found = number(value)
    return found.copy_abs() if isinstance(found, Decimal) else abs(found)


def is_even(value: Any) -> bool:
    """Whether a whole number, of any type, is even; `QueryError` for any other value."""
    return _halves(value) == 0


def is_odd(value: Any) -> bool:
    """Whether a whole number, of any type, is odd; `QueryError` for any other value."""
    return _halves(value) != 0


def _halves(value: Any) -> Number:
    rest = remainder(value, 2)
    if rest not in (0, 1, -1):
        raise QueryError("expected a whole number", value=value)
    return rest


def _binary(
    plain: Callable[[Any, Any], Any], decimals: Callable[[Any, Any], Decimal], *, divides: bool = False
) -> Callable[[Any, Any], Number]:
    """A function of two numbers: `plain` for two ints or two floats, `decimals` when one is a Decimal."""

    def compute(a: Any, b: Any) -> Number:
        a, b = number(a), number(b)
        if isinstance(a, float) or isinstance(b, float):
            a, b = float(a), float(b)
        if divides and b == 0:
            raise QueryError("expected a divisor other than zero", value=b)
        if isinstance(a, Decimal) or isinstance(b, Decimal):
            return decimals(as_decimal(a), as_decimal(b))
        result: int | float = plain(a, b)
        return bounded(result) if isinstance(result, int) else result

    return compute


def _checked_product(a: Any, b: Any) -> Any:
    """Two ints too large are refused before the work is done."""
    if isinstance(a, int) and a.bit_length() + b.bit_length() > INT_BITS + 1:
        raise QueryError(f"expected an integer of at most {INT_BITS} bits")
    return a * b


def _within_work(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`compute`, which divides, of no integers that take it long: its time grows with both lengths."""

    def divide_whole(a: Any, b: Any) -> Any:
        if isinstance(a, int) and isinstance(b, int):
            bits = b.bit_length()
            if (a.bit_length() - bits) * bits > DIVISION_WORK:
                raise QueryError(f"expected integers whose quotient takes at most {DIVISION_WORK} steps of a bit")
        return compute(a, b)

    return divide_whole


def _truncated(a: Any, b: Any) -> Any:
    whole = abs(a) // abs(b)
    if isinstance(whole, float):
        return copysign(whole, copysign(1, a) * copysign(1, b))
    return whole if (a < 0) == (b < 0) else -whole


def _rest(a: Any, b: Any) -> Any:
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def _floored_rest(a: Decimal, b: Decimal) -> Decimal:
    rest = EXACT.remainder(a, b)
    return EXACT.add(rest, b) if rest and rest.is_signed() != b.is_signed() else rest


_add_numbers = _binary(operator.add, EXACT.add)
_subtract_numbers = _binary(operator.sub, EXACT.subtract)
_multiply = _binary(_checked_product, EXACT.multiply)
_divide = _binary(operator.truediv, ROUNDED.divide, divides=True)
_quotient = _binary(_within_work(_truncated), EXACT.divide_int, divides=True)
_remainder = _binary(_within_work(_rest), EXACT.remainder, divides=True)
_modulo = _binary(_within_work(operator.mod), _floored_rest, divides=True)


def _operand(value: Any) -> Any:
    return value if is_moment(value) else number(value)


def _add(a: Any, b: Any) -> Any:
    if type(a) is int and type(b) is int:
        return bounded(a + b)
    return plus(a, b) if is_moment(a) or is_moment(b) else _add_numbers(a, b)


def _subtract(a: Any, b: Any) -> Any:
    return minus(a, b) if is_moment(a) or is_moment(b) else _subtract_numbers(a, b)
