"""Agents that call the Responses API, through the proxy: OpenAI's SDK, and bytes that no SDK would send."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from pydantic import BaseModel

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace_demo.worker_server import DemoWorker
from rolltrace_proxy import gaps
from rolltrace_store.interface import Store
from tests.proxy.answers import IDS, LOGPROBS, PROMPT, chat_answer, floats, ids, role_chunk, token_chunk
from tests.proxy.dialects.response_events import a_response, checked
from tests.proxy.gateway import Gateway, HeldStore, gateway, row
from tests.proxy.scripted import DONE, RESET, Reply, ScriptedWorker, Seen, events, scripted, whole

Json = Any  # what json.loads gives

TOOL: Json = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "properties": {}},
    "strict": None,
}


def agent(gate: Gateway, session_id: str = "s") -> AsyncOpenAI:
    base_url = f"{gate.proxy.url}/sessions/{session_id}/v1"
    return AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)


@asynccontextmanager
async def served(
    store: Store, reply: Reply
) -> AsyncGenerator[tuple[Gateway, ScriptedWorker, AsyncOpenAI], None]:
    async with scripted(reply) as worker, gateway(store, worker) as gate, agent(gate) as client:
        yield gate, worker, client


@pytest.fixture
async def demo(store: Store) -> AsyncGenerator[Gateway, None]:
    async with DemoWorker() as worker, gateway(store, row(worker.url)) as gate:
        yield gate


def is_whole(trace: pb.Trace) -> bool:
    completion = trace.completions[0]
    values = struct.unpack(f"<{len(completion.logprobs) // 4}f", completion.logprobs)
    return (
        trace.endpoint == "responses"
        and trace.status == pb.CALL_STATUS_COMPLETED
        and not trace.capture_gaps
        and bool(trace.prompt_token_ids)
        and len(completion.token_ids) == len(completion.logprobs) > 0
        and all(value == value for value in values)
    )


async def test_the_sdk_gets_a_response(demo: Gateway) -> None:
    async with agent(demo) as client:
        response = await client.responses.create(
            model="demo", input="Tell me of the river.", max_output_tokens=12, metadata={"a": "b"}
        )
    trace = await demo.trace()
    assert is_whole(trace)
    assert response.id == f"resp_{trace.trace_id.replace('-', '')}"
    assert response.output_text == json.loads(trace.completions[0].message_json)["content"]
    assert response.metadata == {"a": "b"}
    assert response.usage is not None
    assert response.usage.output_tokens == len(trace.completions[0].token_ids) // 4
    assert json.loads(trace.request_json)["input"] == "Tell me of the river."
    assert a_response(trace.response_json) == response.model_dump(mode="json", exclude_unset=True)


async def test_a_tool_loop_with_the_typed_stream(demo: Gateway) -> None:
    tool: Json = {**TOOL, "name": "get_weather"}
    asked: Json = {"role": "user", "content": "How is the weather in Oslo?"}
    async with agent(demo) as client:
        async with client.responses.stream(model="demo", input=[asked], tools=[tool]) as stream:
            deltas = [e.delta async for e in stream if e.type == "response.function_call_arguments.delta"]
            first = await stream.get_final_response()
        (call,) = first.output
        assert call.type == "function_call"
        assert (call.name, call.arguments) == ("get_weather", "".join(deltas))
        result: Json = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        history: Json = [asked, call.model_dump(mode="json", exclude_unset=True), result]
        second = await client.responses.create(model="demo", input=history, tools=[tool], max_output_tokens=9)
    assert second.output_text
    traces = await demo.traces()
    assert [is_whole(trace) for trace in traces] == [True, True]
    message = json.loads(traces[0].completions[0].message_json)
    assert message["tool_calls"][0]["function"]["arguments"] == call.arguments


class Weather(BaseModel):
    city: str


async def test_a_typed_answer(store: Store) -> None:
    answer = chat_answer()
    answer["choices"][0]["message"]["content"] = '{"city": "Oslo"}'  # type: ignore[index]  # as it is made
    async with served(store, whole(answer)) as (_, worker, client):
        parsed = await client.responses.parse(model="m", input="hi", text_format=Weather)
    assert parsed.output_parsed == Weather(city="Oslo")
    sent = worker.seen[0].json()["response_format"]
    assert isinstance(sent, dict)
    assert (sent["type"], sent["json_schema"]["name"]) == ("json_schema", "Weather")


async def test_what_the_worker_is_sent_and_the_agent_gets(store: Store) -> None:
    async with served(store, whole(chat_answer())) as (gate, worker, client):
        response = await client.responses.create(model="m", input="hi")
        trace = await gate.trace()
    sent = worker.seen[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.json() == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "return_token_ids": True,
        "logprobs": True,
    }
    assert response.output_text == "answer 0"
    (item,) = response.output
    assert item.type == "message"
    assert item.content[0].model_dump()["logprobs"] == []
    assert (trace.prompt_token_ids, trace.completions[0].token_ids) == (ids(PROMPT), ids(IDS))
    assert trace.completions[0].logprobs == floats(LOGPROBS)
    assert b"token_ids" not in trace.response_json


async def test_the_last_events_wait_for_the_commit(store: Store) -> None:
    held = HeldStore(store)
    stream = events(role_chunk(), *[token_chunk(place) for place in range(3)], DONE)
    async with scripted(stream) as worker, gateway(held.as_store(), row(worker)) as gate:
        body: Json = {"model": "m", "input": "hi", "stream": True}
        async with gate.http.post(gate.url("responses"), json=body) as got:
            assert got.headers["Content-Type"].startswith("text/event-stream")
            seen = b""
            while b'"t2"' not in seen:
                seen += await got.content.readany()
            await held.reached.wait()
            assert b"output_text.done" not in seen
            held.gate.set()
            seen += await got.read()
        trace = await gate.trace()
    response = checked(seen)
    assert a_response(trace.response_json) == response
    assert is_whole(trace)
    assert b"[DONE]" not in seen


async def test_a_worker_that_dies_in_the_stream_breaks_it_off(store: Store) -> None:
    async with served(store, events(role_chunk(), token_chunk(0), RESET)) as (gate, _, client):
        seen: list[str] = []

        async def listen() -> None:
            async for event in await client.responses.create(model="m", input="hi", stream=True):
                seen.append(event.type)

        with pytest.raises(Exception, match=r"(?i)connection|peer|incomplete"):
            await listen()
        trace = await gate.trace()
    assert seen[-1] == "response.output_text.delta"
    assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR
    assert trace.completions[0].token_ids == ids(IDS[:1])
    assert a_response(trace.response_json)["status"] == "in_progress"


async def test_a_worker_s_error_keeps_its_status(store: Store) -> None:
    error = {"message": "no such model", "type": "NotFoundError", "param": "model", "code": 404}
    async with served(store, whole({"error": error}, 404)) as (gate, _, client):
        with pytest.raises(NotFoundError, match="no such model"):
            await client.responses.create(model="m", input="hi", stream=True)
        trace = await gate.trace()
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_UPSTREAM_ERROR, 404)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_chat_cannot_say_goes_to_the_worker_s_own_endpoint(store: Store, stream: bool) -> None:
    own: Json = {"id": "resp_1", "object": "response", "output": []}
    reply = events(b"event: response.completed\n", {"type": "response.completed"}) if stream else whole(own)
    async with served(store, reply) as (gate, worker, _):
        body: Json = {"model": "m", "input": "hi", "stream": stream, "tools": [{"type": "web_search"}]}
        async with gate.http.post(gate.url("responses"), json=body) as got:
            seen = await got.read()
        trace = await gate.trace()
    assert (worker.seen[0].path, worker.seen[0].json()) == ("/v1/responses", body)
    assert b"".join(step for step in reply.steps if isinstance(step, bytes)) == seen
    assert {gap.kind for gap in trace.capture_gaps} == {gaps.PROMPT_TOKEN_IDS, gaps.TOKEN_IDS, gaps.LOGPROBS}
    assert all("web_search" in gap.message for gap in trace.capture_gaps)
    session = await store.read(lambda view: view.session("s"))
    assert session is not None
    assert session.incomplete


@pytest.mark.parametrize(
    ("body", "path"),
    [(b"nonsense", "/v1/responses"), (b"", "/v1/responses"), (b'{"input":"\xff"}', "/v1/responses")],
)
async def test_a_body_that_is_no_object_is_for_the_worker_to_refuse(
    store: Store, body: bytes, path: str
) -> None:
    async with served(store, whole({"error": {"message": "no"}}, 400)) as (gate, worker, _):
        async with gate.http.post(gate.url("responses"), data=body) as got:
            assert got.status == 400
        trace = await gate.trace()
    assert (worker.seen[0].path, worker.seen[0].body) == (path, body)
    assert trace.status == pb.CALL_STATUS_UPSTREAM_ERROR


async def test_a_request_that_makes_no_sense_is_refused_and_recorded(store: Store) -> None:
    async with served(store, whole(chat_answer())) as (gate, worker, client):
        with pytest.raises(BadRequestError, match=r"input\[0\]\.content"):
            await client.responses.create(model="m", input=[{"role": "user"}])  # type: ignore[list-item]
        trace = await gate.trace()
    assert not worker.seen
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_REFUSED, 400)
    assert json.loads(trace.request_json)["input"] == [{"role": "user"}]


async def test_other_methods_and_calls_without_a_session_pass_through(store: Store) -> None:
    async with served(store, whole({"id": "resp_1"})) as (gate, worker, _):
        async with gate.http.get(gate.url("responses/resp_1")) as got:
            assert await got.json() == {"id": "resp_1"}
        async with gate.http.post(f"{gate.proxy.url}/v1/responses", json={"input": "hi"}) as got:
            assert await got.json() == {"id": "resp_1"}
        assert await gate.traces() == []
    assert [seen.path for seen in worker.seen] == ["/v1/responses/resp_1", "/v1/responses"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_gets_the_recorded_response(store: Store, stream: bool) -> None:
    chunks = [role_chunk(), *[token_chunk(place) for place in range(3)]]
    async with served(store, events(*chunks, DONE) if stream else whole(chat_answer())) as (gate, worker, _):
        body: Json = {"model": "m", "input": "hi", "stream": stream}
        got: list[bytes] = []
        for count in ("0", "1"):
            fields = {"x-stainless-retry-count": count}
            async with gate.http.post(gate.url("responses"), json=body, headers=fields) as answer:
                got.append(await answer.read())
    assert len(worker.seen) == 1
    assert checked(got[0]) == checked(got[1]) if stream else got[0] == got[1]


async def test_the_session_s_sampling_and_the_agent_s_own_parameters(store: Store) -> None:

    session = Session(session_id="s")
    session.sampling_params.update({"temperature": 0.5})
    await store.write(lambda view: view.create_session(session))
    async with served(store, whole(chat_answer())) as (_, worker, client):
        await client.responses.create(model="m", input="hi", temperature=1.0, top_p=0.5)
    sent = worker.seen[0].json()
    assert (sent["temperature"], sent["top_p"]) == (0.5, 0.5)


async def test_calls_of_many_agents_at_once(store: Store) -> None:
    def reply(seen: Seen) -> Reply:
        if "stream" in seen.json():
            return events(role_chunk(), *[token_chunk(place) for place in range(3)], DONE)
        return whole(chat_answer())

    async with scripted(reply) as worker, gateway(store, worker) as gate, agent(gate) as client:

        async def call(number: int) -> str:
            if number % 2:
                return (await client.responses.create(model="m", input=f"hi {number}")).output_text
            text = ""
            async for event in await client.responses.create(model="m", input=f"hi {number}", stream=True):
                text += event.delta if event.type == "response.output_text.delta" else ""
            return text

        assert set(await asyncio.gather(*[call(number) for number in range(20)])) == {"answer 0", "t0t1t2"}
        assert all(is_whole(trace) for trace in await gate.traces())
