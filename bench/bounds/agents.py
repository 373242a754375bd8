"""Many agents in one light process: sockets without a framework, every answer looked through.

Opens --calls connections at once, with one call of its own session on each, waits for the ends, and prints
one JSON object a call: {"session_id", "trace_id", "status", "events", "first", "took", "fault"}; `fault` is
"" for an answer that came whole. It ends after --patience seconds in any case.

Usage: python -m bench.bounds.agents --port PORT --calls N [--whole] [--at-once N] [--prompt TOKENS]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import cast

import uvloop

REQUEST = (
    "POST /sessions/{}/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)
TEXT = "the agent's history so far and then "
"""36 characters, about nine tokens."""


@dataclass
class Seen:
    """What an agent saw of its call. Times in seconds from when it was begun."""

    session_id: str
    trace_id: str = ""
    status: int = 0
    events: int = 0
    first: float = 0.0
    took: float = 0.0
    fault: str = "not ended"


@dataclass
class Plan:
    """Which calls to make, and what became of them."""

    port: int
    names: Iterator[str]
    prompt: int
    streamed: bool
    seen: list[Seen] = field(default_factory=list[Seen])

    def next(self) -> tuple[Seen, bytes] | None:
        name = next(self.names, None)
        if name is None:
            return None
        messages = [{"role": "user", "content": f"{name}: {TEXT * (self.prompt // 9)}"}]
        body = json.dumps({"model": "paced", "messages": messages, "stream": self.streamed})
        self.seen.append(Seen(name))
        return self.seen[-1], (REQUEST.format(name, self.port, len(body)) + body).encode()


class Agent(asyncio.Protocol):
    """One connection, which makes the plan's next call as long as there is one."""

    def __init__(self, plan: Plan, ended: asyncio.Future[None]) -> None:
        self._plan = plan
        self._ended = ended
        self._seen: Seen | None = None
        self._begun = 0.0
        self._head = b""
        self._tail = b""
        self._length: int | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._begin()

    def _begin(self) -> None:
        assert self._transport is not None
        following = self._plan.next()
        if following is None:
            self._seen = None
            self._transport.close()
            return
        self._seen, request = following
        self._begun, self._head, self._tail, self._length = time.monotonic(), b"", b"", None
        self._transport.write(request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._seen is not None:
            self._seen.fault = f"the connection was lost: {exc}"
        if not self._ended.done():
            self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        assert self._seen is not None
        if not self._seen.status:
            data = self._read_head(self._head + data)
        self._seen.events += (self._tail[-5:] + data).count(b"data: ")
        self._tail = (self._tail + data)[-32:]
        if self._length is not None:
            self._length -= len(data)
        if self._tail.endswith(b"\r\n0\r\n\r\n") or self._length == 0:
            self._end()

    def _read_head(self, data: bytes) -> bytes:
        """Returns what follows the header, once that is here."""
        assert self._seen is not None
        self._head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            self._head = data
            return b""
        first, *rows = self._head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
        self._seen.status = int(first.split()[1])
        self._seen.first = time.monotonic() - self._begun
        self._seen.trace_id = fields.get("x-rolltrace-trace-id", "")
        if "content-length" in fields:
            self._length = int(fields["content-length"])
        return rest

    def _end(self) -> None:
        assert self._seen is not None
        self._seen.took = time.monotonic() - self._begun
        whole = not self._plan.streamed or b"[DONE]" in self._tail
        good = self._seen.status == 200 and whole
        self._seen.fault = "" if good else f"{self._seen.status}: {self._tail!r}"
        self._begin()


async def run(plan: Plan, connections: int, patience: float) -> None:
    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in range(connections)]
    dials = (loop.create_connection(partial(Agent, plan, ended), "127.0.0.1", plan.port) for ended in ends)
    async with asyncio.timeout(patience):
        await asyncio.gather(*dials)
        await asyncio.gather(*ends)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bounds.agents", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--at-once", type=int, help="connections; as many as calls unless told")
    parser.add_argument("--prefix", default="s-", help="what session ids begin with, before their number")
    parser.add_argument("--prompt", type=int, default=100, help="tokens of the prompt, about")
    parser.add_argument("--whole", action="store_true", help="ask for answers in one piece")
    parser.add_argument("--patience", type=float, default=300)
    given = parser.parse_args()
    names = (f"{given.prefix}{number}" for number in range(given.calls))
    plan = Plan(given.port, names, given.prompt, not given.whole)
    try:
        uvloop.run(run(plan, given.at_once or given.calls, given.patience))
    except (TimeoutError, OSError) as error:
        for seen in plan.seen:
            seen.fault = seen.fault and f"{seen.fault}; the run ended: {error!r}"
    for seen in plan.seen:
        print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main()
