"""The service as a whole: reflection, health, errors that nobody foresaw, ports, signals."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.session_service_pb2 import CreateSessionRequest, GetSessionRequest
from rolltrace.v1.trace_service_pb2 import Cursor, GetTraceRequest, ListTracesRequest, SubscribeRequest
from rolltrace_control.server import ListenError, serve
from rolltrace_store import (
    CorruptError,
    LogState,
    Store,
    StoreBusyError,
    StoreClosedError,
    StoreFullError,
)
from rolltrace_store.interface import ReadView, WriteView
from tests.control.conftest import SETTINGS, Control, connected, controlling
from tests.control.details import failure

SERVICES = {f"rolltrace.v1.{name}Service" for name in ("Session", "Worker", "Trace", "Policy", "Gateway")}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


Ask: TypeAlias = reflection_pb2.ServerReflectionRequest
Tell: TypeAlias = reflection_pb2.ServerReflectionResponse
Check: TypeAlias = health_pb2.HealthCheckRequest
Health: TypeAlias = health_pb2.HealthCheckResponse


async def reflect(control: Control, requests: Iterable[Ask]) -> list[Tell]:
    method = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"
    call: grpc.aio.StreamStreamMultiCallable[Ask, Tell] = control.channel.stream_stream(
        method, Ask.SerializeToString, Tell.FromString
    )
    return [response async for response in call(iter(requests))]


async def health(control: Control, service: str) -> int:
    call: grpc.aio.UnaryUnaryMultiCallable[Check, Health] = control.channel.unary_unary(
        "/grpc.health.v1.Health/Check", Check.SerializeToString, Health.FromString
    )
    return (await call(Check(service=service))).status


def watch(control: Control, service: str) -> grpc.aio.UnaryStreamCall[Check, Health]:
    call: grpc.aio.UnaryStreamMultiCallable[Check, Health] = control.channel.unary_stream(
        "/grpc.health.v1.Health/Watch", Check.SerializeToString, Health.FromString
    )
    return call(Check(service=service))


async def status(call: grpc.aio.UnaryStreamCall[Check, Health]) -> int:
    """The next status of a watch."""
    response = await call.read()
    assert isinstance(response, Health)
    return response.status


async def test_reflection_lists_every_service_and_describes_it(control: Control) -> None:
    (listed,) = await reflect(control, [reflection_pb2.ServerReflectionRequest(list_services="")])
    names = {service.name for service in listed.list_services_response.service}
    assert names == SERVICES | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(names)]
    for response in await reflect(control, asked):
        (file,) = response.file_descriptor_response.file_descriptor_proto[:1]
        assert FileDescriptorProto.FromString(file).service


async def test_every_service_is_serving(control: Control) -> None:
    for service in ("", *SERVICES):
        assert await health(control, service) == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await health(control, "nobody")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_watch_sees_the_drain_and_does_not_hold_it_up(store: Store) -> None:
    async with AsyncExitStack() as later:
        async with serve(replace(SETTINGS, drain_timeout=60.0), store) as port:
            control = await later.enter_async_context(connected(port))
            watches = [watch(control, name) for name in ("", *SERVICES, "nobody")]
            first = [await status(call) for call in watches]
        assert [await status(call) for call in watches[:-1]] == [NOT_SERVING] * (len(SERVICES) + 1)
        assert [await call.read() for call in watches] == [grpc.aio.EOF] * len(watches)
    assert first == [SERVING] * (len(SERVICES) + 1) + [Health.SERVICE_UNKNOWN]


class Failing:
    """A store whose reads and writes raise, once there is an error."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def read(self, work: Callable[[ReadView], object]) -> object:
        if self.error is not None:
            raise self.error
        return await self._store.read(work)

    async def write(self, work: Callable[[WriteView], object]) -> object:
        if self.error is not None:
            raise self.error
        return await self._store.write(work)


