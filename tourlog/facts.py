"""Documents as facts: which (attribute, value) pairs a document states. Knows nothing of storage or time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tourlog.values import identity

COLLECTIONS = (list, tuple, set, frozenset)


class Fact(NamedTuple):
    """One fact: entity `e`, attribute `a`, value `v`, the transaction `tx` it belongs to; `added` is False for a
    retraction."""

    e: Any
    a: str
    v: Any
    tx: int
    added: bool = True


def elements(value: Any) -> Any:
    """The values one attribute's content states: a collection's elements, or the value itself.

    >>> list(elements([1, 2])), list(elements("ab"))
    ([1, 2], ['ab'])
    """
    return value if type(value) in COLLECTIONS else (value,)


def spread(attribute: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The facts under one attribute, repeats included: elements of collections, dotted leaves of dicts.

    >>> list(spread("a", {"b": [1, 2]}))
    [('a', {'b': [1, 2]}), ('a.b', 1), ('a.b', 2)]
    """
    for element in elements(value):
        yield attribute, element
        if type(element) is dict:
            for key, inner in element.items():
                yield from spread(f"{attribute}.{key}", inner)


def document_facts(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The distinct (attribute, value) pairs of a document's own attributes, in order; `db/…` left out."""
    found: dict[Any, tuple[str, Any]] = {}
    for key, value in document.items():
        if not key.startswith("db/"):
            for pair in spread(key, value):
                found.setdefault((pair[0], identity(pair[1])), pair)
    return list(found.values())


def roots(attribute: str) -> tuple[str, ...]:
    """The top-level keys under which facts of a (dotted) attribute can stand.

    >>> roots("a.b.c")
    ('a', 'a.b', 'a.b.c')
    """
    parts = attribute.split(".")
    return tuple(".".join(parts[: i + 1]) for i in range(len(parts)))


def path_under(root: str, attribute: str) -> str | None:
    """Where below one of its `roots` an attribute stands, as `select` takes it: None for the root itself.

    >>> path_under("a", "a.b.c"), path_under("a", "a"), path_under("a", "a.")
    ('b.c', None, '')
    """
    return None if root == attribute else attribute[len(root) + 1 :]


def select(content: Any, path: str | None) -> Iterator[Any]:
    """The values that stand under `path` (None for the attribute itself) in one attribute's content.

    >>> list(select({"b": [1, 2]}, "b"))
    [1, 2]
    """
    for element in elements(content):
        if path is None:
            yield element
        elif type(element) is dict:
            for key, inner in element.items():
                if key == path:
                    yield from select(inner, None)
                elif path.startswith(f"{key}."):
                    yield from select(inner, path[len(key) + 1 :])
