"""How the head of an answer is written."""

from __future__ import annotations

import pytest

from rolltrace_proxy.http1.heads import Framing, chunk, framing, last_chunk, length_of, written
from rolltrace_proxy.http1.interface import Fields
from rolltrace_proxy.http1.reader import Head
from tests.proxy.http1.agents import understood

DATE = "Tue, 24 Nov 2026 11:29:34 GMT"


def head(method: str = "POST", *, is_1_1: bool = True) -> Head:
    return Head(method, "/", [], {}, is_1_1, keeps=True, length=0, chunked=False, expects="")


@pytest.mark.parametrize(
    ("method", "is_1_1", "status", "length", "framed"),
    [
        ("POST", True, 200, None, "chunks"),
        ("POST", True, 200, 0, "length"),
        ("POST", False, 200, None, "until close"),
        ("POST", False, 200, 5, "length"),
        ("HEAD", True, 200, 5, "no body"),
        ("HEAD", False, 200, None, "no body"),
        ("POST", True, 204, None, "no body"),
        ("GET", True, 304, 5, "no body"),
        ("GET", True, 404, None, "chunks"),
    ],
)
def test_framing(method: str, is_1_1: bool, status: int, length: int | None, framed: Framing) -> None:
    assert framing(head(method, is_1_1=is_1_1), status, length) == framed


def test_what_is_given_stands_and_the_rest_is_ours() -> None:
    fields = [
        ("X-A", "1"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("Connection", "x-a"),
        ("Transfer-Encoding", "gzip"),
        ("content-length", "99"),
        ("Keep-Alive", "timeout=1"),
    ]
    assert written(head(), 200, "", fields, "length", 2, DATE, closes=False) == (
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nset-cookie: a\r\nset-cookie: b\r\n"
        b"Date: Tue, 24 Nov 2026 11:29:34 GMT\r\nContent-Length: 2\r\n\r\n"
    )
    old, dated = head(is_1_1=False), [("date", "d")]
    assert written(old, 299, "So \udcff", dated, "until close", None, DATE, closes=True) == (
        b"HTTP/1.0 299 So \xff\r\ndate: d\r\nConnection: close\r\n\r\n"
    )
    assert b"\r\nConnection: keep-alive\r\n" in written(old, 200, "", [], "length", 1, DATE, closes=False)
    assert b"ength" not in written(head(), 204, "", [], "no body", 0, DATE, closes=False)


@pytest.mark.parametrize("bad", ["a\r\nX: 1", "a\nb", "a\rb", "a\0b", "\r\n\r\n"])
def test_nothing_that_is_given_ends_a_line(bad: str) -> None:
    given: list[tuple[str, Fields]] = [(bad, []), ("", [("X", bad)]), ("", [(bad, "x")])]
    for reason, fields in given:
        with pytest.raises(ValueError, match="line end"):
            written(head(), 200, reason, fields, "chunks", None, DATE, closes=False)


def test_the_length_among_fields() -> None:
    assert length_of([("X", "1"), ("Content-LENGTH", "12")]) == 12
    assert length_of([("X-Not-A-Length", "1")]) is None


@pytest.mark.parametrize("last", [b"", b"c" * 17])
def test_chunks_are_understood(last: bytes) -> None:
    begun = written(head(), 200, "", [], "chunks", None, DATE, closes=False)
    [answer] = understood(begun + chunk(b"a") + chunk(b"\r\n0\r\n\r\n") + last_chunk(last), "POST")
    assert (answer.body, answer.ended) == (b"a\r\n0\r\n\r\n" + last, True)
    [answer] = understood(begun + chunk(b"a"), "POST")
    assert not answer.ended
