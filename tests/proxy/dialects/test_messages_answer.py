"""What an agent of the Messages API gets: recorded answers of a real vLLM, and answers of other workers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.capture import Captured
from rolltrace_proxy.dialects.answer import translated
from rolltrace_proxy.dialects.interface import Translation
from rolltrace_proxy.dialects.messages.dialect import Messages
from rolltrace_proxy.errors import Fault, Refused
from rolltrace_proxy.raw_json import Object, read_object
from rolltrace_proxy.rewrite import rewrite
from rolltrace_proxy.stream_answer import StreamAnswer
from tests.proxy.dialects.message_events import merged, parse
from tests.proxy.samples import TOKEN_ANSWERS, Sample, load

Json = dict[str, Any]

TRACE = "5818a4bb-64d1-4e34-b5cd-9da5097d9f95"
BODY = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
CHATS = [sample for sample in TOKEN_ANSWERS if sample.endpoint == "chat/completions"]
TOOL = '{"city": "Köln"}'


def translation(body: bytes = BODY) -> Translation:
    return Messages().translate(body, TRACE)


def stream(body: bytes, cuts: list[int]) -> tuple[bytes, bytes, Captured]:
    """What the agent gets before the commit and after it, of a worker's stream cut at these places."""
    asked = translation()
    answer = translated(
        StreamAnswer(rewrite("chat/completions", asked.body, enforced={}, model="")), asked, 200
    )
    places = sorted({cut % len(body) for cut in cuts}) if body else []
    pieces = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    before = b"".join([answer.feed(piece) for piece in pieces])
    captured = answer.capture()
    return before, answer.close(), captured


def whole(answer: Json) -> Json:
    message: Json = json.loads(translation().whole(json.dumps(answer).encode()))
    return message


def sse(*chunks: Json) -> bytes:
    return b"".join([b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks]) + b"data: [DONE]\n\n"


def chunk(finish: str | None = None, **delta: object) -> Json:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int, arguments: str | None = None, name: str | None = None) -> Json:
    function = {"name": name, "arguments": arguments}
    return {
        "index": index,
        "id": f"call-{index}" if name else None,
        "function": {key: value for key, value in function.items() if value is not None},
    }


def answer(finish: str = "stop", stop_reason: object = None, **message: object) -> Json:
    choice = {"index": 0, "message": message, "finish_reason": finish, "stop_reason": stop_reason}
    return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 3}}


def function(arguments: str, name: str = "get_weather") -> Json:
    return {"id": "call-0", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize("sample", CHATS, ids=lambda sample: sample.name)
def test_a_recorded_answer(sample: Sample) -> None:
    """A stream says the same as the chunks merged into one answer do."""
    if sample.streamed:
        before, after, captured = stream(sample.body, [])
        message = merged(before + after)
        assert message == json.loads(captured.response_json)
        assert b"message_stop" not in before
        assert b"message_delta" not in before
    else:
        message = json.loads(translation().whole(sample.body))
    assert message["id"] == "msg_5818a4bb64d14e34b5cd9da5097d9f95"
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "tiny")
    assert message["content"]
    assert message["stop_reason"] in ("end_turn", "max_tokens", "stop_sequence", "tool_use")


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 1 << 20), max_size=12))
@pytest.mark.parametrize("name", ["t_tool_auto_stream", "u_reason_stream_interval", "chat_stream_ids_usage"])
def test_any_cut_of_a_stream_gives_the_same_message(name: str, cuts: list[int]) -> None:
    body = load(name).body
    before, after, _ = stream(body, cuts)
    expected, end, _ = stream(body, [])
    assert merged(before + after) == merged(expected + end)


def test_text_goes_out_as_it_comes() -> None:
    events = parse(stream(sse(chunk(content="a"), chunk(content="b"), chunk("stop")), [])[0])
    said = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert said == ["a", "b"]


def test_a_streams_start_tells_the_ids_of_the_prompt() -> None:
    first = {**chunk(role="assistant", content=""), "prompt_token_ids": [1, 2, 3]}
    start, *_ = parse(stream(sse(first, chunk("stop", content="a")), [])[0])
    assert start["message"]["usage"] == {"input_tokens": 3, "output_tokens": 0}


