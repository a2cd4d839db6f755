"""tourlog for asyncio: reading, appending and subscribing without ever blocking the event loop.

>>> import asyncio
>>> from tourlog import aio
>>> async def main() -> list[int]:
...     async with aio.connect() as conn:
...         await conn.append([{"k": 1, "n": 5}, {"k": 1, "n": 7}], "k")
...         async with conn.subscribe({"k": 1}) as documents:
...             return [(await anext(documents))[1]["n"] for _ in range(2)]
>>> asyncio.run(main())
[5, 7]
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from tourlog.connection import Connection
from tourlog.connection import connect as connect_blocking
from tourlog.database import Database, TxReport, whole_number
from tourlog.errors import StorageError
from tourlog.subscription import Item, Subscription, check_timeout, following

Result = TypeVar("Result")

_READERS = 4
"""Threads that read for one connection; the event loop's own are left to others."""

_CHUNK = 256
"""How many documents a subscription reads at a time; it keeps no more than these."""


def connect(
    path: str | os.PathLike[str] | None = None,
    *,
    durability: str = "full",
    read_only: bool = False,
    timeout: float = 10.0,
) -> AsyncConnection:
    """An open store for the tasks of event loops. To be awaited, or used in `async with`, which raise the errors of
    `tourlog.connect`. `path`, `durability`, `read_only` and `timeout`, in seconds, are those of `tourlog.connect`."""
    return AsyncConnection(partial(connect_blocking, path, durability=durability, read_only=read_only, timeout=timeout))


