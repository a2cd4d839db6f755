"""Actions done to a store, and what it says to them, as literals: by this process or another."""

from __future__ import annotations

from typing import Any

from model.state import CONDITIONS, INVARIANTS, Action, Operation, Outcome, spans, told
from tourlog import (
    ArgumentError,
    ConditionError,
    ConflictError,
    Connection,
    Consumer,
    Database,
    InvariantError,
    Stream,
    TransactionError,
    append,
    call,
)


def act(conn: Connection, action: Action) -> Outcome:
    """Do it, or be refused."""
    try:
        report = _act(conn, action)
    except ConflictError as error:
        return "ConflictError", _conflict(error)
    except ConditionError as error:
        return "ConditionError", len(error.details["rows"])
    except InvariantError:
        return "InvariantError", None
    except TransactionError:
        return "TransactionError", None
    except ArgumentError:
        return "ArgumentError", None
    return "done", report.t, spans(report.offsets)


def _act(conn: Connection, action: Action) -> Any:
    match action:
        case "append", names, documents, {"way": "call", **options}:
            return conn.transact([call(append, documents, *names)], **options)
        case "append", names, documents, {"way": "prepared", **options}:
            return conn.transact(append(conn.db(), documents, *names), **options)
        case "append", names, documents, options:
            return conn.append(documents, *names, **{name: _option(name, value) for name, value in options.items()})
        case "transact", operations, options:
            return conn.transact(list(map(data_of, operations)), **options)
        case "run", operations, options:
            return _run(conn, operations, dict(options))
        case "require", name:
            query, inputs, _ = INVARIANTS[name]
            return conn.require(name, query, *inputs)
        case "drop", name:
            return conn.drop_invariant(name)
    raise AssertionError(action)


def _run(conn: Connection, operations: list[Operation], options: dict[str, Any]) -> Any:
    """As one piece of work, of blocks and runs inside each other; half of what is said of it is said inside."""
    meta = options.get("meta") or {}
    outer, inner = dict(list(meta.items())[::2]), dict(list(meta.items())[1::2])

    def work() -> None:
        with conn.transaction(meta=inner):
            _do_one(conn, operations[0])
        for operation in operations[1:]:
            conn.run(lambda operation=operation: _do_one(conn, operation))

    return conn.run(work, **{**options, "meta": outer})


def _do_one(conn: Connection, operation: Operation) -> None:
    match operation:
        case "append", names, documents:
            conn.append(documents, *names)
        case _:
            conn.transact([data_of(operation)])


def _option(name: str, value: Any) -> Any:
    if name in ("unless", "only_if"):
        return (CONDITIONS[value[0]][0], *value[1:])
    if name == "expect" and isinstance(value, list):
        return {_named(*each[:3]): each[3] for each in value}
    return value


def _named(form: str, names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return {"stream": lambda: Stream(names, values), "values": lambda: values, "value": lambda: values[0]}[form]()


def _conflict(error: ConflictError) -> Any:
    told_of = error.details
    if "attribute" in told_of:
        return told_of["attribute"]
    place = (*told(told_of["stream"]), told_of["expected"], told_of["actual"])
    if "consumer" in told_of:
        return (*place, told_of["consumer"])
    return (*place, [without_id(document) for document in told_of["appended"]])


def data_of(operation: Operation) -> Any:
    """An operation as transaction data; a document is found by its place, for its id differs among stores."""
    match operation:
        case "append", names, documents:
            return call(append, documents, *names)
        case ("fail",):
            return ("db/cas", "nobody", "n", 1, 2)
        case "done", consumer, places:
            return call(_done, consumer, places)
        case "rewind", consumer, place, offset:
            return Consumer(consumer).rewind(None if place is None else Stream(*place), offset)
    return call(_on_target, operation)


def _done(db: Database, consumer: str, places: list[tuple[Any, Any, int]]) -> list[Any]:
    found = [db.documents(Stream(names, values), offset, offset + 1)[0] for names, values, offset in places]
    return [Consumer(consumer).done(*found)]


def _on_target(db: Database, operation: Operation) -> list[Any]:
    name, target, *arguments = operation
    e = target[1]
    if target[0] == "document":
        _, names, values, offset = target
        (document,) = db.documents(Stream(names, values), offset, offset + 1)
        e = document["db/id"]
    if name == "upsert":
        return [{"db/id": e, **arguments[0]}]
    return [(f"db/{'retract-entity' if name == 'drop' else name}", e, *arguments)]


def without_id(document: dict[str, Any] | None) -> dict[str, Any]:
    assert document is not None
    return {name: value for name, value in document.items() if name != "db/id"}
