"""What a chat completion is asked for an agent's Messages request."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from rolltrace_proxy.dialects.interface import NotTranslatableError
from rolltrace_proxy.dialects.messages.dialect import Messages
from rolltrace_proxy.errors import Fault, Refused

Json = dict[str, Any]

HI: Json = {"role": "user", "content": "hi"}
SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER: Json = {"name": "get_weather", "description": "a report", "input_schema": SCHEMA}
FUNCTION: Json = {"name": "get_weather", "description": "a report", "parameters": SCHEMA}
PNG: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
PNG_PART: Json = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}


def chat(**fields: object) -> Json:
    body = {"model": "m", "max_tokens": 9, "messages": [HI], **fields}
    asked: Json = json.loads(Messages().translate(json.dumps(body).encode(), "t").body)
    return asked


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def said(*content: Json, role: str = "user") -> list[Json]:
    """The chat messages of one message with blocks."""
    messages: list[Json] = chat(messages=[{"role": role, "content": list(content)}])["messages"]
    return messages


def test_a_plain_request() -> None:
    assert chat() == {"model": "m", "max_tokens": 9, "messages": [HI]}


def test_sampling_parameters() -> None:
    asked = chat(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["a", "b"],
        metadata={"user_id": "u-1"},
        stream=True,
    )
    assert asked == {
        **chat(),
        **{"temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop": ["a", "b"], "user": "u-1"},
        **{"stream": True, "stream_options": {"include_usage": True}},
    }


def test_what_says_nothing_to_a_worker_is_left_out() -> None:
    asked = chat(
        service_tier="auto", context_management={"edits": []}, cache_control={"type": "ephemeral"}, n=2,
        temperature=None, mcp_servers=[], stream_options={"include_usage": False},
    )  # fmt: skip
    assert asked == chat()


def test_what_anthropic_does_not_know_goes_on() -> None:
    more = {"seed": 7, "chat_template_kwargs": {"enable_thinking": False}, "cache_salt": "s", "min_p": 0.1}
    assert chat(**more) == {**chat(), **more}


@pytest.mark.parametrize(
    ("system", "instructions"),
    [
        ("Be terse.", "Be terse."),
        ([text("Be "), {**text("terse."), "cache_control": {"type": "ephemeral"}}], "Be terse."),
        ([text("x-anthropic-billing-header: cch=1f"), text("Be terse.")], "Be terse."),
    ],
)
def test_the_system_prompt(system: object, instructions: str) -> None:
    assert chat(system=system)["messages"] == [{"role": "system", "content": instructions}, HI]


@pytest.mark.parametrize("system", ["", [], [text("")]])
def test_no_system_prompt(system: object) -> None:
    assert chat(system=system)["messages"] == [HI]


def test_a_system_message_within_the_conversation_stays_there() -> None:
    later = {"role": "system", "content": [text("Now "), text("be terse.")]}
    silent = {"role": "system", "content": "x-anthropic-billing-header: cch=1f"}
    asked = chat(system="Be kind.", messages=[HI, later, silent, HI])["messages"]
    kind, terse = ({"role": "system", "content": said} for said in ("Be kind.", "Now be terse."))
    assert asked == [kind, HI, terse, HI]


def test_one_text_is_a_string_and_several_are_parts() -> None:
    assert said(text("a")) == [{"role": "user", "content": "a"}]
    assert said(text("a"), text(""), text("b")) == [{"role": "user", "content": [text("a"), text("b")]}]


def test_images() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
    assert said(text("look"), PNG, by_url) == [
        {
            "role": "user",
            "content": [
                text("look"),
                PNG_PART,
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            ],
        }
    ]


def test_documents() -> None:
    plain = {
        "type": "document",
        "title": "T",
        "source": {"type": "text", "media_type": "text/plain", "data": "d"},
    }
    inner = {"type": "document", "source": {"type": "content", "content": [text("e"), PNG]}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}
    found = {"type": "search_result", "title": "T", "source": "https://x", "content": [text("f")]}
    (message,) = said(plain, inner, pdf, found)
    assert message["content"] == [
        text("T\n\nd"),
        text("e"),
        PNG_PART,
        {
            "type": "file",
            "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        },
        text("T\nhttps://x\nf"),
    ]


def test_an_assistants_turn() -> None:
    (message,) = said(
        {"type": "thinking", "thinking": "hm ", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        text("I look."),
        {"type": "tool_use", "id": "c-1", "name": "get_weather", "input": {"city": "Köln"}},
        {"type": "tool_use", "id": "c-2", "name": "now", "input": {}},
        role="assistant",
    )
    calls: list[Json] = message.pop("tool_calls")
    assert message == {"role": "assistant", "content": "I look.", "reasoning": "hm "}
    assert [call["id"] for call in calls] == ["c-1", "c-2"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Köln"}, {}]
    # As vLLM's own endpoint writes them: a template may show them as they are.
    assert calls[0]["function"]["arguments"] == '{"city": "K\\u00f6ln"}'


def test_results_of_tools_come_before_what_else_the_user_says() -> None:
    answers: list[Json] = [
        {"type": "tool_result", "tool_use_id": "c-1", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "c-2",
            "content": [text("a"), text("b"), PNG],
            "is_error": True,
        },
        {"type": "tool_result", "tool_use_id": "c-3"},
        text("and now?"),
    ]
    assert said(*answers) == [
        {"role": "tool", "tool_call_id": "c-1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c-2", "content": "a\nb"},
        {"role": "user", "content": [PNG_PART]},
        {"role": "tool", "tool_call_id": "c-3", "content": ""},
        {"role": "user", "content": "and now?"},
    ]


def test_tools() -> None:
    bare: Json = {"name": "now", "input_schema": {"properties": {}}, "strict": True, "type": "custom"}
    assert chat(tools=[WEATHER, bare])["tools"] == [
        {"type": "function", "function": FUNCTION},
        {
            "type": "function",
            "function": {"name": "now", "parameters": {"properties": {}, "type": "object"}, "strict": True},
        },
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "now", "disable_parallel_tool_use": True},
            {"tool_choice": {"type": "function", "function": {"name": "now"}}, "parallel_tool_calls": False},
        ),
    ],
)
def test_tool_choices(choice: Json, expected: Json) -> None:
    assert chat(tools=[WEATHER], tool_choice=choice) == chat(tools=[WEATHER]) | expected


def test_a_choice_among_no_tools_is_left_out() -> None:
    assert chat(tools=[], tool_choice={"type": "auto"}) == chat()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"thinking_token_budget": 1024}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"output_config": {"effort": "high"}}, {"reasoning_effort": "high"}),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}},
            {"reasoning_effort": "none"},
        ),
    ],
)
def test_thinking(fields: Json, expected: Json) -> None:
    assert chat(**fields) == chat() | expected


def test_an_output_format() -> None:
    asked = chat(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    schema = {"name": "json_schema", "schema": SCHEMA}
    assert asked["response_format"] == {"type": "json_schema", "json_schema": schema}


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]}, "container_upload"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]},
            "messages.0.content.0",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url"}}]}]},
            "messages.0.content.0",
        ),
    ],
)
def test_what_chat_completions_cannot_say(fields: Json, what: str) -> None:
    with pytest.raises(NotTranslatableError, match=what):
        chat(**fields)


BAD: list[tuple[Json, str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [3]}, "messages.0"),
    ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [HI, {"role": "user", "content": ["hi"]}]}, "messages.1.content.0"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages.0.content.0.source"),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
        "messages.0.content.0.tool_use_id",
    ),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": True}]}]},
        "messages.0.content.0.input",
    ),
    ({"system": 3}, "system"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"tools": {}}, "tools"),
    ({"tools": [3]}, "tools.0"),
    ({"tools": [{"name": "x"}]}, "tools.0.input_schema"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"tool_choice": {"type": ["any"]}}, "tool_choice.type"),
]


@pytest.mark.parametrize(("fields", "where"), BAD)
def test_what_no_worker_could_make_sense_of(fields: Json, where: str) -> None:
    with pytest.raises(Refused, match=rf"^{re.escape(where)}: ") as caught:
        chat(**fields)
    assert caught.value.fault is Fault.INVALID_REQUEST


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"a":' * 3000])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(Refused, match=r"^body: "):
        Messages().translate(body, "t")


def test_a_body_that_only_python_reads() -> None:
    body = b'{"model":"m","max_tokens":9,"temperature":NaN,"messages":[{"role":"user","content":"\\ud800"}]}'
    asked: Json = json.loads(Messages().translate(body, "t").body)
    assert asked == {**chat(), "messages": [{"role": "user", "content": "?"}]}
