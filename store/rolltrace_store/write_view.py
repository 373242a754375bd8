"""A transaction that can change the store: what a writing `work` is given, and what the writer uses.

Rule: the view keeps the log's head to itself and puts it into `meta` once, in `flush`, so that a batch
of many events writes it once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import lmdb
from google.protobuf.message import Message

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.session_pb2 import SESSION_STATE_OPEN, Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import schema
from rolltrace_store.counting import counted
from rolltrace_store.environment import Environment
from rolltrace_store.errors import AlreadyExistsError, NotFoundError, full_error
from rolltrace_store.expansion import Expander
from rolltrace_store.history import Encoded
from rolltrace_store.interface import Commit, Request
from rolltrace_store.names import check_request_id, check_session_id, check_worker_id
from rolltrace_store.read_view import LmdbReadView
from rolltrace_store.rows import MutableRows
from rolltrace_store.schema import meta
from rolltrace_store.schema.codec import Table
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.log import Entry
from rolltrace_store.schema.request import Age, Answer
from rolltrace_store.schema.session_trace import CallKey, CallRow, prefix

K = TypeVar("K")
V = TypeVar("V")

REQUEST_AGE_MS = 2 * 3600 * 1000
"""How long a request is remembered, in milliseconds: longer than the hour that is promised."""
_PRUNED_AT_ONCE = 64
_ROOM_TO_SPARE = 32 << 20
"""With so many bytes never used, a batch fits, and the pages in use need not be counted."""
_ROW_OVERHEAD = 512


class LmdbWriteView(LmdbReadView):
    """Implements interface.WriteView; adds what the writer needs."""

    def __init__(
        self,
        environment: Environment,
        txn: lmdb.Transaction[bytes],
        expander: Expander,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """`clock` gives nanoseconds since 1970."""
        super().__init__(environment, txn, expander)
        self._clock = clock
        self._stored_head = self._head = super().head()
        self._room: int | None = None
        self.deleted_sessions: list[str] = []

    def _mutable(self, table: Table[K, V]) -> MutableRows[K, V]:
        return MutableRows(self._txn, self._environment.databases[table.name], table)

    def head(self) -> int:
        return self._head

    def flush(self) -> None:
        """Writes what the view keeps to itself. The last thing before the transaction ends."""
        if self._head != self._stored_head:
            self._mutable(meta.NUMBERS).put(meta.HEAD, self._head)
            self._stored_head = self._head

    @contextmanager
    def nested(self) -> Generator[LmdbWriteView]:
        """A view whose changes become this one's unless the block raises. This one rests meanwhile."""
        with self._environment.lmdb.begin(parent=self._txn, write=True) as txn:
            view = LmdbWriteView(self._environment, txn, self._expander, self._clock)
            view._head, view._room = self._head, self._room
            yield view
        self._head, self._room = view._head, view._room
        self.deleted_sessions += view.deleted_sessions

    def create_session(self, session: Session) -> Session:
        check_session_id(session.session_id)
        if self.has_session(session.session_id):
            raise AlreadyExistsError("session", session.session_id)
        return self._add_session(session)

    def ensure_session(self, session_id: str) -> None:
        """Creates the session if there is none."""
        if not self.has_session(session_id):
            self._add_session(Session(session_id=session_id))

    def _take_room(self, size: int) -> None:
        """Counts `size` bytes more of what grows the store. Raises StoreFullError when they do not fit.

        What does not call it may use the reserve: deletions before all.
        """
        if self._room is None:
            self._room = self._environment.room(self._txn, _ROOM_TO_SPARE)
        self._room -= size + _ROW_OVERHEAD
        if self._room < 0:
            raise full_error(self._environment.max_size)

    def _add_session(self, session: Session) -> Session:
        self._take_room(session.ByteSize())
        row = Session()
        row.CopyFrom(session)
        for name in ("call_count", "failed_call_count", "incomplete", "base_url"):
            row.ClearField(name)
        row.state = SESSION_STATE_OPEN
        row.create_time.FromNanoseconds(self._clock())
        self._mutable(schema.SESSIONS).put(row.session_id, row)
        return row

    def delete_session(self, session_id: str) -> int:
        if not self._mutable(schema.SESSIONS).delete(session_id):
            raise NotFoundError("session", session_id)
        self._mutable(schema.COUNTERS).delete(session_id)
        index, log = self._mutable(schema.SESSION_TRACES), self._mutable(schema.LOG)
        ids = self._mutable(schema.TRACE_IDS)
        calls = list(index.scan(prefix=prefix(session_id)))
        for key, row in calls:
            index.delete(key)
            log.delete(row.sequence)
            ids.delete(row.trace_id)
        tombstone = event.SessionDeleted(session_id=session_id, deleted_trace_count=len(calls))
        tombstone.delete_time.FromNanoseconds(self._clock())
        self._log(event.EVENT_KIND_SESSION_DELETED, tombstone)
        self.deleted_sessions.append(session_id)
        return len(calls)

    def append(self, trace: Trace, encoded: Encoded) -> Commit:
        """Records a trace in the form that Histories gave it. Raises AlreadyExistsError.

        Nothing is written before it can only succeed or fail for the whole transaction.
        """
        if self.has_trace(trace.trace_id):
            raise AlreadyExistsError("trace", trace.trace_id)
        self._take_room(len(encoded.body))
        counters = self._rows(schema.COUNTERS).get(trace.session_id)
        if counters is None:
            self.ensure_session(trace.session_id)
            counters = Counters()
        commit = Commit(sequence=self._head + 1, call_index=counters.calls)
        place = Trace(sequence=commit.sequence, call_index=commit.call_index)
        self._append(event.EVENT_KIND_TRACE, encoded.body + place.SerializeToString())
        self._mutable(schema.TRACE_IDS).put(trace.trace_id, commit.sequence)
        self._mutable(schema.SESSION_TRACES).put(
            CallKey(trace.session_id, commit.call_index), CallRow(commit.sequence, trace.trace_id)
        )
        self._mutable(schema.COUNTERS).put(trace.session_id, counted(counters, trace))
        return commit

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
            kept = requests.get(age.request_id)
            if kept is not None and kept.time == age.time:
                requests.delete(age.request_id)

    def _log(self, kind: event.EventKind.ValueType, message: Message) -> None:
        self._append(kind, message.SerializeToString())

    def _append(self, kind: event.EventKind.ValueType, body: bytes) -> None:
        self._mutable(schema.LOG).append(self._head + 1, Entry(kind, body))
        self._head += 1
