"""The promises of Subscribe under faults: hang-ups, deletes, restarts, receivers that do not read."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from rolltrace.v1 import trace_pb2
from rolltrace.v1.event_pb2 import EVENT_KIND_SESSION_DELETED, EVENT_KIND_TRACE
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.session_service_pb2 import DeleteSessionRequest
from rolltrace.v1.trace_service_pb2 import EventFilter, SubscribeRequest
from rolltrace_control import batches
from rolltrace_control.server import serve
from rolltrace_settings.settings import Settings
from rolltrace_store import NotFoundError, Store, WriteView, open_store
from tests import promises
from tests.control.conftest import OPTIONS, SETTINGS, Control, connected, controlling
from tests.control.subscriber import Stop, after, follow, follow_to_the_end, head, reaches, truth
from tests.promises import Connection
from tests.servers import free_port
from tests.store import samples

METADATA = SubscribeRequest(view=trace_pb2.TRACE_VIEW_METADATA)
SESSIONS = 7


@asynccontextmanager
async def writing(store: Store, count: int, dice: random.Random) -> AsyncGenerator[None, None]:
    """Records `count` traces and remakes sessions now and then, beside the block, which waits for it."""

    async def write() -> None:
        for _ in range(count):
            session_id = f"s-{dice.randrange(SESSIONS)}"
            await store.append_trace(samples.trace(session_id, padding=dice.randrange(4096)))
            if dice.random() < 0.1:
                await remake(store, f"s-{dice.randrange(SESSIONS)}")

    task = asyncio.create_task(write())
    yield
    await task


async def remake(store: Store, session_id: str) -> None:
    """Deletes the session, and makes another one of its name, since calls alone cannot bring it back."""

    def work(view: WriteView) -> None:
        view.delete_session(session_id)
        view.create_session(Session(session_id=session_id))

    try:
        await store.write(work)
    except NotFoundError:
        return


def holds(events: int) -> Stop:
    return lambda connection: len(connection.events) >= events


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_stopping_anywhere_and_resuming_loses_and_repeats_nothing(
    control: Control, store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(batches, "MAX_EVENTS", 5)
    monkeypatch.setattr(batches, "MAX_SCANNED", 9)
    seen = [Connection(start=0)]
    async with writing(store, 300, dice):
        while len(seen) <= 20:
            events = dice.randrange(12)
            request = after(seen[-1], METADATA)
            seen.append(await follow(control, holds(events), request))
    end = reaches(await head(store))
    if not end(seen[-1]):
        seen.append(await follow(control, end, after(seen[-1], METADATA)))
    promises.check(seen[1:], await truth(store))


async def test_a_filtered_stream_keeps_its_promises_too(control: Control, store: Store) -> None:
    kinds = [EVENT_KIND_TRACE]
    request = SubscribeRequest(view=trace_pb2.TRACE_VIEW_METADATA, filter=EventFilter(kinds=kinds))
    seen: list[Connection] = []
    async with writing(store, 100, random.Random(4)):
        seen.append(await follow(control, lambda c: len(c.events) > 30, request))
    seen.append(await follow(control, reaches(await head(store)), after(seen[-1], request)))
    promises.check(seen, await truth(store), lambda record: record.kind == EVENT_KIND_TRACE)


async def test_deletes_through_the_service_reach_a_stream_that_runs(control: Control, store: Store) -> None:
    seen = Connection()
    task = asyncio.create_task(follow(control, lambda c: c.cursor >= 41, METADATA, seen))
    for number in range(40):
        await store.append_trace(samples.trace(f"s-{number % 2}"))
    await control.sessions.DeleteSession(DeleteSessionRequest(session_id="s-1"))
    await task
    assert seen.events[-1].session_deleted.deleted_trace_count == 20
    promises.check([seen], await truth(store))
    later = await follow(control, reaches(41), METADATA)
    assert len(later.events) == 21
    promises.check([later], await truth(store))


async def test_fifty_streams_and_one_that_is_stuck(store: Store) -> None:
    """The stuck one asks for whole traces and reads none; it delays neither the others nor the drain."""
    for _ in range(24):
        await store.append_trace(samples.trace(padding=1 << 20))
    async with AsyncExitStack() as later:
        async with serve(SETTINGS, store) as port:
            stuck = await later.enter_async_context(connected(port))
            call = stuck.traces.Subscribe(SubscribeRequest())
            await call.wait_for_connection()
            control = await later.enter_async_context(connected(port))
            async with writing(store, 100, random.Random(5)):
                others = [Connection() for _ in range(49)]
                end = reaches(124)
                await asyncio.gather(*(follow(control, end, METADATA, seen) for seen in others))
            for seen in others:
                promises.check([seen], await truth(store))
            assert not call.done()
            stopping = time.monotonic()
        assert time.monotonic() - stopping < SETTINGS.drain_timeout + 5
        call.cancel()


async def test_the_log_outlives_the_service(tmp_path: Path) -> None:
    settings = Settings(control_port=free_port(), port=1, health_interval=600.0, drain_timeout=1.0)
    seen: list[Connection] = []
    dice = random.Random(6)
    for _ in range(4):
        store = open_store(tmp_path / "db", OPTIONS)
        async with connected(settings.control_port) as control:
            async with serve(settings, store), writing(store, 30, dice):
                request = after(seen[-1], METADATA) if seen else METADATA
                seen.append(Connection())
                task = asyncio.create_task(follow_to_the_end(control, request, seen[-1]))
            await task
        await store.close()
    store = open_store(tmp_path / "db", OPTIONS)
    async with controlling(store) as control:
        seen.append(await follow(control, reaches(await head(store)), after(seen[-1], METADATA)))
    found = await truth(store)
    await store.close()
    promises.check(seen, found)
    assert any(record.kind == EVENT_KIND_SESSION_DELETED for record in found)


async def test_another_environment_refuses_the_old_cursor(tmp_path: Path) -> None:
    one, two = open_store(tmp_path / "one", OPTIONS), open_store(tmp_path / "two", OPTIONS)
    await one.append_trace(samples.trace())
    await two.append_trace(samples.trace())
    async with controlling(one) as control:
        seen = await follow(control, reaches(1))
    async with controlling(two) as control:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await follow(control, reaches(1), after(seen))
    assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    for store in (one, two):
        await store.close()
