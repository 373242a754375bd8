"""Calls to a real llama.cpp: what it can tell is captured, and what it leaves out is a named gap.

The grammar keeps the model to letters, since a token within a UTF-8 character is one of those left out.
"""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_control.engine_rules import engine_of, listing_of
from rolltrace_proxy import gaps
from rolltrace_store.interface import Store
from tests.proxy.answers import ids
from tests.proxy.gateway import Gateway, gateway

pytestmark = pytest.mark.engines

Json = dict[str, Any]
LETTERS: Json = {"temperature": 0, "max_tokens": 12, "grammar": "root ::= [a-z ]+"}
CHAT: tuple[str, Json] = ("chat/completions", {"messages": [{"role": "user", "content": "hi"}], **LETTERS})
TEXT: tuple[str, Json] = ("completions", {"prompt": "once", **LETTERS})
TOOL: Json = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
END = 256
OF_ITS_OWN = ("id", "created", "timings", "usage")
"""What differs between two answers: the usage tells what was cached."""


def row(url: str) -> Worker:
    return Worker(worker_id="w-1", url=url, engine="llamacpp")


async def told(http: aiohttp.ClientSession, url: str, body: Json) -> tuple[int, list[Json]]:
    async with http.post(url, json=body) as response:
        said = await response.text()
    lines = [line.removeprefix("data: ") for line in said.split("\n\n") if line and "[DONE]" not in line]
    answers: list[Json] = [json.loads(line) for line in lines]
    return response.status, [{k: v for k, v in each.items() if k not in OF_ITS_OWN} for each in answers]


async def both(gate: Gateway, worker: str, path: str, body: Json) -> pb.Trace:
    """The trace of a call, whose answer is what the worker gives when it is asked directly."""
    direct = await told(gate.http, f"{worker}/v1/{path}", body)
    assert await told(gate.http, gate.url(path), body) == direct
    return await gate.trace()


@pytest.mark.parametrize("own", [{}, {"logprobs": 3}], ids=["nothing asked", "logprobs asked"])
@pytest.mark.parametrize(("path", "body"), [CHAT, TEXT], ids=["chat", "completions"])
async def test_sampled_ids_and_logprobs_are_captured(
    store: Store, llamacpp: str, path: str, body: Json, own: Json
) -> None:
    if own and path.startswith("chat"):
        own = {"logprobs": True, "top_logprobs": 3}
    async with gateway(store, row(llamacpp)) as gate:
        trace = await both(gate, llamacpp, path, body | own)
        assert [gap.kind for gap in trace.capture_gaps] == [gaps.PROMPT_TOKEN_IDS]
        (completion,) = trace.completions
        text = json.loads(completion.message_json)["content"]
        async with gate.http.post(f"{llamacpp}/tokenize", json={"content": text}) as response:
            tokens: list[int] = (await response.json())["tokens"]
        assert completion.token_ids == ids(tokens)
        assert len(completion.logprobs) == len(completion.token_ids) == 4 * trace.usage.completion_tokens


async def test_the_end_of_the_turn_is_a_token(store: Store, llamacpp: str) -> None:
    async with gateway(store, row(llamacpp)) as gate:
        body = {"messages": [{"role": "user", "content": "hi"}], "logit_bias": {str(END): 100}}
        trace = await both(gate, llamacpp, "chat/completions", body)
        assert trace.completions[0].token_ids == ids([END])
        assert trace.completions[0].finish_reason == "stop"
        assert [gap.kind for gap in trace.capture_gaps] == [gaps.PROMPT_TOKEN_IDS]


@pytest.mark.parametrize("content", ["hi", "ho", "a", "once upon"])
async def test_a_token_that_is_left_out_is_a_gap(store: Store, llamacpp: str, content: str) -> None:
    async with gateway(store, row(llamacpp)) as gate:
        body = {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 12}
        trace = await both(gate, llamacpp, "chat/completions", body)
        count = len(trace.completions[0].token_ids) // 4
        missing = [gaps.MISMATCH] if count < trace.usage.completion_tokens else []
        assert sorted(gap.kind for gap in trace.capture_gaps) == sorted([gaps.PROMPT_TOKEN_IDS, *missing])


@pytest.mark.parametrize("own", [{}, {"logprobs": True}, {"tools": [TOOL]}, {"n": 2, "stream": False}])
async def test_what_it_does_not_tell_all_of_is_not_told(store: Store, llamacpp: str, own: Json) -> None:
    path, body = CHAT
    body = {key: value for key, value in body.items() if key != "grammar" or "tools" not in own}
    async with gateway(store, row(llamacpp)) as gate:
        trace = await both(gate, llamacpp, path, body | {"stream": True} | own)
        assert trace.status == pb.CALL_STATUS_COMPLETED
        kinds = {gap.kind for gap in trace.capture_gaps}
        assert kinds == {gaps.PROMPT_TOKEN_IDS, gaps.TOKEN_IDS}
        assert all(not completion.token_ids for completion in trace.completions)


async def test_a_mistake_of_the_agents_stays_one(store: Store, llamacpp: str) -> None:
    path, body = CHAT
    async with gateway(store, row(llamacpp)) as gate:
        trace = await both(gate, llamacpp, path, body | {"top_logprobs": 2})
        assert trace.http_status == 400


async def test_it_says_which_engine_it_is(llamacpp: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{llamacpp}/v1/models") as response:
        listing = listing_of(response.status, await response.read())
    assert listing is not None
    assert engine_of(listing) == "llamacpp"
