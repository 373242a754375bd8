"""The scenarios that are one load on all gateways, taken in turns: A B C A B C.

The load and the worker share the machine's cores with the gateway. Where calls are paced, so that time is
what is judged, their own CPU is kept beside the figures, and it is told when one of them was no longer light.

A proxy's memory is its peak of what was resident, as the kernel tells it. Beside it is the most that was its
own: the rest is pages of files, of the store above all, which the kernel takes back when it needs them.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.compare.gateway import Failed, Gateway, Worker, running, worker
from bench.compare.load import Loaded
from bench.compare.rows import Row
from bench.compare.targets import DIRECT, MINE, MINE_POWER, NGINX, ROUTER, there
from bench.processes import cpu_seconds
from bench.watch import quantile


@dataclass(frozen=True)
class Load:
    """`worker` and `load` are their arguments. A paced one runs for `paced` seconds, whole calls of it."""

    title: str
    worker: str
    load: str
    shown: tuple[str, ...]
    paced: float = 0.0
    only: tuple[str, ...] = ()


LONGEST = 45.0
"""Seconds after which a scenario begins no other round."""
HEAVY = 80
"""Percent of a core."""
CPU = ("calls/s", "CPU ms/call", "peak MiB", "proxy MiB", "own MiB")
CHUNKS = ("calls/s", "CPU µs/chunk", "CPU ms/call", "peak MiB", "proxy MiB", "own MiB")
ADDED = ("p50 ms", "p99 ms", "added p50 ms", "added p99 ms")
PACED = ("calls/s", "added p50 ms", "added time %", "of nginx's calls %", "CPU µs/chunk", "peak MiB")

LOADS = {
    "a": Load(
        "JSON, 1,000 prompt ids, 200 sampled, 4 KB body, 64 agents",
        "--prompt 1000 --tokens 200",
        "--connections 64 --bytes 4000",
        CPU,
    ),
    "b": Load(
        "JSON, 16,000 prompt ids, 500 sampled, 64 KB body, 64 agents",
        "--prompt 16000 --tokens 500",
        "--connections 64 --bytes 64000",
        CPU,
    ),
    "c": Load(
        "SSE, 1,000 prompt ids, 256 chunks without a pause, 64 agents",
        "--prompt 1000 --tokens 256",
        "--connections 64 --bytes 4000 --stream",
        CHUNKS,
    ),
    "a-latency": Load(
        "as a, one agent: what is added to each call",
        "--prompt 1000 --tokens 200",
        "--connections 1 --bytes 4000",
        ADDED,
    ),
    "d50": Load(
        "SSE, 200 tokens at 20 ms each, 50 streams",
        "--prompt 1000 --tokens 200 --pace 0.02",
        "--connections 50 --bytes 4000 --stream --warm-up 0",
        PACED,
        paced=7.5,
    ),
    "d": Load(
        "SSE, 200 tokens at 5 ms each, 200 streams",
        "--prompt 1000 --tokens 200 --pace 0.005",
        "--connections 200 --bytes 4000 --stream --warm-up 0",
        PACED,
        paced=3.5,
        only=(DIRECT, NGINX, ROUTER, MINE, MINE_POWER),
    ),
}


def measure(name: str, rounds: int, seconds: float) -> Iterator[Row]:
    scenario = LOADS[name]
    chosen = (target for target in there() if not scenario.only or target.name in scenario.only)
    if scenario.paced:  # one round is a long look already
        rounds, seconds = rounds // 2 or 1, max(seconds, scenario.paced)
    with (
        tempfile.TemporaryDirectory() as folder,
        worker(scenario.worker, Path(folder)) as served,
        running(chosen, served.port, Path(folder)) as gateways,
    ):
        deadline = time.monotonic() + LONGEST
        for number in range(rounds):
            if number and time.monotonic() > deadline:
                print(f"{name}: {number} of {rounds} rounds, since they take long", file=sys.stderr)
                break
            for gateway in gateways:
                load = f"{scenario.load} --seconds {seconds} --prefix {name}-{number}-"
                found = look(gateway, load, served)
                if scenario.paced:
                    _tell_heavy(f"{name}: {gateway.target.name}", found)
                yield Row(name, gateway.target.name, number, found)


def look(gateway: Gateway, load: str, served: Worker) -> dict[str, float]:
    """One load on one gateway; what went wrong is told, and counted among its values."""
    before = cpu_seconds(served.pid)
    try:
        seen, cpu = gateway.load(load)
    except Failed as error:
        seen, cpu = Loaded(errors=[str(error)]), 0.0
    for fault in seen.errors[:3]:
        print(f"{gateway.target.name}: {fault}", file=sys.stderr)
    found = values(gateway, seen, cpu) if seen.calls else {"errors": float(len(seen.errors) or 1)}
    if seen.calls:
        took = seen.calls / seen.per_second
        found["load's CPU %"] = 100 * seen.cpu / took
        found["worker's CPU %"] = 100 * (cpu_seconds(served.pid) - before) / took
    return found


def _tell_heavy(what: str, found: Mapping[str, float]) -> None:
    for name in ("load's CPU %", "worker's CPU %"):
        if found.get(name, 0) > HEAVY:
            print(
                f"{what}: the {name} was {found[name]:.0f}: its times are not the gateway's", file=sys.stderr
            )


def values(gateway: Gateway, seen: Loaded, cpu: float) -> dict[str, float]:
    found = {"calls/s": seen.per_second, "errors": float(len(seen.errors))}
    if seen.latencies:
        found["p50 ms"] = 1e3 * quantile(seen.latencies, 0.5)
        found["p99 ms"] = 1e3 * quantile(seen.latencies, 0.99)
        found["mean ms"] = 1e3 * statistics.fmean(seen.latencies)
    if gateway.target.name != DIRECT:
        found["CPU ms/call"] = 1e3 * cpu / seen.calls
        if seen.chunks:
            found["CPU µs/chunk"] = 1e6 * cpu / seen.chunks
        whole, proxy = gateway.peak_mib()
        found["peak MiB"] = whole
        if proxy:
            found["proxy MiB"] = proxy
            found["own MiB"] = gateway.own_mib
    return found
