"""What the README and the guide show is what happens, and what is public is documented: the README's Python and its
shell sessions are run and compared; docstrings explain parameters, units and errors; commands have help, and names
exist.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import typer
from docstrings import (
    MODULES,
    PACKAGE,
    Name,
    names_of,
    public,
)
from typer.testing import CliRunner

import tourlog
from tourlog.cli import app
from tourlog.query.functions import BUILTINS
from tourlog.query.parse_clauses import _SPECIAL_FORMS
from tourlog.query.parse_pull import _OPTIONS
from tourlog.query.parse_sections import _SECTIONS

README = Path(__file__).parent.parent / "README.md"
GUIDE = README.parent / "notebooks" / "guide"
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in (README, *sorted(GUIDE.glob("*.md"))))
OPTIONS = doctest.ELLIPSIS


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)


def test_the_first_two_shell_blocks_are_the_two_commands() -> None:
    """The first installs and runs the main job, the second installs and runs the tests; one line each."""
    demo, tests = blocks("sh")[:2]
    assert [demo.count("\n"), tests.count("\n")] == [1, 1]
    assert demo.startswith("python3 -m venv .venv && ")
    assert demo.endswith(" && .venv/bin/tourlog demo\n")
    assert tests.startswith("python3 -m venv .venv && ")
    assert tests.endswith(" && .venv/bin/pytest -q\n")


def test_the_python_sessions_print_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    session = "\n".join(blocks("python"))
    parsed = doctest.DocTestParser().get_doctest(session, {}, "README.md", str(README), 0)
    assert len(parsed.examples) > 10
    failures: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(parsed, out=failures.append)
    assert result.failed == 0, "".join(failures)


def shell_examples() -> list[tuple[str, str]]:
    """The commands of the shell sessions, each with what it prints."""
    parts = re.split(r"^\$ ", "".join(blocks("console")), flags=re.M)
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts if part)]


def test_the_shell_sessions_print_what_the_readme_says(tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    assert (programs / "tourlog").exists(), "tourlog is not installed"
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    examples = shell_examples()
    assert len(examples) > 4
    for command, expected in examples:
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        got = re.sub(r" +$", "", done.stdout + done.stderr, flags=re.M)
        assert doctest.OutputChecker().check_output(expected, got, OPTIONS), f"$ {command}\n{got}"


def test_every_block_of_the_readme_is_run_or_a_command() -> None:
    """Python is a session, whose examples are all run; `sh` blocks are commands to install, test and measure."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    assert {language for language, _ in fences} == {"sh", "python", "console"}
    sessions = [text for language, text in fences if language == "python"]
    assert [text for text in sessions if not text.startswith(">>> ")] == []
    examples = doctest.DocTestParser().get_examples("\n".join(sessions))
    assert len(examples) == sum(line.startswith(">>> ") for text in sessions for line in text.splitlines())


# The query language.


def unexplained(words: Iterable[str], text: str) -> set[str]:
    """The words that a text does not have in backquotes."""
    named = {word for span in spans(text) for word in re.split(r"[\s()\[\],]+", span)}
    return set(words) - named


def test_every_part_of_the_query_language_is_explained_in_the_guide() -> None:
    """Sections, clauses, options of pull, and the rules of libraries; `test_guide.py` sees to the functions."""
    assert unexplained((f":{section}" for section in _SECTIONS), TEXT) == set()
    assert unexplained(_SPECIAL_FORMS, TEXT) == set()
    assert unexplained((f":{option}" for option in _OPTIONS), TEXT) == set()
    libraries = [json.loads(line) for line in CliRunner().invoke(app, ["rules", "--json"]).stdout.splitlines()]
    assert len(libraries) > 3
    assert unexplained((each["name"] for each in libraries), TEXT) == set()
    assert unexplained((rule for each in libraries for rule in each["rules"]), TEXT) == set()
    assert unexplained([":find", "not", ":as", "graph"], "```\n`:find`\n```\n`(not …)`, `:as`") == {":find", "graph"}


BY_IPYTHON = {"load_ipython_extension", "unload_ipython_extension"}
"""What `%load_ext tourlog` and `%unload_ext tourlog` call."""


