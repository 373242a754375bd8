"""A soak from its beginning to its verdicts. A shell: verdicts.py judges."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import aiohttp

from bench.pair import running
from bench.soak import verdicts
from bench.soak.agents import Rollouts
from bench.soak.kills import Kills
from bench.soak.notes import Notes
from bench.soak.plan import Plan
from bench.soak.sampler import Sampler
from bench.soak.sessions import Sessions
from bench.soak.subscribers import Subscriber, Truth
from bench.soak.verdicts import Verdict
from bench.watch import quantile
from rolltrace_client.aio import AsyncClient
from rolltrace_store import Store, open_store

SETTLE = 8.0
"""Seconds after the last call, for what was cut off to be recorded."""
Kept = tuple[int, int]
"""Bytes in use, and the new tokens of the sessions that are there."""


@dataclass(frozen=True)
class Party:
    """Those who take part, and what they noted."""

    notes: Notes
    sampler: Sampler
    kills: Kills
    subscribers: list[Subscriber]
    truth: Truth
    sessions: Sessions

    @classmethod
    def of(cls, plan: Plan, store: Store) -> Party:
        notes = Notes()
        until = time.monotonic() + plan.seconds / 3
        return cls(
            notes,
            Sampler(plan.pids, plan.url, plan.db_path, notes, plan.sampling),
            Kills(plan, notes, random.Random(plan.seed), until),
            [
                Subscriber(plan.target, random.Random(plan.seed + number), stalls=number % 2 == 1)
                for number in range(plan.subscribers)
            ],
            Truth(store),
            Sessions(plan.target, notes),
        )

    def running(self) -> list[Coroutine[object, object, None]]:
        """All that goes on beside the agents."""
        subscribers = [subscriber.run() for subscriber in self.subscribers]
        return [self.truth.follow(), self.sampler.run(), self.kills.run(), *subscribers]


async def soak(plan: Plan) -> list[Verdict]:
    with ExitStack() as stack:
        for worker in plan.workers:
            stack.enter_context(running(worker))
        stack.enter_context(running(plan.up, plan.healthy))
        async with _store(plan) as store:
            party = Party.of(plan, store)
            async with _beside(party.running()):
                half, end = await _agents(plan, party, store)
                await asyncio.sleep(SETTLE)
            await party.truth.read()
            promised = await _promises(party)
            await party.sessions.close()
    samples = party.sampler.samples
    _tell(party)
    return [
        *verdicts.memory(samples, plan.seconds),
        *verdicts.files(samples, plan.seconds),
        verdicts.growth(half, end, plan.seconds),
        *promised,
        _check_environment(plan),
    ]


async def _agents(plan: Plan, party: Party, store: Store) -> tuple[Kept, Kept]:
    """Lets them run; what was kept half-way and at the end."""
    limit = aiohttp.TCPConnector(limit=0)
    async with (
        AsyncClient(plan.target, retry_for=30.0) as client,
        aiohttp.ClientSession(connector=limit) as http,
    ):
        chance = random.Random(plan.seed)
        rollouts = Rollouts(plan.url, client, http, party.notes, chance, party.sessions.check)
        agents = [asyncio.create_task(rollouts.run()) for _ in range(plan.agents)]
        await asyncio.sleep(plan.seconds / 2)
        half = await _kept(party, store)
        await asyncio.sleep(plan.seconds / 2)
        end = await _kept(party, store)
        rollouts.stopping.set()
        ends = await asyncio.gather(*agents, return_exceptions=True)
    party.notes.broken += [f"an agent failed: {error!r}" for error in ends if error is not None]
    return half, end


async def _kept(party: Party, store: Store) -> Kept:
    names = await party.sessions.names()
    return await store.read(lambda view: view.stats().used_bytes), party.notes.kept_tokens(names)


async def _promises(party: Party) -> list[Verdict]:
    """Every session that is there is complete, none went unasked, and Subscribe kept its promises."""
    notes, truth = party.notes, party.truth
    there = await party.sessions.names()
    for name in sorted(there):
        await party.sessions.check(name)
    called = {name for name, seen in notes.sessions.items() if seen.ended and not seen.deleted}
    lost = sorted(called - there - truth.deleted.keys())
    standing = truth.standing()
    each = [(number, subscriber.broken(standing)) for number, subscriber in enumerate(party.subscribers)]
    broken = [f"subscriber {number}: {said}" for number, said in each if said]
    connections = [made for subscriber in party.subscribers for made in subscriber.connections]
    events = sum(len(made.events) for made in connections)
    checks = f"{notes.counts['sessions checked']:,} checks, {len(there):,} sessions at the end"
    sessions = f"{len(notes.sessions):,} sessions, {len(truth.deleted):,} deleted by agents and retention"
    streams = f"{len(connections)} streams, {events:,} events, {truth.head:,} committed"
    return [
        verdicts.nothing("sessions are complete", notes.broken, checks),
        verdicts.nothing("no session went unasked", lost, sessions),
        verdicts.nothing("Subscribe kept its promises", broken, streams),
    ]


def _tell(party: Party) -> None:
    print("\nwhat happened")
    for name, count in sorted(party.notes.counts.items()):
        print(f"  {name:<40}{count:>9,}")
    for subscriber in party.subscribers:
        print(f"  a subscriber's streams ended: {dict(subscriber.ends)}")
    awake = [delay for each in party.subscribers if not each.stalls for delay in each.delays]
    commits = [sample.commit for sample in party.sampler.samples if sample.commit is not None]
    _spread("from the end of a call to a subscriber", awake)
    _spread("waiting for a commit, mean of a sample", commits)
    _spread("until a killed proxy was back", party.kills.back)


def _spread(what: str, seconds: Sequence[float]) -> None:
    if seconds:
        shown = [f"{1e3 * quantile(seconds, part):.1f}" for part in (0.5, 0.99, 1.0)]
        print(f"  {what}: median {shown[0]}, 99th percentile {shown[1]}, most {shown[2]} ms")


def _check_environment(plan: Plan) -> Verdict:
    """`rolltrace db check`, once the pair has stopped."""
    command = [sys.executable, "-m", "rolltrace_client", "db", "check", "--db-path", str(plan.db_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return Verdict("rolltrace db check", done.stdout.strip() + done.stderr.strip(), done.returncode == 0)


@contextlib.asynccontextmanager
async def _store(plan: Plan) -> AsyncGenerator[Store]:
    store = open_store(plan.db_path)
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def _beside(work: Sequence[Coroutine[object, object, None]]) -> AsyncGenerator[None]:
    """Runs it beside the block; what failed is raised at the block's end."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
