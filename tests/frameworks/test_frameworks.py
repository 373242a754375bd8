"""Agent frameworks through the gateway: what they see is what vLLM says, and all of it is recorded.

Each agent has two turns with its user, and calls a tool in each: four model calls, at temperature 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest

from rolltrace_client import CallStatus, Trace, verify
from tests import completeness
from tests.frameworks.conftest import MODEL, Gateway
from tests.frameworks.scripts import Script, Seen
from tests.frameworks.table import CASES, Case
from tests.vllm import direct as vllm

pytestmark = pytest.mark.frameworks

Direct = Callable[[Case, bool], list[Seen]]
Agents = Callable[[str], Script]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
CALLS = 4


@each_case
@streamed_or_not
def test_the_url_names_the_session(
    case: Case, stream: bool, agent: Agents, direct: Direct, gateway: Gateway, worker_url: str
) -> None:
    session = gateway.client.create_session()
    seen = agent(case.framework).run(case, session.base_url, "unused", model=MODEL, stream=stream)
    assert without_ids(seen) == without_ids(direct(case, stream))
    assert_recorded(gateway, session.session_id, case, stream, seen, worker_url)


@each_case
@streamed_or_not
def test_the_key_names_the_session(
    case: Case, stream: bool, agent: Agents, direct: Direct, gateway: Gateway, worker_url: str
) -> None:
    session_id = f"by-key/{case}:{stream}"
    seen = agent(case.framework).run(
        case, f"{gateway.url}/v1", f"session:{session_id}", model=MODEL, stream=stream
    )
    assert without_ids(seen) == without_ids(direct(case, stream))
    assert_recorded(gateway, session_id, case, stream, seen, worker_url)


@each_case
def test_the_key_of_a_session_opens_a_guarded_gateway(
    case: Case, agent: Agents, direct: Direct, guarded: Gateway, worker_url: str
) -> None:
    session = guarded.client.create_session()
    seen = agent(case.framework).run(case, f"{guarded.url}/v1", session.api_key, model=MODEL, stream=False)
    assert without_ids(seen) == without_ids(direct(case, False))
    assert_recorded(guarded, session.session_id, case, False, seen, worker_url)


def without_ids(seen: list[Seen]) -> object:
    """What was seen, with each id of a call replaced by its place: vLLM makes them at random."""
    places: dict[str, str] = {}

    def placed(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {k: placed(v, k) for k, v in cast(dict[str, object], value).items()}
        if isinstance(value, list):
            return [placed(item) for item in cast(list[object], value)]
        return places.setdefault(str(value), f"call {len(places)}") if key in ("id", "of") else value

    return placed(seen)


def assert_recorded(
    gateway: Gateway, session_id: str, case: Case, stream: bool, seen: list[Seen], worker_url: str
) -> None:
    answers = [each for each in seen if "calls" in each]
    assert len(answers) == CALLS
    sealed = gateway.client.seal_session(session_id)
    traces = list(gateway.client.list_traces(session_id))
    assert [(t.status, t.streamed, t.endpoint) for t in traces] == CALLS * [
        (CallStatus.COMPLETED, stream, case.endpoint)
    ]
    for trace, answer in zip(traces, answers, strict=True):
        assert_whole(trace, answer, worker_url)
    for before, after in pairwise(traces):
        assert after.parent_trace_id == before.trace_id
    found = verify(sealed, traces)
    assert found.complete, (found.wrong, found.missing)
    completeness.check(sealed.proto, [trace.proto for trace in traces], sent=CALLS)


def assert_whole(trace: Trace, answer: Seen, worker_url: str) -> None:
    """Every token of the call, and what the agent saw of it."""
    assert list(trace.capture_gaps) == []
    (completion,) = trace.completions
    ids, logprobs = list(completion.token_ids), list(completion.logprobs)
    assert len(ids) == len(logprobs) > 0
    assert all(math.isfinite(logprob) and logprob <= 0 for logprob in logprobs)
    assert trace.usage is not None
    assert (len(trace.prompt_token_ids), len(ids)) == (
        trace.usage.prompt_tokens,
        trace.usage.completion_tokens,
    )
    said: list[Seen] = completion.message.get("tool_calls") or []
    recorded = [call["function"] for call in said]
    calls = [(call["name"], json.loads(call["arguments"])) for call in answer["calls"]]
    assert [(call["name"], json.loads(call["arguments"])) for call in recorded] == calls
    spelled = text_of(ids, worker_url)
    for expected in [answer["text"], *(name for name, _ in calls)]:
        assert expected in spelled
    assert spelled.endswith("<|im_end|>")
    assert "weather report of a city" in text_of(trace.prompt_token_ids, worker_url)


def text_of(ids: Any, worker_url: str) -> str:
    answer = vllm.post(f"{worker_url}/detokenize", {"model": MODEL, "tokens": [int(i) for i in ids]})
    return cast(str, answer["prompt"])
