"""log: sequence -> one event. Value: u8 kind (EventKind), then the serialised message of that kind.

Keys only ever grow, so rows are appended. The message of a trace is complete, so that a service can
pass the stored bytes on as they are.
"""

from __future__ import annotations

from typing import NamedTuple

from rolltrace.v1.event_pb2 import EventKind
from rolltrace_store.schema.codec import U64, Codec, Table

_KINDS = [bytes((kind,)) for kind in range(256)]


class Entry(NamedTuple):
    """An event without its sequence."""

    kind: EventKind.ValueType
    body: bytes


def event(kind: EventKind.ValueType, *body: bytes) -> bytes:
    """A value, given the parts of the body."""
    return b"".join((_KINDS[kind], *body))


def _encode(entry: Entry) -> bytes:
    return event(entry.kind, entry.body)


def _decode(data: bytes) -> Entry:
    if not data:
        raise ValueError("an empty entry")
    return Entry(EventKind.ValueType(data[0]), data[1:])


LOG: Table[int, Entry] = Table("log", U64, Codec(_encode, _decode))
