"""Target: raw bytes on a socket to a real proxy, with a real store and a worker behind it.

The proxy may answer or close, but not with a 500, not with an error in its log, and not never. It records
a call under a session only where that session stands in a request line that is clearly one: `addressed`
reads the bytes by RFC 9112 and takes nothing for a request that stands behind something malformed. What
comes next on another connection is served. `ROLLTRACE_FUZZ_GOOD` sets after how many inputs that is tried.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from functools import cache

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import paths
from rolltrace_proxy.errors import Refused
from rolltrace_store.interface import Durability, ReadView, Store
from rolltrace_store.lmdb_store import StoreOptions, open_store
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import Gateway, gateway
from tests.proxy.scripted import ScriptedWorker, scripted, whole

PATIENCE = 20.0
"""Seconds after which a good request has its answer, and a call whose agent has gone is over."""
_WAIT = 0.15
"""Seconds that the answer to any bytes is waited for: half a request never gets one."""
_GOOD_EVERY = int(os.environ.get("ROLLTRACE_FUZZ_GOOD", "1"))
_BODY = b'{"model":"m","messages":[]}'
_HEAD = b"POST /sessions/good/v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(
    _BODY
)
GOOD = _HEAD + _BODY


class Edge:
    """A proxy that runs in this process for as long as it lives."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._folder = tempfile.TemporaryDirectory(prefix="rolltrace-fuzz-")
        self._errors: list[str] = []
        self._head = 0
        self._late: set[str] = set()  # a call whose agent hung up may be recorded after it has ended
        self._count = 0
        self._worker: ScriptedWorker
        self._store: Store
        self._gate: Gateway
        self._loop.run_until_complete(self._open())
        handler = logging.Handler(logging.ERROR)
        handler.emit = self._hear  # type: ignore[method-assign]
        logging.getLogger().addHandler(handler)

    def _hear(self, record: logging.LogRecord) -> None:
        self._errors.append(logging.Formatter().format(record))

    async def _open(self) -> None:
        options = StoreOptions(durability=Durability.PROCESS, max_db_size=1 << 34)
        self._store = open_store(os.path.join(self._folder.name, "data"), options, proxy=True)
        self._worker = await self._stack.enter_async_context(scripted(whole(chat_answer())))
        self._gate = await self._stack.enter_async_context(gateway(self._store, self._worker))

    def close(self) -> None:
        async def close() -> None:
            await self._stack.aclose()
            await self._store.close()

        self._loop.run_until_complete(close())
        self._loop.close()
        self._folder.cleanup()

    def send(self, data: bytes) -> None:
        self._loop.run_until_complete(self._send(data))

    async def _send(self, data: bytes) -> None:
        answer = await self._exchange(data)
        assert not re.search(rb"HTTP/1\.[01] 500", answer)
        recorded = {trace.session_id for trace in await self._recorded()}
        named = set(addressed(data))
        assert recorded <= named | self._late, f"recorded: {recorded}"
        self._late = named
        assert all(seen.path.startswith("/v1") for seen in self._worker.seen)
        self._worker.seen.clear()
        self._count += 1
        if self._count % _GOOD_EVERY == 0:
            answer = await self._exchange(GOOD, PATIENCE)
            recorded = {trace.session_id for trace in await self._recorded()}
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert {"good"} <= recorded <= {"good"} | self._late
        assert not self._errors, self._errors[0]

    async def _exchange(self, data: bytes, wait: float = _WAIT) -> bytes:
        """What a client gets that sends these bytes, waits a while and hangs up."""
        port = int(self._gate.proxy.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            with suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            return await self._answer(reader, wait)
        finally:
            writer.transport.abort()
            await self._idle()

    async def _answer(self, reader: asyncio.StreamReader, wait: float) -> bytes:
        got, deadline = b"", time.monotonic() + wait
        while time.monotonic() < deadline:
            try:
                more = await asyncio.wait_for(reader.read(1 << 16), 0.01)
            except TimeoutError:
                if got and not self._gate.proxy.shared.tasks:
                    break
                continue
            except ConnectionError:
                break
            if not more:
                break
            got += more
        return got

    async def _idle(self) -> None:
        """Returns once the proxy has let go of the connection and no call runs: its agent has gone."""
        proxy, deadline = self._gate.proxy, time.monotonic() + PATIENCE
        while proxy.listener.connections or proxy.shared.tasks:
            assert time.monotonic() < deadline, "a call goes on though its agent has gone"
            await asyncio.sleep(0.001)

    async def _recorded(self) -> list[pb.Trace]:
        """The traces that came since last asked."""

        def work(view: ReadView) -> list[pb.Trace]:
            records = list(view.events(self._head))
            self._head = max([self._head, *(record.sequence for record in records)])
            return [trace for record in records if (trace := pb.Trace.FromString(record.body)).endpoint]

        return await self._store.read(work)


@cache
def running() -> Edge:
    return Edge()


def http_edge(data: bytes) -> None:
    running().send(data)


# llhttp takes several spaces before a target, which leaves no doubt about it.
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) +(\S+) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_KEY = re.compile(rb"(?=session:([^\r\n]*))")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n")
_TRAILER = re.compile(rb"(?:[^\r\n:\s]+:[^\r\n]*\r\n)*\r\n")


