"""OpenAI's Responses API in front of a real vLLM: the answers of its own, and every token captured."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.lib.streaming.responses import ResponseStreamManager
from openai.types.responses import Response

from rolltrace_client import Trace
from tests.vllm import direct
from tests.vllm.conftest import Gateway
from tests.vllm.direct import Json
from tests.vllm.test_vllm import only_trace

pytestmark = pytest.mark.vllm

ASKED: Json = {"model": "tiny", "input": "tell me", "max_output_tokens": 40, "temperature": 0}
CITY: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Json = {
    "type": "function",
    "name": "get_weather",
    "description": "weather report",
    "parameters": CITY,
}
QUESTION: Json = {"role": "user", "content": "what is the weather in Paris"}
TOOLS: Json = {**ASKED, "input": [QUESTION], "tools": [WEATHER], "max_output_tokens": 100}
CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c-1",
    "name": "get_weather",
    "arguments": '{"city": "Zürich"}',
    "status": "completed",
}
RESULT: Json = {"type": "function_call_output", "call_id": "c-1", "output": "sunny"}
SAID: Json = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "One moment.", "annotations": []}],
}
THOUGHT: Json = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "I look it up."}],
}
PARTS: Json = {
    "role": "user",
    "content": [
        {"type": "input_text", "text": "what is the"},
        {"type": "input_text", "text": "weather in Paris"},
    ],
}
CASES = {
    "text": ASKED,
    "instructions": {**ASKED, "instructions": "You are terse."},
    "log-probabilities": {**ASKED, "include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "parts": {**TOOLS, "input": [{"role": "developer", "content": "Be kind."}, PARTS]},
    "tools": TOOLS,
    "a strict tool": {**TOOLS, "tools": [{**WEATHER, "strict": True}], "parallel_tool_calls": False},
    "a tool is required": {**TOOLS, "tool_choice": "required"},
    "a tool is named": {**TOOLS, "tool_choice": {"type": "function", "name": "get_weather"}},
    "no tool may be called": {**TOOLS, "tool_choice": "none"},
    "the result of a tool": {**TOOLS, "input": [QUESTION, THOUGHT, SAID, CALL, RESULT]},
    "the results of two": {
        **TOOLS,
        "input": [QUESTION, CALL, {**CALL, "call_id": "c-2"}, RESULT, {**RESULT, "call_id": "c-2"}, QUESTION],
    },
    "a part of an answer": {**ASKED, "input": [QUESTION, {**SAID, "status": "incomplete"}]},
    "a schema": {**ASKED, "text": {"format": {"type": "json_schema", "name": "weather", "schema": CITY}}},
    "sampling of vLLM's own": {**ASKED, "temperature": 1, "seed": 7, "top_k": 5, "stop": ["e"]},
    "reasoning": {**ASKED, "reasoning": {"effort": "low"}, "truncation": "auto"},
}


@contextmanager
def agent(gateway: Gateway) -> Generator[tuple[OpenAI, str]]:
    """The SDK of an agent of a new session, and the session's id."""
    session = gateway.client.create_session()
    with gateway.agent(session.base_url) as client:
        yield client, session.session_id


def creator(client: OpenAI) -> Callable[..., Response]:
    return client.responses.create


def streamer(client: OpenAI) -> Callable[..., ResponseStreamManager[None]]:
    return client.responses.stream


def directly(gateway: Gateway, body: Json) -> Json:
    """What vLLM itself answers, with the ids of its prompt and of what it sampled."""
    return direct.post(f"{gateway.worker_url}/v1/responses", {**body, "enable_response_messages": True})


def meaning(response: Json) -> Json:
    """What a response says, without what differs between two of vLLM's own. vLLM calls every item whole."""
    return {
        "output": [_meaning(item) for item in response["output"]],
        "status": response["status"],
        "incomplete_details": response["incomplete_details"],
        "model": response["model"],
        "usage": {key: response["usage"][key] for key in ("input_tokens", "output_tokens", "total_tokens")},
    }


def _meaning(item: Json) -> Json:
    parts: list[Json] = [
        {
            **{key: part.get(key) for key in ("type", "text", "annotations")},
            "logprobs": part.get("logprobs") or [],
        }
        for part in cast(list[Json], item.get("content") or [])
    ]
    return {**{key: item.get(key) for key in ("type", "role", "name", "arguments")}, "content": parts}


def numbers(values: Json) -> Iterator[float]:
    """All log-probabilities in an answer, in order."""
    for item in values["output"]:
        for part in item["content"]:
            yield from [entry.pop("logprob") for entry in part["logprobs"]]
            yield from [top.pop("logprob") for entry in part["logprobs"] for top in entry["top_logprobs"]]


