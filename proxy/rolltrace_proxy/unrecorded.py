"""The calls that the store knows as running and whose traces it did not take.

Such a call must not run for ever in the store's eyes: a trace without bodies, INTERRUPTED, is offered until
the store takes it. That many are kept and no more; the store names the others once this proxy has gone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.errors import AlreadyExistsError, InvalidArgumentError, SessionDeletedError, StoreError
from rolltrace_store.interface import Store

MOST = 10_000

log = logging.getLogger(__name__)


class Unrecorded:
    def __init__(self, store: Store, recorded: Callable[[pb.Trace], None]) -> None:
        """`recorded` hears of each trace that the store took in the end."""
        self._store = store
        self._recorded = recorded
        self._waiting: deque[pb.Trace] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, stand_in: pb.Trace) -> None:
        if len(self._waiting) < MOST:
            self._waiting.append(stand_in)
        else:
            log.error("call %s is named when this proxy has gone: %d wait", stand_in.trace_id, MOST)

    async def offer(self) -> None:
        """Records as many as the store takes now. One that it refuses goes behind the others."""
        while self._waiting:
            trace = self._waiting[0]
            try:
                await self._store.append_trace(trace)
            except (AlreadyExistsError, InvalidArgumentError, SessionDeletedError) as error:
                log.info("call %s leaves no other trace: %s", trace.trace_id, error)
            except StoreError:
                self._waiting.rotate(-1)
                return
            else:
                log.info("call %s of session %r is recorded as interrupted", trace.trace_id, trace.session_id)
                self._recorded(trace)
            self._waiting.popleft()
