"""Looks at something again and again while a block runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Sampling(threading.Thread, Generic[T]):
    """`seen` has what `look` returned, in order; a look that raises OSError is left out."""

    def __init__(self, look: Callable[[], T], pause: float) -> None:
        super().__init__(daemon=True)
        self._look = look
        self._pause = pause
        self._over = threading.Event()
        self.seen: list[T] = []

    def run(self) -> None:
        while not self._over.wait(self._pause):
            try:
                self.seen.append(self._look())
            except OSError:  # the process has ended
                continue

    def __enter__(self) -> Sampling[T]:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
