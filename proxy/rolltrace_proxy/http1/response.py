"""A worker's answer, from the bytes of its connection to the pieces that a call reads.

Rules. llhttp parses; it is not asked to be lenient about header fields, so that what it accepts can be
passed on. What came before a failure is read before the failure is raised. A reader that lags pauses the
worker. Nothing may be made per piece but the piece: `on_body` is the append of a list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import httptools

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1.fields import decoded
from rolltrace_proxy.http1.framing import Body, UnreadableError, body_of

UNREAD = 256 << 10
"""Bytes on the wire that wait for a reader before the worker is paused. The last read may add as many."""
_SWITCHING = 101


class Unanswered(Refused):
    """The connection was lost before a byte of the answer."""


class Line(Protocol):
    """The connection that an answer comes on."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def ended(self) -> None:
        """Nothing more is waited for."""
        ...

    def release(self) -> None:
        """It may carry another request."""
        ...

    def abort(self) -> None: ...


class WorkerResponse:
    """Implements interface.Response. `feed`, `fail` and `cut` are for its connection, `on_...` for the
    parser. `begun`: a byte of the body has come."""

    __slots__ = (
        "_ended", "_failure", "_heard", "_keeps", "_line", "_method", "_most", "_parser", "_paused",
        "_pieces", "_raw", "_reason", "_take", "_unread", "_until_close", "_waiter", "_without_body",
        "begun", "fields", "on_body", "reason", "status",
    )  # fmt: skip

    def __init__(self, line: Line, method: str, most: int) -> None:
        """`most`: bytes of a header, and of what stands between two pieces of a body."""
        self.status = 0
        self.reason = ""
        self.fields: list[tuple[str, str]] = []
        self.begun = False
        self._line: Line | None = line
        self._method = method
        self._most = most
        self._raw: list[bytes] = []
        self._reason = b""
        self._without_body = self._unread = 0
        self._heard = self._keeps = self._paused = self._ended = self._until_close = False
        self._failure: Refused | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], bool] | None = None
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        parser = httptools.HttpResponseParser(self)
        # Both are harmless to what follows, and old servers need them.
        parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._parser: httptools.HttpResponseParser | None = parser

    async def header(self) -> None:
        """Returns when status, reason and fields are there. Raises Unanswered, Refused."""
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._more()

    async def read(self) -> bytes:
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                if self._line is not None:
                    self._let_go()
                return b""
            await self._more()
        data, self._unread = self._joined(), 0
        if self._paused:
            self._resume()
        if self._ended and self._failure is None:
            self._let_go()
        return data

    async def each(self, take: Callable[[bytes], bool]) -> None:
        if not self._pieces and not self._ended:
            self._take = take
            try:
                await self._more()
            finally:
                self._take = None

    def close(self) -> None:
        if self._line is not None:  # or it has ended
            self._let_go()
            self._stop()

    def feed(self, data: bytes) -> bool:
        """Whether the time until the next piece begins now."""
        self._heard = True
        if self._parser is None:
            if data.strip(b"\r\n"):  # the parser makes nothing of empty lines either
                self._keeps = False
            return False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keeps = False
            self.fail(Fault.DISCONNECTED, f"The worker's answer is no HTTP: {error}.")
        if self._ended:
            return False
        if not self._pieces:  # what the parser keeps and nobody reads has a bound: header, trailers
            self._without_body += len(data)
            if self._without_body > self._most:
                self._too_large()
            return False
        self._without_body = 0
        self.begun = True
        if self._take is not None:
            self._hand(self._take)
            return True
        self._unread += len(data)
        if self._waiter is not None:
            self._wake()
        elif self._unread > UNREAD:
            self._pause()
        return not self._paused

    def fail(self, fault: Fault, message: str) -> None:
        """Ends it, unless it has ended."""
        if not self._ended:
            self._failed(Refused(fault, message))

    def cut(self, error: Exception | None) -> None:
        """The connection has ended; None: as the worker wanted."""
        why = f"The worker broke off: {error or 'it closed the connection'}."
        if self._until_close and error is None:
            self._stop()
        elif self._heard:
            self.fail(Fault.DISCONNECTED, why)
        elif not self._ended:
            self._failed(Unanswered(Fault.DISCONNECTED, why))

    def on_message_begin(self) -> None:
        if self._ended:
            raise UnreadableError("was followed by more")

    def on_status(self, part: bytes) -> None:
        self._reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # or it is a trailer's
            self._raw += (name, value)

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status, raw = self._parser.get_status_code(), self._raw
        self._raw = []
        if sum(map(len, raw)) + 2 * len(raw) > self._most:  # of one that is not whole, `feed` sees it
            self._too_large()
            raise UnreadableError("is too large")
        if 100 <= status < 200 and status != _SWITCHING:
            self._reason = b""
            return
        try:
            fields = decoded(raw)
            body = body_of(self._method, self._parser.get_http_version(), status, fields)
        except UnreadableError as error:
            self.fail(Fault.DISCONNECTED, f"The worker's answer {error}.")
            raise
        self._until_close = body is Body.UNTIL_CLOSE
        self.status, self.fields = status, fields
        self.reason = self._reason.decode("utf-8", "surrogateescape")
        if self._waiter is not None:
            self._wake()
        if self._method == "HEAD":
            self._stop()
            raise UnreadableError("is a header alone, which the parser can't know")

    def on_message_complete(self) -> None:
        if self.status and self._parser is not None:
            self._keeps = self._parser.should_keep_alive()
            self._stop()

    def _hand(self, take: Callable[[bytes], bool]) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            return  # who waited was cancelled
        try:
            if take(self._joined()):
                return
        except Exception as error:
            waiter.set_exception(error)
        self._take = None
        self._wake()

    def _joined(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    def _more(self) -> asyncio.Future[None]:
        """Done once something has come, or the end. It is the one reader's."""
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _stop(self) -> None:
        """Nothing more is expected."""
        self._ended = True
        self._parser = None  # and with it the cycle of references
        if self._line is not None:
            self._line.ended()
        if self._waiter is not None:
            self._wake()

    def _failed(self, failure: Refused) -> None:
        self._failure = failure
        self._stop()
        self._let_go()

    def _let_go(self) -> None:
        line, self._line = self._line, None
        if line is None:
            return
        if self._ended and self._keeps and self._failure is None and not self._paused:
            line.release()
        else:
            line.abort()

    def _too_large(self) -> None:
        self.fail(
            Fault.DISCONNECTED,
            f"The worker's answer has a header of more than {self._most} bytes (--max-header-size).",
        )

    def _pause(self) -> None:
        if self._line is not None and not self._paused:
            self._paused = True
            self._line.pause()

    def _resume(self) -> None:
        self._paused = False
        if self._line is not None:
            self._line.resume()
