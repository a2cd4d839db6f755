"""The command as a module, and its completion in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from tourlog.cli import app


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
complete -p tourlog | grep -q -- "-o default" || exit 1
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
    assert check != COMPLETE or done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


def test_bash_completes_commands_options_and_libraries(tmp_path: Path) -> None:
    verbs, options, some, engines, libraries, invariants, files, query = completed(
        'eval "$(tourlog --show-completion)"',
        tmp_path,
        "tourlog ",
        "tourlog q --",
        "tourlog q --m",
        "tourlog q moves.tour --engine ",
        "tourlog rules ",
        "tourlog invariants ",
        "tourlog read mov",
        "tourlog q moves.tour '[:find ?x :where",
    )
    group: Any = typer.main.get_command(app)
    assert set(verbs) == set(group.commands)
    known = {option for each in group.commands["q"].params for option in each.opts if option.startswith("--")}
    assert set(options) == known | {"--help"}
    assert some == ["--max-rows"]
    assert engines == ["auto", "compiled", "pydatalog"]
    assert libraries == ["events", "graph", "log", "order"]
    assert invariants == ["list", "add", "drop"]
    assert files == query == [], "what tourlog does not know is left to bash, which knows files"


def test_completion_is_installed_where_bash_finds_it(tmp_path: Path) -> None:
    """`--install-completion` adds to the user's `.bashrc`, which a new shell reads."""
    assert completed("tourlog --install-completion >&2", tmp_path, check="true") == []
    assert completed('source "$HOME/.bashrc"', tmp_path, "tourlog back") == [["backup"]]
