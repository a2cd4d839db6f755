"""The command line: a thin shell over the Python API, that prints tables for people and JSON for machines."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tourlog import cli_keeping
from tourlog.answers import answer_table, answer_values
from tourlog.arguments import find_key, literal, place_rules, read_rules
from tourlog.connection import connect
from tourlog.demo import run_demo
from tourlog.errors import TourlogError
from tourlog.json_lines import import_json_lines, open_source
from tourlog.query.parse import parse_query
from tourlog.tables import cell, document_table, print_json_lines, print_table
from tourlog.terminal import console, progress_bar

INTERRUPTED = 130
BROKEN_PIPE = 141


class _Commands(TyperGroup):
    """Turns what goes wrong in any command into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except TourlogError as error:
            raise _failure(str(error)) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            # Python would complain again when it flushes standard output at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from error
        except OSError as error:
            raise _failure(str(error)) from error
        return result


def _failure(message: str) -> typer.Exit:
    typer.echo(f"tourlog: {cell(' '.join(message.split()))}", err=True)
    return typer.Exit(1)


app = typer.Typer(
    cls=_Commands,
    help="An embedded event store and log store with a real Datalog engine inside.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_keeping.commands)

Store = Annotated[Path, typer.Argument(metavar="STORE", help="The store's file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")]


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


@app.command("import")
def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, plain or gzipped; - for standard input.")],
    store: Store,
    key: Annotated[
        list[str],
        typer.Option("--key", metavar="NAME", help="An attribute that says which stream; may be repeated."),
    ],
    as_json: AsJson = False,
) -> None:
    """Append the documents of FILE to STORE, in order, all of them or none.

    STORE is made if it does not exist. Each line is a JSON object.

    Example: tourlog import events.jsonl.gz events.tour --key aggregate-id
    """
    started = perf_counter()
    with open_source(file) as source, connect(store) as conn:
        with progress_bar(source.name, source.size) as progress:
            report = import_json_lines(conn, source, key, progress=progress)
        seconds = perf_counter() - started
    if as_json:
        print_json_lines([{"documents": report.documents, "streams": report.streams, "t": report.t}])
    else:
        counts = f"{report.documents:,} documents into {report.streams:,} streams"
        typer.echo(f"imported {counts} of {store} in {seconds:.2f} s")


@app.command()
def read(
    store: Store,
    key: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE...", help="The stream's key, such as topic=orders partition=1."),
    ],
    start: Annotated[int, typer.Option("--from", metavar="N", min=0, help="The first offset.")] = 0,
    stop: Annotated[int | None, typer.Option("--to", metavar="N", min=0, help="The offset to stop before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the documents of one stream, in order.

    A VALUE is tried as the text it is, then as JSON or EDN: partition=1 finds the stream of the text "1" if
    there is one, else that of the number 1. NAME:=VALUE takes JSON or EDN only.

    Example: tourlog read events.tour aggregate-id=README.md --from 10 --to 20
    """
    with connect(store, read_only=True) as conn:
        db = conn.db()
        stream = find_key(db, key)
        documents = db.documents(stream, start, stop)
    if as_json:
        print_json_lines(documents)
    else:
        print_table(console(), *document_table(documents, without=["db/id", *stream]))


@app.command("q")
def query(
    store: Store,
    text: Annotated[str, typer.Argument(metavar="QUERY", help="The query, as EDN text.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]...", help="What :in names after $, as JSON or EDN, else as text."),
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option("--rules", metavar="NAME_OR_FILE", help="Rules for % in :in: a library or an EDN file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask STORE a Datalog question.

    Rows are printed in the order of their values, unless the query has an :order-by.
    An INPUT that begins with - is given after --.

    Example: tourlog q events.tour '[:find ?e :in $ ?t :where [?e :type ?t]]' file-deleted
    """
    values = [literal(value) for value in inputs or []]
    parsed = parse_query(text)
    if rules is not None:
        values = place_rules(parsed, values, read_rules(rules))
    with connect(store, read_only=True) as conn:
        answer = conn.db().q(text, *values)
    if as_json:
        print_json_lines(answer_values(parsed, answer))
    else:
        print_table(console(), *answer_table(parsed, answer))


@app.command()
def streams(store: Store, as_json: AsJson = False) -> None:
    """List the streams of STORE: name, key, number of documents.

    Example: tourlog streams events.tour
    """
    with connect(store, read_only=True) as conn:
        found = conn.db().streams()
    if as_json:
        print_json_lines(
            {"name": name, "key": dict(zip(stream.names, stream.values, strict=True)), "documents": count}
            for name, stream, count in found
        )
    else:
        rows = [(name, ", ".join(stream.names), count) for name, stream, count in found]
        print_table(console(), ["stream", "key", "documents"], rows)


@app.command()
def compact(store: Store, as_json: AsJson = False) -> None:
    """Join the small batches that many small transactions left in STORE into full ones.

    Reads get faster and what comes takes less room; positions, offsets and the past stay as they are.
    Readers and writers may go on meanwhile.

    Example: tourlog compact events.tour
    """
    with connect(store, read_only=True):
        pass  # to write would make a store that is not there
    with connect(store) as conn:
        fewer = conn.compact()
    if as_json:
        print_json_lines([{"fewer": fewer}])
    else:
        print_table(console(), ["batches fewer"], [(fewer,)])


@app.command()
def demo(
    store: Annotated[
        Path | None,
        typer.Argument(metavar="[STORE]", help="A new file to keep; a temporary one unless given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps and their times only.")] = False,
) -> None:
    """Show tourlog at work on the history of a real project: 9,418 file events, 5,531 commits.

    Example: tourlog demo
    """
    steps = run_demo(store, console(quiet=as_json))
    if as_json:
        print_json_lines(step._asdict() for step in steps)


def main() -> None:
    """The `tourlog` command."""
    app()
