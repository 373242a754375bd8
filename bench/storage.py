"""How much a growing session takes on disk: a real proxy, a real store, an agent whose history grows.

Every turn adds about 520 tokens: the answer's, and as many as a tool's result or a user's next message
has. 50 turns end with a context of 26,000 tokens. Sizes are those of the pages in use in the environment,
indexes and all.
"""

import random
import tempfile
from pathlib import Path

import aiohttp

from bench import word_worker
from rolltrace_proxy.server import serve
from rolltrace_settings.settings import Settings
from rolltrace_store import Store, open_store

SAMPLED, ADDED = 200, 320
Message = dict[str, str]


async def bytes_of_session(turns: int) -> int:
    """What one session of so many turns adds to an environment."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "data", proxy=True)
        async with word_worker.serving(SAMPLED) as worker_url:
            await store.write(lambda view: view.put_worker(word_worker.record(worker_url)))
            async with serve(Settings(port=0), store) as proxy:
                before = await _used(store)
                await _run_session(f"{proxy.url}/sessions/growing/v1/chat/completions", turns)
                after = await _used(store)
        await store.close()
    return after - before


async def _used(store: Store) -> int:
    return await store.read(lambda view: view.stats().used_bytes)


async def _run_session(url: str, turns: int) -> None:
    chance = random.Random(2)
    messages: list[Message] = [{"role": "system", "content": "You solve the task step by step."}]
    async with aiohttp.ClientSession() as http:
        for _ in range(turns):
            messages.append({"role": "user", "content": " ".join(word_worker.words(chance, ADDED))})
            body = {"model": "words", "messages": messages, "temperature": 1.0}
            async with http.post(url, json=body) as response:
                answer = await response.json()
            assert response.status == 200, answer
            messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"]})
