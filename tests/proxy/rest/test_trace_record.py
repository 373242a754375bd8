"""What a trace is as a TraceRecord."""

from __future__ import annotations

import json
import math
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy.rest.trace_record import TraceRecords, weight_version
from tests.proxy.answers import floats, ids

REQUEST = b'{"model": "m",  "messages":[{"role":"user","content":"h\\u0069"}], "n": 1.50}'
RESPONSE = b'{"choices":[]}\n'
MESSAGE = b'{"role":"assistant","content":"ok"}'


def trace(**changes: object) -> pb.Trace:
    """A whole one but for the changes."""
    made = pb.Trace(
        trace_id="t",
        session_id="a/b",
        model="m",
        endpoint="chat/completions",
        status=pb.CALL_STATUS_COMPLETED,
        http_status=200,
        prompt_token_ids=ids([7, 8]),
        completions=[completion()],
        request_json=REQUEST,
        response_json=RESPONSE,
        usage=pb.Usage(prompt_tokens=2, completion_tokens=3),
        policy_version="12",
    )
    made.admit_time.FromMilliseconds(1_000_500)
    made.latency.FromMilliseconds(250)
    for name, value in changes.items():
        made.ClearField(name)  # type: ignore[arg-type]  # a field's name
        made.MergeFrom(pb.Trace(**{name: value}))  # type: ignore[arg-type]  # a field's value
    return made


def completion(**changes: object) -> pb.Completion:
    fields: dict[str, object] = {
        "token_ids": ids([1, 2, 3]),
        "logprobs": floats([-0.5, -0.25, -1.0]),
        "finish_reason": "stop",
        "message_json": MESSAGE,
        **changes,
    }
    return pb.Completion(**fields)  # type: ignore[arg-type]  # a field's value


def record(given: pb.Trace) -> dict[str, object]:
    return cast("dict[str, object]", json.loads(TraceRecords().write(given)))


def test_every_field_is_filled() -> None:
    assert record(trace()) == {
        "trace_id": "t",
        "session_id": "a/b",
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "prompt_token_ids": [7, 8],
        "response_message": {"role": "assistant", "content": "ok"},
        "completion_token_ids": [1, 2, 3],
        "logprobs": [-0.5, -0.25, -1.0],
        "finish_reason": "stop",
        "weight_version": 12,
        "latency_ms": 250.0,
        "token_counts": {"prompt": 2, "completion": 3},
        "timestamp": 1000.75,
        "metadata": {},
        "raw_request": json.loads(REQUEST),
        "raw_response": {"choices": []},
        "status": "completed",
        "http_status": 200,
        "call_index": 0,
        "parent_trace_id": "",
        "endpoint": "chat/completions",
        "streamed": False,
        "worker_id": "",
        "policy_version": "12",
    }


def test_bodies_are_put_in_as_they_came() -> None:
    written = TraceRecords().write(trace())
    assert REQUEST in written
    assert RESPONSE in written
    assert b'"messages":[{"role":"user","content":"h\\u0069"}]' in written


@pytest.mark.parametrize("logprobs", [[-0.5, math.nan, -1.0], [-0.5, -0.25], [], [-0.5, -math.inf, -1.0]])
def test_log_probabilities_are_all_there_or_null(logprobs: list[float]) -> None:
    gap = pb.CaptureGap(kind=pb.CAPTURE_GAP_KIND_LOGPROBS, completion_index=0, message="1 of 3")
    written = record(trace(completions=[completion(logprobs=floats(logprobs))], capture_gaps=[gap]))
    assert written["logprobs"] is None
    assert written["completion_token_ids"] == [1, 2, 3]
    told = {"kind": "logprobs", "completion_index": 0, "message": "1 of 3"}
    assert written["metadata"] == {"capture_gaps": [told]}


def test_a_call_that_failed_says_how() -> None:
    error = pb.CallError(code="upstream_status", message="The worker said 400.")
    failed = trace(status=pb.CALL_STATUS_UPSTREAM_ERROR, error=error, completions=[], prompt_token_ids=b"")
    failed.ClearField("usage")
    written = record(failed)
    assert written["metadata"] == {
        "status": "upstream_error",
        "error": {"code": "upstream_status", "message": "The worker said 400."},
    }
    empty = ("prompt_token_ids", "completion_token_ids", "logprobs", "response_message", "finish_reason")
    assert [written[name] for name in (*empty, "token_counts")] == [[], [], None, {}, None, {}]


@pytest.mark.parametrize(
    "body", [b"", b"not JSON", b"[1]", b'{"a":', b'{"a": NaN}', b'{"a":"\xff"}', b"{} {}"]
)
def test_a_body_that_is_no_object_is_null(body: bytes) -> None:
    written = record(
        trace(request_json=body, response_json=body, completions=[completion(message_json=body)])
    )
    assert (written["raw_request"], written["raw_response"]) == (None, None)
    assert (written["messages"], written["response_message"]) == ([], {})


@pytest.mark.parametrize("messages", ['"hi"', "[1]", "[[]]", "{}", "null", '[{}, "x"]'])
def test_messages_that_no_reader_takes_are_left_to_the_raw_request(messages: str) -> None:
    written = record(trace(request_json=f'{{"messages": {messages}}}'.encode()))
    assert written["messages"] == []
    assert written["raw_request"] == {"messages": json.loads(messages)}


def test_a_request_of_another_api_is_shown_as_a_chat_completion() -> None:
    chat = b'{"messages": [{"role": "user", "content": "hi"}]}'
    written = json.loads(TraceRecords().write(trace(request_json=b'{"input": "hi"}'), chat))
    assert written["messages"] == [{"role": "user", "content": "hi"}]
    assert written["raw_request"] == {"input": "hi"}


def test_every_choice_of_several_is_there() -> None:
    second = completion(index=1, token_ids=ids([4]), logprobs=floats([math.nan]), finish_reason="")
    written = record(trace(completions=[completion(), second]))
    assert written["completion_token_ids"] == [1, 2, 3]
    choices = cast("list[dict[str, object]]", written["completions"])
    assert [choice["completion_token_ids"] for choice in choices] == [[1, 2, 3], [4]]
    assert (choices[1]["index"], choices[1]["logprobs"], choices[1]["finish_reason"]) == (1, None, None)


def test_tokens_are_counted_where_the_worker_did_not() -> None:
    uncounted = trace(completions=[completion(), completion(index=1)])
    uncounted.ClearField("usage")
    assert record(uncounted)["token_counts"] == {"prompt": 2, "completion": 6}


@pytest.mark.parametrize(
    ("version", "number"),
    [("", None), ("12", 12), ("step-12", None), ("1.5", None), ("-1", None), ("²", None)],
)
def test_a_version_is_a_number_where_it_is_one(version: str, number: int | None) -> None:
    assert weight_version(version) == number
    assert record(trace(policy_version=version))["policy_version"] == version


IDS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 8), IDS), max_size=6))
def test_prompts_are_theirs_whatever_came_before(turns: list[tuple[int, list[int]]]) -> None:
    """Each begins with some of the one before it, as turns and branches do."""
    records, prompt = TraceRecords(), list[int]()
    for kept, new in turns:
        prompt = prompt[:kept] + new
        written = json.loads(records.write(trace(prompt_token_ids=ids(prompt))))
        assert written["prompt_token_ids"] == prompt
