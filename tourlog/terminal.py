"""What tourlog writes to: consoles and progress bars that behave on a terminal and in a pipe."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

_PATIENCE = 0.5
"""Seconds before it is shown that something takes long."""

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


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """Show on standard error, when that is a terminal, that the block takes long, once it does."""
    if not sys.stderr.isatty():
        yield
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=error_console(), transient=True)
    progress.add_task(description, total=None)
    timer = threading.Timer(_PATIENCE, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it may be just starting what is to be stopped
        progress.stop()
