"""The life of a call: one transition table, and the facts that are gathered on the way.

Rules. Everything that may happen to a call is an event of the table, and nothing else changes its state; an
event that the table does not know in a state is a mistake of the proxy and raises. Every way ends with
exactly one status. No I/O and no clock: times are given. `docs/call.md` is drawn from the table
(`python -m rolltrace_proxy.call`).
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration

from rolltrace.v1 import trace_pb2 as pb
from rolltrace_proxy import gaps
from rolltrace_proxy.errors import Refused


class State(enum.StrEnum):
    __hash__ = str.__hash__  # an Enum's own is written in Python

    RECEIVED = "received"
    """The request is read, and its session looked up."""
    JOINED = "joined"
    """It repeats a call that runs, and waits for that one's end."""
    ADMITTED = "admitted"
    """The store knows that it runs: whatever happens, there will be a trace."""
    DISPATCHED = "dispatched"
    """It was sent to a worker, whose answer has not begun."""
    STREAMING = "streaming"
    """The answer has begun."""
    CAPTURED = "captured"
    """The end is known, and the trace made."""
    COMMITTED = "committed"
    """The trace is durable: the agent may see the end."""
    CLOSED = "closed"


class Event(enum.StrEnum):
    __hash__ = str.__hash__

    JOIN = "join"
    """A call that may be the same one runs already; or the next of several."""
    REPLAY = "replay"
    """The recorded answer of an earlier attempt is this one's answer too."""
    DISMISS = "dismiss"
    """It ends before it is a call of the session, and leaves no trace there."""
    ADMIT = "admit"
    """It is a call of its own."""
    DISPATCH = "dispatch"
    """To the first worker, or to the next when no connection could be made."""
    ANSWER = "answer"
    """The header of the worker's answer came."""
    FINISH = "finish"
    """The worker's answer ended as it should."""
    FAIL = "fail"
    """The worker answered with an error, broke off, stayed silent too long or could not be reached."""
    REFUSE = "refuse"
    """The gateway itself will not serve the call."""
    HANG_UP = "hang up"
    """The agent went away."""
    INTERRUPT = "interrupt"
    """The proxy goes away."""
    COMMIT = "commit"
    """The store holds the trace."""
    LOSE = "lose"
    """The store could not keep the trace, or its session was deleted; the agent does not see a clean end."""
    CLOSE = "close"
    """The agent has its end, or will never have it."""


_ENDS = {
    Event.REFUSE: State.CAPTURED,
    Event.HANG_UP: State.CAPTURED,
    Event.INTERRUPT: State.CAPTURED,
}
_BEFORE = {
    Event.JOIN: State.JOINED,
    Event.REPLAY: State.CLOSED,
    Event.DISMISS: State.CLOSED,
    Event.ADMIT: State.ADMITTED,
}
TABLE: dict[State, dict[Event, State]] = {
    State.RECEIVED: {**_BEFORE, **_ENDS},
    State.JOINED: {**_BEFORE, Event.REFUSE: State.CAPTURED},
    State.ADMITTED: {Event.DISPATCH: State.DISPATCHED, **_ENDS},
    State.DISPATCHED: {
        Event.DISPATCH: State.DISPATCHED,
        Event.ANSWER: State.STREAMING,
        Event.FAIL: State.CAPTURED,
        **_ENDS,
    },
    State.STREAMING: {Event.FINISH: State.CAPTURED, Event.FAIL: State.CAPTURED, **_ENDS},
    State.CAPTURED: {Event.COMMIT: State.COMMITTED, Event.LOSE: State.CLOSED},
    State.COMMITTED: {Event.CLOSE: State.CLOSED},
    State.CLOSED: {},
}
STATUS: dict[Event, pb.CallStatus.ValueType] = {
    Event.FINISH: pb.CALL_STATUS_COMPLETED,
    Event.FAIL: pb.CALL_STATUS_UPSTREAM_ERROR,
    Event.REFUSE: pb.CALL_STATUS_REFUSED,
    Event.HANG_UP: pb.CALL_STATUS_CLIENT_CANCELLED,
    Event.INTERRUPT: pb.CALL_STATUS_INTERRUPTED,
}
BEFORE_ADMISSION = frozenset({State.RECEIVED, State.JOINED})
RUNNING = BEFORE_ADMISSION | {State.ADMITTED, State.DISPATCHED, State.STREAMING}


