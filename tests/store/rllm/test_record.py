"""What a record of rLLM's gateway becomes: all that it says, and what it lacks by name."""

from __future__ import annotations

import json
import math
import struct

import pytest

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.names import check_trace_id
from rolltrace_store.rllm.record import IMPORTED_FROM, ORIGINAL_ID, trace_of
from rolltrace_store.rllm.values import RecordError
from tests.store.rllm.samples import END, LATENCY_MS, Json, choice, record, request, response, streamed


def made(data: Json, session_id: str = "s") -> pb.Trace:
    return trace_of(data, str(data.get("trace_id", "")), session_id, END)


def gaps(trace: pb.Trace) -> dict[str, int | None]:
    return {
        pb.CaptureGapKind.Name(gap.kind).removeprefix("CAPTURE_GAP_KIND_"): (
            gap.completion_index if gap.HasField("completion_index") else None
        )
        for gap in trace.capture_gaps
    }


def ids(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}i", data))


def floats(data: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def test_an_answer_in_one_piece() -> None:
    data = record(metadata={"task": "gsm8k", "seed": 3})
    trace = made(data)
    assert (trace.trace_id, trace.session_id, trace.model) == (data["trace_id"], "s", "m")
    assert (trace.endpoint, trace.streamed) == ("chat/completions", False)
    assert (trace.status, trace.http_status) == (pb.CALL_STATUS_COMPLETED, 0)
    assert ids(trace.prompt_token_ids) == [1, 2, 3]
    (completion,) = trace.completions
    assert (ids(completion.token_ids), floats(completion.logprobs)) == ([7, 8], [-0.5, -1.5])
    assert (completion.index, completion.finish_reason) == (0, "stop")
    assert json.loads(completion.message_json) == data["response_message"]
    assert json.loads(trace.request_json) == data["raw_request"]
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (3, 2)
    assert trace.latency.ToNanoseconds() == LATENCY_MS * 1e6
    assert trace.admit_time.ToNanoseconds() == (END - 0.25) * 1e9
    assert dict(trace.labels) == {"task": "gsm8k", "seed": "3", "imported_from": "rllm-model-gateway"}
    assert gaps(trace) == {}
    assert not trace.HasField("time_to_first_token")


def test_the_answer_is_as_the_agent_saw_it() -> None:
    answer = json.loads(made(record()).response_json)
    assert answer == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": choice()["message"], "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    asked = made(record(raw_request=request(top_logprobs=2)))
    assert json.loads(asked.response_json)["choices"][0]["logprobs"] == choice()["logprobs"]


def test_every_choice_is_read_from_the_workers_answer() -> None:
    trace = made(record(raw_response=response(choice(1, [9, 10], [-2, -3]), choice(0))))
    assert [(each.index, ids(each.token_ids)) for each in trace.completions] == [(1, [9, 10]), (0, [7, 8])]
    assert floats(trace.completions[0].logprobs) == [-2.0, -3.0]
    assert gaps(trace) == {}


def test_a_log_probability_that_was_dropped_is_put_back_where_it_lacks() -> None:
    data = record(raw_response=response(choice(0, [7, 8], [None, -1.5])), logprobs=[-1.5])
    (completion,) = made(data).completions
    first, second = floats(completion.logprobs)
    assert (math.isnan(first), second) == (True, -1.5)
    assert gaps(made(data)) == {"LOGPROBS": 0}


@pytest.mark.parametrize("logprobs", [[-0.5], [-0.5, -1.5, -2.5]])
def test_log_probabilities_that_do_not_line_up_are_not_shown(logprobs: list[float]) -> None:
    for data in (streamed(logprobs=logprobs), record(raw_response=response(choice(logprobs=logprobs)))):
        trace = made(data)
        assert ids(trace.completions[0].token_ids) == [7, 8]
        assert trace.completions[0].logprobs == b""
        assert gaps(trace) == {"MISMATCH": 0}


def test_what_the_worker_did_not_give_is_a_gap() -> None:
    bare = {**choice(), "token_ids": None, "logprobs": None, "finish_reason": None}
    answer = {**response(bare), "prompt_token_ids": None}
    data = record(raw_response=answer, completion_token_ids=[], prompt_token_ids=[], logprobs=None)
    trace = made(data)
    assert gaps(trace) == {"PROMPT_TOKEN_IDS": None, "TOKEN_IDS": 0, "FINISH_REASON": 0}
    assert gaps(made(streamed(logprobs=None))) == {"LOGPROBS": 0}


def test_a_number_of_ids_that_usage_contradicts() -> None:
    answer = {**response(), "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    assert gaps(made(record(raw_response=answer))) == {"MISMATCH": None}
    half = {**response(), "usage": {"prompt_tokens": 3}}
    assert not made(record(raw_response=half)).HasField("usage")


def test_a_stream() -> None:
    trace = made(streamed())
    (completion,) = trace.completions
    assert (trace.streamed, trace.endpoint) == (True, "chat/completions")
    assert (ids(completion.token_ids), floats(completion.logprobs)) == ([7, 8], [-0.5, -1.5])
    message = choice()["message"]
    assert json.loads(completion.message_json) == message
    answer = {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert json.loads(trace.response_json) == answer
    assert (trace.usage.prompt_tokens, trace.usage.completion_tokens) == (3, 2)
    assert gaps(trace) == {}


def test_the_pieces_of_a_streams_tool_calls_are_joined() -> None:
    pieces = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"x"'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g"}},
        {"index": 0, "function": {"arguments": ": 1}"}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]
    message = {"role": "assistant", "tool_calls": pieces}
    (completion,) = made(streamed(response_message=message)).completions
    assert json.loads(completion.message_json)["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_a_stream_of_several_choices_is_a_mixture_that_nobody_can_take_apart() -> None:
    trace = made(streamed(raw_request=request(stream=True, n=2)))
    (completion,) = trace.completions
    assert (completion.token_ids, completion.logprobs, completion.message_json) == (b"", b"", b"")
    assert trace.response_json == b""
    assert gaps(trace) == {"TOKEN_IDS": 0, "LOGPROBS": 0, "UNREADABLE": None}


def test_a_stream_without_an_end_has_no_status() -> None:
    trace = made(streamed(finish_reason=None))
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_UNSPECIFIED, "end_not_recorded")
    assert gaps(trace) == {"FINISH_REASON": 0}
    assert ids(trace.completions[0].token_ids) == [7, 8]


def test_completions_of_text() -> None:
    given = {
        "index": 0,
        "text": " stay",
        "logprobs": {"token_logprobs": [-0.5, -1.5]},
        "finish_reason": "length",
        "token_ids": [7, 8],
        "prompt_token_ids": [1, 2, 3],
    }
    answer = {"object": "text_completion", "model": "m", "choices": [given]}
    data = record(raw_response=answer, raw_request={"prompt": "The river"}, prompt_token_ids=[], messages=[])
    trace = made(data)
    assert (trace.endpoint, ids(trace.prompt_token_ids)) == ("completions", [1, 2, 3])
    assert floats(trace.completions[0].logprobs) == [-0.5, -1.5]
    message = {"role": "assistant", "content": " stay"}
    assert json.loads(trace.completions[0].message_json) == message
    assert gaps(trace) == {}
    stream = made(streamed(raw_request={"prompt": "x"}, response_message={"role": "assistant"}))
    assert (stream.endpoint, stream.completions[0].message_json) == ("completions", b"")
    assert gaps(stream) == {"UNREADABLE": None}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": {"message": "no such model", "code": 404}}, "no such model"),
        ({"error": "Unauthorized"}, "Unauthorized"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"object": "error", "message": "too long"}, "too long"),
        ({"error": {"code": 1}}, '{"code":1}'),
    ],
)
def test_an_error_is_one(answer: Json, message: str) -> None:
    trace = made(record(raw_response=answer, prompt_token_ids=[], completion_token_ids=[]))
    assert (trace.status, trace.error.code) == (pb.CALL_STATUS_UPSTREAM_ERROR, "upstream_status")
    assert trace.error.message == message
    assert json.loads(trace.response_json) == answer
    assert list(trace.completions) == []


