"""Expanding COMPACT traces as they come: which bases and blobs to keep, which to ask for. Pure.

A trace is written against an earlier one of its session, which the caller has mostly just seen; its images
are those of the turn before, or of another session of its group. What was used last is kept, up to a number
of bytes. A base that is not there is fetched without a base of its own, once: after it the chain goes on by
itself. One Bases belongs to one iterator, so it needs no lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Generic, TypeVar

from rolltrace import compact
from rolltrace.compact import Bare
from rolltrace.v1 import trace_pb2

from .compression import decompress

K = TypeVar("K")
V = TypeVar("V")


class Bases:
    """Traces and blobs seen last, `limit` bytes of each at most, but always the last one."""

    def __init__(self, limit: int) -> None:
        self._traces: _Kept[str, Bare] = _Kept(limit)
        self._blobs: _Kept[bytes, bytes] = _Kept(limit)

    def missing(self, trace: trace_pb2.Trace) -> str:
        """The id of the trace that must be added before `trace` can be expanded; "" for none."""
        base = trace.compact.base_trace_id
        return "" if base in self._traces else base

    def add(self, trace: trace_pb2.Trace) -> None:
        """Takes a trace in the STANDALONE view."""
        self._expand(trace, None)

    def expand(self, trace: trace_pb2.Trace) -> Bare:
        """`trace` without the blobs of its bodies. It must not be changed."""
        if not trace.HasField("compact"):
            return Bare(trace)
        base = self._traces.get(trace.compact.base_trace_id)
        return self._expand(trace, None if base is None else base.trace)

    def blob(self, digest: bytes) -> bytes | None:
        """None when it must be fetched."""
        return self._blobs.get(digest)

    def whole(self, bare: Bare, blobs: Mapping[bytes, bytes]) -> trace_pb2.Trace:
        """The FULL trace, given all blobs that it lacks."""
        for digest, data in blobs.items():
            self._blobs.put(digest, data, len(data))
        return compact.whole(bare, blobs.__getitem__) if blobs else bare.trace

    def _expand(self, trace: trace_pb2.Trace, base: trace_pb2.Trace | None) -> Bare:
        bare = compact.expand(trace, base, decompress)
        self._traces.put(trace.trace_id, bare, _weight(bare.trace))
        return bare


class _Kept(Generic[K, V]):
    """What was used last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._items

    def get(self, key: K) -> V | None:
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        self._size += size - self._items.pop(key, (value, 0))[1]
        self._items[key] = value, size
        while self._size > self._limit and len(self._items) > 1:
            self._size -= self._items.popitem(last=False)[1][1]


def _weight(trace: trace_pb2.Trace) -> int:
    """The bytes of what makes a trace heavy."""
    completions = sum(len(c.token_ids) + len(c.logprobs) + len(c.message_json) for c in trace.completions)
    return (
        1024 + len(trace.prompt_token_ids) + len(trace.request_json) + len(trace.response_json) + completions
    )
