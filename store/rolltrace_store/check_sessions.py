"""Verifies what is known of sessions: their rows, running calls, seals and tombstones. Decisions.

Of one session there is: a row, or a tombstone, never both; a row in `sealing` if it is SEALING, one in
`sealed` if it is SEALED, never both; calls that run only if it has a row.
"""

from __future__ import annotations

from rolltrace.v1.session_pb2 import SESSION_STATE_SEALED, SESSION_STATE_SEALING, Session
from rolltrace.v1.trace_pb2 import Trace
from rolltrace_store import schema
from rolltrace_store.check_tables import Tables, parse
from rolltrace_store.schema.age import Age
from rolltrace_store.schema.counters import Counters
from rolltrace_store.schema.running import RunningKey
from rolltrace_store.schema.session_trace import CallKey, prefix


def check_sessions(tables: Tables) -> None:
    """Every session reads and names itself, and no counters are left without one or without traces."""
    for session_id, session in tables.scan(schema.SESSIONS):
        if session.session_id != session_id:
            tables.fault(schema.SESSIONS, f"session {session_id}", f"says it is {session.session_id}")
        else:
            _check_state(tables, session)
    for session_id, counters in tables.scan(schema.COUNTERS):
        name = f"session {session_id}"
        if counters.next_index and not tables.has(schema.SESSION_TRACES, CallKey(session_id, 0)):
            tables.fault(schema.COUNTERS, name, f"has counters {counters}, but no first trace")
        if not tables.has(schema.SESSIONS, session_id):
            tables.fault(schema.COUNTERS, name, "has counters, but is not there")


def _check_state(tables: Tables, session: Session) -> None:
    """What other tables say of its state."""
    name, session_id = f"session {session.session_id}", session.session_id
    sealed = session.state == SESSION_STATE_SEALED
    counters = tables.get(schema.COUNTERS, session_id) or Counters()
    if counters.sealed != sealed:
        fault = f"has counters that are sealed: {counters.sealed}, and is: {sealed}"
        tables.fault(schema.COUNTERS, name, fault)
    if not sealed and counters.left_calls + counters.late_calls:
        tables.fault(schema.COUNTERS, name, f"has late calls, but is not sealed: {counters}")
    running = tables.count_within(schema.RUNNING, prefix(session_id))
    if sealed and not running <= counters.left_calls <= running + counters.late_calls:
        found = f"{running} run, {counters.late_calls} came"
        fault = f"was sealed with {counters.left_calls} calls running; {found}"
        tables.fault(schema.COUNTERS, name, fault)
    if sealed and not tables.has(schema.SEALED, Age(session.seal_time.ToNanoseconds(), session_id)):
        tables.fault(schema.SEALED, name, "is not there, but it is SEALED")
    if session.state == SESSION_STATE_SEALING and not tables.has(schema.SEALING, session_id):
        tables.fault(schema.SEALING, name, "is not there, but it is SEALING")


def check_sealed_event(tables: Tables, sequence: int, told: Session) -> None:
    """The event of a session that is still there says what its counters say."""
    session = tables.get(schema.SESSIONS, told.session_id)
    counters = tables.get(schema.COUNTERS, told.session_id)
    if session is None or counters is None or session.seal_time != told.seal_time:
        return
    if (told.call_count, told.digest) != (counters.calls, counters.digest.hex()):
        fault = f"says that session {told.session_id} has {told.call_count} calls of digest {told.digest}"
        tables.fault(schema.LOG, f"event {sequence}", f"{fault}; its counters are {counters}")


def check_running(tables: Tables) -> None:
    """Every running call reads, names itself, has a session and has not ended."""
    for key, row in tables.scan(schema.RUNNING):
        name = f"call {key.trace_id} of session {key.session_id}"
        trace = parse(Trace, row.body)
        if trace is None or RunningKey(trace.session_id, trace.trace_id) != key:
            tables.fault(schema.RUNNING, name, "cannot be read, or says it is another")
        if not tables.has(schema.SESSIONS, key.session_id):
            tables.fault(schema.RUNNING, name, "runs, but its session is not there")
        if tables.has(schema.TRACE_IDS, key.trace_id):
            tables.fault(schema.RUNNING, name, "runs, but has its trace already")


def check_seals(tables: Tables) -> None:
    """Every row in `sealing` and `sealed` leads to a session in that state."""
    for session_id, _ in tables.scan(schema.SEALING):
        session = tables.get(schema.SESSIONS, session_id)
        if session is None or session.state != SESSION_STATE_SEALING:
            tables.fault(schema.SEALING, f"session {session_id}", "is not there, or not SEALING")
    for age, _ in tables.scan(schema.SEALED):
        session = tables.get(schema.SESSIONS, age.name)
        if session is None or session.state != SESSION_STATE_SEALED:
            tables.fault(schema.SEALED, f"session {age.name}", "is not there, or not SEALED")
        elif session.seal_time.ToNanoseconds() != age.time:
            tables.fault(schema.SEALED, f"session {age.name}", f"was not sealed at {age.time}")


def check_tombstones(tables: Tables) -> None:
    """No tombstone is of a session that is there; each has the row by which it is forgotten in time."""
    for session_id, time in tables.scan(schema.TOMBSTONES):
        name = f"session {session_id}"
        if tables.has(schema.SESSIONS, session_id):
            tables.fault(schema.TOMBSTONES, name, "has a tombstone, but is there")
        if not tables.has(schema.TOMBSTONE_TIMES, Age(time, session_id)):
            tables.fault(schema.TOMBSTONES, name, "has no row in tombstone_times")
    for age, _ in tables.scan(schema.TOMBSTONE_TIMES):
        if tables.get(schema.TOMBSTONES, age.name) != age.time:
            tables.fault(schema.TOMBSTONE_TIMES, f"session {age.name}", f"has no tombstone of {age.time}")
