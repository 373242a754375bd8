"""Sessions are sealed with calls in flight, and while processes die."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from rolltrace_client import AsyncClient, InFlightCalls, Session, SessionState, verify
from tests import completeness
from tests.faults.processes import Pair, running_pair, running_worker

PATIENCE = 60
LONG = 2_000
"""So many tokens that a call lasts longer than any test."""


@pytest.fixture(scope="module")
def worker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_worker(tmp_path_factory.mktemp("worker"), "--token-delay", "0.03") as url:
        yield url


@pytest.fixture
def pair(worker_url: str, tmp_path: Path) -> Iterator[Pair]:
    with running_pair(tmp_path, worker_url) as pair:
        yield pair


@dataclass
class Agent:
    """One session's agent: what it sent, and the trace ids of the calls whose end it saw."""

    url: str
    http: aiohttp.ClientSession
    sent: int = 0
    ended: list[str] = field(default_factory=list[str])
    running: list[asyncio.Task[int]] = field(default_factory=list["asyncio.Task[int]"])

    async def begin(self, max_tokens: int) -> None:
        """Sends a call, and returns when the first of its tokens is there."""
        self.sent += 1
        started = asyncio.Event()
        task = asyncio.create_task(self._call(max_tokens, self.sent, started))
        self.running.append(task)
        async with asyncio.timeout(PATIENCE):
            await started.wait()

    async def _call(self, max_tokens: int, number: int, started: asyncio.Event) -> int:
        """The status; 0 for a call that broke off."""
        body = {
            "model": "demo",
            "messages": [{"role": "user", "content": f"task {number}"}],
            "max_tokens": max_tokens,
            "ignore_eos": True,
            "stream": True,
        }
        whole = b""
        try:
            async with self.http.post(f"{self.url}/sessions/s/v1/chat/completions", json=body) as answer:
                async for chunk in answer.content.iter_any():
                    whole += chunk
                    started.set()
        except (aiohttp.ClientError, ConnectionError):
            return 0
        finally:
            started.set()
        if whole.endswith(b"data: [DONE]\n\n"):
            self.ended.append(answer.headers["x-rolltrace-trace-id"])
        return answer.status if b'"error"' not in whole else max(answer.status, 400)

    async def results(self) -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*self.running), PATIENCE)


@asynccontextmanager
async def meeting(pair: Pair) -> AsyncGenerator[tuple[Agent, AsyncClient], None]:
    """An agent and a trainer."""
    async with aiohttp.ClientSession() as http, AsyncClient(pair.target, timeout=PATIENCE) as client:
        agent = Agent(pair.url, http)
        yield agent, client
        for task in agent.running:
            task.cancel()


async def check(agent: Agent, client: AsyncClient) -> Session:
    """The promise of a session, by the tests' checker and by the client's."""
    session = await client.get_session("s")
    traces = [trace async for trace in client.list_traces("s")]
    protos = [trace.proto for trace in traces]
    completeness.check(session.proto, protos, ended=agent.ended, sent=agent.sent)
    assert verify(session, traces).verified
    return session


async def until(client: AsyncClient, holds: Callable[[Session], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds(await client.get_session("s")):
            await asyncio.sleep(0.01)


def is_running(session: Session) -> bool:
    """Whether a call's admission, which nobody waits for, has been committed."""
    return session.in_flight_call_count > 0


def is_sealing(session: Session) -> bool:
    return session.state == SessionState.SEALING


async def test_a_seal_awaits_the_calls_that_run_and_refuses_later_ones(pair: Pair) -> None:
    async with meeting(pair) as (agent, client):
        await agent.begin(3)
        await agent.results()
        await agent.begin(60)
        await until(client, is_running)
        seal = asyncio.ensure_future(client.seal_session("s", status="success", reward=1.0))
        await until(client, is_sealing)
        await agent.begin(3)
        sealed = await seal
        assert await agent.results() == [200, 200, 409]
        assert (sealed.state, sealed.incomplete, len(agent.ended)) == ("SEALED", False, 2)
        assert (await check(agent, client)).call_count == 2


async def test_a_seal_cuts_off_what_runs_when_told_to(pair: Pair) -> None:
    async with meeting(pair) as (agent, client):
        await agent.begin(3)
        await agent.results()
        await agent.begin(LONG)
        await until(client, is_running)
        sealed = await client.seal_session("s", in_flight=InFlightCalls.CANCEL)
        [whole, cut] = await agent.results()
        assert whole == 200
        assert cut != 200
        assert (sealed.state, sealed.call_count, sealed.failed_call_count) == ("SEALED", 2, 1)
        assert not sealed.incomplete
        traces = [trace async for trace in client.list_traces("s")]
        assert traces[1].status == "REFUSED"
        assert len(traces[1].completions[0].token_ids) > 0
        await check(agent, client)


async def test_a_control_service_killed_in_the_middle_of_a_seal_finishes_it(pair: Pair) -> None:
    async with meeting(pair) as (agent, client):
        await agent.begin(100)
        await until(client, is_running)
        seal = asyncio.ensure_future(client.seal_session("s", reward=0.5))
        await until(client, is_sealing)
        await asyncio.to_thread(pair.control.stop, signal.SIGKILL)
        await asyncio.to_thread(pair.start_control)
        sealed = await seal  # the client asks again by itself
        assert sealed.outcome is not None
        assert (sealed.state, sealed.outcome.reward, sealed.incomplete) == ("SEALED", 0.5, False)
        assert await agent.results() == [200]
        await check(agent, client)


async def test_calls_of_a_killed_proxy_are_what_the_session_lacks(pair: Pair) -> None:
    async with meeting(pair) as (agent, client):
        await agent.begin(3)
        await agent.results()
        await agent.begin(LONG)
        await agent.begin(LONG)
        await until(client, lambda session: session.in_flight_call_count == 2)
        await asyncio.to_thread(pair.proxy.stop, signal.SIGKILL)
        sealed = await client.seal_session("s", seal_timeout=0.0)  # no time, and yet not IN_FLIGHT
        assert (sealed.state, sealed.call_count, sealed.failed_call_count) == ("SEALED", 3, 2)
        [reason] = sealed.incomplete_reasons
        assert (reason.kind, reason.call_count) == ("INTERRUPTED", 2)
        assert str(reason).startswith("2 calls interrupted: the proxy went away")
        assert len(agent.ended) == 1
        await check(agent, client)
