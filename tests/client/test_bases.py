"""Which bases are kept to expand compact traces, and within how many bytes."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import zstandard

from rolltrace.v1 import trace_pb2
from rolltrace_client import compression
from rolltrace_client.bases import Bases

from .canned_state import State


def compacted(count: int) -> tuple[list[trace_pb2.Trace], list[trace_pb2.Trace]]:
    state = State()
    made = state.record("s", count)
    return made, [state.view(trace, trace_pb2.TRACE_VIEW_COMPACT) for trace in made]


def expanded(bases: Bases, traces: list[trace_pb2.Trace]) -> list[trace_pb2.Trace]:
    return [bases.whole(bases.expand(trace), {}) for trace in traces]


def test_a_chain_expands_by_itself() -> None:
    whole, compact = compacted(5)
    bases = Bases(1 << 20)
    assert bases.missing(compact[1]) == "t-0"
    assert expanded(bases, compact) == whole


def test_the_oldest_bases_are_dropped_but_never_the_last() -> None:
    whole, compact = compacted(5)
    bases = Bases(0)
    assert expanded(bases, compact) == whole
    assert bases.missing(compact[4]) == "t-3"
    bases = Bases(10_000)
    expanded(bases, compact[:3])
    assert bases.missing(compact[1]) == ""


def test_a_base_in_use_outlives_others() -> None:
    state = State()
    made = state.record("s", 4)
    alone = [state.view(trace, trace_pb2.TRACE_VIEW_STANDALONE) for trace in made]
    bases = Bases(2 * 1200)
    bases.add(alone[0])
    bases.add(alone[3])
    bases.expand(state.view(made[1], trace_pb2.TRACE_VIEW_COMPACT))  # uses t-0, so t-3 is the oldest now
    assert bases.missing(state.view(made[1], trace_pb2.TRACE_VIEW_COMPACT)) == ""


def test_blobs_are_put_back_and_the_last_ones_kept() -> None:
    state = State()
    images = [b"one" * 100, b"two" * 100]
    names = [state.keep(image) for image in images]
    made = [trace for image in images for trace in state.record("s", image=image)]
    bases = Bases(len(images[0]))
    for trace, image, name in zip(made, images, names, strict=True):
        bare = bases.expand(state.view(trace, trace_pb2.TRACE_VIEW_COMPACT))
        assert (bare.digests(), image in bare.trace.request_json) == ({name}, False)
        assert bases.blob(name) is None
        assert bases.whole(bare, {name: image}) == trace
        assert bases.blob(name) == image
    assert bases.blob(names[0]) is None


@pytest.fixture(autouse=True)
def _fresh() -> None:
    compression.zstd.cache_clear()


def test_zstandard_is_undone_with_and_without_a_size_in_the_header() -> None:
    undo = compression.zstd()
    assert undo is not None
    data = b"abc" * 1000
    for sized in (True, False):
        compressor = zstandard.ZstdCompressor(write_content_size=sized)
        assert undo(compressor.compress(data)) == data


def test_without_a_module_it_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, name, None)
    assert compression.zstd() is None
    with pytest.raises(RuntimeError, match="pip install zstandard"):
        compression.decompress(b"")


def test_the_standard_librarys_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("compression.zstd")
    module.decompress = bytes.upper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "compression.zstd", module)
    assert compression.decompress(b"a") == b"A"
    compression.zstd.cache_clear()
