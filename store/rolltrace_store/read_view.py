"""A consistent look at the store: what a reading `work` is given. It cannot write, by type.

Rule: a view dies with its transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import lmdb
from google.protobuf.message import DecodeError

from rolltrace.v1.policy_service_pb2 import Policy
from rolltrace.v1.session_pb2 import Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace.v1.worker_pb2 import Worker
from rolltrace_store import schema
from rolltrace_store.blobs import unpack
from rolltrace_store.counting import fill
from rolltrace_store.delta import standalone
from rolltrace_store.environment import Environment
from rolltrace_store.errors import CorruptError, RequestReusedError
from rolltrace_store.expansion import Expander
from rolltrace_store.history import LOAD_COUNT, Recent
from rolltrace_store.interface import Glance, LogState, Record, Request, RunningCall, Sealing, StoreStats
from rolltrace_store.names import check_request_id
from rolltrace_store.rows import Rows, get, raw
from rolltrace_store.schema import meta
from rolltrace_store.schema.blob import Holding, PieceKey
from rolltrace_store.schema.codec import Table
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.running import RunningRow
from rolltrace_store.schema.session_trace import CallKey, prefix

K = TypeVar("K")
V = TypeVar("V")


def running_call(row: RunningRow) -> RunningCall:
    """Reads a row's trace."""
    try:
        return RunningCall(row.proxy_id, row.check, Trace.FromString(row.body))
    except DecodeError as error:
        raise CorruptError(f"a running call of proxy {row.proxy_id} cannot be read: {error}") from error


