"""What is installed: the wheel, alone in an empty environment, holds all that tourlog needs."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tourlog.errors import ArgumentError
from tourlog.rule_files import read_rule_file, rule_file_names

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("tourlog-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs folder of a new environment that holds nothing but the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    run(programs / "python", "-m", "pip", "install", "-q", wheel, cwd=folder)
    return programs


@pytest.mark.timeout(600)
def test_an_installed_wheel_reads_its_rules_and_its_data(installed: Path, tmp_path: Path) -> None:
    program = """
        import json, tourlog
        from importlib.resources import files
        from tourlog.rule_files import read_rule_file, rule_file_names
        found = {
            "where": tourlog.__file__,
            "rules": {name: read_rule_file(name) for name in rule_file_names()},
            "parsed": [str(tourlog.rules(name)) != "" for name in rule_file_names()],
            "data": sorted(entry.name for entry in (files("tourlog") / "data").iterdir()),
            "typed": (files("tourlog") / "py.typed").is_file(),
            "lab": files("tourlog").joinpath("lab").is_dir(),
        }
        print(json.dumps(found))
    """
    program = "\n".join(line.strip() for line in program.splitlines())
    found = json.loads(run(installed / "python", "-c", program, cwd=tmp_path))
    assert Path(found["where"]).is_relative_to(installed.parent)
    assert found["rules"] == {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.edn")}
    assert found["rules"]
    assert all(found["parsed"])
    assert found["data"] == ["commits.jsonl.gz", "file-events.jsonl.gz"]
    assert found["typed"]
    assert not found["lab"]
    lab = installed.parent / "share" / "jupyter" / "labextensions" / "tourlog"
    assert sorted(path.name for path in lab.rglob("*") if path.is_file()) == ["edn.js", "install.json", "package.json"]


@pytest.mark.timeout(600)
def test_an_installed_wheel_has_the_command(installed: Path, tmp_path: Path) -> None:
    from importlib.metadata import version

    command = installed / "tourlog"
    assert run(command, "--version", cwd=tmp_path).split() == ["tourlog", version("tourlog")]
    assert "demo" in run(command, "--help", cwd=tmp_path)
    run(command, "demo", "--help", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(600)
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {
        "pytest_tourlog.py",
        "tourlog",
        wheel.name.split("-py3")[0] + ".data",  # the colours for JupyterLab
        wheel.name.split("-py3")[0] + ".dist-info",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_checkout_finds_the_libraries_beside_the_package() -> None:
    assert rule_file_names() == sorted(path.stem for path in (ROOT / "rules").glob("*.edn"))


@pytest.mark.parametrize("name", ["no-such-library", "", "../pyproject", "rules.edn", None, 3, []])
def test_an_unknown_library_is_refused_naming_the_known_ones(name: object) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_rule_file(name)  # type: ignore[arg-type]
    assert caught.value.details == {"name": name, "known": rule_file_names()}
    assert repr(name) in str(caught.value)
