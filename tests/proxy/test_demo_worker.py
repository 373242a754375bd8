"""The OpenAI SDK through the proxy to the demo worker: a trace holds what the worker says directly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_demo.worker_server import DemoWorker
from rolltrace_store.interface import Store
from tests.proxy.answers import floats, ids
from tests.proxy.gateway import Gateway, gateway, row

Json = dict[str, Any]

ASKED: Json = {
    "messages": [{"role": "user", "content": "Tell me of the river."}],
    "seed": 7,
    "max_tokens": 12,
}


@pytest.fixture
async def worker() -> AsyncGenerator[DemoWorker, None]:
    async with DemoWorker() as worker:
        yield worker


@pytest.fixture
async def gate(store: Store, worker: DemoWorker) -> AsyncGenerator[Gateway, None]:
    async with gateway(store, row(worker.url)) as gate:
        yield gate


async def direct(worker: DemoWorker, n: int) -> Json:
    body = {**ASKED, "n": n, "logprobs": True, "return_token_ids": True}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{worker.url}/v1/chat/completions", json=body) as got,
    ):
        answer: Json = json.loads(await got.read())
        return answer


def agent(gate: Gateway) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{gate.proxy.url}/sessions/s/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_trace_is_what_the_worker_says(
    gate: Gateway, worker: DemoWorker, stream: bool, n: int
) -> None:
    expected = await direct(worker, n)
    async with agent(gate) as client:
        asked: Json = {**ASKED, "model": "demo", "n": n}
        if stream:
            answer: AsyncStream[ChatCompletionChunk]
            answer = await client.chat.completions.create(**asked, stream=True)
            assert [chunk async for chunk in answer]
        else:
            await client.chat.completions.create(**asked)
    trace = await gate.trace()
    assert trace.status == pb.CALL_STATUS_COMPLETED
    assert not trace.capture_gaps
    assert trace.prompt_token_ids == ids(expected["prompt_token_ids"])
    choices: list[Json] = expected["choices"]
    assert len(trace.completions) == n
    for completion, choice in zip(trace.completions, choices, strict=True):
        content: list[Json] = choice["logprobs"]["content"]
        assert completion.token_ids == ids(choice["token_ids"])
        assert completion.logprobs == floats([token["logprob"] for token in content])
        assert json.loads(completion.message_json)["content"] == choice["message"]["content"]


async def test_a_hang_up_ends_the_sampling(gate: Gateway, worker: DemoWorker) -> None:
    async with agent(gate) as client:
        endless: Json = {**ASKED, "model": "demo", "max_tokens": 100_000}
        stream: AsyncStream[ChatCompletionChunk]
        stream = await client.chat.completions.create(**endless, stream=True)
        await anext(stream)
        await stream.close()
    trace = await gate.trace()
    while worker.state.running:
        await asyncio.sleep(0.005)
    assert worker.state.aborted == 1
    assert trace.status == pb.CALL_STATUS_CLIENT_CANCELLED
    assert trace.completions[0].token_ids
    assert len(trace.completions[0].token_ids) == len(trace.completions[0].logprobs)


async def test_an_agent_counts_the_tokens_of_its_prompt(gate: Gateway) -> None:
    """Under its session's base URL, though workers have /tokenize beside /v1."""
    async with gate.http.post(gate.url("tokenize"), json={"messages": ASKED["messages"]}) as answer:
        counted: Json = await answer.json()
    async with gate.chat(**ASKED, model="demo") as answer:
        await answer.read()
    other, trace = await gate.traces()
    assert ids(counted["tokens"]) == trace.prompt_token_ids
    assert [gap.kind for gap in other.capture_gaps] == [pb.CAPTURE_GAP_KIND_ENDPOINT]
