"""Hostile documents, names and values: refused with a path before anything is written, or returned exactly, from
memory and from a file, through documents, pulls and both engines."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import tourlog
from tourlog import Connection, Consumer, aio
from tourlog.errors import ArgumentError, DocumentError, TourlogError, TransactionError
from tourlog.values import encode, identity, same_form

ENGINES = ("pydatalog", "compiled")

# What SQL, EDN, pyDatalog, paths, terminals and Python could take for more than text.
NAMES = [
    "'", '"', "''", '""', "`", ";", "--", "/*", "*/", "\\", "\\\\", "%", "%s", "$", "$1", "$p0", ":", ":a", "::",
    "?", "?1",
    "?x", "_", "__class__", "_x", "@", "#", "#_", "#{}", "~", "^", "(", ")", "[", "]", "{", "}", "{0}", "{e}", "()",
    ".",
    "..", "...", "a.b", ".a", "a.", "a..b", "/", "a/b", "/a", "a/", "a/b/c", "../../etc/passwd", "-", "--help",
    "a-b", "=",
    "a=b", ",", "a,b", " ", "  ", "\t", "\n", "\r\n", "a\nb", "\v", "\f", "\x00", "a\x00b", "\x1b[31m", "\x7f",
    "\x85", "\xa0",
    "\u200b", "\u202e", "\u2028", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "é", "e\u0301", "ß", "İ", "ﬁ", "😀",
    "null",
    "nil", "None", "true", "True", "false", "NaN", "Infinity", "0", "1", "-1", "1.0", "1e999", "0x1", "01", "rows",
    "c0", "e",
    "a", "v", "tx", "select", "SELECT * FROM rows", "x'; DROP TABLE batches; --", '"; DROP TABLE rows; --',
    "' OR '1'='1",
    "__import__('os').system('x')", "${jndi:x}", "<script>alert(1)</script>", "&amp;", "{{7*7}}", "%(x)s",
    "x" * 10_000,
    "'" * 1_000, "offset-metadata", "offset.x", "ab\ud7ff", "find", ":find", "not", "or", "count", "pull", "inf",
    "db", "db.id",
]  # fmt: skip

# Numbers, times and containers at their edges.
VALUES: list[Any] = [
    math.inf, -math.inf, math.nan, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53, 2**53 + 1, 2**63 - 1, 2**63,
    -(2**63),
    -(2**63) - 1, 2**64, 2**61 - 1, 2**61, 10**400, -(10**400), 10**4299, 10**4300, 10**20_000, Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("Infinity"), Decimal("-0"), Decimal("1E+999999"), Decimal("1E-999999"), Decimal("1." + "0" * 2_000),
    True, False, 0, 1, 1.0, Decimal("1.0"), b"", b"\x00", bytes(range(256)), b"'\"\\", "", [], (), {}, set(),
    frozenset(),
    [[]], [None], (None,), {"": None}, {"": {"": {"": ""}}}, {"a.b": 1}, {"$": 1, "_id": 2, ":k": 3, '"': 4,
    "a/b": 5},
    "\ud800", "a\udfffb", ["\udc00"], ("\ud83d", "\ude00"), {"db/id": 1}, {"db/fn": "x"}, ["?x", "_", "$", "%"],
    ("db/add", 1, "x", 2), {"__class__": "dict"}, frozenset({(1, ("a",))}),
]  # fmt: skip


@pytest.fixture(params=["memory", "file"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Callable[[Connection], Any]], Any]]:
    """What writes to a new store, and gives its database: of a file, as found when it is opened again."""
    opened: list[Connection] = []

    def write(work: Callable[[Connection], Any]) -> tourlog.Database:
        path = None if request.param == "memory" else tmp_path / "hostile.tour"
        opened.append(tourlog.connect(path))
        work(opened[0])
        if path is not None:
            opened[0].close()
            opened.append(tourlog.connect(path))
        return opened[-1].db()

    yield write
    for conn in opened:
        conn.close()


def same(a: Any, b: Any) -> bool:
    return identity(a) == identity(b) and same_form(a, b)


def engines_agree(db: tourlog.Database, query: Any, *inputs: Any) -> Any:
    """The answer, the same by both engines."""
    first, second = (db.q(query, *inputs, engine=engine) for engine in ENGINES)
    assert identity(sorted(map(encode, first))) == identity(sorted(map(encode, second)))
    return first


def test_there_are_hundreds_of_cases() -> None:
    assert len(NAMES) > 120
    assert len(VALUES) > 50
    assert len(set(NAMES)) == len(NAMES)


# Every name wherever a name goes, every value wherever a value goes. One store holds all names at once, so that two
# of them taken for one are seen, too.


def test_any_text_is_a_value_a_key_value_and_an_input(reopened: Any) -> None:
    db = reopened(lambda conn: conn.append([{"k": name, "v": name, "in": [{"x": name}]} for name in NAMES], "k"))
    for name in NAMES:
        (document,) = db.documents({"k": name})
        assert document == {"db/id": document["db/id"], "offset": 0, "k": name, "v": name, "in": [{"x": name}]}
        assert engines_agree(db, "[:find [?e ...] :in $ ?v :where [?e :v ?v]]", name) == [document["db/id"]]
    found = engines_agree(db, "[:find [?v ...] :in $ [?v ...] :where [?e :k ?v] [?e :v ?v] [?e :in.x ?v]]", NAMES)
    assert sorted(found) == sorted(NAMES)
    assert len(db.streams()) == len({name for name, _, _ in db.streams()}) == len(NAMES)


def test_any_text_is_an_attribute(reopened: Any) -> None:
    names = [name for name in NAMES if name != "k"]
    db = reopened(lambda conn: conn.append([{"k": 1, **{name: n for n, name in enumerate(names)}}], "k"))
    (document,) = db.own_documents({"k": 1})
    assert document == {"k": 1, **{name: n for n, name in enumerate(names)}}
    assert list(document) == ["k", *names]
    dotted = {name: {n for n, other in enumerate(names) if other == name} for name in names}
    query = "[:find [?v ...] :in $ ?a :where [?e ?a ?v]]"
    for name in names:
        assert set(engines_agree(db, query, name)) == dotted[name], name
    assert set(engines_agree(db, {"find": [["?a", "..."]], "where": [("?e", "?a", "?v")]})) == {"k", "offset", *names}


def test_any_text_is_a_key_attribute(reopened: Any) -> None:
    def append(conn: Connection) -> None:
        for name in NAMES:
            conn.append([{name: 1, "n": name}], name)

    db = reopened(append)
    assert [stream.names for _, stream, _ in db.streams()] == [(name,) for name in NAMES]
    for name in NAMES:
        assert db.own_documents({name: 1}) == [{name: 1, "n": name}]
        generated = tourlog.gen_datalog("all", name)
        for engine in ENGINES:
            (document,) = tourlog.post_query_transform(db.q(generated, 1, engine=engine))
            assert document == {"offset": 0, name: 1, "n": name}


def test_any_text_is_an_entity_and_a_transactions_id_and_meta(reopened: Any) -> None:
    names = [name for name in NAMES if name != "offset-metadata"]

    def transact(conn: Connection) -> None:
        for n, name in enumerate(names):
            report = conn.transact([{"db/id": name, "n": n, "self": name}], tx_id=name, meta={name: name})
            assert conn.transact([{"db/id": name, "n": -1}], tx_id=name).t == report.t, "an id is stored once"

    db = reopened(transact)
    assert db.t == len(names)
    for past, name in zip(db.tx_range(), names, strict=True):
        assert (past.tx_id, past.meta) == (name, {name: name})
    for n, name in enumerate(names):
        assert db.entity(name) == {"db/id": name, "n": n, "self": name}
        assert engines_agree(db, "[:find [?n ...] :in $ ?e :where [?e :self ?e] [?e :n ?n]]", name) == [n]


def test_any_text_names_an_invariant(reopened: Any) -> None:
    names = [name for name in NAMES if name]

    def require(conn: Connection) -> None:
        conn.append([{"k": "x", "n": 1}], "k")
        for name in names:
            conn.require(name, '[:find ?e :where [?e :n "broken"]]')

    db = reopened(require)
    assert [invariant.name for invariant in db.invariants()] == names


SURROGATES = ["\ud800", "a\udfffb", "\ud83d\ude00", "\udc00\x00"]
HUGE = ["x" * 1_000_000, "\x00" * 100_000, "😀" * 100_000]


def test_any_text_names_a_consumer_and_a_group(reopened: Any) -> None:
    """None is taken for another: each is as far as it came, in one stream and as a group's member, and can be asked."""
    names = [name for name in (*NAMES, *SURROGATES, *HUGE) if name]
    partitions = (1, 2)

    def read(conn: Connection) -> None:
        documents = [{"topic": t, "p": p, "n": n} for n in range(len(names)) for p in partitions for t in ("a", "b")]
        conn.append(documents, "topic", "p")
        first = conn.db().documents({"topic": "a", "p": 1})
        for n, name in enumerate(names):
            conn.transact([Consumer(name).done(*first[: n + 1])])
            group = conn.subscribe({"topic": "b", "p": None}, start=Consumer(name, 1, 2)).take(n + 1)
            assert {document["p"] for _, document in group} == {2}
            conn.transact([Consumer(name, 1, 2).done(*[document for _, document in group])])

    db = reopened(read)
    query = "[:find [?c ...] :in $ ?name ?topic :where [?e :consumer ?name] [?e :topic ?topic] [?e :committed ?c]]"
    for n, name in enumerate(names):
        consumer, one, two = Consumer(name), {"topic": "a", "p": 1}, {"topic": "b", "p": 2}
        assert [consumer.committed(db, key) for key in (one, two, {**two, "p": 1})] == [n + 1, n + 1, 0]
        assert consumer.lag(db) == {db.stream(key): len(names) - n - 1 for key in (one, two)}
        if n % 10 == 0 or name in SURROGATES:
            assert engines_agree(db, query, name, "a") == [n + 1]


