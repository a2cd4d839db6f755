"""A short history of threads and processes is strictly serialisable, and the checker finds each fault put into one."""

from __future__ import annotations

import copy
import os
import sqlite3
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from torture import isolation
from torture.histories import Call, Contents, faults
from torture.work import check_store, documents, write

import tourlog

History = tuple[list[Call], Contents]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    path = tmp_path_factory.mktemp("isolation") / "store"
    calls = isolation.recorded(path, Random().getrandbits(32), "normal", 3.0)
    return calls, isolation.contents(path)


def test_transactions_are_strictly_serialisable_and_snapshots_are_prefixes(history: History) -> None:
    calls, contents = history
    assert list(faults(calls, contents)) == []
    assert sum(1 for call in calls if call.kind == "append" and call.t) > 20
    assert {call.refused for call in calls} >= {None, "expect", "unless", "only_if", "invariant"}
    assert {call.rule[0] for call in calls if call.rule and call.t} == {"require", "drop"}


def appends(calls: list[Call], spanning: int = 1) -> list[Call]:
    return [call for call in calls if call.kind == "append" and call.t and len(call.streams) == spanning]


def a_read(calls: list[Call], least: int = 2) -> Call:
    return next(call for call in calls if call.kind == "read" and sum(map(len, call.streams.values())) >= least)


def dropped_transaction(calls: list[Call], contents: Contents) -> None:
    t = appends(calls)[3].t
    for held in contents.values():
        held[:] = [each for each in held if each[1] != t]


def dropped_newest_transaction(calls: list[Call], contents: Contents) -> None:
    t = max(call.t or 0 for call in appends(calls))
    for held in contents.values():
        held[:] = [each for each in held if each[1] != t]


def swapped_order(_: list[Call], contents: Contents) -> None:
    a = contents["a"]
    (o1, t1, id1), (o2, t2, id2) = a[2:4]
    a[2:4] = [(o1, t1, id2), (o2, t2, id1)]


def duplicate_offset(_: list[Call], contents: Contents) -> None:
    contents["b"].insert(1, contents["b"][0])


def duplicated_document(_: list[Call], contents: Contents) -> None:
    offset, t, _id = contents["b"][-1]
    contents["b"].append((offset + 1, t, contents["b"][0][2]))


def split_transaction(calls: list[Call], contents: Contents) -> None:
    call = appends(calls, 2)[0]
    k = next(iter(call.streams))
    contents[k] = [(o, t - (t == call.t), id) for o, t, id in contents[k]]


def half_a_transaction(calls: list[Call], contents: Contents) -> None:
    call = appends(calls, 2)[-1]
    k = next(iter(call.streams))
    contents[k] = [each for each in contents[k] if each[1] != call.t]


def torn_snapshot(calls: list[Call], _: Contents) -> None:
    streams = a_read(calls).streams
    max(streams.values(), key=len).pop()


def reordered_snapshot(calls: list[Call], _: Contents) -> None:
    held = max(a_read(calls).streams.values(), key=len)
    held[0], held[1] = [held[0][0], held[1][1]], [held[1][0], held[0][1]]


def stale_snapshot(calls: list[Call], contents: Contents) -> None:
    read = max((call for call in calls if call.kind == "read"), key=lambda call: call.began)
    read.t = 3
    read.streams = {k: [[o, id] for o, t, id in held if t <= 3] for k, held in contents.items()}


def future_snapshot(calls: list[Call], contents: Contents) -> None:
    read = min((call for call in calls if call.kind == "read"), key=lambda call: call.ended)
    read.t = max(call.t or 0 for call in calls)
    read.streams = {k: [[o, id] for o, _, id in held] for k, held in contents.items()}


def one_position_twice(calls: list[Call], _: Contents) -> None:
    first, second = appends(calls)[:2]
    second.t = first.t


def positions_against_real_time(calls: list[Call], _: Contents) -> None:
    call = max(appends(calls), key=lambda call: call.t or 0)
    call.began, call.ended = -2, -1


def expecting(calls: list[Call], spanning: int = 1) -> Call:
    return next(call for call in calls if call.expected and len(call.expected) == spanning and call.t)


def refused(calls: list[Call], kind: str, what: str = "") -> Call:
    return next(call for call in calls if call.refused == kind and what in ("", call.conditions.get(kind, [""])[0]))


def broken_expectation(calls: list[Call], _: Contents) -> None:
    call = expecting(calls)
    assert call.expected is not None
    call.expected = {k: end + 1 for k, end in call.expected.items()}


def broken_expectation_of_the_second_stream(calls: list[Call], _: Contents) -> None:
    call = expecting(calls, 2)
    assert call.expected is not None
    call.expected[list(call.expected)[1]] += 1


def refusal_without_reason(calls: list[Call], _: Contents) -> None:
    call = refused(calls, "expect")
    assert call.expected is not None
    call.actual = [call.actual[0], call.expected[call.actual[0]]]


