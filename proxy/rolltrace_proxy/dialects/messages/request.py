"""The request: an agent's Messages body as that of a chat completion.

Rules. The same parameters as vLLM's own /v1/messages makes of it. A member that neither API's users would
miss is left out: it speaks of Anthropic's own accounts, tiers, caches and context edits. What Anthropic
does not know goes on as it is: workers have more parameters than both APIs. What asks the server to run
tools of its own can't be expressed.
"""

from __future__ import annotations

from dataclasses import dataclass

from rolltrace_proxy.dialects.interface import NotTranslatableError
from rolltrace_proxy.dialects.messages.content import Fields, chat_messages, refuse
from rolltrace_proxy.raw_json import ANYTHING, Value, mend, read, write

_SERVER_RUN = ("container", "mcp_servers")
_DROPPED = frozenset(
    {
        *("betas", "cache_control", "context_management", "diagnostics", "inference_geo", "service_tier"),
        *("speed", "user_profile_id", "workspace_id"),
    }
)
_SAME = ("model", "max_tokens", "temperature", "top_p", "top_k")
_CHANGED = frozenset(
    {
        *("messages", "system", "metadata", "stop_sequences", "stream", "stream_options", "tools"),
        *("tool_choice", "thinking", "output_config", "output_format", "n"),
    }
)
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The body of the chat completion, and the tools whose input the agent wants in pieces, valid or not
    (eager_input_streaming)."""

    body: bytes
    eager: frozenset[str]


def chat_request(body: bytes) -> Asked:
    """Raises Refused for what is no request, NotTranslatableError for what no chat completion can say."""
    said = read(ANYTHING, body)
    if said is None and (mended := mend(body)) is not None:
        said = read(ANYTHING, mended)
    if not isinstance(said, dict):
        refuse("body", "a JSON object is required")
    fields: Fields = {key: value for key, value in said.items() if value is not None}
    for key in _SERVER_RUN:
        if fields.get(key):
            raise NotTranslatableError(f"{key}: the worker would have to run tools itself")
    if not isinstance(fields.get("max_tokens"), int):
        refuse("max_tokens", "a number is required")
    chat: Fields = {key: fields[key] for key in _SAME if key in fields}
    chat["messages"] = list[Value](chat_messages(fields.get("system"), fields.get("messages")))
    chat |= _sampling(fields) | _tools(fields) | _thinking(fields)
    known = _DROPPED | _CHANGED | chat.keys() | set(_SERVER_RUN)
    chat |= {key: value for key, value in fields.items() if key not in known}
    return Asked(write(chat), _eager(fields.get("tools")))


def _sampling(fields: Fields) -> Fields:
    chat: Fields = {}
    if "stop_sequences" in fields:
        chat["stop"] = fields["stop_sequences"]
    match fields.get("metadata"):
        case {"user_id": str() as user}:
            chat["user"] = user
        case _:
            pass
    if "stream" in fields:
        chat["stream"] = fields["stream"]
    if fields.get("stream") is True:
        chat["stream_options"] = {"include_usage": True}
    return chat


def _thinking(fields: Fields) -> Fields:
    """How much to think, and in what form to answer."""
    chat: Fields = {}
    output = fields.get("output_config")
    output = output if isinstance(output, dict) else {}
    match output.get("format") or fields.get("output_format"):
        case {"type": "json_schema", "schema": dict() as schema}:
            named: Fields = {"name": "json_schema", "schema": schema}
            chat["response_format"] = {"type": "json_schema", "json_schema": named}
        case _:
            pass
    if output.get("effort") is not None:
        chat["reasoning_effort"] = output["effort"]
    match fields.get("thinking"):
        case {"type": "disabled"}:
            chat["reasoning_effort"] = "none"
        case {"type": "enabled", "budget_tokens": int() as budget}:
            chat["thinking_token_budget"] = budget
        case _:
            pass
    return chat


def _tools(fields: Fields) -> Fields:
    tools = fields.get("tools")
    if tools is not None and not isinstance(tools, list):
        refuse("tools", "a list is required")
    chat: Fields = {}
    if tools:
        chat["tools"] = [_tool(tool, f"tools.{place}") for place, tool in enumerate(tools)]
    choice = fields.get("tool_choice")
    if choice is None:
        return chat
    if not isinstance(choice, dict):
        refuse("tool_choice", "an object is required")
    kind = choice.get("type")
    if kind == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif not isinstance(kind, str) or kind not in _CHOICES:
        refuse("tool_choice.type", "'auto', 'any', 'tool' or 'none' is required")
    elif tools or kind == "any":
        chat["tool_choice"] = _CHOICES[kind]
    if tools and choice.get("disable_parallel_tool_use") is True:
        chat["parallel_tool_calls"] = False
    return chat


def _tool(tool: Value, where: str) -> Fields:
    if not isinstance(tool, dict):
        refuse(where, "an object is required")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        kind = tool.get("type", "custom")
        if kind in ("custom", None):
            refuse(f"{where}.input_schema", "an object is required")
        raise NotTranslatableError(f"{where}: a tool of type {kind!r}, which only Anthropic's models know")
    function: Fields = {key: tool[key] for key in ("name", "description") if key in tool}
    function["parameters"] = schema if "type" in schema else {**schema, "type": "object"}
    function |= {key: tool[key] for key in ("strict", "defer_loading") if key in tool}
    return {"type": "function", "function": function}


def _eager(tools: Value) -> frozenset[str]:
    names = [
        tool.get("name")
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict) and tool.get("eager_input_streaming") is True
    ]
    return frozenset(name for name in names if isinstance(name, str))
