"""Arrays that a trace names and the store keeps as blobs: the experts that tokens were routed to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.cutting import Blobs
from rolltrace_store.errors import InvalidArgumentError


def array(data: bytes, dtype: str, shape: Iterable[int]) -> pb.BlobArray:
    """How a trace names an array: `data` are its elements in C order, `dtype` as numpy writes it ("<i4")."""
    return pb.BlobArray(blob=pb.Blob(digest=sha256(data).digest(), size=len(data)), dtype=dtype, shape=shape)


def named(trace: pb.Trace) -> dict[bytes, int]:
    """The arrays that a FULL trace names: sizes by digest."""
    found: dict[bytes, int] = {}
    for completion in trace.completions:
        if completion.HasField("routed_experts"):
            blob = completion.routed_experts.blob
            found[blob.digest] = blob.size
    return found


def check_arrays(trace: pb.Trace, blobs: Blobs) -> None:
    """Raises InvalidArgumentError unless `blobs` are the arrays that the trace names."""
    found = named(trace)
    if (found or blobs) and found != {digest: len(data) for digest, data in blobs.items()}:
        raise InvalidArgumentError(
            "blobs", f"the arrays of trace {trace.trace_id} are not those that its completions name"
        )
