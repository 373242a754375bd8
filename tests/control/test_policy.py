"""PolicyService, and policy_changed as subscribers see it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.policy_service_pb2 import GetPolicyRequest, Policy, SetPolicyVersionRequest
from rolltrace.v1.policy_service_pb2_grpc import PolicyServiceStub
from rolltrace.v1.trace_service_pb2 import EventFilter, SubscribeRequest
from rolltrace_control import pace
from rolltrace_store import Store
from tests import promises
from tests.control.conftest import Control, controlling
from tests.control.details import failure
from tests.control.subscriber import after, follow, head, reaches, truth
from tests.promises import Connection
from tests.store import samples

POLICIES = SubscribeRequest(filter=EventFilter(kinds=[event.EVENT_KIND_POLICY_CHANGED]))


async def get(control: Control) -> Policy:
    answer = await PolicyServiceStub(control.channel).GetPolicy(GetPolicyRequest())
    return answer.policy


async def say(control: Control, version: str) -> Policy:
    request = SetPolicyVersionRequest(policy_version=version)
    return (await PolicyServiceStub(control.channel).SetPolicyVersion(request)).policy


async def test_a_version_is_set_and_got_and_outlives_the_service(store: Store) -> None:
    async with controlling(store) as control:
        assert await get(control) == Policy()
        said = await say(control, "17")
        assert said.policy_version == "17"
        assert said.change_time.seconds > 0
    async with controlling(store) as control:
        assert await get(control) == said


async def test_saying_it_again_is_no_event(control: Control, store: Store) -> None:
    assert await say(control, "17") == await say(control, "17")
    assert await head(store) == 1


@pytest.mark.parametrize("bad", ["", "a\nb", "x" * 201])
async def test_what_may_be_no_version_is_named(control: Control, bad: str) -> None:
    failed = await failure(say(control, bad))
    assert failed.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failed.field == "policy_version"
    assert await get(control) == Policy()


async def test_subscribers_hear_of_it(
    control: Control, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "IDLE_DELAY", 3600.0)
    waiting = asyncio.create_task(follow(control, reaches(1), POLICIES))
    said = await say(control, "17")
    (heard,) = (await waiting).events
    assert heard.policy_changed.policy_version == "17"
    assert heard.policy_changed.change_time == said.change_time


@pytest.mark.parametrize("request_", [SubscribeRequest(), POLICIES], ids=["all", "policies"])
async def test_the_promises_hold_wherever_a_subscriber_stops(
    control: Control, store: Store, request_: SubscribeRequest
) -> None:
    async def write() -> None:
        for version in range(20):
            await say(control, str(version))
            await store.append_trace(samples.trace(f"s-{version % 3}"))

    writing = asyncio.create_task(write())
    seen = [Connection(start=0)]
    while seen[-1].cursor < 40:
        place = seen[-1].cursor
        seen.append(await follow(control, reaches(place + 1), after(seen[-1], request_)))
    await writing
    kinds = set(request_.filter.kinds)
    promises.check(seen[1:], await truth(store), lambda record: not kinds or record.kind in kinds)
    heard = [e for stream in seen for e in stream.events if e.HasField("policy_changed")]
    assert [e.policy_changed.policy_version for e in heard] == [str(version) for version in range(20)]
