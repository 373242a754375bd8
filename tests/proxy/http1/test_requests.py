"""Requests out of bytes: what they say, that it doesn't matter how they are cut, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1.reader import Reader

MOST = 1000
Message = tuple[str, str, list[tuple[str, str]], bytes, bool]

POST = b"POST /v1/x HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"
GOOD = [
    b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\nX-Empty:\r\nX: \xc3\xa9\xff \t\r\nx: 2\r\n\r\n",
    POST + b"Content-Length: 4\r\n\r\n\r\n\r\n",
    POST + b"content-length:0\r\n\r\n",
    CHUNKED + b"5;a=b\r\nhello\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n",
    CHUNKED + b"1\r\nx\r\n00\r\nTrailer: 1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    CHUNKED + b"0\r\n\r\n",
    POST + UPGRADE + b"Content-Length: 2\r\n\r\n{}",
    POST + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    POST + UPGRADE + b"\r\n",
    POST + b"Upgrade: websocket\r\nContent-Length: 2\r\n\r\n{}",
]


def read(pieces: Iterable[bytes]) -> list[Message]:
    """The messages that are whole."""
    reader, seen = Reader(MOST), list[Message]()
    for piece in pieces:
        at = 0
        while at < len(piece):
            at = reader.feed(piece, at)
            if reader.ended:
                head = reader.head
                assert head is not None
                body = b"".join(reader.pieces)
                assert reader.size == len(body)
                seen.append((head.method, head.target, list(head.fields), body, head.keeps))
                if not head.keeps:
                    return seen
                reader.next()
    return seen


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % len(data) for place in places}), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


def test_what_a_request_says() -> None:
    [message] = read([GOOD[2]])
    fields = [("X-Empty", ""), ("X", "\u00e9\udcff"), ("x", "2")]
    assert message == ("GET", "/", fields, b"", True)
    assert [read([each])[0][3] for each in GOOD[3:]] == [
        b"\r\n\r\n", b"", b"hello\r\n\r\n", b"x", b"", b"{}", b"{}", b"", b"{}",
    ]  # fmt: skip


@pytest.mark.parametrize("message", GOOD)
def test_a_request_may_be_cut_at_every_byte(message: bytes) -> None:
    two = message + GOOD[5]
    whole = read([two])
    assert len(whole) == (2 if whole[0][4] else 1)
    for place in range(1, len(two)):
        assert read(cut(two, [place])) == whole
    assert read(cut(two, range(len(two)))) == whole


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=4), st.lists(st.integers(0, 5000), max_size=6))
def test_requests_may_follow_each_other_and_be_cut_anywhere(messages: list[bytes], places: list[int]) -> None:
    alone = [read([message])[0] for message in messages]
    last = next((at for at, message in enumerate(alone) if not message[4]), len(alone))
    assert read(cut(b"".join(messages), places)) == alone[: last + 1]


@pytest.mark.parametrize(
    ("version", "field", "keeps"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.1", "Connection: Keep-Alive, Close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
    ],
)
def test_who_keeps_the_connection(version: str, field: str, keeps: bool) -> None:
    [message] = read([f"GET / HTTP/{version}\r\n{field}\r\n".encode()])
    assert message[4] is keeps


def test_what_follows_a_connect_is_not_read() -> None:
    reader = Reader(MOST)
    head = b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n"
    assert reader.feed(head + b"GET", 0) == len(head)
    assert reader.ended
    assert reader.head is not None
    assert not reader.head.keeps


BAD = {
    "both lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, chunked first": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "an endless length": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "a folded line": POST + b"X: a\r\n Content-Length: 2\r\n\r\n{}",
    "another coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a coding within": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding before": POST + b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": CHUNKED + b"zz\r\n",
    "a chunk of too many": CHUNKED + b"fffffffffffffffffff\r\n",
    "a chunk that is longer": CHUNKED + b"1\r\nxx\r\n0\r\n\r\n",
    "a length in the trailer": CHUNKED + b"0\r\nContent-Length: 9\r\n\r\n",
    "a line feed alone": b"GET / HTTP/1.1\nHost: h\n\n",
    "a line feed in a field": POST + b"X: 1\nContent-Length: 2\r\n\r\n{}",
    "a carriage return in a field": POST + b"X: 1\rY: 2\r\n\r\n",
    "a line feed in chunks": CHUNKED + b"1\nx\r\n0\r\n\r\n",
    "a zero byte": POST + b"X: a\0b\r\n\r\n",
    "no colon": POST + b"X\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no method": b"BREW / HTTP/1.1\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_is_not_http_is_refused_however_it_is_cut(data: bytes) -> None:
    for pieces in ([data], cut(data, range(len(data)))):
        with pytest.raises(Refused) as refused:
            read(pieces)
        assert refused.value.fault is Fault.INVALID_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * MOST,
        b"GET /" + b"x" * MOST,
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200,
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
        b"\r\n" * MOST,
        CHUNKED + b"1\r\nx\r\n0\r\nX: " + b"x" * 2 * MOST,
        CHUNKED + b"1;" + b"x" * 2 * MOST,
    ],
)
def test_what_has_no_end_is_refused(data: bytes) -> None:
    for size in (1, 7, 300):
        pieces = cut(data, range(0, len(data), size))
        with pytest.raises(Refused) as refused:
            read(pieces)
        assert refused.value.fault is Fault.HEADERS_TOO_LARGE


def test_a_header_of_just_the_limit_is_taken() -> None:
    begin, end = b"GET / HTTP/1.1\r\nX: ", b"\r\n\r\n"
    fits = begin + b"x" * (MOST - len(begin) - len(end)) + end
    assert read([fits]) == read(cut(fits, range(len(fits)))) != []
    with pytest.raises(Refused):
        read([fits.replace(b"X: ", b"X: x")])
