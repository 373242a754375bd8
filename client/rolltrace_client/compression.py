"""Undoing Zstandard with whichever module is there; without one the service is asked not to use it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any


def decompress(frame: bytes) -> bytes:
    """One Zstandard frame (RFC 8878) undone. Raises RuntimeError when no module can."""
    undo = zstd()
    if undo is None:
        raise RuntimeError("no Zstandard module: pip install zstandard")
    return undo(frame)


@cache
def zstd() -> Callable[[bytes], bytes] | None:
    """What undoes a frame, or None: compression.zstd (Python 3.14), backports.zstd or zstandard."""
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        return _with_zstandard(module) if name == "zstandard" else module.decompress
    return None


def _with_zstandard(module: Any) -> Callable[[bytes], bytes]:
    def undo(frame: bytes) -> bytes:
        # An object, not decompress(): that one wants the size in the frame's header.
        return bytes(module.ZstdDecompressor().decompressobj().decompress(frame))

    return undo
