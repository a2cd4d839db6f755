"""The kept corpus of the fuzzer, its seeds, and a few thousand inputs near them: nothing but documented errors."""

from __future__ import annotations

import random

import pytest
from torture import targets
from torture.fuzz import SLOWEST


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_corpus_gives_documented_errors_only(name: str) -> None:
    """Every finding there ever was stays in the corpus."""
    inputs = targets.kept(name)
    assert inputs
    for data in inputs:
        targets.TARGETS[name](data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_inputs_near_the_seeds_give_documented_errors_only(name: str) -> None:
    rng, seeds = random.Random(1), targets.seeds(name)
    for _ in range(40 if name == "ask" else 400):
        targets.TARGETS[name](targets.mutated(rng.choice(seeds), seeds, rng)[:2_000])


def test_a_disagreement_of_the_engines_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([frozenset({1}), frozenset({2})])
    monkeypatch.setattr(targets, "_answer", lambda *_: next(answers))
    with pytest.raises(targets.Disagreement):
        targets.ask(b"[:find ?e :where [?e :name]]")


def test_other_errors_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise IndexError

    monkeypatch.setattr(targets, "parse_rules", broken)
    with pytest.raises(IndexError):
        targets.rules(b"[]")
    assert SLOWEST < 10
