"""Every recorded answer of a real vLLM: tokens, text and the agent's view, whole and however cut."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import gaps
from rolltrace_proxy.sse import EventFramer
from tests.proxy.samples import STREAMS, TOKEN_ANSWERS, WHOLES, Sample, load, read_sample, read_stream
from tests.proxy.test_sse import pieces_of

Json = Any  # what json.loads gives


def ids_of(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}i", data))


def logprobs_of(data: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def chunks_of(stream: bytes) -> list[Json]:
    data = [event.data for event in EventFramer().feed(stream) if event.data]
    return [json.loads(each) for each in data if each != b"[DONE]"]


def given_tokens(sample: Sample) -> dict[int, tuple[list[int], list[float]]]:
    """Ids and log-probabilities by choice, read the plain way."""
    tokens: dict[int, tuple[list[int], list[float]]] = {}
    for answer in chunks_of(sample.body) if sample.streamed else [json.loads(sample.body)]:
        for choice in answer["choices"]:
            ids, logprobs = tokens.setdefault(choice["index"], ([], []))
            ids += choice.get("token_ids") or []
            lp: Json = choice["logprobs"] or {"content": []}
            logprobs += [t["logprob"] for t in lp["content"]] if "content" in lp else lp["token_logprobs"]
    return tokens


def named(sample: Sample) -> str:
    return sample.name


@pytest.mark.parametrize("sample", TOKEN_ANSWERS, ids=named)
def test_every_token_is_captured(sample: Sample) -> None:
    _, captured = read_sample(sample)
    for completion in captured.completions:
        ids, logprobs = given_tokens(sample)[completion.index]
        assert ids_of(completion.token_ids) == ids
        if ids and logprobs:  # echo: the prompt's come first
            exact = struct.pack(f"<{len(ids)}f", *logprobs[-len(ids) :])
            assert completion.logprobs == exact
        assert completion.finish_reason in ("stop", "length", "tool_calls")
    assert len(captured.completions) == len(given_tokens(sample))


@pytest.mark.parametrize("sample", TOKEN_ANSWERS, ids=named)
def test_gaps_are_exactly_what_is_missing(sample: Sample) -> None:
    _, captured = read_sample(sample)
    expected: set[int] = set()
    if b'"prompt_token_ids":[' not in sample.body:
        expected.add(gaps.PROMPT_TOKEN_IDS)
    if b'"token_ids":[' not in sample.body:
        expected.add(gaps.TOKEN_IDS)
    elif b'"logprob' not in sample.body.replace(b'"logprobs":null', b""):
        expected.add(gaps.LOGPROBS)
    if sample.name == "compl_two_prompts":
        expected.add(gaps.MISMATCH)
    assert {gap.kind for gap in captured.gaps} == expected


@pytest.mark.parametrize("sample", TOKEN_ANSWERS, ids=named)
def test_an_agent_that_asked_itself_gets_every_byte(sample: Sample) -> None:
    stripped = {"chat_stream_contusage"}  # asked for ids only: logprobs would be Rolltrace's, but are null
    seen, _ = read_sample(sample)
    assert seen == sample.body or sample.name in stripped


@pytest.mark.parametrize("sample", STREAMS, ids=named)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_byte_by_byte_is_the_same_as_whole(sample: Sample, line_end: bytes) -> None:
    body = sample.body.replace(b"\n", line_end)
    for asked in (sample.asked, sample.asked_for_agent):
        whole = read_stream(asked, [body])
        cut = read_stream(asked, [body[at : at + 1] for at in range(len(body))])
        assert cut == whole
        assert whole[2] == read_stream(asked, [sample.body])[2]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 12_000), max_size=8), st.booleans())
def test_any_split_is_the_same_as_whole(sample: Sample, cuts: list[int], own: bool) -> None:
    asked = sample.asked if own else sample.asked_for_agent
    assert read_stream(asked, pieces_of(sample.body, cuts)) == read_stream(asked, [sample.body])


@pytest.mark.parametrize("sample", STREAMS, ids=named)
def test_only_the_end_is_held_back(sample: Sample) -> None:
    before, after, _ = read_stream(sample.asked, [sample.body])
    assert after.rstrip() == b"data: [DONE]"
    assert b"[DONE]" not in before


@pytest.mark.parametrize(
    ("streamed", "whole"),
    [
        ("chat_stream_ids_logprobs", "chat_ids_logprobs"),
        ("chat_stop_token", "chat_stop_token_nostream"),
        ("t_tool_auto_stream", "t_tool_auto"),
        ("u_reason_stream_interval", "u_reason_nostream"),
        ("u_reason_forced_think_end", "u_reason_forced_think_end_nostream"),
        ("chat_stream_tool_required", "chat_tool_required"),
    ],
)
def test_a_stream_and_a_whole_answer_give_the_same_trace(streamed: str, whole: str) -> None:
    _, one = read_sample(load(streamed))
    _, other = read_sample(load(whole))
    assert one.prompt_token_ids == other.prompt_token_ids
    assert [c.token_ids for c in one.completions] == [c.token_ids for c in other.completions]
    for a, b in zip(one.completions, other.completions, strict=True):
        assert logprobs_of(a.logprobs) == pytest.approx(logprobs_of(b.logprobs), abs=1e-5)
    assert [c.finish_reason for c in one.completions] == [c.finish_reason for c in other.completions]


def normal(body: bytes) -> bytes:
    """Without what differs from call to call."""
    answer = json.loads(body)
    return json.dumps(answer | {"id": "", "created": 0}, ensure_ascii=False).encode()


def test_a_stripped_answer_is_the_plain_one() -> None:
    plain, full = load("chat_plain"), load("chat_ids_logprobs")
    seen, captured = read_sample(full, plain.asked)
    assert normal(seen) == normal(plain.body)
    assert len(seen) == len(plain.body)
    assert captured.response_json == seen
    assert captured.gaps == []


def test_a_stripped_stream_is_the_plain_one() -> None:
    plain, full = load("chat_stream_plain"), load("chat_stream_ids_logprobs")
    seen, _ = read_sample(full, plain.asked)
    normal_chunks = [
        [c | {"id": "", "created": 0} for c in chunks_of(stream)] for stream in (seen, plain.body)
    ]
    # The plain call stopped after four tokens: role, th, (half a character), an.
    assert normal_chunks[0][:3] == normal_chunks[1][:3]
    assert [list(chunk) for chunk in normal_chunks[0][-1:]] == [
        list(chunk) for chunk in normal_chunks[1][-1:]
    ]


@pytest.mark.parametrize("sample", TOKEN_ANSWERS, ids=named)
def test_nothing_of_ours_reaches_an_agent_that_did_not_ask(sample: Sample) -> None:
    seen, captured = read_sample(sample, sample.asked_for_agent)
    for answer in chunks_of(seen) if sample.streamed else [json.loads(seen)]:
        for fields in (answer, *answer["choices"]):
            assert not any(fields.get(key) for key in ("prompt_token_ids", "token_ids", "logprobs"))
    if sample.name != "compl_echo":  # its logprobs hold the prompt's too, and only the request tells
        assert captured.completions[0].token_ids == read_sample(sample)[1].completions[0].token_ids
        assert captured.completions[0].logprobs == read_sample(sample)[1].completions[0].logprobs


def test_an_agent_that_asked_for_logprobs_still_gets_chunks_without_text() -> None:
    sample = load("chat_stream_ids_logprobs")
    seen, _ = read_sample(sample, sample.asked)
    assert len(chunks_of(seen)) == len(chunks_of(sample.body))
    seen, _ = read_sample(sample, sample.asked_for_agent)
    assert len(chunks_of(seen)) == len(chunks_of(sample.body)) - 1


@pytest.mark.parametrize("sample", WHOLES, ids=named)
def test_messages_of_whole_answers_are_the_workers_bytes(sample: Sample) -> None:
    _, captured = read_sample(sample)
    for completion, choice in zip(captured.completions, json.loads(sample.body)["choices"], strict=True):
        expected = choice.get("message") or {"role": "assistant", "content": choice.get("text")}
        assert json.loads(completion.message_json) == expected


def test_usage_is_taken_as_reported_and_never_counted() -> None:
    assert read_sample(load("chat_stream_ids_logprobs"))[1].usage is None
    assert read_sample(load("chat_stream_ids_usage"))[1].usage == pb.Usage(
        prompt_tokens=28, completion_tokens=4
    )
    cached = pb.Usage(prompt_tokens=139, completion_tokens=31, cached_prompt_tokens=128)
    assert read_sample(load("t_tool_auto_stream"))[1].usage == cached


def test_errors_go_on_untouched_and_are_told() -> None:
    for name, said in (("err_bad_model", "does not exist"), ("u_noauth", "Unauthorized")):
        seen, captured = read_sample(load(name))
        assert seen == load(name).body == captured.response_json
        assert said in (captured.error or "")
        assert captured.gaps == []


def test_a_stream_cut_off_keeps_what_came_and_judges_nothing_else() -> None:
    sample = load("chat_stream_ids_logprobs")
    end = sample.body.index(b"cate")
    _, _, captured = read_stream(sample.asked_for_agent, [sample.body[:end]], ended=False)
    assert ids_of(captured.completions[0].token_ids) == [374, 129, 350]
    assert all(not math.isnan(value) for value in logprobs_of(captured.completions[0].logprobs))
    assert [gap.kind for gap in captured.gaps] == [gaps.UNREADABLE]
    _, _, captured = read_stream(
        sample.asked_for_agent, [sample.body[: sample.body.index(b"data: [D")]], ended=True
    )
    assert captured.gaps == []
