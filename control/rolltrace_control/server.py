"""The control service: its parts joined, started and drained. A shell."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing

import grpc.aio
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from rolltrace.v1 import (
    gateway_service_pb2,
    gateway_service_pb2_grpc,
    policy_service_pb2,
    policy_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from rolltrace_control import health, traces
from rolltrace_control.addresses import authority, proxy_url
from rolltrace_control.edge import Edge
from rolltrace_control.gateway import GatewayServicer
from rolltrace_control.interceptor import ErrorInterceptor
from rolltrace_control.local import bind
from rolltrace_control.policy import PolicyServicer
from rolltrace_control.prober import Prober
from rolltrace_control.retention import Retention
from rolltrace_control.retention_rules import rules_of
from rolltrace_control.sealer import Sealer
from rolltrace_control.sessions import SessionServicer
from rolltrace_control.watch import LogWatch
from rolltrace_control.workers import WorkerServicer, register_settings
from rolltrace_settings.settings import Settings
from rolltrace_store.control_socket import ControlSocket
from rolltrace_store.interface import Store

NAMES = (
    session_service_pb2.DESCRIPTOR.services_by_name["SessionService"].full_name,
    worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name,
    traces.SERVICE,
    policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"].full_name,
    gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name,
)
OPTIONS = (
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", -1),  # the receiver knows its limit
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)

log = logging.getLogger(__name__)


class ListenError(Exception):
    """The address cannot be listened at; the message says why."""


@asynccontextmanager
async def serve(settings: Settings, store: Store, edge: Edge | None = None) -> AsyncGenerator[int, None]:
    """Serves while the block runs, and drains at its end; gives the bound port.

    Raises ListenError, SettingsError. The store stays open.
    """
    async with AsyncExitStack() as stack:
        watch = LogWatch(store)
        sealer = Sealer(store, watch)
        edge = edge or Edge(settings, await store.read(lambda view: view.secret()))
        server = grpc.aio.server(interceptors=[edge.access, ErrorInterceptor()], options=OPTIONS)
        local = grpc.aio.server(interceptors=[ErrorInterceptor()], options=OPTIONS)
        servicer = health.HealthServicer(NAMES)
        for each in (server, local):
            _add_services(each, servicer, store, watch, sealer, settings, edge)
        port = _listen(server, settings.control_host, settings.control_port, edge)
        bind(local, stack.enter_context(closing(ControlSocket(store.folder))))
        await register_settings(store, settings.workers)
        await stack.enter_async_context(watch.running())
        await stack.enter_async_context(sealer.running())
        await stack.enter_async_context(Prober(store, settings).running())
        await stack.enter_async_context(Retention(store, rules_of(settings)).running())
        await server.start()
        await local.start()
        try:
            yield port
        finally:
            servicer.drain()
            watch.drain()
            await asyncio.gather(*(each.stop(settings.drain_timeout) for each in (server, local)))


def _add_services(
    server: grpc.aio.Server,
    servicer: health.HealthServicer,
    store: Store,
    watch: LogWatch,
    sealer: Sealer,
    settings: Settings,
    edge: Edge,
) -> None:
    trace_servicer = traces.TraceServicer(store, watch)
    sessions = SessionServicer(store, sealer, proxy_url(settings), edge.secret)
    gateway = GatewayServicer(store, settings, trace_servicer)
    session_service_pb2_grpc.add_SessionServiceServicer_to_server(sessions, server)
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerServicer(store, watch), server)
    traces.add_to_server(trace_servicer, server)
    policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(PolicyServicer(store), server)
    gateway_service_pb2_grpc.add_GatewayServiceServicer_to_server(gateway, server)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*NAMES, health.SERVICE, reflection.SERVICE_NAME), server)


def _listen(server: grpc.aio.Server, host: str, port: int, edge: Edge) -> int:
    """Binds the server. Raises ListenError."""
    address = authority(host, port)
    try:
        bound = edge.bind(server, address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise ListenError(_why_not(host, port))
    return bound


def _why_not(host: str, port: int) -> str:
    """Why an address cannot be listened at: gRPC does not say."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} is taken: stop what listens there, or give another --control-port"
        return f"cannot listen at {authority(host, port)}: {error.strerror or error}"
    return f"cannot listen at {authority(host, port)}"
