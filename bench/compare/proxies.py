"""What a second proxy brings, on cores that the load has to share with it.

A closed loop of agents keeps the proxies busy, as in `a`. Two proxies on two cores leave none for the load,
the worker and the control service: the plain ratio of calls per second tells how cheap these are. What is
judged is the capacity: calls for each second of core time that the proxies used or could have used, times
their cores. They could have used it when a core of theirs was idle; so what proxies wait for each other, as
for the store's write lock, counts against them. What the load or anybody else on the machine took does not.
One proxy waits for nobody but a slow load: its idle time is not counted, or two would look better.

One proxy has the last core, and the rest of it all runs on the other. Two have both cores, and the rest
runs there too; with more cores it is kept apart. What the machine itself makes of a second core is
shown beside it: a loop that only counts, alone and as two at once.

This can't show more than two proxies, nor what a busy core takes from its neighbour, since the load
keeps one proxy's neighbour busy too: the loops show that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.compare.gateway import PROXY, Failed, Gateway, Worker, loaded, pin, running, worker
from bench.compare.rows import Row
from bench.compare.targets import rolltrace
from bench.processes import cpu_seconds, idle_seconds
from bench.sampling import Sampling

ONE, TWO = "rolltrace, 1 proxy", "rolltrace, 2 proxies"
LOOPS = "two loops"
SHOWN = {"proxies": ("calls/s", "capacity calls/s", "of one's %", "CPU ms/call", "idle %")}
LOAD = "--connections 128 --bytes 4000 --seconds {} --prefix two-{}-"
LEAST_SECONDS = 3.0
EVERY = 0.02
SPIN = """
import time
begun, done = time.process_time(), 0
while time.process_time() < begun + 0.5:
    done += sum(range(1000)) > 0
print(done)
"""


@dataclass(frozen=True, slots=True)
class Look:
    """Seconds of CPU that the proxies had used, and that their cores had been idle, at a time."""

    at: float
    used: float
    idle: float


def measure(rounds: int, seconds: float) -> Iterator[Row]:
    if len(os.sched_getaffinity(0)) < 2:
        print("proxies: there is only one core", file=sys.stderr)
        return
    targets = iter((rolltrace(ONE, "process"), rolltrace(TWO, "process", "--proxies", "2")))
    with (
        tempfile.TemporaryDirectory() as name,
        worker("--prompt 1000 --tokens 200", Path(name)) as served,
        running(targets, served.port, Path(name)) as gateways,
    ):
        for number in range(rounds):
            yield Row("proxies", LOOPS, number, {"of one's %": _loops()})
            yield from _round(gateways, served, number, max(seconds, LEAST_SECONDS))


def _round(gateways: Sequence[Gateway], served: Worker, number: int, seconds: float) -> Iterator[Row]:
    one = 0.0
    for gateway in gateways:
        try:
            found = _look(gateway, served, LOAD.format(seconds, number))
        except (Failed, OSError) as error:
            print(f"{gateway.target.name}: {error}", file=sys.stderr)
            found = {"errors": 1.0}
        if gateway.target.name == ONE:
            one = found.get("capacity calls/s", 0.0)
        elif one:
            found["of one's %"] = 100 * found.get("capacity calls/s", 0.0) / one
        yield Row("proxies", gateway.target.name, number, found)


def _look(gateway: Gateway, served: Worker, load: str) -> dict[str, float]:
    proxies = [pid for pid, command in gateway.tree() if PROXY in command]
    there = sorted(os.sched_getaffinity(0))
    cores, others = there[-len(proxies) :], there[: -len(proxies)] or there
    for pid in (served.pid, *(pid for pid, _ in gateway.tree())):
        pin(pid, cores if pid in proxies else others)

    def look() -> Look:
        return Look(time.perf_counter(), sum(map(cpu_seconds, proxies)), idle_seconds(cores))

    with Sampling(look, EVERY) as looks:
        seen = loaded(gateway.places.port, gateway.target.path, load, others)
    for error in seen.errors[:3]:
        print(f"{gateway.target.name}: {error}", file=sys.stderr)
    begun, ended = seen.window
    timed = [look for look in looks.seen if begun <= look.at <= ended]
    used, idle = timed[-1].used - timed[0].used, timed[-1].idle - timed[0].idle
    share = (timed[-1].at - timed[0].at) / (ended - begun)
    return {
        "calls/s": seen.per_second,
        "capacity calls/s": capacity(share * len(seen.latencies), used, idle, len(proxies)),
        "CPU ms/call": 1e3 * used / (share * len(seen.latencies)),
        "idle %": 100 * idle / (used + idle),
        "errors": float(len(seen.errors)),
    }


def capacity(calls: float, used: float, idle: float, proxies: int) -> float:
    """Calls a second of so many proxies, were each core wholly theirs."""
    return proxies * calls / (used + (idle if proxies > 1 else 0))


def _loops() -> float:
    """Percent of one loop's speed that two reach together, a core each; one's is the mean of both cores."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    alone = (_spin([first]) + _spin([second])) / 2
    return 100 * _spin([first, second]) / alone


def _spin(cores: Sequence[int]) -> float:
    """How often a loop ran in half a second of CPU on each of the cores, of all at once."""
    command = [sys.executable, "-c", SPIN]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in cores]
    for process, core in zip(started, cores, strict=True):
        pin(process.pid, [core])
    return sum(float(process.communicate()[0]) for process in started)
