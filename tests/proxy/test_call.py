from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.call import RUNNING, STATUS, TABLE, Call, Event, State, TransitionError, diagram

DOCS = Path(__file__).parents[2] / "docs"


def a_call() -> Call:
    return Call("t-1", "s", "chat/completions", admit_ns=1_700_000_000_250_000_001, admitted=100.0)


def test_the_page_is_drawn_from_the_table() -> None:
    assert (DOCS / "call.md").read_text() == diagram(), "python -m rolltrace_proxy.call > docs/call.md"


def test_every_state_is_reached_and_left() -> None:
    reached = {after for row in TABLE.values() for after in row.values()} | {State.RECEIVED}
    assert reached == set(State) == set(TABLE)
    assert [state for state, row in TABLE.items() if not row] == [State.CLOSED]


def test_a_running_call_can_end_in_every_way_that_the_gateway_or_the_agent_chooses() -> None:
    for state in RUNNING - {State.JOINED}:
        assert {Event.REFUSE, Event.HANG_UP, Event.INTERRUPT} <= set(TABLE[state])


def test_a_call_that_waits_for_another_is_only_dismissed_or_goes_on() -> None:
    assert not {Event.HANG_UP, Event.INTERRUPT} & set(TABLE[State.JOINED])
    assert TABLE[State.JOINED][Event.DISMISS] is State.CLOSED


@given(st.lists(st.sampled_from(list(Event)), max_size=12))
def test_a_call_ends_once_and_is_committed_only_after_that(events: list[Event]) -> None:
    call, ends = a_call(), 0
    for event in events:
        try:
            call.on(event)
        except TransitionError:
            continue
        ends += event in STATUS or event in (Event.REPLAY, Event.DISMISS)
        assert ends <= 1
        assert call.running == (ends == 0)
        assert call.state is not State.COMMITTED or ends == 1


def test_an_event_that_does_not_fit_is_a_mistake() -> None:
    with pytest.raises(TransitionError, match="commit in state received"):
        a_call().on(Event.COMMIT)


def test_a_completed_call_as_a_trace() -> None:
    call = a_call()
    call.model, call.streamed, call.kept, call.labels = "m", True, b"{}", {"task": "t"}
    call.admit()
    call.dispatch("w-1")
    call.dispatch("w-2")
    call.on(Event.ANSWER)
    call.http_status, call.first_byte = 200, 100.5
    call.end(Event.FINISH, 102.0)
    trace = call.trace()
    assert trace == pb.Trace(
        trace_id="t-1",
        session_id="s",
        model="m",
        worker_id="w-2",
        endpoint="chat/completions",
        streamed=True,
        status=pb.CALL_STATUS_COMPLETED,
        http_status=200,
        request_json=b"{}",
        labels={"task": "t"},
        attempt_count=2,
        admit_time=trace.admit_time,
        time_to_first_token=trace.time_to_first_token,
        latency=trace.latency,
    )
    assert trace.admit_time.ToNanoseconds() == 1_700_000_000_250_000_001
    assert trace.time_to_first_token.ToMilliseconds() == 500
    assert trace.latency.ToMilliseconds() == 2000


def test_a_call_that_failed_says_why() -> None:
    call = a_call()
    call.admit()
    call.dispatch("w-1")
    call.end(Event.FAIL, 101.0, "upstream_disconnected", "The worker broke off.")
    trace = call.trace()
    assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR
    assert (trace.error.code, trace.error.message) == ("upstream_disconnected", "The worker broke off.")
    assert not trace.HasField("time_to_first_token")
