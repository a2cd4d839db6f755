"""What the README and the guide show is what happens, and what is public is documented: the README's Python and its
shell sessions are run and compared; docstrings explain parameters, units and errors; commands have help, and names
exist.
"""

from __future__ import annotations

import ast
import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import pytest
import typer
from docstrings import (
    LIKE,
    MODULES,
    PACKAGE,
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
from tourlog.cli import app
from tourlog.query.functions import BUILTINS

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


# Docstrings.


def test_what_is_public_is_what_the_guide_imports() -> None:
    """Every module of tourlog that the guide or the README imports from is one whose names are looked at."""
    imported = set(re.findall(r"from tourlog\.([\w.]+) import", TEXT))
    imported |= {name for names in re.findall(r"from tourlog import ([\w, ]+)", TEXT) for name in names.split(", ")}
    modules = {name for name in imported if (PACKAGE / name.replace(".", "/")).with_suffix(".py").exists()}
    assert len(modules) > 4
    assert modules - MODULES.keys() == set()


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
    ("pytest_plugin.Scenario.then", "ArgumentError"): "it has the store and the number of attempts that `handle` wants",
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
FOREIGN = {"Application", "Decimal", "DataFrame", "Enum", "False", "None", "True", "UUID"}
"""Names in backquotes that are Python's or another library's."""

_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?<![\w/.])((?:tests|notebooks|rules|tourlog)/[\w./-]*|test_\w+\.py)(?=[\s,`]|$)")


def spans(text: str) -> list[str]:
    """What a text has in backquotes, outside of its examples."""
    return _SPAN.findall(re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def wrong_names(span: str) -> list[str]:
    """What of a code span looks like a name of tourlog's, a keyword argument, a command or a file, and is none."""
    found = [name for name in re.findall(r"(?<![\w:./-])((?:\w+\.)+\w+)", span) if not _exists(name)]
    if re.fullmatch(r"[A-Z]\w*[a-z]\w*", span) and span not in FOREIGN:
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


# The command as a module, and its completion.


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    def printed(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([*words, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    status, text, complaint = printed(sys.executable, "-m", "tourlog")
    assert (status, complaint) == (0, "")
    assert text.startswith("Usage: python -m tourlog [OPTIONS] COMMAND")
    command = printed(str(Path(sys.executable).parent / "tourlog"))
    assert text.replace("python -m tourlog", "tourlog", 1) == command[1]
    broken = subprocess.run(
        [sys.executable, "-m", "tourlog", "streams", "none.tour"], cwd=tmp_path, capture_output=True, check=False
    )
    assert broken.returncode == 1


COMPLETE = """
complete -p tourlog >&2 || exit 1
for words in "${@}"; do
    read -r -a COMP_WORDS <<< "$words"
    case "$words" in *" ") COMP_WORDS+=("") ;; esac
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE="$words" COMP_POINT=${#words} COMPREPLY=()
    function_name=$(complete -p tourlog | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    "$function_name" tourlog "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[*]}" | tr '\\n' ' '
    echo
done
"""


def completed(script: str, folder: Path, *lines: str, check: str = COMPLETE) -> list[list[str]]:
    """What bash offers at the end of each line, once it has run a script."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    done = subprocess.run(
        [bash, "--noprofile", "--norc", "-c", f"{script}\n{check}", "bash", *lines],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_bash_completes_commands_options_and_libraries(tmp_path: Path) -> None:
    verbs, options, some, engines, libraries, invariants = completed(
        'eval "$(tourlog --show-completion)"',
        tmp_path,
        "tourlog ",
        "tourlog q --",
        "tourlog q --m",
        "tourlog q moves.tour --engine ",
        "tourlog rules ",
        "tourlog invariants ",
    )
    assert set(verbs) == {verb[0] for verb in commands()}
    assert set(options) == {each.opts[0] for each in commands()[("q",)].params if each.opts[0].startswith("--")} | {
        "--help"
    }
    assert some == ["--max-rows"]
    assert engines == ["auto", "compiled", "pydatalog"]
    assert libraries == ["events", "graph", "log", "order"]
    assert invariants == ["list", "add", "drop"]


def test_completion_is_installed_where_bash_finds_it(tmp_path: Path) -> None:
    """`--install-completion` adds to the user's `.bashrc`, which a new shell reads."""
    assert completed("tourlog --install-completion >&2", tmp_path, check="true") == []
    assert completed('source "$HOME/.bashrc"', tmp_path, "tourlog back") == [["backup"]]
