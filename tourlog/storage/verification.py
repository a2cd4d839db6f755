"""What a look over a store gives: counts, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that is wrong with a store: `where`, and `what`."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `tourlog.verify` saw in the file `path`: its `position`, how many `streams`, `documents`, `batches` and
    `entities` there are, and what is wrong (`findings`). `ok` when nothing is."""

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
