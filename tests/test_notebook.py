"""`%%datalog` cells, what they complete and how they fail; imports with a bar; all inside a real IPython shell where
that is installed.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tourlog
from tourlog import ArgumentError, QueryError, QuerySyntaxError, Rules
from tourlog.notebook import attribute_names, complete, import_file, run_cell

ALL = "[:find ?bot ?x :where [?e :bot ?bot] [?e :x ?x] :order-by [?x]]\n"
OF_ONE = "[:find [?x ...] :in $ ?bot :where [?e :bot ?bot] [?e :x ?x] :order-by [?x]]\n"
RULES = "[[(above ?e ?least)\n  [?e :x ?x]\n  [(> ?x ?least)]]]\n"


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """The variables of a notebook that has a store open."""
    with tourlog.connect() as conn:
        conn.append([{"bot": "a", "x": 1}, {"bot": "b", "x": 2}, {"bot": "a", "x": 3, "at": {"place": "p"}}], "bot")
        yield {"conn": conn, "db": conn.db(), "best": "b", "rules": Rules(RULES)}


def plain(error: BaseException) -> list[str]:
    """What a notebook shows for an error, without its colours."""
    return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in error._render_traceback_()]  # type: ignore[attr-defined]


# The answer.


def test_a_cell_answers_from_the_database_in_db(names: dict[str, Any]) -> None:
    names["conn"].append([{"bot": "c", "x": 4}], "bot")
    assert run_cell(names, "", ALL) == [("a", 1), ("b", 2), ("a", 3)]


def test_a_cell_answers_from_the_newest_database_of_a_connection(names: dict[str, Any]) -> None:
    names["conn"].append([{"bot": "c", "x": 4}], "bot")
    assert run_cell(names, "-d conn", ALL)[-1] == ("c", 4)
    del names["db"]
    assert run_cell(names, "", ALL)[-1] == ("c", 4)


def test_an_answer_can_go_to_a_variable(names: dict[str, Any]) -> None:
    assert run_cell(names, "-o found", ALL) is None
    assert names["found"] == [("a", 1), ("b", 2), ("a", 3)]


@pytest.mark.parametrize("line", ["best", '"b"', "'b'", "-d db best", "best -d db", "--db db best", "--timeout 9 best"])
def test_an_input_is_a_variable_or_a_value_anywhere_on_the_line(names: dict[str, Any], line: str) -> None:
    assert run_cell(names, line, OF_ONE) == [2]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", 1),
        ("-2.5", -2.5),
        ("true", True),
        ("null", None),
        ("README.md", "README.md"),
        (":made", "made"),
        ('"a b"', "a b"),
        ("'a\"b'", 'a"b'),
        ("[1 2]", [1, 2]),
        ('{:a "b c"}', {"a": "b c"}),
        ("#{1}", frozenset({1})),
    ],
)
def test_an_input_is_written_as_json_or_edn(names: dict[str, Any], word: str, value: Any) -> None:
    assert run_cell(names, word, "[:find ?y . :in $ ?x :where [(identity ?x) ?y]]") == value


def test_a_query_of_two_databases_takes_the_second_by_name(names: dict[str, Any]) -> None:
    names["then"] = tourlog.connect().db()
    query = "[:find ?bot :in $ $then :where [?e :bot ?bot] (not [$then _ :bot ?bot]) :order-by [?bot]]"
    assert run_cell(names, "-d db then", query) == [("a",), ("b",)]


def test_a_query_without_a_database_needs_none() -> None:
    assert run_cell({}, "[1 2 3]", "[:find (sum ?x) . :in [?x ...]]") == 6


def test_a_cell_of_rules_keeps_them(names: dict[str, Any]) -> None:
    run_cell(names, "-o mine", RULES)
    assert names["mine"] == Rules(RULES.strip())
    assert run_cell(names, "mine 1", "[:find (count ?e) . :in $ % ?n :where (above ?e ?n)]") == 2


def test_a_cell_can_be_explained(names: dict[str, Any]) -> None:
    explained = run_cell(names, "--explain best", OF_ONE)
    assert str(explained) == str(names["db"].explain(OF_ONE, "b"))


# Errors.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("best -d none", "expected a database or a connection in the variable none, there is no such variable"),
        ("-d best", "expected a database or a connection in the variable best, got 'b'"),
        ("'best", "expected words, with every quote and bracket closed, got 'best"),
        ("{:a 1", "expected words, with every quote and bracket closed, got {:a 1"),
        ("bst", 'expected a variable, got bst, which is none (a text has quotes: "bst")'),
        ("best -o 1x", "expected the name of a variable after -o, got '1x'"),
        ("--wrong", "unrecognized arguments: --wrong\nusage: %%datalog [-d NAME] [-o NAME] [--explain]"),
        ("-o", "argument -o/--out: expected one argument\nusage: %%datalog"),
    ],
)
def test_what_is_wrong_with_the_line_of_a_cell_is_said(names: dict[str, Any], line: str, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        run_cell(names, line, OF_ONE)
    assert str(caught.value).startswith(message)


def test_a_cell_without_a_database_says_what_it_looked_for() -> None:
    with pytest.raises(ArgumentError, match="in a variable `db` or `conn`, or named with -d, got None"):
        run_cell({}, "", ALL)


def test_a_syntax_error_points_at_its_place_in_the_whole_cell(names: dict[str, Any]) -> None:
    with pytest.raises(QuerySyntaxError) as caught:
        run_cell(names, "", "[:find ?x\n :where [?e :x ?x]\n        [?e :bot ?bot}]")
    assert plain(caught.value) == [
        "QuerySyntaxError: expected ] to close the [ of line 4, column 9, got }, in EDN text at line 4, column 22",
        "   4 │         [?e :bot ?bot}]",
        "     │                      ^",
    ]


def test_a_clause_that_cannot_run_is_pointed_at(names: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as caught:
        run_cell(names, "", "[:find ?x\n :where [?e :x ?x]\n\t[(< ?y 1)]]")
    assert plain(caught.value)[1:] == ["   4 │  [(< ?y 1)]]", "     │  ^"]


def test_a_clause_that_fails_while_it_runs_is_pointed_at(names: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as caught:
        run_cell(names, "", "[:find ?y\n :where [?e :bot ?x] [(+ ?x 1) ?y]]")
    assert plain(caught.value)[1:] == ["   3 │  :where [?e :bot ?x] [(+ ?x 1) ?y]]", "     │                      ^"]


def test_an_unknown_function_is_pointed_at(names: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as caught:
        run_cell(names, "", "[:find ?x\n :where [?e :x ?x] [(oddd? ?x)]]")
    assert plain(caught.value)[1:] == ["   3 │  :where [?e :x ?x] [(oddd? ?x)]]", "     │                      ^"]


def test_an_error_in_rules_from_elsewhere_points_nowhere_in_the_cell(names: dict[str, Any]) -> None:
    names["bad"] = Rules("[[(bad ?e) [?e :bot ?b]\n [(+ ?b 1) ?n]]]")
    with pytest.raises(QueryError, match="line 2, column 2") as caught:
        run_cell(names, "bad", "[:find ?e :in $ %\n :where (bad ?e)]")
    assert plain(caught.value) == [f"QueryError: {caught.value}"]


# Completion.


def completed(names: dict[str, Any], cell: str) -> tuple[str, ...] | None:
    """What may follow at the end of a cell."""
    lines = cell.split("\n")
    found = complete(names, cell, len(lines) - 1, len(lines[-1]))
    return None if found is None else found.words


def test_attributes_are_completed_after_a_colon(names: dict[str, Any]) -> None:
    assert completed(names, "%%datalog\n[:find ?e :where [?e :b") == ("bot",)
    assert completed(names, "%%datalog\n[:find ?e :where [?e :at.") == ("at.place",)
    assert completed(names, "%%datalog\n[:find ?e :where [?e :db/t") == ("db/tx", "db/tx-instant")
    assert completed(names, "%%datalog\n[:find ?e :wh") == ("where",)


def test_attributes_are_those_of_the_database_that_is_asked(names: dict[str, Any]) -> None:
    names["other"] = tourlog.connect()
    names["other"].append([{"k": 1, "best-of": 1}], "k")
    assert completed(names, "%%datalog -d other\n[:find ?e :where [?e :b") == ("best-of",)
    assert completed(names, "%%datalog -d nothing\n[:find ?e :where [?e :b") == ()


def test_rules_and_functions_are_completed_after_a_bracket(names: dict[str, Any]) -> None:
    assert completed(names, "%%datalog rules 1\n[:find ?e :in $ % ?n :where (abo") == ("above",)
    names["text"] = RULES.replace("above", "about")
    assert completed(names, "%%datalog text 1\n[:find ?e :in $ % ?n :where (abo") == ("about", "above")
    assert completed(names, "%%datalog\n[:find ?e :where [(starts") == ("starts-with?",)


def test_variables_are_completed_after_a_question_mark(names: dict[str, Any]) -> None:
    assert completed(names, "%%datalog\n[:find ?robot ?x\n :where [?e :bot ?r") == ("robot",)


def test_nothing_is_completed_elsewhere(names: dict[str, Any]) -> None:
    for cell in ("%%datalog -d d", "db.q(:b", "%%datalogs\n[:b", "%%datalog\nbot"):
        assert completed(names, cell) is None


def test_attributes_of_documents_without_a_stream_and_of_other_times_are_known(names: dict[str, Any]) -> None:
    names["conn"].transact([{"db/id": "k", "colour": "red"}])
    wanted = ["at", "at.place", "bot", "colour", "db/key", "db/tx", "db/tx-instant", "offset", "x"]
    db = names["conn"].db()
    assert [attribute_names(each) for each in (db, db.since(1), db.history())] == [wanted] * 3
    assert attribute_names(db.as_of(1)) == [name for name in wanted if name != "colour"]


# Inside IPython.


@pytest.fixture
def shell(names: dict[str, Any]) -> Iterator[Any]:
    """A shell that has loaded the extension and has the variables of a notebook."""
    module = pytest.importorskip("IPython.core.interactiveshell")
    made = module.InteractiveShell.instance()
    made.run_line_magic("load_ext", "tourlog")
    made.user_ns.update(names)
    made.display_formatter.active_types = ["text/html", "text/plain"]
    yield made
    made.run_line_magic("unload_ext", "tourlog")
    module.InteractiveShell.clear_instance()


def test_a_cell_runs_in_a_shell(shell: Any) -> None:
    assert shell.run_cell(f"%%datalog -d db best\n{OF_ONE}").result == [2]
    shell.run_cell(f"%%datalog -o found\n{ALL}")
    assert shell.user_ns["found"] == [("a", 1), ("b", 2), ("a", 3)]


def test_a_shell_prints_an_error_without_the_frames_of_python(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(shell.run_cell("%%datalog\n[:find ?x").error_in_exec, QuerySyntaxError)
    printed = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert printed.splitlines()[1:] == ["   2 │ [:find ?x", "     │ ^"]


def test_a_shell_shows_only_the_reader_s_own_lines_of_an_error_from_python(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(shell.run_cell("db.q('[:find ?x')").error_in_exec, QuerySyntaxError)
    printed = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "----> 1 db.q('[:find ?x')" in printed
    assert "tourlog/" not in printed
    assert printed.splitlines()[-1].startswith("QuerySyntaxError: expected ] to close the [ of line 1, column 1")


def test_a_shell_shows_the_lines_of_a_function_that_a_query_calls(
    shell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.run_cell("def f(x):\n    raise tourlog.ConflictError('no')\nimport tourlog")
    shell.run_cell("conn.transact([tourlog.call(lambda db: f(1))])")
    assert "raise tourlog.ConflictError('no')" in re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)


def test_a_shell_completes(shell: Any) -> None:
    from IPython.core.completer import provisionalcompleter

    cell = "%%datalog\n[:find ?e :where [?e :bo"
    with provisionalcompleter():
        (found,) = shell.Completer.completions(cell, len(cell))
    assert (found.text, cell[found.start : found.end]) == ("bot", "bo")


def test_a_shell_shows_documents_as_tables_and_leaves_other_dicts_and_lists_alone(shell: Any) -> None:
    def kinds(value: Any) -> set[str]:
        return set(shell.display_formatter.format(value)[0])

    both, text = {"text/html", "text/plain"}, {"text/plain"}
    assert kinds(shell.user_ns["db"].documents({"bot": "a"})) == both
    assert kinds([{"bot": "a"}]) == both
    assert kinds({"db/id": 1, "bot": "a"}) == both
    assert kinds(({"db/id": 1, "bot": "a"},)) == both
    assert kinds(list(shell.user_ns["db"].facts(a="bot"))) == both
    assert [kinds(each) for each in ({"bot": "a"}, [], [1], [{}], {}, [{1: 2}], (), (1,))] == [text] * 8
    assert kinds(next(shell.user_ns["db"].facts(a="bot"))) == text


def test_a_shell_shows_facts_as_a_table(shell: Any) -> None:
    report = shell.user_ns["conn"].transact(
        [("db/retract-entity", shell.user_ns["db"].documents({"bot": "b"})[0]["db/id"])]
    )
    data, _ = shell.display_formatter.format(report.tx_data)
    assert re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", data["text/html"])[:5] == ["", "e", "a", "v", "tx"]
    assert "−" in data["text/html"]
    assert "3 facts" in data["text/html"]


def test_a_shell_shows_a_connection_with_its_newest_database_while_it_is_open(shell: Any) -> None:
    conn = shell.user_ns["conn"]
    shown = shell.display_formatter.format(conn)[0]["text/html"]
    assert shown.startswith("<div><strong>Connection to memory</strong><div><strong>Database at t = 1</strong>")
    conn.close()
    assert shell.display_formatter.format(conn)[0] == {"text/plain": "<Connection to memory>"}


def test_a_shell_that_unloads_the_extension_is_as_before(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_line_magic("unload_ext", "tourlog")
    assert set(shell.display_formatter.format([{"bot": "a"}])[0]) == {"text/plain"}
    assert [each for each in shell.Completer.custom_matchers if "tourlog" in each.matcher_identifier] == []
    assert shell.custom_exceptions == ()
    shell.run_cell(f"%%datalog\n{ALL}")
    assert "Cell magic `%%datalog` not found" in capsys.readouterr().err
    shell.run_line_magic("load_ext", "tourlog")


def test_loading_twice_completes_once(shell: Any) -> None:
    shell.run_line_magic("reload_ext", "tourlog")
    assert len([each for each in shell.Completer.custom_matchers if "tourlog" in each.matcher_identifier]) == 1


def test_the_cells_of_the_guide_run_and_fail_as_shown(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("altair")
    monkeypatch.chdir(tmp_path)
    chapter = Path(__file__).parent.parent / "notebooks" / "guide" / "notebooks.md"
    found = re.findall(r"^```(\w+)\n(.*?)^```$", chapter.read_text(encoding="utf-8"), re.M | re.S)
    assert {language for language, _ in found} == {"ipython", "text"}
    for (language, cell), (following, text) in zip(found, [*found[1:], ("", "")], strict=True):
        if language == "text":
            continue
        capsys.readouterr()
        assert shell.run_cell(cell).success == (following != "text"), cell
        printed = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
        assert following != "text" or printed.strip() == text.strip()
    assert sorted(shell.user_ns["found"]) == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moves.jsonl", "plan.png", "rules.svg"]


# Imports.


def test_a_file_is_imported_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "moves.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"bot": "a", "x": 1}\n{"bot": "b", "x": 2}\n'))
    with tourlog.connect() as conn:
        done = import_file(conn, path, "bot")
        assert (done.documents, done.streams, done.t) == (2, 2, 1)
        path.write_bytes(gzip.compress(b'{"bot": "a", "x": 3}\nno JSON\n'))
        with pytest.raises(tourlog.DocumentError, match="line 2"):
            import_file(conn, path, "bot")
        assert conn.db().t == 1


BAR = """
import gzip
from pathlib import Path
import tourlog
from tourlog.notebook import import_file

