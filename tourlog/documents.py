"""Documents on their way into streams: whether they can be appended under key attributes, and to which stream.

Knows nothing of what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import chain
from operator import itemgetter
from typing import Any

from tourlog.errors import ArgumentError, DocumentError, shown
from tourlog.stream import OFFSET_KEY, SYSTEM_PREFIX, Stream, simple_stream
from tourlog.values import LEAVES, check, identity, plain

_CONTAINERS = (list, tuple, set, frozenset, dict)
_DICTS, _STRINGS, _SIMPLE = frozenset({dict}), frozenset({str}), frozenset({str, int})


def group_documents(documents: Any, names: Sequence[str]) -> list[tuple[Stream, list[dict[str, Any]]]]:
    """Checked documents by stream, streams in order of first appearance."""
    check_names(names)
    given = listed(documents)
    if _are_plain(given):
        found = _simple_key_values(given, names)
        if found is not None:
            return _grouped_by(found, given, tuple(names))
    groups: dict[Any, tuple[Stream, list[dict[str, Any]]]] = {}
    for stream_key, values, document in keyed_documents(given, names):
        group = groups.get(stream_key)
        if group is None:
            group = groups[stream_key] = (Stream(tuple(names), values), [])
        group[1].append(document)
    return list(groups.values())


def _are_plain(documents: list[Any]) -> bool:
    """Whether all can be appended, told by passes over all of them that never leave C: dicts of values that do not
    nest, under keys that are not the store's."""
    return (
        _DICTS.issuperset(map(type, documents))
        and _STRINGS.issuperset(map(type, chain.from_iterable(documents)))
        and LEAVES.issuperset(map(type, chain.from_iterable(map(dict.values, documents))))
        and all(map(_is_free_key, set(chain.from_iterable(documents))))
    )


def _is_free_key(key: str) -> bool:
    return key.isascii() and key != OFFSET_KEY and not key.startswith(SYSTEM_PREFIX)


def _simple_key_values(documents: list[dict[str, Any]], names: Sequence[str]) -> list[tuple[Any, ...]] | None:
    """Each document's values of the key attributes, if every document has them and they are strings or integers."""
    try:
        columns = [list(map(itemgetter(name), documents)) for name in names]
    except KeyError:
        return None
    if not all(_SIMPLE.issuperset(map(type, column)) for column in columns):
        return None
    return list(zip(*columns, strict=True))


def _grouped_by(
    values: list[tuple[Any, ...]], documents: list[dict[str, Any]], names: tuple[str, ...]
) -> list[tuple[Stream, list[dict[str, Any]]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {each: [] for each in values}
    if len(groups) == 1:
        return [(simple_stream(names, *values[0]), documents)]
    for each, document in zip(values, documents, strict=True):
        groups[each].append(document)
    return [(simple_stream(names, *each), group) for each, group in groups.items()]


def keyed_documents(documents: Any, names: Sequence[str]) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Checked documents in order: what stands for each one's key in dicts, the key's values, the document."""
    check_names(names)
    for number, document in enumerate(listed(documents)):
        values = check_document(document, names, number)
        yield identity(values), values, document


def listed(documents: Any) -> list[Any]:
    """Documents given as any iterable but a text or a dict, which somebody forgot to put in a list."""
    if isinstance(documents, str | bytes | Mapping) or not isinstance(documents, Iterable):
        raise ArgumentError(f"expected a list of documents, got {type(documents).__name__}", argument="documents")
    return list(documents)


def check_names(names: Sequence[str]) -> None:
    """Raise `ArgumentError` unless these can be the key attributes of a stream."""
    if not names:
        raise ArgumentError("expected the name of at least one key attribute, got none", argument="key")
    for name in names:
        if type(name) is not str:
            raise ArgumentError(f"expected the names of key attributes, got {shown(name)}", argument="key")
        if name == OFFSET_KEY or name.startswith(SYSTEM_PREFIX):
            raise ArgumentError(f"{shown(name)} is the store's own and cannot be a key attribute", argument="key")
    if len(set(names)) != len(names):
        raise ArgumentError(f"expected distinct key attributes, got {', '.join(names)}", argument="key")


def check_document(document: Any, names: Sequence[str], number: int) -> tuple[Any, ...]:
    """The values of a document's key attributes; `DocumentError` unless it can be appended under them."""
    where = f"documents[{number}]"
    check(document, where=where)
    for key in document:
        if key == OFFSET_KEY or key.startswith(SYSTEM_PREFIX):
            raise DocumentError(f"{where} has {shown(key)}, which the store adds itself", path=key, where=where)
    return tuple([_key_value(document, name, where) for name in names])


def checked_stream(names: tuple[str, ...], values: tuple[Any, ...], where: str) -> Stream:
    """The stream of these names and values; `ArgumentError` or `DocumentError` if there can be none."""
    check_names(names)
    if _SIMPLE.issuperset(map(type, values)):
        return simple_stream(names, *values)
    given = {name: plain(value, name) for name, value in zip(names, values, strict=True)}
    return Stream(names, tuple([_key_value(given, name, where) for name in names]))


def _key_value(document: Mapping[str, Any], name: str, where: str) -> Any:
    value = document.get(name)
    if isinstance(value, Enum):
        value = plain(value)
    if value is None:
        problem = "has None in" if name in document else "lacks"
        raise DocumentError(f"{where} {problem} the key attribute {shown(name)}", path=name, where=where)
    if type(value) in _CONTAINERS:
        raise DocumentError(
            f"{where} has a {type(value).__name__} in the key attribute {shown(name)}, expected a scalar",
            path=name,
            where=where,
            value=value,
        )
    return value
