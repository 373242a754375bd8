"""Sealing by either client, and whether what was read is what was recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rolltrace.v1 import session_pb2, trace_pb2
from rolltrace_client import (
    AsyncClient,
    DeadlineExceeded,
    EventKind,
    FailedPrecondition,
    InFlightCalls,
    Limits,
    NewSession,
    Session,
    SessionSealedEvent,
    Trace,
    Verification,
    View,
    verify,
)

from .both import all_of, take
from .canned_state import State


async def test_a_session_is_sealed_with_its_outcome(client: AsyncClient, state: State) -> None:
    await client.create_session("s")
    state.record("s", 2)
    sealed = await client.seal_session(
        "s", status="success", reward=0.0, rewards={"format": 1.0}, metadata={"judge": "m"}
    )
    assert (sealed.state, sealed.call_count, len(sealed.digest)) == ("SEALED", 2, 64)
    assert sealed.outcome is not None
    assert (sealed.outcome.status, sealed.outcome.reward) == ("success", 0.0)
    assert (sealed.outcome.rewards, sealed.outcome.metadata) == ({"format": 1.0}, {"judge": "m"})
    [asked] = state.sealed_with
    assert not asked.HasField("timeout")


async def test_what_is_not_said_is_not_sent(client: AsyncClient, state: State) -> None:
    await client.create_session("s")
    await client.seal_session("s", in_flight=InFlightCalls.CANCEL, seal_timeout=2.5)
    [asked] = state.sealed_with
    assert not asked.HasField("outcome")
    assert asked.in_flight == 2
    assert (asked.timeout.seconds, asked.timeout.nanos) == (2, 500_000_000)


async def test_a_seal_whose_answer_was_lost_is_asked_for_again(client: AsyncClient, state: State) -> None:
    await client.create_session("s")
    state.answers_lost = 1
    assert (await client.seal_session("s", reward=1.0)).state == "SEALED"
    assert state.calls["SealSession"] == 2
    assert len(state.sealed_with) == 1


async def test_another_outcome_is_refused(client: AsyncClient) -> None:
    await client.create_session("s")
    await client.seal_session("s", reward=1.0)
    with pytest.raises(FailedPrecondition, match="another outcome") as refused:
        await client.seal_session("s", reward=0.0)
    assert refused.value.reason == "SESSION_SEALED"


async def test_a_seal_that_takes_too_long_says_what_it_waits_for(client: AsyncClient, state: State) -> None:
    await client.create_session("s")
    state.busy = True
    with pytest.raises(DeadlineExceeded, match="2 of its calls run"):
        await client.seal_session("s")


async def test_the_event_carries_the_session(client: AsyncClient) -> None:
    await client.create_session("s")
    sealed = await client.seal_session("s", reward=1.0)
    [event] = await take(client.subscribe(kinds=[EventKind.SESSION_SEALED]), 1)
    assert isinstance(event, SessionSealedEvent)
    assert event.session.digest == sealed.digest


async def test_limits_are_sent_as_given(client: AsyncClient) -> None:
    limits = Limits(max_calls=0, max_time=1.5)
    made = (await client.create_session("s", limits=limits)).limits
    assert made is not None
    assert (made.max_calls, made.max_tokens, made.max_time) == (0, None, 1.5)
    [other] = await client.create_sessions([NewSession(limits={"max_tokens": 9})])
    assert other.limits is not None
    assert other.limits.max_tokens == 9
    assert (await client.create_session("t")).limits is None


async def test_what_was_read_is_what_was_recorded(client: AsyncClient, state: State) -> None:
    state.record("s", 5)
    sealed = await client.seal_session("s")
    traces = await all_of(client.list_traces("s", page_size=2))
    assert verify(sealed, traces) == Verification()
    bare = await all_of(client.list_traces("s", view=View.METADATA))
    assert verify(sealed, bare, view=View.METADATA).verified
    assert not verify(sealed, bare).verified


class Read:
    """A sealed session and its traces, which a test may change."""

    def __init__(self) -> None:
        state = State()
        self.traces = state.record("s", 4)
        self.session = state.sessions["s"]
        state.seal(self.session, session_pb2.Outcome())

    def verified(self) -> Verification:
        return verify(Session(self.session), map(Trace, self.traces))


def test_late_traces_are_not_part_of_it() -> None:
    read = Read()
    late = trace_pb2.Trace()
    late.CopyFrom(read.traces[-1])
    late.call_index, late.late = 4, True
    read.traces.append(late)
    assert read.verified().complete


def lose(*places: int) -> Callable[[Read], None]:
    def lose(read: Read) -> None:
        read.traces = [trace for place, trace in enumerate(read.traces) if place not in places]

    return lose


def change(read: Read) -> None:
    read.traces[1].completions[0].logprobs = bytes(8)


def change_with_digest(read: Read) -> None:
    read.traces[1].digest = bytes(32)


def change_status(read: Read) -> None:
    read.traces[0].status = trace_pb2.CALL_STATUS_REFUSED


def move(read: Read) -> None:
    read.traces[0].session_id = "t"


def repeat(read: Read) -> None:
    read.traces.insert(2, read.traces[1])


def open_again(read: Read) -> None:
    read.session.state = session_pb2.SESSION_STATE_SEALING


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lose(1), "call 1 is missing"),
        (lose(0, 1), "calls 0 to 1 are missing"),
        (lose(2, 3), "calls 2 to 3 are missing"),
        (repeat, "call 1 is one too many, or out of order"),
        (change, "call 1 (t-1) is not what its digest tells: its tokens or its end were changed"),
        (change_status, "call 0 (t-0) is not what its digest tells: its tokens or its end were changed"),
        (move, "call 0 (t-0) is of session t"),
        (change_with_digest, "the digest over the traces is "),
        (open_again, "session s is SEALING: seal it first, it may change until then"),
    ],
)
def test_what_is_wrong_is_said(break_it: Callable[[Read], None], words: str) -> None:
    read = Read()
    break_it(read)
    found = read.verified()
    assert any(sentence.startswith(words) for sentence in found.wrong), found.wrong
    assert not found.verified


def test_what_a_session_lacks_is_said_and_is_not_wrong() -> None:
    read = Read()
    read.session.incomplete = True
    for kind, count in ((1, 2), (2, 1), (9, 1)):
        read.session.incomplete_reasons.add(kind=kind, call_count=count)
    found = read.verified()
    assert found.verified
    assert not found.complete
    assert found.missing == [
        "2 calls interrupted: the proxy went away meanwhile, or the store was full",
        "1 call without all of their tokens: their capture_gaps say what they lack",
        "1 call lacking something that this client does not know",
    ]
