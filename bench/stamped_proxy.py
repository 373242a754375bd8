"""A proxy that tells when each trace was committed: `rolltrace-proxy` with a clock at its store.

Takes the proxy's settings. After SIGTERM it prints "TRACE_ID NANOSECONDS" for each trace, by the machine's
monotonic clock. The clock is read where the store rings for a commit that has just ended, and not where the
proxy hears of it, which under load is later: a subscriber may know before. When several commits
ended meanwhile, the first is taken, so that no delivery looks faster than it was.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from dataclasses import dataclass, field

from rolltrace.v1 import trace_pb2
from rolltrace_proxy import __main__ as proxy
from rolltrace_store import Commit, Store, StoreOptions, open_store
from rolltrace_store.cutting import NO_BLOBS, Blobs
from rolltrace_store.doorbell import Ringer


@dataclass
class Times:
    """In nanoseconds."""

    rings: list[int] = field(default_factory=list[int])
    committed: dict[str, int] = field(default_factory=dict[str, int])


class Stamped:
    """A store that keeps the times of its commits."""

    def __init__(self, store: Store, times: Times) -> None:
        self._store = store
        self._times = times

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append_trace(self, trace: trace_pb2.Trace, blobs: Blobs = NO_BLOBS) -> Commit:
        begun = time.monotonic_ns()
        commit = await self._store.append_trace(trace, blobs)
        rings = self._times.rings
        self._times.committed[trace.trace_id] = rings[bisect_left(rings, begun)]
        return commit


def main() -> None:
    times, ring = Times(), Ringer.ring

    def stamped_ring(ringer: Ringer) -> None:
        times.rings.append(time.monotonic_ns())
        ring(ringer)

    def stamped_store(path: str, options: StoreOptions, *, proxy: bool) -> Stamped:
        return Stamped(open_store(path, options, proxy=proxy), times)

    for owner, name, stamped in ((Ringer, "ring", stamped_ring), (proxy, "open_store", stamped_store)):
        setattr(owner, name, stamped)
    proxy.main()
    sys.stdout.writelines(f"{trace_id} {at}\n" for trace_id, at in times.committed.items())


if __name__ == "__main__":
    main()
