"""The grammar of a response's stream, as a checker; and what its events add up to."""

from __future__ import annotations

import json
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from rolltrace_proxy.sse import EventFramer

Json = Any  # what json.loads gives

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_LAST = {"completed": "response.completed", "failed": "response.failed"}
_TOLD_LAST = ("status", "incomplete_details", "output", "usage", "error")
_TEXTS = {"output_text": "text", "reasoning_text": "text", "refusal": "refusal"}


class _Item:
    """An item as its events tell it."""

    def __init__(self, added: Json) -> None:
        assert added["status"] == "in_progress"
        self.item = added
        self.part: Json = None
        self.text = ""
        self.logprobs: list[Json] = []
        self.told = False
        self.done = False

    def take(self, event: Json) -> None:
        assert not self.done
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.done":
            self._finish(event["item"])
            return
        assert event["item_id"] == self.item["id"]
        if kind == "content_part.added":
            self.part = event["part"]
            assert self.part[_TEXTS[self.part["type"]]] == ""
        elif kind == "content_part.done":
            assert self.told
            assert event["part"][_TEXTS[self.part["type"]]] == self.text
            self.part = event["part"]
        elif kind.endswith(".delta"):
            assert event["delta"]
            assert not self.told
            self.text += event["delta"]
            self.logprobs += event.get("logprobs", [])
        else:
            assert kind.endswith(".done")
            assert {*event}.intersection(("text", "refusal", "arguments"))
            assert self.text in (event.get("text"), event.get("refusal"), event.get("arguments"))
            self.told = True

    def _finish(self, item: Json) -> None:
        assert self.told
        same = ("id", "type", "call_id", "name", "role")
        assert [item.get(key) for key in same] == [self.item.get(key) for key in same]
        if item["type"] == "function_call":
            assert item["arguments"] == self.text
        else:
            assert item["content"] == [self.part]
            told = self.part.get("logprobs", [])
            assert [entry["token"] for entry in told][: len(self.logprobs)] == [
                entry["token"] for entry in self.logprobs
            ]
        self.item, self.done = item, True


def a_response(body: bytes) -> Json:
    """A Response that OpenAI's own types take as it is."""
    response = json.loads(body)
    Response.model_validate(response)
    return response


def parsed(stream: bytes) -> list[Json]:
    """The data of the events, each of them named in its event line too."""
    events: list[Json] = []
    for event in EventFramer().feed(stream):
        name, _, _ = event.raw.partition(b"\n")
        assert event.data is not None
        events.append(json.loads(event.data))
        assert name == b"event: " + events[-1]["type"].encode()
    return events


def checked(stream: bytes) -> Json:
    """The last event's response, once the whole stream is found to be as OpenAI has it."""
    events = parsed(stream)
    for event in events:
        _EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    begun, last = events[0]["response"], events[-1]
    assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    response = last["response"]
    assert last["type"] == _LAST.get(response["status"], "response.incomplete")
    items: list[_Item] = []
    for event in events[2:-1]:
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(items)
            items.append(_Item(event["item"]))
        else:
            place: int = event["output_index"]
            items[place].take(event)
    if response["status"] != "failed":
        assert all(item.done for item in items)
    assert [item.item for item in items if item.done] == [
        output for output, item in zip(response["output"], items, strict=True) if item.done
    ]
    assert {key: value for key, value in response.items() if key not in _TOLD_LAST} == {
        key: value for key, value in begun.items() if key not in _TOLD_LAST
    }
    return response
