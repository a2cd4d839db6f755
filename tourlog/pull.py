"""Pull: an entity as a document cut to a pattern, following references and nested documents."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from tourlog.facts import COLLECTIONS, elements
from tourlog.query.deadline import pulse
from tourlog.query.large import sort_key
from tourlog.query.syntax import PullAttribute, PullPattern
from tourlog.snapshot import Snapshot
from tourlog.stream import ID_KEY, SYSTEM_PREFIX
from tourlog.values import identity, plain

Read: TypeAlias = Callable[[Any], Mapping[str, Any] | None]
"""An entity as a document the caller may keep."""

Steps: TypeAlias = Generator["Steps", Any, Any]
"""A computation that yields the ones it waits for: documents may lie in each other deeper than Python's stack."""

_MISSING: Any = object()


def pull(snapshot: Snapshot, pattern: PullPattern, e: Any, read: Read | None = None) -> dict[str, Any] | None:
    """The entity `e` cut to `pattern`, as DataScript does it; None when nothing of it is left.

    A reference is a value that is another entity's id; a nested document is pulled like an entity.
    """
    puller = _Puller(snapshot, read or snapshot.entity)
    return _finished(puller.entity(pattern, e))  # type: ignore[no-any-return]  # what `entity` returns


def _finished(steps: Steps) -> Any:
    waiting, value = [steps], None
    while waiting:
        try:
            waiting.append(waiting[-1].send(value))
            value = None
        except StopIteration as end:
            waiting.pop()
            value = end.value
    return value


class _Puller:
    """One pull; `_seen` holds the entities that recursion came to on the way to where it is, and ends at."""

    def __init__(self, snapshot: Snapshot, read: Read) -> None:
        self._snapshot, self._read = snapshot, read
        self._seen: set[Any] = set()

    def entity(self, pattern: PullPattern, e: Any) -> Steps:
        return self._document(pattern, self._read(e) or {}, e)

    def _document(self, pattern: PullPattern, document: Mapping[str, Any], e: Any) -> Steps:
        pulse()
        result = dict(document) if pattern.wildcard else {}
        for attribute in pattern.attributes:
            found = yield self._attribute(pattern, attribute, document, e)
            if found is _MISSING and attribute.has_default:
                found = plain(attribute.default)
            if not attribute.reverse and (attribute.alias is not None or found is _MISSING):
                result.pop(attribute.name, None)  # what the wildcard has of it
            if found is not _MISSING:
                result[_label(attribute)] = found
        return result or None

    def _attribute(self, pattern: PullPattern, attribute: PullAttribute, document: Mapping[str, Any], e: Any) -> Steps:
        content = self._content(attribute, document, e)
        if content is _MISSING:
            return _MISSING
        many = type(content) in COLLECTIONS
        if many and attribute.limit is not None:
            members = sorted(content, key=sort_key) if isinstance(content, set | frozenset) else content
            content = type(content)(members[: attribute.limit])
        nested = attribute.pattern if attribute.recursion is None else _deeper(pattern, attribute)
        if nested is None:
            return [{ID_KEY: other} for other in content] if attribute.reverse else content
        found = []
        for other in elements(content):
            pulled = yield self._nested(nested, other, attribute)
            if pulled is not None:
                found.append(pulled)
        if not found:
            return _MISSING
        return found if many else found[0]

    def _content(self, attribute: PullAttribute, document: Mapping[str, Any], e: Any) -> Any:
        if attribute.reverse:
            referrers = (fact.e for fact in self._snapshot.facts(a=attribute.name, v=e))
            return sorted(referrers, key=sort_key) or _MISSING
        if attribute.name.startswith(SYSTEM_PREFIX) and attribute.name != ID_KEY:
            return next((fact.v for fact in self._snapshot.facts(e, attribute.name)), _MISSING)
        return _inside(document, attribute.name)

    def _nested(self, pattern: PullPattern, other: Any, attribute: PullAttribute) -> Steps:
        if type(other) is dict:
            return (yield self._document(pattern, other, other))
        if attribute.recursion is None:
            return (yield self.entity(pattern, other))
        key = identity(other)
        if key in self._seen:
            return {ID_KEY: other}
        if attribute.recursion < 0:
            return None
        self._seen.add(key)
        found = yield self.entity(pattern, other)
        self._seen.discard(key)
        return found


def _label(attribute: PullAttribute) -> Any:
    if attribute.alias is not None:
        return attribute.alias
    namespace, slash, name = attribute.name.rpartition("/")
    return f"{namespace}{slash}_{name}" if attribute.reverse else attribute.name


def _deeper(pattern: PullPattern, attribute: PullAttribute) -> PullPattern:
    """The pattern one level further down a recursion; -1 at the last, which only shows what was met on the way."""
    if not attribute.recursion:
        return pattern
    shallower = replace(attribute, recursion=attribute.recursion - 1 or -1)
    rest = tuple(shallower if other is attribute else other for other in pattern.attributes)
    return PullPattern(pattern.wildcard, rest)


def _inside(document: Mapping[str, Any], name: str) -> Any:
    """The content of an attribute; a dotted one is read off nested documents, through lists too."""
    if name in document:
        return document[name]
    for key, content in document.items():
        if name.startswith(f"{key}."):
            rest = name[len(key) + 1 :]
            if type(content) is dict:
                found = _inside(content, rest)
            else:
                parts = [_inside(each, rest) for each in elements(content) if type(each) is dict]
                found = [part for part in parts if part is not _MISSING] or _MISSING
            if found is not _MISSING:
                return found
    return _MISSING
