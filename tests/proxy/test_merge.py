"""The merged stream is what the OpenAI SDK would have accumulated."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from rolltrace_proxy.merge import Merge
from rolltrace_proxy.raw_json import OBJECT, OBJECTS, read, read_member
from tests.proxy.samples import STREAMS, Sample, load, read_sample
from tests.proxy.test_real_answers import chunks_of, named

Json = Any  # what json.loads gives

CHATS = [sample for sample in STREAMS if sample.endpoint == "chat/completions"]


def without(value: Json, *keys: str) -> Json:
    """Without keys, nulls and empty lists, at any depth: the SDK fills in what its models declare."""
    if isinstance(value, dict):
        fields = cast("dict[str, Json]", value)
        kept = {key: without(member, *keys) for key, member in fields.items() if key not in keys}
        return {key: member for key, member in kept.items() if member not in (None, [])}
    if isinstance(value, list):
        entries = cast("list[object]", value)
        return [without(entry, *keys) for entry in entries]
    return value


def accumulated(chunks: list[Json]) -> Json:
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.current_completion_snapshot.to_dict()


@pytest.mark.parametrize("sample", CHATS, ids=named)
@pytest.mark.parametrize("own", [True, False])
def test_messages_are_the_sdks(sample: Sample, own: bool) -> None:
    seen, captured = read_sample(sample, sample.asked if own else sample.asked_for_agent)
    expected = accumulated(chunks_of(seen))
    for completion, choice in zip(captured.completions, expected["choices"], strict=True):
        ours = without(json.loads(completion.message_json))
        assert ours == without(choice["message"], "parsed", "parsed_arguments", "index")
    merged = json.loads(captured.response_json)
    assert merged["object"] == "chat.completion"
    for ours, theirs in zip(merged["choices"], expected["choices"], strict=True):
        assert ours["finish_reason"] == theirs["finish_reason"]
        assert without(ours.get("logprobs")) == without(theirs.get("logprobs"))
        assert (ours["logprobs"] is None) == (not own or sample.name in NO_LOGPROBS)
    assert without(merged.get("usage")) == without(expected.get("usage"))


NO_LOGPROBS = {
    "chat_stream_contusage",
    "chat_stream_plain",
    "u_include_reasoning_false_stream",
}


def test_a_completions_stream_becomes_a_whole_text() -> None:
    sample = load("compl_stream_ids_logprobs")
    _, captured = read_sample(sample)
    merged = json.loads(captured.response_json)
    assert merged["object"] == "text_completion"
    assert merged["choices"][0]["text"] == "th osiplasses"
    assert merged["choices"][0]["logprobs"]["tokens"] == ["th", " os", "ip", "lasses"]
    assert merged["choices"][0]["logprobs"]["text_offset"] == [0, 2, 5, 7]
    assert merged["choices"][0]["token_ids"] == [374, 654, 730, 1207]
    assert merged["usage"]["completion_tokens"] == 4
    assert json.loads(captured.completions[0].message_json) == {
        "role": "assistant",
        "content": "th osiplasses",
    }


def merge(*deltas: Json) -> Json:
    merged = Merge()
    for delta in deltas:
        chunk = read(OBJECT, json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode())
        assert chunk is not None
        choices = read_member(OBJECTS, chunk, "choices")
        assert choices is not None
        merged.add(chunk, [(0, choices[0])])
    return merged.message(0)


def test_tool_calls_are_merged_by_their_index() -> None:
    first = {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}
    other = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}
    rest = [{"index": 0, "function": {"arguments": "}"}}, {"index": 1, "function": {"arguments": "1"}}]
    assert merge({"tool_calls": [first]}, {"tool_calls": [other]}, {"tool_calls": rest}) == {
        "tool_calls": [
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "1"}},
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]
    }


def test_two_fragments_of_one_call_in_one_chunk_are_merged() -> None:
    fragments = [
        {"index": 0, "id": "a", "function": {"arguments": "x"}},
        {"index": 0, "function": {"arguments": "y"}},
    ]
    assert merge({"tool_calls": fragments})["tool_calls"][0]["function"]["arguments"] == "xy"


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        (
            [{"role": "assistant"}, {"role": "assistant", "content": "a"}],
            {"role": "assistant", "content": "a"},
        ),
        ([{"content": "a"}, {"content": None}, {"content": "b"}], {"content": "ab"}),
        ([{"reasoning_content": "a"}, {"reasoning_content": "b"}], {"reasoning_content": "ab"}),
        ([{"refusal": None}, {"refusal": "n"}, {"refusal": "o"}], {"refusal": "no"}),
        ([{"x": 1}, {"x": 2}, {"x": "no"}], {"x": 3}),
        ([{"x": ["a"]}, {"x": ["b"]}], {"x": ["a", "b"]}),
        ([{"x": {"y": "a"}}, {"x": {"y": "b", "z": True}}], {"x": {"y": "ab", "z": True}}),
        (
            [{"function_call": {"name": "f"}}, {"function_call": {"arguments": "{}"}}],
            {"function_call": {"name": "f", "arguments": "{}"}},
        ),
    ],
)
def test_other_members(deltas: list[Json], message: Json) -> None:
    assert merge(*deltas) == message
