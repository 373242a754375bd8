"""An agent that writes its requests by hand: what stands in them is what goes out, right or wrong."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from tests.faults.agents import chat

BODY = json.dumps(chat(max_tokens=2)).encode()
_LINGER = struct.pack("ii", 1, 0)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer on the wire; status 0 when the connection was closed instead."""

    status: int
    head: bytes
    body: bytes

    def error(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)["error"]
        return found

    def trace_id(self) -> str:
        found = re.search(rb"\r\nx-rolltrace-trace-id: *(\S+)", self.head, re.IGNORECASE)
        return found[1].decode() if found else ""


NOTHING = Reply(0, b"", b"")


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        with suppress(ConnectionError):
            await self._writer.drain()

    async def until(self, text: bytes) -> bytes:
        """What came, up to and with `text`."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readuntil(text)

    async def reply(self) -> Reply:
        """The next answer that is not a "100 Continue"."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = await self._reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await self._reader.readexactly(int(length[1])) if length else await self._chunks()
        except (asyncio.IncompleteReadError, ConnectionError):
            return NOTHING
        return Reply(int(head.split()[1]), head, body)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int((await self._reader.readuntil(b"\r\n")).strip(), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")
        return body

    async def closed(self) -> bool:
        """Whether the other side has hung up, or does so within a moment."""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.2):
                while await self._reader.read(1 << 16):
                    pass
                return True
        return self._reader.at_eof()

    async def hang_up(self, *, reset: bool = False) -> None:
        """In order (FIN), or by breaking the connection (RST)."""
        if reset:
            connection: socket.socket = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def post(session_id: str, body: bytes = BODY, *headers: str, length: int | None = None) -> bytes:
    """A call; `length` is the content-length that is claimed, the body's own unless told."""
    return request(f"POST /sessions/{session_id}/v1/chat/completions", body, *headers, length=length)


def request(line: str, body: bytes = BODY, *headers: str, length: int | None = None) -> bytes:
    claimed = len(body) if length is None else length
    lines = [f"{line} HTTP/1.1", "Host: gateway", f"Content-Length: {claimed}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
