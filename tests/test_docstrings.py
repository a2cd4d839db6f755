"""Docstrings of what is public explain parameters, say units, and name the errors that are raised, and only those."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from docstrings import (
    LIKE,
    Name,
    codes,
    is_error,
    members,
    named_errors,
    public,
    raised_errors,
    resolved,
    undocumented,
    unnamed_errors,
)
from error_cases import CASES, DCB, ES, Call, Setting

import tourlog


def test_every_public_name_explains_itself() -> None:
    """A docstring of its own, that explains each parameter and says the unit of durations and sizes."""
    names = public()
    assert len(names) > 150
    assert [line for name in names.values() for line in undocumented(name, names)] == []


def test_what_a_docstring_refers_to_exists() -> None:
    names = public()
    words = [(name, word) for name in names.values() for word in LIKE.findall(name.doc)]
    assert len(words) > 10
    assert [f"{name.name}: {word}" for name, word in words if resolved(word, name, names) is None] == []


EXCUSED = {
    ("Connection.require", "TransactionError"): "it takes no meta",
    ("Connection.drop_invariant", "TransactionError"): "it takes no meta",
    ("Consumer.lag", "DocumentError"): "a consumer's name is a string",
    ("Consumer.done", "TransactionError"): "the function it gives to `call` is its own",
    ("Consumer.rewind", "TransactionError"): "the function it gives to `call` is its own",
    ("projection.Projection.id", "DocumentError"): "a projection's name is a string",
    ("integrations.cloudevents.document_to_event", "DocumentError"): "for what is no event it returns None",
    (f"{ES}.TourlogRecorder.db", "DataError"): "it stores nothing",
    (f"{ES}.TourlogApplicationRecorder.select_notifications", "DataError"): "it stores nothing",
    (f"{ES}.TourlogApplicationRecorder.max_notification_id", "DataError"): "it stores nothing",
    (f"{DCB}.TourlogDCBRecorder.read", "DataError"): "it stores nothing",
}
"""Errors that the text of a function leads to and that it cannot raise, each with the reason."""


def test_every_error_a_function_raises_is_in_its_docstring() -> None:
    """As far as its text tells: its own `raise`, those of its module's functions it calls, and of checks it imports."""
    names = public()
    found = {(name.name, error) for name in names.values() if name.function for error in unnamed_errors(name, names)}
    assert found == set(EXCUSED)


def test_every_error_in_a_docstring_is_seen_to_be_raised() -> None:
    """Each has a call in `error_cases.py`, and each of those is about an error that the docstring names."""
    named = {(name.name, error) for name in public().values() for error in named_errors(name) if not is_error(name)}
    assert {(name, error.__name__) for name, error, _ in CASES} == named


@pytest.mark.parametrize(("name", "error", "call"), CASES, ids=[f"{name} {error.__name__}" for name, error, _ in CASES])
def test_an_error_in_a_docstring_is_raised(name: str, error: type[BaseException], call: Call, tmp_path: Path) -> None:
    """Exactly this error, by a call that goes through the function it is documented of."""
    setting, ran = Setting(tmp_path), set()
    with pytest.raises(error) as caught:
        sys.setprofile(lambda frame, event, _: ran.add(frame.f_code) if event == "call" else None)
        try:
            call(setting)
        finally:
            sys.setprofile(None)
    assert type(caught.value) is error
    assert codes(public()[name]) & ran


