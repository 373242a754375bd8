"""One call, from the agent's request to its end.

Rules. A call is recorded before the agent sees its end: the last byte of a body, the end of a stream. Every
way out of here leaves a record: the agent hangs up, the worker breaks off, the gateway refuses. What has
begun to reach the agent and can't be ended well is broken off, so that half an answer never looks whole.
This file awaits; what to do is decided in call, paths, headers, routing, rewrite and capture.

A call is a POST with a session. Other methods ask about a server, not a model: they are forwarded without
a record, as everything without a session is.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from multidict import CIMultiDict

from rolltrace.v1 import session_pb2
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_proxy import headers, routing
from rolltrace_proxy.access import Access
from rolltrace_proxy.answer import Answer, Untouched, WholeAnswer, answer_for, fill
from rolltrace_proxy.breaker import Breaker
from rolltrace_proxy.call import Call, Event
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.errors import Fault, Refused, of_store
from rolltrace_proxy.metrics import Metrics
from rolltrace_proxy.paths import Target, worker_url
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.upstream import Outgoing, Upstream, fault_of, never_sent, unread
from rolltrace_proxy.workers import News, Workers
from rolltrace_settings.settings import Settings
from rolltrace_store.errors import StoreError
from rolltrace_store.interface import ReadView, Store

log = logging.getLogger(__name__)

CLEAN_UP_TIMEOUT = 10.0
"""Seconds that recording may take once the agent has gone."""
MAX_ATTEMPTS = 5
"""Workers that are tried when no connection can be made."""


@dataclass(slots=True)
class Shared:
    """What all calls of a proxy share."""

    settings: Settings
    store: Store
    workers: Workers
    upstream: Upstream
    metrics: Metrics
    access: Access = field(init=False)
    """Set before anything listens."""
    tasks: set[asyncio.Task[object]] = field(default_factory=set[asyncio.Task[object]])
    draining: bool = False
    """No new calls."""
    stopping: bool = False
    """The calls that still run are being cancelled."""


async def clean_up(work: Coroutine[object, object, None], timeout: float) -> None:
    """Awaits work that must be done although the caller is cancelled: it goes on if that happens again."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=timeout)
    for finished in done:
        finished.result()


def refusal(refused: Refused, ids: dict[str, str]) -> web.Response:
    return web.Response(status=refused.status, body=refused.body(), headers={**refused.headers(), **ids})


