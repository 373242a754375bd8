"""The gateway inside a trainer. A shell: it starts the parts in their order, and stops them in the reverse.

Rules. It may be started and closed in any thread, or awaited; several may run at once. What was not closed
when the interpreter ends is closed then, and a trainer that dies takes its services with it. A process that
was forked off has no part in it: it may use the addresses, and closes nothing.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, Self

from rolltrace_client.services import what_is_missing
from rolltrace_control.addresses import authority, base_url, local_proxy_url, proxy_url
from rolltrace_embedded.errors import GatewayError
from rolltrace_embedded.options import WorkerLike, settings_of
from rolltrace_embedded.services import Services
from rolltrace_settings.access import admin_tokens

if TYPE_CHECKING:
    from rolltrace_client import Client, Session, Tls
    from rolltrace_embedded.model_loop import ModelLoop
    from rolltrace_embedded.model_server import Handler, ModelServer
    from rolltrace_settings.settings import Settings

WORKER_ID = "trainer"
"""The name of the worker that the handler is. A kept environment remembers it, at another port."""
START_TIMEOUT = 60.0
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}

_open: set[Gateway] = set()

log = logging.getLogger("rolltrace.gateway")


class Gateway:
    """Both services beside the trainer, from `with`, `async with` or `start()` on until `close()`.

    `workers`: URLs, or mappings as in the settings. `handler`: serves a model of this process as one more
    worker; an async function, or an async generator function, of an OpenAI request (a dict) to a dict, a
    Sample, or pieces of them. It runs in a thread of its own, or in `loop`, and serves `model_name`, or every
    model. `db_path`: where traces are kept; else they are deleted when the gateway is closed. `tls`: how
    `client` connects when the services speak TLS. Every other keyword is a setting (docs/configuration.md);
    ports are any free ones unless given. Raises TypeError for a keyword that is none, SettingsError for a
    wrong value, GatewayError without the [server] extra.
    """

    def __init__(
        self,
        *,
        workers: Iterable[WorkerLike] = (),
        handler: Handler | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        model_name: str = "",
        db_path: str | os.PathLike[str] | None = None,
        start_timeout: float = START_TIMEOUT,
        tls: Tls | bool | None = None,
        **settings: object,
    ) -> None:
        if missing := what_is_missing():
            raise GatewayError(missing)
        if handler is not None and not callable(handler):
            raise TypeError(f"Gateway: handler: {type(handler).__name__} is no function of a request")
        if handler is None and (loop is not None or model_name):
            raise TypeError("Gateway: loop and model_name belong to a handler, and there is none")
        self._temporary = db_path is None
        kept = os.path.abspath(db_path or "nowhere")
        self._settings = settings_of(workers, kept, settings, temporary=self._temporary)
        self._handler, self._given_loop, self._model_name = handler, loop, model_name
        self._start_timeout, self._tls = start_timeout, tls
        self._lock, self._client_lock = threading.Lock(), threading.Lock()
        self._pid = os.getpid()
        self._services: Services | None = None
        self._model: tuple[ModelLoop, ModelServer] | None = None
        self._clients: dict[int, Client] = {}
        self._state = "new"

    # Where it is.

    @property
    def url(self) -> str:
        """Where this machine reaches the proxy, e.g. "http://127.0.0.1:43210"."""
        return local_proxy_url(self._started().settings)

    @property
    def target(self) -> str:
        """Where rolltrace_client.Client and gRPC stubs connect to: "HOST:PORT"."""
        settings = self._started().settings
        host = settings.control_host
        return authority(_LOOPBACK.get(host, host), settings.control_port)

    @property
    def db_path(self) -> str:
        """The folder of the traces."""
        return self._started().settings.db_path

    def base_url(self, session: Session | str) -> str:
        """What the agent of a session, or of a session id, sets as its OpenAI base URL."""
        session_id = session if isinstance(session, str) else session.session_id
        return base_url(proxy_url(self._started().settings), session_id)

    @property
    def client(self) -> Client:
        """A client of this gateway, closed with it."""
        services = self._started()
        with self._client_lock:
            client = self._clients.get(os.getpid())
            if client is None:
                client = self._clients[os.getpid()] = self._connected(services.settings)
        return client

    def _connected(self, settings: Settings) -> Client:
        from rolltrace_client import Client, Tls

        tokens = admin_tokens(settings)
        token = tokens[0].decode() if tokens else ""  # never that of the environment
        trusted = Tls(ca_file=settings.tls_cert_file) if settings.tls_cert_file else False
        return Client(self.target, token=token, tls=trusted if self._tls is None else self._tls)

    def _started(self) -> Services:
        if self._services is None or self._state != "up":
            raise RuntimeError("the gateway is not up: use `with`, `async with`, or start()")
        return self._services

    # Its life.

    def start(self) -> Self:
        """Returns once both services are healthy. Raises GatewayError with what they said last."""
        with self._lock:
            if self._state != "new":
                raise RuntimeError("a Gateway is started once: make another one")
            self._state = "starting"
            _open.add(self)
            try:
                self._start()
            except BaseException:
                self._stop(drain=False)
                raise
        return self

    def close(self) -> None:
        """Stops the services; calls that run may end within drain_timeout. May be called twice."""
        if os.getpid() != self._pid:
            return
        if self._state == "up" and self._model is not None and self._model[0].runs:
            self._model[0].check()
        with self._lock:
            if self._state == "up":
                self._stop(drain=self._model is None or self._model[0].runs)
            self._state = "closed"

    async def aclose(self) -> None:
        """The same, without blocking the loop."""
        closing = asyncio.create_task(asyncio.to_thread(self.close))
        try:
            await asyncio.shield(closing)
        finally:
            await asyncio.wait({closing})

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        starting = asyncio.create_task(asyncio.to_thread(self.start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if self._services is not None:
                self._services.abort()
            await asyncio.wait({starting})
            if starting.exception() is None:
                await self.aclose()
            raise

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Gateway stays in its process: hand gateway.url and gateway.target to others")

    def _start(self) -> None:
        worker_url = self._start_model() if self._handler is not None else ""
        settings, folder = self._settings, ""
        if self._temporary:
            folder = tempfile.mkdtemp(prefix="rolltrace-")
            settings = replace(settings, db_path=os.path.join(folder, "data"))
        self._services = Services(settings, folder)
        self._services.start(self._start_timeout)
        self._state = "up"
        if worker_url or not self._temporary:
            self._register(worker_url)

    def _start_model(self) -> str:
        from rolltrace_embedded.model_loop import ModelLoop
        from rolltrace_embedded.model_server import ModelServer

        assert self._handler is not None
        loop = ModelLoop(self._given_loop)
        loop.start()
        server = ModelServer(self._handler, self._model_name or self._settings.model or WORKER_ID)
        self._model = loop, server
        return loop.run(server.start())

    def _register(self, worker_url: str) -> None:
        """Makes the handler a worker, in place of one that an earlier trainer left in a kept environment."""
        from rolltrace_client import NotFound

        with suppress(NotFound):
            self.client.deregister_worker(WORKER_ID)
        if worker_url:
            names = [self._model_name] if self._model_name else []
            self.client.register_worker(worker_url, worker_id=WORKER_ID, model_names=names, engine="vllm")

    def _stop(self, *, drain: bool) -> None:
        self._state = "closed"
        _open.discard(self)
        if (client := self._clients.pop(os.getpid(), None)) is not None:
            client.close()
        try:
            if self._services is not None:
                self._services.stop(drain=drain)
        finally:
            self._stop_model()

    def _stop_model(self) -> None:
        if self._model is None:
            return
        loop, server = self._model
        try:
            if loop.runs:
                loop.run(server.close())
            loop.stop()
        except TimeoutError:
            log.warning("the handler's loop takes no turn any more and is left behind")

    def disown(self) -> None:
        """For a process that was forked off: the services are not its own."""
        if self._services is not None:
            self._services.let_go()


def _close_all() -> None:
    for gateway in list(_open):
        gateway.close()


def _forked() -> None:
    """In a process that was forked off: it must not keep the services, whose trainer may die before it."""
    for gateway in list(_open):
        gateway.disown()
    _open.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forked)