@pytest.mark.parametrize("name", [None, 1, b"a", "", ["a"], ("a",)])
def test_what_is_no_text_names_no_consumer(name: Any) -> None:
    with pytest.raises(ArgumentError):
        Consumer(name)


def test_no_object_that_calls_itself_a_text_names_a_consumer() -> None:
    for name in (Text("a"), Liar(), lambda: "a", Odd.COMPLEX):
        with pytest.raises(ArgumentError):
            Consumer(name)  # type: ignore[arg-type]


def test_any_text_and_value_is_what_a_subscription_asks_for(conn: Connection) -> None:
    given = [*NAMES, *SURROGATES, *VALUES]
    conn.append([{"k": 1, "n": n, "v": [value]} for n, value in enumerate(given)], "k")
    query = "[:find ?e :in $ [?e ...] ?v :where [?e :v ?v]]"
    for number, value in enumerate(given[::3]):
        wanted = [n for n, other in enumerate(given) if identity([other]) == identity([value])]
        for key in ({"k": 1}, "k", None) if number % 5 == 0 else (None,):
            found = conn.subscribe(key, where=(query, value)).take(len(given))
            assert [document["n"] for _, document in found] == wanted, (key, value)


def test_any_text_is_the_attribute_that_a_subscription_asks_for(conn: Connection) -> None:
    names = [name for name in NAMES if name not in ("k", "offset")]
    conn.append([{"k": 1, "n": n, name: "here"} for n, name in enumerate(names) if name != "n"], "k")
    for name in names[::2]:
        query = {"find": ["?e"], "in": ["$", ["?e", "..."], "?a"], "where": [("?e", "?a", "here")]}
        found = conn.subscribe("k", where=(query, name)).take(len(names))
        assert [names[document["n"]] for _, document in found] == [name]


