"""What an API must say of itself to be served by chat completions.

Rules. A dialect sees the chat answer as an agent of chat completions would: without what Rolltrace asked
for by itself, whatever the engine. Nothing here awaits; nothing raises for what a worker may send.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.errors import Refused
from rolltrace_proxy.raw_json import Object


class NotTranslatableError(Exception):
    """Chat completions can't express the request; the message says what of it. It goes to the worker as it
    is, and what the worker does not tell of its tokens is a gap with this message."""


class Reply(Protocol):
    """One streamed answer, from chat chunks to the dialect's events."""

    def feed(self, chunk: Object, prompt_tokens: int) -> bytes:
        """The events of one chunk (or of an error that the worker sends in the stream); may be empty.

        prompt_tokens: how many ids the worker gave for the prompt so far, for what tells it at its start.
        """
        ...

    def close(self) -> bytes:
        """The last events. They tell the agent that the answer is whole: they go out once it is recorded."""
        ...

    def whole(self) -> bytes:
        """The answer so far as one JSON object, as if it had not been streamed; nothing when nothing came."""
        ...


class Translation(Protocol):
    """One call."""

    @property
    def body(self) -> bytes:
        """The body of the chat completion to ask for, with "stream" and "stream_options" if streamed."""
        ...

    def whole(self, body: bytes) -> bytes:
        """The answer, from a chat completion of HTTP status 200; the body itself when it is none."""
        ...

    def error(self, status: int, body: bytes) -> bytes:
        """A worker's error answer in the dialect's shape."""
        ...

    def reply(self) -> Reply: ...


Find = Callable[[str], pb.Trace | None]
"""The FULL trace with this id, if it is of the call's own session."""


@dataclass(frozen=True, slots=True)
class Referring:
    """A request that names earlier calls of its session instead of repeating what they said.

    `translate` is called with one consistent look at them; it raises what Dialect.translate raises.
    """

    translate: Callable[[Find], Translation]


class Wording(Protocol):
    """How an API says what went wrong."""

    def refusal(self, refused: Refused) -> bytes:
        """An error of the gateway's own."""
        ...

    def error(self, status: int, body: bytes, trace_id: str, untold: str) -> bytes:
        """A worker's error answer to a call that went to it as it came; untold says why, if it might have
        been translated."""
        ...


class Dialect(Wording, Protocol):
    """An API."""

    def translate(self, body: bytes, trace_id: str) -> Translation | Referring:
        """Of an agent's body. The ids that the dialect gives to answers are made from the call's trace id.

        Raises NotTranslatableError; Refused for what no worker could make sense of.
        """
        ...

    def stream(self, answer: bytes) -> bytes | None:
        """A recorded whole answer as the events of a stream; None when it is none."""
        ...
