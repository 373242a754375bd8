"""The same request, asked of vLLM directly and by an agent through the gateway, gives the same tokens.

Every request has a seed, so that vLLM samples the same again.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from openai import BadRequestError, OpenAI

from rolltrace_client import Trace
from tests.vllm import direct
from tests.vllm.conftest import Gateway
from tests.vllm.direct import Json

pytestmark = pytest.mark.vllm

CHAT: Json = {
    "model": "tiny",
    "messages": [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "what is the weather in Paris"},
    ],
    "max_tokens": 40,
    "temperature": 1.0,
    "seed": 7,
}
COMPLETION: Json = {"model": "tiny", "prompt": "def main(argv):", "max_tokens": 40, "seed": 7}
WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather report",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TOOLS: Json = {**CHAT, "tools": [WEATHER], "temperature": 0, "max_tokens": 100}

CASES = {
    "chat": ("chat/completions", CHAT),
    "chat, n = 2": ("chat/completions", {**CHAT, "n": 2}),
    "chat, a stop string": ("chat/completions", {**CHAT, "stop": ["e"], "max_tokens": 100}),
    "chat, tools": ("chat/completions", TOOLS),
    "chat, a tool is required": ("chat/completions", {**TOOLS, "tool_choice": "required"}),
    "completions": ("completions", COMPLETION),
    "completions, n = 2": ("completions", {**COMPLETION, "n": 2}),
    "completions, a stop string": ("completions", {**COMPLETION, "stop": ["e"], "max_tokens": 100}),
}


def ask(gateway: Gateway, endpoint: str, body: Json, *, streamed: bool) -> tuple[str, list[Json]]:
    """Calls as an agent does; returns the session's id and the answer, or its chunks."""
    session = gateway.client.create_session()
    create = creator(gateway.agent(session.base_url), endpoint)
    if not streamed:
        return session.session_id, [create(**body).model_dump(exclude_unset=True)]
    chunks = [chunk.model_dump(exclude_unset=True) for chunk in create(**body, stream=True)]
    return session.session_id, chunks


def creator(agent: OpenAI, endpoint: str = "chat/completions") -> Callable[..., Any]:
    """The SDK's function for the endpoint, untyped: requests here are JSON, as on the wire."""
    return agent.completions.create if endpoint == "completions" else agent.chat.completions.create


def only_trace(gateway: Gateway, session_id: str) -> Trace:
    (trace,) = gateway.client.list_traces(session_id)
    return trace


def tokens_of(trace: Trace) -> list[tuple[list[int], list[float]]]:
    return [(list(c.token_ids), [float(x) for x in c.logprobs]) for c in trace.completions]


def assert_same_tokens(
    recorded: Sequence[tuple[list[int], list[float]]], truth: Sequence[tuple[list[int], list[float]]]
) -> None:
    assert [ids for ids, _ in recorded] == [ids for ids, _ in truth]
    for (_, logprobs), (_, expected) in zip(recorded, truth, strict=True):
        assert logprobs == pytest.approx(expected, abs=1e-6, rel=1e-6)


def with_capture(endpoint: str, body: Json) -> Json:
    asked = direct.COMPLETION_LOGPROBS if endpoint == "completions" else direct.CHAT_LOGPROBS
    return {**body, **asked}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("endpoint", "body"), CASES.values(), ids=CASES)
def test_a_trace_has_the_tokens_that_vllm_gives(
    gateway: Gateway, endpoint: str, body: Json, streamed: bool
) -> None:
    url = f"{gateway.worker_url}/v1/{endpoint}"
    if streamed:
        chunks = list(direct.stream(url, with_capture(endpoint, body)))
        prompt, truth = direct.prompt_ids(chunks[0]), direct.sampled_stream(chunks, endpoint)
    else:
        answer = direct.post(url, with_capture(endpoint, body))
        prompt, truth = direct.prompt_ids(answer), direct.sampled(answer, endpoint)

    session_id, _ = ask(gateway, endpoint, body, streamed=streamed)
    trace = only_trace(gateway, session_id)

    assert list(trace.prompt_token_ids) == prompt
    assert_same_tokens(tokens_of(trace), truth)
    assert all(ids for ids, _ in truth)
    assert list(trace.capture_gaps) == []
    assert trace.streamed == streamed


