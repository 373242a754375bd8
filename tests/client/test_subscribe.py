"""A subscription gives every event exactly once, whatever happens to its streams."""

from __future__ import annotations

import asyncio
import random

import pytest

from rolltrace.v1 import event_pb2
from rolltrace_client import AsyncClient, Closed, Cursor, CursorError, InvalidArgument, Position, TraceEvent

from .both import take
from .canned import Canned
from .canned_state import EPOCH, State


async def test_it_gives_what_was_and_what_comes(client: AsyncClient, state: State) -> None:
    state.record("s", 4)
    events = client.subscribe()
    first = await take(events, 4)
    state.record("s")
    assert [event.trace.trace_id for event in first + await take(events, 1)] == [f"t-{n}" for n in range(5)]
    assert events.cursor == Cursor(EPOCH, 10)
    await events.close()


async def test_traces_arrive_whole(client: AsyncClient, state: State) -> None:
    made = state.record("s", 7)
    events = client.subscribe()
    assert [event.trace.proto for event in await take(events, 7)] == made
    assert not state.calls["GetTrace"]
    await events.close()


async def test_a_missing_base_is_fetched_once_a_chain(client: AsyncClient, state: State) -> None:
    made = state.record("s", 6)
    events = client.subscribe(Cursor(EPOCH, made[1].sequence))
    assert [event.trace.proto for event in await take(events, 4)] == made[2:]
    assert state.calls["GetTrace"] == 1
    await events.close()


async def test_it_resumes_from_the_text_of_its_cursor(client: AsyncClient, state: State) -> None:
    made = state.record("s", 8)
    seen: list[str] = []
    after: str | None = None
    for _ in range(8):
        events = client.subscribe(after)
        seen += [event.trace.trace_id for event in await take(events, 1)]
        after = str(events.cursor)
        await events.close()
    assert seen == [trace.trace_id for trace in made]


async def test_streams_cut_at_random_lose_and_repeat_nothing(client: AsyncClient, state: State) -> None:
    dice = random.Random(7)
    state.cut = lambda: dice.random() < 0.4
    made = state.record("s", 40)
    events = client.subscribe()
    assert [event.trace.proto for event in await take(events, 40)] == made
    assert state.calls["Subscribe"] > 5
    await events.close()


async def test_it_outlives_a_server_that_restarts(client: AsyncClient, server: Canned) -> None:
    made = server.state.record("s", 5)
    events = client.subscribe()
    seen = await take(events, 4)
    for _ in range(3):
        await asyncio.to_thread(server.stop)
        made += server.state.record("s", 3)
        await asyncio.to_thread(server.start)
        seen += await take(events, 3)
    seen += await take(events, 1)
    assert [event.trace.proto for event in seen] == made
    await events.close()


async def test_progress_moves_the_cursor(client: AsyncClient, state: State) -> None:
    state.record("other", 4)
    state.record("mine")
    events = client.subscribe(session_ids=["mine"])
    [event] = await take(events, 1)
    assert event.trace.session_id == "mine"
    assert event.cursor == events.cursor == Cursor(EPOCH, 10)
    await events.close()


async def test_latest_sees_only_what_comes(client: AsyncClient, state: State) -> None:
    state.record("s", 3)
    events = client.subscribe(position=Position.LATEST)
    waiting = asyncio.create_task(take(events, 1))
    await asyncio.to_thread(state.subscribed.wait)
    state.record("s")
    [event] = await waiting
    assert event.trace.trace_id == "t-3"
    await events.close()


async def test_traces_of_a_session_deleted_meanwhile_are_passed_over(
    client: AsyncClient, state: State
) -> None:
    made = state.record("s", 2)
    del state.traces[made[0].trace_id]  # the base of the next, gone
    state.append(event_pb2.Event(session_deleted=event_pb2.SessionDeleted(session_id="s")))
    events = client.subscribe(Cursor(EPOCH, made[0].sequence))
    [event] = await take(events, 1)
    assert event.session_id == "s"
    assert not isinstance(event, TraceEvent)
    await events.close()


async def test_close_ends_a_waiting_iteration(client: AsyncClient, state: State) -> None:
    events = client.subscribe()
    waiting = asyncio.create_task(anext(events, None))
    await asyncio.to_thread(state.subscribed.wait)
    await events.close()
    assert await waiting is None
    assert await anext(events, None) is None


async def test_a_cursor_of_another_log_says_where_to_begin(client: AsyncClient) -> None:
    events = client.subscribe("another:3")
    with pytest.raises(CursorError, match="another one") as caught:
        await anext(events)
    assert caught.value.reason == "CURSOR_EPOCH"
    assert caught.value.earliest == Cursor(EPOCH, 0)


async def test_a_cursor_that_is_none_is_refused(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgument, match="EPOCH:SEQUENCE"):
        client.subscribe("nonsense")


async def test_a_wait_that_times_out_loses_nothing(server: Canned) -> None:
    async with AsyncClient(server.target) as client:
        made = server.state.record("s", 2)
        events = client.subscribe()
        seen = await take(events, 2)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.02)
            made += server.state.record("s")
            seen += await take(events, 1)
        assert [event.trace.proto for event in seen] == made
        await events.close()


async def test_closing_the_client_ends_what_waits(client: AsyncClient, state: State) -> None:
    events = client.subscribe()
    waiting = asyncio.create_task(anext(events))
    await asyncio.to_thread(state.subscribed.wait)
    await client.close()
    with pytest.raises(Closed):
        await waiting


async def test_a_base_that_cannot_be_had_now_is_asked_for_again(server: Canned) -> None:
    made = server.state.record("s", 4)
    async with AsyncClient(server.target, retry_for=0.0) as client:
        events = client.subscribe(Cursor(EPOCH, made[0].sequence))
        server.state.unavailable = 2
        assert [event.trace.proto for event in await take(events, 3)] == made[1:]
        assert server.state.calls["Subscribe"] == 3
        await events.close()
