"""A worker of the soak: words as tokens, whole or streamed, tools, several choices, and faults at times.

One request in a hundred goes wrong, and for a few seconds of every thirty one in three: an error status, a
reset, a stall, a stream that ends early or says an error, half an answer that is no JSON.

Usage: python -m bench.soak.worker --port PORT --seed N
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from typing import cast

import uvloop
from aiohttp import web

from bench import word_worker
from bench.word_worker import Json

PACE = 0.01
"""Seconds between two chunks of a stream."""
STALL = 2.0
PERIOD, BAD_SPELL = 30.0, 4.0
BEFORE = ("500", "429", "reset", "stall", "not JSON")
WITHIN = ("early end", "error event")


class Worker:
    """One worker's chances, and what it answers by them."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked: Json = json.loads(await request.read())
        fault = self._fault()
        if fault == "stall":
            await asyncio.sleep(STALL)
        elif fault == "reset" and request.transport is not None:
            request.transport.abort()
            raise ConnectionResetError
        elif fault in ("500", "429"):
            error = {"error": {"message": "a fault of the soak", "type": "fault", "code": int(fault)}}
            return web.json_response(error, status=int(fault), headers={"Retry-After": "1"})
        elif fault == "not JSON":
            return web.Response(body=b'{"choices": [', content_type="application/json")
        answer = self._answer(asked)
        if asked.get("stream"):
            return await self._stream(request, answer, fault)
        return web.json_response(answer)

    def _fault(self) -> str:
        rate = 0.33 if time.monotonic() % PERIOD < BAD_SPELL else 0.01
        return self._chance.choice(BEFORE + WITHIN) if self._chance.random() < rate else ""

    def _answer(self, asked: Json) -> Json:
        """A whole answer, with tool calls in some of the choices when there are tools."""
        flat = {**asked, "messages": [{"content": said(message)} for message in asked["messages"]]}
        sampled = self._chance.randint(10, 60)
        choices: list[Json] = []
        answer: Json = {}
        for index in range(asked.get("n") or 1):
            answer = word_worker.answer(flat, self._chance, sampled)
            choice: Json = {**answer["choices"][0], "index": index}
            if asked.get("tools") and self._chance.random() < 0.5:
                choice["message"], choice["finish_reason"] = _as_tool_call(choice["message"]), "tool_calls"
            choices.append(choice)
        answer["choices"] = choices
        answer["usage"]["completion_tokens"] = sampled * len(choices)
        return answer

    async def _stream(self, request: web.Request, answer: Json, fault: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        chunks = list(_chunks(answer))
        ends = self._chance.randrange(1, len(chunks)) if fault in WITHIN else len(chunks)
        for chunk in chunks[:ends]:
            await response.write(_event(chunk))
            await asyncio.sleep(PACE)
        if fault == "early end":
            if request.transport is not None:
                request.transport.abort()
        elif fault == "error event":
            await response.write(_event({"error": {"message": "a fault of the soak", "code": 500}}))
        else:
            await response.write(b"data: [DONE]\n\n")
        return response


def said(message: Json) -> str:
    """All the words of a message, which are its tokens."""
    calls = cast("list[Json]", message.get("tool_calls") or [])
    return " ".join([message.get("content") or "", *(call["function"]["arguments"] for call in calls)])


def _as_tool_call(message: Json) -> Json:
    function = {"name": "search", "arguments": message["content"]}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call-1", "type": "function", "function": function}],
    }


def _chunks(answer: Json) -> list[Json]:
    """The answer as vLLM streams it: the role first, then three tokens at a time, then the usage."""
    shared = {key: answer[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    chunks: list[Json] = []
    for choice in answer["choices"]:
        role = _choice(choice["index"], {"role": "assistant", "content": ""})
        chunks.append({**shared, "choices": [role], "prompt_token_ids": answer["prompt_token_ids"]})
        tokens, ids = choice["logprobs"]["content"], choice["token_ids"]
        for place in range(0, len(ids), 3):
            delta = _delta(choice["message"], tokens[place : place + 3], place)
            last = place + 3 >= len(ids)
            piece = _choice(choice["index"], delta)
            piece["token_ids"], piece["logprobs"] = (
                ids[place : place + 3],
                {"content": tokens[place : place + 3]},
            )
            piece["finish_reason"] = choice["finish_reason"] if last else None
            chunks.append({**shared, "choices": [piece]})
    return [*chunks, {**shared, "choices": [], "usage": answer["usage"]}]


def _choice(index: int, delta: Json) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": None}


def _delta(message: Json, tokens: list[Json], place: int) -> Json:
    text = "".join(token["token"] for token in tokens).removeprefix("" if place else " ")
    if message["content"] is not None:
        return {"content": text}
    function: Json = {"arguments": text}
    call: Json = {"index": 0, "function": function}
    if not place:
        function["name"] = "search"
        call |= {"id": "call-1", "type": "function"}
    return {"tool_calls": [call]}


def _event(data: Json) -> bytes:
    return b"data: %b\n\n" % json.dumps(data).encode()


async def serve(port: int, seed: int) -> None:
    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=1 << 26)
    app.add_routes([web.post("/v1/chat/completions", Worker(seed).chat), web.get("/health", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak.worker", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.seed))


if __name__ == "__main__":
    main()
