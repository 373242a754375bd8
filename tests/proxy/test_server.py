"""The proxy as a server: limits, health, metrics, drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import aiohttp
import pytest
from yarl import URL

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.interface import Store
from tests.proxy.answers import IDS, chat_answer, chat_chunks, ids
from tests.proxy.gateway import CHAT, Gateway, HeldStore, gateway, with_settings
from tests.proxy.scripted import STALL, Reply, events, scripted, whole


async def error_of(response: aiohttp.ClientResponse) -> str:
    return str((await response.json())["error"]["code"])


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_that_is_too_large_is_a_413(store: Store, declared: bool) -> None:
    async with scripted(Reply()) as worker:
        async with gateway(store, worker, settings=with_settings(max_body_size=1000)) as gate:

            async def pieces() -> AsyncGenerator[bytes, None]:
                for _ in range(11):
                    yield b"x" * 100

            data = b"x" * 1001 if declared else pieces()
            async with gate.http.post(gate.url(), data=data) as response:
                assert (response.status, await error_of(response)) == (413, "body_too_large")
            trace = await gate.trace()
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_REFUSED, 413)
    assert not worker.seen


async def test_a_body_of_just_the_limit_is_taken(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker:
        async with gateway(store, worker, settings=with_settings(max_body_size=1000)) as gate:
            async with gate.http.post(gate.url(), data=b"x" * 1000) as response:
                assert response.status == 200


async def test_a_header_that_is_too_large_is_a_431(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker:
        async with gateway(store, worker, settings=with_settings(max_header_size=2000)) as gate:
            headers = {"X-Large": "x" * 1500}
            async with gate.http.post(gate.url(), json=CHAT, headers=headers) as response:
                assert response.status == 200
            headers = {"X-Large": "x" * 2000}
            async with gate.http.post(gate.url(), json=CHAT, headers=headers) as response:
                assert (response.status, await error_of(response)) == (431, "headers_too_large")


async def test_too_many_calls_at_once_are_a_503(store: Store) -> None:
    async with scripted(events(*chat_chunks()[:1], STALL)) as worker:
        async with gateway(store, worker, settings=with_settings(max_calls=1)) as gate:
            async with gate.chat(stream=True):
                async with gate.chat(session_id="other") as response:
                    assert (response.status, await error_of(response)) == (503, "too_many_calls")
                    assert response.headers["Retry-After"]
            assert (await gate.trace("other")).status == pb.CALL_STATUS_REFUSED


class LaggingStore(HeldStore):
    """A store whose queue looks `waiting` bytes long."""

    waiting = 0

    def queued_bytes(self) -> int:
        return self.waiting


async def test_a_call_is_refused_before_it_reaches_a_worker_when_commits_lag_behind(store: Store) -> None:
    lagging = LaggingStore(store)
    lagging.gate.set()
    settings = with_settings(write_queue_size=1 << 20)
    async with scripted(Reply()) as worker, gateway(lagging.as_store(), worker, settings=settings) as gate:
        lagging.waiting = (1 << 19) + 1
        async with gate.chat() as response:
            assert (response.status, await error_of(response)) == (503, "store_busy")
            assert response.headers["Retry-After"]
        assert not worker.seen
        lagging.waiting = 1 << 19
        async with gate.chat() as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/sessions/" + "a" * 401 + "/v1/chat/completions", 400, "invalid_session_id"),
        ("/sessions/a//b/v1/chat/completions", 400, "invalid_session_id"),
        ("/v1/%2e%2e/metrics", 400, "invalid_path"),
        ("/v2/chat/completions", 404, "not_found"),
    ],
)
async def test_paths_that_are_not_served(store: Store, path: str, status: int, code: str) -> None:
    async with scripted(Reply()) as worker, gateway(store, worker) as gate:
        async with gate.http.post(URL(gate.proxy.url + path, encoded=True), json=CHAT) as response:
            assert (response.status, await error_of(response)) == (status, code)
    assert not worker.seen


async def test_health(store: Store) -> None:
    async with scripted(Reply()) as worker, gateway(store, worker) as gate:
        async with gate.http.get(gate.proxy.url + "/health") as response:
            body = await response.json()
        assert response.status == 200
        assert body == {"status": "ok", "calls_in_flight": 0, "workers": 1, "healthy_workers": 1}
        async with gate.http.get(gate.proxy.url + "/health/workers") as response:
            listed = (await response.json())["workers"]
        assert [(w["worker_id"], w["state"], w["usable"]) for w in listed] == [("w-1", "active", True)]
        assert listed[0]["url"] == worker.url


async def test_health_of_a_proxy_whose_store_is_closed(store: Store) -> None:
    async with gateway(store) as gate:
        await store.close()
        async with gate.http.get(gate.proxy.url + "/health") as response:
            assert response.status == 503
            assert (await response.json())["status"] == "store_unavailable"


async def test_no_worker_that_is_well_is_a_503_of_health_workers_alone(store: Store) -> None:
    async with gateway(store) as gate:
        async with gate.http.get(gate.proxy.url + "/health/workers") as response:
            assert (response.status, await response.json()) == (
                503,
                {"workers": [], "healthy": 0, "total": 0},
            )
        async with gate.http.get(gate.proxy.url + "/health") as response:
            assert response.status == 200


async def test_metrics(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        for path in ("chat/completions", "embeddings", "made/up"):
            async with gate.http.post(gate.url(path), json=CHAT) as response:
                await response.read()
        async with gate.http.get(gate.proxy.url + "/metrics") as response:
            text = await response.text()
            assert response.headers["Content-Type"].startswith("text/plain; version=")
        await store.write(lambda view: view.remove_worker("w-1"))
        async with gate.http.get(gate.proxy.url + "/metrics") as response:
            assert "w-1" not in await response.text()
    assert "_created" not in text
    calls = 'rolltrace_calls_total{endpoint="%s",http_status="200",status="completed"} 1.0'
    assert calls % "chat/completions" in text
    assert calls % "other" in text
    assert 'rolltrace_capture_gaps_total{kind="endpoint"} 2.0' in text
    assert 'rolltrace_worker_up{worker_id="w-1"} 1.0' in text
    assert "rolltrace_commit_seconds_count 3.0" in text
    assert 'rolltrace_time_to_first_token_seconds_count{endpoint="chat/completions"} 1.0' in text
    for name in ("calls_in_flight", "store_queued_bytes", "event_loop_lag_seconds_count"):
        assert f"rolltrace_{name} " in text


async def test_a_drain_lets_calls_end(store: Store) -> None:
    go = asyncio.Event()
    answer = whole(chat_answer())
    answer.before = [go]
    async with scripted(answer) as worker, gateway(store, worker) as gate:
        running = asyncio.create_task(status_of(gate))
        await worker.arrived.wait()
        asked = [gate.http.get(gate.proxy.url + "/health") for _ in range(2)]
        for response in await asyncio.gather(*asked):
            response.release()  # the connection stays, for what follows
        draining = asyncio.create_task(gate.proxy.drain())
        async with gate.http.get(gate.proxy.url + "/health") as response:
            assert response.status == 503
            assert (await response.json())["status"] == "draining"
            assert response.headers["Connection"] == "close"
        async with gate.chat(session_id="late") as response:
            assert (response.status, await error_of(response)) == (503, "draining")
        assert not draining.done()
        go.set()
        assert await running == 200
        await draining
        assert (await gate.trace()).status == pb.CALL_STATUS_COMPLETED


async def status_of(gate: Gateway) -> int:
    async with gate.chat() as response:
        await response.read()
        return response.status


async def test_what_outlasts_the_drain_is_interrupted_and_recorded(store: Store) -> None:
    settings = with_settings(drain_timeout=0.05)
    reply = events(*chat_chunks()[:2], STALL)
    async with scripted(reply) as worker, gateway(store, worker, settings=settings) as gate:
        async with gate.chat(stream=True) as response:
            while b'"t0"' not in await response.content.readany():
                pass
            await gate.proxy.drain()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        trace = await gate.trace()
    assert trace.status == pb.CALL_STATUS_INTERRUPTED
    assert trace.completions[0].token_ids == ids(IDS[:1])


async def test_what_is_not_http_is_one_line_of_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with gateway(store) as gate:
        port = URL(gate.proxy.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # as a gRPC client that has the wrong port
        await reader.read()
        writer.close()
        await writer.wait_closed()
    [record] = [record for record in caplog.records if record.name == "rolltrace_proxy.http1.connection"]
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert record.getMessage().endswith("not well formed, from 127.0.0.1")
