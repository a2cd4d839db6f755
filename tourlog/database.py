"""The database value: a position in the log that answers queries, for ever the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice, permutations
from typing import TYPE_CHECKING, Any, overload

from tourlog.collector import all_of
from tourlog.difference import FactDifference, RowDifference, fact_difference, row_difference
from tourlog.documents import checked_stream
from tourlog.draft import Draft, facts_between
from tourlog.engines.pydatalog_program import exposed
from tourlog.errors import ArgumentError, StorageError, shown
from tourlog.fact_index import EPOCH
from tourlog.facts import Fact
from tourlog.html import MOST_ROWS, counted, folded, note, table_html, titled
from tourlog.invariants import Invariant, enforce, invariants_at, watched_at
from tourlog.past import EntityVersion, PastTransaction, transactions, versions
from tourlog.questions import ask, explain, pull
from tourlog.snapshot import ANY, EVERYTHING, Snapshot
from tourlog.stream import ID_KEY, Stream
from tourlog.transaction import apply
from tourlog.values import plain

if TYPE_CHECKING:
    from tourlog.query.run import Explanation

_CONTAINERS = (list, tuple, set, frozenset, dict)
_MICROSECOND = timedelta(microseconds=1)
_SHOWN_STREAMS = 10
_MOST_KEY_ATTRIBUTES = 6
"""Up to so many, a key given as a dict is looked for in any order of its names."""


class Database:
    """An immutable database value. Made by `Connection.db`; copies are free. `snapshot` is the position and what the
    engines read it through, for modules of tourlog.

    What reads raises StorageError once the store is closed, or when its file cannot be read.
    """

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def __repr__(self) -> str:
        since = f" since={self.snapshot.since}" if self.snapshot.since else ""
        history = " history" if self.snapshot.history else ""
        return f"<Database t={self.t}{since}{history}>"

    def _repr_html_(self) -> str | None:
        try:
            streams = self.streams()
        except StorageError:
            return None  # the store was closed; the position is still worth showing
        since = f", since {self.snapshot.since}" if self.snapshot.since else ""
        title = f"Database at t = {self.t:,}{since}{', history' if self.snapshot.history else ''}"
        total = counted(sum(count for _, _, count in streams), "document")
        kept = [(name, ", ".join(stream.names), count) for name, stream, count in streams[:_SHOWN_STREAMS]]
        table = table_html(("stream", "key", "documents"), kept, total=len(streams), noun="stream", count=False)
        return titled(title, note(f"{total} in {counted(len(streams), 'stream')}"), table if streams else "")

    @property
    def t(self) -> int:
        """The position: how many transactions came before; 0 when empty."""
        return self.snapshot.t

    # Queries.

    def q(
        self,
        query: Any,
        *inputs: Any,
        engine: str = "auto",
        timeout: float | None = None,
        max_rows: int | None = None,
    ) -> Any:
        """The answer to a `query`, this database being its `$`; `inputs` are the rest of `:in` in order.

        Text or Python data. A relation comes as `Rows`, `[?x ...]` as a list, `[?x ?y]` as a tuple or None, `?x .` as a
        value or None. `engine` is "auto", "pydatalog" or "compiled". `timeout` is in seconds; over it, or over
        `max_rows` rows, raises BudgetError.

        Raises QuerySyntaxError, with line and column, for a query that cannot be read; QueryError for one that cannot
        be planned or computed, or that takes other inputs; DocumentError for an input that is no value, ArgumentError
        for another engine or limit.

        >>> import tourlog
        >>> conn = tourlog.connect()
        >>> report = conn.transact([{"db/id": 1, "name": "Ann"}, {"db/id": 2, "name": "Bob"}])
        >>> conn.db().q('[:find ?e . :in $ ?name :where [?e :name ?name]]', "Bob")
        2
        """
        return q(query, self, *inputs, engine=engine, timeout=timeout, max_rows=max_rows)

    def explain(self, query: Any, *inputs: Any, engine: str = "auto") -> Explanation:
        """How a `query` with these `inputs` would run: its syntax tree, its plan in strata, the engine and why. Prints
        readably. `engine` and the errors are those of `q`: ArgumentError, QuerySyntaxError, QueryError."""
        return explain(query, [self.snapshot, *map(unwrapped, inputs)], engine=engine)

    # Documents.

    def pull(self, pattern: Any, eid: Any, *, timeout: float | None = None) -> dict[str, Any] | None:
        """The entity whose id is `eid` as a document cut to a pull `pattern` such as `[*]` or
        `["name", {"friends": ["*"]}]`; None when nothing of it is there. `timeout` is in seconds.

        Raises QuerySyntaxError for a pattern that cannot be read, ArgumentError or DocumentError for what is no id,
        ArgumentError for another limit, BudgetError when it takes longer.
        """
        return pull(self.snapshot, pattern, [_entity_id(eid)], timeout=timeout)[0]

    def pull_many(
        self, pattern: Any, eids: Iterable[Any], *, timeout: float | None = None
    ) -> list[dict[str, Any] | None]:
        """As `pull`, by one `pattern`, for each entity of a list `eids`, in their order, all within `timeout` seconds.
        Raises as it does: QuerySyntaxError, ArgumentError, DocumentError, BudgetError."""
        if isinstance(eids, str | bytes | Mapping) or not isinstance(eids, Iterable):
            raise ArgumentError(f"expected a list of entity ids, got {shown(eids)}", argument="eids")
        return pull(self.snapshot, pattern, map(_entity_id, eids), timeout=timeout)

    def entity(self, eid: Any) -> dict[str, Any] | None:
        """Everything the entity `eid` states, with its `db/id`; None when it states nothing. ArgumentError or
        DocumentError for what is no id.

        `entity("offset-metadata")` shows the next offset of every stream by the stream's name.
        """
        return self.snapshot.entity(_entity_id(eid))

    def facts(self, e: Any = None, a: str | None = None, v: Any = None) -> Iterator[Fact]:
        """The facts that have the entity `e`, the attribute `a` and the value `v`; None for any. A history tells
        retractions by `added`. ArgumentError for what is no id or no attribute, DocumentError for a value that no
        document can hold."""
        if a is not None and type(a) is not str:
            raise ArgumentError(f"expected the name of an attribute or None, got {shown(a)}", argument="a")
        entity = ANY if e is None else _entity_id(e)
        return self.snapshot.facts(entity, ANY if a is None else a, ANY if v is None else plain(v))

    def documents(self, key: Mapping[str, Any], start: int = 0, stop: int | None = None) -> list[dict[str, Any]]:
        """The documents of one stream in order, offsets `start` … `stop` - 1, each with `db/id` and `offset`.

        `key` is such as `{"topic": "foo", "partition": 1}`. A stream that does not exist has none. Raises
        ArgumentError for what is no key or offset, or on a history, which has only facts; DocumentError for a value
        that no key has.
        """
        return all_of(self.snapshot.documents(*self._slice(key, start, stop)))

    def iter_documents(
        self, key: Mapping[str, Any], start: int = 0, stop: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """The same documents one after the other, read as they are asked for: for streams longer than memory. They are
        those of this position, whatever is appended meanwhile. `key`, `start` and `stop`, ArgumentError and
        DocumentError are those of `documents`.

        >>> import tourlog
        >>> conn = tourlog.connect()
        >>> report = conn.append([{"topic": "a", "n": n} for n in range(3)], "topic")
        >>> [document["n"] for document in conn.db().iter_documents({"topic": "a"}, 1)]
        [1, 2]
        """
        return _one_by_one(self.snapshot.documents(*self._slice(key, start, stop)))

    def own_documents(self, key: Mapping[str, Any], start: int = 0, stop: int | None = None) -> list[dict[str, Any]]:
        """The same documents as they were appended, without `db/id` and `offset`. `key`, `start` and `stop`,
        ArgumentError and DocumentError are those of `documents`."""
        return all_of(self.snapshot.own_documents(*self._slice(key, start, stop)))

    def _slice(self, key: Any, start: Any, stop: Any) -> tuple[Stream, int, int]:
        if self.snapshot.history:
            raise ArgumentError("a history has facts but no documents: take them from the database itself or as_of")
        low, high = whole_number("start", start), EVERYTHING if stop is None else whole_number("stop", stop)
        return self.stream(key), low, high

    def stream(self, key: Any) -> Stream:
        """The stream a `key` names: with its names in the order given if there is such a stream, else in any order in
        which there is one. ArgumentError for what is no key, DocumentError for a value that none has."""
        if isinstance(key, Stream):
            return checked_stream(key.names, key.values, "the key")
        if not isinstance(key, Mapping) or not key:
            raise ArgumentError(
                f'expected a key such as {{"topic": "foo", "partition": 1}}, got {shown(key)}', argument="key"
            )
        given = checked_stream(tuple(key), tuple(key.values()), "the key")
        if len(given.names) == 1:
            return given
        items = list(zip(given.names, given.values, strict=True))
        orders = permutations(items) if len(items) <= _MOST_KEY_ATTRIBUTES else iter([tuple(items)])
        streams = [Stream(tuple(n for n, _ in order), tuple(v for _, v in order)) for order in orders]
        return next((s for s in streams if self.snapshot.find_stream(s) is not None), streams[0])

    def streams(self) -> list[tuple[str, Stream, int]]:
        """Every stream's name, itself, and its next offset, in order of creation."""
        return [
            (record.name, Stream(record.names, record.values), offset)
            for record, offset in self.snapshot.log.streams(self.t)
        ]

    def invariants(self) -> tuple[Invariant, ...]:
        """The standing invariants that hold at this position, in the order they were required."""
        return invariants_at(self.snapshot)

    # Time.

    @overload
    def diff(self, older: Database) -> FactDifference: ...
    @overload
    def diff(self, older: Database, query: Any, *inputs: Any) -> RowDifference: ...
    def diff(self, older: Database, query: Any = None, *inputs: Any) -> FactDifference | RowDifference:
        """What came and what went (`came`, `went`) since an `older` database of the same store: facts; or, with a
        `query` and its `inputs` after the database, its rows. Either may be a speculation (`with_`).

        Raises ArgumentError for a database of another store, a history or a since; with a query the errors of `q`
        instead: QuerySyntaxError, QueryError.

        >>> import tourlog
        >>> conn = tourlog.connect()
        >>> before = conn.transact([{"db/id": "ann", "age": 41}]).db_after
        >>> conn.transact([{"db/id": "ann", "age": 42}]).db_after.diff(before)
        FactDifference(came=[Fact(e='ann', a='age', v=42, tx=2, added=True)], \
went=[Fact(e='ann', a='age', v=41, tx=2, added=False)])
        """
        check_database(older)
        if query is None:
            return fact_difference(older.snapshot, self.snapshot)
        return row_difference(older.snapshot, self.snapshot, query, list(map(unwrapped, inputs)))

    def tx_range(self, start: int = 1, stop: int | None = None) -> Iterator[PastTransaction]:
        """The transactions `start` … `stop` - 1 in order: each with its position, instant, id, meta, offsets, and the
        facts it added and retracted. ArgumentError for what is no position."""
        first, end = whole_number("start", start), EVERYTHING if stop is None else whole_number("stop", stop)
        return transactions(self.snapshot, max(first, 1), end)

    def entity_history(self, eid: Any) -> list[EntityVersion]:
        """The states the entity `eid` went through, oldest first: the transaction, its instant, and the document it
        left, None where it retracted the entity. ArgumentError or DocumentError for what is no id, ArgumentError for
        `offset-metadata`, which is a view."""
        return versions(self.snapshot, _entity_id(eid))

    def as_of(self, t: int | datetime) -> Database:
        """The database as it was at position `t`, or at an instant (a datetime with a time zone); this one, for a time
        after its own. ArgumentError for anything else."""
        return Database(_moved(self.snapshot, t=min(self._position(t), self.t)))

    def since(self, t: int | datetime) -> Database:
        """Only what was added after position `t` (or an instant) and still holds; ArgumentError for anything else."""
        return Database(_moved(self.snapshot, since=self._position(t)))

    def history(self) -> Database:
        """Everything that ever held: facts added, and facts taken back under the transaction that did."""
        return Database(_moved(self.snapshot, history=True))

    def with_(self, tx_data: Any) -> TxReport:
        """The report that `transact` would give, or the error, for this `tx_data` on this very database; nothing is
        written.

        Raises ArgumentError on a history or a since; TransactionError, DocumentError, ConflictError and InvariantError,
        see `Connection.transact`.
        """
        if not self.snapshot.is_plain:
            raise ArgumentError("with_ needs a database as of a position, not a history or a since")
        draft = Draft(self.snapshot)
        apply(draft, tx_data, Database)
        enforce(draft, watched_at(self.snapshot))
        return report_between(self.snapshot, draft.result(), draft.offsets(), self.t)

    def _position(self, t: int | datetime) -> int:
        if isinstance(t, datetime):
            offset = t.utcoffset()
            if offset is None:
                raise ArgumentError(f"expected a datetime with a time zone, got {shown(t)}", argument="t")
            since_epoch = t.replace(tzinfo=None) - EPOCH.replace(tzinfo=None)
            return self.snapshot.log.position_at((since_epoch - offset) // _MICROSECOND)
        return whole_number("t", t)


class TxReport:
    """What a transaction did, `t` being the position after it. Made by tourlog only; what it tells is made when it is
    asked for."""

    def __init__(
        self,
        t: int,
        before: Callable[[], Snapshot],
        after: Callable[[], Snapshot],
        spans: Iterable[tuple[Stream, range]],
        base_t: int,
    ) -> None:
        self.t = t
        """The position after the transaction."""
        self._before, self._after, self._spans, self._base_t = before, after, spans, base_t

    @cached_property
    def db_before(self) -> Database:
        """The database the transaction was applied to."""
        return Database(self._before())

    @cached_property
    def db_after(self) -> Database:
        """The database after the transaction."""
        return Database(self._after())

    @cached_property
    def offsets(self) -> Mapping[Stream, range]:
        """The range of offsets appended to each `Stream`."""
        return dict(self._spans)

    @cached_property
    def tx_data(self) -> tuple[Fact, ...]:
        """The facts added and retracted, read when first asked for: StorageError if the store was closed before."""
        return tuple(self._facts())

    def _facts(self) -> Iterator[Fact]:
        return facts_between(self.db_before.snapshot, self.db_after.snapshot, self._base_t)

    def __repr__(self) -> str:
        offsets = ", ".join(f"{stream}: {span.start}…{span.stop - 1}" for stream, span in self.offsets.items())
        return f"<TxReport t={self.t}{' ' if offsets else ''}{offsets}>"

    def _repr_html_(self) -> str | None:
        try:
            facts = list(islice(self._facts(), MOST_ROWS + 1))
        except StorageError:
            return None  # the store was closed; the offsets are still worth showing
        spans = [(str(stream), _span(span), len(span)) for stream, span in self.offsets.items()]
        table = table_html(("stream", "offsets", "documents"), spans, total=len(spans), noun="stream", count=False)
        return titled(f"Transaction {self.t:,}", table if spans else "", _facts_html(facts))


def report_between(before: Snapshot, after: Snapshot, offsets: Mapping[Stream, range], base_t: int) -> TxReport:
    """The report of what came between two snapshots that see the log up to `base_t`, where the transaction began."""
    return TxReport(after.t, lambda: before, lambda: after, offsets.items(), base_t)


def _one_by_one(batches: Iterable[Iterable[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """A generator and no `chain`: threads that share one are refused by Python, where a chain can crash it."""
    for batch in batches:
        yield from batch


def _span(offsets: range) -> str:
    return str(offsets.start) if len(offsets) == 1 else f"{offsets.start} … {offsets.stop - 1}"


def _facts_html(facts: list[Fact]) -> str:
    """The first facts of a transaction, of which there may be one more than is shown."""
    if not facts:
        return note("nothing was written")
    rows = [("+" if fact.added else "−", fact.e, fact.a, fact.v) for fact in facts[:MOST_ROWS]]
    title = counted(len(facts), "fact") if len(facts) <= MOST_ROWS else f"the first {MOST_ROWS} facts"
    table = table_html(("", "e", "a", "v"), rows, total=len(rows), count=False)
    return folded(title, table)


def q(
    query: Any,
    *inputs: Any,
    engine: str = "auto",
    timeout: float | None = None,
    max_rows: int | None = None,
) -> Any:
    """The answer to a `query` over `inputs`, which stand for `:in` in order: a `Database` (or a collection of tuples)
    for each source, then values. `engine`, `timeout` (in seconds), `max_rows` and the errors are those of `Database.q`:
    QuerySyntaxError, QueryError, BudgetError, DocumentError, ArgumentError."""
    return ask(query, list(map(unwrapped, inputs)), engine=engine, timeout=timeout, max_rows=max_rows)


def pydatalog_program(db: Database) -> AbstractContextManager[None]:
    """A block in which a pyDatalog program of your own can ask the database `db`, in the calling thread. ArgumentError
    for what is none.

    `fact(E, A, V)` are its facts; `document(E, A1, V1, A2, V2, …)` the entities that state every pair of up to eight.
    They answer from the database as it is asked for: nothing is asserted, nothing can be changed through them, and what
    the names meant before the block they mean again after it. Values come exactly as they are stored; collections come
    as tuples, a nested document as the sorted tuple of its pairs. What pyDatalog itself does with values and recursion
    applies: a right-recursive rule of yours may not end on cyclic data.

    >>> import tourlog
    >>> from pyDatalog import pyDatalog
    >>> conn = tourlog.connect()
    >>> report = conn.transact([{"db/id": 1, "name": "Ann", "boss": 2}, {"db/id": 2, "name": "Bob"}])
    >>> with tourlog.pydatalog_program(conn.db()):
    ...     pyDatalog.ask('fact(E, "boss", B) & fact(B, "name", N)').answers
    [(1, 2, 'Bob')]
    """
    check_database(db)
    return exposed(db.snapshot)


def unwrapped(given: Any) -> Any:
    """A query's input as the engines take it: a database value as the snapshot it is of."""
    return given.snapshot if isinstance(given, Database) else given


def _entity_id(eid: Any) -> Any:
    if eid is None or isinstance(eid, _CONTAINERS):
        raise ArgumentError(f"expected the id of an entity, a scalar, got {shown(eid)}", argument="eid")
    return plain(eid, ID_KEY)


def check_database(db: object) -> None:
    """Raise `ArgumentError` unless this is a database value."""
    if not isinstance(db, Database):
        raise ArgumentError(f"expected a Database, such as conn.db(), got {shown(db)}", argument="db")


def whole_number(name: str, value: Any) -> int:
    """An offset or a position, at most what a store can hold; `ArgumentError` for what is none."""
    if type(value) is not int or value < 0:
        raise ArgumentError(f"expected {name} to be a whole number from 0, got {shown(value)}", argument=name)
    return min(value, EVERYTHING)


def _moved(snapshot: Snapshot, *, t: int | None = None, since: int | None = None, history: bool = False) -> Snapshot:
    return Snapshot(
        snapshot.log,
        snapshot.index,
        snapshot.t if t is None else t,
        snapshot.since if since is None else max(since, snapshot.since),
        snapshot.history or history,
    )
