"""A worker whose tokens are words: as fast as can be, in vLLM's wire format, with prompts that grow.

Every word of the messages is one token, its id a hash of the word, so the prompt of turn k + 1 begins with
the prompt and the completion of turn k as soon as the agent sends the answer back. Log-probabilities are
random float32 with all their digits, as vLLM prints them: they do not compress, like the real ones.
"""

import json
import random
import struct
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from rolltrace.v1.worker_pb2 import WORKER_STATE_ACTIVE, Worker

Json = dict[str, Any]
VOCABULARY = 151_000
LETTERS = "etaoinshrdlucmfw"


def words(chance: random.Random, count: int) -> list[str]:
    """Words of about four letters, as a token of English has."""
    return ["".join(chance.choice(LETTERS) for _ in range(chance.randint(2, 6))) for _ in range(count)]


def token_ids(text: str) -> list[int]:
    return [zlib.crc32(word.encode()) % VOCABULARY for word in text.split()]


def answer(request: Json, chance: random.Random, sampled: int) -> Json:
    """A whole answer of `sampled` tokens."""
    messages: list[Json] = request["messages"]
    prompt = [token for message in messages for token in token_ids(message["content"])]
    new = words(chance, sampled)
    logprobs = [struct.unpack("f", struct.pack("f", -chance.expovariate(2)))[0] for _ in new]
    content = [
        {"token": f" {word}", "logprob": logprob, "bytes": list(f" {word}".encode()), "top_logprobs": []}
        for word, logprob in zip(new, logprobs, strict=True)
    ]
    text = " ".join(new)
    choice: Json = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None, "tool_calls": []},
        "logprobs": {"content": content},
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": token_ids(text),
    }
    total = len(prompt) + sampled
    usage = {"prompt_tokens": len(prompt), "total_tokens": total, "completion_tokens": sampled}
    return {
        "id": f"chatcmpl-{chance.getrandbits(64):016x}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request["model"],
        "choices": [choice],
        "usage": usage,
        "prompt_logprobs": None,
        "prompt_token_ids": prompt,
    }


def record(url: str) -> Worker:
    """What the store keeps of this worker."""
    return Worker(worker_id="words", url=url, weight=1, api_path="/v1", state=WORKER_STATE_ACTIVE)


@asynccontextmanager
async def serving(sampled: int) -> AsyncGenerator[str]:
    """Serves on a free loopback port; gives the URL."""
    chance = random.Random(1)

    async def chat(request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        return web.Response(body=json.dumps(answer(asked, chance, sampled)), content_type="application/json")

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=1 << 26)
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/health", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
