"""Messages and tools to a prompt, in the ChatML manner of the Qwen and Hermes models.

Rule: a turn is rendered from what the client sends back, verbatim. So the prompt of turn k+1
begins with the ids of turn k's prompt and answer, tool calls included: `call_text` here is the
very text that `tool_grammar` makes the model write.
"""

import json
from collections.abc import Sequence

from rolltrace_demo.openai_requests import Message, Tool, ToolCall

GENERATION_PROMPT = "<|im_start|>assistant\n"


def render(messages: Sequence[Message], tools: Sequence[Tool] = (), generate: bool = True) -> str:
    """The prompt of a chat request, up to where the assistant's next words begin."""
    system, rest = _split_system(messages)
    turns = [_turn(message) for message in rest]
    head = "\n\n".join(part for part in (system, _tool_list(tools)) if part)
    if head:
        turns.insert(0, f"<|im_start|>system\n{head}<|im_end|>\n")
    return "".join(turns) + (GENERATION_PROMPT if generate else "")


def call_text(name: str, arguments: str) -> str:
    """How one tool call is written; `arguments` is JSON."""
    opening, closing = call_frame(name)
    return opening + arguments + closing


def call_frame(name: str) -> tuple[str, str]:
    """What stands before and after the arguments of a call to `name`."""
    quoted = json.dumps(name, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {quoted}, "arguments": ', "}\n</tool_call>"


def _split_system(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    if messages and messages[0].role == "system":
        return messages[0].text, messages[1:]
    return "", messages


def _tool_list(tools: Sequence[Tool]) -> str:
    if not tools:
        return ""
    lines = "\n".join(json.dumps(tool.described(), ensure_ascii=False) for tool in tools)
    return f"# Tools\n<tools>\n{lines}\n</tools>"


def _turn(message: Message) -> str:
    if message.role == "tool":
        body = f"<tool_response>\n{message.text}\n</tool_response>"
        return f"<|im_start|>user\n{body}<|im_end|>\n"
    calls = "\n".join(_call(call) for call in message.tool_calls or ())
    return f"<|im_start|>{message.role}\n{message.text}{calls}<|im_end|>\n"


def _call(call: ToolCall) -> str:
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return call_text(call.function.name, arguments)
