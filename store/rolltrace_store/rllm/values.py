"""JSON values of unknown shape, read without surprises. Pure."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import cast

Object = Mapping[str, object]

NOTHING: Object = {}


class RecordError(ValueError):
    """A record that can't be read; the message says what of it."""


def an_object(value: object) -> Object:
    """The value itself; an empty one when it is none."""
    return cast(Object, value) if isinstance(value, dict) else NOTHING


def a_list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def a_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def a_number(value: object) -> float:
    """0 for what is no number."""
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    return number if math.isfinite(number) else 0.0


def a_count(value: object) -> int | None:
    """A number that a u64 holds."""
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64
    return cast(int, value) if known else None


def packed_ids(value: object, name: str) -> bytes:
    """Token ids as little-endian int32. Raises RecordError."""
    ids = a_list(value)
    try:
        return struct.pack(f"<{len(ids)}i", *ids)
    except struct.error:
        raise RecordError(f"{name} holds what is no token id") from None


def packed_logprobs(values: list[object], name: str) -> bytes:
    """Log-probabilities as little-endian float32, NaN for null. Raises RecordError."""
    try:
        return struct.pack(f"<{len(values)}f", *[math.nan if value is None else value for value in values])
    except (struct.error, OverflowError):
        raise RecordError(f"{name} holds what is no log-probability") from None


def written(value: object) -> bytes:
    """JSON in UTF-8; what UTF-8 can't say (half of a character) is escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
