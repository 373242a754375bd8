"""The client for asyncio: client.py with await, and as free of decisions.

A client belongs to the event loop in which it is first used.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Concatenate, ParamSpec, Self, TypeVar

import grpc
import grpc.aio

from rolltrace.v1 import trace_pb2

from . import access, gateway_calls, policy_calls, session_calls, trace_calls, wire, worker_calls
from .bases import Bases
from .call import Call, Gathered, Pages, present
from .cursor import Cursor
from .errors import Closed, NotFound, RolltraceError, Unavailable
from .events import Event, TraceEvent, read_event
from .resume import Delivery, Resume, stream_ended
from .retry import Attempts
from .traces import Trace

P = ParamSpec("P")
V = TypeVar("V")
T = TypeVar("T")


class AsyncConnection:
    """The channel, and every way of using it."""

    def __init__(
        self,
        target: str,
        options: list[wire.Option],
        credentials: grpc.ChannelCredentials | None,
        metadata: access.Metadata,
        timeout: float,
        retry_for: float,
        base_cache_bytes: int,
    ) -> None:
        self._metadata = metadata
        self.target = wire.check_target(target)
        self.timeout = timeout
        self.base_cache_bytes = base_cache_bytes
        self._options = options
        self._credentials = credentials
        self._retry_for = retry_for
        self._made: grpc.aio.Channel | None = None
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        if self._made is not None:
            await self._made.close()

    def open_stream(self, request: bytes) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        return self._channel().unary_stream(trace_calls.SUBSCRIBE, wire.as_is, wire.as_is)(
            request, metadata=self._metadata
        )

    def _channel(self) -> grpc.aio.Channel:
        """Made at its first use, since that is when the event loop is known."""
        if self._closed:
            raise _closed()
        if self._made is None:
            self._made = (
                grpc.aio.insecure_channel(self.target, self._options)
                if self._credentials is None
                else grpc.aio.secure_channel(self.target, self._credentials, self._options)
            )
        return self._made

    async def call(self, call: Call[V]) -> V:
        async def ask(timeout: float) -> bytes:
            rpc = self._channel().unary_unary(call.path, wire.as_is, wire.as_is)
            return await rpc(call.body, timeout=timeout, metadata=self._metadata)

        return call.read(await self._answer(ask, call.timeout, call.extra))

    async def gather(self, call: Gathered[V]) -> V:
        async def ask(timeout: float) -> list[bytes]:
            rpc = self._channel().unary_stream(call.path, wire.as_is, wire.as_is)
            return [message async for message in rpc(call.body, timeout=timeout, metadata=self._metadata)]

        return call.read(await self._answer(ask, call.timeout))

    async def _answer(
        self, ask: Callable[[float], Awaitable[T]], timeout: float | None, extra: float = 0.0
    ) -> T:
        """What `ask`, given the seconds that it may take, gets in the end."""
        attempts = Attempts((self.timeout if timeout is None else timeout) + extra, self._retry_for)
        while True:
            try:
                return await ask(attempts.time_left())
            except grpc.aio.AioRpcError as error:
                pause = attempts.pause(wire.failure(error, self.target))
            except asyncio.CancelledError:
                if _task_cancelled():
                    raise
                raise _closed() from None
            await asyncio.sleep(pause)

    async def pages(self, pages: Pages[V]) -> AsyncIterator[V]:
        token, more = "", True
        while more:
            found, token = await self.call(pages.page(token))
            for value in found:
                yield value
            more = bool(token)

    async def traces(self, pages: Pages[trace_pb2.Trace]) -> AsyncIterator[Trace]:
        bases = Bases(self.base_cache_bytes)
        async for trace in self.pages(pages):
            yield Trace(await self.expand(bases, trace))

    async def expand(self, bases: Bases, trace: trace_pb2.Trace) -> trace_pb2.Trace:
        missing = bases.missing(trace)
        if missing:
            bases.add(await self.call(trace_calls.get_base(missing)))
        bare = bases.expand(trace)
        blobs: dict[bytes, bytes] = {}
        for digest in bare.digests():
            if (data := bases.blob(digest)) is None:
                data = await self.gather(trace_calls.get_blob(digest))
            blobs[digest] = data
        return bases.whole(bare, blobs)


class AsyncSubscription(AsyncIterator[Event]):
    """The log as an async iterator; see Client.subscribe. `cursor` is after the last event handed out.

    A wait that is cancelled, as by a time-out, loses nothing: the next one goes on.
    """

    def __init__(self, connection: AsyncConnection, asked: trace_calls.Subscribe) -> None:
        self._connection = connection
        self._resume = Resume(asked, connection.timeout)
        self._bases = Bases(connection.base_cache_bytes)
        self._closed = asyncio.Event()
        self._stream: grpc.aio.UnaryStreamCall[bytes, bytes] | None = None

    @property
    def cursor(self) -> Cursor | None:
        """None until the service has been reached, unless it was given."""
        return self._resume.cursor

    async def __anext__(self) -> Event:
        while not self._closed.is_set():
            try:
                delivery = self._resume.next()
                if delivery is None:
                    self._resume.receive(await self._message())
                    continue
                event = await self._read(delivery)
            except grpc.aio.AioRpcError as lost:
                await self._wait(wire.failure(lost, self._connection.target))
            except Unavailable as lost:
                await self._wait(lost)
            else:
                self._resume.handed()
                if event is not None:
                    return event
        raise StopAsyncIteration

    async def close(self) -> None:
        """Ends the iteration, also while another task waits in it. May be called twice."""
        self._closed.set()
        if self._stream is not None:
            self._stream.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _message(self) -> bytes:
        if self._stream is None:
            self._stream = self._connection.open_stream(self._resume.request())
        try:
            message: object = await self._stream.read()
        except asyncio.CancelledError:
            self._stream = None
            if _task_cancelled():
                raise
            message = None  # close() cancelled the stream, nobody the task
        if not isinstance(message, bytes):
            raise stream_ended(self._connection.target)
        return message

    async def _read(self, delivery: Delivery) -> Event | None:
        event = delivery.event
        if not event.HasField("trace"):
            return read_event(event, delivery.cursor)
        try:
            trace = await self._connection.expand(self._bases, event.trace)
        except NotFound:
            return None  # its session was deleted meanwhile; session_deleted follows
        return TraceEvent(event.sequence, delivery.cursor, Trace(trace))

    async def _wait(self, lost: RolltraceError) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None
        if not self._closed.is_set():
            pause = self._resume.pause(lost)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), pause)


def _closed() -> Closed:
    return Closed("the client is closed: make another one")


def _task_cancelled() -> bool:
    """Whether a CancelledError is meant for this task, or comes from a call that close() cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _unary(build: Callable[P, Call[V]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[V]]:
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[V]:
        return self.connection.call(build(*args, **kwargs))

    present(method, build)
    return method


def _gathered(build: Callable[P, Gathered[V]]) -> Callable[Concatenate[AsyncClient, P], Awaitable[V]]:
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[V]:
        return self.connection.gather(build(*args, **kwargs))

    present(method, build)
    return method


def _pages(build: Callable[P, Pages[V]]) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[V]]:
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[V]:
        return self.connection.pages(build(*args, **kwargs))

    present(method, build)
    return method


