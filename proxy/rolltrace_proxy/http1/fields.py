"""Header fields out of what llhttp gives, all of one message at once.

Rules. What llhttp takes for a name or a value holds no line end, so that one joins them all and is split
again: a message costs a few calls in C, however many fields it has. No I/O.
"""

from __future__ import annotations

from rolltrace_proxy.http1.interface import Fields


def decoded(raw: list[bytes]) -> list[tuple[str, str]]:
    """Fields from names and values in turn. White space behind a value, which llhttp leaves, goes."""
    text = b"\n".join(raw).decode("utf-8", "surrogateescape")
    parts = text.split("\n") if raw else []
    if len(parts) != len(raw):
        raise ValueError("A header field holds a line end.")
    if " \n" in text or "\t\n" in text or text.endswith((" ", "\t")):
        parts = [part.rstrip(" \t") for part in parts]
    return list(zip(parts[::2], parts[1::2], strict=True))


def by_name(fields: Fields) -> dict[str, str]:
    """The first value of each name, which is in lower case."""
    return {name.lower(): value for name, value in reversed(fields)}


def values(fields: Fields, name: str) -> list[str]:
    """All values of the field with this lower-case name."""
    return [value for given, value in fields if given.lower() == name]
