"""CloudEvents 1.0 as documents and back, and files of them: a JSON event a line. Needs no other package.

The attributes of an event are those of the document, under the same names. `specversion` is checked and left out;
`data_base64` comes as `data` of bytes; `time` comes as a datetime in UTC, and where the event's text says more
(another offset, other digits) that text is kept beside it as `time-text`, so that the event goes out as it came.
Numbers that no float holds exactly come as decimals. An attribute that is null is not set, as the specification has it.
"""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, NoReturn
from urllib.parse import quote

from tourlog.connection import Connection, check_connection
from tourlog.database import Database
from tourlog.documents import check_names
from tourlog.errors import DocumentError, shown
from tourlog.export import Exported, Placed, check_exportable, placed_documents, replaced_file
from tourlog.json_lines import Line, Source, append_lines, check_line, open_source, read_documents, unique_names
from tourlog.stream import Stream
from tourlog.tables import json_line
from tourlog.values import equal

SPECVERSION = "specversion"
VERSION = "1.0"
DATA = "data"
DATA_BASE64 = "data_base64"
TIME = "time"
TIME_TEXT = "time-text"
"""Has the text of an event's time that says more than a datetime in UTC; no event has an attribute of such a name."""
DOCUMENT_TYPE = "tourlog.document"
"""The type of the event around a document that is none itself."""

_REQUIRED = ("id", "source", "type")
_TEXTS = (*_REQUIRED, "subject", "datacontenttype", "dataschema")
_NAME = re.compile(r"[a-z0-9]+")
_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}):(\d{2})(?:\.(\d+))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)  # RFC 3339
_INT32 = range(-(2**31), 2**31)
_CHUNK = 1_000
_FEW = 10
"""More events than these of one id are looked up once: ids that count from 1 for each source are those of them all."""


@dataclass(frozen=True, slots=True)
class ImportedEvents:
    """What an import of events did: how many `documents` it appended, how many events were `known` already, the
    `streams` they went to, and the position `t` after it."""

    documents: int
    known: int
    streams: int
    t: int


# Events as documents.


def event_to_document(event: Mapping[str, Any]) -> dict[str, Any]:
    """The document for an `event`, a dict as in the JSON event format. DocumentError, naming the attribute, for what is
    no CloudEvent of version 1.0.

    >>> event_to_document({"specversion": "1.0", "id": "7", "source": "/till", "type": "paid", "data": {"sum": 3}})
    {'id': '7', 'source': '/till', 'type': 'paid', 'data': {'sum': 3}}
    """
    if not isinstance(event, Mapping):
        raise _error("an event", event, "")
    if event.get(SPECVERSION) != VERSION:
        raise _error(f"{VERSION!r}", event.get(SPECVERSION), SPECVERSION)
    given = {name: value for name, value in event.items() if value is not None or name == DATA}
    _check({name: value for name, value in given.items() if name not in (SPECVERSION, DATA_BASE64)})
    document = {}
    for name, value in given.items():
        if name == DATA_BASE64:
            document[DATA] = _from_base64(value, given)
        elif name == TIME:
            document |= _times(value)
        elif name != SPECVERSION:
            document[name] = value
    return document


