"""gRPC's standard health check as the bytes of one connection: HTTP/2 (RFC 9113) for a single call. Pure.

`rolltrace up` asks in this way: to load gRPC would take it as long as a service takes to start, and more
memory than all the rest of it.
"""

from __future__ import annotations

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS = 1, 4
_HEAD = 9
_LONGEST = 1 << 14
"""Bytes of a frame, since no other limit was asked for."""
_EMPTY = b"\0\0\0\0\0"
"""grpc.health.v1.HealthCheckRequest with nothing in it, which asks for the whole server."""
_SERVING = b"\0\0\0\0\2\x08\1"
"""HealthCheckResponse: field 1, the status, is 1."""


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: bytes) -> bytes:
    """As HPACK (RFC 7541, 5.2) has it, for fewer than 127 bytes."""
    return bytes((len(text),)) + text


# RFC 7541, 6: indexed fields of the static table, then literals that nobody is to remember.
_FIELDS = b"".join(
    (
        b"\x83\x86",  # :method POST, :scheme http
        b"\x04" + _text(b"/grpc.health.v1.Health/Check"),  # :path
        b"\x01" + _text(b"localhost"),  # :authority
        b"\x0f\x10" + _text(b"application/grpc"),  # content-type
        b"\0" + _text(b"te") + _text(b"trailers"),
    )
)
CHECK = b"".join(
    (
        _PREFACE,
        _frame(_SETTINGS, 0, 0),
        _frame(_HEADERS, _END_HEADERS, 1, _FIELDS),
        _frame(_DATA, _END_STREAM, 1, _EMPTY),
    )
)
"""All that is sent."""


def serving(received: bytes) -> bool | None:
    """Whether what came in answer says SERVING; None while that is not known."""
    at, message = 0, b""
    while len(received) >= at + _HEAD:
        size, kind, flags = int.from_bytes(received[at : at + 3], "big"), received[at + 3], received[at + 4]
        stream = int.from_bytes(received[at + 5 : at + _HEAD], "big")
        if size > _LONGEST or kind == _GOAWAY or (stream, kind) == (1, _RST_STREAM):
            return False
        at += _HEAD + size
        if len(received) < at:
            return None
        if stream == 1 and kind in (_DATA, _HEADERS):
            message += received[at - size : at] if kind == _DATA else b""
            if message == _SERVING or flags & _END_STREAM:
                return message == _SERVING
    return None
