"""A call's beginning and its end, as they reach the store.

Rules. A call that the store can't record is not run: it is told of the call before a worker is, and a call
that it does not take in the end is cut off. The worker begins meanwhile; the agent sees nothing of its answer
before the store knows of the call, so that what an agent has seen begin is never without a record. A trace
that the store does not take is offered again, without its bodies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.answer import fill
from rolltrace_proxy.call import Call, Event, reduce
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.errors import Fault, Refused, of_store
from rolltrace_proxy.metrics import Metrics
from rolltrace_proxy.unrecorded import Unrecorded
from rolltrace_store.cutting import NO_BLOBS
from rolltrace_store.errors import StoreError
from rolltrace_store.interface import Commit, Store

_FAILED = "The gateway failed; its log says more."

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
                cut(Refused(Fault.INTERNAL, _FAILED))

        try:
            self._store.check_room()
            admission = self._store.admit(call.known(), check)
        except StoreError as error:
            raise of_store(error) from error
        admission.add_done_callback(decided)
        return admission

    async def admitted(self, admission: asyncio.Future[None]) -> None:
        """Returns once the store knows of the call. Raises Refused when it can't."""
        if not admission.done():
            self._store.hurry()
            await asyncio.wait({admission})
        if admission.cancelled() or (error := admission.exception()) is None:
            return
        if isinstance(error, StoreError):
            raise of_store(error) from error
        raise Refused(Fault.INTERNAL, _FAILED) from error

    async def record(self, call: Call, captured: Captured, sent_status: int) -> None:
        """Records a call that has ended, even if the caller is cancelled meanwhile. `sent_status`: what the
        agent was sent, 0 for nothing yet.

        Raises Refused when the store can't.
        """
        trace = call.trace()
        fill(trace, captured)
        begun = time.monotonic()
        recording = asyncio.ensure_future(self._store.append_trace(trace, captured.blobs or NO_BLOBS))
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(done: asyncio.Future[Commit]) -> None:
            self._metrics.committed(time.monotonic() - begun)
            self._settle(call, trace, done, sent_status)
            if not settled.done():
                settled.set_result(None)

        recording.add_done_callback(settle)
        await settled
        try:
            recording.result()
        except StoreError as error:
            raise of_store(error) from error

    def _settle(self, call: Call, trace: pb.Trace, done: asyncio.Future[Commit], sent_status: int) -> None:
        """The store has decided."""
        error = done.exception()
        if error is None:
            call.on(Event.COMMIT)
            self._metrics.ended(trace)
            return
        call.on(Event.LOSE)
        if isinstance(error, StoreError):
            self._lose(call, trace, of_store(error), sent_status)
        else:
            log.error("call %s could not be recorded", call.trace_id, exc_info=error)

    def _lose(self, call: Call, trace: pb.Trace, refused: Refused, sent_status: int) -> None:
        if refused.fault in (Fault.SESSION_DELETED, Fault.SESSION_SEALED):
            log.info("call %s is not recorded: %s", call.trace_id, refused)
            return
        self._metrics.lost.inc()
        log.error("call %s of session %r is not recorded: %s", call.trace_id, call.session_id, refused)
        if call.was_admitted:
            reduce(trace, http_status=sent_status or refused.status, refused=refused)
            self.unrecorded.keep(trace)


async def carry_out(work: Awaitable[None], timeout: float | None = None) -> None:
    """Awaits work that must be done: it goes on, and its error is nobody's, if the caller is cancelled."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    done, _ = await asyncio.wait({task}, timeout=timeout)
    for finished in done:
        finished.result()
