"""A health check over HTTP: connect, ask, read the status line, hang up. A shell.

Without an HTTP client, which would double the memory of this service and the time until it serves.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from urllib.parse import SplitResult, quote, urlsplit

from rolltrace_control.addresses import authority
from rolltrace_store.worker_tls import worker_context

_UNRESERVED = "/%:@!$&'()*+,;=~"


class NoConnectionError(ConnectionError):
    """There was no connection in time."""


async def status_of(url: str, ca_pem: str | None, *, connect: float, total: float) -> int:
    """The status of a GET, within `total` seconds and `connect` of them for the connection.

    A certificate must descend from `ca_pem`, "" for the system's roots; None takes any. Raises OSError
    (NoConnectionError, and TimeoutError after `total`), ValueError for an answer that is not HTTP.
    """
    parts = urlsplit(url)
    async with asyncio.timeout(total):
        reader, writer = await _connected(parts, ca_pem, connect)
        try:
            writer.write(_request(parts))
            return _status(await reader.readline())
        finally:
            writer.close()


async def _connected(
    parts: SplitResult, ca_pem: str | None, within: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    encrypted = parts.scheme == "https"
    port = parts.port or (443 if encrypted else 80)
    context = _context(ca_pem) if encrypted else None
    try:
        async with asyncio.timeout(within):
            return await asyncio.open_connection(parts.hostname, port, ssl=context)
    except TimeoutError:
        raise NoConnectionError("no connection in time") from None


@lru_cache(maxsize=256)
def _context(ca_pem: str | None) -> ssl.SSLContext:
    context = worker_context(ca_pem) if ca_pem else ssl.create_default_context()
    if ca_pem is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _request(parts: SplitResult) -> bytes:
    host = (parts.hostname or "").encode("idna").decode()
    named = authority(host, parts.port) if parts.port else authority(host, 0).removesuffix(":0")
    path = quote(parts.path or "/", safe=_UNRESERVED)
    return f"GET {path} HTTP/1.1\r\nHost: {named}\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()


def _status(line: bytes) -> int:
    """Raises ValueError."""
    version, _, rest = line.partition(b" ")
    if not (version.startswith(b"HTTP/1.") and rest[:3].isdigit()):
        raise ValueError("what answers does not speak HTTP" if line else "it hung up without an answer")
    return int(rest[:3])
