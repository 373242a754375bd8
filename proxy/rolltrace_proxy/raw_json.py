"""JSON of strangers, read one level at a time.

An object is a dict from its keys to the untouched bytes of its values, so what nobody looks at costs
nothing to read and comes out again exactly as it went in: numbers, escapes and non-ASCII text too. Only
the white space between the members of a level that was taken apart is lost.

Reading never raises: what cannot be read is None, and the caller says what that means.
"""

from __future__ import annotations

import json
import math
from typing import TypeVar

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, Encoder

Object = dict[str, Raw]
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

T = TypeVar("T")

NULL = Raw(b"null")
OBJECT: Decoder[Object] = Decoder(Object)
OBJECTS: Decoder[list[Object]] = Decoder(list[Object])
RAWS: Decoder[list[Raw]] = Decoder(list[Raw])
STRING: Decoder[str] = Decoder(str)
INTEGER: Decoder[int] = Decoder(int)
ANYTHING: Decoder[Value] = Decoder()
_ENCODER = Encoder()


def read(decoder: Decoder[T], data: Raw | bytes) -> T | None:
    """The value, or None when data is not JSON of the decoder's type (or nests too deeply)."""
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError):
        return None


def read_object(data: bytes) -> Object | None:
    """An object's members. None as well when data is not UTF-8, which the decoders only look for in what
    they take apart."""
    return read(OBJECT, data) if is_utf8(data) else None


def is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def _finite(digits: str) -> float | None:
    """1e999 is JSON, but Python's own writer makes Infinity of it."""
    value = float(digits)
    return value if math.isfinite(value) else None


def mend(data: bytes) -> bytes | None:
    """An object that JSON does not allow, made valid: NaN and infinities, which Python's own writer makes,
    become null, lone surrogates "?", bytes that are not UTF-8 U+FFFD. None for anything else."""
    try:
        value = json.loads(data.decode(errors="replace"), parse_constant=lambda _: None, parse_float=_finite)
        mended = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    except (ValueError, RecursionError):
        return None
    return None if read(OBJECT, mended) is None else mended


def given(fields: Object, key: str) -> Raw | None:
    """The member's bytes, or None when it is absent or null."""
    value = fields.get(key)
    return None if value is None or value == NULL else value


def read_member(decoder: Decoder[T], fields: Object, key: str) -> T | None:
    """The member, or None when it is absent, null or of another type."""
    value = given(fields, key)
    return None if value is None else read(decoder, value)


def write(value: object) -> bytes:
    """Compact JSON, Raw values as they are. Raises ValueError for what JSON or UTF-8 cannot hold."""
    try:
        return _ENCODER.encode(value)
    except (OverflowError, RecursionError, TypeError, msgspec.MsgspecError) as error:
        raise ValueError(f"not to be written as JSON: {error}") from error
