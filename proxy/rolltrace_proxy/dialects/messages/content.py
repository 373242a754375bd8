"""Messages' content, block by block, as the messages of a chat completion.

Rules. What comes out is what vLLM's own /v1/messages makes of the same blocks: results of tools become
messages of their own before what else the user says; thinking stands beside the content; blocks without
text, thinking that was redacted, cache marks and is_error say nothing to a template and are left out.
System messages within the conversation stay in their place, so that the prompts of turns extend each other;
vLLM moves them to the beginning for the templates that allow them nowhere else, which can't be seen from
here. Beyond vLLM's: documents and search results become text, PDFs file parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NoReturn

from rolltrace_proxy.dialects.interface import NotTranslatableError
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.raw_json import Value

Fields = dict[str, Value]

_ATTRIBUTION = "x-anthropic-billing-header"
"""Before a text that Claude Code puts into the system prompt: a hash that differs in every request."""


def refuse(where: str, what: str) -> NoReturn:
    raise Refused(Fault.INVALID_REQUEST, f"{where}: {what}")


def chat_messages(system: Value, messages: Value) -> list[Fields]:
    """The messages of the chat completion. Raises Refused and NotTranslatableError."""
    if not isinstance(messages, list) or not messages:
        refuse("messages", "a list with at least one message is required")
    said = [] if system is None else _instructions(_texts(system, "system", whole=True))
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        if not isinstance(message, dict):
            refuse(where, "an object is required")
        match message.get("role"):
            case "system":
                said += _instructions(_texts(message.get("content"), f"{where}.content"))
            case "user":
                said += _of_user(message.get("content"), f"{where}.content")
            case "assistant":
                said.append(_of_assistant(message.get("content"), f"{where}.content"))
            case _:
                refuse(f"{where}.role", "'user', 'assistant' or 'system' is required")
    return said


def _instructions(texts: list[str]) -> list[Fields]:
    return [{"role": "system", "content": "".join(texts)}] if texts else []


def _texts(content: Value, where: str, *, whole: bool = False) -> list[str]:
    """Of a system prompt. whole: one that is a string is taken as it is."""
    if isinstance(content, str):
        return [content] if content and (whole or not content.startswith(_ATTRIBUTION)) else []
    texts = [_text(block, at) for block, at in blocks(content, where, _only_text)]
    return [text for text in texts if text and not text.startswith(_ATTRIBUTION)]


def _only_text(kind: str, where: str) -> None:
    if kind != "text":
        raise NotTranslatableError(f"{where}: a block of type {kind!r} among instructions")


def blocks(
    content: Value, where: str, check: Callable[[str, str], None] | None = None
) -> list[tuple[Fields, str]]:
    """The blocks, and where each stands. check gets the type of each."""
    if not isinstance(content, list):
        refuse(where, "a string or a list of blocks is required")
    found: list[tuple[Fields, str]] = []
    for place, block in enumerate(content):
        at = f"{where}.{place}"
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(block, dict) or not isinstance(kind, str):
            refuse(at, "an object with a type is required")
        if check is not None:
            check(kind, at)
        found.append((block, at))
    return found


def _of_user(content: Value, where: str) -> list[Fields]:
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[Fields] = []
    parts: list[Value] = []
    for block, at in blocks(content, where):
        if block["type"] == "tool_result":
            results += _tool_result(block, at)
        else:
            parts += _parts(block, at)
    return [*results, {"role": "user", "content": _content(parts)}] if parts else results


def _of_assistant(content: Value, where: str) -> Fields:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    parts: list[Value] = []
    thoughts: list[str] = []
    calls: list[Value] = []
    for block, at in blocks(content, where):
        match block["type"]:
            case "thinking":
                thoughts.append(_string(block, "thinking", at))
            case "redacted_thinking":
                pass
            case "tool_use":
                calls.append(_tool_call(block, at))
            case _:
                parts += _parts(block, at)
    message: Fields = {"role": "assistant"}
    if parts or not (thoughts or calls):
        message["content"] = _content(parts)
    if thoughts:
        message["reasoning"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _content(parts: list[Value]) -> Value:
    """One text is a string, as templates have it most often."""
    match parts:
        case []:
            return ""
        case [{"type": "text", "text": text}]:
            return text
        case _:
            return parts


def _parts(block: Fields, where: str) -> list[Value]:
    """A block as parts of a chat message; none when it says nothing."""
    match block["type"]:
        case "text":
            text = _text(block, where)
        case "search_result":
            text = _search_result(block, where)
        case "image":
            return [_image(block, where)]
        case "document":
            return _document(block, where)
        case kind:
            raise NotTranslatableError(f"{where}: a block of type {kind!r}")
    return [{"type": "text", "text": text}] if text else []


def _text(block: Fields, where: str) -> str:
    return _string(block, "text", where)


def _string(fields: Fields, key: str, where: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else refuse(f"{where}.{key}", "a string is required")


def _source(block: Fields, where: str) -> Fields:
    source = block.get("source")
    return source if isinstance(source, dict) else refuse(f"{where}.source", "an object is required")


def _image(block: Fields, where: str) -> Fields:
    source = _source(block, where)
    match source.get("type"):
        case "url":
            url = _string(source, "url", f"{where}.source")
        case "base64" | None:
            kind, data = source.get("media_type", "image/jpeg"), _string(source, "data", f"{where}.source")
            url = f"data:{kind};base64,{data}"
        case kind:
            raise NotTranslatableError(f"{where}: an image whose source is of type {kind!r}")
    return {"type": "image_url", "image_url": {"url": url}}


def _document(block: Fields, where: str) -> list[Value]:
    """Its title and context stand before its text; a PDF is a part of its own."""
    source, at = _source(block, where), f"{where}.source"
    about = [said for key in ("title", "context") if isinstance(said := block.get(key), str) and said]
    parts: list[Value] = []
    match source.get("type"):
        case "text":
            about.append(_string(source, "data", at))
        case "content" if isinstance(said := source.get("content"), str):
            about.append(said)
        case "content":
            for inner, place in blocks(source.get("content"), f"{at}.content"):
                parts += _parts(inner, place)
        case "base64":
            kind = source.get("media_type", "application/pdf")
            data = f"data:{kind};base64,{_string(source, 'data', at)}"
            name = about[0] if isinstance(block.get("title"), str) and about else "document.pdf"
            parts.append({"type": "file", "file": {"filename": name, "file_data": data}})
        case kind:
            raise NotTranslatableError(f"{where}: a document whose source is of type {kind!r}")
    before: list[Value] = [{"type": "text", "text": "\n\n".join(about)}] if about else []
    return before + parts


def _search_result(block: Fields, where: str) -> str:
    texts = [_text(inner, at) for inner, at in blocks(block.get("content"), f"{where}.content", _only_text)]
    return "\n".join([_string(block, "title", where), _string(block, "source", where), *texts])


def _tool_call(block: Fields, where: str) -> Fields:
    called = block.get("input")
    if called is not None and not isinstance(called, dict):
        refuse(f"{where}.input", "an object is required")
    function: Fields = {"name": _string(block, "name", where), "arguments": json.dumps(called or {})}
    return {"id": _string(block, "id", where), "type": "function", "function": function}


def _tool_result(block: Fields, where: str) -> list[Fields]:
    """The message of the tool, and one for what a tool can't say in a chat: images, references, files."""
    called = _string(block, "tool_use_id", where)
    content = block.get("content")
    texts: list[str] = [content] if isinstance(content, str) else []
    others: list[Value] = []
    references: list[Value] = []
    for inner, at in blocks(content, f"{where}.content") if isinstance(content, list) else []:
        if inner["type"] == "tool_reference":
            references.append({"type": "tool_reference", "name": inner.get("tool_name") or inner.get("name")})
            continue
        for part in _parts(inner, at):
            match part:
                case {"type": "text", "text": str() as text}:
                    texts.append(text)
                case _:
                    others.append(part)
    messages: list[Fields] = [{"role": "tool", "tool_call_id": called, "content": "\n".join(texts)}]
    if others:
        messages.append({"role": "user", "content": others})
    if references:
        messages.append({"role": "tool", "tool_call_id": called, "content": references})
    return messages
