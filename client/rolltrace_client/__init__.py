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
    Event,
    EventKind,
    PolicyChangedEvent,
    Position,
    SessionDeletedEvent,
    SessionSealedEvent,
    TraceEvent,
    WorkerChangedEvent,
)
from .session_calls import NewSession
from .sessions import DeletedSessions, Outcome, Session, SessionState
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
    "DeletedSessions",
    "Event",
    "EventKind",
    "FailedPrecondition",
    "InvalidArgument",
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
    "VersionSpan",
    "View",
    "Worker",
    "WorkerChangedEvent",
    "WorkerHealth",
    "WorkerState",
]
