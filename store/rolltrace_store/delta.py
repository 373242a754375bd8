"""Delta coding: write a trace against an earlier one of its session. Pure.

Turn k of a session repeats turns 1..k-1, in its ids and in its request. What a trace shares with its
base is given by lengths, only the rest is stored. `CompactBody` in trace.proto is the format and
`rolltrace.compact.expand` its reading.

Rules. Finding what is shared compares memory and copies little, since it runs over whole histories on
every call. Only `encode` compresses, and only what is new.
"""

from __future__ import annotations

import threading
from typing import Final, Literal, NamedTuple, TypeAlias

import zstandard

from rolltrace.compact import Bare
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.cutting import Bodies

_LEVEL = 1
"""Ids and log-probabilities hardly compress: level 3 saves 1 % of a turn, and takes half as long again."""
_FAST_LEVEL, _ONE_PAGE = -1, range(2560, 4096)
"""What is so long takes one page of the log at either level, and a third of the time at this one."""
_COMPRESS_FROM = 64
_COPIED_BELOW = 256 << 10
_BODIES: Final = ("prompt_token_ids", "completions", "request_json", "response_json")
_DROPPED: Final = (*_BODIES, "sequence", "call_index", "parent_trace_id", "compact")
_Part: TypeAlias = Literal["error", "admit_time", "time_to_first_token", "latency", "usage"]
_MESSAGES: tuple[_Part, ...] = ("error", "admit_time", "time_to_first_token", "latency", "usage")
_SCALARS: Final = tuple(
    {field.name for field in pb.Trace.DESCRIPTOR.fields} - {*_DROPPED, *_MESSAGES, "capture_gaps", "labels"}
)
_STEP = 256
"""So many bytes are compared as two numbers, which tells at once where they differ."""

MIN_SAVED = 128
"""A base that saves fewer bytes is not worth reading another record for."""


class Pieces(NamedTuple):
    """What later traces can share with one: its context(s) and its request, as bytes."""

    trace_id: str
    prompt: bytes
    sampled: tuple[bytes, ...]
    request: bytes
    """Without its blobs."""

    @classmethod
    def of(cls, trace: pb.Trace, bodies: Bodies | None = None) -> Pieces:
        """The pieces of a FULL trace; `bodies` are its own without their blobs, if they have any."""
        sampled = tuple([completion.token_ids for completion in trace.completions])
        request = trace.request_json if bodies is None else bodies.request
        return cls(trace.trace_id, trace.prompt_token_ids, sampled, request)

    def sharing(self, other: Pieces) -> Pieces:
        """The same, with the other's bytes where they are equal: a prompt sampled again is held once."""
        prompt, request = self.prompt, self.request
        return Pieces(
            self.trace_id,
            other.prompt if other.prompt == prompt else prompt,
            self.sampled,
            other.request if other.request == request else request,
        )


class Match(NamedTuple):
    """What a trace shares with a base, in bytes."""

    prompt: int
    """With context(base), for the completion at position `completion`; need not be whole ids."""
    completion: int
    request_prefix: int
    request_suffix: int
    context: int
    """The length of the base's longest context that is wholly the beginning of the prompt, or 0."""

    @property
    def saved(self) -> int:
        return self.prompt + self.request_prefix + self.request_suffix


NOTHING = Match(0, 0, 0, 0, 0)


class Delta(NamedTuple):
    """A trace as it is stored: `body` is the serialised COMPACT Trace."""

    body: bytes
    size_alone: int
    """About how long `body` would be without a base, at the ratio that its own payload compressed by."""


def shared_prefix(a: bytes, b: bytes) -> int:
    """How many bytes `a` and `b` begin with in common.

    A history that goes on differs close to the end of the shorter one, so the search begins there.
    """
    if a == b:
        return len(a)
    size = min(len(a), len(b))
    view = memoryview(b)
    low, step = max(size - _STEP, 0), _STEP
    if not a.startswith(view[:low]):
        low = 0
        while a.startswith(view[low : low + step], low):
            low += step
            step *= 2
    high = min(low + step, size)
    while high - low > _STEP:
        middle = (low + high) // 2
        if a.startswith(view[low:middle], low):
            low = middle
        else:
            high = middle
    return high - _differing(a[low:high], b[low:high], "big")


def shared_suffix(a: bytes, b: bytes, limit: int) -> int:
    """How many bytes, at most `limit`, `a` and `b` end with in common. `limit` fits in both."""
    known, step = 0, _STEP
    view = memoryview(b)
    while known < limit:
        more = min(step, limit - known)
        end = len(b) - known
        if a.endswith(view[end - more : end], 0, len(a) - known):
            known += more
            step *= 2
        elif more > _STEP:
            step = more // 2
        else:
            other = a[len(a) - known - more : len(a) - known]
            return known + more - _differing(other, b[end - more : end], "little")
    return known


def _differing(a: bytes, b: bytes, order: Literal["big", "little"]) -> int:
    """How many bytes are left from the first, or with "little" up to the last, that differs. Equally long."""
    return ((int.from_bytes(a, order) ^ int.from_bytes(b, order)).bit_length() + 7) // 8


