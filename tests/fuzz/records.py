"""Targets: bytes of the environment. Keys and values, deltas, and what processes tell one another."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from rolltrace import compact, digest
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store import cutting, delta, presence, schema
from rolltrace_store.history import Histories
from rolltrace_store.schema import meta
from rolltrace_store.schema.codec import EMPTY, UNREADABLE
from tests.fuzz.feed import Feed

CODECS = [codec for table in (*schema.TABLES, meta.TEXTS) for codec in (table.key, table.value)]


def record_codec(data: bytes) -> None:
    """Bytes are refused by one of UNREADABLE, or what was read is written and read back the same."""
    feed = Feed(data)
    codec = feed.choice(CODECS)
    stored = feed.rest()
    try:
        value = codec.decode(stored)
    except UNREADABLE:
        return
    if codec is not EMPTY:
        assert codec.decode(codec.encode(value)) == value


def trace_delta(data: bytes) -> None:
    """Whatever one trace shares with another, it expands to what was encoded."""
    feed = Feed(data)
    base, new = _trace(feed, "base"), _trace(feed, "new")
    if feed.flag():  # an agent's next turn
        new.prompt_token_ids = compact.context(base) + new.prompt_token_ids
        new.request_json = base.request_json[:-2] + new.request_json + base.request_json[-2:]
    shared = delta.match(delta.Pieces.of(base), delta.Pieces.of(new))
    written = delta.encode(new, delta.Pieces.of(new), "", base.trace_id, shared)
    full = compact.expand(pb.Trace.FromString(written.body), base, delta.decompress).trace
    assert full == new
    assert digest.trace_digest(full) == digest.trace_digest(new)


def trace_history(data: bytes) -> None:
    """A session's traces, in any order of any turns, expand along their chains."""
    feed = Feed(data)
    histories = Histories(lambda _, __: [], limit_bytes=feed.number(2))
    full: dict[str, pb.Trace] = {}
    for turn in range(1 + feed.number() % 12):
        trace = _trace(feed, f"t{turn}")
        trace.session_id = feed.choice(("a", "a", "b"))
        if full and feed.flag():
            base = feed.choice(list(full.values()))
            trace.prompt_token_ids = compact.context(base) + trace.prompt_token_ids
            trace.request_json = base.request_json + trace.request_json
        if feed.flag():
            trace.request_json += b"A" * feed.choice((cutting.LEAST, cutting.LEAST - 1, 3 * cutting.LEAST))
        encoded = histories.encode(trace)
        body = pb.Trace.FromString(encoded.body)
        bare = compact.expand(body, full.get(encoded.base_trace_id), delta.decompress)
        full[trace.trace_id] = bare.trace
        expanded = compact.whole(bare, encoded.blobs.__getitem__)
        expanded.parent_trace_id = ""
        assert expanded == trace
        if feed.flag():
            histories.committed([encoded])
        elif feed.flag():
            histories.rolled_back([encoded])


def _trace(feed: Feed, trace_id: str) -> pb.Trace:
    repeats = feed.choice((1, 1, 1, 300))
    prompt, request = feed.chunk() * repeats, feed.chunk() * repeats
    sampled = [feed.chunk() for _ in range(feed.number() % 4)]
    return pb.Trace(
        trace_id=trace_id,
        prompt_token_ids=prompt,
        request_json=request,
        completions=[pb.Completion(index=i, token_ids=ids) for i, ids in enumerate(sampled)],
    )


def expansion(data: bytes) -> None:
    """A compact body of any bytes, on any base, expands or is an ExpandError."""
    feed = Feed(data)
    base = _parsed(feed.take(feed.number(2)))
    trace = _parsed(feed.rest())
    if trace is None:
        return
    if base is not None and feed.flag() is False:
        trace.compact.base_trace_id = base.trace_id
    for decompress in (delta.decompress, bytes):
        try:
            full = compact.expand(trace, base, decompress).trace
        except compact.ExpandError:
            continue
        assert not full.HasField("compact")
        digest.trace_digest(full)


def _parsed(data: bytes) -> pb.Trace | None:
    try:
        return pb.Trace.FromString(data)
    except DecodeError:
        return None


def proxy_report(data: bytes) -> None:
    """Whoever reads a report in the middle of its change sees the one before, the one after, or nothing."""
    feed = Feed(data)
    reports = [{"pid": feed.number(4), "in_flight": {feed.text(): feed.number(2)}} for _ in range(2)]
    before, after = map(presence._encode, reports)  # pyright: ignore[reportPrivateUsage]  # bytes on disk
    at = feed.number() % (len(after) + 1)
    presence._decode(feed.rest())  # pyright: ignore[reportPrivateUsage]
    for seen in (after[:at] + before[at:], before[:at], after):
        read = presence._decode(seen)  # pyright: ignore[reportPrivateUsage]
        assert read is None or read in reports
