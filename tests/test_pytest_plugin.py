"""The plugin for pytest, as other projects' tests use it: run in a folder of their own, by a pytest of their own."""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

import pytest

import tourlog
from tourlog.pytest_plugin import difference

pytest_plugins = ["pytester"]

ACCOUNT = """
import pytest, tourlog
from tourlog.decider import Decider

class Refused(Exception):
    pass

def decide(balance, command):
    kind, amount = command
    if kind == "withdraw" and amount > balance:
        raise Refused(f"{amount} of {balance}")
    return [{"type": kind, "amount": amount}] if amount else []

def evolve(balance, event):
    return balance + event["amount"] * (1 if event["type"] == "deposit" else -1)

@pytest.fixture
def decider():
    return Decider(name="account", initial=0, decide=decide, evolve=evolve, key="account")

BALANCE = "[:find (sum ?amount) . :with ?e :where [?e :type \\"deposit\\"] [?e :amount ?amount]]"
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """Another project's folder."""
    return pytester


def run(project: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    project.makepyfile(ACCOUNT + source)
    return project.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *options)


def failure(project: pytest.Pytester, source: str, *options: str) -> str:
    """What a run of one failing test prints."""
    result = run(project, source, *options)
    result.assert_outcomes(failed=1)
    return result.stdout.str()


def test_stores_are_fresh_and_a_test_s_own(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
@pytest.mark.parametrize("number", range(3))
def test_memory(tour, number):
    assert tour.append([{"k": 1}], "k").t == 1

@pytest.mark.parametrize("number", range(3))
def test_file(tour_file, tmp_path, number):
    assert tour_file.append([{"k": 1}], "k").t == 1
    with tourlog.connect(tmp_path / "store.tour", read_only=True) as other:
        assert other.db().t == 1

def test_both(tour, tour_file):
    tour.append([{"k": 1}], "k")
    assert tour_file.db().t == 0

CLOSED = []

def test_before(tour):
    CLOSED.append(tour)

def test_after():
    with pytest.raises(tourlog.StorageError, match="got a closed one"):
        CLOSED[0].db()
""",
    )
    result.assert_outcomes(passed=9)


def test_a_store_in_memory_is_made_in_less_than_two_milliseconds(tour: tourlog.Connection) -> None:
    """Of a hundred the median, opened and closed."""
    assert tour.db().t == 0
    times = []
    for _ in range(100):
        started = perf_counter()
        tourlog.connect().close()
        times.append(perf_counter() - started)
    assert sorted(times)[50] < 0.002


def test_a_suite_that_does_not_use_it_does_not_import_it(project: pytest.Pytester) -> None:
    """The plugin is one small module; of the package nothing is loaded before a fixture is used."""
    project.makepyfile(
        """
import sys

def test_nothing():
    loaded = {name for name in sys.modules if "tourlog" in name or name in {"apsw", "duckdb", "lark", "msgspec"}}
    assert loaded == {"pytest_tourlog"}
"""
    )
    project.runpytest_subprocess("-q", "-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_the_plugin_imports_nothing_that_pytest_has_not_imported() -> None:
    program = "import sys, pytest; before = set(sys.modules); import pytest_tourlog; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "{'pytest_tourlog'}\n"


# Scenarios.


def test_scenarios_of_a_decider(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
def test_events(given):
    given({"type": "deposit", "amount": 5}).when(("withdraw", 3)).then({"type": "withdraw", "amount": 3})

def test_whole_events(given):
    given().when(("deposit", 3)).then({"account": "a", "type": "deposit", "amount": 3})

def test_nothing(given):
    given().when(("deposit", 0)).then()

def test_refusal(given):
    given({"type": "deposit", "amount": 5}).when(("withdraw", 6)).then(raises=Refused, match="6 of 5")

def test_answer(given):
    given({"type": "deposit", "amount": 5}).when(("deposit", 6)).then(BALANCE, 11)

def test_rows(given):
    scenario = given({"type": "deposit", "amount": 5}).when(("deposit", 6))
    rows = [(6, "deposit"), (5, "deposit")]
    scenario.then("[:find ?amount ?type :where [?e :amount ?amount] [?e :type ?type]]", rows)
    scenario.then("[:find ?a :in $ ?low :where [_ :amount ?a] [(< ?low ?a)]]", [(6,)], inputs=[5])
    scenario.then("[:find ?a :where [_ :amount ?a] :order-by [?a]]", [(5,), (6,)])
    scenario.then({"find": ["?a"], "where": [("?e", "amount", "?a")]})

def test_one_after_the_other(given):
    scenario = given().when(("deposit", 1)).when(("deposit", 2))
    scenario.then({"type": "deposit", "amount": 1}, {"type": "deposit", "amount": 2})
    scenario.when(("withdraw", 4)).then(raises=Refused)
    scenario.when(("withdraw", 3)).then({"type": "withdraw", "amount": 3})

def test_another_aggregate(given, decider, tour):
    given({"type": "deposit", "amount": 5}, to="b", by=decider).when(("withdraw", 5)).then(
        {"account": "b", "type": "withdraw", "amount": 5})
    assert [stream.values for _, stream, _ in tour.db().streams()] == [("b",)]
""",
    )
    result.assert_outcomes(passed=8)


