"""The calls about sessions; see call.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict, cast

from rolltrace.v1 import session_pb2
from rolltrace.v1 import session_service_pb2 as pb

from .call import Call, Pages, new_request_id, struct
from .sessions import DeletedSessions, InFlightCalls, Session, SessionState
from .value import duration

_SERVICE = "/rolltrace.v1.SessionService/"

DEFAULT_SEAL_TIMEOUT = 60.0
"""The service's own, in seconds."""


class Limits(TypedDict, total=False):
    """What a session may use; 0 stands for no limit, what is left out for the gateway's own.

    `max_calls` counts all but refused calls, `max_tokens` prompt and sampled tokens, `max_time` is seconds.
    """

    max_calls: int
    max_tokens: int
    max_time: float


class NewSession(TypedDict, total=False):
    """What may be said of a session when it is made; see Client.create_session."""

    session_id: str
    labels: Mapping[str, str]
    metadata: Mapping[str, object]
    sampling_params: Mapping[str, object]
    group_id: str
    group_size: int
    limits: Limits


def create_session(
    session_id: str = "",
    *,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, object] | None = None,
    sampling_params: Mapping[str, object] | None = None,
    group_id: str = "",
    group_size: int = 0,
    limits: Limits | None = None,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Call[Session]:
    """Makes a session. Its `base_url` is what the agent sets as its OpenAI base URL.

    Without a session_id the service makes an unguessable one. `labels` are short facts to filter by, which
    every trace carries; `metadata` is the trainer's own; `sampling_params` win over what the agent asks for.
    A call beyond the `limits` is refused with HTTP 429. Raises AlreadyExists.
    """
    new = NewSession(
        session_id=session_id,
        labels=labels or {},
        metadata=metadata or {},
        sampling_params=sampling_params or {},
        group_id=group_id,
        group_size=group_size,
        limits=limits or {},
    )
    made = pb.CreateSessionRequest(session=_session(new), request_id=new_request_id(request_id))
    return Call(_SERVICE + "CreateSession", made.SerializeToString(), _created, timeout)


def create_sessions(
    sessions: Iterable[NewSession], *, request_id: str | None = None, timeout: float | None = None
) -> Call[list[Session]]:
    """Makes up to 10,000 sessions, all or none, and returns them in the same order.

    `create_sessions([NewSession(group_id="g-1", labels={"task": "gsm8k"})] * 8)` makes a group of eight.
    """
    made = pb.BatchCreateSessionsRequest(
        sessions=[_session(new) for new in sessions], request_id=new_request_id(request_id)
    )
    return Call(_SERVICE + "BatchCreateSessions", made.SerializeToString(), _batch_created, timeout)


def get_session(session_id: str, *, timeout: float | None = None) -> Call[Session]:
    """Reads a session. Raises NotFound."""
    made = pb.GetSessionRequest(session_id=session_id)
    return Call(_SERVICE + "GetSession", made.SerializeToString(), _got, timeout)


def list_sessions(
    *,
    prefix: str = "",
    state: SessionState | None = None,
    group_id: str = "",
    labels: Mapping[str, str] | None = None,
    page_size: int = 0,
    timeout: float | None = None,
) -> Pages[Session]:
    """Iterates over the sessions in the order of their ids, reading page after page as needed.

    Conditions are joined by "and": ids that begin with `prefix`, this state, this group, all these labels.
    `timeout` is for each page.
    """
    chosen = pb.SessionFilter(session_id_prefix=prefix, group_id=group_id, labels=labels or {})
    if state is not None:
        chosen.state = cast("session_pb2.SessionState.ValueType", state.number)

    def page(token: str) -> Call[tuple[list[Session], str]]:
        made = pb.ListSessionsRequest(filter=chosen, page_size=page_size, page_token=token)
        return Call(_SERVICE + "ListSessions", made.SerializeToString(), _listed, timeout)

    return Pages(page)


