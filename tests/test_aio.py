"""The asyncio face: the loop is never blocked, and nothing is lost or half done when tasks are cancelled."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

import tourlog
from tourlog import ArgumentError, Connection, Consumer, Position, StorageError, aio

WAIT = 60


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path / "a.tourlog"


def run(path: Path | None, work: Callable[[aio.AsyncConnection], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(WAIT), aio.connect(path, durability="normal") as conn:
            return await work(conn)

    return asyncio.run(main())


def test_everything_that_is_written_is_read(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        await conn.append([{"k": 1, "n": 0}], "k", expect=0, meta={"who": "ann"})
        report = await conn.transact([{"db/id": "x", "n": 1}], tx_id="once")
        assert (report.t, (await conn.transact([{"db/id": "x", "n": 9}], tx_id="once")).t) == (2, 2)

        def block(inner: Connection) -> None:
            inner.append([{"k": 1, "n": 1}], "k")
            inner.append([{"k": 2, "n": 2}], "k")

        assert (await conn.run(block, meta={"who": "bob"})).t == 3
        assert [document["n"] for document in await conn.documents({"k": 1}, 1)] == [1]
        assert await conn.q("[:find ?n . :in $ ?e :where [?e :n ?n]]", "x", engine="pydatalog") == 1
        db = await conn.db()
        assert (db.t, await conn.read(db.entity, "x")) == (3, {"db/id": "x", "n": 1})
        assert await conn.read(db.q, "[:find [?w ...] :where [_ :k 2 ?tx] [?tx :who ?w]]") == ["bob"]
        with pytest.raises(tourlog.ConflictError):
            await conn.append([{"k": 1}], "k", expect=0)
        with pytest.raises(tourlog.QueryError):
            await conn.q("[:find ?x :where [?e :n]]")

    run(path, work)


def test_a_connection_can_be_awaited_and_must_be_open(path: Path | None) -> None:
    async def main() -> None:
        conn = aio.connect(path)
        with pytest.raises(tourlog.StorageError, match="await"):
            await conn.db()
        assert await conn is conn
        await conn.append([{"k": 1}], "k")
        assert await conn is conn
        await conn.close()
        await conn.close()
        for use in (conn.db, lambda: conn.append([{"k": 1}], "k"), lambda: anext(conn.subscribe("k"))):
            with pytest.raises(tourlog.StorageError):
                await use()

    asyncio.run(main())


def test_the_loop_goes_on_while_a_writer_waits(tmp_path: Path) -> None:
    with tourlog.connect(tmp_path / "a.tourlog") as other:

        async def work(conn: aio.AsyncConnection) -> None:
            with other.transaction():
                waiting = asyncio.create_task(conn.append([{"k": 1}], "k"))
                for _ in range(100):
                    await asyncio.sleep(0)
                assert (waiting.done(), (await conn.db()).t) == (False, 0)
            assert (await waiting).t == 1

        run(tmp_path / "a.tourlog", work)


# Subscriptions.


def test_a_subscription_yields_what_is_there_and_then_what_comes(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        await conn.append([{"k": 1, "n": n} for n in range(600)], "k")
        async with conn.subscribe({"k": 1}, start=1) as subscription:
            assert subscription.position == 1
            assert [(await anext(subscription))[1]["n"] for _ in range(599)] == list(range(1, 600))
            coming = asyncio.create_task(anext(subscription))
            await asyncio.sleep(0)
            await conn.append([{"k": 1, "n": 600}], "k")
            place, document = await coming
            assert (place, document) == (600, (await conn.documents({"k": 1}, 600))[0])
            assert subscription.position == 601
        assert [item async for item in subscription] == []

    run(path, work)


def test_many_subscriptions_wait_at_once_without_a_thread_each(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        async def read(number: int) -> list[Any]:
            found = []
            async for _, document in conn.subscribe("k" if number % 2 else None):
                found.append(document["n"])
                if len(found) == 20:
                    break
            return found

        tasks = [asyncio.create_task(read(number)) for number in range(100)]
        for n in range(20):
            await conn.append([{"k": n % 3, "n": n}], "k")
        assert await asyncio.gather(*tasks) == [list(range(20))] * 100
        assert threading.active_count() < 20

    run(path, work)


def test_now_is_when_a_subscription_is_entered(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        await conn.append([{"k": 1, "n": 0}], "k")
        async with conn.subscribe("k", start="now") as subscription:
            assert subscription.position == Position(2, 0)
            await conn.append([{"k": 1, "n": 1}], "k")
            assert [document["n"] for _, document in await subscription.take(9)] == [1]

    run(path, work)


def test_taking_gives_what_is_there_and_waits_no_longer_than_told(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        subscription = conn.subscribe({"k": 1})
        assert await subscription.take(5) == []
        assert await subscription.take(5, 0.01) == []
        await conn.append([{"k": 1, "n": n} for n in range(3)], "k")
        assert [place for place, _ in await subscription.take(2, None)] == [0, 1]
        assert [place for place, _ in await subscription.take(2)] == [2]
        waiting = asyncio.create_task(subscription.take(2, None))
        await asyncio.sleep(0)
        await conn.append([{"k": 1, "n": 3}], "k")
        assert [place for place, _ in await waiting] == [3]

    run(path, work)


def test_a_consumer_commits_what_it_read(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        bank = Consumer("bank")
        await conn.append([{"k": 1, "n": n} for n in range(3)], "k")
        async for _, document in conn.subscribe("k", start=bank):
            await conn.transact([{"db/id": "last", "n": document["n"]}, bank.done(document)])
            if document["n"] == 1:
                break
        assert [document["n"] for _, document in await conn.subscribe("k", start=bank).take(9)] == [2]

    run(path, work)


def test_a_wrong_subscription_says_so_when_it_begins(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        with pytest.raises(tourlog.ArgumentError):
            await anext(conn.subscribe("k", start="then"))
        with pytest.raises(tourlog.QueryError):
            async with conn.subscribe("k", where="[:find ?e :where [?e :n]]"):
                pass

    run(path, work)


def test_closing_ends_whoever_waits(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        async def read(subscription: aio.AsyncSubscription) -> list[Any]:
            return [item async for item in subscription]

        one, two = conn.subscribe("k"), conn.subscribe("k")
        waiting = [asyncio.create_task(read(each)) for each in (one, two)]
        await asyncio.gather(one.take(1), two.take(1))
        one.close()
        assert await waiting[0] == []
        await conn.close()
        assert await waiting[1] == []
        assert await one.take(1, None) == await two.take(1, None) == []

    run(path, work)


def test_a_subscription_that_is_between_two_documents_ends_when_all_is_closed(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> list[Any]:
        await conn.append([{"k": 1, "n": n} for n in range(3)], "k")
        taking, iterating = conn.subscribe(), conn.subscribe()
        assert len(await taking.take(3)) == 3
        for _ in range(3):
            await anext(iterating)
        await conn.close()
        return [await taking.take(1), await taking.take(1, None), [item async for item in iterating]]

    assert run(path, work) == [[], [], []]


@pytest.mark.parametrize("limit", [-1, 1.0, None, "all"])
def test_a_limit_that_is_no_number_is_refused(limit: Any) -> None:
    with pytest.raises(ArgumentError, match="expected limit to be a whole number from 0"):
        run(None, lambda conn: conn.subscribe().take(limit))


WRITER = """
import sys, tourlog
with tourlog.connect(sys.argv[1], durability="normal") as conn:
    for n in range(50):
        conn.append([{"k": 1, "n": n}], "k")
