"""Bad input of every kind: a TourlogError that names what was wrong, and a store that is as it was."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from reprlib import Repr
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

import tourlog
from tourlog import (
    ArgumentError,
    Connection,
    Database,
    DocumentError,
    QueryError,
    QuerySyntaxError,
    StorageError,
    Stream,
    TransactionError,
    append,
    call,
    event_store,
    gen_datalog,
    gen_rules,
    log_store,
)

Do = Callable[[Connection], Any]
Row = tuple[str, Do, type[Exception], str]
"""What is done, the error it must give, and what the message must name."""

E = "[:find ?e :where [?e :k 1]]"
DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]
CYCLE: dict[str, Any] = {"k": 1}
CYCLE["self"] = CYCLE


def shown(value: object) -> str:
    """A value as the name of a test shows it."""
    short = Repr()
    short.maxstring = short.maxother = short.maxtuple = short.maxlist = 70
    return short.repr(value)


class Odd:
    """Something no document can hold."""

    def __repr__(self) -> str:
        return "<odd>"


class NowhereZone(tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, _: datetime | None) -> None:
        return None


DOCUMENTS: list[Row] = [
    (f"append a list with {name}", lambda conn, bad=bad: conn.append([{"k": 1}, bad], "k"), DocumentError, named)
    for name, bad, named in (
        ("None", None, "documents[1]"),
        ("a string", "text", "documents[1]"),
        ("a number", 5, "documents[1]"),
        ("a list", [1], "documents[1]"),
        ("a tuple", (1, 2), "documents[1]"),
        ("an OrderedDict", OrderedDict(k=1), "OrderedDict"),
        ("a defaultdict", defaultdict(int, k=1), "defaultdict"),
        ("a mapping that is no dict", UserDict({"k": 1}), "UserDict"),
        ("a read-only mapping", MappingProxyType({"k": 1}), "mappingproxy"),
        ("a key that is no string", {"k": 1, 2: 3}, "documents[1]"),
        ("a key of bytes", {"k": 1, b"x": 3}, "documents[1]"),
        ("a key that is half a character", {"k": 1, "\ud800": 3}, "documents[1]"),
        ("an inner key that is no string", {"k": 1, "v": [{"w": {None: 1}}]}, "v[0].w"),
        ("an object", {"k": 1, "v": Odd()}, "v"),
        ("an object inside", {"k": 1, "v": {"items": [1, 2, 3, Odd()]}}, "v.items[3]"),
        ("a complex number", {"k": 1, "v": (1j,)}, "v[0]"),
        ("a function", {"k": 1, "v": len}, "v"),
        ("a class", {"k": 1, "v": int}, "v"),
        ("a bytearray", {"k": 1, "v": bytearray(b"x")}, "bytearray"),
        ("a range", {"k": 1, "v": range(3)}, "range"),
        ("a generator", {"k": 1, "v": (n for n in range(3))}, "generator"),
        ("an int of another class", {"k": 1, "v": type("Int", (int,), {})(5)}, "Int"),
        ("an inner OrderedDict", {"k": 1, "v": OrderedDict(a=1)}, "OrderedDict"),
        ("a time zone of its own", {"k": 1, "v": datetime(2020, 1, 1, tzinfo=NowhereZone())}, "NowhereZone"),
        ("a cycle", CYCLE, "nested"),
        ("nesting without end", {"k": 1, "v": DEEP}, "nested"),
        ("a db/id", {"k": 1, "db/id": 5}, "db/id"),
        ("an offset", {"k": 1, "offset": 5}, "offset"),
        ("a system attribute", {"k": 1, "db/tx": 5}, "db/tx"),
        ("no key attribute", {"v": 1}, "'k'"),
        ("None in the key attribute", {"k": None}, "'k'"),
        ("a list in the key attribute", {"k": [1]}, "list"),
        ("a dict in the key attribute", {"k": {"a": 1}}, "dict"),
        ("a set in the key attribute", {"k": {1}}, "set"),
        ("a frozenset in the key attribute", {"k": frozenset()}, "frozenset"),
        ("an object in the key attribute", {"k": Odd()}, "k"),
    )
]

APPENDS: list[Row] = [
    *[
        (f"append {name}", lambda conn, bad=bad: conn.append(bad, "k"), ArgumentError, "list of documents")
        for name, bad in (
            ("None", None),
            ("a number", 5),
            ("a string", "text"),
            ("bytes", b"x"),
            ("one document", {"k": 1}),
            ("a mapping", UserDict({"k": 1})),
            ("an object", Odd()),
            ("a function", len),
        )
    ],
    ("append without a key", lambda conn: conn.append([{"k": 1}]), ArgumentError, "key"),
    ("append to a number", lambda conn: conn.append([{"k": 1}], 5), ArgumentError, "5"),
    ("append to None", lambda conn: conn.append([{"k": 1}], None), ArgumentError, "None"),
    ("append to a list of keys", lambda conn: conn.append([{"k": 1}], ["k"]), ArgumentError, "['k']"),
    ("append to a key twice", lambda conn: conn.append([{"k": 1}], "k", "k"), ArgumentError, "distinct"),
    ("append to the offset", lambda conn: conn.append([{"k": 1}], "offset"), ArgumentError, "offset"),
    ("append to a system attribute", lambda conn: conn.append([{"k": 1}], "db/id"), ArgumentError, "db/id"),
    ("append nothing without a key", lambda conn: conn.append([]), ArgumentError, "key"),
]

CONDITIONS: list[Row] = [
    *[
        (
            f"expect {shown(bad)}",
            lambda conn, bad=bad: conn.append([{"k": 1}], "k", expect=bad),
            ArgumentError,
            "expect",
        )
        for bad in (-1, True, 1.0, "1", [1], (0,), Odd(), {(1,): -1}, {(1,): True}, {(1,): "1"}, {(1,): None})
    ],
    *[
        (
            f"expect {shown(bad)}",
            lambda conn, bad=bad: conn.append([{"k": 1}], "k", expect=bad),
            ArgumentError,
            "expect",
        )
        for bad in ({(1, 2): 0}, {(): 0})
    ],
    (
        "expect one offset of two streams",
        lambda conn: conn.append([{"k": 1}, {"k": 2}], "k", expect=0),
        ArgumentError,
        "expect",
    ),
    ("expect an offset of an object", lambda conn: conn.append([{"k": 1}], "k", expect={Odd(): 0}), DocumentError, "k"),
    ("expect an offset of None", lambda conn: conn.append([{"k": 1}], "k", expect={None: 0}), DocumentError, "expect"),
    ("expect an offset of no stream", lambda conn: conn.append([], "k", expect=0), ArgumentError, "expect"),
    *[
        (
            f"{name}={shown(bad)}",
            lambda conn, name=name, bad=bad: conn.append([{"k": 1}], "k", **{name: bad}),
            error,
            "",
        )
        for name in ("unless", "only_if")
        for bad, error in (
            (5, QuerySyntaxError),
            ("", QuerySyntaxError),
            ("[:find", QuerySyntaxError),
            ((), ArgumentError),
            ([], QuerySyntaxError),
            (Odd(), QuerySyntaxError),
            ((E, 1), QueryError),
            ("[:find ?e :in $ ?x :where [?e :k ?x]]", QueryError),
            (("[:find ?e :in $ ?x :where [?e :k ?x]]", Odd()), DocumentError),
        )
    ],
    *[
        (f"tx_id={shown(bad)}", lambda conn, bad=bad: conn.append([{"k": 1}], "k", tx_id=bad), ArgumentError, "tx_id")
        for bad in ("", 5, b"x", True, ["x"], Odd(), 1.5, date(2020, 1, 1))
    ],
    ("transact with a tx_id that is a number", lambda conn: conn.transact([], tx_id=5), ArgumentError, "tx_id"),
    ("run what is no function", lambda conn: conn.run(5), ArgumentError, "5"),
    ("run under a number", lambda conn: conn.run(lambda: None, tx_id=5), ArgumentError, "tx_id"),
]

TRANSACTIONS: list[Row] = [
    *[
        (f"transact {name}", lambda conn, bad=bad: conn.transact(bad), TransactionError, "list of documents")
        for name, bad in (
            ("None", None),
            ("a number", 5),
            ("a string", "text"),
            ("bytes", b"text"),
            ("one document", {"db/id": 1}),
            ("one operation", ("db/add", 1, "a", 2)),
            ("one call", call(len)),
            ("a function", len),
        )
    ],
    *[
        (f"operation {shown(bad)}", lambda conn, bad=bad: conn.transact([{"db/id": 7, "x": 1}, bad]), error, named)
        for bad, error, named in (
            (None, TransactionError, "tx_data[1]"),
            (5, TransactionError, "tx_data[1]"),
            ("db/add", TransactionError, "tx_data[1]"),
            ((), TransactionError, "tx_data[1]"),
            (("db/nothing", 1), TransactionError, "tx_data[1]"),
            ((5, 1, "a", 2), TransactionError, "tx_data[1]"),
            (([], 1, "a", 2), TransactionError, "tx_data[1]"),
            (("db/add", 1, "a"), TransactionError, "tx_data[1]"),
            (("db/add", 1, "a", 2, 3), TransactionError, "tx_data[1]"),
            (("db/retract", 1), TransactionError, "tx_data[1]"),
            (("db/retract-entity",), TransactionError, "tx_data[1]"),
            (("db/retract-entity", 1, 2), TransactionError, "tx_data[1]"),
            (("db/cas", 1, "a", 2), TransactionError, "tx_data[1]"),
            (("db/add", None, "a", 2), TransactionError, "db/id"),
            (("db/add", [1], "a", 2), TransactionError, "db/id"),
            (("db/add", {"a": 1}, "a", 2), TransactionError, "db/id"),
            (("db/add", Odd(), "a", 2), DocumentError, "db/id"),
            (("db/add", "offset-metadata", "a", 2), TransactionError, "offset-metadata"),
            (("db/add", 1, 5, 2), TransactionError, "5"),
            (("db/add", 1, None, 2), TransactionError, "None"),
            (("db/add", 1, ["a"], 2), TransactionError, "['a']"),
            (("db/add", 1, "\ud800", 2), DocumentError, "tx_data[1]"),
            (("db/add", 1, "db/id", 2), TransactionError, "db/id"),
            (("db/add", 1, "db/tx", 2), TransactionError, "db/tx"),
            (("db/add", 1, "a", Odd()), DocumentError, "Odd"),
            (("db/add", 1, "a", DEEP), DocumentError, "nested"),
            (("db/retract", 1, "a", Odd()), DocumentError, "Odd"),
            (("db/retract", 1, 5), TransactionError, "5"),
            (("db/retract-entity", None), TransactionError, "db/id"),
            (("db/retract-entity", "offset-metadata"), TransactionError, "offset-metadata"),
            (("db/cas", 1, "a", Odd(), 1), DocumentError, "Odd"),
            (("db/cas", 1, "a", 1, Odd()), DocumentError, "Odd"),
            ({"db/id": None, "a": 1}, TransactionError, "db/id"),
            ({"db/id": [1], "a": 1}, TransactionError, "db/id"),
            ({"db/id": (1,), "a": 1}, TransactionError, "db/id"),
            ({"db/id": Odd(), "a": 1}, DocumentError, "db/id"),
            ({"db/id": "offset-metadata", "a": 1}, TransactionError, "offset-metadata"),
            ({"db/id": 1, "a": Odd()}, DocumentError, "tx_data[1]"),
            ({"db/id": 1, "a": {"b": [Odd()]}}, DocumentError, "a.b[0]"),
            ({"db/id": 1, 5: 6}, DocumentError, "tx_data[1]"),
            ({"db/id": 1, "db/tx": 6}, TransactionError, "db/tx"),
            ({"db/id": 1, "a": DEEP}, DocumentError, "nested"),
            (UserDict({"db/id": 1, "a": 1}), DocumentError, "UserDict"),
            (OrderedDict({"db/id": 1, "a": 1}), DocumentError, "OrderedDict"),
            ({"db/key": 5, "a": 1}, TransactionError, "db/key"),
            ({"db/key": [], "a": 1}, ArgumentError, "key"),
            ({"db/key": [5], "a": 1}, ArgumentError, "5"),
            ({"db/key": ["zz"], "a": 1}, DocumentError, "'zz'"),
            ({"db/key": ["a"], "a": 1}, TransactionError, "offset"),
            ({"db/key": ["a"], "a": 1, "offset": True}, TransactionError, "offset"),
            ({"db/key": ["a"], "a": 1, "offset": 0.0}, TransactionError, "offset"),
            ({"db/key": ["a"], "a": 1, "offset": 0}, TransactionError, "db/id"),
            ({"db/key": ["a"], "a": 1, "offset": 0, "db/id": UUID(int=1)}, TransactionError, "db/id"),
            ({"db/key": ["a"], "a": 1, "offset": 9, "db/id": UUID(int=2)}, tourlog.ConflictError, "offset"),
            ({"db/key": ["a"], "a": Odd(), "offset": 0}, DocumentError, "documents[1]"),
            (call(lambda _: None), TransactionError, "list of documents"),
            (call(lambda _: 5), TransactionError, "list of documents"),
            (call(lambda _: {"db/id": 1}), TransactionError, "list of documents"),
            (call(lambda _: [5]), TransactionError, "tx_data[0]"),
            (call(append, None, "k"), ArgumentError, "list of documents"),
            (call(append, [{"k": 1}]), ArgumentError, "key"),
        )
    ],
    *[
        (f"call {shown(bad)}", lambda conn, bad=bad: conn.transact([call(bad)]), TransactionError, "function")
        for bad in (None, 5, "text", [], Odd())
    ],
    ("with_ a number", lambda conn: conn.db().with_(5), TransactionError, "list of documents"),
    ("with_ one document", lambda conn: conn.db().with_({"db/id": 1}), TransactionError, "list of documents"),
    ("with_ an object", lambda conn: conn.db().with_([{"a": Odd()}]), DocumentError, "tx_data[0]"),
    ("with_ on a history", lambda conn: conn.db().history().with_([]), ArgumentError, "history"),
]

READS: list[Row] = [
    *[
        (f"Stream{shown(bad)}", lambda _, bad=bad: Stream(*bad), ArgumentError, "Stream")
        for bad in ((("k", "l"), (1,)), ("k", (1,)), (("k",), [1]), ((5,), (1,)), (None, None), (["k"], (1,)))
    ],
    *[
        (f"documents of {shown(bad)}", lambda conn, bad=bad: conn.db().documents(bad), error, named)
        for bad, error, named in (
            (None, ArgumentError, "key"),
            (5, ArgumentError, "key"),
            ("k", ArgumentError, "key"),
            ({}, ArgumentError, "key"),
            ([("k", 1)], ArgumentError, "key"),
            ({5: 1}, ArgumentError, "5"),
            ({None: 1}, ArgumentError, "None"),
            ({"offset": 1}, ArgumentError, "offset"),
            ({"k": None}, DocumentError, "'k'"),
            ({"k": [1]}, DocumentError, "'k'"),
            ({"k": Odd()}, DocumentError, "k"),
        )
    ],
    (
        "documents of a Stream of objects",
        lambda conn: conn.db().documents(Stream(("k",), (Odd(),))),
        DocumentError,
        "k",
    ),
    ("documents of a Stream of lists", lambda conn: conn.db().documents(Stream(("k",), (DEEP,))), DocumentError, "k"),
    (
        "documents of a Stream of offsets",
        lambda conn: conn.db().documents(Stream(("offset",), (1,))),
        ArgumentError,
        "offset",
    ),
    *[
        (
            f"documents {name}={shown(bad)}",
            lambda conn, name=name, bad=bad: conn.db().documents({"k": 1}, **{name: bad}),
            ArgumentError,
            name,
        )
        for name in ("start", "stop")
        for bad in (-1, True, 1.0, "1", [1], Odd(), -(10**30))
    ],
    ("documents start=None", lambda conn: conn.db().documents({"k": 1}, None), ArgumentError, "start"),
    *[
        (f"{name} {shown(bad)}", lambda conn, read=read, bad=bad: read(conn.db(), bad), error, "")
        for name, read in (
            ("entity", lambda db, bad: db.entity(bad)),
            ("pull of", lambda db, bad: db.pull("[*]", bad)),
            ("pull_many of", lambda db, bad: db.pull_many("[*]", [1, bad])),
            ("facts of", lambda db, bad: db.facts(bad or [])),
        )
        for bad, error in (
            (None, ArgumentError),
            ([1], ArgumentError),
            ({"a": 1}, ArgumentError),
            ((1,), ArgumentError),
            (Odd(), DocumentError),
            (2j, DocumentError),
        )
    ],
    *[
        (f"pull_many for {shown(bad)}", lambda conn, bad=bad: conn.db().pull_many("[*]", bad), ArgumentError, "ids")
        for bad in (None, 5, "text", b"x", {"a": 1}, Odd())
    ],
    *[
        (f"pull {shown(bad)}", lambda conn, bad=bad: conn.db().pull(bad, 1), QuerySyntaxError, "")
        for bad in (
            None,
            5,
            "",
            "[",
            "{}",
            [],
            [5],
            Odd(),
            {"a": 1},
            [{"a": Odd()}],
            [("a", "limit", "x")],
            DEEP,
            "[" * 100_000,
            [{"a": -1}],
            b"[*]",
        )
    ],
    ("facts of an attribute that is a number", lambda conn: conn.db().facts(a=5), ArgumentError, "5"),
    ("facts of an attribute in a list", lambda conn: conn.db().facts(a=["k"]), ArgumentError, "['k']"),
    ("facts of an object", lambda conn: conn.db().facts(v=Odd()), DocumentError, "Odd"),
    ("facts of a value without end", lambda conn: conn.db().facts(v=DEEP), DocumentError, "nested"),
    *[
        (f"{name} {shown(bad)}", lambda conn, move=move, bad=bad: move(conn.db(), bad), ArgumentError, "t ")
        for name, move in (("as_of", lambda db, bad: db.as_of(bad)), ("since", lambda db, bad: db.since(bad)))
        for bad in (None, -1, True, 1.0, "1", [1], Odd(), date(2020, 1, 1))
    ],
    *[
        (
            f"{name} {shown(bad)} without a zone",
            lambda conn, move=move, bad=bad: move(conn.db(), bad),
            ArgumentError,
            "time zone",
        )
        for name, move in (("as_of", lambda db, bad: db.as_of(bad)), ("since", lambda db, bad: db.since(bad)))
        for bad in (datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=NowhereZone()))
    ],
]

QUERIES: list[Row] = [
    *[
        (f"q {shown(bad)}", lambda conn, bad=bad: conn.db().q(bad), QuerySyntaxError, "")
        for bad in (
            None,
            5,
            2j,
            "",
            " ",
            "text",
            b"[:find ?e]",
            [],
            {},
            (),
            Odd(),
            "[",
            "[:find ?e",
            "{:find}",
            "[:find]",
            "[:find ?e :where]]",
            {"find": 5},
            {"find": ["?e"], "where": 5},
            {"find": ["?e"], "nonsense": 1},
            {"find": ["?e"], "where": [5]},
            {"find": ["?e"], "where": [("?e", Odd())]},
            {5: 6},
            DEEP,
            "[" * 100_000,
            "[:find ?e :where [?e :k " + "(" * 5000 + "]]",
            {"find": DEEP},
            "\ud800",
            "\0",
            "[:find ?e :limit -1 :where [?e :k]]",
        )
    ],
    *[
        (f"q {shown(bad)}", lambda conn, bad=bad: conn.db().q(*bad), error, "")
        for bad, error in (
            (("[:find ?x :where [?e :k 1]]",), QuerySyntaxError),
            (("[:find ?e :where [(> ?e 1)]]",), QueryError),
            (("[:find ?e :where (nothing ?e)]",), QuerySyntaxError),
            (('[:find ?e :where [?e :k ?k] [(+ ?k "a") ?x]]',), QueryError),
            (("[:find ?e :where [?e :k ?k] [(/ ?k 0) ?x]]",), QueryError),
            (("[:find (sum ?t) . :where [_ :text ?t]]",), QueryError),
            ((E, 1), QueryError),
            (("[:find ?e :in $ ?k :where [?e :k ?k]]",), QueryError),
            (("[:find ?e :in $ ?k :where [?e :k ?k]]", Odd()), DocumentError),
            (("[:find ?e :in $ ?k :where [?e :k ?k]]", DEEP), DocumentError),
            (("[:find ?e :in $ [?k ...] :where [?e :k ?k]]", 5), QueryError),
            (("[:find ?e :in $ [[?k ?l]] :where [?e :k ?k]]", [5]), QueryError),
            (("[:find ?e :in $ [?k ?l] :where [?e :k ?k]]", [5]), QueryError),
            (("[:find ?e :in $ [?k ...] :where [?e :k ?k]]", [Odd()]), DocumentError),
            (("[:find ?e :in $ $b :where [$b ?e :k 1]]", 5), ArgumentError),
            (("[:find ?e :in $ $b :where [$b ?e :k 1]]", None), ArgumentError),
            (("[:find ?e :in $ $b :where [$b ?e :k 1]]", [5]), ArgumentError),
            (("[:find ?e :in $ $b :where [$b ?e :k 1]]", [(Odd(), 1)]), DocumentError),
            (("[:find ?e :in $ % :where (r ?e)]", 5), QuerySyntaxError),
            (("[:find ?e :in $ % :where (r ?e)]", "[["), QuerySyntaxError),
            (("[:find ?e :in $ % :where (r ?e)]", "no-such-library"), ArgumentError),
            (("[:find ?e :in $ % :where (r ?e)]", "../rules/order"), ArgumentError),
            (("[:find ?e :in $ % :where (r ?e)]", [Odd()]), QuerySyntaxError),
            (("[:find (pull ?e ?p) :in $ ?p :where [?e :k 1]]", 5), QuerySyntaxError),
            (("[:find ?e :in $ ?f :where [?e :k ?k] [(?f ?k)]]", 5), QueryError),
        )
    ],
    *[
        (f"q {name}={shown(bad)}", lambda conn, name=name, bad=bad: conn.db().q(E, **{name: bad}), ArgumentError, name)
        for name, values in (
            ("engine", ("", "nothing", None, 5, ["auto"], Odd())),
            ("timeout", (0, -1, True, "1", [1], float("nan"), Odd())),
            ("max_rows", (0, -1, True, "1", [1], float("nan"), Odd())),
        )
        for bad in values
    ],
    ("explain a number", lambda conn: conn.db().explain(5), QuerySyntaxError, ""),
    ("explain without an input", lambda conn: conn.db().explain(E, 1), QueryError, "1 input"),
    ("tourlog.q without a database", lambda _: tourlog.q(E), QueryError, "1 input"),
    ("tourlog.q of a number", lambda _: tourlog.q(E, 5), ArgumentError, "database"),
    ("tourlog.q of a connection", lambda conn: tourlog.q(E, conn), ArgumentError, "Connection"),
]

GENERATORS: list[Row] = [
    *[
        (f"gen_datalog {shown(bad)}", lambda _, bad=bad: gen_datalog(*bad), ArgumentError, "")
        for bad in (
            ("all",),
            ("some", "k"),
            (None, "k"),
            (5, "k"),
            (["all"], "k"),
            ("all", 5),
            ("all", "k", "k"),
            ("all", "offset"),
            ("all", "db/id"),
            ("all", None),
            (":all", "k"),
            (Odd(), "k"),
        )
    ],
    *[
        (f"gen_rules {shown(bad)}", lambda _, bad=bad: gen_rules(*bad), ArgumentError, "")
        for bad in ((), (5,), ("k", "k"), ("offset",), ("db/key",), (["k"],))
    ],
    *[
        (f"rules {shown(bad)}", lambda _, bad=bad: tourlog.rules(bad), ArgumentError, "")
        for bad in ("nothing", "", "../order", "/etc/passwd", "order\0", None, 5, b"order", Odd(), "x" * 100_000)
    ],
    *[
        (f"append pure {shown(bad)}", lambda _, bad=bad: append(*bad), ArgumentError, named)
        for bad, named in (
            ((None, [{"k": 1}], "k"), "Database"),
            ((5, [{"k": 1}], "k"), "Database"),
        )
    ],
    ("append pure on a connection", lambda conn: append(conn, [{"k": 1}], "k"), ArgumentError, "Database"),
    ("append pure a dict", lambda conn: append(conn.db(), {"k": 1}, "k"), ArgumentError, "list of documents"),
    ("append pure without a key", lambda conn: append(conn.db(), [{"k": 1}]), ArgumentError, "key"),
    ("append pure an object", lambda conn: append(conn.db(), [{"k": 1, "v": Odd()}], "k"), DocumentError, "v"),
    *[
        (
            f"post_query_transform {shown(bad)}",
            lambda _, bad=bad: tourlog.post_query_transform(bad),
            ArgumentError,
            "rows",
        )
        for bad in (
            None,
            5,
            "text",
            b"x",
            {"a": 1},
            [5],
            [(5,)],
            [None],
            [{"a": 1}],
            [({"a": 1},)],
            Odd(),
            [{"offset": "x"}],
            [{"offset": 1}, {"offset": None}],
            [{"offset": True}],
        )
    ],
]

STORES: list[Row] = [
    *[
        (f"{name} {shown(bad)}", lambda _, use=use, bad=bad: use(bad), ArgumentError, named)
        for bad in (None, 5, "text", Odd())
        for name, named, use in (
            ("save_events to", "Connection", lambda bad: event_store.save_events(bad, [{"aggregate-id": 1}])),
            ("commit_records to", "Connection", lambda bad: log_store.commit_records(bad, [])),
            ("publish to", "Connection", lambda bad: log_store.save_events_and_publish(bad, [], "t", 1)),
            ("read events of", "Database", lambda bad: event_store.get_events_for_aggregate(bad, 1)),
            ("hydrate from", "Database", lambda bad: event_store.hydrate(bad, 1, lambda s, _: s, 0)),
            ("poll", "Database", lambda bad: log_store.poll(bad, "t", 1, 0)),
        )
    ],
    ("events of a connection", lambda conn: event_store.get_events_for_aggregate(conn, 1), ArgumentError, "Database"),
    ("save events to a database", lambda conn: event_store.save_events(conn.db(), []), ArgumentError, "Connection"),
    ("save None", lambda conn: event_store.save_events(conn, None), ArgumentError, "list of documents"),
    (
        "save an event without its key",
        lambda conn: event_store.save_events(conn, [{"a": 1}]),
        DocumentError,
        "aggregate-id",
    ),
    ("save under a number", lambda conn: event_store.save_events(conn, [{"a": 1}], key=5), ArgumentError, "5"),
    (
        "events under a number",
        lambda conn: event_store.get_events_for_aggregate(conn.db(), 1, key=5),
        ArgumentError,
        "5",
    ),
    (
        "events of no aggregate",
        lambda conn: event_store.get_events_for_aggregate(conn.db(), None),
        DocumentError,
        "aggregate-id",
    ),
    (
        "events of a list",
        lambda conn: event_store.get_events_for_aggregate(conn.db(), [1]),
        DocumentError,
        "aggregate-id",
    ),
    (
        "events from -1",
        lambda conn: event_store.get_events_for_aggregate(conn.db(), 1, start=-1),
        ArgumentError,
        "start",
    ),
    (
        "events up to 1.5",
        lambda conn: event_store.get_events_for_aggregate(conn.db(), 1, stop=1.5),
        ArgumentError,
        "stop",
    ),
    *[
        (
            f"hydrate with {shown(bad)}",
            lambda conn, bad=bad: event_store.hydrate(conn.db(), 1, bad, 0),
            ArgumentError,
            "function",
        )
        for bad in (None, 5, "text", [])
    ],
    *[
        (f"poll from {shown(bad)}", lambda conn, bad=bad: log_store.poll(conn.db(), "t", 1, bad), ArgumentError, "")
        for bad in (None, -1, True, 1.0, "1", [1], Odd())
    ],
    *[
        (
            f"poll at most {shown(bad)}",
            lambda conn, bad=bad: log_store.poll(conn.db(), "t", 1, 0, bad),
            ArgumentError,
            "limit",
        )
        for bad in (-1, True, 1.0, "1", [1], Odd())
    ],
    ("poll of None", lambda conn: log_store.poll(conn.db(), None, 1, 0), DocumentError, "topic"),
    ("poll of a list", lambda conn: log_store.poll(conn.db(), "t", [1], 0), DocumentError, "partition"),
    (
        "commit a record without a partition",
        lambda conn: log_store.commit_records(conn, [{"topic": "t"}]),
        DocumentError,
        "partition",
    ),
    *[
        (f"event_to_record {shown(bad)}", lambda _, bad=bad: log_store.event_to_record("t", 1, *bad), ArgumentError, "")
        for bad in (("k", None), ("k", 5), ("k", [("k", 1)]), (5, {"k": 1}), ([], {"k": 1}), (None, {"k": 1}))
    ],
    ("publish None", lambda conn: log_store.save_events_and_publish(conn, None, "t", 1), ArgumentError, "documents"),
    (
        "publish a number",
        lambda conn: log_store.save_events_and_publish(conn, [5], "t", 1),
        DocumentError,
        "documents[0]",
    ),
    (
        "publish to no topic",
        lambda conn: log_store.save_events_and_publish(conn, [{"aggregate-id": 1}], None, 1),
        DocumentError,
        "topic",
    ),
    (
        "publish to a list",
        lambda conn: log_store.save_events_and_publish(conn, [{"aggregate-id": 1}], "t", [1]),
        DocumentError,
        "partition",
    ),
    (
        "publish under a number",
        lambda conn: log_store.save_events_and_publish(conn, [{"a": 1}], "t", 1, key=5),
        ArgumentError,
        "5",
    ),
    (
        "publish with a tx_id that is a number",
        lambda conn: log_store.save_events_and_publish(conn, [{"aggregate-id": 1}], "t", 1, tx_id=5),
        ArgumentError,
        "tx_id",
    ),
]

ROWS = [*DOCUMENTS, *APPENDS, *CONDITIONS, *TRANSACTIONS, *READS, *QUERIES, *GENERATORS, *STORES]
NAMES = [re.sub("0x[0-9a-f]+|[.]{3}[0-9a-f]+>", "…", row[0]) for row in ROWS]
"""The same in every process, as xdist asks."""


def everything(db: Database) -> Any:
    return db.t, sorted(map(repr, db.facts())), db.streams(), db.entity("offset-metadata"), db.documents({"k": 1})


@pytest.fixture(scope="module", params=["memory", "file"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store that nothing in this module may change."""
    path = None if request.param == "memory" else tmp_path_factory.mktemp("bad") / "store"
    with tourlog.connect(path) as conn:
        conn.append([{"k": 1, "text": "x", "n": n} for n in range(3)], "k")
        conn.transact([{"db/id": 1, "k": 1, "a": [1, 2]}])
        yield conn


