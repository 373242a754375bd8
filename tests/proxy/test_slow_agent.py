"""An agent that reads slowly slows its worker down: what neither takes does not pile up here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from rolltrace_store.interface import Store
from tests.proxy.gateway import gateway
from tests.proxy.scripted import DONE, Reply, events, scripted

PIECE = b": " + b"x" * 500_000 + b"\n\n"
COUNT = 60


class Counted(list[bytes]):
    """Steps of a script; `begun` are those whose turn has come."""

    begun = 0

    def __iter__(self) -> Iterator[bytes]:
        for step in super().__iter__():
            self.begun += 1
            yield step


async def test_a_worker_waits_for_an_agent_that_does_not_read(store: Store) -> None:
    steps = Counted([PIECE] * COUNT + [DONE])
    reply = Reply(steps, headers=events().headers)
    async with scripted(reply) as worker, gateway(store, worker) as gate, gate.chat(stream=True) as response:
        before = -1
        while steps.begun == 0 or before != steps.begun:
            before = steps.begun
            await asyncio.sleep(0.3)
        assert steps.begun < COUNT, "60 buffers of half a megabyte are held somewhere"
        assert await response.read() == PIECE * COUNT + DONE
    assert (await gate.trace()).http_status == 200
