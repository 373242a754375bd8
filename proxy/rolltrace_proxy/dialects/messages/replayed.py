"""A recorded message as the events of a stream."""

from __future__ import annotations

from msgspec import Raw

from rolltrace_proxy.dialects.messages.stream import event
from rolltrace_proxy.raw_json import NULL, OBJECT, OBJECTS, STRING, Object, read, read_member

_LAST = ("stop_reason", "stop_sequence")
_SAID = {
    "text": [("text", "text_delta", "text")],
    "thinking": [("thinking", "thinking_delta", "thinking"), ("signature", "signature_delta", "signature")],
    "tool_use": [("input", "input_json_delta", "partial_json")],
}
"""By the type of a block: its members that grow, and in which delta's member."""


def replayed(answer: bytes) -> bytes | None:
    """None when it is no message."""
    top = read(OBJECT, answer)
    content = None if top is None else read_member(OBJECTS, top, "content")
    if top is None or content is None:
        return None
    start = {**top, "content": Raw(b"[]"), **dict.fromkeys(_LAST, NULL)}
    events = [event("message_start", message=start)]
    for index, block in enumerate(content):
        events += _block(index, block)
    delta = {key: top.get(key, NULL) for key in _LAST}
    events.append(event("message_delta", delta=delta, usage=top.get("usage", Raw(b"{}"))))
    return b"".join([*events, event("message_stop")])


def _block(index: int, block: Object) -> list[bytes]:
    growing = _SAID.get(read_member(STRING, block, "type") or "", [])
    empty = {key: Raw(b"{}") if key == "input" else Raw(b'""') for key, _, _ in growing}
    events = [event("content_block_start", index=index, content_block={**block, **empty})]
    for key, kind, member in growing:
        if key in block and block[key] != empty[key]:
            said = bytes(block[key]).decode() if key == "input" else block[key]
            delta = {"type": kind, member: said}
            events.append(event("content_block_delta", index=index, delta=delta))
    return [*events, event("content_block_stop", index=index)]
