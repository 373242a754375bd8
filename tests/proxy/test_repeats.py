"""Repeats that an SDK marks: one call, run once, whichever proxy they reach."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import openai
import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.http1.inbound import InboundRequest
from rolltrace_proxy.http1.interface import Fields
from rolltrace_proxy.server import serve
from rolltrace_store.interface import Store
from tests.proxy import gateway as gateways
from tests.proxy.answers import chat_answer, chat_chunks
from tests.proxy.gateway import CHAT, Gateway, gateway, running, seal, with_settings
from tests.proxy.scripted import DONE, STALL, Reply, Seen, events, scripted, whole
from tests.proxy.test_process import ready, start
from tests.servers import free_port

MARKED = {"x-stainless-retry-count": "1"}
TRACE_ID, REPLAYED = "x-rolltrace-trace-id", "x-rolltrace-replayed"


async def post(
    gate: Gateway, *, marked: bool = True, url: str = "", **fields: int
) -> tuple[aiohttp.ClientResponse, bytes]:
    headers = MARKED if marked else {}
    async with gate.http.post(url or gate.url(), json={**CHAT, **fields}, headers=headers) as response:
        return response, await response.read()


async def rows_of(store: Store, count: int = 1) -> None:
    while len(await running(store)) < count:
        await asyncio.sleep(0.01)


async def joined(gate: Gateway, count: int = 1) -> None:
    """As soon as so many repeats wait."""
    while True:
        async with gate.http.get(gate.proxy.url + "/metrics") as response:
            if f"rolltrace_joins_total {count}.0" in await response.text():
                return
        await asyncio.sleep(0.01)


async def test_a_marked_repeat_gets_the_recorded_answer(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        first, said = await post(gate, marked=False)
        again, replayed = await post(gate)
        assert replayed == said
        assert (again.status, again.headers[REPLAYED]) == (200, "true")
        assert again.headers[TRACE_ID] == first.headers[TRACE_ID]
        assert again.headers["x-rolltrace-session-id"] == "s"
        assert again.headers["Content-Type"] == "application/json"
        assert REPLAYED not in first.headers
        trace = await gate.trace()
        async with gate.http.get(gate.proxy.url + "/metrics") as response:
            assert "rolltrace_replays_total 1.0" in await response.text()
    assert (trace.replay_count, trace.retry_number) == (1, 0)
    assert len(worker.seen) == 1


async def test_an_unmarked_repeat_is_another_call(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        await post(gate, marked=False)
        await post(gate, marked=False)
        assert [trace.replay_count for trace in await gate.traces()] == [0, 0]
    assert len(worker.seen) == 2


@pytest.mark.parametrize(
    ("path", "session_id", "more"),
    [
        ("chat/completions", "other", {}),
        ("completions", "s", {}),
        ("chat/completions", "s", {"seed": 1}),
    ],
)
async def test_only_the_same_request_is_a_repeat(
    store: Store, path: str, session_id: str, more: dict[str, int]
) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        await post(gate, marked=False)
        response, _ = await post(gate, marked=True, url=gate.url(path, session_id), **more)
    assert REPLAYED not in response.headers
    assert len(worker.seen) == 2


@pytest.mark.parametrize("n", [1, 2])
async def test_the_sdk_reads_a_replayed_stream(store: Store, n: int) -> None:
    chunks = [chunk for place in range(n) for chunk in with_index(chat_chunks(), place)]
    async with scripted(events(*chunks, DONE)) as worker, gateway(store, worker) as gate:
        base_url = gate.url("").removesuffix("/")
        async with openai.AsyncOpenAI(base_url=base_url, api_key="x") as sdk:
            texts: list[str] = []
            for headers in ({}, MARKED):
                said = ["" for _ in range(n)]
                reasons: list[str] = []
                stream = await sdk.chat.completions.create(
                    model="m", messages=[], n=n, stream=True, extra_headers=headers
                )
                async for chunk in stream:
                    for choice in chunk.choices:
                        said[choice.index] += choice.delta.content or ""
                        reasons += [choice.finish_reason] if choice.finish_reason else []
                        assert not getattr(choice, "token_ids", None)
                assert reasons == ["stop"] * n
                texts.append("|".join(said))
        assert (await gate.trace()).replay_count == 1
    assert texts[0] == texts[1] == "|".join(["t0t1t2"] * n)
    assert len(worker.seen) == 1


def with_index(chunks: list[dict[str, object]], index: int) -> list[dict[str, object]]:
    text = json.dumps(chunks).replace('"index": 0', f'"index": {index}')
    made: list[dict[str, object]] = json.loads(text)
    return made


async def test_the_sdks_own_retry_runs_the_model_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is recorded and lost on its way: the SDK repeats the call by itself."""
    reply, lost = InboundRequest.reply, asyncio.Event()

    async def losing(self: InboundRequest, status: int, reason: str, fields: Fields, body: bytes) -> None:
        if not lost.is_set():
            lost.set()
            self.break_off()
            raise ConnectionResetError
        await reply(self, status, reason, fields, body)

    monkeypatch.setattr(InboundRequest, "reply", losing)
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        base_url = gate.url("").removesuffix("/")
        async with openai.AsyncOpenAI(base_url=base_url, api_key="x", timeout=2.0) as sdk:
            answer = await sdk.chat.completions.create(model="m", messages=[])
        assert lost.is_set()
        trace = await gate.trace()
    assert answer.choices[0].message.content == "answer 0"
    assert (trace.status, trace.replay_count) == (pb.CALL_STATUS_COMPLETED, 1)
    assert len(worker.seen) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_marked_repeat_joins_the_call_that_runs(store: Store, stream: bool) -> None:
    go = asyncio.Event()
    reply = events(go, *chat_chunks(), DONE) if stream else whole(chat_answer())
    reply.before = () if stream else [go]
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        first = asyncio.create_task(post(gate, marked=False, stream=stream))
        await rows_of(store)
        repeat = asyncio.create_task(post(gate, stream=stream))
        await joined(gate)
        go.set()
        (one, _), (other, said) = await first, await repeat
        assert other.headers[TRACE_ID] == one.headers[TRACE_ID]
        assert b"t1" in said if stream else b"answer 0" in said
        assert (await gate.trace()).replay_count == 1
    assert len(worker.seen) == 1


