"""Anthropic's API in front of a real vLLM: the answers of its own /v1/messages, and every token captured."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError
from anthropic.lib.streaming import MessageStreamManager
from anthropic.types import Message

from rolltrace_client import Trace
from tests.vllm import direct
from tests.vllm.conftest import Gateway
from tests.vllm.direct import Json
from tests.vllm.test_vllm import only_trace

pytestmark = pytest.mark.vllm

ASKED: Json = {
    "model": "tiny",
    "system": "You are terse.",
    "messages": [{"role": "user", "content": "what is the weather in Paris"}],
    "max_tokens": 40,
    "temperature": 0,
}
CITY: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Json = {"name": "get_weather", "description": "weather report", "input_schema": CITY}
TOOLS: Json = {**ASKED, "tools": [WEATHER], "max_tokens": 100}
RESULT: Json = {
    "type": "tool_result",
    "tool_use_id": "c-1",
    "content": [{"type": "text", "text": "sunny"}, {"type": "text", "text": "20 degrees"}],
}
AFTER: Json = {
    **TOOLS,
    "system": [{"type": "text", "text": "You are "}, {"type": "text", "text": "terse."}],
    "messages": [
        *TOOLS["messages"],
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I look it up.", "signature": "s"},
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "c-1", "name": "get_weather", "input": {"city": "Zürich"}},
            ],
        },
        {
            "role": "user",
            "content": [RESULT, {"type": "text", "text": "and?"}, {"type": "text", "text": "now?"}],
        },
    ],
}
CASES = {
    "text": ASKED,
    "a stop sequence": {**ASKED, "stop_sequences": ["e"]},
    "tools": TOOLS,
    "a tool is required": {**TOOLS, "tool_choice": {"type": "any"}},
    "a tool is named": {**TOOLS, "tool_choice": {"type": "tool", "name": "get_weather"}},
    "the result of a tool": AFTER,
    "a later system message": {
        **ASKED,
        "messages": [*ASKED["messages"], {"role": "system", "content": "Be kind."}, *ASKED["messages"]],
    },
}


def agent(gateway: Gateway) -> tuple[Anthropic, str]:
    """The SDK of an agent of a new session, and the session's id."""
    session = gateway.client.create_session()
    base_url = session.base_url.removesuffix("/v1")
    return Anthropic(base_url=base_url, api_key="none", max_retries=0, timeout=120), session.session_id


def creator(client: Anthropic) -> Callable[..., Message]:
    return client.messages.create


def streamer(client: Anthropic) -> Callable[..., MessageStreamManager[None]]:
    return client.messages.stream


def as_sdk(body: Json) -> Json:
    """The SDK knows no temperature."""
    return {key: value for key, value in body.items() if key != "temperature"} | {
        "extra_body": {"temperature": body["temperature"]}
    }


def ask(gateway: Gateway, body: Json, *, streamed: bool) -> tuple[Message, Trace]:
    """Calls as an agent does; of a stream, what its helper makes of it."""
    client, session_id = agent(gateway)
    with client:
        if streamed:
            with streamer(client)(**as_sdk(body)) as stream:
                message: Message = stream.get_final_message()
        else:
            message = creator(client)(**as_sdk(body))
    return message, only_trace(gateway, session_id)


def meaning(message: Json) -> Json:
    """A message without what differs from one call to the next, and from one cache to another."""
    content = [
        {k: v for k, v in block.items() if k not in ("id", "signature")} for block in message["content"]
    ]
    usage: Json = message["usage"]
    read, made = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return {
        **{key: message.get(key) for key in ("type", "role", "model", "stop_reason", "stop_sequence")},
        "content": content,
        "usage": (usage["input_tokens"] + read + made, usage["output_tokens"]),
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("body", CASES.values(), ids=CASES)
def test_the_answer_is_the_one_of_vllms_own_endpoint(gateway: Gateway, body: Json, streamed: bool) -> None:
    message, trace = ask(gateway, body, streamed=streamed)
    (completion,) = trace.completions
    assert list(trace.capture_gaps) == []
    assert (trace.endpoint, trace.streamed) == ("messages", streamed)
    assert len(completion.logprobs) == len(completion.token_ids)
    assert all(logprob <= 0 for logprob in completion.logprobs)

    dumped: Json = message.model_dump(exclude_none=True)
    for block in cast(list[Json], dumped["content"]):
        block.pop("parsed_output", None)
    assert meaning(dumped)["usage"] == (len(trace.prompt_token_ids), len(completion.token_ids))
    if gateway.model == "random" and "tool_choice" in body:
        return  # what it writes is no JSON, and vLLM refuses it, or reads it otherwise when streamed
    expected = direct.post(f"{gateway.worker_url}/v1/messages", body)
    assert meaning(dumped) == meaning(expected)


@pytest.mark.parametrize("body", CASES.values(), ids=CASES)
def test_the_tokens_counted_are_those_of_the_prompt(gateway: Gateway, body: Json) -> None:
    client, session_id = agent(gateway)
    counted = {
        key: body[key] for key in ("model", "system", "messages", "tools", "tool_choice") if key in body
    }
    count: Callable[..., Any] = client.messages.count_tokens
    with client:
        counted_tokens: int = count(**counted).input_tokens
        creator(client)(**as_sdk(body))
    *_, trace = gateway.client.list_traces(session_id)
    assert counted_tokens == len(trace.prompt_token_ids)


def test_turns_extend_each_other(gateway: Gateway) -> None:
    client, session_id = agent(gateway)
    messages: list[Json] = list(TOOLS["messages"])
    with client:
        for _ in range(2):
            answer = creator(client)(**{**as_sdk(TOOLS), "messages": messages})
            messages.append({"role": "assistant", "content": answer.content})
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
                for block in answer.content
                if block.type == "tool_use"
            ]
            messages.append({"role": "user", "content": results or "and now?"})
    first, second = gateway.client.list_traces(session_id)
    context = list(first.prompt_token_ids) + list(first.completions[0].token_ids)
    if gateway.model == "tool-calls":
        assert first.completions[0].finish_reason == "tool_calls"
        assert list(second.prompt_token_ids)[: len(context)] == context
        assert second.parent_trace_id == first.trace_id


def test_errors_come_in_anthropics_words(gateway: Gateway) -> None:
    client, _ = agent(gateway)
    with client:
        with pytest.raises(NotFoundError) as unknown:
            creator(client)(**{**as_sdk(ASKED), "model": "nope"})
        with pytest.raises(BadRequestError) as long:
            creator(client)(**{**as_sdk(ASKED), "max_tokens": 10**9})
    assert (unknown.value.type, long.value.type) == ("not_found_error", "invalid_request_error")
