"""A listener with a handler of the test's own, and agents that speak to it byte by byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11

from rolltrace_proxy.http1.interface import Request
from rolltrace_proxy.http1.listener import Listener

PATIENCE = 20.0
POST = b"POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
GET = b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n"
FIELDS = [("Content-Type", "text/plain")]


@dataclass
class Agent:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self, text: bytes) -> bytes:
        """What comes, up to and with `text`."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(text)

    async def hear_all(self) -> bytes:
        """What comes until the connection ends, in order. Raises ConnectionResetError when it is reset."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def ask(self, data: bytes, end: bytes) -> bytes:
        self.say(data)
        return await self.hear(end)


@dataclass
class Answer:
    """An answer as h11 understands it. `ended` says that it came to its end."""

    status: int
    fields: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    ended: bool = False


def understood(data: bytes, *methods: str) -> list[Answer]:
    """The answers to requests of these methods, in `data` after which the connection ended."""
    answers = list[Answer]()
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        client.send(h11.EndOfMessage())
        client.receive_data(data)
        if client.trailing_data[0] == data:
            client.receive_data(b"")
        while True:
            try:
                event = client.next_event()
            except h11.RemoteProtocolError:
                return answers
            if event is h11.NEED_DATA:
                client.receive_data(b"")
            elif isinstance(event, h11.Response):
                named = [(name.decode(), value.decode()) for name, value in event.headers]
                assert len(dict(named)) == len(named), "a field stands twice"
                answers.append(Answer(event.status_code, dict(named)))
            elif isinstance(event, h11.Data):
                answers[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                answers[-1].ended = True
                break
            elif not isinstance(event, h11.InformationalResponse):
                return answers
        data = client.trailing_data[0]
    return answers


class Site:
    """What runs: the listener, and the requests that it has handed on."""

    def __init__(self, handle: Callable[[Request], Awaitable[None]], most: int) -> None:
        self._handle = handle
        self.listener = Listener(self._run, most)
        self.port = 0
        self.begun: asyncio.Queue[Request] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.running = 0

    async def _run(self, request: Request) -> None:
        self.running += 1
        self.begun.put_nowait(request)
        end = "answered"
        try:
            await self._handle(request)
        except (asyncio.CancelledError, Exception) as error:
            end = type(error).__name__
            raise
        finally:
            self.running -= 1
            self.ended.put_nowait(end)

    async def how_it_ended(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self.ended.get()

    @asynccontextmanager
    async def agent(self, **more: object) -> AsyncGenerator[Agent, None]:
        opened = asyncio.open_connection("127.0.0.1", self.port, **more)  # type: ignore[arg-type]  # e.g. ssl
        reader, writer = await opened
        try:
            yield Agent(reader, writer)
        finally:
            writer.transport.abort()
            with suppress(ConnectionError, TimeoutError):
                await writer.wait_closed()

    async def hears(self, data: bytes) -> bytes:
        """All that comes back on a connection of its own."""
        async with self.agent() as agent:
            agent.say(data)
            return await agent.hear_all()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(
    handle: Callable[[Request], Awaitable[None]], most: int = 1 << 16, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Site, None]:
    site = Site(handle, most)
    site.port = await site.listener.start("127.0.0.1", 0, tls, shared_port=False)
    try:
        yield site
    finally:
        await site.listener.close()
        assert not site.listener.connections
        await until(lambda: not site.running)


async def echo(request: Request) -> None:
    await request.reply(200, "", FIELDS, await request.body(1 << 30))


async def name(request: Request) -> None:
    await request.reply(200, "", FIELDS, request.target.encode())
