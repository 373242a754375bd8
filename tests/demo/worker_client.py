"""Calls to a worker as plain HTTP, and its streams joined by the rules of the wire format."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import msgspec

from rolltrace_demo.worker_server import DemoWorker

Json = dict[str, Any]

WEATHER: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather report",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}


def say(text: str, **fields: object) -> Json:
    """A chat request with one message that asks for ids and log-probabilities."""
    asked: Json = {
        "messages": [{"role": "user", "content": text}],
        "logprobs": True,
        "return_token_ids": True,
    }
    return asked | fields


@dataclass
class JoinedChoice:
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    text: str = ""
    arguments: str = ""
    finish_reason: str | None = None


def events(body: str) -> list[Json]:
    """The JSON events of a stream; its last frame has to be [DONE]."""
    frames = [frame for frame in body.split("\n\n") if frame.startswith("data: ")]
    assert frames[-1] == "data: [DONE]"
    return [cast(Json, msgspec.json.decode(frame.removeprefix("data: "))) for frame in frames[:-1]]


def join_chat(chunks: list[Json]) -> dict[int, JoinedChoice]:
    joined: dict[int, JoinedChoice] = {}
    for entry in (entry for chunk in chunks for entry in chunk["choices"]):
        choice = joined.setdefault(entry["index"], JoinedChoice())
        choice.ids += entry.get("token_ids") or []
        choice.logprobs += logprobs(entry)
        choice.text += entry["delta"].get("content") or ""
        for call in entry["delta"].get("tool_calls", ()):
            choice.arguments += call["function"].get("arguments", "")
        choice.finish_reason = entry["finish_reason"] or choice.finish_reason
    return joined


def logprobs(choice: Json) -> list[float]:
    """Of a whole choice or of one event's; none where they were not asked for."""
    return [entry["logprob"] for entry in choice["logprobs"]["content"]] if choice["logprobs"] else []


@dataclass
class WorkerClient:
    url: str
    session: aiohttp.ClientSession

    async def post(self, path: str, body: Json | bytes, status: int = 200) -> Json:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        async with self.session.post(path, data=data) as response:
            text = await response.text()
            assert response.status == status, text
            return cast(Json, msgspec.json.decode(text))

    async def chat(self, body: Json) -> Json:
        return await self.post("/v1/chat/completions", body)

    async def completion(self, body: Json) -> Json:
        return await self.post("/v1/completions", body)

    async def stream(self, path: str, body: Json) -> list[Json]:
        async with self.session.post(path, json=body | {"stream": True}) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            return events(await response.text())

    async def state(self) -> dict[str, int]:
        async with self.session.get("/debug/state") as response:
            return cast(dict[str, int], await response.json())

    async def state_where(self, holds: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        """The worker's counters once they are as asked; polls, since they live in its process."""
        state = await self.state()
        while not holds(state):
            await asyncio.sleep(0.01)
            state = await self.state()
        return state


@asynccontextmanager
async def connected(worker: DemoWorker) -> AsyncGenerator[WorkerClient, None]:
    async with worker, aiohttp.ClientSession(worker.url) as session:
        yield WorkerClient(worker.url, session)
