"""The members of a Response that repeat its request, with the API's defaults for what was not said."""

from __future__ import annotations

from msgspec import Raw

from rolltrace_proxy.dialects.responses.members import objects_of
from rolltrace_proxy.raw_json import NULL, OBJECT, Object, given, read, write

_DEFAULTS = {
    "background": b"false",
    "instructions": b"null",
    "max_output_tokens": b"null",
    "max_tool_calls": b"null",
    "metadata": b"{}",
    "parallel_tool_calls": b"true",
    "previous_response_id": b"null",
    "prompt_cache_key": b"null",
    "reasoning": b'{"effort":null,"summary":null}',
    "safety_identifier": b"null",
    "service_tier": b'"auto"',
    "store": b"true",
    "temperature": b"null",
    "text": b'{"format":{"type":"text"}}',
    "tool_choice": b'"auto"',
    "top_logprobs": b"0",
    "top_p": b"null",
    "truncation": b'"disabled"',
    "user": b"null",
}
_IF_SAID = ("frequency_penalty", "presence_penalty")


def echo(fields: Object) -> Object:
    """Of a request's members. Temperature and top_p are null when they were left to the worker."""
    told = {key: given(fields, key) or Raw(default) for key, default in _DEFAULTS.items()}
    told |= {key: fields[key] for key in _IF_SAID if given(fields, key) is not None}
    told["text"] = _text(told["text"])
    told["tools"] = Raw(write([_tool(tool) for tool in objects_of(fields, "tools")]))
    return {key: value.copy() for key, value in told.items()}  # or each holds the whole request


def _text(value: Raw) -> Raw:
    """The SDKs read the format of any text."""
    text = read(OBJECT, value)
    if text is None or given(text, "format") is not None:
        return value
    return Raw(write(text | {"format": Raw(b'{"type":"text"}')}))


def _tool(tool: Object) -> Object:
    """The SDKs' types have no default for these."""
    return {"parameters": NULL, "strict": NULL} | tool
