"""What a request says of earlier calls by their ids alone: the response it goes on from, and single items.

The earlier response's input stands before its output, and before both what that one went on from; its
instructions do not carry over. As with OpenAI, an answer that was not to be stored is not found.
"""

from __future__ import annotations

from typing import NoReturn

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
"""Of the bodies of all earlier calls that one request may go on from, and of all items that it names."""

_PREVIOUS = "previous_response_id"
_FALSE = Raw(b"false")


def refers(fields: Object, items: list[Object]) -> bool:
    """Whether the request names anything of earlier calls."""
    return given(fields, _PREVIOUS) is not None or any(kind_of(item) == "item_reference" for item in items)


def resolved(fields: Object, items: list[Object], find: Find) -> list[Object]:
    """The items of a request with all that they go on from. Raises Refused."""
    earlier = _Earlier(find)
    turns, before = [items], _previous(fields)
    while before:
        request, response = earlier.call(before)
        if len(turns) > 2 * MAX_TURNS:
            _too_much()
        turns += [objects_of(response, "output"), input_items(request)]
        before = _previous(request)
    return [earlier.meant(item) for turn in reversed(turns) for item in turn]


class _Earlier:
    """The calls of a session before this one, as far as one request may look back."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._room = MAX_BYTES
        self._items: dict[str, dict[str, Object]] = {}

    def call(self, response_id: str) -> tuple[Object, Object]:
        """Request and answer of the call with this response. Raises Refused."""
        stored = self._stored(ids.trace_id(response_id))
        if stored is None or text_of(stored[1], "id") != response_id:
            message = f"Previous response with id '{response_id}' not found."
            raise Refused(Fault.PREVIOUS_NOT_FOUND, message, _PREVIOUS)
        return stored

    def meant(self, item: Object) -> Object:
        """The item that a reference means; any other item itself. Raises Refused."""
        if kind_of(item) != "item_reference":
            return item
        item_id = text_of(item, "id")
        trace_id = ids.trace_id(item_id)
        if trace_id not in self._items:
            stored = self._stored(trace_id)
            output = [] if stored is None else objects_of(stored[1], "output")
            self._items[trace_id] = {text_of(each, "id"): each for each in output}
        found = self._items[trace_id].get(item_id)
        if found is None:
            refuse(f"Item with id '{item_id}' not found.", "input")
        self._take(sum([len(bytes(value)) for value in found.values()]))
        return found

    def _stored(self, trace_id: str) -> tuple[Object, Object] | None:
        trace = self._find(trace_id) if trace_id else None
        if trace is None or trace.status != pb.CALL_STATUS_COMPLETED:
            return None
        self._take(len(trace.request_json) + len(trace.response_json))
        request, response = read_object(trace.request_json), read_object(trace.response_json)
        if request is None or response is None or request.get("store") == _FALSE:
            return None
        return request, response

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            _too_much()


def _too_much() -> NoReturn:
    most = f"{MAX_TURNS} responses or {MAX_BYTES} bytes"
    refuse(f"The response goes on from more than {most}: send its input instead.", _PREVIOUS)


def _previous(fields: Object) -> str:
    if given(fields, _PREVIOUS) is None:
        return ""
    previous = text_of(fields, _PREVIOUS)
    if not previous:
        refuse(f"Invalid type for '{_PREVIOUS}': expected the id of a response.", _PREVIOUS)
    return previous
