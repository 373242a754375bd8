"""Calls that the store turns out not to take: nothing of an answer is seen before that is known."""

from __future__ import annotations

import asyncio

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session, SessionLimits
from rolltrace_store.errors import SealedError, SessionDeletedError, StoreError, StoreFullError
from rolltrace_store.interface import Store
from tests.proxy.answers import chat_chunks
from tests.proxy.gateway import HeldStore, gateway
from tests.proxy.scripted import STALL, Reply, events, scripted
from tests.proxy.test_server import error_of
from tests.proxy.test_sessions import called


class DecidedStore(HeldStore):
    """A store that finds out after `decided` that it can't admit calls; or knows it at once."""

    def __init__(self, store: Store, admission: StoreError, *, at_once: bool = False) -> None:
        super().__init__(store)
        self.gate.set()
        self.admission = admission
        self.at_once = at_once
        self.decided = asyncio.Event()

    def check_room(self) -> None:
        if self.at_once:
            raise self.admission

    def admit(self, trace: pb.Trace, check: int) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._decide())

    async def _decide(self) -> None:
        await self.decided.wait()
        raise self.admission


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFullError("the disk is full"), 507, "store_full"),
        (SealedError("s"), 409, "session_sealed"),
        (SessionDeletedError("s"), 410, "session_deleted"),
    ],
)
async def test_a_call_that_turns_out_not_to_be_admitted_is_cut_off(
    store: Store, error: StoreError, status: int, code: str
) -> None:
    decided = DecidedStore(store, error)
    async with scripted(Reply(before=[STALL])) as worker, gateway(decided.as_store(), worker) as gate:
        call = asyncio.create_task(called(gate))
        await worker.arrived.wait()
        decided.decided.set()
        assert await call == status
        await asyncio.wait_for(worker.hung_up.wait(), 10)
        trace = await gate.trace()
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_REFUSED, code)


async def test_an_agent_sees_nothing_of_a_stream_before_its_call_is_admitted(store: Store) -> None:
    decided = DecidedStore(store, StoreFullError("the disk is full"))
    async with scripted(events(*chat_chunks()[:3], STALL)) as worker:
        async with gateway(decided.as_store(), worker) as gate:
            call = asyncio.create_task(called(gate, stream=True))
            await worker.arrived.wait()
            await asyncio.wait({call}, timeout=0.1)
            assert not call.done()
            decided.decided.set()
            assert await call == 507
        await asyncio.wait_for(worker.hung_up.wait(), 10)


class Unheard(asyncio.Future[None]):
    """Decided, but nobody whom it tells of it has had a turn yet."""

    def add_done_callback(self, *_: object, **__: object) -> None:
        pass


class UnheardStore(DecidedStore):
    def admit(self, trace: pb.Trace, check: int) -> asyncio.Future[None]:
        admission = Unheard()
        admission.set_exception(self.admission)
        return admission


async def test_nor_when_that_was_decided_in_the_moment_that_the_stream_begins(store: Store) -> None:
    decided = UnheardStore(store, StoreFullError("the disk is full"))
    async with scripted(events(*chat_chunks()[:3], STALL)) as worker:
        async with gateway(decided.as_store(), worker) as gate:
            assert await called(gate, stream=True) == 507
        await asyncio.wait_for(worker.hung_up.wait(), 10)


async def test_without_room_no_call_reaches_a_worker(store: Store) -> None:
    full = DecidedStore(store, StoreFullError("the disk is full"), at_once=True)
    async with scripted(Reply()) as worker, gateway(full.as_store(), worker) as gate:
        async with gate.chat() as response:
            assert (response.status, await error_of(response)) == (507, "store_full")
        assert not await gate.traces()
    assert not worker.seen


async def test_a_call_counts_before_its_admission_is_committed(store: Store) -> None:
    limits = SessionLimits(max_calls=1)
    await store.write(lambda view: view.create_session(Session(session_id="s", limits=limits)))
    undecided = DecidedStore(store, StoreFullError("the disk is full"))
    async with scripted(Reply(before=[STALL])) as worker, gateway(undecided.as_store(), worker) as gate:
        first = asyncio.create_task(called(gate))
        await worker.arrived.wait()
        assert await called(gate) == 429
        undecided.decided.set()
        assert await first == 507
