"""The connection: the one thing that commits. One writer at a time, any number of readers that never wait."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import UUID

from tourlog.conditions import calls_out, check_conditions, check_expected
from tourlog.database import Database, TxReport, report_between, unwrapped
from tourlog.documents import check_names, group_documents, listed
from tourlog.draft import Draft, Savepoint
from tourlog.errors import ArgumentError, TransactionError, shown
from tourlog.fact_index import FactIndex, ForkedIndex
from tourlog.invariants import Invariant, Standing, Watched, drop, require
from tourlog.listeners import Listeners
from tourlog.past import PastTransaction, offsets_of
from tourlog.plain_appends import PlainAppends
from tourlog.snapshot import Snapshot
from tourlog.storage import open_log
from tourlog.storage.log import Log
from tourlog.subscription import Subscription, subscription
from tourlog.tails import spans_of
from tourlog.transaction import Call, annotate, apply, check_meta, operations
from tourlog.values import plain
from tourlog.watch import Watch

DURABILITIES = ("full", "normal")


@dataclass(slots=True)
class Block:
    """What an outermost `transaction()` block and those inside it have in common."""

    draft: Draft
    thread: int = field(default_factory=threading.get_ident)
    is_open: bool = True
    failed: bool = False
    held: tuple[Watched, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


def connect(
    path: str | os.PathLike[str] | None = None,
    *,
    durability: str = "full",
    read_only: bool = False,
    timeout: float = 10.0,
) -> Connection:
    """Open a store: a file (made if missing), or memory when `path` is None.

    `durability` "full": an acknowledged commit survives power loss; "normal": it survives a killed process. With
    `read_only` nothing can be written, and the file must exist. Who writes waits for other threads and processes that
    do, for `timeout` seconds at most: StorageError then. Raises StorageError for a file that is no store of tourlog, is
    too new, locked or unreadable; ArgumentError for other values of the arguments.

    >>> with connect() as conn:
    ...     conn.append([{"topic": "a", "n": 1}], "topic").t
    1
    """
    name = None if path is None else _path(path)
    if type(read_only) is not bool:
        raise ArgumentError(f"expected True or False for read_only, got {shown(read_only)}", argument="read_only")
    if name is None and read_only:
        raise ArgumentError("a store in memory starts empty and cannot be read_only", argument="read_only")
    if type(durability) is not str or durability not in DURABILITIES:
        raise ArgumentError(
            f"expected a durability among {', '.join(DURABILITIES)}, got {shown(durability)}",
            argument="durability",
        )
    if type(timeout) not in (int, float) or not 0 < timeout < threading.TIMEOUT_MAX:
        raise ArgumentError(
            f"expected a positive number of seconds for timeout, got {shown(timeout)}", argument="timeout"
        )
    return Connection(open_log(name, durability=durability, read_only=read_only, patience=timeout))


def check_connection(conn: object) -> None:
    """Raise `ArgumentError` unless this is a connection."""
    if not isinstance(conn, Connection):
        raise ArgumentError(f"expected a Connection, such as tourlog.connect(), got {shown(conn)}", argument="conn")


def is_in_block(conn: Connection) -> bool:
    """Whether this code is inside a `transaction()` block of the connection."""
    return conn._block is not None


def _path(path: Any) -> str:
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if type(name) is not str or not name or "\0" in name:
        raise ArgumentError(f"expected a path or None, got {shown(path)}", argument="path")
    return name


class Connection:
    """An open store. May be shared by threads; not by processes over a fork. Made by `connect`.

    What reads or writes raises StorageError once the store is closed, after a fork, or when the file cannot be read or
    written; what writes raises its subclass UnknownOutcomeError when the disk fails at the commit itself, and
    StorageError when others have been writing for the `timeout` of `connect`.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._index = FactIndex(log)
        self._standing = Standing()
        self._watch = Watch(log)
        self._listeners = Listeners()
        self._plain = PlainAppends(log, self._standing, self._listeners, self._at)
        # Of the context and not of the thread: the tasks of an event loop must not get into each other's blocks.
        self._opened_block: ContextVar[Block | None] = ContextVar("opened_block", default=None)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection to {self._log.path or 'memory'}>"

    def close(self) -> None:
        """Close the store; subscriptions end. Closing again does nothing; what reads or writes afterwards raises
        StorageError."""
        self._watch.close()
        self._log.close()

    def db(self) -> Database:
        """The newest database; inside a `transaction()` block, what the block has appended included."""
        block = self._block
        return Database(self._newest() if block is None else block.draft.view())

    def tx_range(self, start: int = 1, stop: int | None = None) -> Iterator[PastTransaction]:
        """The transactions `start` … `stop` - 1 of the newest database in order; see `Database.tx_range`. ArgumentError
        for what is no position."""
        return self.db().tx_range(start, stop)

    # Writing.

    def transact(
        self, tx_data: Any, *, tx_id: str | UUID | None = None, meta: Mapping[str, Any] | None = None
    ) -> TxReport:
        """Apply transaction data to the newest database and commit it: all of it, or nothing.

        `tx_data` is a list of documents (upserted by their `db/id`; without one they get a new one),
        `("db/add", e, a, v)`, `("db/retract", e, a, v)`, `("db/retract-entity", e)`, `("db/cas", e, a, old, new)` and
        `call(f, *args)`. With a `tx_id`, a string or a UUID, that is already in the store, nothing is written and the
        report is that transaction's.

        `meta` says who wrote it, why, or what caused it: attributes of the transaction's entity, whose id is its
        position, so that queries find them.

        Raises TransactionError for data that is no such list or writes what is the store's own, DocumentError for a
        value that cannot be stored, ConflictError for a `db/cas` or an ordered document that comes too late,
        InvariantError when it breaks an invariant, ArgumentError for another `tx_id`, or one inside a `transaction()`
        block. What a called function raises is the caller's.

        >>> conn = connect()
        >>> report = conn.transact([{"db/id": "ann", "name": "Ann"}], meta={"who": "bob"})
        >>> conn.db().q("[:find ?who . :where [_ :name _ ?tx] [?tx :who ?who]]")
        'bob'
        """
        given = operations(tx_data)
        alone = any(isinstance(operation, Call) for operation in given)
        return self._write(lambda draft: apply(draft, given, Database), tx_id, meta, alone=alone)

    def append(
        self,
        documents: Iterable[Mapping[str, Any]],
        *key: str,
        expect: int | Mapping[Any, int] | None = None,
        unless: Any = None,
        only_if: Any = None,
        tx_id: str | UUID | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> TxReport:
        """Append `documents`, dicts, each to the stream its `key` attributes name, in the order given.

        `expect` is the stream's next offset, or a mapping from streams (or their tuples of values) to theirs;
        ConflictError otherwise. `unless` and `only_if` are queries, or tuples of a query and its inputs after the
        database: ConditionError if one has an answer, or has none; QuerySyntaxError or QueryError if it cannot be
        asked. `tx_id` and `meta` are those of `transact`.

        Raises DocumentError, naming the place, for a document that cannot be stored or lacks a key attribute,
        ArgumentError for a `key` or a `tx_id` that cannot be one, TransactionError for `meta` that is the store's own,
        InvariantError when an invariant is broken.
        """
        given = listed(documents)
        check_names(key)
        later = self._block is not None  # what is written only then must not change meanwhile
        if expect is None and tx_id is None and meta is None and not later:
            written = self._plain.append(given, key, unless, only_if)
            if written is not None:
                commit, tails = written
                t = commit.transaction.t
                self._watch.committed()
                return TxReport(t, lambda: self._at(t - 1), lambda: self._at(t), spans_of(commit, tails), t - 1)

        def change(draft: Draft) -> None:
            grouped = group_documents(given, key)
            check_expected(draft, expect, [stream for stream, _ in grouped], key)
            check_conditions(draft, unless, only_if)
            for stream, group in grouped:
                draft.extend(draft.tail(stream), list(map(plain, group)) if later else group)

        return self._write(change, tx_id, meta, alone=calls_out(unless) or calls_out(only_if))

    @contextmanager
    def transaction(self, *, meta: Mapping[str, Any] | None = None) -> Iterator[Connection]:
        """A block whose appends and transactions through this connection, by this thread, are one.

        Blocks nest. An exception that leaves any of them undoes everything. Meanwhile other threads that write wait;
        other tasks of this thread's event loop are refused, and had better not run: do not await in it. What is given
        as `meta`, here and inside, is stated of the one transaction, if there is anything to write.

        Raises DocumentError or TransactionError for `meta` that cannot be stated; at its end InvariantError when an
        invariant is broken, TransactionError when an exception left a block inside it and was caught.
        """
        stated, block = check_meta(meta), self._block
        if block is not None:
            with self._inside(block):
                yield self
            block.meta.update(stated)
            return
        with self._writing(alone=True), self._opened(None, stated) as opened:
            yield self
        self._committed(opened.draft, opened.held)

    def run(
        self, work: Callable[[], object], *, tx_id: str | UUID | None = None, meta: Mapping[str, Any] | None = None
    ) -> TxReport:
        """Call `work()` in a `transaction()` block and report on all it wrote as one. With a `tx_id` that is already in
        the store, `work` is not called and the report is that transaction's. `meta` is stated of the transaction, see
        `transact`.

        Raises ArgumentError for `work` that cannot be called or a `tx_id` that cannot be one, and as the block does:
        DocumentError, TransactionError, InvariantError. An exception that leaves `work` undoes everything and is the
        caller's.

        >>> conn = connect()
        >>> conn.run(lambda: [conn.append([{"k": key}], "k") for key in "ab"])
        <TxReport t=1 k=a: 0…0, k=b: 0…0>
        """
        if not callable(work):
            raise ArgumentError(f"expected a function to run, got {shown(work)}", argument="work")
        name, stated, block = _tx_id(tx_id), check_meta(meta), self._block
        if block is not None:
            _refuse_id_inside(tx_id)
            savepoint, before = block.draft.savepoint(), block.draft.view()
            with self._inside(block):
                work()
            block.meta.update(stated)
            return _report_inside(block.draft, savepoint, before)
        with self._writing(alone=True):
            known = self._known(name)
            if known is not None:
                return known
            with self._opened(name, stated) as opened:
                work()
        self._committed(opened.draft, opened.held)
        return self._report(opened.draft, opened.held is not None)

    # Invariants.

    def require(self, name: str, rule: Any, *inputs: Any) -> TxReport:
        """From now on refuse every transaction, of whichever program, after which the query `rule` (its `inputs` are
        the newest database, then these) has an answer: InvariantError names the invariant and the rows.

        The invariant is stored in the log under its `name`. Requiring the same again does nothing; ArgumentError for
        another query under a name that is taken, or a name that is none, InvariantError when the store breaks it
        already, QuerySyntaxError or QueryError for a query that cannot be asked, DocumentError for inputs that cannot
        be stored.

        >>> conn = connect()
        >>> report = conn.require("no debts", "[:find ?a ?sum :where [?a :balance ?sum] [(< ?sum 0)]]")
        >>> conn.transact([{"db/id": "ann", "balance": -1}])
        Traceback (most recent call last):
        tourlog.errors.InvariantError: the invariant 'no debts' does not hold: [('ann', -1)]
        """
        given = [list(each) if isinstance(each, Iterator) else unwrapped(each) for each in inputs]
        return self._write(lambda draft: require(draft, name, rule, given))

    def invariants(self) -> tuple[Invariant, ...]:
        """The standing invariants, in the order they were required."""
        return self.db().invariants()

    def drop_invariant(self, name: str) -> TxReport:
        """Require the invariant called `name` no more; ArgumentError when there is none."""
        return self._write(lambda draft: drop(draft, name))

    # Following.

    def subscribe(self, key: Any = None, *, start: Any = None, where: Any = None) -> Subscription:
        """An iterator of (place, document): what is there from `start` on, then what comes, by whichever thread or
        process it is written. It skips nothing, repeats nothing, and ends when it or the connection is closed.

        `key` is a stream's, such as `{"topic": "paid", "partition": 1}`, and the place a document's offset. For many
        streams, in the order of commits, the place is a `Position`: None in the key stands for any value, names alone
        such as `("topic", "partition")` for all streams of such a key, and no key at all for every stream.

        `start` is the place of the first document to read (a number stands for that transaction, when many streams are
        read), "now" for only what comes, or a `Consumer`, which goes on after what it has committed.

        `where` is a query, or a tuple of a query and its further inputs, that takes the database and the ids of
        documents and finds those to keep: `[:find ?e :in $ [?e ...] :where [?e :type "paid"]]`. Documents, and what the
        query asks, are as of the newest position when they are read.

        Raises ArgumentError for what is no key, start or such query, DocumentError for a value that no key has,
        QuerySyntaxError or QueryError for a query that cannot be asked.

        >>> conn = connect()
        >>> report = conn.append([{"topic": "a", "n": 1}, {"topic": "b", "n": 2}, {"topic": "a", "n": 3}], "topic")
        >>> with conn.subscribe({"topic": "a"}) as documents:
        ...     place, document = next(documents)
        >>> place, document["n"]
        (0, 1)
        """
        return subscription(self._newest, self._watch, key, start, where)

    def listen(self, listener: Callable[[TxReport], object]) -> Callable[[], None]:
        """Call `listener` with the report of every transaction of this connection, after it is committed, in the order
        of the log; what is returned ends that. A thread that writes calls it, before it goes on; what it raises is
        logged (by the logger "tourlog") and harms nobody. ArgumentError when it cannot be called."""
        if not callable(listener):
            raise ArgumentError(f"expected a function of a report, got {shown(listener)}", argument="listener")
        return self._listeners.add(listener)

    def compact(self) -> int:
        """Join the small batches that many small transactions left into full ones, which read faster and take less
        room; how many batches there are fewer. Positions, offsets, transactions and what readers see stay as they are.
        Other writers get their turn in between; compacting again does nothing. ArgumentError inside a `transaction()`
        block."""
        if self._block is not None:
            raise ArgumentError("a store is compacted outside of a transaction() block")
        return self._log.compact()

    # Inside.

    @property
    def _block(self) -> Block | None:
        """The block this code is in. A context may outlive its block, and be copied to another thread."""
        block = self._opened_block.get()
        return block if block is not None and block.is_open and block.thread == threading.get_ident() else None

    @contextmanager
    def _opened(self, tx_id: str | None, meta: Mapping[str, Any]) -> Iterator[Block]:
        """A block of this thread and context, committed at its end."""
        block = Block(Draft(self._newest()), meta=dict(meta))
        token = self._opened_block.set(block)
        try:
            yield block
            if block.failed:
                raise TransactionError(
                    "the transaction is undone: an exception left a block inside this one and was caught"
                )
            block.held = self._append(block.draft, tx_id, block.meta)
        finally:
            block.is_open = False
            with suppress(ValueError):  # closed in another context, as async generators may be: `is_open` tells
                self._opened_block.reset(token)

    @contextmanager
    def _inside(self, block: Block) -> Iterator[None]:
        """A block inside another: what leaves it as an exception undoes the outermost."""
        try:
            yield
        except BaseException:
            block.failed = True
            raise

    def _newest(self) -> Snapshot:
        return self._at(self._log.head().t)

    def _at(self, t: int) -> Snapshot:
        return Snapshot(self._log, self._index, t)

    def _base(self) -> Snapshot:
        """What the calling thread, which holds the writer's place, writes on. It may hold transactions whose commit
        is still to come, and might fail: their facts do not go into the index that all share."""
        t, settled = self._log.head().t, self._log.settled()
        index = self._index if t == settled else ForkedIndex(self._index, settled, self._log)
        return Snapshot(self._log, index, t)

    def _write(
        self,
        change: Callable[[Draft], None],
        tx_id: str | UUID | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        alone: bool = False,
    ) -> TxReport:
        """Change the newest database. `alone` shares no commit with other threads: they would have to wait for code
        of the user's, and it perhaps for them."""
        stated, block = check_meta(meta), self._block
        if block is not None:
            _refuse_id_inside(tx_id)
            report = _write_inside(block.draft, change)
            block.meta.update(stated)
            return report
        name = _tx_id(tx_id)
        with self._writing(alone=alone):
            known = self._known(name)
            if known is not None:
                return known
            draft = Draft(self._base())
            change(draft)
            held = self._append(draft, name, stated)
        self._committed(draft, held)
        return self._report(draft, held is not None)

    def _append(self, draft: Draft, tx_id: str | None, meta: Mapping[str, Any]) -> tuple[Watched, ...] | None:
        """Write the draft to the log; the invariants that hold after it. None when there is nothing to write."""
        if tx_id is None and draft.is_empty():
            return None
        if meta:
            annotate(draft, meta)
        held = self._standing.enforce(draft)
        if not self._listeners.is_empty:
            self._listeners.expect()
        self._log.append(draft.prepare(tx_id))
        return held

    def _writing(self, *, alone: bool) -> AbstractContextManager[None]:
        """The one writer's place."""
        place = self._log.writing(alone=alone)
        return place if self._listeners.is_empty else self._listeners.writing(place)

    def _committed(self, draft: Draft, held: tuple[Watched, ...] | None) -> None:
        """What there is to do once a draft, if it was written, is in the log for good."""
        if held is not None:
            self._standing.committed(draft.t, held)
            self._watch.committed()
            if not self._listeners.is_empty:
                self._listeners.committed(self._report(draft, True))

    def _known(self, tx_id: str | None) -> TxReport | None:
        """The report of the transaction with this id, if there is one."""
        known = self._log.transaction_by_id(tx_id) if tx_id is not None else None
        return None if known is None else self._report_of(known.t)

    def _report(self, draft: Draft, written: bool) -> TxReport:
        """What a draft did, once committed; nothing at all if there was nothing to write."""
        before = self._at(draft.base.t)
        after = self._at(draft.t) if written else before
        return report_between(before, after, draft.offsets(), before.t)

    def _report_of(self, t: int) -> TxReport:
        """The report of an earlier transaction."""
        return report_between(self._at(t - 1), self._at(t), offsets_of(self._log, t), t - 1)


def _write_inside(draft: Draft, change: Callable[[Draft], None]) -> TxReport:
    """Change the draft of a block, wholly or not at all."""
    savepoint, before = draft.savepoint(), draft.view()
    try:
        change(draft)
    except BaseException:
        draft.return_to(savepoint)
        raise
    return _report_inside(draft, savepoint, before)


def _report_inside(draft: Draft, savepoint: Savepoint, before: Snapshot) -> TxReport:
    return report_between(before, draft.view(), draft.offsets(savepoint), draft.base.t)


def _refuse_id_inside(tx_id: object) -> None:
    if tx_id is not None:
        raise ArgumentError("a tx_id names a whole transaction; give none inside a block", argument="tx_id")


def _tx_id(tx_id: Any) -> str | None:
    if tx_id is None or (type(tx_id) is str and tx_id):
        return tx_id
    if type(tx_id) is UUID:
        return str(tx_id)
    raise ArgumentError(f"expected a non-empty string or a UUID as tx_id, got {shown(tx_id)}", argument="tx_id")
