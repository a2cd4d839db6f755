"""The interactive shell: fed with lines as a script, and typed to on a real terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cli import lines, run, succeed

import tourlog
from tourlog.shell import COMMANDS, Shell, history_file

XS = "[:find [?x ...] :where [?e :x ?x]]"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "moves.tour"
    with tourlog.connect(path) as conn:
        conn.append([{"bot": "a", "x": 1}, {"bot": "b", "x": 2}], "bot")
        conn.transact([{"db/id": "ann", "name": "Ann"}])
    return path


@pytest.fixture
def shell(store: Path) -> Iterator[Shell]:
    with tourlog.connect(store, read_only=True) as conn:
        yield Shell(conn)


class Typed:
    """What a shell prints for the lines it is given."""

    def __init__(self, shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
        self.shell, self.capsys = shell, capsys

    def __call__(self, *given: str) -> list[str]:
        for line in given:
            assert self.shell._take(line)
        out, err = self.capsys.readouterr()
        assert err == ""
        return [" ".join(line.split()) for line in out.splitlines() if not set(line) <= {"─", " "}]

    def fails(self, *given: str) -> list[str]:
        for line in given:
            self.shell._take(line)
        out, err = self.capsys.readouterr()
        assert (out, self.shell.failed) == ("", True)
        return err.splitlines()


@pytest.fixture
def typed(shell: Shell, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(shell, capsys)


def test_a_query_ends_where_its_brackets_close(typed: Typed) -> None:
    assert typed("[:find [?x ...]", "", "; a ] that counts for nothing", " :where [?e :x ?x]") == []
    assert typed("]") == ["1", "2"]
    assert typed('[:find ?x . :in $ ?bot :where [?e :bot ?bot] [?e :x ?x]] "b"') == ["2"]


def test_rules_are_kept_for_queries_that_take_them(typed: Typed) -> None:
    query = "[:find [?x ...] :in $ % :where (far ?e) [?e :x ?x]]"
    assert typed("[[(far ?e) [?e :x ?x]", " [(< 1 ?x)]]]") == ["kept: far"]
    assert typed(query) == ["2"]
    assert typed("[[(far ?e) [?e :x 1]]]", query) == ["kept: far", "1"]
    assert typed(".rules") == ["rule", "far"]


def test_an_error_points_at_its_place(typed: Typed) -> None:
    message, line, mark = typed.fails("[:find ?e", " :where [?e :x ?x] 7]")
    assert "line 2" in message
    assert line == "   :where [?e :x ?x] 7]"
    assert line[mark.index("^")] == "7"
    assert typed(XS) == ["1", "2"]


def test_help_has_every_command(typed: Typed) -> None:
    found = typed(".help")
    assert [line.split()[0] for line in found[: len(COMMANDS)]] == list(COMMANDS)


def test_commands_that_look(typed: Typed) -> None:
    assert typed(".streams") == ["stream key documents", "a bot 1", "b bot 1"]
    assert {"bot", "name", "x"} <= set(typed(".attributes"))
    assert typed(".entity ann") == ["db/id name", "ann Ann"]
    assert typed(".mode json", ".entity ann")[1:] == ['{"db/id": "ann", "name": "Ann"}']
    assert json.loads(typed(".streams")[0]) == {"stream": "a", "key": "bot", "documents": 1}


def test_commands_that_set(typed: Typed) -> None:
    assert typed(".as-of 1", '[:find ?n . :where ["ann" :name ?n]]', ".as-of now") == ["as of: 1", "null", "as of: now"]
    assert typed(".engine pydatalog", ".timeout 9", ".timeout off") == [
        "engine: pydatalog",
        "timeout: 9.0",
        "timeout: off",
    ]
    assert "engine: pydatalog" in " ".join(typed(".explain on", XS))
    assert typed(".explain off", XS) == ["explain: off", "1", "2"]


def test_run_answers_a_file(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "two.edn").write_text(f"{XS} ; twice\n{XS}\n", encoding="utf-8")
    assert typed(f".run {tmp_path}/two.edn") == ["1", "2", "1", "2"]


def test_a_library_taken_twice_is_there_once(typed: Typed) -> None:
    once = typed(".rules events")
    assert "latest-event" in once
    assert typed(".rules events") == once


def test_quit_ends(shell: Shell) -> None:
    assert not shell._take(".quit")
    assert not shell._take(" .exit ")


@pytest.mark.parametrize(
    "line",
    [".fly", ".entity nobody", ".entity", ".run none.edn", ".mode xml", ".timeout soon", ".as-of x", ".streams a"],
)
def test_a_command_that_cannot_be_is_one_line(line: str, typed: Typed) -> None:
    assert len(typed.fails(line)) == 1


def test_completion(shell: Shell) -> None:
    assert shell._completions(".e", 2, ".e") == [".entity", ".explain", ".engine"]
    assert shell._completions(".mode j", 7, "j") == ["json"]
    line = "[:find ?e :where [?e :na"
    assert ":name" in shell._completions(line, len(line), ":na")
    shell._take("[:find ?other")
    assert "?other" in shell._completions(" :where [?o", 11, "?o")


def test_the_history_is_in_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "tourlog" / "history"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert history_file() == Path.home() / ".local" / "state" / "tourlog" / "history"


def test_on_a_terminal_lines_are_kept_for_the_user_alone(store: Path, tmp_path: Path) -> None:
    reader, writer = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", "from tourlog.cli import main; main()", "shell", str(store)],
        stdin=writer,
        stdout=writer,
        stderr=writer,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "TERM": "dumb"},
        start_new_session=True,
    ) as process:
        os.close(writer)
        seen = b""

        def wait_for(text: bytes) -> None:
            nonlocal seen
            until = time.monotonic() + 30
            while text not in seen:
                assert time.monotonic() < until
                seen += os.read(reader, 10_000)
            seen = seen.partition(text)[2]

        wait_for(b"tourlog> ")
        os.write(reader, b"[:find (sum ?x) .\n")
        wait_for(b"...> ")
        os.write(reader, b" :where [?e :x ?x]]\n")
        wait_for(b"3")
        wait_for(b"tourlog> ")
        os.write(reader, b"\x04")
        assert process.wait(timeout=30) == 0
    os.close(reader)
    file = tmp_path / "tourlog" / "history"
    assert file.read_text(encoding="utf-8") == "[:find (sum ?x) . :where [?e :x ?x]]\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_script_ends_with_its_first_error(store: Path) -> None:
    assert lines(succeed("shell", store, stdin=f"{XS}\n.quit\nnever read".encode())) == ["1", "2"]
    assert succeed("shell", store, "--json", stdin=XS.encode()).split() == ["1", "2"]
    result = run("shell", store, stdin=f"{XS}\n[:find ?e :where]]\n{XS}\n".encode())
    assert (result.exit_code, lines(result.stdout)) == (1, ["1", "2"])
    assert "expected an opening bracket before ] at line 1, column 18" in result.stderr


def test_a_query_left_open_at_the_end_is_an_error(store: Path) -> None:
    result = run("shell", store, stdin=b"[:find ?e\n:where")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "expected" in result.stderr
