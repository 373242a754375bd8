"""The standard health service: every service is SERVING until the drain begins, then NOT_SERVING.

Not the servicer of grpcio-health-checking: its streams never end, so that a drain would last as long as
somebody watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc as services

from rolltrace_control.interceptor import Context

SERVICE = pb.DESCRIPTOR.services_by_name["Health"].full_name


class HealthServicer(services.HealthServicer):
    """Check and Watch for the names given, and for "", the server as a whole."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = {"", *names}
        self._draining = asyncio.Event()

    def drain(self) -> None:
        self._draining.set()

    def _status(self) -> pb.HealthCheckResponse:
        draining = self._draining.is_set()
        return pb.HealthCheckResponse(
            status=pb.HealthCheckResponse.NOT_SERVING if draining else pb.HealthCheckResponse.SERVING
        )

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service!r}")
        return self._status()

    async def Watch(self, request: pb.HealthCheckRequest, context: Context) -> None:
        known = request.service in self._names
        unknown = pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
        await context.write(self._status() if known else unknown)
        await self._draining.wait()
        if known:
            await context.write(self._status())
