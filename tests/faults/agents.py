"""Agents in a hurry: many calls at once, and a note of every one whose end was seen."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import aiohttp


@dataclass
class Agents:
    """Calls through a proxy. `seen` has the trace id of each call whose end reached the agent."""

    url: str
    sessions: int = 20
    max_tokens: int = 3
    seen: list[str] = field(default_factory=list[str])
    number: int = 0

    async def make_calls(self, count: int, *, concurrency: int = 32) -> None:
        """Makes `count` calls; one that breaks off is given up, not repeated."""
        end = self.number + count
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(self._call_until(http, end) for _ in range(concurrency)))

    async def _call_until(self, http: aiohttp.ClientSession, end: int) -> None:
        while self.number < end:
            number, self.number = self.number, self.number + 1
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                await self._call(http, number)

    async def _call(self, http: aiohttp.ClientSession, number: int) -> None:
        streamed = number % 2 == 0
        body = {
            "model": "demo",
            "messages": [{"role": "user", "content": f"task {number}"}],
            "max_tokens": self.max_tokens,
            "seed": number,
            "stream": streamed,
        }
        url = f"{self.url}/sessions/s-{number % self.sessions}/v1/chat/completions"
        async with http.post(url, json=body) as answer:
            whole = await answer.read()
        if answer.status == 200 and (not streamed or whole.endswith(b"data: [DONE]\n\n")):
            self.seen.append(answer.headers["x-rolltrace-trace-id"])
