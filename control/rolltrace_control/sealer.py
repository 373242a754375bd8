"""Finishes every seal that was begun, whoever began it and whoever waits. A shell.

Sessions that were SEALING when the service started are among them. A look is cheap, and is taken when a call
may have ended (a commit, while a seal is under way), when a seal was begun here, and now and then. Calls
whose proxy is gone become INTERRUPTED now and then too, and before a seal gives up on a call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager, nullcontext

from rolltrace.v1.session_pb2 import SESSION_STATE_OPEN, SESSION_STATE_SEALED, Session
from rolltrace_control import seal_rules
from rolltrace_control.errors import DrainingError, StillSealingError
from rolltrace_control.watch import LogWatch
from rolltrace_store.errors import NotFoundError
from rolltrace_store.interface import ReadView, Sealing, Store, WriteView

TICK = 0.5
"""Seconds between looks without a reason, and between searches for calls of dead proxies."""

REST = 0.002
"""Seconds between looks, however many commits there are."""

PAUSE = 2.0
"""Seconds after an error."""

MOST = 200
"""How many sessions one transaction seals."""

log = logging.getLogger(__name__)


class Sealer:
    """The seals that are under way, and who waits for them."""

    def __init__(self, store: Store, watch: LogWatch) -> None:
        self._store = store
        self._watch = watch
        self._deadlines = seal_rules.Deadlines()
        self._reason_to_look = asyncio.Event()
        self._under_way = False
        self._ends: dict[str, asyncio.Event] = {}
        watch.call_on_news(self._on_news)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Works until the block ends."""
        tasks = [
            asyncio.create_task(self._looks(), name="sealer"),
            asyncio.create_task(self._sweeps(), name="sweeper"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self, session_id: str, patience: float | None) -> Session:
        """The session when it is sealed, after a begin_seal that has been committed.

        Raises StillSealingError after `patience` seconds, NotFoundError when it was deleted, DrainingError.
        """
        self._reason_to_look.set()
        try:
            async with asyncio.timeout(patience):
                return await self._end(session_id)
        except TimeoutError:
            calls = await self._store.read(lambda view: sum(1 for _ in view.running(session_id)))
            raise StillSealingError(session_id, calls) from None

    async def _end(self, session_id: str) -> Session:
        while True:
            end = self._ends.setdefault(session_id, asyncio.Event())
            session = await self._store.read(lambda view: view.session(session_id))
            if session is None or session.state == SESSION_STATE_OPEN:
                raise NotFoundError("session", session_id)
            if session.state == SESSION_STATE_SEALED:
                return session
            if self._watch.draining:
                raise DrainingError(
                    f"the control service shuts down; session {session_id!r} will be sealed; ask again"
                )
            await end.wait()

    def _on_news(self) -> None:
        if self._under_way:
            self._reason_to_look.set()
        if self._watch.draining:
            self._tell(still=())

    def _tell(self, still: Collection[str]) -> None:
        """Wakes those who wait for other sessions than `still`."""
        for session_id in self._ends.keys() - set(still):
            self._ends.pop(session_id).set()

    async def _looks(self) -> None:
        while True:
            self._reason_to_look.clear()
            try:
                pause = await self._look()
            except Exception:
                log.exception("sessions cannot be sealed; trying again")
                await asyncio.sleep(PAUSE)
                continue
            await asyncio.sleep(REST)
            try:
                with self._watch.listening() if self._under_way else nullcontext():
                    async with asyncio.timeout(pause):
                        await self._reason_to_look.wait()
            except TimeoutError:
                pass

    async def _look(self) -> float:
        """Seals what can be sealed; the seconds after which it may be time again."""
        sealing, busy = await self._store.read(_under_way)
        self._under_way = bool(sealing)
        left = self._deadlines.look(sealing, time.time_ns(), time.monotonic())
        over = {session_id for session_id, seconds in left.items() if seconds <= 0}
        if over & busy:
            await self._sweep()
        ready = seal_rules.ready(sealing, busy, over)[:MOST]
        sealed = await self._store.write(lambda view: finish(view, ready, over)) if ready else set[str]()
        still = left.keys() - sealed
        self._tell(still)
        self._under_way = bool(still)
        return max(0.0, min([TICK, *(left[session_id] for session_id in still)]))

    async def _sweeps(self) -> None:
        while True:
            swept = await self._sweep()
            await asyncio.sleep(TICK if swept else PAUSE)

    async def _sweep(self) -> bool:
        """Whether it succeeded. No seal depends on it: what cannot be recorded now comes late."""
        try:
            await self._store.interrupt_orphans()
        except Exception:
            log.exception("calls of proxies that are gone cannot be recorded; trying again")
            return False
        return True


def _under_way(view: ReadView) -> tuple[Sequence[Sealing], set[str]]:
    """The seals under way, and the ids of those with a call that runs."""
    sealing = view.sealing()
    busy = {one.session_id for one in sealing if is_busy(view, one.session_id)}
    return sealing, busy


def finish(view: WriteView, ready: Sequence[Sealing], over: Collection[str]) -> set[str]:
    """Seals those that are SEALING still, and that no call has joined unless its time is over."""
    under_way = {(one.session_id, one.deadline) for one in view.sealing()}
    sealed = set[str]()
    for one in ready:
        name = one.session_id
        if (name, one.deadline) in under_way and (name in over or not is_busy(view, name)):
            view.finish_seal(name)
            sealed.add(name)
    return sealed


def is_busy(view: ReadView, session_id: str) -> bool:
    """Whether a call of the session runs."""
    return next(iter(view.running(session_id)), None) is not None
