"""How the client speaks gRPC: the channel's options, and gRPC's errors turned into ours. Pure.

Keepalive finds a peer that vanished without a word; it stays above what a server allows, since the
service sends something on every stream at least each 15 seconds. The pauses between connection attempts
are short, or else a service that is back would be found only after gRPC's own two minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import details
from .errors import NO_DETAILS, RolltraceError, from_status, invalid

if TYPE_CHECKING:
    import grpc

DEFAULT_TARGET = "127.0.0.1:9091"
MIB = 1 << 20

Option = tuple[str, str | int]


def options(max_message_bytes: int) -> list[Option]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.use_local_subchannel_pool", 1),
    ]


def as_is(message: bytes) -> bytes:
    """In place of a serializer: requests and answers are made and read elsewhere."""
    return message


def check_target(target: str) -> str:
    if target.startswith(("http://", "https://")):
        raise invalid("target", f"{target!r} is a URL: give HOST:PORT of the control service's gRPC port")
    return target


def failure(error: grpc.RpcError, target: str) -> RolltraceError:
    """Ours for gRPC's. The raised object is a call too, sync and aio alike, and knows its trailers."""
    trailers: Iterable[tuple[str, str | bytes]] = getattr(error, "trailing_metadata", tuple)() or ()
    said = NO_DETAILS
    for key, value in trailers:
        if key == details.TRAILER and isinstance(value, bytes):
            said = details.read(value)
    return from_status(error.code().name, error.details() or "", said, target)
