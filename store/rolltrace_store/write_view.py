"""What a writing `work` is given, and what the writer uses: calls, workers, the policy and requests."""

from __future__ import annotations

import enum
from collections.abc import Generator
from contextlib import contextmanager

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.policy_service_pb2 import Policy
from rolltrace.v1.trace_pb2 import Trace
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import schema
from rolltrace_store.counting import counted
from rolltrace_store.errors import (
    AlreadyExistsError,
    CorruptError,
    NotFoundError,
    SealedError,
    SessionDeletedError,
)
from rolltrace_store.forgetting import Forgetting
from rolltrace_store.history import Encoded
from rolltrace_store.interface import Commit, Request
from rolltrace_store.names import check_policy_version, check_request_id, check_worker_id
from rolltrace_store.replays import one_more
from rolltrace_store.schema import meta
from rolltrace_store.schema.age import Age
from rolltrace_store.schema.codec import TEXT, U64, UUID
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.log import Entry
from rolltrace_store.schema.request import Answer
from rolltrace_store.schema.running import RunningKey, RunningRow, running_key
from rolltrace_store.schema.session_trace import call_key, call_row
from rolltrace_store.session_writes import SessionWrites

REQUEST_AGE_MS = 2 * 3600 * 1000
"""How long a request is remembered, in milliseconds: longer than the hour that is promised."""
_PRUNED_AT_ONCE = 64


class Known(enum.Enum):
    """What the one who appends a trace knows of its call."""

    UNKNOWN = enum.auto()
    BEGINS = enum.auto()
    """It begins and ends at once, so that it has no row; it is checked as an admission is."""
    RUNNING = enum.auto()
    """It was admitted here and has not ended."""


