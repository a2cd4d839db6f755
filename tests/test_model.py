"""The machine of `tests/model`, a short run: stores do what the model of plain lists and dicts does. And that it sees:
faults put into tourlog are found."""

from __future__ import annotations

import pytest
from model.machine import Stores
from model.mutants import MUTANTS, Mutant
from torture.model import play

ROUNDS = 40
"""So many, of a few lives of a store each, a mutant may live at most."""


@pytest.mark.parametrize("seed", range(4))
def test_stores_do_what_the_model_does(seed: int) -> None:
    before = Stores.steps
    play(Stores, seed, examples=3, steps=30)
    assert Stores.steps > before + 10


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_fault_put_into_tourlog_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017 - whatever a wrong store makes raise is what the machine reports
        for seed in range(ROUNDS):
            play(Stores, seed, examples=3, steps=30)
