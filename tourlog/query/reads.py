"""What of a database a plan looks at, so that what does not change that cannot change the answer."""

from __future__ import annotations

from tourlog.engines.execution import Execution
from tourlog.facts import roots
from tourlog.query.program import Compute, Filter, Literal, Scan, Slice, walk
from tourlog.query.syntax import Source
from tourlog.stream import OFFSET_METADATA, SYSTEM_PREFIX


def attributes_read(execution: Execution) -> frozenset[str] | None:
    """The top-level attributes whose change can change the answer; None for any."""
    plan = execution.plan
    bodies = [clause.body for stratum in plan.strata for relation in stratum.relations for clause in relation.clauses]
    found: set[str] = set()
    for literal in (literal for body in (*bodies, plan.body) for literal in walk(body)):
        own = _read_by(execution, literal)
        if own is None:
            return None
        found |= own
    return frozenset(found)


def _read_by(execution: Execution, literal: Literal) -> set[str] | None:
    match literal:
        case Scan(_, e, a):
            attribute = execution.value(a) if execution.is_known(a) else None
            is_metadata = execution.is_known(e) and execution.value(e) == OFFSET_METADATA
            if type(attribute) is not str or attribute.startswith(SYSTEM_PREFIX) or is_metadata:
                return None
            return set(roots(attribute))
        case Slice():
            return set(literal.names)
        case Filter() | Compute() if any(isinstance(argument, Source) for argument in literal.arguments):
            return None
        case _:
            return set()
