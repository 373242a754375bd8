"""Expands stored traces along their chains of bases.

Rules: chains are walked in a loop, since they may be longer than the stack is deep. Expanded traces are
kept in a cache and never change, so what is handed out is a copy. They are kept without their blobs, as
later ones are written against them. One field of a stored trace may change, replay_count, so that one is
taken from the trace that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from rolltrace import compact
from rolltrace.compact import Bare
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store.cache import ByteCache
from rolltrace_store.delta import decompress
from rolltrace_store.errors import CorruptError

Lookup = Callable[[str], bytes | None]


class Expander:
    """Expands traces; one for a store, in any thread."""

    def __init__(self, cache_bytes: int) -> None:
        self._cache: ByteCache[str, Bare] = ByteCache(cache_bytes)

    def expand(self, trace: Trace, lookup: Lookup, blob: Callable[[bytes], bytes]) -> Trace:
        """The FULL form of `trace`. `lookup` gives serialised COMPACT traces by trace_id, `blob` blobs by
        digest; it raises CorruptError for one that is not there.

        Raises CorruptError when a base is missing, or it or a blob does not fit. A trace without a compact
        body is FULL already.
        """
        if not trace.HasField("compact"):
            return trace
        try:
            full = compact.whole(self._bare(trace, lookup), blob)
        except compact.ExpandError as error:
            raise CorruptError(f"trace {trace.trace_id} cannot be made whole: {error}") from error
        full.replay_count = trace.replay_count
        return full

    def bare(self, trace: Trace, lookup: Lookup) -> Bare:
        """The same without its blobs. Raises CorruptError."""
        if not trace.HasField("compact"):
            return Bare(trace)
        bare = self._bare(trace, lookup)
        copy = Trace()
        copy.CopyFrom(bare.trace)
        copy.replay_count = trace.replay_count
        return bare._replace(trace=copy)

    def _bare(self, trace: Trace, lookup: Lookup) -> Bare:
        """It is kept: it MUST NOT be changed."""
        known, chain = self._chain(trace, lookup)
        for link in chain:
            known = self._expand_one(link, known)
        assert known is not None  # the chain ends with `trace`, or it was known
        return known

    def _chain(self, trace: Trace, lookup: Lookup) -> tuple[Bare | None, list[Trace]]:
        """The nearest expanded trace, and those that lead from it to `trace`, in the order of expansion."""
        chain: list[Trace] = []
        link = trace
        while (known := self._cache.get(link.trace_id)) is None:
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
        return known, chain

    def _expand_one(self, trace: Trace, base: Bare | None) -> Bare:
        try:
            bare = compact.expand(trace, None if base is None else base.trace, decompress)
        except compact.ExpandError as error:
            raise CorruptError(str(error)) from error
        self._cache.put(trace.trace_id, bare, bare.trace.ByteSize())
        return bare
