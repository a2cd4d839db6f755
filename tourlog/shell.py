"""The interactive shell on one store: queries over several lines, rules that are kept, commands that begin with a dot,
history and completion. Line editing is readline's, which comes with Python nearly everywhere; without it lines are read
as the terminal gives them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from os import environ
from pathlib import Path
from types import ModuleType
from typing import Any

from tourlog.answers import answer_table, answer_values
from tourlog.arguments import find_entity, place_rules, pointer, position, read_query, read_rules
from tourlog.connection import Connection
from tourlog.database import Database
from tourlog.errors import ArgumentError, TourlogError, shown
from tourlog.notebook import attribute_names, complete
from tourlog.query.edn import read_value
from tourlog.query.generate import Rules
from tourlog.query.parse import parse_query, parse_rules
from tourlog.query.run import ENGINES
from tourlog.query.syntax import RulesInput
from tourlog.rule_files import rule_file_names
from tourlog.tables import cell, document_table, print_json_lines, print_table
from tourlog.terminal import console, waiting

try:
    import readline as _readline
except ImportError:  # on Windows
    readline: ModuleType | None = None
else:
    readline = _readline

PROMPT = "tourlog> "
CONTINUED = "    ...> "
HISTORY_LENGTH = 1000

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*(?:"|$)|;[^\n]*|\\.|[\[\](){}]', re.DOTALL)
"""A bracket, or what may have one inside that is none: a string, a comment, a character."""

_COMMENT = re.compile(r'("(?:\\.|[^"\\])*"|\\.)|;[^\n]*')
_DELIMITERS = ' \t\n,()[]{}";'


@dataclass(frozen=True, slots=True)
class Asking:
    """How a query is to be run, and its answer printed."""

    engine: str = "auto"
    timeout: float | None = None
    max_rows: int | None = None
    as_json: bool = False
    explain: bool = False


def ask(db: Database, text: str, inputs: Sequence[Any], rules: str | None, asking: Asking) -> None:
    """Print the answer to a query, or how it would run. `rules`, if given, go where `:in` has `%`."""
    query = parse_query(text)
    values = list(inputs) if rules is None else place_rules(query, list(inputs), rules)
    if asking.explain:
        explanation = db.explain(text, *values, engine=asking.engine)
        parts = {"engine": explanation.engine, "reason": explanation.reason, "plan": str(explanation.plan)}
        if asking.as_json:
            print_json_lines([{**parts, "program": explanation.program}])
        else:
            print(explanation)
        return
    with waiting("asking"):
        answer = db.q(text, *values, engine=asking.engine, timeout=asking.timeout, max_rows=asking.max_rows)
        found: Any = answer_values(query, answer) if asking.as_json else answer_table(query, answer)
    if asking.as_json:
        print_json_lines(found)
    else:
        print_table(console(), *found)


def end_of_form(text: str) -> int | None:
    """Where the first form of `text` ends; None while brackets or quotes are open, or when there is none.

    >>> end_of_form("[:find ?e :where [?e :a]] 7"), end_of_form('[:find ?e ; ]'), end_of_form('[["]')
    (25, None, None)
    """
    depth = 0
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in "[({":
            depth += 1
        elif token in "])}":
            depth -= 1
            if depth <= 0:
                return found.end()
    return None


def _inputs(form: str, rest: str) -> Any:
    """The values that follow a form; errors have their place in the whole text."""
    before = re.sub(r"[^\n]", " ", form[:-1])
    wrapped = f"{before}[{rest}"
    end = end_of_form(wrapped)
    if end is not None:  # the bracket put before the values is closed by one of theirs
        line, column = wrapped.count("\n", 0, end) + 1, end - wrapped.rfind("\n", 0, end) - 1
        message = f"expected an opening bracket before {wrapped[end - 1]} at line {line}, column {column}"
        raise ArgumentError(message, line=line, column=column)
    return read_value(f"{wrapped}\n]")


@dataclass
class Shell:
    """A shell on an open store; `run` it."""

    conn: Connection
    asking: Asking = field(default_factory=Asking)
    as_of: str | None = None
    rules: list[Rules] = field(default_factory=list)
    failed: bool = False
    _pending: list[str] = field(default_factory=list)

    def run(self) -> bool:
        """Read and answer until the input ends or `.quit`; whether all went well, which matters to a script. On a
        terminal an error is shown and the next line read; a script ends with it."""
        interactive = sys.stdin.isatty()
        if not interactive:
            self._read_lines(lambda _: input())
            return not self.failed
        print(f"{self.conn.db()!r}. A query ends where its brackets close; .help lists the commands, Ctrl-D ends.")
        with _editing(self._completions):
            self._read_lines(input)
        return True

    def _read_lines(self, read: Callable[[str], str]) -> None:
        interactive = sys.stdin.isatty()
        while interactive or not self.failed:
            try:
                line = read(CONTINUED if self._pending else PROMPT)
            except EOFError:
                break
            except KeyboardInterrupt:
                if not interactive:
                    raise
                self._pending.clear()
                print()
                continue
            if not self._take(line):
                return
        if self._pending:
            text = "\n".join(self._pending)
            self._guarded(text, lambda: self._answer(text))
        if interactive:
            print()

    def _take(self, line: str) -> bool:
        """Take in a line; False when it is the last."""
        if not self._pending and line.strip().startswith("."):
            return self._guarded(line, lambda: self._command(line.strip()))
        if self._pending or _COMMENT.sub(r"\1", line).strip():
            self._pending.append(line)
        text = "\n".join(self._pending)
        stands_alone = bool(text) and not text.lstrip().startswith(("[", "{", "(", ";"))
        if stands_alone or end_of_form(text) is not None:
            self._pending.clear()
            _remember(text)
            self._guarded(text, lambda: self._answer(text))
        return True

    def _guarded(self, text: str, work: Callable[[], bool | None]) -> bool:
        """Do something; an error, or Ctrl-C, ends that and not the shell. False when the work says so."""
        try:
            return work() is not False
        except TourlogError as error:
            self.failed = True
            lines = [cell(" ".join(str(error).split())), *pointer(error, text)]
            print(*lines, sep="\n", file=sys.stderr)
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            print("interrupted", file=sys.stderr)
        return True

    def _answer(self, text: str) -> None:
        end = end_of_form(text)
        form, rest = (text, "") if end is None else (text[:end], text[end:])
        if re.match(r"\s*\[\s*\[\s*\(", _COMMENT.sub(r"\1", form)):
            print(f"kept: {', '.join(self._keep(form))}")
            return
        inputs = _inputs(form, rest) if rest.strip() else []
        takes_rules = any(isinstance(entry, RulesInput) for entry in parse_query(form).inputs)
        ask(self._db(), form, inputs, self._all_rules() if takes_rules else None, self.asking)

    def _keep(self, edn: str) -> dict[str, None]:
        """Keep rules, in place of those given together with one of the same name; the names."""
        names = _rule_names(edn)
        self.rules = [kept for kept in self.rules if not names.keys() & _rule_names(kept.edn)] + [Rules(edn)]
        return names

    def _db(self) -> Database:
        db = self.conn.db()
        return db if self.as_of is None else db.as_of(position(self.as_of))

    def _all_rules(self) -> str:
        return sum(self.rules, Rules("[]")).edn

    # Commands.

    def _command(self, line: str) -> bool | None:
        name, _, rest = line.partition(" ")
        words = rest.split()
        if name in (".quit", ".exit"):
            return False
        if name not in COMMANDS:
            raise ArgumentError(f"expected a command among {', '.join(COMMANDS)}, got {shown(name)}")
        most = COMMANDS[name].most
        if len(words) > most:
            raise ArgumentError(f"expected at most {most} words after {name}, got {len(words)}")
        getattr(self, f"_{name[1:].replace('-', '_')}")(*words)
        return None

    def _help(self) -> None:
        width = max(len(f"{name} {command.usage}") for name, command in COMMANDS.items())
        for name, command in COMMANDS.items():
            print(f"{f'{name} {command.usage}':<{width}}  {command.help}")
        print(f'{"[:find …]":<{width}}  a query; its further inputs follow it, as EDN: [:find …] "ann" 7')
        print(f"{'[[(name …) …]]':<{width}}  rules to keep, for queries that have % in :in")

    def _streams(self) -> None:
        found = self._db().streams()
        self._print(
            [(name, ", ".join(stream.names), count) for name, stream, count in found], "stream", "key", "documents"
        )

    def _attributes(self) -> None:
        self._print([(name,) for name in attribute_names(self._db())], "attribute")

    def _entity(self, word: str = "") -> None:
        db = self._db()
        document = db.entity(find_entity(db, word))
        if self.asking.as_json:
            print_json_lines([document])
        else:
            print_table(console(), *document_table([document] if document else []))

    def _rules(self, name: str | None = None) -> None:
        if name is not None:
            self._keep(read_rules(name))
        self._print([(each,) for rules in self.rules for each in _rule_names(rules.edn)], "rule")

    def _run(self, name: str = "") -> None:
        text = read_query(name)
        while (end := end_of_form(text)) is not None:
            form, text = text[:end], text[end:]
            self._answer(form)
        if _COMMENT.sub(r"\1", text).strip():
            raise ArgumentError(f"expected brackets that close, in {name}")

    def _mode(self, name: str | None = None) -> None:
        self._set("as_json", {"table": False, "json": True}, name)

    def _explain(self, name: str | None = None) -> None:
        self._set("explain", {"off": False, "on": True}, name)

    def _engine(self, name: str | None = None) -> None:
        self._set("engine", {each: each for each in ENGINES}, name)

    def _timeout(self, seconds: str | None = None) -> None:
        if seconds is not None:
            try:
                limit = None if seconds == "off" else float(seconds)
            except ValueError as error:
                raise ArgumentError(f"expected a number of seconds or off, got {shown(seconds)}") from error
            self.asking = replace(self.asking, timeout=limit)
        print(f"timeout: {self.asking.timeout or 'off'}")

    def _as_of(self, word: str | None = None) -> None:
        if word is not None:
            if word != "now":
                position(word)
            self.as_of = None if word == "now" else word
        print(f"as of: {self.as_of or 'now'}")

    def _set(self, name: str, values: dict[str, Any], word: str | None) -> None:
        if word is not None:
            if word not in values:
                raise ArgumentError(f"expected one of {', '.join(values)}, got {shown(word)}")
            self.asking = replace(self.asking, **{name: values[word]})
        current = next(word for word, value in values.items() if value == getattr(self.asking, name))
        print(f"{name.replace('as_json', 'mode')}: {current}")

    def _print(self, rows: Sequence[Sequence[Any]], *columns: str) -> None:
        if self.asking.as_json:
            print_json_lines(dict(zip(columns, row, strict=True)) for row in rows)
        else:
            print_table(console(), columns, rows)

    # Completion.

    def _completions(self, line: str, end: int, word: str) -> list[str]:
        """What may stand at a place of the line being typed instead of the word there."""
        if not self._pending and line.lstrip().startswith("."):
            return self._command_words(line[:end], word)
        lines = [*self._pending, line]
        names = {"db": self._db(), "rules": Rules(self._all_rules())}
        found = complete(names, "\n".join(["%%datalog", *lines]), len(lines), end)
        if found is None:
            return []
        mark = word[:1] if word[:1] in (":", "?") else ""
        return [mark + each for each in found.words]

    def _command_words(self, before: str, word: str) -> list[str]:
        name, blank, _ = before.lstrip().partition(" ")
        words = COMMANDS[name].words() if blank and name in COMMANDS else [] if blank else [*COMMANDS]
        return [each for each in words if each.startswith(word)]


@dataclass(frozen=True, slots=True)
class _Command:
    usage: str
    help: str
    most: int = 0
    words: Callable[[], Sequence[str]] = tuple


COMMANDS = {
    ".help": _Command("", "this list"),
    ".streams": _Command("", "the streams, their keys and numbers of documents"),
    ".attributes": _Command("", "attributes that documents have"),
    ".entity": _Command("ID", "everything an entity states", 1),
    ".rules": _Command("[NAME]", "take rules from a library or a file; the rules there are", 1, rule_file_names),
    ".run": _Command("FILE", "answer the queries in a file", 1),
    ".as-of": _Command("[T]", "look at the past: a position, an instant, or now", 1, lambda: ("now",)),
    ".mode": _Command("[MODE]", "table or json", 1, lambda: ("table", "json")),
    ".explain": _Command("[on]", "show how queries would run instead of running them", 1, lambda: ("on", "off")),
    ".engine": _Command("[NAME]", "auto, compiled or pydatalog", 1, lambda: ("auto", "compiled", "pydatalog")),
    ".timeout": _Command("[SECONDS]", "give up after so long, or off", 1, lambda: ("off",)),
    ".quit": _Command("", "end, as Ctrl-D does"),
}


def _rule_names(edn: str) -> dict[str, None]:
    return dict.fromkeys(rule.name for rule in parse_rules(edn))


# Lines.


def history_file() -> Path:
    """Where the lines typed are kept: in the user's state folder, as the XDG base directory specification has it."""
    state = environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return folder / "tourlog" / "history"


