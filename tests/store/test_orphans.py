"""Calls whose proxy is gone: each becomes one INTERRUPTED trace, whoever sweeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rolltrace.v1 import session_pb2
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store import RunningCall, Store, open_store
from rolltrace_store.interruption import interrupted
from tests.store import samples
from tests.store.completeness import INTERRUPTED, begun, reasons, running, seal, session_of
from tests.store.contract import stored
from tests.store.processes import options, output, started

CALLS = 5


@pytest.fixture
async def control(path: Path) -> AsyncIterator[Store]:
    """A store that is not a proxy's, in whose session "s" a killed proxy left calls."""
    with started("present", path, "s", str(CALLS)) as proxy:
        assert output(proxy).readline() == "ready\n"
        proxy.kill()
        proxy.wait()
    store = open_store(path, options())
    yield store
    await store.close()


async def test_the_calls_of_a_killed_proxy_are_interrupted(control: Store) -> None:
    left = await running(control)
    assert len(left) == CALLS
    assert await control.interrupt_orphans() == CALLS
    assert await running(control) == []
    traces = await stored(control, "s")
    assert {trace.trace_id for trace in traces} == {call.trace.trace_id for call in left}
    assert {trace.status for trace in traces} == {pb.CALL_STATUS_INTERRUPTED}
    session = await session_of(control)
    assert (session.call_count, session.in_flight_call_count) == (CALLS, 0)
    assert reasons(session) == {INTERRUPTED: CALLS}
    assert await control.interrupt_orphans() == 0


async def test_a_proxy_killed_at_any_moment_loses_no_call(path: Path) -> None:
    told: list[list[str]] = []
    for lines in (1, 8, 21, 50):
        with started("serve", path, "s") as proxy:
            told += [output(proxy).readline().split() for _ in range(lines)]
            proxy.kill()
            told += [line.split() for line in output(proxy) if line.endswith("\n")]
    store = open_store(path, options())
    left = len(await running(store))
    assert await store.interrupt_orphans() == left
    statuses = {trace.trace_id: trace.status for trace in await stored(store, "s")}
    assert len(statuses) == (await session_of(store)).call_count
    assert {trace_id for _, trace_id in told} <= statuses.keys()
    assert {statuses[trace_id] for word, trace_id in told if word == "ended"} == {pb.CALL_STATUS_COMPLETED}
    assert list(statuses.values()).count(pb.CALL_STATUS_INTERRUPTED) == left
    await store.close()


async def test_a_living_proxys_calls_run_on(path: Path, control: Store) -> None:
    with started("present", path, "t", "2") as proxy:
        assert output(proxy).readline() == "ready\n"
        assert await control.interrupt_orphans() == CALLS
        assert len(await running(control, "t")) == 2
        proxy.kill()
        proxy.wait()
        assert await control.interrupt_orphans() == 2


async def test_sweepers_at_once_record_each_call_once(path: Path, control: Store) -> None:
    with started("sweep", path) as other:
        assert output(other).readline() == "ready\n"
        counts = await asyncio.gather(*[control.interrupt_orphans() for _ in range(3)])
        theirs = int(output(other).readline())
    assert sum(counts) + theirs == CALLS
    assert len(await stored(control, "s")) == CALLS


async def test_a_call_interrupted_after_the_seal_is_late(control: Store) -> None:
    sealed = await control.write(seal)
    assert reasons(sealed) == {session_pb2.INCOMPLETE_KIND_IN_FLIGHT: CALLS}
    assert await control.interrupt_orphans() == CALLS
    assert all(trace.late for trace in await stored(control, "s"))
    after = await session_of(control)
    assert (after.call_count, after.late_call_count) == (0, CALLS)


async def test_what_was_deleted_is_not_interrupted(control: Store) -> None:
    await control.write(lambda view: view.delete_session("s"))
    assert await control.interrupt_orphans() == 0
    assert await stored(control, "s") == []


async def test_a_proxy_that_closes_leaves_its_calls_to_the_sweep(path: Path) -> None:
    proxy = open_store(path, options(), proxy=True)
    await begun(proxy)
    await proxy.close()
    store = open_store(path, options())
    assert await store.interrupt_orphans() == 1
    await store.close()


def test_the_trace_says_what_is_known_and_what_is_not() -> None:
    admission = samples.admission("s")
    admission.admit_time.seconds = 5
    admission.retry_number = 2
    trace = interrupted(RunningCall("77-abc", 1, admission))
    assert (trace.trace_id, trace.model, trace.labels["run"]) == (admission.trace_id, "m", "1")
    assert (trace.admit_time.seconds, trace.retry_number) == (5, 2)
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_INTERRUPTED, "interrupted")
    assert "77-abc" in trace.error.message
    assert (trace.http_status, trace.HasField("latency")) == (0, False)
    assert [gap.kind for gap in trace.capture_gaps] == [
        pb.CAPTURE_GAP_KIND_REQUEST,
        pb.CAPTURE_GAP_KIND_PROMPT_TOKEN_IDS,
        pb.CAPTURE_GAP_KIND_TOKEN_IDS,
    ]
    assert admission.status == pb.CALL_STATUS_UNSPECIFIED
