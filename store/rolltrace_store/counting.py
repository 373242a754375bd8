"""What a trace adds to the counts of its session, and what the counts say of it. Decisions only."""

from __future__ import annotations

from rolltrace.digest import with_trace
from rolltrace.v1 import session_pb2, trace_pb2
from rolltrace.v1.session_pb2 import IncompleteReason, Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store.schema.counters import Counters

_ID_SIZE = 4
_COMPLETED = trace_pb2.CALL_STATUS_COMPLETED
_REFUSED = trace_pb2.CALL_STATUS_REFUSED
_INTERRUPTED = trace_pb2.CALL_STATUS_INTERRUPTED
_MOST = 2**64 - 1
"""What a count holds. Workers report numbers of any size, and a trace must not be lost for one."""


def counted(counters: Counters, trace: Trace, digest: bytes) -> Counters:
    """The counters with one FULL trace more, whose own digest is `digest`.

    What comes after the seal is late: it is counted as such, and changes nothing that was sealed.
    """
    if counters.sealed:
        return counters._replace(late_calls=counters.late_calls + 1)
    calls, failed, refused, interrupted, gapped, prompt_tokens, completion_tokens, *_ = counters
    status, (prompt, completion) = trace.status, _tokens(trace)
    return Counters(
        calls + 1,
        failed + (status != _COMPLETED),
        refused + (status == _REFUSED),
        interrupted + (status == _INTERRUPTED),
        gapped + (status == _COMPLETED and _lacks(trace)),
        min(prompt_tokens + prompt, _MOST),
        min(completion_tokens + completion, _MOST),
        digest=with_trace(counters.digest, digest),
    )


def _lacks(trace: Trace) -> bool:
    """Whether it has a gap of another kind than ENDPOINT, which says that there is nothing to have."""
    gaps = trace.capture_gaps
    return bool(gaps) and any(gap.kind != trace_pb2.CAPTURE_GAP_KIND_ENDPOINT for gap in gaps)


def _tokens(trace: Trace) -> tuple[int, int]:
    """What it was prompted with and what it sampled, in tokens: as reported, else as it has ids."""
    if trace.HasField("usage"):
        usage = trace.usage
        return usage.prompt_tokens, usage.completion_tokens
    sampled = sum(len(completion.token_ids) for completion in trace.completions)
    return len(trace.prompt_token_ids) // _ID_SIZE, sampled // _ID_SIZE


def fill(session: Session, counters: Counters, in_flight: int) -> None:
    """Sets what a Session says of its calls; `in_flight` of them run."""
    session.call_count = counters.calls
    session.failed_call_count = counters.failed_calls
    session.late_call_count = counters.late_calls
    session.in_flight_call_count = in_flight
    session.prompt_token_count = counters.prompt_tokens
    session.completion_token_count = counters.completion_tokens
    session.digest = counters.digest.hex() if counters.sealed else ""
    for kind, count in (
        (session_pb2.INCOMPLETE_KIND_INTERRUPTED, counters.interrupted_calls),
        (session_pb2.INCOMPLETE_KIND_CAPTURE_GAPS, counters.gapped_calls),
        (session_pb2.INCOMPLETE_KIND_IN_FLIGHT, counters.left_calls),
    ):
        if count:
            session.incomplete_reasons.append(IncompleteReason(kind=kind, call_count=count))
    session.incomplete = bool(session.incomplete_reasons)


def opened(session: Session, now: int) -> Session:
    """The row of a new session: what its maker says of it; `now` in nanoseconds since 1970."""
    row = Session()
    row.CopyFrom(session)
    for name in (
        "api_key",
        "base_url",
        "call_count",
        "completion_token_count",
        "digest",
        "failed_call_count",
        "in_flight_call_count",
        "incomplete",
        "incomplete_reasons",
        "late_call_count",
        "outcome",
        "prompt_token_count",
        "seal_time",
    ):
        row.ClearField(name)
    row.state = session_pb2.SESSION_STATE_OPEN
    row.create_time.FromNanoseconds(now)
    return row
