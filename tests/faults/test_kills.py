"""Processes are killed at random moments under load, and no record is lost or comes twice."""

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from rolltrace.v1 import (
    session_service_pb2,
    session_service_pb2_grpc,
    trace_pb2,
    trace_service_pb2,
    trace_service_pb2_grpc,
)
from tests.pair.agents import Agents
from tests.pair.pair import Child, running_pair, running_worker
from tests.pair.subscriber import read_notebook


@pytest.fixture(scope="module")
def worker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_worker(tmp_path_factory.mktemp("worker")) as url:
        yield url


def recorded_trace_ids(target: str) -> list[str]:
    """All traces that the control service lists, session by session."""
    found: list[str] = []
    with grpc.insecure_channel(target) as channel:
        sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        traces = trace_service_pb2_grpc.TraceServiceStub(channel)
        listed = sessions.ListSessions(session_service_pb2.ListSessionsRequest(page_size=1000))
        assert not listed.next_page_token
        for session in listed.sessions:
            found += _trace_ids(traces, session.session_id)
    return found


def _trace_ids(stub: trace_service_pb2_grpc.TraceServiceStub, session_id: str) -> Iterator[str]:
    request = trace_service_pb2.ListTracesRequest(
        session_id=session_id, view=trace_pb2.TRACE_VIEW_METADATA, page_size=1000
    )
    while True:
        page = stub.ListTraces(request)
        yield from (trace.trace_id for trace in page.traces)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def test_a_call_whose_end_was_seen_has_its_trace_whenever_the_proxy_is_killed(
    worker_url: str, tmp_path: Path
) -> None:
    chance = random.Random(1)
    with running_pair(tmp_path, worker_url) as pair:
        agents = Agents(pair.url)
        for _ in range(10):
            seen_before = len(agents.seen)
            load = asyncio.create_task(agents.make_calls(10_000))
            while len(agents.seen) < seen_before + 20:
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.uniform(0, 0.3))
            pair.proxy.stop(signal.SIGKILL)
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
            pair.start_proxy()
        recorded = recorded_trace_ids(pair.target)
    assert len(agents.seen) >= 200
    assert len(recorded) == len(set(recorded))
    assert set(agents.seen) <= set(recorded)


async def test_a_subscriber_killed_at_random_sees_every_trace_once_and_in_order(
    worker_url: str, tmp_path: Path
) -> None:
    calls, kills = 2_000, 20
    chance = random.Random(2)
    notebook = tmp_path / "notebook"
    with running_pair(tmp_path, worker_url) as pair:
        agents = Agents(pair.url, max_tokens=2)
        trainer = Child("tests.pair.subscriber", [pair.target, str(notebook)], tmp_path / "trainer.log")
        trainer.start()
        load = asyncio.create_task(agents.make_calls(calls))
        for kill in range(1, kills + 1):
            await _noted(notebook, kill * calls // (kills + 2))
            await asyncio.sleep(chance.uniform(0, 0.1))
            trainer.stop(signal.SIGKILL)
            trainer.start()
        await load
        await _noted(notebook, calls)
        trainer.stop()
    noted = read_notebook(notebook)
    sequences = [sequence for _, sequence, _ in noted]
    assert sequences == sorted(set(sequences))
    assert len({epoch for epoch, _, _ in noted}) == 1
    assert len(agents.seen) == calls
    assert sorted(trace_id for _, _, trace_id in noted) == sorted(agents.seen)


async def _noted(notebook: Path, count: int, patience: float = 60) -> None:
    """Waits until so many traces are noted."""
    deadline = time.monotonic() + patience
    while len(read_notebook(notebook)) < count:
        assert time.monotonic() < deadline, f"{len(read_notebook(notebook))} of {count} traces came"
        await asyncio.sleep(0.02)