async def test_a_repeat_joins_a_call_of_another_proxy(store: Store) -> None:
    go = asyncio.Event()
    answer = whole(chat_answer())
    answer.before = [go]
    async with scripted(answer) as worker, gateway(store, worker) as gate:
        async with serve(gateways.SETTINGS, store) as second:
            first = asyncio.create_task(post(gate, marked=False))
            await rows_of(store)
            url = gate.url().replace(gate.proxy.url, second.url)
            repeat = asyncio.create_task(post(gate, url=url))
            await asyncio.sleep(0.1)
            go.set()
            (_, said), (response, again) = await first, await repeat
    assert (again, response.headers[REPLAYED]) == (said, "true")
    assert len(worker.seen) == 1


async def test_a_repeat_of_a_call_that_failed_runs(store: Store) -> None:
    replies = iter([whole({"error": {"message": "busy"}}, 500), whole(chat_answer())])
    async with scripted(lambda _: next(replies)) as worker, gateway(store, worker) as gate:
        assert (await post(gate, marked=False))[0].status == 500
        assert (await post(gate))[0].status == 200
        first, second = await gate.traces()
    assert (second.retry_number, second.retried_trace_id) == (1, first.trace_id)
    assert first.replay_count == 0


async def test_a_repeat_of_a_call_that_never_came_runs(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        assert (await post(gate))[0].status == 200
        trace = await gate.trace()
    assert (trace.retry_number, trace.retried_trace_id) == (1, "")


async def test_a_repeat_runs_when_the_call_that_it_joined_fails(store: Store) -> None:
    def reply(_: Seen) -> Reply:
        return Reply(before=[STALL]) if len(worker.seen) == 1 else whole(chat_answer())

    async with scripted(reply) as worker, gateway(store, worker) as gate:
        first = asyncio.create_task(post(gate, marked=False))
        await rows_of(store)
        repeat = asyncio.create_task(post(gate))
        await joined(gate)
        first.cancel()
        assert (await repeat)[0].status == 200
        one, other = await gate.traces()
    assert one.status == pb.CALL_STATUS_CLIENT_CANCELLED
    assert other.retried_trace_id == one.trace_id


async def test_only_the_bytes_decide_whether_a_call_is_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same_for_all(_: bytes) -> int:
        return 7

    monkeypatch.setattr("rolltrace_proxy.forward.zlib", SimpleNamespace(crc32=same_for_all))
    go = asyncio.Event()

    def reply(_: Seen) -> Reply:
        answer = whole(chat_answer())
        answer.before = [go]
        return answer

    async with scripted(reply) as worker, gateway(store, worker) as gate:
        first = asyncio.create_task(post(gate, marked=False))
        await rows_of(store)
        repeat = asyncio.create_task(post(gate, seed=1))
        await joined(gate)
        go.set()
        await first
        assert REPLAYED not in (await repeat)[0].headers
        assert [trace.retried_trace_id for trace in await gate.traces()] == ["", ""]
    assert len(worker.seen) == 2


async def test_an_agent_that_waits_may_hang_up(store: Store) -> None:
    go = asyncio.Event()
    answer = whole(chat_answer())
    answer.before = [go]
    async with scripted(answer) as worker, gateway(store, worker) as gate:
        first = asyncio.create_task(post(gate, marked=False))
        await rows_of(store)
        repeat = asyncio.create_task(post(gate))
        await joined(gate)
        repeat.cancel()
        while len(gate.proxy.shared.tasks) > 1:
            await asyncio.sleep(0.01)
        go.set()
        assert (await first)[0].status == 200
        assert (await gate.trace()).replay_count == 0


async def test_waiting_has_a_time_out_and_leaves_no_trace(store: Store) -> None:
    async with scripted(Reply(before=[STALL])) as worker, gateway(store, worker) as gate:
        first = asyncio.create_task(post(gate, marked=False))
        await rows_of(store)
        async with serve(with_settings(total_timeout=0.2), store) as second:
            response, said = await post(gate, url=gate.url().replace(gate.proxy.url, second.url))
            assert (response.status, json.loads(said)["error"]["code"]) == (504, "timeout_total")
        assert not await gate.traces()
        first.cancel()
        await gate.trace()


async def test_a_repeat_of_a_call_to_a_sealed_session_is_a_409(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        await post(gate, marked=False)
        await seal(store)
        assert (await post(gate))[0].status == 409


async def test_a_repeat_is_not_counted_against_a_limit(store: Store) -> None:
    settings = with_settings(session_max_calls=1)
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker, settings=settings) as gate:
        await post(gate, marked=False)
        assert [(await post(gate))[0].status for _ in range(2)] == [200, 200]
        assert (await post(gate, seed=1))[0].status == 429


async def test_proxies_of_their_own_share_a_call_and_one_takes_over_when_the_other_dies(
    tmp_path: Path,
) -> None:
    go = asyncio.Event()

    async with scripted(events(go, *chat_chunks(), DONE)) as worker, aiohttp.ClientSession() as http:
        ports = [free_port(), free_port()]
        proxies = [start(tmp_path, port, "--worker", worker.url) for port in ports]
        for proxy in proxies:
            await asyncio.to_thread(ready, proxy)

        async def call(port: int, session_id: str, *, marked: bool) -> tuple[str, bytes]:
            url = f"http://127.0.0.1:{port}/sessions/{session_id}/v1/chat/completions"
            body = {**CHAT, "stream": True}
            async with http.post(url, json=body, headers=MARKED if marked else {}) as response:
                return response.headers.get(REPLAYED, ""), await response.read()

        async def both(session_id: str) -> list[asyncio.Task[tuple[str, bytes]]]:
            worker.arrived.clear()
            first = asyncio.create_task(call(ports[0], session_id, marked=False))
            await worker.arrived.wait()
            await asyncio.sleep(0.2)  # its admission is committed
            return [first, asyncio.create_task(call(ports[1], session_id, marked=True))]

        first, repeat = await both("shared")
        lost, dead = await both("left")
        await asyncio.sleep(0.3)
        assert len(worker.seen) == 2, "the repeats wait"
        proxies[0].kill()
        for call_of_the_dead in (first, lost):
            with pytest.raises(aiohttp.ClientPayloadError):
                await call_of_the_dead
        go.set()
        assert b"t2" in (await repeat)[1]
        assert b"t2" in (await dead)[1]
        assert len(worker.seen) == 4
        for proxy in proxies:
            proxy.terminate()
            await asyncio.to_thread(proxy.communicate, timeout=30)
