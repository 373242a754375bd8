"""A trainer that subscribes, leaves now and then, comes back when its stream breaks, and notes what came."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import grpc.aio

from rolltrace.v1.trace_pb2 import TRACE_VIEW_METADATA
from rolltrace.v1.trace_service_pb2 import Cursor, SubscribeRequest, SubscribeResponse
from tests.control.conftest import connected
from tests.promises import Connection

BROKEN_OFF = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)
"""How a stream ends when the service does, in whatever moment; all else is an error of the service."""


class Trainer:
    """`connections` are its streams, one after the other; `seen` when each trace came (monotonic), of those
    that were committed while a stream was there."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._chance = random.Random(port)
        self._task: asyncio.Task[None]
        self.connections: list[Connection] = []
        self.seen: dict[str, float] = {}

    @property
    def cursor(self) -> int:
        return self.connections[-1].cursor if self.connections else 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Raises what the trainer found wrong, if it did."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._stream()
            except grpc.aio.AioRpcError as error:
                if error.code() not in BROKEN_OFF:
                    raise
                await asyncio.sleep(0.02)

    async def _stream(self) -> None:
        connection, head, most = Connection(), 0, self._chance.randint(50, 500)
        async with connected(self._port) as control:
            call = control.traces.Subscribe(self._request())
            async for response in call:
                connection.see(response)
                if response.HasField("header"):
                    self.connections.append(connection)
                    head = response.header.head_sequence
                self._note(response, head)
                if len(connection.events) > most:
                    call.cancel()
                    return

    def _request(self) -> SubscribeRequest:
        request = SubscribeRequest(view=TRACE_VIEW_METADATA)
        if self.connections:
            request.after.CopyFrom(Cursor(epoch=self.connections[-1].epoch, sequence=self.cursor))
        return request

    def _note(self, response: SubscribeResponse, head: int) -> None:
        now = time.monotonic()
        for event in response.batch.events:
            if event.sequence > head and event.HasField("trace"):
                self.seen[event.trace.trace_id] = now


@asynccontextmanager
async def subscribed(port: int) -> AsyncGenerator[Trainer]:
    """A trainer that runs until the block ends."""
    trainer = Trainer(port)
    trainer.start()
    try:
        yield trainer
    finally:
        await trainer.stop()
