"""Active health checks: what they decide, and what they write."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from aiohttp import web

from rolltrace.v1 import worker_pb2
from rolltrace.v1.worker_pb2 import (
    WORKER_HEALTH_HEALTHY,
    WORKER_HEALTH_UNHEALTHY,
    WORKER_HEALTH_UNKNOWN,
    Worker,
)
from rolltrace_control.health_rules import Checks, Outcome, outcome_of_status
from rolltrace_store import Store
from tests.control.conftest import SETTINGS, controlling
from tests.control.subscriber import head
from tests.control.upstream import upstream
from tests.servers import free_port

OK, SLOW, FAILED = Outcome.ANSWERED, Outcome.SLOW, Outcome.FAILED
FAST = replace(SETTINGS, health_interval=0.05, health_timeout=0.1)


def health_after(outcomes: Sequence[Outcome]) -> worker_pb2.WorkerHealth.ValueType:
    checks, health = Checks(), WORKER_HEALTH_UNKNOWN
    for outcome in outcomes:
        checks = checks.after(outcome)
        health = checks.health(health)
    return health


@pytest.mark.parametrize(
    ("outcomes", "health"),
    [
        ([OK], WORKER_HEALTH_HEALTHY),
        ([FAILED], WORKER_HEALTH_UNKNOWN),
        ([OK, FAILED], WORKER_HEALTH_HEALTHY),
        ([OK, FAILED, FAILED], WORKER_HEALTH_UNHEALTHY),
        ([OK, FAILED, OK, FAILED], WORKER_HEALTH_HEALTHY),
        ([FAILED, FAILED, OK], WORKER_HEALTH_HEALTHY),
        ([FAILED, FAILED, SLOW], WORKER_HEALTH_UNHEALTHY),
        ([OK, SLOW, SLOW], WORKER_HEALTH_HEALTHY),
        ([OK, SLOW, SLOW, SLOW], WORKER_HEALTH_UNHEALTHY),
        ([OK, SLOW, FAILED], WORKER_HEALTH_HEALTHY),
        ([OK, SLOW, SLOW, OK, SLOW], WORKER_HEALTH_HEALTHY),
    ],
)
def test_one_failure_is_not_the_end(
    outcomes: list[Outcome], health: worker_pb2.WorkerHealth.ValueType
) -> None:
    assert health_after(outcomes) == health


def test_any_answer_but_a_fault_of_the_server_is_a_sign_of_life() -> None:
    found = [outcome_of_status(status) for status in (200, 204, 401, 404, 500, 503)]
    assert found == [OK, OK, OK, OK, FAILED, FAILED]


async def becomes(store: Store, is_so: Callable[[Worker], bool]) -> Worker:
    async with asyncio.timeout(20):
        while True:
            worker = await store.read(lambda view: view.worker("w"))
            assert worker is not None
            if is_so(worker):
                return worker
            await asyncio.sleep(0.01)


def is_in(health: worker_pb2.WorkerHealth.ValueType) -> Callable[[Worker], bool]:
    return lambda worker: worker.health == health


async def put(store: Store, url: str) -> None:
    worker = Worker(worker_id="w", url=url, api_key="k", health=WORKER_HEALTH_UNKNOWN)
    await store.write(lambda view: view.put_worker(worker))


async def test_health_follows_the_worker_and_only_changes_are_written(store: Store) -> None:
    status = 200
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/health":
            asked.append(request.path)
            return web.Response(status=status)
        return web.Response(status=404)

    async with upstream(answer) as port, controlling(store, FAST):
        await put(store, f"http://127.0.0.1:{port}")
        healthy = await becomes(store, is_in(WORKER_HEALTH_HEALTHY))
        assert (healthy.health_message, healthy.api_key) == ("", "k")
        assert healthy.health_change_time.seconds > 0
        before, checks = await head(store), len(asked)
        while len(asked) < checks + 4:
            await asyncio.sleep(0.01)
        assert await head(store) == before
        status = 503
        sick = await becomes(store, is_in(WORKER_HEALTH_UNHEALTHY))
        assert sick.health_message == "/health answered 503"
        status = 200
        assert (await becomes(store, is_in(WORKER_HEALTH_HEALTHY))).health_message == ""
        assert await head(store) == before + 2


async def test_a_worker_that_refuses_connections_is_unhealthy(store: Store) -> None:
    async with controlling(store, FAST):
        await put(store, f"http://127.0.0.1:{free_port()}")
        worker = await becomes(store, is_in(WORKER_HEALTH_UNHEALTHY))
        assert "onnect" in worker.health_message


async def test_a_worker_that_does_not_accept_is_unhealthy(store: Store) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port: int = listener.getsockname()[1]
        for _ in range(4):  # the kernel accepts one or two, and lets the others wait
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        async with controlling(store, FAST):
            await put(store, f"http://127.0.0.1:{port}")
            worker = await becomes(store, is_in(WORKER_HEALTH_UNHEALTHY))
    assert worker.health_message == "no connection in time"


async def test_a_worker_that_never_answers_is_unhealthy(store: Store) -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async with upstream(answer) as port, controlling(store, FAST):
        await put(store, f"http://127.0.0.1:{port}")
        worker = await becomes(store, is_in(WORKER_HEALTH_UNHEALTHY))
        assert "longer than 0.1 s" in worker.health_message


async def test_a_worker_that_is_removed_is_not_brought_back(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        asked.set()
        await go_on.wait()
        return web.Response()

    async with upstream(answer) as port, controlling(store, replace(FAST, health_timeout=10.0)):
        await put(store, f"http://127.0.0.1:{port}")
        await asked.wait()
        await store.write(lambda view: view.remove_worker("w"))
        before = await head(store)
        go_on.set()
        await asyncio.sleep(0.2)
        assert await store.read(lambda view: list(view.workers())) == []
        assert "cannot be written" not in caplog.text
        assert await head(store) == before