def test_scenarios_without_a_decider_run_functions_of_the_store(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
import tourlog

def publish(conn):
    tourlog.log_store.commit_records(conn, [{"topic": "t", "partition": 0, "n": 1}])

def test_function(given):
    given({"type": "made"}).when(publish).then({"topic": "t", "partition": 0, "n": 1})
    given(to="b").when(lambda conn: None).then("[:find ?e . :where [?e :type \\"made\\"]]")
"""
    )
    project.runpytest_subprocess("-q", "-p", "no:hypothesispytest").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("scenario", "shown"),
    [
        (
            'given({"type": "deposit", "amount": 5}).when(("withdraw", 3)).then({"type": "withdraw", "amount": 4})',
            [
                "*AssertionError: expected other events (- expected, + got)",
                "*- {'type': 'withdraw', 'amount': 4}",
                "*+ {'type': 'withdraw', 'amount': 3}",
            ],
        ),
        (
            'given().when(("deposit", 3)).then()',
            ["*expected other events (- expected, + got)", "*+ {'type': 'deposit', 'amount': 3}"],
        ),
        ('given().when(("deposit", 3)).then(BALANCE, 4)', ["*expected other rows*", "*- 4", "*+ 3"]),
        (
            'given().when(("deposit", 3)).then("[:find ?e . :where [?e :no ?e]]")',
            ["*AssertionError: expected an answer to [[]:find ?e . *, got none"],
        ),
        (
            'given().when(("deposit", 3)).then("[:find ?a :where [_ :amount ?a]]", [])',
            ["*expected other rows*", "*+ (3,)"],
        ),
        (
            'given().when(("deposit", 3)).then(raises=Refused)',
            ["*AssertionError: expected Refused, but the command was not refused"],
        ),
        (
            'given().when(("withdraw", 3)).then(raises=Refused, match="no money")',
            ["*AssertionError: expected Refused matching 'no money', got Refused('3 of 0')"],
        ),
        ('given().when(("withdraw", 3)).then()', ["*Refused: 3 of 0"]),
        ('given().when(("deposit", 1)).then({"type": "deposit", "amount": True})', ["*+ {'type': *'amount': 1}"]),
        (
            'given().when(("deposit", 3)).then("[:find ?a :where [_ :amount ?a]]", [(3,)], [(4,)])',
            ["*ArgumentError: expected one answer after a query, got 2, in then(…)"],
        ),
        (
            'given().when(("deposit", 3)).then("[:find ?a :where [_ :amount ?a]]", 3)',
            ["*ArgumentError: expected rows, got 3, in then(…)"],
        ),
    ],
)
def test_a_scenario_that_ends_otherwise_fails_and_says_how(
    project: pytest.Pytester, scenario: str, shown: list[str]
) -> None:
    result = run(project, f"def test_it(given):\n    {scenario}\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(shown)


def test_expected_values_are_compared_as_the_store_does_or_as_they_do_themselves(project: pytest.Pytester) -> None:
    source = """
from enum import Enum

@pytest.fixture
def decider():
    return None

def test_it(given):
    events = [{"aggregate-id": "a", "x": float("nan"), "y": 0.1 + 0.2}, {"aggregate-id": "a", "find": "x"}]
    expected = [{"x": float("nan"), "y": pytest.approx(0.3)}, {"find": "x"}]
    given().when(lambda conn: conn.append(events, "aggregate-id")).then(*expected)

class Name(Enum):
    ANN = "ann"

def test_a_member_of_an_enum_is_its_value(given):
    events = [{"aggregate-id": Name.ANN, "by": [Name.ANN]}]
    given(to=Name.ANN).when(lambda conn: conn.append(events, "aggregate-id")).then({"by": [Name.ANN]})

def test_skipped(given):
    given().when(lambda conn: None)
    pytest.skip("not today")
"""
    run(project, source).assert_outcomes(passed=2, skipped=1)


def test_a_scenario_without_an_end_is_an_error(project: pytest.Pytester) -> None:
    """Its command has not been run, so the test would prove nothing."""
    result = run(project, 'def test_it(given):\n    given().when(("deposit", 3))\n')
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["expected .then(…) after given(…).when(…), got none: the command has not been run"])


@pytest.mark.parametrize(
    ("scenario", "shown"),
    [
        ('given("made")', "expected an event as a dict, got 'made', in given(…)[[]0]"),
        ("given(by=3)", "expected a Decider or None, got 3, in given(by=…)"),
        (
            'given(by=None).when("go").then()',
            "expected a function of the store, as there is no decider (see the fixture `decider`), got 'go', in when*",
        ),
        ('given().when(("deposit", 1)).then(3)', "expected an event as a dict, got 3, in then(…)[[]0]"),
        (
            'given().when(("deposit", 1)).then(raises="Refused")',
            "expected a class of errors, got 'Refused', in then(raises=…)",
        ),
        (
            'given().when(("deposit", 1)).then({"type": "x"}, raises=Refused)',
            "expected either events, a query, or raises=, got more than one, in then(…)",
        ),
        ('given().when(("deposit", 1)).then("[:find ?x")', "expected ] to close the [[] of line 1, column 1,*"),
    ],
)
def test_what_is_no_scenario_is_said_in_a_line_of_the_test(project: pytest.Pytester, scenario: str, shown: str) -> None:
    """None of the plugin's own frames, and no second failure because there was no end."""
    result = run(project, f"def test_it(given):\n    {scenario}\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*E * tourlog.errors.*: {shown}"])
    assert "pytest_plugin.py" not in result.stdout.str()


