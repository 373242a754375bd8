"""`python -m bench.soak --minutes N`: a pair under `rolltrace up` and everything that can happen to it.

The report comes at the end. Exit status 1 when a verdict is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.pair.pair import Child
from tests.servers import answers, free_port

from bench.soak import verdicts
from bench.soak.agents import Rollouts
from bench.soak.kills import Kills
from bench.soak.notes import Notes
from bench.soak.sampler import Sampler
from bench.soak.sessions import Sessions
from bench.soak.subscribers import Subscriber, Truth
from bench.soak.verdicts import Verdict
from bench.watch import quantile
from rolltrace_client.aio import AsyncClient
from rolltrace_store import Store, open_store

SETTLE = 8.0
"""Seconds after the last call, for what was cut off to be recorded."""


@dataclass(frozen=True)
class Soak:
    seconds: float
    agents: int
    subscribers: int
    seed: int
    folder: Path
    port: int
    control_port: int
    worker_ports: tuple[int, int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.control_port}"

    @property
    def db_path(self) -> Path:
        return self.folder / "data"

    def command(self) -> list[str]:
        """What the pair is started by: small caches, and retention that has much to do."""
        age = max(30.0, self.seconds / 10)
        settings = f"""
            --port {self.port} --control-port {self.control_port} --db-path {self.db_path} --drain-timeout 10
            --history-cache-size 16MiB --retention-age {age}s --retention-open-age {2 * age}s
            --tombstone-age {max(60.0, age)}s --idle-timeout 5s --log-level warning
        """
        workers = [text for port in self.worker_ports for text in ("--worker", f"http://127.0.0.1:{port}")]
        return [sys.executable, "-m", "rolltrace_client", "up", *settings.split(), *workers]


async def soak(plan: Soak) -> list[Verdict]:
    notes, chance = Notes(), random.Random(plan.seed)
    with _workers(plan) as workers, _up(plan) as up:
        await _until_healthy(plan.url)
        async with AsyncClient(plan.target, retry_for=30.0) as client, _store(plan) as store:
            truth, sessions = Truth(store), Sessions(plan.target, notes)
            subscribers = [
                Subscriber(plan.target, random.Random(plan.seed + n), stalls=n % 2 == 1)
                for n in range(plan.subscribers)
            ]
            pids = {"up": up.pid}
            sampler = Sampler(
                lambda: pids | _pids(workers), plan.url, plan.db_path, notes, max(2.0, plan.seconds / 180)
            )
            pause = max(12.0, min(75.0, plan.seconds / 8))
            kills = Kills(
                up.pid, plan.url, workers, notes, chance, pause, time.monotonic() + plan.seconds / 2
            )
            beside = [
                truth.follow(),
                sampler.run(),
                kills.run(),
                *(subscriber.run() for subscriber in subscribers),
            ]
            async with _running(beside), aiohttp.ClientSession() as http:
                rollouts = Rollouts(plan.url, client, http, notes, chance, sessions.check)
                running = asyncio.gather(*(rollouts.run() for _ in range(plan.agents)))
                await asyncio.sleep(plan.seconds / 2)
                half = await _kept(store, notes, sessions)
                await asyncio.sleep(plan.seconds / 2)
                end = await _kept(store, notes, sessions)
                rollouts.stopping.set()
                await running
                await asyncio.sleep(SETTLE)
            await truth.read()
            found = await _judge(notes, sessions, subscribers, truth)
            await sessions.close()
    measured = verdicts.memory(sampler.samples, plan.seconds) + verdicts.files(sampler.samples, plan.seconds)
    _report(notes, subscribers, kills, sampler)
    return [*measured, verdicts.growth(half, end, plan.seconds), *found, _check_environment(plan)]


async def _judge(
    notes: Notes, sessions: Sessions, subscribers: list[Subscriber], truth: Truth
) -> list[Verdict]:
    there = await sessions.names()
    for name in sorted(there):
        await sessions.check(name)
    checked = f"{notes.counts['sessions checked']:,} checks of sessions, {len(there):,} in the end"
    lost = [
        name
        for name, seen in notes.sessions.items()
        if seen.ended and name not in there and name not in truth.deleted and not seen.deleted
    ]
    standing = truth.standing()
    broken = [
        f"subscriber {n}: {said}" for n, each in enumerate(subscribers) if (said := each.broken(standing))
    ]
    streams = sum(len(subscriber.connections) for subscriber in subscribers)
    events = sum(len(each.events) for subscriber in subscribers for each in subscriber.connections)
    return [
        verdicts.nothing("sessions are complete", notes.broken, checked),
        verdicts.nothing(
            "no session went unasked",
            lost,
            f"{len(notes.sessions):,} sessions, {len(truth.deleted):,} deleted",
        ),
        verdicts.nothing(
            "Subscribe kept its promises", broken, f"{streams} streams, {events:,} events of {truth.head:,}"
        ),
    ]


async def _kept(store: Store, notes: Notes, sessions: Sessions) -> tuple[int, int]:
    """Bytes in use, and the new tokens of the sessions that are there."""
    names = await sessions.names()
    return await store.read(lambda view: view.stats().used_bytes), notes.kept_tokens(names)


def _report(notes: Notes, subscribers: list[Subscriber], kills: Kills, sampler: Sampler) -> None:
    print("\nwhat happened")
    for name, count in sorted(notes.counts.items()):
        print(f"  {name:<40}{count:>9,}")
    for subscriber in subscribers:
        print(f"  a subscriber's streams ended: {dict(subscriber.ends)}")
    awake = [delay for subscriber in subscribers if not subscriber.stalls for delay in subscriber.delays]
    commits = [sample.commit for sample in sampler.samples if sample.commit is not None]
    _spread("from the end of a call to a subscriber", awake)
    _spread("waiting for a commit, mean of a sample", commits)
    _spread("until a killed proxy was back", kills.back)


def _spread(what: str, seconds: Sequence[float]) -> None:
    if seconds:
        shown = [f"{1e3 * quantile(seconds, part):.1f}" for part in (0.5, 0.99, 1.0)]
        print(f"  {what}: median {shown[0]}, 99th percentile {shown[1]}, most {shown[2]} ms")


def _check_environment(plan: Soak) -> Verdict:
    """`rolltrace db check`, once the pair has stopped."""
    command = [sys.executable, "-m", "rolltrace_client", "db", "check", "--db-path", str(plan.db_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return Verdict("rolltrace db check", done.stdout.strip() + done.stderr.strip(), done.returncode == 0)


def _pids(workers: list[Child]) -> dict[str, int]:
    return {
        f"worker {n}": child.process.pid for n, child in enumerate(workers, 1) if child.process is not None
    }


@contextlib.contextmanager
def _workers(plan: Soak) -> Generator[list[Child]]:
    children = [
        Child("bench.soak.worker", ["--port", str(port), "--seed", str(port)], plan.folder / "worker.log")
        for port in plan.worker_ports
    ]
    try:
        for child in children:
            child.start()
        yield children
    finally:
        for child in children:
            child.stop()


@contextlib.contextmanager
def _up(plan: Soak) -> Generator[subprocess.Popen[bytes]]:
    with (plan.folder / "up.log").open("ab") as log:
        process = subprocess.Popen(plan.command(), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextlib.asynccontextmanager
async def _store(plan: Soak) -> AsyncGenerator[Store]:
    store = open_store(plan.db_path)
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def _running(beside: Sequence[Coroutine[object, object, None]]) -> AsyncGenerator[None]:
    """Runs them beside the block; one that fails fails the block's end."""
    tasks = [asyncio.ensure_future(each) for each in beside]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def _until_healthy(url: str) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(answers, f"{url}/health"):  # noqa: ASYNC110  # another process's
            await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--agents", type=int, default=16, help="sessions at the same time")
    parser.add_argument("--subscribers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ports = (free_port(), free_port(), (free_port(), free_port()))
        plan = Soak(60 * given.minutes, given.agents, given.subscribers, given.seed, Path(folder), *ports)
        print(
            f"soak of {given.minutes:g} minutes: {given.agents} agents, {given.subscribers} subscribers",
            flush=True,
        )
        found = asyncio.run(soak(plan))
        if not all(verdict.good is not False for verdict in found):
            print((plan.folder / "up.log").read_text()[-4000:])
    print("\nverdicts")
    for verdict in found:
        print(verdict)
    sys.exit(any(verdict.good is False for verdict in found))


if __name__ == "__main__":
    main()
