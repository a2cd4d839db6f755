"""What a look over a store gives: counts, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong with a store: where, and what."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` saw: how much of everything, and what is wrong. `ok` when nothing is."""

    path: str
    position: int
    streams: int
    documents: int
    batches: int
    entities: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.findings
