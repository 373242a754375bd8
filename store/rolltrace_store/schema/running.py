"""running: the calls that were admitted and have not ended.

Key: session_id, 0x00, the trace_id's 16 bytes, so that the calls of one session stand together. Value: u32
check, u8 length of the proxy_id, proxy_id, then a serialised Trace with what is known of the call, so that
its admission and its end read no message. Big-endian.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from rolltrace_store.schema.codec import TEXT, UUID, Codec, Table

_LAYOUT = struct.Struct(">IB")


class RunningKey(NamedTuple):
    session_id: str
    trace_id: str


class RunningRow(NamedTuple):
    """A RunningCall whose trace is serialised."""

    proxy_id: str
    check: int
    body: bytes


def running_key(session: bytes, trace: bytes) -> bytes:
    """A key, given the session_id's bytes and the trace_id's 16."""
    return session + b"\0" + trace


def _encode_key(key: RunningKey) -> bytes:
    return running_key(TEXT.encode(key.session_id), UUID.encode(key.trace_id))


def _decode_key(data: bytes) -> RunningKey:
    if data[-17:-16] != b"\0":
        raise ValueError("a key without its 00")
    return RunningKey(TEXT.decode(data[:-17]), UUID.decode(data[-16:]))


def _encode(row: RunningRow) -> bytes:
    proxy_id = row.proxy_id.encode()
    return _LAYOUT.pack(row.check, len(proxy_id)) + proxy_id + row.body


def _decode(data: bytes) -> RunningRow:
    check, size = _LAYOUT.unpack_from(data)
    body_at = _LAYOUT.size + size
    if body_at > len(data):
        raise ValueError("a running call that is cut off")
    return RunningRow(data[_LAYOUT.size : body_at].decode(), check, data[body_at:])


RUNNING: Table[RunningKey, RunningRow] = Table(
    "running", Codec(_encode_key, _decode_key), Codec(_encode, _decode)
)