def test_an_answer_without_choices_is_of_an_endpoint_without_tokens() -> None:
    trace = made(record(raw_response={"object": "list", "data": []}, raw_request={}, messages=[]))
    assert (trace.endpoint, trace.status) == ("", pb.CALL_STATUS_COMPLETED)
    assert gaps(trace) == {"ENDPOINT": None, "REQUEST": None}


def test_messages_stand_for_a_request_that_was_not_kept() -> None:
    trace = made(record(raw_request=None))
    assert json.loads(trace.request_json) == {"model": "m", "messages": request()["messages"]}
    assert gaps(trace) == {"REQUEST": None}


def test_ids_come_out_the_same_each_time_and_differ_by_session() -> None:
    data = record()
    first, again, other = made(data), made(data), made(data, "other")
    assert first.trace_id == again.trace_id == data["trace_id"]
    assert other.trace_id == made(data, "other").trace_id != first.trace_id
    check_trace_id(other.trace_id)
    assert other.labels[ORIGINAL_ID] == data["trace_id"]
    named = made(record(trace_id="call-1"))
    check_trace_id(named.trace_id)
    assert named.labels[ORIGINAL_ID] == "call-1"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt_token_ids": ["a"], "raw_response": None}, "prompt_token_ids holds what is no token id"),
        ({"completion_token_ids": [1 << 40], "raw_response": None}, "completion_token_ids holds what is no"),
        ({"logprobs": ["x"], "raw_response": None}, "logprobs holds what is no log-probability"),
        ({"logprobs": [1e300], "raw_response": None}, "logprobs holds what is no log-probability"),
        ({"raw_response": response(choice(ids=[None]))}, "token_ids holds what is no token id"),  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
        ({"model": "\ud800"}, "it holds what a trace can't"),
        ({"timestamp": 1e300}, "it holds what a trace can't"),
    ],
)
def test_what_can_be_no_trace_is_refused(fields: Json, says: str) -> None:
    with pytest.raises(RecordError, match=says):
        made({**record(), **fields})


@pytest.mark.parametrize("session_id", ["", "a/v1/b", "x" * 401, "a\n"])
def test_a_session_that_can_be_none_is_refused(session_id: str) -> None:
    with pytest.raises(RecordError, match="session_id"):
        made(record(), session_id)


def test_half_a_character_in_a_body_is_kept_escaped() -> None:
    message = {"role": "assistant", "content": "\ud83d"}
    (completion,) = made(streamed(response_message=message)).completions
    assert json.loads(completion.message_json) == message


@pytest.mark.parametrize("junk", [None, 7, "x", [], [7], {"a": 1}])
def test_a_field_of_another_shape_costs_what_it_holds_alone(junk: object) -> None:
    for name in record():
        if name not in ("trace_id", "session_id"):
            for data in (record(), streamed()):
                try:
                    trace = made({**data, name: junk})
                except RecordError:
                    continue
                assert trace.session_id == "s"
                assert trace.labels[IMPORTED_FROM]
