"""Kinds of values: how a value is read from text, how it is shown, and what a person may write.

Every source is text in the end, so that a flag, a variable and a YAML key take the same forms.
Readers raise ValueError with the rest of a sentence that begins with the value: "is not a size".
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit

Scalar = str | int | float

SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
SECONDS_OF = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
SWITCHES = {"true": True, "yes": True, "on": True, "1": True} | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
_SURROGATE = re.compile("[\ud800-\udfff]")  # of bytes that are not UTF-8, or half a character
QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kind:
    """`numeric` kinds take a bare number in YAML; the others want text there."""

    name: str
    forms: str
    read: Callable[[str], Scalar]
    show: Callable[[Scalar], str]
    numeric: bool


def _quantity(text: str, units: dict[str, int] | dict[str, float], bare: str) -> tuple[float, float, str]:
    match = QUANTITY.fullmatch(text.strip().lower())
    if match is None or (match[2] or bare) not in units:
        raise ValueError
    return float(match[1]), units[match[2] or bare], match[1]


def plain(value: object) -> str:
    """The value as text that its kind reads back: a small float has no exponent."""
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)


def read_size(text: str) -> int:
    """Bytes, from "65536", "64KiB" or "1.5GB"."""
    try:
        number, unit, digits = _quantity(text, SIZE_UNITS, "b")
    except ValueError:
        raise ValueError("is not a size") from None
    size = int(digits) * int(unit) if digits.isdigit() else number * unit
    if isinstance(size, float) and not size.is_integer():
        raise ValueError("is not a whole number of bytes")
    return int(size)


def show_size(value: Scalar) -> str:
    """The shortest exact form: 67108864 is "64MiB"."""
    size = int(value)
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def read_duration(text: str) -> float:
    """Seconds, from "30", "30s", "1.5s", "250ms", "5m" or "1h"."""
    try:
        number, unit, _ = _quantity(text, SECONDS_OF, "s")
    except ValueError:
        raise ValueError("is not a duration") from None
    seconds = number * unit
    if not math.isfinite(seconds):
        raise ValueError("is not a duration")
    return seconds


def show_duration(value: Scalar) -> str:
    """The shortest exact form: 300.0 is "5m"."""
    seconds = float(value)
    for unit, name in ((3600.0, "h"), (60.0, "m")):
        if seconds and seconds % unit == 0:
            return f"{seconds / unit:.0f}{name}"
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{seconds!r}s"


def read_count(text: str) -> int:
    """A whole number from 0 on."""
    if not re.fullmatch(r"-?[0-9]+", text.strip(), re.ASCII):
        raise ValueError("is not a whole number")
    return int(text)


def read_url(text: str) -> str:
    """An http or https URL with a host; a slash at its end is dropped. "" stays ""."""
    if not text:
        return ""
    text = read_text(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not text.isprintable():
        raise ValueError("is not a URL")
    if parts.query or parts.fragment:
        raise ValueError("has a query or a fragment, which is not understood here")
    return text.rstrip("/")


def read_text(text: str) -> str:
    """Any text in UTF-8 that a process can carry in its environment."""
    if "\0" in text or "\n" in text:
        raise ValueError("holds a NUL or a line break")
    if _SURROGATE.search(text):
        raise ValueError("is not text in UTF-8")
    return text


def read_path(text: str) -> str:
    """A path; `~` is the home folder."""
    return os.path.expanduser(read_text(text))


def read_switch(text: str) -> bool:
    """Whether something is on."""
    word = text.strip().lower()
    if word not in SWITCHES:
        raise ValueError("is neither true nor false")
    return SWITCHES[word]


def show_switch(value: Scalar) -> str:
    return "true" if value else "false"


TEXT = Kind("text", "text", read_text, str, numeric=False)
PATH = Kind("path", "text", read_path, str, numeric=False)
URL = Kind("URL", "http://host:port", read_url, str, numeric=False)
COUNT = Kind("number", "a whole number", read_count, str, numeric=True)
SIZE = Kind("size", "bytes, or 64KiB, 64MiB, 1GB", read_size, show_size, numeric=True)
DURATION = Kind("duration", "seconds, or 250ms, 30s, 5m, 1h", read_duration, show_duration, numeric=True)
SWITCH = Kind("switch", "true or false", read_switch, show_switch, numeric=False)