class LmdbReadView:
    """Implements interface.ReadView on a transaction."""

    def __init__(self, environment: Environment, txn: lmdb.Transaction[bytes], expander: Expander) -> None:
        self._environment = environment
        self._databases = environment.databases
        self._txn = txn
        self._expander = expander

    def _raw(self, table: Table[K, V], key: K) -> bytes | None:
        return raw(self._txn, self._databases[table.name], table, key)

    def _get(self, table: Table[K, V], key: K) -> V | None:
        return get(self._txn, self._databases[table.name], table, key)

    def _rows(self, table: Table[K, V]) -> Rows[K, V]:
        return Rows(self._txn, self._databases[table.name], table)

    def session(self, session_id: str) -> Session | None:
        session = self._rows(schema.SESSIONS).get(session_id)
        return None if session is None else self._with_counts(session)

    def glance(self, session_id: str) -> Glance:
        row = self._raw(schema.SESSIONS, session_id)
        if row is None:
            return Glance(None, deleted=self.deleted(session_id) is not None)
        counters = self._get(schema.COUNTERS, session_id)
        if counters is None:
            return Glance(row)
        tokens = counters.prompt_tokens + counters.completion_tokens
        return Glance(row, False, counters.calls, counters.refused_calls, tokens)

    def has_session(self, session_id: str) -> bool:
        return self._raw(schema.SESSIONS, session_id) is not None

    def deleted(self, session_id: str) -> int | None:
        return self._get(schema.TOMBSTONES, session_id)

    def sessions(self, after: str = "") -> Iterator[Session]:
        for session_id, session in self._rows(schema.SESSIONS).scan(after):
            if session_id != after:
                yield self._with_counts(session)

    def _with_counts(self, session: Session) -> Session:
        counters = self._get(schema.COUNTERS, session.session_id) or Counters()
        fill(session, counters, self.running_count(session.session_id))
        return session

    def running(self, session_id: str = "") -> Iterator[RunningCall]:
        yield from map(running_call, self.running_rows(session_id))

    def running_rows(self, session_id: str = "") -> Iterator[RunningRow]:
        """As `running`, with the traces unread."""
        within = prefix(session_id) if session_id else b""
        for _, row in self._rows(schema.RUNNING).scan(prefix=within):
            yield row

    def running_count(self, session_id: str) -> int:
        return self._rows(schema.RUNNING).count_within(prefix(session_id))

    def sealing(self) -> Sequence[Sealing]:
        rows = self._rows(schema.SEALING).scan()
        return [Sealing(session_id, row.cancel, row.deadline) for session_id, row in rows]

    def sealed(self) -> Iterator[tuple[int, str]]:
        for age, _ in self._rows(schema.SEALED).scan():
            yield age.time, age.name

    def secret(self) -> bytes:
        return self._environment.secret

    def trace(self, trace_id: str) -> bytes | None:
        sequence = self._get(schema.TRACE_IDS, trace_id)
        return None if sequence is None else self._body(sequence)

    def has_trace(self, trace_id: str) -> bool:
        return self._raw(schema.TRACE_IDS, trace_id) is not None

    def traces(self, session_id: str, from_index: int = 0) -> Iterator[bytes]:
        rows = self._rows(schema.SESSION_TRACES)
        for _, row in rows.scan(CallKey(session_id, from_index), prefix(session_id)):
            yield self._body(row.sequence)

    def _body(self, sequence: int) -> bytes:
        entry = self._get(schema.LOG, sequence)
        if entry is None:
            raise CorruptError(f"an index names event {sequence}, which is not in the log")
        return entry.body

    def events(self, after: int) -> Iterator[Record]:
        for sequence, entry in self._rows(schema.LOG).scan(after + 1):
            yield Record(sequence, entry.kind, entry.body)

    def head(self) -> int:
        """The sequence of the last event that there ever was; 0 before the first."""
        return self._get(meta.NUMBERS, meta.HEAD) or 0

    def log_state(self) -> LogState:
        head = self.head()
        first = next(self._rows(schema.LOG).scan(), None)
        compacted = self._get(meta.NUMBERS, meta.COMPACTED) or 0
        return LogState(self._environment.epoch, head + 1 if first is None else first[0], head, compacted)

    def expand(self, trace: Trace) -> Trace:
        return self._expander.expand(trace, self.trace, self._blob)

    def standalone(self, trace: Trace) -> Trace:
        return standalone(self._expander.bare(trace, self.trace))

    def blob_piece(self, digest: bytes, number: int) -> bytes | None:
        piece = self._get(schema.BLOBS, PieceKey(digest, number))
        return None if piece is None else unpack(piece)

    def holds(self, session_id: str, digest: bytes) -> bool:
        """Whether the session has the blob."""
        return self._raw(schema.SESSION_BLOBS, Holding(session_id, digest)) is not None

    def has_blob(self, digest: bytes) -> bool:
        """Whether any session has it."""
        return next(self._rows(schema.BLOB_SESSIONS).scan(prefix=digest), None) is not None

    def _blob(self, digest: bytes) -> bytes:
        pieces = self._rows(schema.BLOBS).scan(prefix=digest)
        found = [unpack(piece) for _, piece in pieces]
        if not found:
            raise CorruptError(f"blob {digest.hex()} is not there")
        return b"".join(found)

    def recent(self, session_id: str, from_index: int) -> list[Recent]:
        """The session's latest traces from `from_index` on, for Histories, in the order of call_index."""
        counters = self._get(schema.COUNTERS, session_id)
        if counters is None or counters.next_index <= from_index:
            return []
        start = CallKey(session_id, max(from_index, counters.next_index - LOAD_COUNT))
        rows = self._rows(schema.SESSION_TRACES).scan(start, prefix(session_id))
        sequences = [row.sequence for _, row in rows]
        sizes: dict[str, int] = {}
        found: list[Recent] = []
        for sequence in sequences:
            body = self._body(sequence)
            trace = Trace.FromString(body)
            bare = self._expander.bare(trace, self.trace).trace
            found.append(Recent(bare, self._chain_bytes(trace, len(body), sizes)))
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
        return self._get(schema.WORKERS, worker_id)

    def workers(self) -> Sequence[Worker]:
        return [worker for _, worker in self._rows(schema.WORKERS).scan()]

    def workers_revision(self) -> int:
        return self._get(meta.NUMBERS, meta.WORKERS_REVISION) or 0

    def policy(self) -> Policy:
        return self._get(meta.POLICIES, meta.POLICY) or Policy()

    def remembered(self, request: Request) -> bytes | None:
        check_request_id(request.request_id)
        if not request.request_id:
            return None
        answer = self._get(schema.REQUESTS, request.request_id)
        if answer is None:
            return None
        if (answer.rpc, answer.digest) != (request.rpc, request.digest):
            raise RequestReusedError(request.request_id)
        return answer.response

    def stats(self) -> StoreStats:
        return StoreStats(
            session_count=self._rows(schema.SESSIONS).count(),
            trace_count=self._rows(schema.TRACE_IDS).count(),
            used_bytes=self.used_bytes(),
            file_bytes=self._environment.file_bytes(),
            limit_bytes=self._environment.max_size,
        )

    def used_bytes(self) -> int:
        """Bytes of the tables' pages."""
        return self._environment.used_bytes(self._txn)
