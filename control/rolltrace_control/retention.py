"""Keeps the store small: deletes the sessions that are due, and forgets what is over. A shell.

It works in small transactions with a rest between them. What was chosen in a read is looked at again in
the transaction that deletes it: somebody may have deleted it and made another of the same name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

from rolltrace.v1.event_pb2 import DELETE_REASON_RETENTION
from rolltrace_control.retention_rules import MAX_SESSIONS, Rules, Sealed, all_sealed, due, is_idle
from rolltrace_store.interface import ReadView, Store, WriteView

INTERVAL = 10.0
"""Seconds between two rounds."""
_REST = 0.05
_FORGOTTEN_AT_ONCE = 500
_PAGES = 16
"""Of MAX_SESSIONS, that a round looks through for idle sessions; the next one goes on there."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Removed:
    """What one round has deleted; `rows` are tombstones and events of the log."""

    sealed: int = 0
    idle: int = 0
    calls: int = 0
    rows: int = 0


class Retention:
    """The rules at work on a store."""

    def __init__(self, store: Store, rules: Rules, clock: Callable[[], int] = time.time_ns) -> None:
        """`clock` gives nanoseconds since 1970."""
        self._store = store
        self._rules = rules
        self._clock = clock
        self._looked_at = ""
        self._short = False

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Keeps to the rules until the block ends."""
        task = asyncio.create_task(self._rounds(), name="retention")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _rounds(self) -> None:
        while True:
            try:
                await self.round()
            except Exception:
                log.exception("old sessions cannot be deleted; trying again")
            await asyncio.sleep(INTERVAL)

    async def round(self) -> Removed:
        """Deletes and forgets all that is due now."""
        removed = Removed()
        await self._delete_sealed(removed)
        if self._rules.open_age:
            await self._delete_idle(removed)
        await self._forget(removed)
        if removed != Removed():
            log.info(
                "retention deleted %d sealed and %d idle sessions with %d calls, and forgot %d rows",
                removed.sealed,
                removed.idle,
                removed.calls,
                removed.rows,
            )
        await self._tell_what_it_cannot()
        return removed

    async def _delete_sealed(self, removed: Removed) -> None:
        while going := await self._store.read(self._due):
            counts = await self._store.write(partial(_delete_sealed, going))
            if not counts:
                return
            removed.sealed += len(counts)
            removed.calls += sum(counts)
            await asyncio.sleep(_REST)

    def _due(self, view: ReadView) -> list[Sealed]:
        return due(self._rules, self._clock(), view.stats(), all_sealed(view))

    async def _delete_idle(self, removed: Removed) -> None:
        for _ in range(_PAGES):
            idle, self._looked_at = await self._store.read(self._page)
            for session_id in idle:
                counts = await self._store.write(partial(self._delete_if_idle, session_id))
                removed.idle += len(counts)
                removed.calls += sum(counts)
                await asyncio.sleep(_REST)
            if not self._looked_at:
                return
            await asyncio.sleep(0)

    def _page(self, view: ReadView) -> tuple[list[str], str]:
        """The idle ones of a page of sessions, and the page's last one; "" on the last page."""
        now = self._clock()
        page = list(islice(view.sessions(self._looked_at), MAX_SESSIONS))
        idle = [session.session_id for session in page if is_idle(self._rules, now, view, session)]
        return idle, page[-1].session_id if len(page) == MAX_SESSIONS else ""

    def _delete_if_idle(self, session_id: str, view: WriteView) -> list[int]:
        session = view.session(session_id)
        if session is None or not is_idle(self._rules, self._clock(), view, session):
            return []
        return [view.delete_session(session_id, DELETE_REASON_RETENTION)]

    async def _forget(self, removed: Removed) -> None:
        def work(view: WriteView) -> int:
            return view.forget(self._clock() - self._rules.tombstone_age, _FORGOTTEN_AT_ONCE)

        while rows := await self._store.write(work):
            removed.rows += rows
            if rows < _FORGOTTEN_AT_ONCE:
                return
            await asyncio.sleep(_REST)

    async def _tell_what_it_cannot(self) -> None:
        """Says once that retention_size is exceeded by what no rule lets go."""
        used = (await self._store.read(lambda view: view.stats())).used_bytes
        short = 0 < self._rules.size < used
        if short and not self._short:
            log.warning(
                "the store uses %d bytes, more than retention_size, %d, and no sealed session is left: seal "
                "sessions that are over, or set retention_open_age",
                used,
                self._rules.size,
            )
        self._short = short


def _delete_sealed(going: Sequence[Sealed], view: WriteView) -> list[int]:
    """Returns how many calls each deleted session had."""
    counts: list[int] = []
    for sealed in going:
        session = view.session(sealed.session_id)
        if session is not None and session.seal_time.ToNanoseconds() == sealed.seal_time:
            counts.append(view.delete_session(sealed.session_id, DELETE_REASON_RETENTION))
    return counts
