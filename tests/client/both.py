"""One test body for both clients: a Client that is used as if it were an AsyncClient.

Each of its calls, and each step of its iterators, runs in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self, cast

from rolltrace_client import AsyncClient, Client, Subscription


class _Steps:
    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        end = object()
        value = await asyncio.to_thread(next, self._iterator, end)
        if value is end:
            raise StopAsyncIteration
        return value

    async def close(self) -> None:
        assert isinstance(self._iterator, Subscription)
        self._iterator.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)


class _Awaited:
    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Any] = getattr(self._client, name)
        if name in ("subscribe", "list_traces", "list_sessions", "list_workers"):
            return lambda *args, **kwargs: _Steps(method(*args, **kwargs))  # pyright: ignore
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)  # pyright: ignore


def awaited(client: Client) -> AsyncClient:
    return cast(AsyncClient, _Awaited(client))


async def take(iterator: AsyncIterator[Any], count: int) -> list[Any]:
    """The next `count` values."""
    return [await anext(iterator) for _ in range(count)]


async def all_of(iterator: AsyncIterator[Any]) -> list[Any]:
    return [value async for value in iterator]
