"""The torture battery (`python tests/torture`), a few seconds of each topic, and that its checks see what they must."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from torture import clock, faults, kill, kill9, power, reader, recovery
from torture.disk import Disk
from torture.findings import Findings


def assert_nothing_found(findings: Findings) -> None:
    assert findings.violations == []


def test_a_writer_that_is_killed_at_any_write_loses_nothing_acknowledged() -> None:
    if reason := kill.missing():
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    findings = kill.run(seed=Random().getrandbits(32), seconds=3)
    assert_nothing_found(findings)
    assert findings.figures["points"] > 0


def test_a_power_cut_loses_nothing_acknowledged_and_without_syncs_the_check_sees_damage() -> None:
    findings = power.run(seed=Random().getrandbits(32), seconds=4)
    assert_nothing_found(findings)
    assert findings.figures["states, full"] > 20


@pytest.mark.parametrize("mode", ["prefix", "subset", "torn"])
def test_a_power_cut_while_a_store_is_made_leaves_one_that_can_be_opened(mode: str, tmp_path: Path) -> None:
    """The pages of the new file may be there without its first one, and a rollback journal beside them."""
    history = power.recorded(tmp_path / "recorded", "full", Random(1))
    made = next(number for number, operation in enumerate(history) if operation[0] == "begun")
    for number in range(made):
        for seed in range(3):
            power.State(history[:number], mode, seed).check(tmp_path / "cut", must_keep=True)


def test_a_power_cut_during_recovery_loses_nothing_acknowledged() -> None:
    findings = recovery.run(seed=Random().getrandbits(32), seconds=3)
    assert_nothing_found(findings)


def test_writers_that_are_killed_at_random_lose_nothing_and_a_reader_saw_prefixes() -> None:
    assert_nothing_found(kill9.run(seed=Random().getrandbits(32), seconds=2))


def test_a_failing_disk_is_told_truthfully_and_the_same_transaction_again_settles_it() -> None:
    findings = faults.run(seed=Random().getrandbits(32), seconds=4)
    assert_nothing_found(findings)
    assert findings.figures["UnknownOutcomeError told"] > 0


def test_order_never_depends_on_the_clock() -> None:
    assert_nothing_found(clock.run(seed=Random().getrandbits(32), seconds=1))


def test_the_log_stays_bounded_beside_readers_or_a_warning_names_who_keeps_it() -> None:
    findings = reader.run(seed=Random().getrandbits(32), seconds=5)
    assert_nothing_found(findings)
    assert findings.figures["warnings"] > 0


def test_a_disk_keeps_what_was_synced_and_any_part_of_the_rest() -> None:
    disk = Disk()
    for operation in [
        ("make", "a", 1),
        ("write", 1, 0, b"x" * 1024),
        ("sync", 1),
        ("sync folder",),
        ("write", 1, 512, b"y" * 1024),
        ("make", "b", 2),
        ("write", 2, 600, b"z"),
    ]:
        disk.do(operation)
    assert disk.cut("nothing", Random(1)) == {"a": b"x" * 1024}
    assert disk.cut("everything", Random(1)) == {"a": b"x" * 512 + b"y" * 1024, "b": bytes(600) + b"z"}
    torn = {disk.cut("torn", Random(seed))["a"] for seed in range(50)}
    sectors = (b"x" * 512, b"y" * 512)
    assert torn == {
        sectors[0] + sectors[0],
        sectors[0] + sectors[1],
        sectors[0] + sectors[0] + sectors[1],
        sectors[0] + sectors[1] + sectors[1],
    }
