"""counters: session_id -> what the session's traces add up to.

Apart from the session's row, so that a trace's commit rewrites 105 bytes and reads no message. No row
stands for no traces. Value: the numbers as u64 in the order of Counters, u8 sealed (0 or 1), the digest's
32 bytes; big-endian.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rolltrace.digest import EMPTY
from rolltrace_store.schema.codec import TEXT, Codec, Table

_LAYOUT = struct.Struct(">9Q?32s")


class Counters(NamedTuple):
    """The counts of a Session. Those of a sealed one are final, but for `late_calls`."""

    calls: int = 0
    failed_calls: int = 0
    refused_calls: int = 0
    """Part of `failed_calls`."""
    interrupted_calls: int = 0
    """Part of `failed_calls`."""
    gapped_calls: int = 0
    """Completed calls that lack something."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    left_calls: int = 0
    """Those that ran when the session was sealed."""
    late_calls: int = 0
    """Those recorded since; not part of `calls`."""
    sealed: bool = False
    digest: bytes = EMPTY
    """D(calls) of Session.digest."""

    @property
    def next_index(self) -> int:
        """The call_index of the next trace."""
        return self.calls + self.late_calls


def _encode(counters: Counters) -> bytes:
    return _LAYOUT.pack(*counters)


def _decode(data: bytes) -> Counters:
    return Counters._make(_LAYOUT.unpack(data))


COUNTERS: Table[str, Counters] = Table("counters", TEXT, Codec(_encode, _decode))
