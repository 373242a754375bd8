"""The client towards the workers: when a request may be sent a second time, and when not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import pytest

from rolltrace_proxy import upstream
from rolltrace_proxy.breaker import FAILURES
from rolltrace_proxy.errors import Fault
from rolltrace_proxy.upstream import STALE_WINDOW
from rolltrace_store.interface import Store
from tests.proxy.gateway import Gateway, gateway, row, with_settings
from tests.proxy.scripted import Reply, scripted

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Wire:
    """A worker that reads whole requests, answers some and hangs up on the others after a pause."""

    def __init__(self, *answers: bool, pause: float = 0.0) -> None:
        self.answers = list(answers)
        self.pause = pause
        self.connections = 0
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while header := (await reader.readuntil(b"\r\n\r\n")).lower():
                length = header.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                self.requests += 1
                if not self.answers.pop(0):
                    await asyncio.sleep(self.pause)
                    return
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()


class OnceEach:
    """A worker that answers one request of a connection, once `together` of them wait, and no second."""

    def __init__(self, together: int) -> None:
        self.together = together
        self.requests = 0
        self.all_wait = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"true}")
        self.requests += 1
        if self.requests >= self.together:
            self.all_wait.set()
        await self.all_wait.wait()
        writer.write(ANSWER)
        await reader.read(1)
        writer.close()


@asynccontextmanager
async def behind_a_gateway(store: Store, wire: Wire | OnceEach) -> AsyncGenerator[Gateway, None]:
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with gateway(store, row(f"http://127.0.0.1:{port}")) as gate:
            yield gate
    finally:
        server.close()
        await server.wait_closed()


async def status_of(gate: Gateway) -> int:
    async with gate.chat() as response:
        await response.read()
        return response.status


async def test_a_kept_connection_that_was_closed_while_idle_costs_nothing(store: Store) -> None:
    wire = Wire(True, False, True)
    async with behind_a_gateway(store, wire) as gate:
        assert [await status_of(gate), await status_of(gate)] == [200, 200]
        assert [t.attempt_count for t in await gate.traces()] == [1, 1]
    assert (wire.requests, wire.connections) == (3, 2)


async def test_kept_connections_that_were_all_closed_cost_nothing(store: Store) -> None:
    wire = OnceEach(together=3)
    async with behind_a_gateway(store, wire) as gate:
        assert await asyncio.gather(*[status_of(gate) for _ in range(3)]) == [200] * 3
        assert await status_of(gate) == 200
    assert wire.requests == 4


@pytest.mark.parametrize(
    ("wire", "before"),
    [(Wire(False), 0), (Wire(True, False, pause=STALE_WINDOW + 0.05), 1)],
    ids=["on a new connection", "after the worker had time to begin"],
)
async def test_when_unsure_the_model_does_not_run_twice(store: Store, wire: Wire, before: int) -> None:
    async with behind_a_gateway(store, wire) as gate:
        for _ in range(before):
            assert await status_of(gate) == 200
        assert await status_of(gate) == 502
    assert wire.requests == before + 1


async def test_a_connection_is_all_that_a_breaker_wants(store: Store) -> None:
    async with scripted(Reply(before=["stall"])) as slow, gateway(store, slow) as gate:
        workers = gate.proxy.shared.workers
        breaker = workers.begun("w-1")
        for _ in range(FAILURES):
            breaker.failed(0.0)
        workers.ended("w-1")
        waiting = asyncio.create_task(status_of(gate))
        await slow.arrived.wait()
        assert breaker.failures == 0
        waiting.cancel()


async def test_calls_wait_for_their_turn_to_dial_and_no_longer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "MAX_DIALS", 1)
    async with scripted(Reply(before=["stall"])) as slow, gateway(store, slow) as gate:
        waiting = [asyncio.create_task(status_of(gate)) for _ in range(4)]
        async with asyncio.timeout(30):
            while len(slow.seen) < len(waiting):
                await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()


@contextmanager
def taking_no_connections() -> Generator[str]:
    """A URL at which connecting neither works nor fails."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first:
        first.connect(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def test_who_waits_to_dial_a_dead_worker_hears_of_its_death(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "MAX_DIALS", 1)
    with taking_no_connections() as url:
        async with gateway(store, row(url), settings=with_settings(connect_timeout=0.2)) as gate:
            assert await asyncio.gather(*(status_of(gate) for _ in range(10))) != [200] * 10
            codes = [trace.error.code for trace in await gate.traces()]
    assert codes.count(Fault.TIMEOUT_CONNECT) >= FAILURES
    assert codes.count(Fault.UNREACHABLE) >= 1