def new_trace_id() -> str:
    """A random UUID (RFC 9562, version 4). uuid.uuid4 takes five times as long to write the same."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class TransitionError(RuntimeError):
    """An event that the table does not know in this state."""


@dataclass(slots=True)
class Call:
    """The facts of one call. `admit_ns` is in nanoseconds since the epoch; all other times are in seconds
    on one monotonic clock."""

    trace_id: str
    session_id: str
    endpoint: str
    admit_ns: int
    admitted: float
    state: State = State.RECEIVED
    status: pb.CallStatus.ValueType = pb.CALL_STATUS_UNSPECIFIED
    model: str = ""
    streamed: bool = False
    request: bytes = b""
    kept: bytes = b""
    """What is recorded of the request; all of it, unless it was redacted."""
    not_kept: str = ""
    """Why nothing is."""
    labels: dict[str, str] = field(default_factory=dict[str, str])
    worker_id: str = ""
    policy_version: str = ""
    """What the workers served when it was sent to one, as the control service was told."""
    retry_number: int = 0
    retried_trace_id: str = ""
    attempts: int = 0
    http_status: int = 0
    error_code: str = ""
    error_message: str = ""
    first_byte: float | None = None
    ended: float = 0.0

    was_admitted: bool = False

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    def on(self, event: Event) -> None:
        after = TABLE[self.state].get(event)
        if after is None:
            raise TransitionError(f"{event} in state {self.state}")
        self.state = after

    def read(self, request: bytes, admit_ns: int, now: float) -> None:
        """The agent's body is all here. A call that ends before this was admitted when its header came."""
        self.request, self.admit_ns, self.admitted = request, admit_ns, now
        self.kept = request

    def admit(self) -> None:
        self.on(Event.ADMIT)
        self.was_admitted = True

    def dispatch(self, worker_id: str, policy_version: str = "") -> None:
        self.on(Event.DISPATCH)
        self.worker_id, self.policy_version = worker_id, policy_version
        self.attempts += 1

    def answer(self, http_status: int) -> None:
        self.on(Event.ANSWER)
        self.http_status = http_status

    def end(self, event: Event, now: float, code: str = "", message: str = "") -> None:
        """Ends the call by an event of STATUS; all but FINISH say why. A message may quote a worker: what is
        not UTF-8 in it is replaced."""
        self.on(event)
        self.status, self.ended = STATUS[event], now
        self.error_code, self.error_message = code, message.encode(errors="replace").decode()

    def trace(self) -> pb.Trace:
        """The trace but for what was captured of the answer; the call MUST have ended."""
        trace = self.known()
        trace.worker_id, trace.attempt_count = self.worker_id, self.attempts
        trace.policy_version = self.policy_version
        trace.status, trace.http_status = self.status, self.http_status
        trace.request_json = self.kept
        if self.not_kept:
            trace.capture_gaps.add(kind=gaps.REQUEST, message=self.not_kept)
        _set_seconds(trace.latency, self.ended - self.admitted)
        if self.first_byte is not None:
            _set_seconds(trace.time_to_first_token, self.first_byte - self.admitted)
        if self.status != pb.CALL_STATUS_COMPLETED:
            trace.error.code, trace.error.message = self.error_code, self.error_message
        return trace

    def known(self) -> pb.Trace:
        """What is known of it when it is admitted, as a trace without bodies."""
        trace = pb.Trace(
            trace_id=self.trace_id,
            session_id=self.session_id,
            model=self.model,
            endpoint=self.endpoint,
            streamed=self.streamed,
            labels=self.labels,
            retry_number=self.retry_number,
            retried_trace_id=self.retried_trace_id,
        )
        trace.admit_time.seconds, trace.admit_time.nanos = divmod(self.admit_ns, 10**9)
        return trace


def _set_seconds(duration: Duration, seconds: float) -> None:
    """Duration.FromNanoseconds, at a third of its cost. Seconds of a monotonic clock: never negative."""
    duration.seconds, duration.nanos = divmod(int(seconds * 1e9), 10**9)


def reduce(trace: pb.Trace, *, http_status: int, refused: Refused) -> None:
    """Makes a trace that the store did not take one that it may: INTERRUPTED, its bodies named as gaps."""
    trace.status, trace.http_status = pb.CALL_STATUS_INTERRUPTED, http_status
    trace.error.code, trace.error.message = refused.fault, refused.message
    if trace.request_json:
        trace.capture_gaps.add(kind=gaps.REQUEST, message="the request was not kept")
    if trace.prompt_token_ids:
        count = len(trace.prompt_token_ids) // 4
        trace.capture_gaps.add(kind=gaps.PROMPT_TOKEN_IDS, message=f"{count} prompt ids were not kept")
    for completion in trace.completions:
        said = f"{len(completion.token_ids) // 4} sampled ids were not kept"
        trace.capture_gaps.add(kind=gaps.TOKEN_IDS, completion_index=completion.index, message=said)
    for body in ("request_json", "response_json", "prompt_token_ids", "completions"):
        trace.ClearField(body)


def diagram() -> str:
    """The table as a page with a mermaid diagram."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for state, row in TABLE.items():
        for event, after in row.items():
            arrows.setdefault((state, after), []).append(event.value)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    ends = [f"| {event} | `{pb.CallStatus.Name(status)}` |" for event, status in STATUS.items()]
    return "\n".join(
        [
            "# The life of a call",
            "",
            "Drawn from the table in its module: `python -m rolltrace_proxy.call > docs/call.md`.",
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {State.RECEIVED}",
            *lines,
            f"    {State.CLOSED} --> [*]",
            "```",
            "",
            "A call that is closed without having been captured leaves no trace: a recorded answer was its",
            "answer, or its session or the store takes no calls. The event that leads to `captured` gives",
            "the trace its status:",
            "",
            "| event | status |",
            "|---|---|",
            *ends,
            "",
        ]
    )


if __name__ == "__main__":
    print(diagram(), end="")