def test_what_is_no_such_query_key_or_place_is_no_subscription(conn: Connection) -> None:
    conn.append([{"k": 1}], "k")
    numbers = [value for value in VALUES if type(value) is int and value >= 0]
    values = [value for value in VALUES if type(value) is not int]
    for given in (*NAMES, *SURROGATES, *values, -1, True, Liar(), Text("now"), object(), [Liar()], cycle(list)):
        with pytest.raises(TourlogError):
            conn.subscribe("k", where=given)
        with pytest.raises(TourlogError):
            conn.subscribe("k", start=given)
    for number in numbers:
        assert conn.subscribe("k", start=number).take(9) == conn.subscribe("k").take(9 * (number < 2))
    keys: list[Any] = [1, 1.5, b"k", object(), {}, [], [1], {1: 2}, {"offset": 1}, {"db/id": 1}, ["k", "k"], endless()]
    for key in (*keys, *({"k": value} for value in REFUSED)):
        with pytest.raises(TourlogError):
            conn.subscribe(key)


@pytest.mark.parametrize("engine", ENGINES)
def test_any_text_is_a_rules_name_and_a_column(engine: str) -> None:
    with tourlog.connect() as conn:
        conn.transact([{"db/id": 1, "a": 2}])
        for name in NAMES:
            if name in ("", "_", "%") or name[:1] in "?$":  # a variable, a blank, a source or the rules
                continue
            rules = [[(name, "?x"), ("?x", "a", 2)]]
            query = {"find": ["?x"], "keys": [name], "in": ["$", "%"], "where": [(name, "?x")]}
            try:
                found = conn.db().q(query, rules, engine=engine)
            except tourlog.QueryError as error:
                assert name in ("not", "or", "and") or "key" in str(error) or "rule" in str(error), (name, error)
            else:
                assert list(found) == [{name: 1}]


