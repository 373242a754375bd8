"""The client against the real control service, on an environment that this process writes as a proxy does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from rolltrace_client import (
    AsyncClient,
    Client,
    CursorError,
    EventKind,
    InvalidArgument,
    NotFound,
    Position,
    SessionDeletedEvent,
    WorkerState,
)
from tests.faults.processes import Pair

from .both import all_of, awaited, take
from .control import EXPERTS, IMAGE, TURNS, record, running_control

SESSIONS = ["a/b:0", "c", "d"]
CALLS = len(SESSIONS) * TURNS


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_control(tmp_path_factory.mktemp("pair"), *SESSIONS) as pair:
        yield pair


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, pair: Pair) -> AsyncIterator[AsyncClient]:
    if request.param == "sync":
        with Client(pair.target) as client:
            yield awaited(client)
    else:
        async with AsyncClient(pair.target) as client:
            yield client


async def test_what_was_sent_compact_is_what_is_read_whole(client: AsyncClient) -> None:
    count = 0
    async for session in client.list_sessions():
        listed = await all_of(client.list_traces(session.session_id, page_size=2))
        assert [trace.call_index for trace in listed] == list(range(session.call_count))
        for trace in listed:
            assert trace.proto == (await client.get_trace(trace.trace_id)).proto
            assert len(trace.completions[0].token_ids) == len(trace.completions[0].logprobs) > 0
            assert IMAGE in trace.request_json
            experts = await client.get_array(trace.completions[0].routed_experts)
            assert (experts.shape, experts.tobytes()) == ((2, 1, 3), EXPERTS)
        count += len(listed)
    assert count >= CALLS


async def test_the_log_goes_on_over_a_restart(client: AsyncClient, pair: Pair) -> None:
    events = client.subscribe(kinds=[EventKind.TRACE], session_ids=SESSIONS)
    seen = await take(events, CALLS // 2)
    await asyncio.to_thread(pair.control.stop)
    await asyncio.to_thread(pair.start_control)
    seen += await take(events, CALLS - CALLS // 2)
    sequences = [event.sequence for event in seen]
    assert sequences == sorted(set(sequences))
    assert len({event.trace.trace_id for event in seen}) == CALLS
    await events.close()


async def test_what_another_process_commits_comes_at_once(client: AsyncClient, pair: Pair) -> None:
    name = f"live-{(await client.flush()).sequence}"
    events = client.subscribe(session_ids=[name], kinds=[EventKind.TRACE], position=Position.LATEST)
    waiting = asyncio.create_task(take(events, TURNS))
    while events.cursor is None:
        await asyncio.sleep(0.01)
    await record(pair.db_path, name)
    assert [event.trace.call_index for event in await waiting] == list(range(TURNS))
    await events.close()


async def test_errors_name_field_and_resource(client: AsyncClient) -> None:
    with pytest.raises(NotFound) as missing:
        await client.get_session("nobody")
    assert missing.value.resource == "nobody"
    with pytest.raises(InvalidArgument) as broken:
        await client.create_session("/slash")
    assert broken.value.field == "session.session_id"
    with pytest.raises(CursorError) as elsewhere:
        await anext(client.subscribe("another:1"))
    assert elsewhere.value.reason == "CURSOR_EPOCH"
    assert elsewhere.value.earliest is not None


async def test_a_session_and_a_worker_come_and_go(client: AsyncClient) -> None:
    place = await client.flush()
    session = await client.create_session("visitor", labels={"a": "b"}, metadata={"n": [1, None]})
    assert session.base_url.endswith("/sessions/visitor/v1")
    assert (session.labels, session.metadata) == ({"a": "b"}, {"n": [1, None]})
    await client.register_worker("http://127.0.0.1:9", worker_id="visitor", model_names=["none"])
    cordoned = await client.update_worker("visitor", state=WorkerState.CORDONED)
    assert cordoned.state == "CORDONED"
    assert await client.deregister_worker("visitor", drain_timeout=0.1)
    assert await client.delete_session("visitor") == 0
    events = client.subscribe(place, kinds=[EventKind.SESSION_DELETED])
    [gone] = await take(events, 1)
    assert isinstance(gone, SessionDeletedEvent)
    assert gone.session_id == "visitor"
    await events.close()
