"""The model's machine itself: faults put into tourlog one at a time (a transaction dropped at a crash, a stale
condition, a document delivered twice, an id forgotten when a store is reopened, …), each of which it must find.
"""

from __future__ import annotations

from contextlib import redirect_stderr
from io import StringIO

import pytest
from model.mutants import MUTANTS, Mutant, Quick
from torture.findings import Findings, Time
from torture.model import play

ROUNDS = 12
"""So many, of five lives of a store each, a mutant may live at most."""


def run(seed: int, seconds: float) -> Findings:
    findings, time = Findings(), Time.of(seconds)
    for mutant, first in MUTANTS.items():
        if not time.is_left:
            findings.count("left out")
        elif is_found(mutant, first + seed - 1):
            findings.count("found")
        else:
            findings.violate(f"{mutant.__name__} lived for {ROUNDS} rounds")
    return findings


def is_found(mutant: Mutant, first: int) -> bool:
    """Whether the machine fails with a fault put in. Whatever a wrong store makes raise finds it."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()):
        mutant(patch)
        for seed in range(first, first + ROUNDS):
            try:
                play(Quick, seed, examples=5, steps=40)
            except Exception:
                return True
    return False
