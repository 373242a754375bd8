"""What a table is: a codec for its keys and one for its values, so that no caller sees bytes.

Rules: numbers are big-endian, so that keys sort as the numbers do; text is UTF-8, which sorts by code
point. A codec that cannot read its bytes raises one of UNREADABLE.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
M = TypeVar("M", bound=Message)

UNREADABLE = (ValueError, struct.error, DecodeError)


@dataclass(frozen=True, slots=True)
class Codec(Generic[T]):
    """A way to write values as bytes, and back."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


@dataclass(frozen=True, slots=True)
class Table(Generic[K, V]):
    """A named database of the environment."""

    name: str
    key: Codec[K]
    value: Codec[V]


def message(kind: type[M]) -> Codec[M]:
    """Serialised protobuf messages."""
    return Codec(kind.SerializeToString, kind.FromString)


_U64 = struct.Struct(">Q")


def _decode_u64(data: bytes) -> int:
    number: int = _U64.unpack(data)[0]
    return number


def _encode_uuid(text: str) -> bytes:
    data = bytes.fromhex(text.replace("-", ""))
    if len(data) != 16:
        raise ValueError(f"{text!r} is no UUID")
    return data


def _decode_uuid(data: bytes) -> str:
    digits = data.hex()
    if len(digits) != 32:
        raise ValueError(f"{digits} is no UUID")
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


U64: Codec[int] = Codec(_U64.pack, _decode_u64)
TEXT: Codec[str] = Codec(str.encode, bytes.decode)
BYTES: Codec[bytes] = Codec(bytes, bytes)
UUID: Codec[str] = Codec(_encode_uuid, _decode_uuid)
EMPTY: Codec[None] = Codec(lambda _: b"", lambda _: None)