def refusal_of_what_is_far_off(calls: list[Call], _: Contents) -> None:
    call = refused(calls, "expect")
    call.actual = [call.actual[0], 1_000_000]


def refusal_for_nothing(calls: list[Call], _: Contents) -> None:
    refused(calls, "unless").refused = None


def name_taken_twice(calls: list[Call], _: Contents) -> None:
    first, second = [call for call in appends(calls) if call.name][:2]
    second.name, second.conditions = first.name, first.conditions


def refused_name_that_was_free(calls: list[Call], _: Contents) -> None:
    refused(calls, "unless", "name").conditions = {"unless": ["name", "nobody's"]}


def made_for_a_name_that_nobody_has(calls: list[Call], _: Contents) -> None:
    call = next(call for call in appends(calls) if "only_if" in call.conditions)
    call.conditions = {**call.conditions, "only_if": ["name", "nobody's"]}


def refused_for_a_name_that_is_known(calls: list[Call], _: Contents) -> None:
    first = min((call for call in appends(calls) if call.name), key=lambda call: call.ended)
    later = [call for call in calls if call.refused == "only_if" and call.began > first.ended]
    later[-1].conditions = {**later[-1].conditions, "only_if": ["name", first.name]}


def made_although_the_switch_stood_elsewhere(calls: list[Call], _: Contents) -> None:
    call = next(call for call in appends(calls) if call.conditions.get("only_if", [""])[0] == "switch")
    call.conditions = {"unless": call.conditions["only_if"]}


def refused_although_the_switch_stood_right(calls: list[Call], _: Contents) -> None:
    """Refused for a value the switch did not have while the call ran."""
    refused(calls, "unless", "switch").conditions["unless"] = ["switch", 7]


def condition_judged_on_an_older_position(calls: list[Call], _: Contents) -> None:
    """The switch was set elsewhere just before an append that needed it where it had been."""
    flips = sorted(
        (call for call in calls if call.switch is not None and call.kind == "append"), key=lambda c: c.t or 0
    )
    for before, flip in pairwise(flips):
        for call in appends(calls):
            if call.t == (flip.t or 0) + 1 and before.switch != flip.switch:
                call.conditions = {"only_if": ["switch", before.switch]}
                return
    raise AssertionError("an append right after the switch was set")


def stream_longer_than_allowed(calls: list[Call], _: Contents) -> None:
    call = next(
        call
        for call in appends(calls)
        if call.conditions.get("unless", [""])[0] == "longer" and next(iter(call.offsets.values()))[0] > 1
    )
    (k,) = call.streams
    call.conditions = {"unless": ["longer", k, 0]}


def switch_seen_elsewhere(calls: list[Call], _: Contents) -> None:
    next(call for call in calls if call.kind == "read" and call.switch is not None).switch = 7


def rules(calls: list[Call], kind: str, what: str = "switch") -> list[Call]:
    found = [call for call in calls if call.kind == "append" and call.t and call.rule and call.rule[0] == kind]
    return sorted((call for call in found if call.rule[1][0] == what), key=lambda call: call.t or 0)


def invariant_added_against_what_is_there(calls: list[Call], _: Contents) -> None:
    """An invariant was to be true of the switch where it stood."""
    flips = sorted((call for call in appends(calls, 0) if call.switch is not None), key=lambda c: c.t or 0)
    require = next(each for each in rules(calls, "require") if (each.t or 0) > (flips[0].t or 0))
    flip = next(each for each in reversed(flips) if (each.t or 0) < (require.t or 0))
    require.rule = ["require", ["switch", flip.switch]]


def append_made_against_an_invariant(calls: list[Call], _: Contents) -> None:
    """The switch was set in the life of an invariant to where that forbids it."""
    for require in rules(calls, "require"):
        later = [each for each in rules(calls, "drop") if (each.t or 0) > (require.t or 0)]
        end = next((each.t or 0 for each in later if each.rule[1] == require.rule[1]), 1 << 62)
        for flip in appends(calls, 0):
            if flip.switch is not None and (require.t or 0) < (flip.t or 0) < end:
                flip.switch = require.rule[1][1]
                return
    raise AssertionError("the switch was set while an invariant held")


def refused_for_an_invariant_that_nobody_added(calls: list[Call], _: Contents) -> None:
    call = next(call for call in calls if call.refused == "invariant")
    call.actual = ["name", "nobody's"]


def dropped_invariant_that_was_not_there(calls: list[Call], _: Contents) -> None:
    rules(calls, "drop")[0].rule = ["drop", ["switch", 7]]


def invariant_added_twice(calls: list[Call], _: Contents) -> None:
    """A drop between two additions is lost."""
    known = rules(calls, "require")
    first = next(each for n, each in enumerate(known) if each.rule in [later.rule for later in known[n + 1 :]])
    calls[:] = [call for call in calls if call.rule != ["drop", first.rule[1]]]


