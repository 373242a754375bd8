"""Images come back in their bodies, each fetched once; arrays when they are asked for."""

from __future__ import annotations

import sys
from hashlib import sha256

import numpy as np
import pytest

from rolltrace.v1 import trace_pb2
from rolltrace_client import (
    AsyncClient,
    BlobArray,
    Client,
    Completion,
    Cursor,
    InvalidArgument,
    NotFound,
    RolltraceError,
    UnreadableBody,
    arrays,
)
from rolltrace_client.commands.trace_text import page
from rolltrace_client.traces import Trace

from .both import all_of, take
from .canned import Canned
from .canned_state import EPOCH, State

IMAGE = b"iVBORw0KGgo" * 1000


def array_of(state: State, values: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> BlobArray:
    data = values.tobytes()
    blob = trace_pb2.Blob(digest=state.keep(data), size=len(data))
    return BlobArray(trace_pb2.BlobArray(blob=blob, dtype="<i4", shape=values.shape))


async def test_traces_of_a_list_are_whole(client: AsyncClient, state: State) -> None:
    state.keep(IMAGE)
    made = state.record("s", 6, image=IMAGE)
    listed = await all_of(client.list_traces("s", page_size=2))
    assert [trace.proto for trace in listed] == made
    assert listed[0].request == {"messages": [0, IMAGE.decode()]}
    assert (state.calls["GetBlob"], state.calls["GetTrace"]) == (1, 0)


async def test_events_are_whole_also_from_the_middle_of_a_session(client: AsyncClient, state: State) -> None:
    state.keep(IMAGE)
    made = state.record("s", 5, image=IMAGE)
    events = client.subscribe(Cursor(EPOCH, made[1].sequence))
    assert [event.trace.proto for event in await take(events, 3)] == made[2:]
    assert (state.calls["GetBlob"], state.calls["GetTrace"]) == (1, 1)
    await events.close()


async def test_a_trace_whose_image_went_with_its_session_is_left_out(
    client: AsyncClient, state: State
) -> None:
    state.keep(IMAGE)
    made = state.record("s", 2, image=IMAGE)
    after = state.record("t")
    views = [state.view(trace, trace_pb2.TRACE_VIEW_COMPACT) for trace in made]
    assert all(view.compact.body for view in views)
    events = client.subscribe()
    state.gone.add(sha256(IMAGE).digest())
    assert [event.trace.proto for event in await take(events, 1)] == after
    await events.close()


async def test_a_blob_is_read_by_its_digest(client: AsyncClient, state: State) -> None:
    name = state.keep(IMAGE)
    state.keep(b"")
    assert await client.get_blob(name) == await client.get_blob(name.hex()) == IMAGE
    assert await client.get_blob(sha256(b"").digest()) == b""
    state.unavailable = 2
    assert await client.get_blob(name) == IMAGE
    with pytest.raises(NotFound) as missing:
        await client.get_blob(bytes(32))
    assert missing.value.resource == bytes(32).hex()
    for bad in (b"short", "zz", "00"):
        with pytest.raises(InvalidArgument, match="digest"):
            await client.get_blob(bad)
    with pytest.raises(InvalidArgument, match="'zz' is not a SHA-256"):
        await client.get_blob("zz")


async def test_a_blob_with_other_bytes_is_not_taken(client: AsyncClient, state: State) -> None:
    state.blobs[bytes(32)] = IMAGE
    with pytest.raises(RolltraceError, match="other bytes"):
        await client.get_blob(bytes(32))


async def test_an_array_has_its_dtype_and_shape(client: AsyncClient, state: State) -> None:
    values = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    array = array_of(state, values)
    completion = Completion(trace_pb2.Completion(routed_experts=array.proto))
    assert completion.routed_experts == array
    assert (array.shape, array.blob.size) == ([2, 3, 4], values.nbytes)
    found = await client.get_array(array)
    assert (found.dtype, found.tolist()) == (np.dtype("<i4"), values.tolist())
    assert Completion(trace_pb2.Completion()).routed_experts is None


@pytest.mark.parametrize(("dtype", "shape"), [("<i4", [5]), ("no dtype", [24]), ("|O", [12])])
async def test_an_array_that_is_none_is_told(
    client: AsyncClient, state: State, dtype: str, shape: list[int]
) -> None:
    array = array_of(state, np.arange(24, dtype=np.int32))
    array.proto.dtype = dtype
    array.proto.shape[:] = shape
    with pytest.raises(UnreadableBody, match="no array"):
        await client.get_array(array)


def test_without_numpy_an_array_is_its_bytes(
    server: Canned, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    array = array_of(server.state, np.arange(6, dtype=np.int32))
    monkeypatch.setitem(sys.modules, "numpy", None)
    arrays._numpy.cache_clear()  # pyright: ignore[reportPrivateUsage]
    request.addfinalizer(arrays._numpy.cache_clear)  # pyright: ignore[reportPrivateUsage]
    with Client(server.target) as client:
        assert bytes(client.get_array(array)) == np.arange(6, dtype=np.int32).tobytes()


def test_a_page_names_the_experts(state: State) -> None:
    (made,) = state.record("s")
    array = array_of(state, np.arange(24, dtype=np.int32).reshape(2, 12))
    made.completions[0].routed_experts.CopyFrom(array.proto)
    shown = page(Trace(made), whole_prompt=False)
    assert f"routed experts: <i4 [2, 12], blob {array.blob.digest}" in shown
