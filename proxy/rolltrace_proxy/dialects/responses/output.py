"""The parts that a Response is made of: output items, log-probabilities, usage, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Raw

from rolltrace_proxy.dialects.responses.ids import item_id
from rolltrace_proxy.dialects.responses.members import integer_of, object_of, objects_of
from rolltrace_proxy.raw_json import NULL, OBJECT, Object, given, read_member

Json = dict[str, object]
"""An object; values are what `write` takes."""

IN_PROGRESS, COMPLETED, INCOMPLETE, FAILED = "in_progress", "completed", "incomplete", "failed"
_ENDINGS = frozenset({"stop", "tool_calls", "function_call"})
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}

_NONE, _NO_LIST = Raw(b'""'), Raw(b"[]")
_PREFIXES = {"reasoning": "rs", "text": "msg", "refusal": "msg", "call": "fc"}
PART_TYPES = {"reasoning": "reasoning_text", "text": "output_text", "refusal": "refusal"}


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended. `reason`: of an incomplete one, where the API has a word for it."""

    status: str
    reason: str | None = None

    def members(self) -> Json:
        cut = {"reason": self.reason} if self.reason else None
        return {"status": self.status, "incomplete_details": cut}


def ending(finish_reason: str) -> Ending:
    """What a choice's finish reason says: without one, or with an abort's, the answer is not all there."""
    if finish_reason in _ENDINGS:
        return Ending(COMPLETED)
    return Ending(INCOMPLETE, _CUT.get(finish_reason))


@dataclass(slots=True)
class Said:
    """One thing that a model said. `kind`: reasoning, text, refusal, call. `text`: a call's arguments."""

    kind: str
    id: str
    text: str = ""
    logprobs: list[Json] = field(default_factory=list[Json])
    call_id: str = ""
    name: str = ""

    def part(self) -> Json:
        """The content part that the text is."""
        kind = PART_TYPES[self.kind]
        if self.kind == "text":
            return {"type": kind, "annotations": [], "text": self.text, "logprobs": self.logprobs}
        return {"type": kind, "refusal" if self.kind == "refusal" else "text": self.text}

    def item(self, status: str) -> Json:
        """The output item that holds it alone; without content when it has just begun."""
        if self.kind == "call":
            called = {"call_id": self.call_id, "name": self.name, "arguments": self.text}
            return {"id": self.id, "type": "function_call", "status": status, **called}
        parts = [self.part()] if self.text else []
        if self.kind == "reasoning":
            return {"id": self.id, "type": "reasoning", "summary": [], "content": parts, "status": status}
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": parts}


def new_id(kind: str, response: str, place: int) -> str:
    """Of what is said at this place of the response's output."""
    return item_id(response, _PREFIXES[kind], place)


def items(all_said: list[Said], end: Ending) -> list[Json]:
    """The output of an answer that has ended: what was said last is as whole as the answer is."""
    last = len(all_said) - 1
    whole = COMPLETED if end.status == COMPLETED else INCOMPLETE
    return [each.item(whole if place == last else COMPLETED) for place, each in enumerate(all_said)]


def logprobs_of(choice: Object) -> list[Json]:
    """A choice's log-probabilities as those of a text."""
    told = object_of(choice, "logprobs")
    return [_logprob(entry) for entry in objects_of(told, "content")]


def _logprob(entry: Object) -> Json:
    top = [_token(other) for other in objects_of(entry, "top_logprobs")]
    return {**_token(entry), "top_logprobs": top}


def _token(entry: Object) -> Json:
    return {
        "token": entry.get("token", _NONE).copy(),
        "bytes": (given(entry, "bytes") or _NO_LIST).copy(),
        "logprob": entry.get("logprob", NULL).copy(),
    }


def usage_of(fields: Object) -> Json | None:
    """The usage of a chat completion."""
    usage = read_member(OBJECT, fields, "usage")
    if usage is None:
        return None
    prompt, completion = (integer_of(usage, f"{key}_tokens") for key in ("prompt", "completion"))
    before = object_of(usage, "prompt_tokens_details")
    after = object_of(usage, "completion_tokens_details")
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": integer_of(before, "cached_tokens"),
            "cache_write_tokens": integer_of(before, "created_cache_tokens"),
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": integer_of(after, "reasoning_tokens")},
        "total_tokens": integer_of(usage, "total_tokens", prompt + completion),
    }
