"""Agents that call as fast as they are answered: sockets without a framework, every answer looked through.

Each of --connections makes one call after the other, for --seconds or, with --turns, through one session
that grows by --grow bytes a turn; with --fresh, each call has a session of its own. All together make no
more than --rate calls a second. A status other than 200, broken framing, a body that doesn't end as it should
or a lost connection is an error; after MAX_ERRORS the run ends. Prints one JSON object (`Loaded`).

Usage: python -m bench.compare.load --port PORT --path '/sessions/{sid}/v1/chat/completions' ...
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import cast

import uvloop

MAX_ERRORS = 100
DRAIN = 60.0
"""Seconds until calls that run at the end must have ended."""
EVENT_END = b"\n\n\r\n"
"""Of an event that is a chunk of its own. Nothing that ends so is a stream's end."""
CHUNK_HEAD = re.compile(rb"\r\n[0-9a-fA-F]+\r\n")


@dataclass
class Loaded:
    """What the agents saw. `per_second` is of calls; latencies in seconds, sorted, of the calls that began
    within the window, by the machine's monotonic clock; `cpu` is the load's own."""

    calls: int = 0
    chunks: int = 0
    per_second: float = 0.0
    cpu: float = 0.0
    window: tuple[float, float] = (0.0, 0.0)
    latencies: list[float] = field(default_factory=list[float])
    errors: list[str] = field(default_factory=list[str])


class Requests:
    """The bytes of requests. A session's messages are cut from one text, so histories extend each other."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._path: str = given.path
        self._prefix: str = given.prefix
        self._port: int = given.port
        self._bytes: int = given.bytes
        self._grow: int = given.grow
        chance = random.Random(7)
        words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 7))) for _ in range(8192)]
        self._text = " ".join(chance.choices(words, k=400_000))
        self._stream = {"stream": True, "stream_options": {"include_usage": True}} if given.stream else {}
        self._cache: dict[int, bytes] = {}

    def of(self, session: int, turn: int) -> bytes:
        turn = turn if self._grow else 0
        if not turn and session in self._cache:
            return self._cache[session]
        size = self._bytes + turn * self._grow
        piece = self._grow // 2 or 1400
        cuts = [self._text[at : min(at + piece, size)] for at in range(0, size, piece)]
        messages = [
            {"role": "assistant" if place % 2 else "user", "content": cut} for place, cut in enumerate(cuts)
        ]
        messages[0] = {"role": "system", "content": f"session {session}: {cuts[0]}"}
        body = json.dumps({"model": "bench", "messages": messages, "max_tokens": 4096, **self._stream})
        head = (
            f"POST {self._path.replace('{sid}', f'{self._prefix}{session}')} HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        request = (head + body).encode()
        if not turn:
            self._cache[session] = request
        return request


class Run:
    """What all agents share."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.requests = Requests(given)
        self.streamed: bool = given.stream
        self.turns: int = given.turns
        self._rate: float = given.rate
        self.step: int = given.connections if given.fresh else 0
        """From a call's session to the next one's."""
        self._begun_calls = 0
        self.warm_up: float = 0.0 if given.turns else given.warm_up
        self.begun = time.perf_counter()
        self.until = self.begun + (DRAIN if given.turns else given.seconds)
        self.seen = Loaded()

    def wait(self) -> float:
        """Seconds until one more call may begin."""
        if not self._rate:
            return 0.0
        self._begun_calls += 1
        return self.begun + self._begun_calls / self._rate - time.perf_counter()

    def over(self, made: int) -> bool:
        enough = made >= self.turns if self.turns else time.perf_counter() >= self.until
        return enough or len(self.seen.errors) >= MAX_ERRORS


