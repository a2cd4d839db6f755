"""tourlog in a notebook: `%load_ext tourlog` gives `%%datalog` cells with completion and errors that point at
their place, and documents that print as tables; `import_file` shows a progress bar. It imports IPython when it runs
inside it.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from itertools import islice, pairwise
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from msgspec.structs import replace

from tourlog.arguments import literal
from tourlog.connection import Connection, check_connection
from tourlog.database import Database, q
from tourlog.errors import ArgumentError, QuerySyntaxError, StorageError, TourlogError, shown
from tourlog.facts import Fact, document_facts
from tourlog.html import MOST_ROWS, counted, document_html, documents_html, edn_ansi, table_html, titled
from tourlog.json_lines import Imported, import_json_lines, open_source
from tourlog.progress import progress, waiting
from tourlog.query.aggregates import AGGREGATES
from tourlog.query.edn import read
from tourlog.query.functions import BUILTINS
from tourlog.query.generate import Rules
from tourlog.query.parse import parse_query, parse_rules
from tourlog.query.place import Place
from tourlog.query.syntax import Query, Source
from tourlog.values import decode

MAGIC = "datalog"
_MATCHER = f"tourlog.{MAGIC}"
SAMPLED = 200
"""How many streams, and how many transactions, are looked at for the names of attributes to complete."""

_DOCUMENT_MARKS = ("db/id", "offset")
_SYSTEM_ATTRIBUTES = ("db/key", "db/tx", "db/tx-instant", "offset")
_SECTIONS = ("find", "in", "keys", "limit", "offset", "order-by", "strs", "syms", "where", "with")
_FORMS = ("and", "not", "not-join", "or", "or-join", "pull")
_WORD = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^\s"'\[{])+""")
_PLACE = re.compile(r"line (\d+), column (\d+)")
_VARIABLE = re.compile(r"""(?<=\?)[^\s,()\[\]{}";]+""")


def load(shell: Any) -> None:
    """Give a shell of IPython the cell magic `%%datalog`, its completion, and documents as tables."""

    def datalog(line: str, cell: str) -> Any:
        return run_cell(shell.user_ns, line, cell)

    datalog.__doc__ = _parser().format_help()
    shell.register_magic_function(datalog, magic_kind="cell", magic_name=MAGIC)
    _drop_matcher(shell)
    shell.Completer.custom_matchers.append(_matcher(shell.user_ns))
    formatter = shell.display_formatter.formatters["text/html"]
    for kind, show in _SHOWN.items():
        formatter.for_type(kind, show)
    if not shell.custom_exceptions:
        shell.set_custom_exc((TourlogError,), _show_error)


def unload(shell: Any) -> None:
    """Take back all that `load` did."""
    shell.magics_manager.magics["cell"].pop(MAGIC, None)
    _drop_matcher(shell)
    formatter = shell.display_formatter.formatters["text/html"]
    for kind, show in _SHOWN.items():
        if formatter.for_type(kind) is show:
            formatter.pop(kind)
    if shell.custom_exceptions == (TourlogError,):
        shell.set_custom_exc((), None)


def _document(value: dict[Any, Any]) -> str | None:
    """A dict as HTML if it is a document of a store; None leaves it to IPython."""
    return document_html(value) if _is_document(value) and any(mark in value for mark in _DOCUMENT_MARKS) else None


def _sequence(value: Sequence[Any]) -> str | None:
    """Documents or facts as HTML; None leaves all other lists and tuples to IPython."""
    if not value:
        return None
    if all(map(_is_document, value)):
        return documents_html(value)
    if all(type(each) is Fact for each in value):
        rows = [("+" if fact.added else "−", *fact[:4]) for fact in value[:MOST_ROWS]]
        return table_html(("", "e", "a", "v", "tx"), rows, total=len(value), noun="fact")
    return None


def _connection(value: Connection) -> str | None:
    """An open connection as HTML, with the newest database; None leaves a closed one to IPython."""
    try:
        return titled(repr(value)[1:-1], value.db()._repr_html_() or "")
    except StorageError:
        return None


def _is_document(value: Any) -> bool:
    return type(value) is dict and bool(value) and all(type(name) is str for name in value)


