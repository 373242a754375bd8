"""A receiver of the log that notes what it sees, so that the promises can be checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress

import grpc.aio

from rolltrace.v1.trace_service_pb2 import Cursor, SubscribeRequest, SubscribeResponse
from rolltrace_store import Record, Store
from tests.control.conftest import Control
from tests.promises import Connection

PATIENCE = 30.0
Stop = Callable[[Connection], bool]


async def responses(control: Control, request: SubscribeRequest) -> AsyncGenerator[SubscribeResponse, None]:
    """The stream; cancelled when the generator is closed."""
    call = control.traces.Subscribe(request)
    try:
        async for response in call:
            yield response
    finally:
        call.cancel()


async def follow(
    control: Control,
    stop: Stop,
    request: SubscribeRequest | None = None,
    noted: Connection | None = None,
) -> Connection:
    """Reads a stream until `stop` says so, after a message, then hangs up."""
    connection = Connection() if noted is None else noted
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(responses(control, request or SubscribeRequest())) as stream,
    ):
        async for response in stream:
            connection.see(response)
            if stop(connection):
                return connection
    raise AssertionError("the stream ended by itself")


async def follow_to_the_end(control: Control, request: SubscribeRequest, noted: Connection) -> None:
    """Reads until the service ends the stream, however it does."""
    with suppress(grpc.aio.AioRpcError):
        await follow(control, lambda _: False, request, noted)


def reaches(sequence: int) -> Stop:
    """Stops once the cursor is there."""
    return lambda connection: connection.cursor >= sequence


def after(connection: Connection, request: SubscribeRequest | None = None) -> SubscribeRequest:
    """The request that goes on where the connection stopped."""
    again = SubscribeRequest()
    if request is not None:
        again.CopyFrom(request)
    again.after.CopyFrom(Cursor(epoch=connection.epoch, sequence=connection.cursor))
    return again


async def truth(store: Store) -> Sequence[Record]:
    return await store.read(lambda view: list(view.events(0)))


async def head(store: Store) -> int:
    return await store.read(lambda view: view.log_state().head)
