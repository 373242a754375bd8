"""What a table is: a codec for its keys and one for its values, so that no caller sees bytes.

Rules: numbers are big-endian, so that keys sort as the numbers do; text is UTF-8, which sorts by code
point. A codec that cannot read its bytes raises one of UNREADABLE.
"""

from __future__ import annotations

import struct
import uuid
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


def _decode_u64(data: bytes) -> int:
    (number,) = struct.unpack(">Q", data)
    return int(number)


U64: Codec[int] = Codec(struct.Struct(">Q").pack, _decode_u64)
TEXT: Codec[str] = Codec(str.encode, bytes.decode)
UUID: Codec[str] = Codec(lambda text: uuid.UUID(text).bytes, lambda data: str(uuid.UUID(bytes=data)))
EMPTY: Codec[None] = Codec(lambda _: b"", lambda _: None)
