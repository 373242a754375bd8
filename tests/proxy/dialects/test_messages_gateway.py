"""The official SDK of Anthropic through the gateway, to the demo worker and to scripted ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.lib.streaming import AsyncMessageStreamManager
from anthropic.types import Message, MessageTokensCount

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_demo.worker_server import DemoWorker
from rolltrace_store.interface import Store
from rolltrace_store.session_key import session_key
from tests.proxy.gateway import Gateway, gateway, row, running, seal, with_settings
from tests.proxy.scripted import DONE, RESET, STALL, Reply, events, scripted, whole

Json = dict[str, Any]

CITY: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASKED: Json = {
    "model": "demo",
    "max_tokens": 40,
    "messages": [{"role": "user", "content": "Tell me of the weather."}],
    "extra_body": {"seed": 7},
}
TOOL: Json = {
    **ASKED,
    "max_tokens": 200,
    "tools": [{"name": "get_weather", "description": "a report", "input_schema": CITY}],
    "tool_choice": {"type": "tool", "name": "get_weather"},
}
CASES = {"text": ASKED, "a tool": TOOL}
CHUNK: Json = {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]}


@pytest.fixture
async def worker() -> AsyncGenerator[DemoWorker, None]:
    async with DemoWorker() as worker:
        yield worker


@pytest.fixture
async def gate(store: Store, worker: DemoWorker) -> AsyncGenerator[Gateway, None]:
    async with gateway(store, row(worker.url)) as gate:
        yield gate


def agent(gate: Gateway, path: str = "/sessions/s", **options: Any) -> AsyncAnthropic:
    options = {"api_key": "none", "max_retries": 0, **options}
    return AsyncAnthropic(base_url=gate.proxy.url + path, **options)


def creator(client: AsyncAnthropic) -> Callable[..., Awaitable[Message]]:
    """The SDK's function, untyped: requests here are JSON, as on the wire."""
    return client.messages.create


def streamer(client: AsyncAnthropic) -> Callable[..., AsyncMessageStreamManager[None]]:
    return client.messages.stream


async def ask(client: AsyncAnthropic, asked: Json, **more: object) -> Message:
    return await creator(client)(**asked, **more)


def streaming(client: AsyncAnthropic, asked: Json, **more: object) -> AsyncMessageStreamManager[None]:
    return streamer(client)(**asked, **more)


def assert_whole(trace: pb.Trace) -> None:
    """Recorded as a call of the Messages API, token for token."""
    assert (trace.endpoint, trace.status) == ("messages", pb.CALL_STATUS_COMPLETED)
    assert not trace.capture_gaps
    (completion,) = trace.completions
    assert trace.prompt_token_ids
    assert completion.token_ids
    assert len(completion.token_ids) == len(completion.logprobs)


@pytest.mark.parametrize("asked", CASES.values(), ids=CASES)
async def test_a_whole_answer(gate: Gateway, asked: Json) -> None:
    async with agent(gate) as client:
        message = await ask(client, asked)
    trace = await gate.trace()
    assert_whole(trace)
    assert json.loads(trace.response_json) == message.model_dump(exclude_unset=True)
    assert message.usage.output_tokens == len(trace.completions[0].token_ids) // 4
    assert message.content[0].type == ("tool_use" if asked is TOOL else "text")


@pytest.mark.parametrize("asked", CASES.values(), ids=CASES)
async def test_a_stream_says_the_same_as_a_whole_answer(gate: Gateway, asked: Json) -> None:
    async with agent(gate) as client:
        message = await ask(client, asked)
        async with streaming(client, asked) as stream:
            starts = [e.message.usage.input_tokens async for e in stream if e.type == "message_start"]
            streamed = await stream.get_final_message()
    whole_trace, stream_trace = await gate.traces()
    assert_whole(stream_trace)
    assert stream_trace.completions[0].token_ids == whole_trace.completions[0].token_ids
    assert starts == [len(stream_trace.prompt_token_ids) // 4]
    dumps: list[Json] = [each.model_dump(exclude={"id"}) for each in (message, streamed)]
    for each in dumps:
        for block in each["content"]:
            block.pop("id", None)
            block.pop("parsed_output", None)
    assert dumps[0] == dumps[1]
    assert json.loads(stream_trace.response_json)["id"] == streamed.id


async def test_a_conversation_with_a_tool(gate: Gateway) -> None:
    messages: list[Json] = list(TOOL["messages"])
    async with agent(gate) as client:
        called = await ask(client, TOOL)
        messages.append({"role": "assistant", "content": called.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "sunny"}]}
            for block in called.content
            if block.type == "tool_use"
        ]
        messages.append({"role": "user", "content": results})
        await ask(client, {**ASKED, "messages": messages, "tools": TOOL["tools"]})
    first, second = await gate.traces()
    assert_whole(second)
    assert second.prompt_token_ids.startswith(first.prompt_token_ids + first.completions[0].token_ids)
    assert second.parent_trace_id == first.trace_id