# What a failing test shows.


def test_a_failing_test_shows_the_log_of_its_store(project: pytest.Pytester) -> None:
    shown = failure(
        project,
        """
def test_it(tour):
    tour.append([{"k": "a", "n": n} for n in range(22)], "k")
    tour.transact([{"db/id": "me", "n": 1}])
    assert 1 == 2
""",
    )
    section = shown.partition("tourlog: <Connection to memory>")[2].partition("\n")[2]
    newest = "".join(f"  {n} {{'k': 'a', 'n': {n}}}\n" for n in range(2, 22))
    assert section.startswith(
        f"position 2\nstream k=a, next offset 22\n  … 2 before\n{newest}entities\n  'me' {{'n': 1}}\n"
    )


def test_a_passing_test_shows_and_keeps_nothing(project: pytest.Pytester) -> None:
    result = run(project, "def test_it(tour):\n    assert tour.db().t == 0\n", "--tourlog-keep=kept")
    result.assert_outcomes(passed=1)
    assert "position" not in result.stdout.str()
    assert not (project.path / "kept").exists()


def test_the_stores_of_failing_tests_are_kept_where_the_option_says(project: pytest.Pytester) -> None:
    """As files that hold the same: documents, amended or retracted since, entities, ids, instants; a second run
    replaces them."""
    source = """
@pytest.mark.parametrize("number", [1, 2])
def test_it(tour, tour_file, number):
    for conn in (tour, tour_file):
        report = conn.append([{"k": "a", "n": n} for n in range(3)], "k", tx_id="one")
        ids = [document["db/id"] for document in conn.db().documents({"k": "a"})]
        conn.transact([("db/add", ids[0], "n", 7), ("db/retract-entity", ids[1]), {"db/id": "me", "n": number}])
        conn.run(lambda: [conn.append([{"k": "b"}], "k"), conn.transact([("db/retract-entity", "me")])])
    with open("wanted", "a") as file:
        print(sorted(map(repr, tour.db().history().facts())), file=file)
        print(sorted(map(repr, tour_file.db().history().facts())), file=file)
    assert number == 0
"""
    for _ in range(2):
        (project.path / "wanted").unlink(missing_ok=True)
        run(project, source, "--tourlog-keep=kept").assert_outcomes(failed=2)
    kept = sorted((project.path / "kept").glob("*.tour"))
    names = sorted(path.stem.partition(".py-")[2] for path in kept)
    assert names == ["test_it-1", "test_it-1+1", "test_it-2", "test_it-2+1"]
    found = []
    for path in kept:
        with tourlog.connect(path) as conn:
            found.append(str(sorted(map(repr, conn.db().history().facts()))))
            assert conn.append([], "k", tx_id="one").t == 1
            assert conn.append([{"k": "a"}], "k").offsets == {tourlog.Stream(("k",), ("a",)): range(3, 4)}
    assert sorted(found) == sorted((project.path / "wanted").read_text(encoding="utf-8").splitlines())


