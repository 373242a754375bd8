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


def test_a_chain_expands_by_itself() -> None:
    whole, compact = compacted(5)
    bases = Bases(1 << 20)
    assert bases.missing(compact[1]) == "t-0"
    assert [bases.expand(trace) for trace in compact] == whole


def test_the_oldest_bases_are_dropped_but_never_the_last() -> None:
    whole, compact = compacted(5)
    bases = Bases(0)
    assert [bases.expand(trace) for trace in compact] == whole
    assert bases.missing(compact[4]) == "t-3"
    bases = Bases(10_000)
    for trace in compact[:3]:
        bases.expand(trace)
    assert bases.missing(compact[1]) == ""


def test_a_base_in_use_outlives_others() -> None:
    whole, compact = compacted(4)
    bases = Bases(2 * 1200)
    bases.add(whole[0])
    bases.add(whole[3])
    bases.expand(compact[1])  # uses t-0, so t-3 is the oldest now
    assert bases.missing(compact[1]) == ""


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
