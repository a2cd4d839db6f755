"""Reads what stands on a command line: values, the keys of streams, where rules come from."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from tourlog.database import Database
from tourlog.errors import ArgumentError
from tourlog.html import visible
from tourlog.query.edn import read_value
from tourlog.query.syntax import Query, RulesInput
from tourlog.rule_files import read_rule_library
from tourlog.values import identity

_PLACE = re.compile(r"line (\d+), column (\d+)")
_MAY_BE_EDN = re.compile(r'[#:\[{("0-9+-]')


def literal(text: str) -> Any:
    """The value `text` holds as JSON, else as EDN, else the text itself.

    >>> [literal(text) for text in ("1", "null", '["a", 2.5]', "1.50M", ":done", "README.md", "NaN")]
    [1, None, ['a', 2.5], Decimal('1.50'), 'done', 'README.md', 'NaN']
    """
    try:
        return _read(text)
    except (ValueError, RecursionError):
        return text


def _read(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        if not _MAY_BE_EDN.match(text):
            raise
    return read_value(text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def find_key(db: Database, words: Sequence[str]) -> dict[str, Any]:
    """The key of the stream that `NAME=VALUE` words name: each value is tried as text, as what `literal`
    makes of it, as a UUID; after `NAME:=` only as what `literal` makes of it.

    Raises ArgumentError when `db` has no such stream.
    """
    candidates = [_candidates(word) for word in words]
    for values in product(*(values for _, values in candidates)):
        key = {name: value for (name, _), value in zip(candidates, values, strict=True)}
        if db.snapshot.find_stream(db.stream(key)) is not None:
            return key
    raise ArgumentError(f"expected the key of a stream in the store, got {' '.join(words)}", key=list(words))


def key_pattern(db: Database, words: Sequence[str]) -> Mapping[str, Any] | None:
    """A key as `Connection.subscribe` takes it, None standing for any value; for no words None, for every stream. A
    value is one that a stream has under this name, if there is such, else what `literal` makes of it: the stream may
    be to come.
    """
    known = {
        (name, identity(value))
        for _, stream, _ in db.streams()
        for name, value in zip(stream.names, stream.values, strict=True)
    }

    def chosen(name: str, values: Sequence[Any]) -> Any:
        return next((value for value in values if (name, identity(value)) in known), values[-1])

    found = {}
    for word in words:
        name, values = _candidates(word) if "=" in word else (word, [])
        found[name] = chosen(name, values[:2]) if values else None
    return {**found, **dict.fromkeys(_missing_names(db, found))} or None


def _missing_names(db: Database, given: Mapping[str, Any]) -> list[str]:
    """The further names of the only key that has these and more; none if there is a key of just these."""
    keys = {frozenset(stream.names): stream.names for _, stream, _ in db.streams()}
    larger = [names for key, names in keys.items() if key > given.keys()]
    if not given or frozenset(given) in keys or not larger:
        return []
    if len(larger) > 1:
        expected = " or ".join(" ".join(names) for names in larger)
        raise ArgumentError(f"expected the whole key ({expected}), got {' '.join(given)}", key=list(given))
    return [name for name in larger[0] if name not in given]


def find_entity(db: Database, word: str, *, ever: bool = False) -> Any:
    """The id a word stands for: the text it is, what `literal` makes of it, or a UUID, whichever states something in
    `db`; if `ever`, also one that did and is retracted, when nothing else fits. Raises ArgumentError when none does.
    """
    values = list(_readings(word))
    for value in values:
        if db.entity(value) is not None:
            return value
    for value in values if ever else ():
        if db.entity_history(value):
            return value
    raise ArgumentError(f"expected the id of an entity in the store, got {word!r}", eid=word)


def position(word: str) -> int | datetime:
    """A position in the log (a whole number) or an instant (ISO 8601 with a time zone).

    >>> position("7"), position("2026-01-31T12:00:00Z")
    (7, datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.timezone.utc))
    """
    try:
        return int(word) if word.isdecimal() else _instant(word)
    except ValueError as error:
        raise ArgumentError(
            f"expected a position such as 7, or an instant such as 2026-01-31T12:00:00Z, got {word!r}", position=word
        ) from error


def _instant(word: str) -> datetime:
    instant = datetime.fromisoformat(word)
    if instant.utcoffset() is None:
        raise ValueError("no time zone")
    return instant


def pairs(words: Sequence[str]) -> dict[str, Any]:
    """What `NAME=VALUE` words state, each value being what `literal` makes of it.

    >>> pairs(["who=ann", "n=1"])
    {'who': 'ann', 'n': 1}
    """
    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ArgumentError(f"expected NAME=VALUE, got {word!r}", argument=word)
        found[name] = literal(text)
    return found


def read_query(name: str) -> str:
    """The text in the file `name`, or on standard input for `-`; `ArgumentError` when it cannot be read."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentError(
            f"expected text in UTF-8, got a byte that is not at {error.start + 1} of {name!r}"
        ) from error
    except OSError as error:
        raise ArgumentError(f"expected a readable file, got {name!r}: {error.strerror}", path=name) from error


def pointer(error: BaseException, text: str) -> list[str]:
    """The line of `text` an error names and a mark under the place; nothing when it names none.

    >>> pointer(ArgumentError("no", line=1, column=3), "[?x :a")
    ['  [?x :a', '    ^']
    """
    found = _PLACE.findall(str(error))
    line, column = getattr(error, "line", None), getattr(error, "column", None)
    if found and (line is None or column is None):
        line, column = map(int, found[-1])
    lines = text.split("\n")
    if not isinstance(line, int) or not isinstance(column, int) or not 1 <= line <= len(lines):
        return []
    return [f"  {visible(lines[line - 1].expandtabs(1))}", f"  {' ' * (column - 1)}^"]


def _candidates(word: str) -> tuple[str, list[Any]]:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise ArgumentError(f"expected NAME=VALUE, got {word!r}", key=word)
    if name.endswith(":"):
        return name.removesuffix(":"), [literal(text)]
    return name, list(_readings(text))


def _readings(text: str) -> Iterator[Any]:
    yield text
    value = literal(text)
    if not isinstance(value, list | tuple | dict | frozenset) and value is not None and value != text:
        yield value
    try:
        yield UUID(text)
    except ValueError:
        return


def read_rules(name: str) -> str:
    """The text of the rules in the file `name`, or of the rule library `name`."""
    path = Path(name)
    if not path.is_file():
        return read_rule_library(name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"expected a readable file of rules, got {name!r}: {error}", path=name) from error


def place_rules(query: Query, inputs: list[Any], rules: str) -> list[Any]:
    """`inputs` with `rules` put where `:in` has `%`."""
    places = [place for place, entry in enumerate(query.inputs) if isinstance(entry, RulesInput)]
    if not places:
        raise ArgumentError("expected % in :in of a query that is given --rules")
    before = places[0] - 1  # the database is not among the inputs
    return [*inputs[:before], rules, *inputs[before:]]
