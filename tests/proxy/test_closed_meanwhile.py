"""Calls whose session another process closes before their admission is committed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from rolltrace.v1.session_pb2 import Session
from rolltrace_store import Store, writer
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import SETTINGS, gateway, running
from tests.proxy.scripted import scripted, whole
from tests.proxy.test_server import error_of
from tests.proxy.test_sessions import metric

CLOSER = """
import asyncio, sys
from rolltrace_store import StoreOptions, open_store

def seal(view):
    view.begin_seal("s", None, cancel=False, deadline=1)
    view.finish_seal("s")

async def close():
    store = open_store(sys.argv[1], StoreOptions(max_db_size=int(sys.argv[2])))
    await store.write(seal if sys.argv[3] == "seal" else lambda view: view.delete_session("s"))
    await store.close()

asyncio.run(close())
"""


async def elsewhere(path: Path, deed: str) -> None:
    """Another process does it."""
    command = [sys.executable, "-c", CLOSER, str(path), str(SETTINGS.max_db_size), deed]
    assert await (await asyncio.create_subprocess_exec(*command)).wait() == 0


@pytest.mark.parametrize(
    ("deed", "status", "code"), [("seal", 409, "session_sealed"), ("delete", 410, "session_deleted")]
)
async def test_it_is_refused_and_leaves_nothing(
    store: Store, tmp_path: Path, deed: str, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ADMISSION_DELAY", 3600.0)
    await store.write(lambda view: view.create_session(Session(session_id="s")))
    go = asyncio.Event()
    answer = whole(chat_answer())
    answer.before = [go]
    async with scripted(answer) as worker, gateway(store, worker) as gate:

        async def call() -> tuple[int, str]:
            async with gate.chat() as response:
                return response.status, await error_of(response)

        calling = asyncio.create_task(call())
        await worker.arrived.wait()
        await elsewhere(tmp_path / "data", deed)
        go.set()
        assert await calling == (status, code)
        assert await metric(gate, "rolltrace_lost_traces_total 0.0")
        assert await metric(gate, "rolltrace_unrecorded_calls 0.0")
        assert not await gate.traces()
        assert not await running(store)
