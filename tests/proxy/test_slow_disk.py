"""A disk that stalls: what waits for it is bounded, new calls are told to come back, and it heals."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rolltrace_proxy.server import TICK
from rolltrace_store import Durability, StoreOptions, open_store
from tests.proxy.gateway import SETTINGS, Gateway, gateway, with_settings
from tests.proxy.scripted import JSON, Reply, scripted

QUEUE = 1 << 20
HOLDER = """
import sys
from pathlib import Path
from rolltrace_store import Durability
from rolltrace_store.environment import open_environment
environment = open_environment(Path(sys.argv[1]), Durability.PROCESS, int(sys.argv[2]))
with environment.gate.passed(), environment.lmdb.begin(write=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@asynccontextmanager
async def stalled_commits(path: Path) -> AsyncGenerator[None]:
    """Another process holds the only lock under which anything can be committed."""
    command = [sys.executable, "-c", HOLDER, str(path), str(SETTINGS.max_db_size)]
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        await holder.communicate(b"")


async def status_and_patience(gate: Gateway, session_id: str) -> tuple[int, str]:
    async with gate.chat(session_id, user="x" * 50_000) as response:
        await response.read()
        return response.status, response.headers.get("Retry-After", "")


@pytest.mark.parametrize("durability", Durability)
async def test_when_commits_stall_the_queue_pushes_back_before_a_worker_runs(
    tmp_path: Path, durability: Durability
) -> None:
    options = StoreOptions(durability=durability, write_queue_size=QUEUE)
    store = open_store(tmp_path / "data", options, proxy=True)
    reply = Reply([b'{"choices": []}'], headers=list(JSON.items()))
    async with (
        scripted(reply) as worker,
        gateway(store, worker, settings=with_settings(write_queue_size=QUEUE)) as gate,
    ):
        async with stalled_commits(tmp_path / "data"):
            calls = [asyncio.create_task(status_and_patience(gate, f"s-{n}")) for n in range(5)]
            deepest, refused = 0, (0, "")
            for number in range(5, 60):
                waiting = asyncio.create_task(status_and_patience(gate, f"s-{number}"))
                await asyncio.wait({waiting}, timeout=TICK)
                deepest = max(deepest, store.queued_bytes())
                if waiting.done():
                    refused = waiting.result()
                    break
                calls.append(waiting)
            ran = len(worker.seen)
            assert refused[0] == 503
            assert int(refused[1]) >= 1
            assert ran == len(calls), "a call that was refused has run"
            assert QUEUE // 2 < deepest < QUEUE
        assert {status for status, _ in await asyncio.gather(*calls)} == {200}
        recorded = [len(await gate.traces(f"s-{number}")) for number in range(len(calls))]
        assert recorded == [1] * len(calls)
        assert await status_and_patience(gate, "after") == (200, "")
    await store.close()