def invariants_not_seen_by_a_snapshot(calls: list[Call], _: Contents) -> None:
    next(call for call in calls if call.kind == "read" and call.required).required = []


def invariant_missing_that_was_there(calls: list[Call], _: Contents) -> None:
    """It was said not to be required, while it was for the whole of the call."""
    require = rules(calls, "require")[0]
    calls.append(
        Call("append", require.ended + 1, require.ended + 2, rule=["drop", require.rule[1]], refused="missing")
    )
    calls[:] = [call for call in calls if not (call.rule == ["drop", require.rule[1]] and call.refused is None)]


MUTANTS: list[Callable[[list[Call], Contents], None]] = [
    dropped_transaction,
    dropped_newest_transaction,
    swapped_order,
    duplicate_offset,
    duplicated_document,
    split_transaction,
    half_a_transaction,
    torn_snapshot,
    reordered_snapshot,
    stale_snapshot,
    future_snapshot,
    one_position_twice,
    positions_against_real_time,
    broken_expectation,
    broken_expectation_of_the_second_stream,
    refusal_without_reason,
    refusal_of_what_is_far_off,
    name_taken_twice,
    refused_name_that_was_free,
    refusal_for_nothing,
    made_for_a_name_that_nobody_has,
    refused_for_a_name_that_is_known,
    made_although_the_switch_stood_elsewhere,
    refused_although_the_switch_stood_right,
    condition_judged_on_an_older_position,
    stream_longer_than_allowed,
    switch_seen_elsewhere,
    invariant_added_against_what_is_there,
    append_made_against_an_invariant,
    refused_for_an_invariant_that_nobody_added,
    dropped_invariant_that_was_not_there,
    invariant_added_twice,
    invariants_not_seen_by_a_snapshot,
    invariant_missing_that_was_there,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_fault_put_into_a_history_is_found(history: History, mutant: Callable[[list[Call], Contents], None]) -> None:
    calls, contents = copy.deepcopy(history)
    mutant(calls, contents)
    assert list(faults(calls, contents)) != []


def test_a_writer_that_looks_only_at_its_own_invariants_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault put into tourlog itself, in the processes that write."""
    fault = "import tourlog.invariants as i; i.Standing.at = lambda self, *_: self._known[1]"
    (tmp_path / "sitecustomize.py").write_text(fault)
    inherited = isolation.environment()
    path = os.pathsep.join([str(tmp_path), inherited["PYTHONPATH"]])
    monkeypatch.setattr(isolation, "environment", lambda: {**inherited, "PYTHONPATH": path})
    calls = isolation.recorded(tmp_path / "store", Random().getrandbits(32), "normal", 3.0)
    found = list(faults(calls, isolation.contents(tmp_path / "store")))
    assert any("does not hold after it" in fault for fault in found)


STORE_MUTANTS = {
    "dropped transaction": "DELETE FROM tx WHERE t = 5; UPDATE tx SET t = t - 1 WHERE t > 5",
    "dropped newest transaction": "DELETE FROM tx WHERE t = (SELECT max(t) FROM tx)",
    "dropped batch": "DELETE FROM batch WHERE rowid = (SELECT place FROM batch WHERE t = 5 LIMIT 1)",
    "split transaction": "UPDATE batch SET t = 6 WHERE place = (SELECT max(place) FROM batch WHERE t = 5)",
    "swapped bodies": """UPDATE batch SET body = CASE place
        WHEN (SELECT max(place) FROM batch) THEN (SELECT body FROM batch ORDER BY place LIMIT 1)
        ELSE (SELECT body FROM batch ORDER BY place DESC LIMIT 1) END
        WHERE place IN ((SELECT max(place) FROM batch), (SELECT min(place) FROM batch WHERE place > 34359738368))""",
    "swapped ids": """UPDATE tx SET tx_id = NULL WHERE t = 4; UPDATE tx SET tx_id = CAST('a/3' AS BLOB) WHERE t = 5;
        UPDATE tx SET tx_id = CAST('a/4' AS BLOB) WHERE t = 4""",
    "lost entity": "DELETE FROM entity WHERE t = (SELECT max(t) FROM entity)",
    "missing index entry": "PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = 'tx_by_id'",
}


@pytest.mark.parametrize("mutant", STORE_MUTANTS)
def test_a_fault_put_into_a_store_is_found(mutant: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    with tourlog.connect(path) as conn:
        for n in range(12):
            write(conn, "a", n)
    check_store(path, {"a": 12}, {"a": 12})
    assert any(len(documents("a", n)) > 100 for n in range(12))
    with sqlite3.connect(path) as raw:
        raw.executescript(STORE_MUTANTS[mutant])
    raw.close()
    with pytest.raises(Exception):  # noqa: B017 — whatever a broken store makes raise is what the battery reports
        check_store(path, {"a": 12}, {"a": 12})
        with tourlog.connect(path) as conn:
            assert write(conn, "a", 3) == 4
