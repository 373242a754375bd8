"""session_traces: a session's traces in the order of their calls.

Key: session_id, 0x00, call_index as u64 big-endian. No session id holds 0x00, so the keys of one session
stand together and sort by call_index. Value: sequence as u64 big-endian, then the trace_id's 16 bytes,
so that deleting a session reads no trace.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rolltrace_store.schema.codec import TEXT, U64, UUID, Codec, Table

_KEY_END = struct.Struct(">xQ")
_ROW = struct.Struct(">Q16s")


class CallKey(NamedTuple):
    session_id: str
    call_index: int


class CallRow(NamedTuple):
    sequence: int
    trace_id: str


def prefix(session_id: str) -> bytes:
    """What the keys of one session begin with."""
    return TEXT.encode(session_id) + b"\0"


def call_key(session: bytes, call_index: int) -> bytes:
    """A key, given the session_id's bytes."""
    return session + _KEY_END.pack(call_index)


def call_row(sequence: int, trace: bytes) -> bytes:
    """A value, given the trace_id's 16 bytes."""
    return _ROW.pack(sequence, trace)


def _encode_key(key: CallKey) -> bytes:
    return call_key(TEXT.encode(key.session_id), key.call_index)


def _decode_key(data: bytes) -> CallKey:
    return CallKey(TEXT.decode(data[:-9]), U64.decode(data[-8:]))


def _encode(row: CallRow) -> bytes:
    return call_row(row.sequence, UUID.encode(row.trace_id))


def _decode(data: bytes) -> CallRow:
    return CallRow(U64.decode(data[:8]), UUID.decode(data[8:]))


SESSION_TRACES: Table[CallKey, CallRow] = Table(
    "session_traces", Codec(_encode_key, _decode_key), Codec(_encode, _decode)
)
