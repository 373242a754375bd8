"""A recorded answer, given again: whole as it was, or as a stream made from the merged chunks.

A stream of the same grammar, not the same cuts: for chat each choice comes as a chunk with its role, one
with all that it says, and one with its finish reason; for completions in one chunk. Merged again, it is
the recorded answer. What stands in there is what the agent got the first time, so nothing is in it that it
did not ask for. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Raw

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import gaps
from rolltrace_proxy.dialects.known import carries_tokens, dialect_of
from rolltrace_proxy.raw_json import OBJECT, OBJECTS, Object, given, read, read_member, write
from rolltrace_proxy.tokens import PROMPT_KEY

DONE = b"data: [DONE]\n\n"
JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream; charset=utf-8"

_NOT_ALL_OF_IT = frozenset({gaps.UNREADABLE, gaps.TOO_LARGE})
_LAST = ("finish_reason", "stop_reason")
_NULL, _EMPTY, _NO_CHOICES = Raw(b"null"), Raw(b'""'), Raw(b"[]")
_WHOLE, _CHUNK = Raw(b'"chat.completion"'), Raw(b'"chat.completion.chunk"')


def replayable(trace: pb.Trace) -> bool:
    """Whether the FULL trace holds the whole answer of a call that succeeded."""
    if trace.status != pb.CALL_STATUS_COMPLETED or not trace.response_json:
        return False
    if not trace.streamed:
        return True
    lacks = any(gap.kind in _NOT_ALL_OF_IT for gap in trace.capture_gaps)
    return carries_tokens(trace.endpoint) and not lacks


def replay(trace: pb.Trace) -> tuple[str, bytes]:
    """The content type and the body of the answer of a replayable trace."""
    dialect = dialect_of(trace.endpoint)
    as_stream = stream if dialect is None else dialect.stream
    made = as_stream(trace.response_json) if trace.streamed else None
    return (JSON_TYPE, trace.response_json) if made is None else (STREAM_TYPE, made)


def stream(body: bytes) -> bytes | None:
    """A whole answer with choices as server-sent events; None when it is none."""
    top = read(OBJECT, body)
    choices = None if top is None else read_member(OBJECTS, top, "choices")
    if top is None or choices is None:
        return None
    chat = any(given(choice, "message") is not None for choice in choices)
    chunks = _chat_chunks(choices) if chat else iter(choices)
    always = {key: value for key, value in top.items() if key not in ("choices", "usage", PROMPT_KEY)}
    if always.get("object") == _WHOLE:
        always["object"] = _CHUNK
    first = {key: value for key, value in top.items() if key == PROMPT_KEY}
    events: list[bytes] = []
    for choice in chunks:
        events.append(_event(always | {"choices": Raw(write([choice]))} | first))
        first = {}
    if (usage := given(top, "usage")) is not None:
        events.append(_event(always | {"choices": _NO_CHOICES, "usage": usage}))
    return b"".join([*events, DONE])


def _event(chunk: Object) -> bytes:
    return b"data: %b\n\n" % write(chunk)


def _chat_chunks(choices: list[Object]) -> Iterator[Object]:
    messages = [read_member(OBJECT, choice, "message") or {} for choice in choices]
    for choice, message in zip(choices, messages, strict=True):
        delta = {"role": message.get("role", Raw(b'"assistant"'))}
        if "content" in message:
            delta["content"] = _NULL if given(message, "content") is None else _EMPTY
        yield _part(choice, delta, {PROMPT_KEY: choice[PROMPT_KEY]} if PROMPT_KEY in choice else {})
    for choice, message in zip(choices, messages, strict=True):
        said = {
            key: value for key, value in choice.items() if key not in ("index", "message", PROMPT_KEY, *_LAST)
        }
        yield _part(choice, _delta(message), said)
    for choice in choices:
        yield _part(choice, {}, {key: choice[key] for key in _LAST if key in choice})


def _part(choice: Object, delta: Object, more: Object) -> Object:
    """One choice of one chunk."""
    index = {"index": choice["index"]} if "index" in choice else {}
    return index | {"delta": Raw(write(delta)), "finish_reason": _NULL} | more


def _delta(message: Object) -> Object:
    """All of a message but its role; tool calls have their place in it."""
    delta = {key: value for key, value in message.items() if key != "role"}
    calls = read_member(OBJECTS, message, "tool_calls")
    if calls:
        numbered = [{"index": Raw(b"%d" % place)} | call for place, call in enumerate(calls)]
        delta["tool_calls"] = Raw(write(numbered))
    return delta
