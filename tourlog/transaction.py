"""Transaction data applied to a draft: documents, single facts, retractions, transaction functions.

Operations apply in the order given, each seeing the ones before it. Nothing here commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from tourlog.conflicts import conflict
from tourlog.documents import check_document, check_names
from tourlog.draft import Draft
from tourlog.errors import ConflictError, DocumentError, TransactionError, shown
from tourlog.facts import elements
from tourlog.snapshot import Snapshot
from tourlog.stream import (
    ID_KEY,
    INVARIANTS,
    META_KEY,
    OFFSET_KEY,
    OFFSET_METADATA,
    ORDER_KEY,
    SYSTEM_PREFIX,
    Stream,
    document_id,
)
from tourlog.values import check, identity, plain

View: TypeAlias = Callable[[Snapshot], Any]
"""Makes the database a transaction function is called with."""

_OPERATIONS = ("db/add", "db/retract", "db/retract-entity", "db/cas")
_CONTAINERS = (list, tuple, set, frozenset, dict)
_VIEWS = {
    OFFSET_METADATA: "a view of the streams and cannot be written",
    INVARIANTS: "written by Connection.require and drop_invariant only",
}
_MOST_CALLS = 100
"""How deep transaction functions may return further transaction functions."""


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction function: `function`, called with the database first, then its `arguments` and `keywords`. Made by
    `call`."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)


def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Call:
    """A transaction function: `function`, run with the database as it is then, first, and these `arguments` and
    `keywords`; what it returns is transaction data that takes its place.

    Raises TransactionError when `function` cannot be called.
    """
    if not callable(function):
        raise TransactionError(f"expected a function to call, got {shown(function)}", operation=function)
    return Call(function, arguments, keywords)


def apply(draft: Draft, tx_data: Any, view: View, depth: int = 0) -> None:
    """Apply transaction data to a draft; raises `TransactionError`, `DocumentError` or `ConflictError`.

    The draft is left half changed by an error: who holds it returns to a savepoint.
    """
    if depth > _MOST_CALLS:
        raise TransactionError(f"transaction functions return each other more than {_MOST_CALLS} deep")
    for number, operation in enumerate(operations(tx_data)):
        if isinstance(operation, Mapping):
            _document(draft, operation, number)
        elif isinstance(operation, Call):
            result = operation.function(view(draft.view()), *operation.arguments, **operation.keywords)
            apply(draft, result, view, depth + 1)
        else:
            _single(draft, operation, number)


def operations(tx_data: Any) -> list[Any]:
    """Transaction data given as any iterable but a text, or one operation that somebody forgot to put in a list."""
    single = isinstance(tx_data, tuple) and bool(tx_data) and isinstance(tx_data[0], str)
    if single or isinstance(tx_data, str | bytes | Mapping | Call) or not isinstance(tx_data, Iterable):
        raise TransactionError(
            f"expected a list of documents and operations, got {type(tx_data).__name__}", operation=tx_data
        )
    return list(tx_data)


def check_meta(meta: Any) -> dict[str, Any]:
    """What a caller states about a transaction, ready to be stored; nothing for None."""
    if meta is None:
        return {}
    check(meta, where="meta")
    for attribute in meta:
        if attribute.startswith(SYSTEM_PREFIX):
            raise TransactionError(
                f"meta has {shown(attribute)}; attributes {SYSTEM_PREFIX}… are the store's own", operation=attribute
            )
    return plain(meta)  # type: ignore[no-any-return]  # a dict, as checked


def annotate(draft: Draft, meta: Mapping[str, Any]) -> None:
    """State attributes of the caller's own on the transaction's entity, whose id is its position."""
    state = draft.state(draft.t) or {}
    if state and META_KEY not in state:
        raise TransactionError(
            f"{draft.t} is the id of an entity and cannot be that of the transaction, which has meta too: give other "
            "ids than whole numbers to entities of a store whose transactions have meta",
            operation=draft.t,
        )
    draft.put(draft.t, {META_KEY: True, **state, **meta})


# Documents.


def _document(draft: Draft, document: Mapping[str, Any], number: int) -> None:
    if type(document) is not dict:
        raise DocumentError(
            f"expected a dict, got {type(document).__name__}, in tx_data[{number}]", path="", value=document
        )
    if ORDER_KEY in document:
        _ordered(draft, document, number)
        return
    given = {key: value for key, value in document.items() if key != ID_KEY}
    check(given, where=f"tx_data[{number}]")
    _refuse_system(given, number)
    e = _entity_id(document[ID_KEY], number) if ID_KEY in document else uuid4()
    state = draft.state(e) or {}
    for attribute, value in given.items():
        _refuse_place(state, attribute, value, number)
    draft.put(e, {**state, **plain(given)})


def _ordered(draft: Draft, document: Mapping[str, Any], number: int) -> None:
    """A document as `append` made it: its id and offset must be the ones it would get now."""
    names = document[ORDER_KEY]
    if type(names) is not list:
        raise TransactionError(
            f"expected a list of key attributes in {ORDER_KEY} of tx_data[{number}], got {shown(names)}",
            operation=document,
        )
    check_names(names)
    own = {key: value for key, value in document.items() if key not in (ID_KEY, OFFSET_KEY, ORDER_KEY)}
    stream = Stream(tuple(names), check_document(own, names, number))
    tail = draft.tail(stream)
    offset = document.get(OFFSET_KEY)
    if type(offset) is not int:
        raise TransactionError(
            f"tx_data[{number}] has no offset as `append` gives it: {shown(offset)}", operation=document
        )
    if offset != tail.next:
        raise conflict(
            f"stream {stream} is at offset {tail.next}, not at {shown(offset)}: the documents were "
            "prepared for another position; use call(append, …), which runs on the newest database",
            draft.view(),
            stream,
            expected=offset,
            actual=tail.next,
        )
    if type(document.get(ID_KEY)) is not UUID or document[ID_KEY] != document_id(tail.record.prefix, offset):
        raise TransactionError(
            f"tx_data[{number}] has a db/id that `append` did not give it: {shown(document.get(ID_KEY))}",
            operation=document,
        )
    draft.extend(tail, [plain(own)])


def _entity_id(e: Any, number: int) -> Any:
    e = plain(e, ID_KEY)
    if e is None or type(e) in _CONTAINERS:
        raise TransactionError(f"expected a scalar as db/id in tx_data[{number}], got {shown(e)}", operation=e)
    if type(e) is str and e in _VIEWS:
        raise TransactionError(f"{e!r} in tx_data[{number}] is {_VIEWS[e]}", operation=e)
    return e


def _refuse_system(attributes: Iterable[Any], number: int) -> None:
    for attribute in attributes:
        if attribute.startswith(SYSTEM_PREFIX):
            raise TransactionError(
                f"tx_data[{number}] writes {shown(attribute)}; attributes {SYSTEM_PREFIX}… are the store's own",
                operation=attribute,
            )


def _refuse_place(state: Mapping[str, Any], attribute: str, value: Any, number: int) -> None:
    """An ordered document keeps its place: its key attributes and offset cannot change."""
    if ORDER_KEY not in state or attribute not in (*state[ORDER_KEY], OFFSET_KEY):
        return
    if identity(plain(value)) != identity(state.get(attribute)):
        raise TransactionError(
            f"tx_data[{number}] changes {shown(attribute)} of an appended document, which says where it stands",
            operation=attribute,
        )


# Single facts.


def _single(draft: Draft, operation: Any, number: int) -> None:
    if not isinstance(operation, list | tuple) or not operation or operation[0] not in _OPERATIONS:
        raise TransactionError(
            f"expected a document, call(…) or one of {', '.join(_OPERATIONS)} in tx_data[{number}], "
            f"got {shown(operation)}",
            operation=operation,
        )
    name, *arguments = operation
    match name, arguments:
        case "db/add", [e, a, v]:
            _add(draft, _entity_id(e, number), _attribute(a, number), plain(v, a), number)
        case "db/retract", [e, a]:
            _retract(draft, _entity_id(e, number), _attribute(a, number), number)
        case "db/retract", [e, a, v]:
            _retract_value(draft, _entity_id(e, number), _attribute(a, number), plain(v, a), number)
        case "db/retract-entity", [e]:
            if draft.state(e := _entity_id(e, number)):
                draft.put(e, None)
        case "db/cas", [e, a, old, new]:
            e, a = _entity_id(e, number), _attribute(a, number)
            _compare_and_set(draft, e, a, (plain(old, a), plain(new, a)), number)
        case _:
            raise TransactionError(
                f"wrong number of arguments for {name} in tx_data[{number}]: {shown(operation)}",
                operation=operation,
            )


def _attribute(a: Any, number: int) -> str:
    if type(a) is not str:
        raise TransactionError(f"expected an attribute name in tx_data[{number}], got {shown(a)}", operation=a)
    check({a: None}, where=f"tx_data[{number}]")
    _refuse_system((a,), number)
    return a


def _set(draft: Draft, e: Any, a: str, value: Any, number: int) -> None:
    state = draft.state(e) or {}
    _refuse_place(state, a, value, number)
    draft.put(e, {**state, a: value})


def _add(draft: Draft, e: Any, a: str, v: Any, number: int) -> None:
    """One value more in a collection; in place of what a scalar attribute held."""
    content: Any = (draft.state(e) or {}).get(a)
    if type(content) not in (list, tuple, set, frozenset):
        _set(draft, e, a, v, number)
    elif identity(v) not in map(identity, content):
        _set(draft, e, a, type(content)((*content, v)), number)


def _retract(draft: Draft, e: Any, a: str, number: int) -> None:
    state = draft.state(e) or {}
    if a in state:
        _refuse_place(state, a, None, number)
        draft.put(e, {key: value for key, value in state.items() if key != a})


def _retract_value(draft: Draft, e: Any, a: str, v: Any, number: int) -> None:
    """Take a value out of a collection; the whole attribute when nothing is left or all of it was named."""
    state = draft.state(e) or {}
    if a not in state:
        return
    content = state[a]
    kept = [element for element in elements(content) if identity(element) != identity(v)]
    if not kept or identity(content) == identity(v):
        _retract(draft, e, a, number)
    elif len(kept) < len(elements(content)):
        _set(draft, e, a, type(content)(kept), number)


def _compare_and_set(draft: Draft, e: Any, a: str, change: tuple[Any, Any], number: int) -> None:
    old, new = change
    actual = (draft.state(e) or {}).get(a)
    if identity(actual) != identity(old):
        raise ConflictError(
            f"db/cas in tx_data[{number}]: {shown(a)} of {shown(e)} is {shown(actual)}, not {shown(old)}",
            entity=e,
            attribute=a,
            expected=old,
            actual=actual,
        )
    _set(draft, e, a, new, number)
