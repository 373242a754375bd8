"""Calls of sessions that take none, or stop taking any: sealed, being sealed, deleted, at their limits."""

from __future__ import annotations

import asyncio
import uuid

import aiohttp
import openai
import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session, SessionLimits
from rolltrace_proxy.unrecorded import Unrecorded
from rolltrace_store.cutting import NO_BLOBS, Blobs
from rolltrace_store.errors import StoreError, StoreFullError
from rolltrace_store.interface import Commit, Store
from tests.proxy.answers import IDS, chat_answer, chat_chunks, ids
from tests.proxy.gateway import Gateway, HeldStore, begin_seal, gateway, running, seal, with_settings
from tests.proxy.scripted import STALL, Reply, events, scripted, whole
from tests.proxy.test_ends import hang_up_while_waiting, read_until
from tests.proxy.test_server import error_of


class RefusingStore(HeldStore):
    """A store that does not take one trace."""

    def __init__(self, store: Store, refused: str) -> None:
        super().__init__(store)
        self.gate.set()
        self._refused = refused

    async def append_trace(self, trace: pb.Trace, blobs: Blobs = NO_BLOBS) -> Commit:
        if trace.trace_id == self._refused:
            raise StoreError("it cannot be recorded")
        return await super().append_trace(trace, blobs)


GIVE_UP = {"x-should-retry": "false"}


def gives_up(response: aiohttp.ClientResponse) -> bool:
    return response.headers.items() >= GIVE_UP.items()


async def called(gate: Gateway, session_id: str = "s", **fields: object) -> int:
    async with gate.chat(session_id, **fields) as response:
        await response.read()
        return response.status


async def metric(gate: Gateway, line: str) -> bool:
    async with gate.http.get(gate.proxy.url + "/metrics") as response:
        return line in await response.text()


@pytest.mark.parametrize("final", [False, True], ids=["sealing", "sealed"])
async def test_a_sealed_session_takes_no_calls_and_does_not_grow(store: Store, final: bool) -> None:
    await store.write(lambda view: view.create_session(Session(session_id="s")))
    await (seal(store) if final else begin_seal(store))
    async with scripted(Reply()) as worker, gateway(store, worker) as gate:
        async with gate.chat() as response:
            assert (response.status, await error_of(response)) == (409, "session_sealed")
            assert gives_up(response)
        assert await metric(gate, 'rolltrace_refusals_total{fault="session_sealed"} 1.0')
        assert not await gate.traces()
        assert not await running(store)
    assert not worker.seen


async def test_a_deleted_session_takes_no_calls_and_does_not_come_back(store: Store) -> None:
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        assert await called(gate) == 200
        await store.write(lambda view: view.delete_session("s"))
        async with gate.chat() as response:
            assert (response.status, await error_of(response)) == (410, "session_deleted")
            assert gives_up(response)
        assert await store.read(lambda view: view.session("s")) is None
        await store.write(lambda view: view.create_session(Session(session_id="s")))
        assert await called(gate) == 200
    assert len(worker.seen) == 2


async def test_the_sdk_does_not_repeat_a_call_to_a_sealed_session(store: Store) -> None:
    await store.write(lambda view: view.create_session(Session(session_id="s")))
    await seal(store)
    async with scripted(Reply()) as worker, gateway(store, worker) as gate:
        base_url = gate.url("").removesuffix("/")
        async with openai.AsyncOpenAI(base_url=base_url, api_key="x", max_retries=2) as sdk:
            with pytest.raises(openai.ConflictError, match="takes no more calls"):
                await sdk.chat.completions.create(model="m", messages=[])
        assert await metric(gate, 'rolltrace_refusals_total{fault="session_sealed"} 1.0')


async def test_a_refusal_is_not_recorded_in_a_sealed_session(store: Store) -> None:
    await store.write(lambda view: view.create_session(Session(session_id="s")))
    await seal(store)
    async with gateway(store, settings=with_settings(max_body_size=10)) as gate:
        async with gate.chat() as response:
            assert response.status == 413
        assert not await gate.traces()


