"""What reading a worker's answer costs, in Python calls and instructions; llhttp is not seen.

As in test_budget: who makes it cheaper lowers the budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

from rolltrace_proxy.http1.framing import request_head
from rolltrace_proxy.http1.response import WorkerResponse
from tests.bench.counting import Work, work_of

FIELDS = [(f"X-Field-{number}", "value") for number in range(6)]
HEADER = b"HTTP/1.1 200 OK\r\nDate: now\r\nServer: uvicorn\r\nContent-Type: application/json\r\n"
WHOLE = HEADER + b"Content-Length: 4000\r\n\r\n" + bytes(4000)
CHUNKED = HEADER + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b"12c\r\n" + bytes(300) + b"\r\n"


class Line:
    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def ended(self) -> None: ...

    def release(self) -> None: ...

    def abort(self) -> None: ...


def ended(work: Coroutine[object, None, object]) -> None:
    with suppress(StopIteration):
        work.send(None)
        raise AssertionError("it waits")


def within(work: Work, budget: Work) -> bool:
    return work.calls <= budget.calls and work.instructions <= budget.instructions


def test_a_small_call() -> None:
    def call() -> None:
        request_head("POST", "/v1/chat/completions", "127.0.0.1:8000", FIELDS, 4000)
        response = WorkerResponse(Line(), "POST", 1 << 16)
        response.feed(WHOLE)
        ended(response.header())
        ended(response.read())
        ended(response.read())
        response.close()

    call()
    assert within(work_of(call), Work(37, 850)), work_of(call)


def test_a_piece_that_is_read() -> None:
    response = WorkerResponse(Line(), "POST", 1 << 16)
    response.feed(CHUNKED)

    def piece() -> None:
        response.feed(PIECE)
        ended(response.read())

    piece()
    assert within(work_of(piece), Work(8, 150)), work_of(piece)
    response.close()


async def test_a_piece_that_is_handed_on() -> None:
    response = WorkerResponse(Line(), "POST", 1 << 16)
    response.feed(CHUNKED)
    handing = asyncio.ensure_future(response.each(lambda _: True))
    await asyncio.sleep(0)

    def piece() -> None:
        response.feed(PIECE)

    piece()
    assert within(work_of(piece), Work(5, 95)), work_of(piece)
    response.close()
    await handing
