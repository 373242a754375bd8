"""What surrounds each agent script: runs come in by stdin, and what the agent saw goes out by stdout.

A run is a line of JSON, {"api", "base_url", "api_key", "model", "stream"}, or {"program", "environment"} for
a program that finds its way by environment variables. The answer is a line too: {"seen": [...]} with what the
script's function for that API yielded, or {"failed": a traceback}. What a framework prints goes to stderr.
Only the standard library: this runs in each framework's environment.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

INSTRUCTIONS = "You tell the weather."
QUESTIONS = ("what is the weather in Paris", "please tell me again")
"""Two turns of the user. In each, the model calls the tool, and answers when it has the result."""

Seen = dict[str, Any]
Agent = Callable[[str, str, str, bool], "Iterator[Seen] | AsyncIterator[Seen]"]


def answer(text: str | None, calls: list[tuple[str, str, object]], end: str | None, usage: object) -> Seen:
    """What the agent saw of one answer. `calls`: (id, name, arguments); `usage`: (prompt, completion)."""
    told = [{"id": id_, "name": name, "arguments": arguments} for id_, name, arguments in calls]
    return {"text": text or "", "calls": told, "end": end, "usage": usage}


def serve(**agents: Agent) -> None:
    """Answers runs until stdin ends. `agents`: the script's function for each API."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            try:
                order = json.loads(line)
                saw = _followed(**order) if "program" in order else _seen(agents, **order)
                said = {"seen": runner.run(saw)}
            except Exception:
                said = {"failed": traceback.format_exc()}
            print(json.dumps(said), file=lines, flush=True)


async def _seen(
    agents: dict[str, Agent], *, api: str, base_url: str, api_key: str, model: str, stream: bool
) -> list[Seen]:
    saw = agents[api](base_url, api_key, model, stream)
    if inspect.isasyncgen(saw):
        return [each async for each in saw]
    return await asyncio.to_thread(lambda: list(saw))  # some frameworks start a loop of their own


async def _followed(*, program: str, environment: dict[str, str]) -> list[Seen]:
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        await asyncio.to_thread(exec, program, {})
    finally:
        os.environ.clear()
        os.environ.update(before)
    return []