def _traces(
    build: Callable[P, Pages[trace_pb2.Trace]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[Trace]]:
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Trace]:
        return self.connection.traces(build(*args, **kwargs))

    present(method, build)
    return method


def _subscribe(
    build: Callable[P, trace_calls.Subscribe],
) -> Callable[Concatenate[AsyncClient, P], AsyncSubscription]:
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncSubscription:
        return AsyncSubscription(self.connection, build(*args, **kwargs))

    present(method, build)
    return method


class AsyncClient:
    """As Client, with the same arguments and methods: calls are awaited, iterators are async."""

    def __init__(
        self,
        target: str = wire.DEFAULT_TARGET,
        *,
        timeout: float = 30.0,
        retry_for: float = 10.0,
        token: str | None = None,
        tls: access.Tls | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        max_message_bytes: int = 64 * wire.MIB,
        base_cache_bytes: int = 64 * wire.MIB,
    ) -> None:
        self.connection = AsyncConnection(
            target,
            wire.options(max_message_bytes) + access.options(tls),
            access.credentials(tls, credentials),
            access.metadata(token),
            timeout,
            retry_for,
            base_cache_bytes,
        )

    create_session = _unary(session_calls.create_session)
    create_sessions = _unary(session_calls.create_sessions)
    get_session = _unary(session_calls.get_session)
    list_sessions = _pages(session_calls.list_sessions)
    seal_session = _unary(session_calls.seal_session)
    delete_session = _unary(session_calls.delete_session)
    delete_sessions = _unary(session_calls.delete_sessions)
    register_worker = _unary(worker_calls.register_worker)
    update_worker = _unary(worker_calls.update_worker)
    deregister_worker = _unary(worker_calls.deregister_worker)
    list_workers = _pages(worker_calls.list_workers)
    get_trace = _unary(trace_calls.get_trace)
    list_traces = _traces(trace_calls.list_traces)
    subscribe = _subscribe(trace_calls.subscribe)
    get_blob = _gathered(trace_calls.get_blob)
    get_array = _gathered(trace_calls.get_array)
    get_policy = _unary(policy_calls.get_policy)
    set_policy_version = _unary(policy_calls.set_policy_version)
    status = _unary(gateway_calls.status)
    flush = _unary(gateway_calls.flush)

    async def close(self) -> None:
        """Ends every call and subscription. May be called twice."""
        await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
