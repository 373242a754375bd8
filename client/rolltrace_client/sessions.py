"""Sessions as values: one rollout each."""

from __future__ import annotations

from enum import auto

from rolltrace.v1 import session_pb2, session_service_pb2

from .value import Field, Maybe, Value, Word, moment, plain


class SessionState(Word):
    UNSPECIFIED = auto()
    OPEN = auto()
    SEALED = auto()


class Outcome(Value[session_pb2.Outcome]):
    """How a rollout ended, in the trainer's own words."""

    status = Field(str)
    reward = Maybe(float)
    rewards = Field(dict[str, float])
    metadata = Field(plain)


class Session(Value[session_pb2.Session]):
    """A session; `base_url` and `api_key` are what the agent sets as its OpenAI base URL and API key."""

    session_id = Field(str)
    base_url = Field(str)
    state = Field(SessionState.read)
    labels = Field(dict[str, str])
    metadata = Field(plain)
    sampling_params = Field(plain)
    group_id = Field(str)
    group_size = Field(int)
    create_time = Maybe(moment)
    seal_time = Maybe(moment)
    outcome = Maybe(Outcome)
    call_count = Field(int)
    failed_call_count = Field(int)
    incomplete = Field(bool)
    digest = Field(str)
    api_key = Field(str)

    def _title(self) -> str:
        return f"{self.session_id} {self.state}, {self.call_count} calls"


class DeletedSessions(Value[session_service_pb2.BatchDeleteSessionsResponse]):
    """What a batch deletion did."""

    deleted_session_ids = Field(list[str])
    missing_session_ids = Field(list[str])
    deleted_trace_count = Field(int)
