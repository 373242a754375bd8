"""A request as the handler gets it, and what its answer has to be. Decisions only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

from rolltrace_embedded.errors import AnswerError
from rolltrace_embedded.sample import Object

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Call:
    """`number` makes the answer's id, `created` is in seconds of 1970."""

    request: Object
    chat: bool
    number: str
    created: int

    @property
    def streamed(self) -> bool:
        return self.request.get("stream") is True

    @property
    def wants_ids(self) -> bool:
        return self.request.get("return_token_ids") is True

    @property
    def wants_logprobs(self) -> bool:
        """Chat says true or false; completions a number, of which 0 is one."""
        value = self.request.get("logprobs")
        return value is True if self.chat else value is not None and value is not False

    @property
    def wants_usage(self) -> bool:
        """Of a stream, which has none unless asked."""
        options = self.request.get("stream_options")
        return isinstance(options, dict) and cast(Object, options).get("include_usage") is True

    def envelope(self, *, chunk: bool) -> Object:
        """What every answer and every chunk begins with."""
        kind = "chat.completion.chunk" if chunk else "chat.completion"
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.number}",
            "object": kind if self.chat else "text_completion",
            "created": self.created,
            "model": self.request.get("model") or "",
        }


def call_of(path: str, body: bytes, number: str, created: int) -> Call:
    """Raises AnswerError."""
    try:
        request: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"the request is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise AnswerError("the request is not a JSON object")
    return Call(cast(Object, request), path == CHAT, number, created)