"""


def test_another_process_is_heard(tmp_path: Path) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        subscription = conn.subscribe({"k": 1})
        assert await subscription.take(1) == []
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(tmp_path / "a.tourlog"))
        assert [(await anext(subscription))[1]["n"] for _ in range(50)] == list(range(50))
        assert await writer.wait() == 0

    run(tmp_path / "a.tourlog", work)


def test_tasks_that_share_a_subscription_get_each_document_once(path: Path | None) -> None:
    count = 200

    async def work(conn: aio.AsyncConnection) -> None:
        seen: list[int] = []
        chance = Random(7)

        def slowly(_: int) -> bool:
            time.sleep(0.003)
            return True

        condition = ("[:find ?e :in $ [?e ...] ?slowly :where [?e :n ?n] [(?slowly ?n)]]", slowly)
        async with conn.subscribe({"k": 1}, where=condition) as subscription:

            async def read() -> None:
                async for _, document in subscription:
                    seen.append(document["n"])
                    if len(seen) == count:
                        subscription.close()
                    if chance.random() < 0.5:  # else it asks again before the others are told that a read has ended
                        await asyncio.sleep(chance.choice((0.001, 0.005)))

            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(read())
                for n in range(count):
                    await conn.append([{"k": 1, "n": n}], "k")
                    await asyncio.sleep(chance.random() * 0.01)
        assert seen == list(range(count))

    run(path, work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_the_process_is_told_so_and_does_not_wait_for_threads_that_are_not_there(path: Path | None) -> None:
    async def opened() -> tuple[aio.AsyncConnection, aio.AsyncSubscription]:
        conn = await aio.connect(path)
        subscription = conn.subscribe({"k": 1})
        assert await subscription.take(1) == []
        await conn.append([{"k": 1}], "k")
        return conn, subscription

    async def refused() -> int:
        tries = (conn.append([{"k": 1}], "k"), conn.documents({"k": 1}), subscription.take(1))
        outcomes = await asyncio.wait_for(asyncio.gather(*tries, return_exceptions=True), 5)
        await conn.close()
        return sum(isinstance(each, StorageError) and "a fork of it" in str(each) for each in outcomes)

    conn, subscription = asyncio.run(opened())
    child = os.fork()
    if child == 0:
        try:
            os._exit(asyncio.run(refused()))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    asyncio.run(conn.close())


# Cancellation.


def test_what_came_after_a_read_that_was_cancelled_is_not_waited_for_in_vain(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        async with conn.subscribe({"k": 1}) as subscription:
            for n in range(3):
                asking = asyncio.create_task(anext(subscription))
                await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait([asking])
                await asyncio.sleep(0.05)  # the read ends meanwhile, and has found nothing
                await conn.append([{"k": 1, "n": n}], "k")
                found = await subscription.take(9) if n == 1 else [await asyncio.wait_for(anext(subscription), 5)]
                assert [document["n"] for _, document in found] == [n]

    run(path, work)


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files by /proc")
def test_a_store_that_is_being_opened_for_a_task_that_is_cancelled_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.tourlog"
    tourlog.connect(path).close()

    async def use() -> None:
        async with aio.connect(path):
            pass

    async def main() -> None:
        for _ in range(5):
            using = asyncio.create_task(use())
            await asyncio.sleep(0)
            using.cancel()
            await asyncio.wait([using])
            assert using.cancelled()
        conn = aio.connect(path)
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await conn
        async with conn:  # opened all the same
            await conn.append([{"k": 1}], "k")

    asyncio.run(main())
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [link for link in links if link.readlink().name.startswith(path.name)]


def test_a_subscription_that_is_cancelled_again_and_again_loses_nothing(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        subscription = conn.subscribe({"k": 1})

        async def write() -> None:
            for n in range(0, 300, 3):
                await conn.append([{"k": 1, "n": n + more} for more in range(3)], "k")

        writing = asyncio.create_task(write())
        seen: list[int] = []
        while len(seen) < 300:
            asking = asyncio.create_task(anext(subscription))
            for _ in range(len(seen) % 7):
                await asyncio.sleep(0)
            if not asking.done():
                asking.cancel()
                await asyncio.wait([asking])
            if not asking.cancelled():
                seen.append(asking.result()[1]["n"])
            else:
                seen += [document["n"] for _, document in await subscription.take(1, None)]
        await writing
        assert seen == list(range(300))

    run(path, work)


def test_a_write_that_has_not_begun_when_it_is_cancelled_is_not_written(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        entered, leave = threading.Event(), threading.Event()

        def slow(inner: Connection) -> None:
            entered.set()
            assert leave.wait(WAIT)
            inner.append([{"k": 1, "n": "slow"}], "k")

        first = asyncio.create_task(conn.run(slow))
        await asyncio.to_thread(entered.wait, WAIT)
        second = asyncio.create_task(conn.append([{"k": 1, "n": "second"}], "k"))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled()
        leave.set()
        await first
        assert [document["n"] for document in await conn.documents({"k": 1})] == ["slow"]

    run(path, work)


def test_a_write_that_has_begun_when_it_is_cancelled_is_settled_before_its_task_ends(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        entered, leave = threading.Event(), threading.Event()

        def slow(inner: Connection) -> None:
            entered.set()
            assert leave.wait(WAIT)
            inner.append([{"k": 1, "n": 1}], "k")

        task = asyncio.create_task(conn.run(slow, tx_id="once"))
        await asyncio.to_thread(entered.wait, WAIT)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        leave.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await conn.db()).t == 1
        assert (await conn.run(slow, tx_id="once")).t == 1
        assert len(await conn.documents({"k": 1})) == 1

    run(path, work)


def test_a_write_that_fails_after_its_task_was_cancelled_is_silent(
    path: Path | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        entered, leave = threading.Event(), threading.Event()

        def failing(_: Connection) -> None:
            entered.set()
            assert leave.wait(WAIT)
            raise LookupError

        task = asyncio.create_task(conn.run(failing))
        await asyncio.to_thread(entered.wait, WAIT)
        task.cancel()
        leave.set()
        await asyncio.wait([task])
        assert task.cancelled() and (await conn.db()).t == 0

    run(path, work)
    assert caplog.records == []


def test_reading_does_not_hold_up_a_task_that_is_cancelled(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> None:
        leave = threading.Event()
        task = asyncio.create_task(conn.read(leave.wait, WAIT))
        await conn.db()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        leave.set()

    before = time.monotonic()
    run(path, work)
    assert time.monotonic() - before < WAIT


def test_waiting_in_the_loop_costs_next_to_nothing(path: Path | None) -> None:
    async def work(conn: aio.AsyncConnection) -> float:
        subscription = conn.subscribe("k")
        await subscription.take(1, 0.05)
        before = time.process_time()
        for _ in range(5):
            await subscription.take(1, 0.1)
        subscription.close()
        return time.process_time() - before

    assert run(path, work) < 0.1
