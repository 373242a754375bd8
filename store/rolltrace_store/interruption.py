"""The trace that stands for a call whose proxy went away. Decisions only.

It says no more than its admission did: what the worker sampled was in the proxy's memory and is lost. How
long the call ran is not known either.
"""

from __future__ import annotations

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_store.interface import RunningCall

CODE = "interrupted"

_GAPS = (
    (pb.CAPTURE_GAP_KIND_REQUEST, "the proxy went away before it could record its body"),
    (pb.CAPTURE_GAP_KIND_PROMPT_TOKEN_IDS, "the proxy went away before it could record them"),
    (pb.CAPTURE_GAP_KIND_TOKEN_IDS, "the proxy went away before it could record what was sampled"),
)


def interrupted(call: RunningCall) -> pb.Trace:
    """A FULL trace with status INTERRUPTED."""
    trace = pb.Trace()
    trace.CopyFrom(call.trace)
    trace.status = pb.CALL_STATUS_INTERRUPTED
    trace.http_status = 0
    trace.ClearField("latency")
    trace.error.code = CODE
    trace.error.message = f"The proxy {call.proxy_id} went away while the call ran."
    for kind, message in _GAPS:
        trace.capture_gaps.add(kind=kind, message=message)
    return trace
