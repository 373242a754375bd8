"""One connection to a worker: a request goes out, its answer comes in.

Rules. One answer at a time. A connection may be used again only when its answer ended where it said it
would, nothing came after it, the request was taken whole, and neither side wants to close. It has no timer:
its keeper looks at `since` and `patience` now and then, and ends what takes too long.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, cast

from rolltrace_proxy.errors import Fault
from rolltrace_proxy.http1.response import Unanswered, WorkerResponse

_JOINED = 64 << 10
"""A body up to this size is copied behind its head, so that both are one write."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of an answer: times in seconds, `header` in bytes."""

    first_byte: float
    """From the request to the first byte of the body."""
    idle: float
    """Between bytes of the body."""
    header: int


class Keeper(Protocol):
    """Who owns connections."""

    def made(self, connection: Connection) -> None: ...

    def free(self, connection: Connection) -> None:
        """It may carry another request."""
        ...

    def lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Implements response.Line. `since`: the time (time.monotonic) from which `patience` (seconds) counts."""

    __slots__ = ("_keeper", "_limits", "_response", "_transport", "key", "patience", "reused", "since")

    def __init__(self, keeper: Keeper, key: Hashable, limits: Limits) -> None:
        self.key = key
        self.reused = False
        self.since = 0.0
        self.patience = math.inf
        self._keeper = keeper
        self._limits = limits
        self._response: WorkerResponse | None = None
        self._transport: asyncio.Transport

    async def ask(self, method: str, head: bytes, body: bytes) -> WorkerResponse:
        """The answer to a request, once its header is there. Raises Unanswered, Refused."""
        if not self.alive():
            raise Unanswered(Fault.DISCONNECTED, "The worker closed the connection.")
        response = self._response = WorkerResponse(self, method, self._limits.header)
        self.since, self.patience = time.monotonic(), self._limits.first_byte
        if len(body) <= _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        try:
            await response.header()
        except BaseException:
            response.close()
            raise
        return response

    def alive(self) -> bool:
        return not self._transport.is_closing()

    def expire(self) -> None:
        """Its patience is over."""
        response = self._response
        if response is not None and response.begun:
            response.fail(Fault.TIMEOUT_IDLE, "The worker stopped in the middle of its answer.")
        elif response is not None:
            response.fail(Fault.TIMEOUT_FIRST_BYTE, "The worker did not begin to answer in time.")
        self.abort()

    def close(self) -> None:
        """The process is going."""
        if self._response is not None:
            self._response.fail(Fault.DISCONNECTED, "The gateway shut down.")
        self.abort()

    def pause(self) -> None:
        self.patience = math.inf
        if self.alive():
            self._transport.pause_reading()

    def resume(self) -> None:
        self.since, self.patience = time.monotonic(), self._limits.idle
        if self.alive():
            self._transport.resume_reading()

    def ended(self) -> None:
        self.patience = math.inf

    def release(self) -> None:
        if self.alive() and not self._transport.get_write_buffer_size():
            self._response = None
            self.reused = True
            self._keeper.free(self)
        else:
            self.abort()

    def abort(self) -> None:
        self._response = None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._keeper.made(self)

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            self._transport.abort()  # nobody asked: it could be taken for the next answer
        elif self._response.feed(data):
            self.since, self.patience = time.monotonic(), self._limits.idle

    def eof_received(self) -> None:
        self._cut(None)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._keeper.lost(self)
        self._cut(exc)

    def _cut(self, error: Exception | None) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.cut(error)
