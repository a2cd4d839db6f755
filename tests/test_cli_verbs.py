"""Every verb of the command line on one small store, run in this process; following and interrupts in another."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

import tourlog
from tourlog.cli import app

Run = Callable[..., str]
MOVES = "".join(f'{{"bot": "{bot}", "x": {x}}}\n' for bot, x in (("a", 1), ("b", 2), ("a", 3)))
PROGRAM = str(Path(sys.executable).with_name("tourlog"))
XS = "[:find ?x :where [?e :x ?x]]"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """moves.tour with three documents of two streams, in the folder the verbs run in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moves.jsonl").write_text(MOVES)
    (tmp_path / "xs.edn").write_text(XS)
    (tmp_path / "big.edn").write_text("[[(big ?x) [?e :x ?x] [(< 1 ?x)]]]")
    assert "imported 3 documents" in run("import", "moves.jsonl", "moves.tour", "--key", "bot")
    return tmp_path / "moves.tour"


def run(*arguments: str, given: str = "", exit_code: int = 0) -> str:
    """What a command prints; when it fails, the one line on standard error."""
    result = CliRunner().invoke(app, arguments, input=given)
    assert result.exit_code == exit_code, result.output
    if exit_code:
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        return str(result.stderr)
    return str(result.stdout)


def lines(*arguments: str, given: str = "") -> list[Any]:
    return [json.loads(line) for line in run(*arguments, "--json", given=given).splitlines()]


def entity_of(store: Path, x: int) -> str:
    with tourlog.connect(store, read_only=True) as conn:
        return str(conn.db().q("[:find ?e . :in $ ?x :where [?e :x ?x]]", x))


def test_append_says_where_the_documents_are(store: Path) -> None:
    del store
    assert "bot=a" in run("append", "moves.tour", "--key", "bot", '{"bot": "a", "x": 9}', "--meta", "who=ann")
    run("append", "moves.tour", "--key", "bot", given='{"bot": "c", "x": 1}\n{"bot": "c", "x": 2}\n')
    assert [line["documents"] for line in lines("streams", "moves.tour")] == [3, 1, 2]
    assert '"who": "ann"' in run("log", "moves.tour")


def test_a_tx_id_is_stored_once_and_a_wrong_offset_is_refused(store: Path) -> None:
    for _ in range(2):
        run("append", "moves.tour", "--key", "bot", "--tx-id", "T1", '{"bot": "b", "x": 7}')
    assert lines("q", "moves.tour", "[:find (count ?e) . :where [?e :x 7]]") == [1]
    error = run("append", "moves.tour", "--key", "bot", "--expect", "0", '{"bot": "b", "x": 8}', exit_code=1)
    assert error == "tourlog: expected stream bot=b at offset 0, it is at 2\n"
    run("append", "moves.tour", "--key", "bot", "--expect", "2", '{"bot": "b", "x": 8}')
    with tourlog.connect(store, read_only=True) as conn:
        assert sorted(conn.db().q("[:find [?x ...] :where [?e :x ?x]]")) == [1, 2, 3, 7, 8]


def test_tail_prints_the_newest_in_order(store: Path) -> None:
    del store
    assert run("tail", "moves.tour", "bot=a", "--from", "1") == 'a  1  {"x": 3}\n'
    assert [line["document"]["x"] for line in lines("tail", "moves.tour", "-n", "2")] == [
        3,
        2,
    ]  # of one transaction, stream by stream


def test_tail_follows_what_others_append_until_it_is_interrupted(store: Path) -> None:
    command = [PROGRAM, "tail", str(store), "bot=a", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(2)] == ['a  0  {"x": 1}\n', 'a  1  {"x": 3}\n']
        with tourlog.connect(store) as conn:
            conn.append([{"bot": "a", "x": 5}], "bot")
        assert child.stdout.readline() == 'a  2  {"x": 5}\n'
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        assert (child.returncode, errors) == (130, "")


