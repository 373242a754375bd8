"""Structure out of the bytes that a fuzzer gives: any bytes mean something, and never raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Feed:
    """Takes values off the front; what is not there any more reads as zeros and nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.take(size))

    def flag(self) -> bool:
        return bool(self.number() & 1)

    def choice(self, values: Sequence[T]) -> T:
        return values[self.number() % len(values)]

    def chunk(self) -> bytes:
        """Bytes behind their length, which is one byte."""
        return self.take(self.number())

    def text(self) -> str:
        """A chunk as a process or an HTTP parser hands on bytes that may be no UTF-8."""
        return self.chunk().decode("utf-8", "surrogateescape")

    def rest(self) -> bytes:
        return self.take(len(self._data))


def pieces(feed: Feed, most: int = 7) -> list[int]:
    """Sizes to cut a stream by, over and over; none leaves it whole."""
    return [1 + feed.number() for _ in range(feed.number() % (most + 1))]


def cut(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    """`stream` in pieces of these sizes."""
    if not sizes:
        return [stream]
    cuts: list[bytes] = []
    at = 0
    while at < len(stream):
        size = sizes[len(cuts) % len(sizes)]
        cuts.append(stream[at : at + size])
        at += size
    return cuts
