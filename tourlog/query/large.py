"""What is done to values that a query may have made large, piece by piece, with a look at the time before each.

Gives what the functions of the same names in `values` give. Knows nothing of budgets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tourlog import values
from tourlog.query.deadline import pulse

PIECE = 10_000
"""Elements of a piece: a hundredth of a second's at most."""

_SEQUENCES = (list, tuple)


def is_large(value: Any) -> bool:
    """Whether it is a list or tuple of more than one piece."""
    return type(value) in _SEQUENCES and len(value) > PIECE


def pieces(elements: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """A sequence cut into pieces.

    >>> [len(piece) for piece in pieces(range(25_000))]
    [10000, 10000, 5000]
    """
    for start in range(0, len(elements), PIECE):
        pulse()
        yield elements[start : start + PIECE]


def equal(a: Any, b: Any) -> bool:
    """Whether two values are equal."""
    if not (is_large(a) and is_large(b)):
        return values.equal(a, b)
    same_kind = type(a) is type(b) and len(a) == len(b)
    return same_kind and all(map(values.equal, pieces(a), pieces(b)))


def less(a: Any, b: Any) -> bool:
    """Whether `a` comes before `b`, both of one kind."""
    if is_large(a) or is_large(b):
        return type(a) is type(b) and sort_key(a) < sort_key(b)
    return values.less(a, b)


def less_or_equal(a: Any, b: Any) -> bool:
    """Whether `a` comes before `b` or equals it, both of one kind."""
    if is_large(a) or is_large(b):
        return type(a) is type(b) and sort_key(a) <= sort_key(b)
    return values.less_or_equal(a, b)


def sort_key(value: Any) -> bytes:
    """The key that sorts values of any kinds; of a row, too, that holds a large value.

    >>> sort_key(list(range(25_000))) == values.sort_key(list(range(25_000)))
    True
    """
    pulse()
    if is_large(value):
        return _around(value, map(_inside, pieces(value)))
    if type(value) in _SEQUENCES and any(map(is_large, value)):
        return _around(value, map(sort_key, value))
    return values.sort_key(value)


def _around(value: Any, inside: Iterator[bytes]) -> bytes:
    """The key of a list or tuple from its elements', which stand between what says what it is and its end."""
    key = values.sort_key(type(value)())
    return key[:1] + b"".join(inside) + key[1:]


def _inside(piece: Any) -> bytes:
    return values.sort_key(piece)[1:-1]
