"""What a stream takes that is open and says nothing: 5,000 at once, each with a long prompt behind it.

Told is the growth of the proxy's own memory, at its most, for each stream that was open. One round;
bench.bounds has more figures of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bench.bounds import streams
from bench.compare.rows import Row
from bench.compare.targets import MINE_POWER

LOAD = streams.Load(calls=5000, tokens=2, pace=10.0, prompt=2000)
SHOWN = {"idle": ("open at once", "KB/stream", "proxy MiB", "first byte s")}


def measure() -> Iterator[Row]:
    seen = streams.run(LOAD)
    for fault in seen.faults[:3]:
        print(f"idle: {fault}", file=sys.stderr)
    grown = seen.watch.own["proxy"] - seen.before.own
    found = {
        "open at once": seen.watch.in_flight,
        "KB/stream": grown / max(seen.watch.in_flight, 1) / 1e3,
        "proxy MiB": seen.proxy.peak / (1 << 20),
        "first byte s": sorted(seen.first)[len(seen.first) // 2],
        "errors": float(len(seen.faults)),
    }
    yield Row("idle", MINE_POWER, 0, found)
