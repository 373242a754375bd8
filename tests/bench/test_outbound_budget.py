"""What reading a worker's answer costs, in Python calls and instructions; llhttp is not seen.

As in test_budget: who makes it cheaper lowers the budget.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress

from rolltrace_proxy.http1.framing import request_head
from rolltrace_proxy.http1.response import WorkerResponse
from tests.bench.counting import Work, work_of

FIELDS = [(f"X-Field-{number}", "value") for number in range(6)]
HEADER = b"HTTP/1.1 200 OK\r\nDate: now\r\nServer: uvicorn\r\nContent-Type: application/json\r\n"
WHOLE = HEADER + b"Content-Length: 4000\r\n\r\n" + bytes(4000)
CHUNK = b"12c\r\n" + bytes(300) + b"\r\n"


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
    assert within(work_of(call), Work(43, 1130)), work_of(call)


def test_a_chunk_of_a_stream() -> None:
    response = WorkerResponse(Line(), "POST", 1 << 16)
    response.feed(HEADER + b"Transfer-Encoding: chunked\r\n\r\n")

    def chunk() -> None:
        response.feed(CHUNK)
        ended(response.read())

    chunk()
    assert within(work_of(chunk), Work(8, 150)), work_of(chunk)
    response.close()
