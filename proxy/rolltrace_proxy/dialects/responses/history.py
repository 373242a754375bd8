"""What a request says of earlier calls by their ids alone: the response it goes on from, and single items.

The earlier response's input stands before its output, and before both what that one went on from; its
instructions do not carry over. As with OpenAI, an answer that was not to be stored is not found.
"""

from __future__ import annotations

from msgspec import Raw

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.dialects.interface import Find
from rolltrace_proxy.dialects.responses import ids
from rolltrace_proxy.dialects.responses.items import input_items, kind_of, refuse
from rolltrace_proxy.dialects.responses.members import objects_of, text_of
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.raw_json import Object, given, read_object

MAX_TURNS = 1000
MAX_BYTES = 64 * 2**20
"""Of the bodies of all earlier calls that one request may go on from."""

_PREVIOUS = "previous_response_id"
_FALSE = Raw(b"false")


def refers(fields: Object, items: list[Object]) -> bool:
    """Whether the request names anything of earlier calls."""
    return given(fields, _PREVIOUS) is not None or any(kind_of(item) == "item_reference" for item in items)


def resolved(fields: Object, items: list[Object], find: Find) -> list[Object]:
    """The items of a request with all that they go on from. Raises Refused."""
    turns = [items]
    room, before = MAX_BYTES, _previous(fields)
    while before:
        trace, response = _earlier(before, find)
        request = read_object(trace.request_json) or {}
        room -= len(trace.request_json) + len(trace.response_json)
        if room < 0 or len(turns) > 2 * MAX_TURNS:
            most = f"{MAX_TURNS} responses or {MAX_BYTES} bytes"
            refuse(f"The response goes on from more than {most}: send its input instead.", _PREVIOUS)
        turns += [objects_of(response, "output"), input_items(request)]
        before = _previous(request)
    return [_meant(item, find) for turn in reversed(turns) for item in turn]


def _previous(fields: Object) -> str:
    if given(fields, _PREVIOUS) is None:
        return ""
    previous = text_of(fields, _PREVIOUS)
    if not previous:
        refuse(f"Invalid type for '{_PREVIOUS}': expected the id of a response.", _PREVIOUS)
    return previous


def _stored(ours: str, find: Find) -> tuple[pb.Trace, Object] | None:
    """The trace whose answer has, or holds, what has this id, and the answer."""
    trace = find(ids.trace_id(ours))
    if trace is None or trace.status != pb.CALL_STATUS_COMPLETED:
        return None
    request, response = read_object(trace.request_json), read_object(trace.response_json)
    if request is None or response is None or request.get("store") == _FALSE:
        return None
    return trace, response


def _earlier(response_id: str, find: Find) -> tuple[pb.Trace, Object]:
    stored = _stored(response_id, find)
    if stored is None or text_of(stored[1], "id") != response_id:
        message = f"Previous response with id '{response_id}' not found."
        raise Refused(Fault.PREVIOUS_NOT_FOUND, message, _PREVIOUS)
    return stored


def _meant(item: Object, find: Find) -> Object:
    """The item that a reference means; any other item itself."""
    if kind_of(item) != "item_reference":
        return item
    item_id = text_of(item, "id")
    stored = _stored(item_id, find)
    output = [] if stored is None else objects_of(stored[1], "output")
    found = next((each for each in output if text_of(each, "id") == item_id), None)
    if found is None:
        refuse(f"Item with id '{item_id}' not found.", "input")
    return found