def test_nobody_who_reads_is_no_error(store: Path) -> None:
    with tourlog.connect(store) as conn:
        conn.append([{"bot": "z", "text": "x" * 100} for _ in range(5_000)], "bot")
    command = f"{PROGRAM} tail {store} -n 5000 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "given", "expected"),
    [
        (["--file", "xs.edn"], "", [[1], [2], [3]]),
        ([], XS, [[1], [2], [3]]),
        (["[:find [?x ...] :in $ ?b :where [?e :bot ?b] [?e :x ?x]]", "--in", "a"], "", [1, 3]),
        (["[:find [?x ...] :in $ % :where (big ?x)]", "--rules", "big.edn"], "", [2, 3]),
        ([XS, "--engine", "compiled", "--timeout", "20", "--max-rows", "3"], "", [[1], [2], [3]]),
        ([XS, "--as-of", "1"], "", [[1], [2], [3]]),
        (["[:find (count ?e) . :where [?e :bot]]", "--engine", "pydatalog"], "", [3]),
    ],
)
def test_q_reads_its_query_and_inputs_from_where_they_are(
    store: Path, arguments: list[str], given: str, expected: list[Any]
) -> None:
    with tourlog.connect(store) as conn:
        if "--as-of" in arguments:
            conn.append([{"bot": "a", "x": 100}], "bot")
    assert sorted(lines("q", "moves.tour", *arguments, given=given)) == expected


def test_q_explains_and_refuses(store: Path) -> None:
    del store
    assert "SELECT" in run("q", "moves.tour", XS, "--explain", "--engine", "compiled")
    assert "more than max_rows=1 rows" in run("q", "moves.tour", XS, "--max-rows", "1", exit_code=1)
    assert "line 1, column 8" in run("q", "moves.tour", "[:find ?y :where [?e :x ?x]]", exit_code=1)


def test_an_entity_its_pull_and_its_history(store: Path) -> None:
    e = entity_of(store, 3)
    assert lines("entity", "moves.tour", e)[0]["x"] == 3
    assert lines("pull", "moves.tour", "[:bot :x]", e) == [{"bot": "a", "x": 3}]
    with tourlog.connect(store) as conn:
        conn.transact([["db/retract", UUID(e), "x", 3]])
    assert [state["document"].get("x") for state in lines("history", "moves.tour", e)] == [3, None]


def test_diff_and_stats_count_what_came(store: Path) -> None:
    del store
    run("append", "moves.tour", "--key", "bot", '{"bot": "a", "x": 9}')
    assert len(lines("diff", "moves.tour", "1", "2")) == 3
    assert lines("stats", "moves.tour")[0]["documents"] == 4


def test_consumers_show_how_far_they_have_come(store: Path) -> None:
    assert lines("consumers", "moves.tour") == []
    bank = tourlog.Consumer("bank")
    with tourlog.connect(store) as conn:
        for _, move in conn.subscribe({"bot": "a"}, start=bank).take(1):
            conn.transact([bank.done(move)])
    (line,) = lines("consumers", "moves.tour")
    assert (line["consumer"], line["committed"], line["lag"]) == ("bank", 1, 1)


def test_an_invariant_is_added_listed_kept_and_dropped(store: Path) -> None:
    del store
    run("invariants", "add", "moves.tour", "no debts", "[:find ?x :where [?e :x ?x] [(< ?x 0)]]")
    assert [line["name"] for line in lines("invariants", "list", "moves.tour")] == ["no debts"]
    refused = run("append", "moves.tour", "--key", "bot", '{"bot": "a", "x": -1}', exit_code=1)
    assert refused == "tourlog: the invariant 'no debts' does not hold: [(-1,)]\n"
    run("invariants", "drop", "moves.tour", "no debts")
    run("append", "moves.tour", "--key", "bot", '{"bot": "a", "x": -1}')


def test_rules_are_listed_and_printed() -> None:
    assert {"events", "graph", "log", "order"} <= {line["name"] for line in lines("rules")}
    assert "(reachable" in run("rules", "graph")


def _verbs(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += _verbs(command, (*path, name)) if hasattr(command, "commands") else [(*path, name)]
    return found


def test_every_verb_has_help_with_an_example() -> None:
    import typer.main

    verbs = _verbs(typer.main.get_command(app))
    assert len(verbs) > 20
    assert [verb for verb in verbs if "Example" not in run(*verb, "--help")] == []
