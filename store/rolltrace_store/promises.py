"""What trace.proto promises of a trace's arrays, as a verdict on one FULL trace. Decisions only."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from rolltrace.v1.trace_pb2 import CALL_STATUS_COMPLETED, Completion, Trace

_TOKEN_LEVEL = frozenset(("chat/completions", "completions", "responses", "messages"))
_SIZE = 4


def broken_promises(trace: Trace) -> Iterator[str]:
    """What a FULL trace should have and has not, in words."""
    if len(trace.prompt_token_ids) % _SIZE:
        yield "has prompt ids that are cut off"
    whole = trace.status == CALL_STATUS_COMPLETED and not trace.capture_gaps
    for completion in trace.completions:
        name = f"completion {completion.index}"
        if len(completion.token_ids) % _SIZE or len(completion.logprobs) % _SIZE:
            yield f"{name} has ids or log-probabilities that are cut off"
        elif whole and trace.endpoint in _TOKEN_LEVEL:
            yield from (f"{name} {lack}, and no capture gap says so" for lack in _lacks(completion))
    if whole and trace.endpoint in _TOKEN_LEVEL and not trace.prompt_token_ids:
        yield "has no prompt ids, and no capture gap says so"


def _lacks(completion: Completion) -> Iterator[str]:
    ids, logprobs = len(completion.token_ids) // _SIZE, len(completion.logprobs) // _SIZE
    if ids != logprobs:
        yield f"has {ids} ids and {logprobs} log-probabilities"
    if any(math.isnan(value) for value in struct.unpack(f"<{logprobs}f", completion.logprobs)):
        yield "has log-probabilities that are NaN"
    if not completion.finish_reason:
        yield "has no finish reason"
