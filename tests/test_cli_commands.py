"""The commands by verb: the example in each one's help runs, what each prints, and how each fails."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer
from test_cli import fail, json_lines, lines, run, succeed
from typer.testing import CliRunner

import tourlog
from tourlog.arguments import find_entity
from tourlog.cli import app
from tourlog.consumers import Consumer
from tourlog.rule_files import read_rule_file, rule_file_names

MOVES = [
    {"bot": "a", "type": "created", "x": 1},
    {"bot": "b", "type": "created", "x": 2},
    {"bot": "a", "type": "moved", "x": 3},
]
SOME = UUID(int=1)
XS = "[:find [?x ...] :where [?e :x ?x]]"
SQUARE = "[:find ?x ?y :where [?e :x ?x] [?f :x ?y]]"
ON_THE_MAP = "[:find ?e :where [?e :x ?x] [(< ?x 0)]]"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Moves of two bots; what is known of one; what is known no more; a consumer; an invariant."""
    path = tmp_path / "moves.tour"
    with tourlog.connect(path) as conn:
        conn.append(MOVES, "bot", tx_id="first", meta={"who": "ann"})
        conn.transact(
            [{"db/id": "a", "model": "rover", "owner": "ann"}, {"db/id": "ann", "name": "Ann"}, {"db/id": SOME, "n": 1}]
        )
        conn.transact([{"db/id": "a", "model": "drone", "owner": "ann"}, {"db/id": 7, "n": 2}])
        conn.transact([("db/retract-entity", SOME), ("db/retract-entity", 7)])
        robots = Consumer("robots")
        with conn.subscribe({"bot": "a"}, start=robots) as documents:
            conn.transact([robots.done(document) for _, document in documents.take(1)])
        conn.require("on-the-map", ON_THE_MAP)
    return path