@pytest.mark.parametrize(("what", "do", "error", "named"), ROWS, ids=NAMES)
def test_bad_input_is_named_and_changes_nothing(
    filled: Connection, what: str, do: Do, error: type[Exception], named: str
) -> None:
    before = everything(filled.db())
    with pytest.raises(tourlog.TourlogError) as refusal:
        do(filled)
    assert type(refusal.value) is error, what
    assert named in str(refusal.value)
    assert len(str(refusal.value)) < 2000
    if error in (ArgumentError, DocumentError, TransactionError):
        assert isinstance(refusal.value, TypeError)
        assert isinstance(refusal.value, ValueError)
    if issubclass(error, QueryError):
        assert isinstance(refusal.value, ValueError)
    assert everything(filled.db()) == before
    with pytest.raises(Rollback), filled.transaction():
        filled.append([{"k": 1, "n": 3}], "k")
        assert len(filled.db().documents({"k": 1})) == 4
        raise Rollback


class Rollback(Exception):
    pass


def test_the_table_has_a_row_for_everything_and_no_row_twice() -> None:
    assert len(ROWS) >= 150
    assert len({row[0] for row in ROWS}) == len(ROWS)


# Opening.

OPENINGS: list[tuple[str, Callable[[Path], Any], type[Exception], str]] = [
    *[
        (f"path {shown(bad)}", lambda _, bad=bad: tourlog.connect(bad), ArgumentError, "path")
        for bad in (5, b"store", True, "", "a\0b", ["store"], Odd(), 1.5, UUID(int=1))
    ],
    *[
        (
            f"durability {shown(bad)}",
            lambda p, bad=bad: tourlog.connect(p / "s", durability=bad),
            ArgumentError,
            "durability",
        )
        for bad in ("", "none", "FULL", None, 5, True, ["full"], Odd())
    ],
    *[
        (
            f"read_only {shown(bad)}",
            lambda p, bad=bad: tourlog.connect(p / "s", read_only=bad),
            ArgumentError,
            "read_only",
        )
        for bad in (None, 1, "yes", [], Odd())
    ],
    ("memory for reading only", lambda _: tourlog.connect(read_only=True), ArgumentError, "read_only"),
    ("a folder", lambda p: tourlog.connect(p), StorageError, "directory"),
    ("a folder that is missing", lambda p: tourlog.connect(p / "no" / "store"), StorageError, "store"),
    (
        "a store that is missing, for reading",
        lambda p: tourlog.connect(p / "none", read_only=True),
        StorageError,
        "none",
    ),
    ("a text", lambda p: tourlog.connect(_written(p / "text", b"This is no store.\n" * 100)), StorageError, "text"),
    ("a short text", lambda p: tourlog.connect(_written(p / "short", b"x")), StorageError, "short"),
    ("a name that is too long", lambda p: tourlog.connect(p / ("x" * 5000)), StorageError, ""),
    ("a file as a folder", lambda p: tourlog.connect(_written(p / "f", b"x") / "store"), StorageError, "store"),
]


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("what", "do", "error", "named"), OPENINGS, ids=[row[0] for row in OPENINGS])
def test_what_cannot_be_opened_is_named(
    tmp_path: Path, what: str, do: Callable[[Path], Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(tourlog.TourlogError) as refusal:
        do(tmp_path)
    assert type(refusal.value) is error, what
    assert named in str(refusal.value)
    assert not (tmp_path / "s").exists()


def test_input_on_a_nearly_full_stack_gives_a_tourlog_error_or_works(conn: Connection) -> None:
    """However little of the stack is left, no RecursionError comes from within."""
    conn.append([{"k": 1, "v": {"a": [1, {"b": 2}]}}], "k")

    def at_depth(levels: int, do: Callable[[], Any]) -> Any:
        return do() if levels == 0 else at_depth(levels - 1, do)

    nested: Any = 1
    for _ in range(150):
        nested = [nested]
    free = sys.getrecursionlimit() - _depth()
    for left in (250, 200, 150):
        for do in (
            lambda: conn.append([{"k": 2, "v": nested}], "k"),
            lambda: conn.transact([{"db/id": 9, "v": nested}]),
        ):
            try:
                at_depth(free - left, do)
            except tourlog.TourlogError as error:
                assert "stack" in str(error)
    assert [d["offset"] for d in conn.db().documents({"k": 1})] == [0]


def _depth() -> int:
    frame: Any = sys._getframe()
    depth = 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def test_numbers_of_thousands_of_digits_are_values_like_others_and_fit_a_message(conn: Connection) -> None:
    huge = 10**5000
    conn.append([{"k": huge, "n": -huge}], "k", expect=0)
    conn.transact([{"db/id": huge, "n": huge}])
    (document,) = conn.db().documents({"k": huge})
    assert (document["k"], document["n"], conn.db().entity(huge)) == (huge, -huge, {"db/id": huge, "n": huge})
    assert tourlog.post_query_transform(conn.db().q(gen_datalog("all", "k"), huge)) == [
        {"offset": 0, "k": huge, "n": -huge}
    ]
    assert [stream.values for _, stream, _ in conn.db().streams()] == [(huge,)]
    for do, error in (
        (lambda: conn.append([{"k": huge}], "k", expect=huge), tourlog.ConflictError),
        (lambda: conn.append([{"k": huge}], "k", expect=-huge), ArgumentError),
        (lambda: conn.append([{"k": huge}], "k", expect={(huge,): huge}), tourlog.ConflictError),
        (lambda: conn.append([{"k": 1}], "k", tx_id=huge), ArgumentError),
        (lambda: conn.transact([("db/cas", huge, "n", 1, 2)]), tourlog.ConflictError),
        (lambda: conn.transact([(huge, 1)]), TransactionError),
        (lambda: conn.db().as_of(-huge), ArgumentError),
        (lambda: conn.db().documents({"k": huge}, -huge), ArgumentError),
        (lambda: log_store.poll(conn.db(), "t", 1, -huge), ArgumentError),
        (lambda: tourlog.connect(huge), ArgumentError),  # type: ignore[arg-type]
    ):
        with pytest.raises(tourlog.TourlogError) as refusal:
            do()
        assert (type(refusal.value), len(str(refusal.value)) < 20_000) == (error, True)
    assert conn.db().documents({"k": huge}, huge) == []
    assert conn.db().as_of(huge).t == 2


def test_keys_of_any_text_name_their_streams(conn: Connection) -> None:
    texts = ["", " ", "\ud800", "\0", "-", "ключ", "x" * 10_000, "db/id"]
    conn.append([{"k": text} for text in texts], "k")
    assert [conn.db().documents({"k": text})[0]["k"] for text in texts] == texts
    metadata = conn.db().entity("offset-metadata")
    assert metadata == {"db/id": "offset-metadata", **dict.fromkeys([*texts[:-1], "k=db/id"], 1)}


def test_an_error_of_the_users_own_function_is_left_as_it_is(conn: Connection) -> None:
    conn.append([{"k": 1}], "k")
    for do in (
        lambda: conn.transact([call(lambda _: {}["missing"])]),
        lambda: event_store.hydrate(conn.db(), 1, lambda state, event: event["missing"], 0, key="k"),  # noqa: ARG005
        lambda: conn.run(lambda: {}["missing"]),
        lambda: conn.append(({}["missing"] for _ in range(1)), "k"),
    ):
        with pytest.raises(KeyError):
            do()
    assert conn.db().t == 1


def test_instants_far_away_are_positions_too(conn: Connection) -> None:
    conn.append([{"k": 1}], "k")
    assert conn.db().as_of(datetime.max.replace(tzinfo=UTC)).t == 1
    assert conn.db().as_of(datetime.min.replace(tzinfo=UTC)).t == 0
    assert conn.db().as_of(10**100).t == 1
    assert list(conn.db().since(10**100).facts()) == []
