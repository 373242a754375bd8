"""Errors: both APIs have the same object for them, with other names for the members at fault."""

from __future__ import annotations

from msgspec import Raw

from rolltrace_proxy.capture import error_message
from rolltrace_proxy.dialects.responses.members import text_of
from rolltrace_proxy.dialects.responses.output import Json
from rolltrace_proxy.raw_json import OBJECT, read_member, read_object, write

_PARAMS = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "truncate_prompt_tokens": "truncation",
}


def error_body(body: bytes) -> bytes:
    """A worker's error answer; it stays as it is where it names nothing of the request."""
    top = read_object(body)
    error = None if top is None else read_member(OBJECT, top, "error")
    theirs = "" if error is None else text_of(error, "param")
    if top is None or error is None or theirs not in _PARAMS:
        return body
    message = text_of(error, "message")
    if "_" in theirs:  # no word that may mean something else
        message = message.replace(theirs, _PARAMS[theirs])
    ours: Json = {**error, "param": _PARAMS[theirs], "message": message}
    whole: Json = {**top, "error": ours}
    return write(whole)


def stream_error(error: Raw) -> Json:
    """What a worker says in a stream went wrong, as a Response's error."""
    said = error_message({"error": error}) or "The worker failed."
    return {"code": "server_error", "message": said}