def test_tests_of_nearly_one_name_are_kept_apart(project: pytest.Pytester) -> None:
    source = """
@pytest.mark.parametrize("text", ["a b", "a/b", "a-b", "a+b", "x" * 200 + "1", "x" * 200 + "2"])
def test_it(tour, text):
    tour.append([{"text": text}], "text")
    assert 0
"""
    run(project, source, "--tourlog-keep=kept").assert_outcomes(failed=6)
    found = set()
    for path in (project.path / "kept").glob("*.tour"):
        with tourlog.connect(path) as conn:
            found.update(stream.values[0] for _, stream, _ in conn.db().streams())
    assert found == {"a b", "a/b", "a-b", "a+b", "x" * 200 + "1", "x" * 200 + "2"}


def test_whatever_a_store_holds_the_run_goes_on(project: pytest.Pytester) -> None:
    """An integer that Python does not write out ended it, and thousands of streams were all shown."""
    source = """
def test_numbers(tour):
    tour.append([{"k": 1, "n": 10**5000}], "k")
    tour.transact([{"db/id": "e", "n": 10**5000}])
    assert tour.db().documents({"k": 1}) == [] and tour.db().facts(e="e")

def test_many(tour):
    tour.append([{"k": n} for n in range(1000)], "k")
    tour.transact([{"db/id": n, "n": n} for n in range(1000)])
    assert 0
"""
    (project.path / "file").write_text("", encoding="utf-8")
    result = run(project, source, "--tourlog-keep=file")
    result.assert_outcomes(failed=2)
    shown = result.stdout.str()
    assert shown.count("<int of 16610 bits>") >= 3  # once more in the summary where CI is set
    assert shown.count("\nstream k=") == 51
    assert shown.count("  … 950 before\n") == 2
    assert shown.count("not kept: [Errno 17] File exists: 'file'") == 2


def test_a_store_that_the_test_closed_is_said_to_be(project: pytest.Pytester) -> None:
    shown = failure(project, "def test_it(tour):\n    tour.close()\n    assert 0\n", "--tourlog-keep=kept")
    assert "not to be read: expected an open store, got a closed one, in memory" in shown


