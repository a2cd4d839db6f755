"""The commands on entities and the past: `entity`, `pull`, `history`, `log`, `diff`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, islice
from typing import Annotated, Any

import typer

from tourlog.arguments import find_entity, position
from tourlog.cli_common import AsJson, AsOf, Store, Table, Timeout, database, pointing_at, show
from tourlog.difference import RowDifference
from tourlog.past import PastTransaction
from tourlog.tables import document_table

commands = typer.Typer(rich_markup_mode=None)

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The entity's db/id, as a query finds it: the text it is, or JSON, EDN or a UUID.",
        show_default=False,
    ),
]


@commands.command()
def entity(store: Store, eid: Id, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Print everything an entity of STORE states.

    \b
    Example: tourlog entity moves.tour a
    """
    with database(store, as_of) as db:
        document = db.entity(find_entity(db, eid)) or {}
    show(as_json, [document], lambda: (["attribute", "value"], list(document.items())))


@commands.command()
def pull(
    store: Store,
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="A pull pattern, such as [*] or [:name {:friends [*]}].")
    ],
    eids: Annotated[list[str], typer.Argument(metavar="ID...", help="The entities' db/ids.", show_default=False)],
    as_of: AsOf = None,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Print entities of STORE as documents, cut to a pull pattern.

    What they refer to is part of them, as the pattern says.

    \b
    Example: tourlog pull moves.tour '[:model {:owner [:name]}]' a
    """
    with pointing_at(pattern), database(store, as_of) as db:
        entities = [find_entity(db, eid) for eid in eids]
        found = [document or {} for document in db.pull_many(pattern, entities, timeout=timeout)]
    show(as_json, found, lambda: document_table(found))


@commands.command()
def history(store: Store, eid: Id, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Print the states an entity of STORE went through.

    The oldest is first; where the entity was retracted there is an empty one.

    \b
    Example: tourlog history moves.tour a
    """
    with database(store, as_of) as db:
        versions = db.entity_history(find_entity(db, eid, ever=True))
    show(
        as_json,
        ({"t": each.t, "instant": each.instant, "document": each.document} for each in versions),
        lambda: document_table(
            [
                {
                    "t": each.t,
                    "instant": each.instant,
                    **{n: v for n, v in (each.document or {}).items() if n != "db/id"},
                }
                for each in versions
            ]
        ),
    )


@commands.command()
def log(
    store: Store,
    start: Annotated[
        int | None, typer.Option("--from", metavar="T", min=0, help="The first transaction; the last ten unless given.")
    ] = None,
    stop: Annotated[
        int | None, typer.Option("--to", metavar="T", min=0, help="The transaction to stop before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the transactions of STORE: when, what was appended, meta.

    The meta of a transaction is what was stated about it as it was written.

    \b
    Example: tourlog log moves.tour --from 1 --to 20
    """
    with database(store) as db:
        end = min(db.t + 1, db.t + 1 if stop is None else stop)
        found = db.tx_range(max(1, end - 10) if start is None else start, end)
        show(as_json, map(_transaction, found), lambda: _transactions(found))


def _transaction(each: PastTransaction) -> dict[str, Any]:
    offsets = [
        {"key": dict(zip(stream.names, stream.values, strict=True)), "first": span.start, "last": span.stop - 1}
        for stream, span in each.offsets.items()
    ]
    return {"t": each.t, "instant": each.instant, "tx-id": each.tx_id, "meta": dict(each.meta), "appended": offsets}


def _transactions(found: Iterator[PastTransaction]) -> Table:
    def appended(each: PastTransaction) -> str:
        spans = [f"{stream}: {span.start}…{span.stop - 1}" for stream, span in islice(each.offsets.items(), 3)]
        more = len(each.offsets) - len(spans)
        return ", ".join([*spans, f"{more} more streams"] if more else spans)

    columns = ["t", "instant", "tx-id", "appended", "meta"]
    rows = [(each.t, each.instant, each.tx_id or "", appended(each), dict(each.meta) or "") for each in found]
    # Room is short on a terminal: ids and meta have a column where any transaction has one.
    kept = [name not in ("tx-id", "meta") or any(row[place] for row in rows) for place, name in enumerate(columns)]
    return list(compress(columns, kept)), [tuple(compress(row, kept)) for row in rows]


@commands.command()
def diff(
    store: Store,
    older: Annotated[str, typer.Argument(metavar="T", help="A position, or an instant.", show_default=False)],
    newer: Annotated[str | None, typer.Argument(metavar="[T]", help="The later one; now unless given.")] = None,
    query: Annotated[
        str | None, typer.Option("--query", "-q", metavar="QUERY", help="Compare the rows of a query instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what came (+) and went (-) in STORE between two times.

    These are facts, or with --query the rows of a query.

    \b
    Example: tourlog diff moves.tour 1 2
    """
    with pointing_at(query or ""), database(store) as db:
        before = db.as_of(position(older))
        after = db if newer is None else db.as_of(position(newer))
        found = after.diff(before) if query is None else after.diff(before, query)
    changes = [("+", each) for each in found.came] + [("-", each) for each in found.went]
    if isinstance(found, RowDifference):
        values = ({"change": sign, "row": row} for sign, row in changes)
        columns, rows = ["", *found.came.columns], [(sign, *row) for sign, row in changes]
    else:
        values = ({"change": sign, "e": f.e, "a": f.a, "v": f.v, "t": f.tx} for sign, f in changes)
        columns, rows = ["", "e", "a", "v", "t"], [(sign, *fact[:4]) for sign, fact in changes]
    show(as_json, values, lambda: (columns, rows))
