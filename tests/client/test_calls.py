"""The unary calls and lists of both clients: what is sent, what comes back, what is tried again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from datetime import UTC, datetime

import pytest

from rolltrace_client import (
    AlreadyExists,
    AsyncClient,
    Client,
    Closed,
    Cursor,
    DeadlineExceeded,
    InvalidArgument,
    NewSession,
    NotFound,
    Unavailable,
    View,
    WorkerState,
)

from .both import all_of, take
from .canned import Canned
from .canned_state import EPOCH, State


async def test_a_session_tells_the_agent_its_base_url(client: AsyncClient) -> None:
    session = await client.create_session(
        "a/b:0", labels={"task": "gsm8k"}, metadata={"seed": 3, "tags": ["x", None, 0.5]}, group_id="g"
    )
    assert session.base_url == "http://127.0.0.1:9090/sessions/a/b:0/v1"
    assert session.state == "OPEN"
    assert session.labels == {"task": "gsm8k"}
    assert session.metadata == {"seed": 3, "tags": ["x", None, 0.5]}
    assert session.create_time == datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)
    assert session.seal_time is None
    assert session.outcome is None
    assert await client.get_session("a/b:0") == session


async def test_a_group_is_made_and_deleted_at_once(client: AsyncClient, state: State) -> None:
    made = await client.create_sessions([NewSession(group_id="g")] * 3)
    names = [session.session_id for session in made]
    state.record(names[0], 2)
    deleted = await client.delete_sessions([*names, "nobody"])
    assert deleted.deleted_session_ids == names
    assert deleted.missing_session_ids == ["nobody"]
    assert deleted.deleted_trace_count == 2


async def test_lists_run_over_pages(client: AsyncClient, state: State) -> None:
    for number in range(5):
        await client.create_session(f"s-{number}", labels={"even": str(number % 2 == 0)})
    listed = await all_of(client.list_sessions(page_size=2))
    assert [session.session_id for session in listed] == [f"s-{n}" for n in range(5)]
    assert state.calls["ListSessions"] == 3
    even = await all_of(client.list_sessions(prefix="s-", labels={"even": "True"}))
    assert [session.session_id for session in even] == ["s-0", "s-2", "s-4"]


async def test_workers(client: AsyncClient) -> None:
    worker = await client.register_worker("http://10.0.0.7:8000", model_names=["m"], weight=2.0)
    assert (worker.worker_id, worker.weight, worker.model_names) == ("10.0.0.7:8000", 2.0, ["m"])
    cordoned = await client.update_worker(worker.worker_id, state=WorkerState.CORDONED)
    assert (cordoned.state, cordoned.weight) == ("CORDONED", 2.0)
    assert await all_of(client.list_workers()) == [cordoned]
    assert await client.deregister_worker(worker.worker_id, drain_timeout=1.5)
    assert await all_of(client.list_workers()) == []


async def test_the_policy_is_told_and_asked(client: AsyncClient) -> None:
    unsaid = await client.get_policy()
    assert (unsaid.policy_version, unsaid.change_time) == ("", None)
    said = await client.set_policy_version("17")
    assert said.policy_version == "17"
    assert said.change_time == datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)
    assert await client.get_policy() == said


async def test_traces_are_listed_whole_and_in_order(client: AsyncClient, state: State) -> None:
    made = state.record("s", 5)
    listed = await all_of(client.list_traces("s", page_size=2))
    assert [trace.proto for trace in listed] == made
    assert not state.calls["GetTrace"]
    assert (await client.get_trace("t-3")).proto == made[3]
    bare = await all_of(client.list_traces("s", view=View.METADATA))
    assert [len(trace.prompt_token_ids) for trace in bare] == [0] * 5


async def test_status_and_flush(client: AsyncClient, state: State) -> None:
    state.record("s", 2)
    status = await client.status()
    assert (status.trace_count, status.head) == (2, Cursor(EPOCH, 4))
    assert await client.flush() == status.head


async def test_unavailable_is_tried_again(client: AsyncClient, state: State) -> None:
    state.unavailable = 3
    assert (await client.status()).version == "canned"
    assert state.calls["GetStatus"] == 4


async def test_a_mutation_whose_answer_was_lost_is_done_once(client: AsyncClient, state: State) -> None:
    state.answers_lost = 2
    session = await client.create_session("once")
    assert session.session_id == "once"
    assert state.calls["CreateSession"] == 3
    state.record("once", 2)
    state.answers_lost = 1
    assert await client.delete_session("once") == 2


async def test_errors_are_ours_and_say_what_they_are_about(client: AsyncClient) -> None:
    with pytest.raises(NotFound, match="there is no session 'x'") as missing:
        await client.get_session("x")
    assert (missing.value.resource, missing.value.code) == ("x", "NOT_FOUND")
    await client.create_session("x")
    with pytest.raises(AlreadyExists) as taken:
        await client.create_session("x")
    assert taken.value.resource == "x"
    with pytest.raises(InvalidArgument) as broken:
        await client.create_session("/x")
    assert broken.value.field == "session.session_id"
    with pytest.raises(NotFound):
        await take(client.list_traces("nobody"), 1)


async def test_what_cannot_be_sent_is_refused_at_once(client: AsyncClient, state: State) -> None:
    with pytest.raises(InvalidArgument, match="metadata: takes what JSON takes") as broken:
        await client.create_session(metadata={"a": object()})
    assert broken.value.field == "metadata"
    with pytest.raises(InvalidArgument, match="nothing to change"):
        await client.update_worker("w")
    assert not state.calls


def test_no_service_is_named_with_the_remedy() -> None:
    with Client("127.0.0.1:1", retry_for=0.2) as client, pytest.raises(Unavailable) as caught:
        client.status()
    assert str(caught.value).startswith("no control service at 127.0.0.1:1: is `rolltrace up` running?")


def test_a_service_that_hangs_up_may_want_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as strict:
        threading.Thread(target=_hang_up_on_all, args=(strict,), daemon=True).start()
        target = f"127.0.0.1:{strict.getsockname()[1]}"
        with Client(target, retry_for=0.2) as client, pytest.raises(Unavailable, match="and do `tls`"):
            client.status()


def _hang_up_on_all(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            server.accept()[0].close()


def test_a_url_is_no_target() -> None:
    with pytest.raises(InvalidArgument, match="HOST:PORT"):
        Client("http://127.0.0.1:9091")


def test_a_closed_client_says_so(server: Canned) -> None:
    client = Client(server.target)
    client.close()
    client.close()
    with pytest.raises(Closed):
        client.status()


async def test_a_closed_async_client_says_so(server: Canned) -> None:
    client = AsyncClient(server.target)
    await client.status()
    await client.close()
    await client.close()
    with pytest.raises(Closed):
        await client.status()


async def test_closing_the_client_ends_a_call_that_waits(client: AsyncClient, state: State) -> None:
    state.hold = True
    waiting = asyncio.ensure_future(client.status())
    await asyncio.to_thread(state.held.wait)
    await client.close()
    with pytest.raises(Closed):
        await waiting


async def test_a_call_without_an_answer_ends_in_time(client: AsyncClient, state: State) -> None:
    state.hold = True
    with pytest.raises(DeadlineExceeded, match="longer timeout"):
        await client.status(timeout=0.1)
