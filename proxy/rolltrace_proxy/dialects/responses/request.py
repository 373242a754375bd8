"""A request for a response, as one for a chat completion.

Rules. Members that both APIs have, and members that neither has but a worker may, go on as they came. Those
that would mean something only to chat completions are left out, since the agent's API knows none of them.
"""

from __future__ import annotations

from msgspec import Raw

from rolltrace_proxy.dialects.interface import NotTranslatableError
from rolltrace_proxy.dialects.responses.items import chat_messages, continues, refuse
from rolltrace_proxy.dialects.responses.members import integer_of, object_of, objects_of, text_of
from rolltrace_proxy.raw_json import ANYTHING, OBJECT, OBJECTS, Object, given, read, read_member, write

LOGPROBS = "message.output_text.logprobs"
_INCLUDABLE = frozenset({LOGPROBS, "reasoning.encrypted_content", "message.input_image.image_url"})
"""What answers may hold besides; the last two have nothing to be put in."""

_TRUE, _AUTO, _NONE = Raw(b"true"), Raw(b'"auto"'), Raw(b'"none"')
_OWN = frozenset(
    {"input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "include"}
    | {"max_output_tokens", "max_tool_calls", "top_logprobs", "truncation", "stream", "stream_options"}
    | {"store", "metadata", "previous_response_id", "include_reasoning"}
)
_NOT_IN_CHAT = (
    "background",
    "conversation",
    "prompt",
    "context_management",
    "previous_input_messages",
    "enable_response_messages",
)
_ONLY_IN_CHAT = frozenset(
    {"messages", "functions", "function_call", "response_format", "max_tokens", "max_completion_tokens", "n"}
    | {"logprobs", "prompt_logprobs", "logprob_token_ids", "echo", "modalities", "audio", "prediction"}
    | {"web_search_options", "reasoning_effort", "verbosity", "use_beam_search", "truncate_prompt_tokens"}
    | {"add_generation_prompt", "continue_final_message", "add_special_tokens", "chat_template", "documents"}
    | {"return_token_ids", "return_tokens_as_token_ids", "return_token_offsets", "return_prompt_text"}
)
_FUNCTION = ("name", "description", "parameters", "strict", "defer_loading")
_SCHEMA = ("name", "description", "schema", "strict")


def check_expressible(fields: Object) -> None:
    """Raises NotTranslatableError for a member that chat completions know nothing like."""
    for key in _NOT_IN_CHAT:
        if read_member(ANYTHING, fields, key):
            raise NotTranslatableError(f"chat completions know no {key}")
    for tool in _tools(fields):
        kind = text_of(tool, "type")
        if kind != "function":
            raise NotTranslatableError(f"chat completions know no tools of type {kind!r}")
    included = _included(fields)
    if not included <= _INCLUDABLE:
        raise NotTranslatableError(f"chat completions do not tell {min(included - _INCLUDABLE)!r}")


def wants_logprobs(fields: Object) -> bool:
    return LOGPROBS in _included(fields)


def chat_body(fields: Object, items: list[Object]) -> bytes:
    """The chat completion to ask for. Raises Refused, NotTranslatableError."""
    check_expressible(fields)
    left_out = _OWN.union(_NOT_IN_CHAT, _ONLY_IN_CHAT)
    body: dict[str, object] = {
        key: value for key, value in fields.items() if key not in left_out and given(fields, key) is not None
    }
    body["messages"] = chat_messages(items, given(fields, "instructions"))
    if continues(items):
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    body |= _tool_members(fields) | _text_members(fields) | _length_members(fields)
    if wants_logprobs(fields):
        body["logprobs"] = True
        if top := integer_of(fields, "top_logprobs"):
            body["top_logprobs"] = top
    effort = given(object_of(fields, "reasoning"), "effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    if fields.get("stream") == _TRUE:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return write(body)


def _tools(fields: Object) -> list[Object]:
    value = given(fields, "tools")
    tools = [] if value is None else read(OBJECTS, value)
    if tools is None:
        refuse("Invalid type for 'tools': expected an array of objects.", "tools")
    return tools


def _included(fields: Object) -> set[str]:
    value = read_member(ANYTHING, fields, "include")
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else set()


def _length_members(fields: Object) -> dict[str, object]:
    members: dict[str, object] = {}
    if (most := given(fields, "max_output_tokens")) is not None:
        members["max_completion_tokens"] = most
    if text_of(fields, "truncation") == "auto":
        members["truncate_prompt_tokens"] = -1
    return members


def _text_members(fields: Object) -> dict[str, object]:
    text = object_of(fields, "text")
    members: dict[str, object] = {}
    if (verbosity := given(text, "verbosity")) is not None:
        members["verbosity"] = verbosity
    told = object_of(text, "format")
    kind = text_of(told, "type") or "text"
    if kind == "json_object":
        members["response_format"] = {"type": kind}
    elif kind == "json_schema":
        schema = {key: told[key] for key in _SCHEMA if given(told, key) is not None}
        members["response_format"] = {"type": kind, kind: schema}
    elif kind != "text":
        raise NotTranslatableError(f"chat completions know no text of the format {kind!r}")
    return members


def _tool_members(fields: Object) -> dict[str, object]:
    """Without tools there is nothing to choose from, and chat completions take no choice."""
    tools, choice = _tools(fields), given(fields, "tool_choice")
    picked = None if choice is None else read(OBJECT, choice)
    if picked is not None and text_of(picked, "type") == "allowed_tools":
        names = {text_of(each, "name") for each in objects_of(picked, "tools")}
        tools = [tool for tool in tools if text_of(tool, "name") in names]
        choice, picked = picked.get("mode"), None
    if not tools and choice in (None, _AUTO, _NONE):
        return {}
    members: dict[str, object] = {"tools": [_function(tool) for tool in tools]} if tools else {}
    if choice is not None:
        members["tool_choice"] = choice if picked is None else _named(picked)
    if (parallel := given(fields, "parallel_tool_calls")) is not None:
        members["parallel_tool_calls"] = parallel
    return members


def _function(tool: Object) -> dict[str, object]:
    function = {key: tool[key] for key in _FUNCTION if given(tool, key) is not None}
    return {"type": "function", "function": function}


def _named(picked: Object) -> dict[str, object]:
    kind = text_of(picked, "type")
    if kind != "function":
        raise NotTranslatableError(f"chat completions know no choice of tools of type {kind!r}")
    return {"type": kind, "function": {"name": picked["name"]} if "name" in picked else {}}
