"""The HTTP client towards the workers: one request, its time-outs, and what its errors mean.

Rules. A request is sent once. It may be sent again only when the worker can't have begun with it: no
connection could be made, or the kept-alive connection turned out to be closed already; then it goes
over a new one, since all that were kept may be closed. When unsure, it is not sent again, since that would
run the model twice.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import SimpleNamespace
from weakref import WeakValueDictionary

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from rolltrace_proxy.breaker import Breaker
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1.interface import Fields, Response
from rolltrace_settings.settings import Settings
from rolltrace_store.worker_tls import worker_context

KEEPALIVE = 4.0
"""Seconds that an idle connection is kept: less than the 5 of uvicorn, which serves vLLM and SGLang."""
STALE_WINDOW = 0.25
"""A kept-alive connection lost within these seconds of being used again was closed before, while idle."""
MAX_DIALS = 128
"""Connections to one worker that are made at the same time. When thousands of calls begin at once the others
wait for their turn, or the time-out of a connection would measure how busy this process is."""
_MADE_BY_US = ("Accept", "Content-Type", "User-Agent")


@dataclass(slots=True)
class _Connection:
    """A request's way to its connection. `made` is called when there is one."""

    breaker: Breaker
    turns: asyncio.Semaphore
    """Of which each request to the same worker takes one while it dials."""
    dials: bool = False
    reused: bool = False

    async def take_turn(self) -> None:
        """Raises Refused when the worker turned out to be dead while the request waited."""
        waits = self.turns.locked()
        await self.turns.acquire()
        self.dials = True
        if waits and self.breaker.is_open(time.monotonic()):
            raise Refused(Fault.UNREACHABLE, "The worker takes no connections.")

    def end_turn(self) -> None:
        if self.dials:
            self.dials = False
            self.turns.release()

    def made(self) -> None:
        self.end_turn()
        self.breaker.succeeded()


async def _on_create(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.trace_request_ctx.made()


async def _on_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    context.trace_request_ctx.made()
    context.trace_request_ctx.reused = True


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as a worker gets it: `origin` is its URL, `target` what stands on the wire behind that."""

    method: str
    origin: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes
    ca_pem: str = ""


class Upstream:
    """One pool of connections to all workers. Open it inside a running loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = _session(settings, aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE))
        self._anew = _session(settings, aiohttp.TCPConnector(limit=0, force_close=True))
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def send(self, outgoing: Outgoing, breaker: Breaker) -> Response:
        """Returns when the header of the answer is there; tells the breaker when a connection is.

        Raises Refused, with the faults of a worker.
        """
        connection = _Connection(breaker, self._turns_at(outgoing.origin))
        try:
            await connection.take_turn()
            return _Answer(await self._send(outgoing, connection), self._settings.idle_timeout)
        finally:
            connection.end_turn()

    def _turns_at(self, url: str) -> asyncio.Semaphore:
        return self._turns.setdefault(URL(url, encoded=True).authority, asyncio.Semaphore(MAX_DIALS))

    async def _send(self, outgoing: Outgoing, connection: _Connection) -> aiohttp.ClientResponse:
        begun = time.monotonic()
        try:
            try:
                return await _request(self._session, outgoing, connection)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not _was_stale(error, connection, time.monotonic() - begun):
                    raise
                return await _request(self._anew, outgoing, connection)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise fault_of(error, begun=False) from error

    async def close(self) -> None:
        await self._session.close()
        await self._anew.close()


def _session(settings: Settings, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    connections = aiohttp.TraceConfig()
    connections.on_connection_create_end.append(_on_create)
    connections.on_connection_reuseconn.append(_on_reuse)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_MADE_BY_US,
        timeout=aiohttp.ClientTimeout(
            total=None,  # of a whole call, which is more than a request
            connect=settings.connect_timeout,
            sock_read=settings.first_byte_timeout,
        ),
        max_line_size=settings.max_header_size,
        max_field_size=settings.max_header_size,
        trace_configs=[connections],
    )


async def _request(
    session: aiohttp.ClientSession, outgoing: Outgoing, connection: _Connection
) -> aiohttp.ClientResponse:
    return await session.request(
        outgoing.method,
        URL(outgoing.origin + outgoing.target, encoded=True),
        data=outgoing.body or None,
        headers=CIMultiDict(outgoing.fields),
        allow_redirects=False,
        ssl=worker_context(outgoing.ca_pem),
        trace_request_ctx=connection,
    )


class _Answer:
    """Implements interface.Response."""

    def __init__(self, response: aiohttp.ClientResponse, idle_timeout: float | None) -> None:
        self._response = response
        self._idle_timeout = idle_timeout
        self._begun = False
        self.status = response.status
        self.reason = response.reason or ""
        self.fields: Fields = list(response.headers.items())

    async def read(self) -> bytes:
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError) as error:
            # The reader raises although it still holds what had come; nothing public gives it.
            data = self._response.content._read_nowait(-1)  # pyright: ignore[reportPrivateUsage]
            if not data:
                raise fault_of(error, begun=self._begun) from error
        if data and not self._begun:
            self._begin()
        return data

    def _begin(self) -> None:
        """From now on the idle time-out holds."""
        self._begun = True
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.read_timeout = self._idle_timeout
            connection.protocol.start_timeout()

    def close(self) -> None:
        self._response.close()


def fault_of(error: BaseException, *, begun: bool) -> Refused:
    """What an error of the client means. `begun`: a byte of the body had come."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            fault, message = Fault.TIMEOUT_CONNECT, "The worker took no connection in time"
        case aiohttp.SocketTimeoutError() if begun:
            fault, message = Fault.TIMEOUT_IDLE, "The worker stopped in the middle of its answer"
        case aiohttp.SocketTimeoutError():
            fault, message = Fault.TIMEOUT_FIRST_BYTE, "The worker did not begin to answer in time"
        case TimeoutError():
            fault, message = Fault.TIMEOUT_TOTAL, "The call took longer than a call may take"
        case aiohttp.ClientConnectorError():
            fault = Fault.UNREACHABLE
            message = f"No connection to the worker at {error.host}:{error.port}: {error.os_error}"
        case _:
            fault, message = Fault.DISCONNECTED, f"The worker broke off: {error or type(error).__name__}"
    return Refused(fault, f"{message}.")


def _was_stale(error: aiohttp.ClientError, connection: _Connection, waited: float) -> bool:
    """Whether the connection had been closed while idle, so that the worker never saw the request."""
    connected = not isinstance(error, aiohttp.ClientConnectorError)
    return connected and connection.reused and waited < STALE_WINDOW


def never_sent(refused: Refused) -> bool:
    """Whether the worker can't have seen the request, so that another one may get it."""
    return refused.fault in (Fault.UNREACHABLE, Fault.TIMEOUT_CONNECT)
