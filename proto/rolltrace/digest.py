"""Digests of traces and sessions: the reference reading of `Trace.digest` and `Session.digest`.

They stand beside the contract, as compact.py does, since the store makes them and every reader may check
them. Pure functions; standard library and the stubs only.
"""

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct

from rolltrace.v1 import trace_pb2 as pb

EMPTY = bytes(32)
"""The digest of a session without traces."""

_U32 = Struct("<I").pack


def trace_digest(trace: pb.Trace) -> bytes:
    """The 32 bytes that belong into `digest` of a FULL `trace`."""
    parts = [_sized(b"rolltrace.trace.1"), _sized(trace.trace_id.encode()), _U32(trace.status)]
    parts += [_sized(trace.prompt_token_ids), _U32(len(trace.completions))]
    for completion in trace.completions:
        parts += [_U32(completion.index), _sized(completion.token_ids), _sized(completion.logprobs)]
        parts += [_sized(completion.finish_reason.encode())]
    return sha256(b"".join(parts)).digest()


def with_trace(session_digest: bytes, digest: bytes) -> bytes:
    """The digest of a session that has one trace more, whose own is `digest`."""
    return sha256(session_digest + digest).digest()


def session_digest(digests: Iterable[bytes]) -> str:
    """What `Session.digest` is, given the digests of its traces in the order of call_index, late ones out."""
    total = EMPTY
    for digest in digests:
        total = with_trace(total, digest)
    return total.hex()


def _sized(data: bytes) -> bytes:
    return _U32(len(data)) + data
