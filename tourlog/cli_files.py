"""The commands that move data: `import` and `export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from tourlog.arguments import key_pattern, pairs
from tourlog.cli_common import AsJson, AsOf, Store, database
from tourlog.connection import connect
from tourlog.csv_files import export_csv
from tourlog.errors import ArgumentError, shown
from tourlog.export import SQLITE, Exported
from tourlog.html import counted
from tourlog.integrations.cloudevents import ImportedEvents, export_events, import_events
from tourlog.integrations.parquet import export_parquet
from tourlog.json_lines import Imported, import_json_lines, open_source
from tourlog.stream_import import import_streams
from tourlog.tables import print_json_lines
from tourlog.terminal import progress_bar

commands = typer.Typer(rich_markup_mode=None)


@commands.command("import")
def import_file(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="JSON lines, plain or gzipped; - for standard input; or another store."),
    ],
    store: Store,
    streams: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[=VALUE]]...",
            help="Only these streams of another store, no entities: topic, or topic=orders.",
        ),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="NAME", help="An attribute that says which stream; may be repeated."),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="The lines are CloudEvents; their key is source unless given.")
    ] = False,
    into: Annotated[
        list[str] | None,
        typer.Option("--into", metavar="NAME=VALUE", help="What the key of another store's streams is to be here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Append the documents of FILE to STORE, all of them or none.

    Each line is a JSON object; their order is kept. STORE is made if it does not exist. CloudEvents that STORE
    has already, by their source and id, are not stored again. Of another store, its streams, entities and
    invariants are imported, each transaction as one; what was interrupted goes on, and only what is new is imported.

    \b
    Example: tourlog import moves.jsonl moves.tour --key bot
    """
    of_lines, of_store = bool(key or events), bool(streams or into)
    if of_lines and of_store:
        raise typer.BadParameter("expected none for another store", param_hint="--key, --events")
    if of_store or (not of_lines and _is_store(file)):
        _import_store(file, store, streams or [], into or [], as_json)
    elif of_lines:
        _import_lines(file, store, key or [], events, as_json)
    else:
        if file != "-":
            with open_source(file):  # a file that is missing is said first
                pass
        raise typer.BadParameter(
            f"expected the attributes that say which stream, such as --key id, for {file}", param_hint="--key"
        )


def _is_store(file: str) -> bool:
    """Whether a file may be a store, which has no key to be named, and is not a file of lines."""
    path = Path(file)
    if file == "-" or not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(len(SQLITE)) == SQLITE


def _import_lines(file: str, store: Path, key: Sequence[str], events: bool, as_json: bool) -> None:
    started = perf_counter()
    with open_source(file) as source, connect(store) as conn:
        with progress_bar(source.name, source.size) as progress:
            report: Imported | ImportedEvents
            if events:
                report = import_events(conn, source, *key, progress=progress)
            else:
                report = import_json_lines(conn, source, key, progress=progress)
        seconds = perf_counter() - started
    known = report.known if isinstance(report, ImportedEvents) else None
    if as_json:
        found = {"documents": report.documents, "streams": report.streams, "t": report.t}
        print_json_lines([found if known is None else {**found, "known": known}])
    else:
        counts = f"{counted(report.documents, 'document')} into {counted(report.streams, 'stream')}"
        there = f"; {known:,} were there already" if known else ""
        typer.echo(f"imported {counts} of {store} in {seconds:.2f} s{there}")


def _import_store(file: str, store: Path, words: Sequence[str], into: Sequence[str], as_json: bool) -> None:
    started = perf_counter()
    with database(Path(file)) as source, connect(store) as conn, progress_bar(file, source.t) as progress:
        report = import_streams(conn, source, key_pattern(source, words), into=pairs(into), progress=progress)
        seconds = perf_counter() - started
    if as_json:
        print_json_lines([{**asdict(report), "left_out": list(report.left_out)}])
    else:
        counts = f"{counted(report.documents, 'document')} of {counted(report.streams, 'stream')}"
        rest = f", {counted(report.entities, 'entity')} and {counted(report.invariants, 'invariant')}"
        transactions = counted(report.transactions, "transaction")
        typer.echo(f"imported {counts}{'' if words else rest} in {transactions} into {store} in {seconds:.2f} s")
        if words:
            typer.echo("only the streams named: no entities, no invariants")
        for e in report.left_out:
            typer.echo(f"left out: the entity {shown(e)}, which means something else in another store")


class Format(StrEnum):
    """What a file of documents is written as."""

    events = "events"
    csv = "csv"
    parquet = "parquet"


_SUFFIXES = {".jsonl": Format.events, ".ndjson": Format.events, ".csv": Format.csv, ".parquet": Format.parquet}
_WRITERS: dict[Format, Callable[..., Exported]] = {
    Format.events: export_events,
    Format.csv: export_csv,
    Format.parquet: export_parquet,
}


@commands.command()
def export(
    store: Store,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, or to replace.", show_default=False)],
    key: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[=VALUE]]...", help="Only streams with this key: topic, or topic=orders.", show_default=False
        ),
    ] = None,
    written_as: Annotated[
        Format | None,
        typer.Option("--format", help="What to write; else the end of FILE says it.", show_default=False),
    ] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Write the documents of STORE to FILE.

    They come in the order of commits. FILE is replaced when all is written. Its end says how: .jsonl for
    CloudEvents, one a line; .csv or .parquet for a column an attribute.

    \b
    Example: tourlog export moves.tour moves.csv bot=a
    """
    chosen = written_as or _SUFFIXES.get(file.suffix.lower())
    if chosen is None:
        raise ArgumentError(f"expected a file ending in {', '.join(_SUFFIXES)}, or --format, got {str(file)!r}")
    with database(store, as_of) as db:
        pattern: Any = key_pattern(db, key or [])
        report = _WRITERS[chosen](db, file, pattern)
    if as_json:
        print_json_lines([{"documents": report.documents, "columns": list(report.columns), "t": report.t}])
    else:
        typer.echo(f"wrote {counted(report.documents, 'document')} of {store} to {file}")
