"""A stored trace in the form that a caller asks for."""

from __future__ import annotations

from typing import NoReturn, cast

import pytest
import zstandard

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_control.forms import trace_form
from rolltrace_store import CorruptError, InvalidArgumentError, ReadView

PAYLOAD = pb.CompactPayload(request_rest=b"{}" * 100).SerializeToString()


class NoView:
    """A view that must not be asked."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"{name} was asked for")


VIEW = cast(ReadView, NoView())


def stored(compression: pb.Compression.ValueType, body: bytes) -> bytes:
    compact = pb.CompactBody(base_trace_id="base", compression=compression, body=body)
    return pb.Trace(trace_id="t", model="m", compact=compact).SerializeToString()


ZSTD = stored(pb.COMPRESSION_ZSTD, zstandard.ZstdCompressor().compress(PAYLOAD))
NONE = stored(pb.COMPRESSION_NONE, PAYLOAD)


def test_compact_passes_the_stored_bytes_to_whoever_takes_zstd() -> None:
    form = trace_form(pb.TRACE_VIEW_COMPACT, [pb.COMPRESSION_ZSTD])
    assert form.of(VIEW, ZSTD) is ZSTD
    assert form.of(VIEW, NONE) is NONE


@pytest.mark.parametrize("accept", [[], [pb.COMPRESSION_NONE]])
def test_compact_is_decompressed_for_the_others(accept: list[pb.Compression.ValueType]) -> None:
    form = trace_form(pb.TRACE_VIEW_COMPACT, accept)
    assert form.of(VIEW, ZSTD) == NONE
    assert form.of(VIEW, NONE) is NONE


def test_a_frame_that_does_not_tell_its_size_is_decompressed() -> None:
    streamed = zstandard.ZstdCompressor(write_content_size=False).compress(PAYLOAD)
    form = trace_form(pb.TRACE_VIEW_COMPACT, [])
    assert form.of(VIEW, stored(pb.COMPRESSION_ZSTD, streamed)) == NONE


def test_a_body_that_is_no_frame_is_corrupt() -> None:
    form = trace_form(pb.TRACE_VIEW_COMPACT, [])
    with pytest.raises(CorruptError, match="trace t"):
        form.of(VIEW, stored(pb.COMPRESSION_ZSTD, b"garbage"))


def test_metadata_leaves_the_compact_body_out() -> None:
    form = trace_form(pb.TRACE_VIEW_METADATA, [])
    assert pb.Trace.FromString(form.of(VIEW, ZSTD)) == pb.Trace(trace_id="t", model="m")


def test_a_view_that_is_not_known_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        trace_form(9, [])  # type: ignore[arg-type]  # on purpose
    assert raised.value.field == "view"
