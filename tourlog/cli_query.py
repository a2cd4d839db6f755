"""The commands that ask: `q`, `shell`, `rules`."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from typing import Annotated

import typer

from tourlog.arguments import literal, read_query, read_rules
from tourlog.cli_common import AsJson, AsOf, Store, Timeout, database, pointing_at, show
from tourlog.connection import connect
from tourlog.errors import ArgumentError
from tourlog.query.generate import Rules
from tourlog.rule_files import read_rule_file, rule_file_names
from tourlog.shell import Asking, Shell, ask
from tourlog.tables import print_json_lines

commands = typer.Typer(rich_markup_mode=None)


class Engine(StrEnum):
    """The engines a query may be given to."""

    auto = "auto"
    compiled = "compiled"
    pydatalog = "pydatalog"


EngineOption = Annotated[Engine, typer.Option("--engine", help="What runs the query.")]
MaxRows = Annotated[
    int | None, typer.Option("--max-rows", metavar="N", min=0, help="Give up at more rows, with an error.")
]
RulesOption = Annotated[
    str | None,
    typer.Option("--rules", metavar="NAME_OR_FILE", help="Rules for % in :in: a library or an EDN file."),
]


@commands.command("q")
def query(
    store: Store,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY] [INPUT]...", help="The query, as EDN text, and what :in names after $.", show_default=False
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE", help="Read the query from a file; - for standard input."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--in", metavar="INPUT", help="An input, as after QUERY; may be repeated.", show_default=False),
    ] = None,
    rules: RulesOption = None,
    as_of: AsOf = None,
    engine: EngineOption = Engine.auto,
    timeout: Timeout = None,
    max_rows: MaxRows = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show how the query would run instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask STORE a Datalog question.

    Without a QUERY it is read from standard input; on a terminal the interactive shell starts.
    Each INPUT is read as JSON or EDN, else as the text it is; one that begins with - is given with --in.
    Rows are printed in the order of their values, unless the query has an :order-by.

    \b
    Example: tourlog q moves.tour '[:find ?x :in $ ?bot :where [?e :bot ?bot] [?e :x ?x]]' a
    """
    asking = Asking(engine.value, timeout, max_rows, as_json, explain)
    given = list(words or [])
    if not given and file is None and sys.stdin.isatty():
        return _interact(store, asking, as_of, rules)
    text = read_query(file or "-") if file is not None or not given else given.pop(0)
    if text == "-":
        text = read_query("-")
    if given and inputs:
        raise ArgumentError("expected the inputs after QUERY or with --in, got both")
    values = [literal(value) for value in inputs or given]
    with pointing_at(text), database(store, as_of) as db:
        ask(db, text, values, None if rules is None else read_rules(rules), asking)
    return None


@commands.command()
def shell(
    store: Store,
    rules: RulesOption = None,
    as_of: AsOf = None,
    engine: EngineOption = Engine.auto,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Ask STORE questions interactively.

    A query may go over several lines and ends where its brackets close; its inputs follow it, as EDN.
    Tab completes attributes, rules, functions, variables and commands; the arrow keys go through the history.
    Rules are kept for queries with % in :in. .help lists the commands. Nothing is ever written to STORE.

    \b
    Example: echo '[:find (count ?e) . :where [?e :x]]' | tourlog shell moves.tour
    """
    _interact(store, Asking(engine.value, timeout, None, as_json), as_of, rules)


def _interact(store: Store, asking: Asking, as_of: str | None, rules: str | None) -> None:
    kept = [] if rules is None else [Rules(read_rules(rules))]
    with connect(store, read_only=True) as conn:
        if not Shell(conn, asking, as_of, kept).run():
            raise typer.Exit(1)


@commands.command()
def rules(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The library to print.", autocompletion=rule_file_names)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the rule libraries that come with tourlog, or print one.

    \b
    Example: tourlog rules graph
    """
    if name is None:
        found = [(each, _rule_names(read_rule_file(each))) for each in rule_file_names()]
        values = [{"name": each, "rules": names} for each, names in found]
        show(as_json, values, lambda: (["library", "rules"], [(each, " ".join(names)) for each, names in found]))
        return
    text = read_rule_file(name)
    if as_json:
        print_json_lines([{"name": name, "edn": text}])
    else:
        typer.echo(text, nl=False)


def _rule_names(edn: str) -> list[str]:
    """The names of a library's rules; it may have places left to fill in, so that it need not parse as rules yet."""
    return list(dict.fromkeys(re.findall(r"^ ?\[{1,2}\(([^\s()]+)", edn, re.MULTILINE)))
