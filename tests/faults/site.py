"""A site: the pair's processes, agents, a trainer, and after a fault the promises that must have held.

The check knows three accounts of what happened: what the agents heard, what the trainer saw, and what the
environment holds; and holds each against the others.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.session_service_pb2 import SealSessionRequest
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import Durability, ReadView, Record, StoreOptions, open_store
from rolltrace_store.check import check
from rolltrace_store.check_tables import Finding
from rolltrace_store.inspection import snapshot
from tests import completeness, promises
from tests.control.conftest import connected
from tests.faults.agents import Agents
from tests.faults.processes import PATIENCE, Pair
from tests.faults.report import Tally
from tests.faults.trainer import Trainer, subscribed

LIVE = 2.0
"""Seconds. The median of deliveries is some milliseconds, which the benchmark measures; this tells a delivery
that is slow, on a loaded machine too, from one that waits for something else to happen."""
CHECKS = 7
"""Ordered, Unique, Complete, Resumable, Live; every session complete; the environment sound."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What an environment holds: its log, and its sessions with their FULL traces."""

    head: int
    running: int
    log: Sequence[Record]
    sessions: Sequence[tuple[Session, Sequence[Trace]]]


def look(view: ReadView) -> Truth:
    """A work for `Store.read`."""
    sessions = list(view.sessions())
    traces = ([Trace.FromString(body) for body in view.traces(s.session_id)] for s in sessions)
    whole = [[view.expand(trace) for trace in listed] for listed in traces]
    running = sum(1 for _ in view.running())
    return Truth(
        view.log_state().head, running, list(view.events(0)), list(zip(sessions, whole, strict=True))
    )


class Site:
    """Made by `watched`."""

    def __init__(self, pair: Pair, tally: Tally, trainer: Trainer, known: set[str]) -> None:
        self.pair = pair
        self.tally = tally
        self.trainer = trainer
        self.agents = Agents(pair.url)
        self.live = LIVE
        self.deleted = set[str]()
        self._known = known

    async def truth(self) -> Truth:
        """Read beside the services, as another process."""
        return await read(self.pair)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits; the test fails when it takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited too long for {what}"
            await asyncio.sleep(0.01)

    async def reaches(self, count: Callable[[], int], more: int, what: str) -> None:
        """Waits until there are so many more."""
        enough = count() + more
        await self.until(lambda: count() >= enough, what)

    async def trace(self, session_id: str) -> Trace:
        """The session's only trace, as soon as it is there."""
        while True:
            for session, traces in (await self.truth()).sessions:
                if session.session_id == session_id and traces:
                    (trace,) = traces
                    return trace
            await asyncio.sleep(0.02)

    async def check(self) -> None:
        """All promises; both services must run. Waits until every call has ended."""
        await self.until(self.pair.idle, "calls to end")
        while (truth := await self.truth()).running:
            await asyncio.sleep(0.05)  # control finds out whose proxy is gone
        head = await self._seal(truth)
        await self.until(lambda: self.trainer.cursor >= head, "the trainer to see the head")
        await self.trainer.stop()
        truth = await self.truth()
        promises.check(self.trainer.connections, truth.log)
        self._check_live()
        self._check_sessions(truth)
        check_sound(self.pair)
        self.tally.calls += len(self.agents.heard)
        self.tally.streams += len(self.trainer.connections)
        self.tally.promises += CHECKS

    async def _seal(self, truth: Truth) -> int:
        """Seals what the test made; the log's head after it."""
        async with connected(self.pair.control_port) as control:
            for session, _ in truth.sessions:
                if session.session_id not in self._known:
                    await control.sessions.SealSession(SealSessionRequest(session_id=session.session_id))
        return (await self.truth()).head

    def _check_live(self) -> None:
        """An agent sees its end after the commit: the trainer has the trace soon after that, or before."""
        seen = self.trainer.seen
        delays = [
            max(0.0, seen[heard.trace_id] - heard.when)
            for heard in self.agents.heard
            if heard.ended and heard.trace_id in seen
        ]
        if delays:
            promises.check_live(delays, self.live)

    def _check_sessions(self, truth: Truth) -> None:
        """Each session is complete or says what is missing, and there is none that no agent named."""
        sent = Counter(heard.session_id for heard in self.agents.heard)
        promised = [
            heard
            for heard in self.agents.heard
            if heard.trace_id and heard.recorded() and heard.session_id not in self.deleted
        ]
        ended: dict[str, list[str]] = defaultdict(list)
        for heard in promised:
            if heard.ended:
                ended[heard.session_id].append(heard.trace_id)
        held = {session.session_id: (session, traces) for session, traces in truth.sessions}
        assert set(held) <= self._known | set(sent)
        assert set(ended) <= set(held)
        recorded = {trace.trace_id for _, traces in truth.sessions for trace in traces}
        vanished = [heard for heard in promised if heard.trace_id not in recorded]
        assert not vanished, f"agents saw calls begin that left no trace: {vanished[:3]}"
        for session_id in held.keys() - self._known:
            session, traces = held[session_id]
            completeness.check(session, traces, ended=ended[session_id], sent=sent[session_id])


async def read(pair: Pair) -> Truth:
    """What the pair's environment holds."""
    options = StoreOptions(durability=Durability.PROCESS, max_db_size=pair.max_db_size)
    store = open_store(pair.db_path, options)
    try:
        return await store.read(look)
    finally:
        await store.close()


def check_sound(pair: Pair) -> None:
    """What `rolltrace db check` checks."""
    found: list[Finding] = []
    with snapshot(pair.db_path) as rows:
        check(rows, found.append, lambda: None)
    assert not found, list(map(str, found))


@asynccontextmanager
async def watched(pair: Pair, tally: Tally, *, checked: bool = True) -> AsyncGenerator[Site]:
    """A site of a pair that runs; a block that ends well is followed by the check."""
    known = {session.session_id for session, _ in (await read(pair)).sessions}
    async with subscribed(pair.control_port) as trainer:
        site = Site(pair, tally, trainer, known)
        yield site
        if checked:
            await site.check()
