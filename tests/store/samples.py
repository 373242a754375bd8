"""Traces, sessions and workers to store."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence

from rolltrace.v1 import trace_pb2 as pb


def ids(numbers: Sequence[int]) -> bytes:
    """Token ids as the contract wants them."""
    return struct.pack(f"<{len(numbers)}i", *numbers)


def trace(
    session_id: str = "s-1",
    prompt: Sequence[int] = (1, 2, 3),
    sampled: Sequence[int] = (4, 5),
    status: pb.CallStatus.ValueType = pb.CALL_STATUS_COMPLETED,
    gaps: Sequence[pb.CaptureGapKind.ValueType] = (),
    padding: int = 0,
) -> pb.Trace:
    """A FULL trace; its request is longer by `padding` bytes."""
    return pb.Trace(
        trace_id=str(uuid.uuid4()),
        session_id=session_id,
        endpoint="chat/completions",
        status=status,
        prompt_token_ids=ids(prompt),
        completions=[
            pb.Completion(
                token_ids=ids(sampled),
                logprobs=struct.pack(f"<{len(sampled)}f", *[-0.5] * len(sampled)),
                finish_reason="stop",
            )
        ],
        request_json=b'{"messages": "' + uuid.uuid4().hex.encode() * (padding // 32) + b'"}',
        response_json=b'{"choices": []}',
        capture_gaps=[pb.CaptureGap(kind=kind) for kind in gaps],
    )


def admission(session_id: str = "s-1", of: pb.Trace | None = None) -> pb.Trace:
    """What is known of a call when it is admitted; `of`: the trace that it will have."""
    return pb.Trace(
        trace_id=of.trace_id if of else str(uuid.uuid4()),
        session_id=of.session_id if of else session_id,
        model="m",
        endpoint="chat/completions",
        labels={"run": "1"},
    )


def conversation(session_id: str, turns: int) -> list[pb.Trace]:
    """Traces of a session in which every prompt continues the turn before."""
    traces: list[pb.Trace] = []
    prompt = [1, 2, 3]
    for turn in range(turns):
        sampled = [1000 + turn, 2000 + turn]
        traces.append(trace(session_id, prompt, sampled))
        prompt = [*prompt, *sampled, 7]
    return traces
