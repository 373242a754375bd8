"""Workers that fail: an agent gets what a direct client gets, or a clear 502 or 504; the call is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.trace_pb2 import CALL_STATUS_COMPLETED, CALL_STATUS_UPSTREAM_ERROR
from rolltrace.v1.worker_pb2 import Worker
from rolltrace.v1.worker_service_pb2 import DeregisterWorkerRequest, RegisterWorkerRequest
from rolltrace_proxy.breaker import DELAY
from tests.control.conftest import connected
from tests.faults.agents import Heard, ask, chat
from tests.faults.bad_worker import (
    CLOSE,
    DONE,
    RESET,
    STALL,
    STREAM,
    Step,
    bad_worker,
    chunk,
    event,
    head,
    whole,
)
from tests.faults.processes import Child, Pair, running_pair
from tests.faults.report import Tally, fault
from tests.faults.site import watched
from tests.proxy.answers import IDS, chat_answer, chat_chunks, ids
from tests.servers import answers, free_port

WHOLE = json.dumps(chat_answer()).encode()
TWO_TOKENS = [chunk(event(each)) for each in chat_chunks()[:3]]
ALL_TOKENS = [chunk(event(each)) for each in chat_chunks()]
ERROR = {"error": {"message": "out of memory", "type": "server_error", "code": 500}}
JSON_HEAD = head(Content_Type="application/json", Content_Length=len(WHOLE))


@dataclass(frozen=True, slots=True)
class Case:
    """A script, what the trace says of it, and the status of the gateway where it can't pass on the answer.

    `code`: of the trace's error, and of the gateway's own answer.
    """

    row: str
    name: str
    script: Sequence[Step]
    streamed: bool = False
    status: int = CALL_STATUS_UPSTREAM_ERROR
    code: str = "upstream_disconnected"
    own_status: int = 0
    tokens: int = 0

    @property
    def session_id(self) -> str:
        return re.sub(r"\W+", "-", f"{self.row} {self.name}").strip("-")


CASES = [
    Case("worker resets", "before the header", [RESET], own_status=502),
    Case("worker resets", "in a whole answer", [JSON_HEAD, WHOLE[:20], RESET], own_status=502),
    Case("worker resets", "in a stream", [STREAM, *TWO_TOKENS, RESET], streamed=True, tokens=2),
    Case("worker stalls before headers", "whole", [STALL], code="timeout_first_byte", own_status=504),
    Case("worker stalls before headers", "stream", [STALL], True, code="timeout_first_byte", own_status=504),
    Case(
        "worker stalls in mid-body",
        "whole",
        [JSON_HEAD, WHOLE[:20], STALL],
        code="timeout_idle",
        own_status=504,
    ),
    Case(
        "worker stalls in mid-body",
        "stream",
        [STREAM, *TWO_TOKENS, STALL],
        True,
        code="timeout_idle",
        tokens=2,
    ),
    Case("worker closes early", "before the header", [CLOSE], own_status=502),
    Case("worker closes early", "in the header", [b"HTTP/1.1 200 OK\r\nConte", CLOSE], own_status=502),
    Case("worker closes early", "in a whole answer", [JSON_HEAD, WHOLE[:20], CLOSE], own_status=502),
    Case("worker closes early", "in a stream", [STREAM, *TWO_TOKENS, CLOSE], True, tokens=2),
    Case(
        "worker sends half a chunk",
        "in an event",
        [STREAM, *TWO_TOKENS, TWO_TOKENS[1][:30], CLOSE],
        True,
        tokens=2,
    ),
    Case("worker sends half a chunk", "no last one", [STREAM, *ALL_TOKENS, CLOSE], True, tokens=3),
    Case(
        "worker sends invalid JSON", "whole", [whole(b'{"choices": [')], status=CALL_STATUS_COMPLETED, code=""
    ),
    Case(
        "worker sends invalid JSON",
        "an event",
        [STREAM, *ALL_TOKENS[:2], chunk(event(b"{oops")), *ALL_TOKENS[2:], DONE],
        True,
        status=CALL_STATUS_COMPLETED,
        code="",
        tokens=3,
    ),
    Case(
        "worker sends a wrong content-length",
        "too long",
        [head(Content_Type="application/json", Content_Length=len(WHOLE) + 9), WHOLE, CLOSE],
        own_status=502,
    ),
    Case(
        "worker sends a wrong content-length",
        "too short",
        [head(Content_Type="application/json", Content_Length=len(WHOLE) - 9), WHOLE, CLOSE],
        own_status=502,
    ),
    Case(
        "worker sends a wrong content-length",
        "no number",
        [head(Content_Type="application/json", Content_Length="many"), WHOLE, CLOSE],
        own_status=502,
    ),
    Case(
        "worker sends 200 with an error event",
        "at once",
        [STREAM, chunk(event(ERROR)), DONE],
        True,
        code="upstream_error",
    ),
    Case(
        "worker sends 200 with an error event",
        "after tokens",
        [STREAM, *TWO_TOKENS, chunk(event(ERROR)), DONE],
        True,
        code="upstream_error",
        tokens=2,
    ),
    Case("worker answers 5xx", "500", [whole(ERROR, "500 Internal Server Error")], code="upstream_status"),
    Case("worker answers 5xx", "503 to a stream", [whole(ERROR, "503 Busy")], True, code="upstream_status"),
    Case(
        "worker answers 5xx",
        "no JSON",
        [head("502 Bad Gateway", Content_Type="text/html", Content_Length=4), b"oops"],
        code="upstream_status",
    ),
    Case(
        "worker answers 429 with Retry-After",
        "",
        [whole(ERROR, "429 Too Many Requests", Retry_After=7)],
        code="upstream_status",
    ),
]


@asynccontextmanager
async def registered(pair: Pair, **urls: str) -> AsyncGenerator[None]:
    """Workers by id, all for the model of agents.chat(), until the block ends."""
    async with connected(pair.control_port) as control:
        for worker_id, url in urls.items():
            row = Worker(worker_id=worker_id, url=url)
            await control.workers.RegisterWorker(RegisterWorkerRequest(worker=row))
        try:
            yield
        finally:
            for worker_id in urls:
                await control.workers.DeregisterWorker(DeregisterWorkerRequest(worker_id=worker_id))


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=fault(case.row), id=case.session_id) for case in CASES]
)
async def test_a_worker_that_fails(case: Case, impatient: Pair, tally: Tally) -> None:
    # What the agent asks for itself is not taken out of its answer: it can be compared byte by byte.
    fields = {"stream": case.streamed, "logprobs": True, "return_token_ids": True}
    async with bad_worker(*case.script) as worker, registered(impatient, bad=worker.url):
        direct = await ask(f"{worker.url}/v1", Heard(""), chat(**fields), patience=0.5)
        async with watched(impatient, tally) as site:
            heard = await site.agents.call(case.session_id, **fields)
            trace = await site.trace(case.session_id)
    check_heard(heard, direct, case)
    check_trace(trace, heard, case)
    assert len(worker.requests) == 2, "the model must not run twice"


def check_heard(heard: Heard, direct: Heard, case: Case) -> None:
    if case.name == "too short" and heard.status == 200:  # the rest came too late to be noticed
        assert heard.body == WHOLE[:-9]
    elif case.own_status:
        assert not direct.ended, "what can be passed on is passed on"
        assert (heard.status, heard.error_code(), heard.ended) == (case.own_status, case.code, True)
    else:
        assert (heard.status, heard.ended) == (direct.status, direct.ended)
        if direct.ended:
            assert heard.body == direct.body
        else:
            assert direct.body.startswith(heard.body)
            assert b"\n\n" not in direct.body[len(heard.body) :], "every whole event goes on"
        for name in ("Content-Type", "Retry-After"):
            assert heard.headers.get(name) == direct.headers.get(name)


def check_trace(trace: pb.Trace, heard: Heard, case: Case) -> None:
    assert trace.http_status == heard.status
    if case.own_status != 502 or heard.status == 502:
        assert (trace.status, trace.error.code) == (case.status, case.code)
    assert (trace.worker_id, trace.attempt_count) == ("bad", 1)
    if case.tokens:
        assert trace.completions[0].token_ids == ids(IDS[: case.tokens])
    if case.row == "worker sends invalid JSON":
        assert pb.CAPTURE_GAP_KIND_UNREADABLE in {gap.kind for gap in trace.capture_gaps}


@fault("worker refuses")
async def test_a_worker_that_refuses_costs_a_retry(impatient: Pair, tally: Tally) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with (
        bad_worker(whole(chat_answer())) as worker,
        registered(impatient, dead=nobody, good=worker.url),
    ):
        async with watched(impatient, tally) as site:
            heard = [await site.agents.call(f"refused-{number}") for number in range(12)]
            traces = [await site.trace(each.session_id) for each in heard]
    assert all(each.completed() for each in heard)
    assert {trace.worker_id for trace in traces} == {"good"}
    assert {trace.attempt_count for trace in traces} == {1, 2}


@fault("worker refuses")
async def test_workers_that_all_refuse_are_a_clear_error(impatient: Pair, tally: Tally) -> None:
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("one", "two")}
    async with registered(impatient, **urls), watched(impatient, tally) as site:
        heard = await site.agents.call("all-refuse")
        trace = await site.trace("all-refuse")
    assert (heard.status, heard.error_code()) == (502, "worker_unreachable")
    assert (trace.status, trace.attempt_count) == (CALL_STATUS_UPSTREAM_ERROR, 2)


@fault("worker busy")
async def test_a_busy_worker_is_not_dead_and_new_sessions_go_elsewhere(impatient: Pair, tally: Tally) -> None:
    go = asyncio.Event()
    answer = whole(chat_answer())
    async with bad_worker(go, answer) as busy, bad_worker(answer) as idle:
        async with registered(impatient, busy=busy.url, idle=idle.url), watched(impatient, tally) as site:
            calls: list[asyncio.Task[Heard]] = []
            while len(calls) < 40:
                calls.append(asyncio.create_task(site.agents.call(f"b-{len(calls)}")))
                await site.until(
                    lambda: sum(call.done() for call in calls) + len(busy.requests) == len(calls), "a call"
                )
            waiting = len(busy.requests)
            go.set()
            heard = await asyncio.gather(*calls)
            assert await site.agents.worker_usable("busy")
    assert all(each.completed() for each in heard)
    assert 0 < waiting <= 8, "the load bound: no worker of two holds more while the other is idle"


@fault("all workers dead, then back")
async def test_all_workers_die_and_come_back(tally: Tally, tmp_path: Path) -> None:
    """First clear errors, then 503 at once, as the breakers are open; then a probe finds one back."""
    workers = [DemoChild(tmp_path / f"{number}.log") for number in range(2)]
    with contextlib.ExitStack() as stop, running_pair(tmp_path, health_interval=0.5) as pair:
        for worker in workers:
            stop.callback(worker.stop)
            worker.start_and_wait()
        urls = {f"w{number}": worker.url for number, worker in enumerate(workers)}
        async with registered(pair, **urls), watched(pair, tally) as site:
            assert (await site.agents.call("up")).completed()
            for worker in workers:
                worker.kill()
            tally.kills = len(workers)
            down = [await site.agents.call(f"down-{number}") for number in range(12)]
            assert {(heard.status, heard.error_code()) for heard in down[:3]} <= {(502, "worker_unreachable")}
            assert {(heard.status, heard.error_code()) for heard in down[-4:]} == {(503, "no_worker")}
            assert all(heard.headers["Retry-After"] for heard in down if heard.status == 503)
            workers[1].start_and_wait()
            back = time.monotonic()
            while not (await site.agents.call("back")).completed():
                await asyncio.sleep(0.05)
            assert time.monotonic() - back < DELAY + 2, "one probe is enough"
            again = [await site.agents.call(f"again-{number}") for number in range(8)]
    assert all(heard.completed() for heard in again)


class DemoChild(Child):
    """A demo worker that comes back at the same port."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__("rolltrace_demo", ["worker", "--port", str(self.port)], log)

    def start_and_wait(self) -> None:
        self.start()
        self.await_ready(lambda: answers(f"{self.url}/health"))
