"""Requests out of bytes: one at a time, however the bytes are cut. No I/O.

Rules. llhttp decides what is HTTP, without any of its leniencies: every line ends in CRLF, a length and
chunks exclude each other, a length stands once. Of a message no more is fed to it than belongs to that
message: a head and what comes in chunks both end in an empty line, and everything else has a length. So what
follows is still there as bytes, and can wait until this request is answered. What has no end (a header, a
trailer) is refused once it is too large.
"""

from __future__ import annotations

from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.http1.fields import by_name, decoded, values
from rolltrace_proxy.http1.interface import Fields

_END = b"\r\n\r\n"
_COPIED = 4096
"""Fewer bytes are cheaper to copy than to view."""


@dataclass(slots=True)  # frozen would cost as much as the parsing
class Head:
    """A request without its body; never changed.

    `keeps`: the agent may use the connection again. `named` are the first values of each name in lower case.
    `length` of the body in bytes, 0 for none and for one in chunks. `expects` is the value of Expect in lower
    case, empty for HTTP/1.0, which has no such thing.
    """

    method: str
    target: str
    fields: Fields
    named: dict[str, str]
    is_1_1: bool
    keeps: bool
    length: int
    chunked: bool
    expects: str


class Reader:
    """Reads what one connection brings. `head` is there once it is whole, `ended` says that the body is.

    `pieces` are the body's, `size` is how many bytes of it came. `next` begins with another request.
    """

    __slots__ = (
        "_complete",
        "_keeps",
        "_left",
        "_most",
        "_parser",
        "_raw",
        "_taken",
        "_target",
        "ended",
        "head",
        "pieces",
        "size",
    )

    def __init__(self, max_header_size: int) -> None:
        self._most = max_header_size
        self._parser = HttpRequestParser(self)
        self.next()

    def next(self) -> None:
        self.head: Head | None = None
        self.ended = False
        self.pieces: list[bytes] = []
        self.size = 0
        self._target = b""
        self._raw: list[bytes] = []
        self._complete = self._keeps = False
        self._left = 0
        self._taken = 0

    @property
    def addressed(self) -> bool:
        """Whether it has begun to be told what is asked for."""
        return bool(self._target)

    def release(self) -> None:
        """Nothing more will be fed. Parser and reader hold each other."""
        del self._parser

    def feed(self, data: bytes, at: int) -> int:
        """Takes some of `data` from `at` on, never beyond the end of the message; returns where it ended.

        Raises Refused for what is not HTTP/1.1 and for what has no end; nothing may be fed after that.
        """
        end = min(len(data), at + self._left) if self._left else self._cut(data, at)
        size = end - at
        self._taken += size
        upgrade = False
        try:  # a slice of all is no copy
            whole_or_small = size < _COPIED or size == len(data)
            self._parser.feed_data(data[at:end] if whole_or_small else memoryview(data)[at:end])
        except HttpParserUpgrade:
            upgrade = True
        except HttpParserError as error:
            raise Refused(Fault.INVALID_REQUEST, f"The request is not well formed: {error}.") from None
        if self._taken > self._most:
            said = f"The header has more than {self._most} bytes (--max-header-size)."
            raise Refused(Fault.HEADERS_TOO_LARGE, said)
        if self._complete and self.head is None:
            self.head = self._whole_head()
            if upgrade:
                self._stay(self.head)
        return end

    def _cut(self, data: bytes, at: int) -> int:
        if at < 3 and (self._taken or self.head is not None):
            return at + 1  # an empty line may have begun in the bytes before these
        found = data.find(_END, at - 3 if at > 3 else 0)
        return len(data) if found < 0 else found + len(_END)

    def _whole_head(self) -> Head:
        method, version = self._parser.get_method().decode(), self._parser.get_http_version()
        is_1_1 = version == "1.1"
        if not is_1_1 and version != "1.0":
            raise Refused(Fault.INVALID_REQUEST, "The request is not HTTP/1.1, nor HTTP/1.0.")
        fields, self._raw = decoded(self._raw), []
        named, expects = by_name(fields), ""
        chunked = "transfer-encoding" in named
        if chunked and not (is_1_1 and _are_chunks(fields)):
            raise Refused(Fault.INVALID_REQUEST, "Of all transfer codings, chunked in HTTP/1.1 is taken.")
        if is_1_1 and "expect" in named:
            expects = values(fields, "expect")[-1].lower()
        length = int(named.get("content-length", 0))
        self._left = length - self.size
        target = self._target.decode("utf-8", "surrogateescape")
        keeps = self._keeps and method != "CONNECT"
        self._taken = 0
        return Head(method, target, fields, named, is_1_1, keeps, length, chunked, expects)

    def _stay(self, head: Head) -> None:
        """An upgrade is an offer, which we don't take (RFC 9110, 7.8): the body follows as ever. llhttp skips
        it, so another parser is told how it is framed."""
        if head.method == "CONNECT":
            return
        self.ended = False
        framing = b"transfer-encoding: chunked" if head.chunked else b"content-length: %d" % head.length
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    def on_url(self, data: bytes) -> None:
        if self.head is None:
            self._target += data

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._complete:  # or it is a trailer's
            self._raw += (name, value)

    def on_headers_complete(self) -> None:
        if not self._complete:
            self._complete, self._keeps = True, self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        self._taken = 0
        if self._left:
            self._left -= len(data)
        self.size += len(data)
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.ended = True


def _are_chunks(fields: Fields) -> bool:
    return [value.lower() for value in values(fields, "transfer-encoding")] == ["chunked"]
