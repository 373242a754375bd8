"""What a request about sessions may hold. Every error names the field."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import Error, MessageToDict
from google.protobuf.struct_pb2 import Struct

from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.session_service_pb2 import UpdateSessionRequest
from rolltrace_store.errors import InvalidArgumentError
from rolltrace_store.names import check_session_id

MAX_BATCH = 10_000
UPDATABLE = ("metadata", "sampling_params")
INPUT = frozenset(("session_id", "labels", "metadata", "sampling_params", "group_id", "group_size", "limits"))


def check_new_session(session: Session, field: str = "session") -> None:
    """Raises InvalidArgumentError for an id that is not allowed, a field that is output only, a number
    that JSON does not know, which no worker could be sent, or a time that is negative.

    An empty id is allowed: the service makes one.
    """
    if session.session_id:
        check_session_id(session.session_id, f"{field}.session_id")
    for descriptor, _ in session.ListFields():
        if descriptor.name not in INPUT:
            name = f"{field}.{descriptor.name}"
            raise InvalidArgumentError(name, f"{name} is output only; leave it unset")
    check_json(session.sampling_params, f"{field}.sampling_params")
    nanoseconds(session.limits.max_time, f"{field}.limits.max_time")


def check_new_sessions(sessions: Sequence[Session]) -> None:
    """Raises InvalidArgumentError for the first session that may not be made."""
    check_batch("sessions", len(sessions))
    seen: dict[str, int] = {}
    for index, session in enumerate(sessions):
        field = f"sessions[{index}]"
        check_new_session(session, field)
        first = seen.setdefault(session.session_id, index)
        if session.session_id and first != index:
            name = f"{field}.session_id"
            raise InvalidArgumentError(name, f"{name} is the same as that of sessions[{first}]")


def check_session_update(request: UpdateSessionRequest) -> None:
    """Raises InvalidArgumentError unless the request names a session and fields that can change."""
    check_session_id(request.session.session_id, "session.session_id")
    check_new_session(request.session)
    paths = request.update_mask.paths
    if not (paths or request.allow_missing):
        raise InvalidArgumentError(
            "update_mask", f"update_mask names no field; name some of {', '.join(UPDATABLE)}"
        )
    for path in paths:
        if path not in UPDATABLE:
            raise InvalidArgumentError(
                "update_mask", f"{path!r} cannot be updated; these can: {', '.join(UPDATABLE)}"
            )


def check_batch(field: str, count: int) -> None:
    """Raises InvalidArgumentError for a batch that is too large."""
    if count > MAX_BATCH:
        raise InvalidArgumentError(field, f"{field} has {count} entries; at most {MAX_BATCH} are allowed")


def check_json(values: Struct, field: str) -> None:
    """Raises InvalidArgumentError for a number that JSON does not know."""
    try:
        MessageToDict(values)
    except (Error, ValueError) as error:
        raise InvalidArgumentError(field, f"{field} cannot be written as JSON: {error}") from error


def nanoseconds(duration: Duration, field: str) -> int:
    """A duration. Raises InvalidArgumentError for a negative one, or one with its parts at odds."""
    if not 0 <= duration.nanos < 10**9 or duration.seconds < 0:
        raise InvalidArgumentError(field, f"{field} is negative, or no duration")
    return duration.ToNanoseconds()


def names_a_session(session_id: str) -> bool:
    """Whether there may be a session of that id."""
    try:
        check_session_id(session_id)
    except InvalidArgumentError:
        return False
    return True
