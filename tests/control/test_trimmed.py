"""Subscribe on a log whose beginning goes: at the border, under a running stream, under a slow one."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from typing import TypeAlias

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed

from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import Record, Store, WriteView
from tests import promises
from tests.control.conftest import Control
from tests.control.details import failure, read
from tests.control.subscriber import PATIENCE, after, follow, head, reaches, responses, truth
from tests.promises import Connection
from tests.store import samples

COMPACTED = (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_COMPACTED")


def delete(session_id: str, view: WriteView) -> None:
    view.delete_session(session_id)


async def delete_and_trim(store: Store, *session_ids: str) -> int:
    """Deletes sessions and forgets them at once; returns the last sequence that is gone."""

    def work(view: WriteView) -> int:
        for session_id in session_ids:
            delete(session_id, view)
        view.forget(time.time_ns() + 1)
        return view.log_state().compacted

    return await store.write(work)


async def recorded(store: Store, *session_ids: str, size: int = 0) -> None:
    for session_id in session_ids:
        trace = samples.trace(session_id)
        trace.request_json = os.urandom(size)
        await store.append_trace(trace)


async def test_a_cursor_at_the_border_misses_nothing_and_one_before_it_does(
    control: Control, store: Store
) -> None:
    await recorded(store, "a", "b", "kept")
    epoch = (await follow(control, reaches(3))).epoch
    border = await delete_and_trim(store, "a", "b")
    assert border == 0  # what was kept came before the deletions
    border = await delete_and_trim(store, "kept")
    await recorded(store, "new")
    assert (border, await head(store)) == (6, 7)
    at = await follow(control, reaches(7), pb.SubscribeRequest(after=pb.Cursor(epoch=epoch, sequence=border)))
    assert [event.sequence for event in at.events] == [7]
    for sequence in (0, border - 1):
        cursor = pb.Cursor(epoch=epoch, sequence=sequence)
        stream = responses(control, pb.SubscribeRequest(after=cursor))
        failed = await failure(anext(stream))
        info = failed.detail(rpc.ErrorInfo)
        assert (failed.code, info.reason) == COMPACTED
        assert dict(info.metadata) == {"epoch": epoch, "earliest_sequence": "7", "head_sequence": "7"}
    everything = await follow(control, reaches(7))
    assert (everything.start, [event.sequence for event in everything.events]) == (6, [7])
    for connection in (at, everything):
        promises.check([connection], await truth(store))


async def test_an_empty_log_that_was_trimmed(control: Control, store: Store) -> None:
    await recorded(store, "a")
    assert await delete_and_trim(store, "a") == 2
    for request in (
        pb.SubscribeRequest(),
        pb.SubscribeRequest(after=pb.Cursor(sequence=2)),
        pb.SubscribeRequest(position=pb.START_POSITION_LATEST),
    ):
        stream = responses(control, request)
        header = (await anext(stream)).header
        assert (header.earliest_sequence, header.head_sequence, header.cursor.sequence) == (3, 2, 2)
        await stream.aclose()


async def caught_up(connection: Connection, store: Store) -> None:
    while connection.cursor < await head(store):
        await asyncio.sleep(0.01)


async def test_a_stream_goes_on_while_the_log_is_trimmed_behind_it(control: Control, store: Store) -> None:
    committed: dict[int, Record] = {}
    connection = Connection()
    reader = asyncio.create_task(follow(control, reaches(30), noted=connection))
    for number in range(10):
        await recorded(store, f"s-{number}")
        await store.write(lambda view: view.put_worker(Worker(worker_id="w", url="http://w")))
        await caught_up(connection, store)
        await store.write(partial(delete, f"s-{number}"))
        committed |= {record.sequence: record for record in await truth(store)}
        await caught_up(connection, store)
        assert await delete_and_trim(store) == await head(store)
    seen = await reader
    again = await follow(control, lambda again: again.start >= 0, after(seen))
    promises.check([seen, again], [committed[sequence] for sequence in sorted(committed)])


Stream: TypeAlias = "grpc.aio.UnaryStreamCall[pb.SubscribeRequest, pb.SubscribeResponse]"


async def see_next(stream: Stream, connection: Connection) -> None:
    response = await stream.read()
    assert isinstance(response, pb.SubscribeResponse)
    connection.see(response)


async def read_on(stream: Stream, connection: Connection) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            await see_next(stream, connection)


async def test_a_stream_that_is_too_slow_is_told_and_not_led_over_a_hole(
    control: Control, store: Store
) -> None:
    stream = control.traces.Subscribe(pb.SubscribeRequest())
    connection = Connection()
    await see_next(stream, connection)
    names = [f"s-{number}" for number in range(24)]
    await recorded(store, *names, size=800 << 10)
    await delete_and_trim(store, *names)
    border = await head(store)
    await recorded(store, "new")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await read_on(stream, connection)
    failed = read(raised.value)
    assert (failed.code, failed.detail(rpc.ErrorInfo).reason) == COMPACTED
    assert connection.cursor < border
    assert [event.sequence for event in connection.events] == list(range(1, connection.cursor + 1))
    again = await follow(control, reaches(border + 1))
    assert [event.sequence for event in again.events] == [border + 1]
