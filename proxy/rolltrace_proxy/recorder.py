"""A call's beginning and its end, as they reach the store.

Rules. A call that the store can't record is not run: it is told of the call before a worker is, and a call
that it does not take in the end is cut off. The worker begins meanwhile; the agent sees nothing of its answer
before the store knows of the call, so that what an agent has seen begin is never without a record. A trace
that the store does not take is offered again, without its bodies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.answer import fill
from rolltrace_proxy.call import Call, Event, reduce
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.errors import Fault, Refused, of_store
from rolltrace_proxy.metrics import Metrics
from rolltrace_proxy.unrecorded import Unrecorded
from rolltrace_store.errors import StoreError
from rolltrace_store.interface import Store

log = logging.getLogger(__name__)


class Recorder:
    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self.unrecorded = Unrecorded(store, metrics.ended)

    def admit(self, call: Call, check: int, cut: Callable[[Refused], None]) -> asyncio.Future[None]:
        """Tells the store that a call begins; the future is done once it knows. Raises Refused.

        `cut` hears it if the store can't record it after all.
        """

        def decided(admission: asyncio.Future[None]) -> None:
            error = None if admission.cancelled() else admission.exception()
            if isinstance(error, StoreError):
                cut(of_store(error))
            elif error is not None:
                log.error("call %s could not be admitted", call.trace_id, exc_info=error)
                cut(Refused(Fault.INTERNAL, "The gateway failed; its log says more."))

        try:
            self._store.check_room()
            admission = self._store.admit(call.known(), check)
        except StoreError as error:
            raise of_store(error) from error
        admission.add_done_callback(decided)
        return admission

    async def record(self, call: Call, captured: Captured, sent_status: int) -> None:
        """Records a call that has ended. `sent_status`: what the agent was sent, 0 for nothing yet.

        Raises Refused when the store can't.
        """
        trace = call.trace()
        fill(trace, captured)
        try:
            with self._metrics.commit.time():
                await self._store.append_trace(trace)
        except StoreError as error:
            call.on(Event.LOSE)
            refused = of_store(error)
            self._lose(call, trace, refused, sent_status)
            raise refused from error
        call.on(Event.COMMIT)
        self._metrics.ended(trace)

    def _lose(self, call: Call, trace: pb.Trace, refused: Refused, sent_status: int) -> None:
        if refused.fault is Fault.SESSION_DELETED:
            log.info("call %s is not recorded: %s", call.trace_id, refused)
            return
        self._metrics.lost.inc()
        log.error("call %s of session %r is not recorded: %s", call.trace_id, call.session_id, refused)
        if call.was_admitted:
            reduce(trace, http_status=sent_status or refused.status, refused=refused)
            self.unrecorded.keep(trace)
