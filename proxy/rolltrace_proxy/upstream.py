"""The client towards the workers: one request, its time-outs, and what its errors mean.

Rules. A request is sent once. It may be sent again only when the worker can't have begun with it: no
connection could be made, or the kept-alive connection turned out to be closed already; then it goes
over a new one, since all that were kept may be closed. When unsure, it is not sent again, since that would
run the model twice.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from weakref import WeakValueDictionary

from rolltrace_proxy.breaker import Breaker
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1.framing import request_head
from rolltrace_proxy.http1.interface import Response
from rolltrace_proxy.http1.outbound import Connection, Limits
from rolltrace_proxy.http1.pool import Place, Pool, place_of
from rolltrace_proxy.http1.response import Unanswered
from rolltrace_settings.settings import Settings

STALE_WINDOW = 0.25
"""A kept-alive connection lost within these seconds of being used again was closed before, while idle."""
MAX_DIALS = 128
"""Connections to one worker that are made at the same time. When thousands of calls begin at once the others
wait for their turn, or the time-out of a connection would measure how busy this process is."""


@dataclass(slots=True)
class Outgoing:
    """A request as a worker gets it. `origin` is "http://host:port", `target` what stands on the wire."""

    method: str
    origin: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes
    ca_pem: str = ""


class Upstream:
    """One pool of connections to all workers. Use it inside a running loop."""

    def __init__(self, settings: Settings) -> None:
        limits = Limits(settings.first_byte_timeout, settings.idle_timeout, settings.max_header_size)
        self._pool = Pool(limits)
        self._connect_timeout = settings.connect_timeout
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def send(self, outgoing: Outgoing, breaker: Breaker) -> Response:
        """Returns when the header of the answer is there; tells the breaker when a connection is.

        Raises Refused, with the faults of a worker.
        """
        place = place_of(outgoing.origin, outgoing.ca_pem)
        method, body = outgoing.method, outgoing.body
        head = request_head(method, outgoing.target, place.authority, outgoing.fields, len(body))
        connection = self._pool.take(place) or await self._dial(place, breaker)
        breaker.succeeded()
        begun = time.monotonic()
        try:
            return await connection.ask(method, head, body)
        except Unanswered:
            if not connection.reused or time.monotonic() - begun >= STALE_WINDOW:
                raise
        connection = await self._dial(place, breaker)
        breaker.succeeded()
        return await connection.ask(method, head, body)

    async def close(self) -> None:
        await self._pool.close()

    async def _dial(self, place: Place, breaker: Breaker) -> Connection:
        """A new connection. Raises Refused, also when the worker turned out to be dead meanwhile."""
        turns = self._turns.setdefault(place.authority, asyncio.Semaphore(MAX_DIALS))
        waits = turns.locked()
        async with turns:
            if waits and breaker.is_open(time.monotonic()):
                raise Refused(Fault.UNREACHABLE, "The worker takes no connections.")
            try:
                async with asyncio.timeout(self._connect_timeout):
                    return await self._pool.dial(place)
            except TimeoutError as error:
                message = "The worker took no connection in time."
                raise Refused(Fault.TIMEOUT_CONNECT, message) from error
            except (OSError, ValueError) as error:
                message = f"No connection to the worker at {place.host}:{place.port}: {error}."
                raise Refused(Fault.UNREACHABLE, message) from error


def never_sent(refused: Refused) -> bool:
    """Whether the worker can't have seen the request, so that another one may get it."""
    return refused.fault in (Fault.UNREACHABLE, Fault.TIMEOUT_CONNECT)