@pytest.mark.parametrize(
    "chunks",
    [
        [[call(0, "", "a")], [call(0, '{"x":')], [call(0, "1}")], [call(1, "", "b")], [call(1, "{}")]],
        [[call(0, "", "a"), call(1, "{}", "b")], [call(0, '{"x":')], [call(0, "1}")]],
        [[call(0, '{"x":', "a")], [call(1, "{", "b")], [call(0, "1"), call(1, "}")], [call(0, "}")]],
        [[call(0, '{"x":1}', "a")], [call(1, "{", "b")], [call(1, "}")]],
    ],
)
def test_calls_of_several_tools_never_interleave(chunks: list[list[Json]]) -> None:
    said = [chunk(content="I look."), *[chunk(tool_calls=calls) for calls in chunks], chunk("tool_calls")]
    before, after, _ = stream(sse(*said), [])
    message = merged(before + after)
    assert message["stop_reason"] == "tool_use"
    assert message["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call-0", "name": "a", "input": {"x": 1}},
        {"type": "tool_use", "id": "call-1", "name": "b", "input": {}},
    ]


def test_a_tools_block_ends_when_the_next_one_begins() -> None:
    chunks = [chunk(tool_calls=[call(0, "{}", "a")]), chunk(tool_calls=[call(1, "", "b")])]
    before, _, _ = stream(sse(*chunks), [])
    kinds = [event["type"] for event in parse(before)]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "content_block_start"]


def test_an_input_that_is_awaited_eagerly_comes_in_pieces() -> None:
    tool: Json = {"name": "a", "input_schema": {}, "eager_input_streaming": True}
    asked: Json = {**json.loads(BODY), "tools": [tool]}
    reply = translation(json.dumps(asked).encode()).reply()
    fed = [reply.feed(_object(chunk(tool_calls=[call(0, said, "a")])), 0) for said in ('{"x":', "1}")]
    pieces = [parse(events)[-1]["delta"]["partial_json"] for events in fed]
    assert pieces == ['{"x":', "1}"]


def test_a_long_input_is_awaited_with_pings() -> None:
    chunks = [chunk(tool_calls=[call(0, '{"x":"', "a")]), *[chunk(tool_calls=[call(0, "y")])] * 70]
    before, _, _ = stream(sse(*chunks), [])
    assert [event["type"] for event in parse(before)][2:] == ["ping", "ping"]


def _object(value: Json) -> Object:
    read = read_object(json.dumps(value).encode())
    assert read is not None
    return read


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (TOOL, {"city": "Köln"}),
        ("", {}),
        ("null", {}),
        ('{"city": "Kö', {"INVALID_JSON": '{"city": "Kö'}),
        ("{city: Köln}", {"INVALID_JSON": "{city: Köln}"}),
        ('["Köln"]', {"INVALID_JSON": '["Köln"]'}),
        ("{} {}", {"INVALID_JSON": "{} {}"}),
        ('{"a":' * 3000, {"INVALID_JSON": '{"a":' * 3000}),
    ],
)
def test_what_a_model_writes_as_an_input(arguments: str, expected: Json) -> None:
    message = whole(answer("tool_calls", content=None, tool_calls=[function(arguments)]))
    begun = chunk(tool_calls=[call(0, arguments[:5], "get_weather")])
    before, after, _ = stream(sse(begun, chunk("stop", tool_calls=[call(0, arguments[5:])])), [])
    for each in (message, merged(before + after)):
        assert each["content"] == [
            {"type": "tool_use", "id": "call-0", "name": "get_weather", "input": expected}
        ]


@pytest.mark.parametrize(
    ("finish", "matched", "tools", "expected"),
    [
        ("stop", None, [], ("end_turn", None)),
        ("stop", 2, [], ("end_turn", None)),
        ("stop", "END", [], ("stop_sequence", "END")),
        ("length", None, [], ("max_tokens", None)),
        ("length", None, [function(TOOL)], ("max_tokens", None)),
        ("tool_calls", None, [function(TOOL)], ("tool_use", None)),
        ("stop", None, [function(TOOL)], ("tool_use", None)),
        ("stop", "END", [function(TOOL)], ("tool_use", None)),
        ("stop", "END", [function(TOOL[:-3])], ("stop_sequence", "END")),
        ("content_filter", None, [], ("refusal", None)),
        ("abort", None, [], (None, None)),
    ],
)
def test_why_it_stopped(
    finish: str, matched: object, tools: list[Json], expected: tuple[object, object]
) -> None:
    message = whole(answer(finish, matched, content="x", tool_calls=tools))
    assert (message["stop_reason"], message["stop_sequence"]) == expected


def test_usage_counts_what_a_cache_gave_apart() -> None:
    details = {"cached_tokens": 6, "created_cache_tokens": 1}
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": details}
    assert whole({**answer(content="x"), "usage": usage})["usage"] == {
        **{"input_tokens": 3, "output_tokens": 3},
        **{"cache_creation_input_tokens": 1, "cache_read_input_tokens": 6},
    }


