"""Agents' connections, over real sockets: what is answered, and what waits."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from rolltrace_proxy.http1 import connection
from rolltrace_proxy.http1.common import Common
from rolltrace_proxy.http1.interface import BodyBrokenError, Request
from tests.proxy.http1.agents import FIELDS, GET, POST, Site, echo, listening, name, understood, until

CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE = b"Connection: close\r\n"


async def test_a_connection_is_used_again() -> None:
    async with listening(echo) as site, site.agent() as agent:
        for body in (b"one", b"", b"three"):
            answer = await agent.ask(POST % len(body) + body, b"\r\n\r\n" + body)
            assert b"Connection" not in answer
        assert site.listener.connections == 1


async def test_the_head_is_dated_and_says_nothing_of_its_own() -> None:
    async def bare(request: Request) -> None:
        await request.reply(200, "", [], b"x")

    async with listening(bare) as site:
        answer = await site.hears(GET.replace(b"\r\n\r\n", b"\r\n" + CLOSE + b"\r\n") % b"")
    pattern = rb"HTTP/1.1 200 OK\r\nDate: \w{3}, .* GMT\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
    assert re.fullmatch(pattern, answer)


async def test_requests_that_follow_each_other_are_answered_in_order_and_one_at_a_time() -> None:
    async def slowly(request: Request) -> None:
        assert site.running == 1
        body = await request.body(1 << 20)
        await asyncio.sleep(0.01 if request.target == "/slow" else 0)
        await request.begin(200, "", FIELDS)
        await request.end(request.target.encode() + body)

    requests = [GET % b"slow", POST % 2 + b"ab", CHUNKED + b"2\r\ncd\r\n0\r\n\r\n", GET % b"last"]
    async with listening(slowly) as site, site.agent() as agent:
        agent.say(b"".join(requests))
        await until(lambda: site.ended.qsize() == 4)
        agent.writer.write_eof()
        answers = understood(await agent.hear_all(), "GET", "POST", "POST", "GET")
    assert [answer.body for answer in answers] == [b"/slow", b"/v1/xab", b"/cd", b"/last"]


async def test_what_follows_a_request_waits_outside_once_it_is_much() -> None:
    go, many = asyncio.Event(), 40_000

    async def held(request: Request) -> None:
        await go.wait()
        await request.reply(204, "", [], b"")

    async with listening(held) as site, site.agent() as agent:
        agent.say((GET % b"") * many)
        await site.begun.get()
        [one] = site.listener.common.connections
        await until(lambda: not one.reading)
        assert len(one._waiting) < 1 << 20  # pyright: ignore[reportPrivateUsage]  # what is bounded
        go.set()
        for _ in range(many):
            await agent.hear(b"\r\n\r\n")


@pytest.mark.parametrize("size", [0, 1, 1 << 16, 3 << 20])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies(size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    sent = CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked and size else POST % size + body
    async with listening(echo) as site, site.agent() as agent:
        agent.say(sent)
        await agent.hear(b"\r\n\r\n")
        assert await agent.reader.readexactly(size) == body


async def test_a_body_that_comes_byte_by_byte() -> None:
    async with listening(echo) as site, site.agent() as agent:
        for byte in POST % 3 + b"abc":
            agent.say(bytes([byte]))
            await agent.writer.drain()
            await asyncio.sleep(0)
        assert (await agent.hear(b"abc")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_agent_that_may_go_on_is_told_so_when_its_body_is_asked_for() -> None:
    go = asyncio.Event()

    async def later(request: Request) -> None:
        await go.wait()
        await echo(request)

    expects = (POST % 2).replace(b"Host", b"Expect: 100-Continue\r\nHost")
    async with listening(later) as site, site.agent() as agent:
        agent.say(expects)
        await site.begun.get()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(agent.reader.read(1), 0.05)
        go.set()
        assert await agent.hear(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await agent.ask(b"ab", b"ab")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await agent.ask(expects + b"ab", b"ab")).startswith(b"HTTP/1.1 200 OK\r\n")
        old = expects.replace(b"1.1", b"1.0") + b"ab"
        assert (await agent.ask(old, b"ab")).startswith(b"HTTP/1.0 200 OK\r\n")


async def test_an_agent_that_is_refused_need_not_send_its_body() -> None:
    async with listening(name) as site:
        answer = await site.hears((POST % 2).replace(b"Host", b"Expect: 100-continue\r\nHost"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert CLOSE in answer


async def test_nothing_else_may_be_expected() -> None:
    async with listening(echo) as site:
        answer = await site.hears((POST % 2).replace(b"Host", b"Expect: \xff\r\nHost") + b"ab")
        assert site.begun.empty()
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert b'"code": "expectation_failed"' in answer


async def test_head_gets_no_body() -> None:
    async def both(request: Request) -> None:
        if request.target == "/whole":
            await request.reply(200, "", FIELDS, b"body")
        else:
            await request.begin(200, "", [*FIELDS, ("Content-Length", "4")])
            await request.write(b"bo")
            await request.end(b"dy")

    heads = b"".join((GET % path).replace(b"GET", b"HEAD") for path in (b"whole", b"pieces"))
    async with listening(both) as site, site.agent() as agent:
        agent.say(heads + GET % b"whole")
        await until(lambda: site.ended.qsize() == 3)
        agent.writer.write_eof()
        answers = understood(await agent.hear_all(), "HEAD", "HEAD", "GET")
    assert [answer.fields["content-length"] for answer in answers] == ["4", "4", "4"]
    assert [answer.body for answer in answers] == [b"", b"", b"body"]


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
async def test_what_is_not_http_is_a_400_and_the_last_of_its_connection(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(echo) as site:
        answer = await site.hears(data + b"x" * 100_000 + GET % b"hidden")
        assert site.begun.empty()
    [read] = understood(answer, "POST")
    assert (read.status, read.fields["connection"], read.ended) == (400, "close", True)
    assert b'"code": "invalid_request"' in read.body
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)


async def test_a_body_that_is_not_framed_is_told_to_who_reads_it() -> None:
    async def strict(request: Request) -> None:
        with pytest.raises(BodyBrokenError, match="chunk size"):
            await request.body(1 << 20)
        await request.reply(400, "", FIELDS, b"broken")

    bad = b"1\r\nx\r\nzz\r\n" + GET % b"hidden"
    async with listening(strict) as site:
        assert (await site.hears(CHUNKED + bad)).endswith(b"broken")
        async with site.agent() as agent:
            agent.say(CHUNKED)
            await site.begun.get()
            assert CLOSE in await agent.ask(bad, b"broken")
            assert await agent.hear_all() == b""


async def test_a_body_that_nobody_asked_for_waits_outside() -> None:
    async def busy(_: Request) -> None:
        await asyncio.Event().wait()

    async with listening(busy) as site, site.agent() as agent:
        agent.say(POST % (8 << 20) + b"x" * (8 << 20))
        await site.begun.get()
        [one] = site.listener.common.connections
        await until(lambda: not one.reading)
        assert one._reader.size < 1 << 20  # pyright: ignore[reportPrivateUsage]  # what is bounded


async def test_a_header_without_an_end_is_a_431() -> None:
    async with listening(echo, most=1000) as site:
        answer = await site.hears(b"GET / HTTP/1.1\r\nX: " + b"x" * 2000)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'"code": "headers_too_large"' in answer


async def test_a_write_waits_for_an_agent_that_reads_slowly() -> None:
    sent = 0

    async def counted(request: Request) -> None:
        nonlocal sent
        await request.begin(200, "", FIELDS)
        for _ in range(400):
            await request.write(b"x" * (1 << 16))
            sent += 1
        await request.end()

    async with listening(counted) as site, site.agent(limit=1 << 10) as agent:
        agent.say(GET % b"")
        await site.begun.get()
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 400
        agent.reader._limit = 1 << 20  # type: ignore[attr-defined]
        taken = 0
        while data := await agent.reader.read(1 << 16):
            taken += len(data)
            if data.endswith(b"\r\n0\r\n\r\n"):
                break
        assert taken > 400 << 16


async def test_a_field_that_would_end_a_line_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def split(request: Request) -> None:
        await request.reply(200, "", [("X", "a\r\nSet-Cookie: b")], b"")

    async with listening(split) as site:
        answer = await site.hears(GET % b"")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"Set-Cookie" not in answer
    assert "a request failed in the gateway" in caplog.text
    caplog.clear()


async def test_a_piece_is_one_write_and_so_is_a_whole_answer() -> None:
    class Written(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[bytes] = []

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.seen.append(bytes(data))

        def is_closing(self) -> bool:
            return False

        def resume_reading(self) -> None:
            pass

    async def both(request: Request) -> None:
        if request.target == "/whole":
            await request.reply(200, "", FIELDS, b"body")
        else:
            await request.begin(200, "", FIELDS)
            await request.write(b"data: 1\n\n")
            await request.end(b"data: 2\n\n")

    transport, common = Written(), Common(both, 1000)
    one = connection.Connection(common, asyncio.get_running_loop())
    one.connection_made(transport)
    for path, writes in ((b"whole", 1), (b"pieces", 3)):
        transport.seen.clear()
        one.data_received(GET % path)
        await until(lambda: bool(transport.seen) and transport.seen[-1].endswith((b"body", b"0\r\n\r\n")))
        assert len(transport.seen) == writes
    assert transport.seen[1:] == [b"9\r\ndata: 1\n\n\r\n", b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"]


async def test_an_offer_to_upgrade_is_not_taken() -> None:
    upgrade = (POST % 2).replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost") + b"ab"
    async with listening(echo) as site, site.agent() as agent:
        await agent.ask(upgrade, b"ab")
        await agent.ask(POST % 2 + b"cd", b"cd")


async def test_ipv6_and_a_port_that_is_shared() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    site, other = Site(name, 1 << 16), Site(name, 1 << 16)
    try:
        port = await site.listener.start("::1", 0, None, shared_port=True)
    except OSError:
        pytest.skip("no IPv6 address")
    assert await other.listener.start("::1", port, None, shared_port=True) == port
    reader, writer = await asyncio.open_connection("::1", port)
    writer.write(GET % b"a")
    assert (await reader.readuntil(b"/a")).startswith(b"HTTP/1.1 200")
    writer.close()
    await site.listener.close()
    await other.listener.close()
