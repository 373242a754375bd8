"""What the writer remembers of live sessions. For now it remembers nothing: each trace stands alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rolltrace.v1 import trace_pb2 as pb
from rolltrace.v1.trace_pb2 import Trace

LOAD_COUNT = 16
"""How many of a session's latest traces `load` should give."""


@dataclass(frozen=True, slots=True)
class Recent:
    """A stored trace of a session, for `load`."""

    trace: Trace
    """FULL."""
    chain_bytes: int
    """The sum of the stored bodies from the one after its key frame to its own; 0 for a key frame."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A trace ready to be stored. `body` is a serialised COMPACT Trace without sequence and call_index:
    append those two, serialised as a Trace, and the message is whole."""

    trace_id: str
    session_id: str
    base_trace_id: str
    body: bytes


class Histories:
    """The sessions that this process writes."""

    def __init__(self, load: Callable[[str], Sequence[Recent]], limit_bytes: int = 64 << 20) -> None:
        """`load` gives the latest traces of a session as committed, in the order of call_index."""
        self._load = load
        self._limit = limit_bytes

    def encode(self, trace: Trace) -> Encoded:
        """Encode a FULL trace. `trace` is not changed."""
        return self.encode_alone(trace)

    def encode_alone(self, trace: Trace) -> Encoded:
        """Encode a FULL trace without base and parent, and without remembering it."""
        payload = pb.CompactPayload(
            prompt_rest=trace.prompt_token_ids,
            request_rest=trace.request_json,
            response_json=trace.response_json,
            completions=trace.completions,
        )
        stored = Trace()
        stored.CopyFrom(trace)
        for name in ("prompt_token_ids", "completions", "request_json", "response_json"):
            stored.ClearField(name)
        stored.compact.compression = pb.COMPRESSION_NONE
        stored.compact.body = payload.SerializeToString()
        return Encoded(trace.trace_id, trace.session_id, "", stored.SerializeToString())

    def committed(self, batch: Iterable[Encoded]) -> None:
        """The batch is durable."""

    def rolled_back(self, batch: Iterable[Encoded]) -> None:
        """Nothing of the batch was kept."""

    def forget(self, session_id: str) -> None:
        """The session is gone, or was changed by others."""
