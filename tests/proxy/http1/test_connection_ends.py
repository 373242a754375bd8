"""Agents' connections, over real sockets: when they end, and who is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rolltrace_proxy.http1 import listener
from rolltrace_proxy.http1.interface import BodyTooLargeError, Request
from tests.certificates import Authority, server_context
from tests.proxy.http1.agents import FIELDS, GET, POST, echo, listening, name, understood, until

CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE = b"Connection: close\r\n"


async def forever(request: Request) -> None:
    await request.body(1 << 30)
    await asyncio.Event().wait()


async def pour(request: Request) -> None:
    """An answer without an end."""
    await request.begin(200, "", FIELDS)
    while True:
        await request.write(b"x" * 4096)


async def begun(request: Request) -> None:
    """An answer that never goes on."""
    await request.begin(200, "", FIELDS)
    await request.write(b"piece")
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("version", "asked", "closes"),
    [("1.1", "close", True), ("1.1", "keep-alive", False), ("1.0", "", True), ("1.0", "keep-alive", False)],
)
async def test_who_closes(version: str, asked: str, closes: bool) -> None:
    line = f"Connection: {asked}\r\n" if asked else ""
    request = f"POST / HTTP/{version}\r\n{line}Content-Length: 2\r\n\r\nab".encode()
    async with listening(echo) as site, site.agent() as agent:
        head = await agent.ask(request, b"ab")
        assert head.startswith(f"HTTP/{version} 200 OK\r\n".encode())
        assert (b"\r\nConnection: close\r\n" in head) is closes
        assert (b"\r\nConnection: keep-alive\r\n" in head) is (version == "1.0" and not closes)
        if closes:
            assert await agent.hear_all() == b""
        else:
            await agent.ask(request, b"ab")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("tls", [False, True])
async def test_an_agent_can_read_why_its_body_is_refused_while_it_sends(
    chunked: bool, tls: bool, tmp_path: Path
) -> None:
    async def strict(request: Request) -> None:
        with pytest.raises(BodyTooLargeError):
            await request.body(1000)
        await request.reply(413, "", FIELDS, b"too large")

    size, authority = 4 << 20, Authority(tmp_path / "ca")
    head = CHUNKED + b"%x\r\n" % size if chunked else POST % size
    context = server_context(authority.issue()) if tls else None
    async with listening(strict, tls=context) as site:
        async with site.agent(**({"ssl": authority.trusted()} if tls else {})) as agent:
            agent.say(head + b"x" * size)
            await agent.writer.drain()
            answer = await agent.hear(b"too large")
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert CLOSE in answer


async def test_a_header_must_come_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "LOOK", 0.02)
    async with listening(echo) as site:
        site.listener.common.header_timeout = 0.1
        async with site.agent() as agent:
            agent.say(b"GET / HTTP/1.1\r\nHost: h\r\n")
            answer = await agent.hear_all()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code": "request_timeout"' in answer
        assert await site.hears(b"\r\n") == b"", "nothing was asked"


async def test_connections_without_a_request_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "LOOK", 0.02)
    async with listening(begun) as site:
        async with site.agent() as second:
            await second.ask(GET % b"", b"piece")
            site.listener.common.keep_alive = 0.1
            assert await site.hears(b"") == b""
            await asyncio.sleep(0.2)
            assert site.listener.connections == 1, "an answer takes as long as it takes"


async def test_an_agent_that_never_takes_its_last_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "LOOK", 0.02)
    async with listening(echo) as site:
        site.listener.common.linger = 0.1
        async with site.agent() as agent:
            await agent.ask((POST % 2).replace(b"Host", CLOSE + b"Host") + b"ab" + b"more", b"ab")
            await until(lambda: not site.listener.connections)


async def test_an_agent_that_stops_taking_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "LOOK", 3600.0)
    size = 64 << 20  # more than the system holds

    async def large(request: Request) -> None:
        await request.reply(200, "", FIELDS, b"x" * size)

    async with listening(large) as site, site.agent() as agent:
        await agent.ask(GET % b"", b"\r\n\r\n")
        (connection,) = site.listener.common.connections
        keep_alive, now = site.listener.common.keep_alive, asyncio.get_running_loop().time()
        for _ in range(4):
            now += keep_alive
            connection.look(now)
            await agent.reader.readexactly(size // 8)
        assert site.running, "it takes its time"
        while site.running:
            now += keep_alive
            connection.look(now)
            await asyncio.sleep(0.01)
        assert await site.how_it_ended() == "ConnectionResetError"


HANGS_UP = {"waits": (forever, POST % 0), "reads": (echo, POST % 9 + b"x"), "sends": (pour, POST % 0)}


@pytest.mark.parametrize(("handle", "said"), HANGS_UP.values(), ids=HANGS_UP.keys())
@pytest.mark.parametrize("how", ["close", "abort", "half"])
async def test_who_handles_a_request_is_cancelled_when_its_agent_goes_away(
    handle: object, said: bytes, how: str
) -> None:
    async with listening(handle) as site, site.agent() as agent:  # type: ignore[arg-type]
        agent.say(said)
        await site.begun.get()
        await asyncio.sleep(0.05)  # long enough for `pour` to wait
        match how:
            case "close":
                agent.writer.close()
            case "abort":
                agent.writer.transport.abort()
            case _:
                agent.writer.write_eof()
        assert await site.how_it_ended() in ("CancelledError", "ConnectionResetError")
        assert site.running == 0


async def test_a_write_after_that_is_an_error() -> None:
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def stubborn(request: Request) -> None:
        await request.begin(200, "", FIELDS)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            for write in (request.write, request.end):
                try:
                    await write(b"x")
                except ConnectionResetError:
                    seen.put_nowait("reset")
            raise

    async with listening(stubborn) as site:
        async with site.agent() as agent:
            await agent.ask(GET % b"", b"\r\n\r\n")
        assert [await seen.get(), await seen.get()] == ["reset", "reset"]


async def test_an_answer_that_is_broken_off_has_no_end() -> None:
    async def broken(request: Request) -> None:
        length = [("Content-Length", "100")] if request.target == "/length" else []
        await request.begin(200, "", [*FIELDS, *length])
        await request.write(b"piece")
        await asyncio.sleep(0.05)
        request.break_off()

    async with listening(broken) as site:
        for target in (b"chunks", b"length"):
            answer = await site.hears(GET % target)
            assert b"piece" in answer
            assert not understood(answer, "GET")[0].ended
        with pytest.raises(ConnectionResetError):
            await site.hears(b"GET / HTTP/1.0\r\n\r\n")


async def test_an_answer_until_the_end_of_the_connection() -> None:
    async def pieces(request: Request) -> None:
        await request.begin(200, "", FIELDS)
        await request.write(b"a")
        await request.end(b"b")

    async with listening(pieces) as site:
        answer = await site.hears(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nab")


async def test_an_answer_of_another_length_than_was_promised_is_broken_off() -> None:
    async def short(request: Request) -> None:
        await request.begin(200, "", [("Content-Length", "5")])
        await request.end(b"abc")

    async with listening(short) as site:
        assert not understood(await site.hears(GET % b""), "GET")[0].ended
        assert await site.how_it_ended() == "ConnectionResetError"


async def test_a_request_that_was_not_answered_ends_its_connection() -> None:
    async def silent(request: Request) -> None:
        await request.body(0)

    async with listening(silent) as site:
        assert await site.hears(GET % b"") == b""


async def test_when_it_stops_what_runs_ends_and_says_that_it_is_the_last() -> None:
    go = asyncio.Event()

    async def held(request: Request) -> None:
        await go.wait()
        await name(request)

    async with listening(held) as site, site.agent() as agent, site.agent() as idle:
        agent.say(GET % b"a" + GET % b"b")
        await site.begun.get()
        site.listener.stop()
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", site.port)
        go.set()
        answer = await agent.hear_all()
        assert CLOSE in answer
        assert answer.endswith(b"/a")
        await site.listener.close()
        assert await idle.hear_all() == b""


async def test_connect_is_answered_and_closed() -> None:
    async with listening(name) as site:
        answer = await site.hears(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n" + GET % b"hidden")
    assert len(understood(answer, "GET", "GET")) == 1
    assert CLOSE in answer
