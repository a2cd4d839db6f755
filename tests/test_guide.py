"""The guide does what it shows: the Python of each chapter is run in order, in one namespace, and what it prints is
compared exactly; the chapters about the query language run on each engine; test modules and shells run as shown.

Run as a program, this file writes what is printed now into the guide: `python tests/test_guide.py`.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tourlog.engines.choice import Choice
from tourlog.query.aggregates import AGGREGATES
from tourlog.query.functions import BUILTINS

GUIDE = Path(__file__).parent.parent / "notebooks" / "guide"
README = GUIDE.parent.parent / "README.md"
CHAPTERS = sorted(GUIDE.glob("*.md"))
LANGUAGE = ("queries.md", "clauses.md", "rules.md", "functions.md", "aggregates.md", "pull.md")
"""The chapters about the query language."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_PROMPT = ">>> "
_FILE = re.compile(r"# (\w+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the number of lines before it."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    return [Block(found[1], found[2], text.count("\n", 0, found.start(2))) for found in _BLOCK.finditer(text)]


def is_session(block: Block) -> bool:
    return block.language == "python" and block.text.startswith(_PROMPT)


def is_file(block: Block) -> bool:
    return block.language == "python" and _FILE.match(block.text) is not None


def session(text: str, name: str) -> doctest.DocTest:
    """All the Python of a chapter as one session; its examples know their lines."""
    parser, examples = doctest.DocTestParser(), []
    for block in filter(is_session, blocks(text)):
        for example in parser.get_examples(block.text):
            example.lineno += block.line
            examples.append(example)
    return doctest.DocTest(examples, {}, name, name, 0, None)


class Runner(doctest.DocTestRunner):
    """Keeps what each example that prints something else than is written printed, by its line."""

    def __init__(self) -> None:
        super().__init__()
        self.printed: dict[int, str] = {}

    def report_failure(self, out: Any, test: Any, example: Any, got: str) -> None:
        raised = re.search(r"^(?:Traceback|\w+.*\n\nTraceback).*^(\S[^\n]*\n)\Z", got, re.M | re.S)
        self.printed[example.lineno] = f"Traceback (most recent call last):\n    ...\n{raised[1]}" if raised else got
        super().report_failure(out, test, example, got)

    def report_unexpected_exception(self, out: Any, test: Any, example: Any, exc_info: Any) -> None:
        message = "".join(traceback.format_exception_only(*exc_info[:2]))
        self.printed[example.lineno] = f"Traceback (most recent call last):\n    ...\n{message}"
        super().report_unexpected_exception(out, test, example, exc_info)


def run_session(text: str, name: str) -> tuple[Runner, str]:
    """Run a chapter's Python; what is not as written, for people."""
    runner, failures = Runner(), []
    runner.run(session(text, name), out=failures.append)
    return runner, "".join(failures)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name)