async def test_a_seal_that_waits_lets_a_call_end(store: Store) -> None:
    go = asyncio.Event()
    answer = whole(chat_answer())
    answer.before = [go]
    async with scripted(answer) as worker, gateway(store, worker) as gate:
        call = asyncio.create_task(called(gate))
        await worker.arrived.wait()
        await begin_seal(store)
        await asyncio.sleep(0.5)  # ticks
        go.set()
        assert await call == 200
        assert not (await gate.trace()).late


async def test_a_seal_that_cancels_cuts_a_call_off(store: Store) -> None:
    async with scripted(Reply(before=[STALL])) as worker, gateway(store, worker) as gate:
        call = asyncio.create_task(called(gate))
        await worker.arrived.wait()
        await begin_seal(store, cancel=True)
        assert await call == 409
        await asyncio.wait_for(worker.hung_up.wait(), 10)
        trace = await gate.trace()
        assert not await running(store)
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_REFUSED, 409)
    assert (trace.error.code, trace.attempt_count) == ("session_sealed", 1)


async def test_a_seal_that_cancels_breaks_a_stream_off_and_keeps_its_tokens(store: Store) -> None:
    reply = events(*chat_chunks()[:3], STALL)
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with gate.chat(stream=True) as response:
            await read_until(response, b'"t1"')
            await begin_seal(store, cancel=True)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        trace = await gate.trace()
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_REFUSED, "session_sealed")
    assert trace.completions[0].token_ids == ids(IDS[:2])


async def test_a_call_is_admitted_with_what_is_known_of_it(store: Store) -> None:
    await store.write(lambda view: view.create_session(Session(session_id="s", labels={"task": "t"})))
    async with scripted(Reply(before=[STALL])) as worker, gateway(store, worker) as gate:
        call = asyncio.create_task(called(gate, stream=True))
        await worker.arrived.wait()
        while not (rows := await running(store)):
            await asyncio.sleep(0.01)
        [row] = rows
        assert (row.trace.endpoint, row.trace.model, row.trace.streamed) == ("chat/completions", "m", True)
        assert dict(row.trace.labels) == {"task": "t"}
        assert row.trace.admit_time.ToNanoseconds() > 0
        assert not row.trace.request_json
        call.cancel()
        trace = await gate.trace()
        assert row.trace.trace_id == trace.trace_id
        assert not await running(store)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_session_deleted_under_a_call_is_a_410_or_a_broken_stream(
    store: Store, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    go = asyncio.Event()
    reply = events(*chat_chunks(), go) if stream else whole(chat_answer())
    reply.before = () if stream else [go]
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        call = asyncio.create_task(called(gate, stream=stream))
        await worker.arrived.wait()
        while not await running(store):
            await asyncio.sleep(0.01)
        await store.write(lambda view: view.delete_session("s"))
        go.set()
        if stream:
            with pytest.raises(aiohttp.ClientPayloadError):
                await call
        else:
            assert await call == 410
        assert await metric(gate, "rolltrace_lost_traces_total 0.0")
        assert await store.read(lambda view: view.session("s")) is None
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_trace_that_the_store_did_not_take_is_named_as_soon_as_it_does(store: Store) -> None:
    held = HeldStore(store)
    held.error = StoreFullError("the disk is full")
    held.gate.set()
    async with scripted(whole(chat_answer())) as worker, gateway(held.as_store(), worker) as gate:
        assert await called(gate) == 507
        while len(await running(store)) != 1:
            await asyncio.sleep(0.01)
        assert await metric(gate, "rolltrace_unrecorded_calls 1.0")
        held.error = None
        trace = await gate.trace()
        assert not await running(store)
        while not await metric(gate, "rolltrace_unrecorded_calls 0.0"):
            await asyncio.sleep(0.05)
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_INTERRUPTED, 507)
    assert (trace.error.code, trace.attempt_count) == ("store_full", 1)
    assert "the disk is full" in trace.error.message
    assert not trace.request_json
    assert [(gap.kind, gap.message) for gap in trace.capture_gaps] == [
        (pb.CAPTURE_GAP_KIND_REQUEST, "the request was not kept"),
        (pb.CAPTURE_GAP_KIND_PROMPT_TOKEN_IDS, "2 prompt ids were not kept"),
        (pb.CAPTURE_GAP_KIND_TOKEN_IDS, "3 sampled ids were not kept"),
    ]


