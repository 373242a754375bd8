"""Subscribe: where it starts, what it sends, what it refuses."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import grpc
import pytest
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1 import trace_pb2
from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace.v1.gateway_service_pb2 import GetStatusRequest
from rolltrace.v1.session_service_pb2 import SealSessionRequest
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_control import pace
from rolltrace_control.server import serve
from rolltrace_store import Store
from tests import promises
from tests.control.conftest import SETTINGS, Control, connected, controlling
from tests.control.details import Failed, failure
from tests.control.subscriber import PATIENCE, after, follow, head, reaches, responses, truth
from tests.promises import Connection
from tests.store import samples


async def first(control: Control, request: pb.SubscribeRequest) -> pb.SubscribeHeader:
    connection = control.traces.Subscribe(request)
    try:
        response = await connection.read()
        assert isinstance(response, pb.SubscribeResponse)
        return response.header
    finally:
        connection.cancel()


async def refusal(control: Control, request: pb.SubscribeRequest) -> Failed:
    return await failure(control.traces.Subscribe(request).read())


@pytest.fixture(autouse=True)
def never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """No progress message hides that a commit did not wake a stream, or that a move was not told."""
    monkeypatch.setattr(pace, "IDLE_DELAY", 3600.0)
    monkeypatch.setattr(pace, "MOVED_DELAY", 0.01)


async def test_the_header_tells_where_the_log_stands_and_the_stream_starts(
    control: Control, store: Store
) -> None:
    epoch = (await store.read(lambda view: view.log_state())).epoch
    cursor = pb.Cursor(epoch=epoch)
    empty = pb.SubscribeHeader(epoch=epoch, earliest_sequence=1, head_sequence=0, cursor=cursor)
    assert await first(control, pb.SubscribeRequest()) == empty
    for _ in range(3):
        await store.append_trace(samples.trace())
    for request, start in (
        (pb.SubscribeRequest(), 0),
        (pb.SubscribeRequest(position=pb.START_POSITION_UNSPECIFIED), 0),
        (pb.SubscribeRequest(position=pb.START_POSITION_EARLIEST), 0),
        (pb.SubscribeRequest(position=pb.START_POSITION_LATEST), 3),
        (pb.SubscribeRequest(after=pb.Cursor(epoch=epoch, sequence=2)), 2),
        (pb.SubscribeRequest(after=pb.Cursor(sequence=3)), 3),
    ):
        cursor = pb.Cursor(epoch=epoch, sequence=start)
        header = pb.SubscribeHeader(epoch=epoch, earliest_sequence=1, head_sequence=3, cursor=cursor)
        assert await first(control, request) == header


async def test_what_was_committed_comes_and_then_what_is(control: Control, store: Store) -> None:
    await store.append_trace(samples.trace("a"))
    async with asyncio.timeout(PATIENCE), aclosing(responses(control, pb.SubscribeRequest())) as stream:
        assert (await anext(stream)).HasField("header")
        old = await anext(stream)
        assert [event.trace.session_id for event in old.batch.events] == ["a"]
        assert old.batch.cursor.sequence == 1
        await store.append_trace(samples.trace("b"))
        new = await anext(stream)
        assert [event.trace.session_id for event in new.batch.events] == ["b"]


async def test_every_kind_of_event_comes_whole(control: Control, store: Store) -> None:
    trace = samples.trace("s")
    await store.append_trace(trace)
    await store.write(lambda view: view.put_worker(Worker(worker_id="w", url="http://w", api_key="secret")))
    await store.write(lambda view: view.delete_session("s"))
    trace.session_id = "t"
    await store.append_trace(trace)
    sealed = (await control.sessions.SealSession(SealSessionRequest(session_id="t"))).session
    seen = await follow(control, reaches(5))
    kinds = ["worker_changed", "session_deleted", "trace", "session_sealed"]
    assert [e.WhichOneof("event") for e in seen.events] == kinds
    assert [e.sequence for e in seen.events] == [2, 3, 4, 5]
    assert seen.events[0].worker_changed.worker == Worker(worker_id="w", url="http://w")
    assert seen.events[1].session_deleted.deleted_trace_count == 1
    assert seen.events[2].trace.request_json == trace.request_json
    assert seen.events[2].trace.completions == trace.completions
    assert seen.events[3].session_sealed.session.digest == sealed.digest != ""
    promises.check([seen], await truth(store))


async def test_views_apply_to_traces(control: Control, store: Store) -> None:
    await store.append_trace(samples.trace("s"))
    compact = pb.SubscribeRequest(
        view=trace_pb2.TRACE_VIEW_COMPACT, accept_compressions=[trace_pb2.COMPRESSION_ZSTD]
    )
    (record,) = await truth(store)
    seen = await follow(control, reaches(1), compact)
    assert seen.events[0].trace == trace_pb2.Trace.FromString(record.body)
    seen = await follow(control, reaches(1), pb.SubscribeRequest(view=trace_pb2.TRACE_VIEW_METADATA))
    assert not seen.events[0].trace.HasField("compact")
    assert not seen.events[0].trace.prompt_token_ids


async def mixed(store: Store) -> None:
    for session_id, label, status in (
        ("a", "1", trace_pb2.CALL_STATUS_COMPLETED),
        ("b", "1", trace_pb2.CALL_STATUS_REFUSED),
        ("a", "2", trace_pb2.CALL_STATUS_UPSTREAM_ERROR),
        ("c", "1", trace_pb2.CALL_STATUS_COMPLETED),
    ):
        trace = samples.trace(session_id, status=status)
        trace.labels["x"] = label
        await store.append_trace(trace)
    await store.write(lambda view: view.put_worker(Worker(worker_id="w")))
    await store.write(lambda view: view.delete_session("c"))
    await store.write(lambda view: view.put_worker(Worker(worker_id="w2")))


KINDS = [event.EVENT_KIND_SESSION_DELETED, event.EVENT_KIND_TRACE]


@pytest.mark.parametrize(
    ("wanted", "sequences"),
    [
        (pb.EventFilter(), [1, 2, 3, 5, 6, 7]),
        (pb.EventFilter(kinds=KINDS), [1, 2, 3, 6]),
        (pb.EventFilter(kinds=[event.EVENT_KIND_POLICY_CHANGED]), []),
        (pb.EventFilter(session_ids=["a"]), [1, 3, 5, 7]),
        (pb.EventFilter(session_ids=["a", "c"], kinds=KINDS), [1, 3, 6]),
        (pb.EventFilter(labels={"x": "1"}), [1, 2, 5, 6, 7]),
        (pb.EventFilter(labels={"x": "1", "y": "1"}), [5, 6, 7]),
        (pb.EventFilter(statuses=[trace_pb2.CALL_STATUS_COMPLETED]), [1, 5, 6, 7]),
        (pb.EventFilter(session_ids=["a"], labels={"x": "2"}, kinds=KINDS), [3]),
    ],
)
async def test_a_filter_takes_these_and_the_cursor_moves_past_the_rest(
    control: Control, store: Store, wanted: pb.EventFilter, sequences: list[int]
) -> None:
    await mixed(store)
    seen = await follow(control, reaches(7), pb.SubscribeRequest(filter=wanted))
    assert [event.sequence for event in seen.events] == sequences


async def test_an_idle_stream_says_so_with_its_cursor_unmoved(
    control: Control, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "IDLE_DELAY", 0.05)
    await store.append_trace(samples.trace())
    seen = await follow(control, lambda connection: connection.cursors == [1, 1, 1])
    assert len(seen.events) == 1


@pytest.mark.parametrize(
    "wanted",
    [
        pb.EventFilter(kinds=[event.EVENT_KIND_UNSPECIFIED]),
        pb.EventFilter(kinds=[99]),  # type: ignore[list-item]  # on purpose
        pb.EventFilter(statuses=[trace_pb2.CALL_STATUS_UNSPECIFIED]),
    ],
)
async def test_a_filter_that_is_not_known_is_refused(control: Control, wanted: pb.EventFilter) -> None:
    failed = await refusal(control, pb.SubscribeRequest(filter=wanted))
    assert failed.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failed.field in ("filter.kinds", "filter.statuses")


async def test_other_requests_that_are_refused(control: Control) -> None:
    for request, field in (
        (pb.SubscribeRequest(view=9), "view"),  # type: ignore[arg-type]  # on purpose
        (pb.SubscribeRequest(position=9), "position"),  # type: ignore[arg-type]  # on purpose
    ):
        failed = await refusal(control, request)
        assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_cursor_of_another_log_is_refused(control: Control, store: Store) -> None:
    await store.append_trace(samples.trace())
    log = await store.read(lambda view: view.log_state())
    place = {"epoch": log.epoch, "earliest_sequence": "1", "head_sequence": "1"}
    for cursor, code, reason in (
        (pb.Cursor(epoch="x", sequence=1), grpc.StatusCode.FAILED_PRECONDITION, "CURSOR_EPOCH"),
        (pb.Cursor(epoch=log.epoch, sequence=2), grpc.StatusCode.OUT_OF_RANGE, "CURSOR_AHEAD"),
        (pb.Cursor(sequence=1 << 63), grpc.StatusCode.OUT_OF_RANGE, "CURSOR_AHEAD"),
    ):
        failed = await refusal(control, pb.SubscribeRequest(after=cursor))
        info = failed.detail(rpc.ErrorInfo)
        assert (failed.code, info.reason, info.domain) == (code, reason, "rolltrace.v1")
        assert dict(info.metadata) == place


async def test_a_gap_that_deletes_left_is_no_error(control: Control, store: Store) -> None:
    for _ in range(3):
        await store.append_trace(samples.trace("s"))
    seen = await follow(control, reaches(1))
    cut = Connection(seen.epoch, 0, seen.events[:1], [1])
    await store.write(lambda view: view.delete_session("s"))
    again = await follow(control, reaches(4), after(cut))
    assert [event.sequence for event in again.events] == [4]
    promises.check([cut, again], await truth(store))
    assert (await first(control, pb.SubscribeRequest())).cursor.sequence == 3


async def test_a_batch_stays_under_a_mebibyte_where_a_single_event_allows(
    control: Control, store: Store
) -> None:
    for size in (300_000, 300_000, 600_000, 2_000_000, 10, 10):
        trace = samples.trace()
        trace.response_json = b"x" * size
        await store.append_trace(trace)
    batches: list[pb.SubscribeResponse] = []
    async with aclosing(responses(control, pb.SubscribeRequest())) as stream:
        async for response in stream:
            if response.HasField("batch"):
                batches.append(response)
                if response.batch.cursor.sequence == 6:
                    break
    assert [len(response.batch.events) for response in batches] == [2, 1, 1, 2]
    assert all(response.ByteSize() < 1 << 20 for response in batches if len(response.batch.events) > 1)


async def test_a_stream_that_is_cancelled_is_forgotten(control: Control) -> None:
    async def count() -> int:
        return (await control.gateway.GetStatus(GetStatusRequest())).subscriber_count

    calls = [control.traces.Subscribe(pb.SubscribeRequest()) for _ in range(3)]
    for call in calls:
        await call.read()
    assert await count() == 3
    for call in calls:
        call.cancel()
    async with asyncio.timeout(10):
        while await count():
            await asyncio.sleep(0.01)


async def test_a_drain_ends_streams_after_a_last_progress(store: Store) -> None:
    await store.append_trace(samples.trace())
    seen = Connection()
    async with AsyncExitStack() as later:
        async with serve(SETTINGS, store) as port:
            control = await later.enter_async_context(connected(port))
            call = control.traces.Subscribe(pb.SubscribeRequest())
            while seen.cursor < 1:
                seen.see(await read(call.read()))
        seen.see(await read(call.read()))
        failed = await failure(call.read())
    assert seen.cursors == [1, 1]
    assert failed.code == grpc.StatusCode.UNAVAILABLE
    assert failed.detail(rpc.RetryInfo).retry_delay.ToTimedelta().total_seconds() > 0
    await store.append_trace(samples.trace())
    async with controlling(store) as control:
        again = await follow(control, reaches(await head(store)), after(seen))
    promises.check([seen, again], await truth(store))


async def read(response: object) -> pb.SubscribeResponse:
    found = await response  # type: ignore[misc]  # a read of a stub's stream
    assert isinstance(found, pb.SubscribeResponse)
    return found
