"""What a handler may give, and what the agent's call gets of it."""

from __future__ import annotations

import json
import math
from typing import cast

import msgspec
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_embedded import AnswerError, Sample, replies
from rolltrace_embedded.call import CHAT, COMPLETIONS, Call, call_of
from rolltrace_embedded.sample import Object

CALL: Object = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def call(*, chat: bool = True, **asked: object) -> Call:
    request: Object = {"model": "m", "return_token_ids": True, "logprobs": True if chat else 0, **asked}
    return call_of(CHAT if chat else COMPLETIONS, json.dumps(request).encode(), "1", 5)


def streamed(asked: Call, *pieces: object) -> list[Object]:
    taken = replies.Pieces(asked)
    return [*(taken.take(piece) for piece in pieces), *taken.end()]


def choices(body: Object) -> list[Object]:
    return cast("list[Object]", body["choices"])


def test_a_sample_is_an_answer_in_vllms_places() -> None:
    body = replies.whole(
        call(), Sample(text="Hi", token_ids=[5, 6], logprobs=[-0.5, math.nan], prompt_token_ids=[1])
    )
    assert {key: body[key] for key in ("id", "object", "created", "model")} == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
    }
    assert body["prompt_token_ids"] == [1]
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    (choice,) = choices(body)
    assert choice["message"] == {"role": "assistant", "content": "Hi"}
    assert (choice["token_ids"], choice["finish_reason"]) == ([5, 6], "stop")
    assert [entry["logprob"] for entry in choice["logprobs"]["content"]] == [-0.5, None]  # type: ignore[index]  # pyright: ignore


def test_a_sample_is_a_completion_too() -> None:
    asked = call(chat=False)
    body = replies.whole(
        asked, [Sample(text="a", token_ids=[5], logprobs=[-1.0], prompt_token_ids=[1]), Sample(text="b")]
    )
    first, second = choices(body)
    assert body["object"] == "text_completion"
    assert (first["text"], first["token_ids"], first["prompt_token_ids"]) == ("a", [5], [1])
    assert cast("Object", first["logprobs"])["token_logprobs"] == [-1.0]
    assert (second["index"], second["text"], second["token_ids"], second["logprobs"]) == (1, "b", None, None)
    assert "usage" not in body


def test_what_was_not_asked_for_is_null_as_vllm_sends_it() -> None:
    body = replies.whole(
        call(return_token_ids=False, logprobs=False),
        Sample(text="Hi", token_ids=[5], logprobs=[-1.0], prompt_token_ids=[1]),
    )
    (choice,) = choices(body)
    assert (choice["token_ids"], choice["logprobs"], body["prompt_token_ids"]) == (None, None, None)


def test_arrays_of_numpy_will_do() -> None:
    sample = Sample(token_ids=numpy.array([5, 6]), logprobs=numpy.array([-1, -2], "<f4"))
    assert json.dumps(replies.whole(call(), sample))


@pytest.mark.parametrize("logprobs", [[-1.0], [-1.0, -1.0, -1.0]])
def test_ids_and_logprobs_are_as_many(logprobs: list[float]) -> None:
    with pytest.raises(ValueError, match=f"2 token_ids and {len(logprobs)} logprobs"):
        Sample(token_ids=[1, 2], logprobs=logprobs)
    with pytest.raises(ValueError, match="0 token_ids"):
        Sample(logprobs=[-1.0])


def test_tool_calls_end_an_answer_as_such() -> None:
    sample = Sample(message={"tool_calls": [CALL]}, token_ids=[5])
    (choice,) = choices(replies.whole(call(), sample))
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    *_, last = streamed(call(stream=True), sample)
    assert choices(last)[0]["finish_reason"] == "tool_calls"


def test_a_dict_keeps_what_it_holds_and_gets_what_it_lacks() -> None:
    body = replies.whole(
        call(), {"id": "mine", "extra": 1, "choices": [{"message": {"content": "Hi"}, "x": 2}]}
    )
    assert (body["id"], body["extra"], body["model"]) == ("mine", 1, "m")
    assert choices(body) == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi"},
            "x": 2,
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]


