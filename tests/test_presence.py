"""Simple conditions judged by what is stated where: the same verdicts as queries, in every state of a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tourlog
from tourlog import ConditionError, Connection
from tourlog.presence import Presence
from tourlog.query.parse import parse_query
from tourlog.query.stated import statement_of

NAME = "[:find ?e :in $ ?name :where [?e :name ?name]]"
BOTH = "[:find ?e ?b :in $ ?a ?b :where [?e :a ?a] [?e :b ?b]]"


@pytest.fixture(params=["memory", "file"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    with tourlog.connect(None if request.param == "memory" else tmp_path / "store") as conn:
        yield conn


@pytest.mark.parametrize(
    "text",
    [
        "[:find ?e :where [?e :a ?v]]",
        "[:find ?e :where [?e :a 1 5]]",
        "[:find ?e :where [?e :a]]",
        "[:find ?e :in $ ?a :where [?e ?a 1]]",
        "[:find ?e :where [?e :a.b 1]]",
        "[:find ?e :where [?e :offset 1]]",
        '[:find ?e :where [?e :db/key ["a"]]]',
        "[:find ?e :in $ ?e :where [?e :a 1]]",
        "[:find ?e ?f :where [?e :a 1] [?f :a 1]]",
        "[:find ?n :in $ ?n :where [_ :a ?n] [_ :b ?n]]",
        "[:find ?e :where [?e :a 1] (not [?e :b 2])]",
        "[:find ?e :where [?e :a ?v] [(< ?v 2)]]",
        "[:find ?e :in $ [?v ...] :where [?e :a ?v]]",
        "[:find ?e :in $a :where [$a ?e :a 1]]",
        "[:find (count ?e) :where [?e :a 1]]",
        "[:find (pull ?e [*]) :where [?e :a 1]]",
        "[:find ?e :where [?e :a 1] :limit 0]",
        "[:find ?e :where [?e :a 1] :offset 1]",
        "[:find ?e :where [?e :a nil]]",
        "[:find ?e :where [?e :a [1 2]]]",
    ],
)
def test_what_asks_more_is_left_to_queries(text: str) -> None:
    assert statement_of(parse_query(text)) is None


@pytest.mark.parametrize(
    ("text", "inputs", "wanted"),
    [
        ("[:find ?e :where [?e :a 1]]", [], (("a", 1),)),
        ("[:find ?n . :in $ ?n :where [_ :a ?n]]", ["x"], (("a", "x"),)),
        (BOTH, [1, "y"], (("a", 1), ("b", "y"))),
        (BOTH, [1], None),
        (BOTH, [1, [2]], None),
        (NAME, [None], None),
    ],
)
def test_what_is_wanted(text: str, inputs: list[Any], wanted: object) -> None:
    statement = statement_of(parse_query(text))
    assert statement is not None
    assert statement.wanted(inputs) == wanted


def test_simple_conditions_run_no_query(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    conn.append([{"k": 1, "name": "ann"}], "k")
    monkeypatch.setattr("tourlog.conditions.answer", None)  # a query would fail
    conn.append([{"k": 1, "name": "bob"}], "k", unless=(NAME, "bob"), only_if=(NAME, "ann"))
    conn.append([{"k": 1, "name": "cid"}], "k", unless=(NAME, "cid"), only_if=(NAME, "bob"))
    assert [document["name"] for document in conn.db().documents({"k": 1})] == ["ann", "bob", "cid"]


def test_a_refusal_carries_the_rows(conn: Connection) -> None:
    conn.append([{"k": 1, "name": "ann"}], "k")
    with pytest.raises(ConditionError) as refusal:
        conn.append([{"k": 1, "name": "ann"}], "k", unless=(NAME, "ann"))
    assert [row for (row,) in refusal.value.details["rows"]] == [conn.db().documents({"k": 1})[0]["db/id"]]
    with pytest.raises(ConditionError):
        conn.append([{"k": 1}], "k", only_if=(NAME, "bob"))
    assert conn.db().t == 1


# The same verdicts as queries.

_SMALL = st.sampled_from([0, 1, True, 1.0, False, "x", "y", "", b"x", float("nan"), None])
_CONTENT = st.one_of(_SMALL, st.lists(_SMALL, max_size=3), st.sets(st.sampled_from([1, "x"])))
_DOCUMENT = st.dictionaries(st.sampled_from("ab"), _CONTENT, max_size=2)
_WANTED = st.sampled_from([0, 1, True, 1.0, False, "x", "y", "", b"x", float("nan")])
_STEP = st.one_of(
    st.tuples(st.just("append"), st.lists(_DOCUMENT, min_size=1, max_size=3)),
    st.tuples(st.just("entity"), st.integers(0, 2), _DOCUMENT),
    st.tuples(st.just("amend"), st.integers(0, 5), _DOCUMENT),
    st.tuples(st.just("retract"), st.integers(0, 5)),
    st.tuples(st.just("conditional"), _WANTED, _WANTED, st.booleans(), st.booleans()),
)


def _do(conn: Connection, step: tuple[Any, ...]) -> None:
    db = conn.db()
    ids = [document["db/id"] for document in db.documents({"k": 1})]
    match step:
        case ("append", documents):
            conn.append([{"k": 1, **document} for document in documents], "k")
        case ("entity", e, document):
            conn.transact([{"db/id": f"entity {e}", **document}])
        case ("amend", number, document) if number < len(ids):
            conn.transact([{"db/id": ids[number], **document}])
        case ("retract", number) if number < len(ids):
            conn.transact([("db/retract-entity", ids[number])])


def _condition(step: tuple[Any, ...]) -> tuple[str, dict[str, Any]]:
    _, a, b, is_double, is_unless = step
    query = (BOTH, a, b) if is_double else ("[:find ?e :in $ ?a :where [?e :a ?a]]", a)
    return "unless" if is_unless else "only_if", {"unless" if is_unless else "only_if": query}


@settings(max_examples=150, deadline=None)
@given(st.lists(_STEP, max_size=12), st.booleans())
def test_verdicts_are_those_of_queries(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], is_file: bool
) -> None:
    path = tmp_path_factory.mktemp("presence") / "store" if is_file else None
    with tourlog.connect(path, durability="normal") as conn:
        for step in steps:
            if step[0] != "conditional":
                _do(conn, step)
                continue
            kind, condition = _condition(step)
            query, *inputs = condition[kind]
            has_answer = bool(conn.db().q(query, *inputs, engine="pydatalog"))
            before = conn.db().t
            try:
                conn.append([{"k": 1, "a": "new"}], "k", **condition)
            except ConditionError:
                assert has_answer == (kind == "unless")
                assert conn.db().t == before
            else:
                assert has_answer == (kind == "only_if")


def test_more_than_a_look_is_left_to_queries(conn: Connection) -> None:
    conn.append([{"k": 1, "a": 1, "b": number} for number in range(60)], "k")
    conn.append([{"k": 1, "a": 2, "b": 100} for _ in range(60)], "k")
    asked: list[bool | None] = []
    original = Presence.any_states

    def watched(self: Presence, *arguments: Any) -> bool | None:
        asked.append(original(self, *arguments))
        return asked[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Presence, "any_states", watched)
        conn.append([{"k": 1}], "k", unless=(BOTH, 1, 100))  # many state one of them, none both
        conn.append([{"k": 1}], "k", only_if=(BOTH, 2, 100))
    assert asked == [None, True]


# Threads and other connections.


def _race(workers: list[Callable[[], None]]) -> None:
    barrier = Barrier(len(workers))

    def run(work: Callable[[], None]) -> None:
        barrier.wait()
        work()

    threads = [Thread(target=run, args=(work,)) for work in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("connections", [1, 3])
def test_a_name_is_taken_once(tmp_path: Path, connections: int) -> None:
    """Threads share commits, and other connections write in between: what is judged includes all of it."""
    conns = [tourlog.connect(tmp_path / "store") for _ in range(connections)]
    conns[0].append([{"k": "start", "name": ""}], "k")
    names = [f"name {number}" for number in range(40)]

    def take(conn: Connection, number: int) -> None:
        for name in names:
            try:
                conn.append([{"k": number, "name": name}], "k", unless=(NAME, name))
            except ConditionError:
                conn.append([{"k": number, "refused": name}], "k")

    _race([lambda number=number: take(conns[number % connections], number) for number in range(6)])  # type: ignore[misc]
    taken = conns[0].db().q("[:find ?e ?name :where [?e :name ?name]]")
    assert sorted(name for _, name in taken) == sorted([*names, ""])
    assert len(conns[0].db().q("[:find ?e ?name :where [?e :refused ?name]]")) == 5 * len(names)
    for conn in conns:
        conn.close()


def test_what_was_undone_is_not_remembered(tmp_path: Path) -> None:
    """A place a failed transaction had is taken by another document."""
    with tourlog.connect(tmp_path / "store") as conn:
        conn.append([{"k": 1, "name": "ann"}], "k")
        conn.append([{"k": 1, "name": "bob"}], "k", unless=(NAME, "bob"))
        with pytest.raises(RuntimeError, match="undone"), conn.transaction():
            conn.append([{"k": 1, "name": "cid"}], "k", unless=(NAME, "cid"))
            raise RuntimeError("undone")
        conn.append([{"k": 1, "name": "dan"}], "k", unless=(NAME, "cid"))
        conn.append([{"k": 1, "name": "cid"}], "k", unless=(NAME, "cid"), only_if=(NAME, "dan"))
        with pytest.raises(ConditionError):
            conn.append([{"k": 1}], "k", unless=(NAME, "dan"))