lines = "".join(f'{{"bot": "{number % 7}", "x": {number}}}\\n' for number in range(50_000))
Path("moves.jsonl").write_text(lines)
Path("wrong.jsonl").write_text(lines + "no JSON")
conn = tourlog.connect()
import_file(conn, "moves.jsonl", "bot")
"""


def run_notebook(folder: Path, *cells: str) -> tuple[list[Any], list[Any]]:
    """The cells of a notebook with what they print, and all that was shown meanwhile."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    shown: list[Any] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc]  # Any where it is not installed
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] in ("display_data", "update_display_data"):
                shown.append(msg["content"]["data"])
            return super().process_message(msg, cell, cell_index)

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    Client(notebook, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook.cells, shown


@pytest.mark.timeout(180)
def test_a_notebook_shows_a_bar_that_moves_and_then_what_was_done(tmp_path: Path) -> None:
    (first, second), shown = run_notebook(tmp_path, BAR, 'import_file(conn, "wrong.jsonl", "bot")')
    assert first.outputs[0].data == {
        "text/html": "<div>moves.jsonl: 50,000 documents into 7 streams</div>",
        "text/plain": "moves.jsonl: 50,000 documents into 7 streams",
    }
    assert second.outputs[0].data["text/plain"] == "wrong.jsonl: nothing was imported"
    assert second.outputs[1].ename == "DocumentError"
    bars = [data["text/html"] for data in shown if "<progress" in data.get("text/html", "")]
    shares = [int(found[1]) for bar in bars if "moves" in bar and (found := re.search(r"(\d+)%", bar))]
    assert shares == sorted(set(shares))
    assert len(shares) > 2


SLOW = """
%load_ext tourlog
import time, tourlog
db = tourlog.connect().append([{"bot": "a", "x": 1}], "bot").db_after

quickly = abs

def slow(x):
    time.sleep(2.2)
    return x

def broken(x):
    time.sleep(1)
    raise tourlog.ArgumentError("no")
"""
ASKED = "[:find ?y . :in $ ?f :where [_ :x ?x] [(?f ?x) ?y]]"


@pytest.mark.timeout(180)
def test_a_notebook_tells_how_long_a_query_has_taken_until_it_is_answered(tmp_path: Path) -> None:
    cells = [SLOW, f"%%datalog slow\n{ASKED}", f"%%datalog broken\n{ASKED}", f"%%datalog quickly\n{ASKED}"]
    (_, slow, broken, quick), shown = run_notebook(tmp_path, *cells)
    told = [data["text/plain"] for data in shown if "running" in data["text/plain"]]
    seconds = [int(re.fullmatch(r"running … (\d+) s", text)[1]) for text in told]  # type: ignore[index]
    assert (len(seconds) >= 3, seconds[0] <= 1, max(seconds) >= 2) == (True, True, True)
    assert [output.data["text/plain"] for output in slow.outputs] == ["1"]
    assert [output.output_type for output in broken.outputs] == ["error"]
    assert [output.data["text/plain"] for output in quick.outputs] == ["1"]
    assert len([data for data in shown if data["text/plain"] == ""]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_program_on_a_terminal_shows_a_bar_and_one_in_a_pipe_none(tmp_path: Path) -> None:
    import pty

    master, terminal = pty.openpty()
    program = [sys.executable, "-c", BAR.replace("50_000", "200_000")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(program, cwd=tmp_path, stderr=terminal, env=environment) as process:
        os.close(terminal)
        printed = b""
        try:
            while part := os.read(master, 4096):
                printed += part
        except OSError:  # how Linux says that the other end is closed
            pass
        finally:
            os.close(master)
    assert process.returncode == 0
    assert "moves.jsonl" in printed.decode()
    assert re.search(r"\d+%", printed.decode())
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
