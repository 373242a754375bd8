"""An agent's connection.

Rules. One request at a time: while it is answered, what follows it on the connection waits as bytes, and no
more of them than MOST_WAITING. A request is handled by a task of its own, which begins once its header is
whole and is cancelled when the agent goes away before it is answered. After an answer the connection takes
the next request, unless either side said that it closes or the body never came to its end; then what the
agent still sends is thrown away for a while, since closing on it could cost the agent its answer (RFC 9112,
9.6). An agent that ends its side of a connection has gone, and so has one that stops taking an answer which
is all written: nothing else would ever end its request.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import struct
from typing import cast

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1 import heads
from rolltrace_proxy.http1.common import Common
from rolltrace_proxy.http1.inbound import InboundRequest
from rolltrace_proxy.http1.interface import BodyBrokenError, BodyTooLargeError
from rolltrace_proxy.http1.reader import Head, Reader

MOST_WAITING = 64 << 10
"""Bytes of a body that nobody asked for, or of what follows a request, before reading stops."""
_COPIED = 64 << 10
"""Up to so many bytes, joining a header and a body is cheaper than to write both."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)
_NOBODY = Head("GET", "", (), {}, is_1_1=True, keeps=False, length=0, chunked=False, expects="")
"""Whose request could not be read."""

log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """What becomes of it is decided here; `gone` says so of the agent."""

    __slots__ = (
        "_broken",
        "_coming",
        "_deadline",
        "_drained",
        "_loop",
        "_more",
        "_most",
        "_reader",
        "_request",
        "_shut",
        "_slow",
        "_task",
        "_transport",
        "_untaken",
        "_waiting",
        "common",
        "gone",
    )

    def __init__(self, common: Common, loop: asyncio.AbstractEventLoop) -> None:
        self.common = common
        self.gone = self._slow = False
        self._loop = loop
        self._reader = Reader(common.max_header_size)
        self._transport: asyncio.Transport
        self._request: InboundRequest | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting = bytearray()
        self._broken = ""
        self._most = -1  # bytes of the body that are asked for
        self._more: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._coming = self._shut = False
        self._untaken = -1  # bytes of an answer that is all written, when they were looked at last
        self._deadline = loop.time() + common.keep_alive

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.common.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.common.connections.discard(self)
        if not self.common.connections:
            self.common.all_gone.set()
        self._reader.release()
        self._leave()

    def eof_received(self) -> None:
        """The transport closes, once it has sent what was written."""
        self._shut = True
        self._deadline = self._loop.time() + self.common.linger
        self._loop.call_soon(self._leave)  # a request that came with it begins first, and leaves its record

    def data_received(self, data: bytes) -> None:
        if self._shut:
            return
        if self._waiting or self._reader.ended:
            self._wait(data)
        else:
            self._take(data)

    def pause_writing(self) -> None:
        self._slow = True

    def resume_writing(self) -> None:
        self._slow = False
        _wake(self._drained)

    def _leave(self) -> None:
        self.gone = self._shut = True
        if self._task is not None and self._request is not None and not self._request.answered:
            self._task.cancel()
            self._task = None
        _wake(self._drained)

    # Requests.

    def _take(self, data: bytes) -> None:
        reader, at = self._reader, 0
        try:
            while at < len(data) and not reader.ended:
                at = reader.feed(data, at)
                if self._request is None and reader.head is not None:
                    self._begin(reader.head)
        except Refused as refused:
            self._fail(refused)
            return
        if at < len(data):
            self._wait(data[at:])
        if self._request is None:
            if not self._coming:
                self._coming, self._deadline = True, self._loop.time() + self.common.header_timeout
        elif reader.size > (MOST_WAITING if self._most < 0 else self._most):
            self._transport.pause_reading()
            _wake(self._more)
        elif reader.ended:
            _wake(self._more)

    def _wait(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > MOST_WAITING:
            self._transport.pause_reading()

    def _begin(self, head: Head) -> None:
        if head.expects not in ("", "100-continue"):
            raise Refused(Fault.EXPECTATION_FAILED, "Only 100-continue may be expected.")
        self._coming, self._deadline, self._untaken = False, math.inf, -1
        request = self._request = InboundRequest(head, self)
        self._task = self._loop.create_task(self._serve(request))

    async def _serve(self, request: InboundRequest) -> None:
        try:
            await self.common.handle(request)
        except ConnectionResetError:
            pass  # nobody is left to tell
        except Exception:
            log.exception("a request failed in the gateway")
            if not request.status:
                self._say(Refused(Fault.INTERNAL, "The gateway failed; its log says more."))
                request.answered = request.closes = True
        finally:
            self._served(request)

    def _served(self, request: InboundRequest) -> None:
        self._task = self._request = None
        self._most = -1
        if self.gone:
            return
        if not request.answered:
            request.break_off()
        elif request.closes:
            self._close()
        else:
            self._next()

    def _next(self) -> None:
        self._reader.next()
        self._deadline = self._loop.time() + self.common.keep_alive
        self._transport.resume_reading()
        if self._waiting:
            data, self._waiting = bytes(self._waiting), bytearray()
            self._take(data)

    def _fail(self, refused: Refused) -> None:
        """Nothing more can be read: it is not HTTP, or has no end. Who reads a body says so itself."""
        self._shut = True
        if self._request is not None:
            self._broken = refused.message
            _wake(self._more)
            return
        if refused.fault is Fault.INVALID_REQUEST:
            peer = self._transport.get_extra_info("peername")
            log.warning("a request that is not HTTP/1.1, or not well formed, from %s", peer and peer[0])
        self._say(refused)
        self._close()

    def _say(self, refused: Refused) -> None:
        fields, body, date = list(refused.headers().items()), refused.body(), self.common.date
        head = heads.written(_NOBODY, refused.status, "", fields, "length", len(body), date, closes=True)
        self._transport.write(head + body)

    # The end of a connection.

    @property
    def closes(self) -> bool:
        """Whether an answer that begins now is the connection's last."""
        return self.common.draining or self._shut or not self._reader.ended

    def _close(self) -> None:
        """Once the agent has what was written."""
        unread = self._shut or self._waiting or not self._reader.ended
        self._shut = True
        self._waiting.clear()
        self._deadline = self._loop.time() + self.common.linger
        if not unread:
            self._transport.close()
            return
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def break_off(self, *, reset: bool = False) -> None:
        """Closes it before an answer's end."""
        self.gone = self._shut = True
        self._deadline = self._loop.time() + self.common.linger
        if reset:
            connection: socket.socket | None = self._transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._transport.close()

    def look(self, now: float) -> None:
        """Ends what takes too long. `now` is the loop's time."""
        answered = self._request is not None and self._request.answered
        if answered and not self._shut and (left := self._transport.get_write_buffer_size()) != self._untaken:
            self._untaken, self._deadline = left, now + self.common.keep_alive
        if now < self._deadline:
            return
        if self._shut or answered:
            self._transport.abort()
        elif self._reader.addressed:
            self._fail(Refused(Fault.REQUEST_TIMEOUT, "The header of the request did not come in time."))
        else:
            self.break_off()

    @property
    def reading(self) -> bool:
        """Whether what the agent sends is taken; else it waits in the agent's own buffers."""
        return self._transport.is_reading()

    # What a request asks of it.

    async def send(self, data: bytes, body: bytes = b"") -> None:
        """Waits while the agent reads slowly."""
        if len(body) <= _COPIED:
            slow = not self.put(data + body if body else data)
        else:
            slow = not self.put(data)
            self._transport.write(body)
        if slow or self._slow:
            await self.drained()

    def put(self, data: bytes) -> bool:
        """Whether the agent keeps up."""
        if self.gone or self._transport.is_closing():
            raise ConnectionResetError("The agent has gone.")
        self._transport.write(data)
        return not self._slow

    async def drained(self) -> None:
        while self._slow and not self.gone:
            self._drained = self._loop.create_future()
            await self._drained
        if self.gone:
            raise ConnectionResetError("The agent has gone.")

    async def body(self, head: Head, most: int) -> bytes:
        reader = self._reader
        if head.length > most:
            raise BodyTooLargeError
        self._most = most
        if head.expects and not reader.ended and not reader.size:
            await self.send(_CONTINUE)
        while not reader.ended and reader.size <= most and not self._broken:
            self._transport.resume_reading()
            self._more = self._loop.create_future()
            await self._more
        if reader.size > most:
            raise BodyTooLargeError
        if self._broken:
            raise BodyBrokenError(self._broken)
        pieces, reader.pieces = reader.pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
