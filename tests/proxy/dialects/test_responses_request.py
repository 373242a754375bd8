"""Requests for responses as chat completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rolltrace_proxy.dialects.interface import NotTranslatableError, Referring, Translation
from rolltrace_proxy.dialects.responses.dialect import ResponseCall, Responses
from rolltrace_proxy.errors import Fault, Refused

Json = Any  # what json.loads gives

TRACE_ID = "01234567-89ab-4cde-8f01-23456789abcd"
SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "number"}}}
TOOL: Json = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
CHAT_TOOL: Json = {"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}
CALL: Json = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
CHAT_CALL: Json = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OUTPUT: Json = {"type": "function_call_output", "call_id": "c", "output": "7"}
THOUGHT: Json = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "hm"}],
}
TEXT: Json = {"type": "output_text", "text": "A", "annotations": [], "logprobs": []}
SAID: Json = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [TEXT],
}


def user(*parts: Json) -> Json:
    return {"role": "user", "content": list(parts)}


NOT_CHAT: list[Json] = [
    {"background": True},
    {"conversation": "conv_1"},
    {"prompt": {"id": "p"}},
    {"enable_response_messages": True},
    {"include": ["file_search_call.results"]},
    *(
        {"tools": [{"type": kind}]}
        for kind in ("web_search", "mcp", "custom", "namespace", "image_generation")
    ),
    {"tools": [TOOL], "tool_choice": {"type": "custom", "name": "x"}},
    {"text": {"format": {"type": "grammar"}}},
    {"input": [{"type": "computer_call_output", "call_id": "c", "output": {}}]},
    {"input": [{**CALL, "namespace": "n"}]},
    {"input": [{**THOUGHT, "encrypted_content": "x"}]},
    {"input": [user({"type": "input_image", "file_id": "file-1"})]},
    {"input": [user({"type": "input_file", "file_url": "http://x"})]},
    {"input": [user({"type": "input_video"})]},
]
SENSELESS: list[tuple[Json, str]] = [
    ({}, "input"),
    ({"input": None}, "input"),
    ({"input": 7}, "input"),
    ({"input": [7]}, "input"),
    ({"input": [{"role": 7, "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": {}}]}, "input[0].content"),
    ({"input": [user({"type": "input_text"})]}, "input[0].content[0].text"),
    ({"input": [user({"type": "input_text", "text": 7})]}, "input[0].content[0].text"),
    ({"input": [SAID, {"type": "function_call", "call_id": "c", "name": "f"}]}, "input[1].arguments"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
    ({"input": [{"type": "reasoning", "content": [{}]}]}, "input[0].content.text"),
    ({"input": "hi", "tools": 7}, "tools"),
    ({"input": "hi", "previous_response_id": 7}, "previous_response_id"),
]


def translated(fields: Json) -> ResponseCall:
    made = Responses().translate(json.dumps({"model": "m", **fields}).encode(), TRACE_ID)
    assert isinstance(made, ResponseCall)
    return made


def resolved(fields: Json) -> Translation:
    """In a session without earlier calls."""
    made = Responses().translate(json.dumps(fields).encode(), TRACE_ID)
    return made.translate(lambda _: None) if isinstance(made, Referring) else made


def chat(**fields: Json) -> Json:
    return json.loads(translated({"input": "hi", **fields}).body)


def messages(*items: Json, **fields: Json) -> Json:
    return chat(input=items, **fields)["messages"]


def test_a_text_is_what_the_user_says() -> None:
    assert chat() == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_instructions_are_the_system_s() -> None:
    assert chat(instructions="Be terse.")["messages"] == [
        {"role": "system", "content": "Be terse."},
        {"role": "user", "content": "hi"},
    ]
    assert len(chat(instructions="")["messages"]) == 1


def test_a_turn_of_the_assistant_is_one_message() -> None:
    second = {**CALL, "call_id": "d"}
    asked = {"role": "user", "content": "hi"}
    assert messages(asked, THOUGHT, SAID, CALL, second, OUTPUT, {**OUTPUT, "call_id": "d", "output": ""}) == [
        asked,
        {
            "role": "assistant",
            "reasoning": "hm",
            "content": "A",
            "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "d"}],
        },
        {"role": "tool", "content": "7", "tool_call_id": "c"},
        {"role": "tool", "content": "", "tool_call_id": "d"},
    ]


def test_what_an_assistant_s_message_has_already_begins_another() -> None:
    assert messages(SAID, SAID, THOUGHT, THOUGHT) == [
        {"role": "assistant", "content": "A"},
        {"role": "assistant", "content": "A", "reasoning": "hm"},
        {"role": "assistant", "reasoning": "hm"},
    ]
    assert messages({"role": "assistant", "content": "A"}) == [{"role": "assistant", "content": "A"}]


@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_roles_stay(role: str) -> None:
    assert messages({"type": "message", "role": role, "content": "x"}) == [{"role": role, "content": "x"}]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "input_text", "text": "x"}, {"type": "text", "text": "x"}),
        ({"type": "output_text", "text": "x", "annotations": []}, {"type": "text", "text": "x"}),
        ({"type": "refusal", "refusal": "x"}, {"type": "refusal", "refusal": "x"}),
        (
            {"type": "input_image", "image_url": "data:,x", "detail": "low"},
            {"type": "image_url", "image_url": {"url": "data:,x", "detail": "low"}},
        ),
        (
            {"type": "input_image", "image_url": "data:,x"},
            {"type": "image_url", "image_url": {"url": "data:,x"}},
        ),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:,x"},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:,x"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
        ),
    ],
)
def test_parts(part: Json, expected: Json) -> None:
    assert messages(user(part)) == [user(expected)]
    assert messages({**OUTPUT, "output": [part]})[0]["content"] == [expected]


def test_several_parts_of_an_assistant_stay_apart() -> None:
    parts = [{"type": "output_text", "text": "x"}, {"type": "refusal", "refusal": "y"}]
    assert messages({"role": "assistant", "content": parts})[0]["content"] == [
        {"type": "text", "text": "x"},
        {"type": "refusal", "refusal": "y"},
    ]
    assert messages({"role": "assistant", "content": []})[0]["content"] == ""


@pytest.mark.parametrize(
    ("item", "reasoning"),
    [
        ({"summary": [{"type": "summary_text", "text": "s"}]}, "s"),
        ({"summary": [{"text": "s"}], "content": [{"text": "a"}, {"text": "b"}]}, "a\nb"),
        ({"summary": []}, ""),
        ({"summary": [], "encrypted_content": None}, ""),
    ],
)
def test_reasoning(item: Json, reasoning: str) -> None:
    assert messages({"type": "reasoning", **item}) == [{"role": "assistant", "reasoning": reasoning}]


def test_an_unfinished_answer_is_gone_on_with() -> None:
    body = chat(input=[{"role": "user", "content": "hi"}, {**SAID, "status": "incomplete"}])
    assert (body["add_generation_prompt"], body["continue_final_message"]) == (False, True)
    assert "continue_final_message" not in chat(input=[SAID])
    assert "continue_final_message" not in chat(input=[{**SAID, "status": "incomplete"}, OUTPUT])


def test_tools() -> None:
    body = chat(
        tools=[TOOL, {"type": "function", "name": "g", "parameters": None}], parallel_tool_calls=False
    )
    assert body["tools"] == [CHAT_TOOL, {"type": "function", "function": {"name": "g"}}]
    assert body["parallel_tool_calls"] is False
    assert "tool_choice" not in body


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_choices_of_tools(choice: str) -> None:
    assert chat(tools=[TOOL], tool_choice=choice)["tool_choice"] == choice


def test_a_named_tool() -> None:
    body = chat(tools=[TOOL], tool_choice={"type": "function", "name": "f"})
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}


def test_allowed_tools_are_the_only_ones() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    body = chat(tools=[TOOL, {**TOOL, "name": "g"}], tool_choice=choice)
    assert (body["tools"], body["tool_choice"]) == ([CHAT_TOOL], "required")


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_without_tools_there_is_no_choice(choice: str) -> None:
    assert chat(tools=[], tool_choice=choice, parallel_tool_calls=True).keys() == {"model", "messages"}
    assert chat(tool_choice="required")["tool_choice"] == "required"  # for the worker to refuse


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True, "description": None},
            {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}},
        ),
    ],
)
def test_formats(asked: Json, expected: Json) -> None:
    body = chat(text={"format": asked, "verbosity": "low"})
    assert (body.get("response_format"), body["verbosity"]) == (expected, "low")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 7}, {"max_completion_tokens": 7}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"truncation": "auto"}, {"truncate_prompt_tokens": -1}),
        ({"truncation": "disabled", "store": False, "metadata": {"a": "b"}, "max_tool_calls": 3}, {}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        (
            {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
            {"logprobs": True, "top_logprobs": 2},
        ),
        ({"top_logprobs": 2, "include": ["reasoning.encrypted_content"]}, {}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False, "stream_options": {"include_obfuscation": False}}, {}),
        ({"temperature": 0.5, "top_p": None, "user": "u"}, {"temperature": 0.5, "user": "u"}),
        (
            {"top_k": 3, "seed": 7, "stop": ["x"], "chat_template_kwargs": {"a": 1}, "min_tokens": 2},
            {"top_k": 3, "seed": 7, "stop": ["x"], "chat_template_kwargs": {"a": 1}, "min_tokens": 2},
        ),
        ({"n": 2, "logprobs": 5, "messages": [], "return_token_ids": True, "include_reasoning": False}, {}),
        ({"background": False, "conversation": None, "enable_response_messages": False}, {}),
    ],
)
def test_members(fields: Json, expected: Json) -> None:
    body = chat(**fields)
    assert {key: value for key, value in body.items() if key not in ("model", "messages")} == expected


def test_texts_keep_their_bytes() -> None:
    body = b'{"model":"m","input":[{"role":"user","content":"\\u00e9\\/ \xc3\xa9"}],"temperature":1.000}'
    made = Responses().translate(body, TRACE_ID)
    assert isinstance(made, ResponseCall)
    assert b'"\\u00e9\\/ \xc3\xa9"' in made.body
    assert b'"temperature":1.000' in made.body


@pytest.mark.parametrize("fields", NOT_CHAT)
def test_what_chat_completions_cannot_say(fields: Json) -> None:
    with pytest.raises(NotTranslatableError, match="chat completions"):
        translated({"input": "hi", **fields})


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"input":"\xff"}', b'{"input":NaN}', b'"x"'])
def test_what_is_no_object_is_for_the_worker(body: bytes) -> None:
    with pytest.raises(NotTranslatableError, match="not a JSON object"):
        Responses().translate(body, TRACE_ID)


@pytest.mark.parametrize(("fields", "param"), SENSELESS)
def test_what_no_worker_could_make_sense_of(fields: Json, param: str) -> None:
    with pytest.raises(Refused) as raised:
        resolved(fields)
    assert (raised.value.fault, raised.value.param) == (Fault.INVALID_REQUEST, param)
    assert json.loads(raised.value.body())["error"]["param"] == param


def test_a_worker_s_error_names_the_member_as_the_agent_does() -> None:
    call = translated({"input": "hi"})
    error = {
        "message": "max_completion_tokens=9 is too much",
        "type": "x",
        "code": 400,
        "param": "max_completion_tokens",
    }
    assert json.loads(call.error(400, json.dumps({"error": error}).encode()))["error"] == {
        **error,
        "message": "max_output_tokens=9 is too much",
        "param": "max_output_tokens",
    }
    for body in (b'{"error":{"param":null,"message":"m"}}', b"nonsense", b'{"error":"Unauthorized"}'):
        assert call.error(400, body) == body


def test_the_answer_repeats_the_request() -> None:
    told = {
        "instructions": "Be terse.",
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": "required",
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "text": {"verbosity": "low"},
        "store": False,
        "max_output_tokens": 7,
    }
    chat_answer = json.dumps({"created": 1, "choices": [{"index": 0, "message": {"content": "A"}}]}).encode()
    response = json.loads(translated({"input": "hi", **told}).whole(chat_answer))
    expected = {
        **told,
        "tools": [{"parameters": None, "strict": None, "type": "function", "name": "f"}],
        "text": {"verbosity": "low", "format": {"type": "text"}},
    }
    assert {key: response[key] for key in told} == expected
    assert (response["truncation"], response["top_p"], response["parallel_tool_calls"]) == (
        "disabled",
        None,
        True,
    )
