"""What the README shows is what happens: its Python and its shell sessions are run and compared."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
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