_SHOWN: dict[type, Callable[[Any], str | None]] = {
    Connection: _connection,
    dict: _document,
    list: _sequence,
    tuple: _sequence,
}


# The cell magic.


class _Parser(ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}\n{self.format_usage().strip()}")


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog=f"%%{MAGIC}",
        usage=f"%%%%{MAGIC} [-d NAME] [-o NAME] [--explain] [--timeout SECONDS] [INPUT ...]",
        add_help=False,
        allow_abbrev=False,
        description="Ask a database the query in the cell, or keep the rules in it.",
        epilog='Example: %%datalog -d db -o ancestors rules "87d5f5b9a969"',
    )
    parser.add_argument("-d", "--db", metavar="NAME", help="a database or a connection; `db` or `conn` unless given")
    parser.add_argument("-o", "--out", metavar="NAME", help="keep the answer, or the rules, under this name")
    parser.add_argument("--explain", action="store_true", help="show how the query would run instead")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, help="give up after so long")
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="*", help="what :in names after $: a variable's name, or JSON or EDN"
    )
    return parser


def run_cell(names: dict[str, Any], line: str, cell: str) -> Any:
    """The answer to the query in a cell, or its rules, as `%%datalog` gives it; None when it goes to a variable
    in `names`. An error points at its place in the cell."""
    text = f"\n{cell}"  # the magic's own line comes first, so places are those of the whole cell
    with _pointing_at(text):
        given = _parser().parse_intermixed_args(_words(line))
        out = None if given.out is None else _variable(given.out)
        if _holds_rules(text):
            parse_rules(text)
            answer: Any = Rules(cell.strip())
        else:
            query = parse_query(text)
            answer = _answer(names, given, query, text)
    if out is None:
        return answer
    names[out] = answer
    return None


def _words(line: str) -> list[str]:
    rest = _WORD.sub("", line).strip()
    if rest:
        raise ArgumentError(f"expected words, with every quote and bracket closed, got {line.strip()}", argument="line")
    return _WORD.findall(line)


def _holds_rules(text: str) -> bool:
    form = read(text)
    return form.kind == "vector" and bool(form.items) and form.items[0].kind == "vector"


def _answer(names: Mapping[str, Any], given: Namespace, query: Query, text: str) -> Any:
    inputs = [_input(names, word) for word in given.inputs]
    sources = [place for place, entry in enumerate(query.inputs) if isinstance(entry, Source)]
    db = _database(names, given.db) if sources or given.db else None
    if sources:
        inputs.insert(sources[0], db)
    with _pointing_at(text, query, inputs):
        if given.explain:
            if not isinstance(db, Database) or sources[0] != 0:
                raise ArgumentError("--explain takes a query whose first input is a database")
            return db.explain(query, *inputs[1:])
        with waiting("running"):
            return q(query, *inputs, timeout=given.timeout)


def _database(names: Mapping[str, Any], name: str | None) -> Database:
    wanted = ("db", "conn") if name is None else (name,)
    for each in wanted:
        found = names.get(each)
        if isinstance(found, Connection):
            return found.db()
        if isinstance(found, Database):
            return found
    expected = "a database or a connection in a variable `db` or `conn`, or named with -d"
    if name is not None:
        expected = f"a database or a connection in the variable {name}"
        if name not in names:
            raise ArgumentError(f"expected {expected}, there is no such variable", name=name)
    raise ArgumentError(f"expected {expected}, got {shown(names.get(name or 'db'))}", name=name)


def _input(names: Mapping[str, Any], word: str) -> Any:
    """What a word of the magic's line stands for: a variable, else a value written as JSON or EDN."""
    if word in names:
        value = names[word]
        return value.db() if isinstance(value, Connection) else value
    if len(word) > 1 and word[0] == word[-1] == "'":
        return word[1:-1]
    value = literal(word)
    if value == word and word.isidentifier():
        raise ArgumentError(f'expected a variable, got {word}, which is none (a text has quotes: "{word}")', name=word)
    return value


def _variable(name: str) -> str:
    if not name.isidentifier():
        raise ArgumentError(f"expected the name of a variable after -o, got {shown(name)}", name=name)
    return name