def test_what_a_chapter_shows_is_what_it_prints(chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, failures = run_session(chapter.read_text(encoding="utf-8"), chapter.name)
    assert failures == ""


@pytest.mark.parametrize("engine", ["pydatalog", "compiled"])
@pytest.mark.parametrize("name", LANGUAGE)
def test_the_query_language_is_the_same_on_each_engine(
    name: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[object] = []

    def choose(execution: object) -> Choice:
        chosen.append(execution)
        return Choice(engine, "the test asks for it")

    monkeypatch.setattr("tourlog.query.run.choose", choose)
    monkeypatch.chdir(tmp_path)
    _, failures = run_session((GUIDE / name).read_text(encoding="utf-8"), name)
    assert failures == ""
    assert chosen or name == "pull.md", "no query of the chapter was run"


def test_every_block_of_python_is_run() -> None:
    """A block is a session, which begins with a prompt, or a file, which begins with its name; cells of notebooks are
    run by `test_notebook.py`."""
    for chapter in CHAPTERS:
        text = chapter.read_text(encoding="utf-8")
        unknown = [f"{chapter.name} line {block.line}" for block in blocks(text) if not _is_known(block)]
        assert unknown == []
        sessions = [block for block in blocks(text) if is_session(block)]
        examples = sum(line.startswith(_PROMPT) for block in sessions for line in block.text.splitlines())
        assert len(session(text, chapter.name).examples) == examples


def _is_known(block: Block) -> bool:
    return is_session(block) or is_file(block) or block.language in ("console", "text", "ipython")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.name)
def test_the_test_modules_and_shells_of_a_chapter_do_as_shown(chapter: Path, tmp_path: Path) -> None:
    """Files are written to an empty folder, and the commands run there; `...` stands for what differs each time."""
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80"}
    for variable in ("PYTEST_ADDOPTS", "FORCE_COLOR", "PYTEST_CURRENT_TEST"):
        environment.pop(variable, None)
    for block in blocks(chapter.read_text(encoding="utf-8")):
        if is_file(block):
            found = _FILE.match(block.text)
            assert found is not None
            (tmp_path / found[1]).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for command, expected in commands(block.text):
                done = subprocess.run(
                    ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
                )
                got = re.sub(r" +$", "", done.stdout + done.stderr, flags=re.M)
                assert doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS), f"$ {command}\n{got}"


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a shell session, each with what it prints."""
    parts = re.split(r"^\$ ", text, flags=re.M)
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts if part)]


# Every function and every aggregate has an example.


def calls(text: str) -> set[str]:
    """The names that are called in the examples of a chapter."""
    sources = "\n".join(example.source for example in session(text, "").examples)
    return set(re.findall(r"\(([^\s()\[\]{}\"']+)", sources))


def missing(names: set[str], text: str) -> set[str]:
    """The names that no example calls, or that no line explains in backquotes."""
    prose = _BLOCK.sub("", text)
    return {name for name in names if name not in calls(text) or f"`{name}`" not in prose}


def test_every_function_is_explained_and_has_an_example() -> None:
    assert missing(set(BUILTINS), (GUIDE / "functions.md").read_text(encoding="utf-8")) == set()


def test_every_aggregate_is_explained_and_has_an_example() -> None:
    assert missing(set(AGGREGATES), (GUIDE / "aggregates.md").read_text(encoding="utf-8")) == set()


# The checks can fail.


@pytest.mark.parametrize(
    ("text", "line", "printed"),
    [
        ("```python\n>>> 1 + 1\n3\n```\n", 1, "2\n"),
        ("\n```python\n>>> x = 1\n```\ntext\n```python\n>>> x\n2\n```\n", 6, "1\n"),
        ("```python\n>>> 1 / 0\n```\n", 1, "Traceback (most recent call last):\n    ...\nZeroDivisionError: "),
        ("```python\n>>> 1\n```\n", 1, "1\n"),
    ],
)
def test_an_example_that_prints_something_else_is_found(text: str, line: int, printed: str) -> None:
    runner, failures = run_session(text, "chapter")
    assert {place: got[: len(printed)] for place, got in runner.printed.items()} == {line: printed}
    assert failures != ""


def test_a_function_without_an_example_or_an_explanation_is_found() -> None:
    text = '`inc` and `dec`\n```python\n>>> value("(inc 1)"), value("(abs 1)")\n```\n'
    assert missing({"inc", "dec", "abs"}, text) == {"dec", "abs"}


def test_a_block_that_nobody_would_run_is_found() -> None:
    found = blocks("```python\nprint(1)\n```\n```python\n# test_a.py\n```\n```\nx\n```\n")
    assert list(map(_is_known, found)) == [False, True, False]


# Links.


def test_every_chapter_is_linked_and_every_link_leads_somewhere() -> None:
    index = (GUIDE / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in CHAPTERS if path.name != "README.md" and f"({path.name})" not in index] == []
    assert "(notebooks/guide/README.md)" in README.read_text(encoding="utf-8")
    for path in [*CHAPTERS, README]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def update(path: Path) -> None:
    """Write what a chapter's Python prints now into the chapter."""
    text = path.read_text(encoding="utf-8")
    runner, _ = run_session(text, path.name)
    lines = text.splitlines(keepends=True)
    for example in reversed(session(text, path.name).examples):
        if example.lineno in runner.printed:
            start = example.lineno + example.source.count("\n")
            end = start + example.want.count("\n")
            lines[start:end] = [runner.printed[example.lineno].replace("\n\n", "\n<BLANKLINE>\n")]
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    os.chdir(os.environ.get("TMPDIR", "/tmp"))
    for given in CHAPTERS:
        update(given)
