"""A damaged store is never taken for another: each case is detected, or reads as the store once was."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path

from torture import damage

CASES = 300


def test_no_damage_goes_unnoticed() -> None:
    counts: Counter[str] = Counter()
    kinds: dict[str, set[str]] = defaultdict(set)
    for name, case, outcome in islice(damage.outcomes(seed=1), CASES):
        assert outcome != "silent", f"case {name}: {case.what}"
        counts[outcome] += 1
        kinds[outcome].add(case.what.split(":")[0])
    # Both happen, in stores of every kind, or the cases would try nothing.
    assert counts["detected"] > CASES / 10
    assert counts["prefix"] > CASES / 10
    assert len(kinds["detected"]) == len(kinds["prefix"]) == 7


def test_what_is_not_damaged_is_whole(tmp_path: Path) -> None:
    sources = damage.make(tmp_path)
    for files in sources.stores:
        found = damage.outcome(sources, damage.Case(files.name, files.main, files.wal), tmp_path)
        assert found == "prefix", files.name


def test_a_wrong_store_would_be_silent(tmp_path: Path) -> None:
    """The test can fail: a whole store that is not what was expected counts as silent."""
    sources = damage.make(tmp_path)
    wrong = damage.Sources(sources.stores, sources.foreign, {})
    files = sources.stores[0]
    assert damage.outcome(wrong, damage.Case("", files.main, files.wal), tmp_path) == "silent"


def test_run_counts() -> None:
    counts = damage.run(2, 0.5)
    assert counts.keys() == {"detected", "prefix", "silent"}
    assert counts["silent"] == 0
    assert sum(counts.values()) > 0
