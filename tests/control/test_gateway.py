"""GatewayService."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from rolltrace.v1.gateway_service_pb2 import FlushRequest, GetStatusRequest
from rolltrace.v1.trace_service_pb2 import SubscribeRequest
from rolltrace.v1.worker_pb2 import WORKER_HEALTH_HEALTHY, WORKER_HEALTH_UNKNOWN, Worker
from rolltrace_store import Store
from tests.control.conftest import SETTINGS, Control, controlling
from tests.control.upstream import upstream
from tests.store import samples


async def test_the_status_tells_what_is_there(control: Control, store: Store) -> None:
    await store.append_trace(samples.trace("a"))
    await store.append_trace(samples.trace("b"))
    await store.write(lambda view: view.put_worker(Worker(worker_id="w", health=WORKER_HEALTH_HEALTHY)))
    new = Worker(worker_id="w2", health=WORKER_HEALTH_UNKNOWN)
    await store.write(lambda view: view.put_worker(new))
    call = control.traces.Subscribe(SubscribeRequest())
    await call.read()
    status = await control.gateway.GetStatus(GetStatusRequest())
    call.cancel()
    assert status.epoch == (await store.read(lambda view: view.log_state())).epoch
    assert (status.earliest_sequence, status.head_sequence) == (1, 4)
    assert (status.session_count, status.trace_count) == (2, 2)
    assert (status.worker_count, status.healthy_worker_count) == (2, 1)
    assert status.subscriber_count == 1
    assert 0 < status.store_used_bytes <= status.store_file_bytes <= status.store_limit_bytes == 1 << 30
    assert status.start_time.seconds > 0
    assert status.uptime.nanos > 0 or status.uptime.seconds > 0
    assert status.version == "0.1.0"
    assert (status.proxy_url, status.proxy_healthy) == ("http://127.0.0.1:1", False)


async def test_the_proxy_is_asked_for_its_health(store: Store) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=codes.pop())

    codes = [503, 200]
    async with upstream(answer) as port:
        settings = replace(SETTINGS, host="0.0.0.0", port=port, public_url="https://gateway.example/")
        async with controlling(store, settings) as control:
            status = await control.gateway.GetStatus(GetStatusRequest())
            assert (status.proxy_url, status.proxy_healthy) == ("https://gateway.example", True)
            assert not (await control.gateway.GetStatus(GetStatusRequest())).proxy_healthy


async def test_flush_tells_the_head(control: Control, store: Store) -> None:
    await store.append_trace(samples.trace())
    flushed = await control.gateway.Flush(FlushRequest())
    log = await store.read(lambda view: view.log_state())
    assert (flushed.epoch, flushed.head_sequence) == (log.epoch, 1)
