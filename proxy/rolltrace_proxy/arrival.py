"""What becomes of a call that has just come: refused, answered with a recorded answer, or run.

Rules. One read of the store tells all that is to be known. A repeat of a call that runs, here or in another
proxy, waits until that one has ended, however it does, and then looks again. Decided in retry and limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.call import Call, Event
from rolltrace_proxy.errors import Fault, Refused, deleted, sealed
from rolltrace_proxy.known_sessions import KnownSession, KnownSessions
from rolltrace_proxy.limits import NO_LIMITS, exceeded
from rolltrace_proxy.metrics import Metrics
from rolltrace_proxy.originals import Originals
from rolltrace_proxy.retry import LATEST, Course, Join, Repeat, Replay, Run, after, to_join
from rolltrace_proxy.running import Running
from rolltrace_proxy.workers import News, Workers
from rolltrace_settings.settings import Settings
from rolltrace_store.interface import Glance, ReadView, Store

ORPHANS_INTERVAL = 1.0
"""Seconds between two looks whether the proxy that runs a call lives, while a repeat waits for it."""

ALONE = Run()


@dataclass(frozen=True, slots=True)
class Seen:
    """A consistent look at what matters to a call. `excess`: the limit that it would pass."""

    news: News | None
    session: KnownSession | None = None
    deleted: bool = False
    course: Course = ALONE
    excess: str = ""


class Arrivals:
    """Looks calls up for one proxy."""

    def __init__(
        self, settings: Settings, store: Store, workers: Workers, running: Running, metrics: Metrics
    ) -> None:
        self._store = store
        self._workers = workers
        self._running = running
        self._metrics = metrics
        self._known = KnownSessions(settings)
        self._originals = Originals()

    async def pass_through(self) -> None:
        """Of a call without a record. Raises StoreError."""
        self._workers.take(await self._store.read(self._workers.look))

    async def arrive(self, call: Call, repeat: Repeat) -> tuple[KnownSession | None, Replay | Run]:
        """Its session, if there is one yet, and its course. Raises Refused, StoreError."""
        joined = ""
        while True:
            look = partial(self._look, session_id=call.session_id, repeat=repeat, joined=joined)
            seen = await self._store.read(look)
            self._workers.take(seen.news)
            _check(seen, call.session_id)
            if not isinstance(seen.course, Join):
                return seen.session, seen.course
            call.on(Event.JOIN)
            self._metrics.joins.inc()
            joined = seen.course.trace_id
            await self._ended(call.session_id, joined)

    def admitted(self, call: Call) -> None:
        """A call is about to run, which a repeat may come to be."""
        self._originals.note(call)

    async def is_closed(self, session_id: str) -> bool:
        """Whether the session takes no calls, so that not even a refusal is recorded there."""

        def look(view: ReadView) -> bool:
            seen = view.glance(session_id)
            return seen.deleted if seen.row is None else not self._known.of(session_id, seen.row).is_open

        return await self._store.read(look)

    def _look(self, view: ReadView, session_id: str, repeat: Repeat, joined: str) -> Seen:
        news, seen = self._workers.look(view), view.glance(session_id)
        if seen.row is None:
            return Seen(news, deleted=seen.deleted)
        session = self._known.of(session_id, seen.row)
        if not session.is_open:
            return Seen(news, session)
        course: Course = ALONE
        if repeat.number:
            recorded = _latest(view, session_id, seen.call_count, repeat.endpoint)
            course = to_join(repeat, view.running(session_id)) or after(
                repeat, recorded, self._originals.is_of, joined
            )
        if not isinstance(course, Run):
            return Seen(news, session, course=course)
        return Seen(news, session, course=course, excess=self._excess(view, session_id, session, seen))

    def _excess(self, view: ReadView, session_id: str, session: KnownSession, seen: Glance) -> str:
        """The limit that one more call would pass, in words."""
        limits = session.limits
        if limits == NO_LIMITS:
            return ""
        in_flight = self._in_flight(view, session_id) if limits.max_calls else 0
        return exceeded(limits, seen, created=session.created, in_flight=in_flight, now=time.time_ns())

    def _in_flight(self, view: ReadView, session_id: str) -> int:
        """The calls in flight: those that the store knows, and our own that it does not know yet."""
        known = {call.trace.trace_id for call in view.running(session_id)}
        own = self._running.admitted(session_id)
        return len(known.union(name for name in own if view.trace(name) is None))

    async def _ended(self, session_id: str, trace_id: str) -> None:
        """Returns when the call does not run any more."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if loop.time() >= due:  # nobody else may, while control is away
                await self._store.interrupt_orphans()
                due = loop.time() + ORPHANS_INTERVAL
            head, runs = await self._store.read(lambda view: _state_of(view, session_id, trace_id))
            if not runs:
                return
            await self._store.wait(head, ORPHANS_INTERVAL)


def _check(seen: Seen, session_id: str) -> None:
    if seen.deleted:
        raise deleted(session_id)
    if seen.session is not None and not seen.session.is_open:
        raise sealed(session_id)
    if seen.excess:
        message = f"Session {session_id!r} has used up what it may: {seen.excess}."
        raise Refused(Fault.SESSION_LIMIT, message)


def _latest(view: ReadView, session_id: str, call_count: int, endpoint: str) -> Iterator[pb.Trace]:
    """The session's last FULL traces of an endpoint, the latest first."""
    bodies = list(view.traces(session_id, max(0, call_count - LATEST)))
    for body in reversed(bodies):
        trace = pb.Trace.FromString(body)
        if trace.endpoint == endpoint:
            yield view.expand(trace)


def _state_of(view: ReadView, session_id: str, trace_id: str) -> tuple[int, bool]:
    """The log's head, and whether the call runs."""
    runs = any(call.trace.trace_id == trace_id for call in view.running(session_id))
    return view.log_state().head, runs
