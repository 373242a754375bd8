"""How the head of an answer is written, and how its body is framed (RFC 9112, 6 and 9). No I/O, no clock.

Rules. A field goes out as it is given, but that Connection, Transfer-Encoding and the length are ours to say.
Nothing that is given can end a line: a head that would hold another line than its own is a ValueError.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from rolltrace_proxy.http1.interface import Fields
from rolltrace_proxy.http1.reader import Head

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_OURS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


Framing = Literal["no body", "length", "chunks", "until close"]
"""How the end of a body is told."""


def framing(head: Head, status: int, length: int | None) -> Framing:
    """How an answer of this status goes to whoever sent `head`. `length` is in bytes, None if not known."""
    if head.method == "HEAD" or status < 200 or status in (204, 304):
        return "no body"
    if length is not None:
        return "length"
    return "chunks" if head.is_1_1 else "until close"


def length_of(fields: Fields) -> int | None:
    """The content-length among them."""
    for name, value in fields:
        if len(name) == len("content-length") and name.lower() == "content-length":
            return int(value)
    return None


def written(
    head: Head,
    status: int,
    reason: str,
    fields: Fields,
    framed: Framing,
    length: int | None,
    date: str,
    *,
    closes: bool,
) -> bytes:
    """The head of an answer to `head`. `date` stands unless the fields have one. Raises ValueError."""
    first = f"HTTP/1.{1 if head.is_1_1 else 0} {status} {reason or _REASONS.get(status, '')}"
    names = {name.lower() for name, _ in fields}
    if not names.isdisjoint(_OURS):
        fields = [field for field in fields if field[0].lower() not in _OURS]
    text = "\r\n".join((first, *map(": ".join, fields)))
    count = len(fields)
    if text.count("\n") != count or text.count("\r") != count or "\0" in text:
        raise ValueError("A field of an answer holds a line end.")
    if date and "date" not in names:
        text += f"\r\nDate: {date}"
    if framed == "chunks":
        text += "\r\nTransfer-Encoding: chunked"
    elif length is not None and status >= 200 and status != 204:
        text += f"\r\nContent-Length: {length}"
    if closes:
        text += "\r\nConnection: close"
    elif not head.is_1_1:
        text += "\r\nConnection: keep-alive"
    return (text + "\r\n\r\n").encode("utf-8", "surrogateescape")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(data: bytes) -> bytes:
    """The end of a body in chunks, with what is left of it."""
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
