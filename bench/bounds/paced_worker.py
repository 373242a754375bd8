"""A worker that can hold thousands of streams open: vLLM's wire format, sockets without a framework.

Each stream gets its first chunk at once and then one token every --pace seconds, each with its id and
log-probability. A request that is not streamed gets all tokens at once. Of the request only its length,
"stream" and "include_usage" are looked at.

Usage: python -m bench.bounds.paced_worker --port PORT --tokens N --pace SECONDS --prompt TOKENS
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
from dataclasses import dataclass
from typing import Any, cast

import uvloop

from bench.word_worker import answer, token_ids

OK = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@dataclass(frozen=True)
class Answers:
    """All that is ever said. `chunks` are a stream's, ready for the wire; `usage` is for who asks for it."""

    whole: bytes
    chunks: list[bytes]
    usage: bytes
    end: bytes


def answers(tokens: int, prompt: int) -> Answers:
    chance = random.Random(3)
    content = " ".join(["word"] * prompt)
    whole = answer({"model": "paced", "messages": [{"content": content}]}, chance, tokens)
    whole["prompt_token_ids"] = [chance.randrange(151_000) for _ in range(prompt)]
    shared: dict[str, Any] = {
        "id": whole["id"],
        "object": "chat.completion.chunk",
        "created": whole["created"],
        "model": "paced",
    }
    role = _choice({"role": "assistant", "content": ""}, None, None, None)
    chunks = [{**shared, "choices": [role], "prompt_token_ids": whole["prompt_token_ids"]}]
    said = whole["choices"][0]["logprobs"]["content"]
    for place, token in enumerate(said):
        reason = "stop" if place == len(said) - 1 else None
        choice = _choice({"content": token["token"]}, {"content": [token]}, reason, token_ids(token["token"]))
        chunks.append({**shared, "choices": [choice]})
    usage: dict[str, Any] = {**shared, "choices": [], "usage": whole["usage"]}
    body = json.dumps(whole).encode()
    return Answers(
        OK % (b"application/json", len(body), body),
        [_on_the_wire(json.dumps(chunk).encode()) for chunk in chunks],
        _on_the_wire(json.dumps(usage).encode()),
        _on_the_wire(b"[DONE]") + b"0\r\n\r\n",
    )


def _choice(delta: Any, logprobs: Any, reason: str | None, ids: list[int] | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason, "token_ids": ids}


def _on_the_wire(data: bytes) -> bytes:
    event = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(event), event)


class Connection(asyncio.Protocol):
    """One kept-alive connection, one request after the other."""

    def __init__(self, said: Answers, pace: float) -> None:
        self._said = said
        self._pace = pace
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._with_usage = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end]).lower()
            _, _, length = head.partition(b"content-length:")
            size = end + 4 + int(length.split(b"\r\n", 1)[0] or 0)
            if len(self._received) < size:
                return
            body = bytes(self._received[end + 4 : size])
            del self._received[:size]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        if not head.startswith(b"post"):
            self._transport.write(OK % (b"text/plain", 0, b""))
        elif b'"stream":true' in body.replace(b" ", b""):
            self._with_usage = b"include_usage" in body
            self._transport.write(STREAM)
            self._go_on(0)
        else:
            self._transport.write(self._said.whole)

    def _go_on(self, place: int) -> None:
        assert self._transport is not None
        if place < len(self._said.chunks):
            self._transport.write(self._said.chunks[place])
            self._timer = asyncio.get_running_loop().call_later(self._pace, self._go_on, place + 1)
        else:
            self._transport.write((self._said.usage if self._with_usage else b"") + self._said.end)


async def serve(said: Answers, port: int, pace: float) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.create_server(lambda: Connection(said, pace), "127.0.0.1", port, backlog=4096)
    await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bounds.paced_worker", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True, help="sampled tokens of every answer")
    parser.add_argument("--pace", type=float, required=True, help="seconds between two tokens of a stream")
    parser.add_argument("--prompt", type=int, required=True, help="prompt tokens that every answer reports")
    given = parser.parse_args()
    uvloop.run(serve(answers(given.tokens, given.prompt), given.port, given.pace))


if __name__ == "__main__":
    main()
