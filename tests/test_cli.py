"""The commands, on real files; those whose behaviour needs a process of their own run in one."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

import tourlog
from tourlog.cli import app

EVENTS = [
    {"bot": "a", "type": "created", "x": 1},
    {"bot": "b", "type": "created", "x": 2},
    {"bot": "a", "type": "moved", "x": 3},
]
TWO_LINES = b'{"bot": "a"}\n{"bot": "b"}\n'


def run(*words: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin)


def succeed(*words: object, stdin: bytes | None = None) -> str:
    result = run(*words, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def fail(*words: object, stdin: bytes | None = None) -> str:
    """The one line a command prints when it fails."""
    result = run(*words, stdin=stdin)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    (line,) = result.stderr.splitlines()
    return line


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def lines(text: str) -> list[str]:
    """The lines of a table without the spaces that fill its cells, nor the rule under its header."""
    return [" ".join(line.split()) for line in text.splitlines() if not set(line) <= {"─", " "}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in EVENTS), encoding="utf-8")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "bots.tour"
    with tourlog.connect(path) as conn:
        conn.append(EVENTS, "bot")
    return path


class TestImport:
    def test_it_appends_every_line_in_order(self, file: Path, tmp_path: Path) -> None:
        store = tmp_path / "new.tour"
        assert succeed("import", file, store, "--key", "bot").startswith(
            f"imported 3 documents into 2 streams of {store} in "
        )
        with tourlog.connect(store, read_only=True) as conn:
            assert conn.db().t == 1
            documents = conn.db().documents({"bot": "a"})
        assert [{name: d[name] for name in ("bot", "type", "x")} for d in documents] == [EVENTS[0], EVENTS[2]]

    def test_it_adds_to_what_the_store_holds(self, file: Path, store: Path) -> None:
        assert json_lines(succeed("import", file, store, "--key", "bot", "--json")) == [
            {"documents": 3, "streams": 2, "t": 2}
        ]
        with tourlog.connect(store, read_only=True) as conn:
            assert conn.db().entity("offset-metadata") == {"db/id": "offset-metadata", "a": 4, "b": 2}

    def test_the_key_may_have_several_attributes(self, file: Path, tmp_path: Path) -> None:
        store = tmp_path / "new.tour"
        succeed("import", file, store, "--key", "bot", "--key", "type")
        assert lines(succeed("streams", store)) == [
            "stream key documents",
            "a-created bot, type 1",
            "b-created bot, type 1",
            "a-moved bot, type 1",
        ]

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_standard_input_may_be_plain_or_gzipped(self, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
        store = tmp_path / "new.tour"
        output = succeed("import", "-", store, "--key", "bot", "--json", stdin=pack(TWO_LINES))
        assert json_lines(output) == [{"documents": 2, "streams": 2, "t": 1}]

    def test_a_gzipped_file_is_known_by_its_content(self, tmp_path: Path) -> None:
        file = tmp_path / "events"
        file.write_bytes(gzip.compress(TWO_LINES))
        assert "imported 2 documents" in succeed("import", file, tmp_path / "new.tour", "--key", "bot")

    def test_empty_lines_and_a_byte_order_mark_are_skipped(self, tmp_path: Path) -> None:
        data = b'\xef\xbb\xbf{"bot": "a"}\r\n\n  \n{"bot": "a"}'
        assert "imported 2 documents into 1 " in succeed(
            "import", "-", tmp_path / "new.tour", "--key", "bot", stdin=data
        )

    def test_an_empty_file_appends_nothing(self, tmp_path: Path) -> None:
        output = succeed("import", "-", tmp_path / "new.tour", "--key", "bot", "--json", stdin=b"")
        assert json_lines(output) == [{"documents": 0, "streams": 0, "t": 0}]

    def test_numbers_come_through_exactly(self, tmp_path: Path) -> None:
        store = tmp_path / "new.tour"
        data = b'{"k": 1, "big": 123456789012345678901234567890, "small": 0.1, "none": null, "yes": true}'
        succeed("import", "-", store, "--key", "k", stdin=data)
        (document,) = json_lines(succeed("read", store, "k=1", "--json"))
        del document["db/id"]
        assert document == json.loads(data) | {"offset": 0}

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            (b'{"bot": "a"', "expected a JSON object, got something else at column 12"),
            (b"[1]", "expected a JSON object, got list"),
            (b"null", "expected a JSON object, got NoneType"),
            (b'{"bot": "a"} {}', "expected a JSON object, got something else at column 14 (Extra data)"),
            (b'{"bot": "\xff"}', "expected a JSON object, got bytes that are not UTF-8 at byte 10"),
            (b'{"bot": "a", "x": 1, "x": 2}', "the name 'x' twice in one object"),
            (b'{"bot": "a", "x": ' + b"[" * 100_000, "expected less nesting"),
            (b'{"bot": "a", "x": ' + b"[" * 500 + b"]" * 500 + b"}", "at most 200 nested levels"),
            (b'{"bot": "a", "x": ' + b"1" * 5_000 + b"}", "expected a JSON object, got "),
            (b'{"x": 1}', "lacks the key attribute 'bot'"),
            (b'{"bot": null}', "has None in the key attribute 'bot'"),
            (b'{"bot": ["a"]}', "has a list in the key attribute 'bot'"),
            (b'{"bot": "a", "db/id": 1}', "has 'db/id', which the store adds itself"),
            (b'{"bot": "a", "offset": 1}', "has 'offset', which the store adds itself"),
        ],
    )
    def test_a_bad_line_is_named_and_nothing_is_stored(
        self, line: bytes, problem: str, store: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "bad.jsonl"
        file.write_bytes(TWO_LINES * 700 + line + b"\n" + TWO_LINES)
        message = fail("import", file, store, "--key", "bot")
        assert f"{file} line 1401" in message
        assert problem in message
        with tourlog.connect(store, read_only=True) as conn:
            assert conn.db().t == 1

    def test_a_cut_gzip_file_is_named_and_nothing_is_stored(self, store: Path, tmp_path: Path) -> None:
        file = tmp_path / "cut.jsonl.gz"
        file.write_bytes(gzip.compress(TWO_LINES * 10_000)[:-20])
        assert f"expected readable data, got {'Compressed file ended'}" in fail("import", file, store, "--key", "bot")
        with tourlog.connect(store, read_only=True) as conn:
            assert conn.db().t == 1

    def test_a_missing_file_makes_no_store(self, tmp_path: Path) -> None:
        message = fail("import", tmp_path / "no.jsonl", tmp_path / "new.tour", "--key", "bot")
        assert message.startswith("tourlog: expected a readable file, got ")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("key", ["db/id", "offset"])
    def test_a_key_of_the_store_s_own_is_refused(self, key: str, file: Path, tmp_path: Path) -> None:
        assert repr(key) in fail("import", file, tmp_path / "new.tour", "--key", key)

    def test_a_key_is_required(self, file: Path, tmp_path: Path) -> None:
        result = run("import", file, tmp_path / "new.tour")
        assert result.exit_code == 2
        assert "--key" in result.stderr
        assert not (tmp_path / "new.tour").exists()

    def test_a_file_that_is_no_store_is_left_alone(self, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "notes.txt"
        other.write_text("not a store", encoding="utf-8")
        assert "notes.txt" in fail("import", file, other, "--key", "bot")
        assert other.read_text(encoding="utf-8") == "not a store"


class TestRead:
    def test_it_prints_a_stream_in_order(self, store: Path) -> None:
        assert lines(succeed("read", store, "bot=a")) == ["offset type x", "0 created 1", "1 moved 3"]

    def test_it_prints_a_part_of_it(self, store: Path) -> None:
        def offsets(*options: str) -> list[int]:
            return [each["offset"] for each in json_lines(succeed("read", store, "bot=a", "--json", *options))]

        assert offsets("--from", "1") == [1]
        assert offsets("--to", "1") == [0]
        assert offsets("--from", "1", "--to", "1") == []

    def test_json_has_the_whole_document(self, store: Path) -> None:
        documents = json_lines(succeed("read", store, "bot=a", "--json"))
        with tourlog.connect(store, read_only=True) as conn:
            assert documents == [{**each, "db/id": str(each["db/id"])} for each in conn.db().documents({"bot": "a"})]

    def test_a_value_is_tried_as_text_then_as_what_it_reads_as(self, tmp_path: Path) -> None:
        store = tmp_path / "values.tour"
        some = UUID("73ff776c-572c-4fd7-9c4e-0ef829b57307")
        keys: list[Any] = ["1", 1, 2, True, some, Decimal("1.5"), date(2026, 1, 2), "a=b", datetime.min]
        with tourlog.connect(store) as conn:
            conn.append([{"k": key, "n": n} for n, key in enumerate(keys)], "k")

        def found(word: str) -> int:
            (document,) = json_lines(succeed("read", store, word, "--json"))
            return int(document["n"])

        assert [found(f"k={value}") for value in ("1", "2", "true", some, "1.5M", "a=b")] == [
            0,
            2,
            3,
            4,
            5,
            7,
        ]
        assert [found(f"k:={value}") for value in ("1", '"1"', f'#uuid "{some}"')] == [1, 0, 4]

    def test_a_composite_key_is_compared_as_a_tuple(self, tmp_path: Path) -> None:
        store = tmp_path / "log.tour"
        with tourlog.connect(store) as conn:
            conn.append([{"topic": "a-1", "partition": 2}, {"topic": "a", "partition": "1-2"}], "topic", "partition")
        (document,) = json_lines(succeed("read", store, "partition=2", "topic=a-1", "--json"))
        assert document["topic"] == "a-1"

    @pytest.mark.parametrize("words", [["bot=c"], ["type=created"], ["bot=a", "x=1"], ["bot:=1"]])
    def test_a_stream_that_does_not_exist_is_said_to(self, words: list[str], store: Path) -> None:
        assert fail("read", store, *words) == (
            f"tourlog: expected the key of a stream in the store, got {' '.join(words)}"
        )

    @pytest.mark.parametrize("word", ["bot", "=a", ""])
    def test_a_word_that_is_no_key_is_refused(self, word: str, store: Path) -> None:
        assert fail("read", store, word) == f"tourlog: expected NAME=VALUE, got {word!r}"

    @pytest.mark.parametrize("option", [["--from", "-1"], ["--to", "x"], ["--no-such-option"]])
    def test_wrong_usage_is_exit_code_two(self, option: list[str], store: Path) -> None:
        result = run("read", store, "bot=a", *option)
        assert (result.exit_code, result.stdout) == (2, "")


class TestQuery:
    def test_a_relation_is_a_table_in_the_order_of_its_values(self, store: Path) -> None:
        query = "[:find ?bot (sum ?x) :where [?e :bot ?bot] [?e :x ?x]]"
        assert lines(succeed("q", store, query)) == ["?bot (sum ?x)", "a 4", "b 2"]
        assert json_lines(succeed("q", store, query, "--json")) == [["a", 4], ["b", 2]]

    def test_an_order_is_kept(self, store: Path) -> None:
        query = "[:find ?bot ?x :where [?e :bot ?bot] [?e :x ?x] :order-by [[?x :desc]]]"
        assert json_lines(succeed("q", store, query, "--json")) == [["a", 3], ["b", 2], ["a", 1]]

    def test_named_columns_head_the_table(self, store: Path) -> None:
        query = "[:find ?bot ?x :keys name place :where [?e :bot ?bot] [?e :x ?x] [?e :type :moved]]"
        assert lines(succeed("q", store, query)) == ["name place", "a 3"]
        assert json_lines(succeed("q", store, query, "--json")) == [{"name": "a", "place": 3}]

    def test_a_collection_is_a_line_a_value(self, store: Path) -> None:
        query = "[:find [?bot ...] :where [?e :bot ?bot]]"
        assert lines(succeed("q", store, query)) == ["a", "b"]
        assert json_lines(succeed("q", store, query, "--json")) == ["a", "b"]

    def test_a_tuple_and_a_scalar_are_one_line(self, store: Path) -> None:
        assert lines(succeed("q", store, "[:find [(min ?x) (max ?x)] :where [?e :x ?x]]")) == ["1 3"]
        assert lines(succeed("q", store, "[:find (count ?e) . :where [?e :x]]")) == ["3"]
        assert json_lines(succeed("q", store, "[:find (count ?e) . :where [?e :x]]", "--json")) == [3]

    def test_no_answer(self, store: Path) -> None:
        assert lines(succeed("q", store, "[:find ?e :where [?e :y]]")) == ["?e"]
        assert json_lines(succeed("q", store, "[:find ?e :where [?e :y]]", "--json")) == []
        assert json_lines(succeed("q", store, "[:find ?e . :where [?e :y]]", "--json")) == [None]
        assert lines(succeed("q", store, "[:find [?e ...] :where [?e :y]]")) == []

    def test_pulled_documents_are_spread_over_columns(self, store: Path) -> None:
        query = "[:find (pull ?e [:bot :x]) :where [?e :type :moved]]"
        assert lines(succeed("q", store, query)) == ["bot x", "a 3"]
        assert json_lines(succeed("q", store, query, "--json")) == [[{"bot": "a", "x": 3}]]

    @pytest.mark.parametrize(
        ("entry", "value", "expected"),
        [
            ("?x", "3", ["a"]),
            ("?x", "3.0", ["a"]),
            ("?x", '"3"', []),
            ("[?x ...]", "[2, 3]", ["a", "b"]),
            ("[?x ...]", "#{2}", ["b"]),
            ("[[?x ?note]]", '[[1, "x"]]', ["a"]),
        ],
    )
    def test_inputs_are_json_or_edn(self, entry: str, value: str, expected: list[str], store: Path) -> None:
        query = f"[:find [?bot ...] :in $ {entry} :where [?e :bot ?bot] [?e :x ?x]]"
        assert json_lines(succeed("q", store, query, value, "--json")) == expected

    def test_other_inputs_are_text(self, store: Path) -> None:
        query = "[:find (count ?e) . :in $ ?type :where [?e :type ?type]]"
        assert json_lines(succeed("q", store, query, "created", "--json")) == [2]
        assert json_lines(succeed("q", store, query, ":moved", "--json")) == [1]

    def test_a_file_of_rules_goes_where_the_query_has_them(self, store: Path, tmp_path: Path) -> None:
        rules = tmp_path / "rules.edn"
        rules.write_text("[[(near ?e ?n) [?e :x ?x] [(<= ?x ?n)]]]", encoding="utf-8")
        query = "[:find [?x ...] :in $ ?n % :where (near ?e ?n) [?e :x ?x]]"
        assert json_lines(succeed("q", store, query, "2", "--rules", rules, "--json")) == [1, 2]
        assert fail("q", store, "[:find ?e :where [?e :x]]", "--rules", rules) == (
            "tourlog: expected % in :in of a query that is given --rules"
        )

    def test_an_unknown_rule_library_is_refused(self, store: Path) -> None:
        message = fail("q", store, "[:find ?e :in $ % :where (r ?e)]", "--rules", "no-such-library")
        assert "expected the name of a rule library" in message

    @pytest.mark.parametrize(
        ("query", "problem"),
        [
            ("[:find ?e :where", "line 1"),
            ("[:find ?e :where [?f :x]]", "?e"),
            ("[:find ?e :in $ ?x :where [?e :x ?x]]", "2 inputs"),
            ("[:find ?e :where [?e :type ?t] [(+ ?t 1) ?u]]", "+"),
        ],
    )
    def test_a_query_that_cannot_be_is_one_line(self, query: str, problem: str, store: Path) -> None:
        assert problem in fail("q", store, query)

    def test_a_table_cannot_write_to_the_terminal_what_a_document_holds(self, store: Path) -> None:
        with tourlog.connect(store) as conn:
            conn.append([{"bot": "\x1b[2J\u202eevil\r\n[red]"}], "bot")
        output = succeed("q", store, "[:find [?bot ...] :where [?e :bot ?bot]]")
        assert r"\u001b[2J\u202eevil\r\n[red]" in output

    def test_values_json_does_not_have_are_written_as_the_module_says(self, tmp_path: Path) -> None:
        store = tmp_path / "values.tour"
        document = {
            "k": 1,
            "uuid": UUID(int=1),
            "decimal": Decimal("1.50"),
            "at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
            "day": date(2026, 1, 2),
            "took": timedelta(seconds=90),
            "raw": b"\x00\xff",
            "nan": float("nan"),
            "inf": [float("inf"), -float("inf")],
            "set": {3, 1, 2},
            "huge": 10**5000,
        }
        with tourlog.connect(store) as conn:
            conn.append([document], "k")
        (got,) = json_lines(succeed("read", store, "k=1", "--json"))
        del got["db/id"], got["offset"]
        assert got == {
            "k": 1,
            "uuid": "00000000-0000-0000-0000-000000000001",
            "decimal": "1.50",
            "at": "2026-01-02T03:04:05.000006+00:00",
            "day": "2026-01-02",
            "took": "PT90S",
            "raw": "AP8=",
            "nan": "NaN",
            "inf": ["Infinity", "-Infinity"],
            "set": [1, 2, 3],
            "huge": hex(10**5000),
        }


class TestStreams:
    def test_it_lists_name_key_and_count(self, store: Path) -> None:
        assert lines(succeed("streams", store)) == ["stream key documents", "a bot 2", "b bot 1"]
        assert json_lines(succeed("streams", store, "--json")) == [
            {"name": "a", "key": {"bot": "a"}, "documents": 2},
            {"name": "b", "key": {"bot": "b"}, "documents": 1},
        ]

    @pytest.mark.parametrize("words", [["read", "bot=a"], ["q", "[:find ?e :where [?e :x]]"], ["streams"]])
    def test_looking_never_makes_or_changes_a_file(self, words: list[str], tmp_path: Path, store: Path) -> None:
        command, *rest = words
        message = fail(command, tmp_path / "no.tour", *rest)
        assert "no.tour" in message
        assert not (tmp_path / "no.tour").exists()
        before = store.read_bytes()
        succeed(command, store, *rest)
        assert store.read_bytes() == before


class TestDemo:
    def test_it_shows_the_main_job_and_removes_its_store(self) -> None:
        output = succeed("demo")
        assert "9,418 documents, 643 streams" in output
        assert "5,531 documents" in output
        assert "5,204 commits" in output
        assert "2024-04-07T10:24:40-07:00" in output
        kept = output.splitlines()[-1].rpartition(" ")[2]
        assert kept.endswith("demo.tour")
        assert not Path(kept).exists()

    def test_it_keeps_a_store_it_is_given_and_refuses_one_that_holds_something(self, tmp_path: Path) -> None:
        store = tmp_path / "kept.tour"
        steps = json_lines(succeed("demo", store, "--json"))
        assert {"name", "amount", "seconds"} == set(steps[0])
        # The README.md of the data has ten events; the demo saves one more.
        assert len(json_lines(succeed("read", store, "aggregate-id=README.md", "--json"))) == 11
        held = store.read_bytes()
        assert "expected a new or empty store" in fail("demo", store)
        assert store.read_bytes() == held

    def test_its_answers_are_those_of_plain_python(self) -> None:
        with gzip.open(Path(tourlog.__file__).parent / "data" / "commits.jsonl.gz", "rt") as source:
            parents = {each["commit"]: each["parents"] for each in map(json.loads, source)}
        ancestors: set[str] = set()
        left = [*parents["87d5f5b9a969"]]
        while left:
            commit = left.pop()
            if commit not in ancestors:
                ancestors.add(commit)
                left.extend(parents[commit])
        assert len(ancestors) == 5_204


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


class TestProcess:
    """What only a real process shows."""

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-c", "from tourlog.cli import main; main()", *map(str, words)]

    def test_help_and_version(self, tmp_path: Path) -> None:
        done = subprocess.run(self.command("--help"), cwd=tmp_path, capture_output=True, text=True, check=True)
        for name in ("import", "read", "q", "streams", "demo", "--version"):
            assert name in done.stdout

    def test_an_interrupt_undoes_the_import(self, store: Path) -> None:
        with subprocess.Popen(
            self.command("import", "-", store, "--key", "bot"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(TWO_LINES * 5_000)
            process.stdin.flush()
            wait_for(Path(f"{store}-wal").exists)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
        assert (process.returncode, stdout, stderr) == (130, b"", b"")
        with tourlog.connect(store, read_only=True) as conn:
            assert conn.db().t == 1

    def test_a_reader_that_goes_away_is_no_error(self, tmp_path: Path) -> None:
        store = tmp_path / "many.tour"
        with tourlog.connect(store) as conn:
            conn.append([{"k": 1, "text": "x" * 100} for _ in range(5_000)], "k")
        with subprocess.Popen(
            self.command("read", store, "k=1", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert process.wait(timeout=30) == 141

    def test_in_a_pipe_a_row_is_one_line_however_long(self, tmp_path: Path) -> None:
        store = tmp_path / "wide.tour"
        with tourlog.connect(store) as conn:
            conn.append([{"k": 1, "text": "word " * 100}], "k")
        done = subprocess.run(
            self.command("read", store, "k=1"),
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "40"},
        )
        assert "word " * 100 in done.stdout
        assert len(done.stdout.splitlines()) == 3
        assert "\x1b" not in done.stdout

    def test_on_a_terminal_a_table_fits_its_width(self, tmp_path: Path) -> None:
        store = tmp_path / "wide.tour"
        with tourlog.connect(store) as conn:
            conn.append([{"k": 1, "text": "word " * 100}], "k")
        reader, writer = pty.openpty()
        environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm"}
        subprocess.run(self.command("read", store, "k=1"), stdout=writer, check=True, env=environment)
        os.close(writer)
        shown = re.sub("\x1b\\[[0-9;]*m", "", os.read(reader, 100_000).decode())
        os.close(reader)
        # About four lines of a cell; the whole text is in --json, and in a pipe.
        assert shown.count("word") == 16
        assert "word…" in shown
        assert max(map(len, shown.splitlines())) <= 40


def test_compact_joins_small_batches_and_says_how_many_it_saved(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with tourlog.connect(store) as conn:
        for n in range(5):
            conn.append([{"k": "a", "n": n}], "k")
    assert json.loads(succeed("compact", store, "--json")) == {"fewer": 4}
    assert "0" in succeed("compact", store)
    assert [json.loads(line)["n"] for line in succeed("read", store, "k=a", "--json").splitlines()] == [0, 1, 2, 3, 4]


def test_compact_makes_no_store(tmp_path: Path) -> None:
    assert "no such file" in fail("compact", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_import_without_key_names_the_file_and_an_example(tmp_path: Path) -> None:
    moves = tmp_path / "moves.jsonl"
    moves.write_text('{"bot": "a"}\n')
    result = run("import", moves, tmp_path / "new.tour")
    assert result.exit_code == 2
    assert "such as --key id" in result.stderr
    assert not (tmp_path / "new.tour").exists()


def test_import_of_a_missing_file_says_so_even_without_key(tmp_path: Path) -> None:
    missing = tmp_path / "missing.jsonl"
    assert str(missing) in fail("import", missing, tmp_path / "new.tour")
    assert not (tmp_path / "new.tour").exists()
