"""The machine of `tests/model`, a short run: stores do what the model of plain lists and dicts does. And that it sees:
faults put into tourlog are found; `python tests/torture mutants` tries more of them."""

from __future__ import annotations

import pytest
from model import mutants
from model.further import Machine
from torture.model import play
from torture.mutants import is_found


@pytest.mark.parametrize("seed", [1, 2])
def test_stores_do_what_the_model_does(seed: int) -> None:
    before = Machine.steps
    play(Machine, seed, examples=4, steps=30)
    assert Machine.steps > before + 50


@pytest.mark.parametrize(
    "mutant",
    [
        mutants.stale_condition,
        mutants.consumer_done_twice,
        mutants.report_told_twice,
        mutants.backup_of_the_file_without_its_log,
    ],
    ids=lambda mutant: mutant.__name__,
)
def test_a_fault_put_into_tourlog_is_found(mutant: mutants.Mutant) -> None:
    assert is_found(mutant, mutants.MUTANTS[mutant])


@pytest.mark.parametrize("mutant", mutants.MUTANTS)
def test_every_fault_can_still_be_put_into_tourlog(mutant: mutants.Mutant) -> None:
    """`torture mutants` takes minutes, and is not run with every change."""
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
