"""What is fuzzed: each target takes one input and lets through nothing but the errors tourlog documents.

An input is bytes. One of `ask` is a query, rules and inputs, separated by form feeds.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import tourlog
from tourlog.errors import ArgumentError, BudgetError, DocumentError, QueryError, TourlogError
from tourlog.json_lines import Source as Lines
from tourlog.json_lines import import_json_lines
from tourlog.query.edn import read, read_value
from tourlog.query.parse import parse_pull, parse_query, parse_rules
from tourlog.query.plan import make_plan
from tourlog.query.syntax import RulesInput, Source
from tourlog.values import encode, identity, ordered_bytes

TESTS = Path(__file__).resolve().parent.parent
CORPUS = TESTS / "corpus"
SEPARATOR = "\f"
TIMEOUT = 1.0
MAX_ROWS = 5_000

RULES = "[[(linked ?a ?b) [?a :next ?b]] [(linked ?a ?b) [?a :next ?c] (linked ?c ?b)] [(named ?e ?n) [?e :name ?n]]]"


class Disagreement(AssertionError):
    """The two engines answered differently."""


# Targets.


def edn(data: bytes) -> None:
    """What is read as a value can be printed as a form and compared."""
    text = _text(data)
    try:
        str(read(text))
        value = read_value(text)
    except QueryError:
        return
    identity(value), ordered_bytes(value), encode(value)


def query(data: bytes) -> None:
    """A parsed query prints as text that parses to the same query; the form as Python data is read, too."""
    text = _text(data)
    try:
        parsed = parse_query(text)
    except QueryError:
        return
    str(parsed)


def rules(data: bytes) -> None:
    with_errors(lambda: parse_rules(_text(data)), QueryError)


def pattern(data: bytes) -> None:
    """A pull pattern, and what it gives of an entity that refers to itself."""
    text = _text(data)
    with_errors(lambda: database().pull(text, "a"), QueryError)


def data_query(data: bytes) -> None:
    """Python data where a query, rules and a pull pattern are expected."""
    try:
        value = read_value(_text(data))
    except QueryError:
        return
    for parse in (parse_query, parse_rules, parse_pull):
        with_errors(lambda parse=parse: parse(value), QueryError)


def plan(data: bytes) -> None:
    """A plan that can be printed."""
    parts = _text(data).split(SEPARATOR)
    try:
        made = make_plan(parse_query(parts[0]), parse_rules(_rules_of(parts)))
    except QueryError:
        return
    str(made)


def ask(data: bytes) -> None:
    """A whole query: the two engines give the same rows, or both an error."""
    parts = _text(data).split(SEPARATOR)
    try:
        inputs = _inputs(parts)
    except TourlogError:
        return
    answers = [_answer(parts[0], inputs, engine) for engine in ("pydatalog", "compiled")]
    if not any(answer is BudgetError for answer in answers) and answers[0] != answers[1] and _is_settled(parts):
        raise Disagreement(f"pydatalog: {answers[0]}; compiled: {answers[1]}")


def imported(data: bytes) -> None:
    """JSON lines of a stranger: imported and read back equal, or refused with nothing written."""
    with tourlog.connect() as conn:
        try:
            import_json_lines(conn, Lines("lines", BytesIO(data), None, lambda: 0), ("k",))
        except DocumentError:
            assert conn.db().t == 0, "nothing is written of a source that is refused"
            return
        stored = [d for _, stream, _ in conn.db().streams() for d in conn.db().own_documents(stream)]
        lines = [json.loads(line.strip()) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
        assert sorted(map(ordered_bytes, stored)) == sorted(map(ordered_bytes, lines)), "what was imported is stored"


def transacted(data: bytes) -> None:
    """Transaction data: all of it or nothing."""
    try:
        value = read_value(_text(data))
    except QueryError:
        return
    with tourlog.connect() as conn:
        conn.transact([{"db/id": "a", "n": 1}])
        before = conn.db()
        try:
            conn.transact(value)
        except TourlogError:
            assert conn.db().t == before.t, "nothing is written of a transaction that is refused"
        assert conn.db().q("[:find ?e . :where [?e :n 1]]") in ("a", None) or conn.db().t > before.t


TARGETS: dict[str, Callable[[bytes], None]] = {
    f.__name__: f for f in (edn, query, rules, pattern, data_query, plan, ask, imported, transacted)
}


def with_errors(compute: Callable[[], Any], *expected: type[Exception]) -> Any:
    """What it gives; None for an error that may come."""
    try:
        return compute()
    except expected:
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _decodes(data) else ""


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace")
    except UnicodeDecodeError:
        return False
    return True


def _rules_of(parts: Sequence[str]) -> str:
    return parts[1] if len(parts) > 1 and parts[1].strip() else RULES


def _inputs(parts: Sequence[str]) -> list[Any]:
    given = read_value(parts[2]) if len(parts) > 2 and parts[2].strip() else []
    waiting = list(given) if isinstance(given, list) else [given]
    inputs: list[Any] = []
    for entry in parse_query(parts[0]).inputs:
        if isinstance(entry, Source):
            inputs.append(database())
        elif isinstance(entry, RulesInput):
            inputs.append(_rules_of(parts))
        else:
            inputs.append(waiting.pop(0) if waiting else 1)
    return inputs


def _answer(text: str, inputs: Sequence[Any], engine: str) -> Any:
    try:
        found = tourlog.q(text, *inputs, engine=engine, timeout=TIMEOUT, max_rows=MAX_ROWS)
    except BudgetError:
        return BudgetError
    except (QueryError, ArgumentError):  # the latter for what is no name of a rule library
        return QueryError
    if isinstance(found, tourlog.Rows):
        return frozenset(identity(tuple(row.values()) if isinstance(row, dict) else row) for row in found)
    return frozenset(map(identity, found)) if isinstance(found, list) else identity(found)


def _is_settled(parts: Sequence[str]) -> bool:
    """Whether there is one right answer: nothing is picked at random, none of several rows is taken."""
    return not re.search(r"rand|sample|\.\s*(:|\])|:limit|:offset|min|max|get-", parts[0])


# The small database.


@cache
def database() -> tourlog.Database:
    """A few documents of every kind of value, some of which refer to each other."""
    conn = tourlog.connect()
    conn.append([{"k": k, "n": n, "t": f"{k}{n}"} for k in "xy" for n in range(4)], "k")
    conn.transact(
        [
            {"db/id": "a", "next": "b", "name": "Ann", "age": 41, "tags": ["p", "q"], "odd key": {"x": {"y": 1}}},
            {"db/id": "b", "next": "c", "name": "Bob", "age": 41.0, "tags": ["q"], "none": None},
            {"db/id": "c", "next": "a", "name": "", "age": "41", "friends": ["a", "b", "c"], "yes": True},
            {"db/id": 1, "age": Decimal("41.00"), "big": 10**30, "nan": float("nan"), "inf": float("-inf")},
            {"db/id": UUID(int=7), "at": datetime(2024, 2, 29, tzinfo=UTC), "on": date(2024, 2, 29), "raw": b"\0\xff"},
            {"db/id": True, "took": timedelta(1), "set": {1, 2}, "pair": (1, "a"), "next": True},
        ]
    )
    conn.transact([{"db/id": "a", "age": 42}, ("db/retract", "b", "none", None)])
    return conn.db()


# Seeds, and inputs near them.


def seeds(target: str) -> list[bytes]:
    """The inputs to start from: the kept corpus, and what stands in the case files."""
    return [*kept(target), *(text.encode("utf-8", "surrogatepass") for text in _case_texts(target))]


def kept(target: str) -> list[bytes]:
    """The inputs kept in `tests/corpus`, one JSON string a line."""
    path = CORPUS / f"{target}.jsonl"
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    return [json.loads(line).encode("utf-8", "surrogatepass") for line in lines]


def _case_texts(target: str) -> Iterator[str]:
    sys.path.append(str(TESTS))
    from casefile import read_cases  # beside this folder

    cases = [case for case in read_cases(TESTS / "cases") if case.kind == "docs" or target != "transacted"]
    yield from {
        "query": lambda: [case.query for case in cases],
        "rules": lambda: [case.rules for case in cases if case.rules],
        "pattern": lambda: PATTERNS,
        "imported": lambda: LINES,
        "transacted": lambda: TRANSACTIONS,
        "edn": lambda: [case.query for case in cases[::4]] + VALUES,
        "data_query": lambda: ['{"find" ["?e"] "where" [["?e" "name" "?n"]]}', '[["name" {"next" ["*"]}]]'],
    }.get(target, lambda: [SEPARATOR.join((case.query, case.rules or "")) for case in cases])()


VALUES = [
    '{:a [1 2.5 1.50M 3N] "b" #{nil true} c/d #inst "2024-02-29T00:00:00Z"}',
    '(#uuid "00000000-0000-0000-0000-000000000007" ##NaN ##-Inf \\a \\newline "\\u0041\\n" #_ x ; y\n)',
]
PATTERNS = [
    "[*]",
    '[:name {:next [:name {:next ...}]} (limit :tags 1) (default :no "x") [:age :as "years"]]',
    "[{:friends [* {:_next 2}]} :db/id {[:friends :limit 2] [:name]}]",
    "[{:_next ...} {(limit :friends nil) 3}]",
]
LINES = [
    '{"k": 1, "a": [1, 2.5, null, {"b": "\\u0000"}]}\n{"k": "x"}\n',
    '\ufeff{"k": true, "": 1e400}\n\n{"k": NaN, "o": -Infinity}',
    '{"k": 1, "k": 2}\n{"j": 1}\n[]\n"\\ud800"\n' + '{"k":0,"x":' + "[" * 50 + "]" * 50 + "}",
]
TRANSACTIONS = [
    '[{"db/id" "a" "n" 2 "x" {"y" [1 #{2}]}} ("db/add" "a" "m" 1) ("db/retract" "a" "n" 1)]',
    '[("db/cas" "a" "n" 1 2) ("db/retract-entity" "a") {"z" nil}]',
    '[("db/add" "offset-metadata" "x" 1) {"db/tx" 1} {"offset" 1} {"db/key" ["k"]} ("db/fn" "a")]',
]
ATOMS = [
    *[
        "?e",
        "?x",
        "?_",
        "_",
        "$",
        "$b",
        "%",
        ".",
        "...",
        "*",
        "nil",
        "true",
        "false",
        "-0.0",
        "1e308",
        "##NaN",
        "##Inf",
    ],
    *["9223372036854775808", "1.0M", "1N", ":a", ":db/id", ":db/tx", ":db/key", ":offset", ":_next", ":n", '""', "[]"],
    *['"\\u0000"', '"offset-metadata"', '#inst"2024"', "#{}", "{}", "()", "#_", "(count ?e)", "[?x ...]", "[[?x ?y]]"],
    *[":find", ":in", ":where", ":with", ":keys", ":limit", ":order-by", "not", "and", "or", "or-join", "not-join"],
    *[
        "pull",
        "sum",
        "rand",
        "str",
        "+",
        "re-find",
        "inc",
        "range",
        "get",
        "untuple",
        "ground",
        "(?x)",
        "[(inc ?x) ?x]",
    ],
    *["(linked ?a ?b)", '"\ud800"', "\u200b", "\x00", "\f", "\\a", "1e999999999M", "1e-999999999M", ":order-by [?x]"],
    *["00", "+1", "#a/b c", "{1 2}", "{:a 1 :a 2}"],
]
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|#\{|[\[\](){}]|[^\s,\[\](){}"]+|[\s,]+', re.DOTALL)
_CLOSES = {"(": ")", "[": "]", "{": "}", "#{": "}"}


def mutated(data: bytes, pool: Sequence[bytes], rng: random.Random) -> bytes:
    """An input near this one: forms cut, doubled, swapped, wrapped, replaced by others'
    or by odd atoms, bytes turned."""
    if rng.random() < 0.15:
        turned = bytearray(data or b"[")
        for _ in range(rng.randint(1, 4)):
            turned[rng.randrange(len(turned))] = rng.randrange(256)
        return bytes(turned)
    tokens = _TOKEN.findall(data.decode("utf-8", "replace")) or ["[", "]"]
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        start = rng.randrange(len(tokens)) if tokens else 0
        stop = _end(tokens, start)
        form = tokens[start:stop]
        match rng.randrange(8):
            case 0:
                tokens[start:stop] = []
            case 1:
                tokens[stop:stop] = [" ", *form * rng.choice((1, 1, 3))]
            case 2:
                opening = rng.choice("([{")
                tokens[start:stop] = [opening, *form, _CLOSES[opening]]
            case 3 | 4:
                tokens[start:stop] = [rng.choice(ATOMS)]
            case 5:
                tokens[start:start] = [rng.choice(ATOMS), " "]
            case 6:
                other = _TOKEN.findall(rng.choice(pool).decode("utf-8", "replace")) or [" "]
                place = rng.randrange(len(other))
                tokens[start:stop] = other[place : _end(other, place)]
            case _:
                place = rng.randrange(len(tokens) + 1)
                if not start <= place <= stop:
                    tokens[place:place] = [" ", *form]
    return "".join(tokens).encode("utf-8", "surrogatepass")


def _end(tokens: Sequence[str], start: int) -> int:
    """The place after the form that starts here."""
    depth = 0
    for place in range(start, len(tokens)):
        depth += (tokens[place] in _CLOSES) - (tokens[place] in ")]}")
        if depth <= 0:
            return place + 1
    return len(tokens)
