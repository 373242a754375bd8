"""A real control service in a process of its own, and records in its environment, written as a proxy does."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from rolltrace_store import Durability, StoreOptions, array, open_store
from tests.faults.processes import Pair
from tests.store.samples import conversation

TURNS = 4
IMAGE, EXPERTS = b"R0lGODlh" * 200_000, bytes(range(6))
"""What every call has: an image in its request, and the experts of its tokens."""


async def record(folder: Path, *sessions: str) -> None:
    store = open_store(folder, StoreOptions(durability=Durability.PROCESS))
    for session_id in sessions:
        for trace in conversation(session_id, TURNS):
            trace.request_json = trace.request_json[:-2] + IMAGE + trace.request_json[-2:]
            trace.completions[0].routed_experts.CopyFrom(array(EXPERTS, "|u1", (2, 1, 3)))
            await store.append_trace(trace, {sha256(EXPERTS).digest(): EXPERTS})
    await store.close()


@contextmanager
def running_control(folder: Path, *sessions: str) -> Generator[Pair]:
    """A pair without its proxy, with TURNS calls recorded in each of the sessions."""
    pair = Pair(folder, "http://127.0.0.1:9")
    asyncio.run(record(pair.db_path, *sessions))
    pair.start_control()
    try:
        yield pair
    finally:
        pair.control.stop()
