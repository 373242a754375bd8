"""Connections to workers: how they are made, kept while idle, and ended when they take too long.

Rules. A place is a worker's origin and the certificates it is checked against: connections of one place are
never used for another. Of the kept ones the newest goes first. One timer looks at all connections, so that
no call and no piece of an answer sets one; what is due is seen up to SLACK seconds late.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1.outbound import Connection, Limits
from rolltrace_store.worker_tls import worker_context

KEEPALIVE = 4.0
"""Seconds that an idle connection is kept: less than the 5 of uvicorn, which serves vLLM and SGLang."""
SLACK = 0.25
NAMES_AGE = 10.0
"""Seconds that the addresses of a name are used."""
_MOST_NAMES = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a worker is. `authority` as in the URL."""

    host: str
    port: int
    tls: bool
    authority: str
    ca_pem: str


@lru_cache(maxsize=1024)
def place_of(origin: str, ca_pem: str) -> Place:
    """Of an origin; the same object for the same one."""
    parts = urlsplit(origin)
    tls, host, authority = parts.scheme == "https", parts.hostname or "", parts.netloc
    port = parts.port or (443 if tls else 80)
    if not authority.isascii():
        host = _ascii(host)
        authority = f"{host}:{port}"
    return Place(host, port, tls, authority, ca_pem)


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host  # which has no address then


class Pool:
    """Implements outbound.Keeper. Use it inside a running loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slack = max(0.01, min(SLACK, limits.first_byte / 8, limits.idle / 8))
        self._open: set[Connection] = set()
        self._kept: dict[Hashable, dict[Connection, None]] = {}
        self._names: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self, place: Place) -> Connection | None:
        """A kept connection that was not closed and is not too old."""
        kept, now = self._kept.get(place), time.monotonic()
        while kept:
            connection, _ = kept.popitem()
            if connection.alive() and now - connection.since < KEEPALIVE:
                return connection
            connection.abort()
        return None

    async def dial(self, place: Place) -> Connection:
        """A new connection. Raises OSError; ValueError for a name that is none; Refused after `close`."""
        context = worker_context(place.ca_pem) if place.tls else None
        failure = OSError(f"{place.host} has no address")
        for address in await self._addresses(place):
            try:
                connection = await self._dial(place, address, context)
            except OSError as error:
                failure = error
                continue
            if self._closed:
                connection.abort()
                raise Refused(Fault.UNREACHABLE, "The gateway shuts down.")
            return connection
        self._names.pop((place.host, place.port), None)
        raise failure

    async def _dial(self, place: Place, address: str, context: ssl.SSLContext | None) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self, place, self._limits),
            address,
            place.port,
            ssl=context,
            server_hostname=place.host if context else None,
        )
        return connection

    async def _addresses(self, place: Place) -> Iterable[str]:
        known = self._names.get((place.host, place.port))
        if known is not None and time.monotonic() - known[0] < NAMES_AGE:
            return known[1]
        found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        addresses = [str(address[0]) for *_, address in found]
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        self._names[place.host, place.port] = time.monotonic(), addresses
        return addresses

    def made(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._slack, self._look)

    def free(self, connection: Connection) -> None:
        connection.since, connection.patience = time.monotonic(), KEEPALIVE
        self._kept.setdefault(connection.key, {})[connection] = None

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        kept = self._kept.get(connection.key)
        if kept is not None:
            kept.pop(connection, None)
            if not kept:
                del self._kept[connection.key]

    def _look(self) -> None:
        now = time.monotonic()
        for connection in [each for each in self._open if now - each.since > each.patience]:
            connection.expire()
        again = self._open and not self._closed
        self._sweep = asyncio.get_running_loop().call_later(self._slack, self._look) if again else None

    async def close(self) -> None:
        """Ends all connections; answers that have not ended fail."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()
        for _ in range(10):  # until the loop has told them
            await asyncio.sleep(0)