def test_thinking_and_text() -> None:
    message = whole(answer(content="Sunny.", reasoning="hm"))
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": TRACE},
        {"type": "text", "text": "Sunny."},
    ]


def test_members_of_other_engines() -> None:
    """SGLang's names, a call without an id, and a second choice, which a message has no place for."""
    other = {"index": 1, "message": {"content": "no"}, "finish_reason": "stop"}
    said = {"reasoning_content": "hm", "tool_calls": [{"function": {"name": "a", "arguments": "{"}}]}
    choice = {"index": 0, "message": said, "finish_reason": "stop", "matched_stop": "END"}
    message = whole({"model": "m", "choices": [choice, other]})
    thinking, tool = message["content"]
    assert (thinking["thinking"], tool["id"]) == ("hm", "toolu_5818a4bb64d14e34b5cd9da5097d9f95_1")
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
    assert message["usage"] == {"input_tokens": 0, "output_tokens": 0}


def test_a_model_that_says_nothing() -> None:
    before, after, _ = stream(sse(chunk(role="assistant", content=""), chunk("stop")), [])
    assert merged(before + after)["content"] == [{"type": "text", "text": ""}]
    assert whole(answer(content=None))["content"] == [{"type": "text", "text": ""}]


def test_an_error_within_a_stream_is_its_end() -> None:
    failed = {"error": {"message": "too much", "type": "x", "code": 429}}
    before, after, captured = stream(sse(chunk(content="a"), failed, chunk(content="b")), [])
    assert parse(before)[-1]["delta"] == {"type": "text_delta", "text": "a"}
    assert parse(after) == [{"type": "error", "error": {"type": "rate_limit_error", "message": "too much"}}]
    assert captured.error == "too much"


def test_a_call_with_an_index_that_nothing_has() -> None:
    said = stream(sse(chunk(content="a"), chunk("stop", tool_calls=[call(-1, TOOL, "f")])), [])
    text, tool = merged(said[0] + said[1])["content"]
    assert (text["text"], tool["name"], tool["input"]) == ("a", "f", json.loads(TOOL))


@pytest.mark.parametrize("code", [None, "x", 200, 10**30])
def test_an_error_of_no_status_is_the_workers(code: object) -> None:
    before, after, _ = stream(sse({"error": {"message": "no", "code": code}}), [])
    assert before == b""
    assert parse(after) == [{"type": "error", "error": {"type": "api_error", "message": "no"}}]


@pytest.mark.parametrize("chunks", [[], [chunk(content="a")]])
def test_a_stream_that_ends_too_early_never_looks_whole(chunks: list[Json]) -> None:
    before, after, captured = stream(sse(*chunks), [])
    (error,) = parse(after)
    assert error["error"]["type"] == "api_error"
    assert b"message_stop" not in before + after
    assert captured.gaps


@pytest.mark.parametrize("name", [sample.name for sample in CHATS])
def test_a_recorded_message_as_a_stream(name: str) -> None:
    sample = load(name)
    message = (
        stream(sample.body, [])[2].response_json if sample.streamed else translation().whole(sample.body)
    )
    events = Messages().stream(message)
    assert events is not None
    assert merged(events) == json.loads(message)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error":{}}', b'{"content":"x"}'])
def test_what_is_no_message_is_no_stream(body: bytes) -> None:
    assert Messages().stream(body) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"choices":[]}', b'{"choices":3}'])
def test_an_answer_that_is_no_chat_completion_stays(body: bytes) -> None:
    assert translation().whole(body) == body


KEYS = (
    "choices index delta message content reasoning tool_calls function arguments name id finish_reason "
    "stop_reason usage prompt_tokens error code"
)
LEAVES = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS.split()), inner),
    max_leaves=30,
)


@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_nothing_that_a_worker_may_say_raises(value: object) -> None:
    body = json.dumps(value).encode()
    translation().whole(body)
    translation().error(500, body)
    before, after, _ = stream(b"data: %b\n\n" % body, [])
    assert parse(before + after)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "invalid_request_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_errors_of_workers(status: int, kind: str) -> None:
    said = json.loads(translation().error(status, b'{"error":{"message":"no","type":"X","code":1}}'))
    assert said == {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": TRACE}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"error":"Unauthorized"}', "Unauthorized"),
        (b"oops \xff", "oops �"),
    ],
)
def test_errors_of_any_shape(body: bytes, message: str) -> None:
    assert json.loads(translation().error(500, body))["error"]["message"] == message


def test_errors_of_the_gateway() -> None:
    refused = Refused(Fault.SESSION_LIMIT, "enough")
    error = {"type": "rate_limit_error", "message": "enough"}
    assert json.loads(Messages().refusal(refused)) == {"type": "error", "error": error}
