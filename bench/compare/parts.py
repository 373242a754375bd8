"""What a call costs, by part: where the CPU of the whole goes.

The whole is the pair's CPU a call under the load of a scenario. The pure parts are timed alone, each over and
over in this process; committing is what the store takes for a trace, without coding it. The rest of the
proxy is what nobody times alone: sockets, the event loop, routing, metrics. All of it is CPU time,
so a busy machine makes it larger, and unevenly: what is timed alone keeps its caches.

Sessions go on with the same request, as in the scenarios; `first` is a session's first call, which finds
nothing remembered. A read of a stream without pauses brings many chunks, here CHUNKS_A_READ.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import calls, exchanges
from bench.compare.gateway import PROXY, Gateway, running, worker
from bench.compare.loads import LOADS, Load
from bench.compare.rows import Row
from bench.compare.targets import MINE, there
from bench.processes import cpu_seconds
from rolltrace.digest import trace_digest
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.http1.reader import Reader
from rolltrace_proxy.prompts import Prompts
from rolltrace_store import Durability, StoreOptions, open_store

LOOKS, LOOK_SECONDS = 7, 0.05
TRACES, AT_ONCE = 512, 32
REST, ALL = "the rest of the proxy", "**all of it**"
CHUNKS_A_READ = 16


@dataclass(frozen=True)
class Kind:
    """Of call: as in scenario `load`, with so many ids; `first` in its session."""

    column: str
    load: str
    prompt: int
    tokens: int
    streamed: bool = False
    first: bool = False


@dataclass(frozen=True)
class Whole:
    """Microseconds for a unit, which is a call or, of a stream, a chunk; and units of a call."""

    proxy: float
    control: float
    units: float


KINDS = (
    Kind("a, µs", "a", 1000, 200),
    Kind("a, first, µs", "a", 1000, 200, first=True),
    Kind("b, µs", "b", 16_000, 500),
    Kind("b, first, µs", "b", 16_000, 500, first=True),
    Kind("c, µs/chunk", "c", 1000, 256, streamed=True),
)
SHOWN = {"parts": tuple(kind.column for kind in KINDS)}


def measure(seconds: float) -> Iterator[Row]:
    found: dict[str, dict[str, float]] = {}
    for load, kinds in itertools.groupby(KINDS, lambda kind: kind.load):
        for kind, whole in _wholes(LOADS[load], list(kinds), seconds):
            for part, micros in _parts(kind, whole).items():
                found.setdefault(part, {})[kind.column] = micros
    for part, values in found.items():
        yield Row("parts", part, 0, values)


def _parts(kind: Kind, whole: Whole) -> dict[str, float]:
    micros = {name: 1e6 * took / whole.units for name, took in steps(kind).items()}
    rest = whole.proxy - sum(micros.values())
    return {**micros, REST: rest, "the control service": whole.control, ALL: whole.proxy + whole.control}


def _wholes(load: Load, kinds: Sequence[Kind], seconds: float) -> Iterator[tuple[Kind, Whole]]:
    mine = (target for target in there() if target.name == MINE)
    with (
        tempfile.TemporaryDirectory() as name,
        worker(load.worker, Path(name)) as served,
        running(mine, served.port, Path(name)) as gateways,
    ):
        for gateway, kind in itertools.product(gateways, kinds):
            before = _cpu(gateway)
            own = f"--seconds {seconds} --prefix {'first' if kind.first else 'next'}-"
            seen, _ = gateway.load(f"{load.load} {own} {'--fresh' if kind.first else ''}")
            made = max(seen.chunks or seen.calls, 1)
            proxy, control = (1e6 * (now - then) for now, then in zip(_cpu(gateway), before, strict=True))
            yield kind, Whole(proxy / made, control / made, made / max(seen.calls, 1))


def _cpu(gateway: Gateway) -> tuple[float, float]:
    """Seconds of the proxy, and of all else."""
    proxy = sum(cpu_seconds(pid) for pid, command in gateway.tree() if PROXY in command)
    return proxy, gateway.cpu() - proxy


def steps(kind: Kind) -> dict[str, float]:
    """Seconds of a call, by part."""
    call = calls.exchanged(kind.prompt, kind.tokens, streamed=kind.streamed)
    if kind.streamed:
        joined = [b"".join(some) for some in _cut(call.pieces, CHUNKS_A_READ)]
        call = calls.Exchanged(call.request, joined, call.kind)
    plan, prompts, numbers = calls.planned(call, enforced=False), Prompts(), itertools.count(1)
    request, answer = exchanges.sent(call), exchanges.answered(call)
    trace, known = _trace(call), calls.histories()

    def capture() -> None:
        session = f"s-{next(numbers)}" if kind.first else "s-1"
        calls.traced(1, plan, call, calls.read(plan, call, prompts.of(session)))

    def encode() -> None:
        trace.trace_id = str(uuid.UUID(int=next(numbers)))
        trace.session_id = f"s-{next(numbers)}" if kind.first else "s-1"
        known.committed([known.encode(trace)])

    coding = _timed(encode) + _timed(partial(trace_digest, trace))
    return {
        "HTTP with the agent": _timed(partial(exchanges.with_agent, Reader(exchanges.MOST), request)),
        "HTTP with the worker": _timed(partial(exchanges.with_worker, call.request, answer)),
        "the request, read and rewritten": _timed(partial(calls.planned, call, enforced=False)),
        "the answer, read and put into a trace": _timed(capture),
        "the trace, coded and hashed": coding,
        "the commit": max(0.0, asyncio.run(_stored(call, fresh=kind.first)) - coding),
    }


def _cut(pieces: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(pieces), size):
        yield pieces[start : start + size]


def _timed(step: Callable[[], object]) -> float:
    """Seconds of CPU: a median of looks."""
    step()
    looks: list[float] = []
    for _ in range(LOOKS):
        times, begun = 0, time.process_time()
        while (took := time.process_time() - begun) < LOOK_SECONDS:
            step()
            times += 1
        looks.append(took / times)
    return statistics.median(looks)


def _trace(call: calls.Exchanged) -> pb.Trace:
    plan = calls.planned(call, enforced=False)
    return calls.traced(1, plan, call, calls.read(plan, call))


async def _stored(call: calls.Exchanged, *, fresh: bool) -> float:
    """Seconds of CPU for each trace that is appended, several at once, coding and all."""
    traces = [_trace(call) for _ in range(TRACES)]
    for number, trace in enumerate(traces):
        trace.trace_id = str(uuid.UUID(int=number + 1))
        trace.session_id = f"s-{number if fresh else number % AT_ONCE}"
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder) / "data", StoreOptions(durability=Durability.PROCESS), proxy=True)
        begun = time.process_time()
        for start in range(0, TRACES, AT_ONCE):
            some = traces[start : start + AT_ONCE]
            await asyncio.gather(*(store.append_trace(trace) for trace in some))
        took = time.process_time() - begun
        await store.close()
    return took / TRACES