class Exchange:
    """A request of the data plane, while it runs."""

    def __init__(self, shared: Shared, request: web.Request, target: Target) -> None:
        self._shared = shared
        self._request = request
        self._target = target
        self._recorded = bool(target.session_id) and request.method == "POST"
        self._call = Call(
            str(uuid.uuid4()), target.session_id, target.endpoint, time.time_ns(), time.monotonic()
        )
        self._answer: Answer | None = None
        self._agent: web.StreamResponse | None = None
        self._limit = asyncio.timeout(shared.settings.total_timeout)

    async def run(self) -> web.StreamResponse:
        """The answer as it was sent, or broken off; aiohttp sends what is left of a refusal."""
        try:
            return await self._run()
        except Refused as refused:
            return await self._refuse(refused)
        except asyncio.CancelledError:
            await self._abandon()
            raise
        except ConnectionResetError:
            await self._abandon()
            return self._agent or web.StreamResponse()
        except Exception:
            log.exception("call %s failed in the gateway", self._call.trace_id)
            return await self._refuse(Refused(Fault.INTERNAL, "The gateway failed; its log says more."))

    async def _run(self) -> web.StreamResponse:
        try:
            async with self._limit:
                self._check_limits()
                body = await self._read_body()
                self._call.read(body, time.time_ns(), time.monotonic())
                plan = await self._admit()
                async with self._dispatched(plan) as response:
                    return await self._pass_on(plan, response)
        except TimeoutError as error:
            raise fault_of(error, begun=False) from error

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
        too_large = Refused(Fault.BODY_TOO_LARGE, f"The body has more than {most} bytes (--max-body-size).")
        if (self._request.content_length or 0) > most:
            raise too_large
        try:
            return await self._request.read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large from None
        except web.RequestPayloadError as error:
            raise Refused(Fault.INVALID_REQUEST, f"The body could not be read: {error}") from None

    async def _admit(self) -> Rewrite:
        """Looks the session up, takes in news of the workers, and plans the request."""
        shared, call = self._shared, self._call

        def look(view: ReadView) -> tuple[News | None, session_pb2.Session | None]:
            return shared.workers.look(view), view.session(call.session_id) if self._recorded else None

        try:
            news, session = await shared.store.read(look)
            if self._recorded:
                shared.store.admit(call.session_id)
        except StoreError as error:
            raise of_store(error) from error
        shared.workers.take(news)
        if session is not None and session.state == session_pb2.SESSION_STATE_SEALED:
            raise Refused(
                Fault.SESSION_SEALED, f"Session {call.session_id!r} is sealed: it takes no more calls."
            )
        enforced = MessageToDict(session.sampling_params) if session is not None else {}
        endpoint = call.endpoint if self._recorded else ""
        plan = rewrite(endpoint, call.request, enforced=enforced, model=shared.settings.model)
        call.model, call.streamed = plan.model, plan.streamed
        call.labels = dict(session.labels) if session is not None else {}
        return plan

    @asynccontextmanager
    async def _dispatched(self, plan: Rewrite) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """The answer of the first worker that takes a connection. Leaving ends the worker's work."""
        workers, call = self._shared.workers, self._call
        candidates, refused = workers.candidates(), None
        names = routing.order(candidates, plan.model, call.session_id, call.trace_id)
        for worker in filter(None, map(workers.get, names[:MAX_ATTEMPTS])):
            with workers.sending(worker.worker_id) as breaker:
                call.dispatch(worker.worker_id)
                try:
                    response = await self._send(worker, plan, breaker)
                except Refused as error:
                    if not never_sent(error):
                        raise
                    breaker.failed(time.monotonic())
                    refused = error
                    continue
                call.on(Event.ANSWER)
                try:
                    yield response
                finally:
                    response.close()
                return
        raise refused or Refused(Fault.NO_WORKER, routing.nobody(candidates, plan.model))

    async def _send(self, worker: Worker, plan: Rewrite, breaker: Breaker) -> aiohttp.ClientResponse:
        outgoing = Outgoing(
            self._request.method,
            worker_url(worker.url, worker.api_path, self._target),
            headers.to_worker(self._shared.access.forwarded(self._request.headers.items()), worker.api_key),
            plan.body or None,
        )
        return await self._shared.upstream.send(outgoing, breaker.succeeded)

    async def _pass_on(self, plan: Rewrite, response: aiohttp.ClientResponse) -> web.StreamResponse:
        """Each piece goes on as it comes, but for the end, which waits until the call is recorded."""
        answer = answer_for(plan, response.status, response.headers) if self._recorded else Untouched()
        self._answer = answer
        whole = isinstance(answer, WholeAnswer)
        agent = web.StreamResponse(
            status=response.status,
            reason=response.reason,
            headers=self._headers(response, same_length=not self._recorded),
        )
        if not whole:
            await self._begin(agent)
        while data := await self._read(response):
            if out := answer.feed(data):
                await agent.write(out)
        await self._finish(response, answer.capture())
        if whole:
            agent.content_length = len(answer.close())
            await self._begin(agent)
        await agent.write_eof(answer.close())
        self._call.on(Event.CLOSE)
        return agent

    async def _begin(self, agent: web.StreamResponse) -> None:
        """Sends the header; from now on an error can only break off."""
        self._agent = agent
        await agent.prepare(self._request)
        self._call.http_status = agent.status

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The next bytes of the worker's answer; none at its end."""
        call = self._call
        try:
            data = await response.content.readany()
        except (aiohttp.ClientError, TimeoutError) as error:
            data = unread(response)
            if not data:
                raise fault_of(error, begun=call.first_byte is not None) from error
        if data and call.first_byte is None:
            call.first_byte = time.monotonic()
            self._shared.upstream.begun(response)
        return data

    def _headers(self, response: aiohttp.ClientResponse, *, same_length: bool) -> CIMultiDict[str]:
        kept = headers.to_agent(response.headers.items(), same_length=same_length)
        kept.update(self._ids())
        return kept

    def _ids(self) -> dict[str, str]:
        return headers.ids(self._call.trace_id, self._call.session_id) if self._recorded else {}

    async def _finish(self, response: aiohttp.ClientResponse, captured: Captured) -> None:
        """The worker's answer is all here."""
        self._limit.reschedule(None)
        call, now = self._call, time.monotonic()
        call.http_status = response.status
        if response.status >= 400:
            said = captured.error or f"{response.status} {response.reason or ''}".rstrip()
            call.end(Event.FAIL, now, "upstream_status", f"The worker answered: {said}")
        elif captured.error is not None:
            call.end(Event.FAIL, now, "upstream_error", f"The worker answered: {captured.error}")
        else:
            call.end(Event.FINISH, now)
        await self._commit(captured)

    async def _commit(self, captured: Captured) -> None:
        """Records the call, which has ended. Raises Refused when the store can't."""
        call, shared = self._call, self._shared
        if not self._recorded:
            shared.metrics.passed.inc()
            call.on(Event.COMMIT)
            return
        trace = call.trace()
        fill(trace, captured)
        shared.metrics.ended(trace)
        try:
            with shared.metrics.commit.time():
                await shared.store.append_trace(trace)
        except StoreError as error:
            call.on(Event.LOSE)
            shared.metrics.lost.inc()
            log.error("call %s of session %r is not recorded: %s", call.trace_id, call.session_id, error)
            raise of_store(error) from error
        call.on(Event.COMMIT)

    def _partial(self) -> Captured:
        """What had come of the answer when it was cut off."""
        return self._answer.capture(ended=False) if self._answer is not None else Captured()

    async def _refuse(self, refused: Refused) -> web.StreamResponse:
        """Records the call, if that is still to be done, and lets the agent know."""
        if self._call.running:
            event = Event.FAIL if refused.upstream and self._call.attempts else Event.REFUSE
            self._call.http_status = self._agent.status if self._agent else refused.status
            self._call.end(event, time.monotonic(), refused.fault, refused.message)
            try:
                await self._commit(self._partial())
            except Refused as unrecorded:
                refused = unrecorded
        if self._agent is None:
            return refusal(refused, self._ids())
        self._break_off()
        return self._agent

    def _break_off(self) -> None:
        """Closes the connection before the end of the answer. Without chunks only a reset tells the agent."""
        if self._request.transport is None:
            return
        if self._request.version >= aiohttp.HttpVersion11:
            self._request.transport.close()
        else:
            self._request.transport.abort()

    async def _abandon(self) -> None:
        """The agent has gone, or the proxy is going."""
        if not self._call.running:
            return
        if self._shared.stopping:
            self._call.end(Event.INTERRUPT, time.monotonic(), "interrupted", "The gateway was shut down.")
        else:
            self._call.end(Event.HANG_UP, time.monotonic(), "client_disconnected", "The agent hung up.")
        try:
            await clean_up(self._commit(self._partial()), CLEAN_UP_TIMEOUT)
        except Refused:
            return  # logged, and nobody is left to tell
