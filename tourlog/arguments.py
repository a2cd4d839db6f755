"""Reads what stands on a command line: values, the keys of streams, where rules come from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from tourlog.database import Database
from tourlog.errors import ArgumentError
from tourlog.query.edn import read_value
from tourlog.query.syntax import Query, RulesInput
from tourlog.rule_files import read_rule_file

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
        return read_rule_file(name)
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
