"""GetTrace and ListTraces: views, compressions, pages."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence

import grpc
import grpc.aio
import pytest
import zstandard
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed

from rolltrace import compact
from rolltrace.digest import trace_digest
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_service_pb2 import GetTraceRequest, ListTracesRequest, ListTracesResponse
from rolltrace_store import Store
from tests.control.conftest import Control
from tests.control.details import failure
from tests.store import samples

HEAVY = ("prompt_token_ids", "completions", "request_json", "response_json")
PLACED = ("sequence", "call_index", "parent_trace_id")


async def pages(control: Control, request: ListTracesRequest) -> list[ListTracesResponse]:
    found: list[ListTracesResponse] = []
    while not found or found[-1].next_page_token:
        found.append(await control.traces.ListTraces(request))
        request.page_token = found[-1].next_page_token
    return found


async def listed(control: Control, request: ListTracesRequest) -> list[pb.Trace]:
    return [trace for page in await pages(control, request) for trace in page.traces]


async def stored_trace(store: Store, trace_id: str) -> bytes:
    stored = await store.read(lambda view: view.trace(trace_id))
    assert stored is not None
    return stored


async def recorded(store: Store, traces: Sequence[pb.Trace]) -> list[pb.Trace]:
    """Records the traces; returns them FULL, as they are to be read."""
    full: list[pb.Trace] = []
    for trace in traces:
        commit = await store.append_trace(trace)
        stored = await stored_trace(store, trace.trace_id)
        place = pb.Trace(sequence=commit.sequence, call_index=commit.call_index, digest=trace_digest(trace))
        place.parent_trace_id = pb.Trace.FromString(stored).parent_trace_id
        place.MergeFrom(trace)
        full.append(place)
    return full


async def test_full_is_the_default_and_holds_everything(control: Control, store: Store) -> None:
    full = await recorded(store, samples.conversation("s", 5))
    assert await listed(control, ListTracesRequest(session_id="s")) == full
    for view in (pb.TRACE_VIEW_UNSPECIFIED, pb.TRACE_VIEW_FULL):
        got = await control.traces.GetTrace(GetTraceRequest(trace_id=full[3].trace_id, view=view))
        assert got.trace == full[3]


async def test_metadata_is_all_but_the_arrays_and_bodies(control: Control, store: Store) -> None:
    full = await recorded(store, samples.conversation("s", 2))
    for trace in full:
        for field in HEAVY:
            trace.ClearField(field)  # type: ignore[arg-type]  # HEAVY holds names of fields
    view = pb.TRACE_VIEW_METADATA
    assert await listed(control, ListTracesRequest(session_id="s", view=view)) == full
    got = await control.traces.GetTrace(GetTraceRequest(trace_id=full[1].trace_id, view=view))
    assert got.trace == full[1]


def expanded(traces: Sequence[pb.Trace]) -> list[pb.Trace]:
    """Compact traces, of one session from its first on, as a client expands them."""
    full: dict[str, pb.Trace] = {}
    for trace in traces:
        base = full.get(trace.compact.base_trace_id)
        full[trace.trace_id] = compact.expand(trace, base, zstandard.ZstdDecompressor().decompress).trace
    return list(full.values())


@pytest.mark.parametrize("zstd", [True, False])
async def test_compact_expands_to_full(control: Control, store: Store, zstd: bool) -> None:
    full = await recorded(store, long_conversation("s", 5))
    accept = [pb.COMPRESSION_ZSTD] if zstd else []
    request = ListTracesRequest(session_id="s", view=pb.TRACE_VIEW_COMPACT, accept_compressions=accept)
    traces = await listed(control, request)
    found = {trace.compact.compression for trace in traces}
    assert (pb.COMPRESSION_ZSTD in found) == zstd
    assert any(trace.compact.base_trace_id for trace in traces)
    assert not any(trace.prompt_token_ids or trace.request_json for trace in traces)
    assert expanded(traces) == full
    one = GetTraceRequest(trace_id=traces[0].trace_id, view=pb.TRACE_VIEW_COMPACT, accept_compressions=accept)
    assert (await control.traces.GetTrace(one)).trace == traces[0]


def long_conversation(session_id: str, turns: int) -> list[pb.Trace]:
    """A conversation whose bodies are worth compressing."""
    traces = samples.conversation(session_id, turns)
    for number, trace in enumerate(traces):
        trace.request_json = b'{"messages": [' + b'{"role": "user"}, ' * 100 * (number + 1) + b"]}"
    return traces


async def test_stored_bytes_pass_through(control: Control, store: Store) -> None:
    (trace,) = await recorded(store, samples.conversation("s", 1))
    stored = await stored_trace(store, trace.trace_id)
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = control.channel.unary_unary(
        "/rolltrace.v1.TraceService/GetTrace"
    )
    request = GetTraceRequest(
        trace_id=trace.trace_id, view=pb.TRACE_VIEW_COMPACT, accept_compressions=[pb.COMPRESSION_ZSTD]
    )
    answer = await call(request.SerializeToString())
    assert answer.endswith(stored)
    assert len(answer) - len(stored) < 8


async def test_pages_are_in_the_order_of_the_calls(control: Control, store: Store) -> None:
    full = await recorded(store, samples.conversation("s", 5))
    await store.append_trace(samples.trace("s2"))
    got = await pages(control, ListTracesRequest(session_id="s", page_size=2))
    assert [len(page.traces) for page in got] == [2, 2, 1]
    assert [trace for page in got for trace in page.traces] == full


async def test_a_list_does_not_go_on_in_another_session_of_the_same_name(
    control: Control, store: Store
) -> None:
    await recorded(store, samples.conversation("s", 4))
    request = ListTracesRequest(session_id="s", page_size=2)
    request.page_token = (await control.traces.ListTraces(request)).next_page_token
    await store.write(lambda view: view.delete_session("s"))
    await store.write(lambda view: view.create_session(Session(session_id="s")))
    await recorded(store, samples.conversation("s", 4))
    failed = await failure(control.traces.ListTraces(request))
    assert failed.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "begin without one" in failed.message


async def test_a_page_ends_before_a_mebibyte_but_has_one_trace(control: Control, store: Store) -> None:
    traces = [samples.trace("s") for _ in range(5)]
    for trace, size in zip(traces, (300_000, 300_000, 600_000, 2_000_000, 10), strict=True):
        trace.request_json = os.urandom(size)
    await recorded(store, traces)
    got = await pages(control, ListTracesRequest(session_id="s"))
    assert [len(page.traces) for page in got] == [2, 1, 1, 1]


async def test_a_session_without_traces_has_an_empty_page(control: Control, store: Store) -> None:
    await store.write(lambda view: view.create_session(Session(session_id="s")))
    assert await control.traces.ListTraces(ListTracesRequest(session_id="s")) == ListTracesResponse()


async def test_what_is_not_there(control: Control) -> None:
    failed = await failure(control.traces.ListTraces(ListTracesRequest(session_id="s")))
    assert failed.code == grpc.StatusCode.NOT_FOUND
    assert failed.detail(rpc.ResourceInfo).resource_name == "s"
    name = str(uuid.uuid4())
    failed = await failure(control.traces.GetTrace(GetTraceRequest(trace_id=name)))
    assert failed.code == grpc.StatusCode.NOT_FOUND
    assert failed.detail(rpc.ResourceInfo).resource_type == "rolltrace.v1.Trace"
    assert failed.detail(rpc.ResourceInfo).resource_name == name


async def test_what_cannot_be_asked(control: Control, store: Store) -> None:
    await recorded(store, [*samples.conversation("s", 2), samples.trace("t")])
    token = (await control.traces.ListTraces(ListTracesRequest(session_id="s", page_size=1))).next_page_token
    assert token
    for request, field in (
        (ListTracesRequest(session_id="/"), "session_id"),
        (ListTracesRequest(session_id="s", page_size=-1), "page_size"),
        (ListTracesRequest(session_id="s", page_token="1"), "page_token"),
        (ListTracesRequest(session_id="t", page_token=token), "page_token"),
        (ListTracesRequest(session_id="s", view=9), "view"),  # type: ignore[arg-type]  # on purpose
    ):
        failed = await failure(control.traces.ListTraces(request))
        assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    failed = await failure(control.traces.GetTrace(GetTraceRequest(trace_id="t")))
    assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "trace_id")
