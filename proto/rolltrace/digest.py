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

_U32, _2_U32 = Struct("<I").pack, Struct("<II").pack
_VERSION = b"rolltrace.trace.1"
_NAME = _U32(len(_VERSION)) + _VERSION


def trace_digest(trace: pb.Trace) -> bytes:
    """The 32 bytes that belong into `digest` of a FULL `trace`."""
    trace_id, prompt, completions = trace.trace_id.encode(), trace.prompt_token_ids, trace.completions
    parts = [
        _NAME,
        _U32(len(trace_id)),
        trace_id,
        _2_U32(trace.status, len(prompt)),
        prompt,
        _U32(len(completions)),
    ]
    for completion in completions:
        ids, logprobs, reason = completion.token_ids, completion.logprobs, completion.finish_reason.encode()
        parts += (
            _2_U32(completion.index, len(ids)),
            ids,
            _U32(len(logprobs)),
            logprobs,
            _U32(len(reason)),
            reason,
        )
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
