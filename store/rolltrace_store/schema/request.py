"""requests: request_id -> the answer that was given; request_times: the same ids by age, for pruning.

Value of requests: u64 time, u8 length of the RPC's name, u8 length of the digest, name, digest, answer.
Times are milliseconds since 1970, big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rolltrace_store.schema.age import AGE, Age
from rolltrace_store.schema.codec import EMPTY, TEXT, Codec, Table

_LAYOUT = struct.Struct(">QBB")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of a request. `time` is in milliseconds since 1970."""

    time: int
    rpc: str
    digest: bytes
    response: bytes


def _encode(answer: Answer) -> bytes:
    rpc = answer.rpc.encode()
    return _LAYOUT.pack(answer.time, len(rpc), len(answer.digest)) + rpc + answer.digest + answer.response


def _decode(data: bytes) -> Answer:
    time, rpc_size, digest_size = _LAYOUT.unpack_from(data)
    digest_at = _LAYOUT.size + rpc_size
    response_at = digest_at + digest_size
    if response_at > len(data):
        raise ValueError("an answer that is cut off")
    rpc = data[_LAYOUT.size : digest_at].decode()
    return Answer(time, rpc, data[digest_at:response_at], data[response_at:])


REQUESTS: Table[str, Answer] = Table("requests", TEXT, Codec(_encode, _decode))
REQUEST_TIMES: Table[Age, None] = Table("request_times", AGE, EMPTY)
