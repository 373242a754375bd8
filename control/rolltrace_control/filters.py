"""Which events and which sessions a caller asks for. A body is parsed only when a condition needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1 import session_pb2, trace_pb2
from rolltrace.v1.session_service_pb2 import SessionFilter
from rolltrace.v1.trace_service_pb2 import EventFilter
from rolltrace_store.errors import InvalidArgumentError
from rolltrace_store.interface import Record
from rolltrace_store.names import MAX_SESSION_ID


class EventMatcher:
    """Decides which events a filter takes."""

    def __init__(self, wanted: EventFilter) -> None:
        """Raises InvalidArgumentError for kinds and statuses that are not known."""
        _check_enum("filter.kinds", wanted.kinds, event.EventKind.values())
        _check_enum("filter.statuses", wanted.statuses, trace_pb2.CallStatus.values())
        self._kinds = frozenset(wanted.kinds)
        self._session_ids = frozenset(wanted.session_ids)
        self._labels = dict(wanted.labels)
        self._statuses = frozenset(wanted.statuses)
        self._looks_into_traces = bool(self._session_ids or self._labels or self._statuses)

    def takes(self, record: Record) -> bool:
        if self._kinds and record.kind not in self._kinds:
            return False
        if record.kind == event.EVENT_KIND_TRACE:
            return not self._looks_into_traces or self._takes_trace(record.body)
        return not self._session_ids or self._takes_session(record)

    def _takes_trace(self, body: bytes) -> bool:
        trace = trace_pb2.Trace.FromString(body)
        return (
            (not self._session_ids or trace.session_id in self._session_ids)
            and (not self._statuses or trace.status in self._statuses)
            and _carries(trace.labels, self._labels)
        )

    def _takes_session(self, record: Record) -> bool:
        if record.kind == event.EVENT_KIND_SESSION_DELETED:
            return event.SessionDeleted.FromString(record.body).session_id in self._session_ids
        if record.kind == event.EVENT_KIND_SESSION_SEALED:
            sealed = event.SessionSealed.FromString(record.body)
            return sealed.session.session_id in self._session_ids
        return True


def check_session_filter(wanted: SessionFilter) -> None:
    """Raises InvalidArgumentError for a filter that can take nothing."""
    if len(wanted.session_id_prefix.encode()) > MAX_SESSION_ID:
        raise InvalidArgumentError(
            "filter.session_id_prefix", f"session_id_prefix is longer than any id: {MAX_SESSION_ID} bytes"
        )
    if wanted.state not in session_pb2.SessionState.values():
        raise InvalidArgumentError("filter.state", f"state {wanted.state} is not known")


def takes_session(wanted: SessionFilter, session: session_pb2.Session) -> bool:
    """Whether the filter takes the session."""
    return (
        session.session_id.startswith(wanted.session_id_prefix)
        and wanted.state in (session_pb2.SESSION_STATE_UNSPECIFIED, session.state)
        and wanted.group_id in ("", session.group_id)
        and _carries(session.labels, wanted.labels)
    )


def _carries(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _check_enum(field: str, given: Iterable[int], known: Iterable[int]) -> None:
    for value in given:
        if value == 0 or value not in known:
            raise InvalidArgumentError(field, f"{field} holds {value}, which is not known")
