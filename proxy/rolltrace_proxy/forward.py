"""One call, from the agent's request to its end.

Rules. A call is recorded before the agent sees its end: the last byte of a body, the end of a stream. Every
way out of here leaves a record: the agent hangs up, the worker breaks off, the gateway refuses. What has
begun to reach the agent and can't be ended well is broken off, so that half an answer never looks whole.
This file awaits; what to do is decided in call, paths, headers, routing, rewrite and capture.

A call is a POST with a session. Other methods ask about a server, not a model: they are forwarded without
a record, as everything without a session is, and what has no tokens if the settings say so. A call runs
only once the store knows of it; what ends before that, because its session takes no calls or a recorded
answer is its answer, leaves no trace.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from contextlib import suppress
from dataclasses import replace
from functools import partial

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_proxy import headers, retry, routing
from rolltrace_proxy.answer import Answer, Untouched, WholeAnswer, answer_for
from rolltrace_proxy.call import BEFORE_ADMISSION, Call, Event, State, new_trace_id
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.dialects.answer import TranslatedWhole, translated, worded
from rolltrace_proxy.dialects.interface import Translation, Wording
from rolltrace_proxy.dialects.known import carries_tokens, dialect_of, wording_of
from rolltrace_proxy.engines.known import engine_of
from rolltrace_proxy.errors import Fault, Refused, of_store
from rolltrace_proxy.http1.interface import BodyBrokenError, BodyTooLargeError, Fields, Request, Response
from rolltrace_proxy.known_sessions import KnownSession
from rolltrace_proxy.paths import Target, at_worker
from rolltrace_proxy.recorder import carry_out
from rolltrace_proxy.replay import replay
from rolltrace_proxy.retry import Repeat, Replay, Run
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.shared import Shared
from rolltrace_proxy.translate import translate
from rolltrace_proxy.upstream import Outgoing, never_sent
from rolltrace_store.errors import StoreError

log = logging.getLogger(__name__)

_CHAT = "chat/completions"
CLEAN_UP_TIMEOUT = 10.0
"""Seconds that recording may take once the agent has gone."""
MAX_ATTEMPTS = 5
"""Workers that are tried when no connection can be made."""


async def refuse(
    request: Request, refused: Refused, ids: Fields = (), wording: Wording | None = None
) -> None:
    """Answers with an error of the gateway's own."""
    body = refused.body() if wording is None else wording.refusal(refused)
    if refused.fault is Fault.REQUEST_TIMEOUT:  # what comes next would be taken for the rest of its body
        request.close_after()
    await request.reply(refused.status, "", [*refused.headers().items(), *ids], body)


