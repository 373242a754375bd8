"""Agents that hang up, at every stage: the worker is let go at once, and the record is closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from rolltrace.v1.trace_pb2 import CALL_STATUS_CLIENT_CANCELLED, CALL_STATUS_COMPLETED
from tests.faults.agents import Heard
from tests.faults.bad_worker import DONE, STALL, STREAM, Step, bad_worker
from tests.faults.processes import Pair
from tests.faults.report import Tally, fault
from tests.faults.site import Site, watched
from tests.faults.test_workers import ALL_TOKENS, JSON_HEAD, TWO_TOKENS, WHOLE, registered
from tests.faults.wire import Wire, post
from tests.proxy.answers import IDS, ids

AT_ONCE = 0.2
"""Seconds in which a worker is let go; a loaded machine is given LOADED."""
LOADED = 2.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The worker's script, and what the agent waits for before it hangs up."""

    name: str
    script: Sequence[Step]
    after: bytes = b""
    tokens: int = 0


STAGES = [
    Stage("before the answer", [STALL]),
    Stage("in a whole answer", [JSON_HEAD, WHOLE[:20], STALL]),
    Stage("before the first token", [STREAM, STALL], b"\r\n\r\n"),
    Stage("in the stream", [STREAM, *TWO_TOKENS, STALL], b'"t1"', 2),
    Stage("before the end of the stream", [STREAM, *ALL_TOKENS, STALL], b'"t2"', 3),
]


@fault("agent hangs up, at every stage")
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("stage", STAGES, ids=[stage.name for stage in STAGES])
async def test_the_worker_is_let_go_and_the_record_closed(
    stage: Stage, reset: bool, impatient: Pair, tally: Tally, note: Callable[[str], None]
) -> None:
    session_id = f"hang-up-{'-'.join(stage.name.split())}-{reset}"
    async with bad_worker(*stage.script) as worker, registered(impatient, bad=worker.url):
        async with watched(impatient, tally) as site:
            agent = await begin(site, session_id, post(session_id))
            await worker.arrived.wait()
            if stage.after:
                await agent.until(stage.after)
            left = time.monotonic()
            await agent.hang_up(reset=reset)
            await site.until(lambda: bool(worker.left), "the worker to be let go")
            trace = await site.trace(session_id)
    assert worker.left[0] - left < LOADED
    if worker.left[0] - left > AT_ONCE:
        note(f"hang-up {stage.name}: the worker was let go after {worker.left[0] - left:.2f} s")
    assert (trace.status, trace.error.code) == (CALL_STATUS_CLIENT_CANCELLED, "client_disconnected")
    assert [c.token_ids for c in trace.completions] == ([ids(IDS[: stage.tokens])] if stage.tokens else [])


async def begin(site: Site, session_id: str, data: bytes) -> Wire:
    """A call by hand, which counts among those that agents made."""
    site.agents.heard.append(Heard(session_id))
    agent = await Wire.open(site.pair.port)
    await agent.send(data)
    return agent


@fault("agent hangs up, at every stage")
async def test_a_hang_up_in_the_header_is_no_call(impatient: Pair, tally: Tally) -> None:
    async with bad_worker() as worker, registered(impatient, bad=worker.url):
        async with watched(impatient, tally):
            agent = await Wire.open(impatient.port)
            await agent.send(post("in-the-header")[:60])
            await agent.hang_up()
    assert not worker.requests


@fault("agent hangs up, at every stage")
async def test_a_hang_up_in_the_body_reaches_no_worker(impatient: Pair, tally: Tally) -> None:
    async with bad_worker() as worker, registered(impatient, bad=worker.url):
        async with watched(impatient, tally) as site:
            agent = await begin(site, "in-the-body", post("in-the-body", b'{"model":', length=100))
            await agent.hang_up()
            trace = await site.trace("in-the-body")
    assert trace.status == CALL_STATUS_CLIENT_CANCELLED
    assert not worker.requests


@fault("agent hangs up, at every stage")
async def test_a_hang_up_after_the_end_changes_nothing(impatient: Pair, tally: Tally) -> None:
    async with bad_worker(STREAM, *ALL_TOKENS, DONE) as worker, registered(impatient, bad=worker.url):
        async with watched(impatient, tally) as site:
            agent = await begin(site, "after-the-end", post("after-the-end"))
            await agent.until(b"[DONE]")
            await agent.hang_up(reset=True)
            trace = await site.trace("after-the-end")
    assert (trace.status, trace.completions[0].token_ids) == (CALL_STATUS_COMPLETED, ids(IDS))