class LmdbWriteView(SessionWrites, Forgetting):
    """Implements interface.WriteView; adds what the writer needs."""

    @contextmanager
    def nested(self) -> Generator[LmdbWriteView]:
        """A view whose changes become this one's unless the block raises. This one rests meanwhile."""
        with self._environment.lmdb.begin(parent=self._txn, write=True) as txn:
            view = LmdbWriteView(self._environment, txn, self._expander, self._clock)
            view._head, view._room = self._head, self._room
            yield view
        self._head, self._room = view._head, view._room
        self.deleted_sessions += view.deleted_sessions

    def admit(self, key: RunningKey, row: RunningRow) -> None:
        """Notes that a call runs.

        Raises AlreadyExistsError, SealedError, SessionDeletedError, all before it writes anything.
        """
        session, uuid = TEXT.encode(key.session_id), UUID.encode(key.trace_id)
        txn, databases = self._txn, self._databases
        if txn.get(uuid, None, databases[schema.TRACE_IDS.name]) is not None:
            raise AlreadyExistsError("trace", key.trace_id)
        self._counters(key.session_id, begins=True)
        self._take_room(len(row.body))
        value = schema.RUNNING.value.encode(row)
        txn.put(running_key(session, uuid), value, db=databases[schema.RUNNING.name])

    def runs(self, key: RunningKey) -> bool:
        """Whether the call was admitted and has not ended."""
        return self._raw(schema.RUNNING, key) is not None

    def append(self, trace: Trace, encoded: Encoded, digest: bytes, *, known: Known) -> Commit:
        """Records a trace in the form that Histories gave it, and ends its call.

        Raises AlreadyExistsError; SessionDeletedError when its session was deleted, as a call that is RUNNING
        and has no row tells; SealedError when a call that BEGINS may not. Nothing is written before it can
        only succeed or, as with AlreadyExistsError, fail for the whole transaction.

        Every call takes this way, so its rows are written without what Rows does for others.
        """
        session_id, trace_id = trace.session_id, trace.trace_id
        session, uuid = TEXT.encode(session_id), UUID.encode(trace_id)
        databases, txn = self._databases, self._txn
        put = txn.put
        running, calls = running_key(session, uuid), databases[schema.RUNNING.name]
        if known is Known.RUNNING and not txn.delete(running, b"", calls):
            if self.has_trace(trace_id):
                raise AlreadyExistsError("trace", trace_id)
            raise SessionDeletedError(session_id)
        counters = self._counters(session_id, begins=known is Known.BEGINS)
        self._take_room(len(encoded.body))
        commit = Commit(self._head + 1, counters.next_index)
        sequence = U64.encode(commit.sequence)
        if not put(uuid, sequence, True, False, False, databases[schema.TRACE_IDS.name]):
            raise AlreadyExistsError("trace", trace_id)
        place = Trace(
            sequence=commit.sequence, call_index=commit.call_index, late=counters.sealed, digest=digest
        )
        self._append(event.EVENT_KIND_TRACE, encoded.body, place.SerializeToString())
        row = call_row(commit.sequence, uuid)
        put(call_key(session, commit.call_index), row, db=databases[schema.SESSION_TRACES.name])
        counted_now = schema.COUNTERS.value.encode(counted(counters, trace, digest))
        put(session, counted_now, db=databases[schema.COUNTERS.name])
        if known is Known.UNKNOWN:
            txn.delete(running, b"", calls)
        return commit

    def _counters(self, session_id: str, *, begins: bool) -> Counters:
        """Those of a session that takes the call; it is made if there is none.

        Raises SessionDeletedError, and SealedError for a call that `begins`.
        """
        counters = self._get(schema.COUNTERS, session_id)
        if counters is None:
            self.ensure_session(session_id)
            return Counters()
        if begins and counters.sealed:
            raise SealedError(session_id)
        return counters

    def note_replay(self, trace_id: str) -> None:
        sequence = self._get(schema.TRACE_IDS, trace_id)
        if sequence is None:
            raise NotFoundError("trace", trace_id)
        entry = self._get(schema.LOG, sequence)
        if entry is None:
            raise CorruptError(f"an index names event {sequence}, which is not in the log")
        self._mutable(schema.LOG).put(sequence, Entry(entry.kind, one_more(entry.body)))

    def put_worker(self, worker: Worker) -> None:
        check_worker_id(worker.worker_id)
        self._mutable(schema.WORKERS).put(worker.worker_id, worker)
        self._log_worker(worker, removed=False)

    def remove_worker(self, worker_id: str) -> None:
        worker = self.worker(worker_id)
        if worker is None:
            raise NotFoundError("worker", worker_id)
        self._mutable(schema.WORKERS).delete(worker_id)
        self._log_worker(worker, removed=True)

    def _log_worker(self, worker: Worker, removed: bool) -> None:
        change = event.WorkerChanged(worker=worker, removed=removed)
        change.worker.ClearField("api_key")
        self._log(event.EVENT_KIND_WORKER_CHANGED, change)
        self._mutable(meta.NUMBERS).put(meta.WORKERS_REVISION, self._head)

    def set_policy_version(self, policy_version: str) -> Policy:
        check_policy_version(policy_version)
        known = self.policy()
        if policy_version == known.policy_version:
            return known
        policy = Policy(policy_version=policy_version)
        policy.change_time.FromNanoseconds(self._clock())
        self._mutable(meta.POLICIES).put(meta.POLICY, policy)
        change = event.PolicyChanged(policy_version=policy_version, change_time=policy.change_time)
        self._log(event.EVENT_KIND_POLICY_CHANGED, change)
        self._mutable(meta.NUMBERS).put(meta.WORKERS_REVISION, self._head)
        return policy

    def remember(self, request: Request, response: bytes) -> None:
        check_request_id(request.request_id)
        if not request.request_id:
            return
        now = self._clock() // 1_000_000
        self._prune(now - REQUEST_AGE_MS)
        answer = Answer(now, request.rpc, request.digest, response)
        self._mutable(schema.REQUESTS).put(request.request_id, answer)
        self._mutable(schema.REQUEST_TIMES).put(Age(now, request.request_id), None)

    def _prune(self, before: int) -> None:
        """Forgets a few of the requests that came before `before`, in milliseconds since 1970."""
        times, requests = self._mutable(schema.REQUEST_TIMES), self._mutable(schema.REQUESTS)
        old: list[Age] = []
        for age, _ in times.scan():
            if age.time >= before or len(old) == _PRUNED_AT_ONCE:
                break
            old.append(age)
        for age in old:
            times.delete(age)
            kept = requests.get(age.name)
            if kept is not None and kept.time == age.time:
                requests.delete(age.name)