class AsyncConnection:
    """A `Connection` whose work is done in threads of its own: one that writes, a few that read. Made by `connect`.

    A task that is cancelled while it writes hears of that once the outcome is settled: what had not begun is not
    written; what had begun is written, or has failed, as a whole. Writing again with the same `tx_id` tells which. What
    reads or writes raises StorageError before the store is open, once it is closed, and in a fork of the process.
    """

    def __init__(self, opened: Callable[[], Connection]) -> None:
        self._open = opened
        self._conn: Connection | None = None
        self._writer = _Threads(1, "tourlog writer")
        self._readers = _Threads(_READERS, "tourlog reader")

    def __await__(self) -> Generator[Any, None, AsyncConnection]:
        return self._opened().__await__()

    async def __aenter__(self) -> AsyncConnection:
        return await self._opened()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _opened(self) -> AsyncConnection:
        def open_once() -> None:
            if self._conn is None:
                self._conn = self._open()

        is_new = self._conn is None
        try:
            await _settled(self._writer, open_once)
        except asyncio.CancelledError:
            if is_new and self._conn is not None:  # who was to get it is gone
                opened, self._conn = self._conn, None
                await _settled(self._writer, opened.close)
            raise
        return self

    @property
    def blocking(self) -> Connection:
        """The connection itself, for work given to `run` and for other threads; its methods block who calls them.
        StorageError before the store is open."""
        if self._conn is None:
            raise StorageError("expected an open store: await the connection, or use it in `async with`", path=None)
        return self._conn

    async def close(self) -> None:
        """Close the store, after what is being written; subscriptions end. Closing again does nothing."""
        try:
            if self._conn is not None:
                with suppress(StorageError):  # closed before
                    await _settled(self._writer, self._conn.close)
        finally:
            self._writer.close()
            self._readers.close()

    # Writing.

    async def transact(
        self, tx_data: Any, *, tx_id: str | UUID | None = None, meta: Mapping[str, Any] | None = None
    ) -> TxReport:
        """See `Connection.transact`."""
        return await _settled(self._writer, partial(self.blocking.transact, tx_data, tx_id=tx_id, meta=meta))

    async def append(self, documents: Iterable[Mapping[str, Any]], *key: str, **conditions: Any) -> TxReport:
        """See `Connection.append`: the `documents`, their `key`, and as `conditions` all its keyword arguments."""
        return await _settled(self._writer, partial(self.blocking.append, documents, *key, **conditions))

    async def run(
        self,
        work: Callable[[Connection], object],
        *,
        tx_id: str | UUID | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> TxReport:
        """Call `work` with the blocking connection, in the thread that writes, as one transaction; `tx_id`, `meta` and
        the errors are those of `Connection.run`."""
        conn = self.blocking
        return await _settled(self._writer, lambda: conn.run(lambda: work(conn), tx_id=tx_id, meta=meta))

    # Reading.

    async def db(self) -> Database:
        """The newest database. Its own methods block who calls them: give them to `read`."""
        return await self.read(self.blocking.db)

    async def read(self, function: Callable[..., Result], *arguments: Any, **keywords: Any) -> Result:
        """What a `function` that blocks returns for these `arguments` and `keywords`, such as
        `await conn.read(db.documents, {"k": 1})`. A task that is cancelled does not wait for it."""
        return await asyncio.wrap_future(self._readers.submit(partial(function, *arguments, **keywords)))

    async def q(self, query: Any, *inputs: Any, **limits: Any) -> Any:
        """The answer to a `query` with these `inputs` on the newest database; `limits` are the keyword arguments of
        `Database.q`, whose errors it raises."""
        conn = self.blocking
        return await self.read(lambda: conn.db().q(query, *inputs, **limits))

    async def documents(self, key: Any, start: int = 0, stop: int | None = None) -> list[dict[str, Any]]:
        """The documents of a stream in the newest database; see `Database.documents`."""
        conn = self.blocking
        return await self.read(lambda: conn.db().documents(key, start, stop))

    def subscribe(self, key: Any = None, *, start: Any = None, where: Any = None) -> AsyncSubscription:
        """An asynchronous iterator of (place, document); see `Connection.subscribe`. It begins, and "now" is, and what
        it raises is raised, when it is entered with `async with` or first asked."""
        return AsyncSubscription(partial(self.blocking.subscribe, key, start=start, where=where), self._readers)


class AsyncSubscription:
    """A subscription for the tasks of one event loop. Made by `AsyncConnection.subscribe`. Cancelled while it waits, it
    loses nothing: the next one asked gets what came."""

    def __init__(self, begin: Callable[[], Subscription], readers: _Threads) -> None:
        self._begin, self._readers = begin, readers
        self._subscription: Subscription | None = None
        self._ready: deque[Item] = deque()
        self._reading: Future[None] | None = None
        self._grown = asyncio.Event()
        self._wake: Callable[[], None] | None = None
        self._position: Any = None
        self._closed = False

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> Item:
        if not await self._is_ready():
            raise StopAsyncIteration
        return self._handed_out()

    async def __aenter__(self) -> AsyncSubscription:
        await self._read()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def position(self) -> Any:
        """The place to start at for what this one would give next; None before it has begun."""
        return self._position

    def close(self) -> None:
        """End it: whoever waits for it stops. Closing again does nothing."""
        self._closed = True
        self._grown.set()
        if self._subscription is not None:
            self._subscription.close()
            if self._wake is not None:
                self._subscription.withdraw(self._wake)

    async def take(self, limit: int, timeout: float | None = 0) -> list[Item]:
        """Up to `limit` documents with their places; waits up to `timeout` seconds (None: as long as it takes) until
        there is one, but not for more. Empty when there is none by then, or when all is closed. ArgumentError for a
        limit that is no whole number, or a timeout that is no number; StorageError when the connection was closed
        before it was first asked."""
        most = whole_number("limit", limit)
        check_timeout(timeout)
        if not self._ready and not self._closed:
            await self._read()
        if not self._ready and timeout != 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._is_ready()
        return [] if self._closed else [self._handed_out() for _ in range(min(most, len(self._ready)))]

    async def _is_ready(self) -> bool:
        """Wait until there is a document; False when there will be none."""
        while not self._ready:
            if self._closed:
                return False
            await self._read()
            if self._subscription is not None and self._subscription.closed:
                self._closed = True
            elif not self._ready:
                await self._grown.wait()
        return not self._closed

    def _handed_out(self) -> Item:
        item = self._ready.popleft()
        self._position = following(item[0])
        return item

    async def _read(self) -> None:
        """Have a thread read what there is. One read at a time: one whose task was cancelled goes on, and is the
        next one's."""
        if self._subscription is not None and self._subscription.closed:
            self._closed = True  # there are no threads any more to ask
            return
        if self._wake is None:
            self._wake = _waker(asyncio.get_running_loop(), self._grown)
        if self._reading is None or self._reading.done():
            self._grown.clear()  # not later: what has grown since the read began would be waited for in vain
            self._reading = self._readers.submit(partial(self._take, self._wake))
        await asyncio.shield(asyncio.wrap_future(self._reading))

    def _take(self, wake: Callable[[], None]) -> None:
        waits = False
        try:
            if self._subscription is None:
                self._subscription = self._begin()
                self._position = self._subscription.position
            items = self._subscription.take(_CHUNK)
            if not items:
                self._subscription.call_when_grown(wake)
                items = self._subscription.take(_CHUNK)  # what came before that
            self._ready.extend(items)
            waits = not items
        finally:
            if not waits:
                wake()  # other tasks that wait: the one that asked may be cancelled, or take the first only


class _Threads:
    """So many threads, of the process they are made in: in a fork of it nobody would ever do the work."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._owner = os.getpid()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Have one of them do the work; StorageError when all is closed, or in a fork."""
        if os.getpid() != self._owner:
            raise StorageError("expected the process that opened the store, got a fork of it", path=None)
        try:
            return self._executor.submit(work)
        except RuntimeError as error:
            raise StorageError("expected an open store, got a closed one", path=None) from error

    def close(self) -> None:
        """Take no more work; what was taken is done."""
        self._executor.shutdown(wait=False)


def _waker(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    """What sets an event from any thread."""

    def wake() -> None:
        with suppress(RuntimeError):  # the loop has ended, and so has whoever waited
            loop.call_soon_threadsafe(event.set)

    return wake


async def _settled(threads: _Threads, work: Callable[[], Result]) -> Result:
    """What work in a thread returns. A task that is cancelled takes it back if it has not begun, and else waits."""
    future = threads.submit(work)
    outcome = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        future.cancel()
        while not outcome.done():
            with suppress(asyncio.CancelledError):  # raised below
                await asyncio.wait([outcome])
        if not outcome.cancelled():
            outcome.exception()  # has been looked at: the task ends as cancelled
        raise
