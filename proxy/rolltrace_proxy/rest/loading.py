"""Loads what REST calls need with the first of them, so that a proxy without any starts as fast as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from rolltrace_proxy.http1.interface import Request
from rolltrace_proxy.rest.routes import Route
from rolltrace_proxy.shared import Shared

if TYPE_CHECKING:
    from rolltrace_proxy.rest.pages import Pages


class Rest:
    def __init__(self, shared: Shared, reload: Callable[[], str]) -> None:
        self._shared = shared
        self._reload = reload
        self._loading: asyncio.Task[Pages] | None = None
        self.tasks: set[asyncio.Task[object]] = set()
        """The calls that run."""

    async def answer(self, route: Route, request: Request) -> None:
        """Raises ConnectionResetError when the caller has gone."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._answer(route, request)
        finally:
            self.tasks.discard(task)

    async def _answer(self, route: Route, request: Request) -> None:
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        pages = await asyncio.shield(self._loading)
        await pages.answer(route, request)

    async def _load(self) -> Pages:
        """In a thread, since that takes a while and agents' calls go on."""
        pages = await asyncio.to_thread(_pages)
        return pages(self._shared, self._reload)

    async def close(self) -> None:
        if self._loading is not None:
            await (await self._loading).close()


def _pages() -> type[Pages]:
    from rolltrace_proxy.rest.pages import Pages

    return Pages
