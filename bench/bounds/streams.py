"""Thousands of streaming calls at once through one proxy: none fails, each is recorded, memory stays small.

The agents begin all at once, as the rollouts of a training step do. Afterwards the control service is asked
for every trace: its status, its tokens, its gaps, and whether its id is the one that the agent was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.servers import free_port

from bench.bounds.agents import Seen
from bench.figures import Figure
from bench.pair import Child, Pair, running, running_pair
from bench.processes import Memory, cpu_seconds, memory
from bench.watch import Watch, metrics, quantile, watching
from rolltrace_client import CallStatus, EventKind, Trace, TraceEvent
from rolltrace_client.aio import AsyncClient

MIB = 1 << 20
PATIENCE = 30.0
"""Seconds until a trace that does not come is taken for lost."""


@dataclass(frozen=True)
class Load:
    """How much at once. `pace` is in seconds a token, prompt and tokens in tokens."""

    calls: int = 5000
    tokens: int = 12
    pace: float = 4.0
    prompt: int = 2000


@dataclass(frozen=True)
class Outcome:
    """What was seen on all sides. `faults` says of each call that went wrong what did."""

    faults: list[str]
    first: list[float]
    took: float
    before: Memory
    proxy: Memory
    control: Memory
    cpu: float
    watch: Watch
    lag: float


def figures(load: Load, seen: Outcome) -> Iterator[Figure]:
    for fault in seen.faults[:10]:
        print(f"  {fault}")
    yield Figure("calls", load.calls, "")
    yield Figure("of them open at the same time, at most", seen.watch.in_flight, "")
    yield Figure("calls that failed, or were recorded otherwise than seen", len(seen.faults), "", 0)
    yield Figure("proxy, peak of resident memory", seen.proxy.peak / MIB, "MiB", 1536)
    yield Figure("proxy, peak of what is its own", seen.watch.own["proxy"] / MIB, "MiB")
    grown = seen.watch.own["proxy"] - seen.before.own
    yield Figure("  for each stream that is open", grown / seen.watch.in_flight / 1024, "KiB")
    yield Figure("control, peak of resident memory", seen.control.peak / MIB, "MiB")
    yield Figure("first byte, median", quantile(seen.first, 0.5), "s")
    yield Figure("first byte, 99th percentile", quantile(seen.first, 0.99), "s")
    yield Figure("all calls", seen.took, "s")
    yield Figure("proxy, CPU", seen.cpu, "s")
    yield Figure("event loop's lag, mean of looks each 0.2 s", 1e3 * seen.lag, "ms")
    yield Figure("/health, median", 1e3 * quantile(seen.watch.health, 0.5), "ms")
    yield Figure("/health, 99th percentile", 1e3 * quantile(seen.watch.health, 0.99), "ms")
    yield Figure("/health, slowest", 1e3 * max(seen.watch.health), "ms")


def run(load: Load) -> Outcome:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        worker = Child(
            "bench.bounds.paced_worker",
            f"--port {port} --tokens {load.tokens} --pace {load.pace} --prompt {load.prompt}".split(),
            folder / "worker.log",
        )
        with running(worker), running_pair(folder, f"http://127.0.0.1:{port}") as pair:
            return asyncio.run(_measure(pair, load))


async def _measure(pair: Pair, load: Load) -> Outcome:
    pids = {"proxy": pair.proxy.pid, "control": pair.control.pid}
    before, cpu = memory(pids["proxy"]), cpu_seconds(pids["proxy"])
    async with watching(pair.url, pids) as watch:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        seen = await _agents(pair, load)
        took = loop.time() - begun
    cpu = cpu_seconds(pids["proxy"]) - cpu
    faults = [f"{each.session_id}: {each.fault}" for each in seen if each.fault]
    faults += await _compare(pair.target, seen, load)
    async with aiohttp.ClientSession() as http:
        measured = await metrics(http, pair.url)
    return Outcome(
        faults,
        [each.first for each in seen],
        took,
        before,
        memory(pids["proxy"]),
        memory(pids["control"]),
        cpu,
        watch,
        measured["rolltrace_event_loop_lag_seconds_sum"] / measured["rolltrace_event_loop_lag_seconds_count"],
    )


async def _agents(pair: Pair, load: Load) -> Sequence[Seen]:
    command = f"-m bench.bounds.agents --port {pair.port} --calls {load.calls} --prompt {load.prompt}".split()
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return [Seen(**json.loads(line)) for line in said.splitlines()]


async def _compare(target: str, seen: Sequence[Seen], load: Load) -> list[str]:
    """What the control service tells of the calls, against what their agents saw."""
    expected = {each.trace_id: each for each in seen if not each.fault}
    faults: list[str] = []
    async with AsyncClient(target) as client, client.subscribe(kinds=[EventKind.TRACE]) as events:
        with contextlib.suppress(TimeoutError):
            while expected:
                event = await asyncio.wait_for(anext(events), PATIENCE)
                assert isinstance(event, TraceEvent)
                if agent := expected.pop(event.trace.trace_id, None):
                    faults += _differences(event.trace, agent, load)
    return faults + [f"{agent.session_id}: not recorded" for agent in expected.values()]


def _differences(trace: Trace, agent: Seen, load: Load) -> list[str]:
    tokens = sum(len(completion.token_ids) for completion in trace.completions)
    recorded = (trace.session_id, trace.status, len(trace.prompt_token_ids), tokens)
    wanted = (agent.session_id, CallStatus.COMPLETED, load.prompt, load.tokens)
    gaps = [f"{agent.session_id}: {gap}" for gap in trace.capture_gaps]
    return gaps if recorded == wanted else [f"recorded as {recorded}, and should be {wanted}", *gaps]