def seal_session(
    session_id: str,
    *,
    status: str = "",
    reward: float | None = None,
    rewards: Mapping[str, float] | None = None,
    metadata: Mapping[str, object] | None = None,
    in_flight: InFlightCalls = InFlightCalls.WAIT,
    seal_timeout: float | None = None,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Call[Session]:
    """Freezes a session and returns it, with its final counts and digest; see `verify`.

    `status`, `reward`, `rewards` (its named parts) and `metadata` say how the rollout ended. Later calls are
    refused with HTTP 409. Calls that run may end within `seal_timeout` seconds (None: 60), or are cut off
    with InFlightCalls.CANCEL; those that still run then make the session incomplete.

    Sealing a sealed session returns it. Raises FailedPrecondition when it has another outcome, NotFound, and
    DeadlineExceeded when it is not sealed after `timeout` + `seal_timeout`: it will be; ask again to wait.
    """
    made = pb.SealSessionRequest(
        session_id=session_id,
        outcome=_outcome(status, reward, rewards, metadata),
        in_flight=cast("pb.InFlightCalls.ValueType", in_flight.number),
        timeout=None if seal_timeout is None else duration(seal_timeout),
        request_id=new_request_id(request_id),
    )
    wait = DEFAULT_SEAL_TIMEOUT if seal_timeout is None else seal_timeout
    return Call(_SERVICE + "SealSession", made.SerializeToString(), _sealed, timeout, wait)


def delete_session(
    session_id: str, *, request_id: str | None = None, timeout: float | None = None
) -> Call[int]:
    """Removes a session and its traces; returns how many traces. Raises NotFound."""
    made = pb.DeleteSessionRequest(session_id=session_id, request_id=new_request_id(request_id))
    return Call(_SERVICE + "DeleteSession", made.SerializeToString(), _deleted, timeout)


def delete_sessions(
    session_ids: Iterable[str], *, request_id: str | None = None, timeout: float | None = None
) -> Call[DeletedSessions]:
    """Removes up to 10,000 sessions and their traces. Those that are not there are reported, not refused."""
    made = pb.BatchDeleteSessionsRequest(session_ids=list(session_ids), request_id=new_request_id(request_id))
    return Call(_SERVICE + "BatchDeleteSessions", made.SerializeToString(), _batch_deleted, timeout)


def _session(new: NewSession) -> session_pb2.Session:
    return session_pb2.Session(
        session_id=new.get("session_id", ""),
        labels=new.get("labels", {}),
        metadata=struct("metadata", new.get("metadata")),
        sampling_params=struct("sampling_params", new.get("sampling_params")),
        group_id=new.get("group_id", ""),
        group_size=new.get("group_size", 0),
        limits=_limits(new.get("limits")),
    )


def _limits(given: Limits | None) -> session_pb2.SessionLimits | None:
    """None, which leaves the field unset, for none."""
    if not given:
        return None
    time = given.get("max_time")
    return session_pb2.SessionLimits(
        max_calls=given.get("max_calls"),
        max_tokens=given.get("max_tokens"),
        max_time=None if time is None else duration(time),
    )


def _outcome(
    status: str,
    reward: float | None,
    rewards: Mapping[str, float] | None,
    metadata: Mapping[str, object] | None,
) -> session_pb2.Outcome | None:
    """None, which leaves the field unset, when nothing is said."""
    made = session_pb2.Outcome(
        status=status, reward=reward, rewards=rewards or {}, metadata=struct("metadata", metadata)
    )
    return made if made.ListFields() else None


def _created(data: bytes) -> Session:
    return Session(pb.CreateSessionResponse.FromString(data).session)


def _batch_created(data: bytes) -> list[Session]:
    return [Session(made) for made in pb.BatchCreateSessionsResponse.FromString(data).sessions]


def _got(data: bytes) -> Session:
    return Session(pb.GetSessionResponse.FromString(data).session)


def _listed(data: bytes) -> tuple[list[Session], str]:
    page = pb.ListSessionsResponse.FromString(data)
    return [Session(found) for found in page.sessions], page.next_page_token


def _sealed(data: bytes) -> Session:
    return Session(pb.SealSessionResponse.FromString(data).session)


def _deleted(data: bytes) -> int:
    return pb.DeleteSessionResponse.FromString(data).deleted_trace_count


def _batch_deleted(data: bytes) -> DeletedSessions:
    return DeletedSessions(pb.BatchDeleteSessionsResponse.FromString(data))
