"""Calls that do not end well: what the agent sees, what is recorded, and in which order."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import aiohttp
import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.http1.inbound import InboundRequest
from rolltrace_store.errors import StoreError, StoreFullError
from rolltrace_store.interface import Store
from tests.proxy.answers import IDS, chat_answer, chat_chunks, ids
from tests.proxy.gateway import Gateway, HeldStore, gateway, row, with_settings
from tests.proxy.scripted import DONE, JSON, RESET, SSE, STALL, Reply, events, on_the_wire, scripted, whole
from tests.proxy.test_forward import said_to


async def hang_up_while_waiting(gate: Gateway, arrived: asyncio.Event) -> None:
    task = asyncio.create_task(_get(gate))
    await arrived.wait()
    task.cancel()
    await asyncio.wait({task})


async def _get(gate: Gateway, *, stream: bool = False) -> bytes:
    async with gate.chat(stream=stream) as response:
        return await response.read()


async def read_until(response: aiohttp.ClientResponse, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += await response.content.readany()
    return seen


async def test_a_hang_up_in_a_stream_reaches_the_worker_and_keeps_the_tokens(store: Store) -> None:
    reply = events(*chat_chunks()[:3], STALL)
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.chat(stream=True) as response:
            await read_until(response, b'"t1"')
            response.close()
            left = time.monotonic()
        await asyncio.wait_for(worker.hung_up.wait(), 5)
        assert time.monotonic() - left < 0.2
        trace = await gate.trace()
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_CLIENT_CANCELLED, 200)
    assert trace.error.code == "client_disconnected"
    assert trace.completions[0].token_ids == ids(IDS[:2])


async def test_a_hang_up_while_nothing_has_come_reaches_the_worker(store: Store) -> None:
    stalls = Reply(before=[STALL])
    async with scripted(stalls) as worker, gateway(store, worker) as gate:
        await hang_up_while_waiting(gate, worker.arrived)
        await asyncio.wait_for(worker.hung_up.wait(), 5)
        trace = await gate.trace()
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_CLIENT_CANCELLED, 0)
    assert not trace.completions


async def test_a_hang_up_in_the_middle_of_a_whole_answer(store: Store) -> None:
    body = b'{"choices": ['
    reply = Reply([body, STALL], headers=[*JSON.items(), ("Content-Length", "1000")])
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        await hang_up_while_waiting(gate, worker.arrived)
        await asyncio.wait_for(worker.hung_up.wait(), 5)
        assert (await gate.trace()).status == pb.CALL_STATUS_CLIENT_CANCELLED


async def test_a_whole_answer_that_is_cut_off_keeps_what_came(store: Store) -> None:
    body = b'{"choices": ['
    reply = Reply([body, STALL], headers=[*JSON.items(), ("Content-Length", "1000")])
    settings = with_settings(idle_timeout=0.2)
    async with scripted(reply) as worker, gateway(store, worker, settings=settings) as gate:
        async with gate.chat() as response:
            assert response.status == 504
        trace = await gate.trace()
    assert (trace.error.code, trace.response_json) == ("timeout_idle", body)


async def test_a_whole_answer_that_is_too_large_goes_on_as_it_comes(store: Store) -> None:
    go, body = asyncio.Event(), json.dumps(chat_answer()).encode()
    length = ("Content-Length", str(2 * len(body)))
    reply = Reply([body, go, body], headers=[*JSON.items(), length])
    held, settings = HeldStore(store), with_settings(max_answer_size=len(body) - 1)
    async with scripted(reply) as worker:
        async with gateway(held.as_store(), worker, settings=settings) as gate, gate.chat() as response:
            assert await response.content.readexactly(len(body)) == body
            go.set()
            assert await response.content.readexactly(len(body)) == body
            await held.reached.wait()
            end = asyncio.create_task(response.content.readany())
            await asyncio.wait({end}, timeout=0.05)
            assert not end.done()
            held.gate.set()
            assert await end == b""
            trace = await gate.trace()
    assert (trace.status, trace.response_json) == (pb.CALL_STATUS_COMPLETED, b"")
    assert [gap.kind for gap in trace.capture_gaps] == [pb.CAPTURE_GAP_KIND_TOO_LARGE]


async def test_a_whole_answer_of_just_the_limit_is_kept(store: Store) -> None:
    settings = with_settings(max_answer_size=len(json.dumps(chat_answer())))
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker, settings=settings) as gate:
        await _get(gate)
        assert not (await gate.trace()).capture_gaps


async def test_a_hang_up_during_the_commit_leaves_one_completed_record(store: Store) -> None:
    held = HeldStore(store)
    async with scripted(whole(chat_answer())) as worker, gateway(held.as_store(), worker) as gate:
        await hang_up_while_waiting(gate, held.reached)
        held.gate.set()
        trace = await gate.trace()
    assert trace.status == pb.CALL_STATUS_COMPLETED


async def test_a_worker_that_dies_in_a_stream_breaks_the_agents_off(store: Store) -> None:
    die = asyncio.Event()
    reply = events(*chat_chunks()[:3], die, RESET)
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.chat(stream=True) as response:
            await read_until(response, b'"t1"')
            die.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        trace = await gate.trace()
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_UPSTREAM_ERROR, 200)
    assert trace.error.code == "upstream_disconnected"
    assert trace.completions[0].token_ids == ids(IDS[:2])
    assert len(worker.seen) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(before=[RESET]),
        Reply([b'{"choices"', RESET], headers=[*JSON.items(), ("Content-Length", "1000")]),
    ],
    ids=["before the header", "in the body"],
)
async def test_a_worker_that_dies_before_the_agent_saw_anything_is_a_502(store: Store, reply: Reply) -> None:
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.chat() as response:
            error = (await response.json())["error"]
        trace = await gate.trace()
    assert response.status == trace.http_status == 502
    assert error["code"] == trace.error.code == "upstream_disconnected"
    assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR
    assert len(worker.seen) == 1, "the model must not run twice"


@pytest.mark.parametrize(
    ("reply", "setting", "code"),
    [
        (Reply(before=[STALL]), "first_byte_timeout", "timeout_first_byte"),
        (Reply([STALL], headers=list(JSON.items())), "first_byte_timeout", "timeout_first_byte"),
        (Reply([b"{", STALL], headers=list(JSON.items())), "idle_timeout", "timeout_idle"),
        (Reply([b"{", STALL], headers=list(JSON.items())), "total_timeout", "timeout_total"),
        (Reply(before=[STALL]), "total_timeout", "timeout_total"),
    ],
)
async def test_a_time_out_is_a_504(store: Store, reply: Reply, setting: str, code: str) -> None:
    settings = with_settings(**{setting: 0.1})
    async with scripted(reply) as worker, gateway(store, worker, settings=settings) as gate:
        async with gate.chat() as response:
            error = (await response.json())["error"]
        await asyncio.wait_for(worker.hung_up.wait(), 5)
        trace = await gate.trace()
    assert response.status == trace.http_status == 504
    assert error["code"] == trace.error.code == code
    assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR


async def test_a_stream_that_stalls_is_broken_off(store: Store) -> None:
    reply = events(*chat_chunks()[:2], STALL)
    settings = with_settings(idle_timeout=0.1)
    async with scripted(reply) as worker, gateway(store, worker, settings=settings) as gate:
        async with gate.chat(stream=True) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        trace = await gate.trace()
    assert (trace.http_status, trace.error.code) == (200, "timeout_idle")
    assert trace.completions[0].token_ids == ids(IDS[:1])


async def test_an_error_in_a_stream_is_recorded_as_one(store: Store) -> None:
    error = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
    reply = events(*chat_chunks()[:2], error, DONE)
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        assert error in await _get(gate, stream=True)
        trace = await gate.trace()
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_UPSTREAM_ERROR, "upstream_error")
    assert "out of memory" in trace.error.message


async def the_whole_answer_waits(gate: Gateway, held: HeldStore) -> None:
    task = asyncio.create_task(_get(gate))
    await held.reached.wait()
    await asyncio.wait({task}, timeout=0.05)
    assert not task.done()
    held.gate.set()
    assert b"answer 0" in await task


async def the_stream_waits(gate: Gateway, held: HeldStore) -> None:
    async with gate.chat(stream=True) as response:
        seen = await read_until(response, b'"t2"')
        await held.reached.wait()
        more = asyncio.create_task(response.content.readany())
        await asyncio.wait({more}, timeout=0.05)
        assert not more.done()
        assert b"[DONE]" not in seen
        held.gate.set()
        assert await more == DONE
        assert response.content.at_eof() or await response.content.readany() == b""


@pytest.mark.parametrize("check", [the_whole_answer_waits, the_stream_waits])
async def test_durable_before_done(
    store: Store, check: Callable[[Gateway, HeldStore], Awaitable[None]]
) -> None:
    held = HeldStore(store)
    reply = whole(chat_answer()) if check is the_whole_answer_waits else events(*chat_chunks(), DONE)
    async with scripted(reply) as worker, gateway(held.as_store(), worker) as gate:
        await check(gate, held)
        assert (await gate.trace()).status == pb.CALL_STATUS_COMPLETED


async def test_a_stream_without_done_waits_with_its_end(store: Store) -> None:
    held = HeldStore(store)
    reply = Reply([b"data: {}\n\n"], headers=list(SSE.items()))
    async with scripted(reply) as worker, gateway(held.as_store(), worker) as gate:
        async with gate.http.post(gate.url("audio/speech"), json={"stream": True}) as response:
            assert await response.content.readany() == b"data: {}\n\n"
            await held.reached.wait()
            end = asyncio.create_task(response.content.readany())
            await asyncio.wait({end}, timeout=0.05)
            assert not end.done()
            held.gate.set()
            assert await end == b""


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(StoreFullError("the disk is full"), 507, "store_full"), (StoreError("broken"), 503, "store_failed")],
)
async def test_what_is_not_recorded_is_not_answered(
    store: Store, error: StoreError, status: int, code: str
) -> None:
    held = HeldStore(store)
    held.error = error
    held.gate.set()
    async with scripted(whole(chat_answer())) as worker, gateway(held.as_store(), worker) as gate:
        async with gate.chat() as response:
            body = (await response.json())["error"]
    assert (response.status, body["code"]) == (status, code)
    assert str(error) in body["message"]


async def test_a_stream_that_is_not_recorded_has_no_clean_end(store: Store) -> None:
    held = HeldStore(store)
    held.error = StoreFullError("the disk is full")
    held.gate.set()
    async with scripted(events(*chat_chunks(), DONE)) as worker, gateway(held.as_store(), worker) as gate:
        async with gate.chat(stream=True) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_a_hang_up_while_the_request_is_still_coming(store: Store) -> None:
    sending = asyncio.Event()

    async def body() -> AsyncGenerator[bytes, None]:
        yield b"{"
        sending.set()
        await asyncio.Event().wait()

    async with scripted(Reply()) as worker, gateway(store, worker) as gate:
        task = asyncio.create_task(post(gate, body()))
        await sending.wait()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        trace = await gate.trace()
    assert trace.status == pb.CALL_STATUS_CLIENT_CANCELLED
    assert not worker.seen


async def post(gate: Gateway, data: AsyncGenerator[bytes, None]) -> None:
    async with gate.http.post(gate.url(), data=data) as response:
        await response.read()


async def test_an_agent_that_waits_for_100_continue_gets_it(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        async with gate.http.post(gate.url(), json={"messages": []}, expect100=True) as response:
            assert response.status == 200
    assert "Expect" not in worker.seen[0].headers


async def test_a_request_that_comes_too_slowly_is_refused_and_recorded(store: Store) -> None:
    async with gateway(store, settings=with_settings(total_timeout=0.05)) as gate:
        path = gate.url().removeprefix(gate.proxy.url)
        answer = await said_to(gate, f"POST {path} HTTP/1.0\r\nContent-Length: 9\r\n\r\n{{")
        trace = await gate.trace()
    assert answer.startswith(b"HTTP/1.0 408 ")
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_REFUSED, "request_timeout")


async def test_an_error_whose_reason_is_not_utf_8_is_recorded(store: Store) -> None:
    head = b"HTTP/1.1 500 \xfcber\r\nContent-Type: text/event-stream\r\n\r\n"
    async with on_the_wire(head) as url, gateway(store, row(url)) as gate:
        async with gate.chat() as response:
            assert (response.status, await response.read()) == (500, b"")
        trace = await gate.trace()
    assert trace.error.message == "The worker answered: 500 ?ber"


async def test_a_slow_agent_costs_no_tokens_when_the_worker_dies(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, write = asyncio.Event(), InboundRequest.write

    async def slowly(agent: InboundRequest, data: bytes) -> None:
        writing.set()
        await asyncio.sleep(0.05)
        await write(agent, data)

    monkeypatch.setattr(InboundRequest, "write", slowly)
    said = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chat_chunks()[:3]]
    first, *others = [b"%x\r\n%b\r\n" % (len(event), event) for event in said]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with on_the_wire(head, first, writing, *others) as url, gateway(store, row(url)) as gate:
        async with gate.chat(stream=True) as response:
            assert b'"t1"' in await read_until(response, b'"t1"')
        trace = await gate.trace()
    assert trace.error.code == "upstream_disconnected"
    assert trace.completions[0].token_ids == ids(IDS[:2])
