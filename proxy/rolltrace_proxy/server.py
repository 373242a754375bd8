"""The proxy as a server: what listens, what runs beside the calls, and how it goes away.

A drain stops listening, lets /health say so, waits for the calls that run, and cancels those that outlast
the drain time-out; these are recorded as INTERRUPTED. The store is its opener's to close.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from rolltrace_proxy import paths
from rolltrace_proxy.access import DENIALS, Access
from rolltrace_proxy.dialects.known import wording_of
from rolltrace_proxy.errors import Fault, Refused, sealed
from rolltrace_proxy.forward import Exchange, refuse
from rolltrace_proxy.health import JsonObject, health, worker_health
from rolltrace_proxy.http1.interface import Request
from rolltrace_proxy.http1.listener import Listener
from rolltrace_proxy.metrics import Metrics
from rolltrace_proxy.redaction import Redaction, load_hook
from rolltrace_proxy.rest.errors import RestError
from rolltrace_proxy.rest.loading import Rest
from rolltrace_proxy.rest.routes import find
from rolltrace_proxy.shared import Shared
from rolltrace_proxy.upstream import Upstream
from rolltrace_proxy.workers import Workers
from rolltrace_settings.access import admin_tokens
from rolltrace_settings.errors import SettingsError
from rolltrace_settings.settings import Settings
from rolltrace_settings.tls import reload_certificate, server_context
from rolltrace_store.errors import StoreError
from rolltrace_store.interface import Store

Handler = Callable[[Request], Awaitable[None]]

TICK = 0.2
"""Seconds between looks at the workers and the gauges."""
_JSON = (("Content-Type", "application/json; charset=utf-8"),)
_NO_PAGE = "Agents call /sessions/{session_id}/v1/... or /v1/...; does the base URL lack its /v1?"
_PLAIN = (("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),)

log = logging.getLogger(__name__)


class Proxy:
    """A running proxy. Made by `serve`."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._tls = server_context(settings)
        redaction = Redaction(load_hook(settings.redact))
        self.shared = Shared(settings, store, Workers(store), Upstream(settings), Metrics(), redaction)
        self.listener = Listener(self._handle, settings.max_header_size)
        self._pages: dict[str, Handler] = {
            "/health": self._health,
            "/health/workers": self._guarded(self._worker_health),
            "/metrics": self._guarded(self._metrics),
        }
        self.rest = Rest(self.shared, self.reload)
        self._tasks: list[asyncio.Task[None]] = []
        self._host, self._port = settings.host, settings.port

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def start(self) -> None:
        secret = await self._store.read(lambda view: view.secret())
        self.shared.access = Access(admin_tokens(self._settings), secret, self._settings)
        await self._refresh()
        self._port = await self.listener.start(
            self._host, self._port, self._tls, shared_port=self._settings.proxies > 1
        )
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._name_lost())]

    def reload(self) -> str:
        """Reads the admin tokens and the certificate again. What cannot be used leaves the old in use.

        Returns why it could not be used; "" when all is well.
        """
        try:
            tokens = admin_tokens(self._settings)
            if self._tls is not None:
                reload_certificate(self._tls, self._settings)
        except SettingsError as error:
            log.error("not reloaded, the old certificate and tokens stay: %s", error)
            return str(error)
        self.shared.access.tokens = tokens
        log.info("certificate and tokens are reloaded")
        return ""

    async def drain(self) -> None:
        """Returns when no call runs any more."""
        shared = self.shared
        shared.draining = True
        self.listener.stop()
        if running := shared.tasks | self.rest.tasks:
            await asyncio.wait(running, timeout=self._settings.drain_timeout)
        shared.stopping = True
        for task in shared.tasks | self.rest.tasks:
            task.cancel()
        if running := shared.tasks | self.rest.tasks:
            await asyncio.wait(running)

    async def close(self) -> None:
        """Drains, then lets go of everything but the store."""
        await self.drain()
        for task in self._tasks:
            task.cancel()
        await self.listener.close()
        await self.rest.close()
        await self.shared.upstream.close()

    async def _handle(self, request: Request) -> None:
        page = self._pages.get(paths.page(request.target)) if request.method in ("GET", "HEAD") else None
        await (page or self._call)(request)

    async def _call(self, request: Request) -> None:
        target = None
        try:
            target = paths.parse(request.target)
            if target is None:
                await self._answer_rest(request)
                return
            target = self.shared.access.admit(request.fields, target)
        except Refused as refused:
            await self._deny(request, refused, target)
            return
        task = asyncio.current_task()
        assert task is not None
        self.shared.tasks.add(task)
        try:
            await Exchange(self.shared, request, target).run()
        finally:
            self.shared.tasks.discard(task)

    async def _answer_rest(self, request: Request) -> None:
        """What is neither an agent's call nor a page. Raises Refused."""
        path, _, query = paths.split(request.target)
        try:
            route = find(request.method, path, query)
        except RestError as error:
            await request.reply(error.status, "", _JSON, json.dumps({"error": error.message}).encode())
            return
        if route is None:
            raise Refused(Fault.NOT_FOUND, _NO_PAGE)
        await self._guarded(partial(self.rest.answer, route))(request)

    async def _health(self, request: Request) -> None:
        error = ""
        try:
            await self._refresh()
        except StoreError as failed:
            error = str(failed)
        shared = self.shared
        status, said = health(shared.workers, len(shared.tasks), draining=shared.draining, store_error=error)
        await _say(request, status, said)

    async def _deny(self, request: Request, refused: Refused, target: paths.Target | None = None) -> None:
        """A request that is not let in: it is counted, and leaves no trace."""
        if refused.fault in DENIALS:
            self.shared.metrics.denied.labels(refused.fault).inc()
        with suppress(ConnectionResetError):
            await refuse(request, refused, wording=None if target is None else wording_of(target.endpoint))

    def _guarded(self, handler: Handler) -> Handler:
        """For what belongs to no session: the admin's alone, where keys are asked for."""

        async def guarded(request: Request) -> None:
            try:
                self.shared.access.admit_admin(request.fields)
            except Refused as refused:
                await self._deny(request, refused)
                return
            await handler(request)

        return guarded

    async def _worker_health(self, request: Request) -> None:
        await _say(request, *worker_health(self.shared.workers))

    async def _metrics(self, request: Request) -> None:
        with suppress(StoreError):  # /health says it
            await self._refresh()
        self._measure()
        worker_ids = {row.worker_id for row in self.shared.workers.rows()}
        await request.reply(200, "", _PLAIN, self.shared.metrics.render(worker_ids))

    async def _refresh(self) -> None:
        """Takes in news of the workers and of sessions that end."""
        workers, running = self.shared.workers, self.shared.running
        news, sealing = await self._store.read(lambda view: (workers.look(view), view.sealing()))
        workers.take(news)
        for session in sealing:
            if session.cancel:
                running.cut(session.session_id, sealed(session.session_id))

    async def _tick(self) -> None:
        """What must happen though no call comes: hearing of workers and sessions, measuring."""
        loop, shared = asyncio.get_running_loop(), self.shared
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            shared.metrics.lag.observe(max(0.0, loop.time() - due))
            try:
                await self._refresh()
            except StoreError:
                continue  # /health says it
            shared.workers.report()
            self._measure()

    async def _name_lost(self) -> None:
        """Beside the ticker, since a store that is slow to take a trace must not stop that."""
        while True:
            await asyncio.sleep(TICK)
            await self.shared.recorder.unrecorded.offer()

    def _measure(self) -> None:
        shared = self.shared
        shared.metrics.count()
        shared.metrics.unrecorded.set(len(shared.recorder.unrecorded))
        shared.metrics.in_flight.set(len(shared.tasks))
        shared.metrics.queued.set(self._store.queued_bytes())
        for row in shared.workers.rows():
            shared.metrics.worker_up.labels(row.worker_id).set(shared.workers.usable(row))
            shared.metrics.worker_in_flight.labels(row.worker_id).set(shared.workers.in_flight(row.worker_id))


async def _say(request: Request, status: int, answer: JsonObject) -> None:
    await request.reply(status, "", _JSON, json.dumps(answer).encode())


@asynccontextmanager
async def serve(settings: Settings, store: Store) -> AsyncGenerator[Proxy, None]:
    """A proxy that listens within the block; port 0 takes any free one."""
    proxy = Proxy(settings, store)
    try:
        await proxy.start()
        yield proxy
    finally:
        await proxy.close()