@contextmanager
def _editing(completions: Callable[[str, int, str], list[str]]) -> Iterator[None]:
    """Readline with history and completion, while a shell runs."""
    if readline is None:
        print("no readline in this Python: lines have neither history nor completion", file=sys.stderr)
        yield
        return
    file, found, editor = history_file(), list[str](), readline

    def completer(word: str, number: int) -> str | None:
        if number == 0:
            found[:] = completions(editor.get_line_buffer(), editor.get_endidx(), word)
        return found[number] if number < len(found) else None

    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    readline.set_completer_delims(_DELIMITERS)
    readline.set_completer(completer)
    with suppress(FileNotFoundError):
        readline.read_history_file(file)
    readline.set_history_length(HISTORY_LENGTH)
    try:
        yield
    finally:
        readline.set_completer(None)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            readline.write_history_file(file)
        except OSError as error:
            print(f"the history is not kept: {error}", file=sys.stderr)


def _remember(text: str) -> None:
    """Put a text of several lines into the history as one line, in place of the lines it was typed in."""
    if readline is None or "\n" not in text or not sys.stdin.isatty():
        return
    for _ in text.split("\n"):
        last = readline.get_current_history_length()
        if last:
            readline.remove_history_item(last - 1)
    readline.add_history(re.sub(r"\s*\n\s*", " ", _COMMENT.sub(r"\1", text)).strip())
