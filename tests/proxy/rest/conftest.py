"""A real control service and a real proxy on one store, and a worker behind them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from rolltrace_settings.settings import Settings
from rolltrace_store.interface import Store
from tests.control.conftest import controlling
from tests.proxy.answers import chat_answer
from tests.proxy.gateway import SETTINGS, Gateway, gateway
from tests.proxy.scripted import Reply, ScriptedWorker, scripted, whole

Json = object


@dataclass
class Rest:
    """The gateway as a program sees it that is written against rLLM's."""

    gate: Gateway
    worker: ScriptedWorker

    async def ask(self, method: str, path: str, body: Json = None, **headers: str) -> tuple[int, Json]:
        """The status, and the answer's JSON. A body of bytes is sent as it is."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = self.gate.proxy.url + path
        async with self.gate.http.request(method, url, headers=headers, data=sent) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()

    async def get(self, path: str) -> Json:
        status, answer = await self.ask("GET", path)
        assert status == 200, answer
        return answer

    async def post(self, path: str, body: Json = None) -> Json:
        status, answer = await self.ask("POST", path, body)
        assert status == 200, answer
        return answer

    async def call(self, session_id: str = "s", **fields: object) -> str:
        """An agent's call; its trace id."""
        async with self.gate.chat(session_id, **fields) as response:
            await response.read()
            return response.headers["x-rolltrace-trace-id"]


@asynccontextmanager
async def resting(
    store: Store, reply: Reply | None = None, settings: Settings = SETTINGS
) -> AsyncGenerator[Rest, None]:
    async with scripted(reply or whole(chat_answer())) as worker, controlling(store):
        async with gateway(store, worker, settings=settings) as gate:
            yield Rest(gate, worker)


@pytest.fixture
async def rest(store: Store) -> AsyncGenerator[Rest, None]:
    async with resting(store) as rest:
        yield rest
