"""Chat answers as Responses: real ones of vLLM, whole and streamed, and made ones in any cuts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy.answer import answer_for
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.dialects.answer import translated
from rolltrace_proxy.dialects.interface import Referring, Translation
from rolltrace_proxy.dialects.responses.dialect import Responses
from rolltrace_proxy.rewrite import rewrite
from rolltrace_proxy.tokens import pack_text
from tests.proxy.dialects.response_events import a_response, checked, parsed
from tests.proxy.samples import STREAMS, WHOLES, Sample
from tests.proxy.test_real_answers import named

Json = Any  # what json.loads gives

TRACE_ID = "01234567-89ab-4cde-8f01-23456789abcd"
LOGPROBS = ["message.output_text.logprobs"]
CHAT_STREAMS = [sample for sample in STREAMS if sample.endpoint == "chat/completions"]
CHAT_WHOLES = [sample for sample in WHOLES if sample.endpoint == "chat/completions"]


def translation(**fields: Json) -> Translation:
    made = Responses().translate(json.dumps({"model": "m", "input": "hi", **fields}).encode(), TRACE_ID)
    assert not isinstance(made, Referring)
    return made


def through(
    made: Translation, kind: str, pieces: list[bytes], *, ended: bool = True
) -> tuple[bytes, bytes, Captured]:
    """What the agent gets before the commit and after it, and the capture."""
    plan = rewrite("chat/completions", made.body, enforced={}, model="")
    inner = answer_for(plan, 200, [("Content-Type", kind)], 1 << 30, pack_text)
    answer = translated(inner, made, 200)
    before = b"".join([answer.feed(piece) for piece in pieces])
    captured = answer.capture(ended=ended)
    return before, answer.close(), captured


def whole(body: bytes, **fields: Json) -> Json:
    before, after, captured = through(translation(**fields), "application/json", [body])
    assert not before
    assert captured.response_json == after
    return a_response(after)


def streamed(pieces: list[bytes], **fields: Json) -> Json:
    before, after, captured = through(translation(stream=True, **fields), "text/event-stream", pieces)
    response = checked(before + after)
    assert parsed(after)[-1]["type"] == parsed(before + after)[-1]["type"]
    assert a_response(captured.response_json) == response
    return response


@pytest.mark.parametrize("sample", CHAT_WHOLES, ids=named)
@pytest.mark.parametrize("include", [[], LOGPROBS])
def test_a_whole_answer_is_a_response(sample: Sample, include: list[str]) -> None:
    response: Json = whole(sample.body, include=include)
    chat: Json = json.loads(sample.body)
    choice: Json = chat["choices"][0]
    message: Json = choice["message"]
    assert response["id"] == "resp_0123456789ab4cde8f0123456789abcd"
    assert (response["created_at"], response["model"]) == (chat["created"], chat["model"])
    assert response["usage"]["output_tokens"] == chat["usage"]["completion_tokens"]
    assert response["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    texts = [part for item in response["output"] for part in item.get("content", [])]
    said = [message.get("reasoning"), message["content"]]
    assert [part["text"] for part in texts] == [text for text in said if text]
    told_calls: list[Json] = message.get("tool_calls") or []
    calls: list[Json] = [item for item in response["output"] if item["type"] == "function_call"]
    assert [(call["call_id"], call["name"], call["arguments"]) for call in calls] == [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in told_calls
    ]
    cut = choice["finish_reason"] == "length"
    assert response["status"] == ("incomplete" if cut else "completed")
    assert response["incomplete_details"] == ({"reason": "max_output_tokens"} if cut else None)
    for part in texts:
        if part["type"] == "output_text":
            content: list[Json] = choice["logprobs"]["content"] if include and choice["logprobs"] else []
            assert part["logprobs"] == [
                {key: entry[key] for key in ("token", "bytes", "logprob", "top_logprobs")}
                for entry in content
            ]


@pytest.mark.parametrize("sample", CHAT_STREAMS, ids=named)
@pytest.mark.parametrize("include", [[], LOGPROBS])
@pytest.mark.parametrize("size", [1, 97, 1 << 20])
def test_a_streamed_answer_is_what_the_whole_one_would_be(
    sample: Sample, include: list[str], size: int
) -> None:
    pieces = [sample.body[at : at + size] for at in range(0, len(sample.body), size)]
    made = translation(stream=True, include=include)
    _, _, chat = through_chat(made, sample.body)
    response = streamed(pieces, include=include)
    expected = whole(chat, include=include)
    for key in ("id", "status", "incomplete_details", "model", "created_at", "usage"):
        assert response[key] == expected[key], key
    assert without_logprobs(response["output"]) == without_logprobs(expected["output"])
    if len(expected["output"]) == 1:
        assert response["output"] == expected["output"]


def through_chat(made: Translation, body: bytes) -> tuple[bytes, bytes, bytes]:
    """What an agent of chat completions would have got of the same, and its merged answer."""
    plan = rewrite("chat/completions", made.body, enforced={}, model="")
    answer = answer_for(plan, 200, [("Content-Type", "text/event-stream")], 1 << 30, pack_text)
    before = answer.feed(body)
    captured = answer.capture()
    return before, answer.close(), captured.response_json


def without_logprobs(output: list[Json]) -> list[Json]:
    def bare(item: Json) -> Json:
        parts = [{k: v for k, v in part.items() if k != "logprobs"} for part in item.get("content", [])]
        return {**item, "content": parts}

    return [bare(item) for item in output]


def chunk(delta: Json, finish_reason: str | None = None, **more: Json) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **more}
    top = {"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(top).encode()


def call(index: int, arguments: str = "", **first: str) -> Json:
    named_call = {"id": first["id"], "type": "function"} if first else {}
    function = {"arguments": arguments} | ({"name": first["name"]} if first else {})
    return {"tool_calls": [{"index": index, **named_call, "function": function}]}


def shape(response: Json) -> list[Json]:
    return [
        (item["name"], item["arguments"])
        if item["type"] == "function_call"
        else "".join(part.get("text", part.get("refusal")) for part in item["content"])
        for item in response["output"]
    ]


DONE = b"data: [DONE]\n\n"


def test_parallel_calls_may_come_interleaved() -> None:
    chunks = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning": "hm"}),
        chunk({"content": "Let "}),
        chunk({"content": "me."}),
        chunk(call(0, id="a", name="f")),
        chunk(call(1, "{", id="b", name="g")),
        chunk(call(0, "{}")),
        chunk({}),
        chunk({"content": ""}),
        chunk(call(1, "}"), "tool_calls"),
        DONE,
    ]
    response = streamed(chunks)
    assert shape(response) == ["hm", "Let me.", ("f", "{}"), ("g", "{}")]
    assert [item["status"] for item in response["output"]] == ["completed"] * 4


def test_text_after_a_call_is_an_item_of_its_own() -> None:
    chunks = [
        chunk({"content": "A"}),
        chunk(call(0, "{}", id="a", name="f")),
        chunk({"content": "B"}, "stop"),
        DONE,
    ]
    assert shape(streamed(chunks)) == ["A", ("f", "{}"), "B"]


def test_an_answer_that_is_cut_is_incomplete_and_so_is_its_last_item() -> None:
    response = streamed([chunk({"reasoning_content": "A"}), chunk({"content": "B"}, "length"), DONE])
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("abort", "incomplete", None),
        (None, "incomplete", None),
    ],
)
def test_how_it_ended(reason: str | None, status: str, details: Json) -> None:
    response = streamed([chunk({"content": "A"}), chunk({}, reason), DONE])
    assert (response["status"], response["incomplete_details"]) == (status, details)


def test_a_refusal_is_a_part_of_its_own_kind() -> None:
    response = streamed([chunk({"refusal": "No"}), chunk({"refusal": "."}, "stop"), DONE])
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_an_error_in_the_stream_fails_the_response() -> None:
    error = b'data: {"error":{"message":"out of memory","type":"x","code":500}}\n\n'
    made = translation(stream=True)
    before, after, captured = through(made, "text/event-stream", [chunk({"content": "A"}), error, DONE])
    assert b"failed" not in before
    response = checked(before + after)
    assert response["error"] == {"code": "server_error", "message": "out of memory"}
    assert shape(response) == ["A"]
    assert captured.error == "out of memory"
    assert a_response(captured.response_json) == response


def test_an_error_that_comes_first_is_an_error_event() -> None:
    error = b'data: {"error":{"message":"out of memory"}}\n\n'
    before, after, captured = through(translation(stream=True), "text/event-stream", [error])
    assert [(e["type"], e["message"], e["sequence_number"]) for e in parsed(before + after)] == [
        ("error", "out of memory", 0)
    ]
    assert captured.response_json == b""


def test_a_stream_that_breaks_off_is_in_progress_in_the_record() -> None:
    made = translation(stream=True)
    before, _, captured = through(made, "text/event-stream", [chunk({"content": "A"})], ended=False)
    assert parsed(before)[-1]["type"] == "response.output_text.delta"
    response = a_response(captured.response_json)
    assert (response["status"], response["output"][0]["status"]) == ("in_progress", "in_progress")
    assert shape(response) == ["A"]


def test_reasoning_that_is_not_to_be_shown_is_captured_all_the_same() -> None:
    chunks = [chunk({"reasoning": "hm"}), chunk({"content": "A"}, "stop"), DONE]
    made = translation(stream=True, include_reasoning=False)
    assert "include_reasoning" not in json.loads(made.body)
    before, after, captured = through(made, "text/event-stream", chunks)
    assert shape(checked(before + after)) == ["A"]
    assert json.loads(captured.completions[0].message_json)["reasoning"] == "hm"


def test_comments_go_on_and_choices_of_others_do_not() -> None:
    other = json.dumps({"choices": [{"index": 1, "delta": {"content": "B"}}]}).encode()
    pieces = [chunk({"content": "A"}), b": keep-alive\n\n", b"data: %b\n\n" % other, chunk({}, "stop"), DONE]
    before, after, _ = through(translation(stream=True), "text/event-stream", pieces)
    assert before.count(b": keep-alive\n\n") == 1
    assert shape(checked((before + after).replace(b": keep-alive\n\n", b""))) == ["A"]


def test_what_is_no_chat_completion_goes_on_as_it_is() -> None:
    for body in (b'{"choices":[]}', b"[1]", b"nonsense", b'{"object":"x"}'):
        _, after, _ = through(translation(), "application/json", [body])
        assert after == body


def token(delta: Json, name: str, finish_reason: str | None = None) -> bytes:
    content: list[Json] = [{"token": name, "logprob": -1.0, "bytes": None, "top_logprobs": []}]
    return chunk(delta, finish_reason, logprobs={"content": content})


def test_a_text_has_the_log_probabilities_of_its_own_tokens() -> None:
    chunks = [
        token({"reasoning": "hm"}, "hm"),
        token({}, "half"),
        token({"content": "A"}, "A"),
        token({}, "<call>"),
        token(call(0, "{}", id="a", name="f"), "{}"),
        token({}, "</call>"),
        token({"content": "B"}, "B"),
        token({}, "end", "stop"),
        DONE,
    ]
    response = streamed(chunks, include=LOGPROBS)
    texts = [item["content"][0] for item in response["output"] if item["type"] == "message"]
    told = [[(entry["token"], entry["bytes"]) for entry in text["logprobs"]] for text in texts]
    assert told == [[("half", []), ("A", [])], [("</call>", []), ("B", []), ("end", [])]]
    for item in streamed(chunks)["output"]:
        assert not any(part.get("logprobs") for part in item.get("content", []))


FRAGMENTS = st.lists(
    st.one_of(
        st.tuples(st.just("reasoning"), st.text(max_size=4)),
        st.tuples(st.just("content"), st.text(max_size=4)),
        st.tuples(st.integers(0, 2), st.text(max_size=4)),
        st.just(("idle", "")),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(
    FRAGMENTS, st.lists(st.integers(1, 60), min_size=1, max_size=8), st.sampled_from(["stop", "length", None])
)
def test_any_fragments_in_any_cuts(
    fragments: list[tuple[str | int, str]], cuts: list[int], reason: str | None
) -> None:
    begun: set[int] = set()
    body = chunk({"role": "assistant"})
    said = {"reasoning": "", "content": ""}
    arguments: dict[int, str] = {}
    for kind, text in fragments:
        if kind == "idle":
            body += chunk({})
        elif isinstance(kind, int):
            first = {} if kind in begun else {"id": f"id{kind}", "name": f"f{kind}"}
            begun.add(kind)
            body += chunk(call(kind, text, **first))
            arguments[kind] = arguments.get(kind, "") + text
        else:
            body += chunk({kind: text})
            said[kind] += text
    body += chunk({}, reason) + DONE
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(body[at : at + size])
        at += size
    response = streamed(pieces)
    assert response == streamed([body])
    items = response["output"]
    for kind, key in (("reasoning", "reasoning"), ("message", "content")):
        assert "".join(i["content"][0]["text"] for i in items if i["type"] == kind) == said[key]
    assert {i["name"]: i["arguments"] for i in items if i["type"] == "function_call"} == {
        f"f{index}": text for index, text in arguments.items()
    }
    again = Responses().stream(json.dumps(response).encode())
    assert again is not None
    assert checked(again) == response


@pytest.mark.parametrize("sample", CHAT_STREAMS, ids=named)
@pytest.mark.parametrize("include", [[], LOGPROBS])
def test_a_replay_is_the_same_response(sample: Sample, include: list[str]) -> None:
    response = streamed([sample.body], include=include)
    again = Responses().stream(json.dumps(response).encode())
    assert again is not None
    assert checked(again) == response


def test_what_is_no_response_is_not_streamed_again() -> None:
    for body in (b"{}", b"x", b'{"object":"response","output":[{"type":"web_search_call","id":"a"}]}'):
        assert Responses().stream(body) is None
