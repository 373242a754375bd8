"""Fields that are decoded together are what each is by itself."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.http1.fields import by_name, decoded, values

NAME = st.text(st.sampled_from("!#$%&'*+-.^_`|~09azAZ"), min_size=1, max_size=8).map(str.encode)
VALUE = st.binary(max_size=8) | st.text(st.sampled_from(" \tab\xe9\u20ac"), max_size=6).map(str.encode)
CUT_SHORT = st.sampled_from([b"\xc3", b"\xe2\x82", b"\xf0\x9f", b"\xff", b"a ", b" ", b""])


def readable(value: bytes) -> bool:
    return b"\n" not in value


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAME, (VALUE | CUT_SHORT).filter(readable)), max_size=6))
def test_together_as_one_by_one(fields: list[tuple[bytes, bytes]]) -> None:
    raw = [part for field in fields for part in field]
    each = [
        (name.decode("ascii"), value.decode("utf-8", "surrogateescape").rstrip(" \t"))
        for name, value in fields
    ]
    assert decoded(raw) == each
    named = by_name(each)
    assert named.keys() == {name.lower() for name, _ in each}
    assert all(value == values(each, name)[0] for name, value in named.items())


class Kept:
    def __init__(self) -> None:
        self.raw: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.raw += (name, value)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAME, st.binary(max_size=8)), max_size=4), st.booleans())
def test_the_parsers_give_no_line_end(fields: list[tuple[bytes, bytes]], answers: bool) -> None:
    lines = b"".join(b"X%b:%b\r\n" % field for field in fields) + b"\r\n"
    kept = Kept()
    try:
        if answers:
            parser = httptools.HttpResponseParser(kept)
            parser.set_dangerous_leniencies(
                lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
            )
            parser.feed_data(b"HTTP/1.1 200 OK\r\n" + lines)
        else:
            httptools.HttpRequestParser(kept).feed_data(b"GET / HTTP/1.1\r\n" + lines)
    except httptools.HttpParserError:
        pass
    assert all(map(readable, kept.raw))


def test_a_line_end_would_be_seen() -> None:
    with pytest.raises(ValueError, match="line end"):
        decoded([b"a", b"b\nc"])
