"""A chat completion in one piece, as a Response."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rolltrace_proxy.dialects.responses.members import integer_of, object_of, objects_of, text_of
from rolltrace_proxy.dialects.responses.output import (
    Ending,
    Json,
    Said,
    ending,
    items,
    logprobs_of,
    new_id,
    usage_of,
)
from rolltrace_proxy.raw_json import Object, read_object, write

REASONING = ("reasoning", "reasoning_content")
"""Where engines put it: vLLM, and most others."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a Response takes from its request. `shows_logprobs`, `shows_reasoning`: whether they are to be
    in it; an agent that wants no reasoning gets no log-probabilities either, as with vLLM."""

    id: str
    echo: Object
    shows_logprobs: bool
    shows_reasoning: bool


def answer(body: bytes, asked: Asked) -> bytes:
    """The Response; the body itself when it is no chat completion."""
    top = read_object(body)
    choices = [] if top is None else objects_of(top, "choices")
    if top is None or not choices:
        return body
    choice = next((each for each in choices if integer_of(each, "index", -1) == 0), choices[0])
    message = object_of(choice, "message")
    parts = list(_said(message, asked))
    texts = [part for part in parts if part.kind == "text"]
    if asked.shows_logprobs and texts:
        texts[0].logprobs = logprobs_of(choice)
    end = ending(text_of(choice, "finish_reason"))
    return write(response(asked, top, end) | {"output": items(parts, end), "usage": usage_of(top)})


def response(asked: Asked, top: Object, end: Ending) -> Json:
    """A Response without output. `top`: the members of a chat completion, or of the first chunk."""
    tier = text_of(top, "service_tier")
    return {
        "id": asked.id,
        "object": "response",
        "created_at": integer_of(top, "created"),
        "error": None,
        **end.members(),
        "model": text_of(top, "model"),
        "output": [],
        "usage": None,
        **asked.echo,
        **({"service_tier": tier} if tier else {}),
    }


def _said(message: Object, asked: Asked) -> Iterator[Said]:
    place = 0
    reasoning = text_of(message, *REASONING) if asked.shows_reasoning else ""
    spoken = (
        ("reasoning", reasoning),
        ("text", text_of(message, "content")),
        ("refusal", text_of(message, "refusal")),
    )
    for kind, text in spoken:
        if text:
            yield Said(kind, new_id(kind, asked.id, place), text)
            place += 1
    for call in objects_of(message, "tool_calls"):
        function = object_of(call, "function")
        own = new_id("call", asked.id, place)
        call_id, name = text_of(call, "id") or own, text_of(function, "name")
        yield Said("call", own, text_of(function, "arguments"), call_id=call_id, name=name)
        place += 1
