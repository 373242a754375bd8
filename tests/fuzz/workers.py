"""Target: the bytes of a worker's connection, until it closes.

However they are cut, the answer is the same, or the same failure behind the same part of it; nothing but
Refused is raised; and at the end of the bytes nobody waits any more.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar, cast

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1.response import WorkerResponse
from tests.fuzz.feed import Feed, cut, pieces

T = TypeVar("T")
MOST = 1 << 16
"""Bytes of a header. No input reaches it, since a read may exceed it and a part of a read not."""
_METHODS = ("POST", "GET", "HEAD")


class Line:
    """A connection of which only its end is kept."""

    def __init__(self) -> None:
        self.end = ""
        self.paused = False

    def pause(self) -> None:
        assert not self.paused
        assert not self.end
        self.paused = True

    def resume(self) -> None:
        assert self.paused
        self.paused = False

    def ended(self) -> None: ...

    def release(self) -> None:
        self.end = self.end or "released"

    def abort(self) -> None:
        self.end = "aborted"


def worker_answer(data: bytes) -> None:
    feed = Feed(data)
    method, sizes = feed.choice(_METHODS), pieces(feed)
    wire = feed.rest()
    answer = _read(method, cut(wire, sizes))
    assert answer == _read(method, [wire]), "it depends on the cuts"
    assert len(answer[3]) <= len(wire)


Read = tuple[int, str, list[tuple[str, str]], bytes, Fault | None, str]


def _read(method: str, parts: list[bytes]) -> Read:
    line = Line()
    response = WorkerResponse(line, method, MOST)
    for part in parts:
        response.feed(part)
    response.cut(None)
    body, fault = b"", None
    try:
        _done(response.header())
        while piece := _done(response.read()):
            body += piece
    except Refused as refused:
        fault = refused.fault
    response.close()
    assert fault in (None, Fault.DISCONNECTED)
    assert line.end, "the connection is neither closed nor kept"
    assert fault is None or line.end == "aborted"
    return response.status, response.reason, response.fields, body, fault, line.end


def _done(work: Coroutine[object, None, T]) -> T:
    """The outcome of what must have no reason to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    raise AssertionError("it waits though the connection is closed")


def seeds() -> list[bytes]:
    ok, chunked = b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
    answers = [
        ok + b"Content-Length: 3\r\n\r\nabc",
        ok + b"Content-Length: 3\r\nConnection: close\r\n\r\nabcd",
        ok + chunked + b'3\r\nabc\r\n0A;x="y"\r\n0123456789\r\n0\r\nT: 1\r\n\r\n',
        ok + chunked + b"3\r\nabc\r\n0\r\n\r\n" + ok + b"Content-Length: 1\r\n\r\nx",
        ok + b"Server: uvicorn\r\nEmpty:\r\nX: \xc3\xa9\xff \r\n\r\nabc",
        b"HTTP/1.0 200\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        ok + b"Content-Length: 3\r\n" + chunked + b"0\r\n\r\n",
        ok + b"X: a\r\n b\r\n\r\n",
    ]
    return [bytes((number % 3, 2, number, 3)) + answer for number, answer in enumerate(answers)]
