"""Which version of the policy a trace carries."""

from __future__ import annotations

import asyncio

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.worker_pb2 import WORKER_STATE_CORDONED
from rolltrace_proxy import server
from rolltrace_store.interface import Store
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import Gateway, gateway, put, row
from tests.proxy.scripted import scripted, whole
from tests.servers import free_port


async def say(store: Store, version: str) -> None:
    await store.write(lambda view: view.set_policy_version(version))


async def versions(gate: Gateway) -> list[str]:
    return [trace.policy_version for trace in await gate.traces()]


async def call(gate: Gateway) -> None:
    async with gate.chat() as response:
        await response.read()


async def test_each_call_carries_what_was_set_when_it_was_sent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TICK", 3600.0)  # a call hears of it by itself
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        await call(gate)
        for version in ("17", "step-000120", "17"):
            await say(store, version)
            await call(gate)
        assert await versions(gate) == ["", "17", "step-000120", "17"]


async def test_a_call_that_runs_keeps_its_version(store: Store) -> None:
    go = asyncio.Event()
    answer = whole(chat_answer())
    answer.before = [go]
    async with scripted(answer) as worker, gateway(store, worker) as gate:
        await say(store, "1")
        running = asyncio.create_task(call(gate))
        await worker.arrived.wait()
        await say(store, "2")
        async with gate.http.get(f"{gate.proxy.url}/metrics") as response:  # it takes in the news
            await response.read()
        assert gate.proxy.shared.workers.policy_version == "2"
        go.set()
        await running
        await call(gate)
        assert await versions(gate) == ["1", "2"]


async def test_what_no_worker_got_has_no_version(store: Store) -> None:
    await say(store, "1")
    async with gateway(store) as gate:
        await call(gate)
        trace = await gate.trace()
    assert (trace.status, trace.policy_version) == (pb.CALL_STATUS_REFUSED, "")


async def test_it_is_kept_with_errors_too(store: Store) -> None:
    await say(store, "1")
    async with gateway(store, row(f"http://127.0.0.1:{free_port()}")) as gate:
        await call(gate)
        trace = await gate.trace()
    assert (trace.status, trace.policy_version) == (pb.CALL_STATUS_UPSTREAM_ERROR, "1")


async def test_a_change_of_workers_leaves_it(store: Store) -> None:
    await say(store, "1")
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        await call(gate)
        await put(store, row("http://127.0.0.1:1", "other", WORKER_STATE_CORDONED))
        await call(gate)
        assert await versions(gate) == ["1", "1"]