def document_to_event(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event, in the JSON event format, that a `document` without id and offset is: one whose attributes are those
    of an event. None for a document that is none.

    >>> document_to_event({"id": "7", "source": "/till", "type": "paid", "data": b"x"})
    {'specversion': '1.0', 'id': '7', 'source': '/till', 'type': 'paid', 'data_base64': 'eA=='}
    """
    own = {name: value for name, value in document.items() if name != TIME_TEXT}
    try:
        _check(own)
        times = _time_out(document)
    except DocumentError:
        return None
    event: dict[str, Any] = {SPECVERSION: VERSION}
    for name, value in own.items():
        if name == TIME:
            event[TIME] = times
        elif name == DATA and type(value) is bytes:
            event[DATA_BASE64] = b64encode(value).decode("ascii")
        else:
            event[name] = value
    return event


def _check(document: Mapping[str, Any]) -> None:
    """Raise `DocumentError` unless a document has what an event must have, and nothing that none can have."""
    for name in _REQUIRED:
        if name not in document:
            raise DocumentError(f"expected the attribute {name!r} of an event, got none", path=name)
    for name, value in document.items():
        if name == DATA or (name == TIME and isinstance(value, datetime)):
            continue
        if type(name) is not str or not _NAME.fullmatch(name) or name == SPECVERSION:
            raise _error("the name of an attribute, of the letters a-z and digits", name, str(name))
        if name in _TEXTS and (type(value) is not str or not value):
            raise _error("a text that is not empty", value, name)
        if type(value) not in (str, bool) and not (type(value) is int and value in _INT32):
            raise _error("a text, a boolean or an integer of 32 bits", value, name)


def _error(expected: str, got: object, name: str) -> DocumentError:
    where = f" for {shown(name)} of an event" if name else ""
    return DocumentError(f"expected {expected}{where}, got {shown(got)}", path=name, value=got)


def _from_base64(value: Any, event: Mapping[str, Any]) -> bytes:
    if DATA in event:
        raise DocumentError(f"expected {DATA} or {DATA_BASE64} of an event, got both", path=DATA_BASE64)
    try:
        return b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise _error("text in base64", value, DATA_BASE64) from error


# Time.


def _times(text: Any) -> dict[str, Any]:
    """The attributes for an event's time."""
    instant = _instant(text)
    return {TIME: instant} if _time_text(instant) == text else {TIME: instant, TIME_TEXT: text}


def _instant(text: Any) -> datetime:
    """The instant of a timestamp (RFC 3339), cut to microseconds; a leap second is the one after it, as in POSIX."""
    found = _TIME.fullmatch(text) if type(text) is str else None
    if found is None:
        raise _error("a time as in 2026-01-31T12:00:00Z", text, TIME)
    day, minutes, seconds, fraction, offset = found.groups()
    is_leap = seconds == "60"
    whole = f"{day}T{minutes}:{'59' if is_leap else seconds}.{(fraction or '0')[:6]:0<6}{offset.upper()}"
    try:
        return datetime.fromisoformat(whole).astimezone(UTC) + timedelta(seconds=is_leap)
    except (ValueError, OverflowError) as error:
        raise _error("a time as in 2026-01-31T12:00:00Z", text, TIME) from error


def _time_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _time_out(document: Mapping[str, Any]) -> Any:
    """The text of a document's time: the one it came with, unless the time was changed since."""
    value, text = document.get(TIME), document.get(TIME_TEXT)
    if isinstance(value, str):
        _instant(value)
        return value
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        raise _error("a time with a zone", value, TIME)
    try:
        return text if text is not None and _instant(text) == value else _time_text(value)
    except DocumentError:
        return _time_text(value)
    except OverflowError as error:
        raise _error("a time from year 1 to 9999 in UTC", value, TIME) from error


# JSON.


def read_event(text: str) -> Any:
    """The value of a JSON `text`, its numbers exact whatever their digits; ValueError for what is no JSON."""
    return json.loads(text, object_pairs_hook=unique_names, parse_float=_number, parse_constant=_no_constant)


def _number(text: str) -> float | Decimal:
    try:
        exact, near = Decimal(text), float(text)
    except InvalidOperation as error:
        raise ValueError(f"a number that is too large: {shown(text)}") from error
    return near if Decimal(repr(near)) == exact else exact


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is not JSON")


def write_event(event: Mapping[str, Any]) -> str:
    """An `event` as one line of JSON: decimals as numbers with all their digits, whatever else JSON lacks as
    `tourlog.tables` writes it."""
    return _written(event)


def _written(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json_line(name)}: {_written(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_written, value)) + "]"
        case Decimal() if value.is_finite():
            return str(value)
        case _:
            return json_line(value)


# Files.


def import_events(
    conn: Connection,
    file: str | os.PathLike[str] | Source,
    *key: str,
    progress: Callable[[int], object] = lambda _: None,
) -> ImportedEvents:
    """Append the events of a `file` (JSON lines, plain or gzipped; `-` for standard input) to the store of `conn`, each
    to the stream its `key` attributes name, `source` unless others are given: all of them in one transaction, or none.

    An event is known by its `source` and `id`: one that the store has already, as appended, or that came before in the
    file, is not stored again, so that the same file may be imported again. `progress` is called now and then with the
    number of bytes read.

    Raises DocumentError, naming the line, for what is no event, cannot be stored, or has the source and id of another
    event with other content; ArgumentError for a file that cannot be read or a `key` that cannot be one.
    """
    check_connection(conn)
    names = key or ("source",)
    check_names(names)
    count, known, streams = 0, 0, set[Stream]()
    with _opened(file) as source, conn.transaction():
        seen = _Seen(conn.db())
        events = _events(source, names)
        while chunk := list(islice(events, _CHUNK)):
            new = [line for line in chunk if seen.is_new(line, source.name)]
            streams.update(append_lines(conn, new, names, source.name).offsets)
            count, known = count + len(new), known + len(chunk) - len(new)
            progress(source.position())
    return ImportedEvents(count, known, len(streams), conn.db().t)


def _opened(file: str | os.PathLike[str] | Source) -> AbstractContextManager[Source]:
    return nullcontext(file) if isinstance(file, Source) else open_source(os.fspath(file))


def _events(source: Source, names: Sequence[str]) -> Iterator[Line]:
    for number, event in read_documents(source, read_event):
        try:
            document = event_to_document(event)
        except DocumentError as error:
            raise _in_line(error, source.name, number) from error
        check_line(document, names, source.name, number)
        yield number, document


def _in_line(error: DocumentError, name: str, number: int) -> DocumentError:
    place = f"{name} line {number}"
    return DocumentError(f"{error}, in {place}", **{**error.details, "where": place, "line": number})


class _Seen:
    """Which events are in a store, or came since."""

    def __init__(self, db: Database) -> None:
        self._past = db.history()  # as appended, whatever was done to them since
        self._came: dict[tuple[str, str], dict[str, Any]] = {}
        self._shared: dict[str, dict[str, Any]] = {}
        """Of ids that many events share: the documents' ids by the events' sources."""

    def is_new(self, line: Line, name: str) -> bool:
        """Whether an event is not there yet, from now on it is; `DocumentError` when there is another in its place."""
        number, document = line
        identity = document["source"], document["id"]
        known = self._came.get(identity) or self._stored(*identity)
        if known is None:
            self._came[identity] = document
        elif not equal(known, document):
            message = f"expected an event of its own source and id, got {shown(identity)} again with other content"
            raise _in_line(DocumentError(message, path="id"), name, number)
        return known is None

    def _stored(self, source: str, event_id: str) -> dict[str, Any] | None:
        found = self._shared.get(event_id) or self._with_id(event_id)
        return self._appended(found[source]) if source in found else None

    def _with_id(self, event_id: str) -> dict[str, Any]:
        """The ids of the documents that are events of an id, by their sources."""
        found: dict[str, Any] = {}
        for fact in self._past.facts(a="id", v=event_id):
            document = self._appended(fact.e)
            if document.get("id") == event_id and type(document.get("source")) is str:
                found.setdefault(document["source"], fact.e)
        if len(found) > _FEW:
            self._shared[event_id] = found
        return found

    def _appended(self, e: Any) -> dict[str, Any]:
        found = self._past.snapshot.appended(e)
        return found[1].document if found is not None else {}


def export_events(db: Database, file: str | os.PathLike[str], key: Any = None) -> Exported:
    """Write the documents of a database `db` to a `file`, a CloudEvent a line, in the order of commits; `key` says of
    which streams, as that of `Connection.subscribe`. They are read as they are written, be they longer than memory.

    A document that is no event becomes the `data` of one: its type is `tourlog.document`, its source names the store
    and the stream, its id is the offset, its time that of the transaction: the same each time. The file is written
    under another name and takes its own, replacing what was there, when it is whole.

    Raises ArgumentError for what is no database, key or path; DocumentError for a value that no key has; StorageError
    when the file cannot be written.
    """
    check_exportable(db, key)
    count = 0
    salt = db.snapshot.log.salt.hex()
    with replaced_file(file) as opened:
        for placed in placed_documents(db, key):
            event = document_to_event(placed.document)
            line = write_event(_wrapped(placed, salt) if event is None else event)
            opened.write(f"{line}\n".encode())
            count += 1
    return Exported(count, (), db.t)


def _wrapped(placed: Placed, salt: str) -> dict[str, Any]:
    stream = quote(placed.stream.name.encode("utf-8", "surrogatepass"), safe="")
    return {
        SPECVERSION: VERSION,
        "id": str(placed.offset),
        "source": f"urn:tourlog:{salt}:{stream}",
        "type": DOCUMENT_TYPE,
        TIME: _time_text(placed.instant),
        "datacontenttype": "application/json",
        DATA: placed.document,
    }
