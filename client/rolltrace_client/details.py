"""The google.rpc details of an error, read without the googleapis package.

They travel as a serialised google.rpc.Status in the trailer `grpc-status-details-bin`; the numbers below
are the fields of google/rpc/status.proto and error_details.proto. What cannot be read is left out: a
broken trailer must not hide the error that it belongs to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

TRAILER = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Details:
    """What the service said beside code and message. Empty values were not said."""

    field: str = ""
    reason: str = ""
    resource: str = ""
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    retry_delay: float | None = None
    """Seconds."""


def read(status: bytes) -> Details:
    """The details in the bytes of a google.rpc.Status."""
    details = Details()
    try:
        for packed in _all(status, 3):  # Status.details, each a google.protobuf.Any
            name = _text(packed, 1).rpartition("/")[2]
            details = _with(details, name, _bytes(packed, 2))
    except (ValueError, IndexError, OverflowError):
        pass
    return details


def _with(details: Details, name: str, body: bytes) -> Details:
    match name:
        case "google.rpc.BadRequest":
            return replace(details, field=_text(_bytes(body, 1), 1))
        case "google.rpc.ErrorInfo":
            pairs = {_text(pair, 1): _text(pair, 2) for pair in _all(body, 3)}
            return replace(details, reason=_text(body, 1), metadata=pairs)
        case "google.rpc.ResourceInfo":
            return replace(details, resource=_text(body, 2))
        case "google.rpc.RetryInfo":
            delay = _bytes(body, 1)
            return replace(details, retry_delay=_number(delay, 1) + _number(delay, 2) / 1e9)
        case _:
            return details


def _all(message: bytes, number: int) -> list[bytes]:
    return [value for found, value in _fields(message) if found == number and isinstance(value, bytes)]


def _bytes(message: bytes, number: int) -> bytes:
    return next(iter(_all(message, number)), b"")


def _text(message: bytes, number: int) -> str:
    return _bytes(message, number).decode()


def _number(message: bytes, number: int) -> int:
    return next((value for found, value in _fields(message) if found == number and isinstance(value, int)), 0)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of any protobuf message: number, and value as varint or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            if wire != 2:
                raise ValueError("a group or an unknown wire type")
            size, at = _varint(message, at)
        if at + size > len(message):
            raise ValueError("cut off")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
