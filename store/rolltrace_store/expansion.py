"""Expands stored traces along their chains of bases.

Rules: chains are walked in a loop, since they may be longer than the stack is deep. Expanded traces are
kept in a cache and never change, so what is handed out is a copy. One field of a stored trace may change,
replay_count, so that one is taken from the trace that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from rolltrace import compact
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store.cache import ByteCache
from rolltrace_store.delta import decompress
from rolltrace_store.errors import CorruptError

Lookup = Callable[[str], bytes | None]


class Expander:
    """Expands traces; one for a store, in any thread."""

    def __init__(self, cache_bytes: int) -> None:
        self._cache: ByteCache[str, Trace] = ByteCache(cache_bytes)

    def expand(self, trace: Trace, lookup: Lookup) -> Trace:
        """The FULL form of `trace`. `lookup` gives serialised COMPACT traces by trace_id.

        Raises CorruptError when a base is missing or does not fit. A trace without a compact body is
        FULL already.
        """
        if not trace.HasField("compact"):
            return trace
        base, chain = self._chain(trace, lookup)
        for link in chain:
            base = self._expand_one(link, base)
        copy = Trace()
        if base is not None:
            copy.CopyFrom(base)
        copy.replay_count = trace.replay_count
        return copy

    def _chain(self, trace: Trace, lookup: Lookup) -> tuple[Trace | None, list[Trace]]:
        """The nearest expanded trace, and those that lead from it to `trace`, in the order of expansion."""
        chain: list[Trace] = []
        link = trace
        while (full := self._cache.get(link.trace_id)) is None:
            chain.append(link)
            base_id = link.compact.base_trace_id
            if not base_id:
                break
            body = lookup(base_id)
            if body is None:
                raise CorruptError(f"trace {link.trace_id} rests on trace {base_id}, which is not there")
            link = Trace.FromString(body)
            if link.sequence >= chain[-1].sequence:
                raise CorruptError(f"trace {chain[-1].trace_id} rests on trace {base_id}, which is later")
        chain.reverse()
        return full, chain

    def _expand_one(self, trace: Trace, base: Trace | None) -> Trace:
        try:
            full = compact.expand(trace, base, decompress)
        except compact.ExpandError as error:
            raise CorruptError(str(error)) from error
        self._cache.put(full.trace_id, full, full.ByteSize())
        return full
