"""The HTTP of one call as the proxy parses and writes it, on either side. No socket."""

from __future__ import annotations

from bench.calls import Exchanged
from rolltrace_proxy.http1 import framing, heads
from rolltrace_proxy.http1.reader import Reader
from rolltrace_proxy.http1.response import WorkerResponse

MOST = 64 << 10
HEAD = (
    b"POST /sessions/s-1/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:9090\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
DATE = "Tue, 24 Nov 2026 11:00:00 GMT"
FIELDS = [("Content-Type", "application/json"), ("x-rolltrace-trace-id", "-" * 36)]
ASKED = [("Content-Type", "application/json"), ("Accept-Encoding", "identity")]


class NoLine:
    """A connection to a worker that has nothing to do."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def ended(self) -> None: ...
    def release(self) -> None: ...
    def abort(self) -> None: ...


def sent(call: Exchanged) -> bytes:
    """What the agent writes."""
    return HEAD % len(call.request) + call.request


def answered(call: Exchanged) -> list[bytes]:
    """What the worker writes: a head, then its pieces, each a chunk unless there is but one."""
    kind = f"HTTP/1.1 200 OK\r\nContent-Type: {call.kind}\r\n".encode()
    if len(call.pieces) == 1:
        return [kind + b"Content-Length: %d\r\n\r\n" % len(call.pieces[0]) + call.pieces[0]]
    chunks = [heads.chunk(piece) for piece in call.pieces]
    return [kind + b"Transfer-Encoding: chunked\r\n\r\n", *chunks[:-1], chunks[-1] + heads.last_chunk(b"")]


def with_agent(reader: Reader, request: bytes) -> bytes:
    """Reads its request. Returns the head of the answer."""
    reader.next()
    reader.feed(request, reader.feed(request, 0))
    assert reader.head is not None
    assert reader.ended
    framed = heads.framing(reader.head, 200, 1)
    return heads.written(reader.head, 200, "OK", FIELDS, framed, 1, DATE, closes=False)


def with_worker(request: bytes, answer: list[bytes]) -> WorkerResponse:
    """Writes the head of the request, and reads the answer."""
    framing.request_head("POST", "/v1/chat/completions", "127.0.0.1:8000", ASKED, len(request))
    response = WorkerResponse(NoLine(), "POST", MOST)
    for piece in answer:
        response.feed(piece)
    return response