class Exchange:
    """A request of the data plane, while it runs."""

    _plan: partial[Rewrite]
    """The request in the terms of an engine; until it is sent."""

    def __init__(self, shared: Shared, request: Request, target: Target) -> None:
        self._shared = shared
        self._request = request
        self._target = target
        wanted = shared.settings.record_other_calls or carries_tokens(target.endpoint)
        self._recorded = wanted and bool(target.session_id) and request.method == "POST"
        self._call = Call(
            new_trace_id(), target.session_id, target.endpoint, time.time_ns(), time.monotonic()
        )
        self._answer: Answer | None = None
        self._wording = wording_of(target.endpoint)
        self._translation: Translation | None = None
        self._untold = ""
        self._limit = asyncio.timeout(shared.settings.total_timeout)
        self._cut: Refused | None = None
        self._check = 0
        self._admission: asyncio.Future[None] | None = None
        self._body_read = False

    @property
    def call(self) -> Call:
        return self._call

    def cut(self, refused: Refused) -> None:
        """Ends the call now, if it has not ended, as if its time were up."""
        if self._cut is None and self._call.running and not self._limit.expired():
            self._cut = refused
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Answers the request, or breaks off the answer that has begun."""
        try:
            await self._run()
        except Refused as refused:
            await self._refuse(refused)
        except asyncio.CancelledError:
            await self._abandon()
            raise
        except ConnectionResetError:
            await self._abandon()
        except Exception:
            log.exception("call %s failed in the gateway", self._call.trace_id)
            await self._refuse(Refused(Fault.INTERNAL, "The gateway failed; its log says more."))

    async def _run(self) -> None:
        running = self._shared.running
        try:
            async with self._limit:
                if not self._recorded:
                    await self._serve()
                    return
                running.add(self)
                try:
                    await self._serve()
                finally:
                    running.discard(self)
        except TimeoutError as error:
            raise self._cut or self._late() from error

    def _late(self) -> Refused:
        """Who was too slow, as the time of the whole call is over."""
        if self._body_read:
            return Refused(Fault.TIMEOUT_TOTAL, "The call took longer than a call may take.")
        return Refused(Fault.REQUEST_TIMEOUT, "The request did not come in time (--total-timeout).")

    async def _serve(self) -> None:
        self._check_limits()
        body = await self._read_body()
        self._body_read = True
        self._call.read(body, time.time_ns(), time.monotonic())
        if self._recorded:
            self._shared.redaction.apply(self._call)
        session, course = await self._arrive()
        if isinstance(course, Replay):
            await self._replay(course.trace)
            return
        if self._recorded and (dialect := dialect_of(self._call.endpoint)) is not None:
            made = await translate(dialect, self._call, self._shared.store)
            self._translation, self._untold = made
        plan = self._admit(session, course)
        plan, response = await self._dispatch(plan)
        plan = plan.sent()
        del self._plan
        try:
            answer = await self._pass_on(plan, response)
        finally:
            response.close()
            self._shared.workers.ended(self._call.worker_id)
        await self._finish(response, answer)

    def _check_limits(self) -> None:
        shared = self._shared
        if shared.draining:
            raise Refused(Fault.DRAINING, "This gateway is shutting down. Try again shortly.")
        if len(shared.tasks) > shared.settings.max_calls:
            raise Refused(
                Fault.TOO_MANY_CALLS, f"{shared.settings.max_calls} calls run already (--max-calls)."
            )
        # The other half of the queue is for the traces of the calls that run.
        if self._recorded and shared.store.queued_bytes() > shared.settings.write_queue_size // 2:
            raise Refused(
                Fault.STORE_BUSY, "Commits lag behind: half of --write-queue-size waits. Try again shortly."
            )

    async def _read_body(self) -> bytes:
        most = self._shared.settings.max_body_size
        try:
            return await self._request.body(most)
        except BodyTooLargeError:
            said = f"The body has more than {most} bytes (--max-body-size)."
            raise Refused(Fault.BODY_TOO_LARGE, said) from None
        except BodyBrokenError as error:
            raise Refused(Fault.INVALID_REQUEST, f"The body could not be read: {error}") from None

    async def _arrive(self) -> tuple[KnownSession | None, Replay | Run]:
        """Takes in news of the workers, and tells what becomes of the call."""
        arrivals, call = self._shared.arrivals, self._call
        try:
            if not self._recorded:
                await arrivals.pass_through()
                return None, Run()
            self._check = zlib.crc32(call.request)
            call.retry_number = retry.number(self._request.field(retry.RETRY_COUNT))
            repeat = Repeat(call.retry_number, call.endpoint, self._check, call.request)
            return await arrivals.arrive(call, repeat)
        except StoreError as error:
            raise of_store(error) from error

    async def _replay(self, trace: pb.Trace) -> None:
        """Gives the recorded answer of an earlier attempt."""
        self._call.on(Event.REPLAY)
        self._shared.metrics.replays.inc()
        try:
            await self._shared.store.write(lambda view: view.note_replay(trace.trace_id))
        except StoreError as error:
            log.warning("that trace %s was replayed is not noted: %s", trace.trace_id, error)
        kind, body = replay(trace)
        fields = [("Content-Type", kind), (headers.REPLAYED, "true")]
        fields += headers.ids(trace.trace_id, trace.session_id)
        await self._request.reply(trace.http_status, "", fields, body)

    def _admit(self, session: KnownSession | None, course: Run) -> Rewrite:
        """Plans the request, and tells the store that the call begins."""
        call = self._call
        enforced = session.sampling_params if session is not None else {}
        endpoint = call.endpoint if self._recorded else ""
        body, model = call.request, self._shared.settings.model
        if self._translation is not None:
            endpoint, body = _CHAT, self._translation.body
        self._plan = partial(rewrite, endpoint, body, enforced=enforced, model=model, untold=self._untold)
        plan = self._plan()
        call.model, call.streamed = plan.model, plan.streamed
        call.labels = session.labels if session is not None else {}
        call.retried_trace_id = course.retried_trace_id
        if self._recorded:
            self._admission = self._shared.recorder.admit(call, self._check, self.cut)
            self._shared.arrivals.admitted(call)
        call.admit()
        return plan

    async def _dispatch(self, plan: Rewrite) -> tuple[Rewrite, Response]:
        """The answer of the first worker that takes a connection; its call is counted until it `ended`."""
        workers, call = self._shared.workers, self._call
        candidates, refused = workers.candidates(), None
        names = routing.order(candidates, plan.model, call.session_id, call.trace_id)
        for worker in filter(None, map(workers.get, names[:MAX_ATTEMPTS])):
            breaker = workers.begun(worker.worker_id)
            call.dispatch(worker.worker_id, workers.policy_version)
            if plan.captures and (engine := engine_of(worker)) is not plan.engine:
                plan = self._plan(engine=engine)
            try:
                response = await self._shared.upstream.send(self._outgoing(worker, plan), breaker)
            except BaseException as error:
                workers.ended(worker.worker_id)
                if not isinstance(error, Refused) or not never_sent(error):
                    raise
                breaker.failed(time.monotonic())
                refused = error
                continue
            call.on(Event.ANSWER)
            return plan, response
        raise refused or Refused(Fault.NO_WORKER, routing.nobody(candidates, plan.model))

    def _outgoing(self, worker: Worker, plan: Rewrite) -> Outgoing:
        target = self._target
        if self._translation is not None:
            target = replace(target, tail=f"/{_CHAT}")
        origin, asked = at_worker(worker.url, worker.api_path, target)
        access, fields = self._shared.access, self._request.fields
        if access.forwards:
            fields = access.forwarded(fields)
        fields = headers.to_worker(fields, worker.api_key, credentials=access.forwards)
        return Outgoing(self._request.method, origin, asked, fields, plan.body, worker.ca_pem)

    async def _pass_on(self, plan: Rewrite, response: Response) -> Answer:
        """Each piece goes on as it comes, but for the end, which waits until the call is recorded."""
        answer = self._answer = self._answer_for(plan, response)
        if not isinstance(answer, (WholeAnswer, TranslatedWhole)):
            await self._begin(response)
        while data := await self._read(response):
            if out := answer.feed(data):
                await self._begin(response)
                await self._request.write(out)
                await response.each(partial(self._hand_on, answer))
                await self._request.drained()
        return answer

    def _hand_on(self, answer: Answer, data: bytes) -> bool:
        """Passes a piece on in the moment that it comes; whether the agent keeps up."""
        out = answer.feed(data)
        return not out or self._request.put(out)

    def _answer_for(self, plan: Rewrite, response: Response) -> Answer:
        if not self._recorded:
            return Untouched()
        most = self._shared.settings.max_answer_size
        read_prompt = self._shared.prompts.of(self._call.session_id)
        answer = answer_for(plan, response.status, response.fields, most, read_prompt)
        if self._translation is not None:
            return translated(answer, self._translation, response.status)
        return worded(answer, self._wording, response.status, self._call.trace_id, self._untold)

    async def _begin(self, response: Response) -> None:
        """Sends the header, once; from now on an error can only break off."""
        if self._request.status:
            return
        if self._admission is not None:
            await self._shared.recorder.admitted(self._admission)
        fields = self._fields(response, same_length=not self._recorded)
        await self._request.begin(response.status, response.reason, fields)
        self._call.http_status = response.status

    async def _read(self, response: Response) -> bytes:
        """The next bytes of the worker's answer; none at its end."""
        data = await response.read()
        if data and self._call.first_byte is None:
            self._call.first_byte = time.monotonic()
        return data

    def _fields(self, response: Response, *, same_length: bool) -> list[tuple[str, str]]:
        return headers.to_agent(response.fields, same_length=same_length) + self._ids()

    def _ids(self) -> list[tuple[str, str]]:
        return headers.ids(self._call.trace_id, self._call.session_id) if self._recorded else []

    async def _finish(self, response: Response, answer: Answer) -> None:
        """The worker's answer is all here, and the worker has done its part."""
        await self._record(response, answer.capture())
        if self._request.status:
            await self._request.end(answer.close())
        else:
            fields = self._fields(response, same_length=False)
            await self._request.reply(response.status, response.reason, fields, answer.close())
        self._call.on(Event.CLOSE)

    async def _record(self, response: Response, captured: Captured) -> None:
        self._limit.reschedule(None)
        call, now = self._call, time.monotonic()
        call.http_status = response.status
        if response.status >= 400:
            said = captured.error or f"{response.status} {response.reason}".rstrip()
            call.end(Event.FAIL, now, "upstream_status", f"The worker answered: {said}")
        elif captured.error is not None:
            call.end(Event.FAIL, now, "upstream_error", f"The worker answered: {captured.error}")
        else:
            call.end(Event.FINISH, now)
        await self._commit(captured)

    async def _commit(self, captured: Captured) -> None:
        """Records the call, which has ended, even if its agent leaves. Raises Refused if the store can't."""
        call, shared = self._call, self._shared
        if not self._recorded:
            shared.metrics.passed.inc()
            call.on(Event.COMMIT)
            return
        await shared.recorder.record(call, captured, self._request.status)

    def _partial(self) -> Captured:
        """What had come of the answer when it was cut off."""
        return self._answer.capture(ended=False) if self._answer is not None else Captured()

    async def _refuse(self, refused: Refused) -> None:
        """Records the call, if that is still to be done, and lets the agent know."""
        self._shared.metrics.refusals.labels(refused.fault).inc()
        if self._call.running and not await self._dismissed(refused):
            event = Event.FAIL if refused.upstream and self._call.attempts else Event.REFUSE
            self._call.http_status = self._request.status or refused.status
            self._call.end(event, time.monotonic(), refused.fault, refused.message)
            try:
                await self._commit(self._partial())
            except Refused as unrecorded:
                refused = unrecorded
        if self._request.status:
            self._request.break_off()
        else:
            with suppress(ConnectionResetError):
                await refuse(self._request, refused, self._ids(), self._wording)

    async def _dismissed(self, refused: Refused | None = None) -> bool:
        """Ends a call that is to leave no trace. None: its agent has gone, or the proxy is going."""
        call = self._call
        if call.state not in BEFORE_ADMISSION or not self._recorded:
            return False
        if refused is None or refused.upstream:
            leaves_trace = call.state is not State.JOINED
        else:
            leaves_trace = refused.leaves_trace
        try:
            if leaves_trace and not await self._shared.arrivals.is_closed(call.session_id):
                return False
        except StoreError:
            pass
        call.on(Event.DISMISS)
        return True

    async def _abandon(self) -> None:
        """The agent has gone, or the proxy is going."""
        if not self._call.running or await self._dismissed():
            return
        if self._shared.stopping:
            self._call.end(Event.INTERRUPT, time.monotonic(), "interrupted", "The gateway was shut down.")
        else:
            self._call.end(Event.HANG_UP, time.monotonic(), "client_disconnected", "The agent hung up.")
        try:
            await carry_out(self._commit(self._partial()), CLEAN_UP_TIMEOUT)
        except Refused:
            return  # logged, and nobody is left to tell
