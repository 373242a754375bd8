"""WorkerService. A shell: worker_fields decides what a worker becomes."""

from __future__ import annotations

import logging
from time import monotonic

from google.protobuf.timestamp_pb2 import Timestamp

from rolltrace.v1 import worker_service_pb2 as pb
from rolltrace.v1 import worker_service_pb2_grpc as services
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_control import paging, worker_fields
from rolltrace_control.requests import answered, identify, once
from rolltrace_control.watch import LogWatch
from rolltrace_settings.settings import WorkerSetting
from rolltrace_settings.tls import read_ca
from rolltrace_store.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from rolltrace_store.interface import Request, Store, WriteView
from rolltrace_store.names import check_worker_id

POLL = 0.05
SETTLE = 0.3
"""Seconds after which a proxy has heard that a worker drains, and counts no new call for it."""

log = logging.getLogger(__name__)


class WorkerServicer(services.WorkerServiceServicer):
    """Workers as operators see them."""

    def __init__(self, store: Store, watch: LogWatch) -> None:
        self._store = store
        self._watch = watch

    async def RegisterWorker(
        self, request: pb.RegisterWorkerRequest, context: object
    ) -> pb.RegisterWorkerResponse:
        asked = worker_fields.asked_worker(request.worker)

        def work(view: WriteView) -> pb.RegisterWorkerResponse:
            return pb.RegisterWorkerResponse(worker=worker_fields.shown(register(view, asked)))

        return await once(self._store, identify("RegisterWorker", request), pb.RegisterWorkerResponse, work)

    async def UpdateWorker(self, request: pb.UpdateWorkerRequest, context: object) -> pb.UpdateWorkerResponse:
        worker_fields.check_update(request)

        def work(view: WriteView) -> pb.UpdateWorkerResponse:
            known = _known(view, request.worker.worker_id)
            worker = worker_fields.updated(known, request)
            if worker != known:
                view.put_worker(worker)
            return pb.UpdateWorkerResponse(worker=worker_fields.shown(worker))

        return await once(self._store, identify("UpdateWorker", request), pb.UpdateWorkerResponse, work)

    async def DeregisterWorker(
        self, request: pb.DeregisterWorkerRequest, context: object
    ) -> pb.DeregisterWorkerResponse:
        """A caller that leaves during the drain leaves the worker DRAINING; asking again goes on."""
        check_worker_id(request.worker_id, "worker_id")
        timeout = request.drain_timeout.seconds + request.drain_timeout.nanos / 1e9
        if timeout < 0:
            raise InvalidArgumentError("drain_timeout", "drain_timeout is negative")
        key = identify("DeregisterWorker", request)
        if request.HasField("drain_timeout"):
            await self._drain(key, request.worker_id, timeout)
        drained = not await self._in_flight(request.worker_id)

        def work(view: WriteView) -> pb.DeregisterWorkerResponse:
            view.remove_worker(request.worker_id)
            return pb.DeregisterWorkerResponse(drained=drained)

        return await once(self._store, key, pb.DeregisterWorkerResponse, work)

    async def _drain(self, key: Request, worker_id: str, timeout: float) -> None:
        """Makes the worker DRAINING, and waits until its calls have ended or the time is over."""

        def begin(view: WriteView) -> bool:
            if answered(view, key, pb.DeregisterWorkerResponse) is not None:
                return False
            known = _known(view, worker_id)
            worker = worker_fields.draining(known)
            if worker != known:
                view.put_worker(worker)
            return True

        if not await self._store.write(begin):
            return
        began = monotonic()
        while (passed := monotonic() - began) < timeout:
            if passed >= SETTLE and not await self._in_flight(worker_id):
                return
            await self._watch.pause(min(POLL, timeout - passed))

    async def _in_flight(self, worker_id: str) -> int:
        return sum(proxy.in_flight.get(worker_id, 0) for proxy in await self._store.live_proxies())

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: object) -> pb.ListWorkersResponse:
        size = paging.page_size(request.page_size)
        after = paging.place_of("ListWorkers", b"", request.page_token)
        workers = await self._store.read(lambda view: view.workers())
        rest = [worker for worker in workers if worker.worker_id > after]
        token = paging.next_token("ListWorkers", b"", rest[size - 1].worker_id) if len(rest) > size else ""
        return pb.ListWorkersResponse(
            workers=[worker_fields.shown(worker) for worker in rest[:size]], next_page_token=token
        )


def register(view: WriteView, asked: Worker) -> Worker:
    """Adds or updates a worker, and logs nothing when it is there as asked. Raises AlreadyExistsError."""
    known = view.worker(asked.worker_id)
    now = Timestamp()
    now.GetCurrentTime()
    worker = worker_fields.registered(asked, known, now)
    if worker != known:
        view.put_worker(worker)
    return worker


async def register_settings(store: Store, settings: tuple[WorkerSetting, ...]) -> None:
    """Registers the workers of the settings; their states stay as they are known."""
    asked = [worker_fields.from_setting(setting, read_ca(setting.ca_file)) for setting in settings]

    def work(view: WriteView) -> None:
        for worker in asked:
            try:
                register(view, worker)
            except AlreadyExistsError as error:
                log.error("a worker of the settings is left out: %s", error)

    if asked:
        await store.write(work)


def _known(view: WriteView, worker_id: str) -> Worker:
    worker = view.worker(worker_id)
    if worker is None:
        raise NotFoundError("worker", worker_id)
    return worker
