"""A question over HTTP: connect, ask, read the status line or a small answer, hang up. A shell.

Without an HTTP client, which would double the memory of this service and the time until it serves.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

import httptools

from rolltrace_control.addresses import authority
from rolltrace_store.worker_tls import worker_context

MAX_ANSWER = 256 << 10
"""The largest answer that is read whole, its header included."""

_UNRESERVED = "/%:@!$&'()*+,;=~"


class NoConnectionError(ConnectionError):
    """There was no connection in time."""


class Answer(NamedTuple):
    """What was answered."""

    status: int
    body: bytes


async def status_of(url: str, ca_pem: str | None, *, connect: float, total: float) -> int:
    """The status of a GET, within `total` seconds and `connect` of them for the connection.

    A certificate must descend from `ca_pem`, "" for the system's roots; None takes any. Raises OSError
    (NoConnectionError, and TimeoutError after `total`), ValueError for an answer that is not HTTP.
    """
    async with asyncio.timeout(total), _asked(urlsplit(url), ca_pem, "", connect) as reader:
        return _status(await reader.readline())


async def answer_of(url: str, ca_pem: str | None, api_key: str, *, connect: float, total: float) -> Answer:
    """The answer to a GET with `api_key` as its bearer token ("": none), read to its end.

    Raises what status_of does, and ValueError for an answer of more than MAX_ANSWER bytes.
    """
    body = _Body()
    async with asyncio.timeout(total), _asked(urlsplit(url), ca_pem, api_key, connect) as reader:
        line = await reader.readline()
        status = _status(line)
        parser, read = httptools.HttpResponseParser(body), len(line)
        try:
            parser.feed_data(line)
            while not body.ended and (piece := await reader.read(MAX_ANSWER)):
                read += len(piece)
                if read > MAX_ANSWER:
                    raise ValueError(f"an answer of more than {MAX_ANSWER} bytes")
                parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise ValueError("what answers does not speak HTTP") from error
    return Answer(status, bytes(body.content))


class _Body:
    """What llhttp calls with the body of an answer, however it is framed."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.ended = False

    def on_body(self, piece: bytes) -> None:
        self.content += piece

    def on_message_complete(self) -> None:
        self.ended = True


@asynccontextmanager
async def _asked(
    parts: SplitResult, ca_pem: str | None, api_key: str, connect: float
) -> AsyncGenerator[asyncio.StreamReader]:
    reader, writer = await _connected(parts, ca_pem, connect)
    try:
        writer.write(_request(parts, api_key))
        yield reader
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


def _request(parts: SplitResult, api_key: str) -> bytes:
    host = (parts.hostname or "").encode("idna").decode()
    named = authority(host, parts.port) if parts.port else authority(host, 0).removesuffix(":0")
    path = quote(parts.path or "/", safe=_UNRESERVED)
    key = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
    head = f"GET {path} HTTP/1.1\r\nHost: {named}\r\nAccept: */*\r\n{key}Connection: close\r\n\r\n"
    return head.encode()


def _status(line: bytes) -> int:
    """Raises ValueError."""
    version, _, rest = line.partition(b" ")
    if not (version.startswith(b"HTTP/1.") and rest[:3].isdigit()):
        raise ValueError("what answers does not speak HTTP" if line else "it hung up without an answer")
    return int(rest[:3])
