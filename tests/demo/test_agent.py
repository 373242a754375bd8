"""The demo agent, straight against the demo worker: it needs nothing of the gateway."""

from __future__ import annotations

import asyncio
import json

from rolltrace_demo.agent import CITIES, Agent, first_model
from rolltrace_demo.worker_server import DemoWorker


async def test_its_turns_are_a_tool_call_a_stream_and_a_plain_answer(worker: DemoWorker) -> None:
    pieces: list[str] = []
    agent = Agent(f"{worker.url}/v1", "demo", pieces.append)
    try:
        called, streamed, plain = await asyncio.to_thread(lambda: list(agent.turns(3)))
    finally:
        agent.close()
    assert [said.who for said in called] == ["user", "model", "tool"]
    arguments = called[1].text.removeprefix("calls get_weather(").removesuffix(")")
    assert json.loads(arguments)["city"] in CITIES
    assert streamed == []
    assert len(pieces) > 1
    assert [said.who for said in plain] == ["user", "model"]


async def test_the_first_model_is_the_workers(worker: DemoWorker) -> None:
    assert await asyncio.to_thread(first_model, f"{worker.url}/v1") == worker.model
