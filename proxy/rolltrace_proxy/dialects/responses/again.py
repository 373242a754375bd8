"""A recorded Response, streamed again: the same grammar and the same ids, each item in one piece."""

from __future__ import annotations

from rolltrace_proxy.dialects.responses.events import Events
from rolltrace_proxy.dialects.responses.members import objects_of, text_of
from rolltrace_proxy.dialects.responses.output import COMPLETED, IN_PROGRESS, Json, Said
from rolltrace_proxy.raw_json import NULL, Object, read_object

_KINDS = {"reasoning_text": "reasoning", "output_text": "text", "refusal": "refusal"}


def stream(answer: bytes) -> bytes | None:
    """The events; None when it is no Response, or holds items of other kinds than our own."""
    top = read_object(answer)
    if top is None or text_of(top, "object") != "response":
        return None
    output = objects_of(top, "output")
    said = [_said(item) for item in output]
    events = Events()
    begun: Json = {**top, "status": IN_PROGRESS, "output": []}
    out = [events.begin(begun | dict.fromkeys(("usage", "error", "incomplete_details"), NULL))]
    for place, (each, item) in enumerate(zip(said, output, strict=True)):
        if each is None:
            return None
        out.append(events.added(Said(each.kind, each.id, call_id=each.call_id, name=each.name), place))
        if each.text:
            out.append(events.delta(each, place, each.text, each.logprobs))
        out.append(events.done(each, place, text_of(item, "status") or COMPLETED))
    out.append(events.end({**top}, text_of(top, "status")))
    return b"".join(out)


def _said(item: Object) -> Said | None:
    own = text_of(item, "id")
    if text_of(item, "type") == "function_call":
        call_id, name = text_of(item, "call_id"), text_of(item, "name")
        return Said("call", own, text_of(item, "arguments"), call_id=call_id, name=name)
    parts = objects_of(item, "content")
    kind = _KINDS.get(text_of(parts[0], "type")) if len(parts) == 1 else None
    if kind is None:
        return None
    logprobs: list[Json] = [{**entry} for entry in objects_of(parts[0], "logprobs")]
    return Said(kind, own, text_of(parts[0], "text", "refusal"), logprobs)
