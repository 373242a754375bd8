"""GetBlob, and the views of traces with images: whole, as stored, and as stored without a base."""

from __future__ import annotations

from operator import methodcaller

import grpc
import pytest
import zstandard
from google.rpc import error_details_pb2 as rpc  # type: ignore[import-untyped]  # typed, without py.typed

from rolltrace import compact
from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.trace_service_pb2 import (
    GetBlobRequest,
    GetBlobResponse,
    GetTraceRequest,
    ListTracesRequest,
    SubscribeRequest,
)
from rolltrace_control.batches import MAX_BYTES
from rolltrace_store import Store
from tests.control.conftest import Control
from tests.control.details import failure
from tests.control.test_traces import listed, recorded
from tests.store import samples
from tests.store.test_blobs import turns, with_experts
from tests.store.test_cutting import image

MIB = 1 << 20


async def pieces(control: Control, digest: bytes) -> list[bytes]:
    return [answer.data async for answer in control.traces.GetBlob(GetBlobRequest(digest=digest))]


async def all_that_comes(stream: grpc.aio.UnaryStreamCall[GetBlobRequest, GetBlobResponse]) -> None:
    while isinstance(await stream.read(), GetBlobResponse):
        pass


async def made_whole(control: Control, bare: compact.Bare) -> pb.Trace:
    blobs = {digest: b"".join(await pieces(control, digest)) for digest in bare.digests()}
    return compact.whole(bare, blobs.__getitem__)


@pytest.mark.parametrize("size", [0, 1, MIB, 2 * MIB + 1])
async def test_a_blob_comes_in_pieces(control: Control, store: Store, size: int) -> None:
    data = bytes(size)
    trace = with_experts(samples.trace("s"), data)
    digest = trace.completions[0].routed_experts.blob.digest
    await store.append_trace(trace, {digest: data})
    found = await pieces(control, digest)
    assert b"".join(found) == data
    assert [len(piece) for piece in found[:-1]] == [MIB] * (len(found) - 1)


async def test_a_blob_that_is_not_there_is_not_found(control: Control, store: Store) -> None:
    failed = await failure(pieces(control, bytes(32)))
    assert failed.code == grpc.StatusCode.NOT_FOUND
    assert failed.detail(rpc.ResourceInfo).resource_name == bytes(32).hex()
    assert failed.detail(rpc.ResourceInfo).resource_type == "rolltrace.v1.Blob"
    for bad in (b"", bytes(31), bytes(33)):
        failed = await failure(pieces(control, bad))
        assert (failed.code, failed.field) == (grpc.StatusCode.INVALID_ARGUMENT, "digest")


async def test_a_blob_that_goes_while_it_is_read_is_not_cut_short(control: Control, store: Store) -> None:
    data = image(40 * MIB)
    trace = with_experts(samples.trace("s"), data)
    digest = trace.completions[0].routed_experts.blob.digest
    await store.append_trace(trace, {digest: data})
    stream = control.traces.GetBlob(GetBlobRequest(digest=digest))
    assert isinstance(await stream.read(), GetBlobResponse)
    await store.write(methodcaller("delete_session", "s"))
    failed = await failure(all_that_comes(stream))
    assert failed.code == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("zstd", [True, False])
async def test_every_view_gives_the_same_trace(control: Control, store: Store, zstd: bool) -> None:
    full = await recorded(store, turns("s", 4, image(100_000), image(20_000, 1)))
    assert await listed(control, ListTracesRequest(session_id="s")) == full
    accept = [pb.COMPRESSION_ZSTD] if zstd else []
    undo = zstandard.ZstdDecompressor().decompress
    base: pb.Trace | None = None
    request = ListTracesRequest(session_id="s", view=pb.TRACE_VIEW_COMPACT, accept_compressions=accept)
    for trace, whole in zip(await listed(control, request), full, strict=True):
        assert trace.ByteSize() < 8000
        bare = compact.expand(trace, base, undo)
        base = bare.trace
        assert await made_whole(control, bare) == whole
    for whole in full:
        alone = GetTraceRequest(
            trace_id=whole.trace_id, view=pb.TRACE_VIEW_STANDALONE, accept_compressions=accept
        )
        trace = (await control.traces.GetTrace(alone)).trace
        assert trace.compact.base_trace_id == ""
        assert (trace.compact.compression == pb.COMPRESSION_ZSTD) <= zstd
        assert await made_whole(control, compact.expand(trace, None, undo)) == whole


async def test_a_full_stream_keeps_its_batches_small(control: Control, store: Store) -> None:
    full = await recorded(store, turns("s", 6, image(200_000)))
    found: list[pb.Trace] = []
    stream = control.traces.Subscribe(SubscribeRequest())
    async for answer in stream:
        assert answer.ByteSize() < MAX_BYTES + 10_000
        found += [event.trace for event in answer.batch.events]
        if len(found) == len(full):
            break
    stream.cancel()
    assert found == full
