"""A worker that is never the slow part: vLLM's wire format from bytes that were made beforehand.

All prompts are beginnings of one long sequence of tokens, and a completion is what follows its prompt. So a
session whose messages grow has prompts that extend each other, as a real one has. Of the request only its
length, "stream" and "include_usage" are looked at. Streams are paced by a clock that all share, as the
steps of an engine are: one that was late catches up.

Usage: python -m bench.compare.worker --port PORT --tokens N [--prompt TOKENS] [--pace SECONDS]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import struct
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast

import uvloop

from bench.word_worker import Json

BYTES_A_TOKEN = 4
"""Of a request, where the prompt's length is to follow it."""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
SHARED = {"id": f"chatcmpl-{7:032x}", "created": 1_700_000_000, "model": "bench"}


class Sequence:
    """One long rollout: ids, and the JSON of each token's log-probability as vLLM prints it."""

    def __init__(self) -> None:
        self._chance = random.Random(1)
        self.ids: list[int] = []
        self.words: list[str] = []
        self.logprobs: list[Json] = []
        self._written = bytearray(b"[")
        self._ends = [1]

    def prompt(self, length: int) -> bytes:
        """The JSON of its first ids, which was written once: a long history costs no more than its copy."""
        return bytes(memoryview(self._written)[: self._ends[length]]) + b"]"

    def reach(self, length: int) -> None:
        while len(self.ids) < length:
            word = " " + "".join(self._chance.choices("etaoinshrdlu", k=self._chance.randint(1, 6)))
            (logprob,) = struct.unpack("f", struct.pack("f", -self._chance.expovariate(2)))
            self.ids.append(self._chance.randrange(151_000))
            self._written += b"%s%d" % (b"," if len(self.ids) > 1 else b"", self.ids[-1])
            self._ends.append(len(self._written))
            self.words.append(word)
            said: Json = {"token": word, "logprob": logprob, "bytes": list(word.encode()), "top_logprobs": []}
            self.logprobs.append(said)


SEQUENCE = Sequence()


@lru_cache(64)
def whole(prompt: int, tokens: int) -> bytes:
    """A whole answer, with its header."""
    end = prompt + tokens
    SEQUENCE.reach(end)
    message: Json = {"role": "assistant", "content": "".join(SEQUENCE.words[prompt:end]), "tool_calls": []}
    logprobs = {"content": SEQUENCE.logprobs[prompt:end]}
    answer: Json = {
        **SHARED,
        "object": "chat.completion",
        "choices": [_choice({"message": message}, logprobs, SEQUENCE.ids[prompt:end], "stop")],
        "usage": _usage(prompt, tokens),
        "prompt_logprobs": None,
    }
    body = b'%s,"prompt_token_ids":%s}' % (_json(answer)[:-1], SEQUENCE.prompt(prompt))
    return OK % (b"application/json", len(body), body)


@lru_cache(64)
def events(prompt: int, tokens: int, usage: bool) -> list[bytes]:
    """A stream's events, ready for the wire: the role, each token, and the end as one."""
    SEQUENCE.reach(prompt + tokens)
    shared = {**SHARED, "object": "chat.completion.chunk"}
    role: Json = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
    said = [_event(_json({**shared, "choices": [role], "prompt_token_ids": SEQUENCE.ids[:prompt]}))]
    for place in range(prompt, prompt + tokens):
        reason = "stop" if place == prompt + tokens - 1 else None
        logprobs = {"content": [SEQUENCE.logprobs[place]]}
        delta: Json = {"delta": {"content": SEQUENCE.words[place]}}
        choice = _choice(delta, logprobs, [SEQUENCE.ids[place]], reason)
        said.append(_event(_json({**shared, "choices": [choice]})))
    end = _event(_json({**shared, "choices": [], "usage": _usage(prompt, tokens)})) if usage else b""
    said.append(end + _event(b"[DONE]") + b"0\r\n\r\n")
    return said


def _choice(said: Json, logprobs: object, ids: list[int], reason: str | None) -> Json:
    return {"index": 0, **said, "logprobs": logprobs, "finish_reason": reason, "token_ids": ids}


def _usage(prompt: int, tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "total_tokens": prompt + tokens, "completion_tokens": tokens}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _event(data: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


class Steps:
    """The clock: calls each of `running` once a step with how many steps have passed; True ends it."""

    def __init__(self, pace: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._pace = pace
        self._begun = self._loop.time()
        self._last = 0
        self.running: list[Callable[[int], bool]] = []
        self._armed = False

    def add(self, go_on: Callable[[int], bool]) -> None:
        self.running.append(go_on)
        if not self._armed:
            self._last = int((self._loop.time() - self._begun) / self._pace)
            self._arm()

    def _arm(self) -> None:
        self._armed = True
        self._loop.call_at(self._begun + (self._last + 1) * self._pace, self._step)

    def _step(self) -> None:
        now = max(self._last + 1, int((self._loop.time() - self._begun) / self._pace))
        passed, self._last = now - self._last, now
        self.running = [go_on for go_on in self.running if not go_on(passed)]
        self._armed = False
        if self.running:
            self._arm()


class Connection(asyncio.Protocol):
    """One kept-alive connection, one request after the other."""

    def __init__(self, tokens: int, prompt: int, steps: Steps | None) -> None:
        self._tokens = tokens
        self._prompt = prompt
        self._steps = steps
        self._received = b""
        self._missing = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < self._missing:
            return
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        self._missing = end + 4 + int(length or 0)
        if len(self._received) >= self._missing:
            body, self._received, self._missing = self._received[end + 4 :], b"", 0
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        prompt = self._prompt or max(1, len(body) // BYTES_A_TOKEN)
        if not head.startswith(b"post"):
            model = b'{"id":"bench","object":"model","owned_by":"vllm","max_model_len":262144}'
            models = b'{"object":"list","data":[%b]}' % model
            self._transport.write(OK % (b"application/json", len(models), models))
        elif b'"stream":true' in body or b'"stream": true' in body:
            said = events(prompt, self._tokens, b"include_usage" in body)
            self._transport.write(STREAM)
            self._stream(said)
        else:
            self._transport.write(whole(prompt, self._tokens))

    def _stream(self, said: list[bytes]) -> None:
        place = 0

        def go_on(count: int) -> bool:
            nonlocal place
            if self._transport is None:
                return True
            upto = place + count if place + count < len(said) - 1 else len(said)
            self._transport.write(said[place] if upto - place == 1 else b"".join(said[place:upto]))
            place = upto
            return place == len(said)

        go_on(1)
        if self._steps is not None:
            self._steps.add(go_on)
        else:
            self._at_once(go_on)

    def _at_once(self, go_on: Callable[[int], bool]) -> None:
        if not go_on(1):
            asyncio.get_running_loop().call_soon(self._at_once, go_on)


async def serve(port: int, tokens: int, prompt: int, pace: float) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    steps = Steps(pace) if pace else None
    connection = partial(Connection, tokens, prompt, steps)
    await loop.create_server(connection, "127.0.0.1", port, backlog=4096)
    await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compare.worker", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True, help="sampled tokens of every answer")
    parser.add_argument(
        "--prompt", type=int, default=0, help="prompt tokens; by the request's length unless told"
    )
    parser.add_argument("--pace", type=float, default=0, help="seconds between two tokens of a stream")
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.tokens, given.prompt, given.pace))


if __name__ == "__main__":
    main()
