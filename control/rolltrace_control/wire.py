"""Protobuf's wire format, as far as stored messages are put into answers without encoding them again.

Rule: a message that holds stored bytes is a list of parts, joined once, when it is sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1 import trace_service_pb2 as pb
from rolltrace_store.interface import Record

Parts = list[bytes]

_LENGTH_DELIMITED = 2
_SEQUENCE = bytes((event.Event.SEQUENCE_FIELD_NUMBER << 3,))
_EVENT = bytes((pb.EventBatch.EVENTS_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,))
_BODIES = {
    kind: bytes((field << 3 | _LENGTH_DELIMITED,))
    for kind, field in {
        event.EVENT_KIND_TRACE: event.Event.TRACE_FIELD_NUMBER,
        event.EVENT_KIND_SESSION_DELETED: event.Event.SESSION_DELETED_FIELD_NUMBER,
        event.EVENT_KIND_WORKER_CHANGED: event.Event.WORKER_CHANGED_FIELD_NUMBER,
        event.EVENT_KIND_SESSION_SEALED: event.Event.SESSION_SEALED_FIELD_NUMBER,
        event.EVENT_KIND_POLICY_CHANGED: event.Event.POLICY_CHANGED_FIELD_NUMBER,
    }.items()
}
"""The tags, each of one byte."""


def varint(number: int) -> bytes:
    """A number of at least 0, seven bits a byte, the lowest first."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def enclosed(field: int, parts: Parts) -> Parts:
    """A field that holds the message of these parts: tag, length, message."""
    return [varint(field << 3 | _LENGTH_DELIMITED) + varint(size(parts)), *parts]


def size(parts: Iterable[bytes]) -> int:
    return sum(map(len, parts))


def event_of(record: Record, body: bytes) -> Parts:
    """One entry of EventBatch.events; `body` is the record's message as the caller gets it."""
    head = _SEQUENCE + varint(record.sequence) + _BODIES[record.kind] + varint(len(body))
    return [_EVENT + varint(len(head) + len(body)) + head, body]


def batch_response(events: Parts, cursor: pb.Cursor) -> bytes:
    """A SubscribeResponse with a batch of entries made by `event_of`."""
    place = enclosed(pb.EventBatch.CURSOR_FIELD_NUMBER, [cursor.SerializeToString()])
    return b"".join(enclosed(pb.SubscribeResponse.BATCH_FIELD_NUMBER, events + place))


def get_trace_response(trace: bytes) -> bytes:
    return b"".join(enclosed(pb.GetTraceResponse.TRACE_FIELD_NUMBER, [trace]))


def trace_of(trace: bytes) -> Parts:
    """One entry of ListTracesResponse.traces."""
    return enclosed(pb.ListTracesResponse.TRACES_FIELD_NUMBER, [trace])


def list_traces_response(traces: Parts, next_page_token: str) -> bytes:
    """A ListTracesResponse with entries made by `trace_of`."""
    token = pb.ListTracesResponse(next_page_token=next_page_token).SerializeToString()
    return b"".join([*traces, token])
