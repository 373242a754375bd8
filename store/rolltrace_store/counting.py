"""What a trace adds to the counts of its session. Decisions only."""

from __future__ import annotations

from rolltrace.v1.trace_pb2 import CALL_STATUS_COMPLETED, CAPTURE_GAP_KIND_ENDPOINT, Trace
from rolltrace_store.schema.counters import Counters


def counted(counters: Counters, trace: Trace) -> Counters:
    """The counters with one trace more.

    A session is incomplete once a completed call of a token-level endpoint lacks something: its trace has
    a capture gap of another kind than ENDPOINT.
    """
    completed = trace.status == CALL_STATUS_COMPLETED
    lacking = any(gap.kind != CAPTURE_GAP_KIND_ENDPOINT for gap in trace.capture_gaps)
    return Counters(
        counters.calls + 1,
        counters.failed_calls + (not completed),
        counters.incomplete or (completed and lacking),
    )
