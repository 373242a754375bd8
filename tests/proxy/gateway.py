"""A proxy in front of scripted workers, on a real store, and what tests ask of both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

import aiohttp

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1 import worker_pb2
from rolltrace.v1.session_pb2 import Session
from rolltrace_proxy.server import Proxy, serve
from rolltrace_settings.settings import Settings
from rolltrace_store.cutting import NO_BLOBS, Blobs
from rolltrace_store.errors import StoreError
from rolltrace_store.interface import Commit, ReadView, RunningCall, Store, WriteView
from tests.proxy.scripted import ScriptedWorker

CHAT: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
SETTINGS = Settings(port=0, drain_timeout=5.0)


@dataclass
class Gateway:
    proxy: Proxy
    store: Store
    http: aiohttp.ClientSession

    def url(self, path: str = "chat/completions", session_id: str = "s") -> str:
        return f"{self.proxy.url}/sessions/{session_id}/v1/{path}"

    def chat(
        self, session_id: str = "s", **fields: object
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """An agent's call."""
        return self.http.post(self.url(session_id=session_id), json={**CHAT, **fields})

    async def traces(self, session_id: str = "s") -> list[pb.Trace]:
        def work(view: ReadView) -> list[pb.Trace]:
            return [view.expand(pb.Trace.FromString(body)) for body in view.traces(session_id)]

        return await self.store.read(work)

    async def trace(self, session_id: str = "s") -> pb.Trace:
        """The session's only trace, as soon as it is there."""
        head = 0
        while not (traces := await self.traces(session_id)):
            head = await self.store.wait(head, 10.0)
        assert len(traces) == 1
        return traces[0]


async def begin_seal(store: Store, session_id: str = "s", *, cancel: bool = False) -> None:
    deadline = time.time_ns() + 60 * 10**9
    await store.write(lambda view: view.begin_seal(session_id, None, cancel=cancel, deadline=deadline))


async def seal(store: Store, session_id: str = "s") -> Session:
    await begin_seal(store, session_id)
    return await store.write(lambda view: view.finish_seal(session_id))


async def running(store: Store, session_id: str = "s") -> list[RunningCall]:
    return await store.read(lambda view: list(view.running(session_id)))


class HeldStore:
    """A store whose commits of traces wait for `gate`, and then fail if there is an `error`.

    As a store must, it records the trace even if the caller is cancelled.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        self.error: StoreError | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append_trace(self, trace: pb.Trace, blobs: Blobs = NO_BLOBS) -> Commit:
        return await asyncio.shield(self._append(trace, blobs))

    async def _append(self, trace: pb.Trace, blobs: Blobs) -> Commit:
        self.reached.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await self._store.append_trace(trace, blobs)

    def as_store(self) -> Store:
        return cast("Store", self)


def row(
    worker: ScriptedWorker | str,
    worker_id: str = "w-1",
    state: worker_pb2.WorkerState.ValueType = worker_pb2.WORKER_STATE_ACTIVE,
    *,
    api_key: str = "",
    api_path: str = "",
) -> worker_pb2.Worker:
    url = worker if isinstance(worker, str) else worker.url
    return worker_pb2.Worker(worker_id=worker_id, url=url, state=state, api_key=api_key, api_path=api_path)


async def put(store: Store, *rows: worker_pb2.Worker) -> None:
    def work(view: WriteView) -> None:
        for worker in rows:
            view.put_worker(worker)

    await store.write(work)


@asynccontextmanager
async def gateway(
    store: Store, *workers: ScriptedWorker | worker_pb2.Worker, settings: Settings = SETTINGS
) -> AsyncGenerator[Gateway, None]:
    """Workers are registered as w-1, w-2, ... unless they are rows already."""
    numbered = enumerate(workers, 1)
    await put(store, *[row(w, f"w-{n}") if isinstance(w, ScriptedWorker) else w for n, w in numbered])
    async with aiohttp.ClientSession() as http, serve(settings, store) as proxy:
        yield Gateway(proxy, store, http)


def with_settings(**changes: float | str) -> Settings:
    return replace(SETTINGS, **changes)  # type: ignore[arg-type]  # pyright sees no more than mypy does