def test_every_fixture_and_every_name_to_import_is_in_the_guide_the_readme_or_a_notebook() -> None:
    """Classes that only the functions of tourlog return need not be."""
    given = [each.name.rpartition(".")[2] for each in public().values() if each.name.startswith("pytest_tourlog.")]
    own = {*tourlog.__all__, *given} - BY_IPYTHON
    for module, wanted in MODULES.items():
        if not module.startswith(("integrations.", "pytest_plugin")):
            found = names_of(import_module(f"tourlog.{module}"), "", wanted)
            own |= {each.name for each in found if "." not in each.name and not _is_returned(each)}
    assert len(own) > 60
    shown = "\n".join([TEXT, *(path.read_text(encoding="utf-8") for path in GUIDE.parent.glob("*.ipynb"))])
    assert {name for name in own if not re.search(rf"(?<![\w-]){name}(?![\w-])", shown)} == set()


def _is_returned(name: Name) -> bool:
    """Whether nobody makes or asks for it by its name."""
    return isinstance(name.thing, type) and name.thing.__name__ not in ("Decider", "Projection")


# Commands.


def commands() -> dict[tuple[str, ...], Any]:
    """Every command, those of groups under both their names."""

    def below(group: Any, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, command in group.commands.items():
            yield (*before, name), command
            if hasattr(command, "commands"):
                yield from below(command, (*before, name))

    return dict(below(typer.main.get_command(app), ()))


def without_help(verb: str, command: Any) -> list[str]:
    """What a command does not explain: itself, an argument or an option."""
    found = [] if command.help else [verb]
    return found + [f"{verb} {each.opts[0]}" for each in command.params if not getattr(each, "help", None)]


def unnamed_verbs(verbs: Iterable[tuple[str, ...]], text: str) -> list[str]:
    """The verbs that a text does not show as a command."""
    return [each for each in map(" ".join, verbs) if not re.search(rf"\btourlog {each}(?![\w-])", text)]


def test_every_command_and_option_has_help() -> None:
    found = commands()
    assert len(found) > 20
    assert [line for verb, command in found.items() for line in without_help(" ".join(verb), command)] == []


def test_no_line_of_a_list_of_commands_is_cut_short() -> None:
    for words in ([], ["invariants"]):
        text = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"}).stdout
        assert len(text.splitlines()) > 8
        assert [line for line in text.splitlines() if line.endswith("...") and line.startswith("  ")] == []


def test_every_command_is_named_in_the_guide_or_the_readme() -> None:
    assert unnamed_verbs(commands(), TEXT) == []


def test_a_command_without_help_is_found() -> None:
    bare = typer.Typer()

    @bare.command()
    def verb(store: str, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
        del store, as_json

    assert without_help("verb", typer.main.get_command(bare)) == ["verb", "verb store", "verb --json"]
    assert unnamed_verbs([("log",), ("invariants", "add")], "`tourlog log-store`, `tourlog invariants list`") == [
        "log",
        "invariants add",
    ]


# Names in the guide and the README.


def test_what_is_public_is_what_the_guide_imports() -> None:
    """Every module of tourlog that the guide or the README imports from is one whose names are looked at."""
    imported = set(re.findall(r"from tourlog\.([\w.]+) import", TEXT))
    imported |= {name for names in re.findall(r"from tourlog import ([\w, ]+)", TEXT) for name in names.split(", ")}
    modules = {name for name in imported if (PACKAGE / name.replace(".", "/")).with_suffix(".py").exists()}
    assert len(modules) > 4
    assert modules - MODULES.keys() == set()


ROOTS = {
    "tourlog": tourlog,
    "conn": tourlog.Connection,
    "db": tourlog.Database,
    "consumer": tourlog.Consumer,
    "report": tourlog.TxReport,
    "event_store": tourlog.event_store,
    "log_store": tourlog.log_store,
    **{name: getattr(tourlog, name) for name in tourlog.__all__},
}
FOREIGN = {"Decimal", "Enum", "UUID"}
"""Names in backquotes that are of Python's library."""

_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?<![\w/.])((?:tests|notebooks|rules|tourlog)/[\w./-]*|test_\w+\.py)(?=[\s,`]|$)")


def spans(text: str) -> list[str]:
    """What a text has in backquotes, outside of its examples."""
    return _SPAN.findall(re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def wrong_names(span: str) -> list[str]:
    """What of a code span looks like a name of tourlog's, a keyword argument, a command or a file, and is none."""
    found = [name for name in re.findall(r"(?<![\w:./-])((?:\w+\.)+\w+)", span) if not _exists(name)]
    if re.fullmatch(r"[A-Z]\w*[a-z]\w*", span) and not hasattr(builtins, span) and span not in FOREIGN:
        found += [] if any(name.rpartition(".")[2] == span for name in public()) else [span]
    found += [] if span in BUILTINS else _wrong_keywords(span)
    if span.startswith("tourlog ") or " tourlog " in span:
        found += _wrong_words(span.split("tourlog ", 1)[1].split())
    return found + [path for path in _PATH.findall(span) if not _is_file(path)]


def _wrong_keywords(span: str) -> list[str]:
    """The keyword arguments that what is called does not take, or, where no call is written, nothing public."""
    called = re.match(r"(?:\w+\.)*(\w+)\(", span)
    known = {
        word
        for name in public().values()
        if called is None or name.name.rpartition(".")[2] == called[1]
        for word in name.parameters
    }
    return [f"{word}=" for word in re.findall(r"(?:^|[(, ])([a-z]\w*)=", span) if word not in known]


def _exists(name: str) -> bool:
    root, *rest = name.split(".")
    if root == "error":
        return any(rest[0] in _details(kind) for kind in vars(tourlog.errors).values() if isinstance(kind, type))
    thing = ROOTS.get(root)
    if thing is None:
        return True  # not ours
    for each in rest:
        if isinstance(thing, ModuleType) and not hasattr(thing, each):
            if not hasattr(thing, "__path__") or find_spec(f"{thing.__name__}.{each}") is None:
                return False
            thing = import_module(f"{thing.__name__}.{each}")
        elif hasattr(thing, each):
            thing = getattr(thing, each)
        else:
            return isinstance(thing, type) and each in Name(root, thing).parameters
    return True


def _details(kind: type) -> list[str]:
    """The attributes of an error, as its docstring has them."""
    return _SPAN.findall(kind.__doc__ or "") if issubclass(kind, tourlog.TourlogError) else []


def _wrong_words(words: list[str]) -> list[str]:
    """The verb and the options of a command that do not exist."""
    found = commands()
    verb = next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in found), ())
    command = found.get(verb, typer.main.get_command(app))
    known = {option for each in command.params for option in each.opts} | {"--help"}
    wrong = [word for word in words if word.startswith("--") and word not in known]
    is_verb = verb or not words or words[0].startswith("-") or not re.fullmatch(r"[a-z]+", words[0])
    return wrong if is_verb else [words[0], *wrong]


def _is_file(path: str) -> bool:
    return (README.parent / path).exists() or (README.parent / "tests" / path).exists()


def test_names_in_the_guide_and_the_readme_exist() -> None:
    assert len(spans(TEXT)) > 400
    assert {span: wrong for span in spans(TEXT) if (wrong := wrong_names(span))} == {}


@pytest.mark.parametrize(
    ("span", "wrong"),
    [
        ("db.pull(pattern, eid)", []),
        ("db.push(pattern)", ["db.push"]),
        ("conn.transaction()", []),
        ("tourlog.log_store.poll", []),
        ("tourlog.log_store.pole", ["tourlog.log_store.pole"]),
        ("tourlog.nothing", ["tourlog.nothing"]),
        ("tourlog.decider.handle", []),
        ("report.db_after", []),
        ("error.rows", []),
        ("error.columns", ["error.columns"]),
        ("error.stream", []),
        (":db.type/ref", []),
        ("Consumer", []),
        ("Customer", ["Customer"]),
        ("expect=", []),
        ("expects=", ["expects="]),
        ("not=", []),
        ("Consumer(name, member=…, members=…)", []),
        ("Consumer(name, number=…)", ["number="]),
        ("tourlog tail --follow", []),
        ("tourlog trail --follow", ["trail", "--follow"]),
        ("tourlog tail --followed", ["--followed"]),
        ("tourlog invariants add", []),
        ("tests/test_docs.py", []),
        ("tests/test_nothing.py", ["tests/test_nothing.py"]),
    ],
)
def test_a_name_that_does_not_exist_is_found(span: str, wrong: list[str]) -> None:
    assert wrong_names(span) == wrong


def topics(program: str) -> set[str]:
    """What a program of the tests takes as TOPIC, by its text."""
    tree = ast.parse((README.parent / "tests" / program / "__main__.py").read_text(encoding="utf-8"))
    values = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TOPICS"
    ]
    found = ast.literal_eval(values[0])
    return {name for key in found for name in (key, *(found[key] if isinstance(found, dict) else ()))}


def test_the_commands_that_measure_have_the_topics_they_name() -> None:
    readme = README.read_text(encoding="utf-8")
    named = {
        program: {word for words in re.findall(rf"tests/{program} ([a-z0-9 ]+)", readme) for word in words.split()}
        for program in ("bench", "torture")
    }
    named["torture"] |= set(re.findall(r"^\| `(\w+) --seconds \d+`", readme, re.M))
    assert all(named.values())
    assert {program: words - topics(program) for program, words in named.items()} == {"bench": set(), "torture": set()}
