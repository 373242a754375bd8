"""Workers made of bytes, on real sockets, and a client in front of them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from rolltrace_proxy.breaker import Breaker
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.http1.interface import Response
from rolltrace_proxy.upstream import Outgoing, Upstream
from rolltrace_settings.settings import Settings

OK = b"HTTP/1.1 200 OK\r\n"
ABC = OK + b"Content-Length: 3\r\n\r\nabc"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PATIENCE = 20.0
"""Seconds after which what should have come is taken not to come."""

Serve = Callable[["Seen"], Awaitable[None]]


@dataclass
class Seen:
    """One connection, as the worker sees it. `gone`: the client has closed it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self) -> bytes:
        """A whole request. Raises IncompleteReadError when none comes."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        return head + await self.reader.readexactly(int(length or 0))

    async def write(self, data: bytes, size: int = 0) -> None:
        """`size`: as many bytes at a time, each a read of its own."""
        for at in range(0, len(data), size or len(data) or 1):
            if self.writer.is_closing():
                raise ConnectionResetError
            self.writer.write(data[at : at + (size or len(data))])
            await asyncio.sleep(0)

    async def wait_until_gone(self) -> None:
        try:
            while await self.reader.read(1 << 16):
                pass
        except ConnectionError:
            pass
        self.gone.set()


@dataclass
class Worker:
    port: int = 0
    tls: bool = False
    connections: list[Seen] = field(default_factory=list[Seen])
    requests: int = 0

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


@asynccontextmanager
async def worker(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Worker]:
    """Each connection is served once, then closed."""
    made, tasks = Worker(tls=tls is not None), set[asyncio.Task[None]]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        seen = Seen(reader, writer)
        made.connections.append(seen)
        try:
            await serve(seen)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=4096, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await server.wait_closed()
        while tasks:
            await asyncio.sleep(0.001)


def answering(*answers: bytes, size: int = 0, closes: bool = False) -> Serve:
    """Gives these answers, the last one again and again; then closes, or waits for the next request."""
    left = list(answers)

    async def serve(seen: Seen) -> None:
        while await seen.request():
            await seen.write(left.pop(0) if len(left) > 1 else left[0], size)
            if closes:
                return

    return serve


class Held:
    """Answers the first request with `before`, and waits until its client goes."""

    def __init__(self, before: bytes = b"") -> None:
        self.before = before
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, seen: Seen) -> None:
        await seen.request()
        await seen.write(self.before)
        self.asked.set()
        await seen.wait_until_gone()
        self.gone.set()


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), PATIENCE)


@contextmanager
def taking_no_connections() -> Generator[str]:
    """The origin of a worker to which connecting neither works nor fails."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first:
        first.connect(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@dataclass
class Client:
    upstream: Upstream
    breaker: Breaker = field(default_factory=Breaker)

    async def send(
        self,
        worker: Worker | str,
        method: str = "POST",
        body: bytes = b"{}",
        fields: Sequence[tuple[str, str]] = (),
        ca_pem: str = "",
    ) -> Response:
        origin = worker if isinstance(worker, str) else worker.origin
        outgoing = Outgoing(method, origin, "/v1/x", list(fields), body, ca_pem)
        return await asyncio.wait_for(self.upstream.send(outgoing, self.breaker), PATIENCE)

    async def ask(self, worker: Worker | str, method: str = "POST") -> tuple[Response, bytes]:
        response = await self.send(worker, method)
        try:
            return response, await read(response)
        finally:
            response.close()

    @property
    def open(self) -> int:
        """Connections that are not closed."""
        return len(self.upstream._pool._open)  # pyright: ignore[reportPrivateUsage]  # leaks show here

    async def all_closed(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.open:
                await asyncio.sleep(0.001)


async def read(response: Response) -> bytes:
    """All of a body."""
    pieces: list[bytes] = []
    async with asyncio.timeout(PATIENCE):
        while piece := await response.read():
            pieces.append(piece)
    return b"".join(pieces)


async def read_until_refused(response: Response) -> tuple[bytes, Refused | None]:
    """What comes of a body, and the failure behind it."""
    got = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while piece := await response.read():
                got += piece
    except Refused as refused:
        return got, refused
    return got, None


@asynccontextmanager
async def client(**settings: float) -> AsyncGenerator[Client]:
    made = Client(Upstream(Settings(**settings)))  # type: ignore[arg-type]  # mypy sees floats for all of them
    try:
        yield made
    finally:
        await made.upstream.close()
        assert not made.open
