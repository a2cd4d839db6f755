"""Case files: query behaviour as data. One case is a sentence and named sections:

    === false is found by a pattern
    docs: [{"db/id": 1, "a": False}]
    query: [:find ?e :where [?e :a false]]
    rows: {(1,)}

`docs` (transacted as upserts; `docs $b` for a second database), or `ops` (a list of transactions), or
`streams` (a list of `(key names, documents)` to append), then `rules`, `query`, `inputs`, and what is
expected: `rows` (a set, or a list read as one), `result` (the exact value), or `error` (class and part of
the message). `states: together` says that it holds in one state only. Before the first case,
`define NAME: ...` gives a text that sections may name, and any other section a default for the file.
Sections go on over indented lines; lines that start with `#` are comments.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

_HEAD = re.compile(r"(define \w+|docs \$\w+|[a-z]+):(?:\s|$)")
_SECTIONS = [
    "docs",
    "ops",
    "streams",
    "rules",
    "query",
    "inputs",
    "rows",
    "result",
    "error",
    "states",
]


def _twice(value: Any) -> Any:
    return value * 2


def _small(value: Any) -> bool:
    return isinstance(value, int) and value < 3


def _below_three(value: Any) -> bool:
    """Says the same of equal values, which `small` does not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value < 3


def _half_of_even(value: int) -> int | None:
    return value // 2 if value % 2 == 0 else None


def _upto(value: int) -> list[int]:
    return list(range(value))


def _span(values: list[Any]) -> Any:
    return max(values) - min(values)


def _fail(value: Any) -> Any:
    raise RuntimeError(f"no use for {value}")


CALLABLES: dict[str, Callable[..., Any]] = {
    "twice": _twice,
    "small": _small,
    "below_three": _below_three,
    "half_of_even": _half_of_even,
    "upto": _upto,
    "span": _span,
    "fail": _fail,
    "together": lambda a, b: f"{a}-{b}",
    "pairs": lambda n: [(i, i * i) for i in range(n)],
}

NAMES: dict[str, Any] = {
    **{t.__name__: t for t in (Decimal, UUID, date, datetime, time, timedelta, timezone)},
    **{
        "nan": float("nan"),
        "inf": float("inf"),
        "UTC": UTC,
        "set": set,
        "frozenset": frozenset,
        "range": range,
        "enumerate": enumerate,
    },
    **CALLABLES,
}


@dataclass(frozen=True)
class Case:
    """One case; `expected` is one of "rows", "result", "error", and `wanted` its value or text."""

    file: str
    line: int
    sentence: str
    transactions: tuple[Any, ...]
    others: dict[str, tuple[Any, ...]]
    rules: str | None
    query: str
    inputs: tuple[Any, ...]
    expected: str
    wanted: Any
    states: tuple[str, ...]
    kind: str = field(default="docs")

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.sentence}"


def read_cases(folder: Path) -> list[Case]:
    """Every case of every file under `folder`, in order."""
    return [case for path in sorted(folder.glob("*.txt")) for case in _read_file(path)]


def _read_file(path: Path) -> list[Case]:
    (_, _, head), *blocks = _blocks(path.read_text(encoding="utf-8"))
    definitions = {name.removeprefix("define "): text for name, text in head.items()}
    defaults = {name: text for name, text in head.items() if not name.startswith("define ")}
    cases: list[Case] = []
    for line, sentence, sections in blocks:
        try:
            cases.append(_case(path.stem, line, sentence, {**defaults, **sections}, definitions))
        except Exception as error:
            raise ValueError(f"{path}:{line}: {error}") from error
    return cases


def _blocks(text: str) -> list[tuple[int, str, dict[str, str]]]:
    found: list[tuple[int, str, dict[str, str]]] = [(0, "", {})]
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("=== "):
            found.append((number, line[4:].strip(), {}))
        elif match := _HEAD.match(line):
            section = match[1]
            if section in found[-1][2]:
                raise ValueError(f"line {number}: {section} is given twice")
            found[-1][2][section] = line[match.end() :].strip()
        elif line[:1].isspace() and line.strip():
            found[-1][2][section] += "\n" + line
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f"line {number}: {line!r} belongs to no section")
    return found


def _case(file: str, line: int, sentence: str, sections: dict[str, str], definitions: dict[str, str]) -> Case:
    sections = {name: definitions.get(text, text) for name, text in sections.items()}
    unknown = [name for name in sections if name not in _SECTIONS and not name.startswith("docs $")]
    if unknown:
        raise ValueError(f"unknown sections {unknown}")
    expected = next(name for name in ("rows", "result", "error") if name in sections)
    kind = next((name for name in ("ops", "streams", "docs") if name in sections), "docs")
    data = evaluate(sections.get(kind, "[]"))
    states = sections.get("states", "")
    return Case(
        file=file,
        line=line,
        sentence=sentence,
        transactions=tuple(data),
        others={n[5:]: tuple(evaluate(text)) for n, text in sections.items() if n.startswith("docs $")},
        rules=sections.get("rules"),
        query=sections["query"],
        inputs=tuple(evaluate(sections.get("inputs", "[]"))),
        expected=expected,
        wanted=sections[expected] if expected == "error" else _without_repeats(sections[expected]),
        states=tuple(state.strip() for state in states.split(",") if state),
        kind=kind,
    )


def _without_repeats(text: str) -> Any:
    """Expected rows: Python would quietly make one of 1 and True, and of two equal rows, in a set written out."""
    rows = evaluate(text)
    match ast.parse(f"({text}\n)", mode="eval").body:
        case ast.Set(elements) if len(elements) != len(rows):
            raise ValueError(f"rows that Python takes for equal: write a list: {text}")
    return rows


def evaluate(text: str) -> Any:
    """A section's value: a Python expression over the few names above."""
    return eval(f"({text}\n)", {"__builtins__": {}}, NAMES)
