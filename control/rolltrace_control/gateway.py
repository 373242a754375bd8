"""GatewayService. A shell."""

from __future__ import annotations

import time

from rolltrace.v1 import gateway_service_pb2 as pb
from rolltrace.v1 import gateway_service_pb2_grpc as services
from rolltrace.v1.worker_pb2 import WORKER_HEALTH_HEALTHY
from rolltrace_control.addresses import local_proxy_url, proxy_url
from rolltrace_control.http_check import status_of
from rolltrace_control.traces import TraceServicer
from rolltrace_settings.settings import Settings
from rolltrace_settings.version import installed_version
from rolltrace_store.interface import ReadView, Store

PROBE_TIMEOUT = 1.0


class GatewayServicer(services.GatewayServiceServicer):
    """The gateway as a whole."""

    def __init__(self, store: Store, settings: Settings, traces: TraceServicer) -> None:
        self._store = store
        self._settings = settings
        self._traces = traces
        self._started = time.time_ns()
        self._started_monotonic = time.monotonic_ns()

    async def GetStatus(self, request: pb.GetStatusRequest, context: object) -> pb.GetStatusResponse:
        healthy = await self._proxy_answers()
        status = await self._store.read(_status)
        status.version = installed_version()
        status.start_time.FromNanoseconds(self._started)
        status.uptime.FromNanoseconds(time.monotonic_ns() - self._started_monotonic)
        status.subscriber_count = self._traces.subscriber_count
        status.proxy_url = proxy_url(self._settings)
        status.proxy_healthy = healthy
        return status

    async def _proxy_answers(self) -> bool:
        url = f"{local_proxy_url(self._settings)}/health"
        try:
            # Its certificate is in the name that agents use, not this one; and nothing secret is said.
            return await status_of(url, None, connect=PROBE_TIMEOUT, total=PROBE_TIMEOUT) == 200
        except (OSError, ValueError):
            return False

    async def Flush(self, request: pb.FlushRequest, context: object) -> pb.FlushResponse:
        log = await self._store.read(lambda view: view.log_state())
        return pb.FlushResponse(epoch=log.epoch, head_sequence=log.head)


def _status(view: ReadView) -> pb.GetStatusResponse:
    log, stats, workers = view.log_state(), view.stats(), view.workers()
    return pb.GetStatusResponse(
        epoch=log.epoch,
        earliest_sequence=log.earliest,
        head_sequence=log.head,
        session_count=stats.session_count,
        trace_count=stats.trace_count,
        worker_count=len(workers),
        healthy_worker_count=sum(worker.health == WORKER_HEALTH_HEALTHY for worker in workers),
        store_used_bytes=stats.used_bytes,
        store_file_bytes=stats.file_bytes,
        store_limit_bytes=stats.limit_bytes,
    )
