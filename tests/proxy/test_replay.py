"""A replayed stream: merged again it is the recorded answer, and the OpenAI SDK reads it as the first one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.replay import DONE, replay, replayable, stream
from rolltrace_proxy.rewrite import rewrite
from tests.proxy.answers import chat_answer
from tests.proxy.samples import STREAMS, WHOLES, Sample, read_sample, read_stream
from tests.proxy.test_merge import CHATS, accumulated, without
from tests.proxy.test_real_answers import chunks_of, named

Json = Any  # what json.loads gives


def recorded(sample: Sample, *, own: bool) -> tuple[bytes, Captured]:
    """What the agent saw, and the capture."""
    return read_sample(sample, sample.asked if own else sample.asked_for_agent)


def replayed(body: bytes) -> bytes:
    made = stream(body)
    assert made is not None
    return made


@pytest.mark.parametrize("sample", STREAMS, ids=named)
@pytest.mark.parametrize("own", [True, False])
def test_merged_again_it_is_the_recorded_answer(sample: Sample, own: bool) -> None:
    _, captured = recorded(sample, own=own)
    made = replayed(captured.response_json)
    _, _, again = read_stream(rewrite(sample.endpoint, b"", enforced={}, model=""), [made])
    assert without(json.loads(again.response_json)) == without(json.loads(captured.response_json))
    assert [c.finish_reason for c in again.completions] == [c.finish_reason for c in captured.completions]
    assert [c.token_ids for c in again.completions] == [
        c.token_ids if own else b"" for c in captured.completions
    ]


@pytest.mark.parametrize("sample", CHATS, ids=named)
@pytest.mark.parametrize("own", [True, False])
def test_the_sdk_reads_what_it_read_the_first_time(sample: Sample, own: bool) -> None:
    seen, captured = recorded(sample, own=own)
    chunks = chunks_of(replayed(captured.response_json))
    assert without(accumulated(chunks)) == without(accumulated(chunks_of(seen)))


@pytest.mark.parametrize("sample", [s for s in STREAMS if s.endpoint == "completions"], ids=named)
def test_the_sdk_reads_a_text_stream(sample: Sample) -> None:
    seen, captured = recorded(sample, own=False)
    chunks = [Completion.construct(**c) for c in chunks_of(replayed(captured.response_json))]
    expected = [Completion.construct(**c) for c in chunks_of(seen)]

    def texts(of: list[Completion]) -> str:
        return "".join(choice.text for chunk in of for choice in chunk.choices)

    assert texts(chunks) == texts(expected)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
    assert [c.usage for c in chunks if c.usage] == [c.usage for c in expected if c.usage][-1:]


@pytest.mark.parametrize("sample", STREAMS, ids=named)
def test_an_agent_that_asked_for_nothing_gets_nothing_more(sample: Sample) -> None:
    seen, captured = recorded(sample, own=False)
    made = replayed(captured.response_json)
    for chunk in chunks_of(made):
        for fields in (chunk, *chunk["choices"]):
            assert not any(fields.get(key) for key in ("prompt_token_ids", "token_ids", "logprobs"))
    usages = [bool(chunk.get("usage")) for chunk in chunks_of(seen)]
    assert any(bool(chunk.get("usage")) for chunk in chunks_of(made)) == any(usages)
    assert made.endswith(b"}\n\n" + DONE)


def test_the_grammar_of_a_chat_stream() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choices = [{"index": n, "message": message, "finish_reason": "tool_calls"} for n in range(2)]
    top = {"id": "c", "object": "chat.completion", "choices": choices, "usage": {"total_tokens": 1}}
    made = chunks_of(replayed(json.dumps(top).encode()))
    assert {chunk["object"] for chunk in made} == {"chat.completion.chunk"}
    assert [[(c["index"], c["finish_reason"]) for c in chunk["choices"]] for chunk in made] == [
        [(0, None)],
        [(1, None)],
        [(0, None)],
        [(1, None)],
        [(0, "tool_calls")],
        [(1, "tool_calls")],
        [],
    ]
    assert made[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert made[2]["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **call}]
    assert made[4]["choices"][0]["delta"] == {}
    assert [chunk.get("usage") for chunk in made] == [None] * 6 + [{"total_tokens": 1}]


def a_trace(**fields: Json) -> pb.Trace:
    answer = json.dumps(chat_answer()).encode()
    trace = pb.Trace(endpoint="chat/completions", status=pb.CALL_STATUS_COMPLETED, response_json=answer)
    trace.MergeFrom(pb.Trace(**fields))
    if "response_json" in fields:
        trace.response_json = fields["response_json"]
    return trace


@pytest.mark.parametrize("sample", WHOLES, ids=named)
def test_a_whole_answer_is_given_byte_for_byte(sample: Sample) -> None:
    trace = a_trace(endpoint=sample.endpoint, response_json=sample.body)
    assert replayable(trace)
    assert replay(trace) == ("application/json", sample.body)


@pytest.mark.parametrize(
    ("fields", "can"),
    [
        ({"streamed": True}, True),
        ({"endpoint": "embeddings"}, True),
        ({"endpoint": "moderations", "streamed": True}, False),
        ({"response_json": b""}, False),
        ({"status": pb.CALL_STATUS_UPSTREAM_ERROR}, False),
        ({"streamed": True, "capture_gaps": [{"kind": pb.CAPTURE_GAP_KIND_UNREADABLE}]}, False),
        ({"streamed": True, "capture_gaps": [{"kind": pb.CAPTURE_GAP_KIND_LOGPROBS}]}, True),
        ({"capture_gaps": [{"kind": pb.CAPTURE_GAP_KIND_UNREADABLE}]}, True),
    ],
)
def test_what_can_be_given_again(fields: dict[str, object], can: bool) -> None:
    assert replayable(a_trace(**fields)) == can
