"""session_traces: a session's traces in the order of their calls.

Key: session_id, 0x00, call_index as u64 big-endian. No session id holds 0x00, so the keys of one session
stand together and sort by call_index. Value: sequence as u64 big-endian, then the trace_id's 16 bytes,
so that deleting a session reads no trace.
"""

from __future__ import annotations

from typing import NamedTuple

from rolltrace_store.schema.codec import TEXT, U64, UUID, Codec, Table


class CallKey(NamedTuple):
    session_id: str
    call_index: int


class CallRow(NamedTuple):
    sequence: int
    trace_id: str


def prefix(session_id: str) -> bytes:
    """What the keys of one session begin with."""
    return TEXT.encode(session_id) + b"\0"


def _encode_key(key: CallKey) -> bytes:
    return prefix(key.session_id) + U64.encode(key.call_index)


def _decode_key(data: bytes) -> CallKey:
    return CallKey(TEXT.decode(data[:-9]), U64.decode(data[-8:]))


def _encode(row: CallRow) -> bytes:
    return U64.encode(row.sequence) + UUID.encode(row.trace_id)


def _decode(data: bytes) -> CallRow:
    return CallRow(U64.decode(data[:8]), UUID.decode(data[8:]))


SESSION_TRACES: Table[CallKey, CallRow] = Table(
    "session_traces", Codec(_encode_key, _decode_key), Codec(_encode, _decode)
)