VOLATILE = {"id", "created"}


def meaning(value: object) -> object:
    """An answer without what differs from one call to the next."""
    if isinstance(value, dict):
        return {k: meaning(v) for k, v in cast(Json, value).items() if k not in VOLATILE}
    return [meaning(item) for item in cast(list[object], value)] if isinstance(value, list) else value


@pytest.mark.parametrize(("endpoint", "body"), CASES.values(), ids=CASES)
def test_the_agent_gets_what_vllm_would_have_said(gateway: Gateway, endpoint: str, body: Json) -> None:
    _, (answer,) = ask(gateway, endpoint, body, streamed=False)
    plain = direct.post(f"{gateway.worker_url}/v1/{endpoint}", body)
    # The cache of prompts is warmer the second time; how much of it was hit is no part of the answer.
    for usage in (answer["usage"], plain["usage"]):
        usage.pop("prompt_tokens_details", None)
    assert meaning(answer) == meaning(plain)


@pytest.mark.parametrize(("endpoint", "body"), CASES.values(), ids=CASES)
def test_the_agent_gets_the_stream_that_vllm_would_have_sent(
    gateway: Gateway, endpoint: str, body: Json
) -> None:
    _, chunks = ask(gateway, endpoint, body, streamed=True)
    plain = list(direct.stream(f"{gateway.worker_url}/v1/{endpoint}", body))
    assert text_of(chunks, endpoint) == text_of(plain, endpoint)
    assert {key for chunk in chunks for key in chunk} == {key for chunk in plain for key in chunk}


def text_of(chunks: list[Json], endpoint: str) -> dict[int, str]:
    """What the deltas of each choice spell, tool calls too."""
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            piece = choice["text"] if endpoint == "completions" else _spelled(choice["delta"])
            texts[choice["index"]] = texts.get(choice["index"], "") + piece
    return texts


def _spelled(delta: Json) -> str:
    calls: list[Json] = [call["function"] for call in cast(list[Json], delta.get("tool_calls") or [])]
    called = "".join(str(call.get("name") or "") + str(call.get("arguments") or "") for call in calls)
    return (delta.get("content") or "") + called


def test_turns_extend_each_other(gateway: Gateway) -> None:
    session = gateway.client.create_session()
    create = creator(gateway.agent(session.base_url))
    messages: list[Json] = list(TOOLS["messages"])
    for _ in range(2):
        answer = create(**{**TOOLS, "messages": messages}).choices[0].message
        messages.append(answer.model_dump(exclude_none=True))
        for call in cast(list[Any], answer.tool_calls or []):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
        if not answer.tool_calls:
            messages.append({"role": "user", "content": "and now?"})

    first, second = gateway.client.list_traces(session.session_id)
    context = list(first.prompt_token_ids) + list(first.completions[0].token_ids)
    if gateway.model == "tool-calls":
        assert first.completions[0].finish_reason == "tool_calls"
        assert list(second.prompt_token_ids)[: len(context)] == context
        assert second.parent_trace_id == first.trace_id
    assert (first.call_index, second.call_index) == (0, 1)


def test_an_error_comes_as_vllm_says_it_and_is_recorded(gateway: Gateway) -> None:
    session = gateway.client.create_session()
    create = creator(gateway.agent(session.base_url))
    with pytest.raises(BadRequestError) as caught:
        create(**{**CHAT, "n": 2, "temperature": 0})
    assert caught.value.status_code == 400
    trace = only_trace(gateway, session.session_id)
    assert (trace.status, trace.http_status) == ("UPSTREAM_ERROR", 400)
