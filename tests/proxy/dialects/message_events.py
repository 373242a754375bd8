"""The grammar of Anthropic's streams, written down anew: events in, the message out, or an AssertionError."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

_GROWS = {
    "text": {"text_delta": "text"},
    "thinking": {"thinking_delta": "thinking", "signature_delta": "signature"},
    "tool_use": {"input_json_delta": "partial_json"},
}


def parse(stream: bytes) -> list[Json]:
    """The events of a whole stream; each has its name twice."""
    assert stream.endswith(b"\n\n")
    events: list[Json] = []
    for raw in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = raw.split("\n")
        event: Json = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def merged(stream: bytes) -> Json:
    """The message of a stream that came to its end."""
    events = [event for event in parse(stream) if event["type"] != "ping"]
    start, *blocks, delta, stop = events
    assert (start["type"], delta["type"], stop) == (
        "message_start",
        "message_delta",
        {"type": "message_stop"},
    )
    message: Json = start["message"]
    assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([], None, None)
    content: list[Json] = []
    while blocks:
        end = next(at for at, event in enumerate(blocks) if event["type"] == "content_block_stop")
        content.append(_block(len(content), blocks[: end + 1]))
        del blocks[: end + 1]
    assert list(message["usage"]) <= list(delta["usage"])
    return {**message, "content": content, **delta["delta"], "usage": delta["usage"]}


def _block(index: int, events: list[Json]) -> Json:
    start, *deltas, _ = events
    assert start["type"] == "content_block_start"
    assert {event["index"] for event in events} == {index}
    block: Json = start["content_block"]
    grows = _GROWS[block["type"]]
    said = dict.fromkeys(grows.values(), "")
    for event in deltas:
        assert event["type"] == "content_block_delta"
        delta: Json = event["delta"]
        key = grows[delta["type"]]
        assert set(delta) == {"type", key}
        assert delta[key]
        said[key] += delta[key]
    if block["type"] == "tool_use":
        assert block["input"] == {}
        return {**block, "input": json.loads(said["partial_json"] or "{}")}
    assert not any(block[key] for key in said)
    return {**block, **said}
