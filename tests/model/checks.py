"""Every way of reading a store, compared with the model; and what another process tells of one."""

from __future__ import annotations

from typing import Any

from oracle_values import equal, key

import tourlog
from model.actions import without_id
from model.state import Model, distinct, own, told
from tourlog import Connection, Consumer, Database, Stream, gen_datalog

CONSUMERS = ("one", "two")

ENGINES = ("pydatalog", "compiled")


def check(db: Database, model: Model, engine: str = "auto") -> None:
    """The store's every way of reading agrees with the model; queries are answered by one engine."""
    assert db.t == model.t
    streams = [(stream, len(documents)) for stream, documents in model.streams.values() if documents]
    assert [(stream, end) for _, stream, end in db.streams()] == streams
    names = [name for name, _, _ in db.streams()]
    assert len(set(names)) == len(names)
    ends = [end for _, end in streams]
    assert db.entity("offset-metadata") == {"db/id": "offset-metadata", **dict(zip(names, ends, strict=True))}
    for stream, documents in model.streams.values():
        check_stream(db, stream, documents, engine)
    for e, state in model.entities.values():
        assert_same(db.entity(e), {"db/id": e, **own(state)} if own(state) else None)
    for consumer in CONSUMERS:
        check_consumer(db, model, consumer)
    check_values(db, model, engine)


def check_stream(db: Database, stream: Stream, documents: list[dict[str, Any] | None], engine: str) -> None:
    wanted = [{"offset": n, **document} for n, document in enumerate(documents) if document is not None]
    found = db.documents(stream)
    assert_same([without_id(document) for document in found], wanted)
    assert_same([without_id(db.entity(document["db/id"])) for document in found], wanted)
    middle = len(documents) // 2
    for start, stop in ((middle, None), (0, middle), (middle, middle + 2)):
        part = [document for document in wanted if start <= document["offset"] < (stop or len(documents))]
        assert_same([without_id(document) for document in db.documents(stream, start, stop)], part if stop != 0 else [])
    rows = db.q(gen_datalog("nthrest", *stream.names), *stream.values, middle, engine=engine)
    assert_same(tourlog.post_query_transform(rows), [document for document in wanted if document["offset"] >= middle])


def check_consumer(db: Database, model: Model, consumer: str) -> None:
    assert Consumer(consumer).lag(db) == model.lag(consumer)
    for stream, _ in model.streams.values():
        assert Consumer(consumer).committed(db, stream) == model.committed(consumer, stream)


def check_values(db: Database, model: Model, engine: str) -> None:
    """Facts of attributes, of whatever entity, by two queries and by `facts`."""
    states = model.states()
    for attribute in ("n", "tags"):
        wanted = sorted(key(v) for state in states for v in distinct(state, attribute))
        found = db.q("[:find ?e ?v :in $ ?a :where [?e ?a ?v]]", attribute, engine=engine)
        assert sorted(key(v) for _, v in found) == wanted
        assert sorted(key(fact.v) for fact in db.facts(a=attribute)) == wanted
    both = sum(1 for state in states if any(equal(v, 1) for v in distinct(state, "n")) and "tags" not in state)
    number = db.q("[:find (count ?e) . :where [?e :n 1] (not [?e :tags _])]", engine=engine)
    assert (number or 0) == both + sum(
        1 for state in states if any(equal(v, 1) for v in distinct(state, "n")) and state.get("tags") == []
    )


def assert_same(found: Any, wanted: Any) -> None:
    """Equal, and of the same types: 1 is not 1.0 here."""
    assert found == wanted, f"expected {wanted!r}, got {found!r}"
    assert repr(normal(found)) == repr(normal(wanted)), f"expected {wanted!r}, got {found!r}"


def assert_equal(found: Any, wanted: Any) -> None:
    """Equal as values of documents are: a stream is told by 1 or by 1.0."""
    assert key(found) == key(wanted), f"expected {wanted!r}, got {found!r}"


def normal(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, normal(inner)) for name, inner in value.items())
    return [normal(inner) for inner in value] if isinstance(value, list | tuple) else value


def held(conn: Connection) -> Any:
    """What a store holds, as literals."""
    db = conn.db()
    streams = [(*told(stream), [without_id(each) for each in db.documents(stream)]) for _, stream, _ in db.streams()]
    required = sorted(each.name for each in conn.invariants())
    lag = [
        sorted(((*told(stream), n) for stream, n in Consumer(consumer).lag(db).items()), key=key)
        for consumer in CONSUMERS
    ]
    return normal([db.t, streams, required, lag])


def should_hold(model: Model) -> Any:
    """What `held` must be."""
    streams = [
        (*told(stream), [{"offset": n, **each} for n, each in enumerate(documents) if each is not None])
        for stream, documents in model.streams.values()
        if documents
    ]
    lag = [sorted(((*told(stream), n) for stream, n in model.lag(consumer).items()), key=key) for consumer in CONSUMERS]
    return normal([model.t, streams, sorted(model.required), lag])
