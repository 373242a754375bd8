"""Events of the log as values, one class a kind, to be told apart with match or isinstance.

Each has its `sequence` and the `cursor` just after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import auto

from rolltrace.v1 import event_pb2

from .cursor import Cursor
from .sessions import Session
from .traces import Trace
from .value import Word, moment
from .workers import Worker


class EventKind(Word):
    UNSPECIFIED = auto()
    TRACE = auto()
    SESSION_DELETED = auto()
    WORKER_CHANGED = auto()
    SESSION_SEALED = auto()
    POLICY_CHANGED = auto()


class DeleteReason(Word):
    """Who deleted a session: somebody who asked for it, or the gateway's own settings."""

    UNSPECIFIED = auto()
    REQUESTED = auto()
    RETENTION = auto()


class Position(Word):
    """Where a subscription without a cursor starts: at the first event kept, or after the last one."""

    UNSPECIFIED = auto()
    EARLIEST = auto()
    LATEST = auto()


@dataclass(frozen=True, slots=True)
class _Event:
    sequence: int
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class TraceEvent(_Event):
    trace: Trace


@dataclass(frozen=True, slots=True)
class SessionDeletedEvent(_Event):
    """A session went, and its traces with it: those of them not read before will not come."""

    session_id: str
    delete_time: datetime
    deleted_trace_count: int
    reason: DeleteReason


@dataclass(frozen=True, slots=True)
class WorkerChangedEvent(_Event):
    worker: Worker
    removed: bool


@dataclass(frozen=True, slots=True)
class SessionSealedEvent(_Event):
    """A session was frozen: its traces have all come. Of `session` base_url and api_key are empty here."""

    session: Session


@dataclass(frozen=True, slots=True)
class PolicyChangedEvent(_Event):
    policy_version: str
    change_time: datetime


Event = TraceEvent | SessionDeletedEvent | WorkerChangedEvent | SessionSealedEvent | PolicyChangedEvent


def read_event(event: event_pb2.Event, cursor: Cursor) -> Event | None:
    """Any event but a trace, which has to be expanded first. None for a kind too new for this client."""
    at = event.sequence
    match event.WhichOneof("event"):
        case "session_deleted":
            gone = event.session_deleted
            when, why = moment(gone.delete_time), DeleteReason.read(gone.reason)
            return SessionDeletedEvent(at, cursor, gone.session_id, when, gone.deleted_trace_count, why)
        case "worker_changed":
            changed = event.worker_changed
            return WorkerChangedEvent(at, cursor, Worker(changed.worker), changed.removed)
        case "session_sealed":
            return SessionSealedEvent(at, cursor, Session(event.session_sealed.session))
        case "policy_changed":
            policy = event.policy_changed
            return PolicyChangedEvent(at, cursor, policy.policy_version, moment(policy.change_time))
        case _:
            return None
