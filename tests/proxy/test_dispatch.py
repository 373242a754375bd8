"""Which worker a call goes to, and what happens when there is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1 import worker_pb2
from rolltrace_proxy.breaker import FAILURES
from rolltrace_proxy.workers import add_configured
from rolltrace_settings.settings import WorkerSetting
from rolltrace_store.interface import Store
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import Gateway, HeldStore, gateway, put, row, with_settings
from tests.proxy.scripted import RESET, Reply, ScriptedWorker, scripted, whole
from tests.servers import free_port


@asynccontextmanager
async def two_workers() -> AsyncGenerator[tuple[ScriptedWorker, ScriptedWorker], None]:
    async with scripted(whole(chat_answer())) as one, scripted(whole(chat_answer())) as two:
        yield one, two


async def call(gate: Gateway, session_id: str = "s", **fields: object) -> int:
    async with gate.chat(session_id=session_id, **fields) as response:
        await response.read()
        return response.status


def nobody() -> str:
    """A URL that nothing listens at."""
    return f"http://127.0.0.1:{free_port()}"


async def test_a_session_stays_with_its_worker_and_sessions_spread(store: Store) -> None:
    async with two_workers() as (one, two), gateway(store, one, two) as gate:
        for turn in range(3):
            for number in range(12):
                assert await call(gate, f"s-{number}", turn=turn) == 200
        used = [{t.worker_id for t in await gate.traces(f"s-{number}")} for number in range(12)]
    assert all(len(workers) == 1 for workers in used)
    assert {worker_id for workers in used for worker_id in workers} == {"w-1", "w-2"}


async def test_a_dead_worker_costs_a_retry_and_not_a_call(store: Store) -> None:
    async with scripted(whole(chat_answer())) as alive:
        async with gateway(store, row(nobody(), "dead"), row(alive, "alive")) as gate:
            for number in range(30):
                assert await call(gate, f"s-{number}") == 200
            traces = [t for number in range(30) for t in await gate.traces(f"s-{number}")]
    assert {t.worker_id for t in traces} == {"alive"}
    assert sum(t.attempt_count > 1 for t in traces) == FAILURES, "then the breaker is open"


async def test_what_may_have_reached_a_worker_goes_to_no_other(store: Store) -> None:
    async with scripted(Reply(before=[RESET])) as one, scripted(Reply(before=[RESET])) as two:
        async with gateway(store, one, two) as gate:
            assert await call(gate) == 502
    assert len(one.seen) + len(two.seen) == 1


async def test_workers_that_cannot_be_reached_are_a_502(store: Store) -> None:
    async with gateway(store, row(nobody(), "a"), row(nobody(), "b")) as gate:
        async with gate.chat() as response:
            error = (await response.json())["error"]
        trace = await gate.trace()
    assert (response.status, error["code"]) == (502, "worker_unreachable")
    assert (trace.status, trace.attempt_count) == (pb.CALL_STATUS_UPSTREAM_ERROR, 2)
    assert trace.error.message == error["message"]


async def test_no_worker_is_a_503_that_says_what_to_do(store: Store) -> None:
    async with gateway(store) as gate:
        async with gate.chat() as response:
            error = (await response.json())["error"]
        trace = await gate.trace()
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert response.headers["x-rolltrace-trace-id"] == trace.trace_id
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == "no_worker"
    assert "rolltrace workers add URL" in error["message"]
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_REFUSED, 503)


async def test_only_workers_that_serve_the_model_are_asked(store: Store) -> None:
    async with two_workers() as (one, two):
        first, second = row(one, "a"), row(two, "b")
        first.model_names.append("m")
        second.model_names.append("n")
        async with gateway(store, first, second) as gate:
            for number in range(8):
                assert await call(gate, f"s-{number}", model="n") == 200
            assert await call(gate, "other", model="x") == 503
            assert "'x'" in (await gate.trace("other")).error.message
    assert (len(one.seen), len(two.seen)) == (0, 8)


async def test_unhealthy_and_cordoned_workers_come_last_and_draining_ones_never(store: Store) -> None:
    async with two_workers() as (good, other):
        ill = row(other, "ill")
        ill.health = worker_pb2.WORKER_HEALTH_UNHEALTHY
        async with gateway(store, row(good, "good"), ill) as gate:
            for number in range(8):
                assert await call(gate, f"s-{number}") == 200
            assert len(good.seen) == 8
            await put(store, row(good, "good", worker_pb2.WORKER_STATE_CORDONED))
            assert await call(gate, "cordoned") == 200
            await put(store, row(good, "good", worker_pb2.WORKER_STATE_DRAINING))
            assert await call(gate, "ill") == 200
            assert (len(good.seen), len(other.seen)) == (9, 1)
            await put(store, row(other, "ill", worker_pb2.WORKER_STATE_DRAINING))
            assert await call(gate, "none") == 503


async def test_busy_is_not_dead(store: Store) -> None:
    async with scripted(whole({"error": "busy"}, status=503)) as busy, gateway(store, busy) as gate:
        for _ in range(10):
            assert await call(gate) == 503
    assert len(busy.seen) == 10


async def test_control_hears_when_a_draining_worker_is_idle(store: Store) -> None:
    go = asyncio.Event()
    answer = whole(chat_answer())
    answer.before = [go]
    async with scripted(answer) as worker, gateway(store, worker) as gate:
        running = asyncio.create_task(call(gate))
        await worker.arrived.wait()
        await put(store, row(worker, state=worker_pb2.WORKER_STATE_DRAINING))
        await in_flight(store, {"w-1": 1})
        go.set()
        assert await running == 200
        await in_flight(store, {})


async def test_a_worker_that_has_answered_is_idle_though_the_call_goes_on(store: Store) -> None:
    held = HeldStore(store)
    async with scripted(whole(chat_answer())) as worker, gateway(held.as_store(), worker) as gate:
        running = asyncio.create_task(call(gate))
        await held.reached.wait()
        await in_flight(store, {})
        held.gate.set()
        assert await running == 200


async def in_flight(store: Store, expected: dict[str, int]) -> None:
    while True:
        reports = [{k: v for k, v in r.in_flight.items() if v} for r in await store.live_proxies()]
        if reports == [expected]:
            return
        await asyncio.sleep(0.01)


async def test_connecting_has_a_time_out(store: Store) -> None:
    # A listener whose backlog is full takes no more connections.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for other in (first, second):
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        async with gateway(store, row(url), settings=with_settings(connect_timeout=0.1)) as gate:
            assert await call(gate) == 504
            assert (await gate.trace()).error.code == "timeout_connect"


async def test_configured_workers_are_added_once_and_changed_by_nobody(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker:
        known = worker.url.removeprefix("http://")
        await put(store, row(worker, known, worker_pb2.WORKER_STATE_CORDONED))
        await add_configured(
            store,
            [
                WorkerSetting(worker.url),
                WorkerSetting("https://Host/v1/", weight=2.0),
                WorkerSetting("http://a", worker_id="named"),
            ],
        )
        rows = {w.worker_id: w for w in await store.read(lambda view: view.workers())}
    assert set(rows) == {known, "host:443", "named"}
    assert rows[known].state == worker_pb2.WORKER_STATE_CORDONED
    added = rows["host:443"]
    assert (added.weight, added.state) == (2.0, worker_pb2.WORKER_STATE_ACTIVE)
    assert (added.url, added.api_path) == ("https://Host", "/v1")
