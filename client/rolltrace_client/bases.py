"""Expanding COMPACT traces as they come: which bases to keep, which to ask for. Pure.

A trace is written against an earlier one of its session, which the caller has mostly just seen; the
ones seen last are kept, up to a number of bytes. A base that is not there is fetched whole, once: after
it the chain goes on by itself. One Bases belongs to one iterator, so it needs no lock.
"""

from __future__ import annotations

from collections import OrderedDict

from rolltrace import compact
from rolltrace.v1 import trace_pb2

from .compression import decompress


class Bases:
    """The FULL traces seen last, `limit` bytes of them at most, but always the last one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._traces: OrderedDict[str, trace_pb2.Trace] = OrderedDict()

    def missing(self, trace: trace_pb2.Trace) -> str:
        """The id of the trace that must be added before `trace` can be expanded; "" for none."""
        base = trace.compact.base_trace_id
        return "" if base in self._traces else base

    def add(self, trace: trace_pb2.Trace) -> None:
        """Takes a FULL trace; it must not be changed afterwards."""
        self._drop(trace.trace_id)
        self._traces[trace.trace_id] = trace
        self._size += _weight(trace)
        while self._size > self._limit and len(self._traces) > 1:
            self._drop(next(iter(self._traces)))

    def expand(self, trace: trace_pb2.Trace) -> trace_pb2.Trace:
        """The FULL form of `trace`. One that is not COMPACT is returned as it is."""
        if not trace.HasField("compact"):
            return trace
        base = self._traces.get(trace.compact.base_trace_id)
        if base is not None:
            self._traces.move_to_end(base.trace_id)
        full = compact.expand(trace, base, decompress)
        self.add(full)
        return full

    def _drop(self, trace_id: str) -> None:
        dropped = self._traces.pop(trace_id, None)
        if dropped is not None:
            self._size -= _weight(dropped)


def _weight(trace: trace_pb2.Trace) -> int:
    """The bytes of what makes a trace heavy."""
    completions = sum(len(c.token_ids) + len(c.logprobs) + len(c.message_json) for c in trace.completions)
    return (
        1024 + len(trace.prompt_token_ids) + len(trace.request_json) + len(trace.response_json) + completions
    )
