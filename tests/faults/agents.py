"""Agents, and what each of them heard of its calls."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Heard:
    """One call, as its agent saw it. `ended`: the end of the answer came; `when`, on the monotonic clock."""

    session_id: str
    trace_id: str = ""
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    ended: bool = False
    when: float = 0.0
    broken: str = ""

    def error_code(self) -> str:
        """Of the gateway's own error object."""
        return str(json.loads(self.body)["error"]["code"])

    def recorded(self) -> bool:
        """Unless the gateway said itself that the call is not: the session is closed, or the store fails."""
        return self.status not in (409, 410) and b'"code": "store_' not in self.body

    def completed(self) -> bool:
        return self.ended and self.status == 200


class Agents:
    """Calls through a proxy, and what was heard of each."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard: list[Heard] = []

    def ended(self) -> int:
        """How many calls were answered to their end."""
        return sum(heard.completed() for heard in self.heard)

    async def call(self, session_id: str = "s", **fields: object) -> Heard:
        """One call on a connection of its own; what goes wrong is in what is returned."""
        heard = Heard(session_id)
        self.heard.append(heard)
        return await ask(f"{self.url}/sessions/{session_id}/v1", heard, chat(**fields))

    async def make_calls(
        self, count: int, *, concurrency: int = 16, sessions: int = 20, images: Sequence[str] = ()
    ) -> None:
        """Makes `count` short calls, half of them streamed; one that breaks off is given up, not repeated.

        Each asks about one of the `images`, URLs, if there are any.
        """
        numbers = iter(range(len(self.heard), len(self.heard) + count))
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(
                *(self._call_all(http, numbers, sessions, images) for _ in range(concurrency))
            )

    async def _call_all(
        self, http: aiohttp.ClientSession, numbers: Iterator[int], sessions: int, images: Sequence[str]
    ) -> None:
        for number in numbers:
            heard = Heard(f"s-{number % sessions}")
            self.heard.append(heard)
            fields: dict[str, object] = {"max_tokens": 2 + number % 12, "seed": number}
            fields["stream"] = number % 2 == 0
            if images:
                fields["messages"] = about(images[number % len(images)])
            await _ask(http, f"{self.url}/sessions/{heard.session_id}/v1", heard, chat(**fields))
            if heard.broken:
                await asyncio.sleep(0.1)

    async def worker_usable(self, worker_id: str) -> bool:
        """Whether the proxy takes the worker for alive."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/health/workers") as answer:
            listed = (await answer.json())["workers"]
        return any(row["worker_id"] == worker_id and row["usable"] for row in listed)


async def ask(base_url: str, heard: Heard, body: dict[str, object], patience: float = 60) -> Heard:
    """One call on a connection of its own, to a gateway or to a worker."""
    timeout = aiohttp.ClientTimeout(total=patience)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        return await _ask(http, base_url, heard, body)


async def _ask(http: aiohttp.ClientSession, base_url: str, heard: Heard, body: dict[str, object]) -> Heard:
    try:
        async with http.post(f"{base_url}/chat/completions", json=body) as answer:
            heard.status, heard.headers = answer.status, answer.headers.copy()
            heard.trace_id = answer.headers.get("x-rolltrace-trace-id", "")
            async for data in answer.content.iter_any():
                heard.body += data
    except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
        heard.broken = repr(error)
        return heard
    heard.ended, heard.when = True, time.monotonic()
    return heard


def about(image: str) -> list[dict[str, object]]:
    """Messages that ask about an image, given as an URL."""
    parts: list[dict[str, object]] = [{"type": "text", "text": "what is this?"}]
    parts.append({"type": "image_url", "image_url": {"url": image}})
    return [{"role": "user", "content": parts}]


def chat(**fields: object) -> dict[str, object]:
    return {"model": "demo", "messages": [{"role": "user", "content": "hi"}], **fields}
