"""A worker that answers byte for byte as a script says, right or wrong: a TCP server on a free port.

A script is a list of steps: bytes to send, an event to wait for, or one of the ends below. When a script has
no end, the connection stays open for the next request, to which the same script is the answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

STALL = "stall"
"""Sends nothing more and keeps the connection."""
CLOSE = "close"
"""Closes the connection in order (FIN)."""
RESET = "reset"
"""Breaks the connection (RST)."""

Step = bytes | asyncio.Event | str
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LINGER = struct.pack("ii", 1, 0)


@dataclass
class BadWorker:
    """`requests` are the bodies of the calls that came; `left` the (monotonic) moments of hang-ups."""

    script: Sequence[Step]
    url: str = ""
    requests: list[bytes] = field(default_factory=list[bytes])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: list[float] = field(default_factory=list[float])

    _connections: dict[asyncio.Task[None], asyncio.StreamWriter] = field(
        default_factory=dict[asyncio.Task[None], asyncio.StreamWriter]
    )

    async def close(self) -> None:
        """Hangs up on whoever is still there."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)
        for writer in self._connections.values():
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                if head.startswith(b"POST "):
                    self.requests.append(body)
                    self.arrived.set()
                if not await self._play(reader, writer):
                    break
        writer.close()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays."""
        for step in self.script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, asyncio.Event):
                await self._or_hang_up(reader, step.wait())
            elif step == STALL:
                await self._or_hang_up(reader, asyncio.Event().wait())
            else:
                if step == RESET:
                    connection: socket.socket = writer.get_extra_info("socket")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
                return False
        return True

    async def _or_hang_up(
        self, reader: asyncio.StreamReader, waiting: Coroutine[object, object, object]
    ) -> None:
        """Waits; notes it, and raises, when the caller leaves meanwhile."""
        awaited, leaving = asyncio.ensure_future(waiting), asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((awaited, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = leaving.done()
            awaited.cancel()
            leaving.cancel()
            await asyncio.wait((awaited, leaving))
        if left:
            self.left.append(time.monotonic())
            raise ConnectionError


@asynccontextmanager
async def bad_worker(*script: Step) -> AsyncGenerator[BadWorker]:
    worker = BadWorker(script)
    server = await asyncio.start_server(worker.serve, "127.0.0.1", 0)
    worker.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield worker
    finally:
        server.close()
        await worker.close()


def head(status: str = "200 OK", **headers: object) -> bytes:
    """A status line and headers; underscores in names stand for hyphens."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def whole(answer: object, status: str = "200 OK", **headers: object) -> bytes:
    """A whole answer of JSON."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return head(status, Content_Type="application/json", Content_Length=len(body), **headers) + body


STREAM = head(Content_Type="text/event-stream", Transfer_Encoding="chunked")
"""The head of a stream."""


def event(said: object) -> bytes:
    """One event of a stream; bytes are its data as they are."""
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return b"data: %b\n\n" % data


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST = chunk(b"")
DONE = chunk(event(b"[DONE]")) + LAST
