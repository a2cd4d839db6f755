"""The oracle's pull: documents cut to a pattern."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from oracle_values import facts_of, key

from tourlog.query import syntax as ast

_MISSING = object()
SPENT = -1
"""The depth of a recursion that has no level left, 0 being one without a limit."""


def pull(source: Any, pattern: ast.PullPattern, e: Any, seen: frozenset[Any] = frozenset()) -> Any:
    """The document of entity `e` cut to `pattern`; None when nothing of it is left."""
    document = source.documents.get(key(e))
    if document is None and not reverse_any(source, pattern, e):
        return None
    own = (document or {}).items() if pattern.wildcard else ()
    result = {k: v for k, v in own if k == "db/id" or not k.startswith("db/")}
    for attribute in pattern.attributes:
        found = follow(source, pattern, attribute, e, document or {}, seen)
        if found is _MISSING and attribute.has_default:
            found = attribute.default
        if not attribute.reverse and (found is _MISSING or attribute.alias is not None):
            result.pop(attribute.name, None)
        if found is not _MISSING:
            result[label(attribute)] = found
    return result or None


def label(attribute: ast.PullAttribute) -> Any:
    if attribute.alias is not None:
        return attribute.alias
    namespace, slash, name = attribute.name.rpartition("/")
    return f"{namespace}{slash}_{name}" if attribute.reverse else attribute.name


def reverse_any(source: Any, pattern: ast.PullPattern, e: Any) -> bool:
    return any(attribute.reverse and referrers(source, attribute.name, e) for attribute in pattern.attributes)


def referrers(source: Any, a: str, e: Any) -> list[Any]:
    found = [document["db/id"] for document in source.documents.values() if (a, key(e)) in stated(document)]
    return sorted(found, key=key)


def stated(document: dict[str, Any]) -> set[Any]:
    return {(a, key(v)) for a, v in facts_of(document)}


def follow(source: Any, pattern: Any, attribute: Any, e: Any, document: dict[str, Any], seen: Any) -> Any:
    """What one attribute of a pattern gives."""
    if attribute.reverse:
        value: Any = referrers(source, attribute.name, e) or _MISSING
    else:
        value = inside(document, attribute.name)
    if value is _MISSING:
        return value
    many = isinstance(value, list | tuple | set | frozenset)
    if many and attribute.limit is not None:
        members = sorted(value, key=key) if isinstance(value, set | frozenset) else value
        value = type(value)(members[: attribute.limit])
    nested = attribute.pattern
    if attribute.recursion is not None:
        nested = deeper(pattern, attribute)
    if nested is None:
        return [{"db/id": other} for other in value] if attribute.reverse else value
    found = [sub(source, nested, other, seen, attribute) for other in (value if many else [value])]
    found = [each for each in found if each is not None]
    if not found:
        return _MISSING
    return found if many else found[0]


def sub(source: Any, nested: Any, other: Any, seen: Any, attribute: Any) -> Any:
    if isinstance(other, dict):
        return pull_value(other, nested)
    if attribute.recursion is not None:
        if key(other) in seen:
            return {"db/id": other}
        if attribute.recursion == SPENT:
            return None
        seen = seen | {key(other)}
    return pull(source, nested, other, seen)


def pull_value(value: dict[str, Any], nested: ast.PullPattern) -> Any:
    """A nested document cut to a pattern."""
    return pull(SimpleNamespace(documents={key(None): value}), nested, None)


def deeper(pattern: ast.PullPattern, attribute: ast.PullAttribute) -> ast.PullPattern:
    """The pattern one level further down a recursion, one level less of which is left."""
    if attribute.recursion == 0:
        return pattern
    left = SPENT if attribute.recursion == 1 else attribute.recursion - 1
    rest = [replace(a, recursion=left) if a is attribute else a for a in pattern.attributes]
    return ast.PullPattern(pattern.wildcard, tuple(rest))


def inside(document: dict[str, Any], name: str) -> Any:
    """The content of an attribute, dotted ones read off nested documents, through lists too."""
    if name in document:
        return document[name]
    for k, value in document.items():
        if name.startswith(f"{k}."):
            rest = name[len(k) + 1 :]
            if isinstance(value, dict):
                return inside(value, rest)
            if isinstance(value, list | tuple):
                found = [inside(each, rest) for each in value if isinstance(each, dict)]
                found = [each for each in found if each is not _MISSING]
                return found or _MISSING
    return _MISSING
