"""Subscribers that come, go and stall, and the committed truth that they are held against in the end.

The truth is read from the store itself, beside the service, every second: the log forgets what retention
and deletions take away, and this does not. Traces are kept by their ids and places alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import grpc
import grpc.aio
from tests.promises import Broken, Connection, check

from rolltrace.v1.event_pb2 import (
    EVENT_KIND_SESSION_DELETED,
    EVENT_KIND_TRACE,
    Event,
    SessionDeleted,
)
from rolltrace.v1.trace_pb2 import TRACE_VIEW_COMPACT, TRACE_VIEW_METADATA, Trace
from rolltrace.v1.trace_service_pb2 import START_POSITION_EARLIEST, START_POSITION_LATEST, SubscribeRequest
from rolltrace.v1.trace_service_pb2_grpc import TraceServiceStub
from rolltrace_store import Record, Store
from rolltrace_store.interface import ReadView

AT_ONCE = 1000


@dataclass
class Truth:
    """Every event that was committed, but for traces of sessions that went within a second."""

    store: Store
    records: list[Record] = field(default_factory=list[Record])
    deleted: dict[str, int] = field(default_factory=dict[str, int])
    """The sequence of each session's last deletion."""

    async def follow(self) -> None:
        while True:
            await self.read()
            await asyncio.sleep(1.0)

    async def read(self) -> None:
        """Takes in what is new."""
        while self._take(await self.store.read(self._new)):
            pass

    def _new(self, view: ReadView) -> list[Record]:
        return list(islice(view.events(self.head), AT_ONCE))

    @property
    def head(self) -> int:
        return self.records[-1].sequence if self.records else 0

    def _take(self, records: list[Record]) -> bool:
        for record in records:
            if record.kind == EVENT_KIND_TRACE:
                body = _slim(Trace.FromString(record.body)).SerializeToString()
                self.records.append(Record(record.sequence, record.kind, body))
            else:
                self.records.append(record)
            if record.kind == EVENT_KIND_SESSION_DELETED:
                self.deleted[SessionDeleted.FromString(record.body).session_id] = record.sequence
        return len(records) == AT_ONCE

    def standing(self) -> list[Record]:
        """Without the traces of sessions that were deleted later: nobody is promised those."""
        return [record for record in self.records if not self._went(record)]

    def _went(self, record: Record) -> bool:
        if record.kind != EVENT_KIND_TRACE:
            return False
        session_id = Trace.FromString(record.body).session_id
        return self.deleted.get(session_id, 0) > record.sequence


@dataclass
class Subscriber:
    """One subscriber's streams, one after the other, each from where the one before stopped."""

    target: str
    chance: random.Random
    stalls: bool
    connections: list[Connection] = field(default_factory=list[Connection])
    ends: Counter[str] = field(default_factory=Counter[str])
    """How its streams ended."""
    delays: list[float] = field(default_factory=list[float])
    """Seconds from the end of a call to the hands of a subscriber who is awake and up to date."""

    async def run(self) -> None:
        while True:
            connection = Connection()
            try:
                async with (
                    asyncio.timeout(self.chance.uniform(2, 40)),
                    grpc.aio.insecure_channel(self.target) as channel,
                ):
                    await self._listen(channel, connection)
            except (TimeoutError, grpc.aio.AioRpcError) as error:
                said = error.code().name if isinstance(error, grpc.aio.AioRpcError) else "left"
                self.ends[said] += 1
                await asyncio.sleep(self.chance.uniform(0.1, 2))
            finally:
                if connection.start >= 0:
                    self.connections.append(connection)

    async def _listen(self, channel: grpc.aio.Channel, connection: Connection) -> None:
        woken = time.time()
        async for response in TraceServiceStub(channel).Subscribe(self._request()):
            known = len(connection.events)
            connection.see(response)
            now = time.time()
            for event in connection.events[known:]:
                if now - woken > 5.0 and event.HasField("trace"):
                    self.delays.append(now - _ended(event.trace))
            connection.events[known:] = map(_slim_event, connection.events[known:])
            if self.stalls and self.chance.random() < 0.02:
                await asyncio.sleep(self.chance.uniform(1, 10))
                woken = time.time()

    def _request(self) -> SubscribeRequest:
        request = SubscribeRequest(view=self.chance.choice((TRACE_VIEW_METADATA, TRACE_VIEW_COMPACT)))
        if self.connections:
            last = self.connections[-1]
            request.after.epoch, request.after.sequence = last.epoch, last.cursor
        else:
            request.position = self.chance.choice((START_POSITION_EARLIEST, START_POSITION_LATEST))
        return request

    def broken(self, truth: list[Record]) -> str:
        """Which promise was not kept, in words; "" when all were."""
        try:
            check(self.connections, truth)
        except Broken as error:
            return str(error)
        return ""


def _ended(trace: Trace) -> float:
    return (trace.admit_time.ToNanoseconds() + trace.latency.ToNanoseconds()) / 1e9


def _slim(trace: Trace) -> Trace:
    return Trace(trace_id=trace.trace_id, session_id=trace.session_id, sequence=trace.sequence)


def _slim_event(event: Event) -> Event:
    return Event(sequence=event.sequence, trace=_slim(event.trace)) if event.HasField("trace") else event