async def test_the_end_of_a_stream_waits_for_its_record(store: Store) -> None:
    gone_on = asyncio.Event()
    end: Json = {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    async with scripted(events(CHUNK, gone_on, end, DONE)) as worker, gateway(store, worker) as gate:
        async with agent(gate) as client, streaming(client, ASKED) as stream:
            async for event in stream:
                if event.type == "text":
                    assert not await gate.traces()
                    gone_on.set()
                if event.type == "message_delta":
                    assert await gate.traces()
    (seen,) = worker.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.json()["stream_options"] == {"include_usage": True}


KEYS = {"x-api-key": {"api_key": "{}"}, "Bearer": {"api_key": None, "auth_token": "{}"}}


@pytest.mark.parametrize("options", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("kind", ["session id", "session key"])
async def test_the_key_carries_the_session(gate: Gateway, store: Store, options: Json, kind: str) -> None:
    secret = await store.read(lambda view: view.secret())
    key = "session:s" if kind == "session id" else session_key(secret, "s")
    async with agent(gate, "", **{name: value and key for name, value in options.items()}) as client:
        await ask(client, ASKED)
    assert_whole(await gate.trace())


async def test_a_base_url_that_ends_as_openais_does(gate: Gateway) -> None:
    async with agent(gate, "/sessions/s/v1") as client:
        await ask(client, ASKED)
    assert_whole(await gate.trace())


async def test_the_sdks_beta_calls_are_the_same_calls(gate: Gateway) -> None:
    """They have ?beta=true behind the path; Claude Code makes them."""
    async with agent(gate) as client:
        create: Any = client.beta.messages.create
        message = await create(**TOOL, betas=["interleaved-thinking-2025-05-14"])
    assert message.stop_reason == "tool_use"
    assert_whole(await gate.trace())


REPLIES: list[tuple[Reply, type[anthropic.APIStatusError], str]] = [
    (whole({"error": {"message": "no"}}, 400), anthropic.BadRequestError, "invalid_request_error"),
    (whole({"error": "Unauthorized"}, 401), anthropic.AuthenticationError, "authentication_error"),
    (whole({"detail": "Not Found"}, 404), anthropic.NotFoundError, "not_found_error"),
    (whole({"error": {"message": "later"}}, 429), anthropic.RateLimitError, "rate_limit_error"),
    (whole({"error": {"message": "oops"}}, 500), anthropic.InternalServerError, "api_error"),
]


@pytest.mark.parametrize(("reply", "kind", "name"), REPLIES)
@pytest.mark.parametrize("streamed", [False, True])
async def test_errors_of_a_worker(
    store: Store, reply: Reply, kind: type[anthropic.APIStatusError], name: str, streamed: bool
) -> None:
    async with scripted(reply) as worker, gateway(store, worker) as gate:
        async with agent(gate) as client:
            with pytest.raises(kind) as caught:
                await ask(client, ASKED, stream=streamed)
        trace = await gate.trace()
    assert caught.value.type == name
    assert caught.value.body == json.loads(trace.response_json)
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_UPSTREAM_ERROR, reply.status)


async def test_an_error_within_a_stream(store: Store) -> None:
    failed: Json = {"error": {"message": "out of memory", "code": 500}}
    async with scripted(events(CHUNK, failed, DONE)) as worker, gateway(store, worker) as gate:
        async with agent(gate) as client:
            with pytest.raises(anthropic.APIStatusError, match="out of memory") as caught:
                async with streaming(client, ASKED) as stream:
                    await stream.get_final_message()
        trace = await gate.trace()
    assert caught.value.type == "api_error"
    assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR
    assert json.loads(trace.response_json)["content"] == [{"type": "text", "text": "a"}]


async def test_a_worker_that_breaks_off_breaks_off_the_stream(store: Store) -> None:
    async with scripted(events(CHUNK, RESET)) as worker, gateway(store, worker) as gate:
        async with agent(gate) as client:
            with pytest.raises(Exception, match="peer closed connection"):
                async with streaming(client, ASKED) as stream:
                    await stream.get_final_message()
        trace = await gate.trace()
    assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR
    assert json.loads(trace.response_json)["stop_reason"] is None


async def test_an_agent_that_hangs_up(store: Store) -> None:
    async with scripted(events(CHUNK, STALL)) as worker, gateway(store, worker) as gate:
        async with agent(gate) as client, streaming(client, ASKED) as stream:
            async for _ in stream.text_stream:
                break
        trace = await gate.trace()
    assert trace.status == pb.CALL_STATUS_CLIENT_CANCELLED
    assert json.loads(trace.response_json)["content"] == [{"type": "text", "text": "a"}]
    assert json.loads(trace.completions[0].message_json)["content"] == "a"


async def test_a_sealed_session(gate: Gateway, store: Store) -> None:
    async with agent(gate) as client:
        await ask(client, ASKED)
        await seal(store)
        with pytest.raises(anthropic.ConflictError) as caught:
            await ask(client, ASKED)
    assert caught.value.type == "invalid_request_error"


async def test_nobody_gets_in_without_a_key(store: Store, worker: DemoWorker) -> None:
    settings = with_settings(auth="token", admin_token="a-long-enough-admin-token")
    async with gateway(store, row(worker.url), settings=settings) as gate, agent(gate) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await ask(client, ASKED)
    assert caught.value.type == "authentication_error"


BAD_BODIES = [b"", b"{", b"[]", b'{"model":"demo","max_tokens":1,"messages":[{"role":"user","content":[3]}]}']


@pytest.mark.parametrize("body", BAD_BODIES)
async def test_a_bad_request_is_refused_and_recorded(gate: Gateway, body: bytes) -> None:
    async with gate.http.post(gate.url("messages"), data=body) as answer:
        said: Json = await answer.json()
    assert (answer.status, said["type"], said["error"]["type"]) == (400, "error", "invalid_request_error")
    trace = await gate.trace()
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_REFUSED, 400)
    assert trace.request_json == body


