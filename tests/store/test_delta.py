"""Delta coding: what two traces share is found exactly, and what is written reads back the same."""

import os

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace import compact
from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store import delta
from tests.store.sessions import Agent, ids, trace

# Long runs of one byte, so that cuts fall at, before and after the steps of the search.
_runs = st.lists(
    st.tuples(st.sampled_from(b"ab"), st.sampled_from([1, 2, 255, 256, 257, 20_000])), max_size=6
)
_long = _runs.map(lambda runs: b"".join(bytes([byte]) * count for byte, count in runs))
_short = st.binary(max_size=6)


def _naive_prefix(a: bytes, b: bytes) -> int:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@given(_long, _short, _short)
def test_shared_prefix(common: bytes, a: bytes, b: bytes) -> None:
    left, right = common + a, common + b
    assert delta.shared_prefix(left, right) == _naive_prefix(left, right)


@given(_long, _long)
def test_shared_prefix_of_any(a: bytes, b: bytes) -> None:
    assert delta.shared_prefix(a, b) == _naive_prefix(a, b)


@given(_long, _short, _short, st.integers(0, 50_000))
def test_shared_suffix(common: bytes, a: bytes, b: bytes, limit: int) -> None:
    left, right = a + common, b + common
    limit = min(limit, len(left), len(right))
    assert delta.shared_suffix(left, right, limit) == min(limit, _naive_prefix(left[::-1], right[::-1]))


def _round_trip(base: pb.Trace, new: pb.Trace) -> pb.Trace:
    shared = delta.match(delta.Pieces.of(base), delta.Pieces.of(new))
    written = delta.encode(new, delta.Pieces.of(new), "", base.trace_id, shared)
    return compact.expand(pb.Trace.FromString(written.body), base, delta.decompress).trace


@settings(max_examples=100)
@given(_short, st.lists(_short, max_size=3), _short, _short, st.lists(_short, max_size=2), _short)
def test_expands_to_what_was_encoded(
    prompt: bytes, sampled: list[bytes], request: bytes, rest: bytes, again: list[bytes], tail: bytes
) -> None:
    """Any bytes: lengths that are no whole ids, requests that are no text."""
    base = trace(prompt, tuple(sampled), request)
    new = trace(prompt + (sampled or [b""])[-1] + rest, tuple(again), request[:2] + tail + request[2:], tail)
    assert _round_trip(base, new) == new


def test_best_completion_is_the_base() -> None:
    base = delta.Pieces.of(trace(ids(1, 2), (ids(3), ids(4, 5), ids(4))))
    shared = delta.match(base, delta.Pieces.of(trace(ids(1, 2, 4, 5, 6))))
    assert (shared.prompt, shared.completion, shared.context) == (16, 1, 16)


def test_context_is_the_longest_that_is_wholly_there() -> None:
    base = delta.Pieces.of(trace(ids(1), (ids(2), ids(2, 3, 4))))
    shared = delta.match(base, delta.Pieces.of(trace(ids(1, 2, 3, 9))))
    assert (shared.prompt, shared.completion, shared.context) == (12, 1, 8)