class Agent(asyncio.Protocol):
    """One connection and one session."""

    def __init__(self, run: Run, session: int) -> None:
        self._run = run
        self._session = session
        self._made = 0
        self._sent = 0.0
        self._head = b""
        self._tail = b""
        self._left = -1
        self._chunks = 0
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self._fail(f"the connection was lost: {exc}")

    def _next(self) -> None:
        assert self._transport is not None
        if self._run.over(self._made):
            self.ended.set_result(None)
            self._transport.close()
        elif (wait := self._run.wait()) > 0:
            asyncio.get_running_loop().call_later(wait, self._call)
        else:
            self._call()

    def _call(self) -> None:
        assert self._transport is not None
        if self.ended.done():
            return  # the connection was lost meanwhile
        request = self._run.requests.of(self._session, self._made if self._run.turns else 0)
        self._head, self._tail, self._left, self._chunks = b"", b"", -1, 0
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.ended.done():
            return
        if not self._tail and not self._chunks:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if head[9:12] != b"200":
                self._fail(self._head[:200].decode(errors="replace"))
                return
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            self._left = int(length) if length else -1
            self._tail, self._chunks = b"\n", 0
        elif self._left < 0 and data.endswith(EVENT_END) and self._tail.endswith(EVENT_END):
            self._chunks += data.count(b"data: ")
            self._tail = data[-64:]
            return
        if self._run.streamed:
            self._chunks += (self._tail[-5:] + data).count(b"data: ")
        self._tail = (self._tail + data)[-64:]
        if self._left >= 0:
            self._left -= len(data)
        if self._left == 0 or (self._left < 0 and self._tail.endswith(b"\r\n0\r\n\r\n")):
            self._end()

    def _end(self) -> None:
        seen, now = self._run.seen, time.perf_counter()
        said = CHUNK_HEAD.sub(b"", self._tail)  # a gateway may cut the chunks anew, even within [DONE]
        if not (b"[DONE]" in said if self._run.streamed else said.rstrip().endswith(b"}")):
            self._fail(f"an answer ended with {self._tail!r}")
            return
        self._made += 1
        seen.calls += 1
        seen.chunks += self._chunks
        if self._sent >= self._run.begun + self._run.warm_up:
            seen.latencies.append(now - self._sent)
        self._session += self._run.step
        self._next()

    def _fail(self, why: str) -> None:
        assert self._transport is not None
        self._run.seen.errors.append(why)
        if not self.ended.done():
            self.ended.set_result(None)
        self._transport.abort()


def _same(agent: Agent) -> Agent:
    return agent


async def load(given: argparse.Namespace) -> Loaded:
    loop = asyncio.get_running_loop()
    run = Run(given)
    agents = [Agent(run, session) for session in range(given.connections)]
    for session in range(given.connections):
        run.requests.of(session, 0)
    run.begun, cpu = time.perf_counter(), time.process_time()
    run.until = run.begun + (DRAIN if run.turns else given.seconds)
    async with asyncio.timeout(given.seconds + 2 * DRAIN):
        dials = (loop.create_connection(partial(_same, agent), "127.0.0.1", given.port) for agent in agents)
        dialled = await asyncio.gather(*dials, return_exceptions=True)
        refused = [str(error) for error in dialled if isinstance(error, BaseException)]
        run.seen.errors += refused
        if not refused:
            await asyncio.gather(*(agent.ended for agent in agents))
    run.seen.window = (run.begun + run.warm_up, min(run.until, time.perf_counter()))
    run.seen.per_second = run.seen.calls / (time.perf_counter() - run.begun)
    run.seen.cpu = time.process_time() - cpu
    run.seen.latencies.sort()
    return run.seen


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compare.load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True, help="with {sid} where the session's id comes")
    parser.add_argument("--connections", type=int, default=1, help="agents, each with a session of its own")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--warm-up", type=float, default=0.5, help="seconds whose calls are not timed")
    parser.add_argument(
        "--turns", type=int, default=0, help="so many calls a session, each longer than the last"
    )
    parser.add_argument("--bytes", type=int, default=4000, help="of the messages")
    parser.add_argument("--grow", type=int, default=0, help="bytes that the messages grow by a turn")
    parser.add_argument("--rate", type=float, default=0, help="calls a second at most, of all together")
    parser.add_argument("--prefix", default="s-", help="what session ids begin with, before their number")
    parser.add_argument("--fresh", action="store_true", help="no two calls in one session")
    parser.add_argument("--stream", action="store_true")
    print(json.dumps(asdict(uvloop.run(load(parser.parse_args())))))


if __name__ == "__main__":
    main()
