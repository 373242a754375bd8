"""A worker that answers as a script says: a real aiohttp server on a free port.

A script is a list of steps: bytes to send, an event to wait for, or one of the ends below.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from multidict import CIMultiDict

STALL = "stall"
"""Sends nothing more and keeps the connection."""
RESET = "reset"
"""Closes the connection at once."""

Step = bytes | asyncio.Event | str
JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}


@dataclass
class Reply:
    """`before` runs before the header is sent, `steps` after it."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    before: Sequence[Step] = ()
    reason: str | None = None


@dataclass
class Seen:
    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.body)
        return answer


@dataclass
class ScriptedWorker:
    reply: Callable[[Seen], Reply]
    url: str = ""
    seen: list[Seen] = field(default_factory=list[Seen])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(request.method, request.raw_path, CIMultiDict(request.headers), await request.read())
        self.seen.append(seen)
        self.arrived.set()
        try:
            return await self._play(request, self.reply(seen))
        except (asyncio.CancelledError, ConnectionResetError):
            self.hung_up.set()
            raise

    async def _play(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(
            status=reply.status, reason=reply.reason, headers=CIMultiDict(reply.headers)
        )
        for step in reply.before:
            await self._step(request, response, step)
        await response.prepare(request)
        for step in reply.steps:
            await self._step(request, response, step)
        await response.write_eof()
        return response

    async def _step(self, request: web.Request, response: web.StreamResponse, step: Step) -> None:
        if isinstance(step, bytes):
            if request.method != "HEAD":
                await response.write(step)
        elif isinstance(step, asyncio.Event):
            await step.wait()
        elif step == STALL:
            await asyncio.Event().wait()
        else:
            assert request.transport is not None
            request.transport.close()
            raise asyncio.CancelledError


def whole(answer: object, status: int = 200) -> Reply:
    body = json.dumps(answer).encode()
    return Reply([body], status, [*JSON.items(), ("Content-Length", str(len(body)))])


def events(*steps: Step | dict[str, object]) -> Reply:
    """A stream; an object becomes one event of it."""
    made = [f"data: {json.dumps(step)}\n\n".encode() if isinstance(step, dict) else step for step in steps]
    return Reply(made, headers=list(SSE.items()))


DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def scripted(
    reply: Reply | Callable[[Seen], Reply], tls: ssl.SSLContext | None = None
) -> AsyncGenerator[ScriptedWorker, None]:
    worker = ScriptedWorker(reply if callable(reply) else lambda _: reply)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", worker.handle)
    runner = web.AppRunner(
        app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1, auto_decompress=False
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    worker.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield worker
    finally:
        await runner.cleanup()


@asynccontextmanager
async def on_the_wire(*steps: bytes | asyncio.Event) -> AsyncGenerator[str, None]:
    """The URL of a worker that answers with just these bytes and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"true}")
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
            else:
                await step.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
