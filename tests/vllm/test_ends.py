"""Calls that do not come to their end, on a real vLLM: it stops at once, and what it sampled is kept."""

import threading
import time
from collections.abc import Iterator

import pytest

from rolltrace_client import InFlightCalls, Position, Session, Trace, TraceEvent, verify
from tests.vllm import direct
from tests.vllm.conftest import Gateway
from tests.vllm.direct import Json
from tests.vllm.test_vllm import CHAT, creator, with_capture

pytestmark = pytest.mark.vllm

BODY: Json = {**CHAT, "max_tokens": 4000}
ON: Json = {"ignore_eos": True}
SEEN = 10
"""Chunks that an agent has seen when a call is cut off. The first of them gives the role, and no token."""


def begun(gateway: Gateway, session: Session, **more: object) -> Iterator[object]:
    """A long stream of which SEEN chunks have come."""
    answer: Iterator[object] = creator(gateway.agent(session.base_url))(
        **{**BODY, **more}, extra_body=ON, stream=True
    )
    for _ in range(SEEN):
        next(answer)
    return answer


def ends_well(answer: Iterator[object]) -> bool:
    """Reads the rest of a stream. Which library's error tells of its end is the SDK's affair."""
    try:
        for _ in answer:
            pass
    except Exception:
        return False
    return True


def recorded(gateway: Gateway, session: Session) -> Trace:
    """The session's first trace, which nobody waited for: an agent that hung up sees no end."""
    for event in gateway.client.subscribe(position=Position.EARLIEST, session_ids=[session.session_id]):
        if isinstance(event, TraceEvent):
            return event.trace
    raise AssertionError("the subscription ended")


def wait_until_idle(gateway: Gateway) -> None:
    """Until vLLM runs nothing. It needs about 0.1 s after a hang-up; 4,000 tokens would need much longer."""
    deadline = time.monotonic() + 5
    while not _idle(direct.get(f"{gateway.worker_url}/metrics").decode()):
        assert time.monotonic() < deadline, "vLLM still generates for a call that is over"
        time.sleep(0.1)


def _idle(metrics: str) -> bool:
    lines = [line for line in metrics.splitlines() if line.startswith("vllm:num_requests_running{")]
    assert lines, "vLLM's metrics do not say how many requests run"
    return all(float(line.rsplit(" ", 1)[1]) == 0 for line in lines)


def first_tokens(gateway: Gateway, count: int) -> list[int]:
    """What vLLM itself samples for BODY, at least so many."""
    truth: list[int] = []
    url = f"{gateway.worker_url}/v1/chat/completions"
    for chunk in direct.stream(url, with_capture("chat/completions", {**BODY, **ON})):
        for choice in chunk["choices"]:
            truth += choice.get("token_ids") or []
        if len(truth) > count:
            break
    return truth


def check_kept(gateway: Gateway, trace: Trace) -> None:
    """The trace has the tokens of a part of the stream, and they are those that vLLM sampled."""
    (completion,) = trace.completions
    kept = list(completion.token_ids)
    assert len(kept) >= SEEN - 1
    assert kept == first_tokens(gateway, len(kept))[: len(kept)]
    assert len(completion.logprobs) == len(kept)


def check_session(gateway: Gateway, session: Session) -> Session:
    """The sealed session, after its digest was computed anew."""
    sealed = gateway.client.get_session(session.session_id)
    assert verify(sealed, gateway.client.list_traces(session.session_id)).verified
    return sealed


def test_a_hang_up_in_mid_stream_stops_vllm_and_keeps_the_tokens(gateway: Gateway) -> None:
    session = gateway.client.create_session()
    answer = begun(gateway, session)
    answer.close()  # type: ignore[attr-defined]  # the SDK's stream
    wait_until_idle(gateway)
    trace = recorded(gateway, session)
    assert trace.status == "CLIENT_CANCELLED"
    check_kept(gateway, trace)


def test_a_proxy_killed_in_mid_stream_leaves_an_interrupted_call_and_an_idle_vllm(gateway: Gateway) -> None:
    session = gateway.client.create_session()
    answer = begun(gateway, session)
    gateway.pair.kill_child("rolltrace_proxy")
    assert not ends_well(answer)
    wait_until_idle(gateway)
    assert recorded(gateway, session).status == "INTERRUPTED"
    gateway.client.seal_session(session.session_id)
    sealed = check_session(gateway, session)
    [reason] = sealed.incomplete_reasons
    assert (reason.kind, reason.call_count) == ("INTERRUPTED", 1)


def test_a_seal_waits_for_a_stream(gateway: Gateway) -> None:
    session = gateway.client.create_session()
    answer = begun(gateway, session, max_tokens=300)
    reader = threading.Thread(target=list, args=[answer])
    reader.start()
    sealed = gateway.client.seal_session(session.session_id, reward=1.0)
    reader.join()
    assert (sealed.call_count, sealed.failed_call_count, sealed.incomplete) == (1, 0, False)
    check_session(gateway, session)
    (trace,) = gateway.client.list_traces(session.session_id)
    assert trace.status == "COMPLETED"
    assert len(trace.completions[0].token_ids) == 300


def test_a_seal_cuts_a_stream_off(gateway: Gateway) -> None:
    session = gateway.client.create_session()
    answer = begun(gateway, session)
    sealed = gateway.client.seal_session(session.session_id, in_flight=InFlightCalls.CANCEL)
    assert not ends_well(answer)
    wait_until_idle(gateway)
    assert (sealed.call_count, sealed.failed_call_count, sealed.incomplete) == (1, 1, False)
    check_session(gateway, session)
    (trace,) = gateway.client.list_traces(session.session_id)
    assert trace.status == "REFUSED"
    check_kept(gateway, trace)