def test_documents_rows_and_facts_are_compared_line_by_line(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
@pytest.fixture(autouse=True)
def filled(tour):
    tour.append([{"k": "a", "n": 1}, {"k": "a", "n": 2}], "k")

def test_documents(tour):
    assert tourlog.event_store.get_events_for_aggregate(tour.db(), "a", key="k") == []

def test_offsets(tour):
    log = [{"offset": d["offset"], "n": d["n"]} for d in tour.db().documents({"k": "a"})]
    assert log == [{"offset": 0, "n": 1}, {"offset": 1, "n": 3}]

def test_rows(tour):
    assert tour.db().q("[:find ?n :where [_ :n ?n] :order-by [?n]]") == [(1,), (3,)]

def test_facts(tour):
    facts = [fact._replace(e=0) for fact in tour.db().facts(a="n")]
    assert facts == facts[:1]

def test_numbers(tour):
    assert [1] == [2]
""",
    )
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "*test_offsets*",
            "*AssertionError: assert left == right (- right, + left)",
            "*  {'offset': 0, 'n': 1}",
            "*- {'offset': 1, 'n': 3}",
            "*+ {'offset': 1, 'n': 2}",
            "*test_rows*",
            "*  (1,)",
            "*- (3,)",
            "*+ (2,)",
            "*test_facts*",
            "*  0 n 1 tx=1",
            "*+ 0 n 2 tx=1",
            "*test_numbers*",
            "*At index 0 diff: 1 != 2",
        ]
    )


def test_equal_values_have_no_difference() -> None:
    assert difference([{"a": 1}], [{"a": 1}]) == ["  {'a': 1}"]


def test_many_equal_lines_are_told_in_three_so_that_what_differs_is_seen() -> None:
    """pytest itself cuts a difference after eight lines."""
    rows = [(number,) for number in range(100)]
    assert difference(rows, [*rows[:50], (-1,), *rows[50:]]) == [
        "  (0,)",
        "  … 48 equal lines",
        "  (49,)",
        "+ (-1,)",
        "  (50,)",
        "  … 48 equal lines",
        "  (99,)",
    ]


def test_long_documents_are_compared_an_attribute_a_line() -> None:
    document = {"text": "x" * 90, "type": "made", "n": 1}
    assert difference([document], [{**document, "n": 2}]) == [
        f"  {{'text': '{'x' * 90}',",
        "   'type': 'made',",
        "-  'n': 1}",
        "?       ^",
        "+  'n': 2}",
        "?       ^",
    ]


def test_thousands_of_different_documents_are_compared_in_no_time() -> None:
    """`ndiff` alone took eleven seconds for three hundred."""
    logs = [[{"k": "a", "n": n, "text": text} for n in range(3_000)] for text in ("hello", "hellO")]
    started = perf_counter()
    lines = difference(*logs)
    assert (len(lines), lines[0][0], lines[1][0]) == (6_000, "-", "+")
    assert perf_counter() - started < 2


# The clock and ids.


def test_a_log_is_the_same_every_time_under_the_clock(project: pytest.Pytester) -> None:
    """Instants, ids of documents and of new entities, in memory and in a file; outside of it nothing is changed."""
    result = run(
        project,
        """
LOGS = []

@pytest.mark.parametrize("number", range(2))
def test_it(tour, tour_file, tour_clock, number):
    for conn in (tour, tour_file):
        tour_clock.now = type(tour_clock)().now
        conn.append([{"k": 1}], "k")
        conn.append([{"k": 1}], "k")
        tour_clock.advance(hours=1)
        conn.transact([{"n": 1}])
        instants = conn.db().q("[:find [?at ...] :where [_ :db/tx-instant ?at]]")
        assert sorted(map(str, instants)) == [
            "2020-01-01 00:00:00+00:00", "2020-01-01 00:00:00.000001+00:00", "2020-01-01 01:00:00+00:00"]
    entities = [[e for e in conn.db().q("[:find [?e ...] :where [?e :n 1]]")] for conn in (tour, tour_file)]
    assert [str(e) for [e] in entities] == [f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2)]
    LOGS.append([sorted(map(repr, conn.db().facts(a="k"))) for conn in (tour, tour_file)])

def test_same():
    assert LOGS[0] == LOGS[1] and LOGS[0][0] == LOGS[0][1]

def test_outside(tour):
    tour.append([{"k": 1}], "k")
    tour.transact([{"n": 1}])
    assert min(tour.db().q("[:find [?at ...] :where [_ :db/tx-instant ?at]]")).year > 2020
    assert tour.db().q("[:find ?e . :where [?e :n 1]]").int > 2**100
""",
    )
    result.assert_outcomes(passed=4)


def test_tests_may_be_spread_over_processes(project: pytest.Pytester) -> None:
    """Each store is of its process or its test's folder: tests that write the same names do not meet, ids and instants
    are the same in all processes, and what is kept of failing tests has one name each."""
    project.makepyfile(
        """
import os
import pytest

@pytest.mark.parametrize("number", range(20))
def test_it(tour, tour_file, tour_clock, number):
    ids = []
    for conn in (tour, tour_file):
        assert conn.append([{"k": 1}], "k").t == 1
        ids.append([document["db/id"].int for document in conn.db().documents({"k": 1})])
    assert ids[0] == ids[1]
    open(os.environ["PYTEST_XDIST_WORKER"], "w").close()
    assert number % 19
"""
    )
    result = project.runpytest_subprocess(
        "-q", "-n", "2", "-p", "no:hypothesispytest", "-p", "no:cacheprovider", "--tourlog-keep=kept"
    )
    result.assert_outcomes(passed=18, failed=2)
    assert result.stdout.str().count("stream k=1, next offset 1") == 4
    assert sorted(path.name for path in project.path.glob("gw*")) == ["gw0", "gw1"]
    ids = set()
    for number in ("0", "0+1", "19", "19+1"):
        (kept,) = (project.path / "kept").glob(f"*test_it-{number}.tour")
        with tourlog.connect(kept, read_only=True) as conn:
            (document,) = conn.db().documents({"k": 1})
            ids.add(document["db/id"])
    assert len(ids) == 1


def test_it_is_installed_as_a_plugin(project: pytest.Pytester) -> None:
    shown = project.runpytest_subprocess("--help", "-p", "no:hypothesispytest").stdout
    shown.fnmatch_lines(["tourlog:", "*--tourlog-keep=FOLDER*"])
