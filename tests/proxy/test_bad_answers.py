"""A worker that answers wrongly costs named gaps, never an exception, never an invented value."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace_proxy import gaps
from rolltrace_proxy.capture import Captured
from rolltrace_proxy.rewrite import Rewrite, rewrite
from rolltrace_proxy.stream_answer import StreamAnswer
from rolltrace_proxy.whole_answer import read_whole_answer
from tests.proxy.answers import IDS, chat_answer, chat_chunks
from tests.proxy.samples import TOKEN_ANSWERS, Sample, load, read_sample, read_stream
from tests.proxy.test_real_answers import ids_of, logprobs_of

Json = Any  # what json.loads gives

CHAT = rewrite("chat/completions", b"{}", enforced={}, model="")
COMPLETIONS = rewrite("completions", b"{}", enforced={}, model="")
ANSWER = load("chat_ids_logprobs").body


def kinds(captured: Captured) -> list[int]:
    return [gap.kind for gap in captured.gaps]


def choice(answer: Json) -> Json:
    return answer["choices"][0]


CHANGES: list[tuple[str, Callable[[Json], object], list[int]]] = [
    ("nothing", lambda a: a, []),
    ("no prompt ids", lambda a: a.pop("prompt_token_ids"), [gaps.PROMPT_TOKEN_IDS]),
    ("prompt ids of floats", lambda a: a.update(prompt_token_ids=[1.5]), [gaps.PROMPT_TOKEN_IDS]),
    ("no ids", lambda a: choice(a).update(token_ids=None), [gaps.TOKEN_IDS]),
    ("bools for ids", lambda a: choice(a).update(token_ids=[True] * 8), [gaps.TOKEN_IDS]),
    ("ids as text", lambda a: choice(a).update(token_ids="374"), [gaps.TOKEN_IDS]),
    ("an id beyond int32", lambda a: choice(a)["token_ids"].__setitem__(0, 2**31), [gaps.TOKEN_IDS]),
    ("no logprobs", lambda a: choice(a).pop("logprobs"), [gaps.LOGPROBS]),
    ("logprobs of another kind", lambda a: choice(a).update(logprobs=True), [gaps.LOGPROBS]),
    ("a logprob lost", lambda a: choice(a)["logprobs"]["content"].pop(), [gaps.MISMATCH]),
    ("an id lost", lambda a: choice(a)["token_ids"].pop(), [gaps.MISMATCH, gaps.MISMATCH]),
    ("a null logprob", lambda a: choice(a)["logprobs"]["content"][3].update(logprob=None), [gaps.LOGPROBS]),
    (
        "a logprob as text",
        lambda a: choice(a)["logprobs"]["content"][3].update(logprob="-1"),
        [gaps.LOGPROBS],
    ),
    (
        "a logprob too large",
        lambda a: choice(a)["logprobs"]["content"][3].update(logprob=1e300),
        [gaps.LOGPROBS],
    ),
    ("no finish reason", lambda a: choice(a).update(finish_reason=None), [gaps.FINISH_REASON]),
    ("an odd finish reason", lambda a: choice(a).update(finish_reason="tired"), [gaps.FINISH_REASON]),
    ("a finish reason of a number", lambda a: choice(a).update(finish_reason=3), [gaps.FINISH_REASON]),
    ("usage that does not fit", lambda a: a["usage"].update(completion_tokens=9), [gaps.MISMATCH]),
    ("an odd index", lambda a: choice(a).update(index=-1), [gaps.UNREADABLE]),
    ("no choices", lambda a: a.update(choices=[]), [gaps.UNREADABLE]),
    ("choices of text", lambda a: a.update(choices="x"), [gaps.UNREADABLE]),
]


@pytest.mark.parametrize(("change", "expected"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_each_fault_is_named(change: Callable[[Json], object], expected: list[int]) -> None:
    answer = json.loads(ANSWER)
    change(answer)
    _, captured = read_whole_answer(CHAT, 200, json.dumps(answer).encode())
    assert kinds(captured) == expected
    for completion in captured.completions:
        assert len(completion.logprobs) in (0, len(completion.token_ids))


def test_a_null_logprob_is_nan_at_its_place_and_a_clamped_one_stays() -> None:
    answer = json.loads(ANSWER)
    content = choice(answer)["logprobs"]["content"]
    content[3]["logprob"], content[4]["logprob"] = None, -9999.0
    _, captured = read_whole_answer(CHAT, 200, json.dumps(answer).encode())
    values = logprobs_of(captured.completions[0].logprobs)
    assert [math.isnan(value) for value in values] == [at == 3 for at in range(8)]
    assert values[4] == -9999.0
    assert captured.gaps[0].message == "none for 1 of 8 ids"


def test_a_chunk_without_logprobs_leaves_nan_and_all_others_in_place() -> None:
    sample = load("chat_stream_ids_logprobs")
    lines = sample.body.split(b"\n\n")
    answer = json.loads(lines[3].removeprefix(b"data: "))
    answer["choices"][0]["logprobs"] = None
    lines[3] = b"data: " + json.dumps(answer).encode()
    _, _, captured = read_stream(CHAT, [b"\n\n".join(lines)])
    values = logprobs_of(captured.completions[0].logprobs)
    whole = logprobs_of(read_sample(sample)[1].completions[0].logprobs)
    assert [value for value in values if not math.isnan(value)] == whole[:2] + whole[3:]
    assert math.isnan(values[2])
    assert kinds(captured) == [gaps.LOGPROBS]


def test_an_error_in_the_stream_ends_it_and_keeps_the_tokens() -> None:
    events = load("chat_stream_ids_logprobs").body.split(b"\n\n")
    events[4] = b'data: {"error":{"message":"engine died","type":"x","code":500}}'
    before, after, captured = read_stream(CHAT, [b"\n\n".join([*events[:5], events[-2], b""])])
    assert captured.error == "engine died"
    assert ids_of(captured.completions[0].token_ids) == [374, 129, 350]
    assert captured.gaps == []
    assert before.endswith(events[4] + b"\n\n")
    assert after == b"data: [DONE]\n\n"


def test_an_event_too_large_goes_on_and_is_named() -> None:
    body = load("chat_stream_ids_logprobs").body
    answer = StreamAnswer(load("chat_stream_ids_logprobs").asked, max_event_bytes=600)
    seen = answer.feed(body[:2000]) + answer.feed(b"x" * 700) + answer.feed(body[2000:])
    captured = answer.capture(ended=False)
    assert seen + answer.close() == body[:2000] + b"x" * 700 + body[2000:]
    assert kinds(captured) == [gaps.TOO_LARGE]
    assert captured.completions[0].token_ids


def test_unreadable_events_go_on_and_are_counted() -> None:
    stream = b"data: {oops\n\ndata: 7\n\ndata: {}\n\ndata: [DONE]\n\n"
    before, after, captured = read_stream(CHAT, [stream])
    assert before + after == stream
    assert kinds(captured) == [gaps.UNREADABLE]
    assert captured.gaps[0].message.endswith("(and 3 more)")
    assert captured.response_json == b""


def test_a_page_instead_of_an_answer() -> None:
    seen, captured = read_whole_answer(CHAT, 200, b"<html>")
    assert (seen, captured.response_json, kinds(captured)) == (b"<html>", b"<html>", [gaps.UNREADABLE])
    assert read_whole_answer(CHAT, 502, b"<html>")[1].error == "the worker answered HTTP 502"


def test_other_endpoints_are_forwarded_and_named() -> None:
    other = rewrite("responses", b"{}", enforced={}, model="")
    seen, captured = read_whole_answer(other, 200, b'{"output":[]}')
    assert (seen, kinds(captured)) == (b'{"output":[]}', [gaps.ENDPOINT])
    stream = b'event: a\ndata: {"token_ids":[1]}\n\n'
    before, after, captured = read_stream(other, [stream])
    assert (before, after, kinds(captured)) == (stream, b"", [gaps.ENDPOINT])


def test_the_reason_for_not_asking_is_in_the_gap() -> None:
    asked = rewrite("completions", b'{"echo":true}', enforced={}, model="")
    _, captured = read_whole_answer(asked, 200, load("compl_tokens_as_ids").body)
    assert all("echo" in gap.message for gap in captured.gaps)
    assert kinds(captured) == [gaps.PROMPT_TOKEN_IDS, gaps.TOKEN_IDS]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b"-0.25", b"-Infinity", [gaps.LOGPROBS]),
        (b'"m"', b'"\\ud83d"', []),
        (b'"x"', b'"\\ud83d"', []),
        (b'"assistant"', b'"\\ud83d"', []),
    ],
)
def test_what_only_python_writes_as_json_costs_no_ids(
    before: bytes, after: bytes, expected: list[int]
) -> None:
    body = json.dumps(chat_answer()).encode().replace(before, after)
    seen, captured = read_whole_answer(CHAT, 200, body)
    assert (seen, kinds(captured)) == (body, expected)
    assert ids_of(captured.completions[0].token_ids) == IDS
    stream = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chat_chunks())
    seen, _, captured = read_stream(CHAT, [stream.replace(before, after)])
    assert kinds(captured) == expected
    assert after in seen
    assert ids_of(captured.completions[0].token_ids) == IDS


def test_choices_of_one_index_are_named() -> None:
    answer: Json = chat_answer(2)
    answer["choices"][1]["index"] = 0
    _, captured = read_whole_answer(CHAT, 200, json.dumps(answer).encode())
    assert kinds(captured) == [gaps.MISMATCH]


def test_a_choice_that_did_not_come_is_named() -> None:
    asked = rewrite("chat/completions", b'{"n":2}', enforced={}, model="")
    _, captured = read_whole_answer(asked, 200, json.dumps(chat_answer()).encode())
    assert captured.gaps[0].message == "the answer has only 1 of the 2 choices that were asked for"
    assert read_whole_answer(asked, 200, json.dumps(chat_answer(2)).encode())[1].gaps == []


def test_done_ends_a_stream_as_the_openai_sdk_reads_it() -> None:
    before, after, _ = read_stream(CHAT, [b"data: {}\n\ndata: [DONE] \n\n"])
    assert (before, after) == (b"data: {}\n\n", b"data: [DONE] \n\n")


KEYS = st.sampled_from(
    ["choices", "index", "delta", "message", "text", "token_ids", "prompt_token_ids", "logprobs", "content",
     "logprob", "token_logprobs", "finish_reason", "usage", "prompt_tokens", "error", "tool_calls", "id"]
)  # fmt: skip
JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)
CHOICES = st.lists(st.dictionaries(KEYS, JSON, max_size=6), max_size=3)
ANSWERS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"choices": CHOICES}, optional={"usage": JSON, "error": JSON}
)
ASKED = st.sampled_from([CHAT, COMPLETIONS, load("compl_echo").asked])


def check(captured: Captured) -> None:
    for completion in captured.completions:
        assert len(completion.logprobs) in (0, len(completion.token_ids))


@settings(max_examples=100, deadline=None)
@given(ASKED, ANSWERS | JSON)
def test_no_json_raises(asked: Rewrite, answer: object) -> None:
    check(read_whole_answer(asked, 200, json.dumps(answer).encode())[1])
    check(read_whole_answer(asked, 500, json.dumps(answer).encode())[1])


@settings(max_examples=100, deadline=None)
@given(ASKED, st.lists(ANSWERS | JSON, max_size=3), st.booleans())
def test_no_stream_of_json_raises(asked: Rewrite, answers: list[object], ended: bool) -> None:
    stream = b"".join(b"data: " + json.dumps(answer).encode() + b"\n\n" for answer in answers)
    check(read_stream(asked, [stream], ended=ended)[2])


@settings(max_examples=100, deadline=None)
@given(ASKED, st.binary(max_size=80))
def test_no_bytes_raise(asked: Rewrite, data: bytes) -> None:
    assert read_whole_answer(asked, 200, data)[0] == data
    before, after, _ = read_stream(asked, [data])
    assert before + after == data


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TOKEN_ANSWERS), st.integers(0, 6_000), st.binary(max_size=3))
def test_no_damage_to_a_real_answer_raises(sample: Sample, at: int, damage: bytes) -> None:
    body = sample.body[:at] + damage + sample.body[at + len(damage) + 1 :]
    check(read_stream(CHAT, [body])[2])
    check(read_whole_answer(CHAT, 200, body)[1])
    check(read_stream(COMPLETIONS, [sample.body[:at]], ended=False)[2])
