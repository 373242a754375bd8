"""A proxy in front of scripted workers, on a real store, and what tests ask of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1 import worker_pb2
from rolltrace_proxy.server import Proxy, serve
from rolltrace_settings.settings import Settings
from rolltrace_store.errors import StoreError
from rolltrace_store.interface import Commit, ReadView, Store
from tests.proxy.scripted import ScriptedWorker


@dataclass
class Gateway:
    proxy: Proxy
    store: Store
    http: aiohttp.ClientSession

    def url(self, session_id: str = "s", path: str = "chat/completions") -> str:
        return f"{self.proxy.url}/sessions/{session_id}/v1/{path}" if session_id else f"{self.proxy.url}/v1/{path}"

    def post(self, body: object = None, *, session_id: str = "s", path: str = "chat/completions", **more: object):  # type: ignore[no-untyped-def]
        return self.http.post(self.url(session_id, path), json=body or {"model": "m", "messages": []}, **more)  # type: ignore[arg-type]

    async def traces(self, session_id: str = "s") -> list[pb.Trace]:
        def work(view: ReadView) -> list[pb.Trace]:
            return [view.expand(pb.Trace.FromString(body)) for body in view.traces(session_id)]

        return await self.store.read(work)

    async def trace(self, session_id: str = "s") -> pb.Trace:
        """The session's one trace, as soon as it is there."""
        while not (traces := await self.traces(session_id)):
            await self.store.wait((await self.store.read(lambda view: view.log_state())).head, 5.0)
        assert len(traces) == 1
        return traces[0]


class SlowStore:
    """A store whose commits wait for `gate`, then fail with `error` if there is one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        self.error: StoreError | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append_trace(self, trace: pb.Trace) -> Commit:
        self.reached.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await self._store.append_trace(trace)


def registered(worker: ScriptedWorker | str, worker_id: str = "w-1") -> worker_pb2.Worker:
    url = worker if isinstance(worker, str) else worker.url
    return worker_pb2.Worker(worker_id=worker_id, url=url, state=worker_pb2.WORKER_STATE_ACTIVE)


async def register(store: Store, *workers: worker_pb2.Worker) -> None:
    for worker in workers:
        await store.write(lambda view, worker=worker: view.put_worker(worker))


Settled = Callable[..., Settings]


@asynccontextmanager
async def gateway(
    store: Store, *workers: ScriptedWorker | worker_pb2.Worker, **settings: object
) -> AsyncIterator[Gateway]:
    """Workers are registered as w-1, w-2, ... unless they are rows already."""
    rows = [
        registered(w, f"w-{n}") if isinstance(w, ScriptedWorker) else w for n, w in enumerate(workers, 1)
    ]
    await register(store, *rows)
    made = Settings(port=0, drain_timeout=5.0, **settings)  # type: ignore[arg-type]
    async with aiohttp.ClientSession() as http, serve(made, store) as proxy:
        yield Gateway(proxy, store, http)
