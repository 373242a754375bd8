"""How long a trace takes from its commit in the proxy to a subscriber's hands.

A real proxy, the control service in a process of its own, and a subscriber in a third. Both ends read the
machine's monotonic clock: the proxy's end as soon as the store says that the trace is committed, the
subscriber's as soon as it holds the message.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import aiohttp
from tests.servers import free_port

from bench import word_worker
from rolltrace.v1 import trace_pb2
from rolltrace_proxy.server import serve
from rolltrace_settings.settings import Settings
from rolltrace_store import Commit, Store, open_store

PAUSE = 0.01
"""Seconds between calls: each delivery is measured alone."""


class Stamped:
    """A store that notes when each trace was committed, in nanoseconds, by trace id."""

    def __init__(self, store: Store) -> None:
        self.committed: dict[str, int] = {}
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append_trace(self, trace: trace_pb2.Trace) -> Commit:
        commit = await self._store.append_trace(trace)
        self.committed[trace.trace_id] = time.monotonic_ns()
        return commit


async def delivery_times(calls: int) -> list[float]:
    """Seconds from commit to delivery, one for each call."""
    with tempfile.TemporaryDirectory() as folder:
        path, port = Path(folder) / "data", free_port()
        control = await _start("rolltrace_control", "--db-path", str(path), "--control-port", str(port))
        listener = await _start("bench.listener", f"127.0.0.1:{port}", str(calls))
        try:
            assert listener.stdout is not None
            await listener.stdout.readline()
            committed = await _make_calls(path, calls)
            said, _ = await asyncio.wait_for(listener.communicate(), 60)
        finally:
            for process in (listener, control):
                if process.returncode is None:
                    process.terminate()
                await process.wait()
    received = {trace_id: int(at) for trace_id, at in map(str.split, said.decode().splitlines())}
    return [(received[trace_id] - at) / 1e9 for trace_id, at in committed.items()]


async def _start(module: str, *arguments: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", module, *arguments]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def _make_calls(path: Path, calls: int) -> dict[str, int]:
    store = open_store(path, proxy=True)
    stamped = Stamped(store)
    async with word_worker.serving(sampled=50) as worker_url:
        await store.write(lambda view: view.put_worker(word_worker.record(worker_url)))
        async with serve(Settings(port=0), cast(Store, stamped)) as proxy, aiohttp.ClientSession() as http:
            for number in range(calls):
                url = f"{proxy.url}/sessions/s-{number % 10}/v1/chat/completions"
                body = {"model": "words", "messages": [{"role": "user", "content": "go on " * 100}]}
                async with http.post(url, json=body) as response:
                    await response.read()
                await asyncio.sleep(PAUSE)
    await store.close()
    return stamped.committed
