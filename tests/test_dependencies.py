"""What the package imports and what it asks for agree, and nothing in it can run or unpickle what it is given."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import tourlog

ROOT = Path(__file__).parent.parent
AUDIT = ROOT / ".ci" / "audit"
PACKAGE = Path(tourlog.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
GROUPS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "subprocess",
    "code",
    "codeop",
    "runpy",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv"}

IMPORTED_AS = {
    "google-re2": "re2",
    "pyDatalog": "pyDatalog",
    "vl-convert-python": "vl_convert",
}
# pytest is there where its plugin is used, IPython comes with ipykernel, SQLAlchemy and the like are not used.
FROM_OTHERS = {"pytest", "_pytest", "IPython", "pytest_tourlog", "eventsourcing"}


def modules() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text("utf-8"))) for path in sorted(PACKAGE.rglob("*.py"))]


def imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def dangers(tree: ast.Module) -> set[str]:
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return (imported(tree) & FORBIDDEN_MODULES) | (calls & FORBIDDEN_CALLS)


def parsed(requirement: str) -> tuple[str, list[tuple[str, str]]]:
    name, bounds = re.fullmatch(r"([\w-]+)(?:\[.*?\])?(.*)", requirement.partition(";")[0].strip()).groups()  # type: ignore[union-attr]  # every one of ours matches
    return name, re.findall(r"(>=|<|==|!=)\s*([\w.]+)", bounds)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text.partition("+")[0])))


def test_nothing_unpickles_runs_code_or_starts_processes() -> None:
    assert {path.name: found for path, tree in modules() if (found := dangers(tree))} == {}


@pytest.mark.parametrize(
    "code", ["import pickle", "from subprocess import run", "eval('1')", "import os\nos.system('x')"]
)
def test_the_search_for_dangers_finds_them(code: str) -> None:
    assert dangers(ast.parse(code))


def test_every_package_that_is_imported_is_declared() -> None:
    declared = {
        IMPORTED_AS.get(parsed(each)[0], parsed(each)[0].replace("-", "_"))
        for group in GROUPS.values()
        for each in group
    }
    used = set().union(*(imported(tree) for _, tree in modules())) - sys.stdlib_module_names - {"tourlog", "__future__"}
    assert used - declared - FROM_OTHERS == set()


@pytest.mark.parametrize("requirement", [each for group in GROUPS.values() for each in group])
def test_every_dependency_has_bounds_and_the_installed_one_lies_within(requirement: str) -> None:
    name, bounds = parsed(requirement)
    assert {">=", "<"} == {operator for operator, _ in bounds}, requirement
    try:
        installed = numbers(version(name))
    except PackageNotFoundError:
        return  # an extra that this environment does without
    for operator, bound in bounds:
        assert (installed >= numbers(bound)) if operator == ">=" else (installed < numbers(bound)), (name, installed)


ANSWERS = {
    "none": ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "audited 1 packages, 0 with"),
    "one": ('{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1"}]}]}', 1, "a 1: PYSEC-1"),
    "no service": ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', 0, "NOT AUDITED: no package"),
    "no answer": ("", 0, "NOT AUDITED: no package could be looked up among known vulnerabilities (no answer)"),
}
"""What pip-audit prints, and what the audit makes of it."""


@pytest.mark.skipif(not AUDIT.exists(), reason="the source distribution has no .ci")
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_audit_fails_for_a_vulnerability_and_says_when_it_could_not_look(answer: str, tmp_path: Path) -> None:
    printed, code, line = ANSWERS[answer]
    program, requirements = tmp_path / "pip-audit", tmp_path / "requirements"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{printed}'\n")
    program.chmod(0o755)
    requirements.write_text("a==1\n")
    done = subprocess.run([sys.executable, AUDIT, program, requirements], capture_output=True, text=True, check=False)
    assert (done.returncode, line in done.stdout) == (code, True), done.stdout + done.stderr
