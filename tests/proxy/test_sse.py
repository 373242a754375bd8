"""The framing gives back every byte and the same events, however the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.sse import EventFramer, EventTooLargeError, parse_event
from tests.proxy.sse_spec import data_of

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.sampled_from(
    [
        b"",
        b"",
        b"data: {}",
        b"data:x",
        b"data",
        b"data:  two",
        b": ping",
        b"event: error",
        b"id: 7",
        b"dat",
        b"\xef\xbb\xbf",
    ]
)
STREAMS = st.lists(st.tuples(LINES, LINE_ENDS), max_size=20).map(
    lambda lines: b"".join(a + b for a, b in lines)
)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    return [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def assert_same(stream: bytes, pieces: list[bytes]) -> None:
    framer = EventFramer()
    events = [event for piece in pieces for event in framer.feed(piece)]
    rest = framer.rest()
    assert b"".join(event.raw for event in events) + rest == stream
    if rest.endswith(b"\n\r"):  # it waited for the other half of a CRLF
        events.append(parse_event(rest))
    assert [event.data for event in events if event.data is not None] == data_of(stream)


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 200), max_size=12))
def test_any_split_gives_the_same_events_and_all_bytes(stream: bytes, cuts: list[int]) -> None:
    assert_same(stream, pieces_of(stream, cuts))


@settings(max_examples=100, deadline=None)
@given(STREAMS)
def test_byte_by_byte_is_no_other_than_whole(stream: bytes) -> None:
    assert_same(stream, [stream[at : at + 1] for at in range(len(stream))])


def test_comments_and_empty_lines_do_not_wait_for_an_event() -> None:
    framer = EventFramer()
    assert [event.raw for event in framer.feed(b": keep-alive\n")] == [b": keep-alive\n"]
    assert [event.raw for event in framer.feed(b"\n: a\n\n\ndata")] == [b"\n: a\n\n\n"]
    assert [event.data for event in framer.feed(b": x\n\n")] == [b"x"]


def test_an_event_waits_until_it_is_complete() -> None:
    framer = EventFramer()
    assert framer.feed(b"data: 1\n") == []
    assert [event.raw for event in framer.feed(b"\ndata: 2")] == [b"data: 1\n\n"]
    assert framer.rest() == b"data: 2"
    assert framer.rest() == b""


@pytest.mark.parametrize(
    ("raw", "data", "replaced"),
    [
        (b"data: {}\n\n", b"{}", b"data: 1\n\n"),
        (b"data:{}\r\n\r\n", b"{}", b"data:1\r\n\r\n"),
        (b"data: {}", b"{}", b"data: 1"),
        (b"event: e\rdata: a\rid: 3\rdata: b\r\r", b"a\nb", b"event: e\rdata: 1\rid: 3\r\r"),
    ],
)
def test_data_can_be_replaced_within_its_event(raw: bytes, data: bytes, replaced: bytes) -> None:
    event = parse_event(raw)
    assert event.data == data
    assert event.with_data(b"1") == replaced


def test_an_event_without_end_is_refused_and_kept() -> None:
    framer = EventFramer(limit=100)
    assert [event.data for event in framer.feed(b"data: 1\n\n" + b"x" * 101)] == [b"1"]
    with pytest.raises(EventTooLargeError, match="larger than 100 bytes"):
        framer.feed(b"y")
    assert framer.rest() == b"x" * 101
