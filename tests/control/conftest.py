"""A real control service on a real store, reached through the committed stubs alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from rolltrace.v1.gateway_service_pb2_grpc import GatewayServiceStub
from rolltrace.v1.session_service_pb2_grpc import SessionServiceStub
from rolltrace.v1.trace_service_pb2_grpc import TraceServiceStub
from rolltrace.v1.worker_service_pb2_grpc import WorkerServiceStub
from rolltrace_control.server import serve
from rolltrace_settings.settings import Settings
from rolltrace_store import Durability, Store, StoreOptions, open_store

if TYPE_CHECKING:  # the stubs have these names for checkers only
    from rolltrace.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub
    from rolltrace.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from rolltrace.v1.trace_service_pb2_grpc import TraceServiceAsyncStub
    from rolltrace.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

OPTIONS = StoreOptions(durability=Durability.PROCESS, max_db_size=1 << 30)
SETTINGS = Settings(control_port=0, port=1, health_interval=600.0, drain_timeout=1.0)
CHANNEL = (("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1))


@dataclass(frozen=True, slots=True)
class Control:
    """A channel to a service, and its stubs."""

    port: int
    channel: grpc.aio.Channel
    sessions: SessionServiceAsyncStub
    workers: WorkerServiceAsyncStub
    traces: TraceServiceAsyncStub
    gateway: GatewayServiceAsyncStub


@asynccontextmanager
async def connected(port: int) -> AsyncGenerator[Control, None]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL) as channel:
        yield Control(
            port,
            channel,
            SessionServiceStub(channel),
            WorkerServiceStub(channel),
            TraceServiceStub(channel),
            GatewayServiceStub(channel),
        )


@asynccontextmanager
async def controlling(store: Store, settings: Settings = SETTINGS) -> AsyncGenerator[Control, None]:
    async with serve(settings, store) as port, connected(port) as control:
        yield control


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store, None]:
    store = open_store(tmp_path / "db", OPTIONS)
    yield store
    await store.close()


@pytest.fixture
async def control(store: Store) -> AsyncGenerator[Control, None]:
    async with controlling(store) as control:
        yield control
