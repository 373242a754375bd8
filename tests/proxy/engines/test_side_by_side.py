"""Workers of three kinds in one gateway: each is asked in its own terms, and what it lacks is named.

Whatever the worker, the agent's answer is what the worker gives when it is asked directly.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_demo.worker_server import DemoWorker
from rolltrace_proxy import gaps
from rolltrace_store.interface import Store
from tests.proxy.engines.fake_sglang import sglang
from tests.proxy.gateway import Gateway, gateway
from tests.proxy.scripted import Reply, Seen, events, scripted, whole
from tests.servers import free_port

Json = dict[str, Any]
MODELS = {"vllm": "demo", "sglang": "sgl", "openai": "other"}
TOOL: Json = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALLS: dict[str, tuple[str, Json]] = {
    "chat": ("chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    "tools": ("chat/completions", {"messages": [{"role": "user", "content": "hi"}], "tools": [TOOL]}),
    "text": ("completions", {"prompt": "hi"}),
}


def plain(seen: Seen) -> Reply:
    """A server that takes no option but OpenAI's."""
    asked = seen.json()
    if unknown := asked.keys() - {"model", "messages", "prompt", "tools", "stream", "seed"}:
        return whole({"error": {"message": f"unknown: {unknown}", "type": "invalid_request_error"}}, 400)
    kind, said = (
        ("message", {"role": "assistant", "content": "hi"}) if "messages" in asked else ("text", "hi")
    )
    if asked.get("stream"):
        kind = kind.replace("message", "delta")
    choice: Json = {"index": 0, kind: said, "finish_reason": "stop"}
    answer: Json = {"id": "o", "model": "openai", "choices": [choice]}
    return events(answer, b"data: [DONE]\n\n") if asked.get("stream") else whole(answer)


@asynccontextmanager
async def three(store: Store) -> AsyncGenerator[tuple[Gateway, dict[str, str]], None]:
    """A gateway before a worker of each engine, and the URLs of these."""
    async with DemoWorker() as demo, sglang() as fake, scripted(plain) as other:
        urls = {"vllm": demo.url, "sglang": fake.url, "openai": other.url}
        rows = [
            Worker(worker_id=name, url=url, engine=name, model_names=[MODELS[name]])
            for name, url in urls.items()
        ]
        async with gateway(store, *rows) as gate:
            yield gate, urls


async def told(gate: Gateway, url: str, body: Json) -> tuple[int, list[Json]]:
    """What an agent is told, but for the ids and times that each answer has of its own."""
    async with gate.http.post(url, json=body) as response:
        said = await response.text()
    lines = [line.removeprefix("data: ") for line in said.split("\n\n") if line and "[DONE]" not in line]
    answers: list[Json] = [json.loads(line) for line in lines]
    for answer in answers:
        for own in ("id", "created"):
            answer.pop(own, None)
    return response.status, answers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("engine", MODELS)
async def test_each_worker_gives_what_it_can(store: Store, engine: str, call: str, stream: bool) -> None:
    path, asked = CALLS[call]
    async with three(store) as (gate, urls):
        body = asked | {"model": MODELS[engine], "stream": stream, "seed": 7}
        direct = await told(gate, f"{urls[engine]}/v1/{path}", body)
        assert direct[0] == 200
        assert _settled(await told(gate, gate.url(path), body)) == _settled(direct)
        trace = await gate.trace()
        assert (trace.worker_id, trace.status) == (engine, pb.CALL_STATUS_COMPLETED)
        missing = [gap.kind for gap in trace.capture_gaps]
        assert missing == ([gaps.PROMPT_TOKEN_IDS, gaps.TOKEN_IDS] if engine == "openai" else [])
        if engine == "openai":
            assert "this API has no token ids" in trace.capture_gaps[0].message
        else:
            (completion,) = trace.completions
            assert len(completion.token_ids) == len(completion.logprobs) > 0
            assert trace.prompt_token_ids


def _settled(answer: tuple[int, list[Json]]) -> str:
    """But for the ids of tool calls, which are made anew for every answer."""
    return re.sub(r'"id": "[^"]*"', "", json.dumps(answer))


async def test_a_call_that_moves_to_another_engine_is_asked_for_in_its_terms(store: Store) -> None:
    async with sglang() as fake:
        dead = Worker(worker_id="a", url=f"http://127.0.0.1:{free_port()}", engine="vllm")
        alive = Worker(worker_id="b", url=fake.url, engine="sglang")
        async with gateway(store, dead, alive) as gate:
            for number in range(8):
                async with gate.chat(f"s-{number}") as response:
                    assert response.status == 200
                trace = await gate.trace(f"s-{number}")
                assert list(trace.capture_gaps) == []
        assert all("return_token_ids" not in asked for asked in fake.seen)
