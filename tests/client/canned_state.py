"""What the canned control service knows: sessions, workers, the log, and the faults that a test asks for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from hashlib import sha256

from google.protobuf.message import Message

from rolltrace import compact, digest
from rolltrace.v1 import (
    event_pb2,
    policy_service_pb2,
    session_pb2,
    session_service_pb2,
    trace_pb2,
    worker_pb2,
)

EPOCH = "epoch:one"
BATCH = 3


class State:
    """What outlives a restart of the server, and the faults that are asked for."""

    def __init__(self) -> None:
        self.sessions: dict[str, session_pb2.Session] = {}
        self.workers: dict[str, worker_pb2.Worker] = {}
        self.traces: dict[str, trace_pb2.Trace] = {}
        self.bases: dict[str, str] = {}
        self.blobs: dict[bytes, bytes] = {}
        """By digest; those that a request holds are cut out of its COMPACT form."""
        self.gone: set[bytes] = set()
        """Digests of blobs that are cut out, but not there any more."""
        self.log: list[event_pb2.Event] = []
        self.policy = policy_service_pb2.Policy()
        self.answered: dict[str, Message] = {}
        self.calls: Counter[str] = Counter()
        self.subscribed = threading.Event()
        self.changed = threading.Condition()
        self.stopping = False
        self.held = threading.Event()
        self.sealed_with: list[session_service_pb2.SealSessionRequest] = []
        self.busy = False
        """Calls run: no session gets sealed in time."""
        self.hold = False
        """Unary calls are not answered while their caller waits; `held` tells that one waits."""
        self.unavailable = 0
        """So many unary calls fail before anything is done."""
        self.answers_lost = 0
        """So many mutations fail after they were done."""
        self.cut: Callable[[], bool] = lambda: False
        """Asked before each message of a stream: whether to break it."""

    def keep(self, data: bytes) -> bytes:
        """Makes it a blob; its digest."""
        name = sha256(data).digest()
        self.blobs[name] = data
        return name

    def record(
        self, session_id: str, turns: int = 1, *, base: str | None = None, image: bytes = b""
    ) -> list[trace_pb2.Trace]:
        """Commits traces that each repeat and extend the one before (or `base`) in its session."""
        made: list[trace_pb2.Trace] = []
        with self.changed:
            self.sessions.setdefault(session_id, session_pb2.Session(session_id=session_id))
            for _ in range(turns):
                made.append(self._trace(session_id, base, image))
                self.append(event_pb2.Event(trace=made[-1]))
        return made

    def append(self, event: event_pb2.Event) -> None:
        with self.changed:
            event.sequence = len(self.log) * 2 + 2  # with gaps: a sequence is no count
            if event.HasField("trace"):
                self.traces[event.trace.trace_id].sequence = event.sequence
                event.trace.sequence = event.sequence
            self.log.append(event)
            self.changed.notify_all()

    def seal(self, session: session_pb2.Session, outcome: session_pb2.Outcome) -> None:
        """Freezes a session, as the service does; `outcome` may be empty."""
        traces = self.of_session(session.session_id)
        session.state = session_pb2.SESSION_STATE_SEALED
        session.seal_time.GetCurrentTime()
        if outcome.ListFields():
            session.outcome.CopyFrom(outcome)
        session.call_count = len(traces)
        session.digest = digest.session_digest(trace.digest for trace in traces)
        self.append(event_pb2.Event(session_sealed=event_pb2.SessionSealed(session=session)))

    def head(self) -> int:
        return self.log[-1].sequence if self.log else 0

    def after(self, sequence: int) -> list[event_pb2.Event]:
        """The next events, waiting a little for them; few at a time."""
        with self.changed:
            self.changed.wait_for(lambda: self.head() > sequence or self.stopping, 0.05)
            return [event for event in self.log if event.sequence > sequence][:BATCH]

    def of_session(self, session_id: str) -> list[trace_pb2.Trace]:
        return [found for found in self.traces.values() if found.session_id == session_id]

    def _trace(self, session_id: str, base_id: str | None, image: bytes) -> trace_pb2.Trace:
        earlier = self.of_session(session_id)
        base = self.traces[base_id] if base_id else (earlier[-1] if earlier else None)
        number = len(self.traces)
        prompt = (compact.context(base) if base else b"") + int32s(number, number + 1)
        made = trace_pb2.Trace(
            trace_id=f"t-{number}",
            session_id=session_id,
            call_index=len(earlier),
            status=trace_pb2.CALL_STATUS_COMPLETED,
            prompt_token_ids=prompt,
            request_json=b'{"messages": [%d%b]}' % (number, image and b', "%b"' % image),
            response_json=b'{"choices": []}',
        )
        made.completions.add(token_ids=int32s(7, 8), logprobs=b"\0\0\0\xbf\0\0\xc0\x7f", finish_reason="stop")
        made.digest = digest.trace_digest(made)
        self.traces[made.trace_id] = made
        self.bases[made.trace_id] = base.trace_id if base else ""
        return made

    def view(self, full: trace_pb2.Trace, view: int) -> trace_pb2.Trace:
        made = trace_pb2.Trace()
        made.CopyFrom(full)
        if view != trace_pb2.TRACE_VIEW_FULL:
            for heavy in ("prompt_token_ids", "completions", "request_json", "response_json"):
                made.ClearField(heavy)
        if view == trace_pb2.TRACE_VIEW_COMPACT:
            made.compact.CopyFrom(self._compact(full, self.bases[full.trace_id]))
        if view == trace_pb2.TRACE_VIEW_STANDALONE:
            made.compact.CopyFrom(self._compact(full, ""))
        return made

    def _compact(self, full: trace_pb2.Trace, base_id: str) -> trace_pb2.CompactBody:
        base = self.traces.get(base_id)
        shared = compact.context(base) if base else b""
        request, places = full.request_json, list[trace_pb2.BlobPlace]()
        for name, data in self.blobs.items():
            if data in request:
                blob = trace_pb2.Blob(digest=name, size=len(data))
                places.append(trace_pb2.BlobPlace(position=request.index(data), blob=blob))
                request = request.replace(data, b"", 1)
        payload = trace_pb2.CompactPayload(
            prompt_shared_ids=len(shared) // 4,
            prompt_rest=full.prompt_token_ids[len(shared) :],
            request_rest=request,
            request_blobs=places,
            response_json=full.response_json,
            completions=full.completions,
        )
        return trace_pb2.CompactBody(
            base_trace_id=base_id,
            compression=trace_pb2.COMPRESSION_NONE,
            body=payload.SerializeToString(),
        )


def int32s(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little", signed=True) for value in values)