@asynccontextmanager
async def failing(store: Store, error: Exception) -> AsyncGenerator[Control, None]:
    broken = Failing(store)
    async with controlling(broken) as control:  # type: ignore[arg-type]  # it passes the rest on
        broken.error = error
        yield control


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreFullError("the disk is full"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (StoreBusyError("the queue is full"), grpc.StatusCode.UNAVAILABLE),
        (StoreClosedError("closed"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_what_may_pass_says_when_to_try_again(
    store: Store, error: Exception, code: grpc.StatusCode
) -> None:
    async with failing(store, error) as control:
        for call in (
            control.sessions.CreateSession(CreateSessionRequest(session=Session())),
            control.traces.ListTraces(ListTracesRequest(session_id="s")),
            control.traces.Subscribe(SubscribeRequest()).read(),
        ):
            failed = await failure(call)
            assert (failed.code, failed.message) == (code, str(error))
            assert failed.detail(rpc.RetryInfo).retry_delay.ToNanoseconds() > 0


async def test_corruption_is_told(store: Store) -> None:
    async with failing(store, CorruptError("trace t rests on nothing")) as control:
        trace_id = "00000000-0000-0000-0000-000000000000"
        failed = await failure(control.traces.GetTrace(GetTraceRequest(trace_id=trace_id)))
    assert (failed.code, failed.message) == (grpc.StatusCode.DATA_LOSS, "trace t rests on nothing")


async def test_what_nobody_foresaw_is_logged_and_not_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with failing(store, KeyError("/secret/path")) as control:
        failed = await failure(control.sessions.GetSession(GetSessionRequest(session_id="s")))
        assert failed.code == grpc.StatusCode.INTERNAL
        assert "secret" not in failed.message
        assert "/secret/path" in caplog.text
        assert "GetSession" in caplog.text
        failed = await failure(control.traces.Subscribe(SubscribeRequest()).read())
        assert failed.code == grpc.StatusCode.INTERNAL


class Compacted:
    """A store that has dropped the beginning of its log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def read(self, work: object) -> LogState:
        return LogState("e", earliest=8, head=9, compacted=6)


async def test_a_cursor_that_was_compacted_is_out_of_range(store: Store) -> None:
    async with controlling(Compacted(store)) as control:  # type: ignore[arg-type]  # it passes the rest on
        request = SubscribeRequest(after=Cursor(epoch="e", sequence=5))
        failed = await failure(control.traces.Subscribe(request).read())
        info = failed.detail(rpc.ErrorInfo)
        assert (failed.code, info.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_COMPACTED")
        assert info.metadata["earliest_sequence"] == "8"
        kept = control.traces.Subscribe(SubscribeRequest(after=Cursor(epoch="e", sequence=6)))
        assert await kept.read()
        kept.cancel()


async def test_a_port_that_is_taken_is_said_to_be(control: Control, store: Store) -> None:
    settings = replace(SETTINGS, control_port=control.port)
    with pytest.raises(ListenError, match=rf"port {control.port} is taken: .*--control-port"):
        async with serve(settings, store):
            pass


async def test_an_address_that_is_not_here_is_said_to_be(store: Store) -> None:
    with pytest.raises(ListenError, match=r"cannot listen at 192\.0\.2\.1:0: "):
        async with serve(replace(SETTINGS, control_host="192.0.2.1"), store):
            pass


async def started(tmp_path: Path, port: int) -> asyncio.subprocess.Process:
    command = ("-m", "rolltrace_control", "--control-port", str(port), "--db-path", str(tmp_path / "db"))
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_serves_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    process = await started(tmp_path, 0)
    assert process.stderr is not None
    line = (await process.stderr.readline()).decode()
    assert f"serves {tmp_path / 'db'} at 127.0.0.1:" in line
    async with connected(int(line.rsplit(":", 1)[1])) as control:
        assert await health(control, "") == SERVING
        process.send_signal(number)
        assert await process.wait() == 0
    rest = (await process.stderr.read()).decode()
    assert "Traceback" not in rest


async def test_the_command_says_in_one_line_why_it_cannot_start(tmp_path: Path, control: Control) -> None:
    process = await started(tmp_path, control.port)
    _, errors = await process.communicate()
    assert process.returncode == 1
    last = errors.decode().splitlines()[-1]
    assert last == (
        f"rolltrace-control: port {control.port} is taken: stop what listens there, "
        "or give another --control-port"
    )
    assert "Traceback" not in errors.decode()
