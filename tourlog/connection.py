"""The connection: the one thing that commits. One writer at a time, any number of readers that never wait."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import UUID

from tourlog.database import Database, TxReport
from tourlog.draft import Draft, check_names, facts_between, group_documents
from tourlog.errors import ArgumentError, ConditionError, ConflictError, TransactionError
from tourlog.fact_index import FactIndex
from tourlog.query.run import run_query
from tourlog.snapshot import Snapshot
from tourlog.storage import open_log
from tourlog.storage.log import Log
from tourlog.stream import Stream
from tourlog.transaction import apply
from tourlog.values import plain

DURABILITIES = ("full", "normal")


@dataclass(slots=True)
class Block:
    """An open `transaction()` block of one thread."""

    draft: Draft
    depth: int = 1
    failed: bool = False


def connect(
    path: str | os.PathLike[str] | None = None, *, durability: str = "full", read_only: bool = False
) -> Connection:
    """Open a store: a file (made if missing), or memory when `path` is None.

    `durability` "full": an acknowledged commit survives power loss; "normal": it survives a killed process.
    Raises StorageError for a file that is no store of tourlog, is too new, locked or unreadable.

    >>> with connect() as conn:
    ...     conn.append([{"topic": "a", "n": 1}], "topic").t
    1
    """
    if path is not None and not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"expected a path or None, got {path!r}", argument="path")
    if durability not in DURABILITIES:
        raise ArgumentError(
            f"expected a durability among {', '.join(DURABILITIES)}, got {durability!r}",
            argument="durability",
        )
    return Connection(open_log(None if path is None else os.fspath(path), durability=durability, read_only=read_only))


class Connection:
    """An open store. May be shared by threads; not by processes over a fork. Made by `connect`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._index = FactIndex(log)
        self._local = threading.local()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection to {self._log.path or 'memory'}>"

    def close(self) -> None:
        """Close the store. Closing again does nothing; anything else afterwards raises StorageError."""
        self._log.close()

    def db(self) -> Database:
        """The newest database; inside a `transaction()` block, what the block has appended included."""
        block = self._block
        return Database(self._newest() if block is None else self._view(block.draft))

    # Writing.

    def transact(self, tx_data: Any, *, tx_id: str | UUID | None = None) -> TxReport:
        """Apply transaction data to the newest database and commit it: all of it, or nothing.

        `tx_data` is a list of documents (upserted by their `db/id`; without one they get a new one),
        `("db/add", e, a, v)`, `("db/retract", e, a, v)`, `("db/retract-entity", e)`,
        `("db/cas", e, a, old, new)` and `call(f, *args)`. With a `tx_id` that is already in the store, nothing
        is written and the report is that transaction's.
        """
        return self._write(lambda draft: apply(draft, tx_data, Database), tx_id)

    def append(
        self,
        documents: Iterable[Mapping[str, Any]],
        *key: str,
        expect: int | Mapping[Any, int] | None = None,
        unless: Any = None,
        only_if: Any = None,
        tx_id: str | UUID | None = None,
    ) -> TxReport:
        """Append documents, each to the stream its key attributes name, in the order given.

        `expect` is the stream's next offset, or a mapping from streams (or their tuples of values) to
        theirs; ConflictError otherwise. `unless` and `only_if` are queries, or tuples of a query and its
        inputs after the database: ConditionError if one has an answer, or has none.
        """
        check_names(key)

        def change(draft: Draft) -> None:
            grouped = group_documents(documents, key)
            _check_expected(draft, expect, [stream for stream, _ in grouped], key)
            self._check_conditions(draft, unless, only_if)
            in_block = self._block is not None
            for _, group in grouped:
                draft.append([plain(document) for document in group] if in_block else group, key)

        return self._write(change, tx_id)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A block whose appends and transactions through this connection, by this thread, are one.

        Blocks nest. An exception that leaves any of them undoes everything; other writers wait meanwhile.
        """
        outer = self._block
        if outer is not None:
            outer.depth += 1
            try:
                yield self
            except BaseException:
                outer.failed = True
                raise
            finally:
                outer.depth -= 1
            return
        with self._log.writing():
            block = self._local.block = Block(Draft(self._newest()))
            try:
                yield self
                if block.failed:
                    raise TransactionError(
                        "the transaction is undone: an exception left a block inside this one and was caught"
                    )
                if not block.draft.is_empty():
                    self._log.append(block.draft.prepare())
            finally:
                self._local.block = None

    # Inside.

    @property
    def _block(self) -> Block | None:
        return getattr(self._local, "block", None)

    def _newest(self) -> Snapshot:
        return Snapshot(self._log, self._index, self._log.head().t)

    def _view(self, draft: Draft) -> Snapshot:
        return draft.base if draft.is_empty() else draft.view()

    def _write(self, change: Callable[[Draft], None], tx_id: str | UUID | None) -> TxReport:
        block = self._block
        if block is not None:
            if tx_id is not None:
                raise ArgumentError("a tx_id names a whole transaction; give none inside a transaction() block")
            return self._write_in_block(block.draft, change)
        name = _tx_id(tx_id)
        with self._log.writing():
            known = self._log.transaction_by_id(name) if name is not None else None
            if known is not None:
                return self._report_of(known.t)
            base = self._newest()
            draft = Draft(base)
            change(draft)
            if draft.is_empty() and name is None:
                return TxReport(Database(base), Database(base), {}, lambda: iter(()))
            self._log.append(draft.prepare(name))
        after = Snapshot(self._log, self._index, draft.t)
        return TxReport(Database(base), Database(after), draft.offsets(), lambda: facts_between(base, after))

    def _write_in_block(self, draft: Draft, change: Callable[[Draft], None]) -> TxReport:
        savepoint, before = draft.savepoint(), self._view(draft)
        try:
            change(draft)
        except BaseException:
            draft.return_to(savepoint)
            raise
        after = self._view(draft)
        return TxReport(
            Database(before),
            Database(after),
            draft.offsets(savepoint),
            lambda: facts_between(draft.base, after),
        )

    def _report_of(self, t: int) -> TxReport:
        """The report of an earlier transaction."""
        before, after = (Snapshot(self._log, self._index, position) for position in (t - 1, t))
        offsets: dict[Stream, range] = {}
        for batch in self._log.tail(t - 1, t):
            record = self._log.stream_by_id(batch.stream) if batch.stream else None
            if record is not None:
                stream = Stream(record.names, record.values)
                start = offsets[stream].start if stream in offsets else batch.first
                offsets[stream] = range(start, batch.first + batch.count)
        return TxReport(Database(before), Database(after), offsets, lambda: facts_between(before, after))

    def _check_conditions(self, draft: Draft, unless: Any, only_if: Any) -> None:
        if unless is not None and self._answers(draft, unless):
            raise ConditionError("`unless` has an answer, so nothing is appended", condition=unless)
        if only_if is not None and not self._answers(draft, only_if):
            raise ConditionError("`only_if` has no answer, so nothing is appended", condition=only_if)

    def _answers(self, draft: Draft, condition: Any) -> bool:
        query, *inputs = condition if isinstance(condition, tuple) else (condition,)
        answer = run_query(query, [self._view(draft), *inputs])
        return answer is not None and (not hasattr(answer, "__len__") or len(answer) > 0)


def _check_expected(
    draft: Draft, expect: int | Mapping[Any, int] | None, streams: list[Stream], key: tuple[str, ...]
) -> None:
    if expect is None:
        return
    if isinstance(expect, Mapping):
        wanted = {_stream(given, key): offset for given, offset in expect.items()}
    elif len(streams) == 1:
        wanted = {streams[0]: expect}
    else:
        raise ArgumentError(
            f"expect={expect!r} needs documents of one stream, got {len(streams)}; give a mapping from streams",
            argument="expect",
        )
    for stream, offset in wanted.items():
        if type(offset) is not int or offset < 0:
            raise ArgumentError(f"expected a next offset for {stream}, got {offset!r}", argument="expect")
        actual = draft.next_offset(stream)
        if actual != offset:
            raise ConflictError(
                f"expected stream {stream} at offset {offset}, it is at {actual}",
                stream=stream,
                expected=offset,
                actual=actual,
            )


def _stream(given: Any, key: tuple[str, ...]) -> Stream:
    if isinstance(given, Stream):
        return given
    values = given if isinstance(given, tuple) else (given,)
    if len(values) != len(key):
        raise ArgumentError(
            f"expected {len(key)} values ({', '.join(key)}) in expect, got {given!r}", argument="expect"
        )
    return Stream(key, tuple(plain(value) for value in values))


def _tx_id(tx_id: Any) -> str | None:
    if tx_id is None or (type(tx_id) is str and tx_id):
        return tx_id
    if type(tx_id) is UUID:
        return str(tx_id)
    raise ArgumentError(f"expected a non-empty string or a UUID as tx_id, got {tx_id!r}", argument="tx_id")
