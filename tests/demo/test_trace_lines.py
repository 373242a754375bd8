"""What the demo shows of a trace: only what is in it."""

from __future__ import annotations

from array import array

from rolltrace.v1 import trace_pb2
from rolltrace_client import Trace
from rolltrace_demo.trace_lines import lines, summary


def trace(ids: int = 2, gaps: int = 0, parent: str = "") -> Trace:
    logprobs = array("f", [-0.5] + [float("nan")] * (ids - 1))
    made = trace_pb2.Trace(
        call_index=1,
        status=trace_pb2.CALL_STATUS_COMPLETED,
        streamed=True,
        parent_trace_id=parent,
        prompt_token_ids=array("i", range(5)).tobytes(),
        completions=[
            trace_pb2.Completion(
                token_ids=array("i", range(40, 40 + ids)).tobytes(),
                logprobs=logprobs.tobytes(),
                finish_reason="stop",
            )
        ],
        capture_gaps=[
            trace_pb2.CaptureGap(kind=trace_pb2.CAPTURE_GAP_KIND_LOGPROBS, message="none came")
            for _ in range(gaps)
        ],
    )
    made.latency.FromMilliseconds(12)
    return Trace(made)


def test_counts_latency_and_tokens() -> None:
    assert [line.strip() for line in lines(trace(), 0.0031)] == [
        "trace 1: stop, 5 prompt ids, 2 sampled ids",
        "streamed in 12 ms; durable, and here over gRPC 3.1 ms after its last byte",
        "ids           40      41",
        "logprobs  -0.500    none",
    ]


def test_of_many_tokens_the_first_are_shown() -> None:
    assert lines(trace(ids=20), 0.0)[2].endswith("47 ... 12 more")


def test_a_gap_is_named() -> None:
    assert lines(trace(gaps=1), 0.0)[-1].strip() == "gap: LOGPROBS none came"
    assert summary([trace(gaps=1)])[0].endswith("1 log-probabilities; 1 gaps, named above.")


def test_the_summary_claims_only_what_is_so() -> None:
    assert summary([trace(), trace()]) == [
        "2 traces: 10 prompt ids, 4 sampled ids, 2 log-probabilities; nothing is missing."
    ]
    assert summary([trace(), trace(parent="t")])[1].startswith("1 of them begin with the very ids")