def test_any_value_comes_back_and_is_found(reopened: Any) -> None:
    documents = [{"k": 1, "n": n, "v": {"is": value}, "l": [value]} for n, value in enumerate(VALUES)]
    db = reopened(lambda conn: conn.append(documents, "k"))
    for document, value in zip(db.own_documents({"k": 1}), VALUES, strict=True):
        assert same(document["v"], {"is": value})
        assert same(document["l"], [value])
    for n, value in enumerate(VALUES):
        wanted = {m for m, other in enumerate(VALUES) if identity([other]) == identity([value])}
        given = {"find": [["?n", "..."]], "in": ["$", "?v"], "where": [("?e", "l", "?v"), ("?e", "n", "?n")]}
        assert set(engines_agree(db, given, value)) == wanted, n
        joined = "[:find [?m ...] :in $ ?n :where [?e :n ?n] [?e :l ?v] [?f :l ?v] [?f :n ?m]]"
        assert set(engines_agree(db, joined, n)) == wanted, n


# What a document cannot be.


class Text(str):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Number(int):
    def __add__(self, other: object) -> int:
        raise RuntimeError("called")


class Mapping(dict[str, Any]):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("called")

    def items(self) -> Any:
        raise RuntimeError("called")


class Sequence(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("called")


class Liar:
    """Says that it is a dict, equals everything, and fails at what else it is asked."""

    __class__ = dict  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("called")

    def __hash__(self) -> int:
        raise RuntimeError("called")

    def __repr__(self) -> str:
        return "Liar"


class Zone(tzinfo):
    def utcoffset(self, _: datetime | None) -> Any:
        raise RuntimeError("called")


class Odd(Enum):
    COMPLEX = 1j
    LIST = (1, [2j])


def endless() -> Iterator[int]:
    while True:
        yield 1


def cycle(kind: type) -> Any:
    inside: Any = kind()
    if kind is dict:
        inside["x"] = inside
    else:
        inside.append(inside)
    return inside


def deep(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


REFUSED: list[Any] = [
    {"\ud800": 1}, {"a": {"\udfff": 1}}, {1: 2}, {None: 1}, {("a",): 1}, {b"a": 1}, {1.5: 1},
    {True: 1}, Text("a"), {Text("a"): 1}, Number(1), Mapping(a=1), Sequence([1]), Liar(), [Liar()], {"x": Liar()},
    object(), 1j,
    lambda: 1, len, int, type, range(3), iter([1]), endless(), bytearray(b"a"), memoryview(b"a"),
    datetime(2024, 1, 1, tzinfo=Zone()),
    Odd.COMPLEX, Odd.LIST, NotImplemented, ..., cycle(list), cycle(dict), deep(100_000, lambda v: [v]),
    deep(100_000, lambda v: {"x": v}), deep(100_000, lambda v: (v,)), deep(1_000, lambda v: frozenset([v])), sys,
    Exception("x"),
]  # fmt: skip


@pytest.mark.parametrize("wrap", [lambda v: {"k": 1, "x": v}, lambda v: {"k": 1, "x": {"y": [0, v]}}])
@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_no_document_can_hold_is_refused_with_its_path(number: int, wrap: Any, conn: Connection) -> None:
    """Nothing is written, by whatever way it comes, also after documents that are fine."""
    document = wrap(REFUSED[number])
    ways: list[Callable[[], Any]] = [
        lambda: conn.append([{"k": 1}, document], "k"),
        lambda: conn.transact([{"k": 1}, document]),
        lambda: conn.transact([("db/add", 1, "x", document)]),
        lambda: conn.append([{"k": 1}], "k", meta={"x": document}),
        lambda: conn.db().with_([document]),
    ]
    for way in ways:
        with pytest.raises(TourlogError) as caught:
            way()
        assert isinstance(caught.value, DocumentError | TransactionError | ArgumentError)
        assert len(str(caught.value)) < 2_000
    with pytest.raises(DocumentError) as refused:
        conn.append([{"k": 1}, document], "k")
    assert refused.value.path.startswith("x")  # type: ignore[attr-defined]  # by the constructor
    assert conn.db().t == 0
    for value in (REFUSED[number], [REFUSED[number]]):
        if callable(value) and not isinstance(value, list):
            continue  # a callable is what a query may call
        for engine in ENGINES:
            with pytest.raises(TourlogError):
                conn.db().q("[:find ?e :in $ ?v :where [?e :x ?v]]", value, engine=engine)


@pytest.mark.parametrize(
    "documents", [Liar(), Mapping(k=1), "x", b"x", 1, None, {"k": 1}, [Mapping(k=1)], [Liar()], [None]]
)
def test_what_is_no_list_of_documents_is_refused(documents: Any, conn: Connection) -> None:
    for append in (lambda: conn.append(documents, "k"), lambda: conn.transact(documents)):
        with pytest.raises(TourlogError):
            append()
    assert conn.db().t == 0


def test_documents_that_change_later_are_stored_as_they_were(reopened: Any) -> None:
    inside, documents = [1], []

    def append(conn: Connection) -> None:
        documents.append({"k": 1, "x": inside, "y": {"z": inside}})
        conn.append(documents, "k")
        inside.append(2)
        documents[0]["k"] = 2
        documents.clear()
        (found,) = conn.db().own_documents({"k": 1})
        found["x"].append(3)

    db = reopened(append)
    assert db.own_documents({"k": 1}) == [{"k": 1, "x": [1], "y": {"z": [1]}}]


def test_a_generator_that_fails_or_appends_meanwhile_leaves_whole_transactions(conn: Connection) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield {"k": 1}
        raise RuntimeError("the caller's own")

    def appending() -> Iterator[dict[str, Any]]:
        yield {"k": 1, "n": 0}
        conn.append([{"k": 1, "n": 1}], "k")
        yield {"k": 1, "n": 2}

    with pytest.raises(RuntimeError, match="the caller's own"):
        conn.append(failing(), "k")
    assert conn.db().t == 0
    conn.append(appending(), "k")
    assert sorted(d["n"] for d in conn.db().own_documents({"k": 1})) == [0, 1, 2]
    assert [d["offset"] for d in conn.db().documents({"k": 1})] == [0, 1, 2]


def test_the_asyncio_face_refuses_the_same() -> None:
    import asyncio

    async def attempt() -> None:
        async with aio.connect() as conn:
            for value in REFUSED[:12]:
                with pytest.raises(TourlogError):
                    await conn.append([{"k": 1, "x": value}], "k")

    asyncio.run(attempt())
