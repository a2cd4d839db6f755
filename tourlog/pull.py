"""Pull: an entity as a document cut to a pattern, following references and nested documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from tourlog.facts import elements
from tourlog.query.syntax import PullAttribute, PullPattern
from tourlog.snapshot import Snapshot
from tourlog.stream import ID_KEY, SYSTEM_PREFIX
from tourlog.values import identity

Read: TypeAlias = Callable[[Any], Mapping[str, Any] | None]
"""An entity as a document the caller may keep."""

Trail: TypeAlias = frozenset[tuple[Any, str]]
"""The (entity, attribute) steps of a recursion so far; a step taken before ends it."""

_MISSING: Any = object()
_COLLECTIONS = (list, tuple, set, frozenset)


def pull(snapshot: Snapshot, pattern: PullPattern, e: Any, read: Read | None = None) -> dict[str, Any] | None:
    """The entity `e` cut to `pattern`, as DataScript does it; None when nothing of it is left.

    A reference is a value that is another entity's id; a nested document is pulled like an entity.
    """
    return _Puller(snapshot, read or snapshot.entity).entity(pattern, e, frozenset())


class _Puller:
    def __init__(self, snapshot: Snapshot, read: Read) -> None:
        self._snapshot, self._read = snapshot, read

    def entity(self, pattern: PullPattern, e: Any, trail: Trail) -> dict[str, Any] | None:
        return self._document(pattern, self._read(e) or {}, e, trail)

    def _document(
        self, pattern: PullPattern, document: Mapping[str, Any], e: Any, trail: Trail
    ) -> dict[str, Any] | None:
        result = dict(document) if pattern.wildcard else {}
        for attribute in pattern.attributes:
            found = self._attribute(pattern, attribute, document, e, trail)
            if found is _MISSING and attribute.has_default:
                found = attribute.default
            if attribute.alias is not None:
                result.pop(attribute.name, None)
            if found is not _MISSING:
                result[_label(attribute)] = found
        return result or None

    def _attribute(
        self,
        pattern: PullPattern,
        attribute: PullAttribute,
        document: Mapping[str, Any],
        e: Any,
        trail: Trail,
    ) -> Any:
        content = self._content(attribute, document, e)
        if content is _MISSING:
            return _MISSING
        many = type(content) in _COLLECTIONS
        if many and attribute.limit is not None:
            content = type(content)(list(content)[: attribute.limit])
        nested = attribute.pattern if attribute.recursion is None else _deeper(pattern, attribute)
        if nested is None:
            return [{ID_KEY: other} for other in content] if attribute.reverse else content
        step = (identity(e), attribute.name)
        pulled = [self._nested(nested, other, attribute, trail | {step}) for other in elements(content)]
        found = [each for each in pulled if each is not None]
        if not found:
            return _MISSING
        return found if many else found[0]

    def _content(self, attribute: PullAttribute, document: Mapping[str, Any], e: Any) -> Any:
        if attribute.reverse:
            return [fact.e for fact in self._snapshot.facts(a=attribute.name, v=e)] or _MISSING
        if attribute.name.startswith(SYSTEM_PREFIX) and attribute.name != ID_KEY:
            return next((fact.v for fact in self._snapshot.facts(e, attribute.name)), _MISSING)
        return _inside(document, attribute.name)

    def _nested(self, pattern: PullPattern, other: Any, attribute: PullAttribute, trail: Trail) -> Any:
        if attribute.recursion is not None and (identity(other), attribute.name) in trail:
            return {ID_KEY: other}
        if type(other) is dict:
            return self._document(pattern, other, other, frozenset())
        return self.entity(pattern, other, trail)


def _label(attribute: PullAttribute) -> Any:
    if attribute.alias is not None:
        return attribute.alias
    return f"_{attribute.name}" if attribute.reverse else attribute.name


def _deeper(pattern: PullPattern, attribute: PullAttribute) -> PullPattern:
    """The pattern one level further down a recursion; without the attribute itself at the last level."""
    if not attribute.recursion:
        return pattern
    if attribute.recursion == 1:
        rest = tuple(other for other in pattern.attributes if other is not attribute)
    else:
        shallower = replace(attribute, recursion=attribute.recursion - 1)
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
