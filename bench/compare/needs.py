"""By calculation, what many agents need, from what a run measured. Pure.

An agent has a turn every `turn` seconds with `tokens` new tokens, `pace` seconds each. For N agents:

    calls a second   N / turn
    tokens a second  N * tokens / turn
    open streams     N * tokens * pace / turn
    cores            streamed: tokens a second * CPU a chunk in d50 (a chunk holds a token; its call is in it)
                     whole: calls a second * CPU a call in b
    proxies          cores / BUSY, one at least
    machines         cores / (BUSY * CORES), one at least
    memory           proxies * (a proxy's own in a + its caches) + open streams * memory a stream
    disk a day       tokens a second * 86,400 * disk a turn of 400 turns / its new tokens
    sockets          N + open streams: an agent's are kept, a worker's is held by a running call
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bench.compare.bounds import Measured
from bench.compare.rows import short
from bench.compare.targets import MINE, MINE_POWER

BUSY = 0.6
"""Of a core, so that chunks are on time."""
CORES = 16
CACHES = 256 * 1.048576 + 32
"""MB: history_cache_size, and the prompts that are remembered."""
NEW_TOKENS = 700
"""Of a turn in `turns`: 500 of its request, and 200 sampled."""
MANY = (1_000, 100_000)


@dataclass(frozen=True, slots=True)
class Agents:
    count: int
    turn: float = 20.0
    tokens: int = 500
    pace: float = 0.02


@dataclass(frozen=True, slots=True)
class Prices:
    """What was measured: seconds of CPU, bytes."""

    chunk: float
    call: float
    proxy: float
    stream: float
    token: float


def prices(measured: Measured) -> Prices | None:
    """None when one was not measured."""
    wanted = (
        ("d50", MINE, "CPU µs/chunk"),
        ("b", MINE, "CPU ms/call"),
        ("a", MINE, "own MiB"),
        ("idle", MINE_POWER, "KB/stream"),
        ("turns", f"{MINE}, 400 turns", "disk KB/turn"),
    )
    try:
        chunk, call, proxy, stream, turn = (
            measured[scenario, target][value].median for scenario, target, value in wanted
        )
    except KeyError:
        return None
    return Prices(chunk / 1e6, call / 1e3, proxy * (1 << 20), 1e3 * stream, 1e3 * turn / NEW_TOKENS)


def needs(agents: Agents, price: Prices, *, streamed: bool) -> dict[str, float]:
    calls = agents.count / agents.turn
    tokens = calls * agents.tokens
    streams = tokens * agents.pace
    cores = tokens * price.chunk if streamed else calls * price.call
    proxies = math.ceil(cores / BUSY) or 1
    return {
        "calls/s": calls,
        "tokens/s": tokens,
        "open calls": streams,
        "cores": cores,
        "proxies": proxies,
        f"machines of {CORES} cores": math.ceil(cores / BUSY / CORES) or 1,
        "memory GB": (proxies * (price.proxy + CACHES * 1e6) + streams * price.stream) / 1e9,
        "disk GB/day": tokens * 86_400 * price.token / 1e9,
        "sockets": agents.count + streams,
    }


def told(measured: Measured) -> Iterator[list[str]]:
    """The rows of a table, its head first; nothing when a price is missing."""
    price = prices(measured)
    if price is None:
        return
    for number, count in enumerate(MANY):
        for streamed in (True, False):
            found = needs(Agents(count), price, streamed=streamed)
            if not number and streamed:
                yield ["agents", "answers", *found]
            yield [f"{count:,}", "streamed" if streamed else "whole", *map(short, found.values())]
