"""Calls as users write them: never run, but read by `make check`.

The type checkers must take them, and refuse each line that is marked: strict checkers report a mark that was
not needed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from rolltrace_client import (
    AsyncClient,
    BlobArray,
    CallStatus,
    Client,
    Cursor,
    Event,
    IncompleteReason,
    InFlightCalls,
    NewSession,
    Policy,
    PolicyChangedEvent,
    Position,
    Session,
    SessionDeletedEvent,
    SessionSealedEvent,
    Status,
    Trace,
    TraceEvent,
    Verification,
    View,
    Worker,
    WorkerChangedEvent,
    WorkerState,
    verify,
)


def sync_calls(client: Client) -> None:
    session = client.create_session("s", labels={"a": "b"}, metadata={"n": [1, None]}, timeout=1.0)
    assert_type(session, Session)
    assert_type(session.base_url, str)
    assert_type(session.create_time, datetime | None)
    assert_type(client.create_sessions([NewSession(group_id="g")] * 2), list[Session])
    sealed = client.seal_session("s", status="success", reward=1.0, in_flight=InFlightCalls.CANCEL)
    assert_type(sealed.incomplete_reasons, list[IncompleteReason])
    assert_type(verify(sealed, client.list_traces("s")), Verification)
    client.create_session(limits={"max_calls": 20})
    assert_type(client.delete_session("s"), int)
    assert_type(client.register_worker("http://h:1", model_names=["m"]), Worker)
    assert_type(client.update_worker("w", state=WorkerState.CORDONED), Worker)
    assert_type(client.set_policy_version("17", timeout=1.0), Policy)
    assert_type(client.get_policy().change_time, datetime | None)
    assert_type(client.status(), Status)
    assert_type(client.flush(), Cursor)
    for trace in client.list_traces("s", view=View.METADATA):
        assert_type(trace, Trace)
        assert_type(trace.status, CallStatus)
        assert_type(trace.latency, float | None)
        assert_type(trace.prompt_token_ids, npt.NDArray[np.int32])
        assert_type(trace.completions[0].logprobs, npt.NDArray[np.float32])
        if experts := trace.completions[0].routed_experts:
            assert_type(experts, BlobArray)
            assert_type(client.get_array(experts), npt.NDArray[Any])
            assert_type(client.get_blob(experts.blob.digest, timeout=1.0), bytes)


def events(client: Client) -> None:
    with client.subscribe("e:3", statuses=[CallStatus.COMPLETED]) as subscription:
        for event in subscription:
            assert_type(event, Event)
            handle(event)
        assert_type(subscription.cursor, Cursor | None)


def handle(event: Event) -> int:
    match event:
        case TraceEvent(trace=trace):
            return len(trace.completions)
        case SessionDeletedEvent():
            return event.deleted_trace_count
        case SessionSealedEvent():
            return event.session.call_count
        case WorkerChangedEvent(worker=worker):
            return len(worker.model_names)
        case PolicyChangedEvent():
            return len(event.policy_version)


async def async_calls(client: AsyncClient) -> None:
    assert_type(await client.create_session(group_size=4), Session)
    assert_type(await client.get_blob("00" * 32), bytes)
    assert_type([session async for session in client.list_sessions(prefix="a")], list[Session])
    async with client.subscribe(position=Position.LATEST) as subscription:
        async for event in subscription:
            assert_type(event, Event)


async def wrong_calls(client: Client, async_client: AsyncClient) -> None:
    client.create_session(label={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.create_session(labels={"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    client.create_session(limits={"calls": 1})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.create_sessions([{"group": "g"}])  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
    client.get_session()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.subscribe(view="FULL")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.list_traces("s", View.METADATA)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Trace.trace_id.upper()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    async_client.status().version  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnusedExpression] # noqa: B018
