"""The commands on a store as a whole: `stats`, `compact`, `consumers`, `invariants`, and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tourlog.arguments import literal
from tourlog.cli_common import AsJson, AsOf, Store, database, opened, pointing_at, show
from tourlog.consumers import NAME, Consumer
from tourlog.database import TxReport
from tourlog.demo import run_demo
from tourlog.tables import print_json_lines
from tourlog.terminal import console, waiting

commands = typer.Typer(rich_markup_mode=None)
invariants = typer.Typer(
    help="List, add or drop invariants: queries that must stay empty.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
commands.add_typer(invariants, name="invariants")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The invariant's name.", show_default=False)]


@commands.command()
def stats(store: Store, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Print how much STORE holds, from when to when, and its size.

    Documents, streams and transactions are counted; the size is in bytes.

    \b
    Example: tourlog stats moves.tour
    """
    with database(store, as_of) as db:
        counts = [count for _, _, count in db.streams()]
        ends = [next(db.tx_range(t)).instant for t in (1, db.t)] if db.t else [None, None]
        batches, held = db.snapshot.log.rows(db.t), len(db.invariants())
    beside = [Path(f"{store}{suffix}") for suffix in ("", "-wal")]
    found = {
        "documents": sum(counts),
        "streams": len(counts),
        "transactions": db.t,
        "first": ends[0],
        "newest": ends[1],
        "batches": batches,
        "invariants": held,
        "bytes": sum(path.stat().st_size for path in beside if path.exists()),
    }
    show(as_json, [found], lambda: (None, [(name, value) for name, value in found.items() if value is not None]))


@commands.command()
def compact(store: Store, as_json: AsJson = False) -> None:
    """Join the batches that small transactions left in STORE.

    Reads get faster and what comes takes less room; positions, offsets and the past stay as they are.
    Readers and writers may go on meanwhile.

    \b
    Example: tourlog compact moves.tour
    """
    with opened(store) as conn, waiting("compacting"):
        fewer = conn.compact()
    show(as_json, [{"fewer": fewer}], lambda: (["batches fewer"], [(fewer,)]))


@commands.command()
def consumers(store: Store, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List the consumers of STORE, how far they are, and their lag.

    There is a line for each stream of a consumer; the lag is how many documents it is behind.

    \b
    Example: tourlog consumers moves.tour
    """
    with database(store, as_of) as db:
        names = sorted({fact.v for fact in db.facts(a=NAME) if type(fact.v) is str and fact.v})
        ends = {stream: count for _, stream, count in db.streams()}
        found = [
            (name, stream, ends[stream] - lag, lag) for name in names for stream, lag in Consumer(name).lag(db).items()
        ]
    show(
        as_json,
        (
            {
                "consumer": name,
                "key": dict(zip(stream.names, stream.values, strict=True)),
                "committed": committed,
                "lag": lag,
            }
            for name, stream, committed, lag in found
        ),
        lambda: (
            ["consumer", "stream", "committed", "lag"],
            [(name, str(stream), *rest) for name, stream, *rest in found],
        ),
    )


@invariants.command("list")
def list_invariants(store: Store, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List the invariants of STORE.

    \b
    Example: tourlog invariants list moves.tour
    """
    with database(store, as_of) as db:
        found = db.invariants()
    show(
        as_json,
        ({"name": each.name, "query": each.query, "inputs": each.inputs} for each in found),
        lambda: (["name", "query", "inputs"], [(each.name, each.query, list(each.inputs) or "") for each in found]),
    )


@invariants.command()
def add(
    store: Store,
    name: Name,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What must have no answer.", show_default=False)],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]...", help="What :in names after $, as JSON or EDN, else as text."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Refuse every transaction after which QUERY has an answer.

    From now on, and whichever program writes it.

    \b
    Example: tourlog invariants add moves.tour on-the-map '[:find ?e :where [?e :x ?x] [(< ?x 0)]]'
    """
    with pointing_at(query), opened(store) as conn:
        report = conn.require(name, query, *map(literal, inputs or []))
    _show_position(report, as_json)


@invariants.command()
def drop(store: Store, name: Name, as_json: AsJson = False) -> None:
    """Require an invariant no more.

    \b
    Example: tourlog invariants drop moves.tour on-the-map
    """
    with opened(store) as conn:
        report = conn.drop_invariant(name)
    _show_position(report, as_json)


def _show_position(report: TxReport, as_json: bool) -> None:
    show(as_json, [{"t": report.t}], lambda: (["t"], [(report.t,)]))


@commands.command()
def demo(
    store: Annotated[
        Path | None,
        typer.Argument(metavar="[STORE]", help="A new file to keep; a temporary one unless given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the steps and their times only.")] = False,
) -> None:
    """Show tourlog at work on the history of a real project.

    It has 9,418 file events and 5,531 commits.

    \b
    Example: tourlog demo
    """
    steps = run_demo(store, console(quiet=as_json))
    if as_json:
        print_json_lines(step._asdict() for step in steps)
