"""Sessions as values: one rollout each."""

from __future__ import annotations

from enum import auto

from rolltrace.v1 import session_pb2, session_service_pb2

from .value import Field, Maybe, Value, Word, many, moment, plain, seconds


class SessionState(Word):
    """SEALING: it takes no more calls, and those that run are awaited."""

    UNSPECIFIED = auto()
    OPEN = auto()
    SEALED = auto()
    SEALING = auto()


class InFlightCalls(Word):
    """What becomes of calls that run when a session is sealed: WAIT lets them end, CANCEL cuts them off."""

    UNSPECIFIED = auto()
    WAIT = auto()
    CANCEL = auto()


class IncompleteKind(Word):
    UNSPECIFIED = auto()
    INTERRUPTED = auto()
    CAPTURE_GAPS = auto()
    IN_FLIGHT = auto()


_LACKS = {
    IncompleteKind.INTERRUPTED: "interrupted: the proxy went away meanwhile, or the store was full",
    IncompleteKind.CAPTURE_GAPS: "without all of their tokens: their capture_gaps say what they lack",
    IncompleteKind.IN_FLIGHT: "still running when the session was sealed: their traces come late",
}


def calls(count: int) -> str:
    """A number of calls in words."""
    return "1 call" if count == 1 else f"{count} calls"


class Outcome(Value[session_pb2.Outcome]):
    """How a rollout ended, in the trainer's own words."""

    status = Field(str)
    reward = Maybe(float)
    rewards = Field(dict[str, float])
    metadata = Field(plain)


class IncompleteReason(Value[session_pb2.IncompleteReason]):
    """One kind of thing that a session lacks, and in how many calls; as a str, in words."""

    kind = Field(IncompleteKind.read)
    call_count = Field(int)

    def __str__(self) -> str:
        lack = _LACKS.get(self.kind, "lacking something that this client does not know")
        return f"{calls(self.call_count)} {lack}"


class SessionLimits(Value[session_pb2.SessionLimits]):
    """What the session may use; None where the gateway's own limits hold. `max_time` is in seconds."""

    max_calls = Maybe(int)
    max_tokens = Maybe(int)
    max_time = Maybe(seconds)


class Session(Value[session_pb2.Session]):
    """A session; `base_url` and `api_key` are what the agent sets as its OpenAI base URL and API key."""

    session_id = Field(str)
    base_url = Field(str)
    api_key = Field(str)
    state = Field(SessionState.read)
    labels = Field(dict[str, str])
    metadata = Field(plain)
    sampling_params = Field(plain)
    limits = Maybe(SessionLimits)
    group_id = Field(str)
    group_size = Field(int)
    create_time = Maybe(moment)
    seal_time = Maybe(moment)
    outcome = Maybe(Outcome)
    call_count = Field(int)
    failed_call_count = Field(int)
    late_call_count = Field(int)
    in_flight_call_count = Field(int)
    prompt_token_count = Field(int)
    completion_token_count = Field(int)
    incomplete = Field(bool)
    incomplete_reasons = Field(many(IncompleteReason))
    digest = Field(str)

    def _title(self) -> str:
        lacking = ", incomplete" if self.incomplete else ""
        return f"{self.session_id} {self.state}, {calls(self.call_count)}{lacking}"


class DeletedSessions(Value[session_service_pb2.BatchDeleteSessionsResponse]):
    """What a batch deletion did."""

    deleted_session_ids = Field(list[str])
    missing_session_ids = Field(list[str])
    deleted_trace_count = Field(int)
