"""The agents of the soak: rollouts with growing histories, and everything that agents do besides.

An agent takes one turn after the other, streamed or whole, with tools or several choices; hangs up at times;
repeats a call as the SDKs do, marked, when it failed, and at times when it did not. In the end the
session is sealed, deleted, or left open, now and then while a call still runs.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.soak.notes import Notes, SessionNotes
from bench.soak.worker import said
from bench.word_worker import Json, words
from rolltrace_client import InFlightCalls, RolltraceError
from rolltrace_client.aio import AsyncClient

TRACE_ID, REPLAYED, RETRY = "x-rolltrace-trace-id", "x-rolltrace-replayed", "x-stainless-retry-count"
TOOLS = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]
RETRIES = 4
LOST = (aiohttp.ClientError, TimeoutError, OSError)


class HungUp(Exception):
    """The agent left before the end, on purpose."""


@dataclass
class Answer:
    """What came of a request. `message` is what the first choice said; None when that was no whole answer."""

    status: int
    trace_id: str
    message: Json | None
    replayed: bool


@dataclass
class Rollouts:
    """Agents that run one session after the other until `stopping`."""

    url: str
    client: AsyncClient
    http: aiohttp.ClientSession
    notes: Notes
    chance: random.Random
    check: Callable[[str], Any]
    """Awaited for some of the sessions that are sealed: whether they are complete."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 0

    async def run(self) -> None:
        while not self.stopping.is_set():
            self.number += 1
            session_id = f"soak/{self.chance.getrandbits(32):08x}:{self.number}"
            try:
                await self._session(session_id)
            except RolltraceError as error:
                self.notes.counts[f"control said {type(error).__name__}"] += 1
            except LOST as error:
                self.notes.counts[f"broken off: {type(error).__name__}"] += 1
            self.notes.session(session_id).over = True

    async def _session(self, session_id: str) -> None:
        notes = self.notes.session(session_id)
        if self.chance.random() < 0.5:
            await self.client.create_session(session_id, labels={"soak": "yes"})
        messages: list[Json] = [{"role": "system", "content": "you solve the task step by step"}]
        self.notes.grown(session_id, 7)
        for _ in range(self.chance.randint(2, 12)):
            question = " ".join(words(self.chance, self.chance.randint(5, 120)))
            messages.append({"role": "user", "content": question})
            self.notes.grown(session_id, len(question.split()))
            answer = await self._turn(session_id, notes, messages)
            if answer is None:
                break
            messages.append(answer)
            if answer.get("tool_calls"):
                messages.append({"role": "tool", "tool_call_id": "call-1", "content": "found nothing at all"})
                self.notes.grown(session_id, 4)
            await asyncio.sleep(self.chance.expovariate(5))
        await self._finish(session_id, notes, messages)

    def _body(self, messages: list[Json]) -> Json:
        body: Json = {"model": "words", "messages": messages, "stream": self.chance.random() < 0.6}
        if self.chance.random() < 0.3:
            body["tools"] = TOOLS
        if self.chance.random() < 0.1:
            body["n"] = self.chance.randint(2, 4)
        return body

    async def _turn(self, session_id: str, notes: SessionNotes, messages: list[Json]) -> Json | None:
        """A call and its repeats; the message that the agent goes on with."""
        body = self._body(messages)
        leaves = self.chance.random() < 0.04
        for attempt in range(RETRIES):
            try:
                answer = await self._send(session_id, notes, body, attempt, leaves=leaves and not attempt)
            except HungUp:
                self.notes.counts["hang-ups"] += 1
                if self.chance.random() < 0.5:
                    return None
                continue
            except LOST as error:
                self.notes.counts[f"broken off: {type(error).__name__}"] += 1
                await asyncio.sleep(0.5 * 2**attempt)
                continue
            if answer.message is not None:
                await self._repeat_at_times(session_id, notes, body, attempt, answer)
                return answer.message
            self.notes.counts[f"answered {answer.status}"] += 1
            await asyncio.sleep(0.3 * 2**attempt)
        return None

    async def _repeat_at_times(
        self, session_id: str, notes: SessionNotes, body: Json, attempt: int, first: Answer
    ) -> None:
        """An answer that was lost on its way: the repeat gets the same one, and the model does not run."""
        if self.chance.random() > 0.04:
            return
        try:
            again = await self._send(session_id, notes, body, attempt + 1)
        except LOST:
            return
        self.notes.counts["replays" if again.replayed else "repeats that ran anew"] += 1
        if again.replayed and (again.trace_id, again.message) != (first.trace_id, first.message):
            self.notes.broken.append(f"{session_id}: a repeat of {first.trace_id} got {again}")

    async def _send(
        self, session_id: str, notes: SessionNotes, body: Json, attempt: int, *, leaves: bool = False
    ) -> Answer:
        notes.sent += 1
        self.notes.counts["requests"] += 1
        headers = {RETRY: str(attempt)}
        limit = self.chance.uniform(0.0, 0.4) if leaves else 60.0
        url = f"{self.url}/sessions/{session_id}/v1/chat/completions"
        try:
            async with asyncio.timeout(limit), self.http.post(url, json=body, headers=headers) as response:
                data = await response.read()
        except TimeoutError:
            if leaves:
                raise HungUp from None
            raise
        message = _message(data, streamed=body["stream"]) if response.status == 200 else None
        trace_id = response.headers.get(TRACE_ID, "")
        replayed = REPLAYED in response.headers
        if message is not None:
            notes.ended.add(trace_id)
            if not replayed:
                self.notes.grown(session_id, len(said(message).split()) * (body.get("n") or 1))
        return Answer(response.status, trace_id, message, replayed)

    async def _finish(self, session_id: str, notes: SessionNotes, messages: list[Json]) -> None:
        what = self.chance.random()
        straggler = None
        if self.chance.random() < 0.15:
            straggler = asyncio.create_task(self._straggle(session_id, notes, messages))
            await asyncio.sleep(self.chance.uniform(0, 0.2))
        try:
            if what < 0.7:
                await self._seal(session_id, notes, straggles=straggler is not None)
            elif what < 0.85:
                notes.deleted = True
                await self.client.delete_session(session_id)
                self.notes.counts["deletions"] += 1
        finally:
            if straggler is not None:
                await straggler
        if notes.sealed and self.chance.random() < 0.3:
            await self.check(session_id)

    async def _seal(self, session_id: str, notes: SessionNotes, *, straggles: bool) -> None:
        how = self.chance.choice((InFlightCalls.WAIT, InFlightCalls.CANCEL))
        await self.client.seal_session(
            session_id, status="done", reward=1.0, in_flight=how, seal_timeout=10.0
        )
        notes.sealed = True
        self.notes.counts["seals"] += 1
        if not straggles and self.chance.random() < 0.1:
            late = await self._send(session_id, notes, self._body([{"role": "user", "content": "late"}]), 0)
            if late.status != 409:
                self.notes.broken.append(f"{session_id}: a call after the seal got {late.status}, not 409")

    async def _straggle(self, session_id: str, notes: SessionNotes, messages: list[Json]) -> None:
        body = {**self._body(messages), "stream": True}
        try:
            await self._send(session_id, notes, body, 0)
        except LOST:
            self.notes.counts["stragglers cut off"] += 1


def _message(data: bytes, *, streamed: bool) -> Json | None:
    """The first choice's message; None when the answer is not whole."""
    try:
        if not streamed:
            message: Json = json.loads(data)["choices"][0]["message"]
            return message
        return _merged(data)
    except (ValueError, LookupError, TypeError):
        return None


def _merged(data: bytes) -> Json | None:
    if not data.endswith(b"data: [DONE]\n\n"):
        return None
    content, arguments, calls = "", "", False
    for event in data.split(b"\n\n")[:-2]:
        chunk: Json = json.loads(event.removeprefix(b"data: "))
        for choice in chunk["choices"]:
            if choice["index"]:
                continue
            delta: Json = choice["delta"]
            content += delta.get("content") or ""
            pieces: list[Json] = delta.get("tool_calls") or []
            calls = calls or bool(pieces)
            arguments += "".join(piece["function"].get("arguments") or "" for piece in pieces)
    if not calls:
        return {"role": "assistant", "content": content}
    function = {"name": "search", "arguments": arguments}
    call: Json = {"id": "call-1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}
