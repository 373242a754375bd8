"""Which engine a worker is taken for: from what it answers, when it is asked, and what is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from aiohttp import web

from rolltrace.v1.worker_pb2 import WORKER_HEALTH_HEALTHY, WORKER_HEALTH_UNHEALTHY, Worker
from rolltrace_control.engine_rules import doubts, is_sglang, is_vllm, listing_of, object_of
from rolltrace_demo.worker_server import DemoWorker
from rolltrace_store import Store
from tests.control.conftest import SETTINGS, controlling
from tests.control.subscriber import head
from tests.control.upstream import upstream
from tests.servers import free_port

FAST = replace(SETTINGS, health_interval=0.05, health_timeout=5.0)

Pages = dict[str, object]
"""What a server answers at its paths: JSON, or a status without a body."""

SGLANG_INFO: dict[str, object] = {"tokenizer_path": "m", "internal_states": [], "version": "0.5.23"}


def models(owner: str, *names: str) -> Pages:
    return {"object": "list", "data": [{"id": n, "object": "model", "owned_by": owner} for n in names or "m"]}


SERVERS: list[tuple[Pages, str]] = [
    ({"/v1/models": models("vllm")}, "vllm"),
    ({"/v1/models": models("sglang")}, "sglang"),
    ({"/v1/models": models("llamacpp")}, "llamacpp"),
    ({"/v1/models": models("somebody")}, "openai"),
    ({"/v1/models": models("vllm", "base", "adapter")}, "vllm"),
    ({"/v1/models": {"data": [{"id": "m"}]}}, ""),
    ({"/v1/models": {"data": [{"id": "m"}]}, "/version": {"version": "0.32.0"}}, "vllm"),
    ({"/v1/models": 401, "/version": {"version": "0.32.0"}}, "vllm"),
    ({"/v1/models": 401, "/version": {"version": "1", "git": "x"}}, ""),
    ({"/server_info": SGLANG_INFO}, "sglang"),
    ({"/get_server_info": SGLANG_INFO}, "sglang"),
    ({"/server_info": {"vllm_config": "x"}}, ""),
    ({"/v1/models": 401}, ""),
    ({"/v1/models": {"data": ""}}, ""),
    ({"/v1/models": "a page for people"}, ""),
]


async def put(store: Store, url: str, api_path: str = "/v1", api_key: str = "") -> None:
    worker = Worker(worker_id="w", url=url, api_path=api_path, api_key=api_key)
    await store.write(lambda view: view.put_worker(worker))


async def becomes(store: Store, is_so: Callable[[Worker], bool]) -> Worker:
    async with asyncio.timeout(20):
        while True:
            worker = await store.read(lambda view: view.worker("w"))
            assert worker is not None
            if is_so(worker):
                return worker
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("pages", "engine"), SERVERS)
async def test_a_server_is_what_it_says_it_is(store: Store, pages: Pages, engine: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        page = pages.get(request.path, 200 if request.path == "/health" else 404)
        return web.Response(status=page) if isinstance(page, int) else web.json_response(page)

    async with upstream(answer) as port, controlling(store, FAST):
        await put(store, f"http://127.0.0.1:{port}")
        worker = await becomes(store, lambda worker: worker.health == WORKER_HEALTH_HEALTHY)
        assert worker.detected_engine == engine


async def test_it_is_asked_once_with_its_key_at_its_path_and_again_when_these_change(store: Store) -> None:
    asked: list[str] = []
    checks = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal checks
        if request.path == "/health":
            checks += 1
            return web.Response()
        asked.append(f"{request.path} {request.headers.get('Authorization')}")
        known = request.headers.get("Authorization") == "Bearer right"
        return web.json_response(models("sglang")) if known else web.Response(status=401)

    async with upstream(answer) as port, controlling(store, FAST):
        await put(store, f"http://127.0.0.1:{port}", api_path="/api", api_key="wrong")
        await becomes(store, lambda worker: worker.health == WORKER_HEALTH_HEALTHY)
        paths = ("/api/models", "/version", "/server_info", "/get_server_info")
        assert asked == [f"{path} Bearer wrong" for path in paths]
        before, until = await head(store), checks + 3
        while checks < until:
            await asyncio.sleep(0.01)
        assert (len(asked), await head(store)) == (len(paths), before)
        await put(store, f"http://127.0.0.1:{port}", api_path="/api", api_key="right")
        await becomes(store, lambda worker: worker.detected_engine == "sglang")
        assert asked[len(paths) :] == ["/api/models Bearer right"]


async def test_another_server_at_the_same_url_is_asked_again(store: Store) -> None:
    port = free_port()
    async with controlling(store, FAST):
        async with DemoWorker(port=port):
            await put(store, f"http://127.0.0.1:{port}")
            await becomes(store, lambda worker: worker.detected_engine == "vllm")
        gone = await becomes(store, lambda worker: worker.health == WORKER_HEALTH_UNHEALTHY)
        assert gone.detected_engine == "vllm"

        async def answer(request: web.Request) -> web.Response:
            return web.json_response(models("somebody"))

        runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]  # its type is narrower than its use
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            await becomes(store, lambda worker: worker.detected_engine == "openai")
        finally:
            await runner.cleanup()


async def test_a_server_that_is_not_ready_to_tell_is_asked_again(store: Store) -> None:
    asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal asked
        if request.path != "/v1/models":
            return web.Response(status=200 if request.path == "/health" else 404)
        asked += 1
        return web.Response(status=503) if asked < 3 else web.json_response(models("sglang"))

    async with upstream(answer) as port, controlling(store, FAST):
        await put(store, f"http://127.0.0.1:{port}")
        await becomes(store, lambda worker: worker.detected_engine == "sglang")
        assert asked == 3


async def test_a_server_that_hangs_on_a_question_is_asked_no_other_and_stays_healthy(store: Store) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path != "/health":
            asked.append(request.path)
            await asyncio.sleep(60)
        return web.Response()

    async with upstream(answer) as port, controlling(store, replace(FAST, health_timeout=0.2)):
        await put(store, f"http://127.0.0.1:{port}")
        worker = await becomes(store, lambda worker: worker.health == WORKER_HEALTH_HEALTHY)
        while len(asked) < 3:
            await asyncio.sleep(0.01)
    assert worker.detected_engine == ""
    assert set(asked) == {"/v1/models"}


async def test_what_does_not_fit_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    async with DemoWorker(model="served") as demo, controlling(store, FAST):
        worker = Worker(
            worker_id="w", url=demo.url, api_path="/v1", engine="sglang", model_names=["served", "x"]
        )
        await store.write(lambda view: view.put_worker(worker))
        found = await becomes(store, lambda worker: worker.detected_engine == "vllm")
        assert found.engine == "sglang"
    assert "worker w: its engine is set to sglang, but it says that it is vllm" in caplog.text
    assert "worker w: it is to serve x, but lists served" in caplog.text


def test_nothing_is_doubted_that_is_not_known() -> None:
    assert doubts("", "vllm", [], None) == []
    assert doubts("openai", "", ["m"], None) == []
    assert doubts("vllm", "vllm", ["m"], listing_of(200, json.dumps(models("vllm")).encode())) == []


@pytest.mark.parametrize(
    "body", [b"", b"[" * 100_000, b"[]", b"\xff", b'{"data": {}}', b'{"data": [1]}', b'{"data": null}']
)
def test_no_answer_is_too_strange(body: bytes) -> None:
    assert listing_of(200, body) is None
    assert not is_vllm(object_of(200, body))
    assert not is_sglang(object_of(200, body))


def test_an_error_is_no_listing() -> None:
    assert listing_of(404, json.dumps(models("vllm")).encode()) is None
