"""A hundred thousand open sessions in the environment: calls stay as fast and the proxy as small as with few.

Sessions are made in batches, as a trainer makes them, and some by their first call. At each count the same
number of calls is made, each in another session, so that only the count of sessions differs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers import free_port

from bench.bounds.agents import Seen
from bench.figures import Figure
from bench.pair import Child, Pair, running, running_pair
from bench.processes import memory
from bench.watch import quantile
from rolltrace_client import Client, NewSession

MIB = 1 << 20
BATCH = 1000


@dataclass(frozen=True)
class Load:
    """`counts` of sessions, each more than the one before; `calls` are made at each, half to new sessions."""

    counts: tuple[int, ...] = (1_000, 10_000, 100_000)
    calls: int = 1000
    at_once: int = 8
    tokens: int = 12
    prompt: int = 200


@dataclass(frozen=True)
class Look:
    """What was seen with so many sessions. Sizes in bytes, times in seconds."""

    sessions: int
    failed: int
    took: list[float]
    proxy: int
    proxy_own: int
    control_own: int
    listed: int
    listing: float
    slowest_page: float
    status: float


def figures(looks: list[Look]) -> Iterator[Figure]:
    for look in looks:
        name = f"{look.sessions:,} sessions: "
        yield Figure(f"{name}calls that failed", look.failed, "", 0)
        yield Figure(f"{name}sessions that were not listed", look.sessions - look.listed, "", 0)
        yield Figure(f"{name}proxy, resident", look.proxy / MIB, "MiB")
        yield Figure(f"{name}proxy, its own", look.proxy_own / MIB, "MiB")
        yield Figure(f"{name}control, its own", look.control_own / MIB, "MiB")
        yield Figure(f"{name}a call, median", 1e3 * quantile(look.took, 0.5), "ms")
        yield Figure(f"{name}a call, 99th percentile", 1e3 * quantile(look.took, 0.99), "ms")
        yield Figure(f"{name}all pages of ListSessions", look.listing, "s")
        yield Figure(f"{name}the slowest page", 1e3 * look.slowest_page, "ms")
        yield Figure(f"{name}rolltrace status", look.status, "s")
    few, many = looks[0], looks[-1]
    yield Figure("proxy's own memory grew by", (many.proxy_own - few.proxy_own) / MIB, "MiB", 32)
    slower = quantile(many.took, 0.5) / quantile(few.took, 0.5)
    yield Figure("a call took longer, median", slower, "x", 2)


def run(load: Load) -> list[Look]:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        arguments = f"--port {port} --tokens {load.tokens} --pace 0 --prompt {load.prompt}"
        worker = Child("bench.bounds.paced_worker", arguments.split(), folder / "worker.log")
        with (
            running(worker),
            running_pair(folder, f"http://127.0.0.1:{port}") as pair,
            Client(pair.target) as client,
        ):
            _call(pair, load, "warm-", load.calls)
            client.delete_sessions(f"warm-{number}" for number in range(load.calls))
            return list(_looks(pair, client, load))


def _looks(pair: Pair, client: Client, load: Load) -> Iterator[Look]:
    made = 0
    for count in load.counts:
        by_calls = load.calls // 2
        while made < count - by_calls:
            size = min(BATCH, count - by_calls - made)
            client.create_sessions(NewSession(session_id=f"made-{made + number}") for number in range(size))
            made += size
        old = _call(pair, load, "made-", load.calls - by_calls)
        new = _call(pair, load, f"called-{count}-", by_calls)
        made += by_calls
        yield _look(pair, client, count, old + new)


def _call(pair: Pair, load: Load, prefix: str, calls: int) -> list[Seen]:
    arguments = f"--port {pair.port} --calls {calls} --prefix {prefix} --prompt {load.prompt} --whole"
    command = [
        sys.executable,
        "-m",
        "bench.bounds.agents",
        *arguments.split(),
        "--at-once",
        str(load.at_once),
    ]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return [Seen(**json.loads(line)) for line in said.splitlines()]


def _look(pair: Pair, client: Client, count: int, seen: list[Seen]) -> Look:
    proxy, control = memory(pair.proxy.pid), memory(pair.control.pid)
    begun = time.monotonic()
    pages: list[float] = []
    listed, last = 0, begun
    for session in client.list_sessions(page_size=1000):
        listed += bool(session.session_id)
        if listed % 1000 == 1:
            pages.append(time.monotonic() - last)
            last = time.monotonic()
    listing = time.monotonic() - begun
    begun = time.monotonic()
    command = [sys.executable, "-m", "rolltrace_client", "status", "--control", pair.target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Look(
        count,
        sum(bool(each.fault) for each in seen),
        [each.took for each in seen],
        proxy.resident,
        proxy.own,
        control.own,
        listed,
        listing,
        max(pages),
        time.monotonic() - begun,
    )
