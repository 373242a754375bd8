"""Keys that sort by age: u64 time, big-endian, then a name in UTF-8. Tables say what unit the time has."""

from __future__ import annotations

from typing import NamedTuple

from rolltrace_store.schema.codec import TEXT, U64, Codec


class Age(NamedTuple):
    time: int
    name: str


def _encode(age: Age) -> bytes:
    return U64.encode(age.time) + TEXT.encode(age.name)


def _decode(data: bytes) -> Age:
    return Age(U64.decode(data[:8]), TEXT.decode(data[8:]))


AGE: Codec[Age] = Codec(_encode, _decode)