async def test_a_lost_call_whose_agent_has_gone_meanwhile_is_named_too(store: Store) -> None:
    held = HeldStore(store)
    held.error = StoreFullError("the disk is full")
    async with scripted(whole(chat_answer())) as worker, gateway(held.as_store(), worker) as gate:
        agent = asyncio.create_task(called(gate))
        await held.reached.wait()
        agent.cancel()
        await asyncio.wait({agent})
        while not await metric(gate, "rolltrace_calls_in_flight 0.0"):
            await asyncio.sleep(0.05)
        held.gate.set()
        while not await metric(gate, "rolltrace_unrecorded_calls 1.0"):
            await asyncio.sleep(0.05)
        held.error = None
        trace = await gate.trace()
        assert not await running(store)
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_INTERRUPTED, "store_full")


async def test_a_lost_call_of_a_session_that_is_deleted_is_forgotten(store: Store) -> None:
    held = HeldStore(store)
    held.error = StoreFullError("the disk is full")
    held.gate.set()
    async with scripted(whole(chat_answer())) as worker, gateway(held.as_store(), worker) as gate:
        assert await called(gate) == 507
        await store.write(lambda view: view.delete_session("s"))
        held.error = None
        while not await metric(gate, "rolltrace_unrecorded_calls 0.0"):
            await asyncio.sleep(0.05)
        assert await store.read(lambda view: view.session("s")) is None


async def test_a_lost_call_that_is_refused_keeps_no_other_waiting(store: Store) -> None:
    recorded, refused, last = [pb.Trace(trace_id=str(uuid.uuid4()), session_id="s") for _ in range(3)]
    await store.append_trace(recorded)
    unrecorded = Unrecorded(RefusingStore(store, refused.trace_id).as_store(), lambda trace: None)
    for trace in (recorded, refused, last):
        unrecorded.keep(trace)
    for _ in range(2):
        await unrecorded.offer()
    assert len(unrecorded) == 1
    assert await store.read(lambda view: view.trace(last.trace_id)) is not None


async def test_max_calls_of_a_session(store: Store) -> None:
    limits = SessionLimits(max_calls=2)
    await store.write(lambda view: view.create_session(Session(session_id="s", limits=limits)))
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker) as gate:
        assert [await called(gate), await called(gate)] == [200, 200]
        for _ in range(2):
            async with gate.chat() as response:
                assert (response.status, await error_of(response)) == (429, "session_limit")
                assert "max_calls is 2, and it has made 2, with 0 more in flight" in await response.text()
                assert gives_up(response)
        assert await called(gate, session_id="other") == 200
        statuses = [(trace.status, trace.http_status) for trace in await gate.traces()]
    assert statuses[2:] == [(pb.CALL_STATUS_REFUSED, 429)] * 2
    assert len(worker.seen) == 3


async def test_calls_in_flight_count_and_refused_ones_do_not(store: Store) -> None:
    settings = with_settings(session_max_calls=2)
    async with gateway(store, settings=settings) as gate:
        assert [await called(gate) for _ in range(3)] == [503, 503, 503]  # no worker
    async with scripted(Reply(before=[STALL])) as worker, gateway(store, worker, settings=settings) as gate:
        calls = [asyncio.create_task(called(gate)) for _ in range(3)]
        done, pending = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert [call.result() for call in done] == [429]
        assert len(pending) == 2
        for call in pending:
            call.cancel()


async def test_max_tokens_of_every_session(store: Store) -> None:
    settings = with_settings(session_max_tokens=6)
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker, settings=settings) as gate:
        assert [await called(gate) for _ in range(3)] == [200, 200, 429]  # of 5 tokens each


async def test_max_time_of_every_session(store: Store) -> None:
    settings = with_settings(session_max_time=0.2)
    async with scripted(whole(chat_answer())) as worker, gateway(store, worker, settings=settings) as gate:
        assert await called(gate) == 200
        await asyncio.sleep(0.2)
        async with gate.chat() as response:
            assert response.status == 429
            assert "max_time is 0.2 s" in await response.text()


async def test_a_hang_up_while_being_admitted_leaves_one_trace(store: Store) -> None:
    async with scripted(Reply(before=[STALL])) as worker, gateway(store, worker) as gate:
        await hang_up_while_waiting(gate, worker.arrived)
        assert (await gate.trace()).status == pb.CALL_STATUS_CLIENT_CANCELLED
        assert not await running(store)
