"""Expand COMPACT traces: the reference reading of `CompactBody` in trace.proto.

It stands beside the contract since both the store and the client expand, and neither knows the
other. Pure functions; standard library and the stubs only.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from rolltrace.v1 import trace_pb2 as pb

Decompress = Callable[[bytes], bytes]


class ExpandError(ValueError):
    """A compact body that does not fit its base, or cannot be read."""


class Bare(NamedTuple):
    """A FULL trace whose bodies lack their blobs, as later ones are written against it."""

    trace: pb.Trace
    request_blobs: Sequence[pb.BlobPlace] = ()
    response_blobs: Sequence[pb.BlobPlace] = ()

    def digests(self) -> set[bytes]:
        """Those of the blobs that its bodies lack."""
        return {place.blob.digest for place in (*self.request_blobs, *self.response_blobs)}


def context(trace: pb.Trace, completion: int = 0) -> bytes:
    """The int32 ids that `trace` leaves in the model's context: prompt, then sampled ids.

    `completion` is a position in `trace.completions`, which MAY be empty.
    """
    if not trace.completions:
        return trace.prompt_token_ids
    return trace.prompt_token_ids + trace.completions[completion].token_ids


def expand(trace: pb.Trace, base: pb.Trace | None, decompress: Decompress) -> Bare:
    """What a COMPACT `trace` says, given the trace of its base's Bare form (None when it has none).

    `decompress` undoes Zstandard; it is called only for bodies so compressed. Returns a new message.
    Raises ExpandError when base and body do not fit.
    """
    payload = _payload(trace, decompress)
    prompt, before, after = _from_base(trace, base, payload)
    full = pb.Trace()
    full.CopyFrom(trace)
    full.ClearField("compact")
    full.prompt_token_ids = prompt + payload.prompt_rest
    full.request_json = before + payload.request_rest + after
    full.response_json = payload.response_json
    full.completions.extend(payload.completions)
    return Bare(full, tuple(payload.request_blobs), tuple(payload.response_blobs))


def whole(bare: Bare, blob: Callable[[bytes], bytes]) -> pb.Trace:
    """The FULL trace; `blob` gives the bytes of a digest. Returns a new message.

    Raises ExpandError for a blob that does not fit where it belongs, and whatever `blob` does.
    """
    full = pb.Trace()
    full.CopyFrom(bare.trace)
    if bare.request_blobs:
        full.request_json = _joined(bare.trace.request_json, bare.request_blobs, blob)
    if bare.response_blobs:
        full.response_json = _joined(bare.trace.response_json, bare.response_blobs, blob)
    return full


def _joined(body: bytes, places: Iterable[pb.BlobPlace], blob: Callable[[bytes], bytes]) -> bytes:
    return b"".join(_parts(body, places, blob))


def _parts(body: bytes, places: Iterable[pb.BlobPlace], blob: Callable[[bytes], bytes]) -> Iterator[bytes]:
    taken = inserted = 0
    for place in places:
        upto, data = place.position - inserted, blob(place.blob.digest)
        if not taken <= upto <= len(body) or len(data) != place.blob.size:
            raise ExpandError(f"blob {place.blob.digest.hex()} does not fit where it belongs")
        yield body[taken:upto]
        yield data
        taken, inserted = upto, inserted + len(data)
    yield body[taken:]


def _payload(trace: pb.Trace, decompress: Decompress) -> pb.CompactPayload:
    compact = trace.compact
    zstd = compact.compression == pb.COMPRESSION_ZSTD
    try:
        return pb.CompactPayload.FromString(decompress(compact.body) if zstd else compact.body)
    except Exception as error:
        raise ExpandError(f"the compact body of trace {trace.trace_id} cannot be read: {error}") from error


def _from_base(
    trace: pb.Trace, base: pb.Trace | None, payload: pb.CompactPayload
) -> tuple[bytes, bytes, bytes]:
    """The shared ids, and the shared beginning and end of the request."""
    if not trace.compact.base_trace_id:
        return b"", b"", b""
    if base is None or base.trace_id != trace.compact.base_trace_id:
        raise ExpandError(
            f"trace {trace.trace_id} needs its base {trace.compact.base_trace_id} to be expanded"
        )
    size = 4 * payload.prompt_shared_ids
    if size and base.completions and payload.prompt_base_completion >= len(base.completions):
        raise ExpandError(f"trace {trace.trace_id} refers to a completion that its base has not")
    ids = context(base, payload.prompt_base_completion) if size else b""
    request = base.request_json
    if size > len(ids) or payload.request_prefix + payload.request_suffix > len(request):
        raise ExpandError(f"trace {trace.trace_id} refers beyond the end of its base")
    suffix_start = len(request) - payload.request_suffix
    return ids[:size], request[: payload.request_prefix], request[suffix_start:]
