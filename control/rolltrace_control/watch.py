"""Tells all streams of this process of a new head of the log, with one waiter on the store. A shell.

Rules. While nobody listens nothing is read, so that a commit costs this process nothing. A commit after a
silence is told at once; when they come thick, those of a moment are told together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

from rolltrace_control.errors import DrainingError
from rolltrace_store.interface import Store

_WAIT = 30.0
_PAUSE = 0.5
_REST = 0.001
"""Seconds between two tellings."""

log = logging.getLogger(__name__)


class LogWatch:
    """The log's head, and whether the service is on its way out."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._head = 0
        self._news = asyncio.Event()
        self._draining = False
        self._called: list[Callable[[], None]] = []
        self._listeners = 0
        self._listened = asyncio.Event()

    @property
    def draining(self) -> bool:
        return self._draining

    async def wait(self, after: int, timeout: float) -> None:
        """Returns when the head is greater than `after`, after `timeout` seconds, or at a drain."""
        if self._head > after or self._draining:
            return
        try:
            async with asyncio.timeout(max(timeout, 0.0)):
                with self.listening():
                    while self._head <= after and not self._draining:
                        await self._news.wait()
        except TimeoutError:
            return

    @contextmanager
    def listening(self) -> Generator[None, None, None]:
        """News are told while the block runs, the first of what came since the last ones."""
        self._listeners += 1
        self._listened.set()
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._listened.clear()

    async def pause(self, seconds: float) -> None:
        """Sleeps. Raises DrainingError at a drain."""
        async with _until(seconds):
            while not self._draining:
                await self._news.wait()
        if self._draining:
            raise DrainingError("the control service shuts down; ask again")

    def call_on_news(self, called: Callable[[], None]) -> None:
        """Calls it whenever the head has moved while somebody listens, and at a drain."""
        self._called.append(called)

    def drain(self) -> None:
        """Wakes everybody for good."""
        self._draining = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
        for called in self._called:
            called()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Follows the store's head until the block ends."""
        task = asyncio.create_task(self._follow(), name="log-watch")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self) -> None:
        told = 0.0
        while True:
            await self._listened.wait()
            try:
                head = await self._store.wait(self._head, _WAIT)
                left = told + _REST - monotonic()
                if left > 0:
                    await asyncio.sleep(left)
                    head = await self._store.wait(self._head, 0.0)
            except Exception:
                log.exception("the log cannot be watched; trying again")
                await asyncio.sleep(_PAUSE)
                continue
            if head > self._head:
                self._head, told = head, monotonic()
                self._tell()


@asynccontextmanager
async def _until(seconds: float) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        pass