def test_the_example_of_the_record_layout() -> None:
    """docs/adr/001-record-layout.md shows these numbers."""
    messages = b'{"model":"m","messages":[{"role":"user","content":"2+2?"}'
    more = b',{"role":"assistant","content":"4"},{"role":"user","content":"Sure?"}'
    end = b'],"max_tokens":9}'
    base = trace(ids(1, 15, 28, 17, 2), (ids(19, 2),), messages + end)
    new = trace(ids(1, 15, 28, 17, 2, 19, 2, 1, 88, 2), (), messages + more + end)
    shared = delta.match(delta.Pieces.of(base), delta.Pieces.of(new))
    assert (shared.prompt // 4, shared.completion) == (7, 0)
    assert (shared.request_prefix, shared.request_suffix) == (57, 17)


def test_request_prefix_and_suffix_do_not_overlap() -> None:
    base, new = trace(request=b"aXa"), trace(request=b"aXaXa")
    shared = delta.match(delta.Pieces.of(base), delta.Pieces.of(new))
    assert shared.request_prefix + shared.request_suffix <= 3
    assert _round_trip(base, new) == new


def test_sequence_and_call_index_are_left_to_the_transaction() -> None:
    new = trace(ids(1), request=b"{}")
    new.sequence, new.call_index = 7, 8
    written = pb.Trace.FromString(delta.encode(new, delta.Pieces.of(new), "parent").body)
    assert (written.sequence, written.call_index, written.parent_trace_id) == (0, 0, "parent")
    assert (new.sequence, new.call_index, new.parent_trace_id) == (7, 8, "")


@given(st.sampled_from([0, 1]), st.booleans(), st.text(max_size=3), st.integers(0, 2))
def test_a_trace_with_long_bodies_keeps_all_else_too(
    present: int, flag: bool, text: str, number: int
) -> None:
    """Whichever way its other fields are copied."""
    new = trace(ids(1), (ids(2),), bytes(300_000))
    for name, field in pb.Trace.DESCRIPTOR.fields_by_name.items():
        if name not in ("compact", "sequence", "call_index", "parent_trace_id") and not getattr(new, name):
            value = {field.CPPTYPE_BOOL: flag, field.CPPTYPE_STRING: text}.get(field.cpp_type, number)
            if field.type == field.TYPE_BYTES:
                value = text.encode()
            if field.message_type is None:
                setattr(new, name, value)
    for name in ("error", "admit_time", "time_to_first_token", "latency", "usage"):
        if present:
            getattr(new, name).SetInParent()
    if present:
        new.usage.cached_prompt_tokens = number
        new.error.message = text
        new.capture_gaps.add(kind=pb.CAPTURE_GAP_KIND_REQUEST, message=text)
    written = pb.Trace.FromString(delta.encode(new, delta.Pieces.of(new), "").body)
    assert compact.expand(written, None, delta.decompress).trace == new


def test_size_alone_is_about_that_of_a_whole_record() -> None:
    agent = Agent(seed=1)
    *_, base, new = (agent.turn() for _ in range(10))
    pieces = delta.Pieces.of(new)
    alone = delta.encode(new, pieces, "")
    written = delta.encode(new, pieces, "", base.trace_id, delta.match(delta.Pieces.of(base), pieces))
    assert len(written.body) < len(alone.body) / 2
    assert alone.size_alone == len(alone.body)
    assert written.size_alone == pytest.approx(len(alone.body), rel=0.5)


def test_what_does_not_shrink_is_stored_as_it_is() -> None:
    assert delta.compress(b"aaaa") == (pb.COMPRESSION_NONE, b"aaaa")
    noise = os.urandom(500)
    assert delta.compress(noise) == (pb.COMPRESSION_NONE, noise)


@pytest.mark.parametrize("size", [64, 2559, 2560, 4095, 4096, 100_000])
def test_text_of_any_size_shrinks_and_comes_back(size: int) -> None:
    text = " ".join(f"{number:x} of the {number % 7}" for number in range(size)).encode()[:size]
    compression, frame = delta.compress(text)
    assert compression == pb.COMPRESSION_ZSTD
    assert len(frame) < (size if size == 64 else 0.9 * size)
    assert delta.decompress(frame) == text


def test_a_flipped_byte_of_the_content_is_noticed() -> None:
    """A frame carries a checksum: a wrong byte is not read as another text."""
    text = b"the same words, the same words, and then others" * 3
    compression, frame = delta.compress(text)
    assert compression == pb.COMPRESSION_ZSTD
    at = frame.index(b"words")
    with pytest.raises(zstandard.ZstdError):
        delta.decompress(frame[:at] + b"W" + frame[at + 1 :])


def test_pieces_share_the_bytes_of_others_where_they_are_equal_and_stay_the_same() -> None:
    first = delta.Pieces.of(trace(ids(1, 2), (ids(3),), request=b'{"a": 1}'))
    again = delta.Pieces.of(trace(ids(1, 2), (ids(4),), request=b'{"a": 2}'))
    shared = again.sharing(first)
    assert shared == again
    assert shared.prompt is first.prompt
    assert shared.request is again.request


@pytest.mark.parametrize(
    ("sampled", "context"), [((), 8), ((b"",), 8), ((b"more",), 0), ((b"more", b""), 8), ((b"", b"more"), 8)]
)
def test_a_prompt_that_comes_again_holds_a_context_where_nothing_was_sampled(
    sampled: tuple[bytes, ...], context: int
) -> None:
    base, again = delta.Pieces("base", b"8 bytes.", sampled, b""), delta.Pieces("again", b"8 bytes.", (), b"")
    assert delta.match(base, again) == delta.Match(8, 0, 0, 0, context)
