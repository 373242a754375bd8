"""The client for programs that wait: a shell over call.py, retry.py, resume.py and bases.py.

It decides nothing; aio.py is the same for asyncio. A client may be shared by threads, an iterator not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

import grpc

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


class Stream(Protocol):
    """What grpc returns for a stream of answers, and has no name for."""

    def __next__(self) -> bytes: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def cancel(self) -> object: ...


class Connection:
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
        self._retry_for = retry_for
        self._made = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()
        self._made.close()

    def open_stream(self, request: bytes) -> Stream:
        return self._channel().unary_stream(trace_calls.SUBSCRIBE, wire.as_is, wire.as_is)(
            request, metadata=self._metadata
        )

    def _channel(self) -> grpc.Channel:
        self._check_open()
        return self._made

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise Closed("the client is closed: make another one")

    def call(self, call: Call[V]) -> V:
        def ask(timeout: float) -> bytes:
            rpc = self._channel().unary_unary(call.path, wire.as_is, wire.as_is)
            return rpc(call.body, timeout=timeout, metadata=self._metadata)

        return call.read(self._answer(ask, call.timeout, call.extra))

    def gather(self, call: Gathered[V]) -> V:
        def ask(timeout: float) -> list[bytes]:
            rpc = self._channel().unary_stream(call.path, wire.as_is, wire.as_is)
            return list(rpc(call.body, timeout=timeout, metadata=self._metadata))

        return call.read(self._answer(ask, call.timeout))

    def _answer(self, ask: Callable[[float], T], timeout: float | None, extra: float = 0.0) -> T:
        """What `ask`, given the seconds that it may take, gets in the end."""
        attempts = Attempts((self.timeout if timeout is None else timeout) + extra, self._retry_for)
        while True:
            try:
                return ask(attempts.time_left())
            except grpc.RpcError as error:
                self._check_open()
                pause = attempts.pause(wire.failure(error, self.target))
            self._closed.wait(pause)

    def pages(self, pages: Pages[V]) -> Iterator[V]:
        token, more = "", True
        while more:
            found, token = self.call(pages.page(token))
            yield from found
            more = bool(token)

    def traces(self, pages: Pages[trace_pb2.Trace]) -> Iterator[Trace]:
        bases = Bases(self.base_cache_bytes)
        for trace in self.pages(pages):
            yield Trace(self.expand(bases, trace))

    def expand(self, bases: Bases, trace: trace_pb2.Trace) -> trace_pb2.Trace:
        missing = bases.missing(trace)
        if missing:
            bases.add(self.call(trace_calls.get_base(missing)))
        bare = bases.expand(trace)
        blobs: dict[bytes, bytes] = {}
        for digest in bare.digests():
            if (data := bases.blob(digest)) is None:
                data = self.gather(trace_calls.get_blob(digest))
            blobs[digest] = data
        return bases.whole(bare, blobs)


class Subscription(Iterator[Event]):
    """The log as an iterator; see Client.subscribe. `cursor` stands just after the last event handed out."""

    def __init__(self, connection: Connection, asked: trace_calls.Subscribe) -> None:
        self._connection = connection
        self._resume = Resume(asked, connection.timeout)
        self._bases = Bases(connection.base_cache_bytes)
        self._closed = threading.Event()
        self._stream: Stream | None = None

    @property
    def cursor(self) -> Cursor | None:
        """None until the service has been reached, unless it was given."""
        return self._resume.cursor

    def __next__(self) -> Event:
        while not self._closed.is_set():
            try:
                delivery = self._resume.next()
                if delivery is None:
                    self._resume.receive(self._message())
                    continue
                event = self._read(delivery)
            except grpc.RpcError as lost:
                self._wait(wire.failure(lost, self._connection.target))
            except Unavailable as lost:
                self._wait(lost)
            else:
                self._resume.handed()
                if event is not None:
                    return event
        raise StopIteration

    def close(self) -> None:
        """Ends the iteration, also while another thread waits in it. May be called twice."""
        self._closed.set()
        if self._stream is not None:
            self._stream.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _message(self) -> bytes:
        if self._stream is None:
            self._stream = self._connection.open_stream(self._resume.request())
        if self._closed.is_set():  # by another thread, which may not have seen this stream
            self._stream.cancel()
        message = next(self._stream, None)
        if message is None:
            raise stream_ended(self._connection.target)
        return message

    def _read(self, delivery: Delivery) -> Event | None:
        event = delivery.event
        if not event.HasField("trace"):
            return read_event(event, delivery.cursor)
        try:
            trace = self._connection.expand(self._bases, event.trace)
        except NotFound:
            return None  # its session was deleted meanwhile; session_deleted follows
        return TraceEvent(event.sequence, delivery.cursor, Trace(trace))

    def _wait(self, lost: RolltraceError) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None
        if not self._closed.is_set():
            self._closed.wait(self._resume.pause(lost))


def _unary(build: Callable[P, Call[V]]) -> Callable[Concatenate[Client, P], V]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> V:
        return self.connection.call(build(*args, **kwargs))

    present(method, build)
    return method


def _gathered(build: Callable[P, Gathered[V]]) -> Callable[Concatenate[Client, P], V]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> V:
        return self.connection.gather(build(*args, **kwargs))

    present(method, build)
    return method


def _pages(build: Callable[P, Pages[V]]) -> Callable[Concatenate[Client, P], Iterator[V]]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[V]:
        return self.connection.pages(build(*args, **kwargs))

    present(method, build)
    return method


def _traces(
    build: Callable[P, Pages[trace_pb2.Trace]],
) -> Callable[Concatenate[Client, P], Iterator[Trace]]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Trace]:
        return self.connection.traces(build(*args, **kwargs))

    present(method, build)
    return method


def _subscribe(
    build: Callable[P, trace_calls.Subscribe],
) -> Callable[Concatenate[Client, P], Subscription]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Subscription:
        return Subscription(self.connection, build(*args, **kwargs))

    present(method, build)
    return method


class Client:
    """Talks to the control service at `target`, HOST:PORT of its gRPC port.

    Each call has `timeout` seconds; within them an unavailable service is tried again for `retry_for`
    seconds. `base_cache_bytes` bounds what one iterator keeps to expand traces, and again of their images.
    `token` is the admin token; None takes ROLLTRACE_ADMIN_TOKEN. With `tls` (True, or a Tls that names files)
    or `credentials` the connection is encrypted. Every error is a RolltraceError. To be closed, or used as a
    context manager.
    """

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
        self.connection = Connection(
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

    def close(self) -> None:
        """Ends every call and subscription. May be called twice."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
