"""The head of a request holds what was asked for and nothing else; the length of an answer, by its fields."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.http1.framing import Body, UnreadableError, body_of, request_head

TOKEN = st.text(st.sampled_from("!#$%&'*+-.^_`|~09azAZ"), min_size=1, max_size=8)
ESCAPED = st.sampled_from("\udc80\udcff")
VALUE = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | ESCAPED, max_size=12).map(str.strip)
TARGET = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12).map("/".__add__)
BREAKING = st.sampled_from(["\r", "\n", "\r\n", "\0", "\r\nX: y", "\n\n"])


class Parsed:
    """A request as a worker reads it."""

    def __init__(self, data: bytes) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.count = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.count += 1


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@settings(max_examples=200, deadline=None)
@given(TARGET, st.lists(st.tuples(TOKEN.map("X-".__add__), VALUE), max_size=5), st.binary(max_size=9))
def test_a_worker_reads_what_was_written(target: str, fields: list[tuple[str, str]], body: bytes) -> None:
    read = Parsed(request_head("POST", target, "h:1", fields, len(body)) + body)
    ours = [(b"Host", b"h:1"), *[(raw(name), raw(value)) for name, value in fields]]
    assert (raw(target), body, 1) == (read.target, read.body, read.count)
    assert read.fields == [*ours, (b"Content-Length", b"%d" % len(body))]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(range(5)), st.text(max_size=5), BREAKING, st.text(max_size=5))
def test_nothing_can_be_slipped_in(place: int, before: str, breaking: str, behind: str) -> None:
    parts = ["POST", "/", "h", "name", "value"]
    parts[place] = before + breaking + behind
    method, target, authority, name, value = parts
    with pytest.raises(ValueError, match="line break"):
        request_head(method, target, authority, [("A", "b"), (name, value)], 1)


def test_a_target_is_one_word() -> None:
    with pytest.raises(ValueError, match="space in the target"):
        request_head("GET", "/ HTTP/1.0", "h", [], 0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_no_length_where_none_is_expected(method: str) -> None:
    assert b"Content-Length" not in request_head(method, "/", "h", [], 0)
    assert b"Content-Length: 1\r\n" in request_head(method, "/", "h", [], 1)


LENGTH, CHUNKED = ("content-Length", "3"), ("transfer-Encoding", "Chunked")


@pytest.mark.parametrize(
    ("method", "status", "fields", "body"),
    [
        ("POST", 200, [LENGTH], Body.FRAMED),
        ("POST", 200, [("A", "b"), CHUNKED], Body.FRAMED),
        ("POST", 200, [], Body.UNTIL_CLOSE),
        ("GET", 500, [("X-Length-Bytes", "3"), ("transfer-encoding", "identity")], Body.UNTIL_CLOSE),
        ("HEAD", 200, [LENGTH], Body.NONE),
        ("HEAD", 200, [], Body.NONE),
        ("POST", 204, [CHUNKED], Body.NONE),
        ("POST", 304, [LENGTH], Body.NONE),
    ],
)
def test_what_ends_a_body(method: str, status: int, fields: list[tuple[str, str]], body: Body) -> None:
    assert body_of(method, "1.1", status, fields) is body
    assert body_of(method, "1.0", status, fields) is body


@pytest.mark.parametrize(
    ("version", "status", "fields"),
    [
        ("2.0", 200, [LENGTH]),
        ("0.9", 200, [LENGTH]),
        ("1.1", 101, []),
        ("1.1", 0, [LENGTH]),
        ("1.1", 200, [("Transfer-Encoding", "gzip, chunked")]),
        ("1.1", 200, [("Transfer-Encoding", "gzip"), CHUNKED]),
    ],
)
def test_what_nobody_asked_for(version: str, status: int, fields: list[tuple[str, str]]) -> None:
    with pytest.raises(UnreadableError):
        body_of("POST", version, status, fields)