async def test_enforced_parameters_and_the_gateways_model(store: Store, worker: DemoWorker) -> None:
    settings = with_settings(model="demo")
    async with gateway(store, row(worker.url), settings=settings) as gate, agent(gate) as client:
        message = await ask(client, {**ASKED, "model": "claude"})
    assert message.model == "demo"


async def test_a_repeat_gets_the_recorded_stream(gate: Gateway) -> None:
    repeated = {"x-stainless-retry-count": "1"}
    async with agent(gate) as client:
        async with streaming(client, TOOL) as stream:
            first = await stream.get_final_message()
        async with streaming(client, TOOL, extra_headers=repeated) as stream:
            again = await stream.get_final_message()
    assert again == first
    assert_whole(await gate.trace())


async def test_what_chat_cannot_say_goes_to_the_workers_own_endpoint(store: Store) -> None:
    answer: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    searching: Json = {**ASKED, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    async with scripted(whole(answer)) as worker, gateway(store, worker) as gate:
        async with agent(gate) as client:
            message = await ask(client, searching)
        trace = await gate.trace()
    assert message.id == "msg_1"
    (seen,) = worker.seen
    assert (seen.path, seen.body) == ("/v1/messages", trace.request_json)
    assert trace.capture_gaps
    assert not await running(store)


NOT_FOUND = whole({"detail": "Not Found"}, 404)


async def test_a_worker_without_the_endpoint_is_named(store: Store) -> None:
    searching: Json = {**ASKED, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    async with scripted(NOT_FOUND) as worker, gateway(store, worker) as gate, agent(gate) as client:
        with pytest.raises(anthropic.NotFoundError, match=r"Not Found.*web_search_20250305") as caught:
            await ask(client, searching)
        trace = await gate.trace()
    assert caught.value.type == "not_found_error"
    assert caught.value.body == json.loads(trace.response_json)


def counter(client: AsyncAnthropic) -> Callable[..., Awaitable[MessageTokensCount]]:
    return client.messages.count_tokens


async def test_tokens_are_counted_by_the_worker(store: Store) -> None:
    answer = {"input_tokens": 17, "context_management": {"original_input_tokens": 17}}
    asked = {"model": "demo", "messages": ASKED["messages"]}
    async with scripted(whole(answer)) as worker, gateway(store, worker) as gate, agent(gate) as client:
        assert (await counter(client)(**asked)).input_tokens == 17
        trace = await gate.trace()
    (seen,) = worker.seen
    assert (seen.path, seen.json()) == ("/v1/messages/count_tokens", asked)
    assert [gap.kind for gap in trace.capture_gaps] == [pb.CAPTURE_GAP_KIND_ENDPOINT]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (NOT_FOUND, "Not Found .The worker's own /v1/messages/count_tokens was asked"),
        (whole({"type": "error", "error": {"type": "BadRequestError", "message": "no"}}, 400), "no'"),
    ],
)
async def test_a_worker_that_counts_no_tokens(store: Store, reply: Reply, said: str) -> None:
    async with scripted(reply) as worker, gateway(store, worker) as gate, agent(gate) as client:
        with pytest.raises(anthropic.APIStatusError, match=said) as caught:
            await counter(client)(model="demo", messages=ASKED["messages"])
    assert caught.value.type in ("not_found_error", "invalid_request_error")


async def test_without_a_session_the_gateway_refuses_in_the_same_words(store: Store) -> None:
    async with gateway(store) as gate, agent(gate, "") as client:
        with pytest.raises(anthropic.InternalServerError, match="worker") as caught:
            await ask(client, ASKED)
    assert caught.value.type == "overloaded_error"