# What a closed store is asked, by name, and what asks nothing of the store.
CONNECTION: dict[str, Callable[[tourlog.Connection], object] | None] = {
    "append": lambda conn: conn.append([], "k"),
    "close": None,
    "compact": lambda conn: conn.compact(),
    "db": lambda conn: conn.db(),
    "drop_invariant": lambda conn: conn.drop_invariant("no debts"),
    "invariants": lambda conn: conn.invariants(),
    "listen": None,
    "require": lambda conn: conn.require("names", "[:find ?e :where [?e :name]]"),
    "run": lambda conn: conn.run(list),
    "subscribe": lambda conn: conn.subscribe(),
    "transact": lambda conn: conn.transact([]),
    "transaction": lambda conn: conn.transaction().__enter__(),
    "tx_range": lambda conn: conn.tx_range(),
}
DATABASE: dict[str, Callable[[tourlog.Database], object] | None] = {
    "as_of": lambda db: db.as_of(datetime.now(UTC)),
    "diff": lambda db: db.diff(db),
    "documents": lambda db: db.documents({"k": 1}),
    "entity": lambda db: db.entity("ann"),
    "entity_history": lambda db: db.entity_history("ann"),
    "explain": lambda db: db.explain("[:find ?e :where [?e :name]]"),
    "facts": lambda db: list(db.facts()),
    "history": None,
    "invariants": lambda db: db.invariants(),
    "iter_documents": lambda db: list(db.iter_documents({"k": 1})),
    "own_documents": lambda db: db.own_documents({"k": 1}),
    "pull": lambda db: db.pull("[*]", "ann"),
    "pull_many": lambda db: db.pull_many("[*]", ["ann"]),
    "q": lambda db: db.q("[:find ?e :where [?e :name]]"),
    "since": lambda db: db.since(datetime.now(UTC)),
    "stream": None,
    "streams": lambda db: db.streams(),
    "t": None,
    "tx_range": lambda db: list(db.tx_range()),
    "with_": lambda db: db.with_([{"a": 1}]),
}


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_reads_or_writes_raises_once_the_store_is_closed(in_memory: bool, tmp_path: Path) -> None:
    """As the docstrings of `Connection` and `Database` say of all their methods."""
    with tourlog.connect(None if in_memory else tmp_path / "closed.tour") as conn:
        conn.append([{"k": 1, "name": "Ann"}], "k")
        db = conn.db()
    for kind, thing, calls in ((tourlog.Connection, conn, CONNECTION), (tourlog.Database, db, DATABASE)):
        assert {each.name.rpartition(".")[2] for each in members(Name("", kind))} - {""} == calls.keys()
        for call in filter(None, calls.values()):
            with pytest.raises(tourlog.StorageError, match="expected an open store"):
                call(thing)  # type: ignore[operator]


# The checks of docstrings can fail.


def example(doc: str | None, *, signature: str = "a, b", body: str = "pass") -> Name:
    namespace: dict[str, Any] = {"__name__": "tourlog.example"}
    exec(f"def work({signature}):\n    {body}", namespace)
    namespace["work"].__doc__ = doc
    return Name("work", namespace["work"])


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        (example(None), ["work has no docstring"]),
        (example(""), ["work has no docstring"]),
        (example("Adds a and b."), ["work does not explain `a`", "work does not explain `b`"]),
        (example("Adds `a` and `bc`."), ["work does not explain `b`"]),
        (example("Adds `a`.\n\n>>> work(1, b=2)  # `b`"), ["work does not explain `b`"]),
        (example("Adds `a` and `b`."), []),
        (example("Adds `(a, b)`."), []),
        (example("As `other`, of `b`."), []),
        (example("As `nothing`, of `b`."), ["work does not explain `a`"]),
        (example("`timeout`: how long.", signature="timeout"), ["work does not say the unit of `timeout` (seconds)"]),
        (example("`a`: how long.", signature="a: float"), ["work does not say the unit of `a` (seconds|pixels)"]),
        (example("`max_bytes`: most.", signature="max_bytes"), ["work does not say the unit of `max_bytes` (bytes)"]),
        (example("`timeout` is in seconds.", signature="timeout"), []),
    ],
)
def test_what_a_docstring_lacks_is_found(name: Name, problems: list[str]) -> None:
    names = {"work": name, "other": Name("other", example("Of `a`.").thing)}
    assert undocumented(name, names) == problems


class Undocumented(NamedTuple):
    """A class of `one`."""

    one: int
    two: int

    def method(self, three: int) -> None: ...


@dataclass
class Plain:
    four: int
    _five: int = 0


class Made:
    """Made by `connect`; has `six`."""

    def __init__(self, seven: int) -> None:
        self.six = self.eight = seven


def test_what_a_class_lacks_is_found() -> None:
    names = {each.name: each for kind in (Undocumented, Plain, Made) for each in members(Name(kind.__name__, kind))}
    assert [line for name in names.values() for line in undocumented(name, names)] == [
        "Undocumented does not explain `two`",
        "Undocumented.method has no docstring",
        "Plain has no docstring",
        "Made does not explain `eight`",
    ]


def test_a_raise_is_found_through_the_checks_a_function_calls() -> None:
    assert raised_errors(tourlog.connect) == {"ArgumentError"}
    assert raised_errors(tourlog.event_store.save_events) == {"ArgumentError"}
    assert raised_errors(tourlog.backup) == set()
    silent = example("Of `db`.", signature="db")
    object.__setattr__(silent, "thing", tourlog.append)
    assert unnamed_errors(silent, {}) == {"ArgumentError"} - named_errors(silent)