def test_a_whole_answer_becomes_a_streams_chunks() -> None:
    asked = call(stream=True, stream_options={"include_usage": True})
    sample = Sample(message={"tool_calls": [CALL]}, token_ids=[5], logprobs=[-1.0], prompt_token_ids=[1])
    role, said, end, usage = replies.chunks_of(asked, replies.whole(asked, sample))
    assert choices(role)[0]["delta"] == {"role": "assistant", "content": ""}
    assert (role["object"], role["prompt_token_ids"]) == ("chat.completion.chunk", [1])
    assert cast("Object", choices(said)[0]["delta"])["tool_calls"] == [{"index": 0} | CALL]
    assert (choices(said)[0]["token_ids"], choices(said)[0]["finish_reason"]) == ([5], None)
    assert (choices(end)[0]["delta"], choices(end)[0]["finish_reason"]) == ({}, "tool_calls")
    assert (usage["choices"], cast("Object", usage["usage"])["total_tokens"]) == ([], 2)
    assert len(list(replies.chunks_of(call(stream=True), replies.whole(asked, sample)))) == 3


def test_pieces_get_a_role_an_end_and_a_count() -> None:
    asked = call(stream=True, stream_options={"include_usage": True})
    pieces = (Sample(text="H", token_ids=[5], prompt_token_ids=[1]), Sample(text="i", token_ids=[6]))
    first, second, end, usage = streamed(asked, *pieces)
    assert choices(first)[0]["delta"] == {"role": "assistant", "content": "H"}
    assert choices(second)[0]["delta"] == {"content": "i"}
    assert "prompt_token_ids" not in second
    assert choices(end)[0]["finish_reason"] == "stop"
    assert usage["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert len(streamed(call(stream=True), *pieces)) == 3
    assert len(streamed(call(stream=True), Sample(text="H", finish_reason="length"))) == 1


def test_chunks_that_are_dicts_end_as_they_say() -> None:
    said: Object = {"choices": [{"delta": {"content": "Hi"}}]}
    (chunk,) = streamed(call(stream=True), said)
    assert choices(chunk) == [
        {"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}
    ]


text = st.text(max_size=5)
sampled = st.lists(st.tuples(text, st.integers(0, 2**31 - 1), st.floats(-50, 0)), min_size=1, max_size=5)


@settings(max_examples=50)
@given(st.lists(sampled, min_size=1, max_size=3), st.booleans())
def test_pieces_or_whole_the_answer_is_the_same(
    parts: list[list[tuple[str, int, float]]], chat: bool
) -> None:
    """However a handler gives it: in one, in pieces, or made a stream and merged again."""
    asked = call(chat=chat, stream_options={"include_usage": True})
    whole = [
        Sample(
            text="".join(said for said, _, _ in part),
            token_ids=[token for _, token, _ in part],
            logprobs=[logprob for _, _, logprob in part],
            prompt_token_ids=[1, 2],
        )
        for part in parts
    ]
    pieces = [
        Sample(
            index=index,
            text=said,
            token_ids=[token],
            logprobs=[logprob],
            prompt_token_ids=[1, 2],
        )
        for index, part in enumerate(parts)
        for said, token, logprob in part
    ]
    body = replies.whole(asked, whole)
    in_pieces = replies.merged(asked, streamed(asked, *pieces))
    again = replies.merged(asked, list(replies.chunks_of(asked, body)))
    assert told(again) == told(body)
    assert told(in_pieces) == told(body)


def told(body: Object) -> object:
    """What the answer says, without the order of its members and what is null or left out."""
    return known(json.loads(msgspec.json.encode(body)))


def known(value: object) -> object:
    if isinstance(value, dict):
        members = {key: known(each) for key, each in cast("Object", value).items() if each is not None}
        if members.get("role"):
            members.setdefault("content", "")
        return members
    return [known(each) for each in cast("list[object]", value)] if isinstance(value, list) else value


@pytest.mark.parametrize("answer", [None, "text", {}, {"choices": {}}, {"choices": ["x"]}, [], [1], 5])
def test_what_is_no_answer_is_named(answer: object) -> None:
    with pytest.raises(TypeError, match=r"rolltrace\.Sample"):
        replies.whole(call(), answer)
    with pytest.raises(TypeError, match=r"rolltrace\.Sample"):
        replies.Pieces(call()).take(answer)


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"[" * 100_000])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError, match="the request is not"):
        call_of(CHAT, body, "1", 5)
