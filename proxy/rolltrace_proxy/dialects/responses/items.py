"""The input of a response as the messages of a chat completion.

As vLLM does it: a function call, a reasoning item and an assistant's text that follow each other become one
assistant message. The bytes of all texts stay as they came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, cast

from msgspec import Raw

from rolltrace_proxy.dialects.interface import NotTranslatableError
from rolltrace_proxy.dialects.responses.members import objects_of, text_of
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.raw_json import OBJECTS, STRING, Object, given, read, write

Message = dict[str, object]
"""A chat message; values are what `write` takes."""

_EMPTY = Raw(b'""')
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_CHAT_PARTS = frozenset({"image_url", "input_audio", "audio_url", "video_url", "file", "refusal"})
_UNFINISHED = frozenset({"in_progress", "incomplete"})


def refuse(message: str, param: str) -> NoReturn:
    raise Refused(Fault.INVALID_REQUEST, message, param)


def input_items(fields: Object) -> list[Object]:
    """The items of a request's `input`, of which a text is the only one. Raises Refused."""
    given_input = given(fields, "input")
    if given_input is None:
        refuse("Missing required parameter: 'input'.", "input")
    if read(STRING, given_input) is not None:
        return [{"role": Raw(b'"user"'), "content": given_input}]
    items = read(OBJECTS, given_input)
    if items is None:
        refuse("Invalid type for 'input': expected a string or an array of items.", "input")
    return items


def kind_of(item: Object) -> str:
    """An item's type, which may be left out of messages and references."""
    return text_of(item, "type") or ("message" if "role" in item else "item_reference")


def chat_messages(items: list[Object], instructions: Raw | None) -> list[Message]:
    """Raises Refused, NotTranslatableError."""
    messages: list[Message] = []
    if instructions is not None and instructions != _EMPTY:
        messages.append({"role": "system", "content": instructions})
    for place, item in enumerate(items):
        kind = kind_of(item)
        add = _KINDS.get(kind)
        if add is None:
            raise NotTranslatableError(f"chat completions have nothing like an input item of type {kind!r}")
        add(messages, item, f"input[{place}]")
    return messages


def continues(items: list[Object]) -> bool:
    """Whether the last item is an assistant's that the model is to go on with, as vLLM has it."""
    last = items[-1] if items else {}
    kind, status = kind_of(last), text_of(last, "status")
    own = kind == "reasoning" or (kind == "message" and text_of(last, "role") == "assistant")
    return own and status in _UNFINISHED


def _into_assistant(messages: list[Message], key: str, value: object) -> None:
    """Into the assistant's message that stands last, if it has none of the kind yet; else a new one."""
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant" and key not in last:
        last[key] = value
    else:
        messages.append({"role": "assistant", key: value})


def _add_message(messages: list[Message], item: Object, param: str) -> None:
    role = text_of(item, "role")
    if not role:
        refuse(f"Missing required parameter: '{param}.role'.", f"{param}.role")
    content = _content(given(item, "content"), f"{param}.content")
    if role == "assistant":
        _into_assistant(messages, "content", _one_text(content))
    else:
        name = {"name": item["name"]} if given(item, "name") is not None else {}
        messages.append({"role": role, "content": content, **name})


def _one_text(content: Raw | list[Message]) -> object:
    """What an assistant said: one text as a text, as vLLM has it in its prompts."""
    if isinstance(content, Raw):
        return content
    if not content:
        return _EMPTY
    return content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content


def _content(value: Raw | None, param: str) -> Raw | list[Message]:
    if value is None:
        refuse(f"Missing required parameter: '{param}'.", param)
    if read(STRING, value) is not None:
        return value
    parts = read(OBJECTS, value)
    if parts is None:
        refuse(f"Invalid type for '{param}': expected a string or an array of content parts.", param)
    return [_part(part, f"{param}[{place}]") for place, part in enumerate(parts)]


def _part(part: Object, param: str) -> Message:
    kind = text_of(part, "type")
    if kind in _TEXTS:
        return {"type": "text", "text": _required(part, "text", param)}
    if kind == "input_image":
        return _image(part)
    if kind == "input_file":
        return _file(part)
    if kind in _CHAT_PARTS:
        return {"type": kind, **{key: value for key, value in part.items() if key != "type"}}
    raise NotTranslatableError(f"chat completions have nothing like a content part of type {kind!r}")


def _image(part: Object) -> Message:
    url = given(part, "image_url")
    if url is None:
        raise NotTranslatableError("chat completions take an image by its URL alone")
    detail = given(part, "detail")
    return {"type": "image_url", "image_url": {"url": url} | ({} if detail is None else {"detail": detail})}


def _file(part: Object) -> Message:
    if given(part, "file_url") is not None:
        raise NotTranslatableError("chat completions take no file by its URL")
    keys = ("file_data", "filename", "file_id")
    return {"type": "file", "file": {key: part[key] for key in keys if given(part, key) is not None}}


def _required(item: Object, key: str, param: str) -> Raw:
    """A member that must be a text."""
    value = given(item, key)
    if value is None:
        refuse(f"Missing required parameter: '{param}.{key}'.", f"{param}.{key}")
    if read(STRING, value) is None:
        refuse(f"Invalid type for '{param}.{key}': expected a string.", f"{param}.{key}")
    return value


def _add_call(messages: list[Message], item: Object, param: str) -> None:
    if given(item, "namespace") is not None:
        raise NotTranslatableError("chat completions know no tools with a namespace")
    function = {key: _required(item, key, param) for key in ("name", "arguments")}
    call = {"id": _required(item, "call_id", param), "type": "function", "function": function}
    last = messages[-1] if messages else {}
    calls = last.get("tool_calls") if last.get("role") == "assistant" else None
    if isinstance(calls, list):
        cast("list[object]", calls).append(call)
    else:
        _into_assistant(messages, "tool_calls", [call])


def _add_output(messages: list[Message], item: Object, param: str) -> None:
    content = _content(given(item, "output"), f"{param}.output")
    messages.append({"role": "tool", "content": content, "tool_call_id": _required(item, "call_id", param)})


def _add_reasoning(messages: list[Message], item: Object, param: str) -> None:
    if given(item, "encrypted_content") not in (None, _EMPTY):
        raise NotTranslatableError("chat completions take no encrypted reasoning")
    parts = objects_of(item, "content") or objects_of(item, "summary")
    texts = [_required(part, "text", f"{param}.content") for part in parts]
    whole = texts[0] if len(texts) == 1 else Raw(write("\n".join(read(STRING, text) or "" for text in texts)))
    _into_assistant(messages, "reasoning", whole)


_KINDS: dict[str, Callable[[list[Message], Object, str], None]] = {
    "message": _add_message,
    "function_call": _add_call,
    "function_call_output": _add_output,
    "reasoning": _add_reasoning,
}