# Errors that point at their place.


@contextmanager
def _pointing_at(text: str, query: Query | None = None, inputs: Sequence[Any] = ()) -> Iterator[None]:
    """Errors that leave the block are shown with the line of the cell they are about."""
    try:
        yield
    except TourlogError as error:
        if not hasattr(error, "_render_traceback_"):
            place = _place_of(error, text, query, inputs)
            error._render_traceback_ = partial(_rendered, error, text, place)  # type: ignore[attr-defined]  # IPython's
        raise


def _place_of(error: TourlogError, text: str, query: Query | None, inputs: Sequence[Any]) -> Place | None:
    """Where in the cell an error lies; None when it is about something else, such as rules from elsewhere."""
    found = _PLACE.findall(str(error))
    if not found:
        return _place_of_name(error, text)
    place = Place(*map(int, found[-1]))
    if query is None:
        return place
    elsewhere = {other for rules in inputs if isinstance(rules, Rules | str) for other in _places(_rules(rules))}
    return place if place in set(_places(query)) - elsewhere else None


def _place_of_name(error: TourlogError, text: str) -> Place | None:
    """Where the function or rule stands that an error names without a place."""
    name = error.details.get("function") or error.details.get("rule")
    found = re.search(rf"\(\s*({re.escape(name)})(?=[\s)])", text) if isinstance(name, str) else None
    if found is None:
        return None
    start = found.start(1)
    return Place(text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start))


def _rules(given: Rules | str) -> Any:
    try:
        return parse_rules(given)
    except QuerySyntaxError:
        return ()  # a text that is an input but holds no rules


def _places(node: Any) -> Iterator[Place]:
    """The places of everything in a syntax tree."""
    if isinstance(node, Place):
        yield node
    elif isinstance(node, tuple):
        for each in node:
            yield from _places(each)
    elif is_dataclass(node):
        for field in fields(node):
            yield from _places(getattr(node, field.name))


def _show_error(shell: Any, kind: type[BaseException], error: BaseException, traceback: Any, **_: Any) -> list[str]:
    """What IPython calls for an error that leaves a cell: it shows the reader's own lines, not those of the package
    that found the error in what they gave."""
    shell.showtraceback((kind, error, _own_lines(traceback)))
    return []


def _own_lines(traceback: TracebackType) -> TracebackType:
    """The traceback without the frames of the package at its end."""
    steps: list[TracebackType] = []
    step: TracebackType | None = traceback
    while step is not None:
        steps.append(step)
        step = step.tb_next
    while len(steps) > 1 and steps[-1].tb_frame.f_globals.get("__name__", "").split(".")[0] in ("tourlog", "lark"):
        steps.pop()
    kept: TracebackType | None = None
    for each in reversed(steps):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    assert kept is not None
    return kept


def _rendered(error: TourlogError, text: str, place: Place | None) -> list[str]:
    """What a notebook shows for an error."""
    title = f"\x1b[1;31m{type(error).__name__}\x1b[0m: {error}"
    if place is None:
        return [title]
    line = text.split("\n")[place.line - 1].replace("\t", " ")
    margin = f"{place.line:>4} │ "
    pointer = " " * (place.column - 1) + "\x1b[1m^\x1b[0m"
    return [title, f"{margin}{edn_ansi(line)}", f"{'│':>6} {pointer}"]


# Completion.


@dataclass(frozen=True, slots=True)
class Completions:
    """What may stand before the cursor: the words, what kind they are, and how much of them stands there."""

    words: tuple[str, ...]
    kind: str
    fragment: str


