"""Members of an object, with something to go on with where one is absent, null or of another type."""

from __future__ import annotations

from rolltrace_proxy.raw_json import INTEGER, OBJECT, OBJECTS, STRING, Object, read_member


def text_of(fields: Object, *keys: str) -> str:
    """The first of these that is a text with something in it."""
    for key in keys:
        if found := read_member(STRING, fields, key):
            return found
    return ""


def integer_of(fields: Object, key: str, otherwise: int = 0) -> int:
    found = read_member(INTEGER, fields, key)
    return otherwise if found is None else found


def object_of(fields: Object, key: str) -> Object:
    return read_member(OBJECT, fields, key) or {}


def objects_of(fields: Object, key: str) -> list[Object]:
    return read_member(OBJECTS, fields, key) or []
