"""Verifies an environment: every row reads, indexes and counters agree, every chain expands. Decisions.

The log is the truth: indexes and counters are held against it, both ways. A bad row hides no other one.
Memory does not grow with the number of rows. check_sessions.py verifies what is known of sessions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from google.protobuf.message import Message

from rolltrace.compact import Bare
from rolltrace.digest import trace_digest
from rolltrace.v1 import event_pb2 as event
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import schema
from rolltrace_store.arrays import named
from rolltrace_store.check_blobs import check_blobs, check_holdings
from rolltrace_store.check_sessions import (
    check_running,
    check_sealed_event,
    check_seals,
    check_sessions,
    check_tombstones,
)
from rolltrace_store.check_tables import Report, Snapshot, Tables, Tick, parse
from rolltrace_store.counting import counted
from rolltrace_store.errors import CorruptError
from rolltrace_store.expansion import Expander
from rolltrace_store.promises import broken_promises
from rolltrace_store.schema import meta
from rolltrace_store.schema.age import Age
from rolltrace_store.schema.codec import UNREADABLE
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.meta import SECRET_SIZE
from rolltrace_store.schema.session_trace import CallKey, CallRow

_MESSAGES: dict[int, type[Message]] = {
    event.EVENT_KIND_TRACE: Trace,
    event.EVENT_KIND_SESSION_DELETED: event.SessionDeleted,
    event.EVENT_KIND_WORKER_CHANGED: event.WorkerChanged,
    event.EVENT_KIND_SESSION_SEALED: event.SessionSealed,
    event.EVENT_KIND_POLICY_CHANGED: event.PolicyChanged,
}
_CACHE_BYTES = 64 << 20


def check(snapshot: Snapshot, report: Report, tick: Tick) -> None:
    """Every verifier. `tick` is called `ticks` times, or less often when rows cannot be read."""
    tables = Tables(snapshot, report)
    check_meta(tables)
    check_log(tables, tick)
    check_trace_ids(tables, tick)
    check_calls(tables, tick)
    check_sessions(tables)
    check_running(tables)
    check_seals(tables)
    check_tombstones(tables)
    check_requests(tables)
    check_workers(tables)
    check_blobs(tables, tick)


def ticks(snapshot: Snapshot) -> int:
    """How many rows take long."""
    long = (schema.LOG, schema.TRACE_IDS, schema.SESSION_TRACES, schema.BLOBS)
    return sum(snapshot.count(table.name) for table in long)


def check_meta(tables: Tables) -> None:
    """The environment has a name and a secret, and the workers' revision is an event that there was."""
    if not tables.get(meta.TEXTS, meta.EPOCH):
        tables.fault(meta.TEXTS, meta.EPOCH, "is missing")
    secret = tables.get(meta.SECRETS, meta.SECRET)
    if secret is None or len(secret) != SECRET_SIZE:
        tables.fault(meta.SECRETS, meta.SECRET, f"is missing, or has not {SECRET_SIZE} bytes")
    head = tables.get(meta.NUMBERS, meta.HEAD) or 0
    revision = tables.get(meta.NUMBERS, meta.WORKERS_REVISION) or 0
    if revision > head:
        tables.fault(meta.NUMBERS, meta.WORKERS_REVISION, f"is {revision}, but the head is {head}")


def check_log(tables: Tables, tick: Tick) -> None:
    """Every event reads, none comes before the beginning, every trace is in both indexes, and the policy is
    the last that was told."""
    last = tables.get(meta.NUMBERS, meta.COMPACTED) or 0
    told: event.PolicyChanged | None = None
    for sequence, entry in tables.scan(schema.LOG):
        tick()
        if sequence <= last:
            tables.fault(schema.LOG, f"event {sequence}", f"comes after event {last}")
        last = max(last, sequence)
        kind = _MESSAGES.get(entry.kind)
        message = None if kind is None else parse(kind, entry.body)
        if message is None:
            tables.fault(schema.LOG, f"event {sequence}", f"cannot be read as one of kind {entry.kind}")
        elif isinstance(message, Trace):
            _check_logged(tables, sequence, message)
        elif isinstance(message, event.SessionSealed):
            check_sealed_event(tables, sequence, message.session)
        elif isinstance(message, event.PolicyChanged):
            told = message
    if last > (head := tables.get(meta.NUMBERS, meta.HEAD) or 0):
        tables.fault(meta.NUMBERS, meta.HEAD, f"is {head}, but the log goes on to {last}")
    _check_policy(tables, told)


def _check_policy(tables: Tables, told: event.PolicyChanged | None) -> None:
    """`told`: by the last policy_changed that the log has still."""
    kept = tables.get(meta.POLICIES, meta.POLICY)
    if kept is None and tables.has(meta.POLICIES, meta.POLICY):
        tables.fault(meta.POLICIES, meta.POLICY, "cannot be read")
    elif told is not None:
        version = "" if kept is None else kept.policy_version
        if version != told.policy_version:
            fault = f"is {version!r}, but the log says {told.policy_version!r}"
            tables.fault(meta.POLICIES, meta.POLICY, fault)


