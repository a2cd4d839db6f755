"""The commands on streams: `streams`, `read`, `append`, `tail`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from tourlog.arguments import find_key, key_pattern, pairs
from tourlog.cli_common import AsJson, AsOf, Store, database, show
from tourlog.connection import Connection, connect
from tourlog.database import TxReport
from tourlog.documents import group_documents
from tourlog.errors import ArgumentError
from tourlog.json_lines import open_source, parse_document, read_documents
from tourlog.storage.log import Log
from tourlog.stream import ID_KEY, OFFSET_KEY, document_place
from tourlog.subscription import NOW, Item, Subscription, selection
from tourlog.tables import cell, document_table, json_line, print_line
from tourlog.terminal import console

commands = typer.Typer(rich_markup_mode=None)

_CHUNK = 1000
_FIRST_LOOK = 64
"""How many transactions back the newest documents are looked for, to begin with."""

Key = Annotated[
    list[str],
    typer.Option("--key", metavar="NAME", help="An attribute that says which stream; may be repeated."),
]


@commands.command()
def streams(store: Store, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """List the streams of STORE: name, key, number of documents.

    \b
    Example: tourlog streams moves.tour
    """
    with database(store, as_of) as db:
        found = db.streams()
    show(
        as_json,
        (
            {"name": name, "key": dict(zip(stream.names, stream.values, strict=True)), "documents": count}
            for name, stream, count in found
        ),
        lambda: (
            ["stream", "key", "documents"],
            [(name, ", ".join(stream.names), count) for name, stream, count in found],
        ),
    )


@commands.command()
def read(
    store: Store,
    key: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE...", help="The stream's key, such as topic=orders partition=1."),
    ],
    start: Annotated[int, typer.Option("--from", metavar="N", min=0, help="The first offset.")] = 0,
    stop: Annotated[int | None, typer.Option("--to", metavar="N", min=0, help="The offset to stop before.")] = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> None:
    """Print the documents of one stream, in order.

    A VALUE is tried as the text it is, then as JSON or EDN: partition=1 finds the stream of the text "1" if
    there is one, else that of the number 1. NAME:=VALUE takes JSON or EDN only.

    \b
    Example: tourlog read moves.tour bot=a --from 1 --to 20
    """
    with database(store, as_of) as db:
        stream = find_key(db, key)
        show(
            as_json,
            db.iter_documents(stream, start, stop),
            lambda: document_table(db.documents(stream, start, stop), without=["db/id", *stream]),
        )


@commands.command()
def append(
    store: Store,
    key: Key,
    documents: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JSON]...", help="The documents; standard input unless given.", show_default=False),
    ] = None,
    expect: Annotated[
        int | None,
        typer.Option("--expect", metavar="N", min=0, help="Only if this is the stream's next offset."),
    ] = None,
    tx_id: Annotated[
        str | None,
        typer.Option("--tx-id", metavar="TEXT", help="Only if no transaction has this id; else report that one."),
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option("--meta", metavar="NAME=VALUE", help="What to state about the transaction; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Append documents to STORE, all of them or none.

    They are one transaction; where they went is printed. Each document is a JSON object; standard input has one
    a line. STORE is made if it does not exist.

    \b
    Example: tourlog append moves.tour --key bot '{"bot": "a", "x": 1}' --meta who=ann
    """
    if documents:
        given = [parse_document(text.encode(), "argument", n) for n, text in enumerate(documents, 1)]
    else:
        with open_source("-") as source:
            given = [document for _, document in read_documents(source)]
    group_documents(given, key)  # what is refused makes no store
    with connect(store) as conn:
        report = conn.append(given, *key, expect=expect, tx_id=tx_id, meta=pairs(meta or []))
    _show_report(report, as_json)


def _show_report(report: TxReport, as_json: bool) -> None:
    spans = [(stream, span.start, span.stop - 1) for stream, span in report.offsets.items()]
    show(
        as_json,
        (
            {"t": report.t, "key": dict(zip(s.names, s.values, strict=True)), "first": first, "last": last}
            for s, first, last in spans
        ),
        lambda: (["stream", "first", "last", "t"], [(str(s), first, last, report.t) for s, first, last in spans]),
    )


@commands.command()
def tail(
    store: Store,
    key: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[=VALUE]]...", help="Only streams with this key: topic, or topic=orders.", show_default=False
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="N",
            help="Where to begin: an offset for one whole key, else a position; now for only what comes.",
        ),
    ] = None,
    last: Annotated[
        int, typer.Option("-n", "--last", metavar="N", min=0, help="Begin N documents before the end.")
    ] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is appended, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a document a line, as JSON, with its place.")] = False,
) -> None:
    """Print the newest documents of STORE, and those to come.

    They are printed in the order in which they were committed. A key that no stream has is refused, unless with
    --follow: its stream may be to come.

    \b
    Example: tourlog tail moves.tour bot=a --from 1 --json
    """
    with connect(store, read_only=True) as conn:
        db = conn.db()
        pattern, log = key_pattern(db, key or []), db.snapshot.log
        chosen = selection(pattern)
        if not follow and pattern is not None and not any(chosen.takes(record) for record, _ in log.streams(db.t)):
            words = key or []
            raise ArgumentError(f"expected the key of a stream in the store, got {' '.join(words)}", key=words)
        if start is None:
            items, place = _last(conn, pattern, last)
            for item in items:
                _print_item(log, item, as_json)
        else:
            place = start if start == NOW else _place(start)
        with conn.subscribe(pattern, start=place) as documents:
            _print_all(log, documents, as_json)
            if follow:
                for item in documents:
                    _print_item(log, item, as_json)


def _place(word: str) -> int:
    if not word.isdecimal():
        raise ArgumentError(f"expected an offset or a position, or now, after --from, got {word!r}")
    return int(word)


def _last(conn: Connection, pattern: Any, count: int) -> tuple[Iterable[Item], Any]:
    """The newest documents of a selection, and the place after them. Looks as far back as it must."""
    db = conn.db()
    is_stream = pattern is not None and None not in pattern.values()
    end, span = (db.snapshot.next_offset(db.stream(pattern)) if is_stream else db.t + 1), max(count, _FIRST_LOOK)
    while True:
        first = max(0, end - (count if is_stream else span))
        items: deque[Item] = deque(maxlen=count)
        with conn.subscribe(pattern, start=first) as documents:
            while found := documents.take(_CHUNK):
                items.extend(found)
            place = documents.position
        if len(items) == count or first == 0:
            return items, place
        span *= 8


def _print_all(log: Log, documents: Subscription, as_json: bool) -> None:
    while found := documents.take(_CHUNK):
        for item in found:
            _print_item(log, item, as_json)


def _print_item(log: Log, item: Item, as_json: bool) -> None:
    place, document = item
    at = document_place(document[ID_KEY])
    record = log.stream_by_prefix(at[0]) if at is not None else None
    assert record is not None, "an ordered document has a stream"
    if as_json:
        shown_place = place if isinstance(place, int) else {"t": place.t, "number": place.number}
        key = dict(zip(record.names, record.values, strict=True))
        print(json_line({"place": shown_place, "key": key, "document": document}), flush=True)
        return
    own = {name: value for name, value in document.items() if name not in (ID_KEY, OFFSET_KEY, *record.names)}
    at_t = "" if isinstance(place, int) else f"t={place.t}  "
    print_line(console(), f"{at_t}{record.name}  {document[OFFSET_KEY]}  {cell(own)}")
