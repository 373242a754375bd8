"""What a proxy and the control service need while something runs: memory, and how soon they answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bench.processes import memory

PAUSE = 0.25


@dataclass
class Watch:
    """What was seen so far: sizes in bytes, times in seconds."""

    own: dict[str, int] = field(default_factory=dict[str, int])
    """The most that each process had for itself."""
    in_flight: float = 0.0
    """The most calls at once, by the proxy's own count."""
    health: list[float] = field(default_factory=list[float])
    """How long /health took to answer, each time."""


async def metrics(http: aiohttp.ClientSession, url: str) -> dict[str, float]:
    """The samples of a proxy's /metrics by name, summed over their labels; a bucket's name has its bound."""
    sums: dict[str, float] = {}
    async with http.get(f"{url}/metrics") as response:
        text = await response.text()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = f"{sample.name} {sample.labels['le']}" if "le" in sample.labels else sample.name
            sums[name] = sums.get(name, 0.0) + sample.value
    return sums


@contextlib.asynccontextmanager
async def watching(url: str, pids: dict[str, int]) -> AsyncGenerator[Watch]:
    """Watches the processes, named, and the proxy at `url` while the block runs."""
    watch = Watch()
    async with aiohttp.ClientSession() as http:
        task = asyncio.create_task(_keep_watching(watch, http, url, pids))
        try:
            yield watch
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _keep_watching(watch: Watch, http: aiohttp.ClientSession, url: str, pids: dict[str, int]) -> None:
    while True:
        for name, pid in pids.items():
            watch.own[name] = max(watch.own.get(name, 0), memory(pid).own)
        begun = time.monotonic()
        async with http.get(f"{url}/health") as response:
            await response.read()
        watch.health.append(time.monotonic() - begun)
        watch.in_flight = max(watch.in_flight, (await metrics(http, url))["rolltrace_calls_in_flight"])
        await asyncio.sleep(PAUSE)


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which a `part` of them lies; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else 0.0