def command_names(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from command_names(command, (*before, name))
        else:
            yield (*before, name)


VERBS = list(command_names(typer.main.get_command(app)))


def t_of(store: Path) -> int:
    with tourlog.connect(store, read_only=True) as conn:
        return conn.db().t


class TestExamples:
    @pytest.mark.parametrize("verb", VERBS, ids=" ".join)
    def test_the_example_in_the_help_of_a_verb_runs(
        self, verb: tuple[str, ...], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "moves.jsonl").write_text("".join(f"{json.dumps(move)}\n" for move in MOVES), encoding="utf-8")
        assert store == tmp_path / "moves.tour"
        monkeypatch.chdir(tmp_path)
        (example,) = [
            line.strip().removeprefix("Example: ")
            for line in succeed(*verb, "--help").splitlines()
            if line.strip().startswith("Example: ")
        ]
        words, stdin = shlex.split(example), None
        if words[0] == "echo":
            assert words[2] == "|"
            words, stdin = words[3:], words[1].encode()
        assert tuple(words[: len(verb) + 1]) == ("tourlog", *verb)
        assert succeed(*words[1:], stdin=stdin).strip() != ""

    def test_every_verb_is_among_them(self) -> None:
        names = "import streams read append tail q shell rules entity pull history log diff stats compact consumers"
        expected: set[tuple[str, ...]] = {(name,) for name in [*names.split(), "verify", "backup", "doctor", "demo"]}
        expected |= {("export",)}
        expected |= {("invariants", name) for name in ("list", "add", "drop")}
        assert set(VERBS) == expected


class TestAppend:
    def test_documents_come_from_arguments_or_lines_of_standard_input(self, store: Path) -> None:
        assert lines(succeed("append", store, "--key", "bot", '{"bot": "c", "x": 4}', '{"bot": "b", "x": 5}')) == [
            "stream first last t",
            "bot=c 0 0 7",
            "bot=b 1 1 7",
        ]
        output = succeed("append", store, "--key", "bot", "--json", stdin=b'{"bot": "c"}\n\n{"bot": "c"}\n')
        assert json_lines(output) == [{"t": 8, "key": {"bot": "c"}, "first": 1, "last": 2}]

    def test_it_makes_a_store(self, tmp_path: Path) -> None:
        succeed("append", tmp_path / "new.tour", "--key", "k", '{"k": 1}')
        assert [each["k"] for each in json_lines(succeed("read", tmp_path / "new.tour", "k=1", "--json"))] == [1]

    def test_what_is_refused_makes_none(self, tmp_path: Path) -> None:
        assert "lacks the key attribute 'k'" in fail("append", tmp_path / "new.tour", "--key", "k", '{"n": 1}')
        assert not (tmp_path / "new.tour").exists()

    def test_expect_is_the_next_offset_or_nothing_is_stored(self, store: Path) -> None:
        message = fail("append", store, "--key", "bot", '{"bot": "a"}', "--expect", 1)
        assert "2" in message
        assert t_of(store) == 6
        output = succeed("append", store, "--key", "bot", '{"bot": "a"}', "--expect", 2, "--json")
        assert json_lines(output) == [{"t": 7, "key": {"bot": "a"}, "first": 2, "last": 2}]
        succeed("append", store, "--key", "bot", '{"bot": "new"}', "--expect", 0)

    def test_the_same_tx_id_twice_is_stored_once_and_reported_twice(self, store: Path) -> None:
        words = ("append", store, "--key", "bot", '{"bot": "a", "x": 9}', "--tx-id", "order-1", "--json")
        first = json_lines(succeed(*words))
        assert json_lines(succeed(*words)) == first == [{"t": 7, "key": {"bot": "a"}, "first": 2, "last": 2}]
        assert len(json_lines(succeed("read", store, "bot=a", "--json"))) == 3

    def test_meta_is_stated_about_the_transaction(self, store: Path) -> None:
        succeed("append", store, "--key", "bot", '{"bot": "a"}', "--meta", "who=bob", "--meta", "n=1", "--tx-id", "x")
        (found,) = json_lines(succeed("log", store, "--from", 7, "--json"))
        assert datetime.fromisoformat(found.pop("instant")).tzinfo is not None
        assert found == {
            "t": 7,
            "tx-id": "x",
            "meta": {"who": "bob", "n": 1},
            "appended": [{"key": {"bot": "a"}, "first": 2, "last": 2}],
        }

    @pytest.mark.parametrize(
        ("words", "problem"),
        [
            (['{"bot": "c"}', "[1]"], "argument line 2"),
            (['{"bot": "c"}', '{"x": 1}'], "lacks the key attribute 'bot'"),
            (['{"bot": "c"}', "--meta", "who"], "expected NAME=VALUE, got 'who'"),
            (['{"bot": "c", "x": -1}'], "the invariant 'on-the-map' does not hold"),
        ],
    )
    def test_what_is_refused_stores_nothing(self, words: list[str], problem: str, store: Path) -> None:
        assert problem in fail("append", store, "--key", "bot", *words)
        assert t_of(store) == 6


def places(output: str) -> list[tuple[Any, int]]:
    return [(each["key"]["bot"], each["document"]["offset"]) for each in json_lines(output)]


class TestTail:
    def test_it_prints_the_newest_in_the_order_of_commits(self, store: Path) -> None:
        assert succeed("tail", store).splitlines() == [
            't=1  a  0  {"type": "created", "x": 1}',
            't=1  a  1  {"type": "moved", "x": 3}',
            't=1  b  0  {"type": "created", "x": 2}',
        ]
        succeed("append", store, "--key", "bot", '{"bot": "a", "x": 4}')
        assert succeed("tail", store, "-n", 1).splitlines() == ['t=7  a  2  {"x": 4}']
        assert succeed("tail", store, "-n", 0) == ""

    def test_it_looks_back_over_transactions_that_appended_nothing(self, store: Path) -> None:
        with tourlog.connect(store) as conn:
            for n in range(100):
                conn.transact([{"db/id": "a", "model": str(n)}])
        assert places(succeed("tail", store, "-n", 2, "--json")) == [("a", 1), ("b", 0)]
        assert places(succeed("tail", store, "bot=a", "-n", 1, "--json")) == [("a", 1)]

    def test_a_key_narrows_it(self, store: Path) -> None:
        with tourlog.connect(store) as conn:
            conn.append(
                [{"topic": "t", "part": 1}, {"topic": "t", "part": 2}, {"topic": "u", "part": 1}], "topic", "part"
            )

        def keys(*words: object) -> list[dict[str, Any]]:
            return [each["key"] for each in json_lines(succeed("tail", store, *words, "--json"))]

        assert keys("bot=b") == [{"bot": "b"}]
        assert keys("bot") == [{"bot": "a"}, {"bot": "a"}, {"bot": "b"}]
        assert keys("topic=t") == [{"topic": "t", "part": 1}, {"topic": "t", "part": 2}]
        assert keys("part=1", "topic") == [{"topic": "t", "part": 1}, {"topic": "u", "part": 1}]

    @pytest.mark.parametrize("words", [["bot=none"], ["topic"], ["bot", "x=1"], ["bot=none", "--from", "0"]])
    def test_a_stream_that_does_not_exist_is_said_to(self, words: list[str], store: Path) -> None:
        key = " ".join(words).removesuffix(" --from 0")
        assert fail("tail", store, *words) == f"tourlog: expected the key of a stream in the store, got {key}"

    def test_from_is_an_offset_of_a_stream_else_a_position(self, store: Path) -> None:
        succeed("append", store, "--key", "bot", '{"bot": "b", "x": 4}')
        (document,) = json_lines(succeed("read", store, "bot=b", "--from", 1, "--json"))
        expected = {"place": 1, "key": {"bot": "b"}, "document": document}
        assert json_lines(succeed("tail", store, "bot=b", "--from", 1, "--json")) == [expected]
        assert json_lines(succeed("tail", store, "--from", 7, "--json")) == [
            {**expected, "place": {"t": 7, "number": 0}}
        ]
        assert succeed("tail", store, "--from", "now") == ""

    def test_a_start_that_is_none_is_refused(self, store: Path) -> None:
        assert fail("tail", store, "--from", "yesterday") == (
            "tourlog: expected an offset or a position, or now, after --from, got 'yesterday'"
        )


class TestQuery:
    def test_the_query_comes_from_a_file_or_standard_input(self, store: Path, tmp_path: Path) -> None:
        file = tmp_path / "xs.edn"
        file.write_text(XS, encoding="utf-8")
        assert lines(succeed("q", store, "--file", file)) == ["1", "2", "3"]
        assert lines(succeed("q", store, "-f", "-", stdin=XS.encode())) == ["1", "2", "3"]
        assert lines(succeed("q", store, "-", stdin=XS.encode())) == ["1", "2", "3"]
        assert lines(succeed("q", store, stdin=XS.encode())) == ["1", "2", "3"]
        assert "expected a readable file" in fail("q", store, "--file", tmp_path / "none.edn")
        file.write_bytes(b"[:find \xff")
        assert "expected text in UTF-8, got a byte that is not at 8" in fail("q", store, "--file", file)

    def test_inputs_follow_the_query_or_are_given_with_in(self, store: Path, tmp_path: Path) -> None:
        query = "[:find [?x ...] :in $ ?bot ?least :where [?e :bot ?bot] [?e :x ?x] [(<= ?least ?x)]]"
        file = tmp_path / "query.edn"
        file.write_text(query, encoding="utf-8")
        assert json_lines(succeed("q", store, query, "a", "2", "--json")) == [3]
        assert json_lines(succeed("q", store, query, "--in", "a", "--in", "-2", "--json")) == [1, 3]
        assert json_lines(succeed("q", store, "--file", file, "a", "2", "--json")) == [3]
        assert fail("q", store, query, "a", "--in", "2") == (
            "tourlog: expected the inputs after QUERY or with --in, got both"
        )

    def test_rules_may_be_a_library_or_a_file(self, tmp_path: Path) -> None:
        store, file = tmp_path / "graph.tour", tmp_path / "rules.edn"
        with tourlog.connect(store) as conn:
            conn.transact([{"db/id": "a", "next": "b"}, {"db/id": "b", "next": "c"}, {"db/id": "c", "n": 1}])
        query = "[:find [?to ...] :in $ % ?from :where (path ?from ?to)]"
        file.write_text("[[(path ?a ?b) [?a :next ?b]] [(path ?a ?b) [?a :next ?m] (path ?m ?b)]]", encoding="utf-8")
        assert json_lines(succeed("q", store, query, "a", "--rules", file, "--json")) == ["b", "c"]
        query = "[:find [?id ...] :in $ % ?type :where (last-type ?id ?type)]"
        succeed("append", store, "--key", "aggregate-id", '{"aggregate-id": "cart", "type": "filled"}')
        assert json_lines(succeed("q", store, query, "filled", "--rules", "events", "--json")) == ["cart"]

    def test_as_of_is_a_position_or_an_instant(self, store: Path) -> None:
        query = '[:find ?m . :where ["a" :model ?m]]'
        (at_2, at_3) = (json_lines(succeed("log", store, "--json"))[n]["instant"] for n in (1, 2))
        for word, expected in (("1", None), ("2", "rover"), ("3", "drone"), (at_2, "rover"), (at_3, "drone")):
            assert json_lines(succeed("q", store, query, "--as-of", word, "--json")) == [expected]
        for word in ("yesterday", "2026-01-31T12:00:00", "-1"):
            assert f"got {word!r}" in fail("q", store, query, f"--as-of={word}")

    def test_each_engine_answers_alike(self, store: Path) -> None:
        answers = [succeed("q", store, SQUARE, "--engine", engine) for engine in ("auto", "compiled", "pydatalog")]
        assert answers[0].count("\n") == 11
        assert answers[0] == answers[1] == answers[2]
        assert run("q", store, SQUARE, "--engine", "steam").exit_code == 2

    def test_limits_end_a_query_with_an_error(self, store: Path) -> None:
        assert "8" in fail("q", store, SQUARE, "--max-rows", 8)
        assert json_lines(succeed("q", store, XS, "--max-rows", 3, "--timeout", 60, "--json")) == [1, 2, 3]
        with tourlog.connect(store) as conn:
            conn.append([{"bot": "c", "x": n} for n in range(300)], "bot")
        slow = "[:find (count ?x) . :where [?e :x ?x] [?f :x ?y] [?g :x ?z] [(< ?x ?y)] [(< ?y ?z)]]"
        assert "0.05" in fail("q", store, slow, "--timeout", 0.05)

    @pytest.mark.parametrize("engine", ["compiled", "pydatalog"])
    def test_explain_shows_the_engine_and_the_plan(self, engine: str, store: Path) -> None:
        words = ("q", store, XS, "--explain", "--engine", engine)
        assert f"engine: {engine}" in succeed(*words)
        (found,) = json_lines(succeed(*words, "--json"))
        assert set(found) == {"engine", "reason", "plan", "program"}
        assert found["engine"] == engine
        assert "rows(?x)" in found["plan"]


class TestEntities:
    def test_entity_prints_what_is_stated(self, store: Path) -> None:
        assert lines(succeed("entity", store, "a")) == ["attribute value", "db/id a", "model drone", "owner ann"]
        assert json_lines(succeed("entity", store, "a", "--as-of", 2, "--json")) == [
            {"db/id": "a", "model": "rover", "owner": "ann"}
        ]
        assert json_lines(succeed("entity", store, SOME, "--as-of", 2, "--json")) == [{"db/id": str(SOME), "n": 1}]

    @pytest.mark.parametrize("verb", ["entity", "history", "pull"])
    @pytest.mark.parametrize("word", ["nobody", "1.5", "", "[1]", "null", str(UUID(int=2))])
    def test_an_id_that_states_nothing_is_refused(self, verb: str, word: str, store: Path) -> None:
        words = ["[*]", word] if verb == "pull" else [word]
        assert f"got {word!r}" in fail(verb, store, *words)

    def test_pull_follows_references(self, store: Path) -> None:
        assert json_lines(succeed("pull", store, "[:model {:owner [:name]}]", "a", "--json")) == [
            {"model": "drone", "owner": {"name": "Ann"}}
        ]
        assert lines(succeed("pull", store, "[:model :name]", "a", "ann")) == ["model name", "drone", "Ann"]
        assert json_lines(succeed("pull", store, "[:model]", "a", "--as-of", 2, "--json")) == [{"model": "rover"}]
        assert "line 1" in fail("pull", store, "[:model", "a")

    def test_history_has_every_state(self, store: Path) -> None:
        found = json_lines(succeed("history", store, "a", "--json"))
        assert [(each["t"], each["document"]["model"]) for each in found] == [(2, "rover"), (3, "drone")]
        header, *rows = lines(succeed("history", store, "a"))
        assert header == "t instant model owner"
        assert [row.split()[0] for row in rows] == ["2", "3"]
        assert len(json_lines(succeed("history", store, "a", "--as-of", 2, "--json"))) == 1

    @pytest.mark.parametrize(("eid", "first", "value"), [(SOME, 2, 1), (7, 3, 2)])
    def test_history_knows_what_is_retracted(self, eid: UUID | int, first: int, value: int, store: Path) -> None:
        found = json_lines(succeed("history", store, eid, "--json"))
        shown_id = eid if isinstance(eid, int) else str(eid)
        assert [(each["t"], each["document"]) for each in found] == [
            (first, {"db/id": shown_id, "n": value}),
            (4, None),
        ]
        assert f"got {str(eid)!r}" in fail("entity", store, eid)

    def test_an_entity_that_holds_comes_before_one_that_did(self, store: Path) -> None:
        with tourlog.connect(store) as conn:
            conn.transact([{"db/id": "8", "n": 1}, {"db/id": 8, "n": 2}])
            conn.transact([("db/retract-entity", "8")])
            assert (find_entity(conn.db(), "8"), find_entity(conn.db(), "8", ever=True)) == (8, 8)
            assert find_entity(conn.db().as_of(7), "8", ever=True) == "8"


class TestPast:
    def test_log_lists_the_last_ten_or_a_range(self, store: Path) -> None:
        with tourlog.connect(store) as conn:
            for n in range(8):
                conn.append([{"bot": f"bot-{n}-{m}"} for m in range(5)], "bot")

        def ts(*options: object) -> list[int]:
            return [each["t"] for each in json_lines(succeed("log", store, "--json", *options))]

        assert ts() == list(range(5, 15))
        assert ts("--from", 2, "--to", 4) == [2, 3]
        assert ts("--from", 13) == [13, 14]
        assert ts("--to", 3) == [1, 2]
        assert ts("--from", 99) == []
        assert "bot=bot-7-2: 0…0, 2 more streams" in succeed("log", store)

    def test_log_says_what_was_appended_and_stated(self, store: Path) -> None:
        header, first, *_ = lines(succeed("log", store))
        assert header == "t instant tx-id appended meta"
        assert first.startswith("1 ")
        assert first.endswith(' first bot=a: 0…1, bot=b: 0…0 {"who": "ann"}')

    def test_log_has_no_column_of_ids_or_meta_where_there_are_none(self, store: Path) -> None:
        assert lines(succeed("log", store, "--from", 2, "--to", 3))[0] == "t instant appended"

    def test_diff_has_the_facts_that_came_and_went(self, store: Path) -> None:
        assert sorted(lines(succeed("diff", store, 2, 4))) == [
            "+ a model drone 3",
            f"- {SOME} n 1 4",
            "- a model rover 3",
            "e a v t",
        ]
        assert {"change": "+", "e": "ann", "a": "name", "v": "Ann", "t": 2} in json_lines(
            succeed("diff", store, 1, 2, "--json")
        )
        assert json_lines(succeed("diff", store, 6, "--json")) == []

    def test_diff_may_compare_the_rows_of_a_query(self, store: Path) -> None:
        query = '[:find ?m :where ["a" :model ?m]]'
        assert lines(succeed("diff", store, 2, "-q", query)) == ["?m", "+ drone", "- rover"]
        assert json_lines(succeed("diff", store, 2, 3, "--query", query, "--json")) == [
            {"change": "+", "row": ["drone"]},
            {"change": "-", "row": ["rover"]},
        ]
        assert "line 1" in fail("diff", store, 2, "-q", "[:find")

    def test_stats_counts(self, store: Path) -> None:
        (found,) = json_lines(succeed("stats", store, "--json"))
        assert found.pop("bytes") == store.stat().st_size
        assert found.pop("batches") >= 2
        assert found.pop("first") < found.pop("newest")
        assert found == {"documents": 3, "streams": 2, "transactions": 6, "invariants": 1}
        assert {"documents 3", "transactions 1", "invariants 0"} <= set(lines(succeed("stats", store, "--as-of", 1)))

    def test_stats_of_an_empty_store(self, tmp_path: Path) -> None:
        with tourlog.connect(tmp_path / "empty.tour"):
            pass
        found = lines(succeed("stats", tmp_path / "empty.tour"))
        assert found[:3] == ["documents 0", "streams 0", "transactions 0"]
        assert not any(line.startswith(("first", "newest")) for line in found)


class TestStore:
    def test_consumers_says_how_far_each_is_behind(self, store: Path) -> None:
        assert lines(succeed("consumers", store)) == ["consumer stream committed lag", "robots bot=a 1 1"]
        assert json_lines(succeed("consumers", store, "--json")) == [
            {"consumer": "robots", "key": {"bot": "a"}, "committed": 1, "lag": 1}
        ]
        robots = Consumer("robots")
        with tourlog.connect(store) as conn, conn.subscribe({"bot": "a"}, start=robots) as documents:
            conn.transact([robots.done(document) for _, document in documents.take(1)])
        assert [each["lag"] for each in json_lines(succeed("consumers", store, "--json"))] == [0]
        assert json_lines(succeed("consumers", store, "--as-of", 4, "--json")) == []

    def test_invariants_are_added_listed_kept_and_dropped(self, store: Path) -> None:
        query = "[:find ?e :in $ ?most :where [?e :x ?x] [(< ?most ?x)]]"
        assert json_lines(succeed("invariants", "add", store, "near", query, "99", "--json")) == [{"t": 7}]
        assert json_lines(succeed("invariants", "list", store, "--json")) == [
            {"name": "on-the-map", "query": ON_THE_MAP, "inputs": []},
            {"name": "near", "query": query, "inputs": [99]},
        ]
        assert lines(succeed("invariants", "list", store, "--as-of", 6)) == [
            "name query inputs",
            f"on-the-map {ON_THE_MAP}",
        ]
        document = '{"bot": "a", "x": 100}'
        assert "'near' does not hold" in fail("append", store, "--key", "bot", document)
        assert lines(succeed("invariants", "drop", store, "near")) == ["t", "8"]
        succeed("append", store, "--key", "bot", document)

    @pytest.mark.parametrize(
        ("words", "problem"),
        [
            (["add", "near", "[:find ?e :where [?e :x 3]]"], "'near' does not hold"),
            (["add", "near", "[:find ?e"], "line 1"),
            (["add", "on-the-map", XS], "on-the-map"),
            (["drop", "near"], "expected the name of an invariant (on-the-map), got 'near'"),
        ],
    )
    def test_an_invariant_that_cannot_be_is_refused(self, words: list[str], problem: str, store: Path) -> None:
        verb, *rest = words
        assert problem in fail("invariants", verb, store, *rest)
        assert t_of(store) == 6

    def test_rules_lists_the_libraries_and_prints_one(self) -> None:
        found = {each["name"]: each["rules"] for each in json_lines(succeed("rules", "--json"))}
        assert list(found) == list(rule_file_names())
        assert "reachable" in found["graph"]
        assert lines(succeed("rules"))[0] == "library rules"
        for name in rule_file_names():
            assert succeed("rules", name) == read_rule_file(name)
        assert json_lines(succeed("rules", "graph", "--json")) == [{"name": "graph", "edn": read_rule_file("graph")}]
        assert "expected the name of a rule library" in fail("rules", "nothing")


class TestErrors:
    @pytest.mark.parametrize(
        "words",
        [
            ["tail", "STORE"],
            ["q", "STORE", XS],
            ["shell", "STORE"],
            ["entity", "STORE", "a"],
            ["pull", "STORE", "[*]", "a"],
            ["history", "STORE", "a"],
            ["log", "STORE"],
            ["diff", "STORE", "1"],
            ["stats", "STORE"],
            ["consumers", "STORE"],
            ["invariants", "list", "STORE"],
            ["invariants", "add", "STORE", "n", ON_THE_MAP],
            ["invariants", "drop", "STORE", "n"],
        ],
        ids=" ".join,
    )
    def test_a_store_that_is_none_is_neither_made_nor_changed(self, words: list[str], tmp_path: Path) -> None:
        def at(path: Path) -> list[object]:
            return [path if word == "STORE" else word for word in words]

        assert "none.tour" in fail(*at(tmp_path / "none.tour"), stdin=b"")
        assert list(tmp_path.iterdir()) == []
        other = tmp_path / "notes.txt"
        other.write_text("not a store", encoding="utf-8")
        assert "notes.txt" in fail(*at(other), stdin=b"")
        assert other.read_text(encoding="utf-8") == "not a store"

    @pytest.mark.parametrize(
        "words", [["append", "s"], ["entity", "s"], ["diff", "s"], ["log", "s", "--from", "x"], ["fly"]], ids=" ".join
    )
    def test_wrong_usage_is_exit_code_two(self, words: list[str]) -> None:
        result = CliRunner().invoke(app, words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr != ""


class TestProcess:
    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-c", "from tourlog.cli import main; main()", *map(str, words)]

    def test_follow_prints_what_others_append_until_ctrl_c(self, store: Path) -> None:
        with subprocess.Popen(
            self.command("tail", store, "bot=a", "-n", 1, "--follow", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["place"] == 1
            with tourlog.connect(store) as conn:
                conn.append([{"bot": "b", "x": 5}, {"bot": "a", "x": 4}], "bot")
                assert json.loads(process.stdout.readline())["document"]["x"] == 4
                conn.append([{"bot": "a", "x": 6}], "bot")
                assert json.loads(process.stdout.readline())["place"] == 3
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
        assert (process.returncode, stdout, stderr) == (130, "", "")

    def test_a_tail_that_nobody_reads_on_is_quiet(self, store: Path) -> None:
        with tourlog.connect(store) as conn:
            conn.append([{"bot": "c", "text": "x" * 100} for _ in range(3_000)], "bot")
        with subprocess.Popen(
            self.command("tail", store, "-n", 3_000), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert b'"text"' in process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=30) == 141
