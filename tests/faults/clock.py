"""A wall clock that a test moves: a file holds the seconds by which it is off, and is read at every look.

It replaces Python's clock in one process; the monotonic one, as in the kernel, goes on.
"""

from __future__ import annotations

import time
from pathlib import Path


def install(file: str) -> None:
    """From now on this process reads the clock that `file` says."""
    path, real = Path(file), time.time_ns

    def time_ns() -> int:
        return real() + int(float(path.read_text() or "0") * 1e9)

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9
