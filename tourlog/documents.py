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
from tourlog.values import LEAVES, NATIVE, FlatDocuments, check, identity, plain

_CONTAINERS = (list, tuple, set, frozenset, dict)
_DICTS, _STRINGS, _SIMPLE = frozenset({dict}), frozenset({str}), frozenset({str, int})

_MOST_FREE_KEYS = 10_000
_free_keys: set[str] = set()
"""Some keys that documents may have, seen before."""


def group_documents(documents: Any, names: Sequence[str]) -> list[tuple[Stream, list[dict[str, Any]]]]:
    """Checked documents by stream, streams in order of first appearance."""
    check_names(names)
    given = listed(documents)
    plain_groups = group_plain_documents(given, tuple(names))
    if plain_groups is not None:
        return plain_groups
    groups: dict[Any, tuple[Stream, list[dict[str, Any]]]] = {}
    for stream_key, values, document in keyed_documents(given, names):
        group = groups.get(stream_key)
        if group is None:
            group = groups[stream_key] = (Stream(tuple(names), values), [])
        group[1].append(document)
    return list(groups.values())


def group_plain_documents(
    documents: list[Any], names: tuple[str, ...]
) -> list[tuple[Stream, list[dict[str, Any]]]] | None:
    """What `group_documents` gives, if it takes no more than a look at the types of it all to see that the documents
    can be appended; else None."""
    stream = _stream_of_known_kind(documents[0], names) if len(documents) == 1 else None
    if stream is not None:
        return [(stream, FlatDocuments(documents))]
    batch = _plain_batch(documents)
    columns = None if batch is None else _simple_keys(batch, names)
    if batch is None or columns is None:
        return None
    if len(documents) == 1 and len(_free_keys) < _MOST_FREE_KEYS:
        _free_keys.update(documents[0])
    return _grouped_by(columns, batch, names)


def _stream_of_known_kind(document: Any, names: tuple[str, ...]) -> Stream | None:
    """The stream of a single document; None if it takes more to see that it can be appended than to look at it once."""
    if type(document) is not dict:
        return None
    for key, value in document.items():
        if type(key) is not str or key not in _free_keys or type(value) not in NATIVE:
            return None
    values = [document.get(name) for name in names]
    return simple_stream(names, *values) if _SIMPLE.issuperset(map(type, values)) else None


def _plain_batch(documents: list[Any]) -> list[dict[str, Any]] | None:
    """The documents if all can be appended, told by passes over all of them that never leave C: dicts of values that
    do not nest, under keys that are not the store's."""
    if not (_DICTS.issuperset(map(type, documents)) and _STRINGS.issuperset(map(type, chain.from_iterable(documents)))):
        return None
    kinds = set(map(type, chain.from_iterable(map(dict.values, documents))))
    if not (LEAVES.issuperset(kinds) and _are_free(set[str]().union(*documents))):
        return None
    return FlatDocuments(documents) if NATIVE.issuperset(kinds) else documents


def _are_free(keys: set[str]) -> bool:
    joined = "\n".join(keys)
    return joined.isascii() and OFFSET_KEY not in keys and SYSTEM_PREFIX not in joined


def _simple_keys(documents: list[dict[str, Any]], names: Sequence[str]) -> list[list[Any]] | None:
    """The documents' values of each key attribute, if all have it and it is a string or an integer in all."""
    try:
        columns = [list(map(itemgetter(name), documents)) for name in names]
    except KeyError:
        return None
    return columns if _SIMPLE.issuperset(map(type, chain.from_iterable(columns))) else None


def _grouped_by(
    columns: list[list[Any]], documents: list[dict[str, Any]], names: tuple[str, ...]
) -> list[tuple[Stream, list[dict[str, Any]]]]:
    if not documents:
        return []
    if len(documents) == 1 or all(column.count(column[0]) == len(column) for column in columns):
        return [(simple_stream(names, *(column[0] for column in columns)), documents)]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for values, document in zip(zip(*columns, strict=True), documents, strict=True):
        group = groups.get(values)
        if group is None:
            group = groups[values] = type(documents)()
        group.append(document)
    return [(simple_stream(names, *values), group) for values, group in groups.items()]


def keyed_documents(documents: Any, names: Sequence[str]) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Checked documents in order: what stands for each one's key in dicts, the key's values, the document."""
    check_names(names)
    for number, document in enumerate(listed(documents)):
        values = check_document(document, names, number)
        yield identity(values), values, document


def listed(documents: Any) -> list[Any]:
    """Documents given as any iterable but a text or a dict, which somebody forgot to put in a list."""
    if type(documents) is list:
        return documents.copy()
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