def complete(names: Mapping[str, Any], cell: str, line: int, column: int) -> Completions | None:
    """What `%%datalog` completes at a place in the whole cell, counted from 0: attributes after a colon, rules and
    functions after an opening bracket, variables after a question mark. None where it has nothing to say."""
    lines = cell.split("\n")
    if line == 0 or not re.match(rf"%%{MAGIC}\b", cell):
        return None
    before = lines[line][:column]
    found = re.search(r"""([:(?])([^\s,()\[\]{}";:?]*)$""", before)
    if found is None:
        return None
    mark, fragment = found.groups()
    given = _WORD.findall(lines[0].removeprefix(f"%%{MAGIC}"))
    match mark:
        case ":":
            words, kind = (*_SECTIONS, *_attributes(names, given)), "attribute"
        case "(":
            words, kind = (*_FORMS, *BUILTINS, *AGGREGATES, *_rule_names(names, given)), "function"
        case _:
            rest = "\n".join([*lines[1:line], before[: found.start()], lines[line][column:], *lines[line + 1 :]])
            words, kind = tuple(_VARIABLE.findall(rest)), "variable"
    fitting = sorted({word for word in words if word.startswith(fragment) and word != fragment})
    return Completions(tuple(fitting), kind, fragment)


def _attributes(names: Mapping[str, Any], given: Sequence[str]) -> Iterator[str]:
    """The attributes of the database that a magic's line asks."""
    options = [word for flag, word in pairwise(given) if flag in ("-d", "--db")]
    try:
        db = _database(names, options[0] if options else None)
    except ArgumentError:
        return iter(_SYSTEM_ATTRIBUTES)
    return iter(attribute_names(db))


def attribute_names(db: Database) -> list[str]:
    """The attributes that a sample of a database's documents state: the newest of up to `SAMPLED` streams, and
    what its newest transactions changed. Looking at all of a large store would take long."""
    names = dict.fromkeys(_SYSTEM_ATTRIBUTES)
    for document in _sample(db):
        names.update((attribute, None) for attribute, _ in document_facts(document))
    return sorted(names)


def _sample(db: Database) -> Iterator[Mapping[str, Any]]:
    streams = db.streams()
    kinds = {stream.names: (stream, count) for _, stream, count in streams}
    spread = [(stream, count) for _, stream, count in streams[:: -(-len(streams) // SAMPLED) or 1]]
    plain = Database(replace(db.snapshot, since=0, history=False))
    for stream, count in (*kinds.values(), *spread):
        yield from plain.documents(dict(zip(stream.names, stream.values, strict=True)), count - 1)
    for batch in islice(db.snapshot.log.tail(max(0, db.t - SAMPLED), db.t), SAMPLED):
        if not batch.stream:
            yield from (state for _, state in decode(batch.body) if state)


def _rule_names(names: Mapping[str, Any], given: Sequence[str]) -> Iterator[str]:
    """The names of all rules at hand, and of those in texts that a magic's line gives."""
    texts = [names[word] for word in given if isinstance(names.get(word), str)]
    at_hand = [value for value in names.values() if isinstance(value, Rules)]
    return (rule.name for rules in (*at_hand, *texts) for rule in _rules(rules))


def _matcher(names: Mapping[str, Any]) -> Callable[[Any], Any]:
    """`complete` as IPython's completer asks for it."""
    from IPython.core import completer

    api: Any = completer  # which has no types

    def matcher(context: Any) -> dict[str, Any]:
        found = complete(names, context.full_text, context.cursor_line, context.cursor_position)
        if found is None:
            return {"completions": []}
        words = [api.SimpleCompletion(word, type=found.kind) for word in found.words]
        return {"completions": words, "matched_fragment": found.fragment, "suppress": True, "ordered": True}

    made: Callable[[Any], Any] = api.context_matcher(identifier=_MATCHER)(matcher)
    return made


def _drop_matcher(shell: Any) -> None:
    matchers = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", "") != _MATCHER]


# Imports with a progress bar.


def import_file(conn: Connection, path: str | PathLike[str], *key: str) -> Imported:
    """Append the documents of the file `path` of JSON lines, plain or gzipped, to the store of `conn`, each to the
    stream its `key` attributes name; all or none, with a progress bar.

    Raises ArgumentError for a file that cannot be opened, DocumentError with the number of a line that cannot be
    stored.
    """
    check_connection(conn)
    name = fspath(path)
    with open_source(name) as source, progress(Path(name).name, source.size) as bar:
        done = import_json_lines(conn, source, key, progress=bar)
        bar.say(f"{counted(done.documents, 'document')} into {counted(done.streams, 'stream')}")
    return done
