"""Who may write now: one process at a time passes the gate, and who finds it shut need not wait.

LMDB has a write lock, but no way to try it. So every write transaction of ours is behind a lock that has one:
`flock` on the environment's data file, which LMDB itself locks in no way. The kernel opens it when its
holder dies, however that ends. Rules: LMDB's lock is only ever taken behind the gate, and is free there. One
thread at a time uses a Gate, and it passes once before it leaves.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

FILE = "data.mdb"


class Gate:
    """This process's way through the gate of the environment at `path`, which must exist."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path / FILE, os.O_RDONLY | os.O_CLOEXEC)

    def enter(self, *, wait: bool) -> bool:
        """Whether it was entered; always, if it may wait for other processes. Raises OSError."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def leave(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    @contextmanager
    def passed(self) -> Generator[None]:
        """Waits until it is open, and is through as long as the block runs."""
        self.enter(wait=True)
        try:
            yield
        finally:
            self.leave()

    def close(self) -> None:
        os.close(self._fd)
