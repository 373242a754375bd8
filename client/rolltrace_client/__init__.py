"""What a trainer installs: the client, and the `rolltrace` command.

It needs grpcio and protobuf, any of a wide range, and nothing else; numpy and a Zstandard module are used
where they are. It knows the contract in rolltrace.v1 and no other part of the project.
"""

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
