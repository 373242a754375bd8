"""The log's watch: silent while nobody listens, and gathering what comes thick."""

from __future__ import annotations

import asyncio
from typing import cast

from rolltrace.v1.worker_pb2 import Worker
from rolltrace_control.watch import LogWatch
from rolltrace_store import Store
from tests.control.subscriber import head


class Busy:
    """A store whose log grows whenever it is looked at."""

    def __init__(self) -> None:
        self.head = 0

    async def wait(self, after: int, timeout: float) -> int:
        await asyncio.sleep(0)
        self.head += 1
        return self.head


async def test_nothing_is_read_while_nobody_listens() -> None:
    store = Busy()
    watch = LogWatch(cast(Store, store))
    async with watch.running():
        await asyncio.sleep(0.05)
        assert store.head == 0
        await watch.wait(0, 60)
        looked = store.head
        assert looked > 0
        await asyncio.sleep(0.05)
        assert store.head <= looked + 2  # what was under way when the last one left


async def test_what_comes_thick_is_told_together() -> None:
    store, told = Busy(), 0
    watch = LogWatch(cast(Store, store))

    def count() -> None:
        nonlocal told
        told += 1

    watch.call_on_news(count)
    async with watch.running():
        with watch.listening():
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.sleep(0.2)
            milliseconds = 1e3 * (loop.time() - began)
    assert 0 < told <= milliseconds + 2


async def test_what_came_while_nobody_listened_is_told_to_the_first_who_does(store: Store) -> None:
    watch = LogWatch(store)
    async with watch.running():
        await store.write(lambda view: view.put_worker(Worker(worker_id="w", url="http://127.0.0.1:1")))
        before = await head(store) - 1
        async with asyncio.timeout(30):
            await watch.wait(before, 60)
