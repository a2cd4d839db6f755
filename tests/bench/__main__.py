"""The benchmarks of tourlog against its peers: `python tests/bench [TOPIC ...] [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter

import apsw
import duckdb
from measure import Figure, sync_seconds
from report import json_line, markdown, print_summary, table
from rich.console import Console
from run import QUICK, Run, Sizes

TOPICS = {
    "start": ("start",),
    "poll": ("poll",),
    "datalog": ("star", "recursion", "small", "loading"),
    "log": ("appending", "conditions", "reading", "scaling", "threads"),
}
PARTS = [part for parts in TOPICS.values() for part in parts]
NAMES = ", ".join(dict.fromkeys([*TOPICS, *PARTS]))


@dataclass(frozen=True)
class Options:
    parts: list[str]
    quick: bool
    folder: Path | None
    json: Path | None
    markdown: bool


def main() -> None:
    options = _options()
    console = Console(width=100, highlight=False, markup=False)
    figures: dict[str, list[Figure]] = {}
    with ExitStack() as closing:
        folder = closing.enter_context(tempfile.TemporaryDirectory(prefix="tourlog-bench-", dir=options.folder))
        run = Run(QUICK if options.quick else Sizes(), Path(folder), console, closing)
        console.print(_machine(Path(folder)), style="dim")
        for part in options.parts:
            figures[part] = _measure(part, run, options.json)
    print_summary([figure for found in figures.values() for figure in found], console)
    if options.markdown:
        for topic, parts in TOPICS.items():
            if measured := [figure for part in parts for figure in figures.get(part, ())]:
                print(markdown(topic, measured))


def _measure(part: str, run: Run, lines_file: Path | None) -> list[Figure]:
    started = perf_counter()
    module = import_module(part)
    figures: list[Figure] = list(module.figures(run))
    took = perf_counter() - started
    run.console.print(table(f"{part}: {module.__doc__.splitlines()[0]}", figures))
    run.console.print(f"{took:.0f} s", style="dim")
    if lines_file is not None:
        with lines_file.open("a", encoding="utf-8") as lines:
            lines.writelines(json_line(part, figure) + "\n" for figure in figures)
    return figures


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {NAMES}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer rounds: about a minute in all")
    parser.add_argument("--folder", type=Path, help="where files are made; by default, where temporary files are")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append every figure to this file, one a line")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown in the end, too")
    given = parser.parse_args()
    unknown = [topic for topic in given.topics if topic not in TOPICS and topic not in PARTS]
    if unknown:
        parser.error(f"expected topics of {NAMES}, got {', '.join(unknown)}")
    parts = [part for topic in given.topics or TOPICS for part in TOPICS.get(topic, (topic,))]
    return Options(list(dict.fromkeys(parts)), given.quick, given.folder, given.json, given.markdown)


def _machine(folder: Path) -> str:
    return (
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
        f"DuckDB {duckdb.__version__}, SQLite {apsw.sqlite_lib_version()} (apsw) and {sqlite3.sqlite_version} "
        f"(sqlite3); files in {folder}: one sync takes {sync_seconds(folder / 'sync') * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