def addressed(data: bytes) -> Iterator[str]:
    """The sessions that requests in these bytes name, the first one that is malformed included."""
    at = 0
    while at < len(data):
        while data.startswith((b"\r", b"\n"), at):
            at += 1
        yield from _session(data[at:])
        end = data.find(b"\r\n\r\n", at)
        size = _framed(data[at:end], data[end + 4 :]) if end >= 0 else None
        if size is None:
            return
        at = end + 4 + size


def _session(data: bytes) -> Iterator[str]:
    yield from (
        match[1].decode("utf-8", "surrogateescape").strip()
        for match in _KEY.finditer(data.partition(b"\r\n\r\n")[0])
    )
    words = re.split(rb" +", re.split(rb"[\r\n]", data, maxsplit=1)[0])
    if len(words) < 2:
        return
    with suppress(Refused):
        target = paths.parse(words[1].decode("utf-8", "surrogateescape"))
        if target is not None and target.session_id:
            yield target.session_id


def _framed(head: bytes, rest: bytes) -> int | None:
    """The size of a body on the wire; None when the request is not whole and well formed."""
    line, *lines = head.split(b"\r\n")
    fields = [_FIELD.fullmatch(each) for each in lines]
    if not _LINE.fullmatch(line) or not all(fields):
        return None
    named = [(field[1].lower(), field[2].strip().lower()) for field in fields if field]
    lengths = [value for name, value in named if name == b"content-length"]
    codings = [value for name, value in named if name == b"transfer-encoding"]
    if codings == [b"chunked"] and not lengths:
        return _chunked(rest)
    if codings or len(lengths) > 1 or not all(re.fullmatch(rb"[0-9]{1,9}", value) for value in lengths):
        return None
    size = int(lengths[0]) if lengths else 0
    return size if size <= len(rest) else None


def _chunked(rest: bytes) -> int | None:
    at = 0
    while match := _CHUNK.match(rest, at):
        at = match.end()
        if not int(match[1], 16):
            trailer = _TRAILER.match(rest, at)
            return trailer.end() if trailer else None
        at += int(match[1], 16) + 2
        if rest[at - 2 : at] != b"\r\n":
            return None
    return None


def _post(session: bytes, body: bytes, *fields: bytes) -> bytes:
    lines = [b"POST /sessions/%b/v1/chat/completions HTTP/1.1" % session, b"Host: h", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def seeds() -> list[bytes]:
    """Good requests, pipelined ones, and one hidden in the body of another in all the known ways."""
    evil = _post(b"evil", b"", b"Content-Length: 0")
    size = b"Content-Length: %d" % len(evil)
    chunked = b"Transfer-Encoding: chunked"
    hidden = b"%x\r\n%b\r\n0\r\n\r\n" % (len(evil), evil)
    return [
        GOOD,
        GOOD + GOOD.replace(b"good", b"a%2Fb"),
        b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v1/models HTTP/1.0\r\n\r\n",
        GOOD.replace(b"POST /", b"POST http://h/"),
        GOOD.replace(b"Host: h", b"Host: h\r\nExpect: 100-continue"),
        _post(b"s", evil, size),
        _post(b"s", hidden, chunked),
        _post(b"s", b"0\r\n\r\n" + evil, chunked, size),
        _post(b"s", evil, size, b"Content-Length: 0"),
        _post(b"s", b"0\r\n\r\n" + evil, size, b"Transfer-Encoding: xchunked"),
        _post(b"s", b"0\r\n\r\n" + evil, b"Transfer-Encoding : chunked", size),
        _post(b"s", b"0\r\n\r\n" + evil, b"Transfer-Encoding: x", chunked),
        _post(b"s", b"0\r\n\r\n" + evil, b"X: a\r\n Transfer-Encoding: chunked", size),
        _post(b"s", b"0\r\nTrailer: a\r\n\r\n" + evil, chunked),
        _post(b"s", b"5;a=b\r\nhello\r\n0\r\n\r\n", chunked),
        _post(b"s", b"{", b"Content-Length: 9"),
        _post(b"s", b"{}", b"Content-Encoding: gzip", b"Content-Length: 2"),
        _post(b"s", evil, size, b"Authorization: Bearer session:a/b").replace(b"/sessions/s", b""),
        b"CONNECT /sessions/s/v1/x HTTP/1.1\r\nHost: h\r\n\r\n" + evil,
        _post(b"s", evil, b"Upgrade: websocket", b"Connection: upgrade", b"Content-Length: 0"),
    ]
