"""The control service, as the proxy asks it for REST calls. A shell: gRPC is loaded with this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from rolltrace.v1 import trace_pb2, trace_service_pb2, worker_service_pb2
from rolltrace.v1.gateway_service_pb2_grpc import GatewayServiceStub
from rolltrace.v1.policy_service_pb2_grpc import PolicyServiceStub
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.session_service_pb2 import ListSessionsRequest
from rolltrace.v1.session_service_pb2_grpc import SessionServiceStub
from rolltrace.v1.trace_service_pb2_grpc import TraceServiceStub
from rolltrace.v1.worker_pb2 import Worker
from rolltrace.v1.worker_service_pb2_grpc import WorkerServiceStub
from rolltrace_proxy.rest.errors import RestError, of_rpc
from rolltrace_store.control_socket import ControlSocket

if TYPE_CHECKING:  # the stubs have these names for checkers only
    from rolltrace.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub
    from rolltrace.v1.policy_service_pb2_grpc import PolicyServiceAsyncStub
    from rolltrace.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from rolltrace.v1.trace_service_pb2_grpc import TraceServiceAsyncStub
    from rolltrace.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

Q = TypeVar("Q")
A = TypeVar("A")

PAGE = 1000
"""Traces of a page; its bytes bound it sooner."""
SESSIONS = 200
"""Sessions of a page: while one is put into JSON, agents wait."""
DEADLINE = 120.0
"""Seconds that one RPC may take: whoever waits longer asks a control service that hangs."""
OPTIONS = (
    ("grpc.default_authority", "localhost"),  # rather than the socket's path
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),  # which a connection may take to be made
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)
_DETAILS = "grpc-status-details-bin"

RpcError = grpc.aio.AioRpcError


class _Deadline(grpc.aio.UnaryUnaryClientInterceptor):
    """For every RPC. That of a service config counts from a clock of gRPC's own, seconds off."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Q], Awaitable[grpc.aio.UnaryUnaryCall[Q, A]]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Q,
    ) -> A | grpc.aio.UnaryUnaryCall[Q, A]:
        asked = client_call_details
        limited = grpc.aio.ClientCallDetails(
            asked.method, DEADLINE, asked.metadata, asked.credentials, asked.wait_for_ready
        )
        return await continuation(limited, request)


class Control:
    """A channel to the control service of an environment, and its stubs."""

    sessions: SessionServiceAsyncStub
    workers: WorkerServiceAsyncStub
    traces: TraceServiceAsyncStub
    policy: PolicyServiceAsyncStub
    gateway: GatewayServiceAsyncStub

    def __init__(self, folder: Path) -> None:
        self._socket = ControlSocket(folder)
        target = self._socket.target() or f"unix:{self._socket.path}"  # whose RPCs say that it is too long
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS, interceptors=[_Deadline()])
        self.sessions = SessionServiceStub(self._channel)
        self.workers = WorkerServiceStub(self._channel)
        self.traces = TraceServiceStub(self._channel)
        self.policy = PolicyServiceStub(self._channel)
        self.gateway = GatewayServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()
        self._socket.close()

    def error(self, error: RpcError) -> RestError:
        reached = any(key == _DETAILS for key, _ in error.trailing_metadata() or ())
        return of_rpc(error.code(), error.details() or "", str(self._socket.path), reached=reached)

    async def all_sessions(self) -> AsyncIterator[Session]:
        token = ""
        while True:
            page = await self.sessions.ListSessions(ListSessionsRequest(page_size=SESSIONS, page_token=token))
            for session in page.sessions:
                yield session
            token = page.next_page_token
            if not token:
                return

    async def all_workers(self) -> list[Worker]:
        request, found = worker_service_pb2.ListWorkersRequest(page_size=PAGE), list[Worker]()
        while True:
            page = await self.workers.ListWorkers(request)
            found += page.workers
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def all_traces(self, session_id: str, most: int | None) -> AsyncIterator[trace_pb2.Trace]:
        """A session's FULL traces; none when it is not there. `most`: no more will be read."""
        size = PAGE if most is None else max(1, min(most, PAGE))
        request = trace_service_pb2.ListTracesRequest(
            session_id=session_id, view=trace_pb2.TRACE_VIEW_FULL, page_size=size
        )
        while True:
            try:
                page = await self.traces.ListTraces(request)
            except RpcError as error:
                if not request.page_token and is_unknown(error):
                    return
                raise
            for trace in page.traces:
                yield trace
            request.page_token = page.next_page_token
            if not request.page_token:
                return


def is_unknown(error: RpcError) -> bool:
    """Whether what an RPC named is not there, or is no name that anything could have."""
    return error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
