"""The health check's bytes: what is made of an answer, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolltrace_client.health_frames import serving

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END = 1


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


BEFORE = frame(SETTINGS, 0, bytes(6)) + frame(SETTINGS, 0, b"", 1) + frame(PING, 0, bytes(8))
HEAD = frame(HEADERS, 1, b"fields", 4)
END_OF_CALL = frame(HEADERS, 1, b"trailers", 4 | END)


def said(status: int) -> bytes:
    return b"\0\0\0\0\2\x08" + bytes((status,))


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (BEFORE + HEAD + frame(DATA, 1, said(1)), True),
        (BEFORE + HEAD + frame(DATA, 1, said(1)[:3]) + frame(DATA, 1, said(1)[3:]), True),
        (BEFORE + HEAD + frame(DATA, 1, said(2)) + END_OF_CALL, False),
        (BEFORE + HEAD + frame(DATA, 1, b"\0\0\0\0\0") + END_OF_CALL, False),
        (BEFORE + END_OF_CALL, False),
        (BEFORE + frame(RST_STREAM, 1, bytes(4)), False),
        (BEFORE + frame(GOAWAY, 0, bytes(8)), False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (BEFORE + HEAD + frame(DATA, 3, said(1)), None),
        (BEFORE + HEAD, None),
        (b"", None),
    ],
)
def test_what_an_answer_says(answer: bytes, healthy: bool | None) -> None:
    assert serving(answer) is healthy


@given(st.data())
def test_half_an_answer_says_nothing(data: st.DataObject) -> None:
    answer = BEFORE + HEAD + frame(DATA, 1, said(1))
    assert serving(answer[: data.draw(st.integers(0, len(answer) - 1))]) is None
