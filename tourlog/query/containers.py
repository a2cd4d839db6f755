"""Lists, tuples, sets and dicts: making them and looking into them. Knows neither arithmetic nor text.

Elements and keys are compared as values are, so that True is not found where 1 is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tourlog.errors import QueryError
from tourlog.query.large import equal, pieces
from tourlog.values import identity, plain

RANGE_LENGTH = 1_000_000
"""The most numbers `number_range` gives."""

ELEMENTS = 30_000
"""The most elements a collection made by a function may hold, those of the collections inside included."""

_COLLECTIONS = frozenset({list, tuple, set, frozenset, dict})
_SIZED = (str, bytes, list, tuple, set, frozenset, dict)


def as_set(values: Iterable[Any]) -> frozenset[Any]:
    """The distinct values; `QueryError` when no Python set holds them: a list among them, or True beside 1.

    >>> sorted(as_set([2, 1, 2.0]))
    [1, 2]
    """
    distinct: dict[Any, Any] = {}
    for piece in pieces(list(values)[::-1]):
        distinct.update((identity(value), value) for value in piece)
    try:
        found = frozenset(distinct.values())
    except TypeError as error:
        raise QueryError("expected only values that a Python set can hold (no list, dict or set)") from error
    if len(found) < len(distinct):
        raise QueryError("expected values that differ in a Python set, where true is 1 and false is 0")
    return found


def to_set(collection: Any = None) -> frozenset[Any]:
    """The distinct elements of a collection, or characters of a string; of None, none."""
    if not isinstance(collection, str | list | tuple | set | frozenset | None):
        raise QueryError("expected a list, tuple, set or string", value=collection)
    return as_set(collection or ())


def to_list(*values: Any) -> list[Any]:
    """The values as a list, as deeply nested as a document may be."""
    found: list[Any] = plain(_bounded(list(values)))
    return found


def to_tuple(*values: Any) -> tuple[Any, ...]:
    """The values as a tuple, as deeply nested as a document may be."""
    found: tuple[Any, ...] = plain(_bounded(values))
    return found


def to_dict(*keys_and_values: Any) -> dict[str, Any]:
    """A dict of alternating keys, which are strings, and values; the last value of a key counts."""
    if len(keys_and_values) % 2:
        raise QueryError("expected a value for every key")
    for key in keys_and_values[::2]:
        if not isinstance(key, str):
            raise QueryError("expected strings for keys", value=key)
    pairs = dict(zip(keys_and_values[::2], keys_and_values[1::2], strict=True))
    found: dict[str, Any] = plain(_bounded(pairs))
    return found


def _bounded(collection: Any) -> Any:
    """The collection, unless it holds more than `ELEMENTS` at all depths: one put twice into another, again and
    again, doubles each time."""
    count, waiting = 0, [collection]
    while waiting:
        inside = waiting.pop()
        count += len(inside)
        if count > ELEMENTS:
            raise QueryError(f"expected a collection of at most {ELEMENTS} elements, those inside included")
        waiting += [
            each for each in (inside.values() if type(inside) is dict else inside) if type(each) in _COLLECTIONS
        ]
    return collection


def number_range(*bounds: Any) -> list[int]:
    """The integers from the first bound (0 when there is one) to before the second, by the third.

    >>> number_range(3), number_range(1, 10, 4)
    ([0, 1, 2], [1, 5, 9])
    """
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise QueryError("expected integers", value=bound)
    if len(bounds) == 3 and bounds[2] == 0:
        raise QueryError("expected a step other than zero", value=bounds[2])
    found = range(*bounds)
    if found[RANGE_LENGTH:]:
        raise QueryError(f"expected a range of at most {RANGE_LENGTH} numbers")
    return list(found)


def size(collection: Any) -> int:
    """How many elements a collection, or characters or bytes a text, has; None has none."""
    if collection is None:
        return 0
    if not isinstance(collection, _SIZED):
        raise QueryError("expected a collection or a string", value=collection)
    return len(collection)


def is_empty(collection: Any) -> bool:
    """Whether it has no elements; None has none."""
    return size(collection) == 0


def not_empty(collection: Any) -> Any:
    """The collection when it has elements, else None."""
    return None if is_empty(collection) else collection


def look_up(collection: Any, key: Any, default: Any = None) -> Any:
    """The value of a dict's key or a sequence's index, or a set's element equal to the key; else the default.

    >>> look_up({"a": 1}, "a"), look_up([5, 6], 1), look_up((5,), 1, "none"), look_up({1}, True)
    (1, 6, 'none', None)
    """
    if isinstance(collection, dict):
        return next((value for found, value in collection.items() if equal(found, key)), default)
    if isinstance(collection, set | frozenset):
        return next((element for element in collection if equal(element, key)), default)
    return collection[key] if _is_index(collection, key) else default


def has_key(collection: Any, key: Any) -> bool:
    """Whether a dict has the key, a set the element, a sequence or string the index, as in Clojure."""
    if isinstance(collection, dict | set | frozenset):
        return any(equal(found, key) for found in collection)
    if collection is None or isinstance(collection, str | list | tuple):
        return _is_index(collection, key)
    raise QueryError("expected a collection", value=collection)


def _is_index(collection: Any, key: Any) -> bool:
    if not isinstance(collection, str | list | tuple) or isinstance(key, bool):
        return False
    return isinstance(key, int) and 0 <= key < len(collection)
