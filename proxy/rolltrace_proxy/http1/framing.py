"""How messages to and from workers are framed (RFC 9112): the head of a request, the length of an answer.

Rules. What could be read in two ways is refused, never guessed. No I/O.
"""

from __future__ import annotations

import enum

from rolltrace_proxy.http1.interface import Fields

_NO_LENGTH_NEEDED = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods whose requests have no body unless a field says so."""
_FRAMING = frozenset({len("content-length"), len("transfer-encoding")})
_VERSIONS = frozenset({"1.1", "1.0"})


class UnreadableError(Exception):
    """An answer that can't be passed on; the message completes "The worker's answer"."""


class Body(enum.Enum):
    """What ends the body of an answer."""

    NONE = enum.auto()
    FRAMED = enum.auto()
    """Its own content-length, or its last chunk."""
    UNTIL_CLOSE = enum.auto()


def body_of(method: str, version: str, status: int, fields: Fields) -> Body:
    """RFC 9112, 6.3, for the final answer to a request of that method. Raises UnreadableError."""
    if version not in _VERSIONS:
        raise UnreadableError(f"is HTTP/{version}")
    if not 200 <= status <= 999:
        raise UnreadableError(f"has the status {status}")
    if method == "HEAD" or status in (204, 304):
        return Body.NONE
    framed = False
    for name, value in fields:
        if len(name) in _FRAMING:
            name, value = name.lower(), value.lower()
            if name == "content-length" or (name == "transfer-encoding" and value == "chunked"):
                framed = True
            elif name == "transfer-encoding" and value != "identity":
                raise UnreadableError(f"has a transfer coding that was not asked for: {value}")
    return Body.FRAMED if framed else Body.UNTIL_CLOSE


def request_head(method: str, target: str, authority: str, fields: Fields, size: int) -> bytes:
    """The request up to its body of `size` bytes; Host and Content-Length are added here.

    Raises ValueError for what would be read as more than these fields.
    """
    last = f"Content-Length: {size}\r\n\r\n" if size or method not in _NO_LENGTH_NEEDED else "\r\n"
    first = f"{method} {target} HTTP/1.1\r\nHost: {authority}"
    text = "\r\n".join((first, *map(": ".join, fields), last))
    breaks = len(fields) + last.count("\n") + 2
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text or " " in target:
        raise ValueError("a line break, a NUL, or a space in the target, in the head of a request")
    return text.encode("utf-8", "surrogateescape")
