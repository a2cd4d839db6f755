"""What the commands have in common: options, opened stores, answers as tables or JSON lines, errors as one line with an
exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

from tourlog.arguments import pointer, position
from tourlog.connection import Connection, connect
from tourlog.database import Database
from tourlog.errors import TourlogError
from tourlog.tables import cell, print_json_lines, print_table
from tourlog.terminal import console

FAILED = 1
INTERRUPTED = 130
BROKEN_PIPE = 141

Table: TypeAlias = tuple[Sequence[str] | None, Iterable[Sequence[Any]]]
"""Columns, None for no header, and rows."""

Store = Annotated[Path, typer.Argument(metavar="STORE", help="The store's file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="T", help="As it was: at a position, or an instant (2026-01-31T12:00:00Z)."),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Give up after so long, with an error.")
]


class Commands(TyperGroup):
    """Turns what goes wrong in any command into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except TourlogError as error:
            raise failure(str(error)) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            # Python would complain again when it flushes standard output at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from error
        except OSError as error:
            raise failure(str(error)) from error
        return result


def failure(message: str, details: Sequence[str] = ()) -> typer.Exit:
    """Print a message as one line on standard error, and `details` under it where somebody looks at it."""
    typer.echo(f"tourlog: {cell(' '.join(message.split()))}", err=True)
    if sys.stderr.isatty():
        for line in details:
            typer.echo(line, err=True)
    return typer.Exit(FAILED)


@contextmanager
def pointing_at(text: str) -> Iterator[None]:
    """Errors that leave the block are shown, on a terminal, with the line of `text` they are about."""
    try:
        yield
    except TourlogError as error:
        raise failure(str(error), pointer(error, text)) from error


@contextmanager
def opened(store: Path) -> Iterator[Connection]:
    """A store that is there already, to write to: writing to none would make one."""
    with connect(store, read_only=True):
        pass
    with connect(store) as conn:
        yield conn


@contextmanager
def database(store: Path, as_of: str | None = None) -> Iterator[Database]:
    """The newest database of a store that is only looked at, or an earlier one."""
    with connect(store, read_only=True) as conn:
        yield conn.db() if as_of is None else conn.db().as_of(position(as_of))


def show(as_json: bool, values: Iterable[Any], table: Callable[[], Table]) -> None:
    """Print values as JSON lines, or the table of them."""
    if as_json:
        print_json_lines(values)
    else:
        print_table(console(), *table())
