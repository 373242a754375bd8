"""However a call ends, its connection is closed and nothing is left behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from rolltrace_proxy import upstream
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1 import pool
from rolltrace_proxy.http1.interface import Response
from tests.proxy.http1.wire import (
    ABC,
    CHUNKED,
    PATIENCE,
    Client,
    Held,
    Worker,
    answering,
    client,
    soon,
    taking_no_connections,
    worker,
)

Stage = Callable[[Client, Worker], Awaitable[Response | None]]


async def _asked(us: Client, served: Worker) -> Response | None:
    return await us.send(served)


async def _reading(us: Client, served: Worker) -> Response | None:
    response = await us.send(served)
    try:
        assert await response.read() == b"ab"
        await response.read()
    finally:
        response.close()
    return response


STAGES = pytest.mark.parametrize(
    ("stage", "before"),
    [(_asked, b""), (_asked, b"HTTP/1.1 20"), (_reading, CHUNKED + b"2\r\nab\r\n1")],
    ids=["asked", "in the header", "in the body"],
)


@STAGES
async def test_a_call_that_is_cancelled(stage: Stage, before: bytes) -> None:
    held = Held(before)
    async with worker(held) as served, client() as us:
        call = asyncio.ensure_future(stage(us, served))
        await soon(held.asked)
        await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait({call})
        assert call.cancelled()
        await soon(held.gone)
        await us.all_closed()
        async with asyncio.timeout(PATIENCE):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.001)


@STAGES
async def test_a_call_whose_client_is_closed(stage: Stage, before: bytes) -> None:
    held = Held(before)
    async with worker(held) as served, client() as us:
        call = asyncio.ensure_future(stage(us, served))
        await soon(held.asked)
        await asyncio.sleep(0.01)
        await us.upstream.close()
        with pytest.raises(Refused, match="shut down"):
            await asyncio.wait_for(call, PATIENCE)
        await soon(held.gone)


async def test_a_call_that_is_cancelled_while_it_dials() -> None:
    with taking_no_connections() as origin:
        async with client() as us:
            call = asyncio.ensure_future(us.send(origin))
            await asyncio.sleep(0.05)
            call.cancel()
            await asyncio.wait({call})
            assert call.cancelled()
            assert us.open == 0


async def test_a_call_that_is_cancelled_while_it_waits_to_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MAX_DIALS", 1)
    with taking_no_connections() as origin:
        async with client(connect_timeout=0.3) as us:
            calls = [asyncio.ensure_future(us.send(origin)) for _ in range(3)]
            await asyncio.sleep(0.05)
            calls[1].cancel()
            await asyncio.wait(calls)
            assert calls[1].cancelled()
            for call in (calls[0], calls[2]):
                with pytest.raises(Refused, match="no connection in time"):
                    call.result()


async def test_a_call_that_dials_while_its_client_is_closed() -> None:
    async with worker(answering(ABC)) as served, client() as us:
        call = asyncio.ensure_future(us.send(served))
        await asyncio.sleep(0)
        await us.upstream.close()
        with pytest.raises(Refused):
            await call
        await us.all_closed()


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with client() as us:
        with pytest.raises(Refused) as refused:
            await us.send(f"http://127.0.0.1:{port}")
    assert refused.value.fault is Fault.UNREACHABLE
    assert f"127.0.0.1:{port}" in refused.value.message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64, "é.invalid", "é..b"])
async def test_a_name_that_is_nobodys(host: str) -> None:
    async with client() as us:
        with pytest.raises(Refused) as refused:
            await us.send(f"http://{host}:80")
    assert refused.value.fault is Fault.UNREACHABLE


def test_where_a_worker_is() -> None:
    name = pool.place_of("https://bücher.example", "")
    assert (name.host, name.port, name.tls) == ("xn--bcher-kva.example", 443, True)
    assert name.authority == "xn--bcher-kva.example:443"
    address = pool.place_of("http://[::1]:8000", "")
    assert (address.host, address.port, address.authority) == ("::1", 8000, "[::1]:8000")


async def test_a_worker_by_name() -> None:
    async with worker(answering(ABC)) as served, client() as us:
        for _ in range(2):
            assert (await us.ask(f"http://localhost:{served.port}"))[1] == b"abc"
        assert len(served.connections) == 1
        assert (await us.ask(served))[1] == b"abc"
        assert len(served.connections) == 2, "another origin is another place"
