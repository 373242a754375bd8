"""How sessions begin and end: made, changed, sealed, deleted.

Rules: a session that exists has no tombstone, and one that has a tombstone is made only by
create_session. A sealed session has a row in `sealed`, one that is SEALING a row in `sealing`.
"""

from __future__ import annotations

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.event_pb2 import DeleteReason
from rolltrace.v1.session_pb2 import SESSION_STATE_OPEN, SESSION_STATE_SEALED, Outcome, Session
from rolltrace_store import schema, sealing
from rolltrace_store.blob_writes import BlobWrites
from rolltrace_store.counting import opened
from rolltrace_store.errors import AlreadyExistsError, NotFoundError, SealedError, SessionDeletedError
from rolltrace_store.names import check_session_id
from rolltrace_store.schema.age import Age
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.running import RunningKey
from rolltrace_store.schema.seal import SealingRow
from rolltrace_store.schema.session_trace import prefix


class SessionWrites(BlobWrites):
    """The part of interface.WriteView that is about sessions."""

    def create_session(self, session: Session) -> Session:
        check_session_id(session.session_id)
        if self.has_session(session.session_id):
            raise AlreadyExistsError("session", session.session_id)
        self._lift_tombstone(session.session_id)
        return self._add_session(session)

    def ensure_session(self, session_id: str) -> None:
        """Creates the session if there is none. Raises SessionDeletedError under a tombstone."""
        if not self.has_session(session_id):
            if self.deleted(session_id) is not None:
                raise SessionDeletedError(session_id)
            self._add_session(Session(session_id=session_id))

    def _add_session(self, session: Session) -> Session:
        self._take_room(session.ByteSize())
        row = opened(session, self._clock())
        self._mutable(schema.SESSIONS).put(row.session_id, row)
        return row

    def update_session(self, session: Session) -> Session:
        row = self._get(schema.SESSIONS, session.session_id)
        if row is None:
            raise NotFoundError("session", session.session_id)
        if row.state != SESSION_STATE_OPEN:
            raise SealedError(session.session_id)
        self._take_room(session.ByteSize())
        row.metadata.CopyFrom(session.metadata)
        row.sampling_params.CopyFrom(session.sampling_params)
        self._mutable(schema.SESSIONS).put(row.session_id, row)
        return self._with_counts(row)

    def begin_seal(self, session_id: str, outcome: Outcome | None, *, cancel: bool, deadline: int) -> Session:
        session = self._get(schema.SESSIONS, session_id)
        if session is None:
            raise NotFoundError("session", session_id)
        session = sealing.with_outcome(session, outcome)
        if session.state != SESSION_STATE_SEALED:
            rows = self._mutable(schema.SEALING)
            rows.put(session_id, sealing.sooner(rows.get(session_id), SealingRow(cancel, deadline)))
            self._mutable(schema.SESSIONS).put(session_id, session)
        return self._with_counts(session)

    def finish_seal(self, session_id: str) -> Session:
        session = self._get(schema.SESSIONS, session_id)
        if session is None or not self._mutable(schema.SEALING).delete(session_id):
            raise NotFoundError("session that is SEALING", session_id)
        now = self._clock()
        session.state = SESSION_STATE_SEALED
        session.seal_time.FromNanoseconds(now)
        self._mutable(schema.SESSIONS).put(session_id, session)
        self._mutable(schema.SEALED).put(Age(now, session_id), None)
        counters = self._get(schema.COUNTERS, session_id) or Counters()
        frozen = counters._replace(sealed=True, left_calls=self.running_count(session_id))
        self._mutable(schema.COUNTERS).put(session_id, frozen)
        sealed = self._with_counts(session)
        self._log(event.EVENT_KIND_SESSION_SEALED, event.SessionSealed(session=sealed))
        return sealed

    def delete_session(
        self,
        session_id: str,
        reason: DeleteReason.ValueType = event.DELETE_REASON_REQUESTED,
    ) -> int:
        session = self._get(schema.SESSIONS, session_id)
        if session is None:
            raise NotFoundError("session", session_id)
        self._mutable(schema.SESSIONS).delete(session_id)
        self._mutable(schema.COUNTERS).delete(session_id)
        self._mutable(schema.SEALING).delete(session_id)
        self._mutable(schema.SEALED).delete(Age(session.seal_time.ToNanoseconds(), session_id))
        self._delete_running(session_id)
        count = self._delete_traces(session_id)
        self._drop_blobs(session_id)
        now = self._clock()
        self._leave_tombstone(session_id, now)
        deleted = event.SessionDeleted(session_id=session_id, deleted_trace_count=count, reason=reason)
        deleted.delete_time.FromNanoseconds(now)
        self._log(event.EVENT_KIND_SESSION_DELETED, deleted)
        self.deleted_sessions.append(session_id)
        return count

    def _delete_running(self, session_id: str) -> None:
        running = self._mutable(schema.RUNNING)
        keys: list[RunningKey] = [key for key, _ in running.scan(prefix=prefix(session_id))]
        for key in keys:
            running.delete(key)

    def _delete_traces(self, session_id: str) -> int:
        """Returns how many there were."""
        index, log = self._mutable(schema.SESSION_TRACES), self._mutable(schema.LOG)
        ids = self._mutable(schema.TRACE_IDS)
        calls = list(index.scan(prefix=prefix(session_id)))
        for key, row in calls:
            index.delete(key)
            log.delete(row.sequence)
            ids.delete(row.trace_id)
        return len(calls)

    def _leave_tombstone(self, session_id: str, now: int) -> None:
        self._mutable(schema.TOMBSTONES).put(session_id, now)
        self._mutable(schema.TOMBSTONE_TIMES).put(Age(now, session_id), None)

    def _lift_tombstone(self, session_id: str) -> None:
        time = self.deleted(session_id)
        if time is not None:
            self._mutable(schema.TOMBSTONES).delete(session_id)
            self._mutable(schema.TOMBSTONE_TIMES).delete(Age(time, session_id))
