"""The commands that move data: `import`."""

from __future__ import annotations

from time import perf_counter
from typing import Annotated

import typer

from tourlog.cli_common import AsJson, Store
from tourlog.connection import connect
from tourlog.json_lines import import_json_lines, open_source
from tourlog.tables import print_json_lines
from tourlog.terminal import progress_bar

commands = typer.Typer(rich_markup_mode=None)


@commands.command("import")
def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, plain or gzipped; - for standard input.")],
    store: Store,
    key: Annotated[
        list[str],
        typer.Option("--key", metavar="NAME", help="An attribute that says which stream; may be repeated."),
    ],
    as_json: AsJson = False,
) -> None:
    """Append the documents of FILE to STORE, all of them or none.

    Each line is a JSON object; their order is kept. STORE is made if it does not exist.

    \b
    Example: tourlog import moves.jsonl moves.tour --key bot
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
