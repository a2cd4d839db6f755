"""What the reading and planning of a query looks at now and then, so that a budget of time holds for them, too. They
are pure and their results are kept for later queries, hence no argument of theirs. Knows nothing of budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], None] | None] = ContextVar("tourlog_check", default=None)


@contextmanager
def watched(check: Callable[[], None]) -> Iterator[None]:
    """A block in which `pulse` calls `check`, which may raise to end it."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def pulse() -> None:
    """Look whether there is time left; called by whatever takes longer for longer text."""
    check = _check.get()
    if check is not None:
        check()