def assert_same(ours: Json, native: Json) -> None:
    """But for the last bits of log-probabilities, which depend on what else runs."""
    assert list(numbers(ours)) == pytest.approx(list(numbers(native)), abs=0.05)
    assert ours == native


def assert_all_captured(trace: Trace, native: Json) -> None:
    """The ids are those that vLLM says of its own answer, each with its log-probability."""
    assert (trace.endpoint, trace.status, list(trace.capture_gaps)) == ("responses", "COMPLETED", [])
    prompt = [token for message in native["input_messages"] for token in message["tokens"]]
    sampled = [token for message in native["output_messages"] for token in message["tokens"]]
    assert list(trace.prompt_token_ids) == prompt
    (completion,) = trace.completions
    assert list(completion.token_ids) == sampled
    assert len(completion.logprobs) == len(sampled)
    assert all(value <= 0 for value in completion.logprobs)


@pytest.mark.parametrize("body", CASES.values(), ids=CASES)
def test_the_agent_gets_the_response_that_vllm_would_have_sent(gateway: Gateway, body: Json) -> None:
    with agent(gateway) as (client, session_id):
        response = creator(client)(**sdk(body)).model_dump(mode="json")
    native = directly(gateway, body)
    assert_same(meaning(response), meaning(native))
    assert_all_captured(only_trace(gateway, session_id), native)


@pytest.mark.parametrize("body", CASES.values(), ids=CASES)
def test_the_typed_stream_is_the_one_that_vllm_would_have_sent(gateway: Gateway, body: Json) -> None:
    with agent(gateway) as (client, session_id), streamer(client)(**sdk(body)) as stream:
        events = list(stream)
    last: Any = events[-1]
    assert last.type == f"response.{last.response.status}"
    if last.response.status == "completed":
        assert last.response == stream.get_final_response()
    asked = {**body, "enable_response_messages": True}
    plain = list(direct.stream(f"{gateway.worker_url}/v1/responses", asked))
    assert_all_captured(only_trace(gateway, session_id), plain[-1]["response"])
    types = without_repeats([event.type for event in events])
    theirs = without_repeats([*[event["type"] for event in plain[:-1]], last.type])
    # vLLM ends a call when the next begins; here parallel calls end together.
    several = len([item for item in last.response.output if item.type == "function_call"]) > 1
    assert (sorted(types) == sorted(theirs)) if several else (types == theirs)
    # vLLM's stream leaves out the log-probabilities of what has no text; its whole answer does not.
    native = directly(gateway, body) if "include" in body else plain[-1]["response"]
    assert_same(meaning(last.response.model_dump(mode="json")), meaning(native))


def without_repeats(types: list[str]) -> list[str]:
    return [kind for kind, before in zip(types, ["", *types], strict=False) if kind != before]


def sdk(body: Json) -> Json:
    """The body as arguments of the SDK, which knows nothing of vLLM's own members."""
    own = {key: body[key] for key in ("seed", "top_k", "stop") if key in body}
    return {**{key: value for key, value in body.items() if key not in own}, "extra_body": own}


def test_a_loop_that_goes_on_from_the_last_response(gateway: Gateway) -> None:
    with agent(gateway) as (client, session_id):
        create = creator(client)
        first = create(**TOOLS)
        news: list[Json] = [
            {**RESULT, "call_id": item.call_id} for item in first.output if item.type == "function_call"
        ] or [{"role": "user", "content": "and now?"}]
        second = create(**{**TOOLS, "input": news, "previous_response_id": first.id})
    said = [item.model_dump(mode="json", exclude_none=True) for item in first.output]
    native = directly(gateway, {**TOOLS, "input": [QUESTION, *said, *news]})
    assert meaning(second.model_dump(mode="json")) == meaning(native)
    assert_all_captured(list(gateway.client.list_traces(session_id))[1], native)


def test_errors_come_as_vllm_says_them(gateway: Gateway) -> None:
    wrong: list[Json] = [{"max_output_tokens": 100_000}, {"temperature": 9}, {"model": "nope"}]
    with agent(gateway) as (client, session_id), gateway.agent(f"{gateway.worker_url}/v1") as own:
        for members in wrong:
            assert refusal(client, {**ASKED, **members}) == refusal(own, {**ASKED, **members})
    traces = gateway.client.list_traces(session_id)
    assert [trace.status for trace in traces] == ["UPSTREAM_ERROR"] * 3


def refusal(client: OpenAI, body: Json) -> tuple[int, object]:
    with pytest.raises((BadRequestError, NotFoundError)) as caught:
        creator(client)(**body)
    return caught.value.status_code, caught.value.body
