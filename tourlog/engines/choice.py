"""Which engine runs a plan when the caller leaves it open: the one likely to be faster, and why."""

from __future__ import annotations

from dataclasses import dataclass

from tourlog.engines.execution import Execution, is_column
from tourlog.engines.ordered import is_ordered
from tourlog.fact_index import ForkedIndex
from tourlog.query.program import Body, Scan, bound_by, walk
from tourlog.query.syntax import Variable
from tourlog.snapshot import Snapshot

_LARGE = 1_000
"""Documents from which loading columns and starting DuckDB, a few ms, pays."""
_LARGE_FOR_RECURSION = 100


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and why it was chosen."""

    engine: str
    reason: str


def choose(execution: Execution) -> Choice:
    """The engine for a plan over these sources."""
    plan = execution.plan
    if is_ordered(plan):
        return Choice("log", "the query is one slice of a stream")
    snapshots = [source for source in execution.sources.values() if isinstance(source, Snapshot)]
    if any(isinstance(snapshot.index, ForkedIndex) for snapshot in snapshots):
        return Choice("pydatalog", "a database that is not stored shares no columns with others")
    bodies = [clause.body for stratum in plan.strata for r in stratum.relations for clause in r.clauses]
    bodies.append(plan.body)
    if not any(_reads_columns(execution, snapshots, body) for body in bodies):
        return Choice("pydatalog", "every pattern looks up entities that are known, or reads no attribute by name")
    documents = max(map(_size, snapshots))
    recursive = any(stratum.recursive for stratum in plan.strata)
    large = _LARGE_FOR_RECURSION if recursive else _LARGE
    what = "recursion over " if recursive else ""
    if documents < large:
        return Choice("pydatalog", f"{what}{documents} documents, fewer than {large}: quicker than starting DuckDB")
    return Choice("compiled", f"{what}{documents} documents or more, not fewer than {large}")


class _Count:
    """How many documents and states of entities a log holds as of the last position that was asked about."""

    def __init__(self) -> None:
        self.known = (0, 0)

    def at(self, snapshot: Snapshot) -> int:
        t, count = self.known if self.known[0] <= snapshot.t else (0, 0)
        count += sum(batch.count for batch in snapshot.log.tail(t, snapshot.t))
        self.known = (snapshot.t, count)
        return count


def _size(snapshot: Snapshot) -> int:
    """How many documents a database holds: counted while they are few, else at least as many as batches."""
    rows = snapshot.log.rows(snapshot.t)
    return rows if rows >= _LARGE else snapshot.index.shared(_Count, _Count).at(snapshot)


def _reads_columns(execution: Execution, snapshots: list[Snapshot], body: Body) -> bool:
    """Whether a body has a pattern that may touch much: on an attribute, of entities nothing has found before."""
    found: set[Variable] = set()
    for literal in body:
        scans = [inner for inner in walk((literal,)) if isinstance(inner, Scan)]
        if any(is_column(execution, snapshots, s) and not _is_found(execution, s, found) for s in scans):
            return True
        found.update(bound_by(literal))
    return False


def _is_found(execution: Execution, scan: Scan, found: set[Variable]) -> bool:
    return scan.e in found if isinstance(scan.e, Variable) else execution.is_known(scan.e)
