"""counters: session_id -> what the session's traces add up to.

Apart from the session's row, so that a trace's commit rewrites 17 bytes and reads no message. No row
stands for no traces. Value: u64 calls, u64 failed calls, u8 flags (1: incomplete), big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rolltrace_store.schema.codec import TEXT, Codec, Table

_LAYOUT = struct.Struct(">QQB")


@dataclass(frozen=True, slots=True)
class Counters:
    """The counts of a Session; `calls` is also the call_index of its next trace."""

    calls: int = 0
    failed_calls: int = 0
    incomplete: bool = False


def _encode(counters: Counters) -> bytes:
    return _LAYOUT.pack(counters.calls, counters.failed_calls, counters.incomplete)


def _decode(data: bytes) -> Counters:
    calls, failed_calls, flags = _LAYOUT.unpack(data)
    return Counters(calls, failed_calls, bool(flags & 1))


COUNTERS: Table[str, Counters] = Table("counters", TEXT, Codec(_encode, _decode))
