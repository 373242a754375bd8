"""TraceService. A shell; answers are bytes that are ready to be sent, so that what is stored passes through.

Rule of streams: a transaction ends before anything is awaited, and nothing is kept for a receiver but
the message that is being sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any, TypeAlias

import grpc
import grpc.aio

from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace_control import cursors, paging, wire
from rolltrace_control.batches import read_batch, read_page
from rolltrace_control.errors import DrainingError
from rolltrace_control.filters import EventMatcher
from rolltrace_control.forms import TraceForm, trace_form
from rolltrace_control.interceptor import Handler
from rolltrace_control.known import known_session
from rolltrace_control.pace import Pace
from rolltrace_control.watch import LogWatch
from rolltrace_store.blobs import check_digest
from rolltrace_store.errors import NotFoundError
from rolltrace_store.interface import ReadView, Store
from rolltrace_store.names import check_session_id, check_trace_id

SERVICE = pb.DESCRIPTOR.services_by_name["TraceService"].full_name
Write = Callable[[bytes], Awaitable[None]]
Context: TypeAlias = "grpc.aio.ServicerContext[Any, bytes]"


class TraceServicer:
    """Traces and the log, as trainers see them."""

    def __init__(self, store: Store, watch: LogWatch) -> None:
        self._store = store
        self._watch = watch
        self.subscriber_count = 0

    async def GetTrace(self, request: pb.GetTraceRequest, context: object) -> bytes:
        check_trace_id(request.trace_id)
        form = trace_form(request.view, request.accept_compressions)

        def work(view: ReadView) -> bytes:
            stored = view.trace(request.trace_id)
            if stored is None:
                raise NotFoundError("trace", request.trace_id)
            return form.of(view, stored)

        return wire.get_trace_response(await self._store.read(work))

    async def ListTraces(self, request: pb.ListTracesRequest, context: object) -> bytes:
        check_session_id(request.session_id)
        form = trace_form(request.view, request.accept_compressions)
        size = paging.page_size(request.page_size)

        def work(view: ReadView) -> bytes:
            scope = _scope(view, request.session_id)
            start = int(paging.place_of("ListTraces", scope, request.page_token) or 0)
            page = read_page(view, request.session_id, start, size, form)
            token = (
                ""
                if page.next_index is None
                else paging.next_token("ListTraces", scope, str(page.next_index))
            )
            return wire.list_traces_response(page.traces, token)

        return await self._store.read(work)

    async def Subscribe(self, request: pb.SubscribeRequest, context: Context) -> None:
        matcher = EventMatcher(request.filter)
        form = trace_form(request.view, request.accept_compressions)
        log = await self._store.read(lambda view: view.log_state())
        start = cursors.start_of(request, log)
        with self._counted():
            await context.write(cursors.header(log, start).SerializeToString())
            stream = _Stream(self._store, self._watch, context.write, log.epoch, start)
            await stream.run(matcher, form)

    async def GetBlob(self, request: pb.GetBlobRequest, context: Context) -> None:
        check_digest(request.digest)
        number = 0
        while (piece := await self._store.read(partial(_piece, request.digest, number))) is not None:
            await context.write(pb.GetBlobResponse(data=piece).SerializeToString())
            number += 1

    @contextmanager
    def _counted(self) -> Generator[None, None, None]:
        self.subscriber_count += 1
        try:
            yield
        finally:
            self.subscriber_count -= 1


def _piece(digest: bytes, number: int, view: ReadView) -> bytes | None:
    """A piece of a blob; None after its last. Raises NotFoundError, also when the blob has gone meanwhile."""
    piece = view.blob_piece(digest, number)
    if piece is None and not view.has_blob(digest):
        raise NotFoundError("blob", digest.hex())
    return piece


def _scope(view: ReadView, session_id: str) -> bytes:
    """Of a list of traces: one life of its session, so that no list goes on in another of the same name.

    Raises as known_session does.
    """
    session = known_session(view, session_id)
    return paging.scope_of(Session(session_id=session_id, create_time=session.create_time))


class _Stream:
    """One subscriber, after its header."""

    def __init__(self, store: Store, watch: LogWatch, write: Write, epoch: str, start: int) -> None:
        self._store = store
        self._watch = watch
        self._write = write
        self._epoch = epoch
        self._cursor = start
        self._pace = Pace(monotonic())

    async def run(self, matcher: EventMatcher, form: TraceForm) -> None:
        """Sends the log until the receiver leaves. Raises DrainingError after a last progress message."""
        while not self._watch.draining:
            more = await self._send_batch(matcher, form)
            if monotonic() >= self._pace.due:
                await self._send_progress()
            if more:
                await asyncio.sleep(0)
            else:
                await self._watch.wait(self._cursor, self._pace.due - monotonic())
        await self._send_progress()
        raise DrainingError("the control service shuts down; subscribe again after the last cursor")

    async def _send_batch(self, matcher: EventMatcher, form: TraceForm) -> bool:
        """Sends what comes next, if anything; whether there may be more."""
        after = self._cursor
        batch = await self._store.read(lambda view: read_batch(view, after, matcher, form))
        self._cursor = batch.cursor
        if batch.events:
            cursor = pb.Cursor(epoch=self._epoch, sequence=batch.cursor)
            await self._write(wire.batch_response(batch.events, cursor))
            self._pace.sent(monotonic())
        elif batch.cursor != after:
            self._pace.moved(monotonic())
        return batch.more

    async def _send_progress(self) -> None:
        await self._write(cursors.progress(self._epoch, self._cursor).SerializeToString())
        self._pace.sent(monotonic())


def add_to_server(servicer: TraceServicer, server: grpc.aio.Server) -> None:
    """Registers the RPCs with no serializer, since the answers are bytes."""
    handlers: dict[str, Handler] = {
        "GetTrace": grpc.unary_unary_rpc_method_handler(servicer.GetTrace, pb.GetTraceRequest.FromString),
        "ListTraces": grpc.unary_unary_rpc_method_handler(
            servicer.ListTraces, pb.ListTracesRequest.FromString
        ),
        "Subscribe": grpc.unary_stream_rpc_method_handler(servicer.Subscribe, pb.SubscribeRequest.FromString),
        "GetBlob": grpc.unary_stream_rpc_method_handler(servicer.GetBlob, pb.GetBlobRequest.FromString),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
