"""What a `work` function sees: a view of one transaction. A reader's view cannot write, by type.

Rules: a view dies with its transaction. The write view keeps the log's head to itself and puts it into
`meta` once, in `flush`, so that a batch of many events writes it once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import lmdb
from google.protobuf.message import Message

from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.session_pb2 import SESSION_STATE_OPEN, Session
from rolltrace.v1.trace_pb2 import CALL_STATUS_COMPLETED, CAPTURE_GAP_KIND_ENDPOINT, Trace
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import schema
from rolltrace_store.environment import Environment
from rolltrace_store.errors import AlreadyExistsError, CorruptError, NotFoundError, RequestReusedError
from rolltrace_store.expansion import Expander
from rolltrace_store.history import LOAD_COUNT, Encoded, Recent
from rolltrace_store.interface import Commit, LogState, Record, Request, StoreStats
from rolltrace_store.names import check_request_id, check_session_id, check_worker_id
from rolltrace_store.rows import MutableRows, Rows
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
_OUTPUT_COUNTS = ("call_count", "failed_call_count", "incomplete", "base_url")


class LmdbReadView:
    """Implements interface.ReadView on a transaction."""

    def __init__(self, environment: Environment, txn: lmdb.Transaction[bytes], expander: Expander) -> None:
        self._environment = environment
        self._txn = txn
        self._expander = expander

    def _rows(self, table: Table[K, V]) -> Rows[K, V]:
        return Rows(self._txn, self._environment.databases[table.name], table)

    def session(self, session_id: str) -> Session | None:
        session = self._rows(schema.SESSIONS).get(session_id)
        return None if session is None else self._with_counts(session)

    def has_session(self, session_id: str) -> bool:
        return self._rows(schema.SESSIONS).get(session_id) is not None

    def sessions(self, after: str = "") -> Iterator[Session]:
        for session_id, session in self._rows(schema.SESSIONS).scan(after):
            if session_id != after:
                yield self._with_counts(session)

    def _with_counts(self, session: Session) -> Session:
        counters = self._rows(schema.COUNTERS).get(session.session_id)
        if counters is not None:
            session.call_count = counters.calls
            session.failed_call_count = counters.failed_calls
            session.incomplete = counters.incomplete
        return session

    def trace(self, trace_id: str) -> bytes | None:
        sequence = self._rows(schema.TRACE_IDS).get(trace_id)
        return None if sequence is None else self._body(sequence)

    def has_trace(self, trace_id: str) -> bool:
        return self._rows(schema.TRACE_IDS).get(trace_id) is not None

    def traces(self, session_id: str, from_index: int = 0) -> Iterator[bytes]:
        rows = self._rows(schema.SESSION_TRACES)
        for _, row in rows.scan(CallKey(session_id, from_index), prefix(session_id)):
            yield self._body(row.sequence)

    def _body(self, sequence: int) -> bytes:
        entry = self._rows(schema.LOG).get(sequence)
        if entry is None:
            raise CorruptError(f"an index names event {sequence}, which is not in the log")
        return entry.body

    def events(self, after: int) -> Iterator[Record]:
        for sequence, entry in self._rows(schema.LOG).scan(after + 1):
            yield Record(sequence, entry.kind, entry.body)

    def head(self) -> int:
        """The sequence of the last event that there ever was; 0 before the first."""
        return self._rows(meta.NUMBERS).get(meta.HEAD) or 0

    def log_state(self) -> LogState:
        head = self.head()
        first = next(self._rows(schema.LOG).scan(), None)
        return LogState(self._environment.epoch, head + 1 if first is None else first[0], head)

    def expand(self, trace: Trace) -> Trace:
        return self._expander.expand(trace, self.trace)

    def recent(self, session_id: str, from_index: int) -> list[Recent]:
        """The session's latest traces from call_index `from_index` on, as history.Load wants them."""
        rows = self._rows(schema.SESSION_TRACES)
        end = CallKey(session_id, (1 << 64) - 1)
        sequences: list[int] = []
        for key, row in rows.scan_back(end, prefix(session_id)):
            if key.call_index < from_index or len(sequences) == LOAD_COUNT:
                break
            sequences.append(row.sequence)
        sizes: dict[str, int] = {}
        found: list[Recent] = []
        for sequence in reversed(sequences):
            body = self._body(sequence)
            trace = Trace.FromString(body)
            found.append(Recent(self.expand(trace), self._chain_bytes(trace, len(body), sizes)))
        return found

    def _chain_bytes(self, trace: Trace, size: int, known: dict[str, int]) -> int:
        """The stored bytes from the one after the trace's key frame to its own."""
        walked: list[tuple[str, int]] = []
        while trace.trace_id not in known and trace.compact.base_trace_id:
            walked.append((trace.trace_id, size))
            body = self.trace(trace.compact.base_trace_id)
            if body is None:
                raise CorruptError(f"trace {trace.trace_id} rests on a trace that is not there")
            trace, size = Trace.FromString(body), len(body)
        total = known.setdefault(trace.trace_id, 0)
        for trace_id, part in reversed(walked):
            total += part
            known[trace_id] = total
        return total

    def worker(self, worker_id: str) -> Worker | None:
        return self._rows(schema.WORKERS).get(worker_id)

    def workers(self) -> Sequence[Worker]:
        return [worker for _, worker in self._rows(schema.WORKERS).scan()]

    def workers_revision(self) -> int:
        return self._rows(meta.NUMBERS).get(meta.WORKERS_REVISION) or 0

    def remembered(self, request: Request) -> bytes | None:
        check_request_id(request.request_id)
        if not request.request_id:
            return None
        answer = self._rows(schema.REQUESTS).get(request.request_id)
        if answer is None:
            return None
        if (answer.rpc, answer.digest) != (request.rpc, request.digest):
            raise RequestReusedError(request.request_id)
        return answer.response

    def stats(self) -> StoreStats:
        names = {table.name: table for table in schema.TABLES}
        return StoreStats(
            session_count=self._rows(schema.SESSIONS).count(),
            trace_count=self._rows(schema.TRACE_IDS).count(),
            used_bytes=sum(self._rows(table).used_bytes() for table in names.values()),
            file_bytes=self._environment.file_bytes(),
            limit_bytes=self._environment.max_size,
        )


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
    def nested(self) -> Iterator[LmdbWriteView]:
        """A view whose changes become this one's unless the block raises. This one rests meanwhile."""
        with self._environment.lmdb.begin(parent=self._txn, write=True) as txn:
            view = LmdbWriteView(self._environment, txn, self._expander, self._clock)
            view._head = self._head
            yield view
        self._head = view._head
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

    def _add_session(self, session: Session) -> Session:
        row = Session()
        row.CopyFrom(session)
        for name in _OUTPUT_COUNTS:
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
        self._mutable(schema.COUNTERS).put(trace.session_id, _counted(counters, trace))
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


def _counted(counters: Counters, trace: Trace) -> Counters:
    """The counters with one trace more.

    A session is incomplete once a completed call of a token-level endpoint lacks something: its trace has
    a capture gap of another kind than ENDPOINT.
    """
    completed = trace.status == CALL_STATUS_COMPLETED
    lacking = any(gap.kind != CAPTURE_GAP_KIND_ENDPOINT for gap in trace.capture_gaps)
    return Counters(
        counters.calls + 1,
        counters.failed_calls + (not completed),
        counters.incomplete or (completed and lacking),
    )
