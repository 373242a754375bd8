"""What a trainer installs: the client, and the `rolltrace` command.

It needs grpcio and protobuf, any of a wide range, and nothing else; numpy and a Zstandard module are used
where they are. It knows the contract in rolltrace.v1 and no other part of the project.

A name's module is imported when the name is first asked for: `rolltrace up`, and whoever takes values alone,
does without gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .access import Tls
    from .aio import AsyncClient, AsyncSubscription
    from .client import Client, Subscription
    from .cursor import Cursor
    from .errors import (
        AlreadyExists,
        Closed,
        CursorError,
        DeadlineExceeded,
        FailedPrecondition,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        ResourceExhausted,
        RolltraceError,
        Unauthenticated,
        Unavailable,
        UnreadableBody,
    )
    from .events import (
        DeleteReason,
        Event,
        EventKind,
        PolicyChangedEvent,
        Position,
        SessionDeletedEvent,
        SessionSealedEvent,
        TraceEvent,
        WorkerChangedEvent,
    )
    from .policy import Policy
    from .session_calls import Limits, NewSession
    from .sessions import (
        DeletedSessions,
        IncompleteKind,
        IncompleteReason,
        InFlightCalls,
        Outcome,
        Session,
        SessionLimits,
        SessionState,
    )
    from .status import Status
    from .traces import (
        Blob,
        BlobArray,
        CallError,
        CallStatus,
        CaptureGap,
        CaptureGapKind,
        Completion,
        Trace,
        Usage,
        VersionSpan,
        View,
    )
    from .verification import Verification, verify
    from .workers import Worker, WorkerHealth, WorkerState

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "AsyncSubscription",
    "Blob",
    "BlobArray",
    "CallError",
    "CallStatus",
    "CaptureGap",
    "CaptureGapKind",
    "Client",
    "Closed",
    "Completion",
    "Cursor",
    "CursorError",
    "DeadlineExceeded",
    "DeleteReason",
    "DeletedSessions",
    "Event",
    "EventKind",
    "FailedPrecondition",
    "InFlightCalls",
    "IncompleteKind",
    "IncompleteReason",
    "InvalidArgument",
    "Limits",
    "NewSession",
    "NotFound",
    "Outcome",
    "PermissionDenied",
    "Policy",
    "PolicyChangedEvent",
    "Position",
    "ResourceExhausted",
    "RolltraceError",
    "Session",
    "SessionDeletedEvent",
    "SessionLimits",
    "SessionSealedEvent",
    "SessionState",
    "Status",
    "Subscription",
    "Tls",
    "Trace",
    "TraceEvent",
    "Unauthenticated",
    "Unavailable",
    "UnreadableBody",
    "Usage",
    "Verification",
    "VersionSpan",
    "View",
    "Worker",
    "WorkerChangedEvent",
    "WorkerHealth",
    "WorkerState",
    "verify",
]

_HOMES = {
    "access": "Tls",
    "aio": "AsyncClient AsyncSubscription",
    "client": "Client Subscription",
    "cursor": "Cursor",
    "errors": (
        "AlreadyExists Closed CursorError DeadlineExceeded FailedPrecondition InvalidArgument NotFound "
        "PermissionDenied ResourceExhausted RolltraceError Unauthenticated Unavailable UnreadableBody"
    ),
    "events": (
        "DeleteReason Event EventKind PolicyChangedEvent Position SessionDeletedEvent SessionSealedEvent "
        "TraceEvent WorkerChangedEvent"
    ),
    "policy": "Policy",
    "session_calls": "Limits NewSession",
    "sessions": (
        "DeletedSessions IncompleteKind IncompleteReason InFlightCalls Outcome Session SessionLimits "
        "SessionState"
    ),
    "status": "Status",
    "traces": (
        "Blob BlobArray CallError CallStatus CaptureGap CaptureGapKind Completion Trace Usage VersionSpan "
        "View"
    ),
    "verification": "Verification verify",
    "workers": "Worker WorkerHealth WorkerState",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return import_module(f".{name}", __name__)
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