def match(base: Pieces, new: Pieces) -> Match:
    """What `new` shares with `base`, at its best completion."""
    prompt, completion, context = _match_prompt(base, new.prompt)
    old, request = base.request, new.request
    if old == request:
        return Match(prompt, completion, len(request), 0, context)
    prefix = shared_prefix(old, request)
    rest = min(len(old), len(request)) - prefix
    suffix = shared_suffix(old, request, rest) if rest else 0
    return Match(prompt, completion, prefix, suffix, context)


def _match_prompt(base: Pieces, prompt: bytes) -> tuple[int, int, int]:
    """`prompt`, `completion` and `context` of a Match."""
    start = len(base.prompt)
    if not prompt.startswith(base.prompt):
        return shared_prefix(base.prompt, prompt), 0, 0
    if len(prompt) == start and all(base.sampled):
        return start, 0, 0 if base.sampled else start
    best, position, context = 0, 0, 0 if base.sampled else start
    for index, sampled in enumerate(base.sampled):
        shared = len(sampled)
        if prompt.startswith(sampled, start):
            context = max(context, start + shared)
        else:
            rest = prompt[start : start + shared]
            shared = shared_prefix(sampled, rest) if rest else 0
        if shared > best:
            best, position = shared, index
    return start + best, position, context


def encode(
    trace: pb.Trace,
    pieces: Pieces,
    parent_trace_id: str,
    base_trace_id: str = "",
    shared: Match = NOTHING,
    bodies: Bodies | None = None,
) -> Delta:
    """Write a FULL trace, whose pieces these are, against a base, given what `match` found, or alone.

    sequence and call_index stay unset, for the transaction to give. `trace` is not changed.
    """
    payload = _payload(trace, pieces, shared, bodies).SerializeToString()
    compression, body = compress(payload)
    size = _COPIED_BELOW if bodies else len(pieces.prompt) + len(pieces.request)
    compact = _without_bodies(trace, size)
    compact.parent_trace_id = parent_trace_id
    form = compact.compact
    form.base_trace_id, form.compression, form.body = base_trace_id, compression, body
    serialised = compact.SerializeToString()
    size_alone = len(serialised) + shared.saved * len(body) // max(len(payload), 1)
    return Delta(serialised, size_alone)


def _without_bodies(trace: pb.Trace, size: int) -> pb.Trace:
    """Of a trace whose bodies have about `size` bytes. They are copied and dropped where that is quicker."""
    light = pb.Trace()
    if size < _COPIED_BELOW:
        light.CopyFrom(trace)
        clear = light.ClearField
        for name in _DROPPED:
            clear(name)
        return light
    for name in _SCALARS:
        setattr(light, name, getattr(trace, name))
    for name in _MESSAGES:
        if trace.HasField(name):
            getattr(light, name).CopyFrom(getattr(trace, name))
    light.capture_gaps.MergeFrom(trace.capture_gaps)
    light.labels.MergeFrom(trace.labels)
    return light


def _payload(trace: pb.Trace, pieces: Pieces, shared: Match, bodies: Bodies | None) -> pb.CompactPayload:
    shared_ids = shared.prompt // 4
    request_end = len(pieces.request) - shared.request_suffix
    payload = pb.CompactPayload(
        prompt_shared_ids=shared_ids,
        prompt_base_completion=shared.completion,
        prompt_rest=pieces.prompt[4 * shared_ids :],
        request_prefix=shared.request_prefix,
        request_suffix=shared.request_suffix,
        request_rest=pieces.request[shared.request_prefix : request_end],
        response_json=trace.response_json if bodies is None else bodies.response,
    )
    payload.completions.MergeFrom(trace.completions)
    if bodies is not None:
        payload.request_blobs.extend(bodies.request_blobs)
        payload.response_blobs.extend(bodies.response_blobs)
    return payload


def standalone(bare: Bare) -> pb.Trace:
    """The COMPACT form of an expanded trace that rests on no other one."""
    compact = pb.Trace()
    compact.CopyFrom(bare.trace)
    for name in _BODIES:
        compact.ClearField(name)
    payload = pb.CompactPayload(
        prompt_rest=bare.trace.prompt_token_ids,
        request_rest=bare.trace.request_json,
        response_json=bare.trace.response_json,
        completions=bare.trace.completions,
        request_blobs=bare.request_blobs,
        response_blobs=bare.response_blobs,
    )
    compact.compact.compression, compact.compact.body = compress(payload.SerializeToString())
    return compact


class _PerThread(threading.local):
    """None of them may be used by two threads at once; making one costs as much as a small body."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self.fast_compressor = zstandard.ZstdCompressor(level=_FAST_LEVEL, write_checksum=True)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _PerThread()


def compress(data: bytes) -> tuple[pb.Compression.ValueType, bytes]:
    """One checked Zstandard frame, or `data` itself where that is not shorter."""
    if len(data) >= _COMPRESS_FROM:
        compressor = _zstd.fast_compressor if len(data) in _ONE_PAGE else _zstd.compressor
        frame = compressor.compress(data)
        if len(frame) < len(data):
            return pb.COMPRESSION_ZSTD, frame
    return pb.COMPRESSION_NONE, data


def decompress(frame: bytes) -> bytes:
    """Undo Zstandard: the `decompress` of rolltrace.compact.expand. Raises zstandard.ZstdError."""
    return _zstd.decompressor.decompress(frame)
