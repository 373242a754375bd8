"""An agent's request, and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolltrace_proxy.http1 import heads
from rolltrace_proxy.http1.heads import Framing
from rolltrace_proxy.http1.interface import Fields
from rolltrace_proxy.http1.reader import Head

if TYPE_CHECKING:
    from rolltrace_proxy.http1.connection import Connection


class InboundRequest:
    """Implements interface.Request. `closes`: its answer is the connection's last, known once that begins."""

    __slots__ = (
        "_connection",
        "_framing",
        "_head",
        "_left",
        "answered",
        "closes",
        "fields",
        "method",
        "status",
        "target",
    )

    def __init__(self, head: Head, connection: Connection) -> None:
        self.method = head.method
        self.target = head.target
        self.fields = head.fields
        self.status = 0
        self.answered = False
        self.closes = not head.keeps
        self._head = head
        self._connection = connection
        self._framing: Framing = "no body"
        self._left = 0

    def field(self, name: str) -> str | None:
        return self._head.named.get(name)

    async def body(self, most: int) -> bytes:
        return await self._connection.body(self._head, most)

    async def begin(self, status: int, reason: str, fields: Fields) -> None:
        length = heads.length_of(fields)
        self._left = length or 0
        await self._connection.send(self._begun(status, reason, fields, length))

    async def write(self, data: bytes) -> None:
        if not self.put(data):
            await self._connection.drained()

    def put(self, data: bytes) -> bool:
        if self._framing == "chunks":
            return self._connection.put(heads.chunk(data))
        if self._framing == "no body":
            return True
        self._left -= len(data)
        return self._connection.put(data)

    async def drained(self) -> None:
        await self._connection.drained()

    async def end(self, data: bytes = b"") -> None:
        if self._framing == "chunks":
            data = heads.last_chunk(data)
        elif self._framing == "no body":
            data = b""
        elif self._framing == "length" and self._left != len(data):
            self.break_off()
            raise ConnectionResetError("The answer is not of the length that was promised.")
        self.answered = True
        if data:
            await self._connection.send(data)

    async def reply(self, status: int, reason: str, fields: Fields, body: bytes) -> None:
        head = self._begun(status, reason, fields, len(body))
        self.answered = True
        await self._connection.send(head, b"" if self._framing == "no body" else body)

    def close_after(self) -> None:
        self.closes = True

    def break_off(self) -> None:
        """Where neither chunks nor a length tell the agent, a reset does."""
        self._connection.break_off(reset=self._framing == "until close")

    def _begun(self, status: int, reason: str, fields: Fields, length: int | None) -> bytes:
        asked, connection = self._head, self._connection
        framed = heads.framing(asked, status, length)
        closes = self.closes or connection.closes or framed == "until close"
        date = connection.common.date
        head = heads.written(asked, status, reason, fields, framed, length, date, closes=closes)
        self.status, self.closes, self._framing = status, closes, framed
        return head
