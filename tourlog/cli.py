"""The command line: a thin shell over the Python API, that prints tables for people and JSON for machines. The commands
are in the `cli_…` modules, by what they are about.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer

from tourlog import cli_files, cli_keeping, cli_past, cli_query, cli_store, cli_streams
from tourlog.cli_common import Commands

app = typer.Typer(
    cls=Commands,
    help="An embedded event store and log store with a real Datalog engine inside.",
    epilog="Exit codes: 0 done, 1 refused or failed (one line on standard error says why), 2 wrong usage, "
    "130 interrupted, 141 nobody reads what is printed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (cli_files, cli_streams, cli_query, cli_past, cli_store, cli_keeping):
    app.add_typer(module.commands)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tourlog {version('tourlog')}")
        raise typer.Exit


@app.callback()
def _main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del show_version


def main() -> None:
    """The `tourlog` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character is no reason to fail
    app()