def _check_logged(tables: Tables, sequence: int, trace: Trace) -> None:
    name = f"trace {trace.trace_id}"
    if trace.sequence != sequence:
        tables.fault(schema.LOG, f"event {sequence}", f"says that its sequence is {trace.sequence}")
    if tables.get(schema.TRACE_IDS, trace.trace_id) != sequence:
        tables.fault(schema.TRACE_IDS, name, f"is not there, or does not lead to event {sequence}")
    call = tables.get(schema.SESSION_TRACES, CallKey(trace.session_id, trace.call_index))
    if call != CallRow(sequence, trace.trace_id):
        fault = f"of session {trace.session_id} is not there, or does not lead to event {sequence}"
        tables.fault(schema.SESSION_TRACES, f"{name}, call {trace.call_index}", fault)


def check_trace_ids(tables: Tables, tick: Tick) -> None:
    """Every row leads to its trace."""
    for trace_id, sequence in tables.scan(schema.TRACE_IDS):
        tick()
        trace = tables.trace(sequence)
        if trace is None or trace.trace_id != trace_id:
            tables.fault(schema.TRACE_IDS, f"trace {trace_id}", f"leads to event {sequence}, which is not it")


def check_calls(tables: Tables, tick: Tick) -> None:
    """Every session's calls are numbered without gaps, add up to its counters, and expand."""
    expander = Expander(_CACHE_BYTES)
    rows = tables.scan(schema.SESSION_TRACES)
    for session_id, calls in groupby(rows, key=lambda row: row[0].session_id):
        blobs: set[bytes] = set()
        counters = _check_session_calls(tables, expander, calls, blobs, tick)
        check_holdings(tables, session_id, blobs)
        stored = tables.get(schema.COUNTERS, session_id)
        if stored is not None:
            counters = counters._replace(sealed=stored.sealed, left_calls=stored.left_calls)
        if stored != counters:
            fault = f"has counters {stored}, but its traces add up to {counters}"
            tables.fault(schema.COUNTERS, f"session {session_id}", fault)
        if not tables.has(schema.SESSIONS, session_id):
            tables.fault(schema.SESSIONS, f"session {session_id}", "is missing, but has traces")


def _check_session_calls(
    tables: Tables,
    expander: Expander,
    calls: Iterator[tuple[CallKey, CallRow]],
    blobs: set[bytes],
    tick: Tick,
) -> Counters:
    """Adds the digests of the blobs that the traces name to `blobs`."""
    counters, last, late = Counters(), 0, False
    for expected, (key, row) in enumerate(calls):
        tick()
        name = f"call {key.call_index} of session {key.session_id}"
        if key.call_index != expected:
            tables.fault(schema.SESSION_TRACES, name, f"comes where call {expected} should")
        if row.sequence <= last:
            tables.fault(schema.SESSION_TRACES, name, f"has sequence {row.sequence}, not after {last}")
        last = row.sequence
        trace = tables.trace(row.sequence)
        if trace is None or (trace.trace_id, trace.session_id) != (row.trace_id, key.session_id):
            tables.fault(schema.SESSION_TRACES, name, f"leads to event {row.sequence}, which is not it")
        else:
            if late and not trace.late:
                tables.fault(schema.LOG, name, "is not late, but one before it is")
            late = trace.late
            bare = _check_whole(tables, expander, trace)
            full = trace if bare is None else bare.trace
            counters = counted(counters._replace(sealed=trace.late), full, trace.digest)
            blobs |= set() if bare is None else bare.digests() | named(full).keys()
    return counters


def _check_whole(tables: Tables, expander: Expander, trace: Trace) -> Bare | None:
    """The trace expands, and what it expands to keeps the contract's promises. Returns that."""

    def stored(trace_id: str) -> bytes | None:
        sequence = tables.get(schema.TRACE_IDS, trace_id)
        entry = None if sequence is None else tables.get(schema.LOG, sequence)
        return None if entry is None else entry.body

    name = f"event {trace.sequence}, trace {trace.trace_id},"
    try:
        bare = expander.bare(trace, stored)
    except (CorruptError, *UNREADABLE) as error:
        tables.fault(schema.LOG, name, f"does not expand: {error}")
        return None
    if trace.digest != trace_digest(bare.trace):
        tables.fault(schema.LOG, name, "has another digest than its tokens")
    for broken in broken_promises(bare.trace):
        tables.fault(schema.LOG, name, broken)
    return bare


def check_requests(tables: Tables) -> None:
    """Every remembered request has the row by which it is forgotten in time."""
    for request_id, answer in tables.scan(schema.REQUESTS):
        if not tables.has(schema.REQUEST_TIMES, Age(answer.time, request_id)):
            tables.fault(schema.REQUESTS, f"request {request_id}", "has no row in request_times")
    for _ in tables.scan(schema.REQUEST_TIMES):
        pass


def check_workers(tables: Tables) -> None:
    """Every worker reads and names itself."""
    for worker_id, worker in tables.scan(schema.WORKERS):
        if worker.worker_id != worker_id:
            tables.fault(schema.WORKERS, f"worker {worker_id}", f"says it is {worker.worker_id}")
