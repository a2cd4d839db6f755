"""What tourlog writes to: consoles and progress bars that behave on a terminal and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

_NO_LIMIT = 1_000_000  # columns of a file or a pipe, where a row of a table is one line, however long


def console(*, quiet: bool = False) -> Console:
    """Standard output: as wide as the terminal; without end where there is none. Quiet: nowhere."""
    return _console(Console(highlight=False, markup=False, emoji=False, quiet=quiet))


def error_console() -> Console:
    """Standard error, for messages and progress."""
    return _console(Console(stderr=True, highlight=False, markup=False, emoji=False))


def _console(made: Console) -> Console:
    if not made.is_terminal:
        made.width = _NO_LIMIT
    return made


@contextmanager
def progress_bar(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error, when that is a terminal, while the block runs; gives the function to
    call with what is done so far out of `total` (None when that is unknown)."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=error_console(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)
