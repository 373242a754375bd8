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

from rolltrace.v1 import session_pb2
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace_proxy.call import Call, Event
from rolltrace_proxy.errors import Fault, Refused, deleted, sealed
from rolltrace_proxy.metrics import Metrics
from rolltrace_proxy.originals import Originals
from rolltrace_proxy.retry import LATEST, Course, Join, Repeat, Replay, Run, after, to_join
from rolltrace_proxy.running import Running
from rolltrace_proxy.usage import Usage
from rolltrace_proxy.workers import News, Workers
from rolltrace_settings.settings import Settings
from rolltrace_store.interface import ReadView, Store

ORPHANS_INTERVAL = 1.0
"""Seconds between two looks whether the proxy that runs a call lives, while a repeat waits for it."""

ALONE = Run()


@dataclass(frozen=True, slots=True)
class Seen:
    """A consistent look at what matters to a call. `excess`: the limit that it would pass."""

    news: News | None
    session: Session | None = None
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
        self._usage = Usage(settings, time.time_ns)
        self._originals = Originals()

    async def pass_through(self) -> None:
        """Of a call without a record. Raises StoreError."""
        self._workers.take(await self._store.read(self._workers.look))

    async def arrive(self, call: Call, repeat: Repeat) -> tuple[Session | None, Replay | Run]:
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
            session = view.session(session_id)
            if session is None:
                return view.deleted(session_id) is not None
            return session.state != session_pb2.SESSION_STATE_OPEN

        return await self._store.read(look)

    def _look(self, view: ReadView, session_id: str, repeat: Repeat, joined: str) -> Seen:
        news, session = self._workers.look(view), view.session(session_id)
        if session is None:
            return Seen(news, deleted=view.deleted(session_id) is not None)
        if session.state != session_pb2.SESSION_STATE_OPEN:
            return Seen(news, session)
        course: Course = ALONE
        if repeat.number:
            recorded = _latest(view, session, repeat.endpoint)
            course = to_join(repeat, view.running(session_id)) or after(
                repeat, recorded, self._originals.is_of, joined
            )
        if not isinstance(course, Run):
            return Seen(news, session, course=course)
        excess = self._usage.excess(view, session, self._running.admitted(session_id))
        return Seen(news, session, course=course, excess=excess)

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
    if seen.session is not None and seen.session.state != session_pb2.SESSION_STATE_OPEN:
        raise sealed(session_id)
    if seen.excess:
        message = f"Session {session_id!r} has used up what it may: {seen.excess}."
        raise Refused(Fault.SESSION_LIMIT, message)


def _latest(view: ReadView, session: Session, endpoint: str) -> Iterator[pb.Trace]:
    """The session's last FULL traces of an endpoint, the latest first."""
    bodies = list(view.traces(session.session_id, max(0, session.call_count - LATEST)))
    for body in reversed(bodies):
        trace = pb.Trace.FromString(body)
        if trace.endpoint == endpoint:
            yield view.expand(trace)


def _state_of(view: ReadView, session_id: str, trace_id: str) -> tuple[int, bool]:
    """The log's head, and whether the call runs."""
    runs = any(call.trace.trace_id == trace_id for call in view.running(session_id))
    return view.log_state().head, runs
