"""Prompts grow by what was sampled."""

import msgspec
import pytest

from rolltrace_demo.byte_tokens import encode
from rolltrace_demo.chat_template import call_text, render
from rolltrace_demo.openai_requests import Message

USER = Message("user", "Hi.")


def test_the_shape_of_a_prompt() -> None:
    assert render([Message("system", "Be terse."), USER]) == (
        "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_parts_are_joined_and_a_tools_answer_is_a_users_turn() -> None:
    body = b'[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]'
    parts = msgspec.json.decode(body, type=list[Message])
    assert "user\nab<" in render(parts)
    assert "user\n<tool_response>\n4\n</tool_response><" in render([Message("tool", "4")])


@pytest.mark.parametrize("answer", ["", " Hello. ", "é <tool_call>", "\n\n", '{"a": 1}'])
def test_an_answer_sent_back_extends_the_prompt(answer: str) -> None:
    first = encode(render([USER]))
    sampled = encode(answer + "<|im_end|>")
    second = encode(render([USER, Message("assistant", answer), USER]))
    assert second[: len(first) + len(sampled)] == first + sampled


@pytest.mark.parametrize("name", ["f", "météo", 'a"b'])
def test_a_call_sent_back_extends_the_prompt(name: str) -> None:
    body = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": name, "arguments": '{"x": 1}'}}],
    }
    message = msgspec.convert(body, Message)
    sampled = encode(call_text(name, '{"x": 1}') + "<|im_end|>")
    first, second = encode(render([USER])), encode(render([USER, message]))
    assert second[: len(first) + len(sampled)] == first + sampled
